//! What comes in, in the engine's words: the items of a webhook. They may be stored until they can be
//! taken: add variants and fields that may be missing, never rename.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Opaque;
use crate::contact::IdentityKind;
use crate::id::{ContactId, ThreadId};
use crate::message::{Content, MessageError, MessageStatus, Referral, Sender, SenderKind, Story};
use crate::phone;
use crate::time::Timestamp;

/// One item of a webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inbound {
    /// A customer wrote.
    Message(Box<InboundMessage>),
    /// A message of ours got further, or failed.
    Receipt(Receipt),
    /// A message that went out, ours or written in the provider's own app.
    Echo(Echo),
    /// Something happened to a message: a reaction, an edit, a deletion.
    Amendment(Amendment),
    /// Who a customer is changed.
    Identity(IdentityChange),
    /// All messages of ours to a customer, up to a time, got further.
    Watermark(Watermark),
    /// Understood, and nothing to do: nothing to be stored either.
    #[serde(skip)]
    Ignored(#[serde(skip)] &'static str),
    /// Not understood: kept raw as a dead letter.
    Dead {
        reason: String,
        /// The item as the provider sent it, in what it is read by (JSON): it can be read again.
        raw: String,
    },
}

/// A handle as a payload names it, before it is known whose it is.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Handle {
    pub kind: IdentityKind,
    pub value: String,
}

impl Handle {
    /// Its value as it is compared: two handles of a kind are one where these are the same.
    pub fn compared(&self) -> Cow<'_, str> {
        match self.kind {
            IdentityKind::Phone => phone::comparable(&self.value),
            _ => Cow::Borrowed(&self.value),
        }
    }

    /// Whether it is a business-scoped id that several of the provider's businesses share, e.g.
    /// `US.ENT.118`.
    pub fn is_parent(&self) -> bool {
        self.kind == IdentityKind::Bsuid
            && self.value.get(2..).is_some_and(|id| id.starts_with(".ENT."))
    }
}

/// A customer's message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InboundMessage {
    /// The customer's handles, in canonical order, never empty; of a group the group's.
    pub from: Vec<Handle>,
    /// The provider's name for the customer.
    pub name: Option<String>,
    /// Who of a group wrote it.
    pub author: Option<Author>,
    /// The provider's id; a message without one is told apart by `dedup`.
    pub provider_id: Option<String>,
    /// A hash (hex) of account, sender, time and content, where there is no provider id.
    pub dedup: Option<String>,
    /// Absent when missing or implausible.
    pub sent_at: Option<Timestamp>,
    pub content: Content,
    /// The provider's id of the quoted message.
    pub reply_to: Option<String>,
    /// The story of ours that it answers.
    pub story: Option<Story>,
    pub forwarded: bool,
    pub referral: Option<Referral>,
    /// Why it cannot be shown, in the provider's words.
    pub error: Option<MessageError>,
    /// Which of its customer's threads it is for, where a customer has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Topic>,
    /// A program wrote it: it is never answered by one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
    /// A program answered for a customer who has not read what it answers: there is nothing to do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auto_reply: bool,
    /// That of a message of ours which it says has not arrived: it is shown only where that is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounce: Option<Receipt>,
}

/// Which thread a message is for on a channel where one customer has several, and several people
/// write in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// What the message is told apart by among all of its account.
    pub own: String,
    /// What it answers, the likeliest first: their thread is its.
    pub answers: Vec<String>,
    /// The thread that it was written to, in an address that we signed.
    pub thread: Option<ThreadId>,
    /// The first message of its thread, as far as it says: of one customer all that begin with the
    /// same are one thread, whichever comes first.
    pub first: String,
}

/// Who of a group did something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Author {
    /// In canonical order, never empty.
    pub handles: Vec<Handle>,
    /// The provider's name for them.
    pub name: Option<String>,
    /// Who that is, once it was found out.
    pub contact: Option<ContactId>,
}

/// What the provider says of a message of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub provider_id: String,
    /// What we had sent along to know it again.
    pub opaque: Option<Opaque>,
    /// `Sent`, `Delivered`, `Read`, `Played` or `Failed`.
    pub status: MessageStatus,
    pub at: Option<Timestamp>,
    /// The customer's handles; empty when the provider does not say.
    #[serde(default)]
    pub recipient: Vec<Handle>,
    pub error: Option<MessageError>,
}

/// What the provider says of all messages of ours to a customer that it had taken by then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watermark {
    /// The customer's handles, never empty.
    pub customer: Vec<Handle>,
    /// `Delivered` or `Read`.
    pub status: MessageStatus,
    pub up_to: Timestamp,
}

/// A message that went out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Echo {
    /// The customer's handles.
    pub to: Vec<Handle>,
    pub provider_id: String,
    pub opaque: Option<Opaque>,
    pub sent_at: Option<Timestamp>,
    pub content: Content,
    /// The provider's id of the quoted message.
    pub reply_to: Option<String>,
    #[serde(default)]
    pub forwarded: bool,
}

impl Imported {
    /// How large it is, about.
    pub fn bytes(&self) -> usize {
        let texts = [&self.content.text, &self.content.raw, &self.content.payload];
        256 + texts.into_iter().flatten().map(String::len).sum::<usize>()
    }
}

impl Author {
    /// As the sender of a message.
    pub fn sender(&self) -> Sender {
        let (id, name) = (self.contact.map(|contact| contact.0), self.name.clone());
        Sender { kind: SenderKind::Contact, id, name }
    }
}

/// A part of a conversation of before the account was connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Import {
    /// The customer's handles; of a group the group's.
    pub customer: Vec<Handle>,
    /// Which phase of the history it is of; `None`: a file that comes behind, alone.
    pub phase: Option<u8>,
    /// In the order in which they were written.
    pub messages: Vec<Imported>,
}

/// A message of before the account was connected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    pub provider_id: String,
    pub sent_at: Option<Timestamp>,
    /// The business wrote it.
    pub is_ours: bool,
    /// Who of a group wrote it.
    pub author: Option<Author>,
    /// How far one of ours got.
    pub status: MessageStatus,
    pub content: Content,
    pub reply_to: Option<String>,
    pub forwarded: bool,
}

/// What somebody did to a message that is there, or is still on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Amendment {
    /// The customer's handles; of a group the group's.
    pub customer: Vec<Handle>,
    pub by: Amender,
    /// The provider's id of the message.
    pub target: String,
    /// The provider's id of the amendment itself.
    pub provider_id: Option<String>,
    pub at: Option<Timestamp>,
    pub what: Amend,
}

/// Who amends a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amender {
    Customer,
    /// One of a group.
    Author(Author),
    /// Somebody of the business, in the provider's own app.
    Business,
}

/// What is done to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amend {
    /// `None`: what was there is taken back.
    Reaction(Option<String>),
    /// It says this from now on.
    Edit(Content),
    /// What it said is gone.
    Deletion,
}

/// The provider says that a customer's handles are not what they were, or that something else about
/// who they are changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentityChange {
    /// Handles of the customer that stay as they are.
    pub of: Vec<Handle>,
    /// Those that are the customer's no more.
    pub previous: Vec<Handle>,
    /// Those that are the customer's from now on.
    pub current: Vec<Handle>,
    pub at: Option<Timestamp>,
    /// What people at the desk read of it.
    pub text: String,
    /// The provider's id of the message that says so.
    pub provider_id: Option<String>,
    /// What this change is told apart by: of several events that share one, the first is shown.
    pub marks: Vec<String>,
}
