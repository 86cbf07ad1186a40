//! What tests and people at a terminal tell a stand-in, and ask of it: the table in
//! `simulator/src/control.md`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::book::{Request, Sends};
use super::desk::Desk;
use super::events::{self, AccountEvent};
use super::inject::Injection;
use super::people::{Customer, Script};
use super::phone_app::{self, Past, PhoneAppAct};
use super::templates;
use super::trouble::Plan;
use crate::courier::Faults;

const PAGE: usize = 1000;
/// How long `GET /_sim/sends` may be asked to wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// A scripted customer's acts.
const ACTS: usize = 10_000;

/// Why something was not done, in a sentence.
type Refused = (StatusCode, String);
type Done = Result<Json<Value>, Refused>;
type Shared = State<Arc<Desk>>;

pub(super) fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/_sim", get(async || crate::CONTROL))
        .route("/_sim/sends", get(sends))
        .route("/_sim/read_marks", get(read_marks))
        .route("/_sim/requests", get(requests))
        .route("/_sim/counts", get(counts))
        .route("/_sim/traffic", get(traffic))
        .route("/_sim/check", get(check).post(check_these))
        .route("/_sim/reset", post(reset))
        .route("/_sim/clock", post(clock))
        .route("/_sim/trouble", post(trouble))
        .route("/_sim/faults", post(faults))
        .route("/_sim/hold", post(hold))
        .route("/_sim/token", post(token))
        .route("/_sim/throughput", post(throughput))
        .route("/_sim/customers", post(customers))
        .route("/_sim/phone_app", post(in_phone_app))
        .route("/_sim/history", post(history))
        .route("/_sim/events", post(event))
        .route("/_sim/templates", post(approve))
        .route("/_sim/templates/{id}", post(settle))
        .route("/_sim/webhooks", post(inject))
}

fn done() -> Done {
    Ok(Json(json!({"done": true})))
}

fn refused(reason: impl Into<String>) -> Refused {
    (StatusCode::BAD_REQUEST, reason.into())
}

#[derive(Deserialize)]
struct Listing {
    /// Only those with a higher number.
    #[serde(default)]
    after: u64,
    /// Waits so long for one, in milliseconds.
    #[serde(default)]
    wait_ms: u64,
}

async fn sends(State(desk): Shared, Query(query): Query<Listing>) -> Json<Sends> {
    let wait = Duration::from_millis(query.wait_ms).min(LONGEST_WAIT);
    let more = desk.until(|counts| counts.accepted > query.after);
    // Running out of time is an answer too: an empty page.
    let _in_time = tokio::time::timeout(wait, more).await;
    Json(desk.state().book.page(query.after, PAGE))
}

async fn read_marks(State(desk): Shared) -> Json<Value> {
    Json(json!(desk.state().book.read_marks()))
}

async fn requests(State(desk): Shared, Query(query): Query<Listing>) -> Json<Vec<Request>> {
    Json(desk.state().book.requests(query.after, PAGE))
}

async fn counts(State(desk): Shared) -> Json<Value> {
    Json(json!({"requests": *desk.counts.borrow(), "webhooks": desk.courier.tally()}))
}

async fn traffic(State(desk): Shared) -> Json<Value> {
    Json(json!(*desk.traffic.borrow()))
}

async fn check(State(desk): Shared) -> Json<Value> {
    let sends = desk.state().book.sends();
    let by_opaque: BTreeMap<_, _> = sends.by_opaque().into_iter().collect();
    let more_than_once: BTreeMap<_, _> =
        by_opaque.iter().filter(|(_, count)| **count > 1).collect();
    let by_recipient: BTreeMap<_, _> = sends.by_recipient().into_iter().collect();
    let without = sends.sends.iter().filter(|sent| sent.opaque.is_none()).count();
    Json(json!({
        "total": sends.total,
        "remembered": sends.sends.len(),
        "opaque_ids": by_opaque.len(),
        "without_opaque_id": without,
        "more_than_once": more_than_once,
        "by_recipient": by_recipient,
    }))
}

#[derive(Deserialize)]
struct Expected {
    opaque: BTreeSet<String>,
}

async fn check_these(State(desk): Shared, Json(expected): Json<Expected>) -> Json<Value> {
    let sends = desk.state().book.sends();
    let came = sends.by_opaque();
    let count = |id: &String| came.get(id.as_str()).copied().unwrap_or_default();
    let missing: Vec<_> = expected.opaque.iter().filter(|id| count(id) == 0).collect();
    let more: Vec<_> = expected.opaque.iter().filter(|id| count(id) > 1).collect();
    let others = came.keys().filter(|id| !expected.opaque.contains(**id)).count();
    let once = missing.is_empty() && more.is_empty();
    Json(json!({"once": once, "missing": missing, "more_than_once": more, "others": others}))
}

#[derive(Deserialize)]
struct Seed {
    seed: Option<u64>,
}

async fn reset(State(desk): Shared, Json(wish): Json<Seed>) -> Done {
    desk.reset(wish.seed.unwrap_or(desk.options.seed));
    done()
}

#[derive(Deserialize)]
struct Forward {
    advance_ms: u64,
}

