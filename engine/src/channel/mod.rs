//! Channels: how a provider's payloads become items, and messages become requests. What is a
//! provider's own format never leaves its folder.

pub mod email;
mod instagram;
mod item;
pub mod login;
pub mod messaging;
mod messenger;
mod reading;
mod rows;
mod setup;
pub mod signature;
pub mod webhook;
pub mod whatsapp;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{ConversationId, MessageId, ThreadId};
use crate::message::{MessageError, Place};
use crate::saying::Saying;

pub use item::{
    Amend, Amender, Amendment, Author, Echo, Handle, IdentityChange, Import, Imported, Inbound,
    InboundMessage, Receipt, Topic, Watermark,
};
pub use rows::{Carrier, Window};
pub use setup::Setup;

/// A channel.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Channel {
    Whatsapp,
    Instagram,
    Messenger,
    Email,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Whatsapp, Self::Instagram, Self::Messenger, Self::Email];

    /// Its name in keys and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whatsapp => "whatsapp",
            Self::Instagram => "instagram",
            Self::Messenger => "messenger",
            Self::Email => "email",
        }
    }
}

/// What goes along with a send so that a receipt finds its message without a look-up. It holds no
/// secret: every app subscribed to the account can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opaque {
    pub thread: ThreadId,
    pub conversation: ConversationId,
    pub place: Place,
    /// The reaction, where it is one to the message at this place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaction: Option<MessageId>,
}

impl Opaque {
    /// As text: `os1.<thread>.<conversation>.<block>.<ordinal>`, and `.<reaction>` for one.
    pub fn encode(&self) -> String {
        let (thread, conversation) = (self.thread.0.simple(), self.conversation.0.simple());
        let Place { block, ordinal } = self.place;
        let message = format!("os1.{thread}.{conversation}.{block}.{ordinal}");
        match self.reaction {
            Some(reaction) => format!("{message}.{}", reaction.0.simple()),
            None => message,
        }
    }

    /// As the id of a mail that we send.
    pub fn mail_id(&self, domain: &str) -> String {
        format!("{}@{domain}", self.encode())
    }

    /// Of the id of a mail.
    pub fn of_mail(id: &str) -> Option<Self> {
        Self::decode(id.split('@').next()?)
    }

    /// Of a text; `None` when it is not one of ours.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("os1.")?.split('.');
        let thread = parts.next()?.parse().ok()?;
        let conversation = parts.next()?.parse().ok()?;
        let block = parts.next()?.parse().ok()?;
        let ordinal = parts.next()?.parse().ok()?;
        let reaction = match parts.next() {
            Some(reaction) => Some(reaction.parse().ok()?),
            None => None,
        };
        parts.next().is_none().then_some(Self {
            thread,
            conversation,
            place: Place { block, ordinal },
            reaction,
        })
    }
}

/// A message or a reaction to send, in the engine's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbound {
    /// The customer's handles, in canonical order.
    pub to: Vec<Handle>,
    /// A person answers a customer who has not written for longer than anybody may answer freely.
    pub is_late: bool,
    pub what: Outgoing,
    pub opaque: Opaque,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    Message {
        saying: Saying,
        /// The provider's id of the quoted message.
        reply_to: Option<String>,
    },
    Reaction {
        /// The provider's id of the message that it is for.
        message: String,
        /// `None`: what was there is taken back.
        emoji: Option<String>,
    },
}

/// What a provider says of who a person is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    Named(String),
    /// It does not say: they have not agreed, or have no name.
    Unknown,
    /// It could not say it now.
    Later,
}

/// Where a file of a provider's can be had for some minutes, and what it says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    pub url: String,
    /// As hex or in base64.
    pub sha256: Option<String>,
    /// In bytes.
    pub size: Option<u64>,
}

/// Why a file of a provider's cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It will pass.
    Passing(MessageError),
    /// The provider does not have it.
    Gone(MessageError),
}

/// A file to a provider, as data but for its bytes.
#[derive(Clone, PartialEq)]
pub struct Upload {
    /// Path below the Graph API's versioned base, without a leading slash.
    pub path: String,
    /// The access token.
    pub bearer: String,
    /// The other parts of the form, before the file's.
    pub fields: Vec<(&'static str, String)>,
    /// The name of the file's part.
    pub file: &'static str,
    pub mime_type: String,
}

/// A request to a provider, as data.
#[derive(Clone, PartialEq)]
pub struct Call {
    pub api: Api,
    pub method: Method,
    /// Path below the API's versioned base, without a leading slash.
    pub path: String,
    /// The access token; empty where there is none yet.
    pub bearer: String,
    /// JSON; to [`Api::InstagramLogin`] its texts go as a form.
    pub body: Option<serde_json::Value>,
}

/// Which of Meta's APIs is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Graph,
    /// That of accounts that were connected by Instagram Login.
    Instagram,
    /// The same without a version: what it does with tokens.
    InstagramTokens,
    /// Where Instagram Login gives tokens for codes.
    InstagramLogin,
}

/// The method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Delete,
}

/// How a request ended, as the transport saw it.
#[derive(Clone, Debug)]
pub enum Answered {
    /// The provider answered; and for how long it wants to be left alone, where it says so.
    With { status: u16, body: Vec<u8>, wait: Option<Duration> },
    /// Nothing can have reached the provider.
    NotSent(String),
    /// It may have.
    PerhapsSent(String),
}

/// How a send ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Accepted; perhaps held back for now, and why.
    Sent { provider_id: String, held: Option<MessageError> },
    /// A passing error: try again.
    Retry { error: MessageError, slow: Slow },
    /// Refused for good: this message will not go out as it is.
    Refused { error: MessageError },
    /// Refused, and so would be every other message of this account.
    AccountStopped { error: MessageError },
    /// Perhaps accepted, nobody knows.
    Unknown { reason: String },
}

/// What a passing error slows down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// This message only.
    Message,
    /// The same, for a reason of ours: it is tried for as long as there is a reason to wait.
    Ours,
    /// This customer.
    Pair,
    /// Everything of the account.
    Account,
}
