//! Business accounts and their numbers: what they are, registration, the profile.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::desk::Desk;
use super::messaging;
use super::phone_app::{Echo, Past};
use super::routes::{Answered, Call, Reply};
use crate::bodies::Account;
use crate::error::{self, GraphError};

/// Registrations and deregistrations of one number in the time below.
const REGISTRATIONS: usize = 10;
const REGISTRATION_TIME: Duration = Duration::from_hours(72);
/// The fields of a profile, each with its longest value.
const PROFILE: [(&str, usize); 6] = [
    ("about", 139),
    ("address", 256),
    ("description", 512),
    ("email", 128),
    ("vertical", 32),
    ("profile_picture_handle", 2048),
];

/// What customers think of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Quality {
    #[default]
    Green,
    Yellow,
    Red,
}

/// What happened to a number; one that is not here is as it was at first.
#[derive(Clone, Debug, Default)]
pub(super) struct Number {
    pub(super) quality: Quality,
    /// Until when it may not send, simulated time.
    pub(super) restricted_until: Option<Duration>,
    /// Known once it was registered here.
    pin: Option<String>,
    is_deregistered: bool,
    /// The code that was asked for.
    code: Option<String>,
    is_unverified: bool,
    registrations: VecDeque<Duration>,
    profile: Map<String, Value>,
    pub(super) blocked: BTreeSet<String>,
    /// What the phone app was asked to hand over.
    pub(super) synced: BTreeSet<String>,
    /// What it has to hand over.
    pub(super) past: Past,
    /// The newest messages that were written in the phone app.
    pub(super) echoes: VecDeque<Echo>,
}

/// Numbers to which something happened.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<String, Number>);

impl Numbers {
    pub(super) fn of(&mut self, phone_number_id: &str) -> &mut Number {
        self.0.entry(phone_number_id.to_owned()).or_default()
    }

    /// Why this number may not send at `now`, simulated time, if so.
    pub(super) fn may_send(&self, phone_number_id: &str, now: Duration) -> Result<(), GraphError> {
        match self.0.get(phone_number_id) {
            Some(number) if number.is_deregistered => Err(error::NOT_REGISTERED),
            Some(number) if number.is_restricted(now) => Err(error::RESTRICTED),
            _ => Ok(()),
        }
    }

    pub(super) fn has_blocked(&self, phone_number_id: &str, customer: &str) -> bool {
        self.0.get(phone_number_id).is_some_and(|number| number.blocked.contains(customer))
    }
}

impl Number {
    /// Counts a registration at `now`, simulated time.
    fn count_registration(&mut self, now: Duration) -> Result<(), GraphError> {
        self.registrations.retain(|at| *at + REGISTRATION_TIME > now);
        if self.registrations.len() >= REGISTRATIONS {
            return Err(error::REGISTERED_TOO_OFTEN);
        }
        self.registrations.push_back(now);
        Ok(())
    }

    fn is_restricted(&self, now: Duration) -> bool {
        self.restricted_until.is_some_and(|until| until > now)
    }

    fn health(&self, account: &Account, now: Duration) -> Value {
        let is_able = !self.is_restricted(now) && !self.is_deregistered;
        let able = if is_able { "AVAILABLE" } else { "BLOCKED" };
        let entity = |kind: &str, id: &str, able: &str| json!({"entity_type": kind, "id": id, "can_send_message": able});
        let mut number = entity("PHONE_NUMBER", &account.phone_number_id, able);
        if self.is_restricted(now) {
            number["errors"] = json!([{
                "error_code": 141_010,
                "error_description": "The account is restricted from sending messages.",
                "possible_solution": "Wait until the restriction ends.",
            }]);
        }
        if self.is_deregistered {
            number["errors"] = json!([{
                "error_code": 141_000,
                "error_description": "The phone number is not registered.",
                "possible_solution": "Register it.",
            }]);
        }
        let business = entity("BUSINESS", "9000", "AVAILABLE");
        let app = entity("APP", "8000", "AVAILABLE");
        let waba = entity("WABA", &account.waba_id, "AVAILABLE");
        json!({"can_send_message": able, "entities": [number, waba, business, app]})
    }
}

/// The node of a number or a business account, with the fields that were asked for.
pub(super) fn get(desk: &Arc<Desk>, call: &Call) -> Answered {
    if let Some(all) = messaging::get(desk, &call.id) {
        desk.counts.send_modify(|counts| counts.probes += 1);
        return Ok(Reply::Json(Value::Object(shown(all, call.query.get("fields")))));
    }
    let numbers = desk.numbers_of(&call.id);
    let all = match numbers.first() {
        Some(first) => business_account(first, numbers.len()),
        None => {
            let account = desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
            desk.counts.send_modify(|counts| counts.probes += 1);
            number(desk, &account)
        }
    };
    Ok(Reply::Json(Value::Object(shown(all, call.query.get("fields")))))
}

/// The numbers of a business account.
pub(super) fn list(desk: &Arc<Desk>, call: &Call) -> Answered {
    let accounts = desk.numbers_of(&call.id);
    if accounts.is_empty() {
        return Err(error::UNKNOWN_OBJECT);
    }
    let fields = call.query.get("fields");
    let nodes: Vec<_> =
        accounts.iter().map(|account| shown(number(desk, account), fields)).collect();
    Ok(Reply::Json(json!({"data": nodes, "paging": {"cursors": {"before": "", "after": ""}}})))
}

