//! What waits for its thread: items that could not be taken in time, each a row, in order.

use std::collections::HashMap;
use std::sync::Arc;

use engine::channel::{Channel, Inbound};
use engine::id::{AccountId, ContactId, TenantId, ThreadId};
use engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, int, uuid};
use crate::port::{Batch, Change, Key, Part, Row, Scan, Stamp, Store};
use crate::tables::{WAITING, WAITING_HOURS};

/// An item that waits, with what its thread is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitingItem {
    pub tenant: TenantId,
    pub account: AccountId,
    pub channel: Channel,
    pub contact: ContactId,
    /// Since when.
    pub at: Timestamp,
    pub item: Inbound,
}

/// The row of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spot {
    pub thread: ThreadId,
    /// Since 1970: of it and its thread's shard the partition is made.
    pub hour: i64,
    /// Its number among those of its thread.
    pub n: u64,
}

/// An item as it is stored.
#[derive(Clone, Debug)]
pub struct Body(Vec<u8>);

/// All rows that wait. Clones are the same.
#[derive(Clone)]
pub struct WaitingRows {
    store: Arc<dyn Store>,
}

impl Body {
    /// Of an item.
    pub fn of(item: &WaitingItem) -> Self {
        Self(encode(item))
    }

    /// The item, unless it cannot be read.
    pub fn item(&self) -> Result<WaitingItem, StoreError> {
        decode(&self.0)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl WaitingRows {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The hours of a shard in which rows may lie.
    pub async fn hours(&self, shard: u8) -> Result<Vec<i64>, StoreError> {
        let partition = vec![Part::Int(i64::from(shard))];
        let scan = Scan::of(&WAITING_HOURS, partition, usize::MAX);
        let rows = self.store.scan(scan).await?;
        Ok(rows.iter().filter_map(|row| number(row.clustering.first())).collect())
    }

    /// Before the first row of an hour is written it is known that rows may lie there.
    pub async fn begin_hour(&self, shard: u8, hour: i64, stamp: Stamp) -> Result<(), StoreError> {
        let (table, key, body) = (&WAITING_HOURS, hour_key(shard, hour), Vec::new());
        self.apply(vec![Change::Put { table, key, body, ttl: None }], stamp).await
    }

    /// No row lies in this hour any more.
    pub async fn end_hour(&self, shard: u8, hour: i64, stamp: Stamp) -> Result<(), StoreError> {
        let (table, key) = (&WAITING_HOURS, hour_key(shard, hour));
        self.apply(vec![Change::Delete { table, key }], stamp).await
    }

    /// Writes rows.
    pub async fn put(
        &self,
        rows: impl IntoIterator<Item = (Spot, Body)>,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let put =
            |(spot, Body(body))| Change::Put { table: &WAITING, key: key(spot), body, ttl: None };
        self.apply(rows.into_iter().map(put).collect(), stamp).await
    }

    /// Deletes rows, there or not: with a stamp above theirs none comes back.
    pub async fn delete(&self, spots: &[Spot], stamp: Stamp) -> Result<(), StoreError> {
        let delete = |spot: &Spot| Change::Delete { table: &WAITING, key: key(*spot) };
        self.apply(spots.iter().map(delete).collect(), stamp).await
    }

    /// The rows of a thread that came in this hour, from one up to another, by their numbers.
    pub async fn read(&self, from: Spot, to: u64) -> Result<HashMap<u64, Body>, StoreError> {
        let before = from.n.checked_sub(1).map(|n| vec![id(from.thread.0), int(n)]);
        let scan = Scan {
            prefix: vec![id(from.thread.0)],
            after: before,
            until: Some(vec![id(from.thread.0), int(to + 1)]),
            ..Scan::of(&WAITING, partition(from.thread.shard(), from.hour), usize::MAX)
        };
        let rows = self.store.scan(scan).await?;
        let numbered = |row: Row| Some((numbered(&row.clustering)?.1, Body(row.body)));
        Ok(rows.into_iter().filter_map(numbered).collect())
    }

    /// Rows of a shard that came in this hour, behind one of them, at most `limit`.
    pub async fn all(
        &self,
        shard: u8,
        hour: i64,
        behind: Option<Spot>,
        limit: usize,
    ) -> Result<Vec<(Spot, Body)>, StoreError> {
        let after = behind.map(|spot| vec![id(spot.thread.0), int(spot.n)]);
        let scan = Scan { after, ..Scan::of(&WAITING, partition(shard, hour), limit) };
        let spotted = |row: Row| {
            let (thread, n) = numbered(&row.clustering)?;
            Some((Spot { thread, hour, n }, Body(row.body)))
        };
        Ok(self.store.scan(scan).await?.into_iter().filter_map(spotted).collect())
    }

    async fn apply(&self, changes: Vec<Change>, stamp: Stamp) -> Result<(), StoreError> {
        self.store.apply(Batch { stamp, changes }).await
    }
}

fn key(Spot { thread, hour, n }: Spot) -> Key {
    Key::new(partition(thread.shard(), hour), vec![id(thread.0), int(n)])
}

fn hour_key(shard: u8, hour: i64) -> Key {
    Key::new(vec![Part::Int(i64::from(shard))], vec![Part::Int(hour)])
}

fn partition(shard: u8, hour: i64) -> Vec<Part> {
    vec![Part::Int(i64::from(shard)), Part::Int(hour)]
}

fn number(part: Option<&Part>) -> Option<i64> {
    match part {
        Some(Part::Int(n)) => Some(*n),
        _ => None,
    }
}

fn numbered(clustering: &[Part]) -> Option<(ThreadId, u64)> {
    let thread = ThreadId(uuid(clustering.first())?);
    Some((thread, u64::try_from(number(clustering.get(1))?).ok()?))
}
