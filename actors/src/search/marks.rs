//! What was committed and is not in the index yet, as far as there is room; of the rest, since when it
//! is missing.

use std::collections::HashSet;

use engine::id::{ContactId, ConversationId};
use engine::message::Place;
use engine::time::Timestamp;
use tokio::time::Instant;

use super::pass::{Pass, Since};

/// What the index does not say yet.
#[derive(Default)]
pub(super) struct Marks {
    waiting: HashSet<Mark>,
    /// What of them was told as it was committed is not older.
    oldest: Since,
    /// There was no room for what happened since then.
    pub(super) lost: Since,
    /// What the store is looked through for.
    pub(super) pass: Option<Pass>,
    /// How many were told since somebody last asked.
    pub(super) told: usize,
    /// Nothing was committed later, unless the clock says that it is.
    pub(super) newest: Timestamp,
    /// Since when the first of them waits.
    pub(super) since: Option<Instant>,
    /// The same of those that were taken, and are not in the index yet.
    pub(super) taken: Option<Instant>,
}

/// What is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Mark {
    /// One that was there before is in the index, perhaps.
    Contact {
        id: ContactId,
        was_there: bool,
    },
    Message(ConversationId, Place),
    /// The messages of the commit that holds this seq.
    Commit(ConversationId, u64),
}

impl Mark {
    pub(super) fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Contact { .. } => None,
            Self::Message(of, _) | Self::Commit(of, _) => Some(*of),
        }
    }

    fn shard(&self) -> u8 {
        match self {
            Self::Contact { id, .. } => id.shard(),
            Self::Message(of, _) | Self::Commit(of, _) => of.shard(),
        }
    }
}

impl Marks {
    /// Nothing, over a store in which nothing is newer.
    pub(super) fn since(newest: Timestamp) -> Self {
        Self { newest, ..Self::default() }
    }

    pub(super) fn is_some(&self) -> bool {
        !self.waiting.is_empty() || !self.lost.is_empty() || self.pass.is_some()
    }

    /// One more that was committed then, if there is room for it: what has none is looked for, unless
    /// somebody comes to it anyway.
    pub(super) fn add(&mut self, mark: Mark, at: Timestamp, room: usize) {
        self.told += 1;
        if self.waiting.len() < room {
            if !matches!(mark, Mark::Commit(..)) {
                self.oldest.add(mark.shard(), at);
            }
            self.waiting.insert(mark);
        } else if !self.waiting.contains(&mark) && !self.is_come_upon(mark.shard(), at) {
            self.lost.add(mark.shard(), at);
        }
    }

    fn is_come_upon(&self, shard: u8, at: Timestamp) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.comes_to(shard, at))
    }

    /// Takes those that wait. Where there was no room for all, shards of which some are looked for anyway
    /// are left to that: else it would come upon all that had room once more.
    pub(super) fn take(&mut self, room: usize) -> HashSet<Mark> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let oldest = std::mem::take(&mut self.oldest);
        if waiting.len() >= room {
            waiting.retain(|mark| {
                // One that is told late is older than the others, which would be looked for with it.
                let is_late = matches!(mark, Mark::Commit(..));
                let shard = mark.shard();
                let Some(oldest) = oldest.of(shard).filter(|_| !is_late) else { return true };
                if self.is_come_upon(shard, oldest) {
                    return false;
                }
                let is_lost = self.lost.of(shard).is_some();
                if is_lost {
                    self.lost.add(shard, oldest);
                }
                !is_lost
            });
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn message(shard: u8, ordinal: u64) -> Mark {
        let of = ConversationId(Uuid::from_bytes([shard; 16]));
        Mark::Message(of, Place { block: 0, ordinal })
    }

    fn lost(marks: &Marks) -> Vec<(u8, i64)> {
        let all = (0..=u8::MAX).filter_map(|shard| Some((shard, marks.lost.of(shard)?.0)));
        all.collect()
    }

    #[test]
    fn what_has_no_room_is_looked_for_in_its_shard_alone() {
        let mut marks = Marks::default();
        for (at, shard) in [(10, 1), (11, 2), (12, 3), (9, 3)] {
            marks.add(message(shard, 1), Timestamp(at), 2);
        }
        assert_eq!(lost(&marks), [(3, 9)]);
        let waiting = marks.take(2);
        assert_eq!(waiting, HashSet::from([message(1, 1), message(2, 1)]), "they had room");
    }

    #[test]
    fn of_a_shard_that_is_looked_for_nothing_is_brought_in_twice() {
        let mut marks = Marks::default();
        let late = Mark::Commit(ConversationId(Uuid::from_bytes([1; 16])), 7);
        marks.add(late, Timestamp(1), 4);
        for (at, shard) in [(10, 1), (11, 2), (12, 1), (13, 1)] {
            marks.add(message(shard, at), Timestamp(at as i64), 4);
        }
        assert_eq!(lost(&marks), [(1, 13)]);
        assert_eq!(marks.take(4), HashSet::from([late, message(2, 11)]));
        assert_eq!(lost(&marks), [(1, 10)], "what had room is looked for with what had none");
        // There is room again: what comes is found soon, whatever else is looked for.
        marks.add(message(1, 14), Timestamp(14), 4);
        assert_eq!(marks.take(4), HashSet::from([message(1, 14)]));
    }

    #[test]
    fn what_is_come_upon_is_not_looked_for_anew() {
        let mut since = Since::default();
        for shard in [3, 5, 8] {
            since.add(shard, Timestamp(10));
        }
        let mut marks = Marks { pass: Pass::missing(since), ..Marks::default() };
        let step = marks.pass.as_mut().and_then(|pass| pass.step(0)).unwrap();
        assert_eq!(step.shard, 3);
        for shard in [3, 5, 8] {
            marks.add(message(shard, 1), Timestamp(20), 0);
        }
        assert_eq!(lost(&marks), [(3, 20)]);
    }
}
