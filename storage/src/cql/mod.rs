//! The store in a cluster that speaks CQL: ScyllaDB or Apache Cassandra.
//!
//! - Each row is a key and one body, each table a few `statements`, prepared once.
//! - A batch is one statement, or one single-partition batch, for each partition of a table that it
//!   changes; all at once. Its stamp is the time of its writes: of two to one row the higher wins.
//! - Guarded tables are decided by the replicas (lightweight transactions); what they did not
//!   answer is settled by asking them.
//! - Who may write is the one who holds the `lease`.

mod answers;
mod error;
mod forgotten;
mod guarded;
mod lease;
mod places;
mod schema;
mod statements;
#[cfg(test)]
pub(crate) mod tests;
mod whole;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::cluster::metadata::Strategy;
use scylla::errors::NewSessionError;
use scylla::policies::retry::{DefaultRetryPolicy, FallthroughRetryPolicy};
use scylla::response::query_result::QueryResult;
use scylla::statement::batch::{Batch as CqlBatch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency as Level, SerialConsistency};
use tokio::time::{Instant, sleep};

use self::answers::{body_of, rows_of};
use self::forgotten::remembered;
pub use self::lease::{Lease, Leased, Now};
use self::places::Places;
use self::statements::{Value, Verb, parts};
use crate::check;
use crate::error::{Cause, StoreError};
use crate::port::{
    Batch, Change, Claim, Guarantees, Key, Part, Pending, Row, Scan, Stamp, Store, Swap, Table,
};

/// The longest a server keeps a row that expires: twenty years. What is kept longer does not expire.
const TTL_MAX: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);
/// Statements of one batch; the protocol counts them with 16 bits.
const BATCH_MAX: usize = 60_000;
/// After so long what had no answer is asked again: by then there is another connection.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often a plain write is sent whose outcome is unknown: the same stamp makes it the same write.
const WRITES: usize = 2;

/// How the cluster is reached, and what is asked of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Contact points, each a host and a port.
    pub nodes: Vec<String>,
    /// A name of letters, digits and `_`.
    pub keyspace: String,
    /// Copies of each row, for a keyspace that is made.
    pub replication_factor: u32,
    pub consistency: Consistency,
    /// A name and its password.
    pub login: Option<(String, String)>,
    pub request_timeout: Duration,
    /// So many statements may be on their way at once, beside those about who may write.
    pub statements: usize,
    /// A statement that takes longer is logged.
    pub slow: Duration,
}

/// How many copies answer a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    One,
    LocalQuorum,
    Quorum,
}

/// Why a cluster is not used: a sentence that says what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotOpened(pub String);

/// A keyspace. Clones share its connections.
#[derive(Clone)]
pub struct Cql(Arc<Inner>);

struct Inner {
    session: Session,
    options: Options,
    places: Places,
    prepared: RwLock<HashMap<(&'static str, Verb), PreparedStatement>>,
}

impl Cql {
    /// Connects, and makes the keyspace if it is not there. Its tables are made by whoever has the
    /// lease: [`Cql::complete`].
    ///
    /// # Errors
    /// One sentence: nothing answers, a mistake in the settings, no permission, a newer schema.
    pub async fn open(options: Options) -> Result<Self, NotOpened> {
        let profile = ExecutionProfile::builder()
            .consistency(options.level())
            .serial_consistency(Some(options.serial()))
            .request_timeout(Some(options.request_timeout))
            .build();
        let mut builder = SessionBuilder::new()
            .known_nodes(&options.nodes)
            .keyspaces_to_fetch([&options.keyspace])
            .pool_size(PoolSize::default())
            .connection_timeout(options.request_timeout)
            .default_execution_profile_handle(profile.into_handle());
        if let Some((name, password)) = &options.login {
            builder = builder.user(name, password);
        }
        let session = builder.build().await.map_err(|error| not_connected(&error, &options))?;
        schema::begin(&session, &options).await?;
        let places = Places::new(options.statements, options.request_timeout);
        let prepared = RwLock::default();
        let cql = Self(Arc::new(Inner { session, options, places, prepared }));
        cql.refuse_copies()?;
        cql.refuse_newer().await?;
        Ok(cql)
    }

    /// Makes these tables, and says which version they are of.
    ///
    /// # Errors
    /// One sentence.
    pub async fn complete(&self, tables: &[&Table]) -> Result<(), NotOpened> {
        self.refuse_newer().await?;
        schema::complete(&self.0.session, tables, &self.0.options).await?;
        let (table, key) = (&schema::CLUSTER, cluster_key("schema"));
        let ours = schema::VERSION.to_string().into_bytes();
        let there = self.get(table, &key).await.map_err(not_opened)?;
        if there.as_ref() != Some(&ours) {
            self.swap(table, key, there, Some(ours)).await.map_err(not_opened)?;
        }
        Ok(())
    }

