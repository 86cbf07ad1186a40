//! Random writes for the tests, and what has to come of them.

use std::task::{Context, Poll, Waker};

use engine::time::Timestamp;
use tokio::sync::oneshot;

use super::overlay::View;
use super::prepare;
use super::writer::Job;
use crate::error::StoreError;
use crate::memory::Memory;
use crate::port::{Batch, Change, Key, Part, Pending, Row, Scan, Stamp, Store, Swap, Table};
use crate::seed::Chance;
use crate::tables::{ARCHIVE, LOG, NAMES, OPEN_SET, THREADS};

/// When everything happens.
pub(super) const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// A write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Op {
    Apply(Batch),
    Swap(Key, Option<Vec<u8>>, Option<Vec<u8>>),
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.stamp == other.stamp && self.changes == other.changes
    }
}

/// All rows.
pub(super) type Dump = Vec<Vec<Row>>;

/// Where the writes come from.
pub(super) struct Source {
    chance: Chance,
    stamp: i64,
}

impl Source {
    pub(super) fn of(seed: u64) -> Self {
        Self { chance: Chance::of(seed), stamp: 0 }
    }

    /// Some writes that wait at once.
    pub(super) fn group(&mut self) -> Vec<Op> {
        (0..=self.chance.below(4)).map(|_| self.op()).collect()
    }

    fn op(&mut self) -> Op {
        if self.chance.permille(200) {
            let bytes = |chance: &mut Chance| {
                let byte = chance.number().to_le_bytes()[0] % 3;
                (byte > 0).then(|| vec![byte])
            };
            let (expected, body) = (bytes(&mut self.chance), bytes(&mut self.chance));
            return Op::Swap(name(self.chance.below(3)), expected, body);
        }
        // Now and then one that is late, or a repeat.
        let late = self.chance.permille(150);
        self.stamp += 1;
        let stamp = if late {
            self.chance.below(self.stamp.cast_unsigned()).cast_signed()
        } else {
            self.stamp
        };
        let changes = (0..self.chance.below(6)).map(|_| self.change()).collect();
        Op::Apply(Batch { stamp: Stamp(stamp), changes })
    }

    fn change(&mut self) -> Change {
        let chance = &mut self.chance;
        let (table, key) = match chance.below(4) {
            0 => (&THREADS, Key::new(vec![id(chance.below(4))], vec![])),
            1 => (
                &LOG,
                Key::new(log(chance.below(2)), vec![int(chance.below(2)), int(chance.below(4))]),
            ),
            2 => (&OPEN_SET, Key::new(vec![id(0), int(0)], vec![id(chance.below(4))])),
            _ => (&ARCHIVE, Key::new(archive(), vec![int(chance.below(4)), id(chance.below(2))])),
        };
        match chance.below(8) {
            0 => Change::Delete { table, key },
            1 => Change::Clear { table, partition: key.partition },
            _ => {
                let long = chance.permille(50);
                // Four times five of them still fit into a small segment.
                let length = chance.index(if long { 900 } else { 200 });
                let body = chance.number().to_le_bytes().into_iter().cycle().take(length).collect();
                Change::Put { table, key, body, ttl: None }
            }
        }
    }
}

fn id(n: u64) -> Part {
    Part::Uuid(u128::from(n).to_be_bytes())
}

fn int(n: u64) -> Part {
    Part::Int(n.cast_signed())
}

fn log(n: u64) -> Vec<Part> {
    vec![id(n), Part::Int(0)]
}

fn archive() -> Vec<Part> {
    vec![id(0), Part::Text("all".into()), Part::Int(0)]
}

fn name(n: u64) -> Key {
    let text = |text: &'static str| Part::Text(text.into());
    Key::new(vec![id(n), text("kind"), text("name")], vec![])
}

/// Every partition that the writes touch.
fn partitions() -> Vec<(&'static Table, Vec<Part>)> {
    let mut all: Vec<(&'static Table, Vec<Part>)> = Vec::new();
    all.extend((0..4).map(|n| (&THREADS, vec![id(n)])));
    all.extend((0..2).map(|n| (&LOG, log(n))));
    all.push((&OPEN_SET, vec![id(0), int(0)]));
    all.push((&ARCHIVE, archive()));
    all.extend((0..3).map(|n| (&NAMES, name(n).partition)));
    all
}

fn scans() -> impl Iterator<Item = Scan> {
    partitions().into_iter().map(|(table, partition)| Scan {
        table,
        partition,
        prefix: vec![],
        after: None,
        until: None,
        reverse: false,
        limit: usize::MAX,
    })
}

/// What a reader of this view finds.
pub(super) fn seen(view: &View) -> Dump {
    scans().map(|scan| view.page(&scan, NOW).expect("a view can be read")).collect()
}

/// The answer to a job of the writer, once it has committed.
pub(super) enum Waiting {
    Applied(oneshot::Receiver<Result<(), StoreError>>),
    Swapped(oneshot::Receiver<Result<Swap, StoreError>>),
}

impl Waiting {
    /// `Some` of a swap that was decided.
    pub(super) fn answer(self) -> Result<Option<Swap>, StoreError> {
        match self {
            Self::Applied(mut answer) => answer.try_recv().expect("answered").map(|()| None),
            Self::Swapped(mut answer) => answer.try_recv().expect("answered").map(Some),
        }
    }
}

/// A write as the writer takes it.
pub(super) fn job(op: &Op) -> (Job, Waiting) {
    match op.clone() {
        Op::Apply(batch) => {
            let (answer, answered) = oneshot::channel();
            let writes = prepare::writes(&batch, NOW);
            (Job::Apply { stamp: batch.stamp, writes, answer }, Waiting::Applied(answered))
        }
        Op::Swap(key, expected, body) => {
            let (answer, answered) = oneshot::channel();
            let place = prepare::place(&NAMES, &key);
            let value = body.map(|body| prepare::guarded(&NAMES, &body, None, NOW));
            let job = Job::Swap { place, expected, value, now: NOW, answer };
            (job, Waiting::Swapped(answered))
        }
    }
}

/// The same writes in memory: what has to come of them.
pub(super) struct Model(Memory);

impl Model {
    pub(super) fn of<'a>(ops: impl IntoIterator<Item = &'a Op>) -> Self {
        let model = Self(Memory::new(std::sync::Arc::new(|| NOW)));
        for op in ops {
            model.run(op);
        }
        model
    }

    /// `Some` of a swap that was decided.
    pub(super) fn run(&self, op: &Op) -> Option<Swap> {
        match op.clone() {
            Op::Apply(batch) => {
                ready(self.0.apply(batch));
                None
            }
            Op::Swap(key, expected, body) => Some(ready(self.0.swap(&NAMES, key, expected, body))),
        }
    }

    pub(super) fn dump(&self) -> Dump {
        scans().map(|scan| ready(self.0.scan(scan))).collect()
    }
}

/// The store in memory never lets anybody wait.
fn ready<T>(mut answer: Pending<'_, T>) -> T {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.expect("the store in memory does not fail"),
        Poll::Pending => panic!("the store in memory does not wait"),
    }
}
