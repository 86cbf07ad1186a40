//! What a message says to the customer, whatever its form; and how its row shows that, from which
//! it is sent.

mod link;
mod mail;
mod new_message;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use link::{is_public, link};
pub use mail::{MAIL_FILES_MAX, Mail};
pub use new_message::{Asked, NewMessage, NewReaction};

use crate::media::Stored;
use crate::message::{Attachment, Content, Labelled, MessageKind};

/// What is said.
#[derive(Clone, Debug, PartialEq)]
pub enum Saying {
    Text(String),
    Media(Media),
    Location(Location),
    Contacts(Vec<Card>),
    Interactive(Interactive),
    Template(Template),
    Mail(Mail),
}

/// A file.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// `Image`, `Audio`, `Video`, `Document` or `Sticker`.
    pub kind: MessageKind,
    pub from: Source,
    pub caption: Option<String>,
    pub filename: Option<String>,
}

/// Where a file comes from that is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The provider fetches it.
    Link(String),
    /// It is stored here.
    Stored(Stored),
    /// The provider has it, under this id of its own.
    Provider(String),
}

/// A place on the map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Location {
    #[schemars(range(min = -90, max = 90))]
    pub latitude: f64,
    #[schemars(range(min = -180, max = 180))]
    pub longitude: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A contact card: a name and at least one other thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub name: CardName,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phones: Vec<CardPhone>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<CardEmail>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<CardUrl>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<CardAddress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<CardOrg>,
    /// `YYYY-MM-DD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birthday: Option<String>,
}

/// The name on a card: whole, and at least one of its parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardName {
    pub formatted_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub middle_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
}

/// A number on a card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardPhone {
    pub phone: String,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its WhatsApp id: with it the customer can write there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wa_id: Option<String>,
}

/// An email address on a card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardEmail {
    pub email: String,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A website on a card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardUrl {
    pub url: String,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Where somebody lives or works.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardAddress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub street: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country_code: Option<String>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Where somebody works.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardOrg {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub company: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// Something to press: buttons, a list, or another kind of the provider's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interactive {
    /// `button`, `list`, `cta_url`, `flow`, `location_request_message`, or another of the provider's.
    #[serde(rename = "type")]
    pub kind: String,
    /// `{"type": "text", "text": ...}`, or an image, a video or a document by its `link`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Words>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub footer: Option<Words>,
    /// What can be pressed, in the provider's form: `buttons`, `button` and `sections`, or what the
    /// type asks for.
    pub action: Map<String, Value>,
}

/// A text of an interactive message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Words {
    pub text: String,
}

/// A text that the provider has approved, with what is filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    pub name: String,
    /// The language that was approved, e.g. `en_US`.
    pub language: String,
    /// Header, body and buttons with their `parameters`, in the provider's form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Map<String, Value>>,
}

impl Saying {
    /// What kind of message it makes.
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Media(media) => media.kind,
            Self::Location(_) => MessageKind::Location,
            Self::Contacts(_) => MessageKind::Contacts,
            Self::Interactive(_) => MessageKind::Interactive,
            Self::Template(_) => MessageKind::Template,
            Self::Mail(_) => MessageKind::Text,
        }
    }

    /// How many bytes its files have that are stored here.
    pub fn file_bytes(&self) -> u64 {
        let Self::Mail(mail) = self else { return 0 };
        let bytes = |file: &Media| match &file.from {
            Source::Stored(stored) => stored.size,
            Source::Link(_) | Source::Provider(_) => 0,
        };
        mail.files.iter().map(bytes).sum()
    }

    /// Whether it may be said at any time, also when the customer has not written for long.
    pub fn is_always_allowed(&self) -> bool {
        matches!(self, Self::Template(_))
    }

    /// What a message shows of it, in a form from which it can be sent.
    pub fn shown(&self) -> Content {
        let mut shown = Content { kind: self.kind(), ..Content::default() };
        match self {
            Self::Text(text) => shown.text = Some(text.clone()),
            Self::Media(media) => {
                shown.text.clone_from(&media.caption);
                shown.attachments.push(media.shown());
            }
            Self::Location(Location { latitude, longitude, name, address }) => {
                shown.attachments.push(Attachment {
                    latitude: Some(*latitude),
                    longitude: Some(*longitude),
                    name: name.clone(),
                    address: address.clone(),
                    ..attachment("location")
                });
            }
            Self::Contacts(cards) => {
                shown.attachments.extend(cards.iter().map(Card::shown));
                shown.payload = json(cards);
            }
            Self::Interactive(interactive) => {
                shown.text = interactive.words().map(str::to_owned);
                shown.attachments.extend(interactive.header_media());
                shown.payload = json(interactive);
            }
            // Its words are the provider's.
            Self::Template(template) => shown.payload = json(template),
            Self::Mail(Mail { subject, text, html, files }) => {
                shown.subject.clone_from(subject);
                shown.text.clone_from(text);
                shown.html.clone_from(html);
                shown.attachments.extend(files.iter().map(Media::shown));
            }
        }
        shown
    }

    /// What a message of ours says; `None` where it says nothing that could be sent.
    pub fn of(shown: &Content) -> Option<Self> {
        let first = shown.attachments.first();
        Some(match shown.kind {
            // Mails alone have one.
            MessageKind::Text if shown.subject.is_some() => Self::Mail(Mail {
                subject: shown.subject.clone(),
                text: shown.text.clone(),
                html: shown.html.clone(),
                files: shown.attachments.iter().map(Media::of).collect::<Option<_>>()?,
            }),
            MessageKind::Text => Self::Text(shown.text.clone()?),
            kind @ (MessageKind::Image
            | MessageKind::Audio
            | MessageKind::Video
            | MessageKind::Document
            | MessageKind::Sticker) => Self::Media(Media { kind, ..Media::of(first?)? }),
            MessageKind::Location => {
                let Attachment { latitude, longitude, name, address, .. } = first?.clone();
                let (latitude, longitude) = (latitude?, longitude?);
                Self::Location(Location { latitude, longitude, name, address })
            }
            MessageKind::Contacts => Self::Contacts(parsed(shown)?),
            MessageKind::Interactive => Self::Interactive(parsed(shown)?),
            MessageKind::Template => Self::Template(parsed(shown)?),
            MessageKind::Button
            | MessageKind::Order
            | MessageKind::Share
            | MessageKind::Story
            | MessageKind::System
            | MessageKind::Unsupported => return None,
        })
    }
}

