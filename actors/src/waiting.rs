//! What could not be taken in time waits here, durable and in order, until its thread can take it.
//! While a thread is in the set everything that a provider says of it goes there.

mod drain;
mod set;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::id::{TenantId, ThreadId};
use engine::time::Timestamp;
use storage::StoreError;
use storage::dead_letters::DeadLetters;
use storage::keys::hour;
use storage::waiting::{Body, Spot, WaitingItem, WaitingRows};
use tokio::sync::{Notify, OnceCell};
use uuid::Uuid;

use self::set::{Found, Row, Set, Written};
use crate::clock::{Clock, Stamps};
use crate::failure::{Failure, Full};
use crate::permits::Amount;

pub use self::drain::Drain;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct WaitingLimits {
    pub thread: Amount,
    pub tenant: Amount,
    pub node: Amount,
}

/// The threads that wait, and their rows.
pub struct Waiting {
    rows: WaitingRows,
    /// They say which threads are held.
    letters: DeadLetters,
    clock: Clock,
    stamps: Arc<Stamps>,
    limits: WaitingLimits,
    shards: Vec<Shard>,
    totals: Mutex<Totals>,
    calls: Mutex<Calls>,
    called: Notify,
    /// A thread has left.
    left: Notify,
}

#[derive(Default)]
struct Shard {
    /// Once its rows have been found.
    loaded: OnceCell<()>,
    set: Mutex<Set>,
    /// Where rows may lie.
    hours: Mutex<BTreeSet<i64>>,
}

#[derive(Default)]
struct Totals {
    node: Amount,
    tenants: HashMap<TenantId, Amount>,
}

/// Threads that are called up, the tenants in turn.
#[derive(Default)]
struct Calls {
    tenants: VecDeque<TenantId>,
    threads: HashMap<TenantId, VecDeque<ThreadId>>,
}

/// A row that will be written. Dropped before its write began, it will not be; dropped while it is
/// written, it may be there.
pub(crate) struct Entered {
    waiting: Arc<Waiting>,
    spot: Spot,
    row: Row,
    body: Option<Body>,
    outcome: Written,
}

/// A thread is being moved as long as this is there: nothing waits for it, so that what comes next
/// overtakes nothing.
pub(crate) struct Move {
    waiting: Arc<Waiting>,
    thread: ThreadId,
}

/// Rows that are read at once at the start: each may be as large as a webhook.
const PAGE: usize = 64;
/// Rows, and about how many bytes of them, that a thread's turn takes out.
const TURN_ROWS: usize = 256;
const TURN_BYTES: usize = 256 * 1024;

impl Waiting {
    /// Over these rows.
    pub fn new(
        rows: WaitingRows,
        letters: DeadLetters,
        clock: Clock,
        stamps: Arc<Stamps>,
        limits: WaitingLimits,
    ) -> Arc<Self> {
        held().increment(0.0);
        let shards = (0..=u8::MAX).map(|_| Shard::default()).collect();
        let (totals, calls) = (Mutex::default(), Mutex::default());
        let (called, left) = (Notify::new(), Notify::new());
        Arc::new(Self { rows, letters, clock, stamps, limits, shards, totals, calls, called, left })
    }

    /// Finds what an earlier run left waiting in a shard, once: before anything is answered for its
    /// threads.
    pub async fn load(&self, shard: u8) -> Result<(), StoreError> {
        let loaded = &self.shard(shard).loaded;
        loaded.get_or_try_init(|| self.find(shard)).await.copied()
    }

    /// Sends something to a thread, unless it waits: then this answers `None`. Nothing enters
    /// meanwhile.
    pub fn pass<T>(&self, thread: ThreadId, send: impl FnOnce() -> T) -> Option<T> {
        let set = self.set(thread);
        (!set.has(thread)).then(send)
    }

    /// A thread is going to be moved, unless something waits for it. Its shard is loaded.
    pub(crate) fn begin_move(self: &Arc<Self>, thread: ThreadId) -> Option<Move> {
        let may = self.set(thread).begin_move(thread);
        may.then(|| Move { waiting: self.clone(), thread })
    }

    /// Everything that a provider says of a thread waits from now on, and nothing is taken out
    /// until [`Waiting::release`].
    pub fn hold(&self, thread: ThreadId) {
        if self.set(thread).hold(thread) {
            held().increment(1.0);
        }
    }

    /// What waits of a thread that was held goes to it, in order.
    pub fn release(&self, thread: ThreadId) {
        if self.set(thread).release(thread) {
            held().decrement(1.0);
        }
        self.call(thread);
    }

    /// Whether a thread is held.
    pub fn is_held(&self, thread: ThreadId) -> bool {
        self.set(thread).is_held(thread)
    }

    /// How much waits.
    pub fn amount(&self) -> Amount {
        self.totals().node
    }

