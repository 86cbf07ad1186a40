//! A message: what people read, and how far it got.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{ConversationId, MessageId};
use crate::time::Timestamp;

/// A message as REST and live events show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    pub id: MessageId,
    pub conversation_id: ConversationId,
    /// The number of the fact that made it, in its conversation.
    pub seq: u64,
    /// The number of the newest fact that changed it: of two copies the higher is newer.
    pub rev: u64,
    pub direction: Direction,
    pub kind: MessageKind,
    pub status: MessageStatus,
    pub sender: Sender,
    /// Our time.
    pub created_at: Timestamp,
    /// The provider's time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// What a person would read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    /// The provider's id of the quoted message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_message_id: Option<MessageId>,
    /// The machine value of a button, list or postback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<MessageError>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MessageKind {
    Text,
    Image,
    Audio,
    Video,
    Document,
    Sticker,
    Location,
    Contacts,
    Interactive,
    Button,
    Order,
    Template,
    Share,
    Story,
    System,
    Unsupported,
}

/// How far a message got. The order is a lattice: a status never moves
/// backwards in it, so every order of the same receipts ends the same. `Failed` overtakes `Sent`
/// and is overtaken by `Delivered`; `Unknown` is settled by any receipt.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MessageStatus {
    Received,
    Queued,
    Sending,
    Unknown,
    Sent,
    Failed,
    Delivered,
    Read,
    Played,
}

/// Who wrote a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sender {
    #[serde(rename = "type")]
    pub kind: SenderKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What kind of author a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum SenderKind {
    Contact,
    Agent,
    AiAgent,
    Automation,
    /// Written outside the engine, in the provider's own inbox or phone app.
    Provider,
}

/// Something a message carries beside its text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attachment {
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_media_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
}

/// Why a message failed, in the provider's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageError {
    /// The provider's code, as text.
    pub code: String,
    pub message: String,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Where a message's row lies in its conversation: `block` is that of the first seq of the commit
/// that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    pub block: u32,
    /// The message's own number in its conversation, from 1.
    pub ordinal: u64,
}

/// A message as it is stored: with its place, and what only the engine needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MessageRow {
    pub message: Message,
    pub place: Place,
    /// What the provider sent, where the engine does not understand it (JSON).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// How often a send was begun.
    #[serde(default)]
    pub attempts: u32,
}

/// How many seqs a block of a conversation's log holds. A commit lies whole in the block of its
/// first seq.
pub const BLOCK_SEQS: u64 = 512;

/// The block of a commit whose first fact has this seq.
pub fn block_of(first_seq: u64) -> u32 {
    u32::try_from(first_seq / BLOCK_SEQS).unwrap_or(u32::MAX)
}
