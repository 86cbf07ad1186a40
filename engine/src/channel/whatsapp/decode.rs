//! A change to items, each on its own: what is wrong with one never loses its neighbours.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::envelope::{Change, ID_BYTES_MAX, text};
use super::outcome::error_of;
use crate::channel::{Echo, Handle, Inbound, InboundMessage, Opaque, Receipt};
use crate::contact::IdentityKind;
use crate::message::{MessageKind, MessageStatus};
use crate::resource::NAME_CHARS_MAX;
use crate::time::Timestamp;

/// Larger items are not read: the longest text takes a tenth of it.
const ITEM_BYTES_MAX: usize = 256 << 10;

#[derive(Deserialize)]
struct Message {
    id: Option<String>,
    from: Option<String>,
    from_user_id: Option<String>,
    from_parent_user_id: Option<String>,
    to: Option<String>,
    to_user_id: Option<String>,
    to_parent_user_id: Option<String>,
    group_id: Option<String>,
    timestamp: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<Text>,
    context: Option<Context>,
    biz_opaque_callback_data: Option<String>,
}

#[derive(Deserialize)]
struct Text {
    body: Option<String>,
}

#[derive(Deserialize)]
struct Context {
    id: Option<String>,
    #[serde(default)]
    forwarded: bool,
    #[serde(default)]
    frequently_forwarded: bool,
}

#[derive(Deserialize)]
struct Status {
    id: Option<String>,
    status: Option<String>,
    timestamp: Option<Value>,
    recipient_id: Option<String>,
    recipient_user_id: Option<String>,
    recipient_parent_user_id: Option<String>,
    parent_recipient_user_id: Option<String>,
    biz_opaque_callback_data: Option<String>,
    #[serde(default)]
    errors: Vec<Value>,
}

/// The items of a change. `now` tells which of the provider's times are plausible.
pub fn decode(change: &Change<'_>, now: Timestamp) -> Vec<Inbound> {
    if !matches!(change.field.as_str(), "messages" | "smb_message_echoes") {
        return vec![Inbound::Ignored("event")];
    }
    let Some(contents) = &change.contents else {
        return vec![dead("the change is not what a change should be", change.value)];
    };
    let number = change.phone_number_id.as_deref().unwrap_or_default();
    let of_contact = |raw: &&RawValue| serde_json::from_str(raw.get()).ok();
    let contacts: Vec<Value> = contents.contacts.iter().filter_map(of_contact).collect();
    let mut items = Vec::new();
    for raw in &contents.messages {
        items.push(item(raw, "the message is not what a message should be", |message| {
            inbound(message, &contacts, number, raw.get(), now)
        }));
    }
    for raw in &contents.message_echoes {
        items.push(item(raw, "the echo is not what an echo should be", |message| {
            echo(message, raw.get(), now)
        }));
    }
    for raw in &contents.statuses {
        items.push(item(raw, "the status is not what a status should be", |status| {
            receipt(status, now)
        }));
    }
    if items.is_empty() {
        items.push(Inbound::Ignored("nothing"));
    }
    items
}

fn item<T: DeserializeOwned>(
    raw: &RawValue,
    wrong: &str,
    read: impl FnOnce(T) -> Result<Inbound, &'static str>,
) -> Inbound {
    if raw.get().len() > ITEM_BYTES_MAX {
        return dead("it is larger than anything that a provider sends", raw);
    }
    let Ok(value) = serde_json::from_str(raw.get()) else { return dead(wrong, raw) };
    match read(value) {
        Ok(item) if has_long_id(&item) => dead("an id in it is too long", raw),
        Ok(item) => item,
        Err(reason) => dead(reason, raw),
    }
}

fn dead(reason: &str, raw: &RawValue) -> Inbound {
    Inbound::Dead { reason: reason.to_owned(), raw: raw.get().to_owned() }
}

/// Ids become keys of the store, and are kept in memory.
fn has_long_id(item: &Inbound) -> bool {
    let (ids, handles) = match item {
        Inbound::Message(message) => {
            ([message.provider_id.as_deref(), message.reply_to.as_deref()], &message.from)
        }
        Inbound::Receipt(receipt) => ([Some(&*receipt.provider_id), None], &receipt.recipient),
        Inbound::Echo(echo) => ([Some(&*echo.provider_id), None], &echo.to),
        Inbound::Ignored(_) | Inbound::Dead { .. } => return false,
    };
    let handles = handles.iter().map(|handle| &*handle.value);
    ids.into_iter().flatten().chain(handles).any(|id| id.len() > ID_BYTES_MAX)
}

