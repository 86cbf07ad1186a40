//! Files: brought by people, carried by messages, shown to those who may see these.

use std::ops::Range;

use actors::tenants::Caller;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use engine::id::MediaId;
use engine::media::{Medium, Origin};
use engine::text;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use storage::media::{Draft, Incoming, as_declared};

use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Id, Key};
use crate::form::{Form, piece};
use crate::guard::{self, Me};
use crate::places::Place;

pub fn routes() -> Vec<Route> {
    let member = Access::Member;
    vec![
        route(Method::POST, "/api/media", member, "Upload a media file", upload)
            .form::<UploadForm>()
            .answers::<MediumView>(201),
        route(Method::GET, "/api/media/{id}", member, "Download or proxy a media file", download)
            .answers_file(),
        route(Method::POST, "/api/media/upload", member, "Upload a file to S3/MinIO", upload)
            .form::<UploadForm>()
            .answers::<MediumView>(201),
    ]
}

/// One file.
#[derive(JsonSchema)]
#[schemars(rename = "MediaUpload")]
#[expect(dead_code, reason = "it is read piece by piece; this is what the document says of it")]
struct UploadForm {
    #[schemars(extend("format" = "binary"))]
    file: String,
}

/// A file that is stored here.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Media")]
struct MediumView {
    id: MediaId,
    /// By its content.
    mime_type: String,
    /// In bytes.
    size: u64,
    /// Of its bytes, as hex.
    sha256: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<String>,
    /// Where it is read.
    url: String,
    created_at: Timestamp,
}

impl From<Medium> for MediumView {
    fn from(medium: Medium) -> Self {
        let Medium { id, mime_type, size, sha256, filename, created_at, .. } = medium;
        Self { id, mime_type, size, sha256, filename, url: format!("/api/media/{id}"), created_at }
    }
}

async fn upload(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    request: Request,
) -> Result<(StatusCode, Json<MediumView>), ApiError> {
    let most = app.config.limits.media_upload_bytes as u64;
    let mut form = Form::of(request, most).await?;
    let read = gather(&app, &caller, &mut form, most).await;
    if read.is_err() {
        form.drain(most).await;
    }
    let File { place, incoming, declared, filename } = read?;
    guard::still(&app, &caller).await?;
    if incoming.size() == 0 {
        return Err(ApiError::invalid("file", "has no bytes"));
    }
    let content = incoming.mime_type();
    let mime_type = as_declared(content, declared.as_deref()).map_err(|_| {
        let message = format!("is no such file as it says: its content is {content}");
        ApiError::invalid("file", message)
    })?;
    let id = key.derived(caller.agent.0, &key.route).unwrap_or_else(|| app.tenants.id());
    let draft = Draft {
        id: MediaId(id),
        mime_type,
        filename,
        origin: Origin::Uploaded { by: caller.agent },
        at: app.tenants.now(),
    };
    // Whole or not at all, also when the caller has left.
    let keeping = tokio::spawn(async move {
        let _place = place;
        incoming.keep(draft).await
    });
    let kept = keeping.await.map_err(|_| ApiError::unavailable("try again shortly"))?;
    Ok((StatusCode::CREATED, Json(kept?.into())))
}

/// A file that has come.
struct File {
    place: Place,
    incoming: Incoming,
    /// What it is said to be.
    declared: Option<String>,
    filename: Option<String>,
}

/// The one file of a form.
async fn gather(app: &App, caller: &Caller, form: &mut Form, most: u64) -> Result<File, ApiError> {
    let place = app.uploads.begin(caller.tenant)?;
    let (mut file, taken) = (None, form.taken());
    while let Some((name, mut part)) = form.next().await? {
        if name != "file" {
            return Err(ApiError::invalid(shown(&name), "is not a field here; send one `file`"));
        }
        if file.is_some() {
            return Err(ApiError::invalid("file", "is there twice; send one file at a time"));
        }
        let declared = part.content_type().map(str::to_owned);
        let filename = part.file_name().and_then(text::filename);
        let mut incoming = app.media.begin(caller.tenant, app.tenants.id(), most).await?;
        while let Some(piece) = piece(&mut part, &taken).await? {
            incoming.write(&piece).await?;
        }
        file = Some((incoming, declared, filename));
    }
    let (incoming, declared, filename) =
        file.ok_or_else(|| ApiError::invalid("file", "is required"))?;
    Ok(File { place, incoming, declared, filename })
}

