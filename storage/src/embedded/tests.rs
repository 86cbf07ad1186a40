//! The embedded store as its callers see it, on a real disk.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use engine::time::Timestamp;

use super::{Embedded, OpenError, Options};
use crate::conformance::{self, Subject};
use crate::error::StoreError;
use crate::port::{Batch, Change, Key, Part, Stamp, Store};
use crate::tables::{LOG, THREADS};

const START: i64 = 1_790_000_000_000;

/// Small, so that segments and generations change often.
fn options(path: &Path) -> Options {
    Options {
        segment: 64 << 10,
        overlay: 32 << 10,
        cache: 1 << 20,
        memtable: 1 << 20,
        reserve: 0,
        ..Options::new(path, Arc::new(|| Timestamp(START)))
    }
}

fn open(path: &Path) -> Embedded {
    open_with(options(path))
}

fn open_with(options: Options) -> Embedded {
    Embedded::open(options, |cause| panic!("{cause}")).expect("the store opens")
}

fn thread(n: u8) -> Key {
    Key::new(vec![Part::Uuid([n; 16])], vec![])
}

fn put(stamp: i64, n: u8, size: usize) -> Batch {
    let body = [stamp.to_string().as_bytes(), &vec![b' '; size]].concat();
    let change = Change::Put { table: &THREADS, key: thread(n), body, ttl: None };
    Batch { stamp: Stamp(stamp), changes: vec![change] }
}

