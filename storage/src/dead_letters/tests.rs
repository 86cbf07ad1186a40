//! What is kept of dead letters, in which order, and what leaves for more.

use std::convert::identity;
use std::sync::Arc;
use std::time::Duration;

use engine::id::{TenantId, ThreadId};
use engine::time::Timestamp;
use uuid::Uuid;

use super::{DEAD_LETTERS_KEPT, DeadLetter, DeadLetters, Kept, LetterLimits, NotKept, Source};
use crate::memory::Memory;
use crate::port::{Stamp, Store};

/// 2026-11-30, an hour before the month ends.
const START: Timestamp = Timestamp(1_796_079_600_000);
const OURS: Option<TenantId> = Some(TenantId(Uuid::from_u128(1)));
const MANY: LetterLimits = LetterLimits { letters: 100, bytes: 1_000_000 };

fn letter(tenant: Option<TenantId>, n: u64) -> DeadLetter {
    // An hour apart, so that a month ends among them.
    let at = START + Duration::from_secs(n * 3_600);
    let millis = u64::try_from(at.0).unwrap();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
    let (source, thread, attempts) = (Source::Decode, None, 0);
    let (account, reason, raw) = (None, "no reason".to_owned(), n.to_string());
    DeadLetter { id, tenant, account, source, thread, reason, raw, attempts, at }
}

fn poison(n: u64) -> DeadLetter {
    let thread = Some(ThreadId(Uuid::from_u128(u128::from(n))));
    DeadLetter { source: Source::Decide, thread, ..letter(OURS, n) }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(Memory::new(Arc::new(|| START)))
}

async fn put(letters: &DeadLetters, letter: &DeadLetter) -> Result<(), NotKept> {
    letters.put(letter, || Stamp(letter.at.0)).await
}

/// The texts of all that are kept, newest first, as of the hour `n`.
async fn kept(letters: &DeadLetters, tenant: Option<TenantId>, n: u64) -> Vec<String> {
    let now = letter(tenant, n).at;
    let (all, total) = letters.page(tenant, None, (0, 1_000), now, identity).await.unwrap();
    assert_eq!(all.len(), total);
    all.into_iter().map(|letter| letter.raw).collect()
}

#[tokio::test]
async fn the_oldest_letters_of_a_tenant_leave_also_after_a_restart() {
    let store = memory();
    for process in 0..3 {
        let letters = DeadLetters::new(store.clone(), MANY);
        for n in process * 70..(process + 1) * 70 {
            put(&letters, &letter(OURS, n)).await.unwrap();
        }
    }
    let letters = DeadLetters::new(store, MANY);
    let wanted: Vec<_> = (110..210).rev().map(|n| n.to_string()).collect();
    assert_eq!(kept(&letters, OURS, 210).await, wanted);
    put(&letters, &letter(None, 1)).await.unwrap();
    let ours = kept(&letters, OURS, 210).await;
    assert_eq!(ours.len(), 100, "the installation's are not the tenant's");
    assert_eq!(kept(&letters, None, 210).await, ["1"]);
}

#[tokio::test]
async fn letters_take_at_most_so_many_bytes_and_the_oldest_leave() {
    let store = memory();
    let limits = LetterLimits { letters: 100, bytes: 10_000 };
    for process in 0..2 {
        let letters = DeadLetters::new(store.clone(), limits);
        for n in process * 10..(process + 1) * 10 {
            let raw = format!("{n}:{}", "x".repeat(3_000));
            put(&letters, &DeadLetter { raw, ..letter(OURS, n) }).await.unwrap();
        }
    }
    let kept = kept(&DeadLetters::new(store, limits), OURS, 20).await;
    let numbers: Vec<_> = kept.iter().map(|raw| raw.split(':').next().unwrap()).collect();
    assert_eq!(numbers, ["19", "18", "17"]);
}

