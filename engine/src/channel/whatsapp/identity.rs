//! Changes of who a customer is: messages of type `system`, and the field `user_id_update`.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::message::time;
use super::people::{Contacts, handles};
use crate::channel::reading::{ID_BYTES_MAX, ITEMS_MAX, text};
use crate::channel::{Handle, IdentityChange, Inbound};
use crate::contact::IdentityKind;
use crate::time::Timestamp;

/// A message of type `system`.
#[derive(Deserialize)]
struct System {
    id: Option<String>,
    from: Option<String>,
    from_user_id: Option<String>,
    from_parent_user_id: Option<String>,
    timestamp: Option<Value>,
    identity: Option<Hash>,
    system: Event,
}

#[derive(Deserialize)]
struct Event {
    body: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    wa_id: Option<String>,
    /// What `wa_id` was called before.
    new_wa_id: Option<String>,
    user_id: Option<String>,
    parent_user_id: Option<String>,
    identity: Option<Value>,
}

#[derive(Deserialize)]
struct Hash {
    hash: Option<String>,
}

#[derive(Deserialize)]
struct Updates<'a> {
    #[serde(borrow, default)]
    user_id_update: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Update {
    wa_id: Option<String>,
    detail: Option<String>,
    user_id: Option<Pair>,
    parent_user_id: Option<Pair>,
    timestamp: Option<Value>,
}

#[derive(Default, Deserialize)]
struct Pair {
    previous: Option<String>,
    current: Option<String>,
}

/// The longest note, in characters.
const NOTE_CHARS_MAX: usize = 1_000;

/// What a message of type `system` says, with the contacts of its envelope.
pub(super) fn system(
    raw: &RawValue,
    contacts: &Contacts,
    now: Timestamp,
) -> Result<Inbound, &'static str> {
    let message: System = serde_json::from_str(raw.get())
        .map_err(|_| "the system message is not what one should be")?;
    let event = &message.system;
    let author = handles(
        message.from_user_id.as_deref(),
        message.from_parent_user_id.as_deref(),
        message.from.as_deref(),
    );
    let (contact, _) = contacts.known(author.clone());
    let phone = event.wa_id.as_deref().or(event.new_wa_id.as_deref());
    let ids = (event.user_id.as_deref(), event.parent_user_id.as_deref());
    let (kind, current, fallback) = match event.kind.as_deref() {
        Some("user_changed_number" | "customer_changed_number") => {
            (IdentityKind::Phone, handles(ids.0, ids.1, phone), "The customer has a new number.")
        }
        Some("user_changed_user_id") => {
            (IdentityKind::Bsuid, handles(ids.0, ids.1, None), "The customer has a new id.")
        }
        Some("customer_identity_changed") => {
            return Ok(Inbound::Identity(security_code(&message, contact, now)));
        }
        _ => return Ok(Inbound::Ignored("system")),
    };
    let mut previous: Vec<_> =
        author.iter().filter(|handle| handle.kind == kind).cloned().collect();
    let new = current.iter().find(|handle| handle.kind == kind);
    if previous.is_empty()
        && let Some(old) = new.and_then(|new| replaced(event.body.as_deref()?, &new.value))
    {
        previous = match kind {
            IdentityKind::Phone => handles(None, None, Some(old)),
            _ => handles(Some(old), None, None),
        };
    }
    if new.is_none() {
        return Err("the system message does not say what is new");
    }
    let at = time(message.timestamp.as_ref(), now);
    let text = event.body.as_deref();
    let change = change((contact, previous, current), at, text.unwrap_or(fallback));
    let provider_id = message.id.clone().filter(|id| !id.is_empty());
    Ok(Inbound::Identity(IdentityChange { provider_id, ..change }))
}

/// The changes that the field `user_id_update` tells of, each as it was sent.
pub(super) fn updates(value: &RawValue) -> Option<Vec<&RawValue>> {
    let Updates { user_id_update } = serde_json::from_str(value.get()).ok()?;
    Some(user_id_update).filter(|all| all.len() <= ITEMS_MAX)
}

/// One of them.
pub(super) fn update(update: Update, now: Timestamp) -> Result<Inbound, &'static str> {
    let (id, parent) =
        (update.user_id.unwrap_or_default(), update.parent_user_id.unwrap_or_default());
    let previous = handles(id.previous.as_deref(), parent.previous.as_deref(), None);
    let current =
        handles(id.current.as_deref(), parent.current.as_deref(), update.wa_id.as_deref());
    if previous.is_empty() && current.is_empty() {
        return Err("the update of an id names nobody");
    }
    let at = time(update.timestamp.as_ref(), now);
    let text = update.detail.as_deref().unwrap_or("The customer has a new id.");
    Ok(Inbound::Identity(change((Vec::new(), previous, current), at, text)))
}

/// The customer's phone is another one, perhaps: nothing else about them changed.
fn security_code(message: &System, of: Vec<Handle>, now: Timestamp) -> IdentityChange {
    let hash = message.identity.as_ref().and_then(|identity| identity.hash.clone());
    let hash = hash.or_else(|| text(message.system.identity.as_ref()?));
    let hash = hash.filter(|hash| hash.len() <= ID_BYTES_MAX);
    let mark = hash.or_else(|| message.id.clone());
    IdentityChange {
        of,
        at: time(message.timestamp.as_ref(), now),
        text: note(
            message.system.body.as_deref().unwrap_or("The customer's security code changed."),
        ),
        provider_id: message.id.clone(),
        marks: mark.map(|mark| format!("security:{mark}")).into_iter().collect(),
        ..IdentityChange::default()
    }
}

/// A change in which every handle is named once: what is both old and new stays as it is.
fn change(
    (of, previous, current): (Vec<Handle>, Vec<Handle>, Vec<Handle>),
    at: Option<Timestamp>,
    text: &str,
) -> IdentityChange {
    let marks = current.iter().map(|h| format!("now:{}:{}", h.kind.as_str(), h.value)).collect();
    let (same, previous): (Vec<_>, Vec<_>) =
        previous.into_iter().partition(|handle| current.contains(handle));
    let current: Vec<_> = current.into_iter().filter(|handle| !same.contains(handle)).collect();
    let mut stay: Vec<Handle> = Vec::new();
    for handle in same.into_iter().chain(of) {
        if !previous.contains(&handle) && !current.contains(&handle) && !stay.contains(&handle) {
            stay.push(handle);
        }
    }
    let (text, provider_id) = (note(text), None);
    IdentityChange { of: stay, previous, current, at, text, provider_id, marks }
}

/// What was replaced, where a sentence ends with `from OLD to NEW`. Names come before that, and may
/// say what they like.
fn replaced<'a>(body: &'a str, new: &str) -> Option<&'a str> {
    let before = body.trim_end().strip_suffix(new)?.strip_suffix(" to ")?;
    let (before, old) = before.rsplit_once(' ')?;
    (before.ends_with(" from") && old != new).then_some(old)
}

fn note(text: &str) -> String {
    text.trim().chars().take(NOTE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_the_end_of_a_sentence_says_what_was_replaced() {
        let says = |body| replaced(body, "US.2");
        assert_eq!(says("User Noor changed from US.1 to US.2"), Some("US.1"));
        assert_eq!(says("User x from US.9 to US.2 changed from US.1 to US.2"), Some("US.1"));
        assert_eq!(says("User x from US.9 to US.2 changed"), None);
        assert_eq!(says("US.1 to US.2"), None);
        assert_eq!(says("changed from US.2 to US.2"), None);
        assert_eq!(says(""), None);
    }
}
