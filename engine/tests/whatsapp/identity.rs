//! What the provider says of who a customer is.

use engine::channel::whatsapp::{decode, open};
use engine::channel::{Handle, IdentityChange, Inbound};
use engine::contact::IdentityKind;
use engine::time::Timestamp;
use serde_json::{Value, json};

use super::{NOW, handle, items};

fn bsuid(value: &str) -> Handle {
    handle(IdentityKind::Bsuid, value)
}

fn phone(value: &str) -> Handle {
    handle(IdentityKind::Phone, value)
}

/// A message of type `system`.
fn system(extra: &Value, system: &Value) -> Value {
    let mut message = json!({
        "id": "wamid.S1", "timestamp": "1789999990", "type": "system", "system": system,
    });
    message.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    message
}

fn change(items: &[Inbound]) -> &IdentityChange {
    let [Inbound::Identity(change)] = items else { panic!("{items:?}") };
    change
}

#[test]
fn a_new_number_says_which_one_it_replaces_and_which_id_comes_with_it() {
    for (extra, key) in [
        (json!({"from": "33600000001"}), "wa_id"),
        (json!({"from": "+33 6 00000001"}), "new_wa_id"),
        (json!({}), "wa_id"),
    ] {
        let mut event = json!({
            "type": "user_changed_number", "user_id": "FR.2", "parent_user_id": "FR.ENT.2",
            "body": "Noor is now at another number: from 33600000001 to 33600000002",
        });
        event[key] = "33600000002".into();
        let items = items(&json!({"messages": [system(&extra, &event)]}));
        let change = change(&items);
        assert_eq!(change.previous, [phone("33600000001")], "{extra}");
        assert_eq!(change.current, [bsuid("FR.2"), bsuid("FR.ENT.2"), phone("33600000002")]);
        assert_eq!((change.of.len(), change.provider_id.as_deref()), (0, Some("wamid.S1")));
        assert_eq!(change.at, Some(Timestamp(1_789_999_990_000)));
        assert!(change.text.starts_with("Noor is now"));
    }
}

#[test]
fn a_new_id_is_told_by_a_message_and_by_a_field_of_its_own_with_a_mark_in_common() {
    let event = json!({
        "type": "user_changed_user_id", "user_id": "FR.2",
        "body": "User Noor changed from FR.1 to FR.2",
    });
    let contacts = json!([{"wa_id": "33600000001", "profile": {"name": "Noor"}}]);
    let told = items(&json!({"contacts": contacts, "messages": [system(&json!({}), &event)]}));
    let told = change(&told);
    assert_eq!(
        (&told.previous[..], &told.current[..]),
        (&[bsuid("FR.1")][..], &[bsuid("FR.2")][..])
    );
    assert_eq!(told.of, [phone("33600000001")]);
    let update = json!({
        "wa_id": "33600000001", "detail": "The id was updated.", "timestamp": 1_789_999_991,
        "user_id": {"previous": "FR.1", "current": "FR.2"},
        "parent_user_id": {"previous": "FR.ENT.1", "current": "FR.ENT.1"},
    });
    let updated = updates(&json!([update]));
    let updated = change(&updated);
    assert_eq!(updated.previous, [bsuid("FR.1")]);
    assert_eq!(updated.current, [bsuid("FR.2"), phone("33600000001")]);
    assert_eq!(updated.of, [bsuid("FR.ENT.1")], "what is both stays");
    assert_eq!(updated.at, Some(Timestamp(1_789_999_991_000)));
    assert!(told.marks.iter().any(|mark| updated.marks.contains(mark)));
}

fn updates(updates: &Value) -> Vec<Inbound> {
    let metadata = json!({"display_phone_number": "441234", "phone_number_id": "7001"});
    let value = json!({"metadata": metadata, "user_id_update": updates});
    let entry = json!({"id": "9001", "changes": [{"field": "user_id_update", "value": value}]});
    let body = json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string();
    let envelope = open(body.as_bytes()).unwrap();
    decode(&envelope.changes[0], NOW)
}

#[test]
fn a_name_cannot_say_which_id_was_replaced() {
    let event = json!({
        "type": "user_changed_user_id", "user_id": "FR.2",
        "body": "User x changed from FR.9 to FR.2 changed from FR.1 to FR.2",
    });
    let told = items(&json!({"messages": [system(&json!({}), &event)]}));
    assert_eq!(change(&told).previous, [bsuid("FR.1")]);
    let event = json!({"type": "user_changed_user_id", "user_id": "FR.2", "body": "from FR.9 to FR.2 is my name"});
    let told = items(&json!({"messages": [system(&json!({}), &event)]}));
    assert!(change(&told).previous.is_empty());
}

#[test]
fn another_security_code_is_told_apart_by_its_hash() {
    let extra = |hash: &str| json!({"from": "33600000001", "identity": {"hash": hash, "acknowledged": true}});
    let event = json!({"type": "customer_identity_changed"});
    let told = |hash| items(&json!({"messages": [system(&extra(hash), &event)]}));
    let (one, again, other) = (told("a"), told("a"), told("b"));
    assert_eq!(change(&one).of, [phone("33600000001")]);
    assert!(change(&one).previous.is_empty() && change(&one).current.is_empty());
    assert_eq!(change(&one).marks, change(&again).marks);
    assert_ne!(change(&one).marks, change(&other).marks);
    assert!(!change(&one).text.is_empty());
}

#[test]
fn what_names_nobody_is_a_dead_letter_and_what_is_not_known_is_left_out() {
    let number = json!({"type": "user_changed_number", "body": "?"});
    let unknown = json!({"type": "something_new", "wa_id": "33600000002"});
    let extra = json!({"from": "33600000001"});
    let messages = [system(&extra, &number), system(&extra, &unknown)];
    let told = items(&json!({"messages": messages}));
    assert!(matches!(told[..], [Inbound::Dead { .. }, Inbound::Ignored("system")]), "{told:?}");
    let long = "F".repeat(2_000);
    let told = updates(&json!([
        {"user_id": {}},
        {"user_id": {"previous": "FR.1", "current": long}},
        7,
        {"user_id": {"previous": "FR.1", "current": "FR.2"}},
    ]));
    let is_dead = |item: &Inbound| matches!(item, Inbound::Dead { .. });
    assert!(
        told[..3].iter().all(is_dead) && matches!(told[3..], [Inbound::Identity(_)]),
        "{told:?}"
    );
}

#[test]
fn a_username_is_the_name_of_who_has_no_other() {
    let named = |profile: Value| {
        let contacts = json!([{"wa_id": "33600000001", "profile": profile}]);
        let told = items(&json!({"contacts": contacts, "messages": [super::message(&json!({}))]}));
        let [Inbound::Message(message)] = &told[..] else { panic!("{told:?}") };
        message.name.clone()
    };
    assert_eq!(named(json!({"name": "Noor", "username": "@noor"})).as_deref(), Some("Noor"));
    assert_eq!(named(json!({"username": "@noor"})).as_deref(), Some("@noor"));
    assert_eq!(named(json!({"name": " ", "username": "noor"})).as_deref(), Some("@noor"));
    assert_eq!(named(json!({})), None);
}
