//! How many commits a second the embedded store answers, and how many share a sync.
//!
//! `cargo run --release -p omnistream-storage --example commits -- [store|bare] [WRITERS] [SECONDS]`
//!
//! Each writer commits what a webhook makes (six rows) and waits for it. `bare` is what this disk
//! and this tree give without a store: one thread that writes and syncs a file, another that
//! brings the same rows, of each key the newest, into a tree. Nothing can be read from it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use engine::time::Timestamp;
use fjall::{Database, KeyspaceCreateOptions};
use storage::embedded::{Embedded, Options};
use storage::tables::{HEADS, LOG, RECENT, REFS, THREADS};
use storage::{Batch, Change, Key, Part, Stamp, Store, Table};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CONVERSATIONS: u64 = 10_000;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let mut words = std::env::args().skip(1);
    let kind = words.next().unwrap_or_else(|| "store".to_owned());
    let writers = words.next().map_or(Ok(64), |word| word.parse())?;
    let seconds = words.next().map_or(Ok(5), |word| word.parse())?;
    let directory = tempfile::tempdir_in(".")?;
    let time = Duration::from_secs(seconds);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match kind.as_str() {
        "store" => runtime.block_on(store(directory.path(), writers, time)),
        "bare" => runtime.block_on(bare(directory.path(), writers, time)),
        other => Err(format!("neither `store` nor `bare`: {other}").into()),
    }
}

