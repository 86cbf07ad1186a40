//! An engine's webhook endpoint, and a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Query;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Webhooks that were answered 200, each with whether its signature fits `secret`.
pub(crate) type Taken = mpsc::UnboundedReceiver<(bool, Value)>;
/// The same as the bytes that came.
pub(crate) type TakenBytes = mpsc::UnboundedReceiver<(bool, Bytes)>;

/// What the endpoint is verified with.
pub(crate) const VERIFY_TOKEN: &str = "verify me";

/// An endpoint that answers 503 so many times first, and passes on what it takes. It is verified
/// as Meta verifies one.
pub(crate) async fn inbox(refusals: u32) -> (String, Taken) {
    let (url, mut bytes) = inbox_of_bytes(refusals).await;
    let (took, taken) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some((signed, body)) = bytes.recv().await {
            // A test may end while webhooks still come.
            let _heard = took.send((signed, serde_json::from_slice(&body).unwrap()));
        }
    });
    (url, taken)
}

/// The same, passing on bytes.
pub(crate) async fn inbox_of_bytes(refusals: u32) -> (String, TakenBytes) {
    let (took, taken) = mpsc::unbounded_channel();
    let left = Arc::new(AtomicU32::new(refusals));
    let take = move |headers: HeaderMap, body: Bytes| async move {
        let minus = |n: u32| n.checked_sub(1);
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, minus).is_ok() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let signature = headers["x-hub-signature-256"].to_str().unwrap();
        let signed = simulator::verify("secret", &body, signature);
        let _heard = took.send((signed, body));
        StatusCode::OK
    };
    let verify = async |Query(query): Query<HashMap<String, String>>| {
        let is_right =
            query["hub.mode"] == "subscribe" && query["hub.verify_token"] == VERIFY_TOKEN;
        match is_right {
            true => (StatusCode::OK, query["hub.challenge"].clone()),
            false => (StatusCode::FORBIDDEN, String::new()),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    let router = Router::new().route("/webhook", get(verify).post(take));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, taken)
}

pub(crate) fn client() -> reqwest::Client {
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The only change in it.
pub(crate) fn value(webhook: &Value) -> &Value {
    &webhook["entry"][0]["changes"][0]["value"]
}

/// The only status in it.
pub(crate) fn status(webhook: &Value) -> &Value {
    &value(webhook)["statuses"][0]
}

/// The only message in it.
pub(crate) fn message(webhook: &Value) -> &Value {
    &value(webhook)["messages"][0]
}
