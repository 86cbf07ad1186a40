//! A change to items, each on its own: what is wrong with one never loses its neighbours.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::book;
use super::envelope::Change;
use super::identity;
use super::message::{Around, echo, inbound};
use super::news::is_news;
use super::people::Contacts;
use super::status::receipt;
use crate::channel::Inbound;
use crate::channel::reading::{ITEM_BYTES_MAX, dead, item, value_of};
use crate::time::Timestamp;

/// What lies deeper is not looked for where a thing cannot be read at one go.
const DEPTH_MAX: usize = 8;

/// The same as far as a value can hold it: null stands for numbers that are too large for that, and
/// for lists that are too deep.
pub(super) fn readable_of(sent: &RawValue) -> Option<Value> {
    (sent.get().len() <= ITEM_BYTES_MAX).then(|| readable(sent.get(), DEPTH_MAX))
}

fn readable(sent: &str, depth: usize) -> Value {
    if let Ok(value) = serde_json::from_str(sent) {
        return value;
    }
    let Some(depth) = depth.checked_sub(1) else { return Value::Null };
    let each = |sent: &RawValue| readable(sent.get(), depth);
    if let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(sent) {
        return fields.into_iter().map(|(name, field)| (name, each(field))).collect();
    }
    let all = serde_json::from_str::<Vec<&RawValue>>(sent).ok();
    all.map_or(Value::Null, |all| all.into_iter().map(each).collect())
}

/// What is wrong with a change that cannot be taken apart.
pub(super) const NO_CHANGE: &str = "the change is not what a change should be";

/// The items of a change. `now` tells which of the provider's times are plausible.
pub fn decode(change: &Change<'_>, now: Timestamp) -> Vec<Inbound> {
    match change.field.as_str() {
        "messages" | "smb_message_echoes" | "message_echoes" => {}
        "user_id_update" => return updates(change, now),
        other => return event(other, change),
    }
    let Some(contents) = &change.contents else {
        return vec![dead(NO_CHANGE, change.kept())];
    };
    let around = Around {
        contacts: &Contacts::read(&contents.contacts),
        number: change.phone_number_id.as_deref().unwrap_or_default(),
        own_phone: &contents.own_phone(),
        now,
    };
    let mut items = Vec::new();
    for raw in &contents.messages {
        let kept = || change.kept_alone("messages", raw);
        items.push(item(raw, kept, "the message is not what a message should be", |message| {
            inbound(message, raw, &around)
        }));
    }
    for raw in &contents.message_echoes {
        let kept = || change.kept_alone("message_echoes", raw);
        items.push(item(raw, kept, "the echo is not what an echo should be", |message| {
            echo(message, raw.get(), &around)
        }));
    }
    for raw in &contents.statuses {
        let kept = || change.kept_alone("statuses", raw);
        items.push(item(raw, kept, "the status is not what a status should be", |status| {
            receipt(status, now)
        }));
    }
    if items.is_empty() {
        items.push(Inbound::Ignored("nothing"));
    }
    items
}

/// Where more of an event cannot be read, all of it is one letter.
const LETTERS_MAX: usize = 16;

/// An event is no item. It is followed as far as it can be read, and kept where that is not all.
fn event(name: &str, change: &Change<'_>) -> Vec<Inbound> {
    let wrong = "not all of it can be read; what can be read was followed";
    let mut letters = Vec::new();
    if is_news(name) && value_of(change.value).is_none() {
        letters.push(dead(wrong, change.kept()));
    }
    match book::list(change) {
        Some((list, Some(mut all))) => {
            all.retain(|one| value_of(one).is_none());
            if all.len() > LETTERS_MAX {
                letters.push(dead(wrong, change.kept()));
            } else {
                letters.extend(all.iter().map(|one| dead(wrong, change.kept_alone(list, one))));
            }
        }
        Some((_, None)) => letters.push(dead(NO_CHANGE, change.kept())),
        None => {}
    }
    if letters.is_empty() {
        letters.push(Inbound::Ignored(field(name)));
    }
    letters
}

/// What is told apart of all that is no item, when it is counted.
fn field(name: &str) -> &'static str {
    const FIELDS: [&str; 6] = [
        "history",
        "smb_app_state_sync",
        "user_preferences",
        "account_update",
        "calls",
        "payment_configuration_update",
    ];
    FIELDS.into_iter().find(|field| *field == name).unwrap_or("event")
}

/// Changes of customers' ids, each on its own.
fn updates(change: &Change<'_>, now: Timestamp) -> Vec<Inbound> {
    let Some(updates) = identity::updates(change.value) else {
        return vec![dead(NO_CHANGE, change.kept())];
    };
    let read = |raw: &RawValue| {
        let kept = || change.kept_alone("user_id_update", raw);
        let wrong = "the update of an id is not what one should be";
        item(raw, kept, wrong, |update| identity::update(update, now))
    };
    updates.into_iter().map(read).collect()
}
