//! Who may write: one row, which its holder renews and a standby takes over.
//!
//! Every stamp of a holder lies in its term, and the next term begins where that one ended, whatever
//! the clocks say: what a former holder still sends loses to what the newer one writes. How long a
//! lease is good is counted on a clock that goes on while the machine sleeps, from before its
//! renewal was sent; a standby counts from when it first saw the row as it is.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::{Cql, NotOpened, cluster_key, not_opened, schema};
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::moving::{Pages, Source};
use crate::port::{Batch, Claim, Guarantees, Key, Pending, Row, Scan, Stamp, Store, Swap, Table};

/// The stamp that would be made now: never below one that was made.
pub type Now = Arc<dyn Fn() -> Stamp + Send + Sync>;

/// How often within a lease it is renewed, and how often a standby looks.
const RENEWALS: u32 = 3;
const LOOKS: u32 = 20;
const LOOK_MAX: Duration = Duration::from_millis(500);
/// How often our row is replaced, where renewals of ours come in between.
const REPLACES: usize = 3;

/// The right to write, while it is renewed. Clones are the same.
#[derive(Clone)]
pub struct Lease(Arc<Held>);

struct Held {
    store: Cql,
    owner: Uuid,
    now: Now,
    lasts: Duration,
    /// When it was asked for.
    asked: Instant,
    row: Mutex<Stored>,
    from: i64,
    until: AtomicI64,
    /// By [`boot`].
    good_until: AtomicI64,
    lost: watch::Sender<bool>,
    short: Notify,
}

/// Stamps from `from` on and before `until` are the owner's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LeaseRow {
    owner: Uuid,
    from: i64,
    until: i64,
    /// Microseconds for which it is good, as its owner has it.
    lasts: i64,
    /// Given back: nobody needs to wait.
    free: bool,
}

/// A row, and its body as it is stored: what a swap compares.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    row: LeaseRow,
    body: Vec<u8>,
}

impl Stored {
    fn of(row: LeaseRow) -> Self {
        let body = encode(&row);
        Self { row, body }
    }

    fn read(body: Vec<u8>) -> Result<Self, StoreError> {
        Ok(Self { row: decode(&body)?, body })
    }
}

impl Lease {
    /// Waits until nobody else has the lease, and takes it. `waits` says when it has to.
    ///
    /// # Errors
    /// The row cannot be read at all: it is not one of ours, or there is no permission.
    pub async fn take(
        store: Cql,
        owner: Uuid,
        now: Now,
        lasts: Duration,
        waits: watch::Sender<bool>,
    ) -> Result<Self, NotOpened> {
        let mut seen: Option<(Stored, i64)> = None;
        loop {
            match read(&store).await {
                Ok(there) => {
                    let at = boot();
                    let (row, since) = match (there, seen.take()) {
                        (Some(there), Some((known, since))) if there == known => {
                            (Some(there), since)
                        }
                        (there, _) => (there, at),
                    };
                    let is_over = row.as_ref().is_none_or(|Stored { row, .. }| {
                        row.free || row.owner == owner || at - since >= row.lasts
                    });
                    if is_over {
                        let taken = Self::try_take(&store, owner, &now, lasts, row.as_ref()).await;
                        if let Some(lease) = taken? {
                            return Ok(lease);
                        }
                    } else {
                        waits.send_replace(true);
                    }
                    seen = row.map(|row| (row, since));
                }
                Err(error @ StoreError::Rejected(_)) => return Err(not_opened(error)),
                Err(StoreError::Corrupt(cause)) => {
                    return Err(NotOpened(format!("who may write cannot be read: {cause}")));
                }
                Err(error) => tracing::warn!(%error, "who may write is not known now"),
            }
            sleep((lasts / LOOKS).min(LOOK_MAX)).await;
        }
    }

    async fn try_take(
        store: &Cql,
        owner: Uuid,
        now: &Now,
        lasts: Duration,
        there: Option<&Stored>,
    ) -> Result<Option<Self>, NotOpened> {
        let (sent, asked) = (boot(), Instant::now());
        let made = now().0;
        // Nobody wrote before the first.
        let from = there.map_or(made, |there| there.row.until);
        let until = made.max(from) + micros(lasts);
        let ours = Stored::of(LeaseRow { owner, from, until, lasts: micros(lasts), free: false });
        match exchange(store, there, &ours).await {
            Ok(Swap::Done) => {}
            Ok(Swap::Stale(_)) => return Ok(None),
            Err(error @ StoreError::Rejected(_)) => return Err(not_opened(error)),
            Err(error) => {
                tracing::warn!(%error, "the right to write was not given");
                return Ok(None);
            }
        }
        Ok(Some(Self(Arc::new(Held {
            store: store.clone(),
            owner,
            now: now.clone(),
            lasts,
            asked,
            from,
            until: AtomicI64::new(until),
            row: Mutex::new(ours),
            good_until: AtomicI64::new(sent + micros(lasts)),
            lost: watch::Sender::new(false),
            short: Notify::new(),
        }))))
    }

