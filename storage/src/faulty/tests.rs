//! Each fate is what it says, a test decides write by write, and a seed replays.

use std::sync::Arc;
use std::time::Duration;

use engine::time::Timestamp;

use super::{Fate, Faulty, Odds, Write};
use crate::error::StoreError;
use crate::memory::Memory;
use crate::port::{Batch, Change, Claim, Key, Part, Stamp, Store};
use crate::tables::{NAMES, THREADS};

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(Arc::new(|| Timestamp(0))))
}

fn key(n: u8) -> Key {
    Key::new(vec![Part::Uuid([n; 16])], vec![])
}

fn batch(stamp: i64, rows: &[u8]) -> Batch {
    let put = |n: &u8| Change::Put {
        table: &THREADS,
        key: key(*n),
        body: stamp.to_string().into_bytes(),
        ttl: None,
    };
    Batch { stamp: Stamp(stamp), changes: rows.iter().map(put).collect() }
}

async fn row(store: &dyn Store, n: u8) -> Option<String> {
    let body = store.get(&THREADS, &key(n)).await.expect("read");
    body.map(|body| String::from_utf8(body).expect("text"))
}

#[tokio::test]
async fn each_fate_is_what_it_says() {
    let below = memory();
    let mut fates = [
        Fate::Unavailable,
        Fate::Lost,
        Fate::Applied,
        Fate::Torn(1),
        Fate::Late(2),
        Fate::Done,
        Fate::Late(usize::MAX),
        Fate::Done,
    ]
    .into_iter();
    let faulty = Faulty::new(below.clone(), move |_| fates.next().expect("a fate"));
    let refused = faulty.apply(batch(1, &[1])).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    let lost = faulty.apply(batch(2, &[1])).await;
    assert!(matches!(lost, Err(StoreError::Unknown(_))));
    assert_eq!(row(&*below, 1).await, None);
    let applied = faulty.apply(batch(3, &[1])).await;
    assert!(matches!(applied, Err(StoreError::Unknown(_))));
    assert_eq!(row(&*below, 1).await.as_deref(), Some("3"));
    let torn = faulty.apply(batch(4, &[1, 2])).await;
    assert!(matches!(torn, Err(StoreError::Unknown(_))));
    assert_eq!(row(&*below, 1).await.as_deref(), Some("4"));
    assert_eq!(row(&*below, 2).await, None, "half of it is missing");
    let late = faulty.apply(batch(5, &[3])).await;
    assert!(matches!(late, Err(StoreError::Unknown(_))));
    assert_eq!(row(&faulty, 3).await, None, "not yet");
    let never = faulty.apply(batch(6, &[4])).await;
    assert!(matches!(never, Err(StoreError::Unknown(_))));
    assert_eq!(row(&*below, 3).await.as_deref(), Some("5"), "two calls later it is there");
    assert_eq!(row(&faulty, 4).await, None);
    assert_eq!(faulty.land().await, 1);
    assert_eq!(row(&*below, 4).await.as_deref(), Some("6"));
    assert_eq!(faulty.history().len(), 8);
}

#[tokio::test]
async fn a_test_decides_write_by_write() {
    let below = memory();
    let (faulty, mut writes) = Faulty::stepped(below.clone());
    let test = async {
        let held = writes.next().await.expect("a write");
        assert!(matches!(&held.write, Write::Apply(batch) if batch.stamp == Stamp(1)));
        assert_eq!(row(&*below, 1).await, None, "it waits");
        assert!(held.meet(Fate::Done).await.is_none());
        let held = writes.next().await.expect("a write");
        held.meet(Fate::Late(0)).await.expect("it can land")
    };
    let calls = async {
        faulty.apply(batch(1, &[1])).await.expect("done");
        faulty.apply(batch(2, &[1])).await
    };
    let (late, unknown) = tokio::join!(test, calls);
    assert!(matches!(unknown, Err(StoreError::Unknown(_))));
    assert_eq!(row(&faulty, 1).await.as_deref(), Some("1"));
    late.land().await;
    assert_eq!(row(&faulty, 1).await.as_deref(), Some("2"));
    let claim = faulty.claim(&NAMES, name(), vec![], None);
    assert!(writes.try_next().is_some(), "the test lets go of it");
    assert!(matches!(claim.await, Err(StoreError::Unknown(_))));
    let (claim, ()) = tokio::join!(faulty.claim(&NAMES, name(), vec![], None), async {
        writes.next().await.expect("a write").meet(Fate::Done).await;
    });
    assert_eq!(claim.expect("done"), Claim::Won);
}

fn name() -> Key {
    let text = |text: &'static str| Part::Text(text.into());
    Key::new(vec![Part::Uuid([0; 16]), text("kind"), text("name")], vec![])
}

#[tokio::test(start_paused = true)]
async fn a_seed_replays() {
    let odds = Odds {
        slow: 200,
        slowest: Duration::from_secs(1),
        unavailable: 100,
        applied: 100,
        lost: 100,
        torn: 100,
        late: 100,
    };
    let run = async |seed| {
        let below = memory();
        let faulty = Faulty::seeded(below.clone(), seed, odds);
        for stamp in 0..200_i64 {
            let rows = [stamp.to_le_bytes()[0] % 7, 8];
            // Whatever the fate: it is the state that is compared.
            let _ = faulty.apply(batch(stamp, &rows)).await;
        }
        let mut rows = Vec::new();
        for n in 0..9 {
            rows.push(row(&*below, n).await);
        }
        (faulty.history(), rows)
    };
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    for fate in [Fate::Done, Fate::Unavailable, Fate::Applied, Fate::Lost, Fate::Torn(1)] {
        assert!(first.0.contains(&fate), "{fate:?} was drawn");
    }
}
