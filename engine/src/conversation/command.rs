//! What somebody wants of a conversation, what it answers, and why it refuses.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::{
    Amendment, Echo, IdentityChange, Import, Inbound, InboundMessage, Outcome, Receipt, Watermark,
};
use crate::conversation::contents::Changed;
use crate::conversation::{Conversation, Joined, MovedTo, Thread};
use crate::fact::{By, ConversationStatus, Recorded, UsedKey};
use crate::id::{AgentId, ContactId, ConversationId, MediaId, MessageId};
use crate::media::Stored;
use crate::message::{Message, MessageError, MessageRow, Place, Sender};
use crate::permission::Viewer;
use crate::saying::Saying;
use crate::time::Timestamp;

/// A command with what is decided along with it.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub target: Target,
    pub by: By,
    /// Who asks, where a person asks: what may not be seen is not found.
    pub viewer: Option<Viewer>,
    /// The hash of caller, route and `Idempotency-Key`, and that of the body.
    pub key: Option<IdempotencyKey>,
    pub command: Command,
}

/// An idempotency key, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    pub key: [u8; 16],
    pub digest: [u8; 16],
}

/// Which case of the thread is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The current one, or the next.
    Current,
    /// This one.
    Conversation(ConversationId),
}

/// What somebody wants.
#[derive(Clone, Debug)]
pub enum Command {
    /// A customer wrote.
    Receive(Box<InboundMessage>),
    /// A message of ours got further.
    Receipt(Receipt),
    /// All messages of ours up to a time got further.
    Watermark(Watermark),
    /// A message went out.
    Echo(Echo),
    /// Somebody reacted to a message, changed or deleted it.
    Amend(Amendment),
    /// A part of what was written before the account was connected.
    Import(Import),
    /// Who the customer is changed: it is noted, once.
    Identity(IdentityChange),
    /// A file that a message carries was fetched, or cannot be had.
    Fetched(Fetched),
    /// Say something to the customer.
    Send(Draft),
    /// React to a message of the conversation.
    React(ReactionDraft),
    /// The outbox wants to send now.
    BeginSend {
        message: MessageId,
        place: Place,
    },
    /// How the send ended.
    EndSend {
        message: MessageId,
        place: Place,
        attempt: u32,
        outcome: Outcome,
    },
    /// Assign to an agent, or to nobody.
    Assign {
        agent: Option<AgentId>,
    },
    /// The caller takes it.
    TakeOver {
        agent: AgentId,
    },
    SetStatus {
        status: ConversationStatus,
    },
    /// Everything up to this fact was read; `None`: everything.
    MarkRead {
        up_to: Option<u64>,
    },
    SetTags {
        tags: Vec<String>,
    },
    EditTags {
        add: Vec<String>,
        remove: Vec<String>,
    },
    /// Expire it if nobody wrote for so long.
    Expire {
        older_than: Duration,
    },
    /// The contact's name or number changed, or it is another one.
    ContactChanged {
        contact: ContactId,
        name: Option<String>,
        phone: Option<String>,
    },
    /// After a load: `sending` that nobody holds any more becomes `unknown`; with `mark`, a fact is
    /// written in any case, so that a write still on its way loses to it.
    Wake {
        mark: bool,
        /// Messages whose request this process still holds: their outcome will come.
        held: Vec<MessageId>,
    },
    /// The customer turned out to be the one of another thread, which is older: from now on
    /// everything goes there, unless people have worked here.
    MoveTo(MovedTo),
    /// Another thread turned out to be this one and is about to be moved here, perhaps though it is
    /// the older one.
    TakeIn {
        older: bool,
    },
    /// Another thread was moved here while its customer waited for an answer.
    Join(Joined),
    /// Everything that follows from this thread's move is done.
    Settle,
    /// Nothing: answers the conversation as it stands, in order.
    Look,
}

impl Command {
    /// The provider's item that it comes from, if it does.
    pub fn item(&self) -> Option<Inbound> {
        match self {
            Self::Receive(message) => Some(Inbound::Message(message.clone())),
            Self::Receipt(receipt) => Some(Inbound::Receipt(receipt.clone())),
            Self::Echo(echo) => Some(Inbound::Echo(echo.clone())),
            Self::Amend(amendment) => Some(Inbound::Amendment(amendment.clone())),
            Self::Identity(change) => Some(Inbound::Identity(change.clone())),
            Self::Watermark(mark) => Some(Inbound::Watermark(mark.clone())),
            _ => None,
        }
    }
}

/// An outbound message as a person or a program asks for it, checked for what its channel takes.
#[derive(Clone, Debug)]
pub struct Draft {
    pub saying: Saying,
    pub reply_to: Option<MessageId>,
    pub sender: Sender,
    /// Whether the channel account takes messages now.
    pub account_can_send: bool,
}

