//! What was written before the account was connected.

use engine::channel::whatsapp::{History, history, news, open};
use engine::channel::{Amend, Import, Imported, Inbound};
use engine::contact::IdentityKind;
use engine::message::{MessageKind, MessageStatus};
use serde_json::{Value, json};

use crate::{NOW, handle};

fn change(value: &Value) -> Vec<u8> {
    let mut value = value.clone();
    value["metadata"] = json!({"phone_number_id": "7001", "display_phone_number": "44 1234"});
    let changes = json!([{"field": "history", "value": value}]);
    let entry = json!([{"id": "9001", "time": 1_789_999_000, "changes": changes}]);
    json!({"object": "whatsapp_business_account", "entry": entry}).to_string().into_bytes()
}

fn read(value: &Value) -> History {
    let body = change(value);
    history(&open(&body).unwrap().changes[0], NOW)
}

fn past(id: &str, from: &str, at: i64, body: &str, status: &str) -> Value {
    json!({
        "id": id, "from": from, "timestamp": at.to_string(), "type": "text", "text": {"body": body},
        "history_context": {"status": status},
    })
}

fn chunk(phase: u8, threads: &Value) -> Value {
    json!({"history": [{"metadata": {"phase": phase, "chunk_order": 1, "progress": 40}, "threads": threads}]})
}

fn text(imported: &Imported) -> &str {
    imported.content.text.as_deref().unwrap()
}

#[test]
fn each_thread_s_messages_are_imported_in_the_order_in_which_they_were_written() {
    let messages = json!([
        past("wamid.2", "441234", 1_789_000_020, "yes", "READ"),
        past("wamid.1", "33600000001", 1_789_000_010, "open?", "READ"),
        {"id": "wamid.3", "from": "441234", "timestamp": "1789000030", "type": "media_placeholder",
         "history_context": {"status": "PLAYED"}},
    ]);
    let other = json!([past("wamid.9", "441234", 1_789_000_040, "hello", "ERROR")]);
    let threads =
        json!([{"id": "33600000001", "messages": messages}, {"id": "FR.77", "messages": other}]);
    let history = read(&chunk(1, &threads));
    let [Import { customer, phase, messages }, second] = &history.imports[..] else {
        panic!("{history:?}")
    };
    assert_eq!(
        (phase, &customer[..]),
        (&Some(1), &[handle(IdentityKind::Phone, "33600000001")][..])
    );
    let [one, two, three] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((text(one), one.is_ours), ("open?", false));
    assert_eq!((text(two), two.is_ours, two.status), ("yes", true, MessageStatus::Read));
    assert_eq!(
        (three.content.kind, three.status),
        (MessageKind::Unsupported, MessageStatus::Played)
    );
    assert_eq!(second.customer, [handle(IdentityKind::Bsuid, "FR.77")]);
    assert_eq!(second.messages[0].status, MessageStatus::Failed);
    assert_eq!(history.behind, []);
}

#[test]
fn a_large_part_is_taken_in_small_ones_and_a_bad_message_costs_none_of_its_neighbours() {
    let mut messages: Vec<_> = (0..200)
        .map(|n| past(&format!("wamid.{n}"), "33600000001", 1_789_000_000 + n, "x", "READ"))
        .collect();
    messages.insert(3, json!({"id": "wamid.bad", "from": {}}));
    messages.insert(9, json!({"id": "wamid.r", "from": "33600000001", "type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": "👍"}}));
    messages.push(past("wamid.long", "33600000001", 1_789_000_900, &"x".repeat(40_000), "READ"));
    messages.push(past("wamid.last", "33600000001", 1_789_000_901, "x", "READ"));
    let history =
        read(&chunk(0, &json!([{"id": "33600000001", "messages": messages}, {"messages": []}])));
    let sizes: Vec<_> = history.imports.iter().map(|import| import.messages.len()).collect();
    assert!(sizes.iter().all(|size| *size <= 64), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 202);
    let alone =
        history.imports.iter().find(|import| import.messages[0].provider_id == "wamid.long");
    assert_eq!(alone.unwrap().messages.len(), 1);
    let dead = history.behind.iter().filter(|item| matches!(item, Inbound::Dead { .. })).count();
    assert_eq!(dead, 2, "{:?}", history.behind);
    let done = history.behind.iter().any(|item| {
        matches!(item, Inbound::Amendment(amendment)
        if amendment.target == "wamid.1" && matches!(amendment.what, Amend::Reaction(Some(_))))
    });
    assert!(done, "{:?}", history.behind);
}

#[test]
fn a_file_that_comes_behind_names_the_message_that_held_its_place() {
    for (from, to) in [("33600000001", None), ("441234", Some("33600000001"))] {
        let file = json!({
            "id": "wamid.3", "from": from, "to": to, "timestamp": "1789000030", "type": "image",
            "image": {"id": "61", "caption": "the blue one"},
        });
        let history = read(&json!({"messages": [file]}));
        let [Import { customer, phase: None, messages }] = &history.imports[..] else {
            panic!("{history:?}")
        };
        assert_eq!(customer[..], [handle(IdentityKind::Phone, "33600000001")]);
        assert_eq!(
            (messages[0].provider_id.as_str(), text(&messages[0])),
            ("wamid.3", "the blue one")
        );
    }
}

#[test]
fn that_a_business_does_not_share_its_history_is_told() {
    let error =
        json!({"code": 2_593_109, "title": "off", "error_data": {"details": "Sharing is off."}});
    let body = change(&json!({"history": [{"errors": [error]}]}));
    let opened = open(&body).unwrap();
    assert_eq!(history(&opened.changes[0], NOW), History::default());
    let told = news(&opened.changes[0], NOW);
    assert_eq!(told[0].words, "history: 2593109: Sharing is off.");
    let done = change(&json!({"history": [{"metadata": {"progress": 100}, "threads": []}]}));
    assert_eq!(
        news(&open(&done).unwrap().changes[0], NOW)[0].words,
        "history: all of it was handed over"
    );
    assert!(news(&open(&change(&chunk(1, &json!([])))).unwrap().changes[0], NOW).is_empty());
}
