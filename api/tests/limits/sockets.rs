//! Who does not take what is told.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

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
