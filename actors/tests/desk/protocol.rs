//! The write path on a store that loses, tears and delays writes, explored fault by fault: what was
//! acknowledged is there once, facts are numbered without a hole, lists agree with the log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use engine::conversation::{Command, Conversation};
use engine::fact::Fact;
use engine::time::Timestamp;
use storage::faulty::{Call, Fate, Faulty, Write, Writes};
use storage::memory::Memory;
use storage::seed::{Chance, seeds};
use storage::tables::DIRTY;
use storage::{Change, Store};
use tokio::time::Instant;

use crate::bench::{Bench, account, admin, block_on, phone, says};
use crate::beside::{Beside, at_once};

/// What a run shows in the end.
#[derive(Debug, PartialEq)]
struct End {
    texts: Vec<String>,
    unread: u32,
    contacts: usize,
    open: usize,
}

/// A fault: which write (counted from 0), and what becomes of it.
type Fault = (usize, Fate);

pub(crate) const START: Timestamp = Timestamp(1_790_000_000_000);

pub(crate) fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new(Arc::new(|| START)))
}

/// Three messages, the last two at once, each delivered until it is acknowledged, on a store with
/// these faults; `dies_at`: from this write on nothing reaches the store any more. Then the process
/// starts again, and everything is delivered once more. Answers the end, and how many writes the
/// first process made.
async fn run(
    store: Arc<dyn Store>,
    faults: Vec<Fault>,
    dies_at: Option<(usize, usize)>,
) -> (End, usize) {
    let clock = Clock::standing_at(START);
    let writes = Arc::new(Mutex::new(0_usize));
    let counted = writes.clone();
    let decide = move |call: &Call<'_>| {
        let mut count = counted.lock().unwrap();
        let died = dies_at.is_some_and(|(write, _)| *count > write);
        let Call::Write(_) = call else {
            return if died { Fate::Unavailable } else { Fate::Done };
        };
        let n = *count;
        *count += 1;
        match dies_at {
            Some((write, rows)) if n == write => Fate::Torn(rows),
            Some((write, _)) if n > write => Fate::Lost,
            _ => faults.iter().find(|(at, _)| *at == n).map_or(Fate::Done, |(_, fate)| *fate),
        }
    };
    let faulty = Arc::new(Faulty::new(store.clone(), decide));
    let bench = Bench::over(faulty.clone(), clock.clone()).await;
    let mut acknowledged = Vec::new();
    for step in [&["a"][..], &["b", "c"]] {
        let mut all = tokio::task::JoinSet::new();
        for text in step {
            let desk = bench.desk.clone();
            all.spawn(async move {
                for _ in 0..20 {
                    let item = says(vec![phone("1")], &format!("id-{text}"), text);
                    if desk.ingest(&account(), vec![item]).await.is_ok() {
                        return Some((*text).to_owned());
                    }
                    // A provider waits before it sends again.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                None
            });
        }
        acknowledged.extend(all.join_all().await.into_iter().flatten());
    }
    if dies_at.is_none() {
        assert_eq!(acknowledged.len(), 3, "everything is taken in the end");
    }
    faulty.land().await;
    let made = *writes.lock().unwrap();
    drop(bench);
    // The same kind of store, without faults from now on.
    let bench = Bench::over(Arc::new(Faulty::new(store, |_| Fate::Done)), clock).await;
    bench.desk.recover().await.unwrap();
    check_log(&bench, &acknowledged).await;
    for text in ["a", "b", "c"] {
        let item = says(vec![phone("1")], &format!("id-{text}"), text);
        bench.desk.ingest(&account(), vec![item]).await.unwrap();
    }
    check_log(&bench, &["a", "b", "c"].map(str::to_owned)).await;
    let open = bench.open().await;
    let mut texts = bench.texts(open[0].id).await;
    assert_eq!(texts[0], "a", "what was acknowledged first comes first");
    texts.sort();
    let (unread, contacts) = (open[0].unread, bench.contacts().await.len());
    (End { texts, unread, contacts, open: open.len() }, made)
}

