//! Sends, read marks and typing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::book::{ReadMark, Sent};
use super::check::check;
use super::desk::{Desk, State};
use super::messaging;
use super::routes::{Answered, Call, Reply};
use crate::bodies::Account;
use crate::error::{self, GraphError};
use crate::failure::{self, Fate};
use crate::media::MediaKind;

/// Answers a send or a read mark.
pub(super) fn send(desk: &Arc<Desk>, call: &Call) -> Answered {
    let body = call.json()?;
    if messaging::is_meant(&body) {
        return messaging::send(desk, call, &body);
    }
    let account = desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    if body["messaging_product"] != "whatsapp" {
        return Err(GraphError::invalid("messaging_product must be whatsapp."));
    }
    if !body["status"].is_null() {
        return mark_read(desk, call, &body);
    }
    let (sent, input) = read(call, &body)?;
    let (sent, fate, early) = accept(desk, &account, sent, &body)?;
    let Some(sent) = sent else { return Ok(Reply::Html) };
    let answer = json!({
        "messaging_product": "whatsapp",
        "contacts": [contact(&input, &sent)],
        "messages": [message(&sent)],
    });
    let first = desk.report(account, sent, &fate, early);
    let answer = if fate == Fate::Hang { Reply::Hang } else { Reply::Json(answer) };
    if !early {
        return Ok(answer);
    }
    Ok(Reply::Later(Box::pin(async move {
        // A stand-in that is reset tells nothing any more.
        let _told = first.await;
        Ok(answer)
    })))
}

/// Counts a request: accepted, or refused with a code. A read mark that was taken is no send.
pub(super) fn count(desk: &Desk, call: &Call, refused: Option<u32>) {
    let body = call.json().unwrap_or_default();
    if body["status"].is_null() && messaging::is_send(&body) || refused.is_some() {
        let named = || body["recipient"]["id"].as_str().map(str::to_owned);
        let to = recipient(&body).map(|(to, _)| to).or_else(named);
        desk.count(&call.id, to.as_deref(), refused);
    }
}

fn mark_read(desk: &Desk, call: &Call, body: &Value) -> Answered {
    if body["status"] != "read" {
        return Err(GraphError::wrong("status must be read."));
    }
    let message_id =
        body["message_id"].as_str().ok_or_else(|| GraphError::missing("message_id"))?;
    let typing = &body["typing_indicator"];
    if !typing.is_null() && typing["type"] != "text" {
        return Err(GraphError::wrong("typing_indicator.type must be text."));
    }
    let (phone_number_id, message_id) = (call.id.clone(), message_id.to_owned());
    let typing = typing.is_object();
    desk.state().book.mark_read(ReadMark { phone_number_id, message_id, typing });
    desk.counts.send_modify(|counts| counts.read_marks += 1);
    Ok(Reply::Json(json!({"success": true})))
}

/// The recipient as they are told apart here, and as the sender wrote it. A phone number wins over
/// a user id.
fn recipient(body: &Value) -> Option<(String, String)> {
    let input = body["to"].as_str().or(body["recipient"].as_str())?;
    let is_phone = body["to"].is_string() && body["recipient_type"] != "group";
    let to = match is_phone && !input.contains(|c: char| c.is_ascii_alphabetic()) {
        true => input.chars().filter(char::is_ascii_digit).collect(),
        false => input.to_owned(),
    };
    Some((to, input.to_owned())).filter(|(to, _)| !to.is_empty())
}

/// The send as it will be remembered, and the recipient as the sender wrote it.
fn read(call: &Call, body: &Value) -> Result<(Sent, String), GraphError> {
    let (to, input) = recipient(body).ok_or_else(|| GraphError::missing("to or recipient"))?;
    let kind = body["type"].as_str().unwrap_or("text");
    check(kind, body)?;
    let content = body[kind].clone();
    let text = [&content["body"], &content["caption"], &content["body"]["text"]];
    let text = text.into_iter().find_map(Value::as_str).map(str::to_owned);
    let of = |value: &Value| value.as_str().map(str::to_owned);
    let sent = Sent {
        n: 0,
        at_ms: 0,
        wamid: String::new(),
        phone_number_id: call.id.clone(),
        wa_id: wa_id(&to),
        to,
        kind: kind.to_owned(),
        text,
        content,
        reply_to: of(&body["context"]["message_id"]),
        opaque: of(&body["biz_opaque_callback_data"]),
    };
    Ok((sent, input))
}

