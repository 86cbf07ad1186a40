//! Request ids: the caller's own where it sends a plain one, else ours; in every answer, every
//! error, every line of the log; in those about webhooks from `debug` on.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
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

/// Goes on under the id of the request at hand, also in a task of its own.
pub fn keep<F: Future>(work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(current(), work)
}

/// Answers a request under its id.
pub async fn scope(request: Request, answer: impl AsyncFnOnce(Request) -> Response) -> Response {
    let plain = |id: &&str| {
        (1..=64).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    let sent = request.headers().get(&HEADER).and_then(|id| id.to_str().ok()).filter(plain);
    let id = sent.map_or_else(fresh, str::to_owned);
    let (method, path) = (request.method(), request.uri().path());
    let span = match path.starts_with("/webhook") {
        // A span costs as much as reading the body, and providers send no ids that anybody knows.
        true => tracing::debug_span!("request", id = %id, %method, path),
        false => tracing::info_span!("request", id = %id, %method, path),
    };
    let value = HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"));
    let mut response = CURRENT.scope(id, answer(request).instrument(span)).await;
    response.headers_mut().insert(HEADER, value);
    response
}

/// Ids that nobody can foretell, without asking the machine for randomness each time.
fn fresh() -> String {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{:016x}", KEY.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)))
}
