//! The thread by which the tree follows the log: applies generations, syncs now and then, gives
//! segments back.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, sync_channel};
use std::time::Duration;

use tokio::time::Instant;

use super::frame::Lsn;
use super::log::Segments;
use super::overlay::Generation;
use super::shared::Shared;
use super::tree::{self, Closed, Tree};
use super::value::Format;
use super::writer::{Answer, Job};
use crate::error::{Cause, StoreError};
use crate::port::Stamp;

/// What the writer says to the follower.
pub(super) enum Word {
    /// There is something to do.
    Work,
    /// There will be nothing more; answer when all is in the tree.
    Close(Option<Answer<()>>),
}

pub(super) struct Follower {
    shared: Arc<Shared>,
    tree: Arc<dyn Tree>,
    segments: Segments,
    /// What the tree has, durable or not.
    applied: (Lsn, Stamp),
    /// How many bytes of it are not known to be durable,
    unsynced: usize,
    /// and since when.
    since: Option<Instant>,
    sync_every: Duration,
}

/// So many bytes are in the tree before it is synced, or what comes in a time that is a setting. Few,
/// because the log's syncs wait for the disk meanwhile: 8 MB held them up for 3 to 6 ms.
const SYNC_BYTES: usize = 2 << 20;
/// Between two rounds, unless a generation is full before: what is written over and over in that time
/// is written once, and what is read soon after it was written is in memory.
const PAUSE: Duration = Duration::from_millis(250);
/// The writer may itself be waiting for us, having sealed before.
const SEALING: Duration = Duration::from_millis(50);

impl Follower {
    /// The tree has all up to `applied`, durably.
    pub(super) fn new(
        shared: Arc<Shared>,
        tree: Arc<dyn Tree>,
        segments: Segments,
        applied: (Lsn, Stamp),
        sync_every: Duration,
    ) -> Self {
        Self { shared, tree, segments, applied, unsynced: 0, since: None, sync_every }
    }

    /// Works until the writer ends or the tree fails. Answers whom to tell when the store is
    /// closed.
    pub(super) fn run(
        mut self,
        words: &Receiver<Word>,
        writer: &Sender<Job>,
    ) -> (Option<Answer<()>>, Result<(), StoreError>) {
        let closing = loop {
            match self.round(words, writer) {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(answer)) => break Ok(answer),
                Err(error) => break Err(error),
            }
        };
        let (answer, done) = match closing {
            Ok(answer) => (answer, self.finish()),
            Err(error) => (None, Err(error)),
        };
        if let Err(error) = &done {
            self.shared.fail(Cause(error.to_string()));
        }
        // Whoever still holds the store holds nothing of its directory.
        self.shared.change(|view| view.tree = Arc::new(Closed));
        (answer, done)
    }

    pub(super) fn round(
        &mut self,
        words: &Receiver<Word>,
        writer: &Sender<Job>,
    ) -> Result<ControlFlow<Option<Answer<()>>>, StoreError> {
        self.spare();
        if self.shared.view.load().generations.iter().all(|one| one.is_empty()) {
            let passed = self.since.map_or(Duration::ZERO, |since| since.elapsed());
            match words.recv_timeout(self.sync_every.saturating_sub(passed)) {
                Ok(Word::Work) => {}
                Ok(Word::Close(answer)) => return Ok(ControlFlow::Break(answer)),
                Err(RecvTimeoutError::Disconnected) => return Ok(ControlFlow::Break(None)),
                Err(RecvTimeoutError::Timeout) => {
                    self.sync()?;
                    return Ok(ControlFlow::Continue(()));
                }
            }
        }
        match words.recv_timeout(PAUSE) {
            Ok(Word::Close(answer)) => return Ok(ControlFlow::Break(answer)),
            Err(RecvTimeoutError::Disconnected) => return Ok(ControlFlow::Break(None)),
            Ok(Word::Work) | Err(RecvTimeoutError::Timeout) => {}
        }
        if self.sealed().is_none() {
            let (seal, sealed) = sync_channel(1);
            if writer.send(Job::Seal(seal)).is_ok() {
                let _ = sealed.recv_timeout(SEALING);
            }
        }
        // Others may be sealed meanwhile, without end: it is synced between them, too.
        while self.follow()? {
            let due = self.since.is_some_and(|since| since.elapsed() >= self.sync_every);
            if due || self.unsynced > SYNC_BYTES {
                self.sync()?;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Sees to it that the writer finds a segment. One that cannot be made is missed by the
    /// writer, who says so.
    pub(super) fn spare(&self) {
        let _ = self.segments.prepare();
    }

    /// Without a writer every generation is complete.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        self.shared.change(|view| view.generations.insert(0, Arc::default()));
        while self.follow()? {}
        self.sync()?;
        self.shared.alive()
    }

    /// The oldest generation that nobody adds to. One that ends with a group that could not be
    /// written stays where it is: the tree gets only what is durable in the log.
    pub(super) fn sealed(&self) -> Option<Arc<Generation>> {
        let view = self.shared.view.load();
        let oldest = view.generations.last().filter(|_| view.generations.len() > 1);
        oldest.filter(|generation| generation.last() <= view.seen).cloned()
    }

    /// Brings one generation into the tree, if there is one.
    pub(super) fn follow(&mut self) -> Result<bool, StoreError> {
        let Some(generation) = self.sealed() else { return Ok(false) };
        write(&*self.tree, &generation)?;
        self.publish(&generation);
        Ok(true)
    }

    /// Lets the readers find a generation in the tree that was written there.
    pub(super) fn publish(&mut self, generation: &Arc<Generation>) {
        let stamp = self.applied.1.max(generation.stamp());
        self.applied = (self.applied.0.max(generation.last()), stamp);
        self.unsynced += generation.bytes();
        self.since.get_or_insert_with(Instant::now);
        let tree = self.tree.snapshot();
        self.shared.change(|view| {
            view.generations.retain(|one| !Arc::ptr_eq(one, generation));
            view.tree = tree.clone();
            view.tree_stamp = stamp;
        });
        self.shared.freed();
    }

    /// Makes durable what is in the tree, then gives back what the log has of it.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.since.take().is_some() {
            let (lsn, stamp) = self.applied;
            tree::sync_up_to(&*self.tree, lsn, stamp)?;
            self.segments.release(lsn);
            self.unsynced = 0;
        }
        Ok(())
    }
}

/// Writes the newest of every key in a generation to the tree, and takes away what it clears.
pub(super) fn write(tree: &dyn Tree, generation: &Generation) -> Result<(), StoreError> {
    let before = tree.snapshot();
    let mut rows = Vec::with_capacity(generation.len() + 1);
    let mut clear: Option<(fjall::Slice, Stamp)> = None;
    for (key, shape, value) in generation.newest() {
        // A partition's own key comes before those of its rows.
        let cleared = clear.as_ref().filter(|(partition, _)| key.starts_with(partition));
        if cleared.is_some_and(|(_, stamp)| value.stamp() <= *stamp) {
            continue;
        }
        match value.format() {
            Format::Gone => rows.push((shape, key, None)),
            Format::Row | Format::Deleted => rows.push((shape, key, Some(value.bytes().clone()))),
            Format::Cleared => {
                let stamp = value.stamp();
                for row in before.rows(shape, &key, &super::encoding::end(&key), true) {
                    let (row, old) = row?;
                    if old.stamp() <= stamp {
                        rows.push((shape, row, None));
                    }
                }
                rows.push((shape, key.clone(), Some(value.bytes().clone())));
                clear = Some((key, stamp));
            }
        }
    }
    rows.push(tree::applied(generation.last()));
    tree.write(rows)
}
