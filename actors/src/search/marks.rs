//! What was committed and is not in the index yet, as far as there is room; of the rest, since when it
//! is missing.

use std::collections::{BTreeMap, HashSet};

use engine::id::{ContactId, ConversationId};
use engine::message::Place;
use engine::time::Timestamp;
use tokio::time::Instant;

use super::pass::{Pass, Since, Step};
use storage::keys::hour;

/// What the index does not say yet.
#[derive(Default)]
pub(super) struct Marks {
    /// What was told as it was committed, shard by shard,
    waiting: BTreeMap<u8, Waiting>,
    /// and what is told late.
    late: HashSet<Mark>,
    /// How many wait.
    count: usize,
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

/// What waits in a shard.
#[derive(Default)]
struct Waiting {
    marks: HashSet<Mark>,
    /// None of it was committed before.
    oldest: Timestamp,
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
        self.count > 0 || !self.lost.is_empty() || self.pass.is_some()
    }

    /// One more that was committed then, if there is room for it: what has none is looked for, unless
    /// somebody comes to it anyway.
    pub(super) fn add(&mut self, mark: Mark, at: Timestamp, room: usize) {
        self.told += 1;
        let (shard, is_late) = (mark.shard(), matches!(mark, Mark::Commit(..)));
        if self.count < room {
            let is_new = match is_late {
                true => self.late.insert(mark),
                false => self.waiting.entry(shard).or_insert(Waiting::since(at)).add(mark, at),
            };
            self.count += usize::from(is_new);
        } else if !self.waits(&mark) && !self.is_come_upon(shard, at) {
            // What was committed before one that is told late is there.
            self.lost.add(shard, at, !is_late);
        }
    }

    fn waits(&self, mark: &Mark) -> bool {
        let in_its_shard = self.waiting.get(&mark.shard());
        in_its_shard.is_some_and(|waiting| waiting.marks.contains(mark)) || self.late.contains(mark)
    }

    fn is_come_upon(&self, shard: u8, at: Timestamp) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.comes_to(shard, at))
    }

    /// Takes those that wait. Where there was no room for all, shards of which some are looked for anyway
    /// are left to that: else it would come upon all that had room once more.
    pub(super) fn take(&mut self, room: usize) -> Vec<Mark> {
        let is_full = self.count >= room;
        let mut taken: Vec<_> = std::mem::take(&mut self.late).into_iter().collect();
        for (shard, Waiting { marks, oldest }) in std::mem::take(&mut self.waiting) {
            if is_full && self.is_come_upon(shard, oldest) {
                continue;
            }
            if is_full && self.lost.of(shard).is_some() {
                self.lost.add(shard, oldest, true);
                continue;
            }
            taken.extend(marks);
        }
        self.count = 0;
        taken
    }

    /// What the pass looks at next, up to this hour; `None`: it was the last, and the pass is over. What
    /// waits there comes with it.
    pub(super) fn step(&mut self, newest: i64) -> Option<Step> {
        let step = self.pass.as_mut().and_then(|pass| pass.step(newest));
        let Some(step) = step else {
            self.pass = None;
            return None;
        };
        let has = |waiting: &Waiting| {
            // It was durable before it was marked, and so before what is read now.
            waiting.oldest >= step.since && hour(waiting.oldest) == step.hour
        };
        if self.waiting.get(&step.shard).is_some_and(has)
            && let Some(waiting) = self.waiting.remove(&step.shard)
        {
            self.count -= waiting.marks.len();
        }
        Some(step)
    }
}

impl Waiting {
    fn since(oldest: Timestamp) -> Self {
        Self { oldest, ..Self::default() }
    }

    /// Whether it did not wait before.
    fn add(&mut self, mark: Mark, at: Timestamp) -> bool {
        self.oldest = self.oldest.min(at);
        self.marks.insert(mark)
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

    /// While three shards are looked through.
    fn looking() -> Marks {
        let mut since = Since::default();
        for shard in [3, 5, 8] {
            since.add(shard, Timestamp(10), true);
        }
        Marks { pass: Pass::missing(since), ..Marks::default() }
    }

    fn taken(marks: &mut Marks, room: usize) -> Vec<Mark> {
        let mut taken = marks.take(room);
        taken.sort_unstable();
        taken
    }

    #[test]
    fn what_has_no_room_is_looked_for_in_its_shard_alone() {
        let mut marks = Marks::default();
        for (at, shard) in [(10, 1), (11, 2), (12, 3), (9, 3)] {
            marks.add(message(shard, 1), Timestamp(at), 2);
        }
        assert_eq!(lost(&marks), [(3, 9)]);
        assert_eq!(taken(&mut marks, 2), [message(1, 1), message(2, 1)], "they had room");
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
        assert_eq!(taken(&mut marks, 4), [message(2, 11), late]);
        assert_eq!(lost(&marks), [(1, 10)], "what had room is looked for with what had none");
        // There is room again: what comes is found soon, whatever else is looked for.
        marks.add(message(1, 14), Timestamp(14), 4);
        assert_eq!(taken(&mut marks, 4), [message(1, 14)]);
    }

    #[test]
    fn what_is_come_upon_is_not_looked_for_anew() {
        let mut marks = looking();
        let step = marks.pass.as_mut().and_then(|pass| pass.step(0)).unwrap();
        assert_eq!(step.shard, 3);
        for shard in [3, 5, 8] {
            marks.add(message(shard, 1), Timestamp(20), 0);
        }
        assert_eq!(lost(&marks), [(3, 20)]);
    }

    #[test]
    fn what_waits_where_a_pass_looks_comes_with_it() {
        let mut marks = looking();
        let late = Mark::Commit(ConversationId(Uuid::from_bytes([3; 16])), 7);
        marks.add(late, Timestamp(20), 9);
        for (shard, at) in [(3, 20), (5, 20), (5, 9), (8, 3_600_000)] {
            marks.add(message(shard, at), Timestamp(at as i64), 9);
        }
        while marks.step(0).is_some() {
            marks.pass.as_mut().unwrap().stepped();
        }
        // One of the fifth is older than what is looked for, that of the eighth of an hour behind it.
        let left = [message(5, 9), message(5, 20), message(8, 3_600_000), late];
        assert_eq!(taken(&mut marks, 9), left);
    }

    #[test]
    fn one_that_is_told_late_and_has_no_room_is_looked_for_among_what_may_be_there() {
        let mut marks = Marks::default();
        marks.add(message(3, 1), Timestamp(20), 0);
        let late = Mark::Commit(ConversationId(Uuid::from_bytes([3; 16])), 7);
        marks.add(late, Timestamp(10), 0);
        let mut pass = Pass::missing(std::mem::take(&mut marks.lost)).unwrap();
        let step = pass.step(0).unwrap();
        assert_eq!((step.since, step.is_missing), (Timestamp(10), false));
    }
}
