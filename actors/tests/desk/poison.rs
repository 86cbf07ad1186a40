//! Bugs: what panics costs what it is about, and is set aside until it is mended.

use std::collections::BTreeMap;
use std::convert::identity;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::failure::{Failure, Full};
use engine::account::Account;
use engine::channel::{Import, Imported, Inbound};
use engine::conversation::{
    Answer, Command, Context, Conversation, Decision, Effect, Envelope, Refused, State,
};
use engine::id::{ConversationId, MessageId, ThreadId};
use engine::message::{MessageKind, MessageRow, MessageStatus};
use engine::time::Timestamp;
use storage::dead_letters::{DeadLetter, LetterLimits, Source};
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::{Stamp, Store, Table};

use crate::bench::{
    Bench, TENANT, Tuning, account, account_of, admin, block_on, phone, says, tuned,
};
use crate::pages::is_read_anew;

/// What the decider panics on, and how often it did.
static BUGS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

/// The engine's decider with a bug for each text, or tag, in [`BUGS`].
fn fragile(
    state: &State,
    envelope: &Envelope,
    context: &mut Context<'_>,
) -> Result<Decision, Refused> {
    let word = match &envelope.command {
        Command::Receive(message) => message.content.text.clone(),
        Command::SetTags { tags } => tags.first().cloned(),
        Command::Import(import) => import.messages[0].content.text.clone(),
        Command::Wake { .. } => Some(format!("wake of {}", state.thread.account)),
        _ => None,
    };
    let is_bug = word.is_some_and(|word| {
        let mut bugs = BUGS.lock().unwrap_or_else(PoisonError::into_inner);
        bugs.get_mut(&word).map(|panics| *panics += 1).is_some()
    });
    assert!(!is_bug, "a bug of the decider");
    engine::conversation::decide(state, envelope, context)
}

fn breaks_on(word: &str) {
    BUGS.lock().unwrap_or_else(PoisonError::into_inner).insert(word.to_owned(), 0);
}

/// The bug is mended. Answers how often it was met.
fn mended(word: &str) -> u32 {
    BUGS.lock().unwrap_or_else(PoisonError::into_inner).remove(word).unwrap()
}

fn memory() -> (Arc<dyn Store>, Clock) {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    (Arc::new(Memory::new(Arc::new(move || now.now()))), clock)
}

pub(crate) async fn bench() -> Bench {
    let (store, clock) = memory();
    fragile_over(store, clock).await
}

async fn fragile_over(store: Arc<dyn Store>, clock: Clock) -> Bench {
    Bench::tuned(store, clock, Tuning { decide: fragile, ..Tuning::default() }).await
}

pub(crate) fn message(from: &str, text: &str) -> Inbound {
    says(vec![phone(from)], &format!("{from}-{text}"), text)
}

pub(crate) async fn takes(bench: &Bench, items: Vec<Inbound>) {
    bench.desk.ingest(&account(), items).await.unwrap();
}

pub(crate) async fn letters(bench: &Bench) -> Vec<DeadLetter> {
    bench.desk.letters(TENANT, None, (0, 100), identity).await.unwrap().0
}

async fn retry(bench: &Bench, letter: DeadLetter) -> Option<DeadLetter> {
    retry_with(bench, &letter, Some(&account()), |_| Vec::new()).await
}

pub(crate) async fn retry_with(
    bench: &Bench,
    letter: &DeadLetter,
    account: Option<&Account>,
    decode: impl FnOnce(&str) -> Vec<Inbound>,
) -> Option<DeadLetter> {
    let retrying = bench.desk.take_up(TENANT, letter.id).await.unwrap();
    bench.desk.retry(retrying, account, decode).await.unwrap()
}

async fn ask(bench: &Bench, id: ConversationId, command: Command) -> Result<Answer, Failure> {
    bench.desk.ask(admin(), id, None, command).await
}

/// The texts of a customer's conversation, and its id.
pub(crate) async fn said(bench: &Bench, from: &str) -> (Vec<String>, ConversationId) {
    let open = bench.open().await;
    let head = open.iter().find(|head| head.contact_phone.as_deref() == Some(from)).unwrap();
    (bench.texts(head.id).await, head.id)
}

fn tags(word: &str) -> Command {
    Command::SetTags { tags: vec![word.to_owned()] }
}

