//! How fast something is written again and again: one thing that happens is told in several, at once; what
//! comes fast is held, and written as one.

use std::time::Duration;

use tokio::time::Instant;

/// When something was written lately.
#[derive(Default)]
pub(super) struct Pace {
    /// Each write moves this on by the hold: how far ahead of now it is says how many there were lately.
    paid: Option<Instant>,
}

/// When what waits is written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Called {
    Now,
    /// After the hold.
    Later,
}

/// After so many writes, each within the hold after the one before, what comes is held.
const WRITES_IN_A_ROW: u32 = 4;
/// When so much is held it is written: more in a write saves little.
pub(super) const JOINED: usize = 16;

impl Pace {
    /// Whether so much was written lately that what comes is held.
    pub(super) fn is_fast(&self, hold: Duration) -> bool {
        let ahead = self.paid.map(|paid| paid.saturating_duration_since(Instant::now()));
        ahead.is_some_and(|ahead| ahead > hold * (WRITES_IN_A_ROW - 1))
    }

    /// It is written.
    pub(super) fn wrote(&mut self, hold: Duration) {
        let now = Instant::now();
        // However many there were: a pause of as many holds ends it.
        let most = now + hold * (WRITES_IN_A_ROW - 1);
        self.paid = Some(self.paid.map_or(now, |paid| paid.clamp(now, most)) + hold);
    }

    /// When it is written now that so much waits; `None`: that is known.
    pub(super) fn call(
        &self,
        called: Option<Called>,
        is_much: bool,
        hold: Duration,
    ) -> Option<Called> {
        match called {
            Some(Called::Now) => None,
            _ if is_much => Some(Called::Now),
            Some(Called::Later) => None,
            None if self.is_fast(hold) => Some(Called::Later),
            None => Some(Called::Now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::{Pace, WRITES_IN_A_ROW};

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_a_pause_is_written_at_once_however_much_was_written_before() {
        let (mut pace, hold) = (Pace::default(), Duration::from_millis(20));
        for _ in 0..1_000 {
            pace.wrote(hold);
        }
        assert!(pace.is_fast(hold));
        advance(hold * WRITES_IN_A_ROW).await;
        assert!(!pace.is_fast(hold));
    }
}
