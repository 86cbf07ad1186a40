//! The envelope of a webhook: opened just far enough to know whose each part is. Nothing in it is
//! believed before its account's signature fits.

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::people::digits;
use crate::time::Timestamp;

/// Longer ids name nothing: those of providers have about a hundred bytes.
pub(super) const ID_BYTES_MAX: usize = 1024;

/// More of contacts is not kept with an item that is not understood.
const CONTACTS_BYTES_KEPT: usize = 4 << 10;

/// A webhook's body, in parts.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// What it is about, e.g. `whatsapp_business_account`.
    pub object: String,
    pub changes: Vec<Change<'a>>,
}

/// One change of one entry.
#[derive(Debug)]
pub struct Change<'a> {
    /// The WhatsApp business account (WABA).
    pub entry_id: Option<String>,
    /// When, as its sender says.
    time: Option<serde_json::Value>,
    /// What changed; `messages` where the payload does not say.
    pub field: String,
    /// The number it came to; absent from events of the whole account.
    pub phone_number_id: Option<String>,
    /// As it was sent (JSON).
    pub value: &'a RawValue,
    pub(super) contents: Option<Contents<'a>>,
}

/// What is in a change, each part as it was sent.
#[derive(Debug, Deserialize)]
pub(super) struct Contents<'a> {
    metadata: Option<Metadata>,
    #[serde(borrow, default)]
    pub(super) contacts: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) messages: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) statuses: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) message_echoes: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) errors: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) history: Vec<&'a RawValue>,
}

/// Why a body is no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEnvelope {
    #[error("the body is not JSON")]
    NotJson,
    #[error("the body has no `object`")]
    NoObject,
    #[error("the body's `entry` is not a list")]
    NoEntries,
}

#[derive(Deserialize)]
struct Body<'a> {
    object: Option<serde_json::Value>,
    #[serde(borrow)]
    entry: Option<&'a RawValue>,
}

/// A body in which everything is as it should be.
#[derive(Deserialize)]
struct Regular<'a> {
    object: String,
    #[serde(borrow)]
    entry: Vec<RegularEntry<'a>>,
}

#[derive(Deserialize)]
struct RegularEntry<'a> {
    id: Option<serde_json::Value>,
    time: Option<serde_json::Value>,
    #[serde(borrow)]
    changes: Vec<RawChange<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    id: Option<serde_json::Value>,
    time: Option<serde_json::Value>,
    #[serde(borrow, default)]
    changes: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawChange<'a> {
    field: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Peek {
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    phone_number_id: Option<serde_json::Value>,
    display_phone_number: Option<serde_json::Value>,
}

/// Opens a body. An entry or a change that is not what it should be is a change of its own without
/// an account, so that it is not lost.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, NotAnEnvelope> {
    // Read at one go where that can be; part by part only where a part is not what it should be.
    if let Ok(Regular { object, entry }) = serde_json::from_slice(body) {
        let mut changes = Vec::with_capacity(entry.len());
        for RegularEntry { id, time, changes: raw } in entry {
            let Some(values) = raw.iter().map(|change| change.value).collect::<Option<Vec<_>>>()
            else {
                return part_by_part(body);
            };
            let of_entry = (id.as_ref().and_then(text), time);
            let each = raw.into_iter().zip(values);
            changes.extend(each.map(|(raw, value)| Change::new(&of_entry, raw.field, value)));
        }
        return Ok(Envelope { object, changes });
    }
    part_by_part(body)
}

/// Opens one change again that was kept as `Change::kept` or `Change::kept_alone` tells it.
pub fn reopen(raw: &str) -> Option<Change<'_>> {
    let RawChange { field, value } = serde_json::from_str(raw).ok()?;
    Some(Change::new(&(None, None), field, value?))
}

