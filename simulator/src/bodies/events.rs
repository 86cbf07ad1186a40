//! What happens to a business account, its numbers and its templates. These webhooks name no phone
//! number id.

use serde_json::{Value, json};

use super::Account;

/// A template as webhooks name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateName<'a> {
    /// Sent as a number, and beyond what a float holds exactly.
    pub id: u64,
    pub name: &'a str,
    pub language: &'a str,
    pub category: &'a str,
}

impl TemplateName<'_> {
    fn named(&self) -> Value {
        json!({
            "message_template_id": self.id,
            "message_template_name": self.name,
            "message_template_language": self.language,
        })
    }
}

/// A template's new state: `APPROVED`, `REJECTED`, `PAUSED`, `DISABLED`, ..., and why.
pub fn template_status(
    waba_id: &str,
    template: &TemplateName<'_>,
    at: i64,
    event: &str,
    reason: &str,
) -> Value {
    let mut value = template.named();
    value["event"] = json!(event);
    value["reason"] = json!(reason);
    value["message_template_category"] = json!(template.category);
    if event == "REJECTED" {
        value["rejection_info"] = json!({
            "reason": "The text does not say what the message is for.",
            "recommendation": "Say it in the body.",
        });
    }
    of_account(waba_id, at, "message_template_status_update", value)
}

/// What customers think of a template: `GREEN`, `YELLOW`, `RED`, `UNKNOWN`.
pub fn template_quality(
    waba_id: &str,
    template: &TemplateName<'_>,
    at: i64,
    before: &str,
    now: &str,
) -> Value {
    let mut value = template.named();
    value["previous_quality_score"] = json!(before);
    value["new_quality_score"] = json!(now);
    of_account(waba_id, at, "message_template_quality_update", value)
}

/// A template that Meta put into another category, and so at another price.
pub fn template_category(
    waba_id: &str,
    template: &TemplateName<'_>,
    at: i64,
    before: &str,
    now: &str,
) -> Value {
    let mut value = template.named();
    value["previous_category"] = json!(before);
    value["new_category"] = json!(now);
    of_account(waba_id, at, "template_category_update", value)
}

/// A number's standing: `FLAGGED`, `UNFLAGGED`, `UPGRADE`, `DOWNGRADE`, `THROUGHPUT_UPGRADE`, with
/// the limit of customers a day that follows.
pub fn number_quality(account: &Account, at: i64, event: &str, limit: &str) -> Value {
    let value = json!({
        "display_phone_number": account.digits(), "event": event, "current_limit": limit,
    });
    of_account(&account.waba_id, at, "phone_number_quality_update", value)
}

/// How many customers a day the business may write to first.
pub fn capability(waba_id: &str, at: i64, customers_a_day: u32) -> Value {
    let value = json!({
        "max_daily_conversations_per_business": customers_a_day, "max_phone_numbers_per_waba": 25,
    });
    of_account(waba_id, at, "business_capability_update", value)
}

/// An account that may not do something for a while.
pub fn account_restricted(waba_id: &str, at: i64, restriction: &str, until: i64) -> Value {
    let restriction = json!({"restriction_type": restriction, "expiration": until});
    let value = json!({"event": "ACCOUNT_RESTRICTION", "restriction_info": [restriction]});
    of_account(waba_id, at, "account_update", value)
}

/// An account that broke the rules.
pub fn account_violation(waba_id: &str, at: i64, violation: &str) -> Value {
    let value =
        json!({"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": violation}});
    of_account(waba_id, at, "account_update", value)
}

/// A change of any field of a business account.
pub fn of_account(waba_id: &str, at: i64, field: &str, value: Value) -> Value {
    let change = json!({"field": field, "value": value});
    let entry = json!({"id": waba_id, "time": at, "changes": [change]});
    json!({"object": "whatsapp_business_account", "entry": [entry]})
}
