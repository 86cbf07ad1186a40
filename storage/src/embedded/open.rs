//! Opening a store: the lock, the tree, what the log has beyond it, then the threads.

use std::fs::{File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use fjall::LsmError;

use super::disk::{Directory, Disk};
use super::follower::{self, Follower};
use super::frame::Lsn;
use super::log::{Log, Segments};
use super::overlay::{Generation, View};
use super::recovery::{self, Unreadable};
use super::shared::{self, OnFatal, Shared, Watch};
use super::tree::{self, Fjall, Mark, Tree};
use super::writer::Writer;
use super::{Embedded, Sending};
use crate::error::{Cause, StoreError};
use crate::memory::Now;
use crate::port::Stamp;

/// How an embedded store is opened. Sizes are in bytes.
#[derive(Clone)]
pub struct Options {
    /// The directory; made if it is not there.
    pub path: PathBuf,
    /// What time it is, for expiry.
    pub now: Now,
    /// A file of the log. Two to five of them exist.
    pub segment: usize,
    /// What the log may be ahead of the tree, in memory.
    pub overlay: usize,
    /// What is kept of the tree in memory: what was read,
    pub cache: u64,
    /// and what was written, twice.
    pub memtable: u64,
    /// Free space on the disk below which nothing is written any more.
    pub reserve: u64,
    /// Writes that may wait at once.
    pub queue: usize,
    /// Reads of the tree that may run at once.
    pub reads: usize,
    /// A group takes no more batches when it has so many bytes,
    pub group_bytes: usize,
    /// or so many batches.
    pub group_batches: usize,
    /// The tree is synced at least this often.
    pub sync_every: Duration,
    /// A commit that takes longer ends the store, and a tree that takes nothing for [`TREE_STALLS`]
    /// times as long: the disk is not answering.
    ///
    /// [`TREE_STALLS`]: super::TREE_STALLS
    pub stall: Duration,
}

impl Options {
    /// The usual sizes.
    pub fn new(path: impl Into<PathBuf>, now: Now) -> Self {
        Self {
            path: path.into(),
            now,
            segment: 64 << 20,
            overlay: 64 << 20,
            cache: 64 << 20,
            memtable: 64 << 20,
            reserve: 64 << 20,
            queue: 65_536,
            reads: 64,
            group_bytes: 1 << 20,
            group_batches: 1_024,
            sync_every: Duration::from_secs(10),
            stall: Duration::from_secs(10),
        }
    }
}

/// Why a store cannot be opened, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the store in {0} is in use: stop the process that uses it, or choose another path")]
    InUse(PathBuf),
    /// What is there cannot be trusted.
    #[error("the store in {0} is damaged ({1}): restore a backup, or move it away to begin anew")]
    Damaged(PathBuf, Cause),
    /// The disk is full.
    #[error("no space left for the store in {0}: free at least {1} MiB")]
    NoSpace(PathBuf, u64),
    /// The disk or its permissions.
    #[error("the store in {0} cannot be opened ({1}): look at the directory and its permissions")]
    Failed(PathBuf, Cause),
}

/// A store that is read, before its threads begin.
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
    pub(super) follower: Follower,
    /// The largest job.
    pub(super) capacity: usize,
    pub(super) top: Stamp,
}

/// Why not, without the path.
#[derive(Debug)]
pub(super) enum Why {
    Damaged(String),
    Io(io::Error),
    Store(StoreError),
}

impl From<io::Error> for Why {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<StoreError> for Why {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Unreadable> for Why {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Damaged(why) => Self::Damaged(why),
            Unreadable::Io(error) => Self::Io(error),
        }
    }
}

/// Brings the tree up to the log, durably, and begins a new segment: only then may anybody ask,
/// for what the page cache showed need not have been on the disk.
pub(super) fn recover(
    disk: Arc<dyn Disk>,
    tree: Arc<dyn Tree>,
    options: &Options,
    on_fatal: OnFatal,
) -> Result<Parts, Why> {
    let Mark { durable, stamp: mut top, applied } = tree::mark(&*tree)?;
    let found = recovery::read(&disk, durable)?;
    if found.last < applied {
        return Err(Why::Damaged(format!("group {applied} of its log is unreadable")));
    }
    if found.last > durable {
        found.secure()?;
        let mut generation = Generation::default();
        found.replay(|lsn, writes| {
            for write in writes {
                top = top.max(write.value.stamp());
                generation.add(lsn, write);
            }
            if generation.bytes() > REPLAY_BYTES {
                follower::write(&*tree, &generation)?;
                generation = Generation::default();
            }
            Ok::<_, Why>(())
        })?;
        if !generation.is_empty() {
            follower::write(&*tree, &generation)?;
        }
    }
    // Also with nothing to replay: the mark itself may stand in the page cache only.
    tree::sync_up_to(&*tree, found.last, top)?;
    // The tree has everything now, so that every file is free; those of another length go.
    let (mut free, mut odd) = (Vec::new(), Vec::new());
    for &number in &found.numbers {
        let fits = disk.open(number)?.length()? == options.segment as u64;
        if fits { free.push(number) } else { odd.push(number) }
    }
    let next = found.numbers.iter().max().map_or(0, |number| number + 1);
    let segments = Segments::new(disk.clone(), options.segment, options.reserve, free, next);
    let log = Log::begin(segments.clone(), found.serial + 1, found.last + 1)?;
    // Not before the log goes on elsewhere: a tree without a log is damaged.
    for number in odd {
        disk.remove(number)?;
    }
    let view = View {
        seen: found.last,
        generations: vec![Arc::default()],
        tree: tree.snapshot(),
        tree_stamp: top,
    };
    let shared = Arc::new(Shared::new(view, on_fatal));
    let capacity = log.capacity() / 2;
    let writer = Writer::new(shared.clone(), log, top, options);
    let applied: (Lsn, Stamp) = (found.last, top);
    let follower = Follower::new(shared.clone(), tree, segments, applied, options.sync_every);
    Ok(Parts { shared, writer, follower, capacity, top })
}

