//! A change to items, each on its own: what is wrong with one never loses its neighbours.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::book;
use super::envelope::{Change, ID_BYTES_MAX};
use super::identity;
use super::message::{Around, echo, inbound};
use super::news::is_news;
use super::people::Contacts;
use super::status::receipt;
use crate::channel::{Amender, IdentityChange, Inbound};
use crate::time::Timestamp;

/// Larger items are not read: the longest text takes a tenth of it.
pub(super) const ITEM_BYTES_MAX: usize = 256 << 10;

/// A thing as it was sent, unless it is larger: a value takes many times as much memory.
pub(super) fn value_of(sent: &RawValue) -> Option<Value> {
    let is_small = sent.get().len() <= ITEM_BYTES_MAX;
    is_small.then(|| serde_json::from_str(sent.get()).ok())?
}

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

/// What is wrong where [`has_long_id`] says so.
pub(super) const LONG_ID: &str = "an id in it is too long";

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

fn item<T: DeserializeOwned>(
    raw: &RawValue,
    kept: impl FnOnce() -> String,
    wrong: &str,
    read: impl FnOnce(T) -> Result<Inbound, &'static str>,
) -> Inbound {
    if raw.get().len() > ITEM_BYTES_MAX {
        return dead("it is larger than anything that a provider sends", kept());
    }
    let Ok(value) = serde_json::from_str(raw.get()) else { return dead(wrong, kept()) };
    // A bug that one item meets is not its neighbours'.
    match catch_unwind(AssertUnwindSafe(|| read(value))) {
        Ok(Ok(item)) if has_long_id(&item) => dead(LONG_ID, kept()),
        Ok(Ok(item)) => item,
        Ok(Err(reason)) => dead(reason, kept()),
        Err(_) => dead("the program fails when it reads it", kept()),
    }
}

pub(super) fn dead(reason: &str, raw: String) -> Inbound {
    Inbound::Dead { reason: reason.to_owned(), raw }
}

/// Ids become keys of the store, and are kept in memory.
pub(super) fn has_long_id(item: &Inbound) -> bool {
    let (ids, handles, author) = match item {
        Inbound::Message(message) => {
            let ids = [message.provider_id.as_deref(), message.reply_to.as_deref()];
            (ids, &message.from, message.author.as_ref())
        }
        Inbound::Receipt(receipt) => {
            ([Some(&*receipt.provider_id), None], &receipt.recipient, None)
        }
        Inbound::Echo(echo) => {
            ([Some(&*echo.provider_id), echo.reply_to.as_deref()], &echo.to, None)
        }
        Inbound::Amendment(amendment) => {
            let ids = [amendment.provider_id.as_deref(), Some(&*amendment.target)];
            let author = match &amendment.by {
                Amender::Author(author) => Some(author),
                Amender::Customer | Amender::Business => None,
            };
            (ids, &amendment.customer, author)
        }
        Inbound::Identity(change) => {
            let IdentityChange { of, previous, current, provider_id, .. } = change;
            let handles = of.iter().chain(previous).chain(current).map(|handle| &handle.value);
            return handles.chain(provider_id).any(|id| id.len() > ID_BYTES_MAX);
        }
        Inbound::Ignored(_) | Inbound::Dead { .. } => return false,
    };
    let of_author = author.into_iter().flat_map(|author| &author.handles);
    let handles = handles.iter().chain(of_author).map(|handle| &*handle.value);
    ids.into_iter().flatten().chain(handles).any(|id| id.len() > ID_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::item;
    use crate::channel::Inbound;

    #[test]
    fn an_item_on_which_the_reader_panics_is_a_dead_letter() {
        let raw = RawValue::from_string("{}".to_owned()).unwrap();
        let read = |_: Value| panic!("a bug of the reader");
        let dead = item(&raw, || "kept".to_owned(), "wrong", read);
        let reason = "the program fails when it reads it".to_owned();
        assert_eq!(dead, Inbound::Dead { reason, raw: "kept".to_owned() });
    }
}
