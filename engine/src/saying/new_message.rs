//! What callers ask to be said to the customer.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Card, Interactive, Location, Media, Saying, Source, Template};
use crate::channel::Channel;
use crate::id::{MediaId, MessageId};
use crate::media::Medium;
use crate::message::MessageKind;
use crate::resource::Invalid;

/// A message as callers write it: one of its contents, and perhaps what it answers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// May be left out: the body shows it.
    #[serde(default)]
    pub(super) kind: Option<NewKind>,
    /// A text; beside an attachment its caption, in an email beside its files. Up to 4096 characters,
    /// in an email up to 65536.
    #[serde(default)]
    #[schemars(length(min = 1, max = 65536))]
    pub(super) text: Option<String>,
    /// Of an email; without it that of what is answered.
    #[serde(default)]
    #[schemars(length(min = 1, max = 255))]
    pub(super) subject: Option<String>,
    /// Of an email, beside the text or instead of it. What would run is left out.
    #[serde(default)]
    pub(super) html: Option<String>,
    /// One; in an email up to 20.
    #[serde(default)]
    pub(super) attachments: Option<Vec<NewAttachment>>,
    #[serde(default)]
    pub(super) location: Option<Location>,
    #[serde(default)]
    pub(super) contacts: Option<Vec<Card>>,
    #[serde(default)]
    pub(super) interactive: Option<Interactive>,
    #[serde(default)]
    pub(super) template: Option<Template>,
    #[serde(default)]
    pub(super) reaction: Option<NewReaction>,
    /// The message that is answered.
    #[serde(default)]
    pub(super) reply_to_message_id: Option<MessageId>,
}

/// What a message that is to be sent can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NewKind {
    Text,
    Image,
    Audio,
    Video,
    Document,
    Sticker,
    Location,
    Contacts,
    Interactive,
    Template,
    Reaction,
}

/// A file to be sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAttachment {
    kind: NewMedia,
    /// Where the provider fetches it, or for an email we do: on the public internet.
    #[serde(default)]
    url: Option<String>,
    /// Instead: a file that is stored here.
    #[serde(default)]
    pub(super) media_id: Option<MediaId>,
    #[serde(default)]
    caption: Option<String>,
    /// Of a document, or of any file of an email.
    #[serde(default)]
    filename: Option<String>,
}

/// What a file is shown as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum NewMedia {
    Image,
    Audio,
    Video,
    Document,
    Sticker,
}

/// A reaction to a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReaction {
    pub message_id: MessageId,
    /// Empty takes the reaction back.
    pub emoji: String,
}

/// What a caller asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A message of the desk.
    Message { saying: Saying, reply_to: Option<MessageId> },
    /// A reaction of the desk.
    Reaction(NewReaction),
}

impl NewMessage {
    /// The files of ours that it names.
    pub fn media_ids(&self) -> impl Iterator<Item = MediaId> {
        self.attachments.iter().flatten().filter_map(|attachment| attachment.media_id)
    }

    /// The one thing that it asks for on this channel. `files`: those that it names, as far as the
    /// caller may send them. The channel's limits are not looked at yet.
    pub fn asked(self, channel: Channel, files: &[Medium]) -> Result<Asked, Invalid> {
        if channel == Channel::Email {
            return self.mail(files);
        }
        let (kind, mut given) = (self.kind, Vec::new());
        for field in ["subject", "html"] {
            let is_given = if field == "html" { &self.html } else { &self.subject };
            if is_given.is_some() {
                return Err(Invalid::field(field, "is for email; leave it out here"));
            }
        }
        let attachments = self.attachments.filter(|list| !list.is_empty());
        let contacts = self.contacts.filter(|list| !list.is_empty());
        for (field, is_given) in [
            ("attachments", attachments.is_some()),
            ("location", self.location.is_some()),
            ("contacts", contacts.is_some()),
            ("interactive", self.interactive.is_some()),
            ("template", self.template.is_some()),
            ("reaction", self.reaction.is_some()),
            // The caption of an attachment is no content of its own.
            ("text", self.text.is_some() && attachments.is_none()),
        ] {
            if is_given {
                given.push(field);
            }
        }
        match given[..] {
            [] => {
                let field = kind.map_or("text", NewKind::field);
                return Err(Invalid::field(field, "is required"));
            }
            [one] if kind.is_none_or(|kind| kind.field() == one) => {}
            [one] => return Err(other_kind(one)),
            [one, other, ..] => {
                let message = format!("cannot be sent together with `{one}`; send two messages");
                return Err(Invalid::field(other, message));
            }
        }
        if let Some(reaction) = self.reaction {
            if self.reply_to_message_id.is_some() {
                let message = "is not for a reaction, which names its message itself";
                return Err(Invalid::field("reply_to_message_id", message));
            }
            return Ok(Asked::Reaction(reaction));
        }
        let saying = if let Some(attachments) = attachments {
            Saying::Media(one_file(attachments, self.text, kind, files)?)
        } else if let Some(location) = self.location {
            Saying::Location(location)
        } else if let Some(contacts) = contacts {
            Saying::Contacts(contacts)
        } else if let Some(interactive) = self.interactive {
            Saying::Interactive(interactive)
        } else if let Some(template) = self.template {
            Saying::Template(template)
        } else {
            Saying::Text(self.text.unwrap_or_default())
        };
        Ok(Asked::Message { saying, reply_to: self.reply_to_message_id })
    }
}

