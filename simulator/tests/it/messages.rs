//! What may be sent, and what is refused with which code.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Act, Graph, GraphOptions, Who};

use crate::engine::{inbox, status};
use crate::stand::{ask, options, post_to, quiet, still, text};

fn send(kind: &str, content: Value) -> Value {
    json!({"messaging_product": "whatsapp", "to": "15550100003", "type": kind, kind: content})
}

fn buttons(titles: &[&str]) -> Value {
    let button = |title| json!({"type": "reply", "reply": {"id": title, "title": title}});
    let buttons: Vec<_> = titles.iter().map(button).collect();
    json!({"type": "button", "body": {"text": "Well?"}, "action": {"buttons": buttons}})
}

fn list(rows: usize, title: &str) -> Value {
    let row = |n| json!({"id": format!("r{n}"), "title": title, "description": "d"});
    let rows: Vec<_> = (0..rows).map(row).collect();
    let sections = json!([{"title": "One", "rows": rows}]);
    let action = json!({"button": "Choose", "sections": sections});
    json!({"type": "list", "body": {"text": "Well?"}, "action": action})
}

fn template(parameter: &str) -> Value {
    let parameters = json!([{"type": "text", "text": parameter}]);
    let components = json!([{"type": "body", "parameters": parameters}]);
    json!({"name": "hello", "language": {"code": "en"}, "components": components})
}

#[tokio::test]
async fn every_kind_of_message_is_taken() {
    let graph = Graph::start(quiet()).await.unwrap();
    let name = json!({"formatted_name": "Ines", "first_name": "Ines"});
    let link = json!({"link": "https://shop.example/a.jpg"});
    let mut action = json!({"name": "send_location"});
    let ask_place =
        json!({"type": "location_request_message", "body": {"text": "Where?"}, "action": action});
    action = json!({"parameters": {"display_text": "Look", "url": "https://shop.example"}});
    let all = [
        ("text", json!({"body": "x".repeat(4096), "preview_url": true})),
        ("image", json!({"link": "https://shop.example/a.jpg", "caption": "x".repeat(1024)})),
        ("video", link.clone()),
        ("audio", link.clone()),
        ("document", json!({"link": "https://shop.example/a.pdf", "filename": "a.pdf"})),
        ("sticker", link),
        ("location", json!({"latitude": 52.5, "longitude": "13.25", "name": "Here"})),
        ("contacts", json!([{"name": name, "phones": [{"phone": "+15550100013"}]}])),
        ("reaction", json!({"message_id": "wamid.1", "emoji": "👍"})),
        ("reaction", json!({"message_id": "wamid.1", "emoji": ""})),
        ("interactive", buttons(&["Yes", "No", "Perhaps, but not now"])),
        ("interactive", list(10, "x")),
        ("interactive", ask_place),
        ("interactive", json!({"type": "cta_url", "body": {"text": "Hi"}, "action": action})),
        ("template", template("Ines")),
    ];
    for (kind, content) in all {
        let (http, answer) = post_to(&graph, "1065/messages", &send(kind, content)).await;
        assert_eq!(http, 200, "{kind}: {answer}");
        assert_eq!(graph.sends().sends.last().unwrap().kind, kind);
    }
}

#[tokio::test]
async fn what_a_message_must_not_be_is_refused_as_meta_refuses_it() {
    let graph = Graph::start(quiet()).await.unwrap();
    let both = json!({"id": "1", "link": "https://shop.example/a.jpg"});
    let wrong = [
        ("text", json!({"body": ""}), 131_009),
        ("text", json!({}), 131_008),
        ("image", json!({}), 131_008),
        ("image", both, 100),
        ("image", json!({"link": "ftp://shop.example/a.jpg"}), 131_009),
        ("image", json!({"id": "12345"}), 131_053),
        ("image", json!({"link": "https://a.example", "caption": "x".repeat(1025)}), 131_009),
        ("audio", json!({"link": "https://a.example", "caption": "x"}), 100),
        ("location", json!({"longitude": 1}), 131_008),
        ("location", json!({"latitude": 91, "longitude": 1}), 131_009),
        ("contacts", json!([]), 131_008),
        ("contacts", json!([{"name": {"formatted_name": "Ines"}}]), 131_008),
        ("reaction", json!({"emoji": "👍"}), 131_008),
        ("interactive", buttons(&[]), 131_009),
        ("interactive", buttons(&["a", "b", "c", "d"]), 131_009),
        ("interactive", buttons(&["a", "a"]), 131_009),
        ("interactive", buttons(&["a title of 21 letters"]), 131_009),
        ("interactive", list(11, "x"), 131_009),
        ("interactive", list(1, "a title of some 25 letter"), 131_009),
        ("interactive", json!({"type": "button"}), 131_008),
        ("interactive", json!({"type": "song", "action": {}}), 131_009),
        ("template", json!({"name": "hello"}), 131_008),
        ("template", template("two\nlines"), 100),
        ("song", json!({}), 100),
    ];
    for (kind, content, code) in wrong {
        let (http, answer) = post_to(&graph, "1065/messages", &send(kind, content.clone())).await;
        assert_eq!((http, &answer["error"]["code"]), (400, &json!(code)), "{kind} {content}");
        assert!(answer["error"]["error_data"]["details"].is_string());
    }
    let mut quoting = send("text", json!({"body": "Hi"}));
    quoting["context"] = json!({});
    assert_eq!(post_to(&graph, "1065/messages", &quoting).await.1["error"]["code"], 131_008);
    assert_eq!(graph.sends().total, 0);
}

