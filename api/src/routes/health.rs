//! Whether the process is alive, and takes work.

use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Access, Route, route};
use crate::app::App;

pub fn routes() -> Vec<Route> {
    vec![
        route(Method::GET, "/health", Access::Public, "API Gateway health check", health)
            .answers::<Health>(200),
        route(Method::GET, "/health/live", Access::Public, "The process is alive", live)
            .answers::<Health>(200)
            .tagged("Operations"),
        route(Method::GET, "/health/ready", Access::Public, "The server takes work", ready)
            .answers::<Health>(200)
            .tagged("Operations"),
    ]
}

/// How the server is.
#[derive(Serialize, JsonSchema)]
struct Health {
    /// `ok`, or `unavailable` while it does not take work.
    status: &'static str,
    version: &'static str,
}

impl Health {
    fn of(ok: bool) -> (StatusCode, Json<Self>) {
        let (code, status) = if ok {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
        };
        (code, Json(Self { status, version: env!("CARGO_PKG_VERSION") }))
    }
}

async fn health(State(app): State<App>) -> (StatusCode, Json<Health>) {
    Health::of(app.is_ready())
}

async fn live() -> (StatusCode, Json<Health>) {
    Health::of(true)
}

async fn ready(State(app): State<App>) -> (StatusCode, Json<Health>) {
    Health::of(app.is_ready())
}
