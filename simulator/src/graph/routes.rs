//! The requests it answers: one table, and what every request goes through.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::any;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::Value;

use super::book;
use super::desk::Desk;
use super::line::Cut;
use super::trouble::Trouble;
use super::{
    blocks, callbacks, carried, control, logins, messages, messaging, numbers, phone_app, profiles,
    templates, tokens, uploads, usage,
};
use crate::error::{self, GraphError};

/// The largest medium is a document of 100 MB.
const BODY_LIMIT: usize = 101 << 20;
/// How long an answer that never comes keeps its connection: longer than any client waits.
const HANG: Duration = Duration::from_secs(600);

/// What every row says: the method, the last part of the path, whether it is a management request
/// (which business accounts have so many an hour of), and who answers it.
type Row = (Method, &'static str, bool, fn(&Arc<Desk>, &Call) -> Answered);

static TABLE: [Row; 29] = [
    (Method::POST, "messages", false, messages::send),
    (Method::POST, "media", false, uploads::upload),
    (Method::GET, "attachments", false, uploads::download),
    (Method::POST, "uploads", false, uploads::begin),
    (Method::GET, "message_templates", true, templates::list),
    (Method::POST, "message_templates", true, templates::create),
    (Method::DELETE, "message_templates", true, templates::delete),
    (Method::GET, "phone_numbers", true, numbers::list),
    (Method::POST, "register", true, numbers::register),
    (Method::POST, "deregister", true, numbers::deregister),
    (Method::POST, "request_code", true, numbers::request_code),
    (Method::POST, "verify_code", true, numbers::verify_code),
    (Method::GET, "whatsapp_business_profile", true, numbers::profile),
    (Method::POST, "whatsapp_business_profile", true, numbers::set_profile),
    (Method::POST, "smb_app_data", true, phone_app::sync),
    (Method::GET, "block_users", true, blocks::list),
    (Method::POST, "block_users", true, blocks::block),
    (Method::DELETE, "block_users", true, blocks::unblock),
    (Method::GET, "subscribed_apps", true, callbacks::list),
    (Method::POST, "subscribed_apps", true, callbacks::subscribe),
    (Method::DELETE, "subscribed_apps", true, callbacks::unsubscribe),
    (Method::POST, "message_attachments", false, carried::upload),
    (Method::GET, "accounts", false, logins::accounts),
    (Method::GET, "messenger_profile", false, profiles::get),
    (Method::POST, "messenger_profile", false, profiles::set),
    (Method::DELETE, "messenger_profile", false, profiles::delete),
    (Method::GET, "", true, get),
    (Method::POST, "", true, change),
    (Method::DELETE, "", true, remove),
];

/// One request.
pub(super) struct Call {
    /// The object that it is about.
    pub(super) id: String,
    /// The part of the path behind it; empty: the object itself.
    pub(super) edge: String,
    pub(super) query: HashMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// `http://` and where it came to, for answers that name addresses.
    pub(super) base: String,
    pub(super) path: String,
}

pub(super) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(super) type Answered = Result<Reply, GraphError>;

/// An answer.
pub(super) enum Reply {
    Json(Value),
    File {
        mime_type: String,
        bytes: Bytes,
    },
    /// An answer that takes its time.
    Later(Later<Answered>),
    /// A gateway's page.
    Html,
    /// 429 and nothing more.
    TooMany,
    /// Never.
    Hang,
    /// With this status: where logins have errors of their own form.
    Refused(u16, Value),
    /// A browser is led there.
    To(String),
}

impl Call {
    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, GraphError> {
        let json: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        if json.is_object() { Ok(json) } else { Err(GraphError::invalid("The body is not JSON.")) }
    }

    /// A parameter, from the query or the body: the Graph API takes both.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        if let Some(value) = self.query.get(name) {
            return Some(value.clone());
        }
        match &self.json().ok()?[name] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// A parameter that has to be there.
    pub(super) fn needed(&self, name: &str) -> Result<String, GraphError> {
        let value = self.parameter(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| GraphError::missing(name))
    }

    /// The access token.
    pub(super) fn token(&self) -> &str {
        let given = self.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        // The upload of bytes says it with another word.
        let schemes = ["Bearer ", "OAuth "];
        let bearer = given.and_then(|it| schemes.iter().find_map(|scheme| it.strip_prefix(scheme)));
        bearer.or(self.query.get("access_token").map(String::as_str)).unwrap_or_default()
    }
}

