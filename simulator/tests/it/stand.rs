//! A stand-in, and requests to it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Account, Graph, GraphOptions, Retry, StatusDelays};

use crate::engine::client;

pub(crate) fn options() -> GraphOptions {
    let delays = StatusDelays {
        sent: Duration::ZERO,
        delivered: Duration::from_millis(40),
        read: Some(Duration::from_millis(80)),
    };
    GraphOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        app_secret: "secret".into(),
        access_token: Some("token".into()),
        accounts: vec![Account::new("1065")],
        delays,
        retry: Retry { first: Duration::from_millis(1), ..Retry::default() },
        ..GraphOptions::default()
    }
}

pub(crate) fn text(to: &str, opaque: &str) -> Value {
    json!({
        "messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "Hello"},
        "context": {"message_id": "wamid.theirs"}, "biz_opaque_callback_data": opaque,
    })
}

pub(crate) async fn post_to(graph: &Graph, path: &str, body: &Value) -> (u16, Value) {
    let request = client().post(format!("{}/v23.0/{path}", graph.url())).bearer_auth("token");
    let answer = request.json(body).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}
