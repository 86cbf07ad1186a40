//! Posts of mails: which provider's they are, and for whom; nothing in them is believed before that
//! account's proof fits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mail_parser::{MessageParser, MimeHeaders};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::address::{LIST_BYTES_MAX, Mailbox, addresses, normal};
use super::form::Fields;
use super::head::{self, Head, ids, one_id};
use super::mail::{FILES_MAX, File, Mail};
use super::mime;
use crate::saying::link;

/// A mail as a provider posts it.
#[derive(Debug)]
pub struct Post<'a> {
    pub provider: Provider,
    pub(super) fields: Fields<'a>,
    /// What it tells is not that a mail came.
    pub is_other_news: bool,
    /// The mail as it was sent, where it did not come along and was asked for.
    pub sent: Option<Vec<u8>>,
}

/// Whose way of posting mails it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The reference's JSON.
    Generic,
    Sendgrid,
    Postmark,
    Mailgun,
    Resend,
}

/// Why a body is no post of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAMail {
    #[error("send the mail as JSON, multipart/form-data or application/x-www-form-urlencoded")]
    UnknownType,
    #[error("{0}")]
    Malformed(&'static str),
}

const NO_OBJECT: NotAMail = NotAMail::Malformed("the body must be a JSON object");
/// A provider's object has no more fields.
const FIELDS_MAX: usize = 1_000;
/// So many recipients are looked at.
const RECIPIENTS_MAX: usize = 1_000;
/// A provider's id of a file is no longer.
const FILE_ID_BYTES_MAX: usize = 256;
/// What Mailgun says itself. Beside it stand the mail's headers, whatever they are called.
const MAILGUN: [&str; 14] = [
    "attachments",
    "body-html",
    "body-mime",
    "body-plain",
    "content-id-map",
    "from",
    "message-headers",
    "recipient",
    "sender",
    "signature",
    "stripped-text",
    "subject",
    "timestamp",
    "token",
];

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The fields of an object.
pub(super) type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// Opens a body of this media type.
pub fn open<'a>(content_type: &str, body: &'a [u8]) -> Result<Post<'a>, NotAMail> {
    let header = format!("Content-Type: {}\r\n\r\n", content_type.replace(['\r', '\n'], " "));
    let parsed = MessageParser::new().with_mime_headers().parse_headers(header.as_bytes());
    let kind = parsed.as_ref().and_then(|parsed| parsed.content_type());
    let essence = kind.map(mime::type_of).unwrap_or_default();
    match essence.as_str() {
        "multipart/form-data" => {
            let boundary = kind.and_then(|kind| kind.attribute("boundary"));
            let boundary = boundary.filter(|boundary| (1..=70).contains(&boundary.len()));
            let boundary =
                boundary.ok_or(NotAMail::Malformed("the form does not say its boundary"))?;
            Ok(Post::of_form(Fields::of_multipart(body, boundary)?))
        }
        "application/x-www-form-urlencoded" => Ok(Post::of_form(Fields::of_urlencoded(body)?)),
        kind if kind == "application/json" || kind.ends_with("+json") => Post::of_json(body),
        _ => Err(NotAMail::UnknownType),
    }
}

/// The providers as an account's config names them.
pub(in super::super) const PROVIDERS: [&str; 5] =
    ["generic", "sendgrid", "postmark", "mailgun", "resend"];

impl Provider {
    /// As an account's config names it.
    pub fn as_str(self) -> &'static str {
        PROVIDERS[self as usize]
    }
}

impl<'a> Post<'a> {
    fn of_form(fields: Fields<'a>) -> Self {
        let provider = flat(&fields);
        Self { provider, fields, is_other_news: false, sent: None }
    }

    fn of_json(body: &'a [u8]) -> Result<Self, NotAMail> {
        let object = object(body).ok_or(NO_OBJECT)?;
        if let (Some(event), Some(data)) = (object.get("type"), object.get("data")) {
            let event: String = serde_json::from_str(event.get()).unwrap_or_default();
            let data = self::object(data.get().as_bytes()).ok_or(NO_OBJECT)?;
            let is_other_news = event != "email.received";
            let (provider, fields) = (Provider::Resend, Fields::of_json(data));
            return Ok(Self { provider, fields, is_other_news, sent: None });
        }
        let is_postmark = object.contains_key("From") && !object.contains_key("from");
        let fields = Fields::of_json(object);
        let provider = if is_postmark { Provider::Postmark } else { flat(&fields) };
        Ok(Self { provider, fields, is_other_news: false, sent: None })
    }

