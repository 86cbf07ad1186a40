//! After a start, and each hour: threads that may have been left with something undone are woken. A mark
//! moves over hours in which everything is done, or entered in a later one, so that a start looks at few.

use std::sync::atomic::{AtomicI64, Ordering};

use engine::conversation::{Command, Envelope, Target, Thread};
use engine::fact::By;
use engine::id::{ConversationId, ThreadId};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use storage::conversations::{Conversations, FIRST_HOUR, Worked};
use storage::keys::hour;
use storage::{StoreError, together};
use tokio::sync::Mutex;

use crate::identity::Identities;
use crate::shard::Shards;
use crate::thread::{Order, envelope};
use crate::world::World;

/// Shards that are looked at at once.
const SHARDS: usize = 16;
/// Threads that are taken up at once.
const THREADS: usize = 64;
/// So many hours ahead a clock may have been.
const AHEAD_MAX: i64 = 31 * 24;

/// A start looks at no hour before this one for what was left undone.
pub struct Mark {
    hour: AtomicI64,
    moving: Mutex<()>,
}

/// None is stored.
const NOWHERE: i64 = i64::MIN;

impl Default for Mark {
    fn default() -> Self {
        Self { hour: AtomicI64::new(NOWHERE), moving: Mutex::default() }
    }
}

impl Mark {
    /// Goes back to this hour if it is past it, which it is where the clock was wrong for a while:
    /// comes before something is left undone in it.
    pub async fn reach(&self, hour: i64, world: &World) -> Result<(), StoreError> {
        if hour >= self.hour.load(Ordering::Acquire) {
            return Ok(());
        }
        let _moving = self.moving.lock().await;
        if hour < self.hour.load(Ordering::Acquire) {
            world.conversations.set_swept(0, hour, world.stamps.next()).await?;
            self.hour.store(hour, Ordering::Release);
        }
        Ok(())
    }

    /// Goes on from one hour to another, unless it went back meanwhile.
    async fn go_on(&self, from: i64, to: i64, world: &World) -> Result<(), StoreError> {
        let _moving = self.moving.lock().await;
        let to = match self.hour.load(Ordering::Acquire) {
            back if back != NOWHERE && back < from => back,
            _ => to,
        };
        // Whoever leaves something undone must know of it as soon as it may be stored.
        self.hour.store(to, Ordering::Release);
        world.conversations.set_swept(0, to, world.stamps.next()).await
    }
}

/// Remembers of a new store that nothing was committed before now: comes before the first commit.
pub async fn begin(world: &World) -> Result<(), StoreError> {
    let conversations = &world.conversations;
    let _moving = world.swept.moving.lock().await;
    // A first run that was killed before it had swept has begun all the same.
    let is_new = conversations.began().await? == FIRST_HOUR;
    let (swept, now) = (conversations.swept(0).await?, hour(world.clock.now()));
    world.swept.hour.store(swept.unwrap_or(NOWHERE), Ordering::Release);
    if is_new && swept.is_none() {
        world.swept.hour.store(now, Ordering::Release);
        conversations.set_began(now, world.stamps.next()).await?;
        // Or a start after a kill in this hour would not look at it.
        conversations.set_swept(0, now, world.stamps.next()).await?;
    }
    Ok(())
}

/// Wakes what was left undone, and moves the mark. Answers how many threads were woken.
pub async fn sweep(
    world: &World,
    shards: &Shards,
    identities: &Identities,
) -> Result<usize, StoreError> {
    let conversations = &world.conversations;
    let now = hour(world.clock.now());
    // Where the clock of whoever wrote before is ahead of this one, that was in hours still to come.
    let newest = now.max(hour(world.newest)).min(now + AHEAD_MAX);
    // One process owns all shards: one mark does for all of them.
    let swept = conversations.swept(0).await?;
    // A mark that is still to come is of a clock that was ahead.
    let from = swept.unwrap_or(now).min(now);
    // A commit of the hour before this one may still be on its way.
    let (mark, mut woken, mut again) = (from.max(now - 1), 0, Vec::new());
    for hour in from..=newest {
        let found = stream::iter(0..=u8::MAX).map(|shard| {
            let look = async move |store| undone_in(&Conversations::new(store), shard, hour).await;
            together(conversations.store(), look)
        });
        let found: Vec<_> = found.buffered(SHARDS).try_concat().await?;
        woken += found.len();
        if hour < mark {
            again.extend(found.iter().flat_map(|(thread, undone)| {
                undone.iter().map(|undone| (*thread, undone.entry(now)))
            }));
        }
        // Each waits for several answers of the store: one after another they would take minutes.
        stream::iter(found)
            .for_each_concurrent(THREADS, |(thread, undone)| {
                take_up(shards, identities, thread, undone)
            })
            .await;
    }
    if swept != Some(mark) {
        // Some of it may wait for ever: no start is to look through all hours since then.
        conversations.enter(again, world.stamps.next()).await?;
        world.swept.go_on(from, mark, world).await?;
    }
    Ok(woken)
}

