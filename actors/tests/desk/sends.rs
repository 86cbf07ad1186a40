//! Messages to the customer, as far as the desk goes: what is to be done outside, and what a
//! restart makes of it.

use std::convert::identity;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actors::clock::Clock;
use engine::channel::{Inbound, Outcome};
use engine::conversation::{Command, Draft, Effect, IdempotencyKey, Target};
use engine::fact::ConversationStatus;
use engine::id::{ConversationId, TenantId};
use engine::message::{Message, MessageStatus, Sender, SenderKind};
use engine::permission::Viewer;
use engine::saying::{Interactive, Saying};
use engine::time::Timestamp;
use serde_json::Map;
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::keys::hour;
use storage::memory::Memory;
use storage::tables::{HEADS, LOG};
use storage::{Batch, Change, Key, Part, Stamp, moving};
use uuid::Uuid;

use crate::bench::{Bench, Tuning, account, admin, phone, receipt, says};

pub(crate) fn draft(text: &str) -> Command {
    Command::Send(Draft {
        saying: Saying::Text(text.into()),
        reply_to: None,
        sender: Sender { kind: SenderKind::Agent, id: None, name: None },
        account_can_send: true,
    })
}

async fn opened() -> (Bench, ConversationId) {
    let bench = Bench::new().await;
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let id = bench.open().await[0].id;
    (bench, id)
}

async fn send(bench: &Bench, id: ConversationId, key: Option<u8>, text: &str) -> Message {
    let key = key.map(|key| IdempotencyKey { key: [key; 16], digest: [0; 16] });
    *bench.desk.ask(admin(), id, key, draft(text)).await.unwrap().message.unwrap()
}

