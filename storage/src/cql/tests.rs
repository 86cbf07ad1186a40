//! The suite against a real server, and what only a cluster can do.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{Consistency, Cql, Options};
use crate::conformance::{self, Subject};

fn options(nodes: Vec<String>, keyspace: &str) -> Options {
    Options {
        nodes,
        keyspace: keyspace.to_owned(),
        replication_factor: 1,
        consistency: Consistency::Quorum,
        login: None,
        request_timeout: Duration::from_secs(20),
        statements: 256,
        slow: Duration::from_secs(60),
    }
}

/// Each run has rows of its own; tables are made once.
async fn subject(cql: &Cql) -> Subject {
    Subject {
        store: Arc::new(cql.clone()),
        run: Uuid::now_v7().to_string(),
        pass: Box::new(|time| {
            Box::pin(async move {
                // The server's clock is nobody's to set.
                tokio::time::sleep(time).await;
                Ok(())
            })
        }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_every_promise_of_the_port() {
    let cql = Cql::open(options(vec!["127.0.0.1:19042".to_owned()], "conformance")).await.unwrap();
    cql.complete(&conformance::TABLES).await.unwrap();
    conformance::run(async || subject(&cql).await).await;
}