impl Media {
    fn shown(&self) -> Attachment {
        let (caption, filename) = (self.caption.clone(), self.filename.clone());
        Attachment { caption, filename, ..self.from.shown(self.kind.as_str()) }
    }

    fn of(shown: &Attachment) -> Option<Self> {
        let from = Source::of(shown)?;
        let kind = match shown.kind.as_str() {
            "image" => MessageKind::Image,
            "audio" => MessageKind::Audio,
            "video" => MessageKind::Video,
            "sticker" => MessageKind::Sticker,
            _ => MessageKind::Document,
        };
        let (caption, filename) = (shown.caption.clone(), shown.filename.clone());
        Some(Self { kind, from, caption, filename })
    }
}

impl Source {
    fn shown(&self, kind: &str) -> Attachment {
        let attachment = attachment(kind);
        match self.clone() {
            Self::Link(url) => Attachment { url: Some(url), ..attachment },
            Self::Stored(Stored { id, mime_type, size }) => Attachment {
                media_id: Some(id),
                mime_type: Some(mime_type),
                size: Some(size),
                ..attachment
            },
            Self::Provider(id) => Attachment { provider_media_id: Some(id), ..attachment },
        }
    }

    fn of(shown: &Attachment) -> Option<Self> {
        let Attachment { url, media_id, mime_type, size, provider_media_id, .. } = shown.clone();
        let stored = || {
            let (id, mime_type, size) = (media_id?, mime_type.unwrap_or_default(), size?);
            Some(Self::Stored(Stored { id, mime_type, size }))
        };
        let link = url.map(Self::Link);
        stored().or(link).or_else(|| provider_media_id.map(Self::Provider))
    }
}

impl Card {
    fn shown(&self) -> Attachment {
        let phone = |phone: &CardPhone| Labelled {
            value: phone.phone.clone(),
            label: phone.kind.clone(),
            wa_id: phone.wa_id.clone(),
        };
        let email = |email: &CardEmail| Labelled {
            value: email.email.clone(),
            label: email.kind.clone(),
            wa_id: None,
        };
        Attachment {
            name: Some(self.name.formatted_name.clone()),
            phones: self.phones.iter().map(phone).collect(),
            emails: self.emails.iter().map(email).collect(),
            organization: self.org.as_ref().and_then(|org| org.company.clone()),
            ..attachment("contact")
        }
    }
}

impl Interactive {
    /// What a person would read of it.
    fn words(&self) -> Option<&str> {
        let header = || self.header.as_ref()?.get("text")?.as_str();
        self.body.as_ref().map(|body| body.text.as_str()).or_else(header)
    }

    /// The picture, film or document at its top.
    fn header_media(&self) -> Option<Attachment> {
        let header = self.header.as_ref()?;
        let kind = header.get("type")?.as_str()?;
        let media = header.get(kind)?;
        let text = |key| media.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(Attachment {
            url: Some(text("link")?),
            filename: text("filename"),
            ..attachment(kind)
        })
    }
}

fn attachment(kind: &str) -> Attachment {
    Attachment { kind: kind.to_owned(), ..Attachment::default() }
}

fn json<T: Serialize>(given: &T) -> Option<String> {
    serde_json::to_string(given).ok()
}

fn parsed<T: DeserializeOwned>(shown: &Content) -> Option<T> {
    serde_json::from_str(shown.payload.as_deref()?).ok()
}
