//! What happened: the one vocabulary for storage, live events, and every later consumer.

mod asked;

use serde::{Deserialize, Serialize};

use crate::conversation::{Joined, Marks};
use crate::id::{AgentId, ContactId, ConversationId, MediaId, MessageId, ThreadId};
use crate::media::Stored;
use crate::message::{MessageError, MessageStatus, Place, Sender};
use crate::time::Timestamp;

/// Who made something happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    Contact,
    Agent(AgentId),
    /// The provider told us: receipts, outcomes of sends, echoes.
    Provider,
    /// The engine itself: expiry, wake.
    System,
}

/// Something that happened in a conversation. Facts name messages and never hold their content,
/// so that a replay cannot bring deleted content back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fact {
    /// The thread's next case began.
    Opened {
        case: u32,
        contact_name: Option<String>,
        contact_phone: Option<String>,
        /// When the customer last wrote in an earlier case: the channel's window counts from it.
        last_inbound_at: Option<Timestamp>,
        /// What still waits for a message of the thread.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waiting: Vec<ParkedAmendment>,
        /// Receipts that do so.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parked: Vec<ParkedReceipt>,
        /// What the channel said so far of all messages of ours up to a time.
        #[serde(default, skip_serializing_if = "Marks::is_empty")]
        marks: Marks,
        /// It holds what was written before the account was connected, since then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        history_since: Option<Timestamp>,
    },
    /// A customer's message was accepted.
    Received {
        message: MessageId,
        place: Place,
        provider_id: Option<String>,
        /// What it is told apart by when the provider gave no id: a hash as hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dedup: Option<String>,
        sent_at: Option<Timestamp>,
        /// A program answered for the customer: there is nothing to read.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        auto_reply: bool,
    },
    /// An outbound message that was written outside the engine was seen.
    Echoed {
        message: MessageId,
        place: Place,
        provider_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sent_at: Option<Timestamp>,
    },
    /// A message of before the account was connected was handed over.
    Imported {
        message: MessageId,
        place: Place,
        provider_id: String,
        sent_at: Option<Timestamp>,
    },
    /// A file came for whose message a place was held. It lies in a row of its own.
    Filled {
        message: MessageId,
        place: Place,
        content: Place,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Place>,
    },
    /// A file that a message carries was fetched from the provider, or cannot be had.
    Fetched {
        message: MessageId,
        place: Place,
        provider_media_id: String,
        stored: Option<Stored>,
        /// Why not.
        error: Option<MessageError>,
    },
    /// Who the customer is changed: a message says so. It is no message of the customer.
    Noted {
        message: MessageId,
        place: Place,
        /// What the change is told apart by.
        mark: String,
        /// Another thread turned out to be this one: what of its case goes on here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        joined: Option<Joined>,
    },
    /// A message waits to be sent.
    Queued {
        message: MessageId,
        place: Place,
    },
    /// The request may be leaving now.
    SendStarted {
        message: MessageId,
        place: Place,
        attempt: u32,
    },
    /// The provider's answer was a passing error: again not before `due`.
    SendDelayed {
        message: MessageId,
        place: Place,
        due: Timestamp,
        error: MessageError,
        /// It was only too much for now.
        #[serde(default)]
        throttled: bool,
    },
    /// Nobody knows whether it was sent; it is not repeated by itself.
    SendUnknown {
        message: MessageId,
        place: Place,
    },
    /// The message is at least this far; the first one also learns the provider's id.
    Progressed {
        message: MessageId,
        place: Place,
        status: MessageStatus,
        provider_id: Option<String>,
        at: Option<Timestamp>,
        error: Option<MessageError>,
    },
    /// The provider says when it had taken a message of ours, which we thought to know: what it says
    /// of all messages up to a time goes by that.
    Taken {
        place: Place,
        at: Timestamp,
    },
    /// All messages of ours up to a time are at least this far, also those that are found out to be
    /// of before it.
    Watermarked {
        status: MessageStatus,
        up_to: Timestamp,
    },
    /// A receipt came before anything names its message: it waits here.
    ReceiptParked {
        receipt: ParkedReceipt,
    },
    /// Somebody reacted to a message, or took a reaction back.
    Reacted {
        message: MessageId,
        place: Place,
        /// The provider's id of the reaction itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_id: Option<String>,
        sender: Sender,
        /// `None`: taken back.
        emoji: Option<String>,
        at: Timestamp,
    },
    /// A reaction of the desk waits to be sent. It is no message: what is said of its send names the
    /// reaction, at the place of the message that it is for.
    ReactionQueued {
        reaction: MessageId,
        message: MessageId,
        place: Place,
        sender: Sender,
        /// `None`: it takes back what was there.
        emoji: Option<String>,
    },
    /// The provider has taken a reaction of the desk, or it failed.
    ReactionEnded {
        reaction: MessageId,
        message: MessageId,
        place: Place,
        /// The provider's id of the reaction itself.
        provider_id: Option<String>,
        error: Option<MessageError>,
    },
    /// Its author changed a message. What it says since then lies in a row of its own.
    Edited {
        message: MessageId,
        place: Place,
        /// The provider's id of the edit itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_id: Option<String>,
        at: Timestamp,
        /// Where its new content lies.
        content: Place,
        /// The content that nothing needs any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Place>,
    },
    /// Its author deleted a message: what it said is gone.
    Deleted {
        message: MessageId,
        place: Place,
        at: Timestamp,
        /// The content that is gone with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Place>,
        /// The files of ours that it showed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        media: Vec<MediaId>,
    },
    /// A reaction, an edit or a deletion came before its message: it waits here.
    AmendmentParked {
        amendment: ParkedAmendment,
    },
    /// Assigned, unassigned or taken over.
    Assigned {
        from: Option<AgentId>,
        to: Option<AgentId>,
    },
    StatusChanged {
        from: ConversationStatus,
        to: ConversationStatus,
    },
    /// A message came back to a case closed shortly before.
    Reopened {
        from: ConversationStatus,
    },
    Expired {
        from: ConversationStatus,
    },
    TagsChanged {
        from: Vec<String>,
        to: Vec<String>,
    },
    /// Everything up to this message was seen by the desk.
    ReadMarked {
        unread: u32,
    },
    /// The contact's name or number, as lists show it, changed, or the contact is another one.
    ContactChanged {
        name: Option<String>,
        phone: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contact: Option<ContactId>,
    },
    /// This thread turned out to be another one: everything goes there.
    Moved {
        to: ThreadId,
    },
    /// What waited here for its message waits where the thread went.
    HandedOn,
    /// The conversation was loaded after something that may not have ended cleanly.
    Woken,
}

