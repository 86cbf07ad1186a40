//! The rule of the set, tried in every order of the steps of everything that takes part.

use std::collections::{BTreeMap, HashSet, VecDeque};

use engine::id::{TenantId, ThreadId};
use engine::time::Timestamp;
use storage::waiting::Spot;
use uuid::Uuid;

use super::{Found, Row, Set, Written};

const THREAD: ThreadId = ThreadId(Uuid::from_u128(7));
const ROW: Row = Row { tenant: TenantId(Uuid::from_u128(1)), hour: 0, bytes: 1, at: Timestamp(0) };

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
    /// Its rows are gone; whoever began it has not heard of it yet.
    Over,
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
                model.drain = Drain::Over;
            })),
            Drain::Over => all.push(self.after(|model| {
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
        for n in self.store.keys() {
            assert!(self.set.found(Self::spot(*n), ROW));
        }
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