/// Facts are numbered without a hole, each message is there once and in its row, the head is what
/// the facts make of it.
async fn check_log(bench: &Bench, wanted: &[String]) {
    let conversations = bench.conversations();
    let mut texts = Vec::new();
    for head in bench.open().await {
        let woken = conversations.wake(head.thread).await.unwrap().unwrap();
        let mut folded = Conversation::blank(head.id, &woken.thread);
        for commit in conversations.commits(head.id, 1, 1000).await.unwrap() {
            assert_eq!(commit.first, folded.seq + 1, "no hole, no seq twice");
            for recorded in &commit.facts {
                let row = match recorded.fact.message() {
                    Some((_, place)) => conversations.row(head.id, place).await.unwrap(),
                    None => None,
                };
                folded.apply(recorded, commit.at, row.as_ref());
                if let Fact::Received { message, .. } = &recorded.fact {
                    let row = row.unwrap();
                    assert_eq!(row.message.id, *message, "a row is of the fact that names it");
                    texts.push(row.message.text.unwrap());
                }
            }
        }
        let case = woken.case.unwrap();
        assert_eq!(Conversation { clean: case.clean, ..folded }, case);
    }
    for text in wanted {
        let times = texts.iter().filter(|found| *found == text).count();
        assert_eq!(times, 1, "{text} was acknowledged: {texts:?}");
    }
}

const FATES: [Fate; 8] = [
    Fate::Unavailable,
    Fate::Applied,
    Fate::Lost,
    Fate::Torn(1),
    Fate::Torn(2),
    Fate::Behind(1),
    Fate::Late(3),
    Fate::Late(usize::MAX),
];

/// Two faults near each other meet in one commit or one wake; far apart they do not meet.
const NEAR: usize = 6;

#[test]
fn every_pair_of_faults_ends_as_an_undisturbed_run() {
    let (undisturbed, writes) = block_on(run(memory(), Vec::new(), None));
    assert_eq!(undisturbed.texts, ["a", "b", "c"]);
    for first in 0..writes {
        for one in FATES {
            let (end, _) = block_on(run(memory(), vec![(first, one)], None));
            assert_eq!(end, undisturbed, "{one:?} at write {first}");
            for second in first + 1..first + NEAR {
                for two in FATES {
                    let faults = vec![(first, one), (second, two)];
                    let (end, _) = block_on(run(memory(), faults.clone(), None));
                    assert_eq!(end, undisturbed, "{faults:?}");
                }
            }
        }
    }
}

#[test]
fn a_stop_after_every_row_of_every_write_ends_as_an_undisturbed_run() {
    let (undisturbed, writes) = block_on(run(memory(), Vec::new(), None));
    for write in 0..writes {
        for rows in 0..6 {
            let (end, _) = block_on(run(memory(), Vec::new(), Some((write, rows))));
            assert_eq!(end, undisturbed, "stopped after {rows} partitions of write {write}");
        }
    }
}

#[test]
fn on_a_cluster_faults_and_stops_end_as_an_undisturbed_run() {
    let (undisturbed, writes) = block_on(run(memory(), Vec::new(), None));
    at_once(seeds(2, 6), |seed| {
        let Some(cluster) = Beside::cluster() else { return };
        let mut chance = Chance::of(seed);
        let first = chance.index(writes);
        let second = first + 1 + chance.index(NEAR - 1);
        let [one, two] = [(); 2].map(|()| FATES[chance.index(FATES.len())]);
        let (faults, stop) = match chance.below(4) {
            0 => (Vec::new(), Some((first, chance.index(6)))),
            _ => (vec![(first, one), (second, two)], None),
        };
        let (end, _) = block_on(run(cluster, faults.clone(), stop));
        assert_eq!(end, undisturbed, "TEST_SEED={seed}: {faults:?}, stopped at {stop:?}");
    });
}

/// Whether a write is a commit of a conversation.
pub(crate) fn is_commit(write: &Write) -> bool {
    let Write::Apply(batch) = write else { return false };
    batch.changes.iter().any(
        |change| matches!(change, Change::Put { table, .. } if table.name == "conversation_log"),
    )
}