fn inbound(
    message: Message,
    contacts: &[Value],
    number: &str,
    raw: &str,
    now: Timestamp,
) -> Result<Inbound, &'static str> {
    if message.kind.as_deref() == Some("request_welcome") {
        return Ok(Inbound::Ignored("welcome"));
    }
    let author = handles(
        message.from_user_id.as_deref(),
        message.from_parent_user_id.as_deref(),
        message.from.as_deref(),
    );
    let contact = contacts.iter().find(|contact| names(contact, &author));
    // A lone contact of a lone message is its sender, whatever the message itself leaves out.
    let contact = contact.or(contacts.first().filter(|_| author.is_empty() && contacts.len() == 1));
    let mut from = match contact {
        Some(contact) => with(author, contact),
        None => author,
    };
    if let Some(group) = message.group_id.filter(|group| !group.is_empty()) {
        from = vec![Handle { kind: IdentityKind::Group, value: group }];
    }
    if from.is_empty() {
        return Err("the message has no sender");
    }
    let name = contact
        .and_then(|contact| contact.pointer("/profile/name")?.as_str())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| name.chars().take(NAME_CHARS_MAX).collect());
    let provider_id = message.id.filter(|id| !id.is_empty());
    let dedup = provider_id.is_none().then(|| fingerprint(number, raw));
    let (kind, text, raw) = content(message.kind.as_deref(), message.text, raw);
    let context = message.context;
    let forwarded =
        context.as_ref().is_some_and(|context| context.forwarded || context.frequently_forwarded);
    Ok(Inbound::Message(InboundMessage {
        from,
        name,
        provider_id,
        dedup,
        sent_at: time(message.timestamp.as_ref(), now),
        kind,
        text,
        attachments: Vec::new(),
        payload: None,
        reply_to: context.and_then(|context| context.id).filter(|id| !id.is_empty()),
        forwarded,
        raw,
    }))
}

fn echo(message: Message, raw: &str, now: Timestamp) -> Result<Inbound, &'static str> {
    let to = handles(
        message.to_user_id.as_deref(),
        message.to_parent_user_id.as_deref(),
        message.to.as_deref(),
    );
    if to.is_empty() {
        return Err("the echo has no recipient");
    }
    let provider_id = message.id.filter(|id| !id.is_empty()).ok_or("the echo has no id")?;
    let (kind, text, raw) = content(message.kind.as_deref(), message.text, raw);
    Ok(Inbound::Echo(Echo {
        to,
        provider_id,
        opaque: message.biz_opaque_callback_data.as_deref().and_then(Opaque::decode),
        sent_at: time(message.timestamp.as_ref(), now),
        kind,
        text,
        attachments: Vec::new(),
        raw,
    }))
}

fn receipt(status: Status, now: Timestamp) -> Result<Inbound, &'static str> {
    let to = match status.status.as_deref() {
        Some("sent") => MessageStatus::Sent,
        Some("delivered") => MessageStatus::Delivered,
        Some("read") => MessageStatus::Read,
        Some("played") => MessageStatus::Played,
        Some("failed") => MessageStatus::Failed,
        Some(_) => return Ok(Inbound::Ignored("status")),
        None => return Err("the status has no `status`"),
    };
    let provider_id = status.id.filter(|id| !id.is_empty()).ok_or("the status has no id")?;
    let parent = status.recipient_parent_user_id.or(status.parent_recipient_user_id);
    Ok(Inbound::Receipt(Receipt {
        provider_id,
        opaque: status.biz_opaque_callback_data.as_deref().and_then(Opaque::decode),
        status: to,
        at: time(status.timestamp.as_ref(), now),
        recipient: handles(
            status.recipient_user_id.as_deref(),
            parent.as_deref(),
            status.recipient_id.as_deref(),
        ),
        error: status.errors.first().map(error_of).filter(|_| to == MessageStatus::Failed),
    }))
}

/// What can be shown, and what has to be kept as it was sent because it is not understood yet.
fn content(
    kind: Option<&str>,
    text: Option<Text>,
    raw: &str,
) -> (MessageKind, Option<String>, Option<String>) {
    match (kind, text.and_then(|text| text.body)) {
        (Some("text") | None, Some(body)) => (MessageKind::Text, Some(body), None),
        _ => (MessageKind::Unsupported, None, Some(raw.to_owned())),
    }
}

/// In canonical order, what is there of a business-scoped id, its parent, and a phone number.
fn handles(user_id: Option<&str>, parent: Option<&str>, phone: Option<&str>) -> Vec<Handle> {
    let bsuid = |value: &str| Handle { kind: IdentityKind::Bsuid, value: value.to_owned() };
    let mut handles: Vec<_> =
        [user_id, parent].into_iter().flatten().filter(|id| !id.is_empty()).map(bsuid).collect();
    let digits: String = phone.unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
    if !digits.is_empty() {
        handles.push(Handle { kind: IdentityKind::Phone, value: digits });
    }
    handles
}

fn of_contact(contact: &Value) -> Vec<Handle> {
    let of = |key: &str| contact.get(key).and_then(Value::as_str);
    handles(of("user_id"), of("parent_user_id"), of("wa_id"))
}

/// Whether a contact is whom these handles name.
fn names(contact: &Value, handles: &[Handle]) -> bool {
    of_contact(contact).iter().any(|handle| handles.contains(handle))
}

/// The handles of a message's sender with those of its contact.
fn with(mut author: Vec<Handle>, contact: &Value) -> Vec<Handle> {
    for handle in of_contact(contact) {
        if !author.contains(&handle) {
            author.push(handle);
        }
    }
    // Stable: of two business-scoped ids the parent stays second.
    author.sort_by_key(|handle| handle.kind);
    author
}

/// Seconds, as text or number. Nothing was sent before 2009, nor more than a day from now.
fn time(value: Option<&Value>, now: Timestamp) -> Option<Timestamp> {
    let seconds: i64 = text(value?)?.parse().ok()?;
    let at = Timestamp::from_secs(seconds);
    let first = Timestamp::from_secs(1_230_768_000);
    (at >= first && at <= now + Duration::from_secs(24 * 60 * 60)).then_some(at)
}

/// What tells a message without an id apart: the account, and all that was sent of it.
fn fingerprint(number: &str, raw: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(number);
    hash.update([0]);
    hash.update(raw);
    hex::encode(hash.finalize())
}