/// A name as an answer repeats it.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(100).collect()
}

async fn download(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<MediaId>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let medium = visible(&app, &caller, id).await?;
    let medium = medium.ok_or_else(|| ApiError::not_found("file"))?;
    let tag = format!("\"{}\"", medium.sha256);
    let given = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let mut answer = if given(header::IF_NONE_MATCH).is_some_and(|tags| names(tags, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let counts = given(header::IF_RANGE).is_none_or(|of| of.trim() == tag);
        match given(header::RANGE).filter(|_| counts).and_then(|range| part(range, medium.size)) {
            None => whole(&app, &medium).await?,
            Some(Some(range)) => some(&app, &medium, range).await?,
            Some(None) => return Ok(beyond(&medium)),
        }
    };
    let fixed: [(HeaderName, &str); 4] = [
        (header::ACCEPT_RANGES, "bytes"),
        (header::ETAG, &tag),
        // Kept, and asked for again each time: who may see it may change.
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().extend(HeaderValue::from_str(value).map(|value| (name, value)));
    }
    Ok(answer)
}

/// A tenant's file that the caller may see: with a conversation that shows it, or because they
/// brought it and it shows nowhere yet, for some time.
pub async fn visible(app: &App, caller: &Caller, id: MediaId) -> Result<Option<Medium>, ApiError> {
    let Some(medium) = app.media.get(caller.tenant, id).await? else { return Ok(None) };
    let shown = app.media.shown(id, app.config.limits.media_messages).await?;
    let is_visible = match shown.is_empty() {
        true => {
            let stays = medium.created_at + app.config.limits.media_unshown;
            medium.origin == (Origin::Uploaded { by: caller.agent }) && app.tenants.now() < stays
        }
        false => app.desk.shows(caller.viewer(), id, &shown).await?,
    };
    Ok(Some(medium).filter(|_| is_visible))
}

/// Those of these files that the caller may send: such as they may see, and that not too many
/// messages show.
pub async fn all_sendable(
    app: &App,
    caller: &Caller,
    ids: &[MediaId],
) -> Result<Vec<Medium>, ApiError> {
    let (mut all, most) = (Vec::new(), app.config.limits.media_messages);
    for (n, id) in ids.iter().copied().enumerate() {
        let Some(medium) = visible(app, caller, id).await? else { continue };
        if app.media.shown(id, most).await?.len() >= most {
            let message = format!("stands in {most} messages already; upload the file once more");
            return Err(ApiError::invalid(format!("attachments[{n}].media_id"), message));
        }
        all.push(medium);
    }
    Ok(all)
}

/// Whether one of these tags is this one (RFC 9110, 13.1.2).
fn names(tags: &str, tag: &str) -> bool {
    let is_it = |given: &str| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag;
    tags.split(',').any(|given| is_it(given.trim()))
}

/// The part of so many bytes that is asked for (RFC 9110, 14.1.2): `Some(None)` where it has no
/// such part, `None` where all of it is answered.
fn part(range: &str, size: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = range.trim().strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok());
    let range = match (first, last) {
        ("", last) => {
            let last: u64 = number(last)??;
            size.saturating_sub(last)..size
        }
        (first, "") => number(first)??..size,
        (first, last) => {
            let (first, last): (u64, u64) = (number(first)??, number(last)??);
            if first > last {
                return None;
            }
            first..last.saturating_add(1).min(size)
        }
    };
    Some(Some(range).filter(|range| range.start < range.end))
}

/// All of a file.
pub async fn whole(app: &App, medium: &Medium) -> Result<Response, ApiError> {
    answer(app, medium, 0..medium.size).await
}

async fn some(app: &App, medium: &Medium, range: Range<u64>) -> Result<Response, ApiError> {
    let (first, last) = (range.start, range.end - 1);
    let mut answer = answer(app, medium, range).await?;
    *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = HeaderValue::from_str(&format!("bytes {first}-{last}/{}", medium.size));
    answer.headers_mut().extend(range.map(|range| (header::CONTENT_RANGE, range)));
    Ok(answer)
}

