//! An earlier case of a thread, where heads are written now and then and a wake folds only the current one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::clock::Clock;
use engine::conversation::Command;
use engine::fact::ConversationStatus;
use engine::id::ConversationId;
use engine::time::Timestamp;
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;
use storage::tables::HEADS;

use crate::bench::{Bench, account, admin, phone, says};

/// A customer whose first case is over, and is not the current one any more; as long as it is said no head
/// can be written.
async fn bench() -> (Bench, ConversationId, Arc<AtomicBool>) {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let no_heads = Arc::new(AtomicBool::new(false));
    let are_refused = no_heads.clone();
    let store = Faulty::new(memory, move |call| match call {
        Call::Write(Write::Apply(batch))
            if are_refused.load(Ordering::SeqCst)
                && batch.changes.iter().any(|change| *change.place().0 == HEADS) =>
        {
            Fate::Unavailable
        }
        _ => Fate::Done,
    });
    let bench = Bench::over(Arc::new(store), clock).await;
    let hears = async |id: &str| {
        bench.desk.ingest(&account(), vec![says(vec![phone("1")], id, id)]).await.unwrap();
        bench.open().await[0].id
    };
    let first = hears("m1").await;
    let status = ConversationStatus::Resolved;
    bench.desk.ask(admin(), first, None, Command::SetStatus { status }).await.unwrap();
    bench.clock.set(bench.clock.now() + Duration::from_secs(365 * 24 * 3600));
    assert_ne!(hears("m2").await, first);
    (bench, first, no_heads)
}

fn tagged(tag: &str) -> Command {
    Command::EditTags { add: vec![tag.to_owned()], remove: Vec::new() }
}

#[tokio::test(start_paused = true)]
async fn what_is_done_to_it_again_and_again_is_kept_and_shown() {
    let (bench, first, _) = bench().await;
    let left = bench.conversations().head(first).await.unwrap().unwrap();
    assert_eq!((left.status, left.seq), (ConversationStatus::Resolved, 3), "as it was left");
    for tag in ["one", "two", "three"] {
        bench.desk.ask(admin(), first, None, tagged(tag)).await.unwrap();
    }
    let head = bench.conversations().head(first).await.unwrap().unwrap();
    assert_eq!((head.seq, head.tags), (6, ["one", "two", "three"].map(str::to_owned).to_vec()));
}

#[tokio::test(start_paused = true)]
async fn what_its_stored_head_does_not_know_is_decided_on_and_made_up_for_by_the_next_start() {
    let (mut bench, first, no_heads) = bench().await;
    no_heads.store(true, Ordering::SeqCst);
    bench.desk.ask(admin(), first, None, tagged("one")).await.unwrap_err();
    no_heads.store(false, Ordering::SeqCst);
    let stored = async |bench: &Bench| bench.conversations().head(first).await.unwrap().unwrap();
    let folded = bench.conversations().folded(first).await.unwrap().unwrap();
    assert_eq!((stored(&bench).await.seq, folded.seq), (3, 4), "it was committed all the same");
    let looked = bench.desk.ask(admin(), first, None, Command::Look).await.unwrap();
    assert_eq!(looked.conversation.unwrap().tags, ["one"]);
    bench.restart().await;
    assert_eq!(stored(&bench).await, folded);
    bench.desk.ask(admin(), first, None, tagged("two")).await.unwrap();
    assert_eq!(stored(&bench).await.tags, ["one", "two"]);
}
