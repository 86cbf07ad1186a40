//! What a stand-in in another process is told and asked.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Graph, GraphOptions};

use crate::engine::{client, inbox, message, value};
use crate::stand::{post_to, quiet, still, tell, text};

async fn ask(graph: &Graph, path: &str) -> Value {
    let answer = client().get(format!("{}/_sim/{path}", graph.url())).send().await.unwrap();
    answer.json().await.unwrap()
}

#[tokio::test]
async fn it_says_what_it_can_be_told() {
    let graph = Graph::start(quiet()).await.unwrap();
    let help = client().get(format!("{}/_sim", graph.url())).send().await.unwrap();
    assert_eq!(help.text().await.unwrap(), simulator::CONTROL);
}

#[tokio::test]
async fn it_tells_what_came_once_twice_and_not_at_all() {
    let graph = Graph::start(quiet()).await.unwrap();
    for opaque in ["a", "b", "b"] {
        post_to(&graph, "1065/messages", &text("15550100003", opaque)).await;
    }
    let check = ask(&graph, "check").await;
    assert_eq!(check["more_than_once"], json!({"b": 2}));
    assert_eq!((&check["total"], &check["opaque_ids"]), (&json!(3), &json!(2)));
    assert_eq!(check["by_recipient"], json!({"15550100003": 3}));
    let (_, checked) = tell(&graph, "check", &json!({"opaque": ["a", "b", "c"]})).await;
    let wanted = json!({"once": false, "missing": ["c"], "more_than_once": ["b"], "others": 0});
    assert_eq!(checked, wanted);
    let (_, once) = tell(&graph, "check", &json!({"opaque": ["a"]})).await;
    assert_eq!((&once["once"], &once["others"]), (&json!(true), &json!(1)));
    assert_eq!(ask(&graph, "requests?after=2").await.as_array().unwrap().len(), 1);
    let traffic = ask(&graph, "traffic").await;
    assert_eq!(traffic["1065"]["recipients"]["15550100003"]["accepted"], 3);

    assert_eq!(tell(&graph, "reset", &json!({"seed": 2})).await.0, 200);
    assert_eq!(ask(&graph, "check").await["total"], 0);
    assert_eq!(ask(&graph, "counts").await["requests"]["accepted"], 0);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_ids_and_another_one_others() {
    let graph = Graph::start(quiet()).await.unwrap();
    let id = async |seed: u64| {
        tell(&graph, "reset", &json!({"seed": seed})).await;
        let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
        answer["messages"][0]["id"].clone()
    };
    let (one, again, other) = (id(7).await, id(7).await, id(8).await);
    assert_eq!(one, again);
    assert_ne!(one, other);
}

#[tokio::test]
async fn trouble_limits_tokens_and_the_time_are_set_from_outside() {
    let graph = Graph::start(GraphOptions { pace: 0.0, ..quiet() }).await.unwrap();
    let send = async || {
        let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
        answer["error"]["code"].as_u64()
    };
    let plan = json!({"trouble": "error", "code": 131_000, "times": 1, "edge": "messages"});
    assert_eq!(tell(&graph, "trouble", &plan).await.0, 200);
    assert_eq!((send().await, send().await), (Some(131_000), None));
    let slow = json!({"phone_number_id": "1065", "per_second": 1});
    assert_eq!(tell(&graph, "throughput", &slow).await.0, 200);
    assert_eq!(send().await, Some(130_429));
    assert_eq!(tell(&graph, "clock", &json!({"advance_ms": 2_000})).await.0, 200);
    assert_eq!(send().await, None);
    tell(&graph, "token", &json!({"phone_number_id": "1065", "expired": true})).await;
    assert_eq!(send().await, Some(190));
    tell(&graph, "token", &json!({"phone_number_id": "1065", "expired": false})).await;
    graph.advance(Duration::from_secs(2));
    assert_eq!(send().await, None);
}

#[tokio::test]
async fn customers_the_phone_app_events_and_templates_are_directed_from_outside() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let script = json!({
        "phone_number_id": "1065", "phone": "15550100003", "name": "Ines",
        "acts": [{"do": "text", "text": "Hi"}, {"do": "edit", "text": "Hello"}],
    });
    let (http, done) = tell(&graph, "customers?wait=true", &script).await;
    assert_eq!((http, &done["handles"]), (200, &json!(["15550100003"])));
    assert_eq!(message(&taken.recv().await.unwrap().1)["text"]["body"], "Hi");
    assert_eq!(message(&taken.recv().await.unwrap().1)["type"], "edit");
    let nothing = json!({"phone_number_id": "1065", "phone": "1", "acts": [{"do": "press"}]});
    assert_eq!(tell(&graph, "customers?wait=true", &nothing).await.0, 400);

    let written =
        json!({"phone_number_id": "1065", "to": "15550100003", "do": "text", "text": "Hi"});
    assert_eq!(tell(&graph, "phone_app", &written).await.0, 200);
    assert!(value(&taken.recv().await.unwrap().1)["message_echoes"].is_array());
    let red = json!({"phone_number_id": "1065", "event": "quality", "quality": "RED"});
    assert_eq!(tell(&graph, "events", &red).await.0, 200);
    assert_eq!(value(&taken.recv().await.unwrap().1)["event"], "FLAGGED");

    let template = json!({
        "name": "hello", "language": "en", "category": "UTILITY",
        "components": [{"type": "BODY", "text": "Hi."}],
    });
    let wish = json!({"waba_id": "waba-1065", "template": template});
    let id = tell(&graph, "templates", &wish).await.1["id"].clone();
    let path = format!("templates/{}", id.as_str().unwrap());
    assert_eq!(tell(&graph, &path, &json!({"status": "PAUSED"})).await.0, 200);
    assert_eq!(value(&taken.recv().await.unwrap().1)["event"], "PAUSED");
    let past = json!({"phone_number_id": "1065", "conversations": 1, "messages": 1});
    assert_eq!(tell(&graph, "history", &past).await.0, 200);
    assert!(value(&taken.recv().await.unwrap().1)["history"].is_array());
}

