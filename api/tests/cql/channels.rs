//! Customers of every channel, and what their providers post of them, each in its own form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::channel::signature;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use simulator::bodies::content::{self, Medium};
use simulator::bodies::{self, Account, Object, Page, Sender, Status, Written};
use simulator::{Graph, sign};

use crate::caller::Caller;
use crate::harness::SECRET;

const NUMBER: &str = "7001";
const PAGE: &str = "7002";
const GRAM: &str = "7003";
const INBOX: &str = "shop@example.com";

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

    /// What connects the account on it; mails leave by this server.
    pub(crate) fn account(self, mail_url: &str) -> Value {
        let meta =
            |id: &str, key: &str| json!({id: key, "access_token": "t", "app_secret": SECRET});
        let (name, config) = match self {
            Whatsapp => ("whatsapp", {
                let mut config = meta("phone_number_id", NUMBER);
                config["waba_id"] = json!(Account::new(NUMBER).waba_id);
                config
            }),
            Instagram => ("instagram", meta("ig_user_id", GRAM)),
            Messenger => ("messenger", meta("page_id", PAGE)),
            Email => {
                let config =
                    json!({"address": INBOX, "smtp_url": mail_url, "webhook_secret": SECRET});
                ("email", config)
            }
        };
        json!({"channel": name, "config": config})
    }

    fn page(self) -> Page {
        match self {
            Instagram => Page::new(Object::Instagram, GRAM),
            _ => Page::new(Object::Page, PAGE),
        }
    }
}

/// What a provider posts.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    path: &'static str,
    pub(crate) body: Value,
}

impl Post {
    fn of_meta(body: Value) -> Self {
        Self { path: "/webhook", body }
    }

    /// As the provider sends and signs it.
    pub(crate) fn request(&self, nobody: &Caller) -> RequestBuilder {
        let request = nobody.request(reqwest::Method::POST, self.path);
        let request = request.header("content-type", "application/json");
        if self.path == "/webhook/email" {
            let body = Bytes::from(self.body.to_string());
            let signature = hex::encode(signature::sign(SECRET, &body));
            return request.header("x-email-webhook-signature", signature).body(body);
        }
        let body = bodies::wire(&self.body);
        request.header("x-hub-signature-256", sign(SECRET, &body)).body(body)
    }
}

/// Somebody who writes.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) channel: Channel,
    pub(crate) name: &'static str,
    /// What the provider knows them by.
    pub(crate) handle: String,
    /// The provider's ids of what they wrote, oldest first.
    pub(crate) wrote: Vec<String>,
    pub(crate) conversation: Option<String>,
}

impl Customer {
    pub(crate) fn new(n: usize, name: &'static str) -> Self {
        let channel = Channel::ALL[n % Channel::ALL.len()];
        let handle = match channel {
            Whatsapp => format!("1555000{n:04}"),
            Instagram | Messenger => format!("8100{n:04}"),
            Email => format!("customer{n}@example.org"),
        };
        Self { channel, name, handle, wrote: Vec::new(), conversation: None }
    }

    /// They write this text at that time (seconds since 1970), perhaps as an answer to a message.
    pub(crate) fn writes(&mut self, id: &str, text: &str, at: i64, to: Option<&str>) -> Post {
        self.wrote.push(id.to_owned());
        match self.channel {
            Whatsapp => self.of_number(id, at, content::text(text), to),
            Email => self.mail(json!({"message_id": format!("<{id}>"), "text": text})),
            channel => {
                let mut message = json!({"mid": id, "text": text});
                if let Some(to) = to {
                    message["reply_to"] = json!({"mid": to});
                }
                self.of_page(channel, at, json!({"message": message}))
            }
        }
    }

    /// They show a picture.
    pub(crate) fn shows(&mut self, id: &str, picture: &str, text: &str, at: i64) -> Post {
        self.wrote.push(id.to_owned());
        match self.channel {
            Whatsapp => {
                let (kind, mime_type, caption, filename) = ("image", "image/png", Some(text), None);
                let medium = Medium { kind, id: picture, mime_type, sha256: "", caption, filename };
                self.of_number(id, at, content::medium(&medium), None)
            }
            Email => {
                let file =
                    json!({"filename": "a.png", "content_type": "image/png", "content": picture});
                let id = format!("<{id}>");
                self.mail(json!({"message_id": id, "text": text, "attachments": [file]}))
            }
            channel => {
                let file = json!([{"type": "image", "payload": {"url": picture}}]);
                let message = json!({"mid": id, "text": text, "attachments": file});
                self.of_page(channel, at, json!({"message": message}))
            }
        }
    }

