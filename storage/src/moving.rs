//! A whole store moved to another backend: its rows as a file, with their stamps and expiries.
//!
//! - An export is of a store that nobody writes. What is deleted is not in it, and what has expired.
//! - An import begins in a store with nothing in it, and leaves a mark there until all rows are. Rows
//!   keep their stamps, so that what was imported already stays as it is: whatever interrupts an
//!   import, the same one again ends it. Until then the store is not served.

#[cfg(test)]
mod cluster;
mod file;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use engine::time::Timestamp;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;
use uuid::Uuid;

use self::file::{Reader, Writer};
use crate::body::{decode, encode};
use crate::conversations::Conversations;
use crate::error::StoreError;
use crate::keys::hour;
use crate::memory::Now;
use crate::port::{Batch, Change, Claim, Key, Part, Pending, Stamp, Store, Swap, Table, Writes};
use crate::tables::{ALL, FOR_EVER, NAMES};

/// A row with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub table: &'static Table,
    pub key: Key,
    /// 0 in guarded tables: no stamp decides about their rows.
    pub stamp: Stamp,
    /// The second since 1970 in which it expires.
    pub expires: Option<u32>,
    pub body: Vec<u8>,
}

/// The rows of a table, some at a time. A page may be empty.
pub type Pages<'a> = Pin<Box<dyn Stream<Item = Result<Vec<Record>, StoreError>> + Send + 'a>>;

/// A store that can be read whole. Each row comes once, in any order.
pub trait Source: Store {
    /// The rows of a table that are there now; nobody writes meanwhile.
    fn pages(&self, table: &'static Table) -> Pages<'_>;
}

/// What was moved, or is so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// The one that is read or written.
    pub table: &'static str,
    /// Those that have rows.
    pub tables: usize,
    pub rows: u64,
    /// Of keys and bodies.
    pub bytes: u64,
    /// Rows of the file that expired since it was made.
    pub expired: u64,
}

/// A file that is whole: all its checksums fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Export {
    id: Uuid,
    rows: u64,
    /// No row has a higher stamp.
    pub highest: Stamp,
}

/// What an import did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    Now(Moved),
    /// All of it, before: nothing was changed.
    Before,
}

/// Why a store was not moved: a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotMoved(pub String);

/// A file is taken in pieces of so many bytes, more or less,
const PIECE: usize = 256 << 10;
/// a batch is no larger than this, unless one row is,
const BATCH: usize = 40 << 10;
/// and so many are on their way at once.
const AT_ONCE: usize = 64;
/// How long a write that was perhaps not done is waited with, before each time it is done again.
const AGAIN: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// In a store that rows are imported into: from which file, and whether all are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    file: Uuid,
    is_whole: bool,
}

fn mark_key() -> Key {
    let text = |text: &'static str| Part::Text(text.into());
    Key::new(vec![Part::Uuid([0; 16]), text("store"), text("import")], Vec::new())
}

async fn mark(store: &dyn Store) -> Result<Option<Mark>, NotMoved> {
    let body = store.get(&NAMES, &mark_key()).await.map_err(unread)?;
    body.map(|body| decode(&body)).transpose().map_err(unread)
}

/// Refuses a store that holds a part of an import: nothing is right in it yet.
///
/// # Errors
/// One sentence.
pub async fn refuse_part(store: &dyn Store) -> Result<(), NotMoved> {
    match mark(store).await? {
        Some(Mark { is_whole: false, .. }) => Err(NotMoved(
            "an import into this store is not finished: run `omnistream import` again with the same file".into(),
        )),
        _ => Ok(()),
    }
}

/// Refuses a store with commits from which not everything follows yet: only the kind of store that
/// they are made on sees to that, when it is served.
///
/// # Errors
/// One sentence.
pub async fn refuse_unfinished(store: Arc<dyn Store>, now: Timestamp) -> Result<(), NotMoved> {
    if store.guarantees().atomic {
        return Ok(());
    }
    let conversations = Conversations::new(store);
    match conversations.is_behind(hour(now)).await.map_err(unread)? {
        false => Ok(()),
        true => Err(NotMoved(
            "the process that served this keyspace did not end in order: run `omnistream serve` on it, stop that with \
             SIGTERM, and export again"
                .into(),
        )),
    }
}