async fn get(store: &Embedded, n: u8) -> Option<String> {
    let body = store.get(&THREADS, &thread(n)).await.expect("read");
    body.map(|body| String::from_utf8(body).expect("text").trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_keeps_every_promise_of_the_port() {
    conformance::run(async || {
        let directory = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(AtomicI64::new(START));
        let read = clock.clone();
        let now = Arc::new(move || Timestamp(read.load(Ordering::Relaxed)));
        let store = open_with(Options { now, ..options(directory.path()) });
        Subject {
            store: Arc::new(store),
            run: "embedded".to_owned(),
            pass: Box::new(move |time| {
                // The directory lives as long as the subject.
                let _ = &directory;
                let millis = i64::try_from(time.as_millis()).expect("a short time");
                clock.fetch_add(millis, Ordering::Relaxed);
                Box::pin(std::future::ready(Ok(())))
            }),
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    for round in 1..6 {
        let store = open(directory.path());
        assert_eq!(store.highest_stamp(), Stamp(round - 1));
        for n in 0..200 {
            let expected = (round > 1).then(|| (round - 1).to_string());
            assert_eq!(get(&store, n).await, expected);
        }
        let writes = (0..200).map(|n| store.apply(put(round, n, 500)));
        for write in writes.collect::<Vec<_>>() {
            write.await.expect("written");
        }
        assert!(store.stats().groups < 200, "writes that wait share a sync");
        assert_eq!(store.stats().batches, 200);
        store.close().await.expect("closed");
        let late = store.apply(put(round, 0, 0)).await;
        assert!(matches!(late, Err(StoreError::Unavailable(_))), "a closed store writes nothing");
    }
}

#[tokio::test]
async fn a_start_that_finds_no_space_takes_nothing_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.apply(put(1, 1, 100)).await.expect("applied");
    store.close().await.expect("closed");
    drop(store);
    let larger = Options { segment: 1 << 60, ..options(directory.path()) };
    let refused = Embedded::open(larger, |cause| panic!("{cause}")).err();
    assert!(matches!(refused, Some(OpenError::NoSpace(..))), "{refused:?}");
    let larger = Options { segment: 128 << 10, ..options(directory.path()) };
    for options in [options(directory.path()), larger] {
        let store = open_with(options);
        assert_eq!(get(&store, 1).await.as_deref(), Some("1"));
        store.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_tree_whose_making_was_broken_off_is_made_anew() {
    for files in [&["0.jnl"][..], &["0.jnl", "version"]] {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("keyspaces")).expect("made");
        for file in files {
            fs::write(tree.join(file), []).expect("made");
        }
        let store = open(directory.path());
        store.apply(put(1, 1, 100)).await.expect("applied");
        store.close().await.expect("closed");
        assert_eq!(get(&open(directory.path()), 1).await.as_deref(), Some("1"));
    }
}

#[tokio::test]
async fn a_store_has_one_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let second = Embedded::open(options(directory.path()), |_| ());
    let Err(OpenError::InUse(path)) = second else { panic!("the second one is refused") };
    assert_eq!(path, directory.path());
    store.close().await.expect("closed");
    let next = open(directory.path());
    let read = store.get(&THREADS, &thread(1)).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "whoever still holds it has nothing");
    next.close().await.expect("closed");
}

#[tokio::test]
async fn more_writes_than_may_wait_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_with(Options { queue: 0, ..options(directory.path()) });
    let refused = store.apply(put(1, 1, 0)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    store.close().await.expect("it can still be closed");
}

#[tokio::test]
async fn writers_wait_for_the_tree_once_too_much_is_ahead_of_it() {
    for (overlay, waits) in [(0, true), (1 << 30, false)] {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open_with(Options { overlay, ..options(directory.path()) });
        for n in 0..20 {
            store.apply(put(1, n, 500)).await.expect("written");
        }
        assert_eq!(store.stats().stalls > 0, waits, "{overlay}");
        assert_eq!(get(&store, 19).await.as_deref(), Some("1"));
        store.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_group_takes_no_more_than_it_may() {
    for (group_batches, group_bytes) in [(4, 1 << 20), (1_024, 2_000)] {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options { group_batches, group_bytes, ..options(directory.path()) };
        let store = open_with(options);
        let writes = (0..200).map(|n| store.apply(put(1, n, 500)));
        for write in writes.collect::<Vec<_>>() {
            write.await.expect("written");
        }
        // Of the second kind four reach the limit: 2,000 bytes, of 500 and something each.
        assert!(store.stats().groups >= 50, "{} groups", store.stats().groups);
        store.close().await.expect("closed");
    }
}

#[tokio::test]
async fn a_batch_that_no_segment_takes_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let large = store.apply(put(1, 1, 32 << 10)).await;
    assert!(matches!(large, Err(StoreError::Rejected(_))));
    store.apply(put(2, 1, 28 << 10)).await.expect("a smaller one is written");
}

#[tokio::test]
async fn a_damaged_log_is_refused_in_a_sentence() {
    let directory = tempfile::tempdir().expect("a directory");
    open(directory.path()).close().await.expect("closed");
    for file in fs::read_dir(directory.path().join("log")).expect("the log") {
        fs::remove_file(file.expect("a segment").path()).expect("removed");
    }
    // An empty store has nothing to miss; one with groups has.
    let store = open(directory.path());
    store.apply(put(1, 1, 0)).await.expect("written");
    store.close().await.expect("closed");
    drop(store);
    for file in fs::read_dir(directory.path().join("log")).expect("the log") {
        fs::remove_file(file.expect("a segment").path()).expect("removed");
    }
    let Err(error) = Embedded::open(options(directory.path()), |_| ()) else {
        panic!("a store without its log is refused")
    };
    let sentence = error.to_string();
    assert!(sentence.contains("damaged (its log is missing): restore a backup"), "{sentence}");
}

/// So much of a journal these tests write to.
const BEGINNING: u64 = 1 << 20;

/// A part of the tree, as its directory is named.
const APPENDED: &str = "tree/keyspaces/1";
const OVERWRITTEN: &str = "tree/keyspaces/2";

/// A row of what is never written over.
fn appended(n: u8) -> Key {
    Key::new(vec![Part::Uuid([n; 16]), Part::Int(0)], vec![Part::Int(1), Part::Int(1)])
}

fn append(stamp: i64, n: u8, size: usize) -> Batch {
    let change = Change::Put { table: &LOG, key: appended(n), body: vec![b'x'; size], ttl: None };
    Batch { stamp: Stamp(stamp), changes: vec![change] }
}

/// Whether a part of the tree has a table, in which it says of itself what it said by then.
fn is_written_out(part: &Path) -> bool {
    part.join("tables").read_dir().expect("listed").next().is_some()
}

#[tokio::test]
async fn a_tree_that_lost_a_part_is_damage() {
    for part in [APPENDED, OVERWRITTEN] {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, part) = (open(directory.path()), directory.path().join(part));
        let mut stamp = 1;
        while !is_written_out(&part) {
            store.apply(append(stamp, 1, 5_000)).await.expect("applied");
            store.apply(put(stamp + 1, 1, 5_000)).await.expect("applied");
            stamp += 2;
        }
        store.close().await.expect("closed");
        fs::remove_dir_all(&part).expect("removed");
        let refused = Embedded::open(options(directory.path()), |cause| panic!("{cause}")).err();
        assert!(matches!(refused, Some(OpenError::Damaged(..))), "{part:?}: {refused:?}");
    }
}

#[tokio::test]
async fn a_part_of_the_tree_that_lost_more_than_the_other_has_it_from_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options {
        segment: 16 << 20,
        overlay: 8 << 20,
        sync_every: Duration::ZERO,
        ..options(directory.path())
    };
    let store = open_with(options.clone());
    for n in 0..20 {
        store.apply(append(i64::from(n) + 1, n, 500)).await.expect("applied");
    }
    // As much as has the other part written out, with all that it says of itself.
    let mut stamp = 100;
    while !is_written_out(&directory.path().join(OVERWRITTEN)) {
        store.apply(put(stamp, 1, 50_000)).await.expect("applied");
        stamp += 1;
    }
    store.close().await.expect("closed");
    drop(store);
    let journal = newest_journal(directory.path());
    let file = OpenOptions::new().write(true).open(journal).expect("the journal");
    file.write_all_at(&[0; 4_096], 1_000).expect("damaged");
    let store = open_with(options);
    for n in 0..20 {
        assert!(store.get(&LOG, &appended(n)).await.expect("read").is_some(), "{n}");
    }
}

#[tokio::test]
async fn a_tree_that_may_not_be_read_is_no_damage() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    store.apply(put(1, 1, 100)).await.expect("applied");
    store.close().await.expect("closed");
    let current = directory.path().join(APPENDED).join("current");
    fs::remove_file(&current).expect("removed");
    fs::create_dir(&current).expect("made");
    let refused = Embedded::open(options(directory.path()), |cause| panic!("{cause}")).err();
    assert!(matches!(refused, Some(OpenError::Failed(..))), "{refused:?}");
}

/// Where at the beginning of a journal of the tree the bodies of rows lie.
fn bodies(journal: &Path) -> Vec<usize> {
    let mut beginning = Vec::new();
    let journal = fs::File::open(journal).expect("the journal");
    journal.take(BEGINNING).read_to_end(&mut beginning).expect("read");
    let (mut found, mut spaces) = (Vec::new(), 0);
    for (at, byte) in beginning.iter().enumerate() {
        spaces = if *byte == b' ' { spaces + 1 } else { 0 };
        if spaces == 300 {
            found.push(at - 150);
        }
    }
    found
}

fn newest_journal(store: &Path) -> PathBuf {
    let files = fs::read_dir(store.join("tree")).expect("the tree");
    let paths = files.map(|file| file.expect("a file").path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "jnl")).max().expect("a journal")
}

