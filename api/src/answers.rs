//! Long answers on their way: their bytes count until the client has taken them, tenant by tenant. A page of
//! mails may have tens of megabytes, and who asks for many of them need not read one.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actors::failure::{Failure, Full};
use axum::body::{Body, HttpBody, to_bytes};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use config::Limits;
use engine::id::TenantId;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::error::ApiError;

/// All of them.
pub struct Answers {
    most: usize,
    of_tenant: usize,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    tenants: HashMap<TenantId, usize>,
    next: u64,
    /// In the order in which they began.
    all: BTreeMap<u64, One>,
}

struct One {
    tenant: TenantId,
    bytes: usize,
    since: Instant,
    rest: Rest,
}

/// What of an answer is still to be sent; `None`: it was cut.
type Rest = Arc<Mutex<Option<Bytes>>>;

/// An answer on its way.
struct Counted {
    held: Arc<Mutex<Held>>,
    n: u64,
    rest: Rest,
}

/// Of shorter ones there is one at most for each connection.
const LONG: u64 = 64 << 10;
/// So much of an answer is handed over at once.
const PIECE: usize = 64 << 10;
/// After so long an answer makes room for another one of its tenant.
const LET_BE: Duration = Duration::from_secs(10);

impl Answers {
    /// So many bytes at most, and of one tenant. An answer that is larger than that is there alone.
    pub fn new(limits: &Limits) -> Self {
        let (most, of_tenant) = (limits.answers_node_bytes, limits.answers_tenant_bytes);
        Self { most, of_tenant, held: Arc::default() }
    }

    /// The answer for a tenant; where it is long and there is no room for it, that there is none. What was
    /// changed is answered all the same: nobody must do it again.
    pub async fn counted(&self, tenant: TenantId, method: &Method, response: Response) -> Response {
        // What is read as it is sent does not say how long it is.
        let Some(LONG..) = response.body().size_hint().exact() else { return response };
        let (parts, body) = response.into_parts();
        let Ok(bytes) = to_bytes(body, usize::MAX).await else {
            return ApiError::unavailable("this cannot be shown now; try again shortly")
                .into_response();
        };
        let begun = lock(&self.held).begin(tenant, &bytes, (self.most, self.of_tenant));
        match begun {
            Ok((n, rest)) => {
                let counted = Counted { held: self.held.clone(), n, rest };
                Response::from_parts(parts, Body::new(counted))
            }
            Err(full) if matches!(*method, Method::GET | Method::HEAD) => {
                ApiError::from(Failure::busy(full)).into_response()
            }
            Err(_) => Response::from_parts(parts, Body::from(bytes)),
        }
    }

    /// Bytes of long answers on their way.
    pub fn bytes(&self) -> usize {
        lock(&self.held).bytes
    }
}

impl Held {
    /// Counts an answer, others being cut where that makes room for it; or says what is full.
    fn begin(
        &mut self,
        tenant: TenantId,
        bytes: &Bytes,
        (most, of_tenant): (usize, usize),
    ) -> Result<(u64, Rest), Full> {
        let long_since = |one: &One| one.since.elapsed() >= LET_BE;
        loop {
            let own = self.of(tenant);
            if own == 0 || own + bytes.len() <= of_tenant {
                break;
            }
            self.cut(tenant, long_since).ok_or(Full::OrganizationAnswers)?;
        }
        while self.bytes > 0 && self.bytes + bytes.len() > most {
            let own = self.of(tenant) + bytes.len();
            let largest = self.tenants.iter().max_by_key(|(_, bytes)| **bytes);
            let cut = match largest {
                // Whoever has more than this one would have makes room for it.
                Some((largest, bytes)) if *bytes > own => self.cut(*largest, |_| true),
                _ => self.cut(tenant, long_since),
            };
            cut.ok_or(Full::Answers)?;
        }
        let n = self.next;
        self.next += 1;
        let rest = Arc::new(Mutex::new(Some(bytes.clone())));
        let since = Instant::now();
        self.all.insert(n, One { tenant, bytes: bytes.len(), since, rest: rest.clone() });
        *self.tenants.entry(tenant).or_default() += bytes.len();
        self.bytes += bytes.len();
        Ok((n, rest))
    }

    /// Cuts the oldest answer of a tenant, if there is one and it may be.
    fn cut(&mut self, tenant: TenantId, may_be: impl Fn(&One) -> bool) -> Option<()> {
        let oldest = self.all.iter().find(|(_, one)| one.tenant == tenant);
        let (n, one) = oldest.filter(|(_, one)| may_be(one))?;
        *lock(&one.rest) = None;
        self.ended(*n);
        Some(())
    }