    async fn refuse_newer(&self) -> Result<(), NotOpened> {
        let found = self.get(&schema::CLUSTER, &cluster_key("schema")).await.map_err(not_opened)?;
        let version = found.and_then(|body| String::from_utf8(body).ok()?.parse::<u32>().ok());
        match version {
            Some(version) if version > schema::VERSION => Err(NotOpened(format!(
                "the keyspace `{}` has the tables of a newer OmniStream (version {version}, this one knows {}): \
                 start the newer program, or set `storage.cql.keyspace` to another keyspace",
                self.0.options.keyspace,
                schema::VERSION
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses copies of which not enough answer to know what was written, and who may write.
    fn refuse_copies(&self) -> Result<(), NotOpened> {
        let state = self.0.session.get_cluster_state();
        let nodes = state.get_nodes_info();
        let Some(keyspace) = state.get_keyspace(&self.0.options.keyspace) else { return Ok(()) };
        let (copies, datacenters) = match &keyspace.strategy {
            Strategy::SimpleStrategy { replication_factor } => {
                let places: HashSet<_> = nodes.iter().map(|node| &node.datacenter).collect();
                (*replication_factor, places.len().min(*replication_factor))
            }
            Strategy::NetworkTopologyStrategy { datacenter_repfactors } => {
                let of_each = datacenter_repfactors.values().filter(|copies| **copies > 0);
                (of_each.clone().sum::<usize>(), of_each.count())
            }
            _ => return Ok(()),
        };
        self.0.options.refuse_weak(copies, datacenters)?;
        self.0.options.refuse_too_few(copies, nodes.len())
    }

    /// One statement, once.
    async fn run(
        &self,
        table: &'static Table,
        verb: Verb,
        values: Vec<Value<'_>>,
    ) -> Result<QueryResult, StoreError> {
        let statement = self.prepared(table, verb).await?;
        let _place = self.0.places.take(table).await?;
        let began = Instant::now();
        // The driver's futures are large, and would be moved with all that wait for them.
        let execute = || Box::pin(self.0.session.execute_unpaged(&statement, &values));
        let outcome = remembered(execute).await;
        self.took(verb.word(), table, began, outcome.is_err());
        outcome.map_err(|error| error::failed(&error, verb.reads()))
    }

    /// The statement, prepared when it is first used.
    async fn prepared(
        &self,
        table: &'static Table,
        verb: Verb,
    ) -> Result<PreparedStatement, StoreError> {
        let known = |statements: &HashMap<_, PreparedStatement>| {
            statements.get(&(table.name, verb)).cloned()
        };
        let found = known(&self.0.prepared.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(statement) = found {
            return Ok(statement);
        }
        let text = verb.text(&self.0.options.keyspace, table);
        let prepared = self.0.session.prepare(text).await;
        let mut statement = prepared.map_err(|error| error::unprepared(&error))?;
        statement.set_is_idempotent(!verb.decides());
        // A write is sent once at a time: what its failure means must not be hidden by a second.
        statement.set_retry_policy(Some(if verb.reads() {
            Arc::new(DefaultRetryPolicy::new())
        } else {
            Arc::new(FallthroughRetryPolicy::new())
        }));
        if verb == Verb::Settle {
            statement.set_consistency(match self.0.options.serial() {
                SerialConsistency::Serial => Level::Serial,
                SerialConsistency::LocalSerial => Level::LocalSerial,
            });
        } else if verb.decides() && self.0.options.consistency == Consistency::One {
            statement.set_consistency(Level::Quorum);
        }
        let mut statements = self.0.prepared.write().unwrap_or_else(PoisonError::into_inner);
        Ok(statements.entry((table.name, verb)).or_insert(statement).clone())
    }

    fn took(&self, word: &'static str, table: &Table, began: Instant, failed: bool) {
        let took = began.elapsed();
        metrics::histogram!("omnistream_cql_statement_seconds", "statement" => word)
            .record(took.as_secs_f64());
        if failed {
            metrics::counter!("omnistream_cql_failures_total", "statement" => word).increment(1);
        }
        if took >= self.0.options.slow {
            let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(statement = word, table = table.name, millis, "a statement was slow");
        }
    }

    /// The changes to one partition of one table, as one.
    async fn write(&self, stamp: Stamp, changes: &[Change]) -> Result<(), StoreError> {
        let mut unknown = None;
        for attempt in 0..WRITES {
            if attempt > 0 {
                sleep(AGAIN_AFTER).await;
            }
            match (self.write_once(stamp, changes).await, unknown.take()) {
                (Ok(()), _) => return Ok(()),
                (Err(StoreError::Unknown(cause)), _) => unknown = Some(cause),
                // The first may have been done all the same.
                (Err(_), Some(cause)) => return Err(StoreError::Unknown(cause)),
                (Err(error), None) => return Err(error),
            }
        }
        unknown.map_or(Ok(()), |cause| Err(StoreError::Unknown(cause)))
    }

    async fn write_once(&self, stamp: Stamp, changes: &[Change]) -> Result<(), StoreError> {
        if let [change] = changes {
            let (verb, table, values) = bound(stamp, change);
            return self.run(table, verb, values).await.map(drop);
        }
        let (mut batch, mut rows) = (CqlBatch::new(BatchType::Unlogged), Vec::new());
        for change in changes {
            let (verb, table, values) = bound(stamp, change);
            batch.append_statement(self.prepared(table, verb).await?);
            rows.push(values);
        }
        batch.set_is_idempotent(true);
        batch.set_retry_policy(Some(Arc::new(FallthroughRetryPolicy::new())));
        let (table, _) = changes[0].place();
        let _place = self.0.places.take(table).await?;
        let began = Instant::now();
        let outcome = remembered(|| Box::pin(self.0.session.batch(&batch, &rows))).await;
        self.took("batch", table, began, outcome.is_err());
        outcome.map(drop).map_err(|error| error::failed(&error, false))
    }

    async fn write_all(&self, batch: Batch) -> Result<(), StoreError> {
        let partitions = by_partition(batch.changes);
        if partitions.iter().any(|changes| changes.len() > BATCH_MAX) {
            return Err(StoreError::Rejected("a batch is larger than the database takes".into()));
        }
        let writes = partitions.iter().map(|changes| self.write(batch.stamp, changes));
        let outcomes = join_all(writes).await;
        let is_written = outcomes.iter().any(Result::is_ok);
        let mut worst = Ok(());
        for outcome in outcomes {
            worst = match (worst, outcome) {
                (worst, Ok(())) => worst,
                (Err(StoreError::Unknown(cause)), Err(_)) => Err(StoreError::Unknown(cause)),
                // Of some partitions it was done.
                (_, Err(error)) if is_written => Err(error.of_a_part()),
                (_, Err(error)) => Err(error),
            };
        }
        worst
    }
}

impl Options {
    /// Too few copies that answer: one that did not hear of a write answers without it, and each datacenter
    /// decides for itself who may write.
    fn refuse_weak(&self, copies: usize, datacenters: usize) -> Result<(), NotOpened> {
        let name = &self.keyspace;
        match self.consistency {
            Consistency::One if copies > 1 => Err(NotOpened(format!(
                "the keyspace `{name}` keeps {copies} copies of each row, and one that answers alone may not know \
                 what was written: set `storage.cql.consistency` to `quorum`"
            ))),
            Consistency::LocalQuorum if datacenters > 1 => Err(NotOpened(format!(
                "the keyspace `{name}` has copies in {datacenters} datacenters, and in each of them another process \
                 could write: set `storage.cql.consistency` to `quorum`, or keep the copies in one datacenter"
            ))),
            _ => Ok(()),
        }
    }

    /// A keyspace whose copies have no room answers no quorum.
    fn refuse_too_few(&self, copies: usize, nodes: usize) -> Result<(), NotOpened> {
        if copies / 2 < nodes {
            return Ok(());
        }
        let name = &self.keyspace;
        Err(NotOpened(format!(
            "the keyspace `{name}` keeps {copies} copies of each row and the cluster has {nodes} nodes, so that \
             no majority of them can answer: add nodes, or alter its replication"
        )))
    }

    fn level(&self) -> Level {
        match self.consistency {
            Consistency::One => Level::One,
            Consistency::LocalQuorum => Level::LocalQuorum,
            Consistency::Quorum => Level::Quorum,
        }
    }

    fn serial(&self) -> SerialConsistency {
        match self.consistency {
            Consistency::LocalQuorum => SerialConsistency::LocalSerial,
            Consistency::One | Consistency::Quorum => SerialConsistency::Serial,
        }
    }
}

impl Store for Cql {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            check::key(table, key)?;
            body_of(self.run(table, Verb::Get, key_values(key)).await?)
        })
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        Box::pin(async move {
            check::scan(&scan)?;
            let Some((verb, values)) = statements::scan(&scan).filter(|_| scan.limit > 0) else {
                return Ok(Vec::new());
            };
            rows_of(self.run(scan.table, verb, values).await?, scan.table)
        })
    }

    fn apply(&self, batch: Batch) -> Pending<'_, ()> {
        if let Err(wrong) = check::batch(&batch) {
            return Box::pin(std::future::ready(Err(wrong)));
        }
        let cql = self.clone();
        begun(async move { cql.write_all(batch).await })
    }

    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim> {
        if let Err(wrong) = check::guarded(table, &key) {
            return Box::pin(std::future::ready(Err(wrong)));
        }
        let cql = self.clone();
        begun(async move { cql.claim_once(table, &key, &body, ttl).await })
    }

    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        if let Err(wrong) = check::guarded(table, &key) {
            return Box::pin(std::future::ready(Err(wrong)));
        }
        let cql = self.clone();
        begun(async move { cql.swap_once(table, &key, expected.as_deref(), body.as_deref()).await })
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees { atomic: false, settled: false }
    }
}

/// A write that goes on whether its outcome is awaited or not.
fn begun<'a, T: Send + 'static>(
    write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Pending<'a, T> {
    let task = tokio::spawn(write);
    Box::pin(async move {
        task.await.unwrap_or_else(|_| Err(StoreError::Unknown("the write was given up".into())))
    })
}

/// A change as a statement and what is bound to it.
fn bound(stamp: Stamp, change: &Change) -> (Verb, &'static Table, Vec<Value<'_>>) {
    match change {
        Change::Put { table, key, body, ttl } => {
            let mut values = key_values(key);
            values.extend([Value::Bytes(body), Value::Int(stamp.0), ttl_value(table, *ttl)]);
            (Verb::Put, table, values)
        }
        Change::Delete { table, key } => {
            let mut values = vec![Value::Int(stamp.0)];
            values.extend(key_values(key));
            (Verb::Delete, table, values)
        }
        Change::Clear { table, partition } => {
            let mut values = vec![Value::Int(stamp.0)];
            values.extend(parts(partition));
            (Verb::Clear, table, values)
        }
    }
}

fn key_values(key: &Key) -> Vec<Value<'_>> {
    let mut values = parts(&key.partition);
    values.extend(parts(&key.clustering));
    values
}

/// Whole seconds, never less than what was asked for; 0: for ever.
fn ttl_value<'a>(table: &Table, ttl: Option<Duration>) -> Value<'a> {
    let ttl = ttl.or(table.expires).filter(|ttl| *ttl <= TTL_MAX);
    let seconds = ttl.map_or(0, |ttl| ttl.as_millis().div_ceil(1000).max(1));
    Value::Count(i32::try_from(seconds).unwrap_or(0))
}

/// In the order in which each partition is first named.
fn by_partition(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut places: HashMap<(&'static str, Vec<Part>), usize> = HashMap::new();
    let mut partitions: Vec<Vec<Change>> = Vec::new();
    for change in changes {
        let (table, partition) = change.place();
        let of = (table.name, partition.to_owned());
        let place = *places.entry(of).or_insert(partitions.len());
        match partitions.get_mut(place) {
            Some(partition) => partition.push(change),
            None => partitions.push(vec![change]),
        }
    }
    partitions
}

fn cluster_key(name: &'static str) -> Key {
    Key::new(vec![Part::Text(name.into())], Vec::new())
}

fn not_opened(error: StoreError) -> NotOpened {
    match error {
        StoreError::Rejected(Cause(why)) => NotOpened(why),
        error => NotOpened(format!("the database does not answer as it should: {error}")),
    }
}

fn not_connected(error: &NewSessionError, options: &Options) -> NotOpened {
    let nodes = options.nodes.join(", ");
    if let Some(said) = error::login_refused(error) {
        return NotOpened(format!(
            "the database does not take the login ({said}): correct `storage.cql.username` and `storage.cql.password`"
        ));
    }
    match error {
        NewSessionError::FailedToResolveAnyHostname(_) | NewSessionError::EmptyKnownNodesList => {
            NotOpened(format!(
                "none of the hosts of `storage.cql.nodes` ({nodes}) is known: correct their names"
            ))
        }
        error => NotOpened(format!(
            "no node of `storage.cql.nodes` ({nodes}) answers: start the database, or correct the addresses \
             ({error})"
        )),
    }
}
