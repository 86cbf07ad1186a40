//! A form with one file (RFC 7578), read piece by piece: nothing of it is gathered in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::Field;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::Bytes;
use futures_util::Stream;
use storage::media::NotStored;

use crate::error::ApiError;

/// A form that is being read.
pub struct Form {
    parts: Multipart,
    taken: Arc<AtomicI64>,
}

/// The bytes of a body, as they come. What reads a form takes all that is there before it hands
/// anything on: here nothing more is there than the next piece.
struct Sips {
    body: BodyDataStream,
    has_sipped: bool,
    /// Bytes since something was handed on.
    taken: Arc<AtomicI64>,
}

/// What stands between pieces of files, headers above all, has fewer bytes.
const BETWEEN_MAX: i64 = 1 << 20;

impl Form {
    /// Of a request, whose file has at most so many bytes. What announces twice as many is not read.
    pub async fn of(request: Request, most: u64) -> Result<Self, ApiError> {
        promised(request.headers(), most)?;
        let taken = Arc::new(AtomicI64::new(0));
        let (head, body) = request.into_parts();
        let sips = Sips { body: body.into_data_stream(), has_sipped: false, taken: taken.clone() };
        let mut request = Request::from_parts(head, Body::from_stream(sips));
        // It is counted as it is stored.
        DefaultBodyLimit::disable().apply(&mut request);
        let parts = Multipart::from_request(request, &()).await.map_err(|_| malformed())?;
        Ok(Self { parts, taken })
    }

    /// The next part with its name.
    pub async fn next(&mut self) -> Result<Option<(String, Field<'_>)>, ApiError> {
        self.taken.store(0, Ordering::Relaxed);
        let part = self.parts.next_field().await.map_err(|_| malformed())?;
        Ok(part.map(|part| (part.name().unwrap_or_default().to_owned(), part)))
    }

    /// Reads what is left of a form that is refused, so many bytes at most: who still sends does not
    /// listen.
    pub async fn drain(&mut self, most: u64) {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.taken.store(most.saturating_neg(), Ordering::Relaxed);
        while let Ok(Some(_)) = self.parts.next_field().await {}
    }

    /// The counter of what was taken, for [`piece`].
    pub fn taken(&self) -> Arc<AtomicI64> {
        self.taken.clone()
    }
}

/// The next piece of a part.
pub async fn piece(part: &mut Field<'_>, taken: &AtomicI64) -> Result<Option<Bytes>, ApiError> {
    let piece = part.chunk().await.map_err(|_| malformed())?;
    taken.store(0, Ordering::Relaxed);
    Ok(piece)
}

/// What is announced is a form, and not too large for its file.
fn promised(headers: &HeaderMap, most: u64) -> Result<(), ApiError> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("multipart/form-data") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send the file as the part `file` of `Content-Type: multipart/form-data`",
        ));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > most.saturating_mul(2)) {
        return Err(NotStored::TooLarge.into());
    }
    Ok(())
}

fn malformed() -> ApiError {
    let message = "the body is no whole form of `multipart/form-data`";
    ApiError::new(StatusCode::BAD_REQUEST, "malformed", message)
}

impl Stream for Sips {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.has_sipped) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = Pin::new(&mut self.body).poll_next(cx);
        if let Poll::Ready(Some(Ok(piece))) = &next {
            self.has_sipped = true;
            let length = i64::try_from(piece.len()).unwrap_or(i64::MAX);
            let before = self.taken.fetch_add(length, Ordering::Relaxed);
            if before > BETWEEN_MAX {
                return Poll::Ready(Some(Err(axum::Error::new("too much between parts"))));
            }
        }
        next
    }
}
