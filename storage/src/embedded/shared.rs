//! What the threads of a store share: the view, the counters, the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::overlay::View;
use crate::error::{Cause, StoreError};

/// Called once, from a thread of the store, when nothing can be written any more.
pub(super) type OnFatal = Box<dyn FnOnce(Cause) + Send>;

pub(super) struct Shared {
    pub(super) view: ArcSwap<View>,
    pub(super) counters: Counters,
    end: Mutex<End>,
    /// Told when the follower freed memory, and at the end.
    freed: Condvar,
    /// When the commit began that is under way.
    committing: Mutex<Option<Instant>>,
}

struct End {
    failed: Option<Cause>,
    on_fatal: Option<OnFatal>,
}

/// Since the store was opened.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) groups: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) log_bytes: AtomicU64,
    pub(super) stalls: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn new(view: View, on_fatal: OnFatal) -> Self {
        Self {
            view: ArcSwap::from_pointee(view),
            counters: Counters::default(),
            end: Mutex::new(End { failed: None, on_fatal: Some(on_fatal) }),
            freed: Condvar::new(),
            committing: Mutex::default(),
        }
    }

    /// Replaces the view; both threads do.
    pub(super) fn change(&self, mut change: impl FnMut(&mut View)) {
        self.view.rcu(|view| {
            let mut view = View::clone(view);
            change(&mut view);
            view
        });
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the store; only the first reason counts.
    pub(super) fn fail(&self, cause: Cause) {
        let mut end = self.end();
        end.failed.get_or_insert_with(|| cause.clone());
        let on_fatal = end.on_fatal.take();
        drop(end);
        self.freed.notify_all();
        if let Some(on_fatal) = on_fatal {
            tracing::error!(%cause, "the store cannot write any more");
            on_fatal(cause);
        }
    }

    fn committing(&self) -> MutexGuard<'_, Option<Instant>> {
        self.committing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit begins, for [`watch`] to know.
    pub(super) fn begin_commit(&self) {
        *self.committing() = Some(Instant::now());
    }

    /// The commit is done.
    pub(super) fn end_commit(&self) {
        *self.committing() = None;
    }

    /// Nothing was written if the store has ended.
    pub(super) fn alive(&self) -> Result<(), StoreError> {
        self.end().failed.clone().map_or(Ok(()), |cause| Err(StoreError::Unavailable(cause)))
    }

    /// Tells whoever waits in [`Shared::wait`].
    pub(super) fn freed(&self) {
        // Under the lock, so that it does not fall between somebody's look and their waiting.
        drop(self.end());
        self.freed.notify_all();
    }

    /// Waits until the generations take less memory than this, or the end.
    pub(super) fn wait(&self, bytes: usize) {
        let full = |end: &mut End| end.failed.is_none() && self.view.load().bytes() > bytes;
        let waited = self.freed.wait_while(self.end(), full);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Ends the store if a commit takes longer than `stall`: a disk that does not answer would keep
/// everybody waiting. Returns when the writer has ended, with which its end of `writer` goes.
pub(super) fn watch(shared: &Shared, stall: Duration, writer: &Receiver<()>) {
    let mut looks = Looks::default();
    while let Err(RecvTimeoutError::Timeout) = writer.recv_timeout(stall / LOOKS_MAX) {
        let began = *shared.committing();
        if looks.is_stalled(began) {
            let cause = format!("a commit has taken longer than {stall:?}: is the disk answering?");
            return shared.fail(cause.into());
        }
    }
}

/// After so many looks at the same commit it has stalled.
const LOOKS_MAX: u32 = 4;

/// How often a commit was found under way. Looks are counted, not time: a process that was stopped
/// and goes on did not wait for its disk meanwhile.
#[derive(Default)]
struct Looks {
    began: Option<Instant>,
    again: u32,
}

impl Looks {
    fn is_stalled(&mut self, began: Option<Instant>) -> bool {
        self.again = if began.is_some() && began == self.began { self.again + 1 } else { 0 };
        self.began = began;
        self.again >= LOOKS_MAX
    }
}

/// Ends the store if its thread panics.
pub(super) struct Watch(pub(super) Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("a thread of the store panicked".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{LOOKS_MAX, Looks};

    #[test]
    fn a_commit_has_stalled_when_it_is_found_again_and_again_however_long_ago_it_began() {
        let (now, mut looks) = (Instant::now(), Looks::default());
        let after_a_pause = now.checked_sub(Duration::from_secs(60));
        assert!(after_a_pause.is_some() && !looks.is_stalled(after_a_pause));
        for _ in 1..LOOKS_MAX {
            assert!(!looks.is_stalled(after_a_pause));
        }
        assert!(!looks.is_stalled(Some(now)), "the next commit counts anew");
        assert!(!looks.is_stalled(None));
        for _ in 0..LOOKS_MAX {
            assert!(!looks.is_stalled(Some(now)));
        }
        assert!(looks.is_stalled(Some(now)));
    }
}
