//! Overload on and off, processes that end at any step, stores that fail: what was answered is there
//! once, each customer's in the order in which it was answered, the same on every backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actors::clock::Clock;
use actors::permits::{Amount, Share};
use engine::channel::Inbound;
use engine::id::TenantId;
use engine::time::Timestamp;
use storage::embedded::{Embedded, Options};
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::seed::{Chance, seeds};
use storage::{Stamp, Store};
use tokio::sync::watch;
use uuid::Uuid;

use crate::bench::{Bench, Tuning, account, block_on, permits, phone, receipt, says};
use crate::beside::{Beside, at_once};

const START: Timestamp = Timestamp(1_790_000_000_000);
/// Somebody else, who fills the process.
const OTHER: TenantId = TenantId(Uuid::from_u128(2));

/// Processes over one store, one after the other: what one has begun when it ends never reaches it.
struct Processes {
    store: Arc<dyn Store>,
    bench: Bench,
    /// Nothing of the one that runs reaches the store any more.
    dead: Dead,
    /// How full the process is, in percent, and who fills it.
    filled: (usize, Option<Arc<Share>>),
    decide: Arc<Decide>,
}

/// Whether a process has ended.
type Dead = watch::Sender<bool>;

/// Decides about a call of a process, and whether it ends by it.
type Decide = dyn Fn(&Call<'_>, &Dead) -> Fate + Send + Sync;

fn tuning() -> Tuning {
    Tuning { permits: permits(20), turns: 8, ..Tuning::default() }
}

impl Processes {
    /// The first one. `decide` is asked about every call of one that lives.
    async fn new(
        store: Arc<dyn Store>,
        decide: impl Fn(&Call<'_>, &Dead) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let (decide, dead) = (Arc::new(decide), Dead::new(false));
        let bench = begin(&store, &dead, decide.clone()).await;
        Self { store, bench, dead, filled: (0, None), decide }
    }

    /// The process ends where it is, and another begins.
    async fn restart(&mut self) {
        self.dead.send_replace(true);
        // Whatever was on its way to the store has arrived when this has.
        let nothing = storage::Batch { stamp: Stamp(1), changes: Vec::new() };
        self.store.apply(nothing).await.unwrap();
        self.dead = Dead::new(false);
        self.bench = begin(&self.store, &self.dead, self.decide.clone()).await;
        self.fill(self.filled.0);
    }

    /// Fills the process so far.
    fn fill(&mut self, percent: usize) {
        self.filled = (0, None);
        let amount = Amount::items(percent * 100);
        let share = self.bench.desk.permits().share(OTHER, amount).ok();
        self.filled = (percent, share.filter(|_| percent > 0));
    }

    /// Delivers until it is answered, as a provider does; a process that has ended is started.
    async fn deliver(&mut self, item: &Inbound) {
        for _ in 0..100 {
            if self.bench.desk.ingest(&account(), vec![item.clone()]).await.is_ok() {
                return;
            }
            if *self.dead.borrow() {
                self.restart().await;
            }
        }
        panic!("{item:?} is never taken");
    }

    /// Waits until nothing waits; a process that ends before is started again.
    async fn settle(&mut self) {
        loop {
            let (mut dead, waiting) = (self.dead.subscribe(), self.bench.desk.waiting().clone());
            let emptied = tokio::select! {
                biased;
                _ = dead.wait_for(|dead| *dead) => None,
                emptied = waiting.emptied() => Some(emptied),
            };
            match emptied {
                None => self.restart().await,
                Some(Ok(())) => return assert_eq!(waiting.amount(), Amount::default()),
                // It failed to look; it looks again.
                Some(Err(_)) => {}
            }
        }
    }

    /// What everybody has said, by customer, and what is not read of it.
    async fn said(&self) -> Vec<(String, u32, Vec<String>)> {
        let mut all = Vec::new();
        for head in self.bench.open().await {
            let texts = self.bench.texts(head.id).await;
            all.push((head.contact_phone.unwrap_or_default(), head.unread, texts));
        }
        all.sort();
        all
    }
}

async fn begin(store: &Arc<dyn Store>, dead: &Dead, decide: Arc<Decide>) -> Bench {
    let dead = dead.clone();
    let decide = move |call: &Call<'_>| {
        let is_dead = *dead.borrow();
        match (is_dead, call) {
            (false, call) => decide(call, &dead),
            (true, Call::Write(_)) => Fate::Lost,
            (true, _) => Fate::Unavailable,
        }
    };
    let faulty = Faulty::new(store.clone(), decide);
    let bench = Bench::tuned(Arc::new(faulty), Clock::standing_at(START), tuning()).await;
    // It may end before it has looked at everything.
    drop(bench.desk.recover().await);
    bench
}

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new(Arc::new(|| START)))
}

