//! Sends of Messenger and Instagram (Meta, "Send API"), and what their webhooks tell afterwards: an
//! echo, a delivery, a read.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::book::{ReadMark, Sent};
use super::desk::{Desk, State};
use super::numbers::shown;
use super::options::StatusDelays;
use super::routes::{Answered, Call, Reply};
use crate::bodies::{Account, Object, Page};
use crate::error::{self, GraphError};
use crate::failure::Fate;

const TEXT_CHARS: usize = 2000;
const TEXT_BYTES: usize = 1000;
const QUICK_REPLIES: usize = 13;
const TITLE: usize = 20;
const BUTTONS: usize = 3;
const ELEMENTS: usize = 10;
/// How long after a customer wrote anything may be answered, and how long a person may answer.
const FREELY: Duration = Duration::from_hours(24);
const BY_PEOPLE: Duration = Duration::from_hours(7 * 24);

/// Whether a request is one of theirs: they name recipients in an object.
pub(super) fn is_meant(body: &Value) -> bool {
    body["recipient"].is_object()
}

/// Whether a request says something, rather than that something was read or is being written.
pub(super) fn is_send(body: &Value) -> bool {
    body["sender_action"].is_null()
}

/// Answers a send or an action.
pub(super) fn send(desk: &Arc<Desk>, call: &Call, body: &Value) -> Answered {
    let page = page(desk, &call.id)?;
    let to = body["recipient"]["id"].as_str().filter(|to| !to.is_empty());
    let to = to.ok_or_else(|| GraphError::missing("recipient.id"))?;
    if !is_send(body) {
        return act(desk, call, body, to);
    }
    check(page.object, &body["message"])?;
    let attached = &body["message"]["attachment"]["payload"]["attachment_id"];
    if attached.as_str().is_some_and(|id| !desk.state().uploads.knows(id)) {
        return Err(GraphError::invalid("There is no attachment with this id."));
    }
    let Some((sent, fate, early)) = accept(desk, call, body, to)? else {
        return Ok(Reply::Html);
    };
    let answer = match fate {
        Fate::Hang => Reply::Hang,
        _ => Reply::Json(json!({"recipient_id": to, "message_id": sent.wamid})),
    };
    let told = tell(Arc::clone(desk), page, sent);
    if !early {
        desk.spawn(told.all());
        return Ok(answer);
    }
    let desk = Arc::clone(desk);
    Ok(Reply::Later(Box::pin(async move {
        let told = told.echo().await;
        desk.spawn(told.rest());
        Ok(answer)
    })))
}

/// A person writes to a page: it may be answered from then on. Says whether that was answered 200.
pub(super) async fn write(desk: &Desk, page: &Page, person: &str, text: &str) -> bool {
    let id = {
        let mut state = desk.state();
        state.windows.open(&page.id, person, desk.clock.passed());
        format!("m_{}", state.book.trace())
    };
    let webhook = page.text(person, &id, text, desk.clock.now_ms());
    desk.deliver(&Account::new(page.id.as_str()), webhook).await
}

/// The page or account of this id, if it is known.
pub(super) fn page(desk: &Desk, id: &str) -> Result<Page, GraphError> {
    let pages = &desk.options.pages;
    let known = pages.iter().find(|page| page.id == id).cloned();
    let any = pages.is_empty().then(|| Page::new(Object::Page, id));
    known.or(any).ok_or(error::UNKNOWN_OBJECT)
}

/// Whatever an account of theirs is asked for.
pub(super) fn get(desk: &Desk, id: &str) -> Option<Value> {
    let page = desk.options.pages.iter().find(|page| page.id == id)?;
    Some(match page.object {
        Object::Page => json!({"id": id, "name": "Corner Store"}),
        Object::Instagram => json!({"id": id, "username": "corner.store"}),
    })
}

