//! The same things done over each store, and what is answered of them.

use std::time::Duration;

use futures_util::future::join_all;
use simulator::{MailServer, MailServerOptions, StatusDelays};
use storage::seed::seeds;

use crate::harness::{RUNTIME, graph, unix_now};
use crate::scenario::play;
use crate::stores::{Kept, cassandra};
use crate::world::Exchange;

/// Found that what is newer than its conversation's stored head was not found to be answered.
const FOUND: u64 = 3;

/// What one was told, over which store.
type Told<'a> = (Kept<'a>, Vec<Exchange>);

/// What they answered to the same is the same.
fn compare(seed: u64, (one, told): &Told<'_>, (other, of_it): &Told<'_>) {
    for (n, (left, right)) in told.iter().zip(of_it).enumerate() {
        assert_eq!(left.asked, right.asked, "TEST_SEED={seed}: {n}th, over {one:?} and {other:?}");
        let (left_lines, right_lines) = (left.answered.lines(), right.answered.lines());
        let same = left_lines.zip(right_lines).take_while(|(left, right)| left == right).count();
        assert!(
            left.answered == right.answered,
            "TEST_SEED={seed}: the {n}th answers are not the same from line {same} on\n{}\n\
             over {one:?}: {}\nover {other:?}: {}",
            left.asked,
            left.answered,
            right.answered,
        );
    }
    assert_eq!(told.len(), of_it.len(), "TEST_SEED={seed}");
}

async fn over_all(seed: u64, kept: &[Kept<'_>]) {
    eprintln!("TEST_SEED={seed}");
    let began = unix_now();
    let mail =
        RUNTIME.spawn(MailServer::start(MailServerOptions::default())).await.unwrap().unwrap();
    let told = join_all(kept.iter().map(async |kept| {
        let long = Duration::from_secs(24 * 3600);
        let delays = StatusDelays { sent: long, delivered: long, read: None };
        let graph = simulator::GraphOptions { delays, ..graph() };
        let server = kept.server(graph, |config| {
            config.mail.private_servers = vec![mail.address().to_string()];
            config.limits.media_ladder = vec![Duration::from_millis(20)];
            config.limits.profile_ladder = vec![Duration::from_millis(10)];
            config.limits.profile_every = Duration::from_millis(1);
            config.limits.search_every = Duration::from_millis(20);
        });
        (*kept, play(server.await, &mail, began, seed).await)
    }));
    let told = told.await;
    for one in &told[1..] {
        compare(seed, &told[0], one);
    }
}

#[tokio::test]
async fn over_every_store_the_same_is_answered() {
    let Some(cassandra) = cassandra().await else { return };
    let kept = [Kept::InMemory, Kept::Embedded, Kept::InCluster(cassandra)];
    for seed in seeds(0, 1).chain([FOUND]) {
        over_all(seed, &kept).await;
    }
}