/// What the webhook number `n` writes.
fn webhook(n: u64) -> [(&'static Table, Key, Vec<u8>); 6] {
    let (conversation, seq) = (n % CONVERSATIONS, n / CONVERSATIONS);
    let id = Part::Uuid((u128::from(conversation) << 32).to_be_bytes());
    let log = |kind| {
        let place = vec![Part::Int(kind), Part::Int(seq.cast_signed())];
        Key::new(vec![id.clone(), Part::Int(0)], place)
    };
    let alone = || Key::new(vec![id.clone()], vec![]);
    let external = Part::Text(format!("wamid.{n:032}").into());
    let body = |length: usize| {
        let mut bytes = vec![0; length];
        let mut at = n;
        bytes.iter_mut().for_each(|byte| {
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = at.to_be_bytes()[0];
        });
        bytes
    };
    [
        (&LOG, log(0), body(250)),
        (&LOG, log(1), body(450)),
        (&REFS, Key::new(vec![Part::Uuid([0; 16]), external], vec![]), body(40)),
        (&THREADS, alone(), body(150)),
        (&HEADS, alone(), body(400)),
        (&RECENT, alone(), body(300)),
    ]
}

/// Runs writers until the time is over; answers commits per second and prints them with the
/// slowest of a hundred.
async fn write<F: Future<Output = ()> + Send>(
    writers: u64,
    time: Duration,
    commit: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Result<(), Failed> {
    let number = Arc::new(AtomicU64::new(0));
    let (mut tasks, start) = (JoinSet::new(), Instant::now());
    for _ in 0..writers {
        let (number, commit) = (number.clone(), commit.clone());
        tasks.spawn(async move {
            let mut taken = Vec::new();
            while start.elapsed() < time {
                let begin = Instant::now();
                commit(number.fetch_add(1, Ordering::Relaxed)).await;
                taken.push(begin.elapsed());
            }
            taken
        });
    }
    let mut taken = tasks.join_all().await.concat();
    let rate = taken.len() as f64 / start.elapsed().as_secs_f64();
    if taken.is_empty() {
        return Err("no time for a commit".into());
    }
    taken.sort_unstable();
    let at = |percent: usize| taken[(taken.len() - 1) * percent / 100];
    let (half, most) = (at(50), at(99));
    writeln!(io::stdout(), "{rate:.0} commits/s, half in {half:.1?}, 99 of 100 in {most:.1?}")?;
    Ok(())
}

async fn store(path: &Path, writers: u64, time: Duration) -> Result<(), Failed> {
    let options = Options::new(path, Arc::new(|| Timestamp(1_790_000_000_000)));
    let store = Embedded::open(options, |cause| panic!("{cause}"))?;
    let store = Arc::new(store);
    let committing = store.clone();
    write(writers, time, move |n| {
        let store = committing.clone();
        async move {
            let put = |(table, key, body)| Change::Put { table, key, body, ttl: None };
            let changes = webhook(n).map(put).to_vec();
            let batch = Batch { stamp: Stamp((n + 1).cast_signed()), changes };
            store.apply(batch).await.expect("written");
        }
    })
    .await?;
    let stats = store.stats();
    let shared = stats.batches as f64 / stats.groups as f64;
    writeln!(io::stdout(), "{shared:.1} commits per sync; {stats:?}")?;
    store.close().await?;
    Ok(())
}

/// The rows of a commit, and whom to tell.
struct Commit {
    rows: Vec<(bool, Vec<u8>, Vec<u8>)>,
    done: oneshot::Sender<()>,
}

async fn bare(path: &Path, writers: u64, time: Duration) -> Result<(), Failed> {
    let file = File::create(path.join("log"))?;
    let zeros = vec![0; 1 << 20];
    for at in 0..512 {
        file.write_all_at(&zeros, at << 20)?;
    }
    file.sync_all()?;
    let (commits, waiting) = channel::<Commit>();
    let (follow, followed) = channel();
    let log = thread::spawn(move || answer(&file, &waiting, &follow));
    let path = path.join("tree");
    let tree = thread::spawn(move || bring(&path, &followed));
    write(writers, time, move |n| {
        let commits = commits.clone();
        async move {
            let (done, answered) = oneshot::channel();
            let row = |(table, key, body): (&Table, Key, Vec<u8>)| {
                let mut bytes = table.number.to_be_bytes().to_vec();
                for part in key.partition.iter().chain(&key.clustering) {
                    match part {
                        Part::Int(int) => bytes.extend_from_slice(&int.to_be_bytes()),
                        Part::Uuid(id) => bytes.extend_from_slice(id),
                        Part::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                    }
                }
                (table.shape == storage::Shape::Appended, bytes, body)
            };
            commits.send(Commit { rows: webhook(n).map(row).to_vec(), done }).expect("it answers");
            answered.await.expect("it answers");
        }
    })
    .await?;
    log.join().expect("it ends")?;
    tree.join().expect("it ends")?;
    Ok(())
}

type Followed = Vec<(bool, Vec<u8>, Vec<u8>)>;

fn answer(file: &File, waiting: &Receiver<Commit>, follow: &Sender<Followed>) -> io::Result<()> {
    let (mut at, mut frame, mut groups, mut answered) = (0, Vec::new(), 0_u64, 0);
    while let Ok(first) = waiting.recv() {
        frame.clear();
        let (mut done, mut rows) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(commit) = next {
            for (_, key, body) in &commit.rows {
                frame.extend_from_slice(&u32::try_from(key.len()).expect("short").to_le_bytes());
                frame.extend_from_slice(&u32::try_from(body.len()).expect("short").to_le_bytes());
                frame.extend_from_slice(key);
                frame.extend_from_slice(body);
            }
            rows.extend(commit.rows);
            done.push(commit.done);
            next = if frame.len() < 1 << 20 { waiting.try_recv().ok() } else { None };
        }
        frame.extend_from_slice(&crc32fast::hash(&frame).to_le_bytes());
        if at + frame.len() as u64 > 512 << 20 {
            at = 0;
        }
        file.write_all_at(&frame, at)?;
        file.sync_data()?;
        at += frame.len() as u64;
        (groups, answered) = (groups + 1, answered + done.len() as u64);
        // Both ends live as long as somebody waits.
        let _ = follow.send(rows);
        for done in done {
            let _ = done.send(());
        }
    }
    let shared = answered as f64 / groups as f64;
    writeln!(io::stdout(), "{shared:.1} commits per sync")
}

fn bring(path: &Path, followed: &Receiver<Followed>) -> Result<(), fjall::Error> {
    let database = Database::builder(path).worker_threads(2).open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(64 << 20);
    let (appended, overwritten) =
        (database.keyspace("appended", options)?, database.keyspace("overwritten", options)?);
    while let Ok(mut rows) = followed.recv() {
        rows.extend(followed.try_iter().take(200).flatten());
        let mut batch = database.batch();
        let mut newest = HashMap::new();
        for (written_once, key, body) in rows {
            if written_once {
                batch.insert(&appended, key, body);
            } else {
                newest.insert(key, body);
            }
        }
        newest.into_iter().for_each(|(key, body)| batch.insert(&overwritten, key, body));
        batch.commit()?;
    }
    Ok(())
}