/// What became of a file that a message carries.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub place: Place,
    pub provider_media_id: String,
    pub outcome: Result<Stored, MessageError>,
}

/// A reaction as a person or a program asks for it.
#[derive(Clone, Debug)]
pub struct ReactionDraft {
    pub message: MessageId,
    /// `None`: what was there is taken back.
    pub emoji: Option<String>,
    pub sender: Sender,
    /// Whether the channel account takes messages now.
    pub account_can_send: bool,
}

/// What a command would do. Nothing is done yet.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The case it is about, as it is after the facts.
    pub head: Arc<Conversation>,
    /// The thread's row, when it changes: the case is its next one, or it moved.
    pub thread: Option<Thread>,
    pub facts: Vec<Recorded>,
    /// Message rows made or changed by the facts, whole, with their new `rev`.
    pub rows: Vec<MessageRow>,
    /// What edits say, each a row of its own.
    pub contents: Vec<Changed>,
    pub key: Option<UsedKey>,
    pub effects: Vec<Effect>,
    pub answer: Answer,
}

/// Where the content of an edit lies: by the seq of the fact that brought it, among its
/// conversation's; what came before its thread had one, among the thread's.
pub type ContentAt = (ConversationId, Place);

/// What a command answers, once what it depends on is durable. A provider's command is answered little,
/// and its answer is handed on often: it is small.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Whether it changed anything.
    pub changed: bool,
    /// The message it made or had made; not for a provider's commands.
    pub message: Option<Box<Message>>,
    /// The conversation as it is then; not for a provider's commands.
    pub conversation: Option<Arc<Conversation>>,
    /// How many edits and deletions did not count: they were of somebody else than the author.
    pub foreign: u32,
}

/// Something to be done outside, after the commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hand the message to the account's outbox, not before `due`.
    Enqueue { message: MessageId, place: Place, due: Timestamp },
    /// The send has begun durably: perform it.
    Perform { message: MessageId, place: Place, attempt: u32 },
    /// Fetch the files that the message carries from the provider.
    Fetch { place: Place },
    /// Files that a message showed are gone with what it said.
    LetGo { media: Vec<MediaId> },
    /// Tell the provider that the customer's message was read.
    MarkRead { provider_id: String },
    /// The same, and show the customer that somebody types.
    ShowTyping { provider_id: String },
    /// Tell the contact's actor the provider's name for it.
    LearnName { name: String },
    /// Every other send of the account would fail too.
    StopAccount { code: String, message: String },
}

/// Why a command is refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error("there is no such conversation")]
    NotFound,
    #[error("there is no such message in this conversation")]
    NoSuchMessage,
    #[error("reactions go to messages of the last 30 days that have been sent and not deleted")]
    NotReactable,
    #[error("the conversation is an earlier case of its thread; use the current one")]
    NotCurrent,
    #[error("the channel's window for free text is closed; {}", plan(*has_templates))]
    WindowClosed {
        /// When it closed; `None`: the customer never wrote.
        at: Option<Timestamp>,
        /// A template can be sent all the same.
        has_templates: bool,
    },
    #[error("the channel account is not active; check it under integrations")]
    AccountInactive,
    #[error("this Idempotency-Key was used with another body; use a new key")]
    KeyReused,
    #[error("the conversation has too many messages waiting to be sent; try again shortly")]
    TooManyPending,
    #[error("too many receipts and amendments wait for their message in this conversation")]
    TooManyParked,
    #[error("a conversation has at most 50 tags; remove some first")]
    TooManyTags,
    #[error("people have worked in this conversation; it is not moved by itself")]
    Touched,
    #[error("a program wrote what this would answer; only people answer programs")]
    Automatic,
    #[error("this thread turned out to be another one; use that")]
    Moved(MovedTo),
}

/// What has to be read before a command can be decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Need {
    /// Where the message with this provider id (or dedup hash) lies, if anywhere.
    Ref(String),
    /// What this idempotency key made, if it was used.
    Key([u8; 16]),
    /// The row of a message of this conversation.
    Row(ConversationId, Place),
    /// What an edit says that waits for its message.
    Content(ContentAt),
    /// The row of a message named by its id (scans the conversation).
    Message(ConversationId, MessageId),
    /// The head of an earlier case.
    Case(ConversationId),
    /// Who else a contact is.
    Person(ContactId),
}

/// What can be done once the window is closed.
fn plan(has_templates: bool) -> &'static str {
    match has_templates {
        true => "send a template, or wait for the customer to write",
        false => "wait for the customer to write",
    }
}