const REPLAY_BYTES: usize = 16 << 20;

impl Embedded {
    /// Opens or makes a store; blocks, after a kill for as long as it takes to read what the tree
    /// had not yet. `on_fatal` is called at most once, from a thread of the store,
    /// when nothing can be written any more: the process must end then, its next start repairs.
    pub fn open(
        options: Options,
        on_fatal: impl FnOnce(Cause) + Send + 'static,
    ) -> Result<Self, OpenError> {
        let path = options.path.clone();
        let needs = options.reserve + 2 * options.segment as u64 + options.memtable;
        let reserve = options.reserve;
        Self::start(options, Box::new(on_fatal)).map_err(|why| {
            let free = Directory::at(&path).and_then(|directory| directory.space());
            let is_full = free.is_ok_and(|free| free < reserve);
            why.at(path, needs >> 20, is_full)
        })
    }

    fn start(options: Options, on_fatal: OnFatal) -> Result<Self, Why> {
        let path = &options.path;
        let disk = Arc::new(Directory::at(&path.join("log"))?);
        let lock = File::create(path.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Why::Io(io::ErrorKind::ResourceBusy.into()),
            TryLockError::Error(error) => Why::Io(error),
        })?;
        let tree =
            Fjall::open(&path.join("tree"), options.cache, options.memtable, options.now.clone());
        let tree = Arc::new(tree.map_err(|error| match error {
            fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => Why::Io(error),
            fjall::Error::Poisoned => Why::Store(tree::broken(error)),
            fjall::Error::Locked => Why::Io(io::ErrorKind::ResourceBusy.into()),
            other => Why::Damaged(format!("its tree: {other:?}")),
        })?);
        // The names of the two directories are in this one.
        File::open(path)?.sync_all()?;
        let Parts { shared, writer, follower, capacity, top } =
            recover(disk, tree, &options, on_fatal)?;

        let (jobs, waiting) = channel();
        let (words, said) = sync_channel(1);
        let sending = Sending::new(jobs.clone(), options.queue, capacity);
        let (queued, watch) = (sending.queued(), Watch(shared.clone()));
        let (working, ended) = sync_channel(0);
        Builder::new().name("store-writer".to_owned()).spawn(move || {
            let _held = (watch, working);
            writer.run(&waiting, &queued, &words);
        })?;
        let (watched, stall) = (shared.clone(), options.stall);
        Builder::new()
            .name("store-watchdog".to_owned())
            .spawn(move || shared::watch(&watched, stall, &ended))?;
        let watch = Watch(shared.clone());
        Builder::new().name("store-follower".to_owned()).spawn(move || {
            let (answer, done) = follower.run(&said, &jobs);
            // Whoever hears that the store is closed may open it again.
            drop((watch, lock));
            if let Some(answer) = answer {
                let _ = answer.send(done);
            }
        })?;
        Ok(Self::new(shared, sending, &options, top))
    }
}

impl Why {
    fn at(self, path: PathBuf, mebibytes: u64, is_full: bool) -> OpenError {
        match self {
            Self::Damaged(why) => OpenError::Damaged(path, why.into()),
            Self::Store(StoreError::Corrupt(why)) => OpenError::Damaged(path, why),
            // The tree says in many ways that it could not write.
            Self::Store(StoreError::Unavailable(_)) if is_full => {
                OpenError::NoSpace(path, mebibytes)
            }
            Self::Store(error) => OpenError::Failed(path, error.to_string().into()),
            Self::Io(error) => match error.kind() {
                io::ErrorKind::ResourceBusy => OpenError::InUse(path),
                io::ErrorKind::StorageFull => OpenError::NoSpace(path, mebibytes),
                _ => OpenError::Failed(path, error.to_string().into()),
            },
        }
    }
}
