//! What callers ask to be said to the customer.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Card, Interactive, Location, Media, Saying, Source, Template};
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
    kind: Option<NewKind>,
    /// A text; beside an attachment its caption.
    #[serde(default)]
    #[schemars(length(min = 1, max = 4096))]
    text: Option<String>,
    /// Of an email.
    #[serde(default)]
    subject: Option<String>,
    /// Of an email.
    #[serde(default)]
    html: Option<String>,
    /// One, on WhatsApp.
    #[serde(default)]
    attachments: Option<Vec<NewAttachment>>,
    #[serde(default)]
    location: Option<Location>,
    #[serde(default)]
    contacts: Option<Vec<Card>>,
    #[serde(default)]
    interactive: Option<Interactive>,
    #[serde(default)]
    template: Option<Template>,
    #[serde(default)]
    reaction: Option<NewReaction>,
    /// The message that is answered.
    #[serde(default)]
    reply_to_message_id: Option<MessageId>,
}

/// What a message that is to be sent can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum NewKind {
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
struct NewAttachment {
    kind: NewMedia,
    /// Where the provider fetches it: on the public internet.
    #[serde(default)]
    url: Option<String>,
    /// Instead: a file that is stored here.
    #[serde(default)]
    media_id: Option<MediaId>,
    #[serde(default)]
    caption: Option<String>,
    /// Of a document.
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
    /// The file of ours that it names.
    pub fn media_id(&self) -> Option<MediaId> {
        self.attachments.as_ref()?.first()?.media_id
    }

    /// The one thing that it asks for. `medium`: the file that it names, if the caller may send it.
    /// The channel's limits are not looked at yet.
    pub fn asked(self, medium: Option<&Medium>) -> Result<Asked, Invalid> {
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
            Saying::Media(media(attachments, self.text, kind, medium)?)
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
fn media(
    attachments: Vec<NewAttachment>,
    text: Option<String>,
    kind: Option<NewKind>,
    medium: Option<&Medium>,
) -> Result<Media, Invalid> {
    let mut all = attachments.into_iter();
    let Some(first) = all.next() else {
        return Err(Invalid::field("attachments", "is required"));
    };
    if all.next().is_some() {
        let message = "is one too many; send a message for each";
        return Err(Invalid::field("attachments[1]", message));
    }
    let NewAttachment { kind: shown, url, media_id, caption, filename } = first;
    if kind.is_some_and(|kind| kind != shown.as_kind()) {
        return Err(other_kind("attachments"));
    }
    let caption = match (caption, text) {
        (Some(_), Some(_)) => {
            let message = "stands in the attachment's `caption` already; leave one of them out";
            return Err(Invalid::field("text", message));
        }
        (caption, text) => caption.or(text),
    };
    let kind = shown.as_message_kind();
    let (from, filename) = match (url, media_id) {
        (Some(_), Some(_)) => {
            let message = "cannot be sent together with `url`; leave one of them out";
            return Err(Invalid::field("attachments[0].media_id", message));
        }
        (Some(url), None) => (Source::Link(url), filename),
        (None, Some(_)) => {
            let message = "is no file that you may send; upload it first";
            let unknown = || Invalid::field("attachments[0].media_id", message);
            let medium = medium.ok_or_else(unknown)?;
            // Documents are shown by their names.
            let named = medium.filename.clone().filter(|_| kind == MessageKind::Document);
            (Source::Stored(medium.stored()), filename.or(named))
        }
        (None, None) => {
            let message = "is required, or a `media_id`";
            return Err(Invalid::field("attachments[0].url", message));
        }
    };
    Ok(Media { kind, from, caption, filename })
}

fn other_kind(field: &str) -> Invalid {
    let message = format!("the body shows `{field}`; leave `kind` out, or send what it names");
    Invalid::field("kind", message)
}

impl NewKind {
    /// The field that holds it.
    fn field(self) -> &'static str {
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
