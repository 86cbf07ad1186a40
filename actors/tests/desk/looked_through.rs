//! How much the search index reads to find what is missing in it, and how long a start takes for what
//! an earlier run left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::desk::{Desk, DeskOptions};
use engine::account::Account;
use engine::channel::{Channel, Inbound};
use engine::time::Timestamp;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::{Stamp, Store};
use tokio::time::Instant;

use crate::bench::{Heard, account, phone, says};
use crate::search::{HOUR, NOW, Process};
use crate::topics::mail;

/// A store of which is counted how often it is read.
fn counted() -> (Arc<dyn Store>, Clock, Arc<AtomicUsize>) {
    let clock = Clock::standing_at(Timestamp(NOW));
    let now = clock.clone();
    let (memory, reads) = (Memory::new(Arc::new(move || now.now())), Arc::new(AtomicUsize::new(0)));
    let counted = reads.clone();
    let count = move |call: &Call<'_>| {
        counted.fetch_add(usize::from(!matches!(call, Call::Write(_))), Ordering::Relaxed);
        Fate::Done
    };
    let store = Faulty::new(Arc::new(memory), count).promising_as_below();
    (Arc::new(store), clock, reads)
}

/// How much is read after a kill for the last message of one who wrote so many before.
async fn reads_after_a_kill(written: usize) -> usize {
    let (store, clock, reads) = counted();
    let directory = tempfile::tempdir().unwrap();
    let start = async || {
        Process::start_in(Some(directory.path()), &store, &clock, Timestamp(NOW), 1000).await
    };
    let process = start().await;
    for n in 0..written {
        process.hears("4915550001", &format!("early {n}")).await;
    }
    process.finds("early", written.min(100)).await;
    clock.set(Timestamp(NOW + HOUR));
    process.hears("4915550001", "in time").await;
    process.finds("time", 1).await;
    clock.set(Timestamp(NOW + HOUR + 1_000));
    process.outside.is_told.store(false, Ordering::Relaxed);
    process.hears("4915550001", "at last").await;
    process.stop().await;
    let process = start().await;
    let before = reads.load(Ordering::Relaxed);
    process.finds("last", 1).await;
    process.finds("early", written.min(100)).await;
    process.stop().await;
    reads.load(Ordering::Relaxed) - before
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_a_long_conversation_is_not_read_whole_again() {
    let (some, more) = (reads_after_a_kill(10).await, reads_after_a_kill(1_000).await);
    // Both are the last commits, as many as are read at once, and what the start needs.
    assert!(more < some + 100, "{some} reads behind 10 messages, {more} behind 1,000");
}

/// How much is read for a new index of so many mails of one sender, each a matter of its own.
async fn reads_for(mails: usize) -> usize {
    let (store, clock, reads) = counted();
    let process = Process::start(&store, &clock, 1000).await;
    clock.set(Timestamp(NOW + HOUR));
    let inbox = Account { channel: Channel::Email, ..account() };
    for n in 0..mails {
        let mail = Inbound::Message(Box::new(mail("mei", &format!("matter{n}"), &[])));
        process.desk.ingest(&inbox, vec![mail]).await.unwrap();
    }
    process.stop().await;
    let process = Process::start(&store, &clock, 1000).await;
    let before = reads.load(Ordering::Relaxed);
    process.finds("", mails).await;
    reads.load(Ordering::Relaxed) - before
}

#[tokio::test(start_paused = true)]
async fn twice_as_many_mails_of_one_sender_are_twice_as_much_to_look_through() {
    let (some, twice) = (reads_for(45).await, reads_for(90).await);
    assert!(twice < some * 5 / 2, "{some} reads for 45 mails, {twice} for 90");
}

#[tokio::test(start_paused = true)]
async fn a_start_does_not_wait_for_one_thread_after_another() {
    const LEFT: usize = 300;
    let (slow, clock) = (Arc::new(AtomicBool::new(false)), Clock::standing_at(Timestamp(NOW)));
    let is_slow = slow.clone();
    let fate = move |_: &Call<'_>| match is_slow.load(Ordering::Relaxed) {
        true => Fate::Slow(Duration::from_millis(10)),
        false => Fate::Done,
    };
    let memory = Memory::new(Arc::new(|| Timestamp(NOW)));
    let store: Arc<dyn Store> = Arc::new(Faulty::new(Arc::new(memory), fate));
    let start = async || {
        // Nobody leaves in order.
        let options = DeskOptions { live_actors: 10_000, ..DeskOptions::default() };
        let (stamps, heard) = (Arc::new(Stamps::above(Stamp(0))), Arc::new(Heard::default()));
        Desk::start(store.clone(), clock.clone(), stamps, heard, options).await
    };
    let before = start().await;
    before.begin().await.unwrap();
    for n in 0..LEFT {
        let item = says(vec![phone(&format!("4915{n:07}"))], &format!("wamid.{n}"), "hello");
        before.ingest(&account(), vec![item]).await.unwrap();
    }
    let desk = start().await;
    slow.store(true, Ordering::Relaxed);
    let began = Instant::now();
    assert_eq!(desk.recover().await.unwrap(), LEFT);
    let took = began.elapsed();
    // What one thread takes is a tenth of a second at least.
    assert!(took < Duration::from_secs(10), "{took:?}");
}