/// Only the fields asked for, and the id; without a wish, all.
pub(super) fn shown(all: Value, fields: Option<&String>) -> Map<String, Value> {
    let Value::Object(all) = all else { return Map::new() };
    let Some(fields) = fields else { return all };
    // `messages{limit}` asks for a field too.
    let names = fields.split(',').map(|name| name.split(['.', '{']).next().unwrap_or_default());
    let wanted: Vec<&str> = names.map(str::trim).chain(["id"]).collect();
    all.into_iter().filter(|(name, _)| wanted.contains(&name.as_str())).collect()
}

fn number(desk: &Desk, account: &Account) -> Value {
    let mut state = desk.state();
    let level = state.limiter.level(&account.phone_number_id);
    let application = desk.courier.url();
    let webhooks = state.callbacks.configuration(account, application.as_deref());
    let now = desk.clock.passed();
    let is_test = desk.options.accounts.is_empty();
    let number = state.numbers.of(&account.phone_number_id);
    json!({
        "id": account.phone_number_id,
        "display_phone_number": account.display_phone_number,
        "verified_name": account.verified_name,
        "quality_rating": number.quality,
        "code_verification_status": if number.is_unverified { "NOT_VERIFIED" } else { "VERIFIED" },
        "name_status": "APPROVED",
        "platform_type": "CLOUD_API",
        "status": if number.is_deregistered { "DISCONNECTED" } else { "CONNECTED" },
        "account_mode": if is_test { "SANDBOX" } else { "LIVE" },
        "is_official_business_account": false,
        "is_on_biz_app": !number.synced.is_empty(),
        "is_pin_enabled": number.pin.is_some(),
        "throughput": {"level": level},
        "whatsapp_business_manager_messaging_limit": "TIER_10K",
        "webhook_configuration": webhooks,
        "health_status": number.health(account, now),
    })
}

fn business_account(first: &Account, numbers: usize) -> Value {
    json!({
        "id": first.waba_id,
        "name": first.verified_name,
        "currency": "EUR",
        "timezone_id": "1",
        "account_review_status": "APPROVED",
        "business_verification_status": "verified",
        "message_template_namespace": "simulated_namespace",
        "phone_numbers_count": numbers,
        "health_status": {"can_send_message": "AVAILABLE", "entities": [
            {"entity_type": "WABA", "id": first.waba_id, "can_send_message": "AVAILABLE"},
        ]},
    })
}

/// Registers a number with its pin of six digits.
pub(super) fn register(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let pin = call.needed("pin")?;
    if pin.len() != 6 || !pin.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(GraphError::invalid("pin has six digits."));
    }
    let mut state = desk.state();
    let number = state.numbers.of(&call.id);
    number.count_registration(desk.clock.passed())?;
    if number.pin.as_ref().is_some_and(|known| *known != pin) {
        return Err(error::PIN);
    }
    (number.pin, number.is_deregistered) = (Some(pin), false);
    done()
}

/// Takes a number off until it is registered again.
pub(super) fn deregister(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let mut state = desk.state();
    let number = state.numbers.of(&call.id);
    number.count_registration(desk.clock.passed())?;
    number.is_deregistered = true;
    done()
}

/// Sends a code to the number: the last six digits of its id.
pub(super) fn request_code(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let method = call.needed("code_method")?;
    if !matches!(method.as_str(), "SMS" | "VOICE") {
        return Err(GraphError::invalid("code_method is SMS or VOICE."));
    }
    call.needed("language")?;
    let mut state = desk.state();
    let number = state.numbers.of(&call.id);
    number.code = Some(code_of(&call.id));
    number.is_unverified = true;
    done()
}

/// Takes the code back.
pub(super) fn verify_code(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let given = call.needed("code")?;
    let mut state = desk.state();
    let number = state.numbers.of(&call.id);
    if number.code.as_ref() != Some(&given) {
        return Err(GraphError::invalid("The code is not the one that was sent."));
    }
    (number.code, number.is_unverified) = (None, false);
    done()
}

fn code_of(phone_number_id: &str) -> String {
    let digits: String = phone_number_id.chars().filter(char::is_ascii_digit).collect();
    format!("{:0>6}", &digits[digits.len().saturating_sub(6)..])
}

/// What customers see of the business.
pub(super) fn profile(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let mut profile = desk.state().numbers.of(&call.id).profile.clone();
    profile.insert("messaging_product".to_owned(), json!("whatsapp"));
    let shown: Map<_, _> = match call.query.get("fields") {
        None => profile,
        Some(fields) => {
            let wanted: Vec<_> = fields.split(',').map(str::trim).collect();
            let is_wanted =
                |name: &String| wanted.contains(&name.as_str()) || name == "messaging_product";
            profile.into_iter().filter(|(name, _)| is_wanted(name)).collect()
        }
    };
    Ok(Reply::Json(json!({"data": [shown]})))
}

/// Changes it.
pub(super) fn set_profile(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let body = call.json()?;
    if body["messaging_product"] != "whatsapp" {
        return Err(GraphError::invalid("messaging_product must be whatsapp."));
    }
    let mut changed = Map::new();
    for (name, most) in PROFILE {
        let Some(value) = body[name].as_str() else { continue };
        if value.chars().count() > most {
            return Err(GraphError::invalid(format!("{name} has at most {most} characters.")));
        }
        changed.insert(name.to_owned(), json!(value));
    }
    if let Some(websites) = body["websites"].as_array() {
        if websites.len() > 2 || !websites.iter().all(Value::is_string) {
            return Err(GraphError::invalid("websites are at most two addresses."));
        }
        changed.insert("websites".to_owned(), json!(websites));
    }
    desk.state().numbers.of(&call.id).profile.extend(changed);
    done()
}

/// It was done.
pub(super) fn done() -> Answered {
    Ok(Reply::Json(json!({"success": true})))
}
