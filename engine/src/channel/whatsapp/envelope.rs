//! The envelope of a webhook: opened just far enough to know whose each part is. Nothing in it is
//! believed before its account's signature fits.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::people::digits;
use crate::channel::reading::{CHANGES_MAX, ID_BYTES_MAX, ITEMS_MAX, plausible, sent_text};
use crate::channel::webhook::NotAnEnvelope;
use crate::time::Timestamp;

/// More of contacts is not kept with an item that is not understood.
const CONTACTS_BYTES_KEPT: usize = 4 << 10;

/// What WhatsApp's webhooks are about.
pub const OBJECT: &str = "whatsapp_business_account";

/// A webhook's body, in parts.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// What it is about: [`OBJECT`], if it is WhatsApp's.
    pub object: String,
    pub changes: Vec<Change<'a>>,
}

/// One change of one entry.
#[derive(Debug)]
pub struct Change<'a> {
    /// The WhatsApp business account (WABA).
    pub entry_id: Option<Arc<str>>,
    /// When, as its sender says, in seconds.
    time: Option<i64>,
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
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
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

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow)]
    entry: Option<&'a RawValue>,
}

/// A body in which everything is as it should be.
#[derive(Deserialize)]
struct Regular<'a> {
    #[serde(rename = "object")]
    _object: Object,
    #[serde(borrow)]
    entry: Vec<RegularEntry<'a>>,
}

/// [`OBJECT`]. What is about something else is read no further.
#[derive(Deserialize)]
enum Object {
    #[serde(rename = "whatsapp_business_account")]
    Ours,
}

#[derive(Deserialize)]
struct RegularEntry<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    changes: Vec<RawChange<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    time: Option<&'a RawValue>,
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
struct Peek<'a> {
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
}

#[derive(Debug, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    phone_number_id: Option<&'a RawValue>,
    #[serde(borrow)]
    display_phone_number: Option<&'a RawValue>,
}

/// What all changes of an entry share.
#[derive(Default)]
struct OfEntry {
    id: Option<Arc<str>>,
    time: Option<i64>,
}

/// Opens a body. An entry or a change that is not what it should be is a change of its own without
/// an account, so that it is not lost.
pub fn open(body: &[u8]) -> Result<Envelope<'_>, NotAnEnvelope> {
    open_regular(body).unwrap_or_else(|| part_by_part(body))
}

/// The same at one go; `None`: something in it is not what it should be.
pub fn open_regular(body: &[u8]) -> Option<Result<Envelope<'_>, NotAnEnvelope>> {
    let Regular { entry, .. } = serde_json::from_slice(body).ok()?;
    let mut opening = Opening::default();
    for RegularEntry { id, time, changes } in entry {
        let of_entry = OfEntry::new(id, time);
        for RawChange { field, value } in changes {
            if let Err(error) = opening.add(&of_entry, field, value?) {
                return Some(Err(error));
            }
        }
    }
    Some(Ok(Envelope { object: OBJECT.to_owned(), changes: opening.changes }))
}

/// Opens one change again that was kept as `Change::kept` or `Change::kept_alone` tells it.
pub fn reopen(raw: &str) -> Option<Change<'_>> {
    let RawChange { field, value } = serde_json::from_str(raw).ok()?;
    let mut opening = Opening::default();
    opening.add(&OfEntry::default(), field, value?).ok()?;
    opening.changes.pop()
}

fn part_by_part(body: &[u8]) -> Result<Envelope<'_>, NotAnEnvelope> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|_| NotAnEnvelope::NotJson)?;
    let object = body.object.and_then(|object| serde_json::from_str(object.get()).ok());
    let object = object.ok_or(NotAnEnvelope::NoObject)?;
    let entries: Vec<&RawValue> = body
        .entry
        .and_then(|entry| serde_json::from_str(entry.get()).ok())
        .ok_or(NotAnEnvelope::NoEntries)?;
    let mut opening = Opening::default();
    for raw in entries {
        let Ok(entry) = serde_json::from_str::<Entry<'_>>(raw.get()) else {
            opening.add_closed(raw)?;
            continue;
        };
        let of_entry = OfEntry::new(entry.id, entry.time);
        for raw in entry.changes {
            let change = serde_json::from_str::<RawChange<'_>>(raw.get()).ok();
            let value = change.as_ref().and_then(|change| change.value).unwrap_or(raw);
            let field = change.and_then(|change| change.field);
            opening.add(&of_entry, field, value)?;
        }
    }
    Ok(Envelope { object, changes: opening.changes })
}

