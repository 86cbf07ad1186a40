//! The suite against a real server, and what only a cluster can do.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use simulator::{Cassandra, CommitLog, Wire, WireFaults};
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Consistency, Cql, Lease, Leased, Now, Options, cluster_key, schema};
use crate::conformance::{self, Subject};
use crate::error::StoreError;
use crate::port::{Batch, Change, Claim, Key, Part, Stamp, Store, Swap};
use crate::tables::{NAMES, THREADS, UNFETCHED};

/// One for all tests of this program; it ends with it.
pub(crate) async fn server() -> Option<&'static Cassandra> {
    static SERVER: OnceCell<Option<Cassandra>> = OnceCell::const_new();
    SERVER.get_or_init(|| Cassandra::for_test(CommitLog::Periodic)).await.as_ref()
}

pub(crate) fn fresh() -> Uuid {
    let mut random = [0; 16];
    getrandom::fill(&mut random).unwrap();
    Uuid::from_bytes(random)
}

fn options(node: String, keyspace: &str) -> Options {
    Options {
        nodes: vec![node],
        keyspace: keyspace.to_owned(),
        replication_factor: 1,
        consistency: Consistency::Quorum,
        login: None,
        request_timeout: Duration::from_secs(30),
        statements: 256,
        slow: Duration::from_secs(60),
    }
}

/// A keyspace of its own, with nothing in it.
pub(crate) async fn keyspace(server: &Cassandra) -> Cql {
    let name = format!("k{}", fresh().simple());
    Cql::open(options(server.address().to_string(), &name)).await.unwrap()
}

