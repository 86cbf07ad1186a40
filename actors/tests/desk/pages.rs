//! Pages of a conversation's messages, over blocks in which there are many, few and none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actors::clock::Clock;
use engine::channel::{Amend, Amender, Amendment, Inbound};
use engine::message::{BLOCK_SEQS, Content};
use engine::time::Timestamp;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;

use crate::bench::{Bench, account, admin, phone, says};

const START: Timestamp = Timestamp(1_790_000_000_000);

fn message(n: u64) -> Inbound {
    says(vec![phone("1")], &format!("message {n}"), &n.to_string())
}

/// The first message says something else: a fact, and no message.
fn edit(n: u64) -> Inbound {
    Inbound::Amendment(Amendment {
        customer: vec![phone("1")],
        by: Amender::Customer,
        target: "message 0".to_owned(),
        provider_id: Some(format!("edit {n}")),
        at: Some(START),
        what: Amend::Edit(Content::text(format!("words {n}"))),
    })
}

async fn ingest(bench: &Bench, items: impl Iterator<Item = Inbound>) {
    let items: Vec<_> = items.collect();
    for some in items.chunks(50) {
        bench.desk.ingest(&account(), some.to_vec()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_page_is_what_lies_behind_those_before_it_and_costs_no_more_far_back() {
    let reads = Arc::new(AtomicUsize::new(0));
    let (clock, counted) = (Clock::standing_at(START), reads.clone());
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let count = move |call: &Call<'_>| {
        let rows = match call {
            Call::Get(..) => 1,
            Call::Scan(scan) => scan.limit,
            Call::Write(_) => 0,
        };
        counted.fetch_add(rows, Ordering::SeqCst);
        Fate::Done
    };
    let bench = Bench::over(Arc::new(Faulty::new(memory, count)), clock).await;
    // Two blocks full of messages, two without any, and a few more behind.
    ingest(&bench, (0..2 * BLOCK_SEQS).map(message)).await;
    ingest(&bench, (0..2 * BLOCK_SEQS).map(edit)).await;
    ingest(&bench, (2 * BLOCK_SEQS..2 * BLOCK_SEQS + 30).map(message)).await;
    let id = bench.open().await.remove(0).id;
    let all = (u64::MAX, 0);
    let rows = bench.desk.messages(admin(), id, all, 10_000).await.unwrap();
    let number = u64::try_from(rows.len()).unwrap();
    assert_eq!(number, 2 * BLOCK_SEQS + 30);
    let mut most = 0;
    for skip in 0..=rows.len() + 1 {
        let before = reads.load(Ordering::SeqCst);
        let (page, newest) = bench.desk.page(admin(), id, all, (skip, 7)).await.unwrap();
        most = most.max(reads.load(Ordering::SeqCst) - before);
        let behind: Vec<_> = rows.iter().skip(skip).take(7).cloned().collect();
        assert_eq!((page, newest), (behind, number), "behind {skip}");
    }
    assert!(most < 500, "a page asked for {most} rows");
    // Within bounds the newest one is another.
    let (from, to) = (rows[10].message.seq, rows[40].message.seq);
    let (page, newest) = bench.desk.page(admin(), id, (from, to), (20, 100)).await.unwrap();
    assert_eq!((page, newest), (rows[31..40].to_vec(), rows[11].place.ordinal));
}
