//! Who a payload speaks of: handles in canonical order, and contacts found by them, never by their
//! place in a list.

use serde_json::Value;

use crate::channel::Handle;
use crate::contact::IdentityKind;
use crate::resource::NAME_CHARS_MAX;

/// In canonical order, what is there of a business-scoped id, its parent, and a phone number.
pub(super) fn handles(
    user_id: Option<&str>,
    parent: Option<&str>,
    phone: Option<&str>,
) -> Vec<Handle> {
    let bsuid = |value: &str| Handle { kind: IdentityKind::Bsuid, value: value.to_owned() };
    let mut handles: Vec<_> =
        [user_id, parent].into_iter().flatten().filter(|id| !id.is_empty()).map(bsuid).collect();
    let digits = digits(phone.unwrap_or_default());
    if !digits.is_empty() {
        handles.push(Handle { kind: IdentityKind::Phone, value: digits });
    }
    handles
}

/// A group as the customer of its conversation.
pub(super) fn group(id: &str) -> Vec<Handle> {
    vec![Handle { kind: IdentityKind::Group, value: id.to_owned() }]
}

/// A phone number without all that is written between its digits.
pub(super) fn digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}

/// Whom these handles name, with what their contact adds, and the provider's name for them.
pub(super) fn known(author: Vec<Handle>, contacts: &[Value]) -> (Vec<Handle>, Option<String>) {
    let contact = contacts.iter().find(|contact| names(contact, &author));
    // A lone contact of a lone message is its sender, whatever the message itself leaves out.
    let contact = contact.or(contacts.first().filter(|_| author.is_empty() && contacts.len() == 1));
    match contact {
        Some(contact) => (with(author, contact), name(contact)),
        None => (author, None),
    }
}

/// A name as it is kept.
pub(super) fn shown(name: &str) -> Option<String> {
    let name = name.trim();
    (!name.is_empty()).then(|| name.chars().take(NAME_CHARS_MAX).collect())
}

/// The provider's name for a contact: that of its profile, else its username as `@username`.
fn name(contact: &Value) -> Option<String> {
    let of = |key: &str| shown(contact.get("profile")?.get(key)?.as_str()?);
    let username =
        || of("username").and_then(|name| shown(&format!("@{}", name.trim_start_matches('@'))));
    of("name").or_else(username)
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
