//! WhatsApp (Cloud API of the WhatsApp Business Platform): its webhooks to items, our messages to
//! its requests, its answers to outcomes.

mod book;
mod content;
mod decode;
mod encode;
mod envelope;
mod history;
mod identity;
mod limits;
mod media;
mod message;
mod news;
mod outcome;
mod people;
mod status;

pub use book::contact_news;
pub use decode::decode;
pub use encode::{account, message, read_mark, register, subscribe, token};
pub use envelope::{Change, Envelope, OBJECT, open, open_regular, reopen};
pub use history::{History, history};
pub use limits::{TEXT_CHARS_MAX, check, check_reaction};
pub(super) use limits::{is_link, sound};
pub use media::{is_of_medium, locate, located, missed, upload, uploaded, uploaded_as};
pub use news::{news, waba};
pub use outcome::{is_of_token, known, outcome, token_until, wait};

use super::setup::{Setup, digits};

/// What the config of an account holds.
pub(super) const SETUP: Setup = Setup {
    title: "WhatsApp",
    key: "phone_number_id",
    read: digits,
    required: &["phone_number_id", "waba_id", "access_token"],
    optional: &["app_secret", "verify_token", "pin", "send_read_marks"],
    switches: &["send_read_marks"],
    webhook: "/webhook",
};
