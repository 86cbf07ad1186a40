//! Writes for sessions that rest: what goes to a thousand sockets costs each a write, and no task.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::Wire;
use super::queue::{Cut, Queue};
use crate::panics::caught;

/// Queues of resting sessions for which something waits.
pub(super) struct Writer<W> {
    lists: Mutex<Lists<W>>,
    /// Something is due earlier than what is held.
    early: Notify,
    /// So long is held what comes close upon what was written.
    pub(super) hold: Duration,
}

struct Lists<W> {
    due: Vec<Arc<Queue<W>>>,
    /// Until when, in that order.
    held: VecDeque<(Instant, Arc<Queue<W>>)>,
    /// Somebody writes what is in the lists.
    runs: bool,
}

/// So many writes at a time, then others have a turn.
const TURN: usize = 32;
/// Lists that were long keep room for so many.
const ROOM_KEPT: usize = 64;

impl<W: Wire> Writer<W> {
    pub(super) fn new(hold: Duration) -> Arc<Self> {
        let lists = Lists { due: Vec::new(), held: VecDeque::new(), runs: false };
        Arc::new(Self { lists: Mutex::new(lists), early: Notify::new(), hold })
    }

    /// Something waits in a queue, and is written now or after the hold. Answers whether it will be.
    pub(super) fn add(self: &Arc<Self>, queue: Arc<Queue<W>>, is_held: bool) -> bool {
        let mut lists = self.lists();
        if !lists.runs {
            // Without a runtime everything ends.
            let Ok(runtime) = Handle::try_current() else { return false };
            lists.runs = true;
            runtime.spawn(self.clone().run());
        }
        match is_held {
            true => lists.held.push_back((Instant::now() + self.hold, queue)),
            false => {
                lists.due.push(queue);
                if lists.due.len() == 1 && !lists.held.is_empty() {
                    self.early.notify_one();
                }
            }
        }
        true
    }

    /// Writes until nothing is left in the lists.
    async fn run(self: Arc<Self>) {
        let mut due = Vec::new();
        loop {
            let next = self.take(&mut due);
            if due.is_empty() && next.is_none() {
                return;
            }
            for (n, queue) in due.drain(..).enumerate() {
                if n % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
                if caught("write", || queue.write()).is_err() {
                    queue.cut(Cut::Failed);
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

    /// Takes what is due. Answers until when the next is held, if any is.
    fn take(&self, due: &mut Vec<Arc<Queue<W>>>) -> Option<Instant> {
        let (mut lists, now) = (self.lists(), Instant::now());
        std::mem::swap(due, &mut lists.due);
        while let Some((_, queue)) = lists.held.pop_front_if(|(until, _)| *until <= now) {
            due.push(queue);
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
