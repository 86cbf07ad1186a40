//! What every request goes through, whatever its route.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::FutureExt;

use crate::app::App;
use crate::error::ApiError;
use crate::{openapi, request_id, routes};

/// The whole edge.
pub fn router(app: &App) -> Router {
    routes::router(app)
        .route("/api/openapi.json", get(document))
        .route("/docs", get(docs))
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app.clone())
}

async fn document() -> Json<serde_json::Value> {
    Json(openapi::document())
}

async fn docs() -> Html<&'static str> {
    Html(include_str!("docs.html"))
}

/// One layer for all of it: each of its own would cost as much as a small handler.
async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let limits = &app.config.limits;
    let within: Duration = match request.uri().path().starts_with("/webhook") {
        true => limits.webhook_timeout,
        false => limits.rest_timeout,
    };
    request_id::scope(request, async |request| {
        let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
        let mut response = match tokio::time::timeout(within, answered).await {
            Ok(Ok(response)) => response,
            Ok(Err(panic)) => panicked(&*panic),
            // What it has begun goes on.
            Err(_) => {
                ApiError::unavailable("this took too long; try again shortly").into_response()
            }
        };
        secure(response.headers_mut());
        response
    })
    .await
}

/// A panic is a bug of ours: it is logged, and the caller may try again.
fn panicked(panic: &(dyn Any + Send)) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    tracing::error!(panic = words, "a handler panicked");
    metrics::counter!("omnistream_panics_total").increment(1);
    ApiError::unavailable("something went wrong here; try again shortly").into_response()
}

fn secure(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
             connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
