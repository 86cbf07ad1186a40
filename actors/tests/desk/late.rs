//! What a write does that lands when its thread has been woken again: nothing, and what it would have said
//! is told to nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use engine::conversation::Command;
use engine::fact::ConversationStatus;
use storage::Batch;
use storage::faulty::{Call, Fate, Faulty, Write};

use crate::bench::{Bench, account, admin, phone, says};
use crate::protocol::{START, is_commit, memory};
use crate::sends::draft;

/// A store of which the next write that changes all these tables is late, once that is said.
fn late(tables: &'static [&'static str]) -> (Arc<Faulty>, Arc<AtomicBool>) {
    let is_late = Arc::new(AtomicBool::new(false));
    let on = is_late.clone();
    let changes = |batch: &Batch, name: &str| {
        batch.changes.iter().any(|change| change.place().0.name == name)
    };
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(batch))
            if tables.iter().all(|name| changes(batch, name))
                && on.swap(false, Ordering::Relaxed) =>
        {
            Fate::Late(usize::MAX)
        }
        _ => Fate::Done,
    };
    (Arc::new(Faulty::new(memory(), decide)), is_late)
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_lands_after_the_next_wake_has_not_happened() {
    for restarts in [false, true] {
        let (faulty, is_late) = late(&["conversation_log"]);
        let mut bench = Bench::over(faulty.clone(), Clock::standing_at(START)).await;
        let hears = async |bench: &Bench, id: &str| {
            bench.desk.ingest(&account(), vec![says(vec![phone("1")], id, id)]).await
        };
        hears(&bench, "first").await.unwrap();
        let id = bench.open().await[0].id;
        // Long enough for its actor to leave in order.
        tokio::time::sleep(Duration::from_secs(300)).await;
        is_late.store(true, Ordering::Relaxed);
        hears(&bench, "second").await.unwrap_err();
        if restarts {
            bench.restart().await;
        }
        let shown = bench.desk.ask(admin(), id, None, Command::Look).await.unwrap();
        let shown = shown.conversation.unwrap();
        assert_eq!(faulty.land().await, 1);
        let stored = bench.conversations().folded(id).await.unwrap().unwrap();
        assert_eq!((stored.seq, stored.messages), (shown.seq, 1), "restarts: {restarts}");
        hears(&bench, "third").await.unwrap();
        assert_eq!(bench.texts(id).await, ["first", "third"], "restarts: {restarts}");
    }
}

/// A commit is late; of the writes behind it the n-th is not made. Nobody writes any more, its actor
/// leaves, and the commit lands. Answers how many writes there were behind it.
async fn comes_late_and_then_fails(n: usize) -> usize {
    let behind = Arc::new(Mutex::new(None::<usize>));
    let counted = behind.clone();
    let decide = move |call: &Call<'_>| {
        let Call::Write(write) = call else { return Fate::Done };
        match &mut *counted.lock().unwrap() {
            None => Fate::Done,
            Some(0) if !is_commit(write) => Fate::Done,
            Some(count) => {
                *count += 1;
                match *count - 1 {
                    0 => Fate::Late(usize::MAX),
                    at if at == n => Fate::Unavailable,
                    _ => Fate::Done,
                }
            }
        }
    };
    let faulty = Arc::new(Faulty::new(memory(), decide));
    let bench = Bench::over(faulty.clone(), Clock::standing_at(START)).await;
    let hears =
        async |id: &str| bench.desk.ingest(&account(), vec![says(vec![phone("1")], id, id)]).await;
    hears("first").await.unwrap();
    *behind.lock().unwrap() = Some(0);
    hears("second").await.unwrap_err();
    // Long enough for its actor to be tried again, and to leave in order.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let writes = behind.lock().unwrap().take().unwrap() - 1;
    assert_eq!(faulty.land().await, 1);
    let stored = bench.open().await.remove(0);
    let told = bench.heard.commits.lock().unwrap().last().map(|told| told.after.seq);
    assert_eq!((told, stored.messages), (Some(stored.seq), 1), "without the write {n} behind it");
    writes
}

#[tokio::test(start_paused = true)]
async fn what_comes_late_is_fenced_off_also_when_the_fence_is_not_written_at_first() {
    let writes = comes_late_and_then_fails(usize::MAX).await;
    assert!(writes > 1, "the fence, and what was newest before it");
    for n in 1..=writes {
        comes_late_and_then_fails(n).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_in_order_that_lands_after_the_next_wake_hides_nothing_that_is_to_be_sent() {
    let (faulty, is_late) = late(&["conversations", "recent_ids"]);
    let mut bench = Bench::over(faulty.clone(), Clock::standing_at(START)).await;
    bench.desk.recover().await.unwrap();
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let id = bench.open().await[0].id;
    assert!(!bench.conversations().lags(id).await.unwrap(), "all of it is in the stored head");
    is_late.store(true, Ordering::Relaxed);
    // Long enough for its actor to leave in order.
    tokio::time::sleep(Duration::from_secs(300)).await;
    bench.desk.ask(admin(), id, None, draft("to be sent")).await.unwrap();
    assert_eq!(faulty.land().await, 1);
    bench.rise().await;
    assert_eq!(bench.desk.recover().await.unwrap(), 1, "its thread is looked at");
}

#[tokio::test(start_paused = true)]
async fn a_case_that_begins_after_the_next_wake_has_not_begun() {
    let (faulty, is_late) = late(&["threads"]);
    let mut bench = Bench::over(faulty.clone(), Clock::standing_at(START)).await;
    let hears = async |bench: &Bench, id: &str| {
        bench.desk.ingest(&account(), vec![says(vec![phone("1")], id, id)]).await
    };
    hears(&bench, "first").await.unwrap();
    let id = bench.open().await[0].id;
    let turn = |status| Command::SetStatus { status };
    bench.desk.ask(admin(), id, None, turn(ConversationStatus::Resolved)).await.unwrap();
    // Long enough for its actor to leave in order.
    tokio::time::sleep(Duration::from_secs(300)).await;
    bench.clock.set(START + Duration::from_secs(25 * 3600));
    bench.desk.ask(admin(), id, None, Command::Look).await.unwrap();
    // The next case begins as another process takes over.
    is_late.store(true, Ordering::Relaxed);
    hears(&bench, "second").await.unwrap_err();
    bench.rise().await;
    bench.desk.ask(admin(), id, None, turn(ConversationStatus::Open)).await.unwrap();
    assert_eq!(faulty.land().await, 1);
    bench.restart().await;
    hears(&bench, "third").await.unwrap();
    assert_eq!(bench.open().await.len(), 1, "no other case is open beside it");
    assert_eq!(bench.texts(id).await, ["first", "third"]);
}
