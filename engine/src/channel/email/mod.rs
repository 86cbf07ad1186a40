//! Email: posts of providers (the reference's JSON, SendGrid, Postmark, Mailgun, Resend) and mails as
//! they were sent to items; messages to mails, and what their server says of them.

mod address;
mod bounce;
mod decode;
mod delivery;
mod form;
mod head;
mod html;
mod letter;
mod limits;
mod mail;
mod mime;
mod post;
mod proof;
mod quote;
mod reply;
mod smtp;
mod thread;

pub use address::{normal, without_tag};
pub use decode::{Carried, Inbox, Received, keep, read};
pub use delivery::{Delivered, Step, is_of_login, outcome};
pub use html::text as visible;
pub use letter::{BadAddress, Enclosure, Letter, Paper, answering, compose};
pub(super) use limits::check;
pub use mime::Unreadable;
pub(super) use post::PROVIDERS;
pub use post::{LeftBehind, NotAMail, Post, Provider, open};
pub use proof::Proofs;
pub use reply::{replied_thread, reply_address};
pub use smtp::{Security, Smtp};
pub use thread::{answer, kept, recipients};

use super::setup::Setup;

/// What the config of its accounts holds.
pub(super) const SETUP: Setup = Setup {
    title: "Email",
    key: "address",
    read: |address| {
        let inbox = normal(address).ok_or("must be an email address")?;
        let is_short = address::is_short(&inbox);
        is_short.then_some(inbox).ok_or("must have no more than 64 bytes before the `@`")
    },
    required: &["address"],
    optional: &["webhook_secret", "provider", "smtp_url", "sender_name", "api_token"],
    switches: &[],
    webhook: "/webhook/email",
};

/// Names and subjects are no longer, in characters.
const LINE_CHARS_MAX: usize = 998;

/// A text of one line, if there is one: what would end a header is a space.
fn one_line(text: &str) -> Option<String> {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c })
        .take(LINE_CHARS_MAX)
        .collect();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}
