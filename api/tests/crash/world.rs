//! Customers of every channel, and what their providers post of them, each in its own form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use simulator::Graph;

pub(crate) const SECRET: &str = "the app's secret";
pub(crate) const INBOX: &str = "shop@example.com";
const NUMBER: &str = "7001";
const PAGE: &str = "7002";
const GRAM: &str = "7003";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Whatsapp,
    Instagram,
    Messenger,
    Email,
}

use Channel::{Email, Instagram, Messenger, Whatsapp};

impl Channel {
    pub(crate) const ALL: [Self; 4] = [Whatsapp, Instagram, Messenger, Email];

    /// Where the channel of this customer is.
    pub(crate) fn of(customer: usize) -> Self {
        Self::ALL[customer % Self::ALL.len()]
    }

    /// What connects an account of it; mails leave by this server.
    pub(crate) fn account(self, mail_url: &str) -> Value {
        let meta =
            |id: &str, key: &str| json!({id: key, "access_token": "t", "app_secret": SECRET});
        let (name, config) = match self {
            Whatsapp => ("whatsapp", {
                let mut config = meta("phone_number_id", NUMBER);
                config["waba_id"] = "1".into();
                config
            }),
            Instagram => ("instagram", meta("ig_user_id", GRAM)),
            Messenger => ("messenger", meta("page_id", PAGE)),
            Email => ("email", json!({"address": INBOX, "smtp_url": mail_url})),
        };
        json!({"channel": name, "config": config})
    }
}

/// What a provider posts.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) path: &'static str,
    pub(crate) body: String,
}

/// What a customer is known by.
pub(crate) fn handle(customer: usize) -> String {
    match Channel::of(customer) {
        Whatsapp => format!("1555000{customer:04}"),
        Instagram | Messenger => format!("8100{customer:04}"),
        Email => format!("customer{customer}@example.org"),
    }
}

/// A picture that shows a text, larger than a packet.
pub(crate) fn picture(text: &str) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01".to_vec();
    bytes.extend(text.bytes().cycle().take(20_000));
    bytes
}

/// How a picture comes with what the customer writes: its id at the provider, its address there, or
/// itself.
pub(crate) fn shown(graph: &Graph, customer: usize, picture: Vec<u8>) -> String {
    match Channel::of(customer) {
        Whatsapp => graph.add_medium("image/png", picture),
        Instagram | Messenger => graph.address_of(&graph.add_medium("image/png", picture)),
        Email => STANDARD.encode(picture),
    }
}

/// The customer writes, and perhaps shows a picture.
pub(crate) fn writes(customer: usize, text: &str, file: Option<&str>) -> Post {
    let (from, id) = (handle(customer), format!("{customer}.{text}"));
    match Channel::of(customer) {
        Whatsapp => {
            let mut message = json!({"from": from, "id": format!("wamid.{id}")});
            match file {
                Some(file) => {
                    let image = json!({"id": file, "mime_type": "image/png", "caption": text});
                    (message["type"], message["image"]) = ("image".into(), image);
                }
                None => (message["type"], message["text"]) = ("text".into(), json!({"body": text})),
            }
            let value = json!({"metadata": {"phone_number_id": NUMBER}, "messages": [message]});
            let entry = json!({"id": "1", "changes": [{"field": "messages", "value": value}]});
            of_meta("/webhook", "whatsapp_business_account", &entry)
        }
        channel @ (Instagram | Messenger) => {
            let mut message = json!({"mid": format!("m_{id}"), "text": text});
            if let Some(url) = file {
                message["attachments"] = json!([{"type": "image", "payload": {"url": url}}]);
            }
            event(
                channel,
                |account| json!({"sender": {"id": from}, "recipient": {"id": account}, "message": message}),
            )
        }
        Email => {
            let file = file.map(|content| json!({"filename": "a.png", "content": content}));
            let mail = json!({
                "from": from, "to": INBOX, "subject": "A matter", "text": text,
                "message_id": format!("<{id}@example.org>"),
                // All mails of a customer are about one matter.
                "references": format!("<{customer}.first@example.org>"),
                "attachments": Vec::from_iter(file),
            });
            Post { path: "/webhook/email", body: mail.to_string() }
        }
    }
}

/// Somebody answers the customer in the channel's own inbox; `None`: it tells of no such thing.
pub(crate) fn echoes(customer: usize, text: &str) -> Option<Post> {
    let (to, id) = (handle(customer), format!("e_{customer}.{text}"));
    match Channel::of(customer) {
        channel @ (Instagram | Messenger) => Some(event(channel, |account| {
            let message = json!({"mid": id, "text": text, "is_echo": true});
            json!({"sender": {"id": account}, "recipient": {"id": to}, "message": message})
        })),
        Whatsapp | Email => None,
    }
}

fn event(channel: Channel, event: impl FnOnce(&str) -> Value) -> Post {
    let (path, object, account) = match channel {
        Instagram => ("/webhook/instagram", "instagram", GRAM),
        _ => ("/webhook/messenger", "page", PAGE),
    };
    of_meta(path, object, &json!({"id": account, "messaging": [event(account)]}))
}

fn of_meta(path: &'static str, object: &str, entry: &Value) -> Post {
    Post { path, body: json!({"object": object, "entry": [entry]}).to_string() }
}
