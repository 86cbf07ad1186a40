//! What waits for one session. A queue never waits: what passes is left out first, then of a list's
//! rows the older copies, and who does not keep up at all is cut.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use engine::id::AgentId;

use super::frame::{Encoding, Shared};
use super::topic::{Hint, Topic};
use super::{FeedLimits, Stream, Wire};

/// A session's queue, as hub and topics see the session.
pub(super) struct Queue<W> {
    pub(super) agent: AgentId,
    pub(super) encoding: Encoding,
    frames_max: usize,
    bytes_max: usize,
    waiting: Mutex<Waiting<W>>,
}

struct Waiting<W> {
    items: VecDeque<Item<W>>,
    bytes: usize,
    cut: Option<Cut>,
    /// Somebody may see more or less than before.
    poked: bool,
    /// The session's task.
    waker: Option<Waker>,
}

/// Something that waits, from [`Session::wait`](super::Session::wait) to
/// [`Session::take`](super::Session::take).
pub struct Item<W> {
    /// Two of one stream are not the same, if it was left in between.
    pub(super) topic: Arc<Topic<W>>,
    pub(super) told: Told<W>,
}

pub(super) enum Told<W> {
    Hint(Hint<W>),
    Passing(Arc<Shared<W>>),
}

/// What a queue has for its session.
pub(super) enum Next<W> {
    Cut(Cut),
    Poke,
    Item(Item<W>),
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

/// A queue that was long keeps room for so many.
const ROOM_KEPT: usize = 8;

impl<W: Wire> Queue<W> {
    pub(super) fn new(agent: AgentId, encoding: Encoding, limits: &FeedLimits) -> Arc<Self> {
        let waiting =
            Waiting { items: VecDeque::new(), bytes: 0, cut: None, poked: false, waker: None };
        let (frames_max, bytes_max) = (limits.queue_frames.max(1), limits.queue_bytes);
        Arc::new(Self { agent, encoding, frames_max, bytes_max, waiting: Mutex::new(waiting) })
    }

    /// Adds a hint; who does not keep up is cut, and resumes where it was.
    pub(super) fn push(&self, topic: &Arc<Topic<W>>, hint: &Hint<W>) {
        let mut hint = hint.clone();
        let bytes = hint.bytes(self.encoding);
        let mut waiting = self.waiting();
        if waiting.cut.is_some() {
            return;
        }
        if self.is_half_full(&waiting) {
            waiting.make_way(topic, &mut hint, self.encoding);
        }
        let is_full = waiting.items.len() >= self.frames_max
            || (waiting.bytes + bytes > self.bytes_max && !waiting.items.is_empty());
        if is_full {
            waiting.end(Cut::Slow);
        } else {
            waiting.bytes += bytes;
            waiting.items.push_back(Item { topic: topic.clone(), told: Told::Hint(hint) });
        }
        wake(waiting);
    }

    /// Adds something that passes, while there is plenty of room.
    pub(super) fn pass(&self, topic: &Arc<Topic<W>>, frame: &Arc<Shared<W>>) {
        let mut waiting = self.waiting();
        if waiting.cut.is_some() || self.is_half_full(&waiting) {
            metrics::counter!("omnistream_feed_dropped_total").increment(1);
            return;
        }
        waiting.bytes += frame.of(self.encoding).bytes();
        let told = Told::Passing(frame.clone());
        waiting.items.push_back(Item { topic: topic.clone(), told });
        wake(waiting);
    }

    /// The session is to look at its caller again.
    pub(super) fn poke(&self) {
        let mut waiting = self.waiting();
        waiting.poked = true;
        wake(waiting);
    }

    /// Ends the session; the first reason counts.
    pub(super) fn cut(&self, why: Cut) {
        let mut waiting = self.waiting();
        waiting.end(why);
        wake(waiting);
    }

    /// What comes next. The task that asked last is woken.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Next<W>> {
        let mut waiting = self.waiting();
        match waiting.next(self.encoding) {
            Some(next) => Poll::Ready(next),
            None => {
                waiting.remember(context);
                Poll::Pending
            }
        }
    }

    /// Whether the session is ended. The task that asked last is woken.
    pub(super) fn poll_cut(&self, context: &Context<'_>) -> Poll<Cut> {
        let mut waiting = self.waiting();
        match waiting.cut {
            Some(cut) => Poll::Ready(cut),
            None => {
                waiting.remember(context);
                Poll::Pending
            }
        }
    }

    /// What waits already.
    pub(super) fn next(&self) -> Option<Next<W>> {
        self.waiting().next(self.encoding)
    }

    fn is_half_full(&self, waiting: &Waiting<W>) -> bool {
        waiting.items.len() * 2 >= self.frames_max || waiting.bytes * 2 >= self.bytes_max
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<W>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Wire> Waiting<W> {
    /// A row's newer copy takes the place of one that still waits: the offset of that is covered by
    /// what follows it.
    fn make_way(&mut self, topic: &Arc<Topic<W>>, newer: &mut Hint<W>, encoding: Encoding) {
        if !matches!(topic.stream, Stream::List(_)) {
            return;
        }
        let of_topic = |item: &Item<W>| Arc::ptr_eq(&item.topic, topic);
        let is_older = |item: &Item<W>| match &item.told {
            Told::Hint(hint) => of_topic(item) && hint.is_about_the_same(newer),
            Told::Passing(_) => false,
        };
        let Some(at) = self.items.iter().position(is_older) else { return };
        let Some(Item { told: Told::Hint(older), .. }) = self.items.remove(at) else { return };
        self.bytes -= older.bytes(encoding);
        let behind = self.items.iter_mut().skip(at).filter(|item| of_topic(item));
        let next = behind.filter_map(|item| match &mut item.told {
            Told::Hint(hint) => Some(hint),
            Told::Passing(_) => None,
        });
        next.chain([newer]).take(1).for_each(|next| next.first = older.first);
        metrics::counter!("omnistream_feed_coalesced_total").increment(1);
    }

    fn next(&mut self, encoding: Encoding) -> Option<Next<W>> {
        if let Some(cut) = self.cut {
            return Some(Next::Cut(cut));
        }
        if std::mem::take(&mut self.poked) {
            return Some(Next::Poke);
        }
        let item = self.items.pop_front()?;
        self.bytes -= match &item.told {
            Told::Hint(hint) => hint.bytes(encoding),
            Told::Passing(frame) => frame.of(encoding).bytes(),
        };
        if self.items.is_empty() {
            self.items.shrink_to(ROOM_KEPT);
        }
        Some(Next::Item(item))
    }

    fn end(&mut self, why: Cut) {
        self.cut.get_or_insert(why);
        (self.items, self.bytes) = (VecDeque::new(), 0);
    }

    fn remember(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

/// Wakes the session's task, which may look at once.
fn wake<W>(mut waiting: MutexGuard<'_, Waiting<W>>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}
