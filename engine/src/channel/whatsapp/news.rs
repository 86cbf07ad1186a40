//! What Meta says of a business account, of a number, of a template: fields of the WABA that name no
//! message (Cloud API, "Webhooks").

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decode::readable_of;
use super::envelope::Change;
use super::outcome::{error_of, is_of_account};
use super::people::digits;
use crate::channel::reading::{sent_text, text};
use crate::news::{Means, News};
use crate::time::Timestamp;

/// So many characters of what is said are kept.
const WORDS_CHARS_MAX: usize = 500;

/// The business account that a change is about, where it says so itself: an entry may be that of a
/// partner. `None` for what customers do: that is one number's, and nobody guesses whose.
pub fn waba(change: &Change<'_>) -> Option<String> {
    if OF_NUMBERS.contains(&change.field.as_str()) {
        return None;
    }
    let told = serde_json::from_str::<OfPartner<'_>>(change.value.get()).ok();
    let told = told.and_then(|told| sent_text(told.waba_info?.waba_id?));
    told.or_else(|| change.entry_id.as_deref().map(str::to_owned))
}

#[derive(Deserialize)]
struct OfPartner<'a> {
    #[serde(borrow)]
    waba_info: Option<WabaInfo<'a>>,
}

#[derive(Deserialize)]
struct WabaInfo<'a> {
    #[serde(borrow)]
    waba_id: Option<&'a RawValue>,
}

/// Fields that are always of one number.
const OF_NUMBERS: [&str; 7] = [
    "messages",
    "smb_message_echoes",
    "message_echoes",
    "history",
    "smb_app_state_sync",
    "user_preferences",
    "user_id_update",
];

/// What a change says of its account, if it says anything.
pub fn news(change: &Change<'_>, now: Timestamp) -> Vec<News> {
    let at = change.at(now);
    let said = match change.field.as_str() {
        "messages" => return errors(change, at),
        "history" => return history(change, at),
        field => reader(field),
    };
    let (Some(said), Some(value)) = (said, readable_of(change.value)) else { return Vec::new() };
    let phone = value.get("display_phone_number").and_then(text).map(|phone| digits(&phone));
    let Said { kind, words, means } = said(&change.field, &value);
    let limits = ["current_limit", "max_daily_conversations_per_business"];
    let messaging_limit = limits.into_iter().find_map(|key| value.get(key).and_then(text));
    let messaging_limit = messaging_limit.map(|limit| short(&limit));
    vec![News {
        kind: short(&kind.to_lowercase()),
        words: short(&words),
        at,
        phone,
        means,
        messaging_limit,
    }]
}

/// What reads the events of a field; `None`: they are of no account.
fn reader(field: &str) -> Option<fn(&str, &Value) -> Said> {
    Some(match field {
        "account_update" => account_update,
        "account_alerts" => account_alert,
        "account_review_update" => account_review,
        "phone_number_quality_update" => number_quality,
        "phone_number_name_update" => number_name,
        "business_capability_update" => capability,
        "security" => security,
        "message_template_status_update"
        | "message_template_quality_update"
        | "message_template_components_update"
        | "template_category_update" => template,
        _ => return None,
    })
}

/// Whether the events of a field say something of an account.
pub(super) fn is_news(field: &str) -> bool {
    reader(field).is_some()
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    metadata: Option<Metadata<'a>>,
    #[serde(borrow, default)]
    errors: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    progress: Option<&'a RawValue>,
}

struct Said {
    kind: String,
    words: String,
    means: Means,
}

/// Errors that are of no message.
fn errors(change: &Change<'_>, at: Option<Timestamp>) -> Vec<News> {
    let errors = change.contents.iter().flat_map(|contents| &contents.errors);
    let of_one = |raw: &&RawValue| {
        let error = readable_of(raw)?;
        let means = if is_of_account(&error) { Means::Stops { until: None } } else { Means::Tells };
        let words = short(&error_of(&error).to_string());
        let (phone, messaging_limit) = (None, None);
        Some(News { kind: "error".to_owned(), words, at, phone, means, messaging_limit })
    };
    errors.filter_map(of_one).collect()
}