/// The changes of a body, as far as they are opened.
#[derive(Default)]
struct Opening<'a> {
    changes: Vec<Change<'a>>,
    items: usize,
}

impl<'a> Opening<'a> {
    fn add(
        &mut self,
        of_entry: &OfEntry,
        field: Option<String>,
        value: &'a RawValue,
    ) -> Result<(), NotAnEnvelope> {
        let mut contents = serde_json::from_str::<Contents<'_>>(value.get()).ok();
        let phone_number_id = match &contents {
            Some(contents) => contents.metadata.as_ref().and_then(Metadata::number),
            None => {
                let peek = serde_json::from_str::<Peek<'_>>(value.get()).ok();
                peek.and_then(|peek| peek.metadata?.number())
            }
        };
        self.items += contents.as_ref().map_or(0, Contents::items);
        contents = contents.filter(|_| self.items <= ITEMS_MAX);
        let field = field.unwrap_or_else(|| "messages".to_owned());
        let (entry_id, time) = (of_entry.id.clone(), of_entry.time);
        self.push(Change { entry_id, time, field, phone_number_id, value, contents })
    }

    /// What is no entry, as a change that nobody can read.
    fn add_closed(&mut self, value: &'a RawValue) -> Result<(), NotAnEnvelope> {
        let (entry_id, time, phone_number_id, contents) = (None, None, None, None);
        let field = "messages".to_owned();
        self.push(Change { entry_id, time, field, phone_number_id, value, contents })
    }

    fn push(&mut self, change: Change<'a>) -> Result<(), NotAnEnvelope> {
        if self.changes.len() == CHANGES_MAX {
            return Err(NotAnEnvelope::TooManyChanges);
        }
        self.changes.push(change);
        Ok(())
    }
}

impl OfEntry {
    fn new(id: Option<&RawValue>, time: Option<&RawValue>) -> Self {
        let time = time.and_then(sent_text).and_then(|time| time.parse().ok());
        Self { id: id.and_then(sent_text).map(Arc::from), time }
    }
}

impl Change<'_> {
    /// The number that it came to, as digits.
    pub fn own_phone(&self) -> Option<String> {
        let phone = self.contents.as_ref()?.own_phone();
        (!phone.is_empty() && phone.len() <= ID_BYTES_MAX).then_some(phone)
    }

    /// When, as its sender says, if that can be.
    pub(super) fn at(&self, now: Timestamp) -> Option<Timestamp> {
        plausible(self.time?, now)
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
        let of = self.contents.as_ref().and_then(|contents| contents.metadata.as_ref());
        let metadata = json!({
            "phone_number_id": self.phone_number_id,
            "display_phone_number": of.and_then(|of| sent_text(of.display_phone_number?)),
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
    /// How many things are in it.
    fn items(&self) -> usize {
        let Self { metadata: _, contacts, messages, statuses, message_echoes, errors, history } =
            self;
        let lists = [contacts, messages, statuses, message_echoes, errors, history];
        lists.into_iter().map(Vec::len).sum()
    }

    /// The number that it came to, as digits.
    pub(super) fn own_phone(&self) -> String {
        let shown = self.metadata.as_ref().and_then(|of| sent_text(of.display_phone_number?));
        digits(&shown.unwrap_or_default())
    }
}

impl Metadata<'_> {
    fn number(&self) -> Option<String> {
        self.phone_number_id.and_then(sent_text)
    }
}