async fn subject(cql: &Cql) -> Subject {
    Subject {
        store: Arc::new(cql.clone()),
        run: fresh().to_string(),
        // The server's clock is nobody's to set.
        pass: Box::new(|time| {
            Box::pin(async move {
                tokio::time::sleep(time).await;
                Ok(())
            })
        }),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_every_promise_of_the_port() {
    let Some(server) = server().await else { return };
    let cql = keyspace(server).await;
    cql.complete(&conformance::TABLES).await.unwrap();
    conformance::run(async || subject(&cql).await).await;
}

/// A process: its clock, and the right to write if it has it.
struct Process {
    cql: Cql,
    clock: Arc<AtomicI64>,
}

impl Process {
    /// Its clock stands, and each stamp is the next.
    fn new(cql: &Cql, at: i64) -> Self {
        Self { cql: cql.clone(), clock: Arc::new(AtomicI64::new(at)) }
    }

    fn now(&self) -> Now {
        let clock = self.clock.clone();
        Arc::new(move || Stamp(clock.fetch_add(1, Ordering::SeqCst)))
    }

    async fn takes(&self, lasts: Duration) -> (Lease, Leased) {
        let waits = watch::Sender::new(false);
        let lease = Lease::take(self.cql.clone(), fresh(), self.now(), lasts, waits).await.unwrap();
        self.clock.fetch_max(lease.from().0, Ordering::SeqCst);
        (lease.clone(), Leased::new(self.cql.clone(), lease))
    }

    /// What it writes next.
    fn batch(&self, row: u8, body: &str) -> Batch {
        let change = Change::Put {
            table: &THREADS,
            key: key(row),
            body: body.as_bytes().to_vec(),
            ttl: None,
        };
        Batch { stamp: (self.now())(), changes: vec![change] }
    }
}

fn key(row: u8) -> Key {
    Key::new(vec![Part::Uuid([row; 16])], vec![])
}

async fn body(store: &dyn Store, row: u8) -> Option<String> {
    let found = store.get(&THREADS, &key(row)).await.unwrap();
    found.map(|body| String::from_utf8(body).unwrap())
}

const MINUTE: i64 = 60_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_owners_the_older_one_s_writes_lose_row_by_row() {
    let Some(server) = server().await else { return };
    let cql = keyspace(server).await;
    cql.complete(&[&THREADS]).await.unwrap();
    // The newer one's clock is a minute behind.
    let (old, new) = (Process::new(&cql, 10 * MINUTE), Process::new(&cql, 9 * MINUTE));
    let (lease, before) = old.takes(Duration::from_secs(2)).await;
    before.apply(old.batch(1, "old")).await.unwrap();
    before.apply(old.batch(2, "old")).await.unwrap();
    // Of the same term, and on its way when the other took over.
    let late: Vec<_> = (1..=3).map(|row| old.batch(row, "late")).collect();
    let (_, after) = new.takes(Duration::from_secs(60)).await;
    assert!(!lease.holds(), "nobody holds it twice");
    after.apply(new.batch(1, "new")).await.unwrap();
    after.apply(new.batch(2, "new")).await.unwrap();
    for batch in &late {
        let refused = before.apply(batch.clone()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        cql.apply(batch.clone()).await.unwrap();
    }
    assert_eq!(body(&after, 1).await.as_deref(), Some("new"));
    assert_eq!(body(&after, 2).await.as_deref(), Some("new"));
    assert_eq!(body(&after, 3).await.as_deref(), Some("late"), "what nobody wrote since");
    after.apply(new.batch(3, "new")).await.unwrap();
    assert_eq!(body(&after, 3).await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_given_back_is_taken_at_once_and_one_that_is_kept_is_not() {
    let Some(server) = server().await else { return };
    let cql = keyspace(server).await;
    let (one, other) = (Process::new(&cql, MINUTE), Process::new(&cql, MINUTE));
    let (lease, _) = one.takes(Duration::from_secs(3)).await;
    let keeping = lease.clone();
    let kept = tokio::spawn(async move { keeping.keep().await });
    let waits = watch::Sender::new(false);
    let mut waiting = waits.subscribe();
    // So long that only what is given back can be had.
    let (cql, now) = (cql.clone(), other.now());
    let lasts = Duration::from_secs(3600);
    let take = tokio::spawn(Lease::take(cql, fresh(), now, lasts, waits));
    waiting.wait_for(|waits| *waits).await.unwrap();
    let until = lease.until();
    while lease.until() == until {
        tokio::task::yield_now().await;
    }
    assert!(lease.holds() && !take.is_finished());
    let last = (one.now())();
    lease.give_back().await;
    kept.await.unwrap();
    let taken = take.await.unwrap().unwrap();
    assert!(taken.holds() && !lease.holds());
    assert!(taken.from() > last, "no stamp is of two terms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_lost_its_lease_is_told_and_writes_nothing_more() {
    let Some(server) = server().await else { return };
    let cql = keyspace(server).await;
    cql.complete(&[&THREADS]).await.unwrap();
    let one = Process::new(&cql, MINUTE);
    let (lease, store) = one.takes(Duration::from_secs(2)).await;
    // It is not kept: as of a process that is stopped for longer than that.
    let other = Process::new(&cql, MINUTE);
    let (_other, _) = other.takes(Duration::from_secs(60)).await;
    let keeping = lease.clone();
    tokio::spawn(async move { keeping.keep().await });
    lease.lost().await;
    let refused = store.apply(one.batch(1, "a")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(!store.holds());
    assert_eq!(body(&cql, 1).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stamps_outside_the_term_are_not_written_and_the_next_renewal_reaches_them() {
    let Some(server) = server().await else { return };
    let cql = keyspace(server).await;
    cql.complete(&[&THREADS]).await.unwrap();
    let one = Process::new(&cql, MINUTE);
    let (lease, store) = one.takes(Duration::from_secs(60)).await;
    // The clock was set.
    one.clock.store(100 * MINUTE, Ordering::SeqCst);
    let refused = store.apply(one.batch(1, "a")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    // It need not wait for the turn of the next.
    let keeping = lease.clone();
    tokio::spawn(async move { keeping.keep().await });
    while store.apply(one.batch(1, "a")).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(body(&cql, 1).await.as_deref(), Some("a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_cannot_work_says_what_to_do() {
    let Some(server) = server().await else { return };
    let node = server.address().to_string();
    let cql = keyspace(server).await;
    let newer = (schema::VERSION + 1).to_string().into_bytes();
    cql.claim(&schema::CLUSTER, cluster_key("schema"), newer, None).await.unwrap();
    let Options { keyspace, .. } = cql.0.options.clone();
    let refused = Cql::open(options(node.clone(), &keyspace)).await.map(drop).unwrap_err();
    assert!(refused.0.contains("start the newer program"), "{refused}");
    let name = format!("k{}", fresh().simple());
    let three = Options { replication_factor: 3, ..options(node.clone(), &name) };
    let refused = Cql::open(three).await.map(drop).unwrap_err();
    assert!(refused.0.contains("3 copies") && refused.0.contains("1 node"), "{refused}");
    let name = format!("k{}", fresh().simple());
    let one = Consistency::One;
    let weak = Options { replication_factor: 3, consistency: one, ..options(node.clone(), &name) };
    let refused = Cql::open(weak).await.map(drop).unwrap_err();
    assert!(refused.0.contains("`storage.cql.consistency` to `quorum`"), "{refused}");
    let name = format!("k{}", fresh().simple());
    let alone = Options { consistency: one, ..options(node, &name) };
    Cql::open(alone).await.map(drop).unwrap();
    let silent = "127.0.0.1:1".to_owned();
    let refused = Cql::open(options(silent, "k")).await.map(drop).unwrap_err();
    assert!(refused.0.contains("storage.cql.nodes"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_an_older_program_made_is_brought_to_what_it_is_to_be() {
    let Some(server) = server().await else { return };
    let cql = keyspace(server).await;
    cql.complete(&[&UNFETCHED]).await.unwrap();
    let (session, keyspace) = (&cql.0.session, &cql.0.options.keyspace);
    let older = format!("ALTER TABLE \"{keyspace}\".\"unfetched\" WITH gc_grace_seconds = 864000");
    session.query_unpaged(older, ()).await.unwrap();
    cql.complete(&[&UNFETCHED]).await.unwrap();
    let text = "SELECT gc_grace_seconds FROM system_schema.tables \
                WHERE keyspace_name = ? AND table_name = 'unfetched'";
    let found = session.query_unpaged(text, (keyspace,)).await.unwrap().into_rows_result().unwrap();
    assert_eq!(found.single_row::<(i32,)>().unwrap(), (10_800,));
}

#[test]
fn copies_that_answer_alone_or_in_one_datacenter_of_several_are_refused() {
    let refused = |consistency, copies, datacenters| {
        let options = Options { consistency, ..options(String::new(), "k") };
        options.refuse_weak(copies, datacenters).err().map(|refused| refused.0)
    };
    let (one, local, all) = (Consistency::One, Consistency::LocalQuorum, Consistency::Quorum);
    let fine = [(one, 1, 1), (local, 3, 1), (all, 3, 1), (all, 6, 2)];
    for (consistency, copies, datacenters) in fine {
        assert_eq!(refused(consistency, copies, datacenters), None, "{consistency:?}");
    }
    let said = refused(one, 2, 1).unwrap();
    assert!(said.contains("2 copies") && said.contains("to `quorum`"), "{said}");
    let said = refused(local, 6, 2).unwrap();
    assert!(said.contains("2 datacenters") && said.contains("to `quorum`"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_find_no_place_in_time_are_refused_and_there_is_one_again_later() {
    let Some(server) = server().await else { return };
    let below = keyspace(server).await;
    below.complete(&[&THREADS]).await.unwrap();
    let wire = Wire::start(server.address()).await.unwrap();
    let patient = options(wire.address().to_string(), &below.0.options.keyspace);
    let request_timeout = Duration::from_secs(2);
    let cql = Cql::open(Options { statements: 2, request_timeout, ..patient }).await.unwrap();
    // Prepared and connected.
    while cql.get(&THREADS, &key(1)).await.is_err() {}
    wire.set_faults(WireFaults { delay: Duration::from_hours(1), ..WireFaults::default() });
    let mut asking = JoinSet::new();
    for _ in 0..6 {
        let cql = cql.clone();
        asking.spawn(async move { cql.get(&THREADS, &key(1)).await });
    }
    let failures: Vec<_> =
        asking.join_all().await.into_iter().map(|answer| answer.unwrap_err()).collect();
    let is_refused = |failure: &&StoreError| match failure {
        StoreError::Unavailable(cause) => cause.0.contains("`limits.cql_statements`"),
        other => panic!("{other}"),
    };
    // Two were on their way, and perhaps two more when these were given up.
    let refused = failures.iter().filter(is_refused).count();
    assert!((2..=4).contains(&refused), "{failures:?}");
    wire.set_faults(WireFaults::default());
    while cql.get(&THREADS, &key(1)).await.is_err() {}
}

/// A name, and who claims it.
fn name(n: usize) -> Key {
    let text = |text: String| Part::Text(text.into());
    Key::new(vec![Part::Uuid([0; 16]), text("name".to_owned()), text(n.to_string())], vec![])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_never_told_as_done_or_as_failed() {
    let Some(server) = server().await else { return };
    let below = keyspace(server).await;
    below.complete(&[&THREADS, &NAMES]).await.unwrap();
    let wire = Wire::start(server.address()).await.unwrap();
    let keyspace = below.0.options.keyspace.clone();
    let patient = options(wire.address().to_string(), &keyspace);
    let cql =
        Cql::open(Options { request_timeout: Duration::from_secs(3), ..patient }).await.unwrap();
    let put = |row: u8, stamp: i64, body: &str| Batch {
        stamp: Stamp(stamp),
        changes: vec![Change::Put {
            table: &THREADS,
            key: key(row),
            body: body.as_bytes().to_vec(),
            ttl: None,
        }],
    };
    let (mut unknown, mut settled) = (0, 0);
    for round in 0..8_u8 {
        // Prepared and connected again.
        while cql.apply(put(255, i64::from(round), "warm")).await.is_err() {}
        while cql.claim(&NAMES, name(1_000), vec![0], None).await.is_err() {}
        let lost = wire.lost_when(wire.lost() + 1);
        wire.set_faults(WireFaults { lose_answers: true, ..WireFaults::default() });
        let (store, n) = (cql.clone(), usize::from(round));
        let claiming =
            tokio::spawn(async move { store.claim(&NAMES, name(n), vec![7], None).await });
        let (store, batch) = (cql.clone(), put(round, 10, "once"));
        let writing = tokio::spawn(async move { store.apply(batch).await });
        lost.await;
        wire.set_faults(WireFaults::default());
        let there = async |row| body(&below, row).await;
        match writing.await.unwrap() {
            Ok(()) => assert_eq!(there(round).await.as_deref(), Some("once")),
            Err(StoreError::Unknown(_)) => {
                unknown += 1;
                while cql.apply(put(round, 10, "once")).await.is_err() {}
                assert_eq!(there(round).await.as_deref(), Some("once"), "a repeat is right");
            }
            Err(StoreError::Unavailable(_)) => assert_eq!(there(round).await, None),
            Err(other) => panic!("{other}"),
        }
        let held = async || below.get(&NAMES, &name(n)).await.unwrap();
        match claiming.await.unwrap() {
            Ok(Claim::Won) => assert_eq!(held().await, Some(vec![7])),
            Ok(Claim::Lost(whose)) => {
                settled += 1;
                assert_eq!((held().await, whose), (Some(vec![7]), vec![7]));
            }
            Err(StoreError::Unavailable(_)) => assert_eq!(held().await, None),
            Err(StoreError::Unknown(_)) => unknown += 1,
            Err(other) => panic!("{other}"),
        }
    }
    eprintln!("{unknown} unknown, {settled} claims settled by reading");
    assert!(unknown + settled > 0, "answers were lost");
    // A delayed line and cut connections cost time and nothing else.
    wire.set_faults(WireFaults { delay: Duration::from_millis(20), ..WireFaults::default() });
    let (mut last, mut cut) = (None, 0);
    while cut < 20 {
        let next = Some(vec![cut]);
        match cql.swap(&NAMES, name(2_000), last.clone(), next.clone()).await {
            Ok(Swap::Done) => (last, cut) = (next, cut + 1),
            Ok(Swap::Stale(there)) => {
                assert_eq!(there, next, "it was ours");
                (last, cut) = (next, cut + 1);
            }
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => continue,
            Err(other) => panic!("{other}"),
        }
        if cut % 5 == 0 {
            wire.cut();
        }
    }
    assert_eq!(below.get(&NAMES, &name(2_000)).await.unwrap(), Some(vec![19]));
}
