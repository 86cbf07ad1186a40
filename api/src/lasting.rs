//! Requests that ask a provider one thing after another: they go on when whoever asked has left, or has
//! waited for too long. What a provider has given or done would be lost otherwise.

use actors::failure::Failure;
use actors::panics::caught_in;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::bytes;
use crate::guard::Me;
use crate::request_id;

/// Answers a request in a task of its own, which ends when it is answered. Its body comes first: one
/// that never ends would keep the task, and what that holds.
pub async fn layer(
    State(app): State<App>,
    Me(caller): Me,
    request: Request,
    next: Next,
) -> Response {
    let (head, body) = request.into_parts();
    let most = app.config.limits.rest_body_bytes;
    let received = match bytes(Request::from_parts(head.clone(), body), &app, most).await {
        Ok(received) => received,
        Err(error) => return error.into_response(),
    };
    let request = Request::from_parts(head, received.into_body());
    let place = match app.account_calls.begin(caller.tenant) {
        Ok(place) => place,
        Err(full) => return ApiError::from(full).into_response(),
    };
    let answering = async move {
        let _place = place;
        caught_in("handler", next.run(request)).await
    };
    let answering = tokio::spawn(request_id::keep(answering).in_current_span());
    match answering.await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) | Err(_) => ApiError::from(Failure::Panicked).into_response(),
    }
}