fn part_by_part(body: &[u8]) -> Result<Envelope<'_>, NotAnEnvelope> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| NotAnEnvelope::NotJson)?;
    let object = body.object.as_ref().and_then(|object| object.as_str());
    let object = object.ok_or(NotAnEnvelope::NoObject)?.to_owned();
    let entries: Vec<&RawValue> = body
        .entry
        .and_then(|entry| serde_json::from_str(entry.get()).ok())
        .ok_or(NotAnEnvelope::NoEntries)?;
    let mut changes = Vec::new();
    for raw in entries {
        let Ok(entry) = serde_json::from_str::<Entry<'_>>(raw.get()) else {
            let (entry_id, time, phone_number_id, contents) = (None, None, None, None);
            let field = "messages".to_owned();
            changes.push(Change { entry_id, time, field, phone_number_id, value: raw, contents });
            continue;
        };
        let of_entry = (entry.id.as_ref().and_then(text), entry.time);
        for raw in entry.changes {
            let change = serde_json::from_str::<RawChange<'_>>(raw.get()).ok();
            let value = change.as_ref().and_then(|change| change.value).unwrap_or(raw);
            let field = change.and_then(|change| change.field);
            changes.push(Change::new(&of_entry, field, value));
        }
    }
    Ok(Envelope { object, changes })
}

impl<'a> Change<'a> {
    fn new(
        (entry_id, time): &(Option<String>, Option<serde_json::Value>),
        field: Option<String>,
        value: &'a RawValue,
    ) -> Self {
        let contents = serde_json::from_str::<Contents<'_>>(value.get()).ok();
        let phone_number_id = match &contents {
            Some(contents) => contents.metadata.as_ref().and_then(Metadata::number),
            None => {
                let peek = serde_json::from_str::<Peek>(value.get()).ok();
                peek.and_then(|peek| peek.metadata?.number())
            }
        };
        let field = field.unwrap_or_else(|| "messages".to_owned());
        let (entry_id, time) = (entry_id.clone(), time.clone());
        Self { entry_id, time, field, phone_number_id, value, contents }
    }

    /// The number that it came to, as digits.
    pub fn own_phone(&self) -> Option<String> {
        let phone = self.contents.as_ref()?.own_phone();
        (!phone.is_empty() && phone.len() <= ID_BYTES_MAX).then_some(phone)
    }

    /// When, as its sender says, if that can be.
    pub(super) fn at(&self, now: Timestamp) -> Option<Timestamp> {
        super::message::time(self.time.as_ref(), now)
    }

    /// All of it, as a text that can be opened again.
    pub(super) fn kept(&self) -> String {
        kept_as(&self.field, self.value.get())
    }

    /// Of it one item of one of its lists, with what the item is read by.
    pub(super) fn kept_alone(&self, list: &str, item: &RawValue) -> String {
        let contacts = self.contents.as_ref().map_or(&[][..], |contents| &contents.contacts);
        let size: usize = contacts.iter().map(|contact| contact.get().len()).sum();
        // Many customers' names are not worth keeping with every item of theirs.
        let contacts = if size <= CONTACTS_BYTES_KEPT { contacts } else { &[] };
        let shown = self.contents.as_ref().and_then(|contents| contents.metadata.as_ref());
        let metadata = json!({
            "phone_number_id": self.phone_number_id,
            "display_phone_number": shown.and_then(|of| of.display_phone_number.as_ref()),
        });
        let contacts: Vec<_> = contacts.iter().map(|contact| contact.get()).collect();
        let (contacts, item) = (contacts.join(","), item.get());
        let value =
            format!(r#"{{"metadata":{metadata},"contacts":[{contacts}],"{list}":[{item}]}}"#);
        kept_as(&self.field, &value)
    }
}

/// What was sent under this field. It is put together as text: it may hold numbers that no value
/// can.
pub(super) fn kept_as(field: &str, sent: &str) -> String {
    format!(r#"{{"field":{},"value":{sent}}}"#, json!(field))
}

impl Contents<'_> {
    /// The number that it came to, as digits.
    pub(super) fn own_phone(&self) -> String {
        let shown = self.metadata.as_ref().and_then(|of| text(of.display_phone_number.as_ref()?));
        digits(&shown.unwrap_or_default())
    }
}

impl Metadata {
    fn number(&self) -> Option<String> {
        self.phone_number_id.as_ref().and_then(text).filter(|id| id.len() <= ID_BYTES_MAX)
    }
}

/// An id, which some senders write as a number.
pub(super) fn text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
