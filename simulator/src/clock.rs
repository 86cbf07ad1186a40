//! The simulated time, which can be faster than ours and can be set forward.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

/// Since 1970, UTC.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A seed that no earlier run had, for runs over a store that is kept.
pub fn fresh_seed() -> u64 {
    u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX)
}

/// Begins at the time of day and runs at its pace from there. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Face>);

#[derive(Debug)]
struct Face {
    began: Instant,
    /// The time of day when it began, since 1970.
    day: Duration,
    /// Simulated seconds in one of ours.
    pace: f64,
    /// How far it was set forward.
    ahead: watch::Sender<Duration>,
}

impl Clock {
    /// One that runs `pace` times as fast as ours; at 0 it stands until it is set forward.
    pub(crate) fn new(pace: f64) -> Self {
        let ahead = watch::Sender::default();
        Self(Arc::new(Face { began: Instant::now(), day: since_1970(), pace, ahead }))
    }

    /// Simulated time since it began.
    pub(crate) fn passed(&self) -> Duration {
        self.0.began.elapsed().mul_f64(self.0.pace) + *self.0.ahead.borrow()
    }

    /// Seconds since 1970, which providers stamp on what they send.
    pub(crate) fn now(&self) -> i64 {
        i64::try_from((self.0.day + self.passed()).as_secs()).unwrap_or(i64::MAX)
    }

    /// The same in milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        i64::try_from((self.0.day + self.passed()).as_millis()).unwrap_or(i64::MAX)
    }

    /// Sets it forward; whatever was due until then is due at once.
    pub(crate) fn advance(&self, by: Duration) {
        self.0.ahead.send_modify(|ahead| *ahead += by);
    }

    /// Waits until so much simulated time has passed.
    pub(crate) async fn sleep(&self, time: Duration) {
        self.sleep_until(self.passed() + time).await;
    }

    /// Waits until so much simulated time has passed since it began.
    pub(crate) async fn sleep_until(&self, due: Duration) {
        let mut ahead = self.0.ahead.subscribe();
        loop {
            ahead.mark_unchanged();
            let left = due.saturating_sub(self.passed());
            if left.is_zero() {
                return;
            }
            let ours = Duration::try_from_secs_f64(left.as_secs_f64() / self.0.pace);
            tokio::select! {
                () = tokio::time::sleep(ours.unwrap_or(Duration::MAX)) => return,
                _ = ahead.changed() => {}
            }
        }
    }
}

impl Default for Clock {
    /// One that runs as ours does.
    fn default() -> Self {
        Self::new(1.0)
    }
}

/// Durations as milliseconds, in what is said over HTTP.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_runs_at_its_pace_and_whoever_waits_is_woken_when_it_is_set_forward() {
        let clock = Clock::new(60.0);
        let began = Instant::now();
        clock.sleep(Duration::from_secs(120)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(2));
        assert_eq!(clock.passed(), Duration::from_secs(120));

        let (waiting, now) = (clock.clone(), clock.now());
        let waits = tokio::spawn(async move { waiting.sleep(Duration::from_secs(86_400)).await });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(86_400));
        waits.await.unwrap();
        assert_eq!((began.elapsed(), clock.now()), (Duration::from_secs(2), now + 86_400));
        assert_eq!(Clock::new(0.0).passed(), Duration::ZERO);
    }
}