/// A copy of a store that is being written to: what a power cut leaves of it, if it leaves everything.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let copied = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &copied);
        } else {
            let length = fs::copy(entry.path(), &copied).expect("copied");
            if copied.extension().is_some_and(|end| end == "jnl") {
                // The rest is allocated and empty.
                let file = OpenOptions::new().write(true).open(copied).expect("the copy");
                file.set_len(length.min(BEGINNING)).expect("cut");
            }
        }
    }
}

fn tear(journal: &Path, at: usize) {
    let file = OpenOptions::new().write(true).open(journal).expect("the journal");
    file.write_all_at(&[0; 64], at as u64).expect("torn");
}

#[tokio::test]
async fn a_journal_of_the_tree_that_a_power_cut_tore_takes_nothing_that_was_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    for n in 0..200 {
        // More than may be ahead of the tree, and less than it syncs at once.
        store.apply(put(1, n, 500)).await.expect("written");
    }
    let left = tempfile::tempdir().expect("a directory");
    copy(directory.path(), left.path());
    store.close().await.expect("closed");
    let bodies = bodies(&newest_journal(left.path()));
    assert!(bodies.len() > 20, "{} of 200 rows are in the tree", bodies.len());
    for at in bodies.iter().step_by(bodies.len() / 4) {
        let torn = tempfile::tempdir().expect("a directory");
        copy(left.path(), torn.path());
        tear(&newest_journal(torn.path()), *at);
        // Twice: what the first start makes of it is whole.
        for _ in 0..2 {
            let store = open(torn.path());
            for n in 0..200 {
                assert_eq!(get(&store, n).await.as_deref(), Some("1"), "{n}, torn at {at}");
            }
            store.close().await.expect("closed");
        }
    }
}

