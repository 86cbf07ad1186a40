//! What a message costs: where each partition is a statement of its own, on a cluster, and where all that it
//! changes is one write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use engine::id::TenantId;
use engine::time::Timestamp;
use futures_util::future::join_all;
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;
use storage::tables::CONTACTS;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bench::{Bench, TENANT, account, account_of, bsuid, phone, says};

const SECOND: Duration = Duration::from_secs(1);

/// What was asked of the store, each by its table.
#[derive(Clone, Default)]
struct Statements {
    reads: Arc<Mutex<Vec<&'static str>>>,
    writes: Arc<Mutex<Vec<&'static str>>>,
}

impl Statements {
    fn count(&self, call: &Call<'_>) {
        match call {
            Call::Get(table, _) => self.reads.lock().unwrap().push(table.name),
            Call::Scan(scan) => self.reads.lock().unwrap().push(scan.table.name),
            Call::Write(Write::Apply(batch)) => {
                let mut places: Vec<_> =
                    batch.changes.iter().map(|change| change.place()).collect();
                places.dedup();
                let tables = places.into_iter().map(|(table, _)| table.name);
                self.writes.lock().unwrap().extend(tables);
            }
            Call::Write(Write::Claim { table, .. } | Write::Swap { table, .. }) => {
                self.writes.lock().unwrap().push(table.name);
            }
        }
    }

    /// What was read and written since this was asked last.
    fn take(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let take = |of: &Mutex<Vec<_>>| std::mem::take(&mut *of.lock().unwrap());
        (take(&self.reads), take(&self.writes))
    }
}

async fn bench() -> (Bench, Statements) {
    over(|store| store).await
}

/// The same where a commit is written as one and nothing lands later.
async fn bench_of_one_process() -> (Bench, Statements) {
    over(Faulty::promising_as_below).await
}

async fn over(promises: impl FnOnce(Faulty) -> Faulty) -> (Bench, Statements) {
    let statements = Statements::default();
    let counted = statements.clone();
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let store = Faulty::new(memory, move |call| {
        counted.count(call);
        Fate::Done
    });
    (Bench::over(Arc::new(promises(store)), clock).await, statements)
}

#[tokio::test(start_paused = true)]
async fn a_message_in_an_open_conversation_reads_nothing_and_writes_four_statements_at_most() {
    let (bench, statements) = bench().await;
    for n in 0..20 {
        let item = says(vec![phone("15550001")], &format!("m{n}"), "hello");
        bench.desk.ingest(&account(), vec![item]).await.unwrap();
        let (reads, writes) = statements.take();
        if n > 0 {
            assert!(reads.is_empty(), "message {n} read {reads:?}");
            assert!(writes.len() <= 4, "message {n} wrote {writes:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_cold_conversation_wakes_with_four_reads_at_most() {
    let (bench, statements) = bench().await;
    rests(&bench, 300).await;
    statements.take();
    say(&bench, 300).await;
    let (reads, _) = statements.take();
    let of_it = of_its_own(&reads);
    assert!(of_it.len() <= 4, "{of_it:?} of {reads:?}");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_lands_later_a_cold_conversation_wakes_without_its_log() {
    let (bench, statements) = bench_of_one_process().await;
    rests(&bench, 300).await;
    statements.take();
    say(&bench, 300).await;
    let (reads, writes) = statements.take();
    assert_eq!(of_its_own(&reads), ["threads", "recent_ids", "conversations"], "of {reads:?}");
    assert!(!writes.contains(&"threads"), "nothing is to be overtaken by this: {writes:?}");
}

#[tokio::test(start_paused = true)]
async fn where_nothing_lands_later_whoever_says_nothing_new_of_themselves_wakes_no_contact() {
    let (mut bench, _) = bench_of_one_process().await;
    say(&bench, 0).await;
    bench.restart().await;
    let before = bench.desk.actors();
    say(&bench, 1).await;
    assert_eq!(bench.desk.actors() - before, 1, "the thread alone");
    bench.restart().await;
    let both = vec![bsuid("b-1"), phone("15550001")];
    bench.desk.ingest(&account(), vec![says(both, "m2", "hello")]).await.unwrap();
    let contacts = bench.contacts().await;
    assert_eq!((contacts.len(), contacts[0].identities.len()), (1, 2), "what is new is learned");
}

async fn say(bench: &Bench, n: u32) {
    let item = says(vec![phone("15550001")], &format!("m{n}"), "hello");
    bench.desk.ingest(&account(), vec![item]).await.unwrap();
}

/// Somebody writes so often, and is silent until the conversation has left memory.
async fn rests(bench: &Bench, messages: u32) {
    for n in 0..messages {
        say(bench, n).await;
    }
    bench.desk.emptied().await;
}

/// What of this is a conversation's.
fn of_its_own(tables: &[&'static str]) -> Vec<&'static str> {
    let own = ["threads", "recent_ids", "conversations", "conversation_log"];
    tables.iter().copied().filter(|table| own.contains(table)).collect()
}

/// A desk whose store takes a second for each contact, from when that is said.
async fn with_slow_contacts() -> (Bench, Arc<AtomicBool>) {
    let slow = Arc::new(AtomicBool::new(false));
    let is_slow = slow.clone();
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let store = Faulty::new(memory, move |call| match call {
        Call::Get(table, _) if table.name == CONTACTS.name && is_slow.load(Ordering::SeqCst) => {
            Fate::Slow(SECOND)
        }
        _ => Fate::Done,
    });
    (Bench::over(Arc::new(store), clock).await, slow)
}

#[tokio::test(start_paused = true)]
async fn contacts_that_are_listed_are_not_read_one_after_another() {
    let (bench, slow) = with_slow_contacts().await;
    for n in 0..64 {
        let item = says(vec![phone(&n.to_string())], &format!("m{n}"), "hello");
        bench.desk.ingest(&account(), vec![item]).await.unwrap();
    }
    slow.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let (listed, total) = bench.desk.contacts(TENANT, bench.clock.now(), (0, 100)).await.unwrap();
    assert_eq!((listed.len(), total), (64, 64));
    assert!(listed.windows(2).all(|pair| pair[0].id > pair[1].id), "newest first");
    assert!(began.elapsed() <= 4 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whoever_lists_contacts_again_and_again_has_them_read_one_time_after_the_other() {
    let (bench, slow) = with_slow_contacts().await;
    let other = TenantId(Uuid::from_u128(9));
    for account in [account(), account_of(other, 3)] {
        let item = says(vec![phone("15550001")], "m", "hello");
        bench.desk.ingest(&account, vec![item]).await.unwrap();
    }
    slow.store(true, Ordering::SeqCst);
    let (began, now) = (Instant::now(), bench.clock.now());
    let list = async |tenant| {
        let (listed, _) = bench.desk.contacts(tenant, now, (0, 100)).await.unwrap();
        assert_eq!(listed.len(), 1);
        began.elapsed().as_secs()
    };
    let tenants = [TENANT, TENANT, TENANT, TENANT, other];
    assert_eq!(join_all(tenants.map(list)).await, [1, 2, 3, 4, 1]);
}
