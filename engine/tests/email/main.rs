//! Email: what is read from posts of every provider, and from mails as they were sent.

#[cfg(test)]
mod bad;
#[cfg(test)]
mod letters;
#[cfg(test)]
mod mime;
#[cfg(test)]
mod proofs;
#[cfg(test)]
mod shapes;

use engine::channel::InboundMessage;
use engine::channel::email::{self, Inbox, Post, open};
use engine::time::Timestamp;
use serde_json::Value;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// The inbox of all tests.
#[cfg(test)]
fn inbox() -> Inbox<'static> {
    Inbox {
        address: "shop@example.com",
        reply_key: b"a key",
        text_bytes: 128 << 10,
        html_bytes: 256 << 10,
    }
}

/// What a post says to whom it was delivered.
#[cfg(test)]
fn item(post: &Post<'_>) -> InboundMessage {
    let recipients = post.recipients().unwrap().into_iter().next().unwrap_or_default();
    email::read(post, &recipients, &inbox(), NOW).unwrap().expect("it has a sender").message
}

/// A post of JSON.
#[cfg(test)]
fn posted(body: &Value) -> InboundMessage {
    let body = body.to_string();
    item(&open("application/json; charset=utf-8", body.as_bytes()).unwrap())
}

/// A mail as it was sent.
#[cfg(test)]
fn read(raw: &[u8]) -> InboundMessage {
    let body = form(&[("email", raw), ("to", b"shop@example.com")]);
    let post = open(FORM, &body).unwrap();
    email::read(&post, &[], &inbox(), NOW).unwrap().expect("it has a sender").message
}

#[cfg(test)]
fn sent(raw: &str) -> InboundMessage {
    read(raw.replace('\n', "\r\n").as_bytes())
}

const FORM: &str = "multipart/form-data; boundary=\"xYzZY\"";

/// A form of these fields; a name with a `;` is that of a file with its headers.
#[cfg(test)]
fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let (name, rest) = name.split_once(';').unwrap_or((name, ""));
        let head =
            format!("--xYzZY\r\nContent-Disposition: form-data; name=\"{name}\"{rest}\r\n\r\n");
        body.extend(head.into_bytes());
        body.extend_from_slice(value);
        body.extend(b"\r\n");
    }
    body.extend(b"--xYzZY--\r\n");
    body
}
