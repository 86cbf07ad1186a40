//! What was committed is found: when it was not told, when there was no room for it, when the index is
//! new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::desk::Desk;
use actors::search::{Asked, Search, SearchOptions};
use actors::world::Outside;
use engine::conversation::{Command, Conversation, Effect};
use engine::id::{MessageId, ThreadId};
use engine::message::MessageRow;
use engine::search::Wanted;
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::conversations::Conversations;
use storage::memory::Memory;
use storage::{Stamp, Store};
use tokio::sync::watch;

use crate::bench::{account, admin, desk, phone, says};

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_790_000_000_000;

/// Commits go to the search, as long as it is told of them.
struct Searched {
    search: Search,
    is_told: AtomicBool,
}

impl Outside for Searched {
    fn follow(&self, committed: &Committed) {
        if self.is_told.load(Ordering::Relaxed) {
            self.search.follow(committed);
        }
    }

    fn woke(&self, head: &Conversation) {
        self.search.woke(head);
    }

    fn act(&self, _: &Conversation, _: Effect, _: Option<&MessageRow>) {}

    fn held(&self, _: ThreadId) -> Vec<MessageId> {
        Vec::new()
    }
}

/// A process over a store, with an index that is new.
struct Process {
    outside: Arc<Searched>,
    desk: Desk,
    stop: watch::Sender<bool>,
}

impl Process {
    async fn start(store: &Arc<dyn Store>, clock: &Clock, marks: usize) -> Self {
        let options =
            SearchOptions { directory: None, every: Duration::from_secs(1), marks, matches: 100 };
        let (conversations, contacts) =
            (Conversations::new(store.clone()), Contacts::new(store.clone()));
        let (search, index) = Search::start(conversations, contacts, clock.clone(), options).await;
        let is_told = AtomicBool::new(true);
        let outside = Arc::new(Searched { search: search.clone(), is_told });
        let stamps = Arc::new(Stamps::above(Stamp(0)));
        let desk = desk(store, clock, &stamps, outside.clone(), None).await;
        desk.recover().await.unwrap();
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(search.run(index, stopping));
        Self { outside, desk, stop }
    }

    async fn hears(&self, from: &str, text: &str) {
        let item = says(vec![phone(from)], &format!("wamid.{text}"), text);
        self.desk.ingest(&account(), vec![item]).await.unwrap();
    }

    async fn count(&self, typed: &str) -> usize {
        let asked = Asked { wanted: Wanted::of(typed), ..Asked::default() };
        self.outside.search.find(admin(), asked, (0, 100)).await.unwrap().total
    }

    async fn finds(&self, typed: &str, wanted: usize) {
        let finding = async {
            while self.count(typed).await != wanted {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(600), finding).await;
        assert!(found.is_ok(), "{typed}: {} instead of {wanted}", self.count(typed).await);
    }
}

fn store() -> (Arc<dyn Store>, Clock) {
    let clock = Clock::standing_at(Timestamp(NOW));
    let now = clock.clone();
    (Arc::new(Memory::new(Arc::new(move || now.now()))), clock)
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_and_never_told_is_found_once_its_conversation_wakes() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 100).await;
    process.hears("4915550001", "told").await;
    process.finds("told", 1).await;
    process.outside.is_told.store(false, Ordering::Relaxed);
    process.hears("4915550001", "secretly").await;
    process.outside.is_told.store(true, Ordering::Relaxed);
    process.hears("4915550002", "told too").await;
    process.finds("told", 2).await;
    assert_eq!(process.count("secretly").await, 0);
    // Its actor leaves memory, and is asked for.
    while process.desk.actors().await > 0 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    let conversations = Conversations::new(store.clone());
    for id in conversations.open_set(admin().tenant).await.unwrap() {
        process.desk.ask(admin(), id, None, Command::Look).await.unwrap();
    }
    process.finds("secretly", 1).await;
}

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
async fn a_new_index_is_filled_hour_by_hour_with_each_message_once() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 100).await;
    for (hours, from) in
        [(0, "4915550001"), (1, "4915550002"), (5, "4915550001"), (7, "4915550003")]
    {
        clock.set(Timestamp(NOW + hours * HOUR));
        process.hears(from, &format!("hourly {hours}")).await;
    }
    process.finds("hourly", 4).await;
    process.stop.send_replace(true);
    clock.set(Timestamp(NOW + 9 * HOUR));
    let process = Process::start(&store, &clock, 100).await;
    process.finds("hourly", 4).await;
    for hours in [0, 1, 5, 7] {
        process.finds(&format!("hourly-{hours}"), 1).await;
    }
    process.finds("", 4).await;
}
