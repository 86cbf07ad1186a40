//! The fields of a posted mail: of a JSON object or of a form, of which there are two kinds.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mail_parser::{MessageParser, MimeHeaders};
use memchr::memmem;
use serde_json::value::RawValue;

use super::post::{NotAMail, Object};

/// A form has no more fields: each of a mail's files is one.
const FIELDS_MAX: usize = 1_000;
/// A field of a form has no larger head.
const FIELD_HEAD_MAX: usize = 16 << 10;
/// Nor is the list longer of the charsets of its fields,
const CHARSETS_BYTES_MAX: usize = 16 << 10;
/// or a field that holds no part of a mail.
const SHORT_BYTES_MAX: usize = 256 << 10;

/// The fields of a body.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    all: Vec<(Cow<'a, str>, Value<'a>)>,
    /// That of each field that says so.
    charsets: BTreeMap<String, String>,
}

/// A field's value.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Text(Cow<'a, [u8]>),
    Json(&'a RawValue),
    File { name: Option<String>, mime_type: Option<String>, bytes: &'a [u8] },
}

impl<'a> Fields<'a> {
    pub(super) fn of_json(object: Object<'a>) -> Self {
        let all = object.into_iter().map(|(name, value)| (name, Value::Json(value))).collect();
        Self { all, charsets: BTreeMap::new() }
    }

    fn of_form(all: Vec<(Cow<'a, str>, Value<'a>)>) -> Self {
        let mut fields = Self { all, charsets: BTreeMap::new() };
        if let Some(Value::Text(charsets)) = fields.value("charsets")
            && charsets.len() <= CHARSETS_BYTES_MAX
        {
            fields.charsets = serde_json::from_slice(charsets).unwrap_or_default();
        }
        fields
    }

    pub(super) fn of_urlencoded(body: &'a [u8]) -> Result<Self, NotAMail> {
        let mut all = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            let value = match value {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
            push(&mut all, name, Value::Text(value))?;
        }
        Ok(Self::of_form(all))
    }

    /// Of a `multipart/form-data` body (RFC 7578).
    pub(super) fn of_multipart(body: &'a [u8], boundary: &str) -> Result<Self, NotAMail> {
        let mut all = Vec::new();
        let delimiter = format!("\r\n--{boundary}");
        let finder = memmem::Finder::new(delimiter.as_bytes());
        // The first one may stand at the very beginning.
        let first = &delimiter.as_bytes()[2..];
        let mut at = match memmem::find(body, first) {
            Some(at) => at + first.len(),
            None => return Err(NotAMail::Malformed("the form does not have its boundary")),
        };
        while body.get(at..at + 2).is_some_and(|end| end != b"--") {
            let rest = &body[at..];
            let end = finder.find(rest);
            let end = end.ok_or(NotAMail::Malformed("the form ends before its boundary"))?;
            let part = rest[..end].strip_prefix(b"\r\n").unwrap_or(&rest[..end]);
            if let Some((name, value)) = part_of(part) {
                push(&mut all, Cow::Owned(name), value)?;
            }
            at += end + delimiter.len();
        }
        Ok(Self::of_form(all))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether a field has this very name.
    pub(super) fn has_exactly(&self, name: &str) -> bool {
        self.all.iter().any(|(known, _)| known == name)
    }

    /// A field by its name; where none is written like that, in any case.
    fn value(&self, name: &str) -> Option<&Value<'a>> {
        let exact = self.all.iter().find(|(known, _)| known == name);
        let found = exact.or_else(|| self.all.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)));
        found.map(|(_, value)| value)
    }

    /// Its bytes; of a JSON text as UTF-8.
    pub(super) fn bytes(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match self.value(name)? {
            Value::Text(bytes) => Some(Cow::Borrowed(bytes)),
            Value::File { bytes, .. } => Some(Cow::Borrowed(bytes)),
            Value::Json(_) => self.text(name).map(|text| Cow::Owned(text.into_bytes())),
        }
    }

    /// It as a text, in the charset that `charsets` names for it; `None` where it is empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = match self.value(name)? {
            Value::Text(bytes) => {
                super::mime::decoded(bytes, self.charsets.get(name).map(String::as_str))
            }
            Value::File { .. } => return None,
            Value::Json(value) => match value.get().as_bytes().first()? {
                b'"' => serde_json::from_str(value.get()).ok()?,
                b'n' => return None,
                _ => value.get().to_owned(),
            },
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// The same of a field that holds no part of a mail: one that is too long for that is none.
    pub(super) fn short(&self, name: &str) -> Option<String> {
        let bytes = match self.value(name)? {
            Value::Text(bytes) => bytes.len(),
            Value::Json(value) => value.get().len(),
            Value::File { .. } => return None,
        };
        if bytes <= SHORT_BYTES_MAX { self.text(name) } else { None }
    }

    /// The files of a form, each with its field's name.
    pub(super) fn files(
        &self,
    ) -> impl Iterator<Item = (&str, Option<&str>, Option<&str>, &'a [u8])> {
        self.all.iter().filter_map(|(field, value)| match value {
            Value::File { name, mime_type, bytes } => {
                Some((field.as_ref(), name.as_deref(), mime_type.as_deref(), *bytes))
            }
            _ => None,
        })
    }
}

fn push<'a>(
    all: &mut Vec<(Cow<'a, str>, Value<'a>)>,
    name: Cow<'a, str>,
    value: Value<'a>,
) -> Result<(), NotAMail> {
    if all.len() == FIELDS_MAX {
        return Err(NotAMail::Malformed("the form has more fields than any provider sends"));
    }
    all.push((name, value));
    Ok(())
}

fn part_of(part: &[u8]) -> Option<(String, Value<'_>)> {
    let end = memmem::find(&part[..part.len().min(FIELD_HEAD_MAX)], b"\r\n\r\n")?;
    let (head, bytes) = (&part[..end + 4], &part[end + 4..]);
    let parser = MessageParser::new().with_mime_headers();
    let parsed = parser.parse_headers(head)?;
    let disposition = parsed.content_disposition()?;
    let name = disposition.attribute("name")?.to_owned();
    let file = disposition.attribute("filename").map(str::to_owned);
    let mime_type = parsed.content_type().map(super::mime::type_of);
    let is_file = file.is_some() || mime_type.as_deref().is_some_and(|of| !of.starts_with("text/"));
    if is_file {
        return Some((name, Value::File { name: file, mime_type, bytes }));
    }
    Some((name, Value::Text(Cow::Borrowed(bytes))))
}