    /// How a picture comes with what they write: its id at the provider, its address there, or itself.
    pub(crate) fn brings(&self, graph: &Graph, picture: Vec<u8>) -> String {
        match self.channel {
            Whatsapp => graph.add_medium("image/png", picture),
            Instagram | Messenger => graph.address_of(&graph.add_medium("image/png", picture)),
            Email => STANDARD.encode(picture),
        }
    }

    /// They think this of a message; `None`: where that cannot be said.
    pub(crate) fn reacts(&self, id: &str, to: &str, at: i64) -> Option<Post> {
        match self.channel {
            Whatsapp => Some(self.of_number(id, at, content::reaction(to, "👍"), None)),
            Email => None,
            channel => {
                let love = json!({"mid": to, "action": "react", "reaction": "love"});
                Some(self.of_page(channel, at, json!({"reaction": love})))
            }
        }
    }

    /// They say something else instead.
    pub(crate) fn edits(&self, id: &str, of: &str, text: &str, at: i64) -> Option<Post> {
        match self.channel {
            Whatsapp => Some(self.of_number(id, at, content::edit(of, &content::text(text)), None)),
            Email => None,
            channel => {
                let edit = json!({"mid": of, "text": text, "num_edit": "1"});
                Some(self.of_page(channel, at, json!({"message_edit": edit})))
            }
        }
    }

    /// They take it back.
    pub(crate) fn deletes(&self, id: &str, of: &str, at: i64) -> Option<Post> {
        match self.channel {
            Whatsapp => Some(self.of_number(id, at, content::revoke(of), None)),
            Email => None,
            channel => {
                let gone = json!({"mid": of, "is_deleted": true});
                Some(self.of_page(channel, at, json!({"message": gone})))
            }
        }
    }

    /// What became of a message of ours, by the provider's id of it.
    pub(crate) fn receives(&self, id: &str, status: &str, at: i64) -> Option<Post> {
        match (self.channel, status) {
            (Whatsapp, status) => {
                let status = Status { id, to: &self.handle, status, at, opaque: None, error: None };
                Some(Post::of_meta(bodies::status(&Account::new(NUMBER), &status)))
            }
            (Messenger, "delivered") => {
                Some(self.of_page(Messenger, at, json!({"delivery": {"mids": [id]}})))
            }
            // Of all that came before: later than any message of the world.
            (Messenger, "read") => {
                let later = (at + 24 * 3600) * 1000;
                Some(self.of_page(Messenger, at, json!({"read": {"watermark": later}})))
            }
            (Instagram, "read") => Some(self.of_page(Instagram, at, json!({"read": {"mid": id}}))),
            _ => None,
        }
    }

    fn of_number(&self, id: &str, at: i64, content: Value, quotes: Option<&str>) -> Post {
        let from = Sender::of_phone(&self.handle, self.name);
        let written = Written { quotes, ..Written::new(id, &from, at, content) };
        Post::of_meta(bodies::written(&Account::new(NUMBER), &written))
    }

    fn of_page(&self, channel: Channel, at: i64, part: Value) -> Post {
        Post::of_meta(channel.page().event(&self.handle, at * 1000, part))
    }

    fn mail(&self, mut mail: Value) -> Post {
        let (name, handle) = (self.name, &self.handle);
        mail["from"] = json!(format!("{name} <{handle}>"));
        mail["to"] = json!(INBOX);
        mail["subject"] = json!("A matter");
        // All mails of a customer are about one matter.
        mail["references"] = json!(format!("<{name}.first@example.org>"));
        Post { path: "/webhook/email", body: mail }
    }
}

/// Somebody of a number writes who is known by these: a phone number, an id, or both.
pub(crate) fn quincy(phone: Option<&str>, user_id: Option<&str>, id: &str, at: i64) -> Post {
    let (phone, user_id) = (phone.map(str::to_owned), user_id.map(str::to_owned));
    let from = Sender { phone, user_id, name: "Quincy".to_owned(), ..Sender::default() };
    let written = Written::new(id, &from, at, content::text(id));
    Post::of_meta(bodies::written(&Account::new(NUMBER), &written))
}

/// Several posts of Meta's as one; `None`: they are not all of it, or of both kinds.
pub(crate) fn together(posts: &[Post]) -> Option<Post> {
    let object = &posts.first()?.body["object"];
    let is_one = object.is_string() && posts.iter().all(|post| post.body["object"] == *object);
    let all = posts.iter().map(|post| post.body.clone());
    is_one.then(|| Post::of_meta(bodies::batch(all)))
}
