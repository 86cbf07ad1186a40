//! The tree that follows the log: all rows, searchable, never waited for. Behind a trait, so that
//! tests can lose what it did not sync.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use fjall::compaction::Leveled;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use fjall::config::PartitioningPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode, Readable, Slice};

use super::frame::Lsn;
use super::journal;
use super::value::{Value, expired};
use crate::behind::{Niceness, behind};
use crate::error::StoreError;
use crate::memory::Now;
use crate::port::{Shape, Stamp};

/// An ordered map on a disk, in two parts by [`Shape`].
pub(super) trait Tree: Send + Sync {
    /// All rows as they are now.
    fn snapshot(&self) -> Arc<dyn Snapshot>;
    /// Puts, and deletes where there is no value; visible together, durable some time.
    fn write(&self, rows: Vec<(Shape, Slice, Option<Slice>)>) -> Result<(), StoreError>;
    /// Makes everything written durable.
    fn sync(&self) -> Result<(), StoreError>;
}

/// A tree's rows at one moment.
pub(super) trait Snapshot: Send + Sync {
    fn get(&self, shape: Shape, key: &[u8]) -> Result<Option<Value>, StoreError>;
    /// The rows from `low` to before `high`, rising or falling.
    fn rows<'a>(&'a self, shape: Shape, low: &[u8], high: &[u8], rising: bool) -> Rows<'a>;
}

/// Keys and values in order.
pub(super) type Rows<'a> = Box<dyn Iterator<Item = Result<(Slice, Value), StoreError>> + 'a>;

/// What the tree says of itself, among the rows of no table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Up to here everything is in the tree, durably.
    pub(super) durable: Lsn,
    /// No stamp up to there is higher.
    pub(super) stamp: Stamp,
    /// Something of this group is in the tree, so that the log has it.
    pub(super) applied: Lsn,
}

/// The tree writes out and merges for seconds on end, and webhooks do not wait for it: it gets what they
/// leave, and a tenth of it when they leave nothing. Where that is too little the follower waits for the
/// tree, then the log's writer for the follower.
const GIVING_WAY: Niceness = Niceness(10);

/// It takes nothing any more, and what it has is as it was.
const POISONED: &str = "the tree could not write to the disk before";

/// So many tables of what was in memory are merged at once into the first level, which is as large as that
/// many tables of [`TABLE_BYTES`]: by the defaults, four and 64 MiB, it is twice what is merged into it.
const MERGED_AT_ONCE: u8 = 8;
const TABLE_BYTES: u64 = 32 << 20;

/// In both parts: one may have lost what the other has, and each only the last that it was given.
const DURABLE: &[u8] = b"\0\0durable";
const APPLIED: &[u8] = b"\0\0applied";
/// Both parts are marked; stores that were made before had a mark in one.
const IN_BOTH: &[u8] = b"\0\0in both";

/// What the tree says of itself.
pub(super) fn mark(tree: &dyn Tree) -> Result<Mark, StoreError> {
    let snapshot = tree.snapshot();
    let read = |shape, key| -> Result<Option<(Lsn, Stamp)>, StoreError> {
        let Some(value) = snapshot.get(shape, key)? else { return Ok(None) };
        let lsn = value.body().as_array().map(|bytes| Lsn::from_le_bytes(*bytes));
        let damaged = || StoreError::Corrupt("the tree's mark is damaged".into());
        Ok(Some((lsn.ok_or_else(damaged)?, value.stamp())))
    };
    let (whole, stamp) = read(Shape::Overwritten, DURABLE)?.unwrap_or((0, Stamp(0)));
    let durable = match read(Shape::Appended, DURABLE)? {
        Some((of_the_other, _)) => whole.min(of_the_other),
        None if read(Shape::Overwritten, IN_BOTH)?.is_some() => 0,
        None => whole,
    };
    let applied = read(Shape::Overwritten, APPLIED)?.map_or(0, |(lsn, _)| lsn);
    Ok(Mark { durable, stamp, applied })
}

fn note(shape: Shape, key: &'static [u8], lsn: Lsn, stamp: Stamp) -> (Shape, Slice, Option<Slice>) {
    let value = Value::row(stamp, 0, &lsn.to_le_bytes());
    (shape, key.into(), Some(value.bytes().clone()))
}

/// The row by which a tree says that it has something of a group.
pub(super) fn applied(lsn: Lsn) -> (Shape, Slice, Option<Slice>) {
    note(Shape::Overwritten, APPLIED, lsn, Stamp(0))
}

/// Syncs everything written, then marks that it is durable up to `lsn`, durably: whatever mark a
/// power cut leaves tells the truth.
pub(super) fn sync_up_to(tree: &dyn Tree, lsn: Lsn, stamp: Stamp) -> Result<(), StoreError> {
    tree.sync()?;
    // The first: see `journal`.
    let whole = note(Shape::Overwritten, DURABLE, lsn, stamp);
    let of_the_other = note(Shape::Appended, DURABLE, lsn, stamp);
    tree.write(vec![whole, of_the_other, note(Shape::Overwritten, IN_BOTH, lsn, stamp)])?;
    tree.sync()
}

