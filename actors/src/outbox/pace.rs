//! How fast an account sends: over all, and to each of its customers.

use std::collections::HashMap;
use std::time::Duration;

use engine::id::ThreadId;
use tokio::time::Instant;

/// The pace of an account over all: evenly spaced, slower for a while when the provider says that
/// it is too much. So it comes to rest just below what the provider takes.
pub(super) struct Pace {
    /// Messages a second.
    usual: f64,
    rate: f64,
    next: Instant,
    slowed: Instant,
    /// Until when the provider wants to be left alone.
    rests: Instant,
}

/// A slowed account sends at least one message in this time.
const SLOWEST: Duration = Duration::from_secs(30);
/// What remains of the rate when the provider says that it is too much.
const SLOWED: f64 = 0.75;
/// By what part the rate grows again with each message that is taken, and by how much at least.
const RECOVERY: f64 = 0.005;
const RECOVERY_MIN: f64 = 0.25;
/// Timers are late: what was missed so shortly before is made up for.
const SLACK: Duration = Duration::from_millis(20);

impl Pace {
    pub(super) fn new(rate: u32) -> Self {
        let (rate, now) = (f64::from(rate.max(1)), Instant::now());
        Self { usual: rate, rate, next: now, slowed: now, rests: now }
    }

    /// From now on this is the usual rate.
    pub(super) fn set(&mut self, rate: u32) {
        let rate = f64::from(rate.max(1));
        if (rate - self.usual).abs() > f64::EPSILON {
            self.rate *= rate / self.usual;
            self.usual = rate;
        }
    }

    /// When the next message may go.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// A message goes.
    pub(super) fn take(&mut self, now: Instant) {
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        self.next = self.next.max(earliest) + Duration::from_secs_f64(1.0 / self.rate);
    }

    /// The provider took less than it was given, by a request that left at `left`. What left before
    /// the last time it was slowed says nothing new.
    pub(super) fn slow(&mut self, left: Instant, now: Instant) {
        if left >= self.slowed {
            self.rate = (self.rate * SLOWED).max(1.0 / SLOWEST.as_secs_f64());
            self.slowed = now;
        }
    }

    /// Nothing goes until then.
    pub(super) fn rest(&mut self, until: Instant) {
        self.rests = self.rests.max(until);
        self.next = self.next.max(until);
    }

    /// Messages a second, and for how long nothing goes.
    pub(super) fn now(&self, now: Instant) -> (f64, Duration) {
        (self.rate, self.rests.saturating_duration_since(now))
    }

    /// A little faster again, up to the usual rate.
    pub(super) fn recover(&mut self) {
        self.rate = (self.rate + (self.rate * RECOVERY).max(RECOVERY_MIN)).min(self.usual);
    }
}

/// A token bucket for each customer, forgotten when it is full again.
pub(super) struct Pairs {
    burst: u32,
    every: Duration,
    /// When each bucket that is not full will be.
    full_at: HashMap<ThreadId, Instant>,
    /// At so many the full ones are looked for.
    sweep_at: usize,
}

/// Buckets that are kept without looking.
const SWEEP_MIN: usize = 1_024;

impl Pairs {
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self { burst: burst.max(1), every, full_at: HashMap::new(), sweep_at: SWEEP_MIN }
    }

    /// When the customer may get the next message.
    pub(super) fn free_at(&self, thread: ThreadId, now: Instant) -> Instant {
        let full_at = self.full_at.get(&thread).copied().unwrap_or(now);
        full_at.checked_sub(self.every * (self.burst - 1)).unwrap_or(now).max(now)
    }

    /// The customer gets a message.
    pub(super) fn take(&mut self, thread: ThreadId, now: Instant) {
        if self.full_at.len() >= self.sweep_at {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.sweep_at = (self.full_at.len() * 2).max(SWEEP_MIN);
        }
        let full_at = self.full_at.entry(thread).or_insert(now);
        *full_at = (*full_at).max(now) + self.every;
    }

    /// The provider says that the bucket is empty, and stays so for so long.
    pub(super) fn empty(&mut self, thread: ThreadId, now: Instant, wait: Duration) {
        let empty = now + wait.max(self.every) + self.every * (self.burst - 1);
        let full_at = self.full_at.entry(thread).or_insert(empty);
        *full_at = (*full_at).max(empty);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::id::ThreadId;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{Pace, Pairs, SWEEP_MIN};

    fn thread(n: usize) -> ThreadId {
        ThreadId(Uuid::from_u128(n as u128))
    }

    /// How many messages of a minute a provider takes that lets through so many a second, a second's
    /// worth of them at once; and how many it refuses.
    fn against(limit: u32, rate: u32) -> (u32, u32) {
        let (mut pace, mut now) = (Pace::new(rate), Instant::now());
        let (mut bucket, provider) = (Pairs::new(limit, Duration::from_secs(1) / limit), thread(0));
        let (end, mut taken, mut refused) = (now + Duration::from_secs(60), 0, 0);
        while now < end {
            pace.take(now);
            if bucket.free_at(provider, now) == now {
                bucket.take(provider, now);
                taken += 1;
                pace.recover();
            } else {
                refused += 1;
                pace.slow(now, now);
            }
            now = now.max(pace.next());
        }
        (taken, refused)
    }

    #[test]
    fn a_pace_above_the_limit_settles_just_below_it() {
        for (limit, rate) in [(20, 80), (40, 80), (79, 80), (80, 1_000)] {
            let (taken, refused) = against(limit, rate);
            assert!(taken >= limit * 55, "{taken} of {} at {rate}", limit * 60);
            assert!(refused <= taken / 10, "{refused} refused, {taken} taken at {rate}");
        }
        assert_eq!(against(100, 80).1, 0, "nobody is slowed who stays below");
    }

    #[test]
    fn what_left_before_the_pace_was_slowed_does_not_slow_it_again() {
        let (mut pace, now) = (Pace::new(80), Instant::now());
        for _ in 0..32 {
            pace.slow(now, now + Duration::from_millis(100));
        }
        assert!((pace.rate - 60.0).abs() < 0.01, "{}", pace.rate);
        pace.set(1_000);
        assert!((pace.rate - 750.0).abs() < 0.01, "{}", pace.rate);
    }

    #[test]
    fn a_customer_gets_a_burst_and_then_one_in_a_while_and_is_forgotten() {
        let every = Duration::from_secs(6);
        let (mut pairs, mut now) = (Pairs::new(45, every), Instant::now());
        let ines = thread(1);
        for _ in 0..45 {
            assert_eq!(pairs.free_at(ines, now), now);
            pairs.take(ines, now);
        }
        assert_eq!(pairs.free_at(ines, now), now + every);
        assert_eq!(pairs.free_at(thread(2), now), now, "others are not concerned");
        now += every;
        pairs.take(ines, now);
        assert_eq!(pairs.free_at(ines, now), now + every);
        now += every * 45;
        for n in 2..SWEEP_MIN + 2 {
            pairs.take(thread(n), now);
        }
        assert!(!pairs.full_at.contains_key(&ines), "a full bucket is as good as none");
        pairs.empty(ines, now, Duration::ZERO);
        assert_eq!(pairs.free_at(ines, now), now + every);
        pairs.empty(ines, now, every * 3);
        pairs.empty(ines, now, every);
        assert_eq!(pairs.free_at(ines, now), now + every * 3, "as long as was asked for");
    }
}
