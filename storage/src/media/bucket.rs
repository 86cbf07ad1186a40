//! A bucket of what speaks S3: how it is opened, and what its refusals mean.

use std::error::Error;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use reqwest::Client;
use reqwest::redirect::Policy;

use super::objects::{BUCKET_PART_BYTES, Objects, Place};
use crate::error::StoreError;

/// Where a bucket is, and how it is spoken to.
pub struct BucketOptions {
    pub name: String,
    /// Without one, Amazon's in the region.
    pub endpoint: Option<String>,
    pub region: String,
    /// What the names of all files begin with, without a slash at its ends.
    pub prefix: Option<String>,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Whether the endpoint may be one without TLS.
    pub allow_http: bool,
    /// Longer than this it may not be silent.
    pub timeout: Duration,
    /// What fails in passing is asked again so often.
    pub retries: usize,
}

/// Why files cannot be written where they are to lie.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// It will not change by itself.
    #[error("{0}")]
    Refused(String),
    /// There was no answer, or none that says much.
    #[error("{0}")]
    Silent(String),
}

/// The waits between two attempts: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// What is larger may take a time of its own to get there.
pub(super) const LARGE_BYTES: usize = 256 * 1024;
/// So long the largest part, at 128 KiB a second.
const UPLOAD: Duration = Duration::from_secs(BUCKET_PART_BYTES as u64 / (128 * 1024));
/// So much of what is said of a failure is kept.
const REASON_CHARS: usize = 300;

pub(super) fn open(options: BucketOptions) -> Result<Objects, StoreError> {
    // A second call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let BucketOptions { name, timeout, retries, .. } = options;
    let client = |silence: Duration| {
        // A file may take its time as long as something of it comes.
        let client = Client::builder()
            .https_only(!options.allow_http)
            .connect_timeout(timeout)
            .read_timeout(silence)
            .redirect(Policy::none())
            .http1_only()
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string().into()));
        client.map(HttpClient::new)
    };
    let clients = Clients { brief: client(timeout)?, patient: client(timeout + UPLOAD)? };
    let (init_backoff, max_backoff) = BACKOFF;
    let retry = RetryConfig {
        backoff: BackoffConfig { init_backoff, max_backoff, ..BackoffConfig::default() },
        max_retries: retries,
        // Each try may last as long as the first.
        retry_timeout: timeout.saturating_mul(u32::try_from(retries + 1).unwrap_or(u32::MAX)),
    };
    let mut builder = AmazonS3Builder::new()
        .with_http_connector(clients)
        .with_retry(retry)
        .with_bucket_name(&name)
        .with_region(options.region)
        .with_access_key_id(options.access_key_id)
        .with_secret_access_key(options.secret_access_key)
        // Not all that speak S3 know how to delete several at once.
        .with_disable_bulk_delete(true);
    if let Some(endpoint) = options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    let failed = |error| StoreError::Unavailable(reason(&error).into());
    let bucket = Arc::new(builder.build().map_err(failed)?);
    let prefix = options.prefix.map(|prefix| format!("{prefix}/")).unwrap_or_default();
    let place = Place::Bucket { bucket: bucket.clone(), name, pause: timeout };
    Ok(Objects::of(bucket, place, prefix))
}

/// Give the object store what it asks with. While bytes are still on their way there is no answer, and
/// that is no silence.
#[derive(Clone, Debug)]
struct Clients {
    brief: HttpClient,
    /// For what takes its time to get there.
    patient: HttpClient,
}

impl HttpConnector for Clients {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Clients {
    // As `async_trait` has it.
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        let is_large = request.body().content_length() > LARGE_BYTES;
        let client = if is_large { &self.patient } else { &self.brief };
        client.execute(request).boxed()
    }
}

impl NotReached {
    pub(super) fn of(error: &object_store::Error, bucket: &str) -> Self {
        use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
        let said = reason(error);
        match error {
            NotFound { .. } => Self::Refused(format!(
                "there is no bucket `{bucket}` where files are to lie ({said}): make it, or change `storage.s3.bucket`"
            )),
            PermissionDenied { .. } | Unauthenticated { .. } => Self::Refused(format!(
                "the bucket `{bucket}` refuses to take files ({said}): check `storage.s3.access_key_id`, `storage.s3.secret_access_key`, and that this key may read, write and delete there"
            )),
            _ if is_passing(error) => Self::Silent(format!(
                "the bucket `{bucket}` for files cannot be reached ({said}): check `storage.s3.endpoint`, or wait until it is there"
            )),
            _ => Self::Refused(format!(
                "the bucket `{bucket}` takes no files ({said}): check `storage.s3.endpoint` and `storage.s3.region`"
            )),
        }
    }
}

/// Whether there was no answer at all.
pub(super) fn is_silence(error: &object_store::Error) -> bool {
    let silent = [HttpErrorKind::Connect, HttpErrorKind::Timeout];
    broken(error).is_some_and(|broken| silent.contains(&broken.kind()))
}

/// Whether it may be otherwise the next time: there was no whole answer, or one of a server that
/// cannot answer now.
fn is_passing(error: &object_store::Error) -> bool {
    let text = error.to_string();
    let passing = ["status code: 5", "status code: 408", "status code: 429"];
    broken(error).is_some() || passing.iter().any(|said| text.contains(said))
}

/// What is wrong in a few words: the code that S3 gives, or the innermost cause.
pub(super) fn reason(error: &object_store::Error) -> String {
    let text = error.to_string();
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let reason = match (code, broken(error)) {
        (Some((code, _)), _) => code.to_owned(),
        (None, Some(broken)) => causes(broken).last().map(ToString::to_string).unwrap_or_default(),
        (None, None) => text,
    };
    reason.chars().take(REASON_CHARS).collect()
}

/// How a request failed that had no whole answer.
fn broken(error: &object_store::Error) -> Option<&HttpError> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}
