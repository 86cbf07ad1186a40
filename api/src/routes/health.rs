//! Whether the process is alive, and takes work.

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;

pub fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/health", Access::Public, "API Gateway health check", ready)
            .answers::<Health>(200),
        route(Method::GET, "/health/live", Access::Public, "The process is alive", live)
            .answers::<Health>(200)
            .tagged("Operations"),
        route(Method::GET, "/health/ready", Access::Public, "The server takes work", ready)
            .answers::<Health>(200)
            .tagged("Operations"),
    ]
}

/// It is well.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: &'static str,
    version: &'static str,
}

pub(crate) async fn live() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

async fn ready(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    if !app.is_ready() {
        let message = "the server takes no work now: it starts, stops, or its store cannot write";
        return Err(ApiError::unavailable(message));
    }
    Ok(live().await)
}
