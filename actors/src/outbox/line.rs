//! One account's way out: of each conversation the message that is next, in the order in which they
//! may go.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::id::{AccountId, MessageId, TenantId, ThreadId};
use engine::message::{MessageError, Place};
use engine::time::Timestamp;
use serde_json::Value;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{Span, debug_span};

use super::pace::{Pace, Pairs};
use super::{OutboxOptions, Sending, Slip};

pub(super) struct Line {
    pub(super) tenant: TenantId,
    pub(super) account: AccountId,
    inside: Mutex<Inside>,
    requests: Arc<Semaphore>,
    requests_max: usize,
    /// Something may go sooner than it was expected to.
    changed: Notify,
}

struct Inside {
    pace: Pace,
    pairs: Pairs,
    /// By when it may go, and in which order it came.
    queue: BTreeMap<(Instant, u64), MessageId>,
    waiting: HashMap<MessageId, Waiting>,
    tickets: u64,
    /// The provider refuses everything: until then, or until somebody looks after the account.
    stopped: Option<Stop>,
    /// How often it was resumed.
    resumed: u64,
    /// With which config of the account everything was refused last.
    refused: Option<Config>,
    /// Its account is gone.
    has_ended: bool,
    /// Somebody takes from the queue.
    is_driven: bool,
    last_error: Option<(MessageError, Timestamp)>,
}

/// A message that waits to be sent.
struct Waiting {
    slip: Slip,
    place: Place,
    /// Which of the message's waits this is.
    ticket: u64,
    /// The right to one request, from just before the send begins.
    turn: Option<OwnedSemaphorePermit>,
    /// Where it comes from.
    span: Span,
}

/// How long a line stands still.
#[derive(Clone, Copy)]
enum Stop {
    Until(Instant),
    UntilResumed,
}

impl Stop {
    fn is_on(self, now: Instant) -> bool {
        match self {
            Self::Until(until) => until > now,
            Self::UntilResumed => true,
        }
    }
}

/// When something is known of an account: before or after somebody looked after it.
#[derive(Clone, Copy)]
pub(super) struct AsOf(u64);

/// What an account's config holds.
type Config = BTreeMap<String, Value>;

/// A message whose turn it is.
pub(super) struct Next {
    pub(super) slip: Slip,
    pub(super) message: MessageId,
    pub(super) place: Place,
    pub(super) ticket: u64,
    pub(super) span: Span,
}

/// What the line waits for.
enum Ahead {
    Nothing,
    Time(Instant),
    Somebody,
}

impl Line {
    pub(super) fn new(tenant: TenantId, account: AccountId, options: &OutboxOptions) -> Self {
        let inside = Inside {
            pace: Pace::new(options.rate),
            pairs: Pairs::new(options.pair_burst, options.pair_every),
            queue: BTreeMap::new(),
            waiting: HashMap::new(),
            tickets: 0,
            stopped: None,
            resumed: 0,
            refused: None,
            has_ended: false,
            is_driven: false,
            last_error: None,
        };
        let requests = Arc::new(Semaphore::new(options.requests));
        let (inside, changed) = (Mutex::new(inside), Notify::new());
        Self { tenant, account, inside, requests, requests_max: options.requests, changed }
    }

