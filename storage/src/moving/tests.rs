//! Stores moved to others, on a real disk.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::time::Timestamp;
use futures_util::TryStreamExt;
use uuid::Uuid;

use super::{
    Export, Imported, NotMoved, Record, Source, check, export, import, is_mark, refuse_part,
};
use crate::embedded::{Embedded, Options};
use crate::memory::Now;
use crate::port::{Batch, Change, Claim, Key, Kind, Part, Stamp, Store, Table, Writes};
use crate::seed::{Chance, seeds};
use crate::tables::{ALL, ARCHIVE, NAMES, SESSIONS, THREADS};

const START: i64 = 1_790_000_000_000;
/// A day of 2026 is over, and rows that lived for hours.
const LATER: i64 = START + 24 * 3_600_000;

fn at(millis: i64) -> Now {
    Arc::new(move || Timestamp(millis))
}

pub(super) fn open(path: &Path, now: i64) -> Embedded {
    let options = Options {
        segment: 1 << 20,
        overlay: 1 << 20,
        cache: 1 << 20,
        memtable: 1 << 20,
        reserve: 0,
        ..Options::new(path, at(now))
    };
    Embedded::open(options, |cause| panic!("{cause}")).unwrap()
}

/// All rows but the mark, in order.
pub(super) async fn all(store: &dyn Source) -> Vec<Record> {
    let mut all = Vec::new();
    for table in ALL {
        let pages: Vec<_> = store.pages(table).try_collect().await.unwrap();
        all.extend(pages.into_iter().flatten().filter(|record| !is_mark(record)));
    }
    all.sort_by(|one, other| (one.table.number, &one.key).cmp(&(other.table.number, &other.key)));
    all
}

fn part(kind: Kind, chance: &mut Chance) -> Part {
    match kind {
        Kind::Int => Part::Int(chance.below(7).cast_signed() - 3),
        Kind::Uuid => Part::Uuid([u8::try_from(chance.below(16)).unwrap() * 17; 16]),
        Kind::Text => Part::Text(["", "a", "a\0b", "\u{fffd}ü"][chance.index(4)].into()),
    }
}

fn key(table: &Table, chance: &mut Chance) -> Key {
    let mut parts = |of: &[(&str, Kind)]| of.iter().map(|(_, kind)| part(*kind, chance)).collect();
    Key::new(parts(table.partition), parts(table.clustering))
}

/// Writes something into every table, and deletes some of it.
pub(super) async fn fill(store: &dyn Store, seed: u64) {
    let mut chance = Chance::of(seed);
    for n in 0..40_u8 {
        for table in ALL {
            let (key, size) = (key(table, &mut chance), chance.index(3_000));
            let body = [table.name.as_bytes(), &vec![n; size]].concat();
            let hours = chance.below(72);
            let ttl = (hours > 36).then(|| Duration::from_secs(hours * 1_800 + 7));
            if table.writes == Writes::Guarded {
                store.claim(table, key, body, ttl).await.unwrap();
                continue;
            }
            let change = match chance.below(12) {
                0 => Change::Delete { table, key },
                1 => Change::Clear { table, partition: key.partition },
                _ => Change::Put { table, key, body, ttl },
            };
            let stamp = Stamp(START * 1_000 + i64::from(n) * 1_000 + chance.below(3).cast_signed());
            store.apply(Batch { stamp, changes: vec![change] }).await.unwrap();
        }
    }
}

/// A store with something in every table, closed.
pub(super) async fn filled(path: &Path, now: i64, seed: u64) {
    let store = open(path, now);
    fill(&store, seed).await;
    store.close().await.unwrap();
}

/// All rows of a directory, and a file of them.
pub(super) async fn exported(path: &Path, now: i64, id: u128) -> (Vec<Record>, Vec<u8>) {
    let store = open(path, now);
    let (rows, mut file) = (all(&store).await, Vec::new());
    let moved = export(&store, &mut file, Uuid::from_u128(id), |_| {}).await.unwrap();
    assert_eq!((moved.rows, moved.tables), (rows.len() as u64, ALL.len()));
    store.close().await.unwrap();
    (rows, file)
}

