//! What every request goes through, whatever its route.

use std::sync::LazyLock;
use std::time::Duration;

use actors::failure::Failure;
use actors::panics::caught_in;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;

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

async fn document() -> impl IntoResponse {
    // Anybody may ask: it is made once, and all answers are the same bytes.
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| openapi::document().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone())
}

async fn docs() -> Html<&'static str> {
    Html(include_str!("docs.html"))
}

/// One layer for all of it: each of its own would cost as much as a small handler.
async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let limits = &app.config.limits;
    let within: Duration = match request.uri().path() {
        "/webhook/email" => limits.mail_timeout,
        path if path.starts_with("/webhook") => limits.webhook_timeout,
        path if path.starts_with("/api/media") => limits.media_timeout,
        path if path.starts_with("/api/integrations") => limits.account_timeout,
        _ => limits.rest_timeout,
    };
    request_id::scope(request, async |request| {
        let answered = caught_in("handler", next.run(request));
        let mut response = match tokio::time::timeout(within, answered).await {
            Ok(Ok(response)) => response,
            Ok(Err(panicked)) => ApiError::from(Failure::from(panicked)).into_response(),
            // Where it asks a provider it goes on, and so does a change that was begun.
            Err(_) => {
                ApiError::unavailable("this took too long; try again shortly").into_response()
            }
        };
        secure(response.headers_mut());
        response
    })
    .await
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
    headers.reserve(2 * fixed.len());
    for (name, value) in fixed {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}
