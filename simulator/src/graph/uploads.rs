//! Media: taken, looked up, downloaded, deleted (Meta, "Media"); and the handles of the resumable
//! upload that templates show media by.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::header;
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::desk::Desk;
use super::numbers::done;
use super::routes::{Answered, Call, Reply};
use crate::error::{self, GraphError};
use crate::media::{MediaKind, Medium};
use crate::signature::sign;

/// How long a medium's address works.
const ADDRESS: Duration = Duration::from_mins(5);
/// How long an uploaded medium is kept, and how long a customer's.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// The first id of an upload.
const FIRST_ID: u64 = 1_300_000_000_000_001;
/// How the id of a resumable upload begins.
pub(super) const SESSION: &str = "upload:";
/// Resumable uploads under way at once; beyond it the oldest are forgotten.
const SESSIONS: usize = 100;
/// The most bytes of one.
const SESSION_MAX: usize = 100 << 20;

/// A medium that was uploaded.
#[derive(Clone, Debug)]
struct Upload {
    medium: Medium,
    at: Duration,
}

/// A resumable upload under way.
#[derive(Debug)]
struct Session {
    id: String,
    length: usize,
    bytes: Vec<u8>,
}

/// What was uploaded, bounded by bytes.
#[derive(Debug)]
pub(super) struct Uploads {
    all: BTreeMap<u64, Upload>,
    made: u64,
    bytes: usize,
    most: usize,
    sessions: VecDeque<Session>,
    deleted: VecDeque<String>,
    /// What lookups name instead of the address where a medium is.
    pub(super) named_at: Option<String>,
}

impl Uploads {
    pub(super) fn new(most: usize) -> Self {
        Self {
            all: BTreeMap::new(),
            made: 0,
            bytes: 0,
            most,
            sessions: VecDeque::new(),
            deleted: VecDeque::new(),
            named_at: None,
        }
    }

    /// Whether this is the id of a medium: uploaded, or a simulated customer's.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.medium(id).is_some()
    }

    /// A medium that is here.
    pub(super) fn medium(&self, id: &str) -> Option<Medium> {
        if self.deleted.iter().any(|deleted| deleted == id) {
            return None;
        }
        let uploaded = id.parse().ok().and_then(|id: u64| self.all.get(&id));
        uploaded.map(|upload| upload.medium.clone()).or_else(|| Medium::of_id(id))
    }

    pub(super) fn add(&mut self, mime_type: String, bytes: Bytes, at: Duration) -> String {
        let id = FIRST_ID + self.made;
        self.made += 1;
        self.bytes += bytes.len();
        let medium = Medium { id: id.to_string(), mime_type, bytes };
        self.all.insert(id, Upload { medium, at });
        let is_old = |upload: &Upload| upload.at + KEPT <= at;
        while let Some(first) = self.all.first_entry() {
            if self.bytes <= self.most && !is_old(first.get()) {
                break;
            }
            self.bytes -= first.remove().medium.bytes.len();
        }
        id.to_string()
    }

    fn delete(&mut self, id: &str) {
        if let Some(upload) = id.parse().ok().and_then(|id: u64| self.all.remove(&id)) {
            self.bytes -= upload.medium.bytes.len();
            return;
        }
        if self.deleted.len() >= SESSIONS {
            self.deleted.pop_front();
        }
        self.deleted.push_back(id.to_owned());
    }
}

/// Takes a medium: a form with `messaging_product`, `type` and `file`.
pub(super) fn upload(desk: &Arc<Desk>, call: &Call) -> Answered {
    desk.account(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
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
        let (mut product, mut kind, mut file) = (None, None, None);
        while let Some(field) = form.next_field().await.map_err(|_| wrong(()))? {
            let declared = field.content_type().map(str::to_owned);
            match field.name() {
                Some("file") => {
                    kind = kind.or(declared);
                    file = Some(field.bytes().await.map_err(|_| wrong(()))?);
                }
                Some("type") => kind = Some(field.text().await.map_err(|_| wrong(()))?),
                Some("messaging_product") => {
                    product = Some(field.text().await.map_err(|_| wrong(()))?);
                }
                _ => {}
            }
        }
        if product.as_deref() != Some("whatsapp") {
            return Err(GraphError::invalid("messaging_product must be whatsapp."));
        }
        let bytes = file.ok_or_else(|| GraphError::missing("file"))?;
        let mime_type = kind.ok_or_else(|| GraphError::missing("type"))?;
        let most = MediaKind::of_mime(&mime_type).limit();
        if bytes.is_empty() || bytes.len() > most {
            let words = format!("A file of type {mime_type} has 1 to {most} bytes.");
            return Err(error::MEDIA.because(words));
        }
        let at = desk.clock.passed();
        let id = desk.state().uploads.add(mime_type, bytes, at);
        Ok(Reply::Json(json!({"id": id})))
    })))
}