    /// The lowest stamp that may be made.
    pub fn from(&self) -> Stamp {
        Stamp(self.0.from)
    }

    /// The lowest stamp that may not be made yet.
    pub fn until(&self) -> Stamp {
        Stamp(self.0.until.load(Ordering::Acquire))
    }

    /// Renews it until another process has it, and says so then, once. A database that does not
    /// answer for a while ends it only for that while: what nobody took over is renewed.
    pub async fn keep(&self) {
        let (every, soon) = (self.0.lasts / RENEWALS, self.0.lasts / LOOKS);
        let (mut begun, mut next, mut was_good) = (self.0.asked, every, true);
        while !*self.0.lost.borrow() {
            begun = due(begun, next, &self.0.short).await;
            next = match self.renew().await {
                Ok(true) => every,
                Ok(false) => return self.lose(),
                Err(error) => {
                    tracing::warn!(%error, "the right to write is not renewed yet");
                    soon
                }
            };
            if was_good != self.holds() {
                was_good = !was_good;
                match was_good {
                    true => tracing::info!("the right to write is renewed"),
                    false => tracing::error!("the right to write has run out: nothing is written"),
                }
            }
        }
    }

    /// Whether it is still ours.
    async fn renew(&self) -> Result<bool, StoreError> {
        let held = &self.0;
        let sent = boot();
        // Stamps that are ahead of the clock stay so, and no term runs away from it.
        let renewed = |there: &LeaseRow, made: i64| LeaseRow {
            until: (made + micros(held.lasts)).max(there.until),
            ..*there
        };
        let Some(renewed) = self.replace(renewed).await? else { return Ok(false) };
        held.until.store(renewed.until, Ordering::Release);
        held.good_until.fetch_max(sent + micros(held.lasts), Ordering::AcqRel);
        Ok(true)
    }

    /// Puts another row in place of ours, made of it and of the stamp that would be made now. `None`:
    /// it is not ours any more.
    async fn replace(
        &self,
        by: impl Fn(&LeaseRow, i64) -> LeaseRow,
    ) -> Result<Option<LeaseRow>, StoreError> {
        let held = &self.0;
        for _ in 0..REPLACES {
            let there = self.stored();
            let made = (held.now)().0.max(held.from);
            let ours = Stored::of(by(&there.row, made));
            let newest = match exchange(&held.store, Some(&there), &ours).await? {
                Swap::Done => {
                    self.know(ours.clone());
                    return Ok(Some(ours.row));
                }
                Swap::Stale(None) => return Ok(None),
                Swap::Stale(Some(body)) => Stored::read(body),
            };
            // A renewal of ours that was on its way, or of which we did not hear?
            match newest {
                Ok(newest) if newest.row.owner == held.owner && !newest.row.free => {
                    self.know(newest);
                }
                _ => return Ok(None),
            }
        }
        Err(StoreError::Unavailable("renewals of ours come in between".into()))
    }

    fn stored(&self) -> Stored {
        self.0.row.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn know(&self, newest: Stored) {
        *self.0.row.lock().unwrap_or_else(PoisonError::into_inner) = newest;
    }

    fn lose(&self) {
        if !self.0.lost.send_replace(true) {
            tracing::error!("another process has taken over the right to write");
        }
    }

    /// Whether it is good at this instant.
    pub fn holds(&self) -> bool {
        !*self.0.lost.borrow() && boot() < self.0.good_until.load(Ordering::Acquire)
    }

    /// Waits until it is lost.
    pub async fn lost(&self) {
        let _ = self.0.lost.subscribe().wait_for(|lost| *lost).await;
    }

    /// Gives it back, so that a standby need not wait. Nothing is written after that.
    pub async fn give_back(&self) {
        if self.0.lost.send_replace(true) {
            return;
        }
        let free = |there: &LeaseRow, made: i64| LeaseRow { until: made + 1, free: true, ..*there };
        if let Err(error) = self.replace(free).await {
            tracing::warn!(%error, "the right to write was not given back: a standby waits for its end");
        }
    }

    /// Whether this may be written now.
    fn allows(&self, stamp: Option<Stamp>) -> Result<(), StoreError> {
        if !self.holds() {
            return Err(StoreError::Unavailable("another process may write now".into()));
        }
        if stamp.is_some_and(|stamp| !(self.from()..self.until()).contains(&stamp)) {
            self.0.short.notify_one();
            return Err(StoreError::Unavailable("the lease has no stamps left".into()));
        }
        Ok(())
    }
}

/// Waits until so long after the last renewal was begun, or until one is wanted sooner: the next one
/// begins. From the end of a slow one it would come too late.
async fn due(begun: Instant, after: Duration, sooner: &Notify) -> Instant {
    tokio::select! {
        () = sleep_until(begun + after) => {}
        () = sooner.notified() => {}
    }
    Instant::now()
}

async fn read(store: &Cql) -> Result<Option<Stored>, StoreError> {
    let body = store.settled(&schema::CLUSTER, &cluster_key("lease")).await?;
    body.map(Stored::read).transpose()
}

async fn exchange(store: &Cql, from: Option<&Stored>, to: &Stored) -> Result<Swap, StoreError> {
    let expected = from.map(|stored| stored.body.clone());
    store.swap(&schema::CLUSTER, cluster_key("lease"), expected, Some(to.body.clone())).await
}

/// Microseconds since the machine started, also while it slept.
fn boot() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// A store that is written while the lease is good. What was written while it ended is unknown.
pub struct Leased {
    store: Cql,
    lease: Lease,
    /// Rows are older than the lease, and are written all the same.
    moves: bool,
}

impl Leased {
    /// The lease is renewed by [`Lease::keep`].
    pub fn new(store: Cql, lease: Lease) -> Self {
        Self { store, lease, moves: false }
    }

