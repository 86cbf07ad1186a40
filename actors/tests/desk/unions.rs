//! Who is made one by itself, who is only suggested to be, and what old ids still find.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::clock::Clock;
use engine::channel::{Handle, Inbound, Receipt};
use engine::contact::{Contact, MergeReason};
use engine::conversation::{Command, Conversation};
use engine::id::{TenantId, ThreadId};
use engine::message::MessageStatus;
use engine::time::Timestamp;
use storage::conversations::Conversations;
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;
use storage::tables::{CONTACTS, LOG, NAMES, THREADS};
use storage::{Batch, Change, Part, Store};
use uuid::Uuid;

use crate::bench::{Bench, TENANT, account, account_of, admin, bsuid, phone};
use crate::identities::{changes, is_one, writes, written};

async fn deliver(bench: &Bench, item: Inbound) {
    bench.desk.ingest(&account(), vec![item]).await.unwrap();
}

/// The conversation whose newest message says this.
async fn open(bench: &Bench, text: &str) -> Conversation {
    let says = |head: &Conversation| {
        head.last_message.as_ref().is_some_and(|last| last.text.as_deref() == Some(text))
    };
    bench.open().await.into_iter().find(says).unwrap()
}

/// Somebody at the desk does something in the conversation whose newest message says this.
async fn work_on(bench: &Bench, text: &str) {
    let tags = Command::SetTags { tags: vec!["vip".into()] };
    bench.desk.ask(admin(), open(bench, text).await.id, None, tags).await.unwrap();
}

/// The contact that has this handle, with suggestions as they are shown.
async fn contact(bench: &Bench, handle: &Handle) -> Contact {
    let has = |contact: &Contact| contact.identities.iter().any(|i| i.handle() == *handle);
    let mut contact = bench.contacts().await.into_iter().find(has).unwrap();
    contact.merge_suggestions = bench.desk.merge_suggestions(&contact).await.unwrap();
    contact
}

#[tokio::test(start_paused = true)]
async fn two_hundred_first_webhooks_with_mixed_handles_end_in_one_open_conversation() {
    let bench = Bench::new().await;
    let (b, p) = (bsuid("US.1"), phone("15550001"));
    let sets = [vec![p.clone()], vec![b.clone()], vec![b, p]];
    let mut all = tokio::task::JoinSet::new();
    for n in 0..200_usize {
        let (desk, item) = (bench.desk.clone(), writes(1, &sets[n % 3], &format!("{n:03}")));
        all.spawn(async move { desk.ingest(&account(), vec![item]).await });
    }
    for answer in all.join_all().await {
        answer.unwrap();
    }
    let texts: Vec<_> = (0..200).map(|n| format!("{n:03}")).collect();
    is_one(&bench, &texts, 0, "mixed handles").await;
}

