//! When requests are due.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::machine::go_first;

/// When each request is due. Clones share the requests among them.
#[derive(Clone)]
pub(crate) enum Arrivals {
    /// At fixed times: whoever is free takes the next one, late or not.
    Open(Rc<Mutex<UnboundedReceiver<Instant>>>),
    /// As soon as whoever asks is free.
    Closed { left: Rc<Cell<u64>>, until: Instant },
}

/// Fixed times at which requests are due: `rate` a second from `begin` on, until `until`, at most
/// `count`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) begin: Instant,
    pub(crate) until: Instant,
    pub(crate) rate: f64,
    pub(crate) count: u64,
}

/// The pacer looks at the clock no more often: each look costs as much as a request.
const STEP: Duration = Duration::from_micros(400);

impl Arrivals {
    /// At the times of a schedule.
    pub(crate) fn open(schedule: Schedule) -> Self {
        let (send, due) = unbounded_channel();
        // On a thread of its own: a runtime's timers step by a millisecond. It ends by itself.
        std::thread::spawn(move || {
            go_first();
            pace(schedule, &send);
        });
        Self::Open(Rc::new(Mutex::new(due)))
    }

    /// As fast as answers come, until a time, at most so many.
    pub(crate) fn closed(until: Instant, count: u64) -> Self {
        Self::Closed { left: Rc::new(Cell::new(count)), until }
    }

    /// When the caller's next request is due, or was; `None`: there are no more.
    pub(crate) async fn next(&self) -> Option<Instant> {
        match self {
            Self::Open(due) => due.lock().await.recv().await,
            Self::Closed { left, until } => {
                let now = Instant::now();
                let is_due = now < *until && left.get() > 0;
                left.set(left.get() - u64::from(is_due));
                is_due.then_some(now)
            }
        }
    }
}

impl Schedule {
    /// When the request number `n`, from 0, is due; `None`: there is no such request.
    pub(crate) fn due(&self, n: u64) -> Option<Instant> {
        let due = self.begin + Duration::from_secs_f64(n as f64 / self.rate);
        (n < self.count && due < self.until).then_some(due)
    }
}

fn pace(schedule: Schedule, send: &UnboundedSender<Instant>) {
    let mut n = 0;
    while let Some(due) = schedule.due(n) {
        let now = Instant::now();
        if due > now {
            sleep((due - now).max(STEP));
            continue;
        }
        if send.send(due).is_err() {
            break;
        }
        n += 1;
    }
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, without a runtime")]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::{Arrivals, Schedule};
    use std::time::Duration;
    use tokio::time::Instant;

    fn schedule(rate: f64, seconds: f64, count: u64) -> Schedule {
        let begin = Instant::now();
        Schedule { begin, until: begin + Duration::from_secs_f64(seconds), rate, count }
    }

    #[test]
    fn requests_are_due_at_even_distances_until_the_end() {
        let schedule = schedule(500.0, 2.0, u64::MAX);
        for n in [0, 1, 250, 999] {
            let due = schedule.due(n).unwrap() - schedule.begin;
            assert!(due.abs_diff(Duration::from_millis(2 * n)) < Duration::from_micros(1));
        }
        assert_eq!(schedule.due(1000), None);
    }

    #[test]
    fn a_schedule_ends_after_its_count() {
        let schedule = schedule(500.0, 2.0, 3);
        assert!(schedule.due(2).is_some());
        assert_eq!(schedule.due(3), None);
    }

    #[tokio::test]
    async fn what_is_handed_out_late_is_still_due_when_it_was() {
        let mut schedule = schedule(1000.0, 1.0, 100);
        schedule.begin -= Duration::from_secs(10);
        let arrivals = Arrivals::open(schedule);
        for n in 0..100 {
            assert_eq!(arrivals.next().await, schedule.due(n));
        }
        assert_eq!(arrivals.next().await, None);
    }

    #[tokio::test]
    async fn a_closed_loop_hands_out_no_more_than_its_count() {
        let arrivals = Arrivals::closed(Instant::now() + Duration::from_secs(60), 2);
        let other = arrivals.clone();
        assert!(arrivals.next().await.is_some());
        assert!(other.next().await.is_some());
        assert!(arrivals.next().await.is_none());
    }
}
