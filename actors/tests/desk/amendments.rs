//! Edits and deletions of a message whose row lies in another partition than their commit, on a store
//! that writes each partition for itself and fails: what was said last is there, what was deleted
//! is nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::desk::{Desk, DeskOptions};
use engine::channel::{Amend, Amender, Amendment, Inbound};
use engine::conversation::{Loaded, Need, Rules};
use engine::message::{BLOCK_SEQS, Content, MessageRow};
use engine::time::Timestamp;
use storage::conversations::COMMIT_FACTS_MAX;
use storage::dead_letters::Source;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::{Stamp, Store};

use crate::bench::{Bench, account, bsuid, phone, says};
use crate::identities::changes;
use crate::poison::{letters, retry_with};

const START: Timestamp = Timestamp(1_790_000_000_000);

fn amends(id: &str, what: Amend) -> Inbound {
    Inbound::Amendment(Amendment {
        customer: vec![phone("1")],
        by: Amender::Customer,
        target: "first".to_owned(),
        provider_id: Some(id.to_owned()),
        at: Some(START),
        what,
    })
}

/// A provider delivers until it is taken.
async fn deliver_all(bench: &Bench, items: &[Inbound]) {
    for _ in 0..20 {
        if bench.desk.ingest(&account(), items.to_vec()).await.is_ok() {
            return;
        }
    }
    panic!("it is taken in the end");
}

async fn deliver(bench: &Bench, item: &Inbound) {
    deliver_all(bench, std::slice::from_ref(item)).await;
}

/// The first message's row, and all that is kept of what was said in it, as text.
async fn kept(bench: &Bench) -> (MessageRow, String) {
    let head = bench.open().await.remove(0);
    let conversations = bench.conversations();
    let oldest = conversations.messages(&head, (2 + BLOCK_SEQS, 0), 1_000).await.unwrap();
    let row = oldest.last().unwrap().clone();
    assert_eq!(row.message.provider_message_id.as_deref(), Some("first"));
    let mut loaded = Loaded::default();
    let commits = conversations.commits(head.id, 1, 1_000).await.unwrap();
    let facts = commits.iter().flat_map(|commit| &commit.facts);
    for place in facts.filter_map(|recorded| recorded.fact.content()) {
        assert_ne!(place.block, row.place.block, "the row lies elsewhere");
        let need = Need::Content((head.id, place));
        conversations.load(account().id, need, &mut loaded).await.unwrap();
    }
    let all = format!("{row:?} {head:?} {commits:?} {:?}", loaded.contents);
    (row, all)
}

/// What is done to the first message: webhooks, one after the other.
type Done = [Vec<Inbound>];

/// All of it is done with this fate of the n-th write since. Answers what there is then, as [`kept`]
/// does, and how many writes there were.
async fn run(done: &Done, fault: Option<(usize, Fate)>) -> ((MessageRow, String), usize) {
    let clock = Clock::standing_at(START);
    let now = clock.clone();
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
    let writes = Arc::new(AtomicUsize::new(usize::MAX));
    let counted = writes.clone();
    let decide = move |call: &Call<'_>| {
        let armed = counted.load(Ordering::SeqCst);
        if !matches!(call, Call::Write(_)) || armed == usize::MAX {
            return Fate::Done;
        }
        counted.store(armed + 1, Ordering::SeqCst);
        fault.filter(|(at, _)| *at == armed).map_or(Fate::Done, |(_, fate)| fate)
    };
    let faulty = Arc::new(Faulty::new(memory.clone(), decide));
    let bench = Bench::over(faulty.clone(), clock.clone()).await;
    deliver(&bench, &says(vec![phone("1")], "first", "the first words")).await;
    let more: Vec<_> =
        (0..BLOCK_SEQS).map(|n| says(vec![phone("1")], &format!("m{n}"), "more")).collect();
    bench.desk.ingest(&account(), more).await.unwrap();
    writes.store(0, Ordering::SeqCst);
    for items in done {
        deliver_all(&bench, items).await;
    }
    faulty.land().await;
    drop(bench);
    // The same kind of store, without faults from now on.
    let bench = Bench::over(Arc::new(Faulty::new(memory.clone(), |_| Fate::Done)), clock).await;
    bench.desk.recover().await.unwrap();
    deliver_all(&bench, &done[0]).await;
    (kept(&bench).await, writes.load(Ordering::SeqCst))
}