fn beyond(medium: &Medium) -> Response {
    let message = format!("the file has {} bytes; ask for a part of these", medium.size);
    let status = StatusCode::RANGE_NOT_SATISFIABLE;
    let mut answer = ApiError::new(status, "range_not_satisfiable", message).into_response();
    let range = HeaderValue::from_str(&format!("bytes */{}", medium.size));
    answer.headers_mut().extend(range.map(|range| (header::CONTENT_RANGE, range)));
    answer
}

async fn answer(app: &App, medium: &Medium, range: Range<u64>) -> Result<Response, ApiError> {
    let length = HeaderValue::from(range.end - range.start);
    let bytes = app.media.read(medium, range).await?;
    let (kind, is_safe) = served_as(&medium.mime_type);
    let mut answer = Body::from_stream(bytes).into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length);
    headers.extend(HeaderValue::from_str(kind).map(|kind| (header::CONTENT_TYPE, kind)));
    let disposition = disposition(is_safe, medium.filename.as_deref());
    let disposition = HeaderValue::from_str(&disposition);
    headers.extend(disposition.map(|value| (header::CONTENT_DISPOSITION, value)));
    Ok(answer)
}

/// As what a file is served, and whether a browser may show it: pictures, sounds and films, in
/// which nothing runs. What a browser might run has no type.
fn served_as(mime_type: &str) -> (&str, bool) {
    match mime_type {
        "image/jpeg" | "image/png" | "image/gif" | "image/webp" | "image/avif" | "image/bmp" => {
            (mime_type, true)
        }
        "video/mp4" | "video/webm" | "video/quicktime" | "video/3gpp" => (mime_type, true),
        _ if mime_type.starts_with("audio/") => (mime_type, true),
        "application/pdf" | "application/zip" => (mime_type, false),
        _ if mime_type.starts_with("application/vnd.openxmlformats-officedocument.") => {
            (mime_type, false)
        }
        _ => ("application/octet-stream", false),
    }
}

/// How a browser takes it, and under which name (RFC 6266).
fn disposition(is_safe: bool, filename: Option<&str>) -> String {
    let how = if is_safe { "inline" } else { "attachment" };
    let Some(filename) = filename else { return how.to_owned() };
    let plain = |c: char| if c.is_ascii_graphic() && !"\"\\%".contains(c) { c } else { '_' };
    let plain: String = filename.chars().map(plain).collect();
    let coded: String = filename.bytes().map(coded).collect();
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{coded}")
}

/// A byte of a name (RFC 8187, 3.2.1).
fn coded(byte: u8) -> String {
    match byte {
        b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{disposition, part, served_as};

    #[test]
    fn a_part_is_what_the_standard_says() {
        for (range, wanted) in [
            ("bytes=0-0", Some(Some(0..1))),
            ("bytes=2-4", Some(Some(2..5))),
            ("bytes=2-", Some(Some(2..10))),
            ("bytes=-3", Some(Some(7..10))),
            ("bytes=-30", Some(Some(0..10))),
            ("bytes=8-99", Some(Some(8..10))),
            ("bytes=10-", Some(None)),
            ("bytes=10-12", Some(None)),
            ("bytes=-0", Some(None)),
            // What is none, or several, is as if it were not there.
            ("bytes=4-2", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=0-1,3-4", None),
            ("items=0-1", None),
            ("bytes=+1-2", None),
            ("bytes=99999999999999999999999-", None),
        ] {
            assert_eq!(part(range, 10), wanted, "{range}");
        }
    }

    #[test]
    fn what_a_browser_might_run_is_served_as_something_to_keep() {
        for runs in [
            "text/html",
            "text/xml",
            "image/svg+xml",
            "text/plain",
            "text/javascript",
            "application/xhtml+xml",
            "application/x-shockwave-flash",
            "application/wasm",
        ] {
            assert_eq!(served_as(runs), ("application/octet-stream", false), "{runs}");
        }
        assert_eq!(served_as("image/png"), ("image/png", true));
        assert_eq!(served_as("application/pdf"), ("application/pdf", false));
    }

    #[test]
    fn a_name_is_carried_whole_and_never_breaks_its_header() {
        let named = disposition(false, Some("M\u{fc}ll \"1\".pdf"));
        assert_eq!(
            named,
            "attachment; filename=\"M_ll__1_.pdf\"; filename*=UTF-8''M%C3%BCll%20%221%22.pdf"
        );
        assert_eq!(disposition(true, None), "inline");
    }
}
