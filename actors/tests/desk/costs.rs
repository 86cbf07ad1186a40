//! What a message costs where each partition is a statement of its own: on a cluster.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use engine::time::Timestamp;
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;

use crate::bench::{Bench, account, phone, says};

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
    let statements = Statements::default();
    let counted = statements.clone();
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let store = Faulty::new(memory, move |call| {
        counted.count(call);
        Fate::Done
    });
    (Bench::over(Arc::new(store), clock).await, statements)
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
    let say = async |n: u32| {
        let item = says(vec![phone("15550001")], &format!("m{n}"), "hello");
        bench.desk.ingest(&account(), vec![item]).await.unwrap();
    };
    for n in 0..300 {
        say(n).await;
    }
    while bench.desk.actors() > 0 {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    statements.take();
    say(300).await;
    let (reads, _) = statements.take();
    let wakes = ["threads", "recent_ids", "conversations", "conversation_log"];
    let of_it: Vec<_> = reads.iter().filter(|table| wakes.contains(*table)).collect();
    assert!(of_it.len() <= 4, "{of_it:?} of {reads:?}");
}