/// A receipt that waits for its message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParkedReceipt {
    pub provider_id: String,
    pub status: MessageStatus,
    pub at: Option<Timestamp>,
    pub error: Option<MessageError>,
    /// Ours: it is dropped eight days later.
    pub parked_at: Timestamp,
}

/// A reaction, an edit or a deletion that waits for its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedAmendment {
    /// The provider's id of the message.
    pub target: String,
    /// The provider's id of the amendment itself.
    pub provider_id: Option<String>,
    pub sender: Sender,
    pub at: Timestamp,
    pub what: Parked,
    /// Ours: it is dropped eight days later.
    pub parked_at: Timestamp,
}

/// What waits for a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parked {
    /// `None`: taken back.
    Reaction {
        emoji: Option<String>,
    },
    /// Where the new content lies; `None`: nobody needs it any more.
    Edit {
        content: Option<(ConversationId, Place)>,
    },
    Deletion,
}

/// Where a conversation stands.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum ConversationStatus {
    Open,
    Pending,
    Resolved,
    Expired,
}

impl ConversationStatus {
    /// Nobody works on it any more.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Resolved | Self::Expired)
    }
}

/// A fact with its author. Its seq is the commit's first seq plus its index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    pub by: By,
    pub fact: Fact,
}

/// What one commit writes into its fact row: facts with consecutive seqs, and the idempotency keys
/// they answer. Provider ids and the intents of effects are in the facts themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub conversation: ConversationId,
    /// The seq of the first fact.
    pub first: u64,
    pub at: Timestamp,
    pub facts: Vec<Recorded>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<UsedKey>,
}

/// An idempotency key and what it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedKey {
    /// Hash of caller, route and key.
    pub key: [u8; 16],
    /// Hash of the body.
    pub digest: [u8; 16],
    /// The message it made, if it made one.
    pub place: Option<Place>,
    /// Whether it changed anything. Keys of what did not used not to be kept.
    #[serde(default = "changed")]
    pub changed: bool,
}

fn changed() -> bool {
    true
}

impl Commit {
    /// The seq of the last fact.
    pub fn last(&self) -> u64 {
        self.first + self.facts.len() as u64 - 1
    }

    /// The facts with their seqs.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Recorded)> {
        (self.first..).zip(&self.facts)
    }
}
