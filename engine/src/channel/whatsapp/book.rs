//! What concerns customers and is no message: what they want to be sent, and what the business calls
//! them in its phone's book.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decode::readable_of;
use super::envelope::Change;
use super::message::time;
use super::people;
use crate::channel::reading::{ID_BYTES_MAX, text};
use crate::consent::{ContactNews, ContactSaid};
use crate::time::Timestamp;

/// Names of what customers may want are no longer.
const CATEGORY_CHARS_MAX: usize = 64;

/// What a change says of customers.
pub fn contact_news(change: &Change<'_>, now: Timestamp) -> Vec<ContactNews> {
    let read = match change.field.as_str() {
        "user_preferences" => preference,
        _ => entry,
    };
    let Some((_, Some(all))) = list(change) else { return Vec::new() };
    let fits = |news: &ContactNews| news.of.iter().all(|of| of.value.len() <= ID_BYTES_MAX);
    all.into_iter().filter_map(|one| read(&readable_of(one)?, now)).filter(fits).collect()
}

/// The list of a change that says something of customers, by its name and as it was sent; `None` in
/// it: there is none that can be read.
pub(super) fn list<'a>(change: &Change<'a>) -> Option<(&'static str, Option<Vec<&'a RawValue>>)> {
    let lists = || serde_json::from_str::<Lists<'_>>(change.value.get()).ok();
    match change.field.as_str() {
        "user_preferences" => {
            Some(("user_preferences", lists().map(|lists| lists.user_preferences)))
        }
        "smb_app_state_sync" => Some(("state_sync", lists().map(|lists| lists.state_sync))),
        _ => None,
    }
}

/// Each may be long: a whole book.
#[derive(Deserialize)]
struct Lists<'a> {
    #[serde(borrow, default)]
    user_preferences: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    state_sync: Vec<&'a RawValue>,
}

fn preference(one: &Value, now: Timestamp) -> Option<ContactNews> {
    let of = |key: &str| one.get(key).and_then(text);
    let category = of("category").unwrap_or_else(|| "marketing_messages".to_owned());
    let category = category.strip_suffix("_messages").unwrap_or(&category);
    let stopped = match of("value").as_deref() {
        Some("stop") => true,
        Some("resume") => false,
        _ => return None,
    };
    let category = category.chars().take(CATEGORY_CHARS_MAX).collect();
    news(
        &[of("user_id"), of("parent_user_id"), of("wa_id")],
        ContactSaid::Wants { category, stopped },
        time(one.get("timestamp"), now),
    )
}

fn entry(one: &Value, now: Timestamp) -> Option<ContactNews> {
    let of = |path: &str| one.pointer(path).and_then(text);
    let name = of("/contact/full_name").or_else(|| of("/contact/first_name"));
    let name = match of("/action").as_deref() {
        Some("remove") => None,
        _ => Some(people::shown(&name?)?),
    };
    news(
        &[of("/contact/user_id"), None, of("/contact/phone_number")],
        ContactSaid::Called { name },
        time(one.pointer("/metadata/timestamp"), now),
    )
}

fn news(
    [user, parent, phone]: &[Option<String>; 3],
    said: ContactSaid,
    at: Option<Timestamp>,
) -> Option<ContactNews> {
    let of = people::handles(user.as_deref(), parent.as_deref(), phone.as_deref());
    (!of.is_empty()).then_some(ContactNews { of, at, said })
}