    /// How many threads wait, those that are held included.
    pub fn threads(&self) -> usize {
        self.shards.iter().map(|shard| lock(&shard.set).len()).sum()
    }

    /// Returns once no thread waits, also of what an earlier run left waiting.
    pub async fn emptied(&self) -> Result<(), StoreError> {
        for shard in 0..=u8::MAX {
            self.load(shard).await?;
        }
        loop {
            let left = self.left.notified();
            if self.threads() == 0 {
                return Ok(());
            }
            left.await;
        }
    }

    /// Since when the oldest item waits for a thread that is not held.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.shards.iter().filter_map(|shard| lock(&shard.set).oldest()).min()
    }

    /// Whether something more of a tenant may wait, or what is full.
    pub(crate) fn room(&self, tenant: TenantId) -> Result<(), Full> {
        self.totals().room(tenant, Amount::items(1), &self.limits)
    }

    /// An item will wait: its thread is in the set when this returns. Its shard is loaded.
    pub(crate) fn enter(
        self: &Arc<Self>,
        thread: ThreadId,
        item: &WaitingItem,
    ) -> Result<Entered, Full> {
        let body = Body::of(item);
        let (bytes, shard, tenant) = (body.bytes().len(), self.shard(thread.shard()), item.tenant);
        let mut set = lock(&shard.set);
        let amount = Amount { items: 1, bytes };
        if set.moves(thread) || !set.amount(thread).has_room(amount, self.limits.thread) {
            return Err(Full::WaitingConversation);
        }
        self.totals().enter(tenant, amount, &self.limits)?;
        // A clock that goes back does not bring a later row into an earlier hour.
        let newest = lock(&shard.hours).last().copied().unwrap_or(i64::MIN);
        let hour = hour(self.clock.now()).max(newest);
        let row = Row { tenant, hour, bytes, at: item.at };
        let spot = Spot { thread, hour, n: set.enter(thread, row) };
        let (waiting, body, outcome) = (self.clone(), Some(body), Written::Not);
        Ok(Entered { waiting, spot, row, body, outcome })
    }

    /// Makes rows durable.
    pub(crate) async fn write(&self, mut entered: Vec<Entered>) -> Result<(), Failure> {
        for Entered { spot, .. } in &entered {
            self.begin_hour(*spot).await?;
        }
        let rows = entered.iter_mut().filter_map(|row| {
            row.outcome = Written::Perhaps;
            Some((row.spot, row.body.take()?))
        });
        let rows: Vec<_> = rows.collect();
        let result = self.rows.put(rows, self.stamps.next()).await;
        if let Err(StoreError::Unavailable(_) | StoreError::Rejected(_)) = result {
            entered.iter_mut().for_each(|row| row.outcome = Written::Not);
        }
        Ok(result?)
    }

    async fn begin_hour(&self, spot: Spot) -> Result<(), StoreError> {
        let (shard, hour) = (spot.thread.shard(), spot.hour);
        let hours = &self.shard(shard).hours;
        if lock(hours).contains(&hour) {
            return Ok(());
        }
        self.rows.begin_hour(shard, hour, self.stamps.next()).await?;
        lock(hours).insert(hour);
        Ok(())
    }

    /// Forgets the hours in which nothing waits any more.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        let now = hour(self.clock.now());
        for shard in 0..=u8::MAX {
            let over: Vec<_> = {
                let (set, mut hours) = (self.set_of(shard), lock(&self.shard(shard).hours));
                // What is entered from now on begins the hour again, with a later stamp.
                let is_over = |hour: &i64| *hour < now && !set.uses(*hour);
                let over = hours.extract_if(.., is_over);
                over.map(|hour| (hour, self.stamps.next())).collect()
            };
            for (hour, stamp) in over {
                self.rows.end_hour(shard, hour, stamp).await?;
            }
        }
        Ok(())
    }

    async fn find(&self, shard: u8) -> Result<(), StoreError> {
        for thread in self.letters.parked(shard).await? {
            self.hold(thread);
        }
        let hours = self.rows.hours(shard).await?;
        for hour in &hours {
            let mut behind = None;
            loop {
                let page = self.rows.all(shard, *hour, behind, PAGE).await?;
                for (spot, body) in &page {
                    self.found(*spot, body);
                }
                behind = page.last().map(|(spot, _)| *spot);
                if page.len() < PAGE {
                    break;
                }
            }
        }
        lock(&self.shard(shard).hours).extend(hours);
        let threads: Vec<_> = self.set_of(shard).threads().collect();
        threads.into_iter().for_each(|thread| self.call(thread));
        Ok(())
    }

    fn found(&self, spot: Spot, body: &Body) {
        // What cannot be read has its turn, too.
        let (tenant, at) = match body.item() {
            Ok(item) => (item.tenant, item.at),
            Err(_) => (TenantId(Uuid::nil()), Timestamp(spot.hour * 3_600_000)),
        };
        let (hour, bytes) = (spot.hour, body.bytes().len());
        // Whoever looks again, as the store failed on the way, finds it again.
        if self.set(spot.thread).found(spot, Row { tenant, hour, bytes, at }) {
            // What is there is there, whatever the limits are by now.
            self.totals().add(tenant, Amount { items: 1, bytes });
        }
    }

    /// Calls a thread up for a turn of the drain.
    fn call(&self, thread: ThreadId) {
        let called = self.set(thread).call(thread);
        if let Some(tenant) = called {
            lock(&self.calls).push(tenant, thread);
            self.called.notify_one();
        }
    }

    /// The next thread that is called up; the tenants in turn.
    fn next(&self) -> Option<ThreadId> {
        lock(&self.calls).next()
    }

    fn begin(&self, thread: ThreadId) -> Found {
        let found = self.set(thread).begin(thread, TURN_ROWS, TURN_BYTES);
        if found == Found::Left {
            self.left.notify_waiters();
        }
        found
    }

    /// Ends a turn; the thread is called up for the next.
    fn end(&self, thread: ThreadId) {
        self.set(thread).end(thread);
        self.call(thread);
    }

    /// The bodies of rows of one hour, in their order; `None`: it is not there.
    async fn read(&self, page: &[(Spot, Row)]) -> Result<Vec<(Spot, Option<Body>)>, StoreError> {
        let (Some((first, _)), Some((last, _))) = (page.first(), page.last()) else {
            return Ok(Vec::new());
        };
        let mut bodies = self.rows.read(*first, last.n).await?;
        Ok(page.iter().map(|(spot, _)| (*spot, bodies.remove(&spot.n))).collect())
    }

    /// Rows whose items are done with go.
    async fn delete(&self, spots: &[Spot]) -> Result<(), StoreError> {
        self.rows.delete(spots, self.stamps.next()).await?;
        for spot in spots {
            let row = self.set(spot.thread).gone(*spot);
            row.into_iter().for_each(|row| self.totals().leave(row));
        }
        Ok(())
    }

    fn set(&self, thread: ThreadId) -> MutexGuard<'_, Set> {
        self.set_of(thread.shard())
    }

    fn set_of(&self, shard: u8) -> MutexGuard<'_, Set> {
        lock(&self.shard(shard).set)
    }

    fn shard(&self, shard: u8) -> &Shard {
        &self.shards[usize::from(shard)]
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        lock(&self.totals)
    }
}

