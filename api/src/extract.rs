//! What handlers take: bodies, queries, ids and paging, each refused with the field's name.

use std::convert::Infallible;
use std::future::pending;
use std::ops::Deref;

use actors::failure::{Failure, Full};
use actors::permits::Room;
use actors::tenants::Caller;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::conversation::IdempotencyKey;
use engine::resource::{FieldError, Invalid};
use futures_util::{StreamExt, stream};
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::app::App;
use crate::error::ApiError;
use crate::guard;
use crate::unproven::Claim;

/// A JSON body, with the digest of its bytes.
pub struct Body<T>(pub T, pub [u8; 16]);

/// The digest of no body.
pub const NO_BODY: [u8; 16] = [0; 16];

/// A query.
pub struct Query<T>(pub T);

/// The id in the path. What is no id names nothing.
pub struct Id<T>(pub T);

/// The caller's `Idempotency-Key`, if it sent one.
pub struct Key {
    key: Option<String>,
    /// Verb and path of the request.
    pub route: String,
}

/// The address that the caller comes from.
pub struct Address(pub std::net::IpAddr);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let is_json = essence.eq_ignore_ascii_case("application/json")
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        if !is_json {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send the body as `Content-Type: application/json`",
            ));
        }
        let caller = request.extensions().get::<Caller>().cloned();
        let bytes = bytes(request, app, app.config.limits.rest_body_bytes).await?;
        if let Some(caller) = &caller {
            // It may have come long after they were let through.
            guard::still(app, caller).await?;
        }
        let digest = Sha256::digest(&*bytes);
        let body = parse(&bytes)?;
        Ok(Self(body, digest[..16].try_into().expect("sixteen of thirty-two bytes")))
    }
}

/// The bytes of a body, which count as under way until they are dropped.
pub struct Received {
    bytes: Vec<u8>,
    _room: Room,
    unproven: Option<Claim>,
}

impl Received {
    /// It is known now whose it is.
    pub fn proven(&self) {
        self.unproven.iter().for_each(Claim::leave);
    }

    /// The same as a body, whose bytes count until they are read again.
    pub fn into_body(self) -> axum::body::Body {
        let read = async move {
            let whole = self;
            Ok::<_, Infallible>(Bytes::from(whole.bytes))
        };
        axum::body::Body::from_stream(stream::once(read))
    }

    /// Returns when it is given up, to make room for others before anybody knows whose it is.
    pub async fn given_up(&self) -> ApiError {
        given_up(self.unproven.as_ref()).await
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All bytes of a body, so many at most. Counted is what arrives, not what is announced: nobody
/// takes the room of others by a promise.
pub async fn bytes(request: Request, app: &App, most: usize) -> Result<Received, ApiError> {
    let caller = request.extensions().get::<Caller>().map(|caller| caller.tenant);
    let mut room = app.desk.permits().room(caller);
    let unproven = caller.is_none().then(|| app.unproven.begin());
    let bytes = tokio::select! {
        biased;
        given_up = given_up(unproven.as_ref()) => return Err(given_up),
        bytes = read(request, &mut room, unproven.as_ref(), most) => bytes?,
    };
    Ok(Received { bytes, _room: room, unproven })
}

async fn given_up(unproven: Option<&Claim>) -> ApiError {
    match unproven {
        Some(claim) => claim.given_up().await,
        None => pending().await,
    }
    Failure::busy(Full::Memory).into()
}

async fn read(
    request: Request,
    room: &mut Room,
    unproven: Option<&Claim>,
    most: usize,
) -> Result<Vec<u8>, ApiError> {
    let mut body = request.into_body().into_data_stream();
    // Gathered: kept as they come, parts of one byte would cost more than what is counted.
    let mut whole = Vec::new();
    while let Some(part) = body.next().await {
        let part = part.map_err(|_| {
            ApiError::new(StatusCode::BAD_REQUEST, "bad_request", "the body cannot be read")
        })?;
        if whole.len() + part.len() > most {
            let message = "the body is too large; send less at once";
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message));
        }
        room.grow(part.len()).map_err(Failure::busy)?;
        unproven.into_iter().for_each(|claim| claim.grow(part.len()));
        whole.extend_from_slice(&part);
    }
    Ok(whole)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let malformed = |error| {
        let message = format!("the body is not JSON: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", message)
    };
    // A list would be taken for the fields in their order.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| *first != b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(malformed)?;
        return Err(ApiError::invalid("body", "must be a JSON object"));
    }
    let mut from = serde_json::Deserializer::from_slice(bytes);
    match serde_path_to_error::deserialize(&mut from) {
        Ok(body) => from.end().map_err(malformed).map(|()| body),
        Err(error) => {
            // What is wrong with the JSON itself may come after what is wrong with a field.
            serde_json::from_slice::<IgnoredAny>(bytes).map_err(malformed)?;
            let (path, error) = (error.path().to_string(), error.into_inner().to_string());
            Err(wrong(&path, &without_names(&without_place(&error))))
        }
    }
}