/// Whether the business shares its history, and when all of it was handed over.
fn history(change: &Change<'_>, at: Option<Timestamp>) -> Vec<News> {
    let parts = change.contents.iter().flat_map(|contents| &contents.history);
    let of_one = |raw: &&RawValue| {
        // A part may be large: only what stands around its messages is read.
        let part: Part<'_> = serde_json::from_str(raw.get()).ok()?;
        let progress = part.metadata.and_then(|metadata| sent_text(metadata.progress?));
        let words = match part.errors.first() {
            Some(error) => error_of(&readable_of(error)?).to_string(),
            None if progress.as_deref() == Some("100") => "all of it was handed over".to_owned(),
            None => return None,
        };
        let words = short(&sentence("history", vec![Some(words)]));
        let (kind, phone, messaging_limit) = ("history".to_owned(), None, None);
        Some(News { kind, words, at, phone, means: Means::Tells, messaging_limit })
    };
    parts.filter_map(of_one).collect()
}

fn account_update(_: &str, value: &Value) -> Said {
    let of = |path: &str| value.pointer(path).and_then(text);
    let kind = of("/event").unwrap_or_else(|| "account_update".to_owned());
    let (means, more) = match kind.as_str() {
        "DISABLED_UPDATE" => {
            let state = of("/ban_info/waba_ban_state");
            let means = match state.as_deref() {
                Some("REINSTATE") => Means::Resumes,
                Some("SCHEDULE_FOR_DISABLE") => Means::Warns,
                _ => Means::Stops { until: None },
            };
            (means, vec![state, of("/ban_info/waba_ban_date")])
        }
        "ACCOUNT_RESTRICTION" => restriction(value),
        "ACCOUNT_VIOLATION" => (Means::Warns, vec![of("/violation_info/violation_type")]),
        "ACCOUNT_DELETED"
        | "ACCOUNT_OFFBOARDED"
        | "PARTNER_REMOVED"
        | "PARTNER_APP_UNINSTALLED" => {
            let by = of("/disconnection_info/initiated_by").map(|who| format!("by {who}"));
            (Means::Stops { until: None }, vec![of("/disconnection_info/reason"), by])
        }
        "ACCOUNT_RECONNECTED" | "PARTNER_ADDED" | "PARTNER_APP_INSTALLED" | "REINSTATED" => {
            (Means::Resumes, Vec::new())
        }
        _ => (Means::Tells, Vec::new()),
    };
    let words = sentence(&kind, more);
    Said { kind, words, means }
}

/// What a business may not do for a while: only what concerns messages stops them.
fn restriction(value: &Value) -> (Means, Vec<Option<String>>) {
    let all = value.get("restriction_info").and_then(Value::as_array);
    let all: Vec<_> = all.into_iter().flatten().collect();
    let of = |one: &Value, key: &str| one.get(key).and_then(text);
    let types: Vec<_> = all.iter().filter_map(|one| of(one, "restriction_type")).collect();
    let ends = |one: &&Value| -> Option<Option<Timestamp>> {
        let stops = of(one, "restriction_type").is_none_or(|kind| kind.contains("MESSAGING"));
        stops.then(|| of(one, "expiration")?.parse().ok().map(Timestamp::from_secs))
    };
    let ends: Vec<Option<Timestamp>> = all.iter().filter_map(ends).collect();
    let means = match (types.is_empty(), ends.is_empty()) {
        (false, true) => Means::Warns,
        _ if ends.iter().any(Option::is_none) => Means::Stops { until: None },
        _ => Means::Stops { until: ends.into_iter().flatten().max() },
    };
    let until = match means {
        Means::Stops { until: Some(until) } => Some(format!("until {until}")),
        _ => None,
    };
    (means, types.into_iter().map(Some).chain([until]).collect())
}

