//! After a start: threads that may have been left with something undone are woken. A mark moves
//! over the hours in which everything is done, so that a start looks at few.

use engine::conversation::{Command, Thread};
use engine::fact::By;
use storage::StoreError;
use storage::conversations::Conversations;
use storage::keys::hour;

use crate::identity::Identities;
use crate::shard::Shards;
use crate::thread::{Order, envelope};
use crate::world::World;

/// Wakes what was left undone, and moves the mark. Answers how many threads were woken.
pub async fn sweep(
    world: &World,
    shards: &Shards,
    identities: &Identities,
) -> Result<usize, StoreError> {
    let conversations = &world.conversations;
    let now = hour(world.clock.now());
    // One process owns all shards: one mark does for all of them.
    let swept = conversations.swept(0).await?;
    if swept.is_none() {
        conversations.set_began(now, world.stamps.next()).await?;
    }
    // A mark that is still to come is of a clock that was ahead.
    let from = swept.unwrap_or(now).min(now);
    let (mut mark, mut woken) = (from, 0);
    for hour in from..=now {
        let mut undone = 0;
        for shard in 0..=u8::MAX {
            let mut dirty = conversations.dirty(shard, hour).await?;
            dirty.dedup_by_key(|(thread, _)| *thread);
            for (thread, _) in dirty {
                let Some(row) = conversations.thread(thread).await? else { continue };
                if row.moved_to.is_some() && !row.settled {
                    undone += 1;
                    if let Err(error) = identities.settle(thread, &[]).await {
                        tracing::warn!(%thread, %error, "a thread's move is not settled yet");
                    }
                } else if is_undone(conversations, &row).await? {
                    undone += 1;
                    let look = envelope(By::System, Command::Look);
                    // Whatever it answers, it was woken.
                    drop(shards.ask_thread(thread, |reply| Order::new(look, reply)).await);
                }
            }
        }
        woken += undone;
        // A commit of the hour before this one may still be on its way.
        if undone == 0 && mark == hour && hour + 1 < now {
            mark = hour + 1;
        }
    }
    if swept != Some(mark) {
        conversations.set_swept(0, mark, world.stamps.next()).await?;
    }
    Ok(woken)
}

/// Whether a thread has messages on their way, or facts of which something may not be derived.
async fn is_undone(conversations: &Conversations, row: &Thread) -> Result<bool, StoreError> {
    let Some(current) = row.current else { return Ok(false) };
    let Some(head) = conversations.head(current).await? else { return Ok(true) };
    let guarantees = conversations.guarantees();
    let derived = head.clean || (guarantees.atomic && guarantees.settled);
    Ok(!derived || !head.pending.is_empty())
}