pub(super) async fn imported(
    path: &Path,
    now: i64,
    file: &[u8],
    of: &Export,
) -> Result<Imported, NotMoved> {
    let store = open(path, now);
    let done = import(file, of, &store, &at(now), |_| {}).await;
    store.close().await.unwrap();
    done
}

#[tokio::test]
async fn a_store_is_moved_with_its_stamps_and_expiries() {
    for seed in seeds(4, 2) {
        let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        filled(from.path(), START, seed).await;
        let (rows, file) = exported(from.path(), START, 1).await;
        let checked = check(&file[..]).await.unwrap();
        let highest = rows.iter().map(|row| row.stamp).max().unwrap();
        assert_eq!(checked.highest, highest);
        let done = imported(to.path(), LATER, &file, &checked).await.unwrap();
        let lives = |row: &&Record| row.lives(Timestamp(LATER));
        let left: Vec<_> = rows.iter().filter(lives).cloned().collect();
        let Imported::Now(moved) = done else { panic!("{done:?}") };
        assert_eq!(
            (moved.rows, moved.expired),
            (left.len() as u64, (rows.len() - left.len()) as u64)
        );
        assert!(moved.expired > 0 && left.iter().any(|row| row.expires.is_some()));
        let store = open(to.path(), LATER);
        assert!(all(&store).await == left, "not the same rows");
        assert!(store.highest_stamp() >= highest, "newer ones would lose");
        refuse_part(&store).await.unwrap();
        // It is a store like any other: it can be moved on.
        let mut again = Vec::new();
        export(&store, &mut again, Uuid::from_u128(2), |_| {}).await.unwrap();
        assert_eq!(check(&again[..]).await.unwrap().rows, moved.rows);
    }
}

#[tokio::test]
async fn a_file_that_is_cut_off_or_changed_anywhere_is_refused() {
    let from = tempfile::tempdir().unwrap();
    let store = open(from.path(), START);
    for n in 0..20 {
        let put = |table, key| Change::Put { table, key, body: vec![n; 9], ttl: None };
        let key = Key::new(vec![Part::Uuid([n; 16])], vec![]);
        let changes = vec![put(&THREADS, key.clone()), put(&SESSIONS, key)];
        store.apply(Batch { stamp: Stamp(i64::from(n) + 1), changes }).await.unwrap();
    }
    store.close().await.unwrap();
    let store = open(from.path(), START);
    let mut file = Vec::new();
    export(&store, &mut file, Uuid::from_u128(1), |_| {}).await.unwrap();
    check(&file[..]).await.unwrap();
    for length in 0..file.len() {
        let NotMoved(why) = check(&file[..length]).await.unwrap_err();
        assert!(
            why.contains(if length < 8 { "name another" } else { "ends in the middle" }),
            "{why}"
        );
    }
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        check(&changed[..]).await.unwrap_err();
    }
    let longer = [&file[..], &[0]].concat();
    assert!(check(&longer[..]).await.unwrap_err().0.contains("damaged"));
    // Rows of one file between the ends of another.
    let mut other = Vec::new();
    export(&store, &mut other, Uuid::from_u128(2), |_| {}).await.unwrap();
    let end = file.len() - 29;
    let mixed = [&file[..end], &other[end..]].concat();
    assert!(check(&mixed[..]).await.unwrap_err().0.contains("damaged"));
}