/// Writes all rows to a file.
///
/// # Errors
/// One sentence. The file is of no use then.
pub async fn export(
    from: &dyn Source,
    to: impl AsyncWrite + Unpin,
    id: Uuid,
    mut told: impl FnMut(&Moved),
) -> Result<Moved, NotMoved> {
    let mut file = Writer::begin(to, id).await?;
    let mut moved = Moved::default();
    for table in ALL {
        let before = moved.rows;
        moved.table = table.name;
        let mut pages = from.pages(table);
        while let Some(mut page) = pages.try_next().await.map_err(unread)? {
            page.retain(|record| !is_mark(record));
            moved.count(&page);
            for piece in pieces(page, PIECE, |_, _| true) {
                file.rows(&piece).await?;
            }
            told(&moved);
        }
        moved.tables += usize::from(moved.rows > before);
    }
    if moved.rows == 0 {
        return Err(NotMoved(
            "there is nothing in this store: look where the settings say that it is".into(),
        ));
    }
    file.end().await?;
    Ok(moved)
}

/// Reads a file whole, and changes nothing.
///
/// # Errors
/// One sentence: it is cut off, damaged, or no export.
pub async fn check(from: impl AsyncRead + Unpin) -> Result<Export, NotMoved> {
    let mut file = Reader::begin(from).await?;
    while file.next().await?.is_some() {}
    Ok(Export { id: file.id, rows: file.rows, highest: file.highest })
}

/// Writes all rows of a file that was checked into a store that has none of others.
///
/// # Errors
/// One sentence. The store has a part of the rows then, perhaps, and takes the same file again.
pub async fn import(
    from: impl AsyncRead + Unpin,
    export: &Export,
    into: &dyn Source,
    now: &Now,
    mut told: impl FnMut(&Moved),
) -> Result<Imported, NotMoved> {
    if !begin(into, export).await? {
        return Ok(Imported::Before);
    }
    let mut file = Reader::begin(from).await?;
    let mut moved = Moved::default();
    while let Some(mut records) = file.next().await? {
        let at = now();
        let was = records.len() as u64;
        records.retain(|record| record.lives(at));
        moved.expired += was - records.len() as u64;
        if let Some(first) = records.first() {
            moved.tables += usize::from(moved.table != first.table.name);
            moved.table = first.table.name;
        }
        moved.count(&records);
        write(records, into, now).await?;
        told(&moved);
    }
    if (file.id, file.rows) != (export.id, export.rows) {
        return Err(NotMoved("the file changed while it was read: import it again".into()));
    }
    let [part, whole] = [false, true].map(|is_whole| Mark { file: export.id, is_whole });
    let swap = || into.swap(&NAMES, mark_key(), Some(encode(&part)), Some(encode(&whole)));
    match again(swap).await? {
        Swap::Stale(there) if there != Some(encode(&whole)) => Err(foreign()),
        _ => Ok(Imported::Now(moved)),
    }
}

/// Whether there is anything to do.
async fn begin(into: &dyn Source, export: &Export) -> Result<bool, NotMoved> {
    match mark(into).await? {
        Some(mark) if mark.file == export.id => return Ok(!mark.is_whole),
        Some(Mark { is_whole: false, .. }) => {
            return Err(NotMoved(
                "an import of another file into this store is not finished: import that one again, or into a store with \
                 nothing in it"
                    .into(),
            ));
        }
        Some(_) => return Err(foreign()),
        None => {}
    }
    for table in ALL {
        let mut pages = into.pages(table);
        while let Some(page) = pages.try_next().await.map_err(unread)? {
            if !page.is_empty() {
                return Err(foreign());
            }
        }
    }
    let mark = encode(&Mark { file: export.id, is_whole: false });
    match again(|| into.claim(&NAMES, mark_key(), mark.clone(), None)).await? {
        Claim::Lost(there) if there != mark => Err(foreign()),
        _ => Ok(true),
    }
}

