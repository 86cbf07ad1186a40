//! More than can be taken: what cannot be taken in time waits, durable and in order, and comes once.

use std::convert::identity;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::Clock;
use actors::failure::{Failure, Full};
use actors::permits::{Amount, PermitLimits};
use actors::waiting::WaitingLimits;
use engine::channel::{Handle, Inbound};
use engine::conversation::{Command, Context, Decision, Envelope, Refused, State, decide};
use engine::id::{TenantId, ThreadId};
use engine::time::Timestamp;
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;
use storage::tables::{DEAD_LETTERS, LOG, WAITING, WAITING_HOURS};
use storage::{Batch, Change, Store};
use uuid::Uuid;

use crate::bench::{
    Bench, TENANT, Tuning, account, account_of, bsuid, permits, phone, receipt, says,
};
use crate::identities::changes;

const START: Timestamp = Timestamp(1_790_000_000_000);

/// A bench whose commits take a minute while the switch is on, as does deleting what waited.
async fn slow(tuning: Tuning) -> (Bench, Arc<AtomicBool>) {
    slow_by(Duration::from_secs(60), tuning).await
}

/// The same by another time.
async fn slow_by(time: Duration, tuning: Tuning) -> (Bench, Arc<AtomicBool>) {
    let clock = Clock::standing_at(START);
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| START)));
    let switch = Arc::new(AtomicBool::new(false));
    let on = switch.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(batch))
            if (is_commit(batch) || deletes_what_waited(batch)) && on.load(Ordering::Relaxed) =>
        {
            Fate::Slow(time)
        }
        _ => Fate::Done,
    };
    (Bench::tuned(Arc::new(Faulty::new(memory, decide)), clock, tuning).await, switch)
}

fn is_commit(batch: &Batch) -> bool {
    let commits = |change: &Change| matches!(change, Change::Put { table, .. } if **table == LOG);
    batch.changes.iter().any(commits)
}

fn deletes_what_waited(batch: &Batch) -> bool {
    let deletes =
        |change: &Change| matches!(change, Change::Delete { table, .. } if **table == WAITING);
    batch.changes.iter().any(deletes)
}

fn keeps_letters(batch: &Batch) -> bool {
    let keeps =
        |change: &Change| matches!(change, Change::Put { table, .. } if **table == DEAD_LETTERS);
    batch.changes.iter().any(keeps)
}

/// One customer says something with this number.
async fn hears(bench: &Bench, n: usize) -> Result<(), Failure> {
    let item = says(vec![phone("1")], &format!("m{n}"), &n.to_string());
    bench.desk.ingest(&account(), vec![item]).await
}

/// Waits until nothing waits.
async fn drained(bench: &Bench) {
    bench.desk.waiting().emptied().await.unwrap();
    assert_eq!(bench.desk.waiting().amount(), Amount::default());
}

/// The texts of the one conversation, and its thread.
async fn said(bench: &Bench) -> (Vec<String>, ThreadId) {
    let open = bench.open().await;
    assert_eq!(open.len(), 1);
    (bench.texts(open[0].id).await, open[0].thread)
}

fn numbers(upto: usize) -> Vec<String> {
    (0..upto).map(|n| n.to_string()).collect()
}

fn patient(seconds: u64) -> Tuning {
    Tuning { patience: Duration::from_secs(seconds), ..Tuning::default() }
}

