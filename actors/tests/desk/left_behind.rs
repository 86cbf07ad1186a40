//! What waits for its message goes along when its thread turns out to be another one, also when the
//! process stops on the way.

use std::convert::identity;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actors::clock::Clock;
use engine::channel::{Amend, Amender, Amendment, Handle, Inbound, Receipt};
use engine::conversation::{ContentAt, Conversation};
use engine::fact::ParkedAmendment;
use engine::message::{Content, Message, MessageStatus};
use engine::time::Timestamp;
use storage::Store;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;

use crate::bench::{Bench, TENANT, account, bsuid, phone};
use crate::identities::{writes, written};

const START: Timestamp = Timestamp(1_790_000_000_000);

/// Somebody does something to a message that is nowhere yet.
fn amends(customer: &Handle, id: &str, target: &str, by: Amender, what: Amend) -> Inbound {
    Inbound::Amendment(Amendment {
        customer: vec![customer.clone()],
        by,
        target: target.to_owned(),
        provider_id: Some(id.to_owned()),
        at: Some(START),
        what,
    })
}

/// All that is early of one customer: of two messages of theirs, and of one of the business.
fn early(of: &Handle) -> Vec<Inbound> {
    let edit = Amend::Edit(Content::text("better"));
    let reaction = Amend::Reaction(Some("👍".to_owned()));
    vec![
        amends(of, "e1", "good", Amender::Customer, edit.clone()),
        amends(of, "r1", "business", Amender::Customer, reaction),
        amends(of, "e2", "business", Amender::Business, edit.clone()),
        amends(of, "e3", "secret", Amender::Customer, edit),
        amends(of, "d1", "secret", Amender::Customer, Amend::Deletion),
    ]
}

fn delivered(to: &Handle) -> Inbound {
    Inbound::Receipt(Receipt {
        provider_id: "business".to_owned(),
        opaque: None,
        status: MessageStatus::Delivered,
        at: None,
        recipient: vec![to.clone()],
        error: None,
    })
}

/// A provider delivers until it is taken.
async fn deliver(bench: &Bench, item: &Inbound) {
    for _ in 0..20 {
        if bench.desk.ingest(&account(), vec![item.clone()]).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("it is taken in the end");
}

fn contents(waiting: &[ParkedAmendment]) -> Vec<ContentAt> {
    waiting.iter().filter_map(ParkedAmendment::content).collect()
}

/// One customer is known by two handles. At the younger one of both threads something waits, before
/// its first case or in it; then both prove to be one, with this fate of the n-th write since; then
/// the messages come. Answers how many writes there were.
async fn run(has_case: bool, fault: Option<(usize, Fate)>) -> usize {
    let clock = Clock::standing_at(START);
    let now = clock.clone();
    let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
    let writes_since = Arc::new(AtomicUsize::new(usize::MAX));
    let counted = writes_since.clone();
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
    let (b, p) = (bsuid("US.1"), phone("15550001"));
    deliver(&bench, &writes(1, std::slice::from_ref(&p), "phone")).await;
    // The younger one of two gives way.
    clock.set(START + Duration::from_secs(1));
    if has_case {
        deliver(&bench, &writes(2, std::slice::from_ref(&b), "id")).await;
    }
    for item in early(&b) {
        deliver(&bench, &item).await;
    }
    let mut left: Option<Conversation> = None;
    if has_case {
        deliver(&bench, &delivered(&b)).await;
        left = bench.open().await.into_iter().find(|head| !head.waiting.is_empty());
        assert_eq!(left.as_ref().unwrap().parked.len(), 1);
    }
    writes_since.store(0, Ordering::SeqCst);
    deliver(&bench, &writes(3, &[b.clone(), p.clone()], "both")).await;
    let writes_made = writes_since.swap(usize::MAX, Ordering::SeqCst);
    faulty.land().await;
    drop(bench);
    // The same kind of store, without faults from now on.
    let bench = Bench::over(Arc::new(Faulty::new(memory, |_| Fate::Done)), clock).await;
    bench.desk.recover().await.unwrap();
    assert_eq!(bench.open().await.len(), 1, "{fault:?}");
    for text in ["good", "secret"] {
        deliver(&bench, &writes(4, std::slice::from_ref(&p), text)).await;
    }
    deliver(&bench, &written(4, std::slice::from_ref(&p), "business")).await;
    let shown = messages(&bench).await;
    let of =
        |id: &str| shown.iter().find(|m| m.provider_message_id.as_deref() == Some(id)).unwrap();
    assert_eq!(of("good").text.as_deref(), Some("better"), "{fault:?}");
    assert_eq!(of("business").text.as_deref(), Some("better"), "{fault:?}");
    assert_eq!(of("business").reactions[0].emoji, "👍", "{fault:?}");
    assert!(of("secret").deleted_at.is_some() && of("secret").text.is_none(), "{fault:?}");
    if let Some(left) = left {
        assert_eq!(of("business").status, MessageStatus::Delivered, "{fault:?}");
        let after = bench.conversations().folded(left.id).await.unwrap().unwrap();
        assert_eq!((after.parked.len(), after.waiting.len()), (0, 0), "{fault:?}");
        for at in contents(&left.waiting) {
            let said = bench.conversations().content(at).await.unwrap();
            assert_eq!(said, None, "{fault:?}: what is said lies only where it is needed");
        }
    }
    writes_made
}

async fn messages(bench: &Bench) -> Vec<Message> {
    let head = bench.open().await.remove(0);
    assert_eq!((head.parked.len(), head.waiting.len()), (0, 0));
    let rows = bench.conversations().messages(&head, (u64::MAX, 0), 100).await.unwrap();
    rows.into_iter().map(|row| row.message).collect()
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_message_goes_along_whichever_write_fails() {
    for has_case in [false, true] {
        let writes = run(has_case, None).await;
        for at in 0..writes {
            for fate in [Fate::Unavailable, Fate::Lost, Fate::Late(3)] {
                run(has_case, Some((at, fate))).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_where_it_goes_along_to_is_a_dead_letter() {
    let clock = Clock::standing_at(START);
    let now = clock.clone();
    let bench =
        Bench::over(Arc::new(Memory::new(Arc::new(move || now.now()))), clock.clone()).await;
    let (b, p) = (bsuid("US.1"), phone("15550001"));
    deliver(&bench, &writes(1, std::slice::from_ref(&p), "phone")).await;
    clock.set(START + Duration::from_secs(1));
    deliver(&bench, &early(&b)[0]).await;
    let reaction = || Amend::Reaction(Some("👍".to_owned()));
    let full = |n| amends(&p, &format!("r{n}"), "elsewhere", Amender::Customer, reaction());
    let letters = async || bench.desk.letters(TENANT, None, (0, 10), identity).await.unwrap();
    let mut n = 0;
    while letters().await.1 == 0 {
        deliver(&bench, &full(n)).await;
        n += 1;
    }
    deliver(&bench, &writes(3, &[b, p], "both")).await;
    let (letters, count) = letters().await;
    assert_eq!(count, 2);
    assert!(letters.iter().any(|letter| letter.raw.contains("better")), "{letters:?}");
}
