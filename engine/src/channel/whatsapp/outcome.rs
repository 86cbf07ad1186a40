//! What an answer of the Graph API means for a send (Cloud API reference, "Error codes"). The
//! status of the answer says little: the code in its body decides.

use std::time::Duration;

use serde_json::Value;

use crate::account::{Known, MASK, Throughput};
use crate::channel::reading::text;
use crate::channel::{Answered, Outcome, Slow};
use crate::message::MessageError;
use crate::time::Timestamp;

/// So many characters of a provider's words are kept.
const ERROR_CHARS_MAX: usize = 500;

/// What became of a send.
pub fn outcome(answered: Answered) -> Outcome {
    let (status, body) = match answered {
        Answered::With { status, body, .. } => (status, body),
        Answered::NotSent(reason) => {
            let error = MessageError { code: "unreachable".to_owned(), message: reason };
            // Nobody reaches it with the account's other messages, either.
            return Outcome::Retry { error, slow: Slow::Account };
        }
        Answered::PerhapsSent(reason) => return Outcome::Unknown { reason },
    };
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    if (200..300).contains(&status) {
        let id = body.as_ref().and_then(|body| text(body.pointer("/messages/0/id")?));
        return match id {
            Some(provider_id) => Outcome::Sent { provider_id, held: body.as_ref().and_then(held) },
            None => {
                Outcome::Unknown { reason: "the provider's answer names no message".to_owned() }
            }
        };
    }
    match body.as_ref().and_then(|body| body.get("error")) {
        Some(error) => of_error(error),
        None if status >= 500 => {
            Outcome::Unknown { reason: format!("the provider answered {status} without a reason") }
        }
        None => {
            let message = "the provider refused the message without a reason".to_owned();
            let error = MessageError { code: status.to_string(), message };
            match status {
                // Whatever stands before the API has taken nothing, and takes it later.
                429 => Outcome::Retry { error, slow: Slow::Account },
                _ => Outcome::Refused { error },
            }
        }
    }
}

/// For how long the provider wants to be left alone, as the headers of an answer say: in seconds or
/// until a time, or, for each business account, in minutes (Graph API, "Rate limits").
pub fn wait<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Duration> {
    let after = header("retry-after").map(str::trim).and_then(|after| {
        let time = |text| chrono::DateTime::parse_from_rfc2822(text).ok();
        let until = || (time(after)? - time(header("date")?)?).to_std().ok();
        after.parse().ok().map(Duration::from_secs).or_else(until)
    });
    let regained = header("x-business-use-case-usage").and_then(regained);
    after.max(regained).filter(|wait| !wait.is_zero())
}

fn regained(usage: &str) -> Option<Duration> {
    let usage: Value = serde_json::from_str(usage).ok()?;
    let accounts = usage.as_object()?.values().filter_map(Value::as_array).flatten();
    let minutes = |of: &Value| of.get("estimated_time_to_regain_access")?.as_u64();
    accounts
        .filter_map(minutes)
        .max()
        .map(|minutes| Duration::from_secs(minutes.saturating_mul(60)))
}

/// Why an accepted message does not go out yet: new templates wait for what others say of them
/// (Cloud API reference, "Template pacing").
fn held(body: &Value) -> Option<MessageError> {
    let status = body.pointer("/messages/0/message_status")?.as_str()?;
    let message = match status {
        "held_for_quality_assessment" => "the provider holds the template until it is assessed",
        "paused" => "the provider has paused the template",
        _ => return None,
    };
    Some(MessageError { code: status.to_owned(), message: message.to_owned() })
}

/// What a number's node says.
pub fn known(said: &Value) -> Known {
    let words = |key| Some(said.get(key)?.as_str()?.chars().take(ERROR_CHARS_MAX).collect());
    let throughput = match said.pointer("/throughput/level").and_then(Value::as_str) {
        Some("STANDARD") => Some(Throughput::Standard),
        Some("HIGH") => Some(Throughput::High),
        _ => None,
    };
    Known {
        throughput,
        phone: words("display_phone_number"),
        name: words("verified_name"),
        quality: words("quality_rating"),
        in_app: said.get("is_on_biz_app") == Some(&Value::Bool(true)),
        token_until: None,
        key: None,
    }
}

