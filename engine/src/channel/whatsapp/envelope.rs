//! The envelope of a webhook: opened just far enough to know whose each part is. Nothing in it is
//! believed before its account's signature fits.

use serde::Deserialize;
use serde_json::value::RawValue;

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
    /// What changed; `messages` where the payload does not say.
    pub field: String,
    /// The number it came to; absent from events of the whole account.
    pub phone_number_id: Option<String>,
    /// As it was sent (JSON).
    pub value: &'a RawValue,
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

#[derive(Deserialize)]
struct Entry<'a> {
    id: Option<serde_json::Value>,
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

#[derive(Deserialize)]
struct Metadata {
    phone_number_id: Option<serde_json::Value>,
}

/// Opens a body. An entry or a change that is not what it should be is a change of its own without
/// an account, so that it is not lost.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, NotAnEnvelope> {
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
            changes.push(Change {
                entry_id: None,
                field: "messages".to_owned(),
                phone_number_id: None,
                value: raw,
            });
            continue;
        };
        let entry_id = entry.id.as_ref().and_then(text);
        for raw in entry.changes {
            let change = serde_json::from_str::<RawChange<'_>>(raw.get()).ok();
            let value = change.as_ref().and_then(|change| change.value).unwrap_or(raw);
            let field = change.and_then(|change| change.field);
            let peek = serde_json::from_str::<Peek>(value.get()).ok();
            let phone_number_id =
                peek.and_then(|peek| peek.metadata?.phone_number_id).as_ref().and_then(text);
            changes.push(Change {
                entry_id: entry_id.clone(),
                field: field.unwrap_or_else(|| "messages".to_owned()),
                phone_number_id,
                value,
            });
        }
    }
    Ok(Envelope { object, changes })
}

/// An id, which some senders write as a number.
pub(super) fn text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) if !text.is_empty() => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