/// Writes rows of one piece of a file.
async fn write(mut records: Vec<Record>, into: &dyn Store, now: &Now) -> Result<(), NotMoved> {
    records.sort_by(|one, other| one.place().cmp(&other.place()));
    let batches = pieces(records, BATCH, |one, other| one.place() == other.place());
    let writes = batches.into_iter().map(|records| async move {
        match records[0].table.writes {
            Writes::Plain => put(&records, into, now).await,
            Writes::Guarded => claim(&records, into, now).await,
        }
    });
    stream::iter(writes).buffer_unordered(AT_ONCE).try_collect().await
}

async fn put(records: &[Record], into: &dyn Store, now: &Now) -> Result<(), NotMoved> {
    let (stamp, batch) = (records[0].stamp, || {
        let at = now();
        let put = |Record { table, key, body, .. }: &Record, ttl| Change::Put {
            table,
            key: key.clone(),
            body: body.clone(),
            ttl,
        };
        records.iter().map(|record| put(record, record.left(at))).collect()
    });
    again(|| into.apply(Batch { stamp, changes: batch() })).await
}

async fn claim(records: &[Record], into: &dyn Store, now: &Now) -> Result<(), NotMoved> {
    for record in records {
        let Record { table, key, body, .. } = record;
        let claim = || into.claim(table, key.clone(), body.clone(), record.left(now()));
        match again(claim).await? {
            Claim::Lost(there) if there != *body => return Err(foreign()),
            _ => {}
        }
    }
    Ok(())
}

/// Writes, and again what may not have been written: it is the same row whenever it comes.
async fn again<'a, T>(mut write: impl FnMut() -> Pending<'a, T>) -> Result<T, NotMoved> {
    let mut waits = AGAIN.into_iter();
    loop {
        match (write().await, waits.next()) {
            (Ok(done), _) => return Ok(done),
            (Err(StoreError::Unavailable(_) | StoreError::Unknown(_)), Some(wait)) => {
                sleep(wait).await;
            }
            (Err(error), _) => {
                return Err(NotMoved(format!(
                    "rows cannot be written ({error}): mend that, and import the same file again"
                )));
            }
        }
    }
}

/// In order, each piece with no more bytes than this unless it is one record.
fn pieces(
    records: Vec<Record>,
    most: usize,
    together: impl Fn(&Record, &Record) -> bool,
) -> Vec<Vec<Record>> {
    let (mut pieces, mut bytes): (Vec<Vec<Record>>, _) = (Vec::new(), 0);
    for record in records {
        bytes += record.size();
        match pieces.last_mut() {
            Some(piece) if bytes <= most && together(&piece[0], &record) => piece.push(record),
            _ => {
                bytes = record.size();
                pieces.push(vec![record]);
            }
        }
    }
    pieces
}

fn is_mark(record: &Record) -> bool {
    record.table == &NAMES && record.key == mark_key()
}

impl Record {
    /// What can be written as one: of one partition, with one stamp.
    fn place(&self) -> (u16, &[Part], Stamp) {
        (self.table.number, &self.key.partition, self.stamp)
    }

    fn size(&self) -> usize {
        let part = |part: &Part| match part {
            Part::Int(_) => 8,
            Part::Uuid(_) => 16,
            Part::Text(text) => text.len(),
        };
        let parts = self.key.partition.iter().chain(&self.key.clustering);
        parts.map(part).sum::<usize>() + self.body.len()
    }

    fn lives(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|at| i64::from(at) * 1_000 > now.0)
    }

    /// How long it has to live; a table in which rows expire by themselves is told of those that do not.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        match self.expires {
            Some(at) => {
                let left = i64::from(at) * 1_000 - now.0;
                Some(Duration::from_millis(u64::try_from(left).unwrap_or(0).max(1)))
            }
            None => self.table.expires.map(|_| FOR_EVER),
        }
    }
}

impl Moved {
    fn count(&mut self, records: &[Record]) {
        self.rows += records.len() as u64;
        self.bytes += records.iter().map(|record| record.size() as u64).sum::<u64>();
    }
}

fn unread(error: StoreError) -> NotMoved {
    NotMoved(format!("the store cannot be read: {error}"))
}

fn foreign() -> NotMoved {
    NotMoved("this store holds other things already: import into one with nothing in it".into())
}
