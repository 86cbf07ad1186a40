//! What was committed is found: when it was not told, when there was no room for it, when the index is
//! new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::contact::ContactCommand;
use actors::desk::Desk;
use actors::search::{Asked, Search, SearchOptions};
use actors::world::Outside;
use engine::channel::Handle;
use engine::contact::{Contact, ContactPatch};
use engine::conversation::{Command, Conversation, Effect};
use engine::id::{ContactId, MessageId, ThreadId};
use engine::message::MessageRow;
use engine::resource::Change;
use engine::search::Wanted;
use engine::search::contact::Sought;
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::conversations::Conversations;
use storage::keys::hour;
use storage::memory::Memory;
use storage::tables::DIRTY_CONTACTS;
use storage::{Batch, Part, Stamp, Store};
use tokio::sync::watch;
use uuid::Uuid;

use crate::bench::{TENANT, account, admin, bsuid, desk, phone, says};

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

    fn follow_contact(&self, contact: ContactId, is_new: bool, at: Timestamp) {
        if self.is_told.load(Ordering::Relaxed) {
            self.search.follow_contact(contact, is_new, at);
        }
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
        self.hears_of(vec![phone(from)], text).await;
    }

    async fn hears_of(&self, from: Vec<Handle>, text: &str) {
        let item = says(from, &format!("wamid.{text}"), text);
        self.desk.ingest(&account(), vec![item]).await.unwrap();
    }

    /// The contacts of whom so many are found, newest first.
    async fn people(&self, sought: Option<Sought>, wanted: usize) -> Vec<Contact> {
        let sought = sought.unwrap();
        let finding = async {
            loop {
                let search = &self.outside.search;
                let found = search.contacts(TENANT, sought.clone(), (0, 100)).await.unwrap();
                if (found.0.len(), found.1) == (wanted, wanted) {
                    return found.0;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(600), finding).await;
        found.unwrap_or_else(|_| panic!("{sought:?}: not {wanted}"))
    }

    async fn patch(&self, contact: &Contact, patch: ContactPatch) {
        let patch = ContactCommand::Patch(patch);
        self.desk.contact(TENANT, contact.id, patch).await.unwrap();
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

fn tag(tag: &str) -> ContactPatch {
    ContactPatch { tags: Change::Set(vec![tag.to_owned()]), ..ContactPatch::default() }
}

#[tokio::test(start_paused = true)]
async fn a_contact_is_found_by_what_it_is_now_and_merged_it_is_found_once() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 100).await;
    process.hears("4915550001", "by number").await;
    let [contact] = &process.people(Sought::name("ines"), 1).await[..] else { panic!("one") };
    let patch = ContactPatch { name: Change::Set("Noor".to_owned()), ..tag("vip") };
    process.patch(contact, patch).await;
    process.people(Sought::name("noor"), 1).await;
    process.people(Sought::tag("vip"), 1).await;
    process.people(Sought::name("ines"), 0).await;
    process.hears_of(vec![bsuid("US.1")], "by id").await;
    let [other] = &process.people(Sought::name("ines"), 1).await[..] else { panic!("another") };
    assert_ne!(other.id, contact.id);
    process.hears_of(vec![bsuid("US.1"), phone("4915550001")], "both").await;
    process.people(Sought::name("ines"), 0).await;
    let [one] = &process.people(Sought::phone("0001"), 1).await[..] else { panic!("one") };
    assert_eq!((one.id, &one.absorbed[..]), (contact.id, &[other.id][..]));
}

#[tokio::test(start_paused = true)]
async fn contacts_that_were_written_and_never_told_are_found_in_the_hours_in_which_they_were() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 100).await;
    process.hears("4915550001", "one").await;
    process.hears("4915550002", "two").await;
    let all = process.people(Sought::name("ines"), 2).await;
    process.outside.is_told.store(false, Ordering::Relaxed);
    clock.set(Timestamp(NOW + 3 * HOUR));
    // Nothing is said in that hour.
    process.patch(&all[0], tag("late")).await;
    process.stop.send_replace(true);
    clock.set(Timestamp(NOW + 9 * HOUR));
    let process = Process::start(&store, &clock, 100).await;
    process.people(Sought::name("ines"), 2).await;
    let [late] = &process.people(Sought::tag("late"), 1).await[..] else { panic!("one") };
    assert_eq!(late.id, all[0].id);
}

#[tokio::test(start_paused = true)]
async fn contacts_of_a_store_that_knows_no_hours_of_theirs_are_found_by_their_conversations() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 100).await;
    process.hears("4915550001", "one").await;
    process.hears_of(vec![bsuid("US.1")], "two").await;
    process.hears_of(vec![bsuid("US.1"), phone("4915550001")], "both").await;
    process.hears("4915550002", "other").await;
    process.people(Sought::name("ines"), 2).await;
    process.stop.send_replace(true);
    let of_shard = |shard: u8| storage::Change::Clear {
        table: &DIRTY_CONTACTS,
        partition: vec![Part::Int(i64::from(shard)), Part::Int(hour(clock.now()))],
    };
    let changes = (0..=u8::MAX).map(of_shard).collect();
    store.apply(Batch { stamp: Stamp(i64::MAX), changes }).await.unwrap();
    let process = Process::start(&store, &clock, 100).await;
    process.people(Sought::name("ines"), 2).await;
    process.people(Sought::phone("0001"), 1).await;
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
async fn of_more_than_ten_thousand_contacts_the_oldest_is_found() {
    let (store, clock) = store();
    let contacts = Contacts::new(store.clone());
    for n in 0..10_050_u128 {
        let id = ContactId(Uuid::from_u128((NOW as u128) << 80 | n));
        let mut contact = Contact::new(id, TENANT, clock.now());
        contact.name = Some(format!("Person {n}"));
        contact.threads = vec![ThreadId(id.0)];
        contacts.put(&contact, true, hour(clock.now()), Stamp(1)).await.unwrap();
    }
    let process = Process::start(&store, &clock, 100).await;
    let [oldest] = &process.people(Sought::of("person 0"), 1).await[..] else { panic!("one") };
    assert_eq!(oldest.name.as_deref(), Some("Person 0"));
    process.people(Sought::of("person"), 100).await;
}