fn account_alert(field: &str, value: &Value) -> Said {
    // Some versions put it inside, some do not.
    let info = value.get("alert_info").unwrap_or(value);
    let of = |key: &str| info.get(key).and_then(text);
    let kind = of("alert_type").unwrap_or_else(|| field.to_owned());
    let is_active = of("alert_status").is_none_or(|status| status == "ACTIVE");
    let means = match of("alert_severity").as_deref() {
        Some("CRITICAL") if is_active => Means::Warns,
        _ => Means::Tells,
    };
    let words = sentence(&kind, vec![of("alert_severity"), of("alert_description")]);
    Said { kind, words, means }
}

fn account_review(field: &str, value: &Value) -> Said {
    let decision = value.get("decision").and_then(text);
    let means = match decision.as_deref() {
        Some("APPROVED") => Means::Resumes,
        Some("REJECTED") => Means::Warns,
        _ => Means::Tells,
    };
    Said { kind: field.to_owned(), words: sentence(field, vec![decision]), means }
}

fn number_quality(field: &str, value: &Value) -> Said {
    let of = |key: &str| value.get(key).and_then(text);
    let event = of("event").unwrap_or_default();
    let means = match event.as_str() {
        "FLAGGED" => Means::Warns,
        "UNFLAGGED" => Means::Resumes,
        "THROUGHPUT_UPGRADE" => Means::Upgraded,
        _ => Means::Tells,
    };
    let limit = of("current_limit").map(|limit| format!("limit {limit}"));
    let words = sentence(field, vec![of("display_phone_number"), Some(event), limit]);
    Said { kind: field.to_owned(), words, means }
}

fn number_name(field: &str, value: &Value) -> Said {
    let of = |key: &str| value.get(key).and_then(text);
    let means = match of("decision").as_deref() {
        Some("REJECTED" | "DECLINED") => Means::Warns,
        _ => Means::Tells,
    };
    let more = vec![of("requested_verified_name"), of("decision"), of("rejection_reason")];
    Said { kind: field.to_owned(), words: sentence(field, more), means }
}

fn capability(field: &str, value: &Value) -> Said {
    let of = |key: &str| Some(format!("{key} {}", value.get(key).and_then(text)?));
    let keys = [
        "max_daily_conversations_per_business",
        "max_daily_conversation_per_phone",
        "max_phone_numbers_per_business",
        "max_phone_numbers_per_waba",
    ];
    let words = sentence(field, keys.into_iter().map(of).collect());
    Said { kind: field.to_owned(), words, means: Means::Tells }
}

fn security(field: &str, value: &Value) -> Said {
    let of = |key: &str| value.get(key).and_then(text);
    let words = sentence(field, vec![of("display_phone_number"), of("event")]);
    Said { kind: field.to_owned(), words, means: Means::Tells }
}

fn template(field: &str, value: &Value) -> Said {
    let of = |path: &str| value.pointer(path).and_then(text);
    let name = of("/message_template_name").or_else(|| of("/message_template_id"));
    let more = [
        "/message_template_language",
        "/event",
        "/previous_quality_score",
        "/new_quality_score",
        "/previous_category",
        "/new_category",
        "/correct_category",
        "/reason",
        "/rejection_info/reason",
        "/disable_info/disable_date",
    ];
    let more = more.into_iter().map(of).filter(|said| said.as_deref() != Some("NONE"));
    let words = sentence(field, [name].into_iter().chain(more).collect());
    Said { kind: field.to_owned(), words, means: Means::Tells }
}

/// A name of the provider's and what belongs to it, as something to read.
fn sentence(name: &str, more: Vec<Option<String>>) -> String {
    let name = name.to_lowercase().replace('_', " ");
    let more: Vec<_> = more.into_iter().flatten().collect();
    if more.is_empty() { name } else { format!("{name}: {}", more.join(", ")) }
}

fn short(words: &str) -> String {
    words.chars().take(WORDS_CHARS_MAX).collect()
}