#[tokio::test(start_paused = true)]
async fn where_people_worked_on_both_it_is_suggested_and_the_first_handle_routes() {
    let bench = Bench::new().await;
    let (b, p) = (bsuid("US.1"), phone("15550001"));
    for (handle, text) in [(&p, "phone"), (&b, "id")] {
        deliver(&bench, writes(1, std::slice::from_ref(handle), text)).await;
        work_on(&bench, text).await;
    }
    let of_id = open(&bench, "id").await.id;
    for text in ["both", "both again"] {
        deliver(&bench, writes(2, &[b.clone(), p.clone()], text)).await;
        assert_eq!(open(&bench, text).await.id, of_id);
    }
    let (one, other) = (contact(&bench, &b).await, contact(&bench, &p).await);
    for (contact, with) in [(&one, &other), (&other, &one)] {
        let suggested = &contact.merge_suggestions;
        assert_eq!(suggested.len(), 1, "once");
        assert_eq!(suggested[0].contact_id, with.id);
        assert_eq!((suggested[0].reason, &suggested[0].identity), (MergeReason::NamedTogether, &p));
    }
    assert_eq!(bench.open().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_conversation_that_people_worked_on_stays_though_it_is_the_younger_one() {
    let bench = Bench::new().await;
    let (b, p) = (bsuid("US.1"), phone("15550001"));
    deliver(&bench, writes(1, std::slice::from_ref(&p), "phone")).await;
    deliver(&bench, writes(2, std::slice::from_ref(&b), "id")).await;
    work_on(&bench, "id").await;
    let worked_on = open(&bench, "id").await;
    deliver(&bench, writes(3, &[b.clone(), p.clone()], "both")).await;
    let open = open(&bench, "both").await;
    assert_eq!((open.id, &open.tags), (worked_on.id, &vec!["vip".to_owned()]));
    assert_eq!(open.unread, 3, "what was unread there is unread here");
    let texts = ["both", "id", "phone"].map(str::to_owned);
    is_one(&bench, &texts, 0, "worked on").await;
    deliver(&bench, writes(4, std::slice::from_ref(&p), "phone again")).await;
    assert_eq!(self::open(&bench, "phone again").await.id, worked_on.id);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_another_contact_has_is_suggested_and_nothing_is_moved() {
    let bench = Bench::new().await;
    let (p1, p2) = (phone("15550001"), phone("15550002"));
    deliver(&bench, writes(1, std::slice::from_ref(&p1), "old")).await;
    deliver(&bench, writes(2, std::slice::from_ref(&p2), "other")).await;
    let (old, other) = (open(&bench, "old").await.id, open(&bench, "other").await.id);
    for _ in 0..2 {
        let change = changes(3, std::slice::from_ref(&p1), std::slice::from_ref(&p2));
        deliver(&bench, change).await;
    }
    let (one, two) = (contact(&bench, &p1).await, contact(&bench, &p2).await);
    assert_ne!(one.id, two.id);
    assert_eq!((one.phone(), two.phone()), (None, Some("15550002")));
    for (contact, with) in [(&one, &two), (&two, &one)] {
        let [suggested] = &contact.merge_suggestions[..] else { panic!("{contact:?}") };
        assert_eq!((suggested.contact_id, suggested.reason), (with.id, MergeReason::NumberChanged));
    }
    deliver(&bench, writes(4, std::slice::from_ref(&p2), "other again")).await;
    assert_eq!(open(&bench, "other again").await.id, other);
    deliver(&bench, writes(2, std::slice::from_ref(&p1), "late")).await;
    assert_eq!(open(&bench, "late").await.id, old, "an old number still finds its thread");
    // The other one leaves the number: that they are one holds no more.
    let p3 = phone("15550003");
    deliver(&bench, changes(5, std::slice::from_ref(&p2), std::slice::from_ref(&p3))).await;
    for handle in [&p1, &p3] {
        assert_eq!(contact(&bench, handle).await.merge_suggestions, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_that_was_given_to_somebody_else_is_theirs_from_then_on() {
    let mut bench = Bench::new().await;
    let (b1, b9) = (bsuid("US.1"), bsuid("US.9"));
    let (p1, p2) = (phone("15550001"), phone("15550002"));
    deliver(&bench, writes(1, &[b1.clone(), p1.clone()], "first")).await;
    deliver(&bench, writes(1, std::slice::from_ref(&p1), "by number")).await;
    let first = open(&bench, "by number").await.id;
    deliver(&bench, changes(2, std::slice::from_ref(&p1), std::slice::from_ref(&p2))).await;
    deliver(&bench, writes(2, &[b1.clone(), p1.clone()], "late")).await;
    assert_eq!(open(&bench, "late").await.id, first);
    deliver(&bench, writes(9, &[b9.clone(), p1.clone()], "somebody else")).await;
    let second = open(&bench, "somebody else").await.id;
    assert_ne!(second, first);
    for (from, text, id) in
        [(&p1, "theirs", second), (&b1, "still the first", first), (&p2, "new number", first)]
    {
        deliver(&bench, writes(10, std::slice::from_ref(from), text)).await;
        assert_eq!(open(&bench, text).await.id, id, "{text}");
        bench.restart().await;
    }
    let (one, other) = (contact(&bench, &b1).await, contact(&bench, &b9).await);
    assert_eq!((one.phone(), other.phone()), (Some("15550002"), Some("15550001")));
    assert_eq!((one.merge_suggestions, other.merge_suggestions), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn who_swap_their_numbers_stay_two_also_where_all_of_it_is_delivered_again() {
    let bench = Bench::new().await;
    let [b1, b9] = ["US.1", "US.9"].map(bsuid);
    let [p1, p2] = ["15550001", "15550002"].map(phone);
    let before = [writes(1, &[b1.clone(), p1.clone()], "one"), writes(1, &[b9, p2.clone()], "two")];
    for item in before.clone() {
        deliver(&bench, item).await;
    }
    let (one, two) = (open(&bench, "one").await.id, open(&bench, "two").await.id);
    let changed = |at, from: &Handle, to: &Handle| {
        changes(at, std::slice::from_ref(from), std::slice::from_ref(to))
    };
    let swap = [changed(2, &p1, &p2), changed(3, &p2, &p1)];
    for item in swap.iter().chain(&before).chain(&swap) {
        deliver(&bench, item.clone()).await;
        assert_eq!((bench.contacts().await.len(), bench.open().await.len()), (2, 2));
    }
    // What was sent before is of whoever had the number then.
    for (sent, from, text) in [
        (1, &p1, "late"),
        (10, &b1, "by id"),
        (10, &p2, "one by number"),
        (10, &p1, "two by number"),
    ] {
        deliver(&bench, writes(sent, std::slice::from_ref(from), text)).await;
    }
    for (id, wanted) in
        [(one, vec!["one", "late", "by id", "one by number"]), (two, vec!["two", "two by number"])]
    {
        let mut said = bench.texts(id).await;
        said.retain(|text| text != "changed");
        assert_eq!(said, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn who_left_a_number_on_one_account_left_it_on_every_account() {
    let mut bench = Bench::new().await;
    let elsewhere = account_of(TENANT, 3);
    let (p1, p2) = (phone("15550001"), phone("15550002"));
    let (b, stranger) = (bsuid("US.1"), bsuid("US.9"));
    deliver(&bench, writes(1, &[b, p1.clone()], "first")).await;
    let there = |at, handles: &[Handle], text: &str| vec![writes(at, handles, text)];
    for at in [1, 2] {
        let said = there(at, std::slice::from_ref(&p1), "first there");
        bench.desk.ingest(&elsewhere, said).await.unwrap();
    }
    let first = open(&bench, "first there").await;
    deliver(&bench, changes(50, std::slice::from_ref(&p1), std::slice::from_ref(&p2))).await;
    for (from, text) in [(vec![stranger, p1.clone()], "stranger"), (vec![p1], "the same")] {
        bench.desk.ingest(&elsewhere, there(60, &from, text)).await.unwrap();
        let opened = open(&bench, text).await;
        assert_ne!((opened.id, opened.contact), (first.id, first.contact), "{text}");
        bench.restart().await;
    }
    let late = there(60, std::slice::from_ref(&p2), "by the new number");
    bench.desk.ingest(&elsewhere, late).await.unwrap();
    assert_eq!(open(&bench, "by the new number").await.contact, first.contact);
}

/// A bench over a store that does this with calls.
async fn over(decide: impl FnMut(&Call<'_>) -> Fate + Send + 'static) -> Bench {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory = Arc::new(Memory::new(Arc::new(move || now.now())));
    Bench::over(Arc::new(Faulty::new(memory, decide)), clock).await
}

#[tokio::test(start_paused = true)]
async fn who_left_a_number_left_it_everywhere_also_where_it_was_not_said_that_this_is_written() {
    let armed = Arc::new(AtomicBool::new(false));
    let fails = armed.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(batch))
            if puts(batch, CONTACTS.name) && fails.swap(false, Ordering::Relaxed) =>
        {
            Fate::Applied
        }
        _ => Fate::Done,
    };
    let (bench, elsewhere) = (over(decide).await, account_of(TENANT, 3));
    let [one, other] = ["US.1", "US.9"].map(bsuid);
    let (p1, p2) = (phone("15550001"), phone("15550002"));
    let there = async |at, handles: &[&Handle], text: &str| {
        let handles: Vec<_> = handles.iter().map(|handle| (*handle).clone()).collect();
        bench.desk.ingest(&elsewhere, vec![writes(at, &handles, text)]).await.unwrap();
        open(&bench, text).await.id
    };
    deliver(&bench, writes(1, &[one, p1.clone()], "first")).await;
    for (at, handle, text) in [(1, &p1, "by number"), (2, &other, "by id")] {
        there(at, &[handle], text).await;
        work_on(&bench, text).await;
    }
    let theirs = there(3, &[&other, &p1], "by both").await;
    assert_ne!(there(4, &[&p1], "the number is the first one's").await, theirs);
    let change = changes(50, std::slice::from_ref(&p1), std::slice::from_ref(&p2));
    armed.store(true, Ordering::Relaxed);
    bench.desk.ingest(&account(), vec![change.clone()]).await.unwrap_err();
    assert!(!armed.load(Ordering::Relaxed));
    deliver(&bench, change).await;
    there(60, &[&other, &p1], "by both again").await;
    assert_eq!(there(61, &[&p1], "the number is theirs now").await, theirs);
}

#[tokio::test(start_paused = true)]
async fn where_an_id_is_rotated_nobody_else_is_looked_for_anew() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = reads.clone();
    let decide = move |call: &Call<'_>| {
        let is_name = matches!(call, Call::Get(table, _) if table.name == NAMES.name);
        counted.fetch_add(usize::from(is_name), Ordering::Relaxed);
        Fate::Done
    };
    let bench = over(decide).await;
    let [old, new, other] = ["US.1", "US.2", "US.9"].map(bsuid);
    for one in [&old, &other] {
        deliver(&bench, writes(1, std::slice::from_ref(one), &one.value)).await;
    }
    deliver(&bench, changes(2, &[old], &[new])).await;
    let before = reads.load(Ordering::Relaxed);
    deliver(&bench, writes(3, &[other], "again")).await;
    assert_eq!(reads.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn late_receipts_find_their_message_where_it_was_taken() {
    let bench = Bench::new().await;
    let (b, p) = (bsuid("US.1"), phone("15550001"));
    deliver(&bench, writes(1, std::slice::from_ref(&b), "id")).await;
    // Both begin in the same instant: that people work here decides which one is moved.
    work_on(&bench, "id").await;
    deliver(&bench, written(2, std::slice::from_ref(&p), "business")).await;
    let moved = open(&bench, "business").await;
    deliver(&bench, writes(3, &[b.clone(), p.clone()], "both")).await;
    assert_eq!(bench.open().await.len(), 1);
    for (recipient, status) in
        [(vec![p.clone()], MessageStatus::Delivered), (vec![b.clone(), p], MessageStatus::Read)]
    {
        let receipt = Receipt {
            provider_id: "business".into(),
            opaque: None,
            status,
            at: None,
            recipient,
            error: None,
        };
        deliver(&bench, Inbound::Receipt(receipt)).await;
        let rows = bench.conversations();
        let head = rows.folded(moved.id).await.unwrap().unwrap();
        let rows = rows.messages(&head, (u64::MAX, 0), 10).await.unwrap();
        assert_eq!(rows[0].message.status, status);
        assert!(head.status.is_closed(), "it stays closed");
    }
    assert!(bench.open().await[0].parked.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_tenant_s_handles_never_meet() {
    let bench = Bench::new().await;
    let (b1, b2, p) = (bsuid("US.1"), bsuid("US.2"), phone("15550001"));
    let stranger = account_of(TenantId(Uuid::from_u128(9)), 3);
    let item = writes(1, &[b1.clone(), p.clone()], "stranger");
    bench.desk.ingest(&stranger, vec![item]).await.unwrap();
    deliver(&bench, writes(1, std::slice::from_ref(&b1), "ours")).await;
    deliver(&bench, changes(2, std::slice::from_ref(&b1), &[b2.clone(), p.clone()])).await;
    deliver(&bench, writes(3, &[b2, p], "ours again")).await;
    is_one(&bench, &["ours", "ours again"].map(str::to_owned), 1, "ours").await;
    let theirs = bench.conversations().open_set(stranger.tenant).await.unwrap();
    assert_eq!(theirs.len(), 1);
    let head = bench.conversations().head(theirs[0]).await.unwrap().unwrap();
    assert_eq!((head.messages, head.tenant), (1, stranger.tenant));
}

#[tokio::test(start_paused = true)]
async fn of_many_suggestions_the_newest_are_shown() {
    let bench = Bench::new().await;
    let b = bsuid("US.1");
    deliver(&bench, writes(1, std::slice::from_ref(&b), "id")).await;
    work_on(&bench, "id").await;
    for n in 0..7 {
        let (p, text) = (phone(&format!("1555000{n}")), format!("phone {n}"));
        deliver(&bench, writes(1, std::slice::from_ref(&p), &text)).await;
        work_on(&bench, &text).await;
        deliver(&bench, writes(2, &[b.clone(), p], &format!("both {n}"))).await;
    }
    let suggested = contact(&bench, &b).await.merge_suggestions;
    let numbers: Vec<_> = suggested.iter().map(|s| s.identity.value.as_str()).collect();
    assert_eq!(numbers, ["15550002", "15550003", "15550004", "15550005", "15550006"]);
}

/// A write that moves a thread with its conversation: its row and a commit at once.
fn moves(write: &Write) -> bool {
    let Write::Apply(batch) = write else { return false };
    puts(batch, THREADS.name) && puts(batch, LOG.name)
}

/// Whether a row of this table is put.
pub(crate) fn puts(batch: &Batch, name: &str) -> bool {
    let is = |change: &Change| matches!(change, Change::Put { table, .. } if table.name == name);
    batch.changes.iter().any(is)
}

#[tokio::test(start_paused = true)]
async fn a_stop_behind_the_move_of_a_thread_is_made_up_for_by_the_next_start_alone() {
    stops_behind_the_move(false).await;
}

#[tokio::test(start_paused = true)]
async fn also_where_somebody_works_on_its_conversation_before_the_start_has_come_to_it() {
    stops_behind_the_move(true).await;
}

async fn stops_behind_the_move(and_is_worked_on: bool) {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let now = clock.clone();
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
    let armed = Arc::new(AtomicBool::new(false));
    let (is_armed, mut died) = (armed.clone(), false);
    let decide = move |call: &Call<'_>| {
        if died {
            return Fate::Unavailable;
        }
        let is_move = matches!(call, Call::Write(write) if moves(write));
        died = is_move && is_armed.load(Ordering::Acquire);
        Fate::Done
    };
    let store = Arc::new(Faulty::new(memory.clone(), decide).promising_as_below());
    let bench = Bench::over(store, clock.clone()).await;
    bench.desk.recover().await.unwrap();
    let (b, p) = (bsuid("US.1"), phone("15550001"));
    deliver(&bench, writes(1, std::slice::from_ref(&p), "phone")).await;
    deliver(&bench, writes(2, std::slice::from_ref(&b), "id")).await;
    armed.store(true, Ordering::Release);
    let both = writes(3, &[b.clone(), p.clone()], "both");
    bench.desk.ingest(&account(), vec![both]).await.unwrap_err();
    drop(bench);
    let bench = Bench::over(memory, clock).await;
    assert_eq!(bench.contacts().await.len(), 2, "it stopped half way");
    if and_is_worked_on {
        for contact in bench.contacts().await {
            for id in bench.conversations().of_contact(contact.id, None, 10).await.unwrap() {
                let tags = Command::SetTags { tags: vec!["seen".to_owned()] };
                bench.desk.ask(admin(), id, None, tags).await.unwrap();
            }
        }
    }
    bench.desk.recover().await.unwrap();
    let contact = is_one(&bench, &["id", "phone"].map(str::to_owned), 0, "after a start").await;
    assert_eq!(contact.identities.len(), 2);
    let thread = bench.open().await[0].thread;
    for handle in [b, p] {
        deliver(&bench, writes(4, &[handle], "again")).await;
        assert_eq!(bench.open().await[0].thread, thread);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_webhook_has_for_a_thread_that_moves_meanwhile_keeps_its_order() {
    let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| Timestamp(1_790_000_000_000))));
    let (moves, swaps) = (Arc::new(OnceLock::<ThreadId>::new()), AtomicUsize::new(0));
    let moving = moves.clone();
    let decide = move |call: &Call<'_>| match (call, moving.get()) {
        // Whoever follows the thread takes a second for each look at it,
        (Call::Get(table, key), Some(thread))
            if **table == THREADS && key.partition == [Part::Uuid(*thread.0.as_bytes())] =>
        {
            Fate::Slow(Duration::from_secs(1))
        }
        // and who moves it stands still before its handles say so.
        (Call::Write(Write::Swap { .. }), Some(_))
            if swaps.fetch_add(1, Ordering::Relaxed) == 0 =>
        {
            Fate::Slow(Duration::from_secs(1_000))
        }
        _ => Fate::Done,
    };
    let bench = Bench::over(Arc::new(Faulty::new(memory.clone(), decide)), clock).await;
    let (b, p) = (bsuid("US.1"), phone("15550001"));
    for (handle, text) in [(&b, "id"), (&p, "phone")] {
        deliver(&bench, writes(1, std::slice::from_ref(handle), text)).await;
    }
    let mut threads = Vec::new();
    for (text, handle) in [("id", &b), ("phone", &p)] {
        threads.push((open(&bench, text).await.thread, handle.clone()));
    }
    threads.sort_by_key(|(thread, _)| *thread);
    // The younger one is moved.
    let [(to, _), (from, handle)] = threads.try_into().unwrap();
    moves.set(from).unwrap();
    let desk = bench.desk.clone();
    let ingest = |items| async move { desk.ingest(&account(), items).await };
    let both = tokio::spawn(ingest.clone()(vec![writes(2, &[b, p], "both")]));
    let row = async || Conversations::new(memory.clone()).thread(from).await.unwrap().unwrap();
    while row().await.moved_to.is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.desk.waiting().hold(to);
    let texts = ["first", "second"];
    let items = texts.map(|text| writes(3, std::slice::from_ref(&handle), text));
    let two = tokio::spawn(ingest(items.into()));
    while !row().await.settled {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The first one has to wait by now, and the second looks where its thread went.
    tokio::time::sleep(Duration::from_millis(500)).await;
    bench.desk.waiting().release(to);
    two.await.unwrap().unwrap();
    both.await.unwrap().unwrap();
    bench.desk.waiting().emptied().await.unwrap();
    let said = bench.texts(bench.open().await[0].id).await;
    let place = |text: &str| said.iter().position(|said| said == text).unwrap();
    assert!(place("first") < place("second"), "{said:?}");
}
