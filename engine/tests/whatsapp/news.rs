//! What is said of accounts and of customers, and is no message.

use engine::channel::whatsapp::{contact_news, decode, news, open, waba};
use engine::channel::{Handle, Inbound};
use engine::consent::ContactSaid;
use engine::contact::IdentityKind;
use engine::news::{Means, News};
use engine::time::Timestamp;
use serde_json::{Value, json};

use crate::{NOW, handle};

fn body(field: &str, value: &Value) -> Vec<u8> {
    let changes = json!([{"field": field, "value": value}]);
    let entry = json!([{"id": "9001", "time": 1_789_999_000, "changes": changes}]);
    json!({"object": "whatsapp_business_account", "entry": entry}).to_string().into_bytes()
}

fn said(field: &str, value: &Value) -> News {
    let body = body(field, value);
    let opened = open(&body).unwrap();
    let items = decode(&opened.changes[0], NOW);
    assert!(matches!(&items[..], [Inbound::Ignored(_)]), "no message is made: {items:?}");
    let [news] = &news(&opened.changes[0], NOW)[..] else { panic!("{value}") };
    assert_eq!(news.at, Some(Timestamp(1_789_999_000_000)));
    news.clone()
}

const STOPS: Means = Means::Stops { until: None };

#[test]
fn what_happens_to_an_account_stops_it_resumes_it_or_is_told() {
    for (value, means) in [
        (json!({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE"}}), STOPS),
        (
            json!({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "SCHEDULE_FOR_DISABLE"}}),
            Means::Warns,
        ),
        (
            json!({"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}}),
            Means::Resumes,
        ),
        (json!({"event": "ACCOUNT_DELETED"}), STOPS),
        (
            json!({"event": "PARTNER_REMOVED", "disconnection_info": {"reason": "INACTIVE", "initiated_by": "SYSTEM"}}),
            STOPS,
        ),
        (json!({"event": "PARTNER_ADDED"}), Means::Resumes),
        (json!({"event": "ACCOUNT_OFFBOARDED"}), STOPS),
        (json!({"event": "ACCOUNT_RECONNECTED"}), Means::Resumes),
        (
            json!({"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "SPAM"}}),
            Means::Warns,
        ),
        (json!({"event": "VOLUME_BASED_PRICING_TIER_UPDATE"}), Means::Tells),
        (json!({"event": "ACCOUNT_RESTRICTION"}), STOPS),
    ] {
        let news = said("account_update", &value);
        assert_eq!(news.means, means, "{value}");
        assert_eq!(news.kind, value["event"].as_str().unwrap().to_lowercase());
    }
    let removed = json!({"event": "PARTNER_REMOVED", "disconnection_info": {"reason": "INACTIVE", "initiated_by": "SYSTEM"}});
    assert_eq!(said("account_update", &removed).words, "partner removed: INACTIVE, by SYSTEM");
}

#[test]
fn a_restriction_stops_only_what_sends_and_as_long_as_it_says() {
    let restricted = |list: Value| {
        said("account_update", &json!({"event": "ACCOUNT_RESTRICTION", "restriction_info": list}))
            .means
    };
    let (first, last) = (1_790_100_000_i64, 1_790_200_000_i64);
    let messages = |until: i64| json!({"restriction_type": "RESTRICTED_BIZ_INITIATED_MESSAGING", "expiration": until});
    let numbers =
        json!({"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION", "expiration": last + 9});
    let until = Some(Timestamp::from_secs(last));
    assert_eq!(
        restricted(json!([messages(first), messages(last), numbers])),
        Means::Stops { until }
    );
    assert_eq!(restricted(json!([numbers])), Means::Warns);
    assert_eq!(
        restricted(json!([{"restriction_type": "RESTRICTED_CUSTOMER_INITIATED_MESSAGING"}])),
        STOPS
    );
}

/// What no value holds: a number that is too large, and lists that are too deep.
fn unreadable() -> [String; 2] {
    ["1e400".to_owned(), format!("{}{}", "[".repeat(300), "]".repeat(300))]
}

#[test]
fn what_cannot_be_read_of_an_event_costs_nothing_of_the_rest_and_is_kept() {
    let ban = json!({"waba_ban_state": "DISABLE", "more": "unreadable"});
    let info = json!({"waba_id": "9002", "more": ["unreadable"]});
    let event = json!({"event": "DISABLED_UPDATE", "ban_info": ban, "waba_info": info});
    let preference = json!({"wa_id": "1555", "value": "stop", "more": "unreadable"});
    let preferences = json!({"user_preferences": [preference]});
    for part in unreadable() {
        let sent = |field, value| {
            let body = String::from_utf8(body(field, value)).unwrap();
            body.replace("\"unreadable\"", &part).replace("1789999000", &part)
        };
        let body = sent("account_update", &event);
        let change = &open(body.as_bytes()).unwrap().changes[0];
        assert_eq!(waba(change).as_deref(), Some("9002"));
        assert_eq!(change.entry_id.as_deref(), Some("9001"), "the entry's time is no number");
        let [told] = &news(change, NOW)[..] else { panic!("{body}") };
        assert_eq!((told.means, told.words.as_str()), (STOPS, "disabled update: DISABLE"));
        let [Inbound::Dead { raw, .. }] = &decode(change, NOW)[..] else { panic!("{body}") };
        assert!(raw.contains(&part), "{raw}");
        let body = sent("user_preferences", &preferences);
        let change = &open(body.as_bytes()).unwrap().changes[0];
        assert_eq!(contact_news(change, NOW).len(), 1);
        assert!(matches!(&decode(change, NOW)[..], [Inbound::Dead { .. }]));
        let error =
            json!({"errors": [{"code": 131_042, "title": "Payment", "more": "unreadable"}]});
        let body = sent("messages", &error);
        let told = news(&open(body.as_bytes()).unwrap().changes[0], NOW);
        assert!(told[0].words.contains("131042"), "{told:?}");
        let parts = json!({"history": [error]});
        let body = sent("history", &parts);
        let told = news(&open(body.as_bytes()).unwrap().changes[0], NOW);
        assert!(told[0].words.contains("131042"), "{told:?}");
    }
}

#[test]
fn numbers_names_limits_alerts_and_templates_are_told_of() {
    let quality = |event: &str| json!({"display_phone_number": "+44 1234", "event": event, "current_limit": "TIER_10K"});
    let upgraded = said("phone_number_quality_update", &quality("THROUGHPUT_UPGRADE"));
    assert_eq!((upgraded.means, upgraded.phone.as_deref()), (Means::Upgraded, Some("441234")));
    assert_eq!(upgraded.messaging_limit.as_deref(), Some("TIER_10K"));
    assert_eq!(said("phone_number_quality_update", &quality("FLAGGED")).means, Means::Warns);
    assert_eq!(said("phone_number_quality_update", &quality("UNFLAGGED")).means, Means::Resumes);
    let limit =
        said("business_capability_update", &json!({"max_daily_conversations_per_business": 2000}));
    assert_eq!(limit.messaging_limit.as_deref(), Some("2000"));
    for (field, value, words, means) in [
        (
            "account_review_update",
            json!({"decision": "REJECTED"}),
            "account review update: REJECTED",
            Means::Warns,
        ),
        (
            "account_review_update",
            json!({"decision": "APPROVED"}),
            "account review update: APPROVED",
            Means::Resumes,
        ),
        (
            "phone_number_name_update",
            json!({"decision": "REJECTED", "requested_verified_name": "Blue"}),
            "phone number name update: Blue, REJECTED",
            Means::Warns,
        ),
        (
            "account_alerts",
            json!({"alert_info": {"alert_type": "LIMIT", "alert_severity": "CRITICAL", "alert_status": "ACTIVE", "alert_description": "No more."}}),
            "limit: CRITICAL, No more.",
            Means::Warns,
        ),
        (
            "account_alerts",
            json!({"alert_info": {"alert_type": "LIMIT", "alert_severity": "WARNING"}}),
            "limit: WARNING",
            Means::Tells,
        ),
        (
            "security",
            json!({"event": "PIN_CHANGED", "display_phone_number": "441234"}),
            "security: 441234, PIN_CHANGED",
            Means::Tells,
        ),
        (
            "message_template_status_update",
            json!({"message_template_name": "hours", "message_template_id": 9_007_199_254_740_993_i64, "message_template_language": "en", "event": "PAUSED", "reason": "NONE"}),
            "message template status update: hours, en, PAUSED",
            Means::Tells,
        ),
        (
            "message_template_quality_update",
            json!({"message_template_id": 9_007_199_254_740_993_i64, "new_quality_score": "RED"}),
            "message template quality update: 9007199254740993, RED",
            Means::Tells,
        ),
        (
            "template_category_update",
            json!({"message_template_name": "hours", "previous_category": "UTILITY", "new_category": "MARKETING"}),
            "template category update: hours, UTILITY, MARKETING",
            Means::Tells,
        ),
    ] {
        let news = said(field, &value);
        assert_eq!((news.words.as_str(), news.means), (words, means));
    }
}

#[test]
fn errors_that_are_of_no_message_are_of_the_account() {
    let error =
        |code: i64| json!({"errors": [{"code": code, "error_data": {"details": "Too much."}}]});
    let slow = said("messages", &error(130_429));
    assert_eq!((slow.words.as_str(), slow.means), ("130429: Too much.", Means::Tells));
    assert_eq!(said("messages", &error(131_031)).means, STOPS);
}

#[test]
fn a_change_of_a_partner_names_the_business_account_itself() {
    let of = |value: &Value| waba(&open(&body("account_update", value)).unwrap().changes[0]);
    assert_eq!(
        of(&json!({"event": "PARTNER_ADDED", "waba_info": {"waba_id": "77"}})).as_deref(),
        Some("77")
    );
    assert_eq!(of(&json!({"event": "ACCOUNT_DELETED"})).as_deref(), Some("9001"));
}

#[test]
fn what_nobody_asked_for_is_ignored() {
    for field in
        ["calls", "payment_configuration_update", "group_lifecycle_update", "partner_solutions"]
    {
        let body = body(field, &json!({"calls": [{"id": "c"}]}));
        let change = &open(&body).unwrap().changes[0];
        assert!(news(change, NOW).is_empty() && contact_news(change, NOW).is_empty());
        assert!(matches!(&decode(change, NOW)[..], [Inbound::Ignored(_)]), "{field}");
    }
}

fn of_customers(field: &str, value: &Value) -> Vec<(Vec<Handle>, ContactSaid)> {
    let body = body(field, value);
    let told = contact_news(&open(&body).unwrap().changes[0], NOW);
    told.into_iter().map(|news| (news.of, news.said)).collect()
}

#[test]
fn customers_stop_and_resume_what_they_want_to_be_sent() {
    let told = of_customers(
        "user_preferences",
        &json!({"user_preferences": [
            {"wa_id": "33600000001", "user_id": "FR.1", "category": "marketing_messages", "value": "stop", "timestamp": 1_789_999_990},
            {"wa_id": "33600000002", "value": "resume", "timestamp": "1789999991"},
            {"wa_id": "33600000003", "value": "perhaps"},
            {"value": "stop"},
            17,
        ]}),
    );
    let wants = |stopped| ContactSaid::Wants { category: "marketing".to_owned(), stopped };
    let (bsuid, phone) = (IdentityKind::Bsuid, IdentityKind::Phone);
    let first = vec![handle(bsuid, "FR.1"), handle(phone, "33600000001")];
    assert_eq!(told, [(first, wants(true)), (vec![handle(phone, "33600000002")], wants(false))]);
}

#[test]
fn the_book_of_the_phone_says_what_customers_are_called() {
    let contact =
        json!({"full_name": " Noor Haddad ", "first_name": "Noor", "phone_number": "+33 600"});
    let told = of_customers(
        "smb_app_state_sync",
        &json!({"state_sync": [
            {"type": "contact", "action": "add", "contact": contact},
            {"type": "contact", "action": "edit", "contact": {"first_name": "Ola", "phone_number": "34"}},
            {"type": "contact", "action": "remove", "contact": {"phone_number": "35"}},
            {"type": "contact", "action": "add", "contact": {"phone_number": "36"}},
        ]}),
    );
    let called = |name: Option<&str>| ContactSaid::Called { name: name.map(str::to_owned) };
    let of = |phone: &str| vec![handle(IdentityKind::Phone, phone)];
    let wanted = [
        (of("33600"), called(Some("Noor Haddad"))),
        (of("34"), called(Some("Ola"))),
        (of("35"), called(None)),
    ];
    assert_eq!(told, wanted);
}
