//! The threads of one virtual shard whose items wait. What is here is decided under one lock and
//! touches no store: `Waiting` writes and deletes the rows.
//!
//! The rule: a thread enters the set before its row is written, all its items go there while it is
//! in the set, and it leaves in the turn that finds no row and no write in flight.

#[cfg(test)]
mod model;

use std::collections::{BTreeMap, HashMap};

use engine::id::{TenantId, ThreadId};
use engine::time::Timestamp;
use storage::waiting::Spot;
use uuid::Uuid;

use crate::permits::Amount;

/// The threads of a shard that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    threads: HashMap<ThreadId, Entry>,
    /// How many moves of a thread are under way: nothing enters.
    moving: HashMap<ThreadId, usize>,
}

/// What waits of one thread.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// The number of the next row.
    next: u64,
    /// Rows on their way to the store.
    writing: BTreeMap<u64, Row>,
    /// Rows that are there, or may be.
    rows: BTreeMap<u64, Row>,
    bytes: usize,
    /// Nothing is taken out.
    held: bool,
    turn: Turn,
}

/// A row, as far as it is known without the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) tenant: TenantId,
    pub(super) hour: i64,
    pub(super) bytes: usize,
    pub(super) at: Timestamp,
}

/// Whether a thread's rows are being taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    None,
    /// It is called up.
    Due,
    /// Its turn has begun.
    Begun,
}

/// What became of a row's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is there, or may be.
    Perhaps,
    Not,
}

/// What a turn finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Rows, in order, all of one hour.
    Rows(Vec<(Spot, Row)>),
    /// Nothing can be taken out now: its turn is over, and it is called up again when it can.
    Later,
    /// No row and no write in flight: the thread has left.
    Left,
}

impl Set {
    /// Whether a thread's items wait.
    pub(super) fn has(&self, thread: ThreadId) -> bool {
        self.threads.contains_key(&thread)
    }

    /// How many threads wait.
    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    /// Whether nothing is taken out of a thread.
    pub(super) fn is_held(&self, thread: ThreadId) -> bool {
        self.threads.get(&thread).is_some_and(|entry| entry.held)
    }

    /// How many rows a thread has, and their bytes.
    pub(super) fn amount(&self, thread: ThreadId) -> Amount {
        let items = |entry: &Entry| entry.rows.len() + entry.writing.len();
        let amount = |entry: &Entry| Amount { items: items(entry), bytes: entry.bytes };
        self.threads.get(&thread).map(amount).unwrap_or_default()
    }

    /// A thread is going to be moved, unless it waits.
    pub(super) fn begin_move(&mut self, thread: ThreadId) -> bool {
        let may = !self.has(thread);
        if may {
            *self.moving.entry(thread).or_default() += 1;
        }
        may
    }

    /// It is moved, or not.
    pub(super) fn end_move(&mut self, thread: ThreadId) {
        if let Some(moves) = self.moving.get_mut(&thread) {
            *moves -= 1;
            if *moves == 0 {
                self.moving.remove(&thread);
            }
        }
    }

    /// Whether a thread is being moved.
    pub(super) fn moves(&self, thread: ThreadId) -> bool {
        self.moving.contains_key(&thread)
    }

    /// A row will be written: the thread is in the set from now on. Answers its number.
    pub(super) fn enter(&mut self, thread: ThreadId, row: Row) -> u64 {
        let entry = self.threads.entry(thread).or_default();
        let n = entry.next;
        entry.next += 1;
        entry.bytes += row.bytes;
        entry.writing.insert(n, row);
        n
    }

    /// A row was found at the start. Answers whether it was not found before.
    pub(super) fn found(&mut self, spot: Spot, row: Row) -> bool {
        let entry = self.threads.entry(spot.thread).or_default();
        entry.next = entry.next.max(spot.n + 1);
        let is_new = entry.rows.insert(spot.n, row).is_none();
        entry.bytes += if is_new { row.bytes } else { 0 };
        is_new
    }

