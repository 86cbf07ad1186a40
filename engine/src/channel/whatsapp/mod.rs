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
mod message;
mod news;
mod outcome;
mod people;
mod status;

pub use book::contact_news;
pub use decode::decode;
pub use encode::{account, message, read_mark};
pub use envelope::{Change, Envelope, NotAnEnvelope, open, reopen};
pub use history::{History, history};
pub use limits::{TEXT_CHARS_MAX, check, check_reaction};
pub use news::{news, waba};
pub use outcome::{Answered, is_of_token, known, outcome, wait};
