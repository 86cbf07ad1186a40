//! What happens, counted as it happens: second by second, and from them phase by phase.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::result::END_TO_END;
use crate::tally::{Outcome, micros};

/// Counts what everybody does at once. What was due before a time does not count.
pub(super) struct Meter(Mutex<(Instant, Counts)>);

/// What happened in some time.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) offered: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) unknown: u64,
    pub(super) duplicates: u64,
    /// Of those, refused or not answered.
    pub(super) duplicates_failed: u64,
    /// Likewise, of those that were asked for.
    pub(super) pages_failed: u64,
    pub(super) delivered: u64,
    /// In microseconds, by what took them.
    pub(super) took: BTreeMap<&'static str, Histogram<u64>>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self(Mutex::new((Instant::now(), Counts::default())))
    }

    /// What is due from this time on counts, and nothing else.
    pub(super) fn begin(&self, from: Instant) {
        *self.lock() = (from, Counts::default());
    }

    /// What happened since this was asked last.
    pub(super) fn take(&self) -> Counts {
        std::mem::take(&mut self.lock().1)
    }

    /// A message became this.
    pub(super) fn ended(&self, due: Instant, outcome: &Outcome) {
        self.count(due, |counts| match outcome {
            Outcome::Answered(200..300) => counts.acknowledged += 1,
            Outcome::Answered(_) => counts.refused += 1,
            Outcome::Broken(_) | Outcome::Unanswered => counts.unknown += 1,
        });
    }

    /// Something took so long.
    pub(super) fn took(&self, due: Instant, what: &'static str, time: Duration) {
        self.count(due, |counts| counts.record(what, micros(time)));
    }

    /// Subscribers were told of events: when, and perhaps when what they tell of was due.
    pub(super) fn told(&self, events: &[(Instant, Option<Instant>)]) {
        let mut inner = self.lock();
        let (from, counts) = &mut *inner;
        for (now, due) in events.iter().filter(|(now, _)| now >= from) {
            counts.delivered += 1;
            if let Some(due) = due.filter(|due| due >= from) {
                counts.record(END_TO_END, micros(now.saturating_duration_since(due)));
            }
        }
    }

    /// Something happened that was due at this time.
    pub(super) fn count(&self, due: Instant, what: impl FnOnce(&mut Counts)) {
        let mut inner = self.lock();
        let (from, counts) = &mut *inner;
        if due >= *from {
            what(counts);
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Instant, Counts)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Adds what happened in other time.
    pub(super) fn add(&mut self, more: &Self) {
        self.offered += more.offered;
        self.acknowledged += more.acknowledged;
        self.refused += more.refused;
        self.unknown += more.unknown;
        self.duplicates += more.duplicates;
        self.duplicates_failed += more.duplicates_failed;
        self.pages_failed += more.pages_failed;
        self.delivered += more.delivered;
        for (what, took) in &more.took {
            // Both grow as they need to.
            let _added = self.of(what).add(took);
        }
    }

    /// What so many in a hundred took at most, in microseconds; `None`: there was none.
    pub(super) fn at(&self, what: &str, quantile: f64) -> Option<u64> {
        let took = self.took.get(what).filter(|took| !took.is_empty())?;
        Some(took.value_at_quantile(quantile))
    }

    fn record(&mut self, what: &'static str, micros: u64) {
        // It grows as it needs to: nothing is too long.
        let _recorded = self.of(what).record(micros);
    }

    fn of(&mut self, what: &'static str) -> &mut Histogram<u64> {
        self.took.entry(what).or_insert_with(|| Histogram::new(3).expect("three digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Counts, Meter};
    use crate::result::END_TO_END;
    use crate::tally::Outcome;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn what_was_due_in_the_warm_up_does_not_count_whenever_it_ends() {
        let (meter, from) = (Meter::new(), Instant::now());
        meter.begin(from);
        let before = from - Duration::from_millis(1);
        meter.ended(before, &Outcome::Answered(200));
        meter.ended(from, &Outcome::Answered(201));
        meter.ended(from, &Outcome::Answered(503));
        meter.ended(from, &Outcome::Unanswered);
        meter.took(before, "acknowledge", Duration::from_secs(9));
        meter.took(from, "acknowledge", Duration::from_millis(3));
        let counts = meter.take();
        assert_eq!((counts.acknowledged, counts.refused, counts.unknown), (1, 1, 1));
        assert!(counts.at("acknowledge", 1.0).unwrap().abs_diff(3_000) < 10);
        assert_eq!(meter.take().acknowledged, 0);
    }

    #[test]
    fn what_subscribers_are_told_counts_from_when_it_is_told_and_takes_from_when_it_was_due() {
        let (meter, from) = (Meter::new(), Instant::now());
        meter.begin(from);
        let at = |millis| from + Duration::from_millis(millis);
        let before = from - Duration::from_millis(1);
        meter.told(&[(before, Some(before)), (at(1), Some(before)), (at(2), None)]);
        meter.told(&[(at(9), Some(at(4)))]);
        let counts = meter.take();
        assert_eq!((counts.delivered, counts.took[END_TO_END].len()), (3, 1));
        assert!(counts.at(END_TO_END, 1.0).unwrap().abs_diff(5_000) < 10);
    }

    #[test]
    fn seconds_add_up_to_their_phase() {
        let mut all = Counts::default();
        for millis in [1, 2, 7_200_000] {
            let mut second = Counts { delivered: 5, ..Counts::default() };
            second.record("end_to_end", millis * 1_000);
            all.add(&second);
        }
        assert_eq!((all.delivered, all.took["end_to_end"].len()), (15, 3));
        assert!(all.at("end_to_end", 1.0).unwrap() > 7_190_000_000);
        assert_eq!(all.at("rest", 0.5), None);
    }
}