/// The one attachment, with its caption.
fn one_file(
    attachments: Vec<NewAttachment>,
    text: Option<String>,
    kind: Option<NewKind>,
    files: &[Medium],
) -> Result<Media, Invalid> {
    let mut all = attachments.into_iter();
    let Some(first) = all.next() else {
        return Err(Invalid::field("attachments", "is required"));
    };
    if all.next().is_some() {
        let message = "is one too many; send a message for each";
        return Err(Invalid::field("attachments[1]", message));
    }
    if kind.is_some_and(|kind| kind != first.kind.as_kind()) {
        return Err(other_kind("attachments"));
    }
    if first.caption.is_some() && text.is_some() {
        let message = "stands in the attachment's `caption` already; leave one of them out";
        return Err(Invalid::field("text", message));
    }
    let media = media(first, 0, files)?;
    Ok(Media { caption: media.caption.or(text), ..media })
}

/// An attachment, the one with this number.
pub(super) fn media(
    NewAttachment { kind: shown, url, media_id, caption, filename }: NewAttachment,
    n: usize,
    files: &[Medium],
) -> Result<Media, Invalid> {
    let kind = shown.as_message_kind();
    let wrong = |field: &str, message| Invalid::field(format!("attachments[{n}].{field}"), message);
    let (from, filename) = match (url, media_id) {
        (Some(_), Some(_)) => {
            let message = "cannot be sent together with `url`; leave one of them out";
            return Err(wrong("media_id", message));
        }
        (Some(url), None) => (Source::Link(url), filename),
        (None, Some(id)) => {
            let message = "is no file that you may send; upload it first";
            let medium = files.iter().find(|medium| medium.id == id);
            let medium = medium.ok_or_else(|| wrong("media_id", message))?;
            // Documents are shown by their names.
            let named = medium.filename.clone().filter(|_| kind == MessageKind::Document);
            (Source::Stored(medium.stored()), filename.or(named))
        }
        (None, None) => return Err(wrong("url", "is required, or a `media_id`")),
    };
    Ok(Media { kind, from, caption, filename })
}

pub(super) fn other_kind(field: &str) -> Invalid {
    let message = format!("the body shows `{field}`; leave `kind` out, or send what it names");
    Invalid::field("kind", message)
}

impl NewKind {
    /// The field that holds it.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image | Self::Audio | Self::Video | Self::Document | Self::Sticker => {
                "attachments"
            }
            Self::Location => "location",
            Self::Contacts => "contacts",
            Self::Interactive => "interactive",
            Self::Template => "template",
            Self::Reaction => "reaction",
        }
    }
}

impl NewMedia {
    fn as_kind(self) -> NewKind {
        match self {
            Self::Image => NewKind::Image,
            Self::Audio => NewKind::Audio,
            Self::Video => NewKind::Video,
            Self::Document => NewKind::Document,
            Self::Sticker => NewKind::Sticker,
        }
    }

    fn as_message_kind(self) -> MessageKind {
        match self {
            Self::Image => MessageKind::Image,
            Self::Audio => MessageKind::Audio,
            Self::Video => MessageKind::Video,
            Self::Document => MessageKind::Document,
            Self::Sticker => MessageKind::Sticker,
        }
    }
}
