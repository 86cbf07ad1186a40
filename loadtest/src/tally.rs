//! What became of requests: counts, and how long each took from when it was due.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

/// What became of one request.
pub(crate) enum Outcome {
    Answered(u16),
    Broken(io::Error),
    /// It was still without an answer when the run's patience ended.
    Unanswered,
}

/// Counts of what became of the requests that were due at or after a time: what came before warms
/// up.
pub(crate) struct Tally {
    from: Instant,
    last: Instant,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) unanswered: u64,
    /// In microseconds. A request that was never answered took as long as it was waited for.
    pub(crate) latency: Histogram<u64>,
}

impl Tally {
    pub(crate) fn new(from: Instant) -> Self {
        Self {
            from,
            last: from,
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            unanswered: 0,
            latency: histogram(),
        }
    }

    /// Adds a request that was due at `due` and ended at `now`.
    pub(crate) fn add(&mut self, due: Instant, now: Instant, outcome: Outcome) {
        if due < self.from {
            return;
        }
        match outcome {
            Outcome::Answered(status) => {
                *self.statuses.entry(status).or_default() += 1;
                self.last = self.last.max(now);
            }
            Outcome::Broken(error) => {
                *self.errors.entry(error.kind().to_string()).or_default() += 1;
            }
            Outcome::Unanswered => self.unanswered += 1,
        }
        self.latency.saturating_record(micros(now - due));
    }

    /// Requests that were answered 2xx.
    pub(crate) fn accepted(&self) -> u64 {
        self.statuses.range(200..300).map(|(_, count)| count).sum()
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        let errors: u64 = self.errors.values().sum();
        self.statuses.values().sum::<u64>() + errors + self.unanswered
    }

    /// From the end of the warm-up to the last answer.
    pub(crate) fn elapsed(&self) -> Duration {
        self.last - self.from
    }
}

/// Of microseconds up to an hour, each to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds that a histogram may have")
}

/// At least 1: nothing takes no time.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Tally};
    use std::io::ErrorKind;
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn a_request_took_from_when_it_was_due_whatever_became_of_it() {
        let from = Instant::now();
        let mut tally = Tally::new(from);
        let at = |millis| from + Duration::from_millis(millis);
        tally.add(at(0), at(10), Outcome::Answered(200));
        tally.add(at(0), at(40), Outcome::Answered(503));
        tally.add(at(20), at(100), Outcome::Broken(ErrorKind::ConnectionReset.into()));
        tally.add(at(0), at(5_000), Outcome::Unanswered);
        assert_eq!(tally.latency.len(), 4);
        let near = |found: u64, millis: u64| found.abs_diff(millis * 1000) < millis;
        assert!(near(tally.latency.min(), 10));
        assert!(near(tally.latency.value_at_quantile(0.75), 80));
        assert!(near(tally.latency.max(), 5_000));
        assert_eq!((tally.accepted(), tally.total(), tally.unanswered), (1, 4, 1));
        assert_eq!(tally.elapsed(), Duration::from_millis(40));
    }

    #[test]
    fn what_was_due_while_warming_up_does_not_count() {
        let from = Instant::now();
        let mut tally = Tally::new(from);
        let before = from - Duration::from_millis(1);
        tally.add(before, from + Duration::from_secs(1), Outcome::Answered(200));
        assert_eq!((tally.total(), tally.latency.len()), (0, 0));
    }
}
