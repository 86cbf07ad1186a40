//! What is committed when there is no room to mark it is found all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::conversation::Command;
use engine::search::contact::Sought;
use engine::time::Timestamp;
use storage::Store;
use storage::conversations::Conversations;
use storage::faulty::{Call, Fate, Faulty};
use storage::tables::HEADS;

use crate::bench::admin;
use crate::search::{HOUR, NOW, Process, store, tag};

#[tokio::test(start_paused = true)]
async fn more_than_there_is_room_for_is_found_all_the_same() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 1).await;
    for n in 0..20 {
        process.hears(&format!("49155500{:02}", n % 7), &format!("roomless {n}")).await;
    }
    process.finds("roomless", 20).await;
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_found_though_the_clock_is_set_back_behind_it() {
    let (memory, clock) = store();
    let is_slow = Arc::new(AtomicBool::new(false));
    let slow = is_slow.clone();
    let store = Faulty::new(memory, move |call| match call {
        Call::Get(table, _) if **table == HEADS && slow.load(Ordering::Relaxed) => {
            Fate::Slow(Duration::from_secs(5))
        }
        _ => Fate::Done,
    });
    let store: Arc<dyn Store> = Arc::new(store.promising_as_below());
    let process = Process::start(&store, &clock, 1).await;
    process.hears("4915550001", "before").await;
    process.hears("4915550002", "before too").await;
    process.finds("before", 2).await;
    let conversations = Conversations::new(store.clone());
    let open = conversations.open_set(admin().tenant).await.unwrap();
    // While the index reads what had room nothing else has any.
    is_slow.store(true, Ordering::Relaxed);
    process.hears("4915550001", "lost one").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    process.hears("4915550001", "lost two").await;
    process.hears("4915550002", "lost three").await;
    clock.set(Timestamp(NOW - 3000));
    for id in open {
        let command = Command::SetTags { tags: vec!["vip".to_owned()] };
        process.desk.ask(admin(), id, None, command).await.unwrap();
    }
    is_slow.store(false, Ordering::Relaxed);
    clock.set(Timestamp(NOW));
    process.finds("lost", 3).await;
}

#[tokio::test(start_paused = true)]
async fn without_room_for_their_marks_contacts_are_found_all_the_same() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 1).await;
    for n in 0..20 {
        process.hears(&format!("49155500{n:02}"), &format!("roomless {n}")).await;
    }
    let all = process.people(Sought::name("ines"), 20).await;
    process.patch(&all[0], tag("roomless")).await;
    process.patch(&all[1], tag("roomless")).await;
    process.people(Sought::tag("roomless"), 2).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_while_the_clock_was_ahead_is_found_when_it_is_right_again() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 1).await;
    process.hears("4915550000", "in time").await;
    process.finds("in time", 1).await;
    clock.set(Timestamp(NOW + 2 * HOUR));
    for n in 1..10 {
        process.hears(&format!("491555000{n}"), &format!("early {n}")).await;
    }
    clock.set(Timestamp(NOW));
    process.finds("early", 9).await;
}
