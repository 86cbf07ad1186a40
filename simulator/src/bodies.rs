//! Webhook bodies in the WhatsApp Cloud API's format (Meta, "Webhooks: messages").

pub mod content;
pub mod events;
mod messaging;
mod people;
mod phone_app;

use bytes::Bytes;
use serde_json::{Value, json};

pub use messaging::{Object, Page};
pub use people::{Sender, Written, opted, system, user_id_changed, written};
pub(crate) use phone_app::history_declined;
pub use phone_app::{
    ContactChange, History, PastMessage, PhoneAppMessage, contact_book, echo, history,
};

/// A business number, as webhooks and the account probe show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `entry[].id`.
    pub waba_id: String,
    pub phone_number_id: String,
    /// Digits with spaces, as people write it.
    pub display_phone_number: String,
    pub verified_name: String,
}

impl Account {
    /// A plausible account with this phone number id; the other fields are derived from it.
    pub fn new(phone_number_id: impl Into<String>) -> Self {
        let phone_number_id = phone_number_id.into();
        let start = phone_number_id.len().saturating_sub(4);
        let last = phone_number_id.get(start..).unwrap_or_default();
        Self {
            waba_id: format!("waba-{phone_number_id}"),
            display_phone_number: format!("+1 555 010 {last:0>4}"),
            verified_name: "Corner Store".into(),
            phone_number_id,
        }
    }

    /// The number of a business account whose id [`Account::new`] derived.
    pub(crate) fn of_waba(waba_id: &str) -> Option<Self> {
        waba_id.strip_prefix("waba-").map(Self::new)
    }

    /// The number's digits, as messages name the business.
    pub fn digits(&self) -> String {
        self.display_phone_number.chars().filter(char::is_ascii_digit).collect()
    }
}

/// A customer's text message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// The provider's message id (`wamid...`).
    pub id: &'a str,
    /// The customer's phone number, digits only.
    pub from: &'a str,
    /// The customer's profile name.
    pub name: &'a str,
    pub text: &'a str,
    /// Seconds since 1970.
    pub at: i64,
    /// The provider's id of the quoted message.
    pub reply_to: Option<&'a str>,
}

/// What became of a message that the business sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    /// The provider's id of the message.
    pub id: &'a str,
    /// The recipient: a phone number's digits, a user id, or a group's id.
    pub to: &'a str,
    /// `sent`, `delivered`, `read`, `played` or `failed`.
    pub status: &'a str,
    /// Seconds since 1970.
    pub at: i64,
    /// The `biz_opaque_callback_data` of the send.
    pub opaque: Option<&'a str>,
    /// Code and details, with `failed`.
    pub error: Option<(u32, &'a str)>,
}

/// A webhook with one text message.
pub fn text(account: &Account, message: &Text<'_>) -> Value {
    let from = Sender::of_phone(message.from, message.name);
    let mut message_written =
        Written::new(message.id, &from, message.at, content::text(message.text));
    message_written.quotes = message.reply_to;
    written(account, &message_written)
}

/// A webhook with one status. Prices come with `sent` and `delivered`, as Meta sends them.
pub fn status(account: &Account, status: &Status<'_>) -> Value {
    let mut item = json!({
        "id": status.id,
        "status": status.status,
        "timestamp": status.at.to_string(),
    });
    match status.to.chars().all(|c| c.is_ascii_digit()) {
        true => item["recipient_id"] = json!(status.to),
        false if status.to.contains('.') => item["recipient_user_id"] = json!(status.to),
        false => {
            item["recipient_id"] = json!(status.to);
            item["recipient_type"] = json!("group");
        }
    }
    if matches!(status.status, "sent" | "delivered") {
        item["pricing"] = json!({
            "billable": false,
            "pricing_model": "PMP",
            "category": "service",
            "type": "free_customer_service",
        });
    }
    if let Some(opaque) = status.opaque {
        item["biz_opaque_callback_data"] = json!(opaque);
    }
    if let Some((code, details)) = status.error {
        item["errors"] = json!([{
            "code": code,
            "title": details,
            "message": details,
            "error_data": {"details": details},
        }]);
    }
    envelope(account, json!({"statuses": [item]}))
}

