//! What an answer means for a send.

use serde_json::Value;

use crate::account::Known;
use crate::channel::reading::text;
use crate::channel::{Answered, Opaque, Outcome, whatsapp};

/// Codes of permissions. Alone they are about the account; with a subcode about this customer or this
/// message: the window is closed, the person has turned messages off, or cannot be written to.
const OF_PERMISSION: [i64; 2] = [10, 200];
/// Their subcodes that are about the account all the same: the page is restricted.
const OF_ACCOUNT: [i64; 1] = [1_893_063];

/// What became of a send. A reaction is answered without an id: it is known by ours.
pub fn outcome(answered: Answered, opaque: Option<Opaque>) -> Outcome {
    let Answered::With { status, body, .. } = &answered else { return whatsapp::outcome(answered) };
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    if (200..300).contains(status) {
        let of_reaction = || {
            let opaque = opaque.filter(|opaque| opaque.reaction.is_some())?;
            said.get("recipient_id")?;
            Some(opaque.encode())
        };
        return match said.get("message_id").and_then(text).or_else(of_reaction) {
            Some(provider_id) => Outcome::Sent { provider_id, held: None },
            None => {
                Outcome::Unknown { reason: "the provider's answer names no message".to_owned() }
            }
        };
    }
    let number = |key: &str| said.get("error")?.get(key)?.as_i64();
    let of_message = match (number("code"), number("error_subcode")) {
        (Some(code), Some(subcode)) => {
            OF_PERMISSION.contains(&code) && subcode != 0 && !OF_ACCOUNT.contains(&subcode)
        }
        _ => false,
    };
    match whatsapp::outcome(answered) {
        Outcome::AccountStopped { error } if of_message => Outcome::Refused { error },
        // Messenger's own passing error.
        Outcome::Refused { error } if error.code == "1200" => {
            Outcome::Retry { error, slow: crate::channel::Slow::Message }
        }
        outcome => outcome,
    }
}

/// What an account's node says.
pub fn known(said: &Value) -> Known {
    let of = |key: &str| said.get(key).and_then(text).map(|name| name.chars().take(500).collect());
    let key = said.get("user_id").and_then(text);
    Known { name: of("name").or_else(|| of("username")), key, ..Known::default() }
}