#[tokio::test(start_paused = true)]
async fn a_page_of_a_parked_conversation_is_read_each_time() {
    let bench = bench().await;
    breaks_on("unkept");
    takes(&bench, vec![message("1", "before"), message("1", "unkept")]).await;
    let id = said(&bench, "1").await.1;
    for _ in 0..2 {
        assert!(is_read_anew(&bench.desk, id).await);
    }
    mended("unkept");
    assert_eq!(retry(&bench, letters(&bench).await.remove(0)).await, None);
    assert!(is_read_anew(&bench.desk, id).await);
    assert!(!is_read_anew(&bench.desk, id).await);
}

#[tokio::test(start_paused = true)]
async fn what_the_decider_panics_on_parks_its_conversation_until_it_is_retried_after_the_fix() {
    let mut bench = bench().await;
    breaks_on("poison");
    let webhook = [("1", "before"), ("2", "hello"), ("1", "poison"), ("3", "hi"), ("1", "behind")];
    takes(&bench, webhook.map(|(from, text)| message(from, text)).into()).await;
    assert_eq!(said(&bench, "2").await.0, ["hello"]);
    assert_eq!(said(&bench, "3").await.0, ["hi"]);
    let (texts, id) = said(&bench, "1").await;
    assert_eq!(texts, ["before"]);
    let [poison] = &letters(&bench).await[..] else { panic!("one letter") };
    assert_eq!((poison.source, poison.attempts), (Source::Decide, 0));
    assert!(poison.thread.is_some() && poison.raw.contains("\"poison\""), "{poison:?}");
    // What comes now waits, also over a restart; what people do is refused, and reading works.
    takes(&bench, vec![message("1", "later"), message("2", "again")]).await;
    bench.restart().await;
    takes(&bench, vec![message("1", "latest"), message("1", "poison")]).await;
    assert!(matches!(ask(&bench, id, tags("vip")).await, Err(Failure::Parked)));
    let look = ask(&bench, id, Command::Look).await.unwrap();
    assert_eq!(look.conversation.unwrap().messages, 1);
    assert_eq!(said(&bench, "1").await.0, ["before"]);
    assert_eq!(said(&bench, "2").await.0, ["hello", "again"]);
    ask(&bench, said(&bench, "2").await.1, tags("vip")).await.unwrap();
    // A retry before the fix changes nothing but its count.
    let still = retry(&bench, letters(&bench).await.remove(0)).await.unwrap();
    assert_eq!((still.attempts, still.source), (1, Source::Decide));
    assert_eq!(letters(&bench).await, std::slice::from_ref(&still));
    assert!(matches!(ask(&bench, id, tags("vip")).await, Err(Failure::Parked)));
    assert_eq!(mended("poison"), 6, "three times at first, three at the retry");
    assert_eq!(retry(&bench, still).await, None);
    drained(&bench, "1", 5).await;
    let texts = said(&bench, "1").await.0;
    assert_eq!(texts, ["before", "poison", "behind", "later", "latest"]);
    assert_eq!(letters(&bench).await, []);
    ask(&bench, id, tags("vip")).await.unwrap();
    takes(&bench, vec![message("1", "and on")]).await;
    assert_eq!(said(&bench, "1").await.0.len(), 6);
}

