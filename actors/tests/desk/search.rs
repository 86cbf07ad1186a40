//! What was committed is found: when it was not told, when there was no room for it, when the index is
//! new, when the clock was wrong and when something else cannot be read.

use std::path::Path;
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
use engine::permission::{Permissions, Viewer};
use engine::resource::Change;
use engine::search::Wanted;
use engine::search::contact::Sought;
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::conversations::{Conversations, FIRST_HOUR};
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::keys::hour;
use storage::memory::Memory;
use storage::tables::{DIRTY, HEADS, LOG};
use storage::{Batch, Key, Part, Scan, Stamp, Store, Table};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::bench::{TENANT, account, admin, bsuid, desk, phone, says};

pub(crate) const HOUR: i64 = 3_600_000;
pub(crate) const NOW: i64 = 1_790_000_000_000;

/// Commits go to the search, as long as it is told of them.
pub(crate) struct Searched {
    search: Search,
    pub(crate) is_told: AtomicBool,
}

impl Outside for Searched {
    fn follow(&self, committed: &Committed) {
        if self.is_told.load(Ordering::Relaxed) {
            self.search.follow(committed);
        }
    }

    fn woke(&self, head: &Conversation, owes: bool) {
        if owes {
            self.search.woke(head);
        }
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

/// A process over a store.
pub(crate) struct Process {
    pub(crate) outside: Arc<Searched>,
    pub(crate) desk: Desk,
    stop: watch::Sender<bool>,
    keeping: JoinHandle<()>,
}

impl Process {
    /// With an index that is new.
    pub(crate) async fn start(store: &Arc<dyn Store>, clock: &Clock, marks: usize) -> Self {
        Self::start_in(None, store, clock, Timestamp(0), marks).await
    }

    /// With the index in this directory, over a store with stamps up to this time.
    pub(crate) async fn start_in(
        directory: Option<&Path>,
        store: &Arc<dyn Store>,
        clock: &Clock,
        newest: Timestamp,
        marks: usize,
    ) -> Self {
        let options = SearchOptions {
            directory: directory.map(Path::to_owned),
            every: Duration::from_secs(1),
            told_within: Duration::from_secs(120),
            marks,
            matches: 100,
            conversations: 1000,
        };
        let (conversations, contacts) =
            (Conversations::new(store.clone()), Contacts::new(store.clone()));
        let stamps = Arc::new(Stamps::above(Stamp(newest.0 * 1000)));
        let clocks = (clock.clone(), stamps.clone());
        let (search, index) = Search::start(conversations, contacts, clocks, options).await;
        let is_told = AtomicBool::new(true);
        let outside = Arc::new(Searched { search: search.clone(), is_told });
        let desk = desk(store, clock, &stamps, outside.clone(), None).await;
        desk.recover().await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let keeping = tokio::spawn(search.run(index, stopping));
        Self { outside, desk, stop, keeping }
    }

    /// Leaves the index as it is.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.keeping.await.unwrap();
    }

    pub(crate) async fn hears(&self, from: &str, text: &str) {
        self.hears_of(vec![phone(from)], text).await;
    }

    async fn hears_of(&self, from: Vec<Handle>, text: &str) {
        let item = says(from, &format!("wamid.{text}"), text);
        self.desk.ingest(&account(), vec![item]).await.unwrap();
    }

    /// The contacts of whom so many are found, newest first.
    pub(crate) async fn people(&self, sought: Option<Sought>, wanted: usize) -> Vec<Contact> {
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

    pub(crate) async fn patch(&self, contact: &Contact, patch: ContactPatch) {
        let patch = ContactCommand::Patch(patch, None);
        self.desk.contact(TENANT, contact.id, patch).await.unwrap();
    }

    async fn count(&self, typed: &str) -> usize {
        let asked = Asked { wanted: Wanted::of(typed), ..Asked::default() };
        self.outside.search.find(admin(), asked, (0, 0)).await.unwrap().total
    }

    pub(crate) async fn finds(&self, typed: &str, wanted: usize) {
        let finding = async {
            while self.count(typed).await != wanted {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(600), finding).await;
        assert!(found.is_ok(), "{typed}: {} instead of {wanted}", self.count(typed).await);
    }
}

pub(crate) fn store() -> (Arc<dyn Store>, Clock) {
    let clock = Clock::standing_at(Timestamp(NOW));
    let now = clock.clone();
    (Arc::new(Memory::new(Arc::new(move || now.now()))), clock)
}

#[tokio::test(start_paused = true)]
async fn who_may_see_a_part_waits_for_the_store_once_for_many_conversations() {
    const MANY: usize = 100;
    let (memory, clock) = store();
    let is_slow = Arc::new(AtomicBool::new(false));
    let slow = is_slow.clone();
    let far = Faulty::new(memory, move |call| match call {
        Call::Get(table, _) if table.name == HEADS.name && slow.load(Ordering::Relaxed) => {
            Fate::Slow(Duration::from_secs(1))
        }
        _ => Fate::Done,
    });
    let store: Arc<dyn Store> = Arc::new(far.promising_as_below());
    let process = Process::start(&store, &clock, 1000).await;
    for n in 0..MANY {
        process.hears(&format!("49155500{n:02}"), &format!("hello {n}")).await;
    }
    process.finds("hello", MANY).await;
    is_slow.store(true, Ordering::Relaxed);
    let viewer = Viewer { permissions: Permissions::default(), ..admin() };
    let asked = Asked { wanted: Wanted::of("hello"), ..Asked::default() };
    let before = Instant::now();
    let found = process.outside.search.find(viewer, asked, (0, 0)).await.unwrap();
    assert_eq!(found.total, MANY);
    let waited = before.elapsed();
    assert!(waited < Duration::from_secs(10), "{waited:?} for {MANY} conversations");
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_and_never_told_is_found_once_its_conversation_is_read_again() {
    let (memory, clock) = store();
    let is_unknown = Arc::new(AtomicBool::new(false));
    let next = is_unknown.clone();
    let store: Arc<dyn Store> = Arc::new(
        Faulty::new(memory, move |call| match call {
            Call::Write(Write::Apply(_)) if next.swap(false, Ordering::Relaxed) => Fate::Applied,
            _ => Fate::Done,
        })
        .promising_as_below(),
    );
    let process = Process::start(&store, &clock, 100).await;
    process.hears("4915550001", "told").await;
    process.finds("told", 1).await;
    is_unknown.store(true, Ordering::Relaxed);
    let secret = says(vec![phone("4915550001")], "wamid.secret", "secretly");
    process.desk.ingest(&account(), vec![secret]).await.unwrap_err();
    process.finds("secretly", 1).await;
    // Who leaves in order owes nothing, and whoever is read again then has nothing to be looked at.
    process.desk.emptied().await;
    let conversations = Conversations::new(store.clone());
    for id in conversations.open_set(admin().tenant).await.unwrap() {
        process.desk.ask(admin(), id, None, Command::Look).await.unwrap();
    }
    assert_eq!(process.outside.search.oldest(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_once_everything_is_looked_through_whatever_was_committed_meanwhile() {
    let (memory, clock) = store();
    let process = Process::start(&memory, &clock, 100).await;
    process.hears("4915550001", "first").await;
    process.stop().await;
    let store = Faulty::new(memory, |call| match call {
        Call::Scan(scan) if *scan.table == DIRTY => Fate::Slow(Duration::from_millis(20)),
        _ => Fate::Done,
    });
    let store: Arc<dyn Store> = Arc::new(store.promising_as_below());
    let process = Process::start(&store, &clock, 100).await;
    let conversations = Conversations::new(store.clone());
    for id in conversations.open_set(admin().tenant).await.unwrap() {
        for n in 0..20 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let command = Command::SetTags { tags: vec![format!("t{n}")] };
            process.desk.ask(admin(), id, None, command).await.unwrap();
        }
    }
    process.finds("first", 1).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(process.outside.search.oldest(), Duration::ZERO);
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

pub(crate) fn tag(tag: &str) -> ContactPatch {
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
    // Both were made at the same time: either may be the older one.
    let (older, younger) = (contact.id.min(other.id), contact.id.max(other.id));
    assert_eq!((one.id, &one.absorbed[..]), (older, &[younger][..]));
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

#[tokio::test(start_paused = true)]
async fn what_was_committed_while_the_clock_was_ahead_is_found_by_a_new_index_before_that_time() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 100).await;
    let ahead = Timestamp(NOW + 2 * HOUR);
    clock.set(ahead);
    process.hears("4915550001", "early").await;
    clock.set(Timestamp(NOW));
    process.stop().await;
    let process = Process::start_in(None, &store, &clock, ahead, 100).await;
    process.finds("early", 1).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_after_the_clock_was_set_back_is_not_behind_the_index() {
    let (store, clock) = store();
    let directory = tempfile::tempdir().unwrap();
    let directory = Some(directory.path());
    let ahead = Timestamp(NOW + 2 * HOUR);
    clock.set(ahead);
    let process = Process::start_in(directory, &store, &clock, Timestamp(0), 100).await;
    process.hears("4915550001", "early").await;
    process.finds("early", 1).await;
    // As of a kill before the next round.
    process.outside.is_told.store(false, Ordering::Relaxed);
    clock.set(Timestamp(NOW));
    process.hears("4915550001", "right").await;
    process.stop().await;
    let process = Process::start_in(directory, &store, &clock, ahead, 100).await;
    process.finds("right", 1).await;
    process.finds("", 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_began_while_the_clock_was_ahead_is_looked_through_from_its_beginning() {
    let (store, clock) = store();
    let right = |hours| Timestamp((FIRST_HOUR + hours) * HOUR);
    clock.set(right(100));
    let process = Process::start(&store, &clock, 100).await;
    clock.set(right(3));
    process.hears("4915550001", "first").await;
    process.finds("first", 1).await;
    process.stop().await;
    clock.set(right(200));
    let process = Process::start(&store, &clock, 100).await;
    process.finds("first", 1).await;
}

async fn damage(store: &Arc<dyn Store>, table: &'static Table, key: Key) {
    let body = b"no such thing".to_vec();
    let changes = vec![storage::Change::Put { table, key, body, ttl: None }];
    store.apply(Batch { stamp: Stamp(i64::MAX), changes }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_in_nobody_s_way() {
    let (store, clock) = store();
    let process = Process::start(&store, &clock, 100).await;
    for (from, text) in [
        ("4915550001", "whole one"),
        ("4915550001", "damaged"),
        ("4915550001", "whole three"),
        ("4915550002", "headless"),
        ("4915550003", "whole four"),
    ] {
        process.hears(from, text).await;
    }
    process.stop().await;
    let conversations = Conversations::new(store.clone());
    let mut heads = Vec::new();
    for id in conversations.open_set(admin().tenant).await.unwrap() {
        heads.push(conversations.head(id).await.unwrap().unwrap());
    }
    let with = |text: &str| {
        let is_last = |head: &&Conversation| {
            head.last_message.as_ref().is_some_and(|last| last.text.as_deref() == Some(text))
        };
        heads.iter().find(is_last).unwrap()
    };
    let id = |head: &Conversation| Part::Uuid(*head.id.0.as_bytes());
    let second_message = vec![Part::Int(1), Part::Int(2)];
    let block = vec![id(with("whole three")), Part::Int(0)];
    damage(&store, &LOG, Key::new(block, second_message)).await;
    let process = Process::start(&store, &clock, 100).await;
    process.finds("", 4).await;
    process.finds("whole", 3).await;
    let headless = with("headless");
    damage(&store, &HEADS, Key::new(vec![id(headless)], Vec::new())).await;
    process.outside.search.woke(headless);
    process.hears("4915550003", "whole five").await;
    process.finds("whole", 4).await;
}

#[test]
fn what_is_shown_of_a_page_is_cut_where_it_holds_up_nobody() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (store, clock) = store();
        let process = Process::start(&store, &clock, 100).await;
        process.hears("4915550001", "a long text").await;
        process.finds("long", 1).await;
        let search = process.outside.search.clone();
        process.stop().await;
        let asked = Asked { wanted: Wanted::of("long"), ..Asked::default() };
        // The one thread for what takes its time does in turn: this, what the index is asked, something else.
        let (asks, may_ask) = std::sync::mpsc::channel::<()>();
        let before = tokio::task::spawn_blocking(move || may_ask.recv());
        let finding = tokio::spawn(async move { search.find(admin(), asked, (0, 1)).await });
        tokio::task::yield_now().await;
        let (begins, begun) = oneshot::channel();
        let (go, may_go) = std::sync::mpsc::channel::<()>();
        let other = tokio::task::spawn_blocking(move || {
            begins.send(()).unwrap();
            let _ = may_go.recv();
        });
        drop(asks);
        assert!(before.await.unwrap().is_err(), "until now");
        begun.await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!finding.is_finished(), "it was cut by who answers everybody");
        drop(go);
        other.await.unwrap();
        let found = finding.await.unwrap().unwrap();
        assert_eq!(found.messages[0].highlights[0].len(), 3);
    });
}

#[tokio::test(start_paused = true)]
async fn a_look_through_that_breaks_off_begins_again_where_it_began() {
    let (memory, clock) = store();
    let process = Process::start(&memory, &clock, 100).await;
    process.hears("4915550001", "oldest").await;
    clock.set(Timestamp(NOW + 2 * HOUR));
    process.hears("4915550001", "newest").await;
    process.stop().await;
    // The hour in between takes longer than a round, and behind it the store cannot be read once.
    let (slow, failing) = (hour(Timestamp(NOW + HOUR)), hour(Timestamp(NOW + 2 * HOUR)));
    let mut scans = 0;
    let is_of = |scan: &Scan, hour| *scan.table == DIRTY && scan.partition[1] == Part::Int(hour);
    let store = Faulty::new(memory, move |call| match call {
        Call::Scan(scan) if is_of(scan, slow) => Fate::Slow(Duration::from_millis(100)),
        Call::Scan(scan) if is_of(scan, failing) => {
            scans += 1;
            // The start itself has looked at each of the shards.
            if scans == 257 { Fate::Unavailable } else { Fate::Done }
        }
        _ => Fate::Done,
    });
    let store: Arc<dyn Store> = Arc::new(store.promising_as_below());
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_in(Some(directory.path()), &store, &clock, clock.now(), 100).await;
    process.finds("newest", 1).await;
    process.finds("oldest", 1).await;
}
