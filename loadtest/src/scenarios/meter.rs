//! What happens, counted twice: second by second as it happens, and phase by phase as it was due.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::result::END_TO_END;
use crate::tally::{Outcome, micros};

/// Counts what everybody does at once.
pub(super) struct Meter(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// What happened since it was taken last, whenever it was due.
    now: Counts,
    spans: Vec<Span>,
}

/// A phase: what became of all that was due in it, however late.
struct Span {
    from: Instant,
    until: Option<Instant>,
    counts: Counts,
}

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
        Self(Mutex::default())
    }

    /// A phase begins; answers its number. One without an end ends with the begin of the next.
    pub(super) fn begin(&self, from: Instant, until: Option<Instant>) -> usize {
        let mut inner = self.lock();
        if let Some(last) = inner.spans.last_mut() {
            last.until.get_or_insert_with(Instant::now);
        }
        inner.spans.push(Span { from, until, counts: Counts::default() });
        inner.spans.len() - 1
    }

    /// What happened since this was asked last.
    pub(super) fn take(&self) -> Counts {
        std::mem::take(&mut self.lock().now)
    }

    /// What became of what was due in a phase, once.
    pub(super) fn take_phase(&self, phase: usize) -> Counts {
        let mut inner = self.lock();
        inner.spans.get_mut(phase).map(|span| std::mem::take(&mut span.counts)).unwrap_or_default()
    }

    /// What so many in a hundred took at most that were due in a phase, so far.
    pub(super) fn at(&self, phase: usize, what: &str, quantile: f64) -> Option<u64> {
        self.lock().spans.get(phase)?.counts.at(what, quantile)
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
        for (now, due) in events {
            inner.count(due.unwrap_or(*now), |counts| {
                counts.delivered += 1;
                if let Some(due) = due {
                    counts.record(END_TO_END, micros(now.saturating_duration_since(*due)));
                }
            });
        }
    }

    /// Something happened that was due at this time.
    pub(super) fn count(&self, due: Instant, what: impl Fn(&mut Counts)) {
        self.lock().count(due, what);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&mut self, due: Instant, what: impl Fn(&mut Counts)) {
        what(&mut self.now);
        let is_due =
            |span: &&mut Span| due >= span.from && span.until.is_none_or(|until| due < until);
        // The last is nearly always the one.
        if let Some(span) = self.spans.iter_mut().rev().find(is_due) {
            what(&mut span.counts);
        }
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

    fn after(from: Instant, millis: u64) -> Instant {
        from + Duration::from_millis(millis)
    }

    #[test]
    fn what_was_due_in_the_warm_up_is_in_its_second_and_in_no_phase() {
        let (meter, from) = (Meter::new(), Instant::now());
        let phase = meter.begin(from, None);
        let before = from - Duration::from_millis(1);
        meter.ended(before, &Outcome::Answered(200));
        meter.ended(from, &Outcome::Answered(201));
        meter.ended(from, &Outcome::Answered(503));
        meter.ended(from, &Outcome::Unanswered);
        meter.took(before, "acknowledge", Duration::from_secs(9));
        meter.took(from, "acknowledge", Duration::from_millis(3));
        assert!(meter.at(phase, "acknowledge", 1.0).unwrap().abs_diff(3_000) < 10);
        let (counts, second) = (meter.take_phase(phase), meter.take());
        assert_eq!((counts.acknowledged, counts.refused, counts.unknown), (1, 1, 1));
        assert_eq!((second.acknowledged, second.refused, second.unknown), (2, 1, 1));
        assert_eq!((meter.take_phase(phase).acknowledged, meter.take().acknowledged), (0, 0));
    }

    #[test]
    fn what_ends_after_its_phase_is_of_the_phase_in_which_it_was_due() {
        let (meter, from) = (Meter::new(), Instant::now());
        let first = meter.begin(from, Some(after(from, 10)));
        meter.took(after(from, 9), "rest", Duration::from_secs(5));
        let second = meter.begin(after(from, 20), Some(after(from, 30)));
        meter.told(&[(after(from, 25), Some(after(from, 9))), (after(from, 26), None)]);
        meter.ended(after(from, 9), &Outcome::Answered(200));
        // Between the two: of neither.
        meter.ended(after(from, 15), &Outcome::Answered(200));
        meter.told(&[(after(from, 12), None)]);
        let (first, second) = (meter.take_phase(first), meter.take_phase(second));
        assert_eq!((first.acknowledged, first.delivered), (1, 1));
        assert_eq!((second.acknowledged, second.delivered), (0, 1));
        assert!(first.at(END_TO_END, 1.0).unwrap().abs_diff(16_000) < 20);
        assert_eq!((first.took["rest"].len(), second.took.len()), (1, 0));
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
