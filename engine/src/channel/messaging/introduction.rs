//! Who is known by a reference alone (`user_ref`, of a plugin on a website) until a message of theirs
//! brings the id of the person: what they did is kept as dead letters until then.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::channel::reading::{ID_BYTES_MAX, ITEM_BYTES_MAX, text, value_of};

/// What is kept of an event takes no more, with what is around it: no larger event is read.
pub const KEPT_BYTES_MAX: usize = ITEM_BYTES_MAX + (16 << 10);

/// Somebody who was known by a reference turns out to be this person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    pub reference: String,
    /// The person's id on the channel.
    pub person: String,
}

/// What an event says of it.
pub(super) fn of(event: &RawValue) -> Option<Introduction> {
    // Nearly none does: it is not looked at twice.
    if !event.get().contains("user_ref") && !event.get().contains("prior_message") {
        return None;
    }
    let event = value_of(event)?;
    let person = id(event.pointer("/sender/id")?)?;
    let named = ["/sender/user_ref", "/prior_message/identifier"];
    let reference = named.iter().find_map(|at| event.pointer(at).and_then(id))?;
    Some(Introduction { reference, person })
}

/// The reference by which alone an event names who did it, if it does.
pub(super) fn reference_alone(event: &RawValue) -> Option<String> {
    if !event.get().contains("user_ref") {
        return None;
    }
    alone(value_of(event)?.get("sender")?)
}

/// The same of a sender.
fn alone(sender: &Value) -> Option<String> {
    if sender.get("id").is_some() {
        return None;
    }
    sender.get("user_ref").and_then(id)
}

/// An id, or a reference: what is longer is neither.
fn id(value: &Value) -> Option<String> {
    text(value).filter(|id| id.len() <= ID_BYTES_MAX)
}

/// What was kept, with the person in it whom its reference names; `None`: it is of nobody who is
/// known. It is read once, however many are known.
pub(super) fn told(kept: &str, known: &BTreeMap<String, String>) -> Option<String> {
    if kept.len() > KEPT_BYTES_MAX || !kept.contains("user_ref") {
        return None;
    }
    let mut entry: Value = serde_json::from_str(kept).ok()?;
    let sender = entry.pointer_mut("/messaging/0/sender")?;
    let person = known.get(&alone(sender)?)?;
    sender["id"] = person.as_str().into();
    Some(entry.to_string())
}
