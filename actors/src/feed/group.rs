//! Those who follow one stream and for whom one writer writes. Where they are many, what happens is told
//! to them in rounds: a hint waits once for all of them, not once for each.

use std::sync::Arc;

use super::Wire;
use super::pace::{Called, JOINED, Pace};
use super::queue::{Cut, Queue};
use super::topic::{Hint, Topic};
use super::writer::{Job, Writer};

pub(super) struct Group<W> {
    writer: Arc<Writer<W>>,
    /// Shared with a round that is under way.
    queues: Arc<Vec<Arc<Queue<W>>>>,
    /// What waits for the next round, oldest first.
    hints: Vec<Hint<W>>,
    /// Of their frames.
    bytes: usize,
    /// The writer will begin a round.
    called: Option<Called>,
    /// A round is under way.
    is_told: bool,
    pace: Pace,
}

/// What somebody's followers are told.
pub(super) struct Round<W> {
    pub(super) queues: Arc<Vec<Arc<Queue<W>>>>,
    /// Oldest first.
    pub(super) hints: Vec<Hint<W>>,
}

impl<W: Wire> Group<W> {
    /// Of nobody yet.
    pub(super) fn new(writer: Arc<Writer<W>>) -> Self {
        let (queues, hints, pace) = (Arc::default(), Vec::new(), Pace::default());
        Self { writer, queues, hints, bytes: 0, called: None, is_told: false, pace }
    }

    /// Whether this one writes for them.
    pub(super) fn is_of(&self, writer: &Arc<Writer<W>>) -> bool {
        Arc::ptr_eq(&self.writer, writer)
    }

    /// Whether there is nobody.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// All of them.
    pub(super) fn queues(&self) -> impl Iterator<Item = &Arc<Queue<W>>> {
        self.queues.iter()
    }

    /// One more. It may be told what was told before, which it knows to be old.
    pub(super) fn join(&mut self, queue: &Arc<Queue<W>>) {
        Arc::make_mut(&mut self.queues).push(queue.clone());
    }

    /// One less. Answers whether it was there.
    pub(super) fn leave(&mut self, queue: &Arc<Queue<W>>) -> bool {
        let at = self.queues.iter().position(|other| Arc::ptr_eq(other, queue));
        at.map(|at| Arc::make_mut(&mut self.queues).swap_remove(at)).is_some()
    }

    /// Passes on a hint, now or with the next round. When as much waits once for all of them as may wait
    /// for each of the fewest that are told in rounds, all are cut, and resume where they were.
    pub(super) fn tell(&mut self, topic: &Arc<Topic<W>>, hint: &Hint<W>) {
        let Writer { frames_max, bytes_max, hold, rounds_from, .. } = *self.writer;
        // Nothing is passed on before what waits.
        if self.queues.len() < rounds_from && self.hints.is_empty() && !self.is_told {
            return self.queues.iter().for_each(|queue| queue.push(topic, hint));
        }
        self.bytes += hint.frame.as_ref().map_or(0, |frame| frame.bytes());
        self.hints.push(hint.clone());
        let (frames, bytes) = (self.hints.len(), self.bytes);
        let is_full = frames > frames_max * rounds_from || bytes > bytes_max * rounds_from;
        if is_full && frames > 1 {
            self.take();
            return self.queues.iter().for_each(|queue| queue.cut(Cut::Slow));
        }
        let is_much = frames >= JOINED || frames * 2 >= frames_max || bytes * 2 >= bytes_max;
        let Some(called) = self.pace.call(self.called, is_much, hold) else { return };
        // Without a runtime everything ends.
        if self.writer.add(Job::Round(topic.clone()), called) {
            self.called = Some(called);
        }
    }

    /// Takes what waits. What is told until the round has ended waits for the next.
    pub(super) fn begin_round(&mut self) -> Option<Round<W>> {
        self.called = None;
        if self.hints.is_empty() {
            return None;
        }
        self.is_told = true;
        self.pace.wrote(self.writer.hold);
        Some(Round { queues: self.queues.clone(), hints: self.take() })
    }

    /// All that was taken is passed on.
    pub(super) fn end_round(&mut self) {
        self.is_told = false;
    }

    fn take(&mut self) -> Vec<Hint<W>> {
        self.bytes = 0;
        std::mem::take(&mut self.hints)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use engine::id::{AgentId, ConversationId};
    use uuid::Uuid;

    use super::super::frame::Encoding;
    use super::super::queue::{Cut, Queue};
    use super::super::stand_ins::{Nowhere, narrow};
    use super::super::topic::Topic;
    use super::super::writer::Writer;
    use super::super::{Event, FeedLimits, Passing, Stream, Wire};

    #[derive(Clone)]
    struct Frame;

    impl Wire for Frame {
        fn events(_: Encoding, _: &[Event<'_>]) -> Self {
            Self
        }
        fn passing(_: Encoding, _: Stream, _: Passing) -> Self {
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
    async fn who_is_told_too_slowly_is_cut_and_not_told_out_of_order() {
        let limits = FeedLimits { rounds_from: 1, ..narrow() };
        let stream = Stream::Conversation(ConversationId(Uuid::nil()));
        let topic = Arc::new(Topic::<Frame>::new(stream, "epoch".into()));
        let writer = Writer::new(&limits);
        let agent = AgentId(Uuid::nil());
        let queue = Queue::new(agent, Encoding::Json, Arc::new(Nowhere), writer.clone());
        topic.join(&queue, None);
        let tell = |n| topic.tell(n, n, |_| Frame);
        let is_cut = || queue.poll_cut(&Context::from_waker(Waker::noop()));
        tell(1);
        let round = topic.begin_round(&writer).expect("something waits");
        (2..=10).for_each(tell);
        assert!(queue.next().is_none() && is_cut().is_pending(), "the first is on its way");
        tell(11);
        assert_eq!(is_cut(), Poll::Ready(Cut::Slow));
        assert_eq!(queue.take(&topic, &round.hints), 0);
        topic.end_round(&writer);
        assert!(topic.begin_round(&writer).is_none(), "nobody is to be told of what was dropped");
    }
}