async fn status(bench: &Bench, id: ConversationId, message: &Message) -> MessageStatus {
    let rows = bench.desk.messages(admin(), id, (u64::MAX, 0), 50).await.unwrap();
    rows.iter().find(|row| row.message.id == message.id).unwrap().message.status
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_finds_no_place_to_wait_in_is_a_dead_letter() {
    let (bench, _) = opened().await;
    // Sixteen may wait.
    bench.desk.ingest(&account(), (0..18).map(|n| receipt("1", n)).collect()).await.unwrap();
    let (dead, _) = bench.desk.letters(account().tenant, None, (0, 10), identity).await.unwrap();
    let raw: Vec<_> = dead.iter().map(|letter| letter.raw.as_str()).collect();
    assert_eq!(raw.len(), 2, "{raw:?}");
    for n in [16, 17] {
        assert!(raw.iter().any(|raw| raw.contains(&format!("theirs-{n}"))), "{raw:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_key_answers_the_same_message_also_after_a_restart() {
    let (mut bench, id) = opened().await;
    let first = send(&bench, id, Some(7), "one").await;
    assert_eq!(send(&bench, id, Some(7), "one").await.id, first.id);
    bench.restart().await;
    assert_eq!(send(&bench, id, Some(7), "one").await.id, first.id);
    assert_eq!(bench.open().await[0].messages, 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_newer_than_what_is_stored_of_its_conversation_is_answered() {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let memory = Arc::new(Memory::new(Arc::new(|| Timestamp(1_790_000_000_000))));
    // Of a store that promises little the head is not written with each commit.
    let bench = Bench::over(Arc::new(Faulty::new(memory, |_| Fate::Done)), clock).await;
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let id = bench.open().await[0].id;
    let first = send(&bench, id, None, "one").await;
    let Command::Send(answer) = draft("two") else { unreachable!("it is a send") };
    let answer = Command::Send(Draft { reply_to: Some(first.id), ..answer });
    let sent = bench.desk.ask(admin(), id, None, answer).await.unwrap().message.unwrap();
    assert_eq!(sent.reply_to_message_id, Some(first.id));
}

#[tokio::test(start_paused = true)]
async fn a_restart_makes_a_begun_send_unknown_and_hands_on_what_waits() {
    let (mut bench, id) = opened().await;
    let (first, second) =
        (send(&bench, id, None, "one").await, send(&bench, id, None, "two").await);
    let effects = std::mem::take(&mut *bench.heard.effects.lock().unwrap());
    let [(thread, _, Effect::Enqueue { message, place, .. })] = effects[..] else {
        panic!("only the first may go: {effects:?}")
    };
    assert_eq!(message, first.id);
    let begin = Command::BeginSend { message, place };
    assert!(bench.desk.tell(thread, Target::Conversation(id), begin).await.unwrap().changed);
    bench.restart().await;
    assert_eq!(status(&bench, id, &first).await, MessageStatus::Unknown);
    let effects = std::mem::take(&mut *bench.heard.effects.lock().unwrap());
    assert!(
        effects.iter().any(|(.., effect)| {
            matches!(effect, Effect::Enqueue { message, .. } if *message == second.id)
        }),
        "{effects:?}"
    );
    let outcome = Outcome::Sent { provider_id: "p1".into(), held: None };
    let end = Command::EndSend { message, place, attempt: 1, outcome };
    bench.desk.tell(thread, Target::Conversation(id), end).await.unwrap();
    assert_eq!(status(&bench, id, &first).await, MessageStatus::Sent);
}

/// A restart with a send under way, at which this read of a log fails, counted from 0. Answers
/// whether so many were made.
async fn wake_with_a_failing_read(nth: usize) -> bool {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let reads = Arc::new(AtomicUsize::new(usize::MAX / 2));
    let counted = reads.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Get(table, _) if table.name == LOG.name => {
            let read = counted.fetch_add(1, Ordering::Relaxed);
            if read == nth { Fate::Unavailable } else { Fate::Done }
        }
        _ => Fate::Done,
    };
    let mut bench = Bench::over(Arc::new(Faulty::new(memory, decide)), clock).await;
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let id = bench.open().await[0].id;
    let message = send(&bench, id, None, "one").await;
    let effects = std::mem::take(&mut *bench.heard.effects.lock().unwrap());
    let [(thread, _, Effect::Enqueue { message: first, place, .. })] = effects[..] else {
        panic!("it is handed on: {effects:?}")
    };
    let begin = Command::BeginSend { message: first, place };
    bench.desk.tell(thread, Target::Conversation(id), begin).await.unwrap();
    reads.store(0, Ordering::Relaxed);
    bench.restart().await;
    let met = reads.load(Ordering::Relaxed) > nth;
    // Somebody looks, perhaps twice: the first may hear of the failure.
    let _ = bench.desk.ask(admin(), id, None, Command::Look).await;
    assert_eq!(status(&bench, id, &message).await, MessageStatus::Unknown, "read {nth} failed");
    met
}

#[tokio::test(start_paused = true)]
async fn a_wake_that_a_failing_read_cut_short_is_made_up_for() {
    let mut nth = 0;
    while wake_with_a_failing_read(nth).await {
        nth += 1;
    }
    assert!(nth > 1, "a wake reads the log");
}

#[tokio::test(start_paused = true)]
async fn a_customer_is_shown_that_somebody_types_once_in_a_while_and_within_the_window() {
    let (bench, id) = opened().await;
    let mut late = says(vec![phone("2")], "m2", "hello");
    if let Inbound::Message(message) = &mut late {
        message.sent_at = Some(Timestamp(1_790_000_000_000) - Duration::from_secs(24 * 3600));
    }
    bench.desk.ingest(&account(), vec![late]).await.unwrap();
    let closed = bench.open().await.into_iter().find(|head| head.id != id).unwrap().id;
    let stranger = Viewer { tenant: TenantId(Uuid::from_u128(9)), ..admin() };
    let shown = async |viewer, id| {
        bench.heard.effects.lock().unwrap().clear();
        bench.desk.typing(viewer, id).await;
        let effects = std::mem::take(&mut *bench.heard.effects.lock().unwrap());
        effects.into_iter().map(|(.., effect)| effect).collect::<Vec<_>>()
    };
    assert_eq!(shown(stranger, id).await, [], "whoever may not see it shows nothing");
    assert_eq!(shown(admin(), closed).await, []);
    let typing = [Effect::ShowTyping { provider_id: "m1".into() }];
    assert_eq!(shown(admin(), id).await, typing);
    tokio::time::advance(Duration::from_secs(19)).await;
    assert_eq!(shown(admin(), id).await, []);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(shown(admin(), id).await, typing);
}

#[tokio::test(start_paused = true)]
async fn large_messages_at_once_are_cut_into_small_commits() {
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = largest.clone();
    let size = |change: &Change| match change {
        Change::Put { body, .. } => body.len(),
        Change::Delete { .. } | Change::Clear { .. } => 0,
    };
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(batch)) => {
            seen.fetch_max(batch.changes.iter().map(size).sum(), Ordering::Relaxed);
            // While one is written the others queue.
            Fate::Slow(Duration::from_millis(10))
        }
        _ => Fate::Done,
    };
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    let bench = Bench::over(Arc::new(Faulty::new(memory, decide)), clock).await;
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    let id = bench.open().await[0].id;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let Command::Send(draft) = draft("") else { unreachable!("it is a send") };
        let action = Map::from_iter([("cards".to_owned(), "c".repeat(20_000).into())]);
        let (kind, header, body, footer) = ("carousel".to_owned(), None, None, None);
        let saying = Saying::Interactive(Interactive { kind, header, body, footer, action });
        let desk = bench.desk.clone();
        let send = Command::Send(Draft { saying, ..draft });
        all.spawn(async move { desk.ask(admin(), id, None, send).await.unwrap() });
    }
    all.join_all().await;
    let largest = largest.load(Ordering::Relaxed);
    assert!((40_000..100_000).contains(&largest), "{largest} bytes in one write");
}

#[tokio::test(start_paused = true)]
async fn a_start_passes_over_what_it_cannot_read_and_takes_up_all_else() {
    let (bench, first) = opened().await;
    bench.desk.ingest(&account(), vec![says(vec![phone("2")], "m2", "hello")]).await.unwrap();
    let other = bench.open().await.into_iter().find(|head| head.id != first).unwrap().id;
    for id in [first, other] {
        send(&bench, id, None, "Hi").await;
    }
    let key = Key::new(vec![Part::Uuid(*first.0.as_bytes())], Vec::new());
    let damaged = Change::Put { table: &HEADS, key, body: b"damaged".to_vec(), ttl: None };
    let batch = Batch { stamp: Stamp(i64::MAX), changes: vec![damaged] };
    bench.store.apply(batch).await.unwrap();
    assert_eq!(bench.desk.recover().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_first_run_left_that_was_killed_before_it_had_looked_is_taken_up_hours_later() {
    let bench = Bench::new().await;
    bench.desk.begin().await.unwrap();
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    send(&bench, bench.open().await[0].id, None, "Hi").await;
    bench.clock.set(bench.clock.now() + Duration::from_secs(2 * 3600));
    let next = Bench::over(bench.store.clone(), bench.clock.clone()).await;
    assert_eq!(next.desk.recover().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_left_in_an_hour_that_is_still_to_come_by_a_clock_behind_is_taken_up() {
    let (bench, id) = opened().await;
    send(&bench, id, None, "Hi").await;
    let newest = bench.clock.now();
    let behind = Clock::standing_at(newest - Duration::from_secs(3 * 3600));
    let tuning = Tuning { newest, ..Tuning::default() };
    let next = Bench::tuned(bench.store.clone(), behind, tuning).await;
    assert_eq!(next.desk.recover().await.unwrap(), 1);
    // No mark has moved past what is left by that clock itself.
    next.desk.ingest(&account(), vec![says(vec![phone("2")], "m2", "hello")]).await.unwrap();
    let other = next.open().await.into_iter().find(|head| head.id != id).unwrap().id;
    send(&next, other, None, "Hi").await;
    let later = Bench::over(bench.store.clone(), bench.clock.clone()).await;
    assert_eq!(later.desk.recover().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_ever_is_found_by_each_start_and_has_none_look_through_all_hours_since() {
    let mut bench = Bench::new().await;
    bench.desk.begin().await.unwrap();
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
    send(&bench, bench.open().await[0].id, None, "Hi").await;
    for _ in 0..3 {
        let later = bench.clock.now() + Duration::from_secs(24 * 3600);
        bench.clock.set(later);
        bench.restart().await;
        assert_eq!(bench.desk.recover().await.unwrap(), 1);
        assert_eq!(bench.conversations().swept(0).await.unwrap(), Some(hour(later) - 1));
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_nothing_changes_nothing_when_its_key_comes_again() {
    for restarts in [false, true] {
        let (mut bench, id) = opened().await;
        let key = IdempotencyKey { key: [1; 16], digest: [0; 16] };
        let (open, closed) = (ConversationStatus::Open, ConversationStatus::Resolved);
        let set = async |bench: &Bench, key, status| {
            let command = Command::SetStatus { status };
            let answer = bench.desk.ask(admin(), id, key, command).await.unwrap();
            (answer.changed, answer.conversation.unwrap().status)
        };
        assert_eq!(set(&bench, Some(key), open).await, (false, open));
        assert_eq!(set(&bench, None, closed).await, (true, closed));
        if restarts {
            bench.restart().await;
        }
        assert_eq!(set(&bench, Some(key), open).await, (false, closed), "restarts: {restarts}");
        let other = IdempotencyKey { digest: [1; 16], ..key };
        let command = Command::SetStatus { status: open };
        bench.desk.ask(admin(), id, Some(other), command).await.unwrap_err();
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_finds_no_mark_begins_where_it_is() {
    let bench = Bench::new().await;
    let now = hour(bench.clock.now());
    // Another one was killed between its first two writes.
    bench.conversations().set_began(now, Stamp(1)).await.unwrap();
    bench.desk.recover().await.unwrap();
    assert_eq!(bench.conversations().swept(0).await.unwrap(), Some(now));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_while_the_clock_is_right_again_is_taken_up_where_it_was_ahead_or_behind() {
    let hours = |n: i64| Duration::from_secs(n.unsigned_abs() * 3600);
    for wrong in [5, -5] {
        let bench = Bench::new().await;
        let right = bench.clock.now();
        bench.desk.begin().await.unwrap();
        bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m1", "hello")]).await.unwrap();
        // The hourly look: with a clock that is ahead, or before one that goes back.
        bench.clock.set(right + hours(6) + if wrong > 0 { hours(wrong) } else { hours(0) });
        bench.desk.recover().await.unwrap();
        bench.clock.set(right + if wrong > 0 { hours(6) } else { hours(6 + wrong) });
        send(&bench, bench.open().await[0].id, None, "Hi").await;
        bench.clock.set(right + hours(7));
        bench.desk.recover().await.unwrap();
        let newest = right + hours(6 + wrong.max(0));
        let tuning = Tuning { newest, ..Tuning::default() };
        let next = Bench::tuned(bench.store.clone(), bench.clock.clone(), tuning).await;
        assert_eq!(next.desk.recover().await.unwrap(), 1, "{wrong} hours");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_derived_in_an_hour_that_is_still_to_come_by_a_clock_behind_is_not_exported() {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let memory = Memory::new(Arc::new(|| Timestamp(1_790_000_000_000)));
    let store = Arc::new(Faulty::new(Arc::new(memory), |_| Fate::Done));
    let bench = Bench::over(store.clone(), clock.clone()).await;
    bench.desk.begin().await.unwrap();
    // What follows from the second is not in the stored head.
    for id in ["m1", "m2"] {
        bench.desk.ingest(&account(), vec![says(vec![phone("1")], id, "hello")]).await.unwrap();
    }
    let behind = clock.now() - Duration::from_secs(3600);
    moving::refuse_unfinished(store, behind).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_commit_that_came_too_late_is_taken_when_it_is_delivered_again() {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let memory = Arc::new(Memory::new(Arc::new(|| Timestamp(1_790_000_000_000))));
    let is_message = |write: &Write| {
        let Write::Apply(batch) = write else { return false };
        batch.changes.iter().any(|change| {
            matches!(change, Change::Put { body, .. } if body.windows(7).any(|at| at == b"belated"))
        })
    };
    let mut is_late = false;
    let store = Arc::new(Faulty::new(memory, move |call| match call {
        Call::Write(write) if !is_late && is_message(write) => {
            is_late = true;
            Fate::Late(usize::MAX)
        }
        _ => Fate::Done,
    }));
    let bench = Bench::over(store.clone(), clock).await;
    let hears = async |id: &str, text: &str| {
        bench.desk.ingest(&account(), vec![says(vec![phone("1")], id, text)]).await
    };
    // So many that an id which is not remembered is looked up, also after a wake.
    for n in 0..300 {
        hears(&format!("m{n}"), "hello").await.unwrap();
    }
    hears("late", "belated").await.unwrap_err();
    let id = bench.open().await[0].id;
    let tags = Command::SetTags { tags: vec!["meanwhile".to_owned()] };
    bench.desk.ask(admin(), id, None, tags).await.unwrap();
    assert_eq!(store.land().await, 1);
    hears("late", "belated").await.unwrap();
    let texts = bench.texts(id).await;
    assert_eq!((texts.len(), &*texts[300]), (301, "belated"));
}

#[tokio::test(start_paused = true)]
async fn what_a_wake_hands_on_is_of_its_case_also_when_another_is_asked_for_first() {
    let (mut bench, first) = opened().await;
    let status = ConversationStatus::Resolved;
    bench.desk.ask(admin(), first, None, Command::SetStatus { status }).await.unwrap();
    bench.clock.set(bench.clock.now() + Duration::from_secs(30 * 24 * 3600));
    bench.desk.ingest(&account(), vec![says(vec![phone("1")], "m2", "hello")]).await.unwrap();
    let second = bench.open().await[0].id;
    assert_ne!(first, second);
    let message = send(&bench, second, None, "one").await;
    bench.rise().await;
    let edit = Command::EditTags { add: vec!["vip".into()], remove: Vec::new() };
    bench.desk.ask(admin(), first, None, edit).await.unwrap();
    let effects = std::mem::take(&mut *bench.heard.effects.lock().unwrap());
    let of = effects.iter().find_map(|(_, of, effect)| match effect {
        Effect::Enqueue { message: queued, .. } if *queued == message.id => Some(*of),
        _ => None,
    });
    assert_eq!(of, Some(second), "{effects:?}");
}