#[tokio::test]
async fn a_user_id_a_group_and_a_number_that_is_written_in_two_ways_are_answered_as_what_they_are()
{
    let graph = Graph::start(quiet()).await.unwrap();
    let hi = json!({"messaging_product": "whatsapp", "text": {"body": "Hi"}});
    let contact = async |key: &str, recipient: &str, kind: &str| {
        let mut body = hi.clone();
        body[key] = json!(recipient);
        body["recipient_type"] = json!(kind);
        post_to(&graph, "1065/messages", &body).await.1["contacts"][0].clone()
    };
    let user = contact("recipient", "US.1349", "individual").await;
    assert_eq!(user, json!({"input": "US.1349", "user_id": "US.1349"}));
    assert_eq!(contact("to", "Y2FwaV9n", "group").await, json!({"input": "Y2FwaV9n"}));
    for (to, wa_id) in [
        ("+5511987654321", "551187654321"),
        ("5215512345678", "525512345678"),
        ("541112345678", "5491112345678"),
        ("+1 555 010 0003", "15550100003"),
    ] {
        assert_eq!(contact("to", to, "individual").await, json!({"input": to, "wa_id": wa_id}));
    }
}

#[tokio::test]
async fn a_read_mark_with_typing_is_kept_and_a_wrong_one_refused() {
    let graph = Graph::start(quiet()).await.unwrap();
    let mut mark = json!({"messaging_product": "whatsapp", "status": "read", "message_id": "w"});
    mark["typing_indicator"] = json!({"type": "text"});
    assert_eq!(post_to(&graph, "1065/messages", &mark).await.0, 200);
    assert!(graph.read_marks()[0].typing);
    mark["typing_indicator"] = json!({"type": "song"});
    assert_eq!(post_to(&graph, "1065/messages", &mark).await.1["error"]["code"], 131_009);
    mark["message_id"] = Value::Null;
    assert_eq!(post_to(&graph, "1065/messages", &mark).await.1["error"]["code"], 131_008);
    assert_eq!((graph.read_marks().len(), graph.counts().read_marks), (1, 1));
}

#[tokio::test]
async fn free_text_is_refused_a_day_after_the_customer_wrote_and_allowed_once_they_write_again() {
    let (url, _taken) = inbox(0).await;
    let graph = still(&url).await;
    let ines = graph.customer("1065", &Who::with_phone("15550100003", "Ines")).unwrap();
    let hello = || Act::Text { text: "Hello".into(), quote: false };
    let code = async || {
        let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
        answer["error"]["code"].as_u64()
    };
    assert_eq!(code().await, None, "it never saw her writing, and is not strict");
    ines.does(hello()).await.unwrap();
    graph.advance(Duration::from_hours(24) - Duration::from_secs(1));
    assert_eq!(code().await, None);
    graph.advance(Duration::from_secs(1));
    assert_eq!(code().await, Some(131_047));
    let template = send("template", template("Ines"));
    assert_eq!(post_to(&graph, "1065/messages", &template).await.0, 200);
    ines.does(Act::React { emoji: "👍".into() }).await.unwrap();
    assert_eq!(code().await, Some(131_047), "a reaction opens nothing");
    ines.does(hello()).await.unwrap();
    assert_eq!(code().await, None);
}

#[tokio::test]
async fn a_strict_window_refuses_whoever_never_wrote() {
    let graph = Graph::start(GraphOptions { strict_window: true, ..quiet() }).await.unwrap();
    let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
    assert_eq!(answer["error"]["code"], 131_047);
}

#[tokio::test]
async fn a_status_can_come_before_the_send_is_answered_and_delivered_can_be_left_out() {
    let (url, mut taken) = inbox(0).await;
    let webhook_url = Some(url);
    let options = GraphOptions { webhook_url, early: 1.0, undelivered: 1.0, ..options() };
    let graph = Graph::start(options).await.unwrap();
    let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
    // Counted when it was answered 200, which was before the send was answered.
    assert!(graph.tally().delivered >= 1);
    let first = taken.recv().await.unwrap().1;
    assert_eq!(status(&first)["status"], "sent");
    assert_eq!(status(&first)["id"], answer["messages"][0]["id"]);
    assert_eq!(status(&taken.recv().await.unwrap().1)["status"], "read");
}

#[tokio::test]
async fn a_voice_note_is_played_after_it_was_read() {
    let (url, mut taken) = inbox(0).await;
    let options = GraphOptions { webhook_url: Some(url), ..options() };
    let graph = Graph::start(options).await.unwrap();
    let voice = send("audio", json!({"link": "https://shop.example/a.ogg"}));
    post_to(&graph, "1065/messages", &voice).await;
    let mut last = Value::Null;
    for _ in 0..4 {
        last = status(&taken.recv().await.unwrap().1)["status"].clone();
    }
    assert_eq!(last, "played");
}

#[tokio::test]
async fn other_methods_and_paths_are_no_objects() {
    let graph = Graph::start(quiet()).await.unwrap();
    for (method, path) in [
        (reqwest::Method::GET, "1065/messages"),
        (reqwest::Method::POST, "1065/songs"),
        (reqwest::Method::GET, "9"),
    ] {
        let (http, answer) = ask(&graph, method, path, None).await;
        assert_eq!((http, &answer["error"]["code"]), (400, &json!(100)), "{path}");
    }
}
