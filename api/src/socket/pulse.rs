//! Whether the other side is still there: whoever is silent is asked, and has time to answer. Whether it
//! is time to look.

use std::pin::{Pin, pin};
use std::task::Context;
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

/// What was last, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It was heard.
    Heard(Instant),
    /// It was asked, and has not been heard since.
    Asked(Instant),
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Wait,
    Ask,
    /// It is gone.
    End,
}

impl Pulse {
    /// Something was heard.
    pub(super) fn heard() -> Self {
        Self::Heard(Instant::now())
    }

    /// The question is written: how long that took is not the other side's silence.
    pub(super) fn asked() -> Self {
        Self::Asked(Instant::now())
    }

    /// When it is looked at next.
    pub(super) fn due(self, ask_every: Duration, answer_within: Duration) -> Instant {
        match self {
            Self::Heard(at) => at + ask_every,
            Self::Asked(at) => at + answer_within,
        }
    }

    pub(super) fn look(self, ask_every: Duration, answer_within: Duration) -> Beat {
        match self {
            _ if Instant::now() < self.due(ask_every, answer_within) => Beat::Wait,
            Self::Heard(_) => Beat::Ask,
            Self::Asked(_) => Beat::End,
        }
    }
}

/// Whether it is time. Also where the task has done all that it may in one turn, which would else look like
/// time to wait for: what comes without an end could have it so for ever.
pub(super) fn is_due(timer: Pin<&mut Sleep>, context: &mut Context<'_>) -> bool {
    pin!(unconstrained(timer)).poll(context).is_ready()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tokio::task::coop::{has_budget_remaining, poll_proceed};
    use tokio::time::advance;

    use super::*;

    const EVERY: Duration = Duration::from_secs(25);
    const WITHIN: Duration = Duration::from_secs(10);
    const NEARLY: Duration = Duration::from_millis(9_999);

    #[tokio::test(start_paused = true)]
    async fn whoever_is_asked_has_time_to_answer_however_late_the_question_was() {
        for late in [0, 10, 1_000] {
            let mut pulse = Pulse::heard();
            advance(EVERY - Duration::from_millis(1)).await;
            assert_eq!(pulse.look(EVERY, WITHIN), Beat::Wait);
            // A long write may come in between.
            advance(Duration::from_millis(1) + Duration::from_secs(late)).await;
            assert_eq!(pulse.look(EVERY, WITHIN), Beat::Ask);
            pulse = Pulse::asked();
            advance(NEARLY).await;
            assert_eq!(pulse.look(EVERY, WITHIN), Beat::Wait, "{late} s late");
            advance(WITHIN - NEARLY).await;
            assert_eq!(pulse.look(EVERY, WITHIN), Beat::End);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_is_looked_at_though_much_is_heard() {
        let mut timer = Box::pin(tokio::time::sleep(Duration::from_secs(1)));
        advance(Duration::from_secs(2)).await;
        let is_due = poll_fn(|context| {
            while has_budget_remaining() {
                if let Poll::Ready(restore) = poll_proceed(context) {
                    restore.made_progress();
                }
            }
            Poll::Ready(is_due(timer.as_mut(), context))
        });
        assert!(is_due.await);
    }
}
