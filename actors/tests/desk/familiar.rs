//! What was left half done about a customer is gone on with, though nothing that they say of themselves is
//! new by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actors::clock::Clock;
use engine::channel::Handle;
use engine::time::Timestamp;
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;
use storage::tables::{CONTACTS, NAMES};

use crate::bench::{Bench, TENANT, account, account_of, bsuid, phone};
use crate::identities::writes;
use crate::unions::puts;

/// A desk of one process, and how many writes of a kind are done before one is not.
async fn bench(is_one: fn(&Write) -> bool) -> (Bench, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let counted = left.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Write(write) if is_one(write) => match counted.fetch_sub(1, Ordering::Relaxed) {
            0 => Fate::Unavailable,
            _ => Fate::Done,
        },
        _ => Fate::Done,
    };
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let store = Faulty::new(memory, decide).promising_as_below();
    (Bench::over(Arc::new(store), clock).await, left)
}

async fn write(bench: &Bench, from: &[Handle], text: &str) -> bool {
    bench.desk.ingest(&account(), vec![writes(1, from, text)]).await.is_ok()
}

fn is_put(write: &Write) -> bool {
    matches!(write, Write::Apply(batch) if puts(batch, CONTACTS.name))
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_not_named_everywhere_is_when_it_is_delivered_again() {
    let is_claim =
        |write: &Write| matches!(write, Write::Claim { table, .. } if table.name == NAMES.name);
    let (bench, left) = bench(is_claim).await;
    let both = [bsuid("US.1"), phone("15550001")];
    assert!(write(&bench, &both[..1], "by id").await);
    // First on the account, then everywhere.
    left.store(1, Ordering::Relaxed);
    assert!(!write(&bench, &both, "by both").await);
    assert!(write(&bench, &both, "by both").await);
    let elsewhere = vec![writes(1, &both[1..], "elsewhere")];
    bench.desk.ingest(&account_of(TENANT, 3), elsewhere).await.unwrap();
    assert_eq!(bench.contacts().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_its_contact_has_not_learned_is_learned_when_it_is_delivered_again() {
    let (bench, left) = bench(is_put).await;
    let both = [phone("15550001"), bsuid("US.1")];
    assert!(write(&bench, &both[..1], "by number").await);
    left.store(0, Ordering::Relaxed);
    assert!(!write(&bench, &both, "by both").await);
    assert!(write(&bench, &both, "by both").await);
    assert_eq!(bench.contacts().await[0].identities.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_merged_contact_had_becomes_the_other_one_s_by_the_next_message_of_either() {
    let (mut bench, left) = bench(is_put).await;
    let both = [bsuid("US.1"), phone("15550001")];
    let elsewhere = vec![writes(1, &both[1..], "elsewhere")];
    bench.desk.ingest(&account_of(TENANT, 3), elsewhere).await.unwrap();
    assert!(write(&bench, &both[..1], "by id").await);
    // First what is new to it, then that it is merged, then what the other one has by that.
    left.store(2, Ordering::Relaxed);
    assert!(!write(&bench, &both, "by both").await);
    bench.rise().await;
    assert!(write(&bench, &both[..1], "by id again").await);
    let contacts = bench.contacts().await;
    assert_eq!((contacts.len(), contacts[0].identities.len()), (1, 2));
}