pub(super) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/{id}", any(take))
        .route("/{version}/{id}", any(take))
        .route("/{version}/{id}/{edge}", any(take))
        .merge(control::router())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(desk)
}

async fn take(
    State(desk): State<Arc<Desk>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path(mut path): Path<HashMap<String, String>>,
    Query(query): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let (mut id, mut edge) =
        (path.remove("id").unwrap_or_default(), path.remove("edge").unwrap_or_default());
    // Instagram's logins have no version before their path.
    if path.get("version").is_some_and(|version| version == logins::NODE) {
        (id, edge) = (logins::NODE.to_owned(), id);
    }
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let call = Call {
        id,
        edge,
        query,
        body,
        base: format!("http://{}", host.unwrap_or_default()),
        path: parts.uri.to_string(),
        headers: parts.headers,
    };
    answer_in_time(desk, &cut, &parts.method, &call).await
}

/// Answers with whatever trouble was planned for it.
async fn answer_in_time(desk: Arc<Desk>, cut: &Cut, method: &Method, call: &Call) -> Response {
    // Time that is set forward once it has met its trouble counts.
    let came = desk.clock.passed();
    let trouble = desk.state().troubles.meet(&call.id, &call.edge);
    let slow = match trouble {
        Some(Trouble::Slow { ms }) => Duration::from_millis(ms),
        _ => latency(&desk),
    };
    if !slow.is_zero() {
        desk.clock.sleep_until(came + slow).await;
    }
    let (answered, usage) = match spoiled(trouble) {
        Some(answer) => (answer, told(trouble, &call.id)),
        None => answer(&desk, method, call).await,
    };
    note(&desk, method, call, &answered, trouble);
    let mut response = respond(&desk, answered).await;
    response.headers_mut().extend(usage);
    match trouble {
        Some(Trouble::ResetBefore | Trouble::ResetAfter) => {
            cut.now();
            response
        }
        Some(Trouble::Truncated) => truncate(response).await,
        Some(Trouble::HangAfter) => {
            tokio::time::sleep(HANG).await;
            response
        }
        _ => response,
    }
}

fn latency(desk: &Desk) -> Duration {
    let (least, most) = desk.options.latency;
    match most.checked_sub(least) {
        Some(more) if !most.is_zero() => least + more.mul_f64(desk.state().book.share()),
        _ => least,
    }
}

/// What the headers of such an answer say.
fn told(trouble: Option<Trouble>, id: &str) -> HeaderMap {
    match trouble {
        Some(Trouble::Throttled { code, seconds }) => usage::throttled(id, code, seconds),
        _ => HeaderMap::new(),
    }
}

/// What is answered instead, when nothing is to happen.
fn spoiled(trouble: Option<Trouble>) -> Option<Answered> {
    match trouble? {
        Trouble::Error { code } | Trouble::Throttled { code, .. } => {
            Some(Err(GraphError::of_code(code)))
        }
        Trouble::Html | Trouble::ResetBefore => Some(Ok(Reply::Html)),
        Trouble::TooMany => Some(Ok(Reply::TooMany)),
        Trouble::Expired => Some(Err(GraphError { http: 404, ..error::UNKNOWN_OBJECT })),
        _ => None,
    }
}

async fn answer(desk: &Arc<Desk>, method: &Method, call: &Call) -> (Answered, HeaderMap) {
    if let Some(answered) = logins::answer(desk, method, call) {
        return (answered, HeaderMap::new());
    }
    if *method == Method::GET && call.edge == carried::EDGE {
        return (carried::download(desk, call), HeaderMap::new());
    }
    let row = TABLE.iter().find(|row| row.0 == *method && row.1 == call.edge);
    let Some((_, _, is_management, handler)) = row else {
        return (Err(error::UNKNOWN_OBJECT), HeaderMap::new());
    };
    if let Err(error) = check_token(desk, call) {
        return (Err(error), HeaderMap::new());
    }
    let mut usage = HeaderMap::new();
    if *is_management && let Some(waba_id) = business_account(desk, &call.id) {
        let (headers, counted) = desk.state().usage.count(&waba_id, desk.clock.passed());
        usage = headers;
        if let Err(error) = counted {
            return (Err(error), usage);
        }
    }
    let mut answered = handler(desk, call);
    while let Ok(Reply::Later(later)) = answered {
        answered = later.await;
    }
    (answered, usage)
}

