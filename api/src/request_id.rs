//! Request ids: the caller's own where it sends a plain one, else ours; in every answer, every
//! error, every line of the log.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;

tokio::task_local! {
    static CURRENT: String;
}

const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id of the request at hand; empty outside of one.
pub fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_default()
}

/// Gives a request its id.
pub async fn layer(request: Request, next: Next) -> Response {
    let plain = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let sent = request.headers().get(&HEADER).and_then(|id| id.to_str().ok()).filter(plain);
    let id = sent.map_or_else(fresh, str::to_owned);
    let span = tracing::info_span!("request", id = %id, method = %request.method(), path = request.uri().path());
    let value = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"));
    let mut response = CURRENT.scope(id, next.run(request).instrument(span)).await;
    response.headers_mut().insert(HEADER, value);
    response
}

fn fresh() -> String {
    let mut bytes = [0; 9];
    getrandom::fill(&mut bytes).expect("the machine gives randomness");
    hex::encode(bytes)
}
