//! Who follows one stream, and what goes to them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::id::{AgentId, ConversationId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{FeedLimits, Position, Stream, Wire};

/// A stream of one tenant while somebody follows it, or may come back to it.
pub(super) struct Topic<W> {
    pub(super) stream: Stream,
    state: Mutex<State<W>>,
}

struct State<W> {
    queues: Vec<Arc<Queue<W>>>,
    /// Whose the conversation is, and since which of its facts.
    assignee: (u64, Option<AgentId>),
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
    hints: VecDeque<Hint<W>>,
    bytes: usize,
}

/// Something new in a stream: the offsets from `first` to `last`.
pub(super) struct Hint<W> {
    pub(super) first: u64,
    pub(super) last: u64,
    /// `None`: to be read.
    pub(super) frame: Option<Arc<W>>,
    pub(super) about: Option<About>,
}

/// The conversation that an event shows, where the stream is not the conversation's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct About {
    pub(super) conversation: ConversationId,
    /// How often conversations had changed hands when it was made.
    pub(super) moves: u64,
}

/// A hint with its topic: two of one stream are not the same, if it was left in between.
pub(super) type Hinted<W> = (Arc<Topic<W>>, Hint<W>);

/// What waits for one session.
pub(super) struct Queue<W> {
    sender: mpsc::Sender<Hinted<W>>,
    bytes: AtomicUsize,
    bytes_max: usize,
    cut: watch::Sender<Option<Cut>>,
}

/// Why a session is ended from this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It does not take what waits for it.
    Slow,
    /// Its person opened too many others since.
    Crowded,
    /// Its login does not count any more.
    Unauthorized,
    /// The server stops.
    Stopping,
    /// The store did not answer as it should.
    Failed,
}

impl<W> Clone for Hint<W> {
    fn clone(&self) -> Self {
        let Self { first, last, frame, about } = self;
        Self { first: *first, last: *last, frame: frame.clone(), about: *about }
    }
}

impl<W: Wire> Topic<W> {
    pub(super) fn new(stream: Stream, epoch: Arc<str>) -> Self {
        let ring = Ring { epoch, top: 0, hints: VecDeque::new(), bytes: 0 };
        let state = State { queues: Vec::new(), assignee: (0, None), ring, left: Instant::now() };
        Self { stream, state: Mutex::new(state) }
    }

    /// Adds a follower: what happens from now on goes to it.
    pub(super) fn join(&self, queue: &Arc<Queue<W>>, since: Option<&Position>) -> Joined<W> {
        let mut state = self.state();
        state.queues.push(queue.clone());
        let ring = &state.ring;
        let missed = since.and_then(|since| {
            let oldest = ring.hints.front().map_or(ring.top + 1, |hint| hint.first);
            let (continues, offset) = (*ring.epoch == *since.epoch, since.offset);
            let kept = continues && offset <= ring.top && offset >= oldest - 1;
            let behind = ring.hints.iter().filter(|hint| hint.last > offset);
            kept.then(|| behind.cloned().collect())
        });
        Joined { epoch: ring.epoch.clone(), top: ring.top, missed }
    }

    /// Removes a follower. Answers whether anybody is left.
    pub(super) fn leave(&self, queue: &Arc<Queue<W>>) -> bool {
        let mut state = self.state();
        state.queues.retain(|other| !Arc::ptr_eq(other, queue));
        state.left = Instant::now();
        !state.queues.is_empty()
    }

    /// Whether nobody followed it for so long.
    pub(super) fn is_left_for(&self, time: Duration) -> bool {
        let state = self.state();
        state.queues.is_empty() && state.left.elapsed() >= time
    }

    /// Whether anybody follows it.
    pub(super) fn is_followed(&self) -> bool {
        !self.state().queues.is_empty()
    }

    /// Whose the conversation is.
    pub(super) fn assignee(&self) -> Option<AgentId> {
        self.state().assignee.1
    }

    /// The conversation is this agent's, as of this fact.
    pub(super) fn assigned(&self, seq: u64, assignee: Option<AgentId>) {
        let mut state = self.state();
        if state.assignee.0 <= seq {
            state.assignee = (seq, assignee);
        }
    }

    /// Passes on a hint.
    pub(super) fn hint(self: &Arc<Self>, first: u64, last: u64, frame: Option<Arc<W>>) {
        let hint = Hint { first, last, frame, about: None };
        self.state().queues.iter().for_each(|queue| queue.push(self, &hint));
    }

    /// Adds an event to the ring, encoded for its offset, and passes it on.
    pub(super) fn add(
        self: &Arc<Self>,
        about: Option<About>,
        limits: &FeedLimits,
        encode: impl FnOnce(u64) -> W,
    ) {
        let mut state = self.state();
        let State { queues, ring, .. } = &mut *state;
        ring.top += 1;
        let frame = encode(ring.top);
        ring.bytes += frame.bytes();
        let (first, last, frame) = (ring.top, ring.top, Some(Arc::new(frame)));
        let hint = Hint { first, last, frame, about };
        queues.iter().for_each(|queue| queue.push(self, &hint));
        ring.hints.push_back(hint);
        while ring.hints.len() > limits.replay_events || ring.bytes > limits.replay_bytes {
            let Some(oldest) = ring.hints.pop_front() else { break };
            ring.bytes -= oldest.bytes();
        }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Wire> Hint<W> {
    fn bytes(&self) -> usize {
        self.frame.as_ref().map_or(0, |frame| frame.bytes())
    }
}

impl<W: Wire> Queue<W> {
    pub(super) fn new(limits: &FeedLimits) -> (Arc<Self>, mpsc::Receiver<Hinted<W>>) {
        let (sender, hints) = mpsc::channel(limits.queue_frames.max(1));
        let (bytes, bytes_max) = (AtomicUsize::new(0), limits.queue_bytes);
        let cut = watch::Sender::new(None);
        (Arc::new(Self { sender, bytes, bytes_max, cut }), hints)
    }

    /// Adds a hint; who does not keep up is cut, and resumes where it was.
    fn push(&self, topic: &Arc<Topic<W>>, hint: &Hint<W>) {
        let bytes = hint.bytes();
        let waiting = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if waiting > self.bytes_max || self.sender.try_send((topic.clone(), hint.clone())).is_err()
        {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
            self.cut(Cut::Slow);
        }
    }

    /// A hint was taken out.
    pub(super) fn taken(&self, hint: &Hint<W>) {
        self.bytes.fetch_sub(hint.bytes(), Ordering::AcqRel);
    }

    /// Ends the session; the first reason counts.
    pub(super) fn cut(&self, why: Cut) {
        self.cut.send_if_modified(|cut| {
            let first = cut.is_none();
            cut.get_or_insert(why);
            first
        });
    }

    /// Tells of the end.
    pub(super) fn cuts(&self) -> watch::Receiver<Option<Cut>> {
        self.cut.subscribe()
    }
}
