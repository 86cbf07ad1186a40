//! Calls as the writer takes them: in bytes, with their expiry, on the caller's time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use engine::time::Timestamp;
use fjall::Slice;

use super::encoding;
use super::overlay::Place;
use super::value::{Expiry, Value, expiry};
use crate::port::{Batch, Change, Key, Stamp, Table};

/// How long a deletion is remembered, so that an older write that comes late stays deleted. No
/// write can come later than its caller waits, and none outlives the process.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);

/// Where a row lies.
pub(super) fn place(table: &Table, key: &Key) -> Place {
    let (key, partition) = encoding::row(table, key);
    Place { shape: table.shape, key: key.into(), partition }
}

/// The row of a guarded table; no stamp decides about it.
pub(super) fn guarded(table: &Table, body: &[u8], ttl: Option<Duration>, now: Timestamp) -> Value {
    Value::row(Stamp(0), expires(table, ttl, now), body)
}

fn expires(table: &Table, ttl: Option<Duration>, now: Timestamp) -> Expiry {
    ttl.or(table.expires).map_or(0, |ttl| expiry(now, ttl))
}

/// The writes of a batch, of several to one key the one that wins.
pub(super) fn writes(batch: &Batch, now: Timestamp) -> Vec<(Place, Value)> {
    let stamp = batch.stamp;
    let remembered = expiry(now, REMEMBERED);
    let mut writes: Vec<(Place, Value)> = Vec::with_capacity(batch.changes.len());
    // Most batches are so small that keys are compared faster than hashed.
    let mut places = BTreeMap::new();
    let mut clears = false;
    for change in &batch.changes {
        let (place, value) = match change {
            Change::Put { table, key, body, ttl } => {
                let value = Value::row(stamp, expires(table, *ttl, now), body);
                (place(table, key), value)
            }
            Change::Delete { table, key } => (place(table, key), Value::deleted(stamp, remembered)),
            Change::Clear { table, partition } => {
                let key: Slice = encoding::partition(table, partition).into();
                let place = Place { shape: table.shape, partition: key.len(), key };
                if table.clustering.is_empty() {
                    (place, Value::deleted(stamp, remembered))
                } else {
                    clears = true;
                    (place, Value::cleared(stamp, remembered))
                }
            }
        };
        match places.entry(place.key.clone()) {
            Entry::Vacant(free) => {
                free.insert(writes.len());
                writes.push((place, value));
            }
            Entry::Occupied(at) => {
                let held = &mut writes[*at.get()].1;
                if value.beats(held) {
                    *held = value;
                }
            }
        }
    }
    if clears {
        let own = |place: &Place| place.partition == place.key.len();
        let cleared = |place: &Place| places.contains_key(&place.key[..place.partition]);
        writes.retain(|(place, _)| own(place) || !cleared(place));
    }
    writes
}
