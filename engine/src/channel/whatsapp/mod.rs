//! WhatsApp (Cloud API of the WhatsApp Business Platform): its webhooks to items, our messages to
//! its requests, its answers to outcomes.

mod content;
mod decode;
mod encode;
mod envelope;
mod limits;
mod message;
mod outcome;
mod people;
mod status;

pub use decode::decode;
pub use encode::{account, message, read_mark};
pub use envelope::{Change, Envelope, NotAnEnvelope, open, reopen};
pub use limits::{TEXT_CHARS_MAX, check, check_reaction};
pub use outcome::{Answered, outcome, throughput};