/// The same, whichever write fails, and in which way.
async fn each(done: &Done, check: impl Fn(&MessageRow, &str, Option<(usize, Fate)>)) {
    let ((row, all), writes) = run(done, None).await;
    check(&row, &all, None);
    for at in 0..writes {
        for fate in [Fate::Unavailable, Fate::Lost, Fate::Torn(1), Fate::Behind(1), Fate::Late(3)] {
            let fault = Some((at, fate));
            let ((row, all), _) = run(done, fault).await;
            check(&row, &all, fault);
        }
    }
}

fn edit() -> Inbound {
    amends("edit", Amend::Edit(Content::text("the second words")))
}

#[tokio::test(start_paused = true)]
async fn what_was_said_last_is_there_and_what_was_deleted_is_nowhere_whichever_write_fails() {
    each(&[vec![edit()]], |row, _, fault| {
        assert_eq!(row.message.text.as_deref(), Some("the second words"), "{fault:?}");
        assert_eq!(row.earlier.len(), 1, "{fault:?}");
    })
    .await;
    let deletion = amends("deletion", Amend::Deletion);
    each(&[vec![edit()], vec![deletion]], |row, all, fault| {
        assert!(row.message.deleted_at.is_some(), "{fault:?}");
        assert!(!all.contains("words"), "{fault:?}: what was deleted is there");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_one_commit_does_to_a_message_is_all_there_whichever_write_fails() {
    let reaction = amends("reaction", Amend::Reaction(Some("👍".to_owned())));
    each(&[vec![edit(), reaction]], |row, _, fault| {
        assert_eq!(row.message.text.as_deref(), Some("the second words"), "{fault:?}");
        assert_eq!(row.earlier.len(), 1, "{fault:?}");
        assert_eq!(row.message.reactions.len(), 1, "{fault:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_by_an_id_that_is_not_known_yet_is_kept_and_retried_once_it_is() {
    let bench = Bench::new().await;
    let [old, new] = ["US.1", "US.2"].map(bsuid);
    deliver(&bench, &says(vec![old.clone()], "first", "a secret")).await;
    let Inbound::Amendment(deletion) = amends("d", Amend::Deletion) else { unreachable!() };
    let deletion = Inbound::Amendment(Amendment { customer: vec![new.clone()], ..deletion });
    for _ in 0..2 {
        deliver(&bench, &deletion).await;
    }
    let [letter] = &letters(&bench).await[..] else { panic!("one letter") };
    assert_eq!(letter.source, Source::Place);
    let account = account();
    let retried = || retry_with(&bench, letter, Some(&account), |_| Vec::new());
    let still = retried().await.expect("nobody knows yet who they are");
    assert_eq!((still.attempts, &still.reason), (1, &letter.reason));
    deliver(&bench, &changes(2, &[old], &[new])).await;
    assert_eq!(retried().await, None);
    assert_eq!(letters(&bench).await, []);
    let head = bench.open().await.remove(0);
    let rows = bench.conversations().messages(&head, (u64::MAX, 0), 10).await.unwrap();
    let is_first = |row: &&MessageRow| row.message.provider_message_id.as_deref() == Some("first");
    let first = rows.iter().find(is_first).unwrap();
    assert!(first.message.deleted_at.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_message_comes_with_it_also_where_that_is_more_than_a_commit_takes() {
    let mut bench = Bench::new().await;
    let (clock, stamps) = (Clock::standing_at(START), Arc::new(Stamps::above(Stamp(0))));
    let rules = Rules { parked_max: 2 * COMMIT_FACTS_MAX, ..DeskOptions::default().rules };
    let options = DeskOptions { rules, ..DeskOptions::default() };
    let (store, heard) = (bench.store.clone(), bench.heard.clone());
    bench.desk = Desk::start(store, clock, stamps, heard, options).await;
    deliver(&bench, &says(vec![phone("1")], "another", "hello")).await;
    let reacts = |n: usize| {
        let what = Amend::Reaction(Some(n.to_string()));
        let Inbound::Amendment(amendment) = amends(&format!("r{n}"), what) else { unreachable!() };
        let at = Some(START + Duration::from_secs(n as u64));
        Inbound::Amendment(Amendment { at, ..amendment })
    };
    let all = (0..COMMIT_FACTS_MAX).map(reacts).collect();
    bench.desk.ingest(&account(), all).await.unwrap();
    deliver(&bench, &says(vec![phone("1")], "first", "the first words")).await;
    let head = bench.open().await.remove(0);
    let rows = bench.conversations().messages(&head, (u64::MAX, 0), 1).await.unwrap();
    let last = (COMMIT_FACTS_MAX - 1).to_string();
    assert_eq!(rows[0].message.reactions.len(), 1);
    assert_eq!(rows[0].message.reactions[0].emoji, last);
}