    /// The id under which its provider has a mail of which it tells only that it came.
    pub fn left_behind(&self) -> Option<String> {
        let id = self.fields.text("email_id").filter(|_| self.provider == Provider::Resend)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (id.len() <= 64 && id.chars().all(is_plain)).then_some(id)
    }

    /// Whether it may name a sender: where the mail is posted as it was sent, that is seen when it
    /// is read.
    pub fn may_have_sender(&self) -> bool {
        let mut mail = Mail { head: self.head(), ..Mail::default() };
        self.add_sender(&mut mail);
        mail.from.is_some() || self.raw().is_some()
    }

    /// Whether a field of this name is the provider's.
    fn is_own(&self, name: &str) -> bool {
        self.provider != Provider::Mailgun
            || (MAILGUN.contains(&name) && self.fields.has_exactly(name))
    }

    /// What a field of the provider's says that may be long.
    fn text(&self, name: &str) -> Option<String> {
        self.is_own(name).then(|| self.fields.text(name))?
    }

    /// Its bytes.
    fn bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.is_own(name).then(|| self.fields.bytes(name))?
    }

    /// What one says that is not long.
    fn short(&self, name: &str) -> Option<String> {
        self.is_own(name).then(|| self.fields.short(name))?
    }

    /// To whom it was delivered, the surest first: the first group that names somebody who is known
    /// counts. `None`: to more than can be looked at.
    pub fn recipients(&self) -> Option<Vec<Vec<String>>> {
        let envelope = self.short("envelope").and_then(|text| {
            let envelope = object(text.as_bytes())?.get("to")?.get().to_owned();
            let one = || serde_json::from_str::<String>(&envelope).ok().map(|to| vec![to]);
            serde_json::from_str::<Vec<String>>(&envelope).ok().or_else(one)
        });
        let delivered = ["recipient", "OriginalRecipient"].into_iter();
        let delivered = delivered.filter_map(|name| self.short(name)).collect();
        let written = |list: String| match list.starts_with('[') && list.len() <= LIST_BYTES_MAX {
            true => serde_json::from_str::<Vec<String>>(&list).unwrap_or_default().join(", "),
            false => list,
        };
        let listed = ["to", "cc", "bcc"].into_iter().filter_map(|name| self.fields.text(name));
        let listed = listed.map(written);
        let mut groups = Vec::new();
        for group in [envelope.unwrap_or_default(), delivered, listed.collect()] {
            let read = group.iter().flat_map(|list| match normal(list) {
                Some(address) => vec![address],
                None => addresses(list).into_iter().map(|mailbox| mailbox.address).collect(),
            });
            let mut read: Vec<String> = read.take(RECIPIENTS_MAX + 1).collect();
            let is_cut = group.iter().any(|list| list.len() > LIST_BYTES_MAX);
            if is_cut || read.len() > RECIPIENTS_MAX {
                return if groups.is_empty() { None } else { Some(groups) };
            }
            read.dedup();
            if !read.is_empty() {
                groups.push(read);
            }
        }
        Some(groups)
    }

    /// The mail, which is read like this if it is posted as it was sent.
    pub(super) fn mail(&self, read: impl FnOnce(&[u8]) -> Mail) -> Mail {
        let mut mail = match self.raw() {
            Some(raw) => read(&raw),
            None => Mail { head: self.head(), files: self.files(), ..Mail::default() },
        };
        self.add_sender(&mut mail);
        let posted = |names: &[&str]| names.iter().find_map(|name| self.text(name));
        let subject = posted(&["subject"]).and_then(|subject| super::one_line(&subject));
        mail.subject = subject.or_else(|| head::text(mail.head.subject.as_deref()?));
        let lines = |text: String| text.replace("\r\n", "\n");
        mail.text = posted(&["text", "body-plain", "TextBody"]).map(lines).or(mail.text);
        mail.html = posted(&["html", "body-html", "HtmlBody"]).or(mail.html);
        mail.visible = posted(&["stripped-text", "StrippedTextReply"]).map(lines);
        self.add_ids(&mut mail.head);
        if mail.head.date.is_none() {
            mail.head.date = self.fields.short("date");
        }
        mail.posted_id = match self.provider {
            Provider::Postmark => self.fields.short("MessageID"),
            Provider::Resend => self.fields.short("email_id"),
            Provider::Generic | Provider::Sendgrid | Provider::Mailgun => None,
        };
        mail
    }

    /// The mail as it was sent, where that is posted.
    fn raw(&self) -> Option<Cow<'_, [u8]>> {
        if let Some(sent) = &self.sent {
            return Some(Cow::Borrowed(sent));
        }
        let raw = ["email", "body-mime", "RawEmail"]
            .into_iter()
            .find_map(|name| self.bytes(name).filter(|bytes| bytes.contains(&b'\n')))?;
        Some(raw)
    }

    fn head(&self) -> Head {
        if self.provider == Provider::Sendgrid || self.provider == Provider::Generic {
            let block = self.fields.short("headers").unwrap_or_default();
            if !block.starts_with(['{', '[']) {
                return Head::of_block(&block);
            }
        }
        let mut head = Head::default();
        for (name, value) in self.listed_headers() {
            head.add(&name, &value);
        }
        head
    }

    /// Headers as a list of pairs (Mailgun), of objects (Postmark), or as an object.
    fn listed_headers(&self) -> Vec<(String, String)> {
        let posted = ["message-headers", "Headers"].into_iter().find_map(|name| self.short(name));
        let posted = posted.unwrap_or_default();
        if let Ok(pairs) = serde_json::from_str::<Vec<(String, String)>>(&posted) {
            return pairs;
        }
        let read = |one: &RawValue| {
            let fields = Fields::of_json(object(one.get().as_bytes())?);
            Some((fields.text("Name")?, fields.text("Value").unwrap_or_default()))
        };
        if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(&posted) {
            return list.into_iter().filter_map(read).collect();
        }
        let object = serde_json::from_str::<BTreeMap<String, String>>(&posted);
        object.unwrap_or_default().into_iter().collect()
    }

    fn add_sender(&self, mail: &mut Mail) {
        let full = self.short("FromFull").and_then(|full| {
            let fields = Fields::of_json(object(full.as_bytes())?);
            let address = normal(&fields.text("Email")?)?;
            Some(Mailbox { address, name: fields.text("Name").and_then(|n| super::one_line(&n)) })
        });
        let first = |text: String| {
            let bare = || normal(&text).map(|address| Mailbox { address, name: None });
            addresses(&text).into_iter().next().or_else(bare)
        };
        let posted = full.or_else(|| self.short("from").and_then(first));
        let of_head = || mail.head.from.clone().and_then(first);
        let envelope = || {
            let envelope = self.short("envelope")?;
            let from = object(envelope.as_bytes())?.get("from")?.get().to_owned();
            normal(&serde_json::from_str::<String>(&from).ok()?)
        };
        let delivered = || {
            let address = self.short("sender").and_then(|sender| normal(&sender));
            let address = address.or_else(envelope)?;
            Some(Mailbox { address, name: None })
        };
        let mut from = posted.or_else(of_head).or_else(delivered);
        if let Some(from) = &mut from {
            let given = self.short("sender_name").and_then(|name| super::one_line(&name));
            from.name = given.or(from.name.take());
        }
        mail.from = from;
    }

    fn add_ids(&self, head: &mut Head) {
        // Postmark's `MessageID` is its own.
        let id = self.fields.short("message_id").or_else(|| self.fields.short("Message-Id"));
        if let Some(id) = id.as_deref().and_then(one_id) {
            head.message_id = Some(id);
        }
        let list = |names: [&str; 2]| {
            let text = names.into_iter().find_map(|name| self.fields.short(name))?;
            let text =
                if text.starts_with('[') { text.replace(['[', ']', '"'], " ") } else { text };
            Some(ids(&text)).filter(|ids| !ids.is_empty())
        };
        if let Some(ids) = list(["in_reply_to", "In-Reply-To"]) {
            head.in_reply_to = ids;
        }
        if let Some(ids) = list(["references", "References"]) {
            head.references = ids;
        }
    }

    /// The files that are there, or can be fetched; what is only announced is none.
    fn files(&self) -> Vec<File> {
        let mut files = Vec::new();
        let mut shown = ["content-ids", "content-id-map"].into_iter();
        let shown = shown.find_map(|name| self.short(name)).unwrap_or_default();
        let shown: BTreeMap<String, String> = serde_json::from_str(&shown).unwrap_or_default();
        for (field, name, mime_type, bytes) in self.fields.files() {
            if ["email", "body-mime"].contains(&field) {
                continue;
            }
            let content_id = shown.iter().find(|(_, of)| *of == field).map(|(id, _)| id);
            let content_id = content_id.map(|id| id.trim_matches(['<', '>']).to_owned());
            files.push(File {
                name: name.map(str::to_owned),
                mime_type: mime_type.map(str::to_owned),
                is_inline: content_id.is_some(),
                content_id,
                bytes: bytes.to_vec(),
                ..File::default()
            });
        }
        let listed = self.text("attachments").unwrap_or_default();
        let FirstFiles(listed) = serde_json::from_str(&listed).unwrap_or_default();
        files.extend(listed.into_iter().filter_map(|file| self.file(file)));
        files
    }

    fn file(&self, posted: &RawValue) -> Option<File> {
        let fields = Fields::of_json(object(posted.get().as_bytes())?);
        let text = |names: &[&str]| names.iter().find_map(|name| fields.text(name));
        let content = text(&["content", "Data"]).map(|mut content| {
            content.retain(|c| !c.is_whitespace());
            LENIENT.decode(content)
        });
        let bytes = content.transpose().ok()?;
        let url = text(&["url"]).filter(|url| link(url).is_none());
        let provider_id = text(&["id"]).filter(|_| self.provider == Provider::Resend);
        let provider_id = provider_id.filter(|id| id.len() <= FILE_ID_BYTES_MAX);
        if bytes.is_none() && url.is_none() && provider_id.is_none() {
            return None;
        }
        let content_id = text(&["content_id", "ContentID", "content-id", "cid"]);
        let content_id = content_id.map(|id| id.trim_matches(['<', '>']).to_owned());
        Some(File {
            name: text(&["filename", "name"]),
            mime_type: text(&["content_type", "ContentType", "content-type", "mime_type", "type"]),
            is_inline: content_id.is_some(),
            content_id,
            size: text(&["size", "ContentLength"]).and_then(|size| size.parse().ok()),
            bytes: bytes.unwrap_or_default(),
            url,
            provider_id,
        })
    }
}

