//! Files in messages of Messenger and Instagram: where they lie for a while, and where they can be had
//! after that (Meta, "Conversations API"); and those that are taken to a page ("Attachment upload
//! API").

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::header;
use serde_json::{Value, json};

use super::desk::Desk;
use super::messaging;
use super::routes::{Answered, Call, Reply};
use super::uploads::{address, is_address};
use crate::bodies::{Account, Page};
use crate::error::{self, GraphError};

/// The part of the path at which files lie, for whoever has the address.
pub(super) const EDGE: &str = "cdn";
/// Messages with files that are remembered; beyond it the oldest are forgotten.
const REMEMBERED: usize = 10_000;
/// The most bytes of a file that is taken.
const TAKEN_MAX: usize = 25 << 20;

/// The files of messages: what each is sent as, and its medium.
#[derive(Debug, Default)]
pub(super) struct Carried {
    messages: HashMap<String, Vec<(String, String)>>,
    oldest: VecDeque<String>,
}

impl Carried {
    pub(super) fn knows(&self, message: &str) -> bool {
        self.messages.contains_key(message)
    }
}

/// A person sends files, in one message; `base`: where this stand-in is. Says whether that was answered
/// 200.
pub(super) async fn write(
    desk: &Desk,
    (page, person): (&Page, &str),
    files: &[(&str, &str, Vec<u8>)],
    base: &str,
) -> bool {
    let at = desk.clock.passed();
    let mut attachments = Vec::new();
    let id = {
        let mut state = desk.state();
        state.windows.open(&page.id, person, at);
        let id = format!("m_{}", state.book.trace());
        let mut carried = Vec::new();
        for (kind, mime_type, bytes) in files {
            let medium = state.uploads.add((*mime_type).to_owned(), bytes.clone().into(), at);
            carried.push(((*kind).to_owned(), medium));
        }
        if state.carried.oldest.len() >= REMEMBERED
            && let Some(oldest) = state.carried.oldest.pop_front()
        {
            state.carried.messages.remove(&oldest);
        }
        state.carried.oldest.push_back(id.clone());
        state.carried.messages.insert(id.clone(), carried.clone());
        drop(state);
        for (kind, medium) in &carried {
            let url = address(desk, base, EDGE, medium);
            attachments.push(json!({"type": kind, "payload": {"url": url}}));
        }
        id
    };
    let message = json!({"message": {"mid": id, "attachments": attachments}});
    let webhook = page.event(person, desk.clock.now_ms(), message);
    desk.deliver(&Account::new(page.id.as_str()), webhook).await
}

/// The bytes, while the address works.
pub(super) fn download(desk: &Desk, call: &Call) -> Answered {
    let over = || GraphError { http: 403, ..error::UNKNOWN_OBJECT };
    if !is_address(desk, call)? {
        return Err(over());
    }
    let medium = desk.state().uploads.medium(&call.id).ok_or_else(over)?;
    Ok(Reply::File { mime_type: medium.mime_type, bytes: medium.bytes })
}

/// A message, with addresses of its files that work from now on. What was shared is not among them.
pub(super) fn get(desk: &Arc<Desk>, call: &Call) -> Answered {
    let files = desk.state().carried.messages.get(&call.id).cloned();
    let files = files.ok_or(error::UNKNOWN_OBJECT)?;
    let shown = |(kind, medium): &(String, String)| {
        let url = address(desk, &call.base, EDGE, medium);
        let mut file = json!({"id": medium});
        match kind.as_str() {
            "image" => file["image_data"] = json!({"url": url}),
            "video" => file["video_data"] = json!({"url": url}),
            "audio" | "file" => file["file_url"] = json!(url),
            _ => return None,
        }
        Some(file)
    };
    let data: Vec<Value> = files.iter().filter_map(shown).collect();
    Ok(Reply::Json(json!({"id": call.id, "attachments": {"data": data}})))
}

/// Takes a file to a page: a form with `message`, which says what it is, and `filedata`.
pub(super) fn upload(desk: &Arc<Desk>, call: &Call) -> Answered {
    messaging::page(desk, &call.id)?;
    let mut request = Request::new(call.body.clone().into());
    // It was limited when it came.
    DefaultBodyLimit::disable().apply(&mut request);
    request.headers_mut().extend(
        call.headers.get(header::CONTENT_TYPE).map(|kind| (header::CONTENT_TYPE, kind.clone())),
    );
    let desk = Arc::clone(desk);
    Ok(Reply::Later(Box::pin(async move {
        let wrong = |_| GraphError::invalid("The body is not a form with a file.");
        let mut form = Multipart::from_request(request, &()).await.map_err(|_| wrong(()))?;
        let (mut message, mut file) = (Value::Null, None);
        while let Some(field) = form.next_field().await.map_err(|_| wrong(()))? {
            let kind = field.content_type().map(str::to_owned);
            match field.name() {
                Some("message") => {
                    let text = field.text().await.map_err(|_| wrong(()))?;
                    message = serde_json::from_str(&text).unwrap_or_default();
                }
                Some("filedata") => {
                    file = Some((kind, field.bytes().await.map_err(|_| wrong(()))?));
                }
                _ => {}
            }
        }
        let kind = message["attachment"]["type"].as_str();
        if !matches!(kind, Some("image" | "audio" | "video" | "file")) {
            return Err(GraphError::invalid("message.attachment.type is none."));
        }
        let (mime_type, bytes) = file.ok_or_else(|| GraphError::missing("filedata"))?;
        if bytes.is_empty() || bytes.len() > TAKEN_MAX {
            return Err(error::ATTACHMENT);
        }
        let at = desk.clock.passed();
        let id = desk.state().uploads.add(mime_type.unwrap_or_default(), bytes, at);
        Ok(Reply::Json(json!({"attachment_id": id})))
    })))
}