/// Who a person is, if this is one who is known.
pub(super) fn profile(desk: &Desk, call: &Call) -> Option<Answered> {
    let name = desk.state().names.get(&call.id).cloned()?;
    let told = |name| {
        let all = json!({"id": call.id, "name": name});
        Reply::Json(Value::Object(shown(all, call.query.get("fields"))))
    };
    Some(name.map(told).ok_or(error::NOT_AGREED))
}

/// Something that is shown and is no message.
fn act(desk: &Desk, call: &Call, body: &Value, to: &str) -> Answered {
    let of = &body["payload"];
    match body["sender_action"].as_str() {
        Some(action @ ("mark_seen" | "typing_on" | "typing_off")) => {
            let mark = ReadMark {
                phone_number_id: call.id.clone(),
                message_id: to.to_owned(),
                typing: action == "typing_on",
            };
            desk.state().book.mark_read(mark);
            desk.counts.send_modify(|counts| counts.read_marks += 1);
        }
        Some("react") if of["message_id"].is_string() && of["reaction"].is_string() => {}
        Some("unreact") if of["message_id"].is_string() => {}
        _ => return Err(GraphError::invalid("sender_action is none of those that there are.")),
    }
    Ok(Reply::Json(json!({"recipient_id": to})))
}

/// Whether a message may be what it says.
fn check(object: Object, message: &Value) -> Result<(), GraphError> {
    let (text, attachment) = (message["text"].as_str(), &message["attachment"]);
    match (text, attachment.is_object()) {
        (Some(text), false) => {
            let is_long = match object {
                Object::Page => text.chars().count() > TEXT_CHARS,
                Object::Instagram => text.len() > TEXT_BYTES,
            };
            if text.is_empty() || is_long {
                return Err(GraphError::invalid("message.text is empty or too long."));
            }
        }
        (None, true) => check_attachment(attachment)?,
        _ => {
            return Err(GraphError::invalid("message takes a text or an attachment, one of both."));
        }
    }
    let Some(replies) = message.get("quick_replies") else { return Ok(()) };
    let replies = replies.as_array().filter(|all| (1..=QUICK_REPLIES).contains(&all.len()));
    let is_reply = |reply: &Value| reply["content_type"] == "text" && is_title(&reply["title"]);
    match replies.is_some_and(|all| all.iter().all(is_reply)) {
        true => Ok(()),
        false => Err(GraphError::invalid("message.quick_replies has a reply that is none.")),
    }
}

fn check_attachment(attachment: &Value) -> Result<(), GraphError> {
    let payload = &attachment["payload"];
    let are_buttons = |of: &Value, are_needed: bool| match of["buttons"].as_array() {
        Some(all) => {
            (1..=BUTTONS).contains(&all.len()) && all.iter().all(|one| is_title(&one["title"]))
        }
        None => !are_needed,
    };
    let is_right = match attachment["type"].as_str() {
        Some("image" | "audio" | "video" | "file") => {
            let is_link = |url: &str| url.starts_with("http");
            payload["attachment_id"].is_string() != payload["url"].as_str().is_some_and(is_link)
        }
        Some("template") => match payload["template_type"].as_str() {
            Some("button") => payload["text"].is_string() && are_buttons(payload, true),
            Some("generic" | "media") => payload["elements"].as_array().is_some_and(|all| {
                (1..=ELEMENTS).contains(&all.len()) && all.iter().all(|one| are_buttons(one, false))
            }),
            _ => false,
        },
        _ => false,
    };
    match is_right {
        true => Ok(()),
        false => Err(GraphError::invalid("message.attachment is not what it must be.")),
    }
}

fn is_title(title: &Value) -> bool {
    title.as_str().is_some_and(|title| (1..=TITLE).contains(&title.chars().count()))
}