    /// A message waits, not to go before `at`. One that waits already is not there twice. Answers
    /// whether somebody has to drive the line.
    pub(super) fn add(&self, slip: Slip, message: MessageId, place: Place, at: Instant) -> bool {
        let mut inside = self.inside();
        let ticket = inside.tickets;
        match inside.waiting.entry(message) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(free) => {
                let span = debug_span!("send", %message);
                free.insert(Waiting { slip, place, ticket, turn: None, span })
            }
        };
        metrics::gauge!("omnistream_outbox_waiting").increment(1.0);
        inside.tickets += 1;
        inside.queue.insert((at, ticket), message);
        self.changed.notify_one();
        !std::mem::replace(&mut inside.is_driven, true)
    }

    /// Waits until something may go; false when nothing waits, and nobody drives the line any more.
    pub(super) async fn is_due(&self) -> bool {
        loop {
            let ahead = self.inside().ahead();
            match ahead {
                Ahead::Nothing => return false,
                Ahead::Time(at) if at <= Instant::now() => return true,
                Ahead::Time(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                Ahead::Somebody => self.changed.notified().await,
            }
        }
    }

    /// The right to one request, which is given back when it is dropped.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.requests.clone().acquire_owned().await.ok()
    }

    /// The first message that may go now, which gets this turn.
    pub(super) fn next(
        &self,
        turn: OwnedSemaphorePermit,
        stopping: &watch::Sender<bool>,
    ) -> Option<Next> {
        let (mut inside, now) = (self.inside(), Instant::now());
        // Looked at under the lock: who stops sees either this turn or nothing begin.
        if *stopping.borrow() || inside.stopped.is_some() || inside.pace.next() > now {
            return None;
        }
        loop {
            let first = inside.queue.first_entry().filter(|first| first.key().0 <= now)?;
            let ((_, ticket), message) = first.remove_entry();
            let waiting = inside.waiting.get(&message);
            let Some(waiting) = waiting.filter(|waiting| waiting.ticket == ticket) else {
                continue;
            };
            let (slip, place) = (waiting.slip, waiting.place);
            let free_at = inside.pairs.free_at(slip.thread, now);
            if free_at > now {
                inside.queue.insert((free_at, ticket), message);
                continue;
            }
            inside.pace.take(now);
            inside.pairs.take(slip.thread, now);
            let waiting = inside.waiting.get_mut(&message)?;
            waiting.turn = Some(turn);
            let span = waiting.span.clone();
            return Some(Next { slip, message, place, ticket, span });
        }
    }

    /// A wait is over, unless another one of the message has begun.
    pub(super) fn leave(&self, message: MessageId, ticket: u64) {
        let mut inside = self.inside();
        if inside.waiting.get(&message).is_some_and(|waiting| waiting.ticket == ticket) {
            inside.remove(message);
        }
    }

    /// The message's send has begun: it waits no more, and its turn is its own.
    pub(super) fn begun(&self, message: MessageId) -> Option<OwnedSemaphorePermit> {
        self.inside().remove(message)?.turn
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.inside().waiting.len()
    }

    /// Since when, or from when on, the first one may go.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let inside = self.inside();
        let waits = |ticket: u64, message: &MessageId| {
            inside.waiting.get(message).is_some_and(|waiting| waiting.ticket == ticket)
        };
        let first = inside.queue.iter().find(|((_, ticket), message)| waits(*ticket, message));
        first.map(|((at, _), _)| *at)
    }

    /// Whether a send is beginning.
    pub(super) fn begins(&self) -> bool {
        self.inside().waiting.values().any(|waiting| waiting.turn.is_some())
    }

    /// For a stop that follows from what is read from now on.
    pub(super) fn as_of(&self) -> AsOf {
        AsOf(self.inside().resumed)
    }

    /// Nothing goes until then, or until [`Line::resume`]. Where that came since, it was perhaps meant
    /// for this stop, and nobody would wake the line any more: it goes on. Whoever drives it looks at
    /// the account before each message.
    pub(super) fn stop(&self, until: Option<Instant>, as_of: AsOf) {
        self.inside().stop(until, as_of);
        // A stop that had no end may have one now.
        self.changed.notify_one();
    }

    /// The provider refuses everything of an account with this config: nothing goes, either.
    pub(super) fn refuse(&self, config: Config, as_of: AsOf) {
        let mut inside = self.inside();
        inside.refused = Some(config);
        inside.stop(None, as_of);
    }

    /// With which config everything was refused last.
    pub(super) fn refused(&self) -> Option<Config> {
        self.inside().refused.clone()
    }

    pub(super) fn resume(&self) {
        let mut inside = self.inside();
        (inside.stopped, inside.resumed) = (None, inside.resumed + 1);
        self.changed.notify_one();
    }

    /// Its account is gone: what waits goes on, and fails.
    pub(super) fn end(&self) {
        self.inside().has_ended = true;
        self.resume();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.inside().has_ended
    }

    /// Whether nothing goes, whatever waits.
    pub(super) fn rests(&self) -> bool {
        let (inside, now) = (self.inside(), Instant::now());
        let (_, rests) = inside.pace.now(now);
        inside.stopped.is_some_and(|stop| stop.is_on(now)) || !rests.is_zero()
    }

    /// So many messages a second from now on.
    pub(super) fn set_rate(&self, rate: u32) {
        self.inside().pace.set(rate);
    }

    /// The provider took a message.
    pub(super) fn recover(&self) {
        self.inside().pace.recover();
    }

    /// The provider takes less than it is given, as it says of a request that left then, and nothing
    /// for so long.
    pub(super) fn slow(&self, left: Instant, wait: Duration) {
        let (mut inside, now) = (self.inside(), Instant::now());
        inside.pace.slow(left, now);
        inside.pace.rest(now + wait);
    }

    /// Nothing goes for so long.
    pub(super) fn rest(&self, wait: Duration) {
        self.inside().pace.rest(Instant::now() + wait);
    }

    /// The provider says that this customer gets too many, and nothing for so long.
    pub(super) fn slow_pair(&self, thread: ThreadId, wait: Duration) {
        let now = Instant::now();
        self.inside().pairs.empty(thread, now, wait);
    }

    /// The provider said no.
    pub(super) fn failed(&self, error: MessageError, at: Timestamp) {
        self.inside().last_error = Some((error, at));
    }

    /// How it goes; at the usual rate, as of now.
    pub(super) fn sending(&self, usual: u32) -> Sending {
        let oldest = self.oldest().map_or(Duration::ZERO, |due| due.elapsed());
        let (mut inside, now) = (self.inside(), Instant::now());
        inside.pace.set(usual);
        let (per_second, rests) = inside.pace.now(now);
        let last_error = inside.last_error.clone();
        let waiting = inside.waiting.len();
        let under_way = self.requests_max.saturating_sub(self.requests.available_permits());
        Sending { per_second, waiting, oldest, under_way, rests, last_error }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn ahead(&mut self) -> Ahead {
        let Some(((at, _), _)) = self.queue.first_key_value() else {
            self.is_driven = false;
            return Ahead::Nothing;
        };
        match self.stopped {
            Some(Stop::UntilResumed) => Ahead::Somebody,
            Some(Stop::Until(until)) if until > Instant::now() => Ahead::Time(until),
            Some(Stop::Until(_)) | None => {
                self.stopped = None;
                Ahead::Time((*at).max(self.pace.next()))
            }
        }
    }

    fn stop(&mut self, until: Option<Instant>, AsOf(resumed): AsOf) {
        if resumed == self.resumed {
            self.stopped = Some(until.map_or(Stop::UntilResumed, Stop::Until));
        }
    }

    /// Its place in the queue, if it still has one, is passed over.
    fn remove(&mut self, message: MessageId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&message)?;
        metrics::gauge!("omnistream_outbox_waiting").decrement(1.0);
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::id::{AccountId, TenantId};
    use uuid::Uuid;

    use super::super::OutboxOptions;
    use super::Line;

    #[test]
    fn a_stop_that_was_decided_before_the_account_was_looked_after_stops_nothing() {
        let options = OutboxOptions {
            rate: 1,
            rate_high: 1,
            pair_burst: 1,
            pair_every: Duration::from_secs(1),
            throttle_wait: Duration::from_secs(1),
            requests: 1,
            queue: 1,
            renew_within: Duration::from_secs(1),
        };
        let line = Line::new(TenantId(Uuid::nil()), AccountId(Uuid::nil()), &options);
        let is_stopped = || line.inside().stopped.is_some();
        let before = line.as_of();
        line.stop(None, before);
        assert!(is_stopped());
        line.resume();
        line.stop(None, before);
        line.refuse([("access_token".to_owned(), "old".into())].into(), before);
        assert!(!is_stopped(), "nobody would wake it");
        line.stop(None, line.as_of());
        assert!(is_stopped(), "it was paused once more");
    }
}