/// Whose hour a management request counts in: a medium is nobody's, and neither is a token.
fn business_account(desk: &Desk, id: &str) -> Option<String> {
    let state = desk.state();
    if id == tokens::NODE
        || id == logins::ME
        || state.uploads.knows(id)
        || state.carried.knows(id)
        || state.names.contains_key(id)
    {
        return None;
    }
    if let Some(waba_id) = state.templates.waba_of(id) {
        return Some(waba_id);
    }
    match desk.account(id).filter(|_| desk.numbers_of(id).is_empty()) {
        Some(account) => Some(account.waba_id),
        None => Some(id.to_owned()),
    }
}

fn check_token(desk: &Desk, call: &Call) -> Result<(), GraphError> {
    let given = call.token();
    let wanted = desk.options.access_token.as_deref().unwrap_or(given);
    let is_expired = desk.state().expired.contains(&call.id);
    let is_wanted = given == wanted || desk.state().logins.gave(given);
    if given.is_empty() || !is_wanted || is_expired { Err(error::TOKEN) } else { Ok(()) }
}

/// Remembers the request, and counts it where it was a send.
fn note(desk: &Desk, method: &Method, call: &Call, answered: &Answered, trouble: Option<Trouble>) {
    let (status, code) = match (answered, trouble) {
        (_, Some(Trouble::ResetBefore | Trouble::ResetAfter | Trouble::HangAfter)) => (0, None),
        (Ok(Reply::Hang), _) => (0, None),
        (Ok(Reply::Html), _) => (502, None),
        (Ok(Reply::TooMany), _) => (429, None),
        (Ok(Reply::Refused(status, _)), _) => (*status, None),
        (Ok(_), _) => (200, None),
        (Err(error), _) => (error.http, Some(error.code)),
    };
    let now = desk.clock.passed();
    let at_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let (method, path) = (method.to_string(), call.path.clone());
    desk.state().book.request(book::Request { n: 0, at_ms, method, path, status, code });
    if call.edge == "messages" {
        let refused = match answered {
            Ok(Reply::Html | Reply::TooMany) => Some(0),
            Ok(_) => None,
            Err(error) => Some(error.code),
        };
        messages::count(desk, call, refused);
    }
}

async fn respond(desk: &Desk, answered: Answered) -> Response {
    match answered {
        Ok(Reply::Json(json)) => Json(json).into_response(),
        Ok(Reply::File { mime_type, bytes }) => {
            ([(header::CONTENT_TYPE, mime_type)], bytes).into_response()
        }
        Ok(Reply::Html) => {
            (StatusCode::BAD_GATEWAY, Html("<html><h1>502 Bad Gateway</h1></html>")).into_response()
        }
        Ok(Reply::Hang | Reply::Later(_)) => {
            tokio::time::sleep(HANG).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Ok(Reply::Refused(status, json)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, Json(json)).into_response()
        }
        Ok(Reply::To(url)) => Redirect::to(&url).into_response(),
        Ok(Reply::TooMany) => StatusCode::TOO_MANY_REQUESTS.into_response(),
        Err(error) => {
            let trace = desk.state().book.trace();
            error.answer(&trace)
        }
    }
}

/// The first half of it.
async fn truncate(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, bytes.slice(..bytes.len() / 2).into())
}

/// `GET` of whatever has this id.
fn get(desk: &Arc<Desk>, call: &Call) -> Answered {
    if call.id == tokens::NODE {
        return tokens::describe(desk, call);
    }
    if call.id == logins::ME {
        return logins::me(desk, call);
    }
    if desk.state().uploads.knows(&call.id) {
        return uploads::lookup(desk, call);
    }
    if desk.state().carried.knows(&call.id) {
        return carried::get(desk, call);
    }
    if let Some(answered) = messaging::profile(desk, call) {
        return answered;
    }
    if desk.state().templates.waba_of(&call.id).is_some() {
        return templates::get(desk, call);
    }
    numbers::get(desk, call)
}

/// `POST` to whatever has this id.
fn change(desk: &Arc<Desk>, call: &Call) -> Answered {
    if call.id.starts_with(uploads::SESSION) {
        return uploads::take(desk, call);
    }
    if desk.state().templates.waba_of(&call.id).is_some() {
        return templates::edit(desk, call);
    }
    callbacks::configure(desk, call)
}

/// `DELETE` of whatever has this id.
fn remove(desk: &Arc<Desk>, call: &Call) -> Answered {
    uploads::delete(desk, call)
}
