//! Signed webhooks, each with an id of its own, as requests ready for the wire.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::target::Target;

/// Makes the webhooks of one run.
pub(crate) struct Bodies {
    key: Hmac<Sha256>,
    head: String,
    phone_number_id: String,
    first_customer: u64,
    customers: u64,
    /// Seconds since 1970, as the messages say.
    sent_at: u64,
    /// What tells the ids of this run from those of others.
    run: u64,
}

const TEXT: &str = "Good morning! The lamp that I ordered two weeks ago (order 20-5518) has not come \
    yet, and the tracking page has shown the same town since Monday. Could you find out where it is? \
    If it got lost I would rather have the brass one instead, provided that it fits the same bulbs. I \
    am at home until Thursday noon, after that please leave it with the neighbours. Thanks a lot, best \
    wishes";

impl Bodies {
    /// Text messages of these customers, in turn, to one business number.
    pub(crate) fn new(target: &Target, secret: &str, number: &str, customers: Range<u64>) -> Self {
        let (host, path) = (&target.host, &target.path);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             user-agent: omnistream-loadtest\r\n"
        );
        let since = since_1970();
        Self {
            key: Hmac::new_from_slice(secret.as_bytes()).expect("a secret of any length is a key"),
            head,
            phone_number_id: number.to_owned(),
            first_customer: customers.start,
            customers: (customers.end - customers.start).max(1),
            sent_at: since.as_secs(),
            run: u64::try_from(since.as_micros()).unwrap_or(0),
        }
    }

    /// Writes the request number `n` to a buffer.
    pub(crate) fn request(&self, n: u64, body: &mut String, request: &mut Vec<u8>) {
        let customer = 15_550_000_000 + self.first_customer + n % self.customers;
        let Self { phone_number_id, sent_at, run, .. } = self;
        body.clear();
        let written = write!(
            body,
            concat!(
                r#"{{"object":"whatsapp_business_account","entry":[{{"id":"215588460021877","#,
                r#""changes":[{{"value":{{"messaging_product":"whatsapp","metadata":"#,
                r#"{{"display_phone_number":"15550109876","phone_number_id":"{number}"}},"#,
                r#""contacts":[{{"profile":{{"name":"Customer {customer}"}},"wa_id":"{customer}"}}],"#,
                r#""messages":[{{"from":"{customer}","id":"wamid.{run:016X}{n:016X}","#,
                r#""timestamp":"{sent_at}","type":"text","text":{{"body":"{text} \u2615"}}}}]}},"#,
                r#""field":"messages"}}]}}]}}"#
            ),
            number = phone_number_id,
            customer = customer,
            run = run,
            n = n,
            sent_at = sent_at,
            text = TEXT,
        );
        written.expect("a string takes what is written");
        let mut mac = self.key.clone();
        mac.update(body.as_bytes());
        let mut signature = [0; 64];
        hex::encode_to_slice(mac.finalize().into_bytes(), &mut signature)
            .expect("32 bytes are 64 digits");
        request.clear();
        request.extend_from_slice(self.head.as_bytes());
        request.extend_from_slice(b"x-hub-signature-256: sha256=");
        request.extend_from_slice(&signature);
        request.extend_from_slice(b"\r\ncontent-length: ");
        request.extend_from_slice(body.len().to_string().as_bytes());
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(body.as_bytes());
    }
}

#[expect(clippy::disallowed_methods, reason = "providers stamp messages with the machine's time")]
fn since_1970() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