/// fjall, with a keyspace for each shape.
pub(super) struct Fjall {
    database: Database,
    parts: Parts,
}

#[derive(Clone)]
struct Parts {
    appended: Keyspace,
    overwritten: Keyspace,
}

impl Parts {
    fn of(&self, shape: Shape) -> &Keyspace {
        match shape {
            Shape::Appended => &self.appended,
            Shape::Overwritten => &self.overwritten,
        }
    }
}

impl Fjall {
    /// Opens or makes it. Sizes are in bytes.
    pub(super) fn open(
        path: &Path,
        cache: u64,
        memtable: u64,
        now: Now,
    ) -> Result<Self, fjall::Error> {
        let expiry: Arc<dyn Factory> = Arc::new(Expiry(AssertUnwindSafe(now)));
        clear_unfinished(path)?;
        let open = || {
            let expiry = expiry.clone();
            let builder = Database::builder(path)
                .cache_size(cache)
                .worker_threads(2)
                // Ours is the log: its journal only has to be there when it is synced.
                .manual_journal_persist(true)
                .max_journaling_size(256 << 20)
                .with_compaction_filter_factories(Arc::new(move |_| Some(expiry.clone())));
            // Its threads have the priority of the one that starts them.
            let opened = behind("tree", GIVING_WAY, || builder.open())?;
            opened.unwrap_or_else(|panic| resume_unwind(panic))
        };
        let database = match open() {
            Err(fjall::Error::JournalRecovery(why)) if journal::cut(path, DURABLE)? => {
                let opened = open();
                if opened.is_ok() {
                    tracing::warn!(
                        ?why,
                        "the tree's journal was torn; the log has what is missing"
                    );
                }
                opened
            }
            opened => opened,
        }?;
        let part = |name| {
            let options = || {
                let options = KeyspaceCreateOptions::default().max_memtable_size(memtable);
                // Of a table that was merged the whole filter is half a megabyte, and of the index one:
                // too much for the cache, and each look-up would read it anew.
                let in_pieces = PartitioningPolicy::new([false, true]);
                let options = options.filter_block_partitioning_policy(in_pieces.clone());
                let options = options.index_block_partitioning_policy(in_pieces);
                let merges = Leveled::default().with_l0_threshold(MERGED_AT_ONCE);
                options.compaction_strategy(Arc::new(merges.with_table_target_size(TABLE_BYTES)))
            };
            database.keyspace(name, options)
        };
        let parts = Parts { appended: part("appended")?, overwritten: part("overwritten")? };
        Ok(Self { database, parts })
    }
}

/// Takes away a tree whose making was broken off, which fjall neither goes on with nor begins anew: its
/// parts are made once all else is durable. Whatever it had, the log has.
fn clear_unfinished(path: &Path) -> io::Result<()> {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let has_parts = match path.join("keyspaces").read_dir() {
        Ok(mut parts) => parts.next().is_some(),
        Err(error) if is_missing(&error) => false,
        Err(error) => return Err(error),
    };
    match has_parts {
        true => Ok(()),
        false => fs::remove_dir_all(path).or_else(|error| match is_missing(&error) {
            true => Ok(()),
            false => Err(error),
        }),
    }
}

impl Tree for Fjall {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(At { snapshot: self.database.snapshot(), parts: self.parts.clone() })
    }

    fn write(&self, rows: Vec<(Shape, Slice, Option<Slice>)>) -> Result<(), StoreError> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), rows.len());
        for (shape, key, value) in rows {
            match value {
                Some(value) => batch.insert(self.parts.of(shape), key, value),
                None => batch.remove(self.parts.of(shape), key),
            }
        }
        batch.commit().map_err(broken)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncAll).map_err(broken)
    }
}

/// The tree at one moment.
struct At {
    snapshot: fjall::Snapshot,
    parts: Parts,
}

impl Snapshot for At {
    fn get(&self, shape: Shape, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let found = self.snapshot.get(self.parts.of(shape), key).map_err(broken)?;
        found.map(Value::read).transpose()
    }

    fn rows<'a>(&'a self, shape: Shape, low: &[u8], high: &[u8], rising: bool) -> Rows<'a> {
        let rows = self.snapshot.range(self.parts.of(shape), low..high);
        let read = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(broken)?;
            Ok((key, Value::read(value)?))
        };
        if rising { Box::new(rows.map(read)) } else { Box::new(rows.rev().map(read)) }
    }
}

/// What readers find when the store is closed.
pub(super) struct Closed;