/// Waits until a customer's conversation has so many messages.
async fn drained(bench: &Bench, from: &str, messages: usize) {
    let drained = async {
        while said(bench, from).await.0.len() < messages {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(600), drained).await.expect("it is drained");
}

#[tokio::test(start_paused = true)]
async fn what_waited_behind_one_poison_may_be_poison_itself() {
    let bench = bench().await;
    breaks_on("first poison");
    breaks_on("second poison");
    let texts = ["first poison", "between", "second poison", "last"];
    takes(&bench, texts.map(|text| message("1", text)).into()).await;
    mended("first poison");
    assert_eq!(retry(&bench, letters(&bench).await.remove(0)).await, None);
    drained(&bench, "1", 2).await;
    let second = loop {
        match letters(&bench).await.pop() {
            Some(letter) => break letter,
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert!(second.raw.contains("second poison"));
    assert_eq!(said(&bench, "1").await.0, ["first poison", "between"]);
    mended("second poison");
    assert_eq!(retry(&bench, second).await, None);
    drained(&bench, "1", 4).await;
    assert_eq!(said(&bench, "1").await.0, texts);
    assert_eq!(letters(&bench).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_person_s_command_that_panics_is_refused_and_parks_nothing() {
    let bench = bench().await;
    takes(&bench, vec![message("1", "hello")]).await;
    let (_, id) = said(&bench, "1").await;
    breaks_on("a bad tag");
    assert!(matches!(ask(&bench, id, tags("a bad tag")).await, Err(Failure::Panicked)));
    assert_eq!(mended("a bad tag"), 3);
    ask(&bench, id, tags("a bad tag")).await.unwrap();
    takes(&bench, vec![message("1", "more")]).await;
    assert_eq!(said(&bench, "1").await.0, ["hello", "more"]);
    assert_eq!(letters(&bench).await, []);
}

/// A store that panics while this says so.
fn breaking(is_broken: impl Fn(&Call<'_>) -> bool + Send + 'static) -> (Arc<dyn Store>, Clock) {
    let (memory, clock) = memory();
    let decide = move |call: &Call<'_>| {
        assert!(!is_broken(call), "a bug of the store");
        Fate::Done
    };
    (Arc::new(Faulty::new(memory, decide).promising_as_below()), clock)
}

/// Whether a call reads this table.
fn reads(call: &Call<'_>, table: &Table) -> bool {
    match call {
        Call::Get(of, _) => of.name == table.name,
        Call::Scan(scan) => scan.table.name == table.name,
        Call::Write(_) => false,
    }
}

/// A switch that a store looks at.
type Switch = Arc<AtomicBool>;

fn switched(switch: &Switch, table: &'static Table) -> (Arc<dyn Store>, Clock) {
    let switch = switch.clone();
    breaking(move |call| reads(call, table) && switch.load(Ordering::Relaxed))
}

fn set(switch: &Switch, is_broken: bool) {
    switch.store(is_broken, Ordering::Relaxed);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_cannot_be_loaded_is_parked_and_does_not_crash_in_a_loop() {
    let switch = Switch::default();
    let (store, clock) = switched(&switch, &storage::tables::RECENT);
    let mut bench = fragile_over(store, clock).await;
    takes(&bench, vec![message("1", "before")]).await;
    let (_, id) = said(&bench, "1").await;
    bench.restart().await;
    set(&switch, true);
    takes(&bench, vec![message("1", "later"), message("1", "latest")]).await;
    let [letter] = &letters(&bench).await[..] else { panic!("one letter") };
    assert_eq!((letter.source, letter.raw.as_str()), (Source::Load, ""));
    assert!(ask(&bench, id, Command::Look).await.is_ok(), "it is read as it is stored");
    assert!(matches!(ask(&bench, id, tags("vip")).await, Err(Failure::Parked)));
    let still = retry(&bench, letter.clone()).await.unwrap();
    assert_eq!(still.attempts, 1);
    set(&switch, false);
    bench.restart().await;
    assert_eq!(retry(&bench, still).await, None);
    drained(&bench, "1", 3).await;
    assert_eq!(said(&bench, "1").await.0, ["before", "later", "latest"]);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_whose_wake_panics_is_parked() {
    let mut bench = bench().await;
    let account = account_of(TENANT, 77);
    bench.desk.ingest(&account, vec![message("1", "before")]).await.unwrap();
    bench.restart().await;
    let word = format!("wake of {}", account.id);
    breaks_on(&word);
    bench.desk.ingest(&account, vec![message("1", "later")]).await.unwrap();
    assert_eq!(mended(&word), 3);
    let letter = letters(&bench).await.remove(0);
    assert_eq!(letter.source, Source::Load);
    assert_eq!(retry(&bench, letter).await, None);
    drained(&bench, "1", 2).await;
    assert_eq!(said(&bench, "1").await.0, ["before", "later"]);
}

#[tokio::test(start_paused = true)]
async fn an_item_whose_place_is_not_found_without_a_panic_is_a_dead_letter_and_its_neighbours_are_not()
 {
    for table in [&storage::tables::NAMES, &storage::tables::CONTACTS] {
        let switch = Switch::default();
        let (store, clock) = switched(&switch, table);
        let bench = fragile_over(store, clock).await;
        takes(&bench, vec![message("2", "known")]).await;
        set(&switch, true);
        takes(&bench, vec![message("2", "one"), message("1", "lost"), message("2", "two")]).await;
        assert_eq!(said(&bench, "2").await.0, ["known", "one", "two"], "{}", table.name);
        let letter = letters(&bench).await.remove(0);
        assert_eq!(letter.source, Source::Place);
        assert!(retry(&bench, letter.clone()).await.is_some());
        set(&switch, false);
        assert_eq!(retry(&bench, letter).await, None);
        assert_eq!(said(&bench, "1").await.0, ["lost"]);
        assert_eq!(letters(&bench).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_history_on_which_the_decider_panics_is_a_dead_letter_and_parks_nothing() {
    let bench = bench().await;
    takes(&bench, vec![message("1", "hello")]).await;
    breaks_on("poison of long ago");
    let part = |from: &str, text: &str| {
        let Inbound::Message(said) = message(from, text) else { panic!("a message") };
        let imported = Imported {
            provider_id: format!("old-{from}"),
            sent_at: Some(Timestamp(1_780_000_000_000)),
            is_ours: false,
            author: None,
            status: MessageStatus::Received,
            content: said.content,
            reply_to: None,
            forwarded: false,
        };
        Import { customer: vec![phone(from)], phase: Some(0), messages: vec![imported] }
    };
    let history = vec![part("1", "poison of long ago"), part("2", "old times")];
    bench.desk.ingress().import(&account(), history).await.unwrap();
    assert_eq!(mended("poison of long ago"), 3);
    let letter = letters(&bench).await.remove(0);
    assert_eq!((letter.source, letter.thread), (Source::Place, None));
    assert!(letter.raw.contains("poison of long ago"));
    takes(&bench, vec![message("1", "more")]).await;
    assert_eq!(said(&bench, "1").await.0, ["hello", "more"]);
    assert_eq!(retry(&bench, letter).await, None);
    assert_eq!(letters(&bench).await, []);
    let known = |id: &'static str| {
        let conversations = bench.conversations();
        async move { conversations.reference(account().id, id).await.unwrap().is_some() }
    };
    assert!(known("old-1").await && known("old-2").await);
}

#[tokio::test(start_paused = true)]
async fn what_the_decider_panics_on_is_kept_also_where_its_conversation_was_parked_meanwhile() {
    let (switch, (memory, clock)) = (Switch::default(), memory());
    let is_slow = switch.clone();
    let decide = move |call: &Call<'_>| match reads(call, &storage::tables::RECENT)
        && is_slow.load(Ordering::Relaxed)
    {
        true => Fate::Slow(Duration::from_secs(10)),
        false => Fate::Done,
    };
    let store = Arc::new(Faulty::new(memory, decide).promising_as_below());
    let patience = Duration::from_secs(600);
    let tuning = Tuning { decide: fragile, patience, ..Tuning::default() };
    let mut bench = Bench::tuned(store, clock, tuning).await;
    takes(&bench, vec![message("1", "before")]).await;
    let thread = bench.open().await[0].thread;
    bench.restart().await;
    breaks_on("on its way");
    set(&switch, true);
    let desk = bench.desk.clone();
    let taken =
        tokio::spawn(
            async move { desk.ingest(&account(), vec![message("1", "on its way")]).await },
        );
    // It has come to its conversation, which is still being loaded.
    tokio::time::sleep(Duration::from_secs(1)).await;
    bench.desk.waiting().hold(thread);
    taken.await.unwrap().unwrap();
    assert_eq!(mended("on its way"), 3);
    let letter = letters(&bench).await.pop().expect("what was acknowledged is kept");
    assert_eq!(letter.source, Source::Decide);
    assert_eq!(retry(&bench, letter).await, None);
    assert_eq!(said(&bench, "1").await.0, ["before", "on its way"]);
}

/// What happens outside, with a bug while the switch is on.
struct Outside(Switch);

impl actors::world::Outside for Outside {
    fn follow(&self, _: &Committed) {
        assert!(!self.0.load(Ordering::Relaxed), "a bug outside");
    }

    fn woke(&self, _: &Conversation, _: bool) {}

    fn act(&self, _: &Conversation, _: Effect, _: Option<&MessageRow>) {}

    fn held(&self, _: ThreadId) -> Vec<MessageId> {
        Vec::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_conversation_whose_actor_ends_in_panics_again_and_again_is_parked() {
    let (switch, (store, clock)) = (Switch::default(), memory());
    let mut bench = Bench::over(store.clone(), clock.clone()).await;
    let (stamps, outside) = (Arc::new(Stamps::above(Stamp(0))), Arc::new(Outside(switch.clone())));
    bench.desk = tuned(&store, &clock, &stamps, outside, Tuning::default()).await;
    takes(&bench, vec![message("1", "before"), message("2", "hello")]).await;
    set(&switch, true);
    for text in ["one", "two", "three"] {
        let item = || vec![message("1", text)];
        let first = bench.desk.ingest(&account(), item()).await;
        assert!(matches!(first, Err(Failure::Unavailable)), "its answer was lost: {first:?}");
        // It was durable, and is known when it comes again.
        while bench.desk.ingest(&account(), item()).await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    let letter = letters(&bench).await.remove(0);
    assert_eq!(letter.source, Source::Load);
    takes(&bench, vec![message("1", "later")]).await;
    set(&switch, false);
    takes(&bench, vec![message("2", "again")]).await;
    assert_eq!(said(&bench, "1").await.0, ["before", "one", "two", "three"]);
    assert_eq!(said(&bench, "2").await.0, ["hello", "again"]);
    assert_eq!(retry(&bench, letter).await, None);
    drained(&bench, "1", 5).await;
    assert_eq!(said(&bench, "1").await.0, ["before", "one", "two", "three", "later"]);
}

#[tokio::test(start_paused = true)]
async fn where_every_dead_letter_parks_a_conversation_the_next_poison_is_not_acknowledged() {
    let (store, clock) = memory();
    let dead_letters = LetterLimits { letters: 1, bytes: 1 << 20 };
    let tuning = Tuning { decide: fragile, dead_letters, ..Tuning::default() };
    let bench = Bench::tuned(store, clock, tuning).await;
    breaks_on("one too many");
    takes(&bench, vec![message("1", "one too many")]).await;
    let second = || vec![message("2", "one too many")];
    let refused = bench.desk.ingest(&account(), second()).await.unwrap_err();
    assert!(matches!(refused, Failure::Busy { full: Full::DeadLetters, .. }), "{refused:?}");
    takes(&bench, vec![message("2", "fine")]).await;
    assert_eq!(said(&bench, "2").await.0, ["fine"]);
    mended("one too many");
    assert_eq!(retry(&bench, letters(&bench).await.remove(0)).await, None);
    takes(&bench, second()).await;
    assert_eq!(said(&bench, "2").await.0, ["fine", "one too many"]);
}

/// A message on which the decider panics, and one behind it, each delivered until it is
/// acknowledged, while this becomes of one write; then the program is mended and starts again.
/// Answers how many writes there were.
async fn parked_on(fault: Option<(usize, Fate)>) -> usize {
    let (memory, clock) = memory();
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = writes.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Write(_) => {
            let n = counted.fetch_add(1, Ordering::Relaxed);
            fault.filter(|(at, _)| *at == n).map_or(Fate::Done, |(_, fate)| fate)
        }
        Call::Get(..) | Call::Scan(_) => Fate::Done,
    };
    let faulty = Arc::new(Faulty::new(memory.clone(), decide));
    let bench = fragile_over(faulty.clone(), clock.clone()).await;
    let texts = ["before", "poison under faults", "behind"];
    for text in texts {
        while bench.desk.ingest(&account(), vec![message("1", text)]).await.is_err() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    faulty.land().await;
    drop(bench);
    let mended = Bench::over(Arc::new(Faulty::new(memory, |_| Fate::Done)), clock).await;
    mended.desk.recover().await.unwrap();
    for letter in letters(&mended).await {
        assert_eq!(retry(&mended, letter).await, None, "{fault:?}");
    }
    drained(&mended, "1", 3).await;
    assert_eq!(said(&mended, "1").await.0, texts, "{fault:?}");
    assert_eq!(mended.desk.waiting().threads(), 0);
    writes.load(Ordering::Relaxed)
}

#[test]
fn whatever_becomes_of_a_write_what_is_parked_is_neither_lost_nor_overtaken() {
    let run = |fault| block_on(parked_on(fault));
    breaks_on("poison under faults");
    let fates = [
        Fate::Unavailable,
        Fate::Applied,
        Fate::Lost,
        Fate::Torn(1),
        Fate::Torn(2),
        Fate::Behind(1),
        Fate::Late(3),
    ];
    for write in 0..run(None) {
        for fate in fates {
            run(Some((write, fate)));
        }
    }
    mended("poison under faults");
}

#[test]
fn items_are_kept_and_read_back_whole() {
    let item = message("1", "hello");
    let Inbound::Message(known) = &item else { panic!("a message") };
    assert_eq!(known.content.kind, MessageKind::Text);
    let raw = serde_json::to_string(&item).unwrap();
    assert_eq!(serde_json::from_str::<Inbound>(&raw).unwrap(), item);
}