/// What our types are called is nobody's business.
fn without_names(message: &str) -> String {
    match message.split_once("expected struct ") {
        Some((before, _)) => format!("{before}expected an object"),
        None => message.to_owned(),
    }
}

/// 422 about a field. A field that is missing or unknown stands in the message, not in the path.
pub fn wrong(path: &str, message: &str) -> ApiError {
    let named = message.split('`').nth(1);
    let is_named = message.starts_with("missing field") || message.starts_with("unknown field");
    let parent = if path == "." { "" } else { path };
    let field = match (named.filter(|_| is_named), parent) {
        (Some(name), "") => name.to_owned(),
        // The path of an unknown field may already end in it.
        (Some(name), parent) if parent == name || parent.ends_with(&format!(".{name}")) => {
            parent.to_owned()
        }
        (Some(name), parent) => format!("{parent}.{name}"),
        (None, "") => "body".to_owned(),
        (None, parent) => parent.to_owned(),
    };
    let message = match message {
        text if text.starts_with("missing field") => "is required".to_owned(),
        text if text.starts_with("unknown field") => "is not a field here".to_owned(),
        text => format!("is wrong: {text}"),
    };
    Invalid { details: vec![FieldError { field, message }] }.into()
}

fn without_place(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        query(&parts.uri).map(Self)
    }
}

fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let query = uri.query().unwrap_or_default();
    let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(pairs).map_err(|error| {
        let path = error.path().to_string();
        wrong(&path, &error.into_inner().to_string())
    })
}

impl<T: From<Uuid>> FromRequestParts<App> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let path = Path::<Uuid>::from_request_parts(parts, app).await;
        path.map(|Path(id)| Self(id.into())).map_err(|_| ApiError::not_found("thing"))
    }
}

impl FromRequestParts<App> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let route = format!("{} {}", parts.method, parts.uri.path());
        let Some(key) = parts.headers.get("idempotency-key") else {
            return Ok(Self { key: None, route });
        };
        let key = key.to_str().ok().map(str::trim);
        match key.filter(|key| (1..=255).contains(&key.len())) {
            Some(key) => Ok(Self { key: Some(key.to_owned()), route }),
            None => {
                Err(ApiError::invalid("Idempotency-Key", "must have 1 to 255 printable characters"))
            }
        }
    }
}

impl Key {
    /// Of what is asked without one.
    pub fn none() -> Self {
        Self { key: None, route: String::new() }
    }

    /// The key within its caller and route, for a command of a conversation.
    pub fn of(&self, agent: Uuid, route: &str, digest: [u8; 16]) -> Option<IdempotencyKey> {
        let key = self.derived(agent, route)?;
        Some(IdempotencyKey { key: *key.as_bytes(), digest })
    }