#[tokio::test]
async fn a_journal_of_the_tree_that_lost_what_was_synced_is_damage() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open_with(Options { memtable: 64 << 20, ..options(directory.path()) });
    for round in 1..=10 {
        // The tree is synced with the first half of it, and the log's files are used again.
        let writes = (0..100).map(|n| store.apply(put(round, n, 3_500)));
        for write in writes.collect::<Vec<_>>() {
            write.await.expect("written");
        }
    }
    store.close().await.expect("closed");
    let journal = newest_journal(directory.path());
    tear(&journal, bodies(&journal)[0]);
    for _ in 0..2 {
        let refused = Embedded::open(options(directory.path()), |_| ()).err();
        assert!(matches!(refused, Some(OpenError::Damaged(..))), "{refused:?}");
        let left = fs::metadata(&journal).expect("the journal").len();
        assert!(left > BEGINNING, "nothing is cut away");
    }
}

/// In its directory lies this file, so that nobody runs it by chance.
const KILLED: &str = "to-be-killed";

#[tokio::test]
#[ignore = "the process that the test below kills"]
async fn a_process_that_is_killed() {
    if !Path::new(KILLED).exists() {
        return;
    }
    let store = open(Path::new("."));
    let first = store.highest_stamp().0 + 1;
    for stamp in first..first + 100_000 {
        let row = stamp.to_le_bytes()[0];
        store.apply(put(stamp, row, 300)).await.expect("written");
        println!("answered {stamp}");
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join(KILLED), "").expect("a file");
    let mut answered = 0_i64;
    for answers in [1, 300, 2_000, 700] {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--nocapture", "--exact"])
            .arg("embedded::tests::a_process_that_is_killed")
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut stamps =
            lines.filter_map(|line| line.ok()?.strip_prefix("answered ")?.parse().ok());
        let before = stamps.by_ref().take(answers).last();
        child.kill().expect("killed");
        let after = stamps.last();
        child.wait().expect("it is gone");
        answered = after.or(before).unwrap_or(answered).max(answered);
        let store = open(directory.path());
        for stamp in (answered - 255).max(1)..=answered {
            let found: i64 = get(&store, stamp.to_le_bytes()[0])
                .await
                .expect("there")
                .parse()
                .expect("a number");
            assert!(found >= stamp, "{stamp} was answered, {found} is there");
        }
        assert!(store.highest_stamp().0 - answered <= 1, "more than what was on its way");
        store.close().await.expect("closed");
    }
    assert!(answered > 3_000);
}
