//! A store in memory: for tests, and for looking around without a disk. Nothing survives it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::time::Timestamp;

use crate::check;
use crate::port::{
    Batch, Change, Claim, Guarantees, Key, Order, Part, Pending, Row, Scan, Stamp, Store, Swap,
    Table,
};

/// What time it is, as a store asks it: for expiry.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Rows in ordered maps.
pub struct Memory {
    now: Now,
    tables: Mutex<HashMap<u16, Partitions>>,
}

type Partitions = BTreeMap<Vec<Part>, Partition>;

#[derive(Default)]
struct Partition {
    /// Rows up to this stamp were cleared.
    cleared: Option<Stamp>,
    rows: BTreeMap<Vec<Part>, Cell>,
}

/// The newest write to a row; without a body it is deleted, which outlasts older writes.
/// Ordered by who wins: the higher stamp, then the deletion, then the higher body.
struct Cell {
    stamp: Stamp,
    body: Option<Vec<u8>>,
    expires: Option<Timestamp>,
}

impl Cell {
    fn rank(&self) -> (Stamp, bool, Option<&[u8]>) {
        (self.stamp, self.body.is_none(), self.body.as_deref())
    }

    fn body(&self, now: Timestamp) -> Option<&Vec<u8>> {
        self.body.as_ref().filter(|_| self.expires.is_none_or(|at| now < at))
    }
}

impl Partition {
    fn write(&mut self, clustering: Vec<Part>, cell: Cell) {
        if self.cleared.is_some_and(|at| cell.stamp <= at) {
            return;
        }
        match self.rows.entry(clustering) {
            Entry::Vacant(free) => {
                free.insert(cell);
            }
            Entry::Occupied(mut held) if held.get().rank() < cell.rank() => {
                held.insert(cell);
            }
            Entry::Occupied(_) => {}
        }
    }

    fn clear(&mut self, stamp: Stamp) {
        self.cleared = self.cleared.max(Some(stamp));
        self.rows.retain(|_, cell| cell.stamp > stamp);
    }
}

