//! What may become of a call, how a seed draws it, and what a write that meets it does.

use std::time::Duration;

use crate::error::StoreError;
use crate::port::{Batch, Claim, Key, Store, Swap, Table};
use crate::seed::Chance;

/// What becomes of a call. A read is only ever done, slow or unavailable: every other fate makes
/// it unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As the store below does it.
    Done,
    /// The same, after this time.
    Slow(Duration),
    /// Answered as unavailable, not written.
    Unavailable,
    /// Answered as unknown, written.
    Applied,
    /// Answered as unknown, never written.
    Lost,
    /// Answered as unknown; of a batch only the changes to its first partitions, so many, are
    /// written. A claim or a swap is lost.
    Torn(usize),
    /// The same, but the changes behind them are.
    Behind(usize),
    /// Answered as unknown; written before the call that many calls later, or by
    /// [`Faulty::land`](super::Faulty::land) or [`Late::land`](super::Late::land).
    Late(usize),
}

/// A write, with all that it takes to do it.
#[derive(Clone, Debug)]
pub enum Write {
    /// The argument of [`Store::apply`].
    Apply(Batch),
    /// The arguments of [`Store::claim`].
    Claim { table: &'static Table, key: Key, body: Vec<u8>, ttl: Option<Duration> },
    /// The arguments of [`Store::swap`].
    Swap { table: &'static Table, key: Key, expected: Option<Vec<u8>>, body: Option<Vec<u8>> },
}

/// How often a seeded store misbehaves: of a thousand calls, how many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// [`Fate::Slow`], up to `slowest`.
    pub slow: u64,
    /// The longest time that a slow call takes.
    pub slowest: Duration,
    /// [`Fate::Unavailable`].
    pub unavailable: u64,
    /// [`Fate::Applied`].
    pub applied: u64,
    /// [`Fate::Lost`].
    pub lost: u64,
    /// [`Fate::Torn`] and [`Fate::Behind`].
    pub torn: u64,
    /// [`Fate::Late`], by one to eight calls.
    pub late: u64,
}

pub(super) enum Outcome {
    Applied,
    Claimed(Claim),
    Swapped(Swap),
}

impl Write {
    async fn run(&self, store: &dyn Store) -> Result<Outcome, StoreError> {
        match self.clone() {
            Self::Apply(batch) => store.apply(batch).await.map(|()| Outcome::Applied),
            Self::Claim { table, key, body, ttl } => {
                store.claim(table, key, body, ttl).await.map(Outcome::Claimed)
            }
            Self::Swap { table, key, expected, body } => {
                store.swap(table, key, expected, body).await.map(Outcome::Swapped)
            }
        }
    }

    pub(super) async fn meet(&self, fate: Fate, store: &dyn Store) -> Result<Outcome, StoreError> {
        match fate {
            Fate::Done => self.run(store).await,
            Fate::Slow(time) => {
                tokio::time::sleep(time).await;
                self.run(store).await
            }
            Fate::Unavailable => Err(StoreError::Unavailable("as decided".into())),
            Fate::Applied => self.run(store).await.and_then(|_| unknown()),
            Fate::Lost | Fate::Late(_) => unknown(),
            Fate::Torn(partitions) => self.part(|at| at < partitions, store).await,
            Fate::Behind(partitions) => self.part(|at| at >= partitions, store).await,
        }
    }

    /// Of a batch what changes the partitions that are wanted, in the order in which it names them.
    async fn part(
        &self,
        is_wanted: impl Fn(usize) -> bool,
        store: &dyn Store,
    ) -> Result<Outcome, StoreError> {
        let Self::Apply(batch) = self else { return unknown() };
        let (mut seen, mut changes) = (Vec::new(), Vec::new());
        for change in &batch.changes {
            let place = change.place();
            let known = seen.iter().position(|other| *other == place);
            let at = known.unwrap_or(seen.len());
            if known.is_none() {
                seen.push(place);
            }
            if is_wanted(at) {
                changes.push(change.clone());
            }
        }
        Self::Apply(Batch { stamp: batch.stamp, changes }).run(store).await.and_then(|_| unknown())
    }
}

impl Odds {
    /// What becomes of the next call.
    pub fn draw(&self, chance: &mut Chance) -> Fate {
        let mut at = chance.below(1_000);
        let mut falls_in = |odds: u64| {
            let hit = at < odds;
            at = at.saturating_sub(odds);
            hit
        };
        let fates = [self.slow, self.unavailable, self.applied, self.lost, self.torn, self.late];
        match fates.into_iter().position(&mut falls_in) {
            Some(0) => {
                let most = u64::try_from(self.slowest.as_micros()).unwrap_or(u64::MAX);
                Fate::Slow(Duration::from_micros(chance.below(most.saturating_add(1))))
            }
            Some(1) => Fate::Unavailable,
            Some(2) => Fate::Applied,
            Some(3) => Fate::Lost,
            Some(4) if chance.permille(500) => Fate::Behind(1 + chance.index(3)),
            Some(4) => Fate::Torn(chance.index(4)),
            Some(_) => Fate::Late(1 + chance.index(8)),
            None => Fate::Done,
        }
    }
}

pub(super) async fn land(late: &[Write], store: &dyn Store) {
    for write in late {
        // Whom the answer was for was told long ago that it is unknown.
        let _ = write.run(store).await;
    }
}

pub(super) fn unknown<T>() -> Result<T, StoreError> {
    Err(StoreError::Unknown("as decided".into()))
}