    /// The same for rows that keep the stamps that they were written with elsewhere: whoever raised
    /// its own above them, before it took the lease, may write them.
    pub fn moving(store: Cql, lease: Lease) -> Self {
        Self { store, lease, moves: true }
    }

    fn guard<'a, T: Send + 'a>(
        &'a self,
        stamp: Option<Stamp>,
        write: impl FnOnce() -> Pending<'a, T>,
    ) -> Pending<'a, T> {
        if let Err(refused) = self.lease.allows(stamp) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        let write = write();
        Box::pin(async move {
            let outcome = write.await?;
            if self.lease.holds() {
                return Ok(outcome);
            }
            Err(StoreError::Unknown("the right to write ended before the answer came".into()))
        })
    }
}

impl Store for Leased {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        self.store.get(table, key)
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        self.store.scan(scan)
    }

    fn apply(&self, batch: Batch) -> Pending<'_, ()> {
        let stamp = Some(batch.stamp).filter(|_| !self.moves);
        self.guard(stamp, || self.store.apply(batch))
    }

    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim> {
        self.guard(None, || self.store.claim(table, key, body, ttl))
    }

    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        self.guard(None, || self.store.swap(table, key, expected, body))
    }

    fn guarantees(&self) -> Guarantees {
        self.store.guarantees()
    }

    fn holds(&self) -> bool {
        self.lease.holds()
    }
}

impl Source for Leased {
    fn pages(&self, table: &'static Table) -> Pages<'_> {
        self.store.pages(table)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use tokio::sync::{Notify, watch};
    use tokio::time::{Instant, sleep};

    use super::{Lease, LeaseRow, RENEWALS, Stored, due, exchange, read};
    use crate::cql::tests::{fresh, keyspace, server};
    use crate::port::{Stamp, Swap};

    /// A lease with a renewal that came behind its holder's back.
    async fn renewed_unheard() -> Option<Lease> {
        let cql = keyspace(server().await?).await;
        let clock = AtomicI64::new(1);
        let now = Arc::new(move || Stamp(clock.fetch_add(1, Ordering::SeqCst)));
        let (lasts, waits) = (Duration::from_secs(3600), watch::Sender::new(false));
        let lease = Lease::take(cql, fresh(), now, lasts, waits).await.unwrap();
        let there = lease.stored();
        let unheard = Stored::of(LeaseRow { until: there.row.until + 1, ..there.row });
        let swapped = exchange(&lease.0.store, Some(&there), &unheard).await.unwrap();
        assert_eq!(swapped, Swap::Done);
        Some(lease)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_lease_is_given_back_also_where_a_renewal_comes_in_between() {
        let Some(lease) = renewed_unheard().await else { return };
        lease.give_back().await;
        let there = read(&lease.0.store).await.unwrap().unwrap();
        assert!(there.row.free, "{there:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_renewal_behind_one_of_which_nobody_heard_makes_the_lease_longer() {
        let Some(lease) = renewed_unheard().await else { return };
        let good_until = || lease.0.good_until.load(Ordering::Acquire);
        let before = (lease.until(), good_until());
        assert!(lease.renew().await.unwrap());
        assert!(lease.until() > before.0 && good_until() > before.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_good_all_the_time_also_where_its_renewals_are_slow() {
        let (every, wanted) = (Duration::from_secs(3), Notify::new());
        let lasts = every * RENEWALS;
        for takes in [4_400, 3_100, 10].map(Duration::from_millis) {
            let asked = Instant::now();
            let (mut begun, mut good_until) = (asked, asked + lasts);
            sleep(takes).await;
            for nth in 1..9 {
                begun = due(begun, every, &wanted).await;
                sleep(takes).await;
                assert!(Instant::now() < good_until, "one that takes {takes:?} comes too late");
                assert_eq!(begun - asked, every.max(takes) * nth);
                good_until = begun + lasts;
            }
        }
        wanted.notify_one();
        let now = Instant::now();
        assert_eq!(due(now, every, &wanted).await, now);
    }
}
