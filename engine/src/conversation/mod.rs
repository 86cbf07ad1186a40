//! A thread and its cases: `decide` says what a command would do, `apply` follows what happened.

mod amend;
mod apply;
mod belonging;
pub mod command;
pub mod contents;
mod decide;
mod files;
mod history;
mod inbound;
mod needs;
mod outbound;
mod reactions;
mod recent;
mod turn;
mod unread;
mod view;
mod watermark;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use belonging::left_behind;
pub use command::{
    Answer, Command, ContentAt, Decision, Draft, Effect, Envelope, Fetched, IdempotencyKey, Need,
    ReactionDraft, Refused, Target,
};
pub use decide::decide;
pub use needs::needs;
pub use recent::Recent;
pub use view::ConversationView;

use crate::channel::Channel;
use crate::fact::{ConversationStatus, ParkedAmendment, ParkedReceipt, UsedKey};
use crate::id::{AccountId, AgentId, ContactId, ConversationId, MessageId, TenantId, ThreadId};
use crate::message::{Content, Direction, MessageKind, MessageRow, Place};
use crate::mint::Mint;
use crate::resource::Invalid;
use crate::text;
use crate::time::Timestamp;

/// A customer on one channel account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thread {
    pub id: ThreadId,
    pub tenant: TenantId,
    pub account: AccountId,
    pub channel: Channel,
    pub contact: ContactId,
    /// The number of the current case, from 1; 0 before the first.
    pub case: u32,
    pub current: Option<ConversationId>,
    /// The thread that this one turned out to be.
    pub moved_to: Option<MovedTo>,
    /// What came before the first case, and waits for its message there: see [`Conversation::waiting`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<ParkedAmendment>,
    /// What was written before the account was connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// The customer waited for an answer when it moved: the other one is to say so.
    #[serde(default)]
    pub left_waiting: bool,
    /// All that follows from the move is done: names and contacts say the same.
    #[serde(default)]
    pub settled: bool,
    /// People worked on a case of it that is over: it is not moved, nor is its contact merged away
    /// unasked. Written before `taken_in` was, it may say that.
    #[serde(default)]
    pub stays: bool,
    /// Another one, though older, was moved here: this one is not moved. Whose it is may change.
    #[serde(default)]
    pub taken_in: bool,
    /// When another one last turned out to be this one: what it had taken until then is no news.
    #[serde(default)]
    pub joined_at: Option<Timestamp>,
}

impl Thread {
    /// One that nothing is known of but whose it is.
    pub fn new(
        id: ThreadId,
        tenant: TenantId,
        (account, channel): (AccountId, Channel),
        contact: ContactId,
    ) -> Self {
        let (case, current, moved_to) = (0, None, None);
        let (left_waiting, settled, joined_at) = (false, false, None);
        let (stays, taken_in) = (false, false);
        Self {
            id,
            tenant,
            account,
            channel,
            contact,
            case,
            current,
            moved_to,
            left_waiting,
            settled,
            stays,
            taken_in,
            joined_at,
            waiting: Vec::new(),
            history: None,
        }
    }

    /// Whether it turned out to be another one, and not all is done that follows from that.
    pub fn is_moving(&self) -> bool {
        self.moved_to.is_some() && !self.settled
    }

    /// Whether a message of that time may have been taken by a thread that was moved here since.
    pub fn may_have_joined(&self, sent_at: Option<Timestamp>) -> bool {
        self.joined_at.is_some_and(|joined| sent_at.is_none_or(|at| at <= joined + AHEAD_MAX))
    }
}

/// What of a case goes along when its thread turns out to be another one. Its messages stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub conversation: ConversationId,
    pub unread: u32,
    pub last_inbound_at: Option<Timestamp>,
    pub last_inbound_id: Option<String>,
}

impl Joined {
    /// What it is told apart by: once is enough.
    pub fn mark(&self) -> String {
        format!("joined:{}", self.conversation)
    }
}

/// The cases of a thread that hold what was written before the account was connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// One for each phase in which it was handed over.
    pub cases: Vec<(u8, ConversationId)>,
    /// The newest of it: an id that is younger is none of these.
    pub until: Option<Timestamp>,
}

/// Where a thread's items go that turned out to be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedTo {
    pub thread: ThreadId,
    /// Whose that thread is: it is made with the first item, which may be one that was sent on.
    pub contact: ContactId,
}

/// A case of a thread: its head. The row of the same name is a lazy snapshot of it, written with nearly
/// every message: what is empty is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    pub id: ConversationId,
    pub tenant: TenantId,
    pub thread: ThreadId,
    pub account: AccountId,
    pub channel: Channel,
    pub contact: ContactId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_phone: Option<String>,
    pub case: u32,
    pub status: ConversationStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignee: Option<AgentId>,
    pub tags: Vec<String>,
    pub unread: u32,
    /// The newest of those that are unread, oldest first, at most [`UNREAD_KEPT`]: the seq of each
    /// and where it lies.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "unread")]
    pub unread_at: Vec<(u64, Place)>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub last_message_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// The provider's time of the customer's last message: the channel's window counts from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_inbound_at: Option<Timestamp>,
    /// The provider's id of the customer's newest message, for the read mark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_inbound_id: Option<String>,
    /// The newest fact.
    pub seq: u64,
    /// How many messages it has.
    pub messages: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Preview>,
    /// Outbound messages that are not done, in order.
    pub pending: Vec<Pending>,
    /// The newest messages of unknown outcome, at most [`UNSETTLED_MAX`]: an echo may settle them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsettled: Vec<Place>,
    /// Messages of ours that have left and were not seen yet, as far as the channel tells that by
    /// time, the oldest first, at most [`UNSEEN_KEPT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<Unseen>,
    /// Up to when the channel said that ours had arrived, and had been read.
    #[serde(default, skip_serializing_if = "Marks::is_empty")]
    pub marks: Marks,
    /// People did something here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub touched: bool,
    /// Receipts that wait for their message.
    pub parked: Vec<ParkedReceipt>,
    /// Reactions, edits and deletions that wait for their message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<ParkedAmendment>,
    /// Everything derived from the facts up to `seq` is written, and the actor left in order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clean: bool,
}

