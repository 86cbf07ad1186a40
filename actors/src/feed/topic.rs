//! Who follows one stream, and what goes to them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::id::{AgentId, ConversationId};
use engine::identity::agent::Availability;
use engine::permission::Permission;
use tokio::time::Instant;

use super::follow::Position;
use super::frame::{Encoding, Shared, Users};
use super::group::{Group, Round};
use super::presence::Presence;
use super::queue::Queue;
use super::writer::Writer;
use super::{FeedLimits, Passing, Stream, Wire};

/// A stream of one tenant while somebody follows it, or may come back to it.
pub(super) struct Topic<W> {
    pub(super) stream: Stream,
    /// Whose the conversation is, and since which of its facts. Apart: it is read where a queue is
    /// held, and queues are held where the state is.
    assignee: Mutex<(u64, Option<AgentId>)>,
    state: Mutex<State<W>>,
}

struct State<W> {
    /// The followers, by who writes for them.
    groups: Vec<Group<W>>,
    /// Of the followers' encodings.
    users: Users,
    present: Presence,
    ring: Ring<W>,
    /// Since when nobody follows it.
    left: Instant,
}

/// What a follower begins with.
pub(super) struct Joined<W> {
    pub(super) epoch: Arc<str>,
    /// The newest offset of the ring.
    pub(super) top: u64,
    /// What the ring has behind the position that was asked for; `None`: not all of it.
    pub(super) missed: Option<Vec<Hint<W>>>,
}

/// The newest events of a stream that is not a log of its own.
struct Ring<W> {
    /// Names this ring: another one continues nothing of it.
    epoch: Arc<str>,
    /// The newest offset.
    top: u64,
    /// Each with its size.
    hints: VecDeque<(usize, Hint<W>)>,
    bytes: usize,
}

/// Something new in a stream: the offsets from `first` to `last`.
pub(super) struct Hint<W> {
    pub(super) first: u64,
    /// Where its frame begins: what lies before shows nothing any more.
    pub(super) shown: u64,
    pub(super) last: u64,
    /// `None`: to be read.
    pub(super) frame: Option<Arc<Shared<W>>>,
    pub(super) about: Option<About>,
}

/// What decides who may see an event, where its stream does not.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    /// The conversation that it is about; how often conversations had changed hands when it was made, or
    /// `None`: it shows nothing of it.
    Conversation { id: ConversationId, moves: Option<u64> },
    /// It is for those who may do this, whoever that is by now.
    Needs(Permission),
}

impl About {
    fn conversation(self) -> Option<ConversationId> {
        match self {
            Self::Conversation { id, .. } => Some(id),
            Self::Needs(_) => None,
        }
    }
}

impl<W> Clone for Hint<W> {
    fn clone(&self) -> Self {
        let Self { first, shown, last, frame, about } = self;
        Self { first: *first, shown: *shown, last: *last, frame: frame.clone(), about: *about }
    }
}

impl<W: Wire> Topic<W> {
    pub(super) fn new(stream: Stream, epoch: Arc<str>) -> Self {
        let ring = Ring { epoch, top: 0, hints: VecDeque::new(), bytes: 0 };
        let (groups, users, present) = (Vec::new(), Users::NONE, Presence::default());
        let state = State { groups, users, present, ring, left: Instant::now() };
        Self { stream, assignee: Mutex::default(), state: Mutex::new(state) }
    }

    /// Adds a follower: what happens from now on goes to it.
    pub(super) fn join(&self, queue: &Arc<Queue<W>>, since: Option<&Position>) -> Joined<W> {
        let mut state = self.state();
        state.group(queue.writer()).join(queue);
        state.users.add(queue.encoding);
        let ring = &state.ring;
        let missed = since.and_then(|since| {
            let oldest = ring.hints.front().map_or(ring.top + 1, |(_, hint)| hint.first);
            let (continues, offset) = (*ring.epoch == *since.epoch, since.offset);
            let kept = continues && offset <= ring.top && offset >= oldest - 1;
            let behind = ring.hints.iter().map(|(_, hint)| hint);
            let behind = behind.filter(|hint| hint.last > offset);
            kept.then(|| behind.cloned().collect())
        });
        Joined { epoch: ring.epoch.clone(), top: ring.top, missed }
    }

