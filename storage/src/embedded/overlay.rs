//! What is in the log and not yet in the tree, and what a reader sees: both, as one.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use crossbeam_skiplist::SkipMap;
use engine::time::Timestamp;
use fjall::Slice;

use super::encoding::{self, Span};
use super::frame::{self, Lsn, Write};
use super::tree::{Rows, Snapshot};
use super::value::{Format, Value};
use crate::error::StoreError;
use crate::port::{Row, Scan, Shape, Stamp};

/// The writes of a whole range of groups. One thread adds, any number read.
#[derive(Default)]
pub(super) struct Generation {
    writes: SkipMap<(Slice, Reverse<Lsn>), (Shape, Value)>,
    /// How many of them clear a partition: most often none, and nobody need look for them.
    clears: AtomicUsize,
    bytes: AtomicUsize,
    last: AtomicU64,
    stamp: AtomicI64,
}

impl Generation {
    /// Adds a write of a group; readers do not see it before their view says so.
    pub(super) fn add(&self, lsn: Lsn, write: Write) {
        // What a node of the list costs beside its bytes.
        self.bytes.fetch_add(frame::size(&write) + 96, Ordering::Relaxed);
        self.last.store(lsn, Ordering::Release);
        self.stamp.fetch_max(write.value.stamp().0, Ordering::AcqRel);
        if write.value.format() == Format::Cleared {
            self.clears.fetch_add(1, Ordering::Release);
        }
        self.writes.insert((write.key, Reverse(lsn)), (write.shape, write.value));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// How many writes it has.
    pub(super) fn len(&self) -> usize {
        self.writes.len()
    }

    /// How much memory it takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The lsn of its last group; 0 when it is empty.
    pub(super) fn last(&self) -> Lsn {
        self.last.load(Ordering::Acquire)
    }

    /// The highest stamp in it.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp(self.stamp.load(Ordering::Acquire))
    }

    /// The newest write to every key, in the order of the keys.
    pub(super) fn newest(&self) -> impl Iterator<Item = (Slice, Shape, Value)> {
        let mut last: Option<Slice> = None;
        self.writes.iter().filter_map(move |entry| {
            let (key, _) = entry.key();
            if last.as_ref() == Some(key) {
                return None;
            }
            last = Some(key.clone());
            let (shape, value) = entry.value();
            Some((key.clone(), *shape, value.clone()))
        })
    }

    fn get(&self, key: &Slice, seen: Lsn) -> Option<Value> {
        let from = (key.clone(), Reverse(seen));
        let entry = self.writes.lower_bound(Bound::Included(&from))?;
        (entry.key().0 == *key).then(|| entry.value().1.clone())
    }

    fn rows<'a>(&'a self, low: &[u8], high: &[u8], seen: Lsn, rising: bool) -> Rows<'a> {
        let bound = |key: &[u8]| (Slice::from(key), Reverse(Lsn::MAX));
        let entries = self.writes.range(bound(low)..bound(high));
        if rising {
            let mut last: Option<Slice> = None;
            Box::new(entries.filter_map(move |entry| {
                let (key, Reverse(lsn)) = entry.key();
                if *lsn > seen || last.as_ref() == Some(key) {
                    return None;
                }
                last = Some(key.clone());
                Some(Ok((key.clone(), entry.value().1.clone())))
            }))
        } else {
            // Backwards the newest of a key comes last.
            let mut entries = entries.rev().filter(move |entry| entry.key().1.0 <= seen).peekable();
            Box::new(std::iter::from_fn(move || {
                let mut newest = entries.next()?;
                while let Some(newer) = entries.next_if(|entry| entry.key().0 == newest.key().0) {
                    newest = newer;
                }
                Some(Ok((newest.key().0.clone(), newest.value().1.clone())))
            }))
        }
    }
}

/// All rows as of one lsn. Never changed, only replaced.
#[derive(Clone)]
pub(super) struct View {
    /// The last group that is durable: what is newer does not exist yet.
    pub(super) seen: Lsn,
    /// What the tree has not, newest first; the first one is being added to.
    pub(super) generations: Vec<Arc<Generation>>,
    /// All before them.
    pub(super) tree: Arc<dyn Snapshot>,
    /// No stamp in the tree is higher.
    pub(super) tree_stamp: Stamp,
}

