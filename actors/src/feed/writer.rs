//! Writes for sessions that rest: what goes to a thousand sockets costs each a write, and no task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::pace::Called;
use super::queue::{Cut, Queue};
use super::topic::Topic;
use super::{FeedLimits, Wire};
use crate::panics::caught;

/// Writes for resting sessions, one after another.
pub(super) struct Writer<W> {
    lists: Mutex<Lists<W>>,
    /// Something is due earlier than what is held.
    early: Notify,
    /// So long is held what comes close upon what was written.
    pub(super) hold: Duration,
    /// Hints that wait for one session, and bytes of their frames.
    pub(super) frames_max: usize,
    pub(super) bytes_max: usize,
    /// So many followers of one stream are told in rounds.
    pub(super) rounds_from: usize,
}

/// Something to be written.
pub(super) enum Job<W> {
    /// What waits for a session.
    Queue(Arc<Queue<W>>),
    /// What the followers of a stream are not told yet.
    Round(Arc<Topic<W>>),
}

struct Lists<W> {
    due: Vec<Job<W>>,
    /// Until when, in that order.
    held: VecDeque<(Instant, Job<W>)>,
    /// Somebody writes what is in the lists.
    runs: bool,
}

/// What was done since others had a turn.
#[derive(Default)]
struct Turn(usize);

/// So many writes at a time, then others have a turn.
const TURN: usize = 32;
/// Lists that were long keep room for so many.
const ROOM_KEPT: usize = 64;

impl<W: Wire> Writer<W> {
    pub(super) fn new(limits: &FeedLimits) -> Arc<Self> {
        let lists = Lists { due: Vec::new(), held: VecDeque::new(), runs: false };
        Arc::new(Self {
            lists: Mutex::new(lists),
            early: Notify::new(),
            hold: limits.hold,
            frames_max: limits.queue_frames.max(1),
            bytes_max: limits.queue_bytes,
            rounds_from: limits.rounds_from,
        })
    }

    /// Something is to be written. Answers whether it will be.
    pub(super) fn add(self: &Arc<Self>, job: Job<W>, called: Called) -> bool {
        let mut lists = self.lists();
        if !lists.runs {
            // Without a runtime everything ends.
            let Ok(runtime) = Handle::try_current() else { return false };
            lists.runs = true;
            runtime.spawn(self.clone().run());
        }
        match called {
            Called::Later => lists.held.push_back((Instant::now() + self.hold, job)),
            Called::Now => {
                lists.due.push(job);
                if lists.due.len() == 1 && !lists.held.is_empty() {
                    self.early.notify_one();
                }
            }
        }
        true
    }

    /// Writes until nothing is left in the lists.
    async fn run(self: Arc<Self>) {
        let (mut due, mut turn) = (Vec::new(), Turn::default());
        loop {
            let next = self.take(&mut due);
            if due.is_empty() && next.is_none() {
                return;
            }
            for job in due.drain(..) {
                match job {
                    Job::Queue(queue) => turn.takes(writes(&queue, || queue.write())).await,
                    Job::Round(topic) => self.round(&topic, &mut turn).await,
                }
            }
            // What was written took its time: more may be due.
            if let Some(next) = next.filter(|next| *next > Instant::now()) {
                tokio::select! {
                    () = sleep_until(next) => {}
                    () = self.early.notified() => {}
                }
            }
        }
    }

    /// Tells all followers of a stream for whom this one writes. What is told meanwhile waits for the next
    /// round, so that everybody hears it in order.
    async fn round(self: &Arc<Self>, topic: &Arc<Topic<W>>, turn: &mut Turn) {
        let Some(round) = topic.begin_round(self) else { return };
        for queue in &*round.queues {
            turn.takes(writes(queue, || queue.take(topic, &round.hints))).await;
        }
        topic.end_round(self);
    }

    /// Takes what is due. Answers until when the next is held, if any is.
    fn take(&self, due: &mut Vec<Job<W>>) -> Option<Instant> {
        let (mut lists, now) = (self.lists(), Instant::now());
        std::mem::swap(due, &mut lists.due);
        while let Some((_, job)) = lists.held.pop_front_if(|(until, _)| *until <= now) {
            due.push(job);
        }
        let next = lists.held.front().map(|(until, _)| *until);
        lists.due.shrink_to(ROOM_KEPT);
        lists.held.shrink_to(ROOM_KEPT);
        lists.runs = !due.is_empty() || next.is_some();
        next
    }

    fn lists(&self) -> MutexGuard<'_, Lists<W>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// So many writes were made.
    async fn takes(&mut self, writes: usize) {
        self.0 += writes;
        if self.0 >= TURN {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
}

/// Writes for a session, and answers how often: one for which that panics is ended.
fn writes<W: Wire>(queue: &Queue<W>, work: impl FnOnce() -> usize) -> usize {
    caught("write", work).unwrap_or_else(|_| {
        queue.cut(Cut::Failed);
        1
    })
}
