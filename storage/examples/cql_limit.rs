//! What a bare program reaches that writes the rows of inbound messages to a cluster, with the same
//! driver, in the same batches: the limit for the engine on it.
//!
//! `cargo run --release -p omnistream-storage --example cql_limit -- NODE [SECONDS] [AT_ONCE]`, with a
//! node as `127.0.0.1:19042`. It makes a keyspace `cql_limit` and leaves it there. The last line is
//! JSON.

use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use tokio::time::Instant;

/// Bodies as the engine's rows of a short text have them: a commit, its message, and where that lies.
const COMMIT: usize = 194;
const MESSAGE: usize = 696;
const PLACE: usize = 41;
/// As many as write to the engine: what a cluster does for a row depends on how many its partition has.
const CONVERSATIONS: u64 = 1_000;
const KEYSPACE: &str = "CREATE KEYSPACE IF NOT EXISTS cql_limit WITH replication = \
    {'class': 'NetworkTopologyStrategy', 'replication_factor': 1}";
const LOG: &str = "CREATE TABLE IF NOT EXISTS cql_limit.log (conversation blob, block bigint, kind bigint, \
    n bigint, body blob, PRIMARY KEY ((conversation, block), kind, n))";
const REFS: &str = "CREATE TABLE IF NOT EXISTS cql_limit.refs (account blob, external_id text, body blob, \
    PRIMARY KEY ((account, external_id)))";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let node = arguments.next().ok_or("usage: cql_limit NODE [SECONDS] [AT_ONCE]")?;
    let seconds: u64 = arguments.next().map_or(Ok(10), |seconds| seconds.parse())?;
    let at_once: u64 = arguments.next().map_or(Ok(256), |at_once| at_once.parse())?;
    let profile = ExecutionProfile::builder().consistency(Consistency::Quorum).build();
    let builder = SessionBuilder::new().known_node(node);
    let session = builder.default_execution_profile_handle(profile.into_handle()).build().await?;
    for text in [KEYSPACE, LOG, REFS] {
        session.query_unpaged(text, ()).await?;
    }
    let row = "INSERT INTO cql_limit.log (conversation, block, kind, n, body) VALUES (?, ?, ?, ?, ?) \
        USING TIMESTAMP ? AND TTL ?";
    let place = "INSERT INTO cql_limit.refs (account, external_id, body) VALUES (?, ?, ?) \
        USING TIMESTAMP ? AND TTL ?";
    let (row, place) = (session.prepare(row).await?, session.prepare(place).await?);
    let mut commit = Batch::new(BatchType::Unlogged);
    commit.append_statement(row.clone());
    commit.append_statement(row);
    let (session, commit, place) = (Arc::new(session), Arc::new(commit), Arc::new(place));
    let (number, stamp) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicI64::new(1)));
    let (began, mut writers) = (Instant::now(), tokio::task::JoinSet::new());
    for _ in 0..at_once {
        let (session, commit, place) = (session.clone(), commit.clone(), place.clone());
        let (number, stamp) = (number.clone(), stamp.clone());
        writers.spawn(async move {
            let mut written = 0_u64;
            while began.elapsed() < Duration::from_secs(seconds) {
                let message = number.fetch_add(1, Ordering::Relaxed);
                let at = stamp.fetch_add(1, Ordering::Relaxed);
                let mut conversation = [0; 16];
                conversation[..8].copy_from_slice(&(message % CONVERSATIONS).to_be_bytes());
                let (conversation, n) = (&conversation[..], (message / CONVERSATIONS) as i64);
                let rows = (
                    (conversation, 0_i64, 0_i64, n, vec![7_u8; COMMIT], at, 0_i32),
                    (conversation, 0_i64, 1_i64, n, vec![7_u8; MESSAGE], at, 0_i32),
                );
                session.batch(&commit, rows).await?;
                let external = format!("wamid.{message:032}");
                let of = (&[1_u8; 16][..], external, vec![7_u8; PLACE], at, 5_184_000_i32);
                session.execute_unpaged(&place, of).await?;
                written += 1;
            }
            Ok::<_, scylla::errors::ExecutionError>(written)
        });
    }
    let mut written = 0;
    while let Some(done) = writers.join_next().await {
        written += done??;
    }
    let rate = written as f64 / began.elapsed().as_secs_f64();
    writeln!(
        std::io::stdout(),
        "{{\"messages\": {written}, \"per_second\": {rate:.0}, \"at_once\": {at_once}}}"
    )?;
    Ok(())
}
