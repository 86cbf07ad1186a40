//! WhatsApp (Cloud API of the WhatsApp Business Platform): its webhooks to items, our messages to
//! its requests, its answers to outcomes.

mod content;
mod decode;
mod encode;
mod envelope;
mod message;
mod outcome;
mod people;
mod status;

pub use decode::decode;
pub use encode::{account, read_mark, text};
pub use envelope::{Change, Envelope, NotAnEnvelope, open};
pub use outcome::{Answered, outcome};

/// The longest text of a message, in characters (Cloud API reference, text messages).
pub const TEXT_CHARS_MAX: usize = 4096;
