//! The one thread that decides and writes: takes all that waits, settles it in order, writes one
//! group, syncs once, answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};

use engine::time::Timestamp;
use tokio::sync::oneshot;

use super::follower::Word;
use super::frame::{self, Write};
use super::log::Log;
use super::open::Options;
use super::overlay::{Generation, Place};
use super::shared::{Counters, Shared};
use super::value::{Format, Value};
use crate::error::StoreError;
use crate::port::{Stamp, Swap};

/// Whom to tell what became of a job.
pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is asked of the writer.
pub(super) enum Job {
    /// Writes on plain tables, no two of them to one key, none of them cleared by another.
    Apply { stamp: Stamp, writes: Vec<(Place, Value)>, answer: Answer<()> },
    /// A compare-and-set on a guarded table.
    Swap {
        place: Place,
        expected: Option<Vec<u8>>,
        value: Option<Value>,
        now: Timestamp,
        answer: Answer<Swap>,
    },
    /// Gives the follower what was written so far.
    Seal(SyncSender<()>),
    /// Ends the writer, and with it the follower, who answers.
    Close(Option<Answer<()>>),
}

/// A generation is given to the follower when it has so many bytes, or half of what all may take: the
/// other half is written while it goes.
const GENERATION_BYTES: usize = 8 << 20;
/// Where so many shared the sync before, others are about to send a job, too.
const CROWD: usize = 8;

pub(super) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    active: Arc<Generation>,
    /// No stamp that was written is higher.
    top: Stamp,
    /// The memory that the generations may take.
    overlay: usize,
    /// A group takes no more jobs when it has so many bytes, or half of what a segment takes,
    group_bytes: usize,
    /// or so many jobs.
    group_jobs: usize,
    frame: Vec<u8>,
}

/// A job that is decided; its answer waits for the sync.
enum Decided {
    Applied(Answer<()>),
    Swapped(Answer<Swap>, Swap),
}

impl Writer {
    /// Continues this log; `top` is the highest stamp there is.
    pub(super) fn new(shared: Arc<Shared>, log: Log, top: Stamp, options: &Options) -> Self {
        let &Options { overlay, group_bytes, group_batches: group_jobs, .. } = options;
        let active = shared.view.load().generations[0].clone();
        Self { shared, log, active, top, overlay, group_bytes, group_jobs, frame: Vec::new() }
    }

    /// Works until it is closed.
    pub(super) fn run(
        mut self,
        jobs: &Receiver<Job>,
        queued: &AtomicUsize,
        follower: &SyncSender<Word>,
    ) {
        let (mut group, mut sharing) = (Vec::new(), 0);
        // Whatever comes last, no larger than the other half, still fits.
        let most = self.group_bytes.min(self.log.capacity() / 2);
        while let Ok(first) = jobs.recv() {
            // They go first, and share this sync. Where there are few it would only cost: Linux takes who
            // yields for one that has had its turn, and lets others go first for milliseconds.
            if sharing >= CROWD {
                std::thread::yield_now();
            }
            let mut order = None;
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(job) = next {
                if matches!(job, Job::Seal(_) | Job::Close(_)) {
                    order = Some(job);
                    break;
                }
                bytes += job.size();
                group.push(job);
                let more = group.len() < self.group_jobs && bytes < most;
                next = if more { jobs.try_recv().ok() } else { None };
            }
            sharing = group.len();
            queued.fetch_sub(sharing, Ordering::AcqRel);
            self.shared.begin_commit();
            let begins = self.commit(group.drain(..));
            self.shared.end_commit();
            if begins {
                // Where a word lies already the follower has not looked since.
                let _ = follower.try_send(Word::Work);
            }
            match order {
                Some(Job::Seal(sealed)) => {
                    self.seal();
                    let _ = sealed.send(());
                }
                Some(Job::Close(answer)) => {
                    let _ = follower.send(Word::Close(answer));
                    let closed = StoreError::Unavailable("the store is closed".into());
                    jobs.try_iter().for_each(|job| job.refuse(&closed));
                    return;
                }
                _ => {}
            }
        }
    }

    /// Decides, writes, syncs and answers a group. Answers whether a generation began by it.
    pub(super) fn commit(&mut self, group: impl Iterator<Item = Job>) -> bool {
        let group: Vec<_> = group.collect();
        if group.is_empty() {
            return false;
        }
        self.make_room();
        let begins = self.active.is_empty();
        let size = group.iter().map(Job::size).sum();
        debug_assert!(size <= self.log.capacity(), "a group fits into a segment");
        if let Err(error) = self.shared.alive().and_then(|()| self.log.room(size)) {
            Counters::add(&self.shared.counters.refused, group.len());
            group.into_iter().for_each(|job| job.refuse(&error));
            return false;
        }
        frame::begin(&mut self.frame);
        let empty = self.frame.len();
        let mut decided = Vec::with_capacity(group.len());
        for job in group {
            decided.extend(self.decide(job));
        }
        if self.frame.len() > empty {
            if let Err(error) = self.log.append(&mut self.frame) {
                let cause = format!("the log cannot be written: {error}");
                // First those who wait: the process ends in the call.
                for job in decided {
                    job.fail(&StoreError::Unknown(cause.clone().into()));
                }
                self.shared.fail(cause.into());
                return false;
            }
            let seen = self.log.next() - 1;
            self.shared.change(|view| view.seen = seen);
            let counters = &self.shared.counters;
            Counters::add(&counters.groups, 1);
            Counters::add(&counters.batches, decided.len());
            Counters::add(&counters.log_bytes, self.frame.len());
        }
        decided.into_iter().for_each(Decided::tell);
        let begins = begins && !self.active.is_empty();
        if self.active.bytes() > GENERATION_BYTES.min(self.overlay / 2) {
            self.seal();
        }
        begins
    }