/// A message of ours that was not seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    pub place: Place,
    /// When it left.
    pub at: Timestamp,
}

/// Up to when the channel said that messages of ours got so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Timestamp>,
}

/// The newest message, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Preview {
    pub id: MessageId,
    pub direction: Direction,
    pub kind: MessageKind,
    /// At most 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    pub at: Timestamp,
}

/// An outbound message, or a reaction, that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub message: MessageId,
    /// Where it lies; of a reaction, where the message lies that it is for.
    pub place: Place,
    #[serde(default)]
    pub is_reaction: bool,
    /// The attempt that is under way; 0: it waits.
    pub sending: u32,
    /// How often it was begun.
    pub attempts: u32,
    /// How many of these attempts the provider only put off, as too many for now.
    #[serde(default)]
    pub throttled: u32,
    pub due: Timestamp,
}

/// What is known in memory of one thread: what its actor decides on.
#[derive(Clone, Debug)]
pub struct State {
    pub thread: Thread,
    /// The case at hand: the current one, or an earlier one for the time of a commit. Shared with those
    /// who tell of the commit that made it what it is.
    pub case: Option<Arc<Conversation>>,
    pub recent: Recent,
}

/// What was read from the store for the commands at hand.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub refs: BTreeMap<String, Option<(ConversationId, Place)>>,
    pub keys: BTreeMap<[u8; 16], Option<UsedKey>>,
    pub rows: BTreeMap<(ConversationId, Place), Option<MessageRow>>,
    pub contents: BTreeMap<ContentAt, Option<Content>>,
    pub messages: BTreeMap<(ConversationId, MessageId), Option<Place>>,
    pub cases: BTreeMap<ConversationId, Option<Conversation>>,
    /// Who a contact turned out to be, first, and all others who turned out to be that one.
    pub persons: BTreeMap<ContactId, Vec<ContactId>>,
}

/// The numbers that rules depend on.
#[derive(Clone, Debug)]
pub struct Rules {
    pub reopen_within: Duration,
    /// How many ids `recent` holds.
    pub recent_ids: usize,
    /// Waits between attempts of a send; as many retries as it has entries.
    pub send_ladder: Vec<Duration>,
    /// Waits of a customer's messages after the provider has put one off because that customer gets
    /// too many; the last one repeats.
    pub pair_ladder: Vec<Duration>,
    /// How many outbound messages of one conversation may wait.
    pub pending_max: usize,
    /// How many receipts and amendments of a conversation may wait for their message; deletions
    /// until there are so many of them alone.
    pub parked_max: usize,
}

/// What a decision depends on besides the state.
pub struct Context<'a> {
    pub now: Timestamp,
    pub mint: &'a mut dyn Mint,
    pub loaded: &'a Loaded,
    pub rules: &'a Rules,
    /// The contact's name and number, for a case that opens now.
    pub contact_name: Option<&'a str>,
    pub contact_phone: Option<&'a str>,
    /// The first seq of the commit that this decision joins; `None`: it begins one.
    pub commit_first: Option<u64>,
}

/// How many messages of unknown outcome a head remembers.
pub const UNSETTLED_MAX: usize = 16;
/// How many unread messages a head knows one by one.
pub const UNREAD_KEPT: usize = 32;
/// So many messages of ours that were not seen are known one by one: older ones are raised no more.
pub const UNSEEN_KEPT: usize = 100;
/// The longest text of a preview, in characters.
pub const PREVIEW_CHARS: usize = 120;
/// The window is taken for closed this long before the provider closes it: clocks differ.
pub const WINDOW_MARGIN: Duration = Duration::from_secs(5 * 60);
/// A message that was put off so often is given up.
pub const THROTTLED_MAX: u32 = 1_000;
/// So long after a message the provider takes reactions to it (Cloud API reference, "Reaction
/// messages").
pub const REACTABLE_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A provider's time is at most this far ahead of ours.
pub const AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a receipt or an amendment waits for its message.
pub const PARKED_FOR: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// The longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 64;
/// The most tags of one thing.
pub const TAGS_MAX: usize = 50;

/// Tags in the form that is stored: trimmed, without repeats, in the order given.
pub fn tags(tags: Vec<String>) -> Result<Vec<String>, Invalid> {
    let mut kept: Vec<String> = Vec::with_capacity(tags.len().min(TAGS_MAX));
    for tag in tags {
        let tag = tag.trim();
        if text::wrong(tag, TAG_CHARS_MAX).is_some() || tag.contains(char::is_control) {
            let message = "each tag must have 1 to 64 characters that show something, none of them a control character";
            return Err(Invalid::field("tags", message));
        }
        if kept.iter().any(|have| have == tag) {
            continue;
        }
        // At once: a megabyte of tags would be compared with one another for minutes.
        if kept.len() == TAGS_MAX {
            return Err(Invalid::field("tags", "at most 50 tags"));
        }
        kept.push(tag.to_owned());
    }
    Ok(kept)
}
