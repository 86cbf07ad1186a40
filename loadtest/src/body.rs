//! What is sent, each with an id of its own, as requests ready for the wire: signed webhooks, or
//! events for a bare server.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::customers::Customers;
use crate::marks::Mark;
use crate::target::Target;

/// Writes to the end of a string.
macro_rules! append {
    ($to:expr, $($what:tt)*) => {
        write!($to, $($what)*).expect("a string takes what is written")
    };
}

/// Makes the requests of one run.
pub(crate) struct Bodies {
    head: String,
    kind: Kind,
    /// What the messages of this run are known by.
    mark: Mark,
}

enum Kind {
    /// Text messages of these customers to one business number, so many in each.
    Webhook { key: Hmac<Sha256>, phone_number_id: String, customers: Customers, messages: u64 },
    /// Events as a bare server passes them on, of so many bytes.
    Event { bytes: usize },
    /// The same page, asked for again and again.
    Page(Vec<u8>),
}

/// The phone number of customer 0.
pub(crate) const FIRST_NUMBER: u64 = 15_550_000_000;

/// What customers write.
pub(crate) const TEXT: &str = "Good morning! The lamp that I ordered two weeks ago (order 20-5518) has not come \
    yet, and the tracking page has shown the same town since Monday. Could you find out where it is? \
    If it got lost I would rather have the brass one instead, provided that it fits the same bulbs. I \
    am at home until Thursday noon, after that please leave it with the neighbours. Thanks a lot, best \
    wishes";

impl Bodies {
    /// Webhooks with text messages of these customers to one business number.
    pub(crate) fn new(target: &Target, secret: &str, number: &str, customers: Customers) -> Self {
        let key = Hmac::new_from_slice(secret.as_bytes()).expect("a secret of any length is a key");
        let phone_number_id = number.to_owned();
        Self::of(target, Kind::Webhook { key, phone_number_id, customers, messages: 1 })
    }

    /// So many messages in each webhook, as a provider sends them that had to wait: the webhook number
    /// `n` begins with the message number `n` times that.
    pub(crate) fn of_many(mut self, many: u64) -> Self {
        if let Kind::Webhook { messages, .. } = &mut self.kind {
            *messages = many.max(1);
        }
        self
    }

    /// Events of about so many bytes.
    pub(crate) fn events(target: &Target, bytes: usize) -> Self {
        Self::of(target, Kind::Event { bytes })
    }

    /// A page that whoever has this token reads.
    pub(crate) fn page(target: &Target, token: Option<&str>) -> Self {
        let Target { host, path, .. } = target;
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\n{}user-agent: omnistream-loadtest\r\n\r\n",
            token.unwrap_or_default()
        );
        Self::of(target, Kind::Page(request.into_bytes()))
    }

    fn of(target: &Target, kind: Kind) -> Self {
        let (host, path) = (&target.host, &target.path);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             user-agent: omnistream-loadtest\r\n"
        );
        Self { head, kind, mark: Mark::new(since_1970().as_micros()) }
    }

    /// What the messages of this run are known by.
    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Who writes the message number `n`.
    pub(crate) fn customer(&self, n: u64) -> u64 {
        match &self.kind {
            Kind::Webhook { customers, .. } => customers.of(n),
            Kind::Event { .. } | Kind::Page(_) => 0,
        }
    }

    /// Writes the request number `n` to a buffer.
    pub(crate) fn request(&self, n: u64, body: &mut String, request: &mut Vec<u8>) {
        body.clear();
        request.clear();
        if let Kind::Page(page) = &self.kind {
            return request.extend_from_slice(page);
        }
        request.extend_from_slice(self.head.as_bytes());
        match &self.kind {
            Kind::Webhook { key, phone_number_id, customers, messages } => {
                self.webhook(n * messages..(n + 1) * messages, customers, phone_number_id, body);
                sign(key, b"x-hub-signature-256", body, request);
            }
            Kind::Event { bytes } => self.event(n, *bytes, body),
            Kind::Page(_) => {}
        }
        end(body, request);
    }

    fn webhook(&self, numbers: Range<u64>, customers: &Customers, to: &str, body: &mut String) {
        let (at, says) = (since_1970(), TEXT);
        let texts = numbers.map(|n| Text {
            from: FIRST_NUMBER + customers.of(n),
            id: self.mark.of(n),
            at,
            says,
        });
        whatsapp(to, texts, body);
    }

    fn event(&self, n: u64, bytes: usize, body: &mut String) {
        append!(body, r#"{{"t":"ev","d":{{"id":"{}","text":""#, self.mark.of(n));
        while body.len() < bytes.saturating_sub(3) {
            body.push('x');
        }
        body.push_str("\"}}");
    }
}

/// A text that a customer writes.
#[derive(Clone)]
pub(crate) struct Text<'a> {
    /// Their number.
    pub(crate) from: u64,
    /// What the provider's id ends with.
    pub(crate) id: String,
    /// When they wrote it, since 1970.
    pub(crate) at: Duration,
    pub(crate) says: &'a str,
}

/// Writes the webhook that tells a business number on WhatsApp of texts.
pub(crate) fn whatsapp<'a>(
    to: &str,
    texts: impl Iterator<Item = Text<'a>> + Clone,
    body: &mut String,
) {
    append!(
        body,
        concat!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"215588460021877","#,
            r#""changes":[{{"value":{{"messaging_product":"whatsapp","metadata":"#,
            r#"{{"display_phone_number":"15550109876","phone_number_id":"{}"}},"contacts":["#
        ),
        to
    );
    let mut before = None;
    for Text { from, .. } in texts.clone() {
        if before.replace(from) != Some(from) {
            append!(body, r#"{{"profile":{{"name":"Customer {from}"}},"wa_id":"{from}"}},"#);
        }
    }
    body.pop();
    body.push_str(r#"],"messages":["#);
    for Text { from, id, at, says } in texts {
        append!(
            body,
            concat!(
                r#"{{"from":"{}","id":"wamid.{}","timestamp":"{}","type":"text","#,
                r#""text":{{"body":"{} \u2615"}}}},"#
            ),
            from,
            id,
            at.as_secs(),
            says
        );
    }
    body.pop();
    body.push_str(r#"]},"field":"messages"}]}]}"#);
}

/// Writes the header that proves a body.
pub(crate) fn sign(key: &Hmac<Sha256>, header: &[u8], body: &str, request: &mut Vec<u8>) {
    let mut mac = key.clone();
    mac.update(body.as_bytes());
    let mut signature = [0; 64];
    hex::encode_to_slice(mac.finalize().into_bytes(), &mut signature)
        .expect("32 bytes are 64 digits");
    request.extend_from_slice(header);
    request.extend_from_slice(b": sha256=");
    request.extend_from_slice(&signature);
    request.extend_from_slice(b"\r\n");
}

/// Ends a request's head and writes its body.
pub(crate) fn end(body: &str, request: &mut Vec<u8>) {
    request.extend_from_slice(b"content-length: ");
    request.extend_from_slice(body.len().to_string().as_bytes());
    request.extend_from_slice(b"\r\n\r\n");
    request.extend_from_slice(body.as_bytes());
}

/// The machine's time, since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "messages and results are stamped with the machine's time"
)]
pub(crate) fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
