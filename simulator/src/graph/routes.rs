//! The requests it answers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::book::{ReadMark, Sends, Sent};
use super::{Account, Desk, lock};
use crate::failure::{Fate, GraphError, THROUGHPUT, TOKEN};

const BODY_LIMIT: usize = 256 * 1024;
/// The longest text (Meta, "Text messages").
const TEXT_LIMIT: usize = 4096;
/// The longest `biz_opaque_callback_data`, in bytes.
const OPAQUE_LIMIT: usize = 512;
const PAGE: usize = 1000;
/// How long a send that hangs keeps its connection: longer than any client waits.
const HANG: Duration = Duration::from_secs(600);
/// How long `GET /_sim/sends` may be asked to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

const UNKNOWN_NUMBER: GraphError = GraphError::invalid(
    100,
    "Unsupported request. The object does not exist or cannot be loaded",
    "No such phone number id.",
);
const NOT_JSON: GraphError = GraphError::invalid(100, "(#100) Invalid parameter", "Not JSON.");
const NO_PRODUCT: GraphError = GraphError::invalid(
    100,
    "(#100) The parameter messaging_product is required.",
    "messaging_product must be whatsapp.",
);
const MISSING: GraphError = GraphError::invalid(
    131_008,
    "(#131008) Required parameter is missing",
    "A message needs a recipient, a type, and the object named by the type.",
);
const TOO_LONG: GraphError = GraphError::invalid(
    131_009,
    "(#131009) Parameter value is not valid",
    "A text has 1 to 4096 characters, biz_opaque_callback_data at most 512 bytes.",
);

pub(super) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/{version}/{number}/messages", post(messages))
        .route("/{version}/{number}", get(probe))
        .route("/_sim/sends", get(sends))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(desk)
}