#[tokio::test]
async fn an_import_that_was_interrupted_is_ended_by_the_same_file_and_by_no_other() {
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    filled(from.path(), START, 7).await;
    let (rows, file) = exported(from.path(), START, 1).await;
    let (_, other) = exported(from.path(), START, 2).await;
    let (checked, others) = (check(&file[..]).await.unwrap(), check(&other[..]).await.unwrap());
    for cut in [100, file.len() / 3, file.len() / 2, file.len() - 5] {
        let NotMoved(why) = imported(to.path(), START, &file[..cut], &checked).await.unwrap_err();
        assert!(why.contains("ends in the middle"), "{why}");
        let store = open(to.path(), START);
        let NotMoved(why) = refuse_part(&store).await.unwrap_err();
        assert!(why.contains("not finished"), "{why}");
        store.close().await.unwrap();
        let NotMoved(why) = imported(to.path(), START, &other, &others).await.unwrap_err();
        assert!(why.contains("another file"), "{why}");
    }
    let done = imported(to.path(), START, &file, &checked).await.unwrap();
    assert!(matches!(done, Imported::Now(moved) if moved.rows == rows.len() as u64), "{done:?}");
    // It is served from here on.
    let store = open(to.path(), START);
    refuse_part(&store).await.unwrap();
    assert!(all(&store).await == rows, "not the same rows");
    let gone = rows.iter().find(|row| row.table == &THREADS).unwrap().key.clone();
    let stamp = Stamp(checked.highest.0 + 1);
    let changes = vec![Change::Delete { table: &THREADS, key: gone.clone() }];
    store.apply(Batch { stamp, changes }).await.unwrap();
    store.close().await.unwrap();
    // What was deleted since does not come back, however late that is.
    let done = imported(to.path(), LATER, &file, &checked).await.unwrap();
    assert_eq!(done, Imported::Before);
    let NotMoved(why) = imported(to.path(), LATER, &other, &others).await.unwrap_err();
    assert!(why.contains("holds other things"), "{why}");
    let store = open(to.path(), LATER);
    assert_eq!(store.get(&THREADS, &gone).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_that_holds_other_things_is_left_as_it_is() {
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    filled(from.path(), START, 8).await;
    let (_, file) = exported(from.path(), START, 1).await;
    let checked = check(&file[..]).await.unwrap();
    let store = open(to.path(), START);
    let name =
        Key::new(vec![Part::Uuid([0; 16]), Part::Text("a".into()), Part::Text("b".into())], vec![]);
    store.claim(&NAMES, name, b"ours".to_vec(), None).await.unwrap();
    store.close().await.unwrap();
    let NotMoved(why) = imported(to.path(), START, &file, &checked).await.unwrap_err();
    assert!(why.contains("holds other things"), "{why}");
    let store = open(to.path(), START);
    assert_eq!(all(&store).await.len(), 1);
    refuse_part(&store).await.unwrap();
}

#[tokio::test]
async fn a_name_that_somebody_else_has_meanwhile_is_not_taken_and_a_newer_row_stays() {
    let [from, to] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    filled(from.path(), START, 9).await;
    let (rows, file) = exported(from.path(), START, 1).await;
    let checked = check(&file[..]).await.unwrap();
    imported(to.path(), START, &file[..100], &checked).await.unwrap_err();
    let of = |table: &Table| rows.iter().find(|row| row.table == table).unwrap().clone();
    let (name, listed) = (of(&NAMES), of(&ARCHIVE));
    let store = open(to.path(), START);
    let claimed = store.claim(&NAMES, name.key, b"another".to_vec(), None).await.unwrap();
    assert_eq!(claimed, Claim::Won);
    let put = Change::Put {
        table: &ARCHIVE,
        key: listed.key.clone(),
        body: b"newer".to_vec(),
        ttl: None,
    };
    let stamp = Stamp(checked.highest.0 + 1);
    store.apply(Batch { stamp, changes: vec![put] }).await.unwrap();
    store.close().await.unwrap();
    let NotMoved(why) = imported(to.path(), START, &file, &checked).await.unwrap_err();
    assert!(why.contains("holds other things"), "{why}");
    let store = open(to.path(), START);
    let found = store.get(&ARCHIVE, &listed.key).await.unwrap();
    assert_eq!(found.as_deref(), Some(&b"newer"[..]));
}

#[tokio::test]
async fn there_is_no_export_of_nothing() {
    let from = tempfile::tempdir().unwrap();
    let store = open(from.path(), START);
    let NotMoved(why) = export(&store, Vec::new(), Uuid::nil(), |_| {}).await.unwrap_err();
    assert!(why.contains("nothing in this store"), "{why}");
}