/// Where a medium can be downloaded for the next minutes.
pub(super) fn lookup(desk: &Arc<Desk>, call: &Call) -> Answered {
    let medium = desk.state().uploads.medium(&call.id).ok_or(error::UNKNOWN_OBJECT)?;
    let id = &medium.id;
    let url = address(desk, &call.base, "attachments", id);
    let url = desk.state().uploads.named_at.clone().unwrap_or(url);
    Ok(Reply::Json(json!({
        "messaging_product": "whatsapp",
        "id": id,
        "url": url,
        "mime_type": medium.mime_type,
        "sha256": medium.sha256_hex(),
        "file_size": medium.bytes.len(),
    })))
}

/// Where a medium lies for the next minutes.
pub(super) fn address(desk: &Desk, base: &str, edge: &str, id: &str) -> String {
    let until = (desk.clock.passed() + ADDRESS).as_millis();
    let hash = proof(desk, id, &until.to_string());
    format!("{base}/whatsapp_business/{id}/{edge}?ext={until}&hash={hash}")
}

/// Whether a request is for an address that still works.
pub(super) fn is_address(desk: &Desk, call: &Call) -> Result<bool, GraphError> {
    let (until, hash) = (call.needed("ext")?, call.needed("hash")?);
    let is_over =
        until.parse::<u128>().map_or(true, |until| desk.clock.passed().as_millis() > until);
    Ok(!is_over && hash == proof(desk, &call.id, &until))
}

/// The bytes, while the address works.
pub(super) fn download(desk: &Arc<Desk>, call: &Call) -> Answered {
    let gone = || GraphError { http: 404, ..error::UNKNOWN_OBJECT };
    if !is_address(desk, call)? {
        return Err(gone());
    }
    let medium = desk.state().uploads.medium(&call.id).ok_or_else(gone)?;
    Ok(Reply::File { mime_type: medium.mime_type, bytes: medium.bytes })
}

/// Forgets a medium.
pub(super) fn delete(desk: &Arc<Desk>, call: &Call) -> Answered {
    let mut state = desk.state();
    if !state.uploads.knows(&call.id) {
        return Err(error::UNKNOWN_OBJECT);
    }
    state.uploads.delete(&call.id);
    done()
}

fn proof(desk: &Desk, id: &str, until: &str) -> String {
    let signed = sign(&desk.options.app_secret, format!("{id} {until}").as_bytes());
    signed.chars().rev().take(32).collect()
}

/// Begins a resumable upload of an app.
pub(super) fn begin(desk: &Arc<Desk>, call: &Call) -> Answered {
    let length = call.needed("file_length")?.parse().ok();
    let length = length.filter(|length| (1..=SESSION_MAX).contains(length));
    let length = length.ok_or_else(|| GraphError::invalid("file_length is not a size."))?;
    call.needed("file_type")?;
    let mut state = desk.state();
    let trace = state.book.trace();
    let id = format!("{SESSION}{trace}");
    let sessions = &mut state.uploads.sessions;
    if sessions.len() >= SESSIONS {
        sessions.pop_front();
    }
    sessions.push_back(Session { id: id.clone(), length, bytes: Vec::new() });
    Ok(Reply::Json(json!({"id": id})))
}

/// Takes the bytes of a resumable upload from `file_offset` on; a whole one becomes a handle.
pub(super) fn take(desk: &Arc<Desk>, call: &Call) -> Answered {
    let mut state = desk.state();
    let sessions = &mut state.uploads.sessions;
    let at = sessions.iter().position(|session| session.id == call.id);
    let at = at.ok_or(error::UNKNOWN_OBJECT)?;
    let session = &mut sessions[at];
    let offset = call.headers.get("file_offset").and_then(|offset| offset.to_str().ok());
    let offset: Option<usize> = offset.and_then(|offset| offset.parse().ok());
    if offset != Some(session.bytes.len()) {
        let words = format!("file_offset must be {}.", session.bytes.len());
        return Err(GraphError::invalid(words));
    }
    if session.bytes.len() + call.body.len() > session.length {
        return Err(GraphError::invalid("There are more bytes than file_length says."));
    }
    session.bytes.extend_from_slice(&call.body);
    if session.bytes.len() < session.length {
        return Ok(Reply::Json(json!({"id": session.id, "file_offset": session.bytes.len()})));
    }
    let handle = hex::encode(Sha256::digest(&session.bytes));
    sessions.remove(at);
    Ok(Reply::Json(json!({"h": format!("4::{handle}")})))
}