    /// Begins another generation, so that the follower can have this one.
    pub(super) fn seal(&mut self) {
        if !self.active.is_empty() {
            self.active = Arc::default();
            self.shared.change(|view| view.generations.insert(0, self.active.clone()));
        }
    }

    /// Waits for the follower when it is too far behind.
    fn make_room(&mut self) {
        if self.shared.view.load().bytes() > self.overlay {
            self.seal();
            Counters::add(&self.shared.counters.stalls, 1);
            self.shared.wait(self.overlay);
        }
    }

    /// Decides a job on what is there and what was decided before it in this group; `None` if it
    /// was answered already.
    fn decide(&mut self, job: Job) -> Option<Decided> {
        match job {
            Job::Apply { stamp, writes, answer } => match self.winners(stamp, writes) {
                Ok(writes) => {
                    self.top = self.top.max(stamp);
                    writes.into_iter().for_each(|(place, value)| self.write(place, value));
                    Some(Decided::Applied(answer))
                }
                Err(error) => {
                    let _ = answer.send(Err(error));
                    None
                }
            },
            Job::Swap { place, expected, value, now, answer } => {
                let held = match self.held(&place, Stamp(0)) {
                    Ok(held) => held.filter(|held| held.lives(now)),
                    Err(error) => {
                        let _ = answer.send(Err(error));
                        return None;
                    }
                };
                let body = held.as_ref().map(Value::body);
                let swap = if body != expected.as_deref() {
                    Swap::Stale(body.map(<[u8]>::to_vec))
                } else {
                    let gone = held.is_some().then(Value::gone);
                    if let Some(value) = value.or(gone) {
                        self.write(place, value);
                    }
                    Swap::Done
                };
                Some(Decided::Swapped(answer, swap))
            }
            Job::Seal(_) | Job::Close(_) => None,
        }
    }

    fn write(&mut self, place: Place, value: Value) {
        let write = Write { key: place.key, shape: place.shape, value };
        frame::append(&write, &mut self.frame);
        self.active.add(self.log.next(), write);
        Counters::add(&self.shared.counters.writes, 1);
    }

    /// The writes that are not beaten by what is there. Stamps rise, so there is seldom anything
    /// to look up, and seldom in the tree.
    fn winners(
        &self,
        stamp: Stamp,
        mut writes: Vec<(Place, Value)>,
    ) -> Result<Vec<(Place, Value)>, StoreError> {
        if stamp > self.top {
            return Ok(writes);
        }
        let mut failed = Ok(());
        writes.retain(|(place, value)| match self.beaten(place, value) {
            Ok(beaten) => !beaten,
            Err(error) => {
                failed = Err(error);
                true
            }
        });
        failed.map(|()| writes)
    }

    fn beaten(&self, place: &Place, value: &Value) -> Result<bool, StoreError> {
        if self.held(place, value.stamp())?.is_some_and(|held| !value.beats(&held)) {
            return Ok(true);
        }
        if place.partition == place.key.len() {
            return Ok(false);
        }
        let key = place.key[..place.partition].into();
        let marker = self.held(&Place { key, ..place.clone() }, value.stamp())?;
        Ok(marker.is_some_and(|marker| {
            marker.format() == Format::Cleared && marker.stamp() >= value.stamp()
        }))
    }

    /// What is there, decided or durable, dead or alive. What is older than `stamp` in the tree
    /// may be left out; for guarded rows that is nothing.
    fn held(&self, place: &Place, stamp: Stamp) -> Result<Option<Value>, StoreError> {
        let view = self.shared.view.load();
        match view.overlaid(place, u64::MAX) {
            Ok(value) => Ok(Some(value)),
            Err(cleared) if stamp <= view.tree_stamp => view.treed(place, cleared),
            Err(_) => Ok(None),
        }
    }
}

impl Job {
    /// No more than it takes in a payload.
    pub(super) fn size(&self) -> usize {
        let size = |place: &Place, value: &Value| 8 + place.key.len() + value.bytes().len();
        match self {
            Self::Apply { writes, .. } => {
                writes.iter().map(|(place, value)| size(place, value)).sum()
            }
            Self::Swap { place, value, .. } => value
                .as_ref()
                .map_or_else(|| size(place, &Value::gone()), |value| size(place, value)),
            Self::Seal(_) | Self::Close(_) => 0,
        }
    }

    fn refuse(self, error: &StoreError) {
        match self {
            Self::Apply { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Swap { answer, .. } => drop(answer.send(Err(error.clone()))),
            Self::Seal(_) | Self::Close(_) => {}
        }
    }
}

impl Decided {
    // Nobody may be waiting any more: dropping a call does not cancel it.
    fn tell(self) {
        match self {
            Self::Applied(answer) => drop(answer.send(Ok(()))),
            Self::Swapped(answer, swap) => drop(answer.send(Ok(swap))),
        }
    }

    fn fail(self, error: &StoreError) {
        match self {
            Self::Applied(answer) => drop(answer.send(Err(error.clone()))),
            Self::Swapped(answer, _) => drop(answer.send(Err(error.clone()))),
        }
    }
}
