//! A store that grows into a cluster, and comes back: with a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use engine::time::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use super::tests::{all, exported, filled, imported, open};
use super::{Imported, NotMoved, Record, check, export, import, refuse_part};
use crate::cql::tests::{fresh, keyspace, server};
use crate::cql::{Cql, Lease, Leased};
use crate::memory::Now;
use crate::port::{Batch, Change, Stamp, Store};
use crate::tables::{ALL, THREADS};

/// The server's clock is nobody's to set.
#[expect(clippy::disallowed_methods, reason = "rows expire by the clock of a server")]
fn millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A process whose clock stands, and whose stamps are above this one.
async fn takes(cql: &Cql, above: Stamp) -> Lease {
    let last = AtomicI64::new(above.0);
    let now = Arc::new(move || Stamp(last.fetch_add(1, Ordering::SeqCst) + 1));
    let (waits, lasts) = (watch::Sender::new(false), Duration::from_secs(60));
    Lease::take(cql.clone(), fresh(), now, lasts, waits).await.unwrap()
}

/// A server counts how long rows have to live from when they come.
fn assert_same(rows: &[Record], expected: &[Record]) {
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(expected) {
        let late = row.expires.unwrap_or(0).checked_sub(expected.expires.unwrap_or(0));
        assert!(late.is_some_and(|late| late < 120), "{row:?} for {expected:?}");
        assert_eq!(*row, Record { expires: row.expires, ..expected.clone() });
        assert_eq!(row.expires.is_some(), expected.expires.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_grows_into_a_cluster_and_comes_back_also_where_that_is_interrupted() {
    let Some(server) = server().await else { return };
    let [from, back] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let began = millis();
    filled(from.path(), began, 11).await;
    let (rows, file) = exported(from.path(), began, 1).await;
    let checked = check(&file[..]).await.unwrap();
    let now: Now = Arc::new(|| Timestamp(millis()));
    let cql = keyspace(server).await;
    let lease = takes(&cql, checked.highest).await;
    cql.complete(&ALL).await.unwrap();
    let store = Leased::moving(cql.clone(), lease.clone());
    for cut in [100, file.len() / 2] {
        let NotMoved(why) = import(&file[..cut], &checked, &store, &now, |_| {}).await.unwrap_err();
        assert!(why.contains("ends in the middle"), "{why}");
        refuse_part(&store).await.unwrap_err();
    }
    let done = import(&file[..], &checked, &store, &now, |_| {}).await.unwrap();
    assert!(matches!(done, Imported::Now(moved) if moved.rows == rows.len() as u64), "{done:?}");
    refuse_part(&store).await.unwrap();
    assert_same(&all(&store).await, &rows);
    let done = import(&file[..], &checked, &store, &now, |_| {}).await.unwrap();
    assert_eq!(done, Imported::Before);

    // Whoever serves it next writes over what is there, whatever its own clock says.
    lease.give_back().await;
    let next = takes(&cql, Stamp(0)).await;
    assert!(next.from() > checked.highest);
    let serving = Leased::new(cql.clone(), next.clone());
    let row = rows.iter().find(|row| row.table == &THREADS).unwrap();
    let body = b"newer".to_vec();
    let put = Change::Put { table: &THREADS, key: row.key.clone(), body: body.clone(), ttl: None };
    serving.apply(Batch { stamp: next.from(), changes: vec![put] }).await.unwrap();
    assert_eq!(serving.get(&THREADS, &row.key).await.unwrap(), Some(body));

    let mut expected = rows.clone();
    let changed = expected.iter_mut().find(|one| one.table == row.table && one.key == row.key);
    *changed.unwrap() =
        Record { stamp: next.from(), body: b"newer".to_vec(), expires: None, ..row.clone() };
    assert_same(&all(&serving).await, &expected);
    let mut file = Vec::new();
    export(&serving, &mut file, Uuid::from_u128(2), |_| {}).await.unwrap();
    let checked = check(&file[..]).await.unwrap();
    let at = millis();
    imported(back.path(), at, &file[..file.len() / 2], &checked).await.unwrap_err();
    imported(back.path(), at, &file, &checked).await.unwrap();
    let store = open(back.path(), at);
    assert_same(&all(&store).await, &expected);
}
