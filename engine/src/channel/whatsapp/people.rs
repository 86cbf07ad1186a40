//! Who a payload speaks of: handles in canonical order, and contacts found by them, never by their
//! place in a list.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::channel::Handle;
use crate::channel::reading::value_of;
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
    let mut digits = phone.to_owned();
    digits.retain(|c| c.is_ascii_digit());
    digits
}

/// The contacts of a change, found by their handles.
#[derive(Default)]
pub(super) struct Contacts {
    all: Vec<Contact>,
    /// Each handle with the place of its contact, in order.
    places: Vec<(Handle, usize)>,
}

struct Contact {
    handles: Vec<Handle>,
    name: Option<String>,
}

impl Contacts {
    /// As they were sent; one that is none is left out.
    pub(super) fn read(sent: &[&RawValue]) -> Self {
        let read = |raw: &&RawValue| {
            let value = value_of(raw)?;
            Some(Contact { handles: handles_of(&value), name: name_of(&value) })
        };
        let all: Vec<_> = sent.iter().filter_map(read).collect();
        let named = |(at, contact): (usize, &Contact)| {
            contact.handles.iter().map(|handle| (handle.clone(), at)).collect::<Vec<_>>()
        };
        let mut places: Vec<_> = all.iter().enumerate().flat_map(named).collect();
        places.sort_unstable();
        Self { all, places }
    }

    /// Whom these handles name, with what their contact adds, and the provider's name for them.
    pub(super) fn known(&self, author: Vec<Handle>) -> (Vec<Handle>, Option<String>) {
        let first = |handle: &Handle| {
            let at = self.places.partition_point(|(other, _)| other < handle);
            self.places.get(at).filter(|(other, _)| other == handle).map(|(_, place)| *place)
        };
        // A lone contact of a lone message is its sender, whatever the message itself leaves out.
        let lone = (author.is_empty() && self.all.len() == 1).then_some(0);
        match author.iter().filter_map(first).min().or(lone).map(|at| &self.all[at]) {
            Some(contact) => (with(author, &contact.handles), contact.name.clone()),
            None => (author, None),
        }
    }
}

/// A name as it is kept.
pub(super) fn shown(name: &str) -> Option<String> {
    let name = name.trim();
    let end = name.char_indices().nth(NAME_CHARS_MAX).map_or(name.len(), |(end, _)| end);
    (!name.is_empty()).then(|| name[..end].to_owned())
}

/// The provider's name for a contact: that of its profile, else its username as `@username`.
fn name_of(contact: &Value) -> Option<String> {
    let of = |key: &str| shown(contact.get("profile")?.get(key)?.as_str()?);
    let username =
        || of("username").and_then(|name| shown(&format!("@{}", name.trim_start_matches('@'))));
    of("name").or_else(username)
}

fn handles_of(contact: &Value) -> Vec<Handle> {
    let of = |key: &str| contact.get(key).and_then(Value::as_str);
    handles(of("user_id"), of("parent_user_id"), of("wa_id"))
}

/// The handles of a message's sender with those of its contact.
fn with(mut author: Vec<Handle>, contact: &[Handle]) -> Vec<Handle> {
    for handle in contact {
        if !author.contains(handle) {
            author.push(handle.clone());
        }
    }
    // Stable: of two business-scoped ids the parent stays second.
    author.sort_by_key(|handle| handle.kind);
    author
}
