//! What customers do, as webhooks tell it.

use serde_json::{Value, json};

use super::{Account, envelope, of_number};

/// Somebody who writes, as webhooks show them. The phone number may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// Digits only.
    pub phone: Option<String>,
    /// The id that the business knows them by (`US.1349...`).
    pub user_id: Option<String>,
    /// The id that linked businesses share (`US.ENT.1349...`).
    pub parent_user_id: Option<String>,
    /// Without `@`.
    pub username: Option<String>,
    pub name: String,
}

impl Sender {
    /// Somebody who is known by a phone number alone.
    pub fn of_phone(phone: &str, name: &str) -> Self {
        Self { phone: Some(phone.to_owned()), name: name.to_owned(), ..Self::default() }
    }

    fn contact(&self) -> Value {
        let mut contact = json!({"profile": {"name": self.name}});
        put(&mut contact, "wa_id", self.phone.as_deref());
        put(&mut contact, "user_id", self.user_id.as_deref());
        put(&mut contact, "parent_user_id", self.parent_user_id.as_deref());
        if let Some(username) = &self.username {
            contact["profile"]["username"] = json!(format!("@{username}"));
        }
        contact
    }
}

/// A message that a customer wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Written<'a> {
    /// The provider's message id (`wamid...`).
    pub id: &'a str,
    pub from: &'a Sender,
    /// Seconds since 1970.
    pub at: i64,
    /// What it is: one of [`content`](super::content).
    pub content: Value,
    /// The provider's id of the message of ours that is quoted.
    pub quotes: Option<&'a str>,
    /// The group it was written in.
    pub group: Option<&'a str>,
}

impl<'a> Written<'a> {
    /// One that quotes nothing, to the business alone.
    pub fn new(id: &'a str, from: &'a Sender, at: i64, content: Value) -> Self {
        Self { id, from, at, content, quotes: None, group: None }
    }
}

/// A webhook with one message.
pub fn written(account: &Account, message: &Written<'_>) -> Value {
    let mut item = json!({"id": message.id, "timestamp": message.at.to_string()});
    put(&mut item, "from", message.from.phone.as_deref());
    put(&mut item, "from_user_id", message.from.user_id.as_deref());
    put(&mut item, "from_parent_user_id", message.from.parent_user_id.as_deref());
    put(&mut item, "group_id", message.group);
    if let Some(quoted) = message.quotes {
        item["context"] = json!({"from": account.digits(), "id": quoted});
    }
    if let (Some(item), Value::Object(content)) = (item.as_object_mut(), message.content.clone()) {
        item.extend(content);
    }
    envelope(account, json!({"contacts": [message.from.contact()], "messages": [item]}))
}

/// A webhook with a system message: `user_changed_number` or `user_changed_user_id`. `before` is
/// who they were, `now` who they are.
pub fn system(
    account: &Account,
    id: &str,
    at: i64,
    kind: &str,
    before: &Sender,
    now: &Sender,
) -> Value {
    let (old, new) = match kind {
        "user_changed_number" => (&before.phone, &now.phone),
        _ => (&before.user_id, &now.user_id),
    };
    let word = |id: &Option<String>| id.clone().unwrap_or_default();
    let body = format!("User {} changed from {} to {}", now.name, word(old), word(new));
    let mut system = json!({"type": kind, "body": body});
    if kind == "user_changed_number" {
        put(&mut system, "wa_id", now.phone.as_deref());
    }
    put(&mut system, "user_id", now.user_id.as_deref());
    put(&mut system, "parent_user_id", now.parent_user_id.as_deref());
    let mut item =
        json!({"id": id, "timestamp": at.to_string(), "type": "system", "system": system});
    put(&mut item, "from", before.phone.as_deref());
    put(&mut item, "from_user_id", before.user_id.as_deref());
    envelope(account, json!({"messages": [item]}))
}

/// A webhook that says which user id replaced which.
pub fn user_id_changed(account: &Account, at: i64, before: &Sender, now: &Sender) -> Value {
    let pair = |previous: &Option<String>, current: &Option<String>| json!({"previous": previous, "current": current});
    let mut item = json!({
        "detail": format!("User id for {} has been updated.", now.name),
        "user_id": pair(&before.user_id, &now.user_id),
        "timestamp": at.to_string(),
    });
    put(&mut item, "wa_id", now.phone.as_deref());
    if now.parent_user_id.is_some() {
        item["parent_user_id"] = pair(&before.parent_user_id, &now.parent_user_id);
    }
    let mut contact = json!({"profile": {"name": now.name}});
    put(&mut contact, "wa_id", now.phone.as_deref());
    let value = json!({"contacts": [contact], "user_id_update": [item]});
    of_number(account, "user_id_update", value)
}

/// A webhook of somebody who wants no more marketing messages, or wants them again.
pub fn opted(account: &Account, from: &Sender, at: i64, out: bool) -> Value {
    let value = if out { "stop" } else { "resume" };
    let mut item = json!({
        "category": "marketing_messages",
        "value": value,
        "detail": format!("The user asked to {value} marketing messages"),
        "timestamp": at,
    });
    put(&mut item, "wa_id", from.phone.as_deref());
    put(&mut item, "user_id", from.user_id.as_deref());
    let content = json!({"contacts": [from.contact()], "user_preferences": [item]});
    of_number(account, "user_preferences", content)
}

fn put(object: &mut Value, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        object[key] = json!(value);
    }
}
