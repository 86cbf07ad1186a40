//! Files that messages carry (Cloud API reference, "Media").

use serde_json::Value;

use super::outcome::outcome;
use crate::channel::reading::text;
use crate::channel::{Answered, Api, Call, Located, Method, Missed, Outcome, Slow, Upload};
use crate::message::MessageError;

/// The longest id of a file.
const ID_BYTES_MAX: usize = 256;

/// Asks where a file can be had for the next minutes. An id is a part of the address: what is none
/// could lead elsewhere.
pub fn locate(id: &str, token: &str) -> Option<Call> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    let is_id = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_plain);
    is_id.then(|| Call {
        api: Api::Graph,
        method: Method::Get,
        path: id.to_owned(),
        bearer: token.to_owned(),
        body: None,
    })
}

/// Where it can be had, as the answer says.
pub fn located(answered: Answered) -> Result<Located, Missed> {
    if let Answered::With { status: 200..=299, body, .. } = &answered {
        let broken = |_| Missed::Passing(error("unknown", "the provider's answer broke off"));
        let body: Value = serde_json::from_slice(body).map_err(broken)?;
        let of = |key: &str| body.get(key).and_then(text);
        let size = of("file_size").and_then(|size| size.parse().ok());
        let located = of("url").map(|url| Located { url, sha256: of("sha256"), size });
        // It is something else.
        let unnamed = || Missed::Gone(error("unknown", "the provider names no address of it"));
        return located.ok_or_else(unnamed);
    }
    Err(missed(answered))
}

/// Why an answer names no file.
pub fn missed(answered: Answered) -> Missed {
    match outcome(answered) {
        Outcome::Sent { .. } => Missed::Passing(error("unknown", "the provider's answer is none")),
        Outcome::Unknown { reason } => Missed::Passing(error("unreachable", &reason)),
        // There is no such object.
        Outcome::AccountStopped { error } if error.code == "33" => Missed::Gone(error),
        Outcome::Retry { error, .. } | Outcome::AccountStopped { error } => Missed::Passing(error),
        Outcome::Refused { error } => Missed::Gone(error),
    }
}

/// Takes a file of this type to the provider, for messages of this number.
pub fn upload(mime_type: &str, phone_number_id: &str, token: &str) -> Upload {
    Upload {
        path: format!("{phone_number_id}/media"),
        bearer: token.to_owned(),
        fields: vec![("messaging_product", "whatsapp".to_owned()), ("type", mime_type.to_owned())],
        file: "file",
        mime_type: mime_type.to_owned(),
    }
}

/// The id of a file that was taken there; or what becomes of its message, of which nothing was sent.
pub fn uploaded(answered: Answered) -> Result<String, Outcome> {
    uploaded_as("id", answered)
}

/// The same where the id stands under this key.
pub fn uploaded_as(key: &str, answered: Answered) -> Result<String, Outcome> {
    if let Answered::With { status: 200..=299, body, .. } = &answered {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let id = body.get(key).and_then(text);
        let unnamed = "the provider's answer names no file";
        return id.ok_or_else(|| again(error("unknown", unnamed)));
    }
    Err(match outcome(answered) {
        // A file that is there twice harms nobody.
        Outcome::Unknown { reason } => again(error("unreachable", &reason)),
        other => other,
    })
}

/// Whether an error of this code says that the provider could not use a message's file.
pub fn is_of_medium(code: &str) -> bool {
    code == "131053"
}

fn again(error: MessageError) -> Outcome {
    Outcome::Retry { error, slow: Slow::Message }
}

fn error(code: &str, message: &str) -> MessageError {
    MessageError { code: code.to_owned(), message: message.to_owned() }
}