    /// Removes a follower. Answers whether anybody is left.
    pub(super) fn leave(&self, queue: &Arc<Queue<W>>) -> bool {
        let mut state = self.state();
        if state.group(queue.writer()).leave(queue) {
            state.users.remove(queue.encoding);
        }
        state.groups.retain(|group| !group.is_empty());
        state.left = Instant::now();
        !state.groups.is_empty()
    }

    /// Whether nobody followed it for so long.
    pub(super) fn is_left_for(&self, time: Duration) -> bool {
        let state = self.state();
        state.groups.is_empty() && state.left.elapsed() >= time
    }

    /// Whether anybody follows it.
    pub(super) fn is_followed(&self) -> bool {
        !self.state().groups.is_empty()
    }

    /// Whose the conversation is.
    pub(super) fn assignee(&self) -> Option<AgentId> {
        self.owner().1
    }

    /// The conversation is this agent's, as of this fact.
    pub(super) fn assigned(&self, seq: u64, assignee: Option<AgentId>) {
        let mut owner = self.owner();
        if owner.0 <= seq {
            *owner = (seq, assignee);
        }
    }

    /// Passes on that there is something to be read.
    pub(super) fn stir(self: &Arc<Self>, top: u64) {
        let hint = Hint { first: top, shown: top, last: top, frame: None, about: None };
        self.state().groups.iter_mut().for_each(|group| group.tell(self, &hint));
    }

    /// Passes on the events of these offsets.
    pub(super) fn tell(self: &Arc<Self>, first: u64, last: u64, encode: impl Fn(Encoding) -> W) {
        let mut state = self.state();
        if state.groups.is_empty() {
            return;
        }
        let frame = Some(Arc::new(Shared::new(state.users, encode)));
        let hint = Hint { first, shown: first, last, frame, about: None };
        state.groups.iter_mut().for_each(|group| group.tell(self, &hint));
    }

    /// Adds an event to the ring, encoded for its offset, and passes it on.
    pub(super) fn add(
        self: &Arc<Self>,
        about: Option<About>,
        limits: &FeedLimits,
        encode: impl Fn(Encoding, u64) -> W,
    ) {
        let mut state = self.state();
        let State { groups, users, ring, .. } = &mut *state;
        ring.top += 1;
        let top = ring.top;
        let frame = Shared::new(*users, |encoding| encode(encoding, top));
        // Whoever comes back with another encoding makes at most as much again.
        let bytes = frame.bytes();
        ring.bytes += bytes;
        let hint = Hint { first: top, shown: top, last: top, frame: Some(Arc::new(frame)), about };
        groups.iter_mut().for_each(|group| group.tell(self, &hint));
        ring.hints.push_back((bytes, hint));
        while ring.hints.len() > limits.replay_events || ring.bytes > limits.replay_bytes {
            let Some((bytes, _)) = ring.hints.pop_front() else { break };
            ring.bytes -= bytes;
        }
    }

    /// What a writer's followers are not told yet, if they are to be told of it now.
    pub(super) fn begin_round(&self, writer: &Arc<Writer<W>>) -> Option<Round<W>> {
        self.state().groups.iter_mut().find(|group| group.is_of(writer))?.begin_round()
    }

    /// They were.
    pub(super) fn end_round(&self, writer: &Arc<Writer<W>>) {
        let mut state = self.state();
        if let Some(group) = state.groups.iter_mut().find(|group| group.is_of(writer)) {
            group.end_round();
        }
    }

