//! The Graph stand-in over real sockets.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Graph, GraphOptions, StatusDelays};

use crate::engine::{client, inbox, status};
use crate::stand::{options, post_to, text};

#[tokio::test]
async fn a_send_is_answered_remembered_and_its_statuses_come_signed_with_our_data() {
    let (url, mut taken) = inbox(2).await;
    let graph = Graph::start(options()).await.unwrap();
    graph.deliver_to(&url);
    let (http, answer) = post_to(&graph, "1065/messages", &text("+15550100003", "m-1")).await;
    assert_eq!((http, &answer["contacts"][0]["wa_id"]), (200, &json!("15550100003")));

    for _ in 0..3 {
        let (signed, webhook) = taken.recv().await.unwrap();
        assert!(signed);
        let status = status(&webhook);
        assert_eq!(status["id"], answer["messages"][0]["id"]);
        assert_eq!(status["biz_opaque_callback_data"], "m-1");
    }
    graph.until_tally(|tally| tally.delivered == 3).await;
    assert_eq!(graph.tally().answers[&503], 2);
    let sends = graph.sends();
    assert_eq!((sends.total, sends.by_opaque()["m-1"]), (1, 1));
    assert_eq!(sends.sends[0].reply_to.as_deref(), Some("wamid.theirs"));

    let over_http = client().get(format!("{}/_sim/sends?after=0", graph.url())).send().await;
    let over_http: Value = over_http.unwrap().json().await.unwrap();
    assert_eq!(over_http["sends"][0]["opaque"], "m-1");
}

#[tokio::test]
async fn statuses_in_disorder_start_with_read_and_repeat_sent() {
    let (url, mut taken) = inbox(0).await;
    let options = GraphOptions { disorder: 1.0, webhook_url: Some(url), ..options() };
    let graph = Graph::start(options).await.unwrap();
    post_to(&graph, "1065/messages", &text("15550100003", "m-1")).await;
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(status(&taken.recv().await.unwrap().1)["status"].clone());
    }
    assert_eq!(order, ["read", "delivered", "sent", "sent"]);
}

#[tokio::test]
async fn scripted_recipients_fail_as_the_table_says() {
    let (url, mut taken) = inbox(0).await;
    let graph = Graph::start(GraphOptions { webhook_url: Some(url), ..options() }).await.unwrap();
    let codes = [
        ("15550000190", 401, 190),
        ("15550130429", 400, 130_429),
        ("15550131056", 400, 131_056),
        ("15550131026", 400, 131_026),
        ("15550000500", 500, 131_000),
    ];
    for (to, http, code) in codes {
        let (status, answer) = post_to(&graph, "1065/messages", &text(to, to)).await;
        assert_eq!((status, &answer["error"]["code"]), (http, &json!(code)), "{to}");
        assert!(answer["error"]["fbtrace_id"].is_string());
        assert!(answer["error"]["error_data"]["details"].is_string());
    }
    assert_eq!(post_to(&graph, "1065/messages", &text("15550131056", "again")).await.0, 200);
    assert_eq!(post_to(&graph, "1065/messages", &text("15550000502", "page")).await.0, 502);
    assert_eq!(post_to(&graph, "1065/messages", &text("15550000131", "late")).await.0, 200);
    loop {
        let (_, webhook) = taken.recv().await.unwrap();
        let status = status(&webhook);
        if status["status"] == "failed" {
            assert_eq!(status["biz_opaque_callback_data"], "late");
            assert_eq!(status["errors"][0]["code"], 131_026);
            break;
        }
    }
    assert_eq!((graph.counts().accepted, graph.counts().refused), (2, 6));
}

#[tokio::test]
async fn a_send_that_hangs_is_accepted_and_its_statuses_come() {
    let (url, mut taken) = inbox(0).await;
    let graph = Graph::start(GraphOptions { webhook_url: Some(url), ..options() }).await.unwrap();
    let body = text("15550000408", "m-1");
    tokio::select! {
        answer = post_to(&graph, "1065/messages", &body) => panic!("answered {answer:?}"),
        webhook = taken.recv() => assert_eq!(status(&webhook.unwrap().1)["status"], "sent"),
    }
    assert_eq!(graph.counts().accepted, 1);
}

#[tokio::test]
async fn wrong_requests_get_errors_in_the_graph_api_s_shape() {
    let graph = Graph::start(options()).await.unwrap();
    let number = format!("{}/v23.0/1065", graph.url());
    let stranger = client().get(&number).bearer_auth("other").send().await.unwrap();
    assert_eq!(stranger.status(), 401);
    let good = text("15550100003", "m-1");
    assert_eq!(post_to(&graph, "9/messages", &good).await.1["error"]["code"], 100);
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body
    };
    for (body, code) in [
        (with("messaging_product", Value::Null), 100),
        (with("to", Value::Null), 131_008),
        (with("type", json!("image")), 131_008),
        (with("text", json!({"body": "x".repeat(4097)})), 131_009),
        (with("biz_opaque_callback_data", json!("x".repeat(513))), 131_009),
    ] {
        assert_eq!(post_to(&graph, "1065/messages", &body).await.1["error"]["code"], code);
    }
    assert_eq!(graph.sends().total, 0);
}

#[tokio::test]
async fn the_account_probe_shows_the_fields_asked_for_and_read_marks_are_kept() {
    let graph = Graph::start(options()).await.unwrap();
    let url = format!("{}/v23.0/1065?fields=verified_name,quality_rating", graph.url());
    let node: Value =
        client().get(url).bearer_auth("token").send().await.unwrap().json().await.unwrap();
    let wanted = json!({"id": "1065", "verified_name": "Corner Store", "quality_rating": "GREEN"});
    assert_eq!(node, wanted);

    let read = json!({"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.1"});
    let (http, answer) = post_to(&graph, "1065/messages", &read).await;
    assert_eq!((http, answer), (200, json!({"success": true})));
    assert_eq!(graph.read_marks()[0].message_id, "wamid.1");
}

#[tokio::test]
async fn more_sends_than_it_can_report_on_are_refused_as_too_many() {
    let delays = StatusDelays { sent: Duration::from_secs(3600), ..StatusDelays::default() };
    let options = GraphOptions { in_flight: 1, delays, ..options() };
    let graph = Graph::start(options).await.unwrap();
    assert_eq!(post_to(&graph, "1065/messages", &text("15550100003", "a")).await.0, 200);
    let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "b")).await;
    assert_eq!(answer["error"]["code"], 130_429);
}
