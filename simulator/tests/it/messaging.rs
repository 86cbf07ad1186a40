//! The stand-in as Messenger and Instagram: what it takes, refuses, and tells afterwards.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Graph, GraphOptions, Object, Page, StatusDelays};

use crate::engine::inbox;
use crate::stand::{get, options, post_to, quiet};

fn page() -> Page {
    Page::new(Object::Page, "5001")
}

fn gram() -> Page {
    Page::new(Object::Instagram, "17841")
}

async fn stand(options: GraphOptions) -> Graph {
    Graph::start(GraphOptions { pages: vec![page(), gram()], ..options }).await.unwrap()
}

fn says(message: Value) -> Value {
    json!({"recipient": {"id": "81"}, "messaging_type": "RESPONSE", "message": message})
}

#[tokio::test]
async fn a_text_is_echoed_delivered_and_read() {
    let (url, mut taken) = inbox(0).await;
    let delays = StatusDelays { read: Some(Duration::from_millis(5)), ..StatusDelays::default() };
    let delays = StatusDelays { delivered: Duration::ZERO, ..delays };
    let graph = stand(GraphOptions { webhook_url: Some(url), delays, ..options() }).await;
    for (page, tells) in
        [(page(), vec!["message", "delivery", "read"]), (gram(), vec!["message", "read"])]
    {
        let path = format!("{}/messages", page.id);
        let body = says(json!({"text": "Hello", "metadata": "ours"}));
        let (status, answer) = post_to(&graph, &path, &body).await;
        assert_eq!((status, &answer["recipient_id"]), (200, &json!("81")));
        for part in tells {
            let (signed, webhook) = taken.recv().await.unwrap();
            let event = &webhook["entry"][0]["messaging"][0];
            assert!(signed && event[part].is_object(), "{part}: {webhook}");
            if part == "message" {
                let echo = &event["message"];
                assert_eq!((&echo["is_echo"], &echo["metadata"]), (&json!(true), &json!("ours")));
                assert_eq!(echo["mid"], answer["message_id"]);
                assert_eq!(event["sender"]["id"], page.id);
            }
            if part == "read" && page.object == Object::Instagram {
                assert_eq!(event["read"]["mid"], answer["message_id"]);
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let graph = stand(quiet()).await;
    let reply = |title: &str| json!({"content_type": "text", "title": title, "payload": "x"});
    for message in [
        json!({}),
        json!({"text": ""}),
        json!({"text": "x".repeat(2001)}),
        json!({"text": "x", "attachment": {"type": "image", "payload": {"url": "https://e.com"}}}),
        json!({"text": "x", "quick_replies": vec![reply("a"); 14]}),
        json!({"text": "x", "quick_replies": [reply(&"t".repeat(21))]}),
        json!({"attachment": {"type": "image", "payload": {}}}),
        json!({"attachment": {"type": "template", "payload": {"template_type": "button"}}}),
    ] {
        let (status, answer) = post_to(&graph, "5001/messages", &says(message.clone())).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(100)), "{message}");
    }
    let long = says(json!({"text": "é".repeat(501)}));
    assert_eq!(post_to(&graph, "17841/messages", &long).await.0, 400, "bytes count there");
    assert_eq!(post_to(&graph, "5001/messages", &long).await.0, 200);
    assert_eq!(post_to(&graph, "5009/messages", &long).await.0, 400, "nobody has this page");
    let mut tagged = long;
    tagged["tag"] = "ACCOUNT_UPDATE".into();
    assert_eq!(post_to(&graph, "5001/messages", &tagged).await.0, 400, "there is none of that");
}

#[tokio::test]
async fn later_than_a_day_only_a_human_agent_answers_and_for_a_week() {
    let (url, mut taken) = inbox(0).await;
    let graph = stand(GraphOptions { webhook_url: Some(url), pace: 0.0, ..quiet() }).await;
    assert!(graph.write_to(&page(), "81", "Hello?").await);
    let (_, webhook) = taken.recv().await.unwrap();
    assert_eq!(webhook["entry"][0]["messaging"][0]["message"]["text"], "Hello?");
    let freely = says(json!({"text": "Yes"}));
    let mut by_people = freely.clone();
    (by_people["messaging_type"], by_people["tag"]) = ("MESSAGE_TAG".into(), "HUMAN_AGENT".into());
    let send = async |body: &Value| {
        let (_, answer) = post_to(&graph, "5001/messages", body).await;
        answer["error"]["error_subcode"].as_u64()
    };
    assert_eq!(send(&freely).await, None);
    graph.advance(Duration::from_hours(24));
    assert_eq!((send(&freely).await, send(&by_people).await), (Some(2_018_278), None));
    graph.advance(Duration::from_hours(6 * 24));
    assert_eq!(send(&by_people).await, Some(2_018_278));
}

#[tokio::test]
async fn actions_are_no_messages_and_accounts_say_who_they_are() {
    let graph = stand(quiet()).await;
    for action in ["mark_seen", "typing_on", "typing_off"] {
        let body = json!({"recipient": {"id": "81"}, "sender_action": action});
        assert_eq!(post_to(&graph, "5001/messages", &body).await.0, 200);
    }
    let react = json!({"message_id": "m_1", "reaction": "love"});
    let react = json!({"recipient": {"id": "81"}, "sender_action": "react", "payload": react});
    assert_eq!(post_to(&graph, "17841/messages", &react).await.1, json!({"recipient_id": "81"}));
    let nothing = json!({"recipient": {"id": "81"}, "sender_action": "dance"});
    assert_eq!(post_to(&graph, "5001/messages", &nothing).await.0, 400);
    assert_eq!((graph.counts().accepted, graph.counts().read_marks), (0, 3));
    let known = json!({"id": "17841", "username": "corner.store"});
    assert_eq!(get(&graph, "17841?fields=id,username").await, (200, known));
    let known = json!({"id": "5001", "name": "Corner Store"});
    assert_eq!(get(&graph, "5001?fields=id,name").await, (200, known));
}

#[tokio::test]
async fn files_lie_where_they_lie_for_a_while_and_are_named_anew_but_for_what_was_shared() {
    let (url, mut taken) = inbox(0).await;
    let graph = stand(GraphOptions { webhook_url: Some(url), pace: 0.0, ..quiet() }).await;
    let files =
        [("image", "image/png", b"picture".to_vec()), ("share", "image/png", b"shared".to_vec())];
    assert!(graph.write_files(&gram(), "81", &files).await);
    let (_, webhook) = taken.recv().await.unwrap();
    let message = &webhook["entry"][0]["messaging"][0]["message"];
    let sent = message["attachments"].as_array().unwrap();
    assert_eq!((&sent[0]["type"], &sent[1]["type"]), (&json!("image"), &json!("share")));
    let fetch = async |url: &Value| {
        let answer = crate::engine::client().get(url.as_str().unwrap()).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    };
    let first = &sent[0]["payload"]["url"];
    assert_eq!(fetch(first).await, (200, b"picture".to_vec()), "whoever has the address");
    graph.advance(Duration::from_secs(301));
    assert_eq!(fetch(first).await.0, 403);
    let path = format!("{}?fields=attachments", message["mid"].as_str().unwrap());
    let (status, again) = get(&graph, &path).await;
    let data = again["attachments"]["data"].as_array().unwrap();
    assert_eq!((status, data.len()), (200, 1));
    assert_eq!(fetch(&data[0]["image_data"]["url"]).await, (200, b"picture".to_vec()));
}

#[tokio::test]
async fn who_has_not_agreed_is_not_told() {
    let graph = stand(quiet()).await;
    graph.set_name("81", Some("Noor"));
    graph.set_name("82", None);
    let (status, noor) = get(&graph, "81?fields=name").await;
    assert_eq!((status, noor), (200, json!({"id": "81", "name": "Noor"})));
    let (status, nobody) = get(&graph, "82?fields=name").await;
    assert_eq!((status, &nobody["error"]["error_subcode"]), (400, &json!(2_018_218)));
}