    /// A row's write has ended.
    pub(super) fn written(&mut self, Spot { thread, n, .. }: Spot, outcome: Written) {
        let Some(entry) = self.threads.get_mut(&thread) else { return };
        let Some(row) = entry.writing.remove(&n) else { return };
        match outcome {
            Written::Perhaps => drop(entry.rows.insert(n, row)),
            Written::Not => entry.bytes -= row.bytes,
        }
    }

    /// Nothing is taken out of a thread until it is released. Answers whether it was not held.
    pub(super) fn hold(&mut self, thread: ThreadId) -> bool {
        !std::mem::replace(&mut self.threads.entry(thread).or_default().held, true)
    }

    /// What waits of a thread may be taken out again. Answers whether it was held.
    pub(super) fn release(&mut self, thread: ThreadId) -> bool {
        self.threads.get_mut(&thread).is_some_and(|entry| std::mem::replace(&mut entry.held, false))
    }

    /// Calls a thread up for a turn, unless it is, or has one, or is held, or waits for its writes.
    /// Answers whose it is.
    pub(super) fn call(&mut self, thread: ThreadId) -> Option<TenantId> {
        let entry = self.threads.get_mut(&thread)?;
        let waits_for_write = entry.takable().next().is_none() && !entry.writing.is_empty();
        if entry.turn != Turn::None || entry.held || waits_for_write {
            return None;
        }
        entry.turn = Turn::Due;
        let row = entry.rows.values().chain(entry.writing.values()).next();
        // One that has no row at all only leaves.
        Some(row.map_or(TenantId(Uuid::nil()), |row| row.tenant))
    }

    /// Begins a turn: what is to be taken out, at most so many rows and about so many bytes.
    pub(super) fn begin(&mut self, thread: ThreadId, rows: usize, bytes: usize) -> Found {
        let Some(entry) = self.threads.get_mut(&thread) else { return Found::Left };
        entry.turn = Turn::None;
        if entry.held {
            return Found::Later;
        }
        if entry.rows.is_empty() && entry.writing.is_empty() {
            self.threads.remove(&thread);
            return Found::Left;
        }
        let mut page: Vec<(Spot, Row)> = Vec::new();
        let mut taken = 0;
        for (n, row) in entry.takable().take(rows) {
            let hour = page.first().map_or(row.hour, |(_, first)| first.hour);
            if row.hour != hour || (taken > 0 && taken + row.bytes > bytes) {
                break;
            }
            taken += row.bytes;
            page.push((Spot { thread, hour, n }, row));
        }
        if page.is_empty() {
            return Found::Later;
        }
        entry.turn = Turn::Begun;
        Found::Rows(page)
    }

    /// A row is gone from the store.
    pub(super) fn gone(&mut self, Spot { thread, n, .. }: Spot) -> Option<Row> {
        let entry = self.threads.get_mut(&thread)?;
        let row = entry.rows.remove(&n)?;
        entry.bytes -= row.bytes;
        Some(row)
    }

    /// Ends a turn.
    pub(super) fn end(&mut self, thread: ThreadId) {
        if let Some(entry) = self.threads.get_mut(&thread)
            && entry.turn == Turn::Begun
        {
            entry.turn = Turn::None;
        }
    }

    /// Every thread of the set.
    pub(super) fn threads(&self) -> impl Iterator<Item = ThreadId> {
        self.threads.keys().copied()
    }

    /// Whether a row lies in this hour, or will.
    pub(super) fn uses(&self, hour: i64) -> bool {
        let lies = |rows: &BTreeMap<u64, Row>| rows.values().any(|row| row.hour == hour);
        self.threads.values().any(|entry| lies(&entry.rows) || lies(&entry.writing))
    }

    /// Since when the oldest row waits that nothing holds.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let free = self.threads.values().filter(|entry| !entry.held);
        free.filter_map(|entry| Some(entry.rows.first_key_value()?.1.at)).min()
    }
}

impl Entry {
    /// The rows that may be taken out: all before the first that is still being written, so that
    /// none overtakes another.
    fn takable(&self) -> impl Iterator<Item = (u64, Row)> + '_ {
        let before = self.writing.keys().next().copied().unwrap_or(u64::MAX);
        self.rows.range(..before).map(|(n, row)| (*n, *row))
    }
}