    /// Forgets what the ring shows of a conversation, and what lies before it: whoever comes back
    /// from further behind takes a snapshot.
    pub(super) fn forget(&self, conversation: ConversationId) {
        let mut state = self.state();
        let ring = &mut state.ring;
        let is_of_it = |(_, hint): &(usize, Hint<W>)| {
            hint.about.and_then(About::conversation) == Some(conversation)
        };
        let until = ring.hints.iter().rposition(is_of_it).map_or(0, |last| last + 1);
        let forgotten: usize = ring.hints.drain(..until).map(|(bytes, _)| bytes).sum();
        ring.bytes -= forgotten;
    }

    /// Passes on what passes, to all others than this agent.
    pub(super) fn pass(self: &Arc<Self>, from: AgentId, what: Passing) {
        self.state().pass(self, from, what);
    }

    /// An agent follows the stream from one more socket; the others are told, if they are to be.
    pub(super) fn arrive(self: &Arc<Self>, agent: AgentId, state: Availability, tell: bool) {
        let mut topic = self.state();
        if topic.present.arrive(agent) && tell {
            topic.announce(self, agent, Passing::Joined { agent, state });
        }
    }

    /// An agent follows the stream from one socket less; since when there is none, that this was
    /// the last.
    pub(super) fn depart(&self, agent: AgentId) -> Option<Instant> {
        self.state().present.depart(agent)
    }

    /// An agent is gone, unless it came back since then.
    pub(super) fn gone(self: &Arc<Self>, agent: AgentId, since: Instant) {
        let mut topic = self.state();
        if topic.present.gone(agent, since) {
            topic.announce(self, agent, Passing::Left { agent });
        }
    }

    /// An agent takes work, or does not any more.
    pub(super) fn available(self: &Arc<Self>, agent: AgentId, state: Availability) {
        let mut topic = self.state();
        if topic.present.has(agent) {
            topic.announce(self, agent, Passing::Available { agent, state });
        }
    }

    /// Who follows it, at most so many of them, and how many that are.
    pub(super) fn present(&self, most: usize) -> (Vec<AgentId>, usize) {
        self.state().present.list(most)
    }

    fn owner(&self) -> MutexGuard<'_, (u64, Option<AgentId>)> {
        self.assignee.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Wire> State<W> {
    /// Those for whom somebody writes, which may be nobody yet.
    fn group(&mut self, writer: &Arc<Writer<W>>) -> &mut Group<W> {
        let at = self.groups.iter().position(|group| group.is_of(writer)).unwrap_or_else(|| {
            self.groups.push(Group::new(writer.clone()));
            self.groups.len() - 1
        });
        &mut self.groups[at]
    }

    /// Tells the others that somebody came, left or changed; where too many are there, how many.
    fn announce(&mut self, topic: &Arc<Topic<W>>, agent: AgentId, what: Passing) {
        match self.present.crowd() {
            None => self.pass(topic, agent, what),
            Some(Some(total)) => self.pass(topic, agent, Passing::Crowd { total }),
            Some(None) => {}
        }
    }

    fn pass(&self, topic: &Arc<Topic<W>>, from: AgentId, what: Passing) {
        let all = || self.groups.iter().flat_map(|group| group.queues());
        let others = || all().filter(|queue| queue.agent != from);
        if others().next().is_none() {
            return;
        }
        let mut users = Users::NONE;
        others().for_each(|queue| users.add(queue.encoding));
        let encode = |encoding| W::passing(encoding, topic.stream, what);
        let frame = Arc::new(Shared::new(users, encode));
        others().for_each(|queue| queue.pass(topic, &frame));
    }
}

impl<W: Wire> Hint<W> {
    /// How much it is in this encoding.
    pub(super) fn bytes(&self, encoding: Encoding) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.of(encoding).bytes())
    }

    /// Whether the two are about one conversation.
    pub(super) fn is_about_the_same(&self, other: &Self) -> bool {
        let conversation = |hint: &Self| hint.about.and_then(About::conversation);
        conversation(self).is_some() && conversation(self) == conversation(other)
    }
}
