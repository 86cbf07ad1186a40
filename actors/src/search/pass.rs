//! What the store is looked through for: hours of shards, each since when something may be missing there.

use std::collections::BTreeMap;

use engine::time::Timestamp;
use storage::keys::hour;

/// Since when something may be missing, shard by shard; of those that are not named nothing is.
#[derive(Clone, Debug, Default)]
pub(super) struct Since(BTreeMap<u8, Missing>);

#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Timestamp,
    /// None of it is in the index; else some of it may be.
    is_all: bool,
}

/// One way through the store, hour by hour and in each shard by shard.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    since: Since,
    /// Everything before this hour of this shard was looked at.
    hour: i64,
    shard: u8,
}

/// What is looked at in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) hour: i64,
    pub(super) shard: u8,
    pub(super) since: Timestamp,
    /// None of it is in the index; else some of it may be.
    pub(super) is_missing: bool,
}

impl Since {
    fn everywhere(since: Timestamp) -> Self {
        let missing = Missing { since, is_all: false };
        Self((0..=u8::MAX).map(|shard| (shard, missing)).collect())
    }

    /// What was committed there, then and later, or `is_all` of it, is missing.
    pub(super) fn add(&mut self, shard: u8, at: Timestamp, is_all: bool) {
        let missing = self.0.entry(shard).or_insert(Missing { since: at, is_all });
        missing.since = at.min(missing.since);
        missing.is_all &= is_all;
    }

    pub(super) fn of(&self, shard: u8) -> Option<Timestamp> {
        self.0.get(&shard).map(|missing| missing.since)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.0.values().map(|missing| missing.since).min()
    }
}

impl Pass {
    /// For all that was committed since then, wherever; some of it may be in the index.
    pub(super) fn everywhere(since: Timestamp) -> Self {
        Self { since: Since::everywhere(since), hour: hour(since), shard: 0 }
    }

    /// For what there was no room for; `None`: nothing.
    pub(super) fn missing(since: Since) -> Option<Self> {
        let hour = hour(since.oldest()?);
        Some(Self { since, hour, shard: 0 })
    }

    /// What is to be looked at next, up to this hour; `None`: that was all.
    pub(super) fn step(&mut self, newest: i64) -> Option<Step> {
        while self.hour <= newest {
            let next = self.since.0.range(self.shard..).next();
            if let Some((&shard, &Missing { since, is_all: is_missing })) = next {
                self.shard = shard;
                if hour(since) <= self.hour {
                    return Some(Step { hour: self.hour, shard, since, is_missing });
                }
            } else {
                self.shard = u8::MAX;
            }
            self.stepped();
        }
        None
    }

    /// It was looked at.
    pub(super) fn stepped(&mut self) {
        match self.shard.checked_add(1) {
            Some(shard) => self.shard = shard,
            None => (self.hour, self.shard) = (self.hour + 1, 0),
        }
    }

    /// Whether what is committed there, and then, is still come upon.
    pub(super) fn comes_to(&self, shard: u8, at: Timestamp) -> bool {
        let is_sought = self.since.of(shard).is_some_and(|since| since <= at);
        is_sought && (hour(at), shard) > (self.hour, self.shard)
    }

    /// Everything older is in the index, as far as this goes.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since.oldest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn steps(pass: &mut Pass, newest: i64) -> Vec<(i64, u8)> {
        let next = || {
            let step = pass.step(newest)?;
            pass.stepped();
            Some((step.hour, step.shard))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_shard_is_looked_through_from_its_own_hour_on_and_those_that_miss_nothing_not_at_all() {
        let mut since = Since::default();
        since.add(7, Timestamp(3 * HOUR + 5), true);
        since.add(255, Timestamp(2 * HOUR), false);
        since.add(7, Timestamp(4 * HOUR), true);
        let mut pass = Pass::missing(since).unwrap();
        let step = pass.step(4).unwrap();
        assert_eq!((step.shard, step.is_missing), (255, false), "some of it may be there");
        assert_eq!(steps(&mut pass, 4), [(2, 255), (3, 7), (3, 255), (4, 7), (4, 255)]);
        assert_eq!(steps(&mut pass, 5), [(5, 7), (5, 255)], "it goes on with what came since");
        let mut all = Pass::everywhere(Timestamp(9 * HOUR));
        assert_eq!(steps(&mut all, 10).len(), 512);
    }

    #[test]
    fn it_comes_to_what_lies_behind_it_and_is_not_older_than_what_it_seeks() {
        let mut since = Since::default();
        for shard in [3, 5, 8] {
            since.add(shard, Timestamp(2 * HOUR + 10), true);
        }
        let mut pass = Pass::missing(since).unwrap();
        while pass.step(2).unwrap().shard < 5 {
            pass.stepped();
        }
        let then = Timestamp(2 * HOUR + 20);
        assert!(pass.comes_to(8, then));
        assert!(!pass.comes_to(5, then), "it is being read, perhaps from before");
        assert!(!pass.comes_to(3, then), "it was read");
        assert!(pass.comes_to(3, Timestamp(3 * HOUR)), "in an hour that is still to come");
        assert!(!pass.comes_to(8, Timestamp(2 * HOUR + 9)), "older than what is sought there");
        assert!(!pass.comes_to(9, then), "nothing is sought there");
    }
}