async fn clock(State(desk): Shared, Json(forward): Json<Forward>) -> Done {
    desk.clock.advance(Duration::from_millis(forward.advance_ms));
    Ok(Json(json!({"now": desk.clock.now()})))
}

async fn trouble(State(desk): Shared, Json(plan): Json<Plan>) -> Done {
    match desk.state().troubles.add(plan) {
        true => done(),
        false => Err(refused("Too many troubles are planned already.")),
    }
}

async fn faults(State(desk): Shared, Json(faults): Json<Faults>) -> Done {
    desk.courier.set_faults(faults);
    done()
}

#[derive(Deserialize)]
struct Hold {
    held: bool,
}

async fn hold(State(desk): Shared, Json(wish): Json<Hold>) -> Done {
    desk.courier.hold(wish.held);
    done()
}

#[derive(Deserialize)]
struct Token {
    phone_number_id: String,
    expired: bool,
}

async fn token(State(desk): Shared, Json(token): Json<Token>) -> Done {
    let expired = &mut desk.state().expired;
    match token.expired {
        true => expired.insert(token.phone_number_id),
        false => expired.remove(&token.phone_number_id),
    };
    done()
}

#[derive(Deserialize)]
struct Throughput {
    phone_number_id: String,
    per_second: u32,
}

async fn throughput(State(desk): Shared, Json(wish): Json<Throughput>) -> Done {
    desk.state().limiter.set_throughput(&wish.phone_number_id, wish.per_second);
    done()
}

async fn customers(
    State(desk): Shared,
    Query(query): Query<HashMap<String, String>>,
    Json(script): Json<Script>,
) -> Done {
    if script.acts.len() > ACTS {
        return Err(refused(format!("A customer does at most {ACTS} things.")));
    }
    let customer = Customer::find(&desk, &script.phone_number_id, &script.who).map_err(refused)?;
    if query.get("wait").is_some_and(|wait| wait == "true") {
        customer.plays(&script.acts).await.map_err(refused)?;
        return Ok(Json(json!({"done": true, "handles": customer.handles()})));
    }
    let handles = customer.handles();
    desk.spawn(async move {
        if let Err(reason) = customer.plays(&script.acts).await {
            tracing::warn!(reason, "a scripted customer stopped");
        }
    });
    Ok(Json(json!({"handles": handles})))
}

#[derive(Deserialize)]
struct InPhoneApp {
    phone_number_id: String,
    to: String,
    #[serde(flatten)]
    act: PhoneAppAct,
}

async fn in_phone_app(State(desk): Shared, Json(wish): Json<InPhoneApp>) -> Done {
    let id = phone_app::act(&desk, &wish.phone_number_id, &wish.to, &wish.act).await;
    Ok(Json(json!({"id": id.map_err(refused)?})))
}

#[derive(Deserialize)]
struct History {
    phone_number_id: String,
    #[serde(flatten)]
    past: Past,
}

async fn history(State(desk): Shared, Json(wish): Json<History>) -> Done {
    let account = desk.account(&wish.phone_number_id);
    let account = account.ok_or_else(|| refused("There is no such phone number id."))?;
    phone_app::import(&desk, &account, wish.past).await;
    done()
}

#[derive(Deserialize)]
struct Event {
    phone_number_id: String,
    #[serde(flatten)]
    event: AccountEvent,
}

async fn event(State(desk): Shared, Json(wish): Json<Event>) -> Done {
    events::happen(&desk, &wish.phone_number_id, &wish.event).await.map_err(refused)?;
    done()
}

#[derive(Deserialize)]
struct Approve {
    waba_id: String,
    template: Value,
}

async fn approve(State(desk): Shared, Json(wish): Json<Approve>) -> Done {
    let made = desk.state().templates.approve(&wish.waba_id, &wish.template);
    let id = made.map_err(|error| refused(error.details))?;
    Ok(Json(json!({"id": id.to_string()})))
}

#[derive(Deserialize)]
struct Settle {
    status: String,
}

async fn settle(State(desk): Shared, Path(id): Path<String>, Json(wish): Json<Settle>) -> Done {
    let settled = templates::settle(&desk, &id, &wish.status).await;
    settled.map_err(|error| refused(error.details))?;
    done()
}

async fn inject(State(desk): Shared, Json(injection): Json<Injection>) -> Done {
    if !injection.body.is_object() {
        return Err(refused("The body of a webhook is an object."));
    }
    Ok(Json(json!({"taken": injection.deliver(&desk).await})))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_request_is_in_the_documented_table() {
        let routes = include_str!("control.rs")
            .lines()
            .filter_map(|line| line.trim().strip_prefix(".route(\"")?.split_once("\", "));
        let mut count = 0;
        for (path, handler) in routes {
            for (method, name) in [("GET", "get("), ("POST", "post(")] {
                let row = format!("| {method} {path} ");
                let is_there = crate::CONTROL.lines().any(|line| line.starts_with(&row));
                assert_eq!(is_there, handler.contains(name), "{method} {path}");
                count += usize::from(is_there);
            }
        }
        let rows = crate::CONTROL.lines().filter(|line| line.contains(" /_sim")).count();
        assert_eq!(count, rows, "every row is a request");
    }
}