fn message(from: usize, n: usize) -> Inbound {
    says(vec![phone(&from.to_string())], &format!("m{from}-{n}"), &n.to_string())
}

/// One customer says seven things, of which the second to fifth come while the process is full; it
/// ends at a write, of which so many partitions are written. Answers how many writes there were.
async fn ends_at(store: Arc<dyn Store>, end: Option<(usize, usize)>) -> usize {
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = writes.clone();
    let decide = move |call: &Call<'_>, dead: &Dead| {
        let Call::Write(_) = call else { return Fate::Done };
        let n = counted.fetch_add(1, Ordering::AcqRel);
        match end {
            Some((at, rows)) if at == n => {
                dead.send_replace(true);
                Fate::Torn(rows)
            }
            _ => Fate::Done,
        }
    };
    let mut processes = Processes::new(store, decide).await;
    for n in 0..7 {
        processes.fill(if (1..5).contains(&n) { 95 } else { 0 });
        processes.deliver(&message(1, n)).await;
    }
    let wanted = || vec![("1".to_owned(), 7, (0..7).map(|n| n.to_string()).collect::<Vec<_>>())];
    processes.settle().await;
    let made = writes.load(Ordering::Acquire);
    assert_eq!(processes.said().await, wanted(), "{end:?}");
    processes.restart().await;
    for n in 0..7 {
        processes.deliver(&message(1, n)).await;
    }
    processes.settle().await;
    assert_eq!(processes.said().await, wanted(), "delivered again: {end:?}");
    made
}

#[test]
fn a_process_that_ends_at_any_write_of_what_waits_loses_nothing_and_keeps_the_order() {
    let writes = block_on(ends_at(memory(), None));
    assert!(writes > 20, "{writes} writes");
    for write in 0..writes {
        for rows in 0..4 {
            block_on(ends_at(memory(), Some((write, rows))));
        }
    }
}

/// What a seed makes of forty steps: messages and receipts of three customers, a process that is
/// full and empty in turn, and ends. Answers what was seen on the way.
async fn play(store: Arc<dyn Store>, seed: u64) -> Vec<Vec<(String, u32, Vec<String>)>> {
    let mut chance = Chance::of(seed);
    let mut processes = Processes::new(store, |_, _| Fate::Done).await;
    let (mut said, mut told) = ([0; 3], 0);
    let mut seen = Vec::new();
    for step in 0..40 {
        match chance.below(10) {
            0..=4 => {
                let from = chance.index(3);
                processes.deliver(&message(from, said[from])).await;
                said[from] += 1;
            }
            5 => {
                processes.deliver(&receipt(&chance.index(3).to_string(), told)).await;
                told += 1;
            }
            6 | 7 => processes.fill([0, 70, 85, 95][chance.index(4)]),
            8 => processes.restart().await,
            _ => {
                processes.settle().await;
                seen.push(processes.said().await);
            }
        }
        for (from, upto) in said.into_iter().enumerate() {
            let again = chance.index(upto.max(1));
            if step % 7 == 0 && upto > 0 {
                processes.deliver(&message(from, again)).await;
            }
        }
    }
    processes.settle().await;
    let last = processes.said().await;
    for (from, upto) in said.into_iter().enumerate().filter(|(_, upto)| *upto > 0) {
        let wanted: Vec<_> = (0..upto).map(|n| n.to_string()).collect();
        let found = last.iter().find(|(phone, ..)| *phone == from.to_string());
        assert_eq!(found.unwrap().2, wanted, "TEST_SEED={seed}: customer {from}");
    }
    seen.push(last);
    seen
}