impl Closed {
    fn unavailable<T>() -> Result<T, StoreError> {
        Err(StoreError::Unavailable("the store is closed".into()))
    }
}

impl Snapshot for Closed {
    fn get(&self, _: Shape, _: &[u8]) -> Result<Option<Value>, StoreError> {
        Self::unavailable()
    }

    fn rows<'a>(&'a self, _: Shape, _: &[u8], _: &[u8], _: bool) -> Rows<'a> {
        Box::new(std::iter::once(Self::unavailable()))
    }
}

pub(super) fn broken(error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => {
            StoreError::Unavailable(format!("the tree: {error}").into())
        }
        fjall::Error::Poisoned => StoreError::Unavailable(POISONED.into()),
        other => StoreError::Corrupt(format!("the tree: {other:?}").into()),
    }
}

/// Drops expired rows when tables are merged.
struct Expiry(AssertUnwindSafe<Now>);

/// Those that were expired when a merge began.
struct ExpiredAt(engine::time::Timestamp);

impl Factory for Expiry {
    fn name(&self) -> &str {
        "expiry"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(ExpiredAt((self.0)()))
    }
}

impl CompactionFilter for ExpiredAt {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let value = Value::read(item.value()?);
        let over = value.is_ok_and(|value| expired(value.expires(), self.0));
        Ok(if over { Verdict::Remove } else { Verdict::Keep })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use engine::time::Timestamp;
    use fjall::{Error, LsmError, Slice};

    use super::{DURABLE, Fjall, Tree, broken, mark, note, sync_up_to};
    use crate::error::StoreError;
    use crate::port::{Shape, Stamp};

    #[cfg(target_os = "linux")]
    #[test]
    fn the_threads_of_the_tree_give_way() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = Fjall::open(directory.path(), 3 << 20, 1 << 20, Arc::new(|| Timestamp(0)));
        let _tree = tree.expect("it opens");
        let mut niceness = Vec::new();
        for thread in std::fs::read_dir("/proc/self/task").expect("threads") {
            // One may have ended meanwhile.
            let stat = std::fs::read_to_string(thread.expect("one").path().join("stat"));
            let stat = stat.unwrap_or_default();
            let Some((before, after)) = stat.rsplit_once(") ") else { continue };
            if before.contains("(fjall:worker") {
                niceness.push(after.split(' ').nth(16).map(str::to_owned));
            }
        }
        let wanted = Some(super::GIVING_WAY.0.to_string());
        assert!(!niceness.is_empty() && niceness.iter().all(|one| *one == wanted), "{niceness:?}");
    }

    #[test]
    fn a_disk_that_does_not_write_is_no_damage() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        for error in [Error::Io(full()), Error::Storage(LsmError::Io(full())), Error::Poisoned] {
            assert!(matches!(broken(error), StoreError::Unavailable(_)));
        }
        assert!(matches!(broken(Error::InvalidTrailer), StoreError::Corrupt(_)));
    }

    #[test]
    fn what_is_marked_in_one_part_alone_is_taken_as_it_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = Fjall::open(directory.path(), 3 << 20, 1 << 20, Arc::new(|| Timestamp(0)));
        let tree = tree.expect("it opens");
        assert_eq!(mark(&tree).expect("read").durable, 0);
        tree.write(vec![note(Shape::Overwritten, DURABLE, 7, Stamp(3))]).expect("as it used to be");
        let found = mark(&tree).expect("read");
        assert_eq!((found.durable, found.stamp), (7, Stamp(3)));
        sync_up_to(&tree, 9, Stamp(4)).expect("synced");
        assert_eq!(mark(&tree).expect("read").durable, 9);
    }

    #[test]
    fn what_the_tree_has_taken_is_written_out_once_it_is_too_much_for_memory() {
        let open = |memtable| {
            let directory = tempfile::tempdir().expect("a directory");
            let now = Arc::new(|| Timestamp(0));
            let tree = Fjall::open(directory.path(), 3 << 20, memtable, now).expect("it opens");
            for n in 0..64_u32 {
                let (key, body) = (Slice::from(n.to_be_bytes()), Slice::from(vec![0; 64 << 10]));
                let rows = [Shape::Appended, Shape::Overwritten];
                let rows = rows.map(|shape| (shape, key.clone(), Some(body.clone())));
                tree.write(rows.into()).expect("written");
            }
            assert_eq!(tree.database.cache_capacity(), 3 << 20);
            (directory, tree)
        };
        let (_small, small) = open(1 << 20);
        let (_large, large) = open(64 << 20);
        for part in [&small.parts.appended, &small.parts.overwritten] {
            while part.table_count() == 0 {
                std::thread::yield_now();
            }
        }
        for part in [&large.parts.appended, &large.parts.overwritten] {
            assert_eq!(part.table_count(), 0, "it has room in memory");
        }
    }
}