/// Lets writes through until a task has ended.
async fn until_done<T>(task: &tokio::task::JoinHandle<T>, writes: &mut Writes) {
    while !task.is_finished() {
        match writes.try_next() {
            Some(held) => drop(held.meet(Fate::Done).await),
            None => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_and_a_read_during_a_commit_that_fails_hear_nothing_before_it_is_durable() {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
    let (store, mut writes) = Faulty::stepped(memory);
    let bench = Bench::over(Arc::new(store), clock).await;
    let ingest = |id: &'static str| {
        let desk = bench.desk.clone();
        tokio::spawn(
            async move { desk.ingest(&account(), vec![says(vec![phone("1")], id, id)]).await },
        )
    };
    // The first message opens the conversation without faults.
    let first = ingest("first");
    until_done(&first, &mut writes).await;
    first.await.unwrap().unwrap();
    let id = bench.open().await[0].id;
    for fate in [Fate::Unavailable, Fate::Lost, Fate::Applied] {
        let message = ingest("second");
        let held = loop {
            let held = writes.next().await.unwrap();
            if is_commit(&held.write) {
                break held;
            }
            drop(held.meet(Fate::Done).await);
        };
        let desk = bench.desk.clone();
        let duplicate = ingest("second");
        let read = tokio::spawn(async move { desk.ask(admin(), id, None, Command::Look).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!message.is_finished() && !duplicate.is_finished() && !read.is_finished());
        drop(held.meet(fate).await);
        until_done(&message, &mut writes).await;
        assert!(message.await.unwrap().is_err(), "{fate:?}: not acknowledged");
        until_done(&duplicate, &mut writes).await;
        until_done(&read, &mut writes).await;
        if let Ok(answer) = read.await.unwrap() {
            let shown = answer.conversation.unwrap().messages;
            let stored = bench.texts(id).await.len() as u64;
            assert_eq!(shown, stored, "{fate:?}: a read shows what is durable");
        }
        drop(duplicate.await.unwrap());
    }
    let again = ingest("second");
    until_done(&again, &mut writes).await;
    again.await.unwrap().unwrap();
    assert_eq!(bench.texts(id).await, ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_lands_after_its_hour_was_swept_is_not_forgotten() {
    let hour = 497_223 * 3_600_000;
    let clock = Clock::standing_at(Timestamp(hour - 1_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let of_dirty =
        |change: &Change| matches!(change, Change::Put { table, .. } if table.name == DIRTY.name);
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(batch)) if batch.changes.iter().any(of_dirty) => {
            let _ = begun.send(());
            Fate::Slow(Duration::from_secs(2))
        }
        _ => Fate::Done,
    };
    let mut bench = Bench::over(Arc::new(Faulty::new(memory, decide)), clock.clone()).await;
    bench.desk.recover().await.unwrap();
    let desk = bench.desk.clone();
    let item = says(vec![phone("1")], "m1", "hello");
    let taken = tokio::spawn(async move { desk.ingest(&account(), vec![item]).await });
    begins.recv().await.unwrap();
    clock.set(Timestamp(hour + 1_000));
    bench.desk.recover().await.unwrap();
    taken.await.unwrap().unwrap();
    bench.restart().await;
    assert!(bench.desk.recover().await.unwrap() > 0, "its thread is looked at");
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_fails_once_in_a_while_is_there_again_at_once_each_time() {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| Timestamp(1_790_000_000_000))));
    let fails = Arc::new(AtomicBool::new(false));
    let on = fails.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(_)) if on.swap(false, Ordering::Relaxed) => Fate::Lost,
        _ => Fate::Done,
    };
    let bench = Bench::over(Arc::new(Faulty::new(memory, decide)), clock).await;
    let hears = async |n: usize| {
        let item = says(vec![phone("1")], &format!("m{n}"), &n.to_string());
        bench.desk.ingest(&account(), vec![item]).await
    };
    hears(0).await.unwrap();
    for n in 1..6 {
        fails.store(true, Ordering::Relaxed);
        hears(n).await.unwrap_err();
        let before = Instant::now();
        while hears(n).await.is_err() {}
        assert_eq!(before.elapsed(), Duration::ZERO, "it failed {n} times, long ago");
        // It is spoken to all the while.
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(7)).await;
            hears(n).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reference_without_its_message_names_none_that_took_its_place() {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let tears = Arc::new(AtomicBool::new(false));
    let torn = tears.clone();
    let store = Faulty::new(memory, move |call| match call {
        Call::Write(_) if torn.swap(false, Ordering::AcqRel) => Fate::Behind(1),
        _ => Fate::Done,
    });
    let bench = Bench::over(Arc::new(store), clock).await;
    let says = |id: &str| vec![says(vec![phone("1")], id, id)];
    bench.desk.ingest(&account(), says("first")).await.unwrap();
    tears.store(true, Ordering::Release);
    bench.desk.ingest(&account(), says("torn")).await.unwrap_err();
    bench.desk.ingest(&account(), says("next")).await.unwrap();
    let conversations = bench.conversations();
    let found = async |id| conversations.reference(account().id, id).await.unwrap();
    assert_eq!(found("torn").await, None);
    bench.desk.ingest(&account(), says("torn")).await.unwrap();
    let places = [found("first").await, found("next").await, found("torn").await];
    let ordinals = places.map(|found| found.unwrap().1.ordinal);
    assert_eq!(ordinals, [1, 2, 3].map(|n| n + ordinals[0] - 1));
}
