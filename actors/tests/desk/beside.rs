//! Real stores below a desk whose time is paused: it stands while one of them works, and passes at once
//! where everybody waits for it. So waits cost nothing, and no store is late by that.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use simulator::{Cassandra, CommitLog};
use storage::cql::{self, Cql};
use storage::embedded::{Embedded, Options};
use storage::memory::Now;
use storage::{
    Batch, Claim, Guarantees, Key, Pending, Row, Scan, Store, StoreError, Swap, Table, tables,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Where they work: its time is the machine's.
static THERE: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// A store that works there.
pub(crate) struct Beside(Arc<dyn Store>);

impl Beside {
    /// A keyspace of its own on a real cluster, one for all tests of this program.
    pub(crate) fn cluster() -> Option<Arc<dyn Store>> {
        static SERVER: OnceLock<Option<Cassandra>> = OnceLock::new();
        let server = || THERE.block_on(Cassandra::for_test(CommitLog::Periodic));
        let server = SERVER.get_or_init(server).as_ref()?;
        Some(Arc::new(Self(THERE.block_on(keyspace(server)))))
    }

    /// What is in this directory.
    pub(crate) fn embedded(directory: &TempDir, now: Now) -> Arc<dyn Store> {
        let options = Options::new(directory.path(), now);
        Arc::new(Self(Arc::new(Embedded::open(options, |cause| panic!("{cause}")).unwrap())))
    }
}

/// With its tables, and nothing in them.
async fn keyspace(server: &Cassandra) -> Arc<dyn Store> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).unwrap();
    let options = cql::Options {
        nodes: vec![server.address().to_string()],
        keyspace: format!("desk_{}", Uuid::from_bytes(random).simple()),
        replication_factor: 1,
        consistency: cql::Consistency::Quorum,
        login: None,
        request_timeout: Duration::from_secs(30),
        statements: 256,
        slow: Duration::from_secs(60),
    };
    let cluster = Cql::open(options).await.unwrap();
    cluster.complete(&tables::ALL).await.unwrap();
    Arc::new(cluster)
}

/// Runs this for all of them, each in a thread and so with a time of its own.
pub(crate) fn at_once<T: Send>(all: impl IntoIterator<Item = T>, run: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for one in all {
            scope.spawn(|| run(one));
        }
    });
}

/// Paused time stands for as long as a blocking call takes.
fn beside<'a, T: Send + 'static>(
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Pending<'a, T> {
    let called = tokio::task::spawn_blocking(|| THERE.block_on(call));
    Box::pin(async move { called.await.unwrap() })
}

impl Store for Beside {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        let (store, key) = (self.0.clone(), key.clone());
        beside(async move { store.get(table, &key).await })
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        let store = self.0.clone();
        beside(async move { store.scan(scan).await })
    }

    fn apply(&self, batch: Batch) -> Pending<'_, ()> {
        let store = self.0.clone();
        beside(async move { store.apply(batch).await })
    }

    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim> {
        let store = self.0.clone();
        beside(async move { store.claim(table, key, body, ttl).await })
    }

    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        let store = self.0.clone();
        beside(async move { store.swap(table, key, expected, body).await })
    }

    fn guarantees(&self) -> Guarantees {
        self.0.guarantees()
    }
}
