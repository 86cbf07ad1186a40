//! Takes out what waits: a few threads at once, the tenants in turn, each thread's rows in order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use engine::id::ThreadId;
use storage::waiting::{Body, Spot};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Found, Row, Waiting};
use crate::failure::Failure;
use crate::ingress::{Ingress, Item, Sent};
use crate::reply::Chain;

/// The drain, at work until it is stopped or dropped.
pub struct Drain {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Threads whose rows are taken out at once, and about how many bytes of them: a row may be as large as a
/// webhook.
const TURNS: usize = 64;
const BYTES: u32 = 16 << 20;
/// An answer comes, however long the store takes, or it is known that none will. What was tried again
/// before that would be in its thread's queue once more, and that queue is counted by the turns alone.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The first wait after a failure; it doubles up to [`WAIT_MAX`].
const WAIT: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A row of a turn, on its way.
enum Step {
    Sent(Sent),
    /// It is not there, or what it said was kept elsewhere.
    Done,
    Unreadable(Body),
}

impl Drain {
    /// Begins.
    pub fn start(waiting: Arc<Waiting>, ingress: Arc<Ingress>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(waiting, ingress, stopped));
        Self { stop: Some(stop), task }
    }

    /// Begins no more turns, and ends those that have begun, for so long at most: what they leave
    /// is taken out after the next start.
    pub async fn stop(&mut self, within: Duration) {
        self.stop = None;
        if timeout(within, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(waiting: Arc<Waiting>, ingress: Arc<Ingress>, mut stopped: oneshot::Receiver<()>) {
    tokio::select! {
        () = load(&waiting) => {}
        _ = &mut stopped => return,
    }
    let (mut turns, mut threads) = (JoinSet::new(), HashMap::new());
    // Those that wait after a failure, and how often each failed.
    let (mut later, mut failures) = (BTreeSet::new(), HashMap::new());
    let bytes = Arc::new(Semaphore::new(BYTES as usize));
    loop {
        while turns.len() < TURNS
            && let Some(thread) = waiting.next()
        {
            // Here: a turn that has begun is ended once, and by nobody else.
            let Found::Rows(page) = waiting.begin(thread) else {
                failures.remove(&thread);
                continue;
            };
            let (waiting, ingress, bytes) = (waiting.clone(), ingress.clone(), bytes.clone());
            let turn = async move { turn(&waiting, &ingress, &bytes, (thread, page)).await };
            threads.insert(turns.spawn(turn).id(), thread);
        }
        let first: Option<(Instant, ThreadId)> = later.first().copied();
        tokio::select! {
            Some(ended) = turns.join_next_with_id() => {
                let (id, ended) = match ended {
                    Ok(ended) => ended,
                    // A panic is a bug of ours; what waits is tried again all the same.
                    Err(panic) => (panic.id(), Err(Failure::Unavailable)),
                };
                let Some(thread) = threads.remove(&id) else { continue };
                match ended {
                    Ok(()) => {
                        failures.remove(&thread);
                        waiting.end(thread);
                    }
                    Err(failure) => {
                        let failed = failures.entry(thread).or_insert(0_u32);
                        tracing::debug!(%thread, %failure, failed, "what waits has to wait on");
                        let wait = (WAIT * 2_u32.saturating_pow(*failed).min(1000)).min(WAIT_MAX);
                        *failed += 1;
                        later.insert((Instant::now() + wait, thread));
                    }
                }
            },
            () = waiting.called.notified(), if turns.len() < TURNS => {}
            () = sleep_until(first.map_or_else(Instant::now, |(at, _)| at)), if first.is_some() => {
                if let Some((_, thread)) = later.pop_first() {
                    waiting.end(thread);
                }
            }
            _ = &mut stopped => break,
        }
    }
    bytes.close();
    turns.join_all().await;
}

/// Finds what an earlier run left, however long the store takes for it.
async fn load(waiting: &Waiting) {
    let mut wait = WAIT;
    for shard in 0..=u8::MAX {
        while let Err(error) = waiting.load(shard).await {
            tracing::warn!(%error, "what waits cannot be found yet");
            sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }
}

/// A thread's turn: some of its rows go to it, one behind the other, and what is done is deleted.
async fn turn(
    waiting: &Arc<Waiting>,
    ingress: &Ingress,
    room: &Semaphore,
    (thread, page): (ThreadId, Vec<(Spot, Row)>),
) -> Result<(), Failure> {
    let Some((_, first)) = page.first() else { return Ok(()) };
    let bytes = page.iter().map(|(_, row)| row.bytes).sum();
    // One that is larger than all of it goes alone.
    let taken = u32::try_from(bytes).map_or(BYTES, |bytes| bytes.min(BYTES));
    // Behind a stop nothing more is taken out.
    let Ok(_room) = room.acquire_many(taken).await else { return Ok(()) };
    let _turn = ingress.turns.take_waited(first.tenant, bytes).await;
    let rows = waiting.read(&page).await?;
    let chain = Chain::default();
    let send = |(spot, body): (Spot, Option<Body>)| {
        let Some(body) = body else { return (spot, Step::Done) };
        let item = body.item().ok().and_then(|item| Item::of(thread, item));
        let send = |item| Step::Sent(ingress.again(item, &chain));
        (spot, item.map_or(Step::Unreadable(body), send))
    };
    let steps: Vec<_> = rows.into_iter().map(send).collect();
    let (mut done, mut failure) = (Vec::with_capacity(steps.len()), None);
    for (spot, step) in steps {
        let ended = match step {
            Step::Sent(sent) => ingress.end(sent, Instant::now() + PATIENCE).await,
            Step::Done => Ok(()),
            Step::Unreadable(body) => ingress.bury_waiting(&body).await,
        };
        match ended {
            Ok(()) => done.push(spot),
            Err(failed) => {
                failure = Some(failed);
                break;
            }
        }
    }
    if !done.is_empty() {
        waiting.delete(&done).await?;
    }
    failure.map_or(Ok(()), Err)
}