/// When an access token ends, as its own node says: by itself, or because the person who gave it has
/// to give it again. Neither where it has no end; `None`: that is not what the answer is about.
pub fn token_until(said: &Value) -> Option<Option<Timestamp>> {
    let token = said.get("data")?.as_object()?;
    let of = |key| token.get(key)?.as_i64().filter(|end| *end > 0);
    let ends = [of("expires_at"), of("data_access_expires_at")];
    Some(ends.into_iter().flatten().min().map(Timestamp::from_secs))
}

/// Whether an error of this code says that the access token does not count.
pub fn is_of_token(code: &str) -> bool {
    matches!(code, "0" | "102" | "190")
}

/// Whether every other message of the account would fail with this error, too.
pub(super) fn is_of_account(error: &Value) -> bool {
    matches!(of_error(error), Outcome::AccountStopped { .. })
}

fn of_error(error: &Value) -> Outcome {
    let code = error.get("code").and_then(Value::as_i64);
    let subcode = error.get("error_subcode").and_then(Value::as_i64);
    let error = error_of(error);
    match (code, subcode) {
        // The token.
        (_, Some(463 | 467)) | (Some(0 | 102 | 190), _) => Outcome::AccountStopped { error },
        // The account may not send: spam, policy, payment, registration, permissions.
        (
            Some(
                3
                | 10
                | 33
                | 200..=299
                | 368
                | 131_005
                | 131_031
                | 131_037
                | 131_042
                | 131_045
                | 131_048
                | 133_010,
            ),
            _,
        ) => Outcome::AccountStopped { error },
        // This customer gets too many.
        (Some(131_056), _) => Outcome::Retry { error, slow: Slow::Pair },
        // The account sends too fast.
        (Some(4 | 17 | 32 | 613 | 80_002 | 80_006 | 80_007 | 130_429), _) => {
            Outcome::Retry { error, slow: Slow::Account }
        }
        // It will pass.
        (Some(1 | 2 | 131_000 | 131_016 | 131_057 | 133_004 | 134_101 | 2_494_100), _) => {
            Outcome::Retry { error, slow: Slow::Message }
        }
        // The message or its recipient; and codes that nobody knows are shown, not repeated.
        _ => Outcome::Refused { error },
    }
}

/// An error in the provider's words: its details are the most telling, its title the least. Tokens
/// that they repeat are left out.
pub(super) fn error_of(error: &Value) -> MessageError {
    let words = [
        error.pointer("/error_data/details"),
        error.get("details"),
        error.get("message"),
        error.get("title"),
    ];
    let message = words.into_iter().flatten().find_map(Value::as_str).unwrap_or("no reason given");
    let code = error.get("code").and_then(text).unwrap_or_else(|| "unknown".to_owned());
    let short = |words: &str| words.chars().take(ERROR_CHARS_MAX).collect();
    MessageError { code: short(&code), message: short(&without_tokens(message)) }
}

/// Access tokens begin so, and are longer than any word.
const TOKENS: [&str; 2] = ["EAA", "IG"];
const TOKEN_BYTES_MIN: usize = 32;

/// Words without what looks like an access token: people see them, and they are kept.
fn without_tokens(words: &str) -> String {
    let of_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let mut shown = String::with_capacity(words.len());
    for word in words.split_inclusive(|c| !of_token(c)) {
        let token = word.trim_end_matches(|c| !of_token(c));
        let is_token = token.len() >= TOKEN_BYTES_MIN
            && TOKENS.iter().any(|beginning| token.starts_with(beginning));
        shown.push_str(if is_token { MASK } else { token });
        shown.push_str(&word[token.len()..]);
    }
    shown
}