/// The number as WhatsApp knows it: some countries write their mobile numbers in two ways.
fn wa_id(to: &str) -> String {
    let is_phone = to.bytes().all(|byte| byte.is_ascii_digit());
    let rest =
        |code: &str, digits| to.strip_prefix(code).filter(|rest| is_phone && rest.len() == digits);
    if let Some(rest) = rest("55", 11)
        && rest[2..].starts_with('9')
    {
        return format!("55{}{}", &rest[..2], &rest[3..]);
    }
    if let Some(rest) = rest("521", 10) {
        return format!("52{rest}");
    }
    match rest("54", 10) {
        Some(rest) => format!("549{rest}"),
        None => to.to_owned(),
    }
}

/// Accepts it, unless something speaks against it; `None` for the send: a gateway's page.
fn accept(
    desk: &Desk,
    account: &Account,
    sent: Sent,
    body: &Value,
) -> Result<(Option<Sent>, Fate, bool), GraphError> {
    let has_room = desk.has_room();
    let now = desk.clock.passed();
    let mut state = desk.state();
    let fate = state.book.fate(&sent.to);
    match fate {
        Fate::Refuse(error) => return Err(error),
        Fate::Html => return Ok((None, fate, false)),
        Fate::Accept | Fate::Hang | Fate::FailLater => {}
    }
    let number = &account.phone_number_id;
    state.numbers.may_send(number, now)?;
    if state.numbers.has_blocked(number, &sent.to) {
        return Err(error::UNDELIVERABLE.because("The recipient is blocked by this number."));
    }
    match sent.kind.as_str() {
        "template" => sendable(&state, account, &sent)?,
        _ => {
            let is_open = state.windows.is_open(number, &sent.to, now);
            if !is_open.unwrap_or(!desk.options.strict_window) {
                return Err(error::WINDOW);
            }
        }
    }
    if let Some(id) = sent.content["id"].as_str()
        && MediaKind::named(&sent.kind).is_some()
        && !state.uploads.knows(id)
    {
        return Err(error::MEDIA.because("No medium has this id."));
    }
    if !has_room {
        return Err(error::THROUGHPUT);
    }
    let group = body["recipient_type"] == "group";
    state.limiter.admit(number, &sent.to, now)?;
    let sent = state.book.accept(sent, now);
    if !group {
        state.people.hear(&sent);
    }
    let early = state.book.chance(desk.options.early);
    Ok((Some(sent), fate, early))
}

fn sendable(state: &State, account: &Account, sent: &Sent) -> Result<(), GraphError> {
    let name = sent.content["name"].as_str().unwrap_or_default();
    if let Some(error) = failure::of_template(name) {
        return Err(error);
    }
    let category = state.templates.sendable(&account.waba_id, &sent.content)?;
    let is_marketing = category.as_deref() == Some("MARKETING");
    if is_marketing && state.people.has_opted_out(&account.phone_number_id, &sent.to) {
        return Err(error::OPTED_OUT);
    }
    Ok(())
}

fn contact(input: &str, sent: &Sent) -> Value {
    match sent.to.chars().all(|c| c.is_ascii_digit()) {
        true => json!({"input": input, "wa_id": sent.wa_id}),
        false if sent.to.contains('.') => json!({"input": input, "user_id": sent.to}),
        false => json!({"input": input}),
    }
}

fn message(sent: &Sent) -> Value {
    match sent.kind.as_str() {
        "template" => json!({"id": sent.wamid, "message_status": "accepted"}),
        _ => json!({"id": sent.wamid}),
    }
}