impl Totals {
    /// Whether so much more of a tenant may wait, or what is full.
    fn room(&self, tenant: TenantId, more: Amount, limits: &WaitingLimits) -> Result<(), Full> {
        if !self.node.has_room(more, limits.node) {
            return Err(Full::WaitingServer);
        }
        let of_tenant = self.tenants.get(&tenant).copied().unwrap_or_default();
        match of_tenant.has_room(more, limits.tenant) {
            true => Ok(()),
            false => Err(Full::WaitingOrganization),
        }
    }

    fn enter(
        &mut self,
        tenant: TenantId,
        more: Amount,
        limits: &WaitingLimits,
    ) -> Result<(), Full> {
        self.room(tenant, more, limits)?;
        self.add(tenant, more);
        Ok(())
    }

    fn add(&mut self, tenant: TenantId, more: Amount) {
        self.node.add(more);
        self.tenants.entry(tenant).or_default().add(more);
    }

    fn leave(&mut self, row: Row) {
        let less = Amount { items: 1, bytes: row.bytes };
        self.node.leave(less);
        if let Some(of_tenant) = self.tenants.get_mut(&row.tenant) {
            of_tenant.leave(less);
            if *of_tenant == Amount::default() {
                self.tenants.remove(&row.tenant);
            }
        }
    }
}

impl Calls {
    fn push(&mut self, tenant: TenantId, thread: ThreadId) {
        let threads = self.threads.entry(tenant).or_default();
        if threads.is_empty() {
            self.tenants.push_back(tenant);
        }
        threads.push_back(thread);
    }

    fn next(&mut self) -> Option<ThreadId> {
        let tenant = self.tenants.pop_front()?;
        let threads = self.threads.get_mut(&tenant)?;
        let thread = threads.pop_front();
        if threads.is_empty() {
            self.threads.remove(&tenant);
        } else {
            self.tenants.push_back(tenant);
        }
        thread
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.waiting.set(self.spot.thread).written(self.spot, self.outcome);
        if self.outcome == Written::Not {
            self.waiting.totals().leave(self.row);
        }
        self.waiting.call(self.spot.thread);
    }
}

impl Drop for Move {
    fn drop(&mut self) {
        self.waiting.set(self.thread).end_move(self.thread);
    }
}

fn held() -> metrics::Gauge {
    metrics::gauge!("omnistream_parked_threads")
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