#[test]
fn the_same_seed_gives_equal_answers_on_memory_and_embedded() {
    for seed in seeds(4, 2) {
        let in_memory = block_on(play(memory(), seed));
        let directory = tempfile::tempdir().unwrap();
        let options = || Options::new(directory.path(), Arc::new(|| START));
        // Its writer is a thread of its own, for which paused time would not wait.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Arc::new(Embedded::open(options(), |cause| panic!("{cause}")).unwrap());
            let embedded = play(store.clone(), seed).await;
            assert_eq!(embedded, in_memory, "TEST_SEED={seed}");
            store.close().await.unwrap();
        });
        runtime.block_on(async {
            // On the disk it is the same.
            let store = Arc::new(Embedded::open(options(), |cause| panic!("{cause}")).unwrap());
            let processes = Processes::new(store.clone(), |_, _| Fate::Done).await;
            assert_eq!(Some(&processes.said().await), in_memory.last(), "TEST_SEED={seed}");
            store.close().await.unwrap();
        });
    }
}

#[test]
fn whatever_the_store_does_each_customer_s_messages_come_once_in_order() {
    for seed in seeds(8, 4) {
        block_on(suffers(memory(), seed));
    }
}

/// Messages of three customers over a store that fails as the seed has it, in every way.
async fn suffers(store: Arc<dyn Store>, seed: u64) {
    let failing = Arc::new(AtomicBool::new(true));
    let (fails, chance) = (failing.clone(), std::sync::Mutex::new(Chance::of(seed)));
    let decide = move |_: &Call<'_>, _: &Dead| {
        let mut chance = chance.lock().unwrap();
        if !fails.load(Ordering::Acquire) || !chance.permille(150) {
            return Fate::Done;
        }
        match chance.below(7) {
            0 => Fate::Slow(Duration::from_millis(chance.below(500))),
            1 => Fate::Unavailable,
            2 => Fate::Applied,
            3 => Fate::Lost,
            4 => Fate::Torn(chance.index(3)),
            5 => Fate::Behind(1 + chance.index(2)),
            _ => Fate::Late(1 + chance.index(8)),
        }
    };
    let mut processes = Processes::new(store, decide).await;
    let mut chance = Chance::of(seed ^ 1);
    let mut said = [0; 3];
    for _ in 0..30 {
        processes.fill(if chance.permille(500) { 95 } else { 0 });
        let from = chance.index(3);
        processes.deliver(&message(from, said[from])).await;
        said[from] += 1;
    }
    processes.settle().await;
    failing.store(false, Ordering::Release);
    let all = processes.said().await;
    for (from, upto) in said.into_iter().enumerate().filter(|(_, upto)| *upto > 0) {
        let wanted: Vec<_> = (0..upto).map(|n| n.to_string()).collect();
        let found = all.iter().find(|(phone, ..)| *phone == from.to_string());
        assert_eq!(found.unwrap().2, wanted, "TEST_SEED={seed}: customer {from}");
    }
}

#[test]
fn on_a_cluster_it_is_the_same_whatever_the_store_does() {
    at_once(seeds(2, 6), |seed| {
        let Some(cluster) = Beside::cluster() else { return };
        block_on(suffers(cluster, seed));
    });
}

#[test]
fn on_a_disk_it_is_the_same_whatever_the_store_does() {
    at_once(seeds(2, 2), |seed| {
        let directory = tempfile::tempdir().unwrap();
        block_on(suffers(Beside::embedded(&directory, Arc::new(|| START)), seed));
    });
}

#[test]
fn on_a_cluster_it_is_the_same_wherever_a_process_ends() {
    let seed = seeds(1, 0).next().unwrap();
    let mut chance = Chance::of(seed);
    let Some(cluster) = Beside::cluster() else { return };
    let played = block_on(play(cluster, seed));
    assert_eq!(played, block_on(play(memory(), seed)), "TEST_SEED={seed}");
    let writes = block_on(ends_at(Beside::cluster().unwrap(), None));
    let ends: [_; 4] = std::array::from_fn(|_| (chance.index(writes), chance.index(4)));
    at_once(ends, |end| {
        block_on(ends_at(Beside::cluster().unwrap(), Some(end)));
    });
}
