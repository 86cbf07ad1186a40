//! An engine's webhook endpoint, and a client.

use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Webhooks that were answered 200, each with whether its signature fits `secret`.
pub(crate) type Taken = mpsc::UnboundedReceiver<(bool, Value)>;

/// An endpoint that answers 503 so many times first, and passes on what it takes.
pub(crate) async fn inbox(refusals: u32) -> (String, Taken) {
    let (took, taken) = mpsc::unbounded_channel();
    let left = std::sync::Arc::new(AtomicU32::new(refusals));
    let take = move |headers: HeaderMap, body: Bytes| async move {
        let minus = |n: u32| n.checked_sub(1);
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, minus).is_ok() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        let signature = headers["x-hub-signature-256"].to_str().unwrap();
        let signed = simulator::verify("secret", &body, signature);
        // A test may end while webhooks still come.
        let _heard = took.send((signed, serde_json::from_slice(&body).unwrap()));
        StatusCode::OK
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    let router = Router::new().route("/webhook", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, taken)
}

pub(crate) fn client() -> reqwest::Client {
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The only status in it.
pub(crate) fn status(webhook: &Value) -> &Value {
    &webhook["entry"][0]["changes"][0]["value"]["statuses"][0]
}
