//! A body takes no more memory, and no more letters, than what a provider might send: whoever signed
//! it, and before anybody has.

use engine::channel::Inbound;
use engine::channel::webhook::NotAnEnvelope;
use engine::channel::whatsapp::{decode, history, news, open, waba};
use engine::message::MessageKind;
use serde_json::{Value, json};

use crate::{NOW, body, items, message};

fn bytes(entry: &Value) -> Vec<u8> {
    json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string().into_bytes()
}

fn change(field: &str, value: &Value) -> Vec<u8> {
    let value = match value {
        Value::Object(value) => {
            let mut value = value.clone();
            value.insert("metadata".to_owned(), json!({"phone_number_id": "7001"}));
            Value::Object(value)
        }
        other => other.clone(),
    };
    bytes(&json!({"id": "9001", "changes": [{"field": field, "value": value}]}))
}

fn is_dead(items: &[Inbound]) -> bool {
    matches!(items, [Inbound::Dead { .. }])
}

#[test]
fn what_all_changes_of_an_entry_share_is_short_or_left_out() {
    let of = |id: &Value| {
        let changes = [json!({"field": "account_update", "value": {}})];
        let bytes = bytes(&json!({"id": id, "time": id, "changes": changes}));
        waba(&open(&bytes).unwrap().changes[0])
    };
    assert_eq!(of(&json!("9".repeat(1024))), Some("9".repeat(1024)));
    assert_eq!(of(&json!(9001)).as_deref(), Some("9001"));
    assert_eq!(of(&json!("9".repeat(1025))), None);
    assert_eq!(of(&json!([[9001]])), None);
    let partner = |id: &str| {
        let value = json!({"waba_info": {"waba_id": id}});
        waba(&open(&change("account_update", &value)).unwrap().changes[0]).unwrap()
    };
    assert_eq!(partner("9002"), "9002");
    assert_eq!(partner(&"9".repeat(1025)), "9001", "of a long one nobody is the owner");
}

#[test]
fn a_body_of_very_many_changes_is_no_provider_s() {
    let with = |changes: usize, spoilt: bool| {
        let mut changes = vec![json!({"field": "messages", "value": {}}); changes];
        if spoilt {
            // Not as it should be: read part by part.
            changes[0] = json!({"field": 7});
        }
        let bytes = bytes(&json!({"id": "9001", "changes": changes}));
        open(&bytes).map(|envelope| envelope.changes.len())
    };
    for spoilt in [false, true] {
        assert_eq!(with(10_000, spoilt), Ok(10_000));
        assert_eq!(with(10_001, spoilt), Err(NotAnEnvelope::TooManyChanges));
    }
    let no_entries = json!({"object": "whatsapp_business_account", "entry": vec![0; 10_001]});
    let opened = open(no_entries.to_string().as_bytes()).map(|envelope| envelope.changes.len());
    assert_eq!(opened, Err(NotAnEnvelope::TooManyChanges));
}

#[test]
fn very_many_items_are_one_letter_and_nothing_of_them_is_lost() {
    let read = |items: usize| {
        let bytes = body(&json!({"messages": vec![0; items]}));
        decode(&open(&bytes).unwrap().changes[0], NOW)
    };
    assert_eq!(read(10_000).len(), 10_000);
    let all = read(10_001);
    let [Inbound::Dead { raw, .. }] = &all[..] else { panic!("{}", all.len()) };
    assert_eq!(raw.matches("0,").count(), 10_000);
    let many: Value = vec![json!({}); 10_001].into();
    let updates = change("user_id_update", &json!({"user_id_update": many}));
    assert!(is_dead(&decode(&open(&updates).unwrap().changes[0], NOW)));
}

#[test]
fn very_much_history_is_a_letter_for_each_part_of_it_that_is_too_much() {
    let read = |value: &Value| history(&open(&change("history", value)).unwrap().changes[0], NOW);
    let thread = |messages: usize| json!({"id": "33600000001", "messages": vec![0; messages]});
    let of = |threads: Value| read(&json!({"history": [{"threads": threads}]})).behind.len();
    assert_eq!(of(json!([thread(100), thread(100_000), thread(100)])), 201);
    assert_eq!(of(vec![0; 100_001].into()), 1);
    assert!(is_dead(&read(&json!({"history": 7})).behind));
}

