//! What a desk is made with.

use std::time::Duration;

use engine::conversation::Rules;
use engine::time::Timestamp;
use storage::dead_letters::LetterLimits;

use crate::permits::{Amount, Marks, PermitLimits};
use crate::waiting::WaitingLimits;
use crate::world::Decide;

/// What a desk is made with.
pub struct DeskOptions {
    pub rules: Rules,
    pub permits: PermitLimits,
    /// Webhooks and people's commands that are worked on at once.
    pub turns: usize,
    pub waiting: WaitingLimits,
    /// An item of a webhook that its thread has not taken after so long waits.
    pub patience: Duration,
    /// Actors that nobody spoke to for so long leave memory.
    pub idle_after: Duration,
    /// Over so many the one that has been idle longest leaves.
    pub live_actors: usize,
    /// At most so many handles of customers are remembered.
    pub known_handles: usize,
    /// How many others one contact may be suggested to be.
    pub merge_suggestions: usize,
    /// Pages of messages that are kept as they were sent, in bytes.
    pub page_bytes: usize,
    /// What is kept of one tenant's dead letters.
    pub dead_letters: LetterLimits,
    /// Webhooks with history that are imported at once.
    pub imports: usize,
    /// Something that panics so often is not tried any more.
    pub poison_attempts: u8,
    pub decide: Decide,
    /// Nothing in the store was written later, unless the clock says that it is.
    pub newest: Timestamp,
    /// Shard actors; at most 256.
    pub shards: usize,
    /// Ids are minted from this seed instead of the machine's randomness.
    pub seed: Option<u64>,
}

impl Default for DeskOptions {
    /// A small desk, at which nothing waits because it takes long.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        let most = Amount { items: 10_000, bytes: 1 << 30 };
        let marks = Marks { ephemeral: 70, receipts: 85, messages: 95 };
        Self {
            rules: Rules {
                reopen_within: day,
                recent_ids: 64,
                send_ladder: vec![Duration::from_secs(1)],
                pair_ladder: vec![Duration::from_secs(1)],
                pending_max: 100,
                parked_max: 16,
            },
            permits: PermitLimits { node: most, tenant: most, thread: 1_000, marks },
            turns: 1_000,
            waiting: WaitingLimits { thread: most, tenant: most, node: most },
            patience: day,
            idle_after: Duration::from_secs(60),
            live_actors: 100,
            known_handles: 1_000,
            merge_suggestions: 5,
            page_bytes: 1 << 20,
            dead_letters: LetterLimits { letters: 100, bytes: 1 << 20 },
            imports: 1,
            poison_attempts: 3,
            decide: engine::conversation::decide,
            newest: Timestamp(0),
            shards: 4,
            seed: None,
        }
    }
}