#[tokio::test]
async fn any_webhook_is_delivered_as_often_as_wanted_each_time_another_one() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let message_of = json!({"id": "wamid.1", "type": "text", "timestamp": "5", "from": "1555"});
    let change = json!({"field": "messages", "value": {
        "metadata": {"phone_number_id": "0"}, "messages": [message_of],
    }});
    let body = json!({
        "object": "whatsapp_business_account", "entry": [{"id": "0", "changes": [change]}],
    });
    for salt in ["-1", "-2"] {
        let wish = json!({"body": body, "salt": salt, "now": true, "phone_number_id": "1065"});
        assert_eq!(tell(&graph, "webhooks", &wish).await.1, json!({"taken": true}));
        let (signed, webhook) = taken.recv().await.unwrap();
        assert!(signed);
        assert_eq!(message(&webhook)["id"], json!(format!("wamid.1{salt}")));
        assert_ne!(message(&webhook)["timestamp"], "5");
        assert_eq!(value(&webhook)["metadata"]["phone_number_id"], "1065");
    }
    assert_eq!(tell(&graph, "webhooks", &json!({"body": "text"})).await.0, 400);

    tell(&graph, "hold", &json!({"held": true})).await;
    let held = tokio::spawn({
        let url = format!("{}/_sim/webhooks", graph.url());
        async move { client().post(url).json(&json!({"body": body})).send().await.unwrap() }
    });
    for _ in 0..10 {
        ask(&graph, "counts").await;
    }
    assert!(taken.try_recv().is_err());
    tell(&graph, "hold", &json!({"held": false})).await;
    assert_eq!(held.await.unwrap().status(), 200);
    let faults = json!({"repeats": 1.0, "batch": {"most": 1, "within": 10}});
    assert_eq!(tell(&graph, "faults", &faults).await.0, 200);
    assert_ne!(tell(&graph, "faults", &json!({"repeat": 1.0})).await.0, 200);
}