    /// The id (UUIDv8) of what was made, or done, with this key.
    pub fn derived(&self, agent: Uuid, route: &str) -> Option<Uuid> {
        let key = self.key.as_ref()?;
        let mut hash = Sha256::new();
        for part in [agent.as_bytes().as_slice(), route.as_bytes(), key.as_bytes()] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let bytes: [u8; 16] =
            hash.finalize()[..16].try_into().expect("sixteen of thirty-two bytes");
        Some(Uuid::new_v8(bytes))
    }
}

impl FromRequestParts<App> for Address {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>();
        let peer = peer.map_or(std::net::IpAddr::from([127, 0, 0, 1]), |info| info.0.ip());
        Ok(Self(app.client_address(peer, &parts.headers)))
    }
}

/// The query of a list that has only pages.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    pub page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    pub per_page: Option<usize>,
}

/// Which page of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// From 1.
    pub page: usize,
    pub per_page: usize,
}

impl Page {
    /// Of a query's `page` and `per_page`, each within its bounds.
    pub fn of(page: Option<usize>, per_page: Option<usize>, app: &App) -> Result<Self, ApiError> {
        let limits = &app.config.limits;
        let (page, per_page) = (page.unwrap_or(1), per_page.unwrap_or(limits.page_default));
        if page == 0 || page > 1_000_000 {
            return Err(ApiError::invalid("page", "must be from 1 to 1000000"));
        }
        if per_page == 0 || per_page > limits.page_max {
            let message = format!("must be from 1 to {}", limits.page_max);
            return Err(ApiError::invalid("per_page", message));
        }
        Ok(Self { page, per_page })
    }

    /// How many rows come before it.
    pub fn skip(self) -> usize {
        (self.page - 1) * self.per_page
    }

    /// The headers of this page, which has so many of all rows.
    fn headers(self, rows: usize, total: usize, uri: &Uri) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-total-count", HeaderValue::from(total));
        let link = |to: usize, relation: &str| {
            let query = uri.query().unwrap_or_default();
            let pairs = form_urlencoded::parse(query.as_bytes());
            let kept = pairs.filter(|(name, _)| name != "page" && name != "per_page");
            let mut query: Vec<(String, String)> =
                kept.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            query.push(("page".to_owned(), to.to_string()));
            query.push(("per_page".to_owned(), self.per_page.to_string()));
            let query = serde_urlencoded::to_string(query).unwrap_or_default();
            format!("<{}?{query}>; rel=\"{relation}\"", uri.path())
        };
        let mut links = Vec::new();
        if self.skip() + rows < total {
            links.push(link(self.page + 1, "next"));
        }
        if self.page > 1 {
            links.push(link(self.page - 1, "prev"));
        }
        if let Ok(value) = HeaderValue::from_str(&links.join(", "))
            && !links.is_empty()
        {
            headers.insert(header::LINK, value);
        }
        headers
    }
}

/// A page of a list, with the headers that lead on (RFC 8288).
pub struct Listed<T> {
    pub items: Vec<T>,
    pub total: usize,
    pub page: Page,
    /// Path and query of this page.
    pub uri: Uri,
}

/// The same, with the items already as JSON.
pub struct Encoded {
    pub body: Bytes,
    /// How many items it has.
    pub items: usize,
    pub total: usize,
    pub page: Page,
    pub uri: Uri,
}

impl<T: Serialize> IntoResponse for Listed<T> {
    fn into_response(self) -> Response {
        let headers = self.page.headers(self.items.len(), self.total, &self.uri);
        (headers, axum::Json(self.items)).into_response()
    }
}

impl IntoResponse for Encoded {
    fn into_response(self) -> Response {
        let mut headers = self.page.headers(self.items, self.total, &self.uri);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        (headers, self.body).into_response()
    }
}

/// A query without parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Refuses all query parameters.
pub async fn no_query(request: Request, next: Next) -> Response {
    match query::<Nothing>(request.uri()) {
        Ok(Nothing {}) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}
