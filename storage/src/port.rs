//! The port: what every backend does, in bytes. Aggregates above it never see a backend.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::StoreError;
use crate::together::Aside;

/// What a call of the port answers: boxed, so that the port can be a trait object.
/// Dropping it does not cancel a write.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store of rows, each a key and one opaque body.
pub trait Store: Send + Sync + 'static {
    /// The body of one row; `None` when absent or expired.
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>>;

    /// The bodies of several rows of one table, each as [`Store::get`] has it, in the order of `keys`. Those
    /// that lie side by side are cheaper where `keys` rise.
    fn get_all<'a>(
        &'a self,
        table: &'static Table,
        keys: &'a [Key],
    ) -> Pending<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(async move {
            let mut bodies = Vec::with_capacity(keys.len());
            for key in keys {
                bodies.push(self.get(table, key).await?);
            }
            Ok(bodies)
        })
    }

    /// At most `limit` rows of one partition in the table's order (or reversed), between two bounds.
    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>>;

    /// Puts and deletes on plain tables, durable when answered. Repeating a batch changes nothing.
    fn apply(&self, batch: Batch) -> Pending<'_, ()>;

    /// Writes a row of a guarded table if no row has its key, else answers the body that is there.
    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim>;

    /// Replaces (or with `None` deletes) the row of a guarded table if its body is `expected`.
    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap>;

    /// What this backend promises beyond the port.
    fn guarantees(&self) -> Guarantees;

    /// Whether this process may still act for what is stored: another may have taken over.
    fn holds(&self) -> bool {
        true
    }

    /// Where each read is handed over to wait for a disk: whoever has several does them there.
    fn aside(&self) -> Option<&dyn Aside> {
        None
    }
}

/// What a backend promises beyond the port; the write path does less work where more is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarantees {
    /// A batch over several partitions becomes durable and visible as one.
    pub atomic: bool,
    /// A write whose outcome was unknown cannot land any more once its caller was told
    /// (the embedded store ends its process first).
    pub settled: bool,
}

/// The description of a table. Every table has one direction for all its clustering columns.
#[derive(Debug)]
pub struct Table {
    /// Its number on the embedded store: part of every key, never reused.
    pub number: u16,
    /// Its name in CQL.
    pub name: &'static str,
    /// Columns of the partition key, in order.
    pub partition: &'static [(&'static str, Kind)],
    /// Clustering columns, in order.
    pub clustering: &'static [(&'static str, Kind)],
    /// The direction of all clustering columns.
    pub order: Order,
    /// Who may write it, and how.
    pub writes: Writes,
    /// How its rows behave: decides the keyspace (memtable, compaction) of the embedded store.
    pub shape: Shape,
    /// When rows expire unless a put says otherwise; `None`: never.
    pub expires: Option<Duration>,
    /// How long a cluster keeps that a row was deleted, over which reads go; `None`: as long as it does by
    /// itself. A copy that was away for longer brings the row back.
    pub grace: Option<Duration>,
}

/// The type of a key column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Signed 64 bit.
    Int,
    /// 16 bytes.
    Uuid,
    /// UTF-8.
    Text,
}

/// The direction of clustering columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// Plain tables take stamped idempotent writes, guarded ones only compare-and-set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// By `apply` only.
    Plain,
    /// By `claim` and `swap` only.
    Guarded,
}

/// How the rows of a table behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Written once, rarely changed: logs, references.
    Appended,
    /// Overwritten often: heads, settings, open sets.
    Overwritten,
}

/// One column of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Signed 64 bit.
    Int(i64),
    /// 16 bytes.
    Uuid([u8; 16]),
    /// UTF-8.
    Text(Cow<'static, str>),
}

/// The key of a row: all partition columns, then all clustering columns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Values of the partition columns.
    pub partition: Vec<Part>,
    /// Values of the clustering columns.
    pub clustering: Vec<Part>,
}

/// A row as a scan finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Values of the clustering columns.
    pub clustering: Vec<Part>,
    /// The opaque value.
    pub body: Vec<u8>,
}

/// A read of several rows of one partition.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Where.
    pub table: &'static Table,
    /// Values of the partition columns.
    pub partition: Vec<Part>,
    /// Only rows whose clustering columns begin with these.
    pub prefix: Vec<Part>,
    /// Continue behind this clustering key (exclusive), in the direction of the scan.
    pub after: Option<Vec<Part>>,
    /// Stop before this clustering key (exclusive), in the direction of the scan.
    pub until: Option<Vec<Part>>,
    /// Against the table's order.
    pub reverse: bool,
    /// At most so many rows.
    pub limit: usize,
}

impl Scan {
    /// A partition from its beginning.
    pub fn of(table: &'static Table, partition: Vec<Part>, limit: usize) -> Self {
        let (prefix, after, until, reverse) = (Vec::new(), None, None, false);
        Self { table, partition, prefix, after, until, reverse, limit }
    }

    /// What lies behind the page that it found; `None`: that was the last.
    pub fn behind(self, page: &[Row]) -> Option<Self> {
        let last = page.last().filter(|_| page.len() >= self.limit)?;
        Some(Self { after: Some(last.clustering.clone()), ..self })
    }
}

/// Microseconds, strictly rising per owner: of two writes to one row the higher wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub i64);

/// Writes that travel together. On a backend that is not `atomic` only the changes to one
/// partition of one table become visible together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The time of all its writes.
    pub stamp: Stamp,
    /// In order.
    pub changes: Vec<Change>,
}

/// One write on a plain table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Replaces the row whole.
    Put {
        /// Where.
        table: &'static Table,
        /// Which row.
        key: Key,
        /// The opaque value.
        body: Vec<u8>,
        /// Overrules the table's expiry.
        ttl: Option<Duration>,
    },
    /// Removes one row.
    Delete {
        /// Where.
        table: &'static Table,
        /// Which row.
        key: Key,
    },
    /// Removes a whole partition.
    Clear {
        /// Where.
        table: &'static Table,
        /// Values of the partition columns.
        partition: Vec<Part>,
    },
}

impl Change {
    /// The partition that it changes: what becomes visible together.
    pub fn place(&self) -> (&'static Table, &[Part]) {
        match self {
            Self::Put { table, key, .. } | Self::Delete { table, key } => (table, &key.partition),
            Self::Clear { table, partition } => (table, partition),
        }
    }
}

/// The outcome of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The row is ours.
    Won,
    /// This body was there.
    Lost(Vec<u8>),
}

/// The outcome of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Replaced.
    Done,
    /// Not replaced: this was there.
    Stale(Option<Vec<u8>>),
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Key {
    /// A key of these columns.
    pub fn new(partition: Vec<Part>, clustering: Vec<Part>) -> Self {
        Self { partition, clustering }
    }
}
