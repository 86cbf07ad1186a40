//! Who follows a stream. One comes with the first socket, and is gone a while after the last: who
//! only comes back is not told of.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::id::AgentId;
use engine::identity::agent::Availability;
use tokio::time::{Instant, sleep_until};

use super::Wire;
use super::topic::Topic;
use crate::panics::caught;

/// So long after its last socket an agent is gone.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// Over so many, followers are not named any more, but counted.
pub(super) const NAMED_MAX: usize = 200;
/// A crowd is counted anew when it has changed by this part.
const CROWD_STEP: usize = 16;

/// Who follows a stream, as one is told who asks.
#[derive(Clone, Debug)]
pub struct Present {
    /// All of them, or nobody where they are too many.
    pub users: Vec<(AgentId, Availability)>,
    pub total: usize,
}

/// Who follows a stream.
#[derive(Default)]
pub(super) struct Presence {
    seats: HashMap<AgentId, Seat>,
    /// The crowd that was told last.
    told: usize,
}

struct Seat {
    sockets: usize,
    /// Since when there is none.
    left: Option<Instant>,
}

/// Those who left their last socket, in the order in which they are gone.
pub(super) struct Leaving<W>(Mutex<VecDeque<Left<W>>>);

/// When who left what.
type Left<W> = (Instant, Arc<Topic<W>>, AgentId);

impl Presence {
    /// One more socket. Answers whether the agent was not there before.
    pub(super) fn arrive(&mut self, agent: AgentId) -> bool {
        let fresh = !self.seats.contains_key(&agent);
        let seat = self.seats.entry(agent).or_insert(Seat { sockets: 0, left: None });
        seat.sockets += 1;
        seat.left = None;
        fresh
    }

    /// One socket less. Answers since when there is none, if this was the last.
    pub(super) fn depart(&mut self, agent: AgentId) -> Option<Instant> {
        let seat = self.seats.get_mut(&agent)?;
        seat.sockets = seat.sockets.saturating_sub(1);
        seat.left = (seat.sockets == 0).then(Instant::now);
        seat.left
    }

    /// Forgets an agent that is away since then. Answers whether it was.
    pub(super) fn gone(&mut self, agent: AgentId, since: Instant) -> bool {
        let is_gone = self.seats.get(&agent).is_some_and(|seat| seat.left == Some(since));
        if is_gone {
            self.seats.remove(&agent);
        }
        is_gone
    }

    pub(super) fn has(&self, agent: AgentId) -> bool {
        self.seats.contains_key(&agent)
    }

    pub(super) fn list(&self, most: usize) -> (Vec<AgentId>, usize) {
        let total = self.seats.len();
        let named = if total > most { Vec::new() } else { self.seats.keys().copied().collect() };
        (named, total)
    }

    /// Whether they are too many to be named, and then how many, if that is worth telling.
    pub(super) fn crowd(&mut self) -> Option<Option<usize>> {
        let total = self.seats.len();
        if total <= NAMED_MAX {
            self.told = 0;
            return None;
        }
        let differs = total.abs_diff(self.told) * CROWD_STEP >= self.told;
        if differs {
            self.told = total;
        }
        Some(differs.then_some(total))
    }
}

impl<W: Wire> Leaving<W> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// An agent left a stream at this time. Answers whether it is the first of those who leave:
    /// then somebody has to [see them off](Self::see_off).
    pub(super) fn add(&self, left: Instant, topic: Arc<Topic<W>>, agent: AgentId) -> bool {
        let mut leaving = self.lock();
        leaving.push_back((left, topic, agent));
        leaving.len() == 1
    }

    /// Tells of each who is gone in time, until nobody leaves any more.
    pub(super) async fn see_off(&self) {
        let mut first = self.lock().front().cloned();
        while let Some((left, topic, agent)) = first {
            sleep_until(left + GONE_AFTER).await;
            // Those behind one that cannot be told of are seen off all the same.
            let _ = caught("presence", || topic.gone(agent, left));
            let mut leaving = self.lock();
            // Not before: as long as one is there nobody else sees them off.
            leaving.pop_front();
            first = leaving.front().cloned();
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Left<W>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use engine::id::{AgentId, ConversationId};
    use tokio::time::sleep;
    use uuid::Uuid;

    use super::super::frame::Encoding;
    use super::super::queue::Queue;
    use super::super::stand_ins::{Nowhere, narrow};
    use super::super::topic::Topic;
    use super::super::writer::Writer;
    use super::super::{Event, Passing, Stream, Wire};
    use super::{GONE_AFTER, Leaving};

    /// What says nothing, and fails on one who left.
    #[derive(Clone)]
    struct Fragile;

    const FAILS: AgentId = AgentId(Uuid::from_u128(1));

    impl Wire for Fragile {
        fn events(_: Encoding, _: &[Event<'_>]) -> Self {
            Self
        }
        fn passing(_: Encoding, _: Stream, what: Passing) -> Self {
            assert!(!matches!(what, Passing::Left { agent } if agent == FAILS), "a bug");
            Self
        }
        fn recoded(&self, _: Encoding) -> Self {
            Self
        }
        fn bytes(&self) -> usize {
            1
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_behind_one_whose_leaving_cannot_be_told_is_seen_off_all_the_same() {
        let stream = Stream::Conversation(ConversationId(Uuid::nil()));
        let topic = Arc::new(Topic::<Fragile>::new(stream, "epoch".into()));
        let [other, stays] = [2, 3].map(|n| AgentId(Uuid::from_u128(n)));
        let writer = Writer::new(&narrow());
        topic.join(&Queue::new(stays, Encoding::Json, Arc::new(Nowhere), writer), None);
        let leaving = Arc::new(Leaving::new());
        for agent in [FAILS, other] {
            topic.arrive(agent, Default::default(), true);
            let left = topic.depart(agent).unwrap();
            if leaving.add(left, topic.clone(), agent) {
                let leaving = leaving.clone();
                tokio::spawn(async move { leaving.see_off().await });
            }
            sleep(Duration::from_secs(1)).await;
        }
        sleep(GONE_AFTER).await;
        assert_eq!(topic.present(9), (Vec::new(), 0));
    }
}
