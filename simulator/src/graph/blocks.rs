//! Customers whom a number does not want to hear from (Meta, "Block users").

use std::sync::Arc;

use serde_json::{Value, json};

use super::desk::Desk;
use super::routes::{Answered, Call, Reply};
use crate::error::{self, GraphError};

/// The most of one request.
const AT_ONCE: usize = 1_000;
/// The most of one number.
const BLOCKED: usize = 64_000;
/// Blocked customers shown at once.
const PAGE: usize = 100;

/// Whom it does not want to hear from.
pub(super) fn list(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let mut state = desk.state();
    let blocked = &state.numbers.of(&call.id).blocked;
    let after = call.query.get("after").cloned().unwrap_or_default();
    let page: Vec<_> = blocked.iter().filter(|id| **id > after).take(PAGE).collect();
    let data: Vec<_> =
        page.iter().map(|id| json!({"messaging_product": "whatsapp", "wa_id": id})).collect();
    let cursors = json!({"before": page.first(), "after": page.last()});
    Ok(Reply::Json(json!({"data": data, "paging": {"cursors": cursors}})))
}

/// Blocks those who wrote within the last day; others are named as failed.
pub(super) fn block(desk: &Arc<Desk>, call: &Call) -> Answered {
    let users = users(desk, call)?;
    let now = desk.clock.passed();
    let mut state = desk.state();
    let (mut added, mut failed) = (Vec::new(), Vec::new());
    for (input, wa_id) in users {
        let has_room = state.numbers.of(&call.id).blocked.len() < BLOCKED;
        let has_written = state.windows.is_open(&call.id, &wa_id, now) == Some(true);
        if has_room && has_written {
            added.push(json!({"input": input, "wa_id": wa_id}));
            state.numbers.of(&call.id).blocked.insert(wa_id);
        } else {
            let why =
                if has_room { "They have not written in the last 24 hours." } else { "Full." };
            let error = json!({
                "message": "(#139100) Failed to block users",
                "code": 139_100,
                "error_data": {"details": why},
            });
            failed.push(json!({"input": input, "wa_id": wa_id, "errors": [error]}));
        }
    }
    Ok(Reply::Json(answer("added_users", added, failed)))
}

/// Hears from them again.
pub(super) fn unblock(desk: &Arc<Desk>, call: &Call) -> Answered {
    let users = users(desk, call)?;
    let mut state = desk.state();
    let blocked = &mut state.numbers.of(&call.id).blocked;
    let removed = users.into_iter().filter(|(_, wa_id)| blocked.remove(wa_id));
    let removed = removed.map(|(input, wa_id)| json!({"input": input, "wa_id": wa_id}));
    Ok(Reply::Json(answer("removed_users", removed.collect(), Vec::new())))
}

/// The customers of a request: as it writes them, and as they are told apart.
fn users(desk: &Desk, call: &Call) -> Result<Vec<(String, String)>, GraphError> {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let body = call.json()?;
    if body["messaging_product"] != "whatsapp" {
        return Err(GraphError::invalid("messaging_product must be whatsapp."));
    }
    let users = body["block_users"].as_array().ok_or_else(|| GraphError::missing("block_users"))?;
    if users.is_empty() || users.len() > AT_ONCE {
        return Err(GraphError::invalid(format!("block_users has 1 to {AT_ONCE} entries.")));
    }
    let inputs = users.iter().filter_map(|user| user["user"].as_str().or(user["user_id"].as_str()));
    let of = |input: &str| {
        let is_phone = !input.contains(|c: char| c.is_ascii_alphabetic());
        let digits = input.chars().filter(char::is_ascii_digit).collect();
        (input.to_owned(), if is_phone { digits } else { input.to_owned() })
    };
    Ok(inputs.map(of).collect())
}

fn answer(what: &str, done: Vec<Value>, failed: Vec<Value>) -> Value {
    let mut answer = json!({"messaging_product": "whatsapp", "block_users": {what: done}});
    if !failed.is_empty() {
        answer["block_users"]["failed_users"] = json!(failed);
    }
    answer
}