async fn messages(
    State(desk): State<Arc<Desk>>,
    Path((_, number)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match answer(&desk, &number, &headers, &body) {
        Ok(Answer::Json(json)) => Json(json).into_response(),
        Ok(Answer::Never) => {
            tokio::time::sleep(HANG).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        Ok(Answer::Html) => {
            (StatusCode::BAD_GATEWAY, Html("<html><h1>502 Bad Gateway</h1></html>")).into_response()
        }
        Err(error) => refuse(&desk, error),
    }
}

enum Answer {
    Json(Value),
    Html,
    Never,
}

fn answer(
    desk: &Arc<Desk>,
    number: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Answer, GraphError> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let to = body["to"].as_str().map(digits);
    let answer = match body["status"] == "read" {
        true => mark_read(desk, number, headers, &body),
        false => accept(desk, number, headers, &body),
    };
    let refused = match &answer {
        Ok(Answer::Json(_) | Answer::Never) => None,
        Ok(Answer::Html) => Some(0),
        Err(error) => Some(error.code),
    };
    if body["status"] != "read" || refused.is_some() {
        desk.count(number, to.as_deref(), refused);
    }
    answer
}

fn accept(
    desk: &Arc<Desk>,
    number: &str,
    headers: &HeaderMap,
    body: &Value,
) -> Result<Answer, GraphError> {
    let account = enter(desk, number, headers, body)?;
    let (sent, input) = read_send(number, body)?;
    let fate = desk.book().fate(&sent.to);
    match fate {
        Fate::Refuse(error) => return Err(error),
        Fate::Html => return Ok(Answer::Html),
        Fate::Accept | Fate::Hang | Fate::FailLater => {}
    }
    if !desk.has_room() {
        return Err(THROUGHPUT);
    }
    // Under the limiter's lock, so that the book's order is the one in which they were let through.
    let sent = {
        let mut limiter = lock(&desk.limiter);
        let now = desk.clock.passed();
        limiter.admit(number, &sent.to, now)?;
        desk.book().accept(sent, now)
    };
    let json = json!({
        "messaging_product": "whatsapp",
        "contacts": [{"input": input, "wa_id": sent.to}],
        "messages": [{"id": sent.wamid}],
    });
    desk.report(account, sent, fate);
    Ok(if fate == Fate::Hang { Answer::Never } else { Answer::Json(json) })
}

/// The account of a request about messages, if it may be made.
fn enter(
    desk: &Desk,
    number: &str,
    headers: &HeaderMap,
    body: &Value,
) -> Result<Account, GraphError> {
    check_token(desk, number, headers)?;
    let account = desk.account(number).ok_or(UNKNOWN_NUMBER)?;
    if !body.is_object() {
        return Err(NOT_JSON);
    }
    if body["messaging_product"] != "whatsapp" {
        return Err(NO_PRODUCT);
    }
    Ok(account)
}

fn check_token(desk: &Desk, number: &str, headers: &HeaderMap) -> Result<(), GraphError> {
    if lock(&desk.expired).contains(number) {
        return Err(TOKEN);
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let wanted = desk.options.access_token.as_deref().unwrap_or(given);
    if given.is_empty() || given != wanted { Err(TOKEN) } else { Ok(()) }
}

fn mark_read(
    desk: &Desk,
    number: &str,
    headers: &HeaderMap,
    body: &Value,
) -> Result<Answer, GraphError> {
    enter(desk, number, headers, body)?;
    let message_id = body["message_id"].as_str().ok_or(MISSING)?.to_owned();
    let typing = body["typing_indicator"].is_object();
    desk.book().mark_read(ReadMark { phone_number_id: number.to_owned(), message_id, typing });
    desk.counts.send_modify(|counts| counts.read_marks += 1);
    Ok(Answer::Json(json!({"success": true})))
}

/// The send as it will be remembered, and the recipient as the sender wrote it.
fn read_send(number: &str, body: &Value) -> Result<(Sent, String), GraphError> {
    let input = body["to"].as_str().ok_or(MISSING)?;
    let to = digits(input);
    let kind = body["type"].as_str().unwrap_or("text");
    let content = &body[kind];
    if to.is_empty() || content.is_null() {
        return Err(MISSING);
    }
    let text = content["body"].as_str().or(content["caption"].as_str());
    let letters = text.map_or(0, |text| text.chars().count());
    let opaque = body["biz_opaque_callback_data"].as_str();
    if (kind == "text" && letters == 0)
        || letters > TEXT_LIMIT
        || opaque.is_some_and(|opaque| opaque.len() > OPAQUE_LIMIT)
    {
        return Err(TOO_LONG);
    }
    let sent = Sent {
        n: 0,
        at_ms: 0,
        wamid: String::new(),
        phone_number_id: number.to_owned(),
        to,
        kind: kind.to_owned(),
        text: text.map(str::to_owned),
        reply_to: body["context"]["message_id"].as_str().map(str::to_owned),
        opaque: opaque.map(str::to_owned),
    };
    Ok((sent, input.to_owned()))
}

fn digits(phone: &str) -> String {
    phone.chars().filter(char::is_ascii_digit).collect()
}

#[derive(Deserialize)]
struct ProbeQuery {
    fields: Option<String>,
}

async fn probe(
    State(desk): State<Arc<Desk>>,
    Path((_, number)): Path<(String, String)>,
    Query(query): Query<ProbeQuery>,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = check_token(&desk, &number, &headers) {
        return refuse(&desk, error);
    }
    let Some(account) = desk.account(&number) else { return refuse(&desk, UNKNOWN_NUMBER) };
    desk.counts.send_modify(|counts| counts.probes += 1);
    let level = lock(&desk.limiter).level(&number);
    let all = node(&account, level);
    let shown: Map<_, _> = match query.fields {
        None => all,
        Some(fields) => {
            let wanted: Vec<&str> = fields.split(',').map(str::trim).chain(["id"]).collect();
            all.into_iter().filter(|(name, _)| wanted.contains(&name.as_str())).collect()
        }
    };
    Json(shown).into_response()
}

/// The phone number's node with every field it has.
fn node(account: &Account, throughput: &str) -> Map<String, Value> {
    let Value::Object(node) = json!({
        "id": account.phone_number_id,
        "display_phone_number": account.display_phone_number,
        "verified_name": account.verified_name,
        "quality_rating": "GREEN",
        "code_verification_status": "VERIFIED",
        "name_status": "APPROVED",
        "platform_type": "CLOUD_API",
        "status": "CONNECTED",
        "throughput": {"level": throughput},
    }) else {
        return Map::new();
    };
    node
}

fn refuse(desk: &Desk, error: GraphError) -> Response {
    error.answer(&desk.book().trace())
}

#[derive(Deserialize)]
struct SendsQuery {
    /// Only sends with a higher number.
    #[serde(default)]
    after: u64,
    /// Waits so long for one, in milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

async fn sends(State(desk): State<Arc<Desk>>, Query(query): Query<SendsQuery>) -> Json<Sends> {
    let wait = Duration::from_millis(query.wait_ms).min(LONGEST_WAIT);
    let more = desk.until(|counts| counts.accepted > query.after);
    // Running out of time is an answer too: an empty page.
    let _in_time = tokio::time::timeout(wait, more).await;
    Json(desk.book().page(query.after, PAGE))
}
