//! A message: what people read, and how far it got.

mod row;

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::row::{
    BLOCK_SEQS, MailHead, MessageRow, Place, REACTIONS_MAX, Reacted, Reacting, VERSIONS_MAX,
    Version, block_of,
};
use crate::id::{ConversationId, MediaId, MessageId};
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
    /// Of a mail: the text without what it quotes, where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_text: Option<String>,
    /// Of a mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Of a mail, without anything that could run; its inline images name their attachment's
    /// `content_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_message_id: Option<String>,
    /// The provider's id of the quoted message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_message_id: Option<MessageId>,
    /// The story of the business that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story: Option<Story>,
    /// The machine value of a button, list or postback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// Why the desk's last reaction to it did not go out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaction_error: Option<MessageError>,
    /// When its author last changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// When its author deleted it: what it said is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<MessageError>,
    /// The advertisement by which the customer came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referral: Option<Referral>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
    /// A program wrote it, e.g. an out-of-office note: it is never answered by one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
}

/// What somebody thinks of a message, as an emoji.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reaction {
    pub emoji: String,
    pub sender: Sender,
}

/// A story, which is gone after a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Story {
    /// The provider's.
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Where a customer came from, e.g. an advertisement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Referral {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<String>,
    /// `ad` or `post`, as the provider names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_url: Option<String>,
    /// The click, for reporting conversions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub click_id: Option<String>,
    /// The greeting that the customer was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub welcome_message: Option<String>,
    /// What the business wrote into the link or the advertisement.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum MessageKind {
    #[default]
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

impl MessageKind {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
            Self::Sticker => "sticker",
            Self::Location => "location",
            Self::Contacts => "contacts",
            Self::Interactive => "interactive",
            Self::Button => "button",
            Self::Order => "order",
            Self::Template => "template",
            Self::Share => "share",
            Self::Story => "story",
            Self::System => "system",
            Self::Unsupported => "unsupported",
        }
    }
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
    /// `image`, `audio`, `video`, `document`, `sticker`, `location`, `contact`, `share`, `story`,
    /// `template` or `unsupported`.
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Ours, once the file is stored here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_id: Option<MediaId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_media_id: Option<String>,
    /// Of an inline image: its mail's HTML shows it as `cid:` and this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The `url` is the provider's and is soon over: the file is fetched from there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub url_expires: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// In bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// As the provider says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Why the file could not be stored here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<MessageError>,
    /// Spoken into the phone, rather than a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub voice: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub animated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Of a place, or of the person on a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Of a card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<Labelled>,
    /// Of a card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<Labelled>,
    /// Of a card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
}

/// A number or an address on a card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Labelled {
    pub value: String,
    /// As its owner calls it, in any language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its name at the provider, where it can be written to there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wa_id: Option<String>,
}

/// What a message says: all that is gone when it is deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    pub kind: MessageKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The text without what it quotes, where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visible_text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Sanitised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// The machine value of a button, list or flow reply; an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    /// What the provider sent (JSON), where the engine does not understand it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// Why a message failed, in the provider's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageError {
    /// The provider's code, as text.
    pub code: String,
    pub message: String,
}

impl MessageError {
    /// Of words of ours.
    pub fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: message.to_owned() }
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Message {
    /// What the files are known by that are still to be fetched from the provider.
    pub fn wanted(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.attachments.iter().filter(|one| one.is_wanted()).filter_map(Attachment::source)
    }
}

impl Attachment {
    /// What its file is known by where it is fetched from: the provider's id of it, or, where it has
    /// none, a digest of its address, which itself is a part of what the message says.
    pub fn source(&self) -> Option<Cow<'_, str>> {
        if let Some(id) = &self.provider_media_id {
            return Some(Cow::Borrowed(id));
        }
        let url = self.url.as_deref().filter(|_| self.url_expires)?;
        Some(Cow::Owned(hex::encode(&Sha256::digest(url)[..16])))
    }

    /// Whether its file is still to be fetched from the provider.
    pub fn is_wanted(&self) -> bool {
        // What has an id there and is no file: it is shown there.
        let others = ["share", "story", "location", "contact", "template", "unsupported"];
        let is_file = self.url_expires || !others.contains(&self.kind.as_str());
        is_file && self.media_id.is_none() && self.error.is_none() && self.source().is_some()
    }
}

impl Content {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let Self { text, visible_text, subject, html, payload, raw, attachments, .. } = self;
        bytes(&[text, visible_text, subject, html, payload, raw], attachments)
    }
}

/// About how many bytes a content takes that lies in these.
fn bytes(texts: &[&Option<String>], attachments: &[Attachment]) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts: usize = texts.iter().copied().map(length).sum();
    let of = |of: &Attachment| {
        let texts = [&of.url, &of.caption, &of.filename, &of.name, &of.address];
        let cards = of.phones.iter().chain(&of.emails).map(|one| one.value.len() + 64);
        128 + texts.into_iter().map(length).sum::<usize>() + cards.sum::<usize>()
    };
    256 + texts + attachments.iter().map(of).sum::<usize>()
}

impl Sender {
    /// Whether it is the same person to a provider, for whom all who answer are the business.
    pub fn is_one_with(&self, other: &Self) -> bool {
        match (self.kind, other.kind) {
            (SenderKind::Contact, SenderKind::Contact) => self.id == other.id,
            (SenderKind::Contact, _) | (_, SenderKind::Contact) => false,
            _ => true,
        }
    }
}
