//! Servers over each store, and the one Cassandra that all tests of this program share.

use std::sync::Arc;

use config::{Backend, Config};
use simulator::{Cassandra, CommitLog, GraphOptions};
use storage::memory::Memory;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::harness::{RUNTIME, Server};

/// Ends with the program.
pub(crate) async fn cassandra() -> Option<&'static Cassandra> {
    static CASSANDRA: OnceCell<Option<Cassandra>> = OnceCell::const_new();
    // It outlives the runtime of the test that comes first.
    let start = || RUNTIME.spawn(Cassandra::for_test(CommitLog::Periodic));
    CASSANDRA.get_or_init(async || start().await.unwrap()).await.as_ref()
}

/// Where rows lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept<'a> {
    InMemory,
    Embedded,
    InCluster(&'a Cassandra),
}

impl Kept<'_> {
    /// A server over nothing yet.
    pub(crate) async fn server(
        self,
        graph: GraphOptions,
        differ: impl FnOnce(&mut Config),
    ) -> Arc<Server> {
        let clock = actors::clock::Clock::system();
        // It outlives the server, as the other stores do.
        let memory = || Arc::new(Memory::new(Arc::new(move || clock.now())));
        let store = matches!(self, Self::InMemory).then(|| memory() as _);
        let differ = |config: &mut Config| {
            if let Self::InCluster(cassandra) = self {
                config.storage.backend = Backend::Cql;
                config.storage.cql.nodes = vec![cassandra.address().to_string()];
                config.storage.cql.keyspace = format!("k{}", fresh().simple());
            }
            differ(config);
        };
        Server::new(graph, differ, store).await
    }
}

fn fresh() -> Uuid {
    let mut random = [0; 16];
    getrandom::fill(&mut random).unwrap();
    Uuid::from_bytes(random)
}