impl Memory {
    /// An empty store that asks this clock when rows expire.
    pub fn new(now: Now) -> Self {
        Self { now, tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<u16, Partitions>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expiry(&self, table: &Table, ttl: Option<Duration>) -> Option<Timestamp> {
        ttl.or(table.expires).map(|ttl| (self.now)() + ttl)
    }

    fn find(&self, table: &Table, key: &Key) -> Option<Vec<u8>> {
        let tables = self.tables();
        let cell = tables.get(&table.number)?.get(&key.partition)?.rows.get(&key.clustering)?;
        cell.body((self.now)()).cloned()
    }

    fn page(&self, scan: &Scan) -> Vec<Row> {
        let (now, tables) = ((self.now)(), self.tables());
        let partition = tables.get(&scan.table.number).and_then(|t| t.get(&scan.partition));
        let Some(partition) = partition else { return Vec::new() };
        let ascending = (scan.table.order == Order::Ascending) != scan.reverse;
        let (low, high) =
            if ascending { (&scan.after, &scan.until) } else { (&scan.until, &scan.after) };
        // Both bounds are exclusive, also of every row that only begins with them.
        let above = |key: &[Part]| low.as_ref().is_none_or(|low| begin(key, low) > &low[..]);
        let below = |key: &[Part]| high.as_ref().is_none_or(|high| begin(key, high) < &high[..]);
        let from = low.as_ref().map_or(&scan.prefix, |low| low.max(&scan.prefix));
        let to = high.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        if matches!(to, Bound::Excluded(to) if to <= from) {
            return Vec::new();
        }
        let rows = partition
            .rows
            .range::<Vec<Part>, _>((Bound::Included(from), to))
            .filter(|(key, _)| key.starts_with(&scan.prefix) && above(key) && below(key))
            .filter_map(|(key, cell)| {
                let body = cell.body(now)?.clone();
                Some(Row { clustering: key.clone(), body })
            });
        if ascending {
            rows.take(scan.limit).collect()
        } else {
            rows.rev().take(scan.limit).collect()
        }
    }

    fn write(&self, batch: Batch) {
        let (stamp, mut tables) = (batch.stamp, self.tables());
        for change in batch.changes {
            let (Change::Put { table, .. }
            | Change::Delete { table, .. }
            | Change::Clear { table, .. }) = &change;
            let partitions = tables.entry(table.number).or_default();
            match change {
                Change::Put { table, key, body, ttl } => {
                    let cell = Cell { stamp, body: Some(body), expires: self.expiry(table, ttl) };
                    partitions.entry(key.partition).or_default().write(key.clustering, cell);
                }
                Change::Delete { key, .. } => {
                    let cell = Cell { stamp, body: None, expires: None };
                    partitions.entry(key.partition).or_default().write(key.clustering, cell);
                }
                Change::Clear { partition, .. } => {
                    partitions.entry(partition).or_default().clear(stamp);
                }
            }
        }
    }

    /// Replaces a guarded row by what `decide` makes of it; `None` leaves it.
    fn settle<T>(
        &self,
        table: &Table,
        key: Key,
        ttl: Option<Duration>,
        decide: impl FnOnce(Option<&Vec<u8>>) -> (T, Option<Option<Vec<u8>>>),
    ) -> T {
        let (now, expires) = ((self.now)(), self.expiry(table, ttl));
        let mut tables = self.tables();
        let rows =
            &mut tables.entry(table.number).or_default().entry(key.partition).or_default().rows;
        let (answer, body) = decide(rows.get(&key.clustering).and_then(|cell| cell.body(now)));
        match body {
            Some(Some(body)) => {
                rows.insert(key.clustering, Cell { stamp: Stamp(0), body: Some(body), expires });
            }
            Some(None) => {
                rows.remove(&key.clustering);
            }
            None => {}
        }
        answer
    }
}

/// As much of a key as a bound names.
fn begin<'a>(key: &'a [Part], bound: &[Part]) -> &'a [Part] {
    &key[..bound.len().min(key.len())]
}

impl Store for Memory {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        Box::pin(ready(check::key(table, key).map(|()| self.find(table, key))))
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        Box::pin(ready(check::scan(&scan).map(|()| self.page(&scan))))
    }

    fn apply(&self, batch: Batch) -> Pending<'_, ()> {
        Box::pin(ready(check::batch(&batch).map(|()| self.write(batch))))
    }

    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim> {
        Box::pin(ready(check::guarded(table, &key).map(|()| {
            self.settle(table, key, ttl, |held| match held {
                Some(held) => (Claim::Lost(held.clone()), None),
                None => (Claim::Won, Some(Some(body))),
            })
        })))
    }

    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        Box::pin(ready(check::guarded(table, &key).map(|()| {
            self.settle(table, key, None, |held| {
                if held == expected.as_ref() {
                    (Swap::Done, Some(body))
                } else {
                    (Swap::Stale(held.cloned()), None)
                }
            })
        })))
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees { atomic: true, settled: true }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use engine::time::Timestamp;

    use super::Memory;
    use crate::conformance::{self, Subject};

    #[tokio::test]
    async fn memory_keeps_every_promise_of_the_port() {
        conformance::run(async || {
            let clock = Arc::new(AtomicI64::new(1_790_000_000_000));
            let read = clock.clone();
            let now = Arc::new(move || Timestamp(read.load(Ordering::Relaxed)));
            Subject {
                store: Arc::new(Memory::new(now)),
                run: "memory".to_owned(),
                pass: Box::new(move |time| {
                    let millis = i64::try_from(time.as_millis()).expect("a short time");
                    clock.fetch_add(millis, Ordering::Relaxed);
                    Box::pin(std::future::ready(Ok(())))
                }),
            }
        })
        .await;
    }
}
