//! Who calls, and whether they may: before any handler.

use std::time::Duration;

use actors::tenants::Caller;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::ApiError;
use crate::routes::Access;
use crate::token;

/// The cookie that holds the access token.
pub const COOKIE: &str = "access_token";

/// The header that holds an API key.
const KEY_HEADER: &str = "x-api-key";

/// Whoever is logged in, for handlers behind the guard.
pub struct Me(pub Caller);

impl FromRequestParts<App> for Me {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or_else(ApiError::unauthorized)
    }
}

/// Lets a request through whose caller is logged in, in person where that is needed, and has the
/// permission that is.
pub async fn layer(
    State((app, access)): State<(App, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    match check(&app, access, request.method(), request.headers()).await {
        Ok(caller) => {
            let (tenant, method) = (caller.tenant, request.method().clone());
            request.extensions_mut().insert(caller);
            app.answers.counted(tenant, &method, next.run(request).await).await
        }
        Err(error) => error.into_response(),
    }
}

async fn check(
    app: &App,
    access: Access,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let (token, by_cookie) = credentials(headers).ok_or_else(ApiError::unauthorized)?;
    if by_cookie {
        same_origin(app, method, headers)?;
    }
    let caller = token::check(&app.jwt, &app.tenants, token).await?.caller;
    if !app.requests.take(caller.tenant) {
        let message = "your organization asks too fast; try again in a second";
        return Err(ApiError::too_many(message, Duration::from_secs(1)));
    }
    match access {
        Access::Session if caller.key.is_some() => {
            Err(ApiError::forbidden("an API key does not do this; log in"))
        }
        Access::Permission(missing) if !caller.permissions.has(missing) => {
            let whose = if caller.key.is_some() { "your API key" } else { "your role" };
            let message = format!("{whose} does not allow this; it needs `{}`", missing.code());
            Err(ApiError::forbidden(message))
        }
        _ => Ok(caller),
    }
}

/// Refuses whoever has lost since they were let through what that took.
pub async fn still(app: &App, caller: &Caller) -> Result<(), ApiError> {
    covers(app.tenants.caller(caller.session).await?, caller)
}

/// The same of somebody who is now what was found.
pub fn covers(now: Option<Caller>, caller: &Caller) -> Result<(), ApiError> {
    let now = now.ok_or_else(ApiError::unauthorized)?;
    if now.permissions.covers(caller.permissions) {
        return Ok(());
    }
    Err(ApiError::forbidden("what you may do has changed meanwhile; look again and repeat"))
}

/// The token or API key of a request, and whether it came by cookie.
pub fn credentials(headers: &HeaderMap) -> Option<(&str, bool)> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let value = value.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| (token.trim(), false));
    }
    if let Some(key) = headers.get(KEY_HEADER) {
        return Some((key.to_str().ok()?.trim(), false));
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
    pairs.find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE && !value.is_empty()).then_some((value, true))
    })
}

/// A browser sends cookies along with whatever another site makes it send: what may change
/// something must come from our own pages.
fn same_origin(app: &App, method: &Method, headers: &HeaderMap) -> Result<(), ApiError> {
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Ok(()),
        _ => from_own_page(app, headers),
    }
}

/// Whether a browser's request comes from our own pages.
pub fn from_own_page(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let fetched = text(header::HeaderName::from_static("sec-fetch-site"));
    let ours = match (text(header::ORIGIN), fetched) {
        (Some(origin), _) => {
            let host = text(header::HOST).unwrap_or_default();
            let of_host = origin.split_once("://").is_some_and(|(_, name)| name == host);
            of_host || origin == app.public_url
        }
        (None, Some(site)) => matches!(site, "same-origin" | "none"),
        (None, None) => false,
    };
    if ours {
        return Ok(());
    }
    Err(ApiError::forbidden("browsers may do this only from this server's own pages"))
}
