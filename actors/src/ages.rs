//! How old the oldest is of what is under way, for operators: counted by the time each began, so
//! that one that stands still shows however many others pass it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What is under way of one kind. Clones count the same.
#[derive(Clone)]
pub struct Ages(Arc<Inner>);

struct Inner {
    start: Instant,
    /// How many began in each tick.
    begun: Mutex<BTreeMap<u64, usize>>,
}

/// Something that is under way until this is dropped.
pub struct Age {
    of: Ages,
    tick: u64,
}

/// Ages are told by it.
const TICK: Duration = Duration::from_millis(100);

impl Ages {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Inner { start: Instant::now(), begun: Mutex::default() }))
    }

    /// Something begins now.
    pub fn begin(&self) -> Age {
        self.begin_in(Duration::ZERO)
    }

    /// Something begins after this time.
    pub fn begin_in(&self, wait: Duration) -> Age {
        let tick = ticks(self.0.start.elapsed() + wait);
        *self.begun().entry(tick).or_insert(0) += 1;
        Age { of: self.clone(), tick }
    }

    /// How old the oldest is; nothing where nothing is under way.
    pub fn oldest(&self) -> Duration {
        let oldest = self.begun().first_key_value().map(|(tick, _)| *tick);
        let age = oldest.map_or(0, |oldest| ticks(self.0.start.elapsed()).saturating_sub(oldest));
        TICK.saturating_mul(u32::try_from(age).unwrap_or(u32::MAX))
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Ages {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Age {
    fn drop(&mut self) {
        let mut begun = self.of.begun();
        if let Some(count) = begun.get_mut(&self.tick) {
            *count -= 1;
            if *count == 0 {
                begun.remove(&self.tick);
            }
        }
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::Ages;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_counts_until_it_is_done() {
        let ages = Ages::new();
        assert_eq!(ages.oldest(), Duration::ZERO);
        let old = ages.begin();
        advance(Duration::from_secs(3)).await;
        let young = ages.begin();
        let also_young = ages.begin();
        advance(Duration::from_secs(2)).await;
        assert_eq!(ages.oldest(), Duration::from_secs(5));
        drop(old);
        drop(young);
        assert_eq!(ages.oldest(), Duration::from_secs(2));
        drop(also_young);
        let _later = ages.begin_in(Duration::from_secs(60));
        assert_eq!(ages.oldest(), Duration::ZERO, "it is not due yet");
        advance(Duration::from_secs(61)).await;
        assert_eq!(ages.oldest(), Duration::from_secs(1));
    }
}