#[tokio::test(start_paused = true)]
async fn customers_who_wait_are_taken_out_beside_one_another() {
    let (bench, slow) = slow_by(Duration::from_secs(1), patient(0)).await;
    slow.store(true, Ordering::Relaxed);
    let customers: Vec<_> = (0..64).map(|n| format!("{n}")).collect();
    let say = |name: &String| says(vec![phone(name)], &format!("of {name}"), "hello");
    let items = customers.iter().map(say).collect();
    bench.desk.ingest(&account(), items).await.unwrap();
    assert_eq!(bench.desk.waiting().threads(), 64);
    let before = tokio::time::Instant::now();
    drained(&bench).await;
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert_eq!(bench.open().await.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn of_what_waits_only_so_many_bytes_are_taken_out_at_once() {
    let (open, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let counted = most.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Scan(scan) if *scan.table == WAITING && scan.until.is_some() => {
            counted.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            Fate::Done
        }
        Call::Write(Write::Apply(batch)) if deletes_what_waited(batch) => {
            open.fetch_sub(1, Ordering::Relaxed);
            Fate::Done
        }
        Call::Write(Write::Apply(batch)) if is_commit(batch) => Fate::Slow(Duration::from_secs(1)),
        _ => Fate::Done,
    };
    let memory = Arc::new(Memory::new(Arc::new(|| START)));
    let store = Arc::new(Faulty::new(memory, decide));
    let bench = Bench::tuned(store, Clock::standing_at(START), patient(0)).await;
    let long = "a".repeat(1 << 20);
    let say = |n| says(vec![phone(&format!("{n}"))], &format!("of {n}"), &long);
    bench.desk.ingest(&account(), (0..40).map(say).collect()).await.unwrap();
    assert!(bench.desk.waiting().amount().bytes > 40 << 20);
    drained(&bench).await;
    assert_eq!(bench.open().await.len(), 40);
    let most = most.load(Ordering::Relaxed);
    assert!((8..=16).contains(&most), "{most} MiB");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_committed_in_time_waits_is_answered_and_comes_once_in_order() {
    let (bench, slow) = slow(patient(1)).await;
    hears(&bench, 0).await.unwrap();
    slow.store(true, Ordering::Relaxed);
    let before = tokio::time::Instant::now();
    for n in 1..6 {
        hears(&bench, n).await.unwrap();
    }
    assert!(before.elapsed() < Duration::from_secs(2), "only the first one has to be waited for");
    assert_eq!(bench.desk.waiting().amount().items, 5);
    slow.store(false, Ordering::Relaxed);
    drained(&bench).await;
    assert_eq!(said(&bench).await.0, numbers(6));
    hears(&bench, 6).await.unwrap();
    assert_eq!(said(&bench).await.0, numbers(7), "then it is taken as before");
    assert_eq!(bench.desk.waiting().threads(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_taken_out_by_the_next_process_before_anything_new() {
    let (mut bench, slow) = slow(patient(1)).await;
    hears(&bench, 0).await.unwrap();
    slow.store(true, Ordering::Relaxed);
    for n in 1..200 {
        hears(&bench, n).await.unwrap();
    }
    slow.store(false, Ordering::Relaxed);
    bench.restart().await;
    for n in 200..203 {
        hears(&bench, n).await.unwrap();
    }
    drained(&bench).await;
    assert_eq!(said(&bench).await.0, numbers(203));
}

#[tokio::test(start_paused = true)]
async fn what_waits_counts_once_also_when_looking_for_it_fails_on_the_way() {
    let (mut bench, slow) = slow(patient(1)).await;
    hears(&bench, 0).await.unwrap();
    slow.store(true, Ordering::Relaxed);
    for n in 1..100 {
        hears(&bench, n).await.unwrap();
    }
    slow.store(false, Ordering::Relaxed);
    let scans = AtomicUsize::new(0);
    let second_page_fails = move |call: &Call<'_>| match call {
        Call::Scan(scan) if *scan.table == WAITING => {
            let n = scans.fetch_add(1, Ordering::Relaxed);
            if n == 1 { Fate::Unavailable } else { Fate::Done }
        }
        _ => Fate::Done,
    };
    bench.store = Arc::new(Faulty::new(bench.store.clone(), second_page_fails));
    bench.restart().await;
    while hears(&bench, 100).await.is_err() {}
    drained(&bench).await;
    assert_eq!(said(&bench).await.0, numbers(101));
}

/// Two handles that each have a thread, the older one's first.
async fn two_threads(bench: &Bench) -> [(Handle, ThreadId); 2] {
    for handle in [phone("1"), bsuid("US.1")] {
        let item = says(vec![handle.clone()], &handle.value, &handle.value);
        bench.desk.ingest(&account(), vec![item]).await.unwrap();
        drained(bench).await;
    }
    let mut open = bench.open().await;
    open.sort_by_key(|head| head.thread);
    let mut of = Vec::new();
    for head in &open {
        let name = bench.texts(head.id).await.pop().unwrap();
        let handle = [phone("1"), bsuid("US.1")].into_iter().find(|one| one.value == name);
        of.push((handle.unwrap(), head.thread));
    }
    of.try_into().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_thread_is_not_moved_away_from_what_waits_for_it() {
    let (bench, slow) = slow(patient(0)).await;
    let deliver = async |item: Inbound| bench.desk.ingest(&account(), vec![item]).await;
    let [(older, _), (younger, thread)] = two_threads(&bench).await;
    slow.store(true, Ordering::Relaxed);
    for n in 0..6 {
        // More than one turn takes out.
        let text = format!("{n}{}", " .".repeat(50_000));
        deliver(says(vec![younger.clone()], &format!("m{n}"), &text)).await.unwrap();
    }
    slow.store(false, Ordering::Relaxed);
    // What is said once is to be said again, what is said with each message need not be.
    let change = changes(3, &[phone("1")], &[bsuid("US.1")]);
    assert!(matches!(deliver(change).await, Err(Failure::Busy { .. })));
    let both = vec![older, younger];
    deliver(says(both.clone(), "b", "both")).await.unwrap();
    drained(&bench).await;
    let open = bench.open().await;
    let waited = open.iter().find(|head| head.thread == thread).unwrap();
    let said = bench.texts(waited.id).await;
    let order: Vec<_> = said.iter().skip(1).map(|text| &text[..1]).collect();
    assert_eq!(order, ["0", "1", "2", "3", "4", "5", "b"], "behind what waited");
    deliver(says(both, "again", "again")).await.unwrap();
    let (said, _) = self::said(&bench).await;
    assert_eq!(said.last().map(String::as_str), Some("again"), "now they are one");
}

#[tokio::test(start_paused = true)]
async fn what_is_parked_is_neither_moved_nor_moved_to() {
    for held in [0, 1] {
        let (bench, _) = slow(Tuning::default()).await;
        let threads = two_threads(&bench).await;
        bench.desk.waiting().hold(threads[held].1);
        let both = threads.each_ref().map(|(handle, _)| handle.clone());
        let item = says(both.to_vec(), "b", "both");
        bench.desk.ingest(&account(), vec![item]).await.unwrap();
        assert_eq!(bench.open().await.len(), 2);
        bench.desk.waiting().release(threads[held].1);
        drained(&bench).await;
        assert_eq!(bench.open().await.len(), 2, "it is suggested");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_thread_has_no_place_for_waits_in_order() {
    let (bench, slow) = slow(Tuning { permits: permits(2), ..Tuning::default() }).await;
    hears(&bench, 0).await.unwrap();
    slow.store(true, Ordering::Relaxed);
    let bench = Arc::new(bench);
    let mut all = tokio::task::JoinSet::new();
    for n in 1..3 {
        let bench = bench.clone();
        all.spawn(async move { hears(&bench, n).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for n in 3..10 {
        hears(&bench, n).await.unwrap();
    }
    assert_eq!(all.len(), 2, "the first two are still being committed");
    slow.store(false, Ordering::Relaxed);
    all.join_all().await.into_iter().for_each(Result::unwrap);
    drained(&bench).await;
    assert_eq!(said(&bench).await.0, numbers(10));
}

#[tokio::test(start_paused = true)]
async fn a_thread_that_is_held_keeps_everything_waiting_and_its_overflow_as_dead_letters() {
    let few = Amount { items: 3, bytes: 1 << 20 };
    let most = Amount { items: 100, bytes: 1 << 20 };
    let waiting = WaitingLimits { thread: few, tenant: most, node: most };
    let (bench, _) = slow(Tuning { waiting, ..Tuning::default() }).await;
    hears(&bench, 0).await.unwrap();
    let (_, thread) = said(&bench).await;
    bench.desk.waiting().hold(thread);
    for n in 1..6 {
        hears(&bench, n).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(said(&bench).await.0, numbers(1), "nothing is taken out");
    assert_eq!(bench.desk.waiting().amount().items, 3);
    let (kept, _) = bench.desk.letters(TENANT, None, (0, 10), identity).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|letter| letter.reason.contains("parked")));
    assert!(["m4", "m5"].iter().all(|id| kept.iter().any(|letter| letter.raw.contains(id))));
    bench.desk.waiting().release(thread);
    drained(&bench).await;
    assert_eq!(said(&bench).await.0, numbers(4));
}

#[tokio::test(start_paused = true)]
async fn what_is_understood_of_a_webhook_is_there_before_what_is_not_is_kept_at_one_go() {
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| START)));
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = writes.clone();
    let decide = move |call: &Call<'_>| match call {
        Call::Write(Write::Apply(batch)) if keeps_letters(batch) => {
            counted.fetch_add(1, Ordering::Relaxed);
            Fate::Slow(Duration::from_secs(60))
        }
        _ => Fate::Done,
    };
    let clock = Clock::standing_at(START);
    let bench = Bench::over(Arc::new(Faulty::new(memory, decide)), clock).await;
    let items = || {
        let odd = |n: usize| Inbound::Dead { reason: "it is odd".into(), raw: n.to_string() };
        let good = says(vec![phone("1")], "m0", "0");
        (0..50).map(odd).chain([good]).collect()
    };
    let account = account();
    let delivered = bench.desk.ingest(&account, items());
    let in_time = tokio::time::timeout(Duration::from_secs(5), delivered).await;
    in_time.expect_err("to keep letters takes a minute");
    assert_eq!(said(&bench).await.0, numbers(1));
    bench.desk.ingest(&account, items()).await.unwrap();
    assert_eq!(said(&bench).await.0, numbers(1));
    assert_eq!(bench.desk.letters(TENANT, None, (0, 1), identity).await.unwrap().1, 50);
    assert_eq!(writes.load(Ordering::Relaxed), 2, "one each time");
}

#[tokio::test(start_paused = true)]
async fn when_nothing_more_may_wait_the_answer_says_what_is_full() {
    let one = |items| Amount { items, bytes: 1 << 20 };
    for (limits, full) in [
        ((1, 9, 9), Full::WaitingConversation),
        ((9, 1, 9), Full::WaitingOrganization),
        ((9, 9, 1), Full::WaitingServer),
    ] {
        let (thread, tenant, node) = limits;
        let waiting = WaitingLimits { thread: one(thread), tenant: one(tenant), node: one(node) };
        let (bench, slow) = slow(Tuning { waiting, ..patient(1) }).await;
        hears(&bench, 0).await.unwrap();
        slow.store(true, Ordering::Relaxed);
        hears(&bench, 1).await.unwrap();
        match hears(&bench, 2).await {
            Err(Failure::Busy { full: what, .. }) => assert_eq!(what, full),
            other => panic!("{other:?}"),
        }
        slow.store(false, Ordering::Relaxed);
        drained(&bench).await;
        hears(&bench, 2).await.unwrap();
        assert_eq!(said(&bench).await.0, numbers(3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_webhook_without_items_takes_no_turn() {
    let (bench, slow) = slow(Tuning { turns: 1, ..patient(1) }).await;
    slow.store(true, Ordering::Relaxed);
    let account = account();
    let at_once = tokio::time::timeout(Duration::from_millis(1), async {
        bench.desk.ingest(&account, Vec::new()).await.unwrap();
    });
    let (heard, at_once) = tokio::join!(hears(&bench, 0), at_once);
    heard.unwrap();
    at_once.expect("it waits for nobody");
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_failure_in_one_webhook_is_not_done_before_it() {
    let clock = Clock::standing_at(START);
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| START)));
    let fails = Arc::new(AtomicBool::new(false));
    let on = fails.clone();
    let decide = move |call: &Call<'_>| match call {
        // Another customer's shard is looked through slowly, once.
        Call::Scan(scan) if *scan.table == WAITING_HOURS => Fate::Slow(Duration::from_secs(10)),
        Call::Write(Write::Apply(batch))
            if is_commit(batch) && on.swap(false, Ordering::Relaxed) =>
        {
            Fate::Unavailable
        }
        _ => Fate::Done,
    };
    let tuning = Tuning { seed: Some(1), ..Tuning::default() };
    let bench = Bench::tuned(Arc::new(Faulty::new(memory, decide)), clock, tuning).await;
    hears(&bench, 0).await.unwrap();
    let items = || {
        let from = |n: usize, from: &str| says(vec![phone(from)], &format!("m{n}"), &n.to_string());
        vec![from(1, "1"), from(9, "2"), from(2, "1")]
    };
    fails.store(true, Ordering::Relaxed);
    bench.desk.ingest(&account(), items()).await.unwrap_err();
    assert!(!fails.load(Ordering::Relaxed), "the first one's commit failed");
    bench.desk.ingest(&account(), items()).await.unwrap();
    let open = bench.open().await;
    let first = open.iter().find(|head| head.contact_phone.as_deref() == Some("1")).unwrap();
    assert_eq!(bench.texts(first.id).await, numbers(3));
}

#[tokio::test(start_paused = true)]
async fn receipts_wait_before_messages_do_when_the_process_fills() {
    let (bench, slow) = slow(Tuning::default()).await;
    hears(&bench, 0).await.unwrap();
    let other = TenantId(Uuid::from_u128(2));
    let (permits, waiting) = (bench.desk.permits(), bench.desk.waiting());
    let fill = |percent: usize| permits.share(other, Amount::items(percent * 100)).ok().unwrap();
    // What waited is shown for as long as it is not deleted.
    let waited = async |item| {
        slow.store(true, Ordering::Relaxed);
        let account = account();
        let taken = bench.desk.ingest(&account, vec![item]);
        let waits = tokio::time::timeout(Duration::from_secs(1), taken).await.is_ok();
        slow.store(false, Ordering::Relaxed);
        assert_eq!(waiting.amount().items, usize::from(waits));
        drained(&bench).await;
        waits
    };
    let message = |n: usize| says(vec![phone("1")], &format!("m{n}"), &n.to_string());
    for (n, (percent, receipts, messages)) in
        [(84, false, false), (85, true, false), (94, true, false), (95, true, true)]
            .into_iter()
            .enumerate()
    {
        let full = fill(percent);
        assert_eq!(waited(receipt("1", n)).await, receipts, "a receipt at {percent} %");
        assert_eq!(waited(message(n + 1)).await, messages, "a message at {percent} %");
        drop(full);
        // What was being committed has been.
        tokio::time::sleep(Duration::from_secs(120)).await;
    }
    assert_eq!(said(&bench).await.0, numbers(5));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_beyond_its_share_waits_and_no_other() {
    let limits = permits(100);
    let tenant = Amount { items: 3, bytes: 1_000 };
    let tuning = Tuning { permits: PermitLimits { tenant, ..limits }, ..Tuning::default() };
    let (bench, slow) = slow(tuning).await;
    hears(&bench, 0).await.unwrap();
    let full = bench.desk.permits().share(TENANT, Amount { items: 2, bytes: 900 }).ok().unwrap();
    slow.store(true, Ordering::Relaxed);
    let message = |n: usize| vec![says(vec![phone("1")], &format!("m{n}"), &n.to_string())];
    let (account, desk) = (account(), &bench.desk);
    let waits = async |taken| tokio::time::timeout(Duration::from_secs(1), taken).await.is_ok();
    assert!(waits(desk.ingest_body(&account, message(1), 101)).await, "too many bytes");
    assert_eq!(desk.waiting().amount().items, 1);
    slow.store(false, Ordering::Relaxed);
    drained(&bench).await;
    let more = bench.desk.permits().share(TENANT, Amount::items(1)).ok().unwrap();
    assert!(bench.desk.permits().share(TENANT, Amount::items(1)).is_err());
    let other = TenantId(Uuid::from_u128(2));
    assert!(bench.desk.permits().share(other, Amount::items(3)).is_ok());
    slow.store(true, Ordering::Relaxed);
    assert!(waits(desk.ingest_body(&account, message(2), 0)).await, "too many items");
    slow.store(false, Ordering::Relaxed);
    drained(&bench).await;
    drop((full, more));
    desk.ingest_body(&account, message(3), 1_000).await.unwrap();
    assert_eq!(said(&bench).await.0, numbers(4));
}

#[tokio::test(start_paused = true)]
async fn who_has_one_webhook_is_worked_on_between_those_of_who_has_many() {
    let (bench, slow) = slow(Tuning { turns: 2, ..Tuning::default() }).await;
    let (bench, done) = (Arc::new(bench), Arc::new(Mutex::new(Vec::new())));
    slow.store(true, Ordering::Relaxed);
    let mut all = tokio::task::JoinSet::new();
    let other = TenantId(Uuid::from_u128(2));
    for (n, of) in (0..20).map(|n| (n, TENANT)).chain([(20, other)]) {
        let (bench, done) = (bench.clone(), done.clone());
        all.spawn(async move {
            let account = account_of(of, of.0.as_u128() + 1);
            let from = vec![phone(&format!("{n}"))];
            let item = says(from, &format!("m{n}"), "hello");
            bench.desk.ingest_body(&account, vec![item], 4_000).await.unwrap();
            done.lock().unwrap().push(n);
        });
        tokio::task::yield_now().await;
    }
    all.join_all().await;
    let done = done.lock().unwrap();
    let place = done.iter().position(|n| *n == 20).unwrap();
    assert!(place < 6, "it was not behind all twenty: {done:?}");
}

static DECIDED: AtomicUsize = AtomicUsize::new(0);

fn counted(
    state: &State,
    envelope: &Envelope,
    context: &mut Context<'_>,
) -> Result<Decision, Refused> {
    let receives = matches!(envelope.command, Command::Receive(_));
    DECIDED.fetch_add(usize::from(receives), Ordering::Relaxed);
    decide(state, envelope, context)
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_not_handed_over_again_while_its_thread_has_it() {
    let (bench, is_slow) =
        slow(Tuning { decide: counted, patience: Duration::from_secs(2), ..Tuning::default() })
            .await;
    hears(&bench, 0).await.unwrap();
    is_slow.store(true, Ordering::Relaxed);
    for n in 1..4 {
        hears(&bench, n).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(50)).await;
    is_slow.store(false, Ordering::Relaxed);
    drained(&bench).await;
    assert_eq!(said(&bench).await.0, ["0", "1", "2", "3"]);
    // At first, and once more as what waited.
    let decided = DECIDED.load(Ordering::Relaxed);
    assert!(decided <= 1 + 2 * 3, "decided {decided} times");
}
