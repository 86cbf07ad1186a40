//! A bucket that speaks S3 as far as files need it: objects, uploads in parts, ranges. It asks for
//! signed requests and keeps everything in memory.

mod signed;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running bucket. It ends when it is dropped.
pub struct Bucket {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

/// What a bucket is called, and who may use it.
#[derive(Clone, Debug)]
pub struct BucketOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    pub name: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
}

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Nothing, until it is otherwise.
    Silent,
    /// 503 to everything.
    Busy,
}

/// What it holds.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// By their keys.
    pub objects: BTreeMap<String, Bytes>,
    /// Uploads that are neither complete nor aborted, by id.
    pub uploads: BTreeMap<String, Begun>,
    /// What it was asked for in order, as `GET key bytes=0-9`.
    pub requests: Vec<String>,
    /// How many uploads were begun.
    begun: u64,
}

/// An upload in parts.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    pub key: String,
    /// By number.
    pub parts: BTreeMap<u32, Bytes>,
}

struct Shared {
    options: BucketOptions,
    mood: watch::Sender<Mood>,
    held: watch::Sender<Held>,
}

/// What is asked of it, taken apart.
struct Asked<'a> {
    method: &'a Method,
    key: &'a str,
    part: Option<u32>,
    upload: Option<String>,
    begins: bool,
    range: Option<&'a str>,
}

/// Every part but the last has so many bytes.
const PART_BYTES_MIN: usize = 5 << 20;
/// Requests that are remembered; then it begins anew.
const REQUESTS_MAX: usize = 10_000;

impl Default for BucketOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: "files".to_owned(),
            region: "us-east-1".to_owned(),
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "a secret of the bucket".to_owned(),
        }
    }
}

impl Bucket {
    /// Starts one, empty.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn start(options: BucketOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let (mood, held) = (watch::Sender::new(Mood::Well), watch::Sender::new(Held::default()));
        let shared = Arc::new(Shared { options, mood, held });
        let router = Router::new()
            .fallback(serve)
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the bucket stopped");
            }
        });
        Ok(Self { address, shared, serving })
    }

    /// Its endpoint.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it is called, and who may use it.
    pub fn options(&self) -> &BucketOptions {
        &self.shared.options
    }

    /// It answers like this from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.shared.mood.send_replace(mood);
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        self.shared.held.borrow().clone()
    }

    /// What it holds once that is enough.
    pub async fn until(&self, enough: impl Fn(&Held) -> bool) -> Held {
        let mut held = self.shared.held.subscribe();
        held.wait_for(|held| enough(held)).await.expect("the sender is in self").clone()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    shared.held.send_modify(|held| {
        if held.requests.len() >= REQUESTS_MAX {
            held.requests.clear();
        }
        let range = range.map(|range| format!(" {range}")).unwrap_or_default();
        held.requests.push(format!("{method} {key}{range}"));
    });
    let mut mood = shared.mood.subscribe();
    let speaks = mood.wait_for(|mood| *mood != Mood::Silent).await;
    if !speaks.is_ok_and(|mood| *mood == Mood::Well) {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
    }
    if let Err(code) = signed::check(&shared.options, (&method, &uri, &headers), &body) {
        let is_no = ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"].contains(&code);
        return refused(if is_no { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST }, code);
    }
    if bucket != shared.options.name {
        return refused(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let asked = Asked {
        method: &method,
        key,
        part: query.get("partNumber").and_then(|number| number.parse().ok()),
        upload: query.get("uploadId").cloned(),
        begins: query.contains_key("uploads"),
        range,
    };
    let mut answer = None;
    shared.held.send_modify(|held| answer = Some(held.answer(&asked, body)));
    answer.expect("it was just made").unwrap_or_else(|(status, code)| refused(status, code))
}

impl Held {
    fn answer(
        &mut self,
        asked: &Asked<'_>,
        body: Bytes,
    ) -> Result<Response, (StatusCode, &'static str)> {
        let no_upload = (StatusCode::NOT_FOUND, "NoSuchUpload");
        let key = asked.key.to_owned();
        let tag = |bytes: &[u8]| [(header::ETAG, tag(bytes))];
        match (asked.method, &asked.upload, asked.part) {
            (&Method::POST, None, _) if asked.begins => {
                self.begun += 1;
                let id = format!("upload {}", self.begun);
                let answer = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                self.uploads.insert(id, Begun { key, parts: BTreeMap::new() });
                Ok(answer.into_response())
            }
            (&Method::PUT, Some(id), Some(number)) => {
                let upload = self.uploads.get_mut(id).ok_or(no_upload)?;
                let answer = tag(&body).into_response();
                upload.parts.insert(number, body);
                Ok(answer)
            }
            (&Method::POST, Some(id), None) => {
                let upload = self.uploads.get(id).ok_or(no_upload)?;
                let whole = upload.whole(&body).map_err(|code| (StatusCode::BAD_REQUEST, code))?;
                let tag = self::tag(&whole);
                let answer = format!(
                    "<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
                );
                self.uploads.remove(id);
                self.objects.insert(key, whole);
                Ok(answer.into_response())
            }
            (&Method::DELETE, Some(id), None) => {
                self.uploads.remove(id).ok_or(no_upload)?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            (&Method::PUT, None, None) => {
                let answer = tag(&body).into_response();
                self.objects.insert(key, body);
                Ok(answer)
            }
            (&Method::DELETE, None, None) => {
                self.objects.remove(&key);
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            (&Method::GET, None, None) => {
                let object = self.objects.get(&key).ok_or((StatusCode::NOT_FOUND, "NoSuchKey"))?;
                let Some(range) = asked.range else {
                    return Ok((tag(object), object.clone()).into_response());
                };
                let invalid = (StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
                let Range { start, end } = part(range, object.len()).ok_or(invalid)?;
                let range = format!("bytes {start}-{}/{}", end - 1, object.len());
                let range = [(header::CONTENT_RANGE, range)];
                let bytes = object.slice(start..end);
                Ok((StatusCode::PARTIAL_CONTENT, tag(object), range, bytes).into_response())
            }
            _ => Err((StatusCode::NOT_IMPLEMENTED, "NotImplemented")),
        }
    }
}

impl Begun {
    /// All parts together, if they are those that this list names.
    fn whole(&self, list: &[u8]) -> Result<Bytes, &'static str> {
        let list = String::from_utf8_lossy(list);
        let named = list.split("<PartNumber>").skip(1);
        let named: Option<Vec<u32>> =
            named.map(|part| part.split_once('<')?.0.parse().ok()).collect();
        if named != Some(self.parts.keys().copied().collect()) {
            return Err("InvalidPart");
        }
        let mut before = self.parts.values().rev().skip(1);
        if before.any(|part| part.len() < PART_BYTES_MIN) {
            return Err("EntityTooSmall");
        }
        let parts: Vec<&[u8]> = self.parts.values().map(|part| &part[..]).collect();
        Ok(parts.concat().into())
    }
}

/// `bytes=0-9` of so many.
fn part(range: &str, size: usize) -> Option<Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let range = first.parse().ok()?..last.parse::<usize>().ok()?.checked_add(1)?.min(size);
    (range.start < range.end).then_some(range)
}

fn tag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(bytes)[..16]))
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, format!("<Error><Code>{code}</Code><Message>said by a stand-in</Message></Error>"))
        .into_response()
}