/// Accepts it, unless something speaks against it; `None`: a gateway's page.
fn accept(
    desk: &Desk,
    call: &Call,
    body: &Value,
    to: &str,
) -> Result<Option<(Sent, Fate, bool)>, GraphError> {
    let (has_room, now) = (desk.has_room(), desk.clock.passed());
    let mut state = desk.state();
    let fate = state.book.fate(to);
    match fate {
        Fate::Refuse(error) => return Err(error),
        Fate::Html => return Ok(None),
        Fate::Accept | Fate::Hang | Fate::FailLater => {}
    }
    is_allowed(&state, call, body, to, now)?;
    if !has_room {
        return Err(error::THROUGHPUT);
    }
    let message = &body["message"];
    let of = |value: &Value| value.as_str().map(str::to_owned);
    let kind = message["attachment"]["type"].as_str().unwrap_or("text").to_owned();
    let sent = Sent {
        n: 0,
        at_ms: 0,
        wamid: String::new(),
        phone_number_id: call.id.clone(),
        wa_id: to.to_owned(),
        to: to.to_owned(),
        kind,
        text: of(&message["text"]),
        content: message.clone(),
        reply_to: of(&body["reply_to"]["mid"]),
        opaque: of(&message["metadata"]),
    };
    let sent = state.book.accept(sent, now);
    let early = state.book.chance(desk.options.early);
    Ok(Some((sent, fate, early)))
}

/// A day after the customer wrote only people answer, and they say so, for a week.
fn is_allowed(
    state: &State,
    call: &Call,
    body: &Value,
    to: &str,
    now: Duration,
) -> Result<(), GraphError> {
    let open = match (body["messaging_type"].as_str(), body["tag"].as_str()) {
        (Some("RESPONSE" | "UPDATE"), None) => FREELY,
        (Some("MESSAGE_TAG"), Some("HUMAN_AGENT")) => BY_PEOPLE,
        _ => return Err(GraphError::invalid("messaging_type and tag are none that there are.")),
    };
    match state.windows.since(&call.id, to) {
        Some(wrote) if wrote + open <= now => Err(error::OUTSIDE_WINDOW),
        _ => Ok(()),
    }
}

/// What is told of an accepted send.
struct Telling {
    desk: Arc<Desk>,
    page: Page,
    sent: Sent,
    began: Duration,
    at_ms: i64,
}

fn tell(desk: Arc<Desk>, page: Page, sent: Sent) -> Telling {
    let (began, at_ms) = (desk.clock.passed(), desk.clock.now_ms());
    Telling { desk, page, sent, began, at_ms }
}

impl Telling {
    async fn all(self) {
        self.echo().await.rest().await;
    }

    /// That it went out, as the page sees it.
    async fn echo(self) -> Self {
        let mut message = self.sent.content.clone();
        message["mid"] = json!(self.sent.wamid);
        message["is_echo"] = json!(true);
        if let Some(attachment) = message.as_object_mut().and_then(|it| it.remove("attachment")) {
            message["attachments"] = json!([attachment]);
        }
        self.deliver(self.at_ms, json!({"message": message})).await;
        self
    }

    /// That it arrived, and was read.
    async fn rest(self) {
        let StatusDelays { delivered, read, .. } = self.desk.options.delays;
        if self.page.object == Object::Page {
            self.desk.clock.sleep_until(self.began + delivered).await;
            let mids = [&self.sent.wamid];
            let delivery = json!({"mids": mids, "watermark": self.at_ms});
            self.deliver(self.desk.clock.now_ms(), json!({"delivery": delivery})).await;
        }
        let Some(read) = read else { return };
        self.desk.clock.sleep_until(self.began + read).await;
        let read = match self.page.object {
            Object::Page => json!({"watermark": self.at_ms}),
            Object::Instagram => json!({"mid": self.sent.wamid}),
        };
        self.deliver(self.desk.clock.now_ms(), json!({"read": read})).await;
    }

    async fn deliver(&self, at_ms: i64, part: Value) {
        let webhook = self.page.event(&self.sent.to, at_ms, part);
        self.desk.deliver(&Account::new(self.page.id.as_str()), webhook).await;
    }
}