/// Takes up what a thread left undone.
async fn take_up(shards: &Shards, identities: &Identities, thread: ThreadId, undone: Vec<Undone>) {
    for undone in undone {
        match undone {
            Undone::Move => {
                if let Err(error) = identities.settle(thread, &[]).await {
                    tracing::warn!(%thread, %error, "a thread's move is not settled yet");
                }
            }
            Undone::Earlier(case) => look(shards, thread, Target::Conversation(case)).await,
            Undone::Case => look(shards, thread, Target::Current).await,
        }
    }
}

/// Has a thread look at one of its cases, which makes up for what is undone of it.
async fn look(shards: &Shards, thread: ThreadId, target: Target) {
    let look = Envelope { target, ..envelope(By::System, Command::Look) };
    // Whatever it answers, it was woken.
    drop(shards.ask_thread(thread, |reply| Order::new(look, reply)).await);
}

/// What is left undone of a thread.
enum Undone {
    Move,
    /// Messages on their way, or facts of which something may not be derived.
    Case,
    /// The same of an earlier case, whose head lags behind, and which no wake looks at.
    Earlier(ConversationId),
}

impl Undone {
    /// What has it found again in this hour.
    fn entry(&self, hour: i64) -> Worked {
        let case = match self {
            Self::Earlier(case) => Some(*case),
            Self::Move | Self::Case => None,
        };
        Worked { hour, case, undone: true }
    }
}

/// Threads of a shard that were at work in an hour and left something undone, each once.
async fn undone_in(
    conversations: &Conversations,
    shard: u8,
    hour: i64,
) -> Result<Vec<(ThreadId, Vec<Undone>)>, StoreError> {
    let mut worked = conversations.worked(shard, hour).await?;
    worked.retain(|(_, worked)| worked.undone);
    let mut found = Vec::new();
    for of_one in worked.chunk_by(|(one, _), (other, _)| one == other) {
        let thread = of_one[0].0;
        match undone_of(conversations, thread, of_one).await {
            Ok(undone) if undone.is_empty() => {}
            Ok(undone) => found.push((thread, undone)),
            // What cannot be read is in nobody else's way.
            Err(StoreError::Corrupt(why)) => {
                tracing::error!(%thread, why = %why.0, "what a thread left undone cannot be read");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What a thread left undone, which was at work in these cases.
async fn undone_of(
    conversations: &Conversations,
    thread: ThreadId,
    worked: &[(ThreadId, Worked)],
) -> Result<Vec<Undone>, StoreError> {
    let Some(row) = conversations.thread(thread).await? else { return Ok(Vec::new()) };
    let mut undone = Vec::new();
    for case in worked.iter().filter_map(|(_, worked)| worked.case) {
        if row.current != Some(case) && conversations.lags(case).await? {
            undone.push(Undone::Earlier(case));
        }
    }
    if row.is_moving() {
        undone.push(Undone::Move);
    } else if is_undone(conversations, &row).await? {
        undone.push(Undone::Case);
    }
    Ok(undone)
}

async fn is_undone(conversations: &Conversations, row: &Thread) -> Result<bool, StoreError> {
    let Some(current) = row.current else { return Ok(false) };
    let Some(head) = conversations.head(current).await? else { return Ok(true) };
    Ok(!head.clean && conversations.leaves_undone(&head, row) || !head.pending.is_empty())
}