/// Whose flat fields these are.
fn flat(fields: &Fields<'_>) -> Provider {
    let has = |names: &[&str]| names.iter().any(|name| fields.has(name));
    if has(&["body-mime", "message-headers", "body-plain", "stripped-text", "message-url"]) {
        Provider::Mailgun
    } else if has(&["envelope", "charsets", "sender_ip", "SPF", "email"]) {
        Provider::Sendgrid
    } else {
        Provider::Generic
    }
}

fn object(text: &[u8]) -> Option<Object<'_>> {
    serde_json::from_slice(text).ok().map(|Few(object)| object)
}

/// An object of no more fields than it may have: of one with more, no more are held.
struct Few<'a>(Object<'a>);

impl<'de> Deserialize<'de> for Few<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Few<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Few<'de>, M::Error> {
                let mut object = Object::new();
                while let Some((name, value)) = map.next_entry()? {
                    if object.len() == FIELDS_MAX {
                        return Err(M::Error::custom("too many fields"));
                    }
                    object.insert(name, value);
                }
                Ok(Few(object))
            }
        }
        from.deserialize_map(Reader)
    }
}

/// The first ones of a list of files: of the others nothing is held.
#[derive(Default)]
struct FirstFiles<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for FirstFiles<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = FirstFiles<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a list")
            }

            fn visit_seq<S: SeqAccess<'de>>(
                self,
                mut list: S,
            ) -> Result<FirstFiles<'de>, S::Error> {
                let mut files = Vec::new();
                while files.len() < FILES_MAX
                    && let Some(file) = list.next_element()?
                {
                    files.push(file);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstFiles(files))
            }
        }
        from.deserialize_seq(Reader)
    }
}
