//! What cannot be read, and what is too much of it.

use std::collections::BTreeMap;

use engine::channel::Inbound;
use engine::channel::webhook::{NotAnEnvelope, met, open, reopen};
use serde_json::json;

use super::{NOW, account, body, customer, item, items, of_customer};

#[test]
fn a_bad_event_is_a_dead_letter_that_is_read_again_and_its_neighbours_stay() {
    let good = of_customer(&json!({"message": {"mid": "m_1", "text": "good"}}));
    let mut homeless = good.clone();
    homeless.as_object_mut().unwrap().remove("sender");
    let odd = of_customer(&json!({"a_new_thing": {"x": 1}}));
    let entry = json!({"id": "5001", "messaging": [homeless, good, odd, 7]});
    let body = json!({"object": "page", "entry": [entry]}).to_string();
    let parts = open(body.as_bytes()).unwrap();
    let read = parts[0].read(&account(), NOW).items;
    let [
        Inbound::Dead { .. },
        Inbound::Message(message),
        Inbound::Dead { reason, raw },
        Inbound::Dead { .. },
    ] = &read[..]
    else {
        panic!("{read:?}")
    };
    assert_eq!(message.provider_id.as_deref(), Some("m_1"));
    assert_eq!(reason, "nothing here understands the event");
    let again = reopen(&account(), raw, NOW);
    assert_eq!(again, [Inbound::Dead { reason: reason.clone(), raw: raw.clone() }]);
    let kept = json!({"id": "5001", "messaging": [good]}).to_string();
    assert!(
        matches!(&reopen(&account(), &kept, NOW)[..], [Inbound::Message(again)] if again == message)
    );
}

#[test]
fn who_is_known_by_a_reference_alone_is_nobody_yet() {
    let mut event = of_customer(&json!({"postback": {"title": "Go", "payload": "GO"}}));
    event["sender"] = json!({"user_ref": "u-1"});
    let Inbound::Dead { reason, raw } = item(&event) else { panic!("it is kept") };
    assert!(reason.contains("user_ref"));
    let read = |body: &[u8]| open(body).unwrap()[0].read(&account(), NOW);
    assert_eq!(read(&body("messaging", &event)).references, ["u-1"]);
    let prior = json!({"source": "checkbox_plugin", "identifier": "u-1"});
    let known = json!({"message": {"mid": "m_1", "text": "Hi"}, "prior_message": prior});
    let known = body("messaging", &of_customer(&known));
    let known = read(&known);
    let [introduction] = &known.introductions[..] else { panic!("{known:?}") };
    assert!(known.references.is_empty(), "it says who it is");
    assert_eq!(introduction.reference, "u-1");
    let person = &introduction.person;
    let of = |reference: &str| BTreeMap::from([(reference.to_owned(), person.clone())]);
    let items = met(&account(), &raw, &of("u-1"), NOW).unwrap();
    let [Inbound::Message(message)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((&message.from, message.content.payload.as_deref()), (&customer(), Some("GO")));
    assert_eq!(met(&account(), &raw, &of("u-2"), NOW), None, "it is of somebody else");
    let mut long = event;
    long["sender"]["user_ref"] = "u".repeat(1025).into();
    assert!(read(&body("messaging", &long)).references.is_empty(), "nobody is called so");
}

#[test]
fn of_somebody_who_is_known_by_now_nothing_is_read_that_is_larger_than_any_event() {
    let known = BTreeMap::from([("a:1".to_owned(), "70".to_owned())]);
    let kept = |title: &str| {
        let mut event = of_customer(&json!({"postback": {"title": title, "payload": "GO"}}));
        event["sender"] = json!({"user_ref": "a:1"});
        json!({"id": "5001", "messaging": [event]}).to_string()
    };
    let items = met(&account(), &kept("Go"), &known, NOW).unwrap();
    assert!(matches!(&items[..], [Inbound::Message(_)]), "{items:?}");
    assert_eq!(met(&account(), &kept(&"x".repeat(300 << 10)), &known, NOW), None);
}

#[test]
fn an_entry_that_is_none_is_kept_whole() {
    let body = json!({"object": "page", "entry": [{"id": "5001", "messaging": "?"}]}).to_string();
    let parts = open(body.as_bytes()).unwrap();
    let read = parts[0].read(&account(), NOW).items;
    assert!(matches!(&read[..], [Inbound::Dead { raw, .. }] if raw.contains("messaging")));
}

#[test]
fn what_is_no_body_of_a_channel_is_refused_with_the_reason() {
    let entries = |n: usize| json!({"object": "page", "entry": vec![json!({}); n]}).to_string();
    for (body, why) in [
        ("".to_owned(), NotAnEnvelope::NotJson),
        ("[]".to_owned(), NotAnEnvelope::NotJson),
        (r#"{"entry":[]}"#.to_owned(), NotAnEnvelope::NoObject),
        (r#"{"object":"page"}"#.to_owned(), NotAnEnvelope::NoEntries),
        (r#"{"object":"user","entry":[]}"#.to_owned(), NotAnEnvelope::Unknown("user".to_owned())),
        (entries(10_001), NotAnEnvelope::TooManyChanges),
    ] {
        assert_eq!(open(body.as_bytes()).unwrap_err(), why);
    }
    assert_eq!(open(entries(10_000).as_bytes()).unwrap().len(), 10_000);
}

#[test]
fn beyond_so_many_events_entries_are_not_taken_apart() {
    let event = of_customer(&json!({"read": {"watermark": 1_789_999_980_000_u64}}));
    let entry = |n: usize| json!({"id": "5001", "messaging": vec![event.clone(); n]});
    let body = json!({"object": "page", "entry": [entry(9_999), entry(2)]}).to_string();
    let parts = open(body.as_bytes()).unwrap();
    assert_eq!(parts[0].read(&account(), NOW).items.len(), 9_999);
    assert!(matches!(parts[1].read(&account(), NOW).items[..], [Inbound::Dead { .. }]));
}

#[test]
fn what_is_larger_than_any_event_is_not_read_nor_are_ids_that_are_longer_than_any() {
    let long = "x".repeat(300 << 10);
    for message in [
        json!({"mid": "m_1", "text": long}),
        json!({"mid": "y".repeat(1025), "text": "Hi"}),
        json!({"mid": "m_1", "text": "Hi", "reply_to": {"mid": "y".repeat(1025)}}),
    ] {
        let read = item(&of_customer(&json!({"message": message})));
        assert!(matches!(read, Inbound::Dead { .. }));
    }
    let delivery = json!({"delivery": {"mids": ["m_1", "y".repeat(1025)]}});
    assert!(items(&of_customer(&delivery)).iter().any(|item| matches!(item, Inbound::Dead { .. })));
}

#[test]
fn nothing_that_is_sent_makes_the_reader_fail() {
    let odd = [json!(null), json!(1.5e300), json!(""), json!([]), json!({}), json!([[{}]])];
    for part in ["message", "postback", "read", "delivery", "reaction", "message_edit", "optin"] {
        for value in &odd {
            let mut event = of_customer(&json!({}));
            event[part] = value.clone();
            for key in ["mid", "text", "attachments", "reply_to", "watermark", "payload", "title"] {
                for inner in &odd {
                    let mut event = event.clone();
                    event[part] = json!({key: inner});
                    let body = body("messaging", &event);
                    open(&body).unwrap()[0].read(&account(), NOW);
                }
            }
            items(&event);
        }
    }
}
