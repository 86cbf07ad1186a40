//! What every request goes through, whatever its route.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::error::ApiError;
use crate::{openapi, request_id, routes};

/// The whole edge.
pub fn router(app: &App) -> Router {
    routes::router(app)
        .route("/api/openapi.json", get(document))
        .route("/docs", get(docs))
        .layer(middleware::from_fn_with_state(app.clone(), in_time))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(security_headers))
        .layer(middleware::from_fn(request_id::layer))
        .with_state(app.clone())
}

async fn document() -> Json<serde_json::Value> {
    Json(openapi::document())
}

async fn docs() -> Html<&'static str> {
    Html(include_str!("docs.html"))
}

/// What takes too long is answered; what it has begun goes on.
async fn in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let limits = &app.config.limits;
    let within: Duration = match request.uri().path().starts_with("/webhook") {
        true => limits.webhook_timeout,
        false => limits.rest_timeout,
    };
    match tokio::time::timeout(within, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::unavailable("this took too long; try again shortly").into_response(),
    }
}

/// A panic is a bug of ours: it is logged, and the caller may try again.
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    tracing::error!(panic = words, "a handler panicked");
    metrics::counter!("omnistream_panics_total").increment(1);
    ApiError::unavailable("something went wrong here; try again shortly").into_response()
}

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
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
    response
}