/// A row's place: its key, and how much of it is its partition's.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) shape: Shape,
    pub(super) key: Slice,
    pub(super) partition: usize,
}

impl View {
    /// How much memory the generations take, about.
    pub(super) fn bytes(&self) -> usize {
        self.generations.iter().map(|generation| generation.bytes()).sum()
    }

    /// What the generations know of a key: what was written to it, unless it was cleared since;
    /// `Err` if they know that the tree's rows up to a stamp do not count.
    pub(super) fn overlaid(&self, place: &Place, seen: Lsn) -> Result<Value, Option<Stamp>> {
        let found = self.generations.iter().find_map(|one| one.get(&place.key, seen));
        let cleared = self.cleared(place, seen);
        match found {
            Some(value) if Some(value.stamp()) > cleared => Ok(value),
            Some(_) | None => Err(cleared),
        }
    }

    /// Up to which stamp the generations clear the partition of a row.
    fn cleared(&self, place: &Place, seen: Lsn) -> Option<Stamp> {
        if place.partition == place.key.len() {
            return None;
        }
        let clearing = |one: &&Arc<Generation>| one.clears.load(Ordering::Acquire) > 0;
        let mut clearing = self.generations.iter().filter(clearing).peekable();
        clearing.peek()?;
        let key = Slice::from(&place.key[..place.partition]);
        let found = clearing.find_map(|one| one.get(&key, seen));
        // In a table without clustering columns that is the row itself.
        found.filter(|value| value.format() == Format::Cleared).map(|value| value.stamp())
    }

    /// What the tree has at a place, if it is newer than what was cleared.
    pub(super) fn treed(
        &self,
        place: &Place,
        cleared: Option<Stamp>,
    ) -> Result<Option<Value>, StoreError> {
        let found = self.tree.get(place.shape, &place.key)?;
        Ok(found.filter(|value| cleared.is_none_or(|at| value.stamp() > at)))
    }

    /// What a scan finds at this time.
    pub(super) fn page(&self, scan: &Scan, now: Timestamp) -> Result<Vec<Row>, StoreError> {
        let Span { low, high, rising, partition } = encoding::span(scan);
        let shape = scan.table.shape;
        let mut page = Vec::new();
        if low >= high {
            return Ok(page);
        }
        // Any row of the partition will do.
        let key = Slice::from([&low[..partition], &[0]].concat());
        let cleared = self.cleared(&Place { shape, key, partition }, self.seen);
        let generations = self.generations.iter();
        let mut sources: Vec<_> = generations
            .map(|one| one.rows(&low, &high, self.seen, rising))
            .chain([self.tree.rows(shape, &low, &high, rising)])
            .map(Iterator::peekable)
            .collect();
        while page.len() < scan.limit {
            let mut first: Option<Slice> = None;
            for source in &mut sources {
                let Some(next) = source.peek() else { continue };
                let Ok((key, _)) = next else {
                    return source.next().expect("it was peeked at").map(|_| page);
                };
                let ahead = |first: &Slice| if rising { key < first } else { key > first };
                if first.as_ref().is_none_or(ahead) {
                    first = Some(key.clone());
                }
            }
            let Some(first) = first else { break };
            // The newest source that has the key decides; the others step over it.
            let mut decides: Option<Value> = None;
            for source in &mut sources {
                let at = |next: &Result<(Slice, Value), _>| matches!(next, Ok((key, _)) if *key == first);
                if let Some(Ok((_, value))) = source.next_if(at) {
                    decides.get_or_insert(value);
                }
            }
            // The partition's own key, which says what was cleared, is no row and never lives.
            let alive = decides
                .filter(|value| value.lives(now) && cleared.is_none_or(|at| value.stamp() > at));
            if let Some(value) = alive {
                let clustering = encoding::clustering(scan.table, &first[partition..])?;
                page.push(Row { clustering, body: value.body().to_vec() });
            }
        }
        Ok(page)
    }
}
