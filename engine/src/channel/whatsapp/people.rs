//! Who a payload speaks of: handles in canonical order, and contacts found by them, never by their
//! place in a list.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::channel::Handle;
use crate::channel::reading::{ITEM_BYTES_MAX, value_of};
use crate::contact::IdentityKind;
use crate::resource::NAME_CHARS_MAX;
use crate::text::beginning;

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
    if !phone.bytes().all(|byte| byte.is_ascii_digit()) {
        digits.retain(|c| c.is_ascii_digit());
    }
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
        let all: Vec<_> = sent.iter().filter_map(|raw| Some(Told::read(raw)?.into())).collect();
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
    (!name.is_empty()).then(|| beginning(name, NAME_CHARS_MAX).to_owned())
}

/// What a contact says of itself.
#[derive(Deserialize)]
struct Told {
    user_id: Option<String>,
    parent_user_id: Option<String>,
    wa_id: Option<String>,
    profile: Option<Profile>,
}

#[derive(Deserialize)]
struct Profile {
    name: Option<String>,
    username: Option<String>,
}

impl Told {
    fn read(sent: &RawValue) -> Option<Self> {
        if sent.get().len() > ITEM_BYTES_MAX {
            return None;
        }
        // Where something in it is not what it should be the rest counts.
        serde_json::from_str(sent.get()).ok().or_else(|| Some(Self::of(&value_of(sent)?)))
    }

    fn of(contact: &Value) -> Self {
        let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map(str::to_owned);
        let profile = contact.get("profile").map(|profile| Profile {
            name: text(profile, "name"),
            username: text(profile, "username"),
        });
        let [user_id, parent_user_id, wa_id] =
            ["user_id", "parent_user_id", "wa_id"].map(|key| text(contact, key));
        Self { user_id, parent_user_id, wa_id, profile }
    }
}

impl From<Told> for Contact {
    /// Its name is that of its profile, else its username as `@username`.
    fn from(Told { user_id, parent_user_id, wa_id, profile }: Told) -> Self {
        let handles = handles(user_id.as_deref(), parent_user_id.as_deref(), wa_id.as_deref());
        let name = profile.and_then(|Profile { name, username }| {
            let of_user = || {
                let name = shown(username.as_deref()?)?;
                shown(&format!("@{}", name.trim_start_matches('@')))
            };
            name.as_deref().and_then(shown).or_else(of_user)
        });
        Self { handles, name }
    }
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
