//! A stand-in, and requests to it.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Account, Graph, GraphOptions, Retry, StatusDelays};

use crate::engine::client;

/// One that knows the number 1065 and the token `token`, and reports at once.
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

/// One that reports nothing by itself, with the time standing still, and delivers there.
pub(crate) async fn still(webhook_url: &str) -> Graph {
    let webhook_url = Some(webhook_url.to_owned());
    Graph::start(GraphOptions { webhook_url, pace: 0.0, ..quiet() }).await.unwrap()
}

/// One that reports nothing by itself.
pub(crate) fn quiet() -> GraphOptions {
    let never = Duration::from_hours(10_000);
    let delays = StatusDelays { sent: never, delivered: never, read: None };
    GraphOptions { delays, ..options() }
}

pub(crate) fn text(to: &str, opaque: &str) -> Value {
    json!({
        "messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "Hello"},
        "context": {"message_id": "wamid.theirs"}, "biz_opaque_callback_data": opaque,
    })
}

pub(crate) async fn post_to(graph: &Graph, path: &str, body: &Value) -> (u16, Value) {
    ask(graph, Method::POST, path, Some(body)).await
}

pub(crate) async fn get(graph: &Graph, path: &str) -> (u16, Value) {
    ask(graph, Method::GET, path, None).await
}

pub(crate) async fn ask(
    graph: &Graph,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (u16, Value) {
    let url = format!("{}/v23.0/{path}", graph.url());
    let mut request = client().request(method, url).bearer_auth("token");
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

/// Tells it something, as a test in another process does.
pub(crate) async fn tell(graph: &Graph, path: &str, body: &Value) -> (u16, Value) {
    let answer = client().post(format!("{}/_sim/{path}", graph.url())).json(body).send().await;
    let answer = answer.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}