    fn ended(&mut self, n: u64) {
        let Some(One { tenant, bytes, .. }) = self.all.remove(&n) else { return };
        self.bytes -= bytes;
        if let Some(of_tenant) = self.tenants.get_mut(&tenant) {
            *of_tenant -= bytes;
            if *of_tenant == 0 {
                self.tenants.remove(&tenant);
            }
        }
    }

    fn of(&self, tenant: TenantId) -> usize {
        self.tenants.get(&tenant).copied().unwrap_or_default()
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        Poll::Ready(match &mut *lock(&self.rest) {
            None => Some(Err(std::io::Error::other("the answer made room for another one"))),
            Some(rest) if rest.is_empty() => None,
            Some(rest) => {
                let piece = rest.split_to(PIECE.min(rest.len()));
                // A part of it would keep all of it in memory, also once it is cut.
                Some(Ok(Frame::data(Bytes::copy_from_slice(&piece))))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.rest).as_ref().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = lock(&self.rest);
        rest.as_ref().map_or_else(SizeHint::new, |rest| SizeHint::with_exact(rest.len() as u64))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        lock(&self.held).ended(self.n);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::Method;
    use axum::response::Response;
    use config::Config;
    use engine::id::TenantId;
    use uuid::Uuid;

    use super::{Answers, LET_BE};

    const OURS: TenantId = TenantId(Uuid::from_u128(1));
    const OTHER: TenantId = TenantId(Uuid::from_u128(2));

    fn answers(most: usize, of_tenant: usize) -> Answers {
        let mut limits = Config::default().limits;
        (limits.answers_node_bytes, limits.answers_tenant_bytes) = (most, of_tenant);
        Answers::new(&limits)
    }

    async fn get(answers: &Answers, tenant: TenantId, bytes: usize) -> Response {
        answers.counted(tenant, &Method::GET, Response::new(Body::from(vec![7; bytes]))).await
    }

    async fn read(response: Response) -> Option<Vec<u8>> {
        to_bytes(response.into_body(), usize::MAX).await.ok().map(Vec::from)
    }

    #[tokio::test]
    async fn a_long_answer_counts_until_it_is_taken_or_given_up_and_arrives_whole() {
        let answers = answers(1_000_000, 1_000_000);
        let (long, given_up) =
            (get(&answers, OURS, 200_001).await, get(&answers, OURS, 70_000).await);
        assert_eq!(answers.bytes(), 270_001);
        drop(given_up);
        assert_eq!(read(long).await, Some(vec![7; 200_001]));
        let short = get(&answers, OURS, 65_535).await;
        assert_eq!(answers.bytes(), 0);
        assert_eq!(read(short).await, Some(vec![7; 65_535]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_tenant_has_not_taken_for_long_makes_room_for_what_it_asks_for_now() {
        let answers = answers(1_000_000, 150_000);
        let (first, second) =
            (get(&answers, OURS, 70_000).await, get(&answers, OURS, 70_000).await);
        assert_eq!(get(&answers, OURS, 70_000).await.status(), 429);
        tokio::time::advance(LET_BE).await;
        let third = get(&answers, OURS, 70_000).await;
        assert_eq!((third.status().as_u16(), answers.bytes()), (200, 140_000));
        assert_eq!(read(first).await, None, "it is cut");
        assert!(read(second).await.is_some() && read(third).await.is_some());
        assert_eq!(get(&answers, OURS, 900_000).await.status(), 200, "it is alone");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_most_makes_room_for_others_and_who_would_have_most_waits() {
        let answers = answers(300_000, 250_000);
        let (first, second) =
            (get(&answers, OURS, 120_000).await, get(&answers, OURS, 120_000).await);
        let theirs = get(&answers, OTHER, 100_000).await;
        assert_eq!((theirs.status().as_u16(), answers.bytes()), (200, 220_000));
        assert_eq!(get(&answers, OTHER, 100_000).await.status(), 503);
        assert_eq!(read(first).await, None, "it is cut");
        assert!(read(second).await.is_some() && read(theirs).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_changed_is_answered_however_full_it_is() {
        let answers = answers(1_000_000, 100_000);
        let _unread = get(&answers, OURS, 90_000).await;
        let long = Response::new(Body::from(vec![7; 70_000]));
        let changed = answers.counted(OURS, &Method::POST, long).await;
        assert_eq!(read(changed).await, Some(vec![7; 70_000]));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(get(&answers, OURS, 70_000).await.status(), 429);
    }
}
