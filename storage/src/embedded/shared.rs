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
    /// What the writer waits for.
    awaited: Mutex<Option<Awaited>>,
}

/// What the writer waits for, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Awaited {
    since: Instant,
    whom: Whom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    /// The disk, which has a group to write.
    Disk,
    /// The tree, which may have much to merge before it takes more.
    Tree,
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
            awaited: Mutex::default(),
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

    fn awaited(&self) -> MutexGuard<'_, Option<Awaited>> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, whom: Whom) {
        *self.awaited() = Some(Awaited { since: Instant::now(), whom });
    }

    /// A commit begins, for [`watch`] to know.
    pub(super) fn begin_commit(&self) {
        self.begin(Whom::Disk);
    }

    /// The commit is done.
    pub(super) fn end_commit(&self) {
        *self.awaited() = None;
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

    /// Waits in a commit until the generations take less memory than this, or the end.
    pub(super) fn wait(&self, bytes: usize) {
        let full = |end: &mut End| {
            let full = end.failed.is_none() && self.view.load().bytes() > bytes;
            if full {
                // Whoever brings a generation to the tree is not stuck.
                self.begin(Whom::Tree);
            }
            full
        };
        let waited = self.freed.wait_while(self.end(), full);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        self.begin_commit();
    }
}

/// Ends the store if a commit takes longer than `stall`: a disk that does not answer would keep
/// everybody waiting. So it does if the tree takes nothing for [`TREE_STALLS`] as long. Returns when the
/// writer has ended, with which its end of `writer` goes.
pub(super) fn watch(shared: &Shared, stall: Duration, writer: &Receiver<()>) {
    let mut looks = Looks::default();
    while let Err(RecvTimeoutError::Timeout) = writer.recv_timeout(stall / LOOKS_MAX) {
        let awaited = *shared.awaited();
        let cause = match looks.stalled(awaited) {
            None => continue,
            Some(Whom::Disk) => format!("a commit has taken longer than {stall:?}"),
            Some(Whom::Tree) => format!("the tree has taken nothing for {:?}", stall * TREE_STALLS),
        };
        return shared.fail(format!("{cause}: is the disk answering?").into());
    }
}

/// After so many looks at the same commit it has stalled,
const LOOKS_MAX: u32 = 4;
/// and after so many times as many at a wait for the tree: before it takes more it may have to write out
/// what it holds and to merge, in what the rest leaves it of the processors and the disk.
pub const TREE_STALLS: u32 = 12;

/// How often the writer was found to wait for the same. Looks are counted, not time: a process that was
/// stopped and goes on did not wait for its disk meanwhile.
#[derive(Default)]
struct Looks {
    awaited: Option<Awaited>,
    again: u32,
}

impl Looks {
    fn stalled(&mut self, awaited: Option<Awaited>) -> Option<Whom> {
        self.again = if awaited.is_some() && awaited == self.awaited { self.again + 1 } else { 0 };
        self.awaited = awaited;
        let whom = awaited?.whom;
        let most = match whom {
            Whom::Disk => LOOKS_MAX,
            Whom::Tree => LOOKS_MAX * TREE_STALLS,
        };
        (self.again >= most).then_some(whom)
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

    use super::{Awaited, LOOKS_MAX, Looks, TREE_STALLS, Whom};

    #[test]
    fn a_commit_has_stalled_when_it_is_found_again_and_again_however_long_ago_it_began() {
        let (now, mut looks) = (Instant::now(), Looks::default());
        let begun = |since| Some(Awaited { since, whom: Whom::Disk });
        let after_a_pause = begun(now.checked_sub(Duration::from_secs(60)).expect("a minute ago"));
        for _ in 0..LOOKS_MAX {
            assert_eq!(looks.stalled(after_a_pause), None);
        }
        assert_eq!(looks.stalled(begun(now)), None, "the next commit counts anew");
        assert_eq!(looks.stalled(None), None);
        for _ in 0..LOOKS_MAX {
            assert_eq!(looks.stalled(begun(now)), None);
        }
        assert_eq!(looks.stalled(begun(now)), Some(Whom::Disk));
    }

    #[test]
    fn a_tree_that_merges_has_longer_and_what_it_takes_begins_anew() {
        let (now, mut looks) = (Instant::now(), Looks::default());
        let waits = |since| Some(Awaited { since, whom: Whom::Tree });
        for since in [now, now + Duration::from_secs(1)] {
            for _ in 0..LOOKS_MAX * TREE_STALLS {
                assert_eq!(looks.stalled(waits(since)), None);
            }
        }
        assert_eq!(looks.stalled(waits(now + Duration::from_secs(1))), Some(Whom::Tree));
    }
}
