//! Who does not take what is told.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::small::{Person, server};

#[tokio::test]
async fn whoever_takes_nothing_is_cut_in_time_though_there_is_room_for_what_waits() {
    let server = server(|config| {
        let limits = &mut config.limits;
        limits.socket_write_timeout = Duration::from_millis(100);
        (limits.socket_queue_frames, limits.socket_queue_bytes) = (100_000, 1 << 30);
    })
    .await;
    let person = Person::of(&server, "shop").await;
    assert_eq!(person.account("7001").await.status(), 201);
    person.hears("15550001").await;
    let open: Vec<Value> = person.get("/api/conversations").await.json().await.unwrap();
    let url = format!("ws://{}/api/ws", server.address);
    let (mut slow, _) = connect_async(url).await.unwrap();
    let subs = json!([{"s": format!("c:{}", open[0]["id"].as_str().unwrap())}]);
    let hello = json!({"id": 1, "op": "hello", "token": person.token, "subs": subs});
    slow.send(Message::text(hello.to_string())).await.unwrap();
    let welcome = slow.next().await.unwrap().unwrap();
    assert!(welcome.to_text().unwrap().contains("\"ok\""), "{welcome}");
    let (text, mut sent) = ("\u{1F4E6}".repeat(4_000), 0);
    // As much as it takes to fill what lies in between.
    loop {
        let messages = (sent..sent + 10).map(|n| {
            let body = json!({"body": text});
            json!({"from": "15550001", "id": format!("m{n}"), "type": "text", "text": body})
        });
        let messages: Vec<_> = messages.collect();
        assert_eq!(person.webhook(&json!({"messages": messages})).await.status(), 200);
        sent += 10;
        let figures = reqwest::get(format!("http://{}/metrics", server.metrics)).await.unwrap();
        let figures = figures.text().await.unwrap();
        if figures.contains(r#"omnistream_sockets_closed_total{code="4108"}"#) {
            break;
        }
        assert!(sent < 10_000, "it is noticed in the end");
    }
    let (mut heard, mut code) = (0, None);
    while let Some(Ok(message)) = slow.next().await {
        match message {
            Message::Close(close) => code = close.map(|close| u16::from(close.code)),
            told => heard += told.to_text().unwrap().matches("message.received").count(),
        }
    }
    assert!(heard < sent, "{heard} of {sent}: not everything was told");
    // Where half a frame was written there is no goodbye.
    assert!(matches!(code, None | Some(4108)), "{code:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_hello_tells_no_more_than_may_wait_and_what_is_left_is_followed_by_itself() {
    let server = server(|config| config.limits.socket_queue_bytes = 300).await;
    let person = Person::of(&server, "shop").await;
    assert_eq!(person.account("7001").await.status(), 201);
    for n in 0..5 {
        person.hears(&format!("1555000{n}")).await;
    }
    let open: Vec<Value> = person.get("/api/conversations").await.json().await.unwrap();
    let stream = |n: usize| format!("c:{}", open[n]["id"].as_str().unwrap());
    let subs: Vec<_> = (0..5).map(|n| json!({"s": stream(n), "snap": true})).collect();
    let (mut socket, _) = connect_async(format!("ws://{}/api/ws", server.address)).await.unwrap();
    let hello = json!({"id": 1, "op": "hello", "token": person.token, "subs": subs});
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let said = socket.next().await.unwrap().unwrap();
    let mut said: Value = serde_json::from_str(said.to_text().unwrap()).unwrap();
    let answers = said["ok"]["subs"].take();
    let told = |n: usize| answers[n]["snap"]["messages"].as_array().map(Vec::len);
    assert_eq!((told(0), told(4)), (Some(1), None), "{answers}");
    assert_eq!(
        (&answers[4]["err"]["code"], &answers[4]["err"]["retry"]),
        (&json!(111), &json!(true))
    );
    // As many as there are, in one frame: each leaves before there are too many.
    let again = |n: usize| json!({"id": n + 2, "op": "sub", "s": stream(n), "snap": true});
    let left: Vec<_> = (0..5).filter(|n| told(*n).is_none()).map(again).collect();
    let count = left.len();
    socket.send(Message::text(Value::from(left).to_string())).await.unwrap();
    for _ in 0..count {
        let said = socket.next().await.unwrap().unwrap();
        let said: Value = serde_json::from_str(said.to_text().unwrap()).unwrap();
        assert_eq!(said["ok"]["snap"]["messages"].as_array().unwrap().len(), 1, "{said}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_hello_looks_for_no_more_streams_than_may_be_followed() {
    let server = server(|config| config.limits.subscriptions_per_socket = 3).await;
    let person = Person::of(&server, "shop").await;
    let subs = (0..50).map(|n| json!({"s": format!("c:{}", Uuid::from_u128(n))}));
    let subs: Vec<_> = subs.collect();
    let (mut socket, _) = connect_async(format!("ws://{}/api/ws", server.address)).await.unwrap();
    let hello = json!({"id": 1, "op": "hello", "token": person.token, "subs": subs});
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let said = socket.next().await.unwrap().unwrap();
    let said: Value = serde_json::from_str(said.to_text().unwrap()).unwrap();
    let codes = |n: usize| said["ok"]["subs"][n]["err"]["code"].as_u64().unwrap();
    let codes: Vec<_> = (0..50).map(codes).collect();
    // One's own is one of three.
    assert_eq!((&codes[..2], &codes[2..]), (&[102; 2][..], &[111; 48][..]));
    server.stop().await;
}

#[tokio::test]
async fn a_snapshot_of_long_messages_has_fewer_of_them() {
    let server = server(|_| {}).await;
    let person = Person::of(&server, "shop").await;
    assert_eq!(person.account("7001").await.status(), 201);
    let text = "\u{1F4E6}".repeat(4_000);
    let messages = (0..50).map(|n| {
        json!({"from": "15550001", "id": format!("m{n}"), "type": "text", "text": {"body": text}})
    });
    let messages: Vec<_> = messages.collect();
    assert_eq!(person.webhook(&json!({"messages": messages})).await.status(), 200);
    let open: Vec<Value> = person.get("/api/conversations").await.json().await.unwrap();
    let (mut socket, _) = connect_async(format!("ws://{}/api/ws", server.address)).await.unwrap();
    let subs = json!([{"s": format!("c:{}", open[0]["id"].as_str().unwrap()), "snap": true}]);
    let hello = json!({"id": 1, "op": "hello", "token": person.token, "subs": subs});
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let said = socket.next().await.unwrap().unwrap();
    let said: Value = serde_json::from_str(said.to_text().unwrap()).unwrap();
    let told = said["ok"]["subs"][0]["snap"]["messages"].as_array().unwrap();
    assert!((25..40).contains(&told.len()), "half a megabyte of 50: {}", told.len());
    assert_eq!(told[0]["provider_message_id"], "m49");
    server.stop().await;
}
