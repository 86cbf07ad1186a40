//! The store in a directory of this machine: a log answers, a tree follows.
//!
//! - A write goes to the `writer`, which settles all that waits in order, writes it to the `log`
//!   as one group, syncs once and answers.
//! - What is in the log and not yet in the tree lies in memory, in the `overlay`; the `follower`
//!   brings it to the `tree` and gives the log's files back when the tree is durable.
//! - A reader takes one view of both, which never changes.
//! - At a start the `recovery` reads what the log has beyond the tree, and `open` brings the tree
//!   up to it.

mod disk;
pub(crate) mod encoding;
mod follower;
mod frame;
mod journal;
mod log;
mod open;
mod overlay;
mod prepare;
mod reader;
mod recovery;
mod shared;
mod tree;
mod value;
mod whole;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

pub use self::open::{OpenError, Options};
use self::overlay::Place;
use self::reader::Reader;
use self::shared::Shared;
pub use self::shared::TREE_STALLS;
use self::value::Value;
use self::writer::{Answer, Job};
use crate::check;
use crate::error::StoreError;
use crate::memory::Now;
use crate::port::{Batch, Claim, Guarantees, Key, Pending, Row, Scan, Stamp, Store, Swap, Table};
use crate::together::{Aside, Reads};

/// The embedded store.
pub struct Embedded {
    shared: Arc<Shared>,
    sending: Sending,
    reads: Semaphore,
    now: Now,
    top: Stamp,
}

/// What a store did since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups written, each with one sync.
    pub groups: u64,
    /// Batches, claims and swaps in them: over `groups`, how many share a sync.
    pub batches: u64,
    /// Rows written.
    pub writes: u64,
    /// Bytes written to the log.
    pub log_bytes: u64,
    /// Bytes in memory that the tree has not yet.
    pub overlay_bytes: u64,
    /// How often the writer had to wait for the tree.
    pub stalls: u64,
    /// Writes refused as unavailable by the writer.
    pub refused: u64,
}

/// The way to the writer.
struct Sending {
    jobs: Sender<Job>,
    /// How many wait, and may.
    queued: Arc<AtomicUsize>,
    queue: usize,
    /// The largest batch in bytes.
    capacity: usize,
}

impl Sending {
    fn new(jobs: Sender<Job>, queue: usize, capacity: usize) -> Self {
        Self { jobs, queued: Arc::default(), queue, capacity }
    }

    fn queued(&self) -> Arc<AtomicUsize> {
        self.queued.clone()
    }

    /// Sent when this returns, whether the answer is awaited or not.
    fn send<'a, T: Send + 'a>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Pending<'a, T> {
        let (answer, answered) = oneshot::channel();
        let sent = self.put(job(answer));
        Box::pin(async move {
            sent?;
            answered.await.unwrap_or_else(|_| Err(StoreError::Unknown("the store ended".into())))
        })
    }

    fn put(&self, job: Job) -> Result<(), StoreError> {
        if job.size() > self.capacity {
            return Err(StoreError::Rejected("a batch is larger than the log takes".into()));
        }
        if self.queued.fetch_add(1, Ordering::AcqRel) >= self.queue {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            return Err(StoreError::Unavailable("too many writes wait".into()));
        }
        self.jobs.send(job).map_err(|_| StoreError::Unavailable("the store is closed".into()))
    }
}

impl Embedded {
    fn new(shared: Arc<Shared>, sending: Sending, options: &Options, top: Stamp) -> Self {
        let reads = Semaphore::new(options.reads);
        Self { shared, sending, reads, now: options.now.clone(), top }
    }

    /// No write that was durable when the store was opened has a higher stamp: newer ones begin
    /// above it, whatever the clock says.
    pub fn highest_stamp(&self) -> Stamp {
        self.top
    }

    /// What it did so far.
    pub fn stats(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.shared.counters;
        Stats {
            groups: read(&counters.groups),
            batches: read(&counters.batches),
            writes: read(&counters.writes),
            log_bytes: read(&counters.log_bytes),
            overlay_bytes: self.shared.view.load().bytes() as u64,
            stalls: read(&counters.stalls),
            refused: read(&counters.refused),
        }
    }

    /// Finishes what waits, brings the tree up to the log, syncs it and lets go of the directory.
    /// Later writes are unavailable.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let closed = || StoreError::Unavailable("the store is closed".into());
        self.sending.jobs.send(Job::Close(Some(answer))).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    async fn find(&self, place: Place) -> Result<Option<Vec<u8>>, StoreError> {
        let view = self.shared.view.load_full();
        let now = (self.now)();
        let body = |value: &Value| value.lives(now).then(|| value.body().to_vec());
        let cleared = match view.overlaid(&place, view.seen) {
            Ok(value) => return Ok(body(&value)),
            Err(cleared) => cleared,
        };
        let found = self.blocking(move || view.treed(&place, cleared)).await?;
        Ok(found.as_ref().and_then(body))
    }

    async fn page(&self, scan: Scan) -> Result<Vec<Row>, StoreError> {
        let now = (self.now)();
        let view = self.shared.view.load_full();
        self.blocking(move || view.page(&scan, now)).await
    }

    fn compare(
        &self,
        table: &'static Table,
        key: &Key,
        expected: Option<Vec<u8>>,
        value: Option<Value>,
    ) -> Pending<'_, Swap> {
        if let Err(refused) = check::guarded(table, key) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        let (place, now) = (prepare::place(table, key), (self.now)());
        self.sending.send(|answer| Job::Swap { place, expected, value, now, answer })
    }

    /// A read of the tree may wait for the disk.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self.reads.acquire().await;
        let done = tokio::task::spawn_blocking(read).await;
        done.unwrap_or_else(|_| Err(StoreError::Unavailable("a read panicked".into())))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Without anybody to tell; the threads finish by themselves.
        let _ = self.sending.jobs.send(Job::Close(None));
    }
}

impl Store for Embedded {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            check::key(table, key)?;
            self.find(prepare::place(table, key)).await
        })
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        Box::pin(async move {
            check::scan(&scan)?;
            self.page(scan).await
        })
    }

    fn apply(&self, batch: Batch) -> Pending<'_, ()> {
        if let Err(refused) = check::batch(&batch) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        let (stamp, writes) = (batch.stamp, prepare::writes(&batch, (self.now)()));
        self.sending.send(|answer| Job::Apply { stamp, writes, answer })
    }

    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim> {
        let value = prepare::guarded(table, &body, ttl, (self.now)());
        let swapped = self.compare(table, &key, None, Some(value));
        Box::pin(async move {
            Ok(match swapped.await? {
                Swap::Done => Claim::Won,
                Swap::Stale(held) => Claim::Lost(held.unwrap_or_default()),
            })
        })
    }

    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        let value = body.map(|body| prepare::guarded(table, &body, None, (self.now)()));
        self.compare(table, &key, expected, value)
    }

    /// A batch is one record of the log. What is unknown stays so for no longer than the process
    /// lives: what its next start finds in the log has happened, all else never will.
    fn guarantees(&self) -> Guarantees {
        Guarantees { atomic: true, settled: true }
    }

    fn aside(&self) -> Option<&dyn Aside> {
        Some(self)
    }
}

impl Aside for Embedded {
    fn run(&self, reads: Reads) -> Pending<'_, ()> {
        Box::pin(async move {
            let (view, now) = (self.shared.view.load_full(), (self.now)());
            let run = move || {
                reads(Arc::new(Reader::new(view, now)));
                Ok(())
            };
            self.blocking(run).await
        })
    }
}

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod views;
mod walk;
#[cfg(test)]
mod workload;