#[tokio::test]
async fn a_letter_that_parks_a_thread_leaves_neither_by_number_nor_by_age() {
    let store = memory();
    let limits = LetterLimits { letters: 2, bytes: 1_000_000 };
    let letters = DeadLetters::new(store.clone(), limits);
    for n in 0..2 {
        put(&letters, &poison(n)).await.unwrap();
    }
    assert!(matches!(put(&letters, &poison(2)).await, Err(NotKept::Full)));
    assert!(matches!(put(&letters, &letter(OURS, 2)).await, Err(NotKept::Full)));
    // Another process, long after everything else would have left.
    let letters = DeadLetters::new(store, limits);
    let hours = 3 * DEAD_LETTERS_KEPT.as_secs() / 3_600;
    assert_eq!(kept(&letters, OURS, hours).await, ["1", "0"]);
    for n in 0..2 {
        let thread = poison(n).thread.unwrap();
        assert_eq!(letters.parked(thread.shard()).await.unwrap(), [thread]);
    }
    let later = || Stamp(START.0 + 1_000_000_000);
    assert!(letters.remove(&poison(0), START, later).await.unwrap());
    assert!(!letters.remove(&poison(0), START, later).await.unwrap());
    let other = DeadLetter { thread: poison(1).thread, ..poison(0) };
    assert!(!letters.remove(&other, START, later).await.unwrap(), "it is another one's");
    assert_eq!(letters.parked(0).await.unwrap(), []);
    assert_eq!(letters.parked(1).await.unwrap().len(), 1);
    put(&letters, &letter(OURS, hours)).await.unwrap();
    put(&letters, &letter(OURS, hours + 1)).await.unwrap();
    assert_eq!(kept(&letters, OURS, hours + 1).await, [&*(hours + 1).to_string(), "1"]);
}

#[tokio::test]
async fn letters_that_come_together_are_kept_once_each_and_the_oldest_leave() {
    let (store, limits) = (memory(), LetterLimits { letters: 3, bytes: 1_000_000 });
    let put = async |hour: u64, numbers: &[u64]| {
        let letters = DeadLetters::new(store.clone(), limits);
        let at = letter(OURS, hour).at;
        let about = |(nth, n): (u16, &u64)| {
            let (reason, raw) = ("no reason".to_owned(), n.to_string());
            DeadLetter::of((OURS, None), Source::Decode, reason, raw, (at, nth))
        };
        let all: Vec<_> = (0..).zip(numbers).map(about).collect();
        assert!(all.is_sorted_by_key(|letter| letter.id), "in the order in which they came");
        let outcome = letters.put_all(&all, || Stamp(at.0)).await.unwrap();
        let mut kept = kept(&letters, OURS, hour).await;
        kept.sort();
        (outcome, kept.concat())
    };
    let of = |new, lost| Kept { new, lost };
    assert_eq!(put(0, &[1, 2, 2]).await, (of(2, 0), "12".to_owned()));
    // Also when a month has ended between.
    assert_eq!(put(2, &[2, 1]).await, (of(0, 0), "12".to_owned()));
    assert_eq!(put(3, &[1, 2, 3, 4]).await.0, of(2, 0));
    let (outcome, kept) = put(4, &[5, 6, 7, 8]).await;
    assert_eq!((outcome, kept.len()), (of(4, 0), 3));
    let large = DeadLetter { raw: "x".repeat(2_000_000), ..letter(OURS, 5) };
    let letters = DeadLetters::new(store, limits);
    let outcome = letters.put_all(&[large], || Stamp(START.0)).await.unwrap();
    assert_eq!(outcome, of(0, 1));
}

#[tokio::test]
async fn letters_come_by_page_and_by_source_and_change_in_their_place() {
    let letters = DeadLetters::new(memory(), MANY);
    for n in 0..10 {
        let source = if n % 2 == 0 { Source::Place } else { Source::Decode };
        put(&letters, &DeadLetter { source, ..letter(OURS, n) }).await.unwrap();
    }
    let now = letter(OURS, 10).at;
    let page = async |source, window| {
        let (page, total) = letters.page(OURS, source, window, now, identity).await.unwrap();
        (page.into_iter().map(|letter| letter.raw).collect::<Vec<_>>(), total)
    };
    assert_eq!(page(None, (2, 3)).await, (["7", "6", "5"].map(str::to_owned).into(), 10));
    let placed = (["6", "4"].map(str::to_owned).into(), 5);
    assert_eq!(page(Some(Source::Place), (1, 2)).await, placed);
    let six = DeadLetter { source: Source::Place, attempts: 3, ..letter(OURS, 6) };
    letters.change(&six, now, || Stamp(now.0)).await.unwrap();
    assert_eq!(letters.get(OURS, six.id).await.unwrap(), Some(six.clone()));
    assert_eq!(letters.get(None, six.id).await.unwrap(), None, "it is the tenant's");
    assert_eq!(page(Some(Source::Place), (1, 2)).await, placed);
    letters.remove(&six, now, || Stamp(now.0 + 1)).await.unwrap();
    // Who comes too late brings nothing back.
    letters.change(&six, now, || Stamp(now.0 + 2)).await.unwrap();
    assert_eq!(letters.get(OURS, six.id).await.unwrap(), None);
    assert_eq!(page(None, (0, 0)).await.1, 9);
}