/// Several webhooks of one channel as one: what is of one account under one entry.
pub fn batch(webhooks: impl IntoIterator<Item = Value>) -> Value {
    let (mut object, mut entries) = (Value::Null, Vec::<Value>::new());
    for mut webhook in webhooks {
        object = webhook["object"].take();
        let Some(added) = webhook["entry"].as_array_mut() else { continue };
        for mut entry in added.drain(..) {
            let list = if entry["changes"].is_array() { "changes" } else { "messaging" };
            let known = entries.iter_mut().find(|known| known["id"] == entry["id"]);
            match (known.and_then(|known| known[list].as_array_mut()), &mut entry[list]) {
                (Some(all), Value::Array(items)) => all.append(items),
                _ => entries.push(entry),
            }
        }
    }
    json!({"object": object, "entry": entries})
}

/// The same bytes without Meta's escapes, as proxies and other providers may send them.
pub fn plain_wire(webhook: &Value) -> Bytes {
    webhook.to_string().into()
}

/// The bytes as Meta puts them on the wire, and signs them: everything beyond ASCII as `\u` with
/// lower-case hex, `/` as `\/`.
pub fn wire(webhook: &Value) -> Bytes {
    let json = webhook.to_string();
    let mut out = String::with_capacity(json.len() + 64);
    let mut units = [0; 2];
    for c in json.chars() {
        match c {
            '/' => out.push_str("\\/"),
            c if c.is_ascii() => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.into()
}

/// A webhook about messages of a number.
fn envelope(account: &Account, content: Value) -> Value {
    of_number(account, "messages", content)
}

/// A webhook with one change of a field that belongs to a number.
fn of_number(account: &Account, field: &str, content: Value) -> Value {
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": account.digits(),
            "phone_number_id": account.phone_number_id,
        },
    });
    if let (Some(value), Value::Object(content)) = (value.as_object_mut(), content) {
        value.extend(content);
    }
    json!({
        "object": "whatsapp_business_account",
        "entry": [{"id": account.waba_id, "changes": [{"field": field, "value": value}]}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: Text<'_> = Text {
        id: "wamid.1",
        from: "15550100003",
        name: "Zoë",
        text: "😀 a/b",
        at: 1_790_000_000,
        reply_to: Some("wamid.0"),
    };

    #[test]
    fn the_wire_form_is_ascii_and_means_the_same() {
        let webhook = text(&Account::new("1065"), &HELLO);
        let wire = wire(&webhook);
        assert!(wire.is_ascii());
        assert!(String::from_utf8_lossy(&wire).contains(r#""\ud83d\ude00 a\/b""#));
        assert_eq!(serde_json::from_slice::<Value>(&wire).unwrap(), webhook);
    }

    #[test]
    fn a_batch_keeps_every_change_under_its_own_business_account() {
        let (one, two) = (Account::new("1"), Account::new("2"));
        let read =
            Status { id: "wamid.9", to: "1", status: "read", at: 1, opaque: None, error: None };
        let all = batch([text(&one, &HELLO), text(&two, &HELLO), status(&one, &read)]);
        assert_eq!(all["entry"].as_array().unwrap().len(), 2);
        assert_eq!(all["entry"][0]["changes"].as_array().unwrap().len(), 2);
        assert_eq!(all["object"], "whatsapp_business_account");
        let change = &all["entry"][0]["changes"][1]["value"];
        assert_eq!(change["statuses"][0]["status"], "read");
        assert_eq!(change["metadata"]["phone_number_id"], "1");
        let page = Page::new(Object::Instagram, "5");
        let all = batch(["a", "b"].map(|id| page.text("81", id, "Hi", 1)));
        assert_eq!(
            (&all["object"], &all["entry"][0]["messaging"][1]["message"]["mid"]),
            (&json!("instagram"), &json!("b"))
        );
    }
}
