//! Two processes on one keyspace: one serves, the other stands by.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use simulator::{Cassandra, CommitLog, Graph, GraphOptions, Wire, WireFaults};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::desk::{Desk, Followed};
use super::program::{Program, cluster, run};
use super::world::{Channel, writes};

const CUSTOMERS: usize = 4;
/// As [`cluster`] has it.
const LEASE: Duration = Duration::from_secs(4);
/// One that is so long that only what is given back can be had.
const LONG: (&str, &str) = ("OMNISTREAM__STORAGE__CQL__LEASE", "1h");
/// Longer than anything that is awaited takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What two processes share.
struct Cluster {
    database: Cassandra,
    directory: TempDir,
}

impl Cluster {
    async fn start() -> Option<Self> {
        let database = Cassandra::own_for_test(CommitLog::Batch).await?;
        Some(Self { database, directory: tempfile::tempdir().unwrap() })
    }

    fn env<'a>(&self, node: &'a str) -> Vec<(&'static str, &'a str)> {
        let mut env = cluster(Some(node));
        // Nobody answers there: what is asked of a provider fails, and is asked again.
        env.push(("OMNISTREAM__META__GRAPH_URL", "http://127.0.0.1:9"));
        env
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// What was acknowledged, by customer.
type Ledger = BTreeMap<usize, Vec<String>>;

/// Each customer writes so often; all of it is acknowledged.
async fn write(desk: &Desk, name: &str, times: u32, ledger: &mut Ledger) {
    for n in 0..times {
        for customer in 0..CUSTOMERS {
            let text = format!("{name}-{n}");
            assert_eq!(desk.deliver(&writes(customer, &text, None)).await, Some(true), "{text}");
            ledger.entry(customer).or_default().push(text);
        }
    }
}

/// Customers who all write at once until nobody answers them any more.
struct Crowd {
    acknowledged: watch::Receiver<u32>,
    writing: JoinSet<(usize, Vec<String>)>,
}

impl Crowd {
    fn start(desk: &Desk, name: &str) -> Self {
        let (tell, acknowledged) = watch::channel(0);
        let mut writing = JoinSet::new();
        for customer in 0..CUSTOMERS {
            let (desk, name, tell) = (desk.clone(), name.to_owned(), tell.clone());
            writing.spawn(async move {
                let mut taken = Vec::new();
                for n in 0.. {
                    let text = format!("{name}-{n}");
                    match desk.deliver(&writes(customer, &text, None)).await {
                        Some(true) => taken.push(text),
                        Some(false) => {}
                        None => break,
                    }
                    tell.send_modify(|acknowledged| *acknowledged += 1);
                }
                (customer, taken)
            });
        }
        Self { acknowledged, writing }
    }

    /// Waits until they are at it.
    async fn is_busy(&mut self) {
        self.acknowledged.wait_for(|acknowledged| *acknowledged >= 40).await.unwrap();
    }

    /// What was acknowledged to them.
    async fn taken(self) -> Ledger {
        self.writing.join_all().await.into_iter().collect()
    }
}

/// The log of each customer, as it is listed.
async fn listed(desk: &Desk) -> Vec<Vec<(Value, Value)>> {
    let mut all = Vec::new();
    for customer in 0..CUSTOMERS {
        let messages = desk.messages(customer).await.unwrap_or_default();
        all.push(messages.iter().map(|m| (m["seq"].clone(), m["text"].clone())).collect());
    }
    all
}

/// All that was acknowledged is there once, in order.
async fn has_all(desk: &Desk, ledger: &Ledger) {
    for (customer, texts) in ledger {
        let messages = desk.messages(*customer).await.unwrap();
        let found: Vec<_> =
            messages.iter().filter_map(|message| message["text"].as_str()).collect();
        let mut rest = found.iter();
        for text in texts {
            assert!(rest.any(|found| found == text), "customer {customer}: {text} in {found:?}");
            assert_eq!(found.iter().filter(|found| *found == text).count(), 1, "{text}");
        }
    }
}

async fn connected(program: &Program) -> Desk {
    let desk = Desk::found(program).await;
    for channel in Channel::ALL {
        desk.connect(&channel.account("smtp://127.0.0.1:9")).await;
    }
    desk
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_serves_once_the_owner_is_killed_or_stops_and_clients_go_on_without_a_gap() {
    let Some(cluster) = Cluster::start().await else { return };
    let node = cluster.database.address().to_string();
    let env = cluster.env(&node);
    let mut owner = Program::start(cluster.directory(), &env).await;
    let desk = connected(&owner).await;
    let (mut ledger, mut followed) = (Ledger::new(), Vec::new());
    followed.resize_with(CUSTOMERS, Followed::default);
    for round in 0..4 {
        let standby = Program::stand_by(cluster.directory(), &env);
        standby.is(503).await;
        assert_eq!(standby.health("/health/live").await, Some(200), "it lives");
        assert_eq!(standby.health("/api/conversations").await, Some(503), "it serves nothing");
        write(&desk, &format!("before-{round}"), 10, &mut ledger).await;
        for (customer, followed) in followed.iter_mut().enumerate() {
            desk.resume(customer, followed).await;
        }
        let mut crowd = Crowd::start(&desk, &format!("meanwhile-{round}"));
        crowd.is_busy().await;
        let is_in_order = round % 2 == 1;
        match is_in_order {
            true => owner.signal(Signal::TERM),
            false => owner.kill(),
        }
        let began = Instant::now();
        standby.is(200).await;
        let after = began.elapsed();
        eprintln!("in order: {is_in_order}; the standby served after {after:?}");
        assert!(after < LEASE + Duration::from_secs(30), "{after:?}");
        for (customer, texts) in crowd.taken().await {
            ledger.entry(customer).or_default().extend(texts);
        }
        desk.moved_to(&standby);
        has_all(&desk, &ledger).await;
        for (customer, followed) in followed.iter_mut().enumerate() {
            desk.resume(customer, followed).await;
            let told: Vec<_> = followed.messages.values().map(|m| m["text"].clone()).collect();
            let all = desk.messages(customer).await.unwrap();
            let all: Vec<_> = all.iter().map(|message| message["text"].clone()).collect();
            assert!(all.ends_with(&told) && !told.is_empty(), "customer {customer}");
        }
        owner = standby;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_slept_through_its_lease_changes_nothing_and_leaves() {
    let Some(cluster) = Cluster::start().await else { return };
    let node = cluster.database.address().to_string();
    let env = cluster.env(&node);
    let mut owner = Program::start(cluster.directory(), &env).await;
    let desk = connected(&owner).await;
    let standby = Program::stand_by(cluster.directory(), &env);
    standby.is(503).await;
    let mut ledger = Ledger::new();
    write(&desk, "before", 5, &mut ledger).await;
    // Some of them are being decided, written or answered when it falls asleep.
    let mut crowd = Crowd::start(&desk.twin(), "late");
    crowd.is_busy().await;
    owner.signal(Signal::STOP);
    standby.is(200).await;
    desk.moved_to(&standby);
    write(&desk, "after", 5, &mut ledger).await;
    has_all(&desk, &ledger).await;
    let before = listed(&desk).await;
    owner.signal(Signal::CONT);
    assert_eq!(owner.ended().await, Some(75), "it says that another has taken over");
    has_all(&desk, &crowd.taken().await).await;
    assert_eq!(listed(&desk).await, before, "the log is what it was");
    write(&desk, "at last", 2, &mut ledger).await;
    has_all(&desk, &ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_says_that_it_lives_until_it_serves() {
    let Some(cluster) = Cluster::start().await else { return };
    let wire = Wire::start(cluster.database.address()).await.unwrap();
    let (near, far) = (cluster.database.address().to_string(), wire.address().to_string());
    let mut owner = Program::start(cluster.directory(), &cluster.env(&near)).await;
    let standby = Program::stand_by(cluster.directory(), &cluster.env(&far));
    standby.is(503).await;
    // From when it has taken over until it serves it asks hundreds of times.
    wire.set_faults(WireFaults { delay: Duration::from_millis(10), ..WireFaults::default() });
    owner.signal(Signal::TERM);
    assert_eq!(owner.ended().await, Some(0));
    let asked = async |path: &str| {
        let answer = timeout(Duration::from_secs(3), standby.health(path)).await;
        answer.expect("it answers at once")
    };
    let serves = async {
        let mut again = tokio::time::interval(Duration::from_millis(10));
        while asked("/health/ready").await != Some(200) {
            assert_ne!(asked("/health/live").await, Some(503));
            again.tick().await;
        }
    };
    timeout(PATIENCE, serves).await.expect("it serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_cannot_finish_in_time_gives_back_what_it_serves_all_the_same() {
    let Some(cluster) = Cluster::start().await else { return };
    let node = cluster.database.address().to_string();
    let graph = Graph::start(GraphOptions::default()).await.unwrap();
    let graph_url = graph.url();
    let mut env = cluster.env(&node);
    env.extend([LONG, ("OMNISTREAM__SERVER__DRAIN", "4s")]);
    env.push(("OMNISTREAM__META__GRAPH_URL", &*graph_url));
    let mut owner = Program::start(cluster.directory(), &env).await;
    let desk = Desk::found(&owner).await;
    desk.connect(&Channel::Whatsapp.account("")).await;
    // Of what this one is sent no answer ever comes.
    assert_eq!(desk.deliver(&writes(408, "question", None)).await, Some(true));
    assert_eq!(desk.say(408, "answer").await, Some(true));
    timeout(PATIENCE, graph.until(|counts| counts.accepted == 1)).await.expect("it leaves");
    let standby = Program::stand_by(cluster.directory(), &env);
    standby.is(503).await;
    owner.signal(Signal::TERM);
    assert_eq!(owner.ended().await, Some(0));
    standby.is(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_leaves_the_keyspace_to_the_next() {
    let Some(cluster) = Cluster::start().await else { return };
    let node = cluster.database.address().to_string();
    let mut env = cluster.env(&node);
    env.push(LONG);
    let file = cluster.directory().join("file");
    std::fs::write(&file, "").unwrap();
    // There is no place for files.
    let below = file.join("below").display().to_string();
    let nowhere = [&env[..], &[("OMNISTREAM__STORAGE__PATH", &*below)]];
    let said = run(cluster.directory(), &nowhere.concat(), &["serve"]).await.unwrap_err();
    assert!(said.contains("the server cannot start"), "{said}");
    let next = Program::start(cluster.directory(), &env);
    timeout(PATIENCE, next).await.expect("it serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_stopped_leaves_the_keyspace_to_the_next() {
    let Some(cluster) = Cluster::start().await else { return };
    let node = cluster.database.address().to_string();
    let mut env = cluster.env(&node);
    env.push(LONG);
    // A start that has the keyspace asks there for its files, and is not answered.
    let bucket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", bucket.local_addr().unwrap());
    let silent = [
        &env[..],
        &[
            ("OMNISTREAM__STORAGE__S3__BUCKET", "files"),
            ("OMNISTREAM__STORAGE__S3__ENDPOINT", &*endpoint),
            ("OMNISTREAM__STORAGE__S3__ALLOW_HTTP", "true"),
            ("OMNISTREAM__STORAGE__S3__ACCESS_KEY_ID", "nobody"),
            ("OMNISTREAM__STORAGE__S3__SECRET_ACCESS_KEY", "nothing"),
            ("OMNISTREAM__STORAGE__S3__REQUEST_TIMEOUT", "1m"),
        ],
    ];
    let mut stopped = Program::stand_by(cluster.directory(), &silent.concat());
    let asked = timeout(PATIENCE, bucket.accept()).await.expect("it asks for its files");
    stopped.signal(Signal::TERM);
    assert_eq!(timeout(PATIENCE, stopped.ended()).await.expect("it ends"), Some(0));
    drop(asked);
    let next = Program::start(cluster.directory(), &env);
    timeout(PATIENCE, next).await.expect("it serves");
}
