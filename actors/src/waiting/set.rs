//! The threads of one virtual shard whose items wait. What is here is decided under one lock and
//! touches no store: `Waiting` writes and deletes the rows.
//!
//! The rule: a thread enters the set before its row is written, all its items go there while it is
//! in the set, and it leaves in the turn that finds no row and no write in flight.

use std::collections::{BTreeMap, HashMap};

use engine::id::{TenantId, ThreadId};
use engine::time::Timestamp;
use storage::waiting::Spot;
use uuid::Uuid;

use crate::permits::Amount;

/// The threads of a shard that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Set(HashMap<ThreadId, Entry>);

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
        self.0.contains_key(&thread)
    }

    /// How many threads wait.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is taken out of a thread.
    pub(super) fn is_held(&self, thread: ThreadId) -> bool {
        self.0.get(&thread).is_some_and(|entry| entry.held)
    }

    /// How many rows a thread has, and their bytes.
    pub(super) fn amount(&self, thread: ThreadId) -> Amount {
        let items = |entry: &Entry| entry.rows.len() + entry.writing.len();
        let amount = |entry: &Entry| Amount { items: items(entry), bytes: entry.bytes };
        self.0.get(&thread).map(amount).unwrap_or_default()
    }

    /// A row will be written: the thread is in the set from now on. Answers its number.
    pub(super) fn enter(&mut self, thread: ThreadId, row: Row) -> u64 {
        let entry = self.0.entry(thread).or_default();
        let n = entry.next;
        entry.next += 1;
        entry.bytes += row.bytes;
        entry.writing.insert(n, row);
        n
    }

    /// A row was found at the start.
    pub(super) fn found(&mut self, spot: Spot, row: Row) {
        let entry = self.0.entry(spot.thread).or_default();
        entry.next = entry.next.max(spot.n + 1);
        entry.bytes += row.bytes;
        entry.rows.insert(spot.n, row);
    }

    /// A row's write has ended.
    pub(super) fn written(&mut self, Spot { thread, n, .. }: Spot, outcome: Written) {
        let Some(entry) = self.0.get_mut(&thread) else { return };
        let Some(row) = entry.writing.remove(&n) else { return };
        match outcome {
            Written::Perhaps => drop(entry.rows.insert(n, row)),
            Written::Not => entry.bytes -= row.bytes,
        }
    }

    /// Nothing is taken out of a thread until it is released. Answers whether it was not held.
    pub(super) fn hold(&mut self, thread: ThreadId) -> bool {
        !std::mem::replace(&mut self.0.entry(thread).or_default().held, true)
    }

    /// What waits of a thread may be taken out again. Answers whether it was held.
    pub(super) fn release(&mut self, thread: ThreadId) -> bool {
        self.0.get_mut(&thread).is_some_and(|entry| std::mem::replace(&mut entry.held, false))
    }

    /// Calls a thread up for a turn, unless it is, or has one, or is held, or waits for its writes.
    /// Answers whose it is.
    pub(super) fn call(&mut self, thread: ThreadId) -> Option<TenantId> {
        let entry = self.0.get_mut(&thread)?;
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
        let Some(entry) = self.0.get_mut(&thread) else { return Found::Left };
        entry.turn = Turn::None;
        if entry.held {
            return Found::Later;
        }
        if entry.rows.is_empty() && entry.writing.is_empty() {
            self.0.remove(&thread);
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
        let entry = self.0.get_mut(&thread)?;
        let row = entry.rows.remove(&n)?;
        entry.bytes -= row.bytes;
        Some(row)
    }

    /// Ends a turn.
    pub(super) fn end(&mut self, thread: ThreadId) {
        if let Some(entry) = self.0.get_mut(&thread)
            && entry.turn == Turn::Begun
        {
            entry.turn = Turn::None;
        }
    }

    /// Every thread of the set.
    pub(super) fn threads(&self) -> impl Iterator<Item = ThreadId> {
        self.0.keys().copied()
    }

    /// Whether a row lies in this hour, or will.
    pub(super) fn uses(&self, hour: i64) -> bool {
        let lies = |rows: &BTreeMap<u64, Row>| rows.values().any(|row| row.hour == hour);
        self.0.values().any(|entry| lies(&entry.rows) || lies(&entry.writing))
    }

    /// Since when the oldest row waits that nothing holds.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        let free = self.0.values().filter(|entry| !entry.held);
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet, VecDeque};

    use engine::id::{TenantId, ThreadId};
    use engine::time::Timestamp;
    use storage::waiting::Spot;
    use uuid::Uuid;

    use super::{Found, Row, Set, Written};

    const THREAD: ThreadId = ThreadId(Uuid::from_u128(7));
    const ROW: Row =
        Row { tenant: TenantId(Uuid::from_u128(1)), hour: 0, bytes: 1, at: Timestamp(0) };

    /// Everything that takes part: the set, its rows in the store, the thread's mailbox and log,
    /// webhooks and the drain, each at some step. Every order of the steps is tried.
    #[derive(Clone, Debug)]
    struct Model {
        set: Set,
        store: BTreeMap<u64, usize>,
        mailbox: VecDeque<usize>,
        log: Vec<usize>,
        webhooks: Vec<Webhook>,
        /// What was acknowledged when each webhook first came, as bits.
        after: Vec<Option<u8>>,
        called: bool,
        drain: Drain,
        /// How often what is rare may still happen.
        rare: Rare,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Webhook {
        Coming,
        Live,
        Writing(u64),
        /// Its row is durable; the set does not know it yet.
        Durable(u64),
        Acknowledged,
    }

    #[derive(Clone, Debug)]
    enum Drain {
        Idle,
        Begun(Vec<u64>),
        Sent(Vec<(u64, usize)>),
        Deleted(Vec<u64>),
    }

    #[derive(Clone, Copy, Debug)]
    struct Rare {
        crashes: u8,
        failures: u8,
        holds: u8,
    }

    impl Model {
        fn new(webhooks: usize, rare: Rare) -> Self {
            Self {
                set: Set::default(),
                store: BTreeMap::new(),
                mailbox: VecDeque::new(),
                log: Vec::new(),
                webhooks: vec![Webhook::Coming; webhooks],
                after: vec![None; webhooks],
                called: false,
                drain: Drain::Idle,
                rare,
            }
        }

        /// This, after some step.
        fn after(&self, step: impl FnOnce(&mut Self)) -> Self {
            let mut model = self.clone();
            step(&mut model);
            model
        }

        fn call(&mut self) {
            self.called |= self.set.call(THREAD).is_some();
        }

        fn spot(n: u64) -> Spot {
            Spot { thread: THREAD, hour: 0, n }
        }

        /// Every state that may come next.
        fn next(&self) -> Vec<Self> {
            let mut all = Vec::new();
            self.webhooks_go_on(&mut all);
            self.drain_goes_on(&mut all);
            if let Some(item) = self.mailbox.front().copied() {
                all.push(self.after(|model| {
                    model.mailbox.pop_front();
                    if !model.log.contains(&item) {
                        model.log.push(item);
                    }
                    if model.webhooks[item] == Webhook::Live {
                        model.webhooks[item] = Webhook::Acknowledged;
                    }
                }));
            }
            if self.rare.crashes > 0 {
                all.push(self.after(Self::crash));
            }
            if self.rare.holds > 0 {
                all.push(self.after(|model| {
                    model.rare.holds -= 1;
                    let _ = model.set.hold(THREAD);
                }));
            }
            if self.set.is_held(THREAD) {
                all.push(self.after(|model| {
                    let _ = model.set.release(THREAD);
                    model.call();
                }));
            }
            all
        }

        fn webhooks_go_on(&self, all: &mut Vec<Self>) {
            for (at, webhook) in self.webhooks.iter().copied().enumerate() {
                match webhook {
                    Webhook::Coming => {
                        let acknowledged = |(at, webhook): (usize, &Webhook)| {
                            u8::from(*webhook == Webhook::Acknowledged) << at
                        };
                        let after = self.webhooks.iter().enumerate().map(acknowledged).sum();
                        let waits = self.after(|model| {
                            model.after[at].get_or_insert(after);
                            model.webhooks[at] = Webhook::Writing(model.set.enter(THREAD, ROW));
                        });
                        all.push(waits);
                        if !self.set.has(THREAD) {
                            all.push(self.after(|model| {
                                model.after[at].get_or_insert(after);
                                model.webhooks[at] = Webhook::Live;
                                model.mailbox.push_back(at);
                            }));
                        }
                        // They come in their order.
                        break;
                    }
                    Webhook::Writing(n) => {
                        all.push(self.after(|model| {
                            model.store.insert(n, at);
                            model.webhooks[at] = Webhook::Durable(n);
                        }));
                        for written in [false, true] {
                            if self.rare.failures > 0 {
                                all.push(self.after(|model| model.fail(at, n, written)));
                            }
                        }
                    }
                    Webhook::Durable(n) => all.push(self.after(|model| {
                        model.set.written(Self::spot(n), Written::Perhaps);
                        model.call();
                        model.webhooks[at] = Webhook::Acknowledged;
                    })),
                    Webhook::Live | Webhook::Acknowledged => {}
                }
            }
        }

        /// A write fails: certainly, or nobody knows and the row is there. It is delivered again.
        fn fail(&mut self, at: usize, n: u64, written: bool) {
            self.rare.failures -= 1;
            let outcome = if written { Written::Perhaps } else { Written::Not };
            if written {
                self.store.insert(n, at);
            }
            self.set.written(Self::spot(n), outcome);
            self.call();
            self.webhooks[at] = Webhook::Coming;
        }

        fn drain_goes_on(&self, all: &mut Vec<Self>) {
            match &self.drain {
                Drain::Idle if self.called => all.push(self.after(|model| {
                    model.called = false;
                    if let Found::Rows(page) = model.set.begin(THREAD, 2, 100) {
                        let is_writing = |at: &Webhook, n| matches!(at, Webhook::Writing(m) | Webhook::Durable(m) if *m < n);
                        let overtakes = |spot: &Spot| model.webhooks.iter().any(|at| is_writing(at, spot.n));
                        assert!(!page.iter().any(|(spot, _)| overtakes(spot)), "in order: {model:?}");
                        model.drain = Drain::Begun(page.iter().map(|(spot, _)| spot.n).collect());
                    }
                })),
                Drain::Begun(numbers) => all.push(self.after(|model| {
                    let rows = numbers.iter().filter_map(|n| Some((*n, *model.store.get(n)?)));
                    let rows: Vec<_> = rows.collect();
                    model.mailbox.extend(rows.iter().map(|(_, item)| *item));
                    model.drain = Drain::Sent(rows);
                })),
                Drain::Sent(rows) if rows.iter().all(|(_, item)| self.has_done(*item)) => {
                    all.push(self.after(|model| {
                        model.store.retain(|n, _| rows.iter().all(|(done, _)| done != n));
                        model.drain = Drain::Deleted(rows.iter().map(|(n, _)| *n).collect());
                    }));
                }
                Drain::Deleted(numbers) => all.push(self.after(|model| {
                    for n in numbers {
                        model.set.gone(Self::spot(*n));
                    }
                    model.set.end(THREAD);
                    model.call();
                    model.drain = Drain::Idle;
                })),
                Drain::Idle | Drain::Sent(_) => {}
            }
        }

        fn has_done(&self, item: usize) -> bool {
            self.log.contains(&item) && !self.mailbox.contains(&item)
        }

        /// The process ends, another finds the rows; what was not acknowledged is delivered again.
        fn crash(&mut self) {
            self.rare.crashes -= 1;
            self.set = Set::default();
            self.store.keys().for_each(|n| self.set.found(Self::spot(*n), ROW));
            self.mailbox.clear();
            (self.called, self.drain) = (false, Drain::Idle);
            self.call();
            for webhook in &mut self.webhooks {
                if *webhook != Webhook::Acknowledged {
                    *webhook = Webhook::Coming;
                }
            }
        }

        /// What holds at every step.
        fn check(&self) {
            let waits = !self.store.is_empty();
            assert!(!waits || self.set.has(THREAD), "in the set before its row: {self:?}");
        }

        /// What holds when nothing goes on any more.
        fn check_end(&self) {
            assert!(self.webhooks.iter().all(|at| *at == Webhook::Acknowledged), "{self:?}");
            assert!(self.store.is_empty() && !self.set.has(THREAD), "it has left: {self:?}");
            let place = |item: usize| self.log.iter().position(|at| *at == item);
            assert_eq!(self.log.len(), self.webhooks.len(), "each once: {self:?}");
            for (item, after) in self.after.iter().enumerate() {
                let after = after.unwrap_or_default();
                for earlier in (0..self.webhooks.len()).filter(|at| after & (1 << at) != 0) {
                    assert!(place(earlier) < place(item), "{earlier} was first: {self:?}");
                }
            }
        }
    }

    /// Tries every order of steps; answers how many states there were, and how many ends.
    fn explore(first: Model) -> (usize, usize) {
        let (mut seen, mut ends, mut open) = (HashSet::new(), 0, vec![first]);
        while let Some(model) = open.pop() {
            if !seen.insert(format!("{model:?}")) {
                continue;
            }
            model.check();
            let next = model.next();
            if next.iter().all(|next| next.rare_only(&model)) {
                model.check_end();
                ends += 1;
            }
            open.extend(next);
        }
        (seen.len(), ends)
    }

    impl Model {
        /// Whether this came of another by something that need not happen.
        fn rare_only(&self, before: &Self) -> bool {
            let sum = |rare: &Rare| rare.crashes + rare.failures + rare.holds;
            sum(&self.rare) < sum(&before.rare)
        }
    }

    #[test]
    fn whatever_meets_each_item_comes_once_in_order_and_the_thread_leaves() {
        for (webhooks, crashes, failures, holds) in
            [(1, 1, 1, 1), (2, 1, 0, 0), (2, 0, 1, 0), (2, 0, 0, 1), (3, 0, 0, 0), (3, 1, 0, 0)]
        {
            let (states, ends) = explore(Model::new(webhooks, Rare { crashes, failures, holds }));
            assert!(ends > 0 && states > 10, "{states} states, {ends} ends");
        }
    }
}
