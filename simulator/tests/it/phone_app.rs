//! The phone app over real sockets: what is written there, and what it hands over.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Past, PhoneAppAct};

use crate::engine::{inbox, value};
use crate::stand::{post_to, still};

#[tokio::test]
async fn what_is_written_edited_and_deleted_in_the_phone_app_is_echoed() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let to = "15550100003";
    let mut echo = async |act: PhoneAppAct| {
        let id = graph.phone_app("1065", to, &act).await.unwrap();
        let (_, webhook) = taken.recv().await.unwrap();
        assert_eq!(webhook["entry"][0]["changes"][0]["field"], "smb_message_echoes");
        let echo = value(&webhook)["message_echoes"][0].clone();
        assert_eq!((&echo["id"], &echo["to"]), (&json!(id), &json!(to)));
        echo
    };
    let first = echo(PhoneAppAct::Text { text: "Helo".into() }).await;
    assert_eq!(first["from"], "15550101065");
    let edit = echo(PhoneAppAct::Edit { text: "Hello".into() }).await;
    assert_eq!(edit["edit"]["original_message_id"], first["id"]);
    assert_eq!(edit["edit"]["message"]["text"]["body"], "Hello");
    let deleted = echo(PhoneAppAct::Delete).await;
    assert_eq!(deleted["revoke"]["original_message_id"], first["id"]);
    assert!(graph.phone_app("1065", to, &PhoneAppAct::Delete).await.is_err());
}

#[tokio::test]
async fn the_past_is_asked_for_once_and_comes_whole_in_its_phases() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    graph.set_past("1065", Past { conversations: 30, messages: 200, shared: true });
    let ask = json!({"messaging_product": "whatsapp", "sync_type": "history"});
    let (http, answer) = post_to(&graph, "1065/smb_app_data", &ask).await;
    assert!(http == 200 && answer["request_id"].is_string());
    let (mut ids, mut threads, mut last) = (BTreeSet::new(), BTreeSet::new(), (0, 0));
    while last.1 < 100 {
        let (_, webhook) = taken.recv().await.unwrap();
        let part = &value(&webhook)["history"][0];
        let (phase, progress) = (&part["metadata"]["phase"], &part["metadata"]["progress"]);
        let now = (phase.as_u64().unwrap(), progress.as_u64().unwrap());
        assert!(now >= last, "{now:?} after {last:?}");
        last = now;
        for thread in part["threads"].as_array().unwrap() {
            threads.insert(thread["id"].to_string());
            let messages = thread["messages"].as_array().unwrap();
            ids.extend(messages.iter().map(|message| message["id"].to_string()));
            assert!(messages.iter().all(|it| it["history_context"]["status"] == "READ"));
        }
    }
    assert_eq!((threads.len(), ids.len()), (30, 6_000));
    let again = post_to(&graph, "1065/smb_app_data", &ask).await.1;
    assert_eq!(again["error"]["code"], 2_593_107);
    graph.advance(Duration::from_hours(25));
    let late = json!({"messaging_product": "whatsapp", "sync_type": "smb_app_state_sync"});
    let late = post_to(&graph, "1065/smb_app_data", &late).await.1;
    assert_eq!(late["error"]["code"], 2_593_108);
}

#[tokio::test]
async fn an_owner_may_keep_the_past_and_the_address_book_comes_by_itself() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    graph.set_past("1065", Past { shared: false, ..Past::default() });
    for (kind, pointer, wanted) in [
        ("history", "/history/0/errors/0/code", json!(2_593_109)),
        ("smb_app_state_sync", "/state_sync/0/action", json!("add")),
    ] {
        let ask = json!({"messaging_product": "whatsapp", "sync_type": kind});
        assert_eq!(post_to(&graph, "1065/smb_app_data", &ask).await.0, 200);
        let webhook: Value = taken.recv().await.unwrap().1;
        assert_eq!(value(&webhook).pointer(pointer), Some(&wanted));
    }
}
