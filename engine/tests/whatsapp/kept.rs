//! What is kept of what is not understood is opened again, with all that it is read by.

use engine::channel::Inbound;
use engine::channel::whatsapp::{decode, open, reopen};
use serde_json::{Value, json};

use crate::{NOW, body, items, message};

/// What is kept of the one thing that is not understood.
fn kept(items: &[Inbound]) -> String {
    let dead = items.iter().filter_map(|item| match item {
        Inbound::Dead { raw, .. } => Some(raw.clone()),
        _ => None,
    });
    let dead: Vec<_> = dead.collect();
    assert_eq!(dead.len(), 1, "{items:?}");
    dead.into_iter().next().unwrap()
}

/// What today's code makes of it.
fn again(raw: &str) -> Vec<Inbound> {
    let change = reopen(raw).unwrap();
    assert_eq!(change.phone_number_id.as_deref(), Some("7001"));
    decode(&change, NOW)
}

fn of_ines(messages: &Value) -> Value {
    let contacts = [json!({"wa_id": "33600000001", "profile": {"name": "Ines"}})];
    json!({"contacts": contacts, "messages": messages})
}

#[test]
fn an_item_is_read_again_beside_nobody_and_with_its_customer_s_name() {
    let messages = json!([message(&json!({"id": "a"})), message(&json!({"id": "b", "text": 7}))]);
    let raw = kept(&items(&of_ines(&messages)));
    assert_eq!(again(&raw), again(&kept(&again(&raw))), "it stays what it is");
    let read = again(&raw.replace(r#""text":7"#, r#""text":{"body":"mended"}"#));
    let [Inbound::Message(read)] = &read[..] else { panic!("{read:?}") };
    assert_eq!((read.provider_id.as_deref(), read.name.as_deref()), (Some("b"), Some("Ines")));
    assert_eq!(read.content.text.as_deref(), Some("mended"));
}

#[test]
fn a_whole_change_is_read_again() {
    let raw = kept(&items(&json!({"messages": 7, "statuses": []})));
    let messages = json!([message(&json!({}))]);
    let read = again(&raw.replace(r#""messages":7"#, &format!(r#""messages":{messages}"#)));
    assert!(matches!(&read[..], [Inbound::Message(_)]), "{read:?}");
}

#[test]
fn numbers_that_no_value_can_hold_are_kept_as_they_were_sent() {
    for (sent, part) in [("contacts", "7"), ("messages", "[7]")] {
        let body = String::from_utf8(body(&of_ines(&json!([message(&json!({}))])))).unwrap();
        let at = body.find(&format!(r#""{sent}":["#)).unwrap() + sent.len() + 3;
        let until = at + body[at..].find(']').unwrap() + 1;
        let body = format!("{}{}{}", &body[..at], part.replace('7', "1e400"), &body[until..]);
        let envelope = open(body.as_bytes()).unwrap();
        let raw = kept(&decode(&envelope.changes[0], NOW));
        assert!(raw.contains("1e400"), "{raw}");
        assert_eq!(kept(&again(&raw)), raw);
    }
}

#[test]
fn the_names_of_very_many_are_not_kept_with_every_item_of_theirs() {
    let named = |n: u64| json!({"wa_id": n.to_string(), "profile": {"name": "x".repeat(100)}});
    let contacts: Vec<_> = (0..100).map(named).collect();
    let bad = message(&json!({"text": 7}));
    let raw = kept(&items(&json!({"contacts": contacts, "messages": [bad]})));
    assert!(raw.len() < 1_000, "{raw}");
}