#[test]
fn what_names_something_by_a_long_id_is_a_letter_whatever_it_is() {
    let long = "7".repeat(1025);
    let system = |id: &str, hash: &str| {
        let system = json!({"type": "customer_identity_changed", "body": "x"});
        let identity = json!({"hash": hash});
        let extra = json!({"id": id, "type": "system", "system": system, "identity": identity});
        items(&json!({"messages": [message(&extra)]}))
    };
    assert!(is_dead(&system(&long, "a")));
    let [Inbound::Identity(told)] = &system("wamid.S", &long)[..] else { panic!("no change") };
    assert_eq!(told.marks, ["security:wamid.S"]);
    let past = |thread: Value, extra: &Value| {
        let mut thread = thread;
        thread["messages"] = json!([message(extra)]);
        let value = json!({"history": [{"threads": [thread]}]});
        history(&open(&change("history", &value)).unwrap().changes[0], NOW)
    };
    let theirs = json!({"id": "33600000001"});
    assert_eq!(past(theirs.clone(), &json!({})).imports.len(), 1);
    let revoked = json!({"type": "revoke", "revoke": {"original_message_id": long}});
    for (thread, extra) in [
        (json!({"wa_id": long}), json!({})),
        (json!({"user_id": long}), json!({})),
        (json!({"group_id": long}), json!({})),
        (theirs.clone(), json!({"id": long})),
        (theirs.clone(), json!({"context": {"id": long}})),
        (json!({"group_id": "G1"}), json!({"from_user_id": long})),
        (theirs, revoked),
    ] {
        let read = past(thread, &extra);
        assert!(read.imports.is_empty() && is_dead(&read.behind), "{extra}: {read:?}");
    }
    let file = message(&json!({"from": long}));
    let bytes = change("history", &json!({"messages": [file]}));
    assert!(is_dead(&history(&open(&bytes).unwrap().changes[0], NOW).behind));
}

#[test]
fn what_is_told_of_an_account_is_short() {
    let long = "X".repeat(501);
    let value = json!({"event": long, "current_limit": long});
    let told = news(&open(&change("account_update", &value)).unwrap().changes[0], NOW);
    let lengths = (told[0].kind.len(), told[0].words.len());
    assert_eq!(
        (lengths, told[0].messaging_limit.as_ref().map(String::len)),
        ((500, 500), Some(500))
    );
}

#[test]
fn of_a_crowd_in_one_body_each_is_named_by_their_own_contact() {
    let number = |n: u64| (33_600_000_000 + n).to_string();
    let named = |n: u64| json!({"wa_id": number(n), "profile": {"name": format!("C{n}")}});
    let mut contacts: Vec<_> = (0..500).rev().map(named).collect();
    contacts.push(json!({"wa_id": number(7), "profile": {"name": "later"}}));
    let messages: Vec<_> =
        (0..500).map(|n| message(&json!({"id": format!("m{n}"), "from": number(n)}))).collect();
    for (n, item) in items(&json!({"contacts": contacts, "messages": messages})).iter().enumerate()
    {
        let Inbound::Message(message) = item else { panic!("{item:?}") };
        assert_eq!(message.name, Some(format!("C{n}")), "the first that names them");
    }
}

#[test]
fn more_cards_than_a_message_may_have_are_shown_as_what_nobody_understands() {
    let read = |cards: usize| {
        let cards = vec![json!({}); cards];
        let all =
            items(&json!({"messages": [message(&json!({"type": "contacts", "contacts": cards}))]}));
        let [Inbound::Message(message)] = &all[..] else { panic!("{all:?}") };
        (message.content.kind, message.content.attachments.len())
    };
    assert_eq!(read(257), (MessageKind::Contacts, 257));
    assert_eq!(read(258), (MessageKind::Unsupported, 0));
}
