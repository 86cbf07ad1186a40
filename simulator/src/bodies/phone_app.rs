//! What a business does in the phone app on the number that it also uses here (Meta,
//! "Onboarding WhatsApp Business app users").

use serde_json::{Value, json};

use super::{Account, of_number};

/// A message that was written in the phone app.
#[derive(Clone, Debug, PartialEq)]
pub struct PhoneAppMessage<'a> {
    /// The provider's message id (`wamid...`).
    pub id: &'a str,
    /// The customer: a phone number's digits, or a user id.
    pub to: &'a str,
    /// Seconds since 1970.
    pub at: i64,
    /// What it is: one of [`content`](super::content).
    pub content: Value,
}

/// A webhook with one message of the phone app.
pub fn echo(account: &Account, message: &PhoneAppMessage<'_>) -> Value {
    let mut item = message.content.clone();
    item["id"] = json!(message.id);
    item["from"] = json!(account.digits());
    let is_phone = message.to.chars().all(|c| c.is_ascii_digit());
    item[if is_phone { "to" } else { "to_user_id" }] = json!(message.to);
    item["timestamp"] = json!(message.at.to_string());
    of_number(account, "smb_message_echoes", json!({"message_echoes": [item]}))
}

/// A part of the past that the phone app hands over.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// 0: the last day; 1: ninety days; 2: half a year.
    pub phase: u8,
    /// The part's place in its phase, from 1.
    pub chunk_order: u32,
    /// How much is through, in percent.
    pub progress: u8,
    /// Customers' phone numbers, each with what was written on either side.
    pub threads: Vec<(String, Vec<PastMessage>)>,
}

/// A message of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct PastMessage {
    pub id: String,
    /// Whether the business wrote it.
    pub ours: bool,
    /// Seconds since 1970.
    pub at: i64,
    /// What it is: one of [`content`](super::content).
    pub content: Value,
}

/// A webhook with a part of the past.
pub fn history(account: &Account, part: &History) -> Value {
    let threads = part.threads.iter().map(|(customer, messages)| {
        let messages = messages.iter().map(|message| {
            let mut item = message.content.clone();
            if message.ours {
                item["from"] = json!(account.digits());
                item["to"] = json!(customer);
            } else {
                item["from"] = json!(customer);
            }
            item["id"] = json!(message.id);
            item["timestamp"] = json!(message.at.to_string());
            item["history_context"] = json!({"status": "READ"});
            item
        });
        json!({"id": customer, "messages": messages.collect::<Vec<_>>()})
    });
    let of = json!({
        "phase": part.phase, "chunk_order": part.chunk_order, "progress": part.progress,
    });
    let part = json!({"metadata": of, "threads": threads.collect::<Vec<_>>()});
    of_number(account, "history", json!({"history": [part]}))
}

/// A webhook of an owner who keeps the past to themselves.
pub(crate) fn history_declined(account: &Account) -> Value {
    let words = "The business does not share its history.";
    let error = json!({
        "code": 2_593_109, "title": words, "message": words, "error_data": {"details": words},
    });
    of_number(account, "history", json!({"history": [{"errors": [error]}]}))
}

/// A change in the phone app's address book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactChange {
    /// Added, or named anew.
    Add,
    Remove,
}

/// A webhook with people of the phone app's address book: phone number and name.
pub fn contact_book(
    account: &Account,
    at: i64,
    change: ContactChange,
    people: &[(String, String)],
) -> Value {
    let items = people.iter().map(|(phone, name)| {
        let mut contact = json!({"phone_number": phone});
        let action = match change {
            ContactChange::Add => {
                contact["full_name"] = json!(name);
                contact["first_name"] = json!(name.split(' ').next());
                "add"
            }
            ContactChange::Remove => "remove",
        };
        let metadata = json!({"timestamp": at.to_string()});
        json!({"type": "contact", "contact": contact, "action": action, "metadata": metadata})
    });
    let value = json!({"state_sync": items.collect::<Vec<_>>()});
    of_number(account, "smb_app_state_sync", value)
}
