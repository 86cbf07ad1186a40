//! What waits for one session. A queue never waits: what passes is left out first, then of a list's
//! rows the older copies, and who does not keep up at all is cut.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engine::id::AgentId;
use tokio::time::Instant;

use super::frame::{Encoding, Shared};
use super::sight::{Own, Plain, Sight};
use super::topic::{Hint, Topic};
use super::writer::Writer;
use super::{FeedLimits, Outlet, Stream, Wire};

/// A session's queue, as hub and topics see the session.
pub(super) struct Queue<W> {
    pub(super) agent: AgentId,
    pub(super) encoding: Encoding,
    frames_max: usize,
    bytes_max: usize,
    outlet: Arc<dyn Outlet<W>>,
    /// Writes what waits while the session rests.
    writer: Arc<Writer<W>>,
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
    /// What the session decides by, while it rests.
    rest: Option<Box<Sight<W>>>,
    /// The writer will write what waits.
    called: Option<Called>,
    /// Each of the writer's writes moves this on by the hold: how far ahead of now it is says how many
    /// there were lately.
    paid: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq)]
enum Called {
    Now,
    /// After the hold.
    Later,
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
/// So many frames the writer writes at once.
const BATCH: usize = 64;
/// After so many writes, each within the hold after the one before, what comes is held: one thing that
/// happens is told in several.
const WRITES_IN_A_ROW: u32 = 4;
/// When so much is held it is written: more in a write saves little.
const JOINED: usize = 16;

impl<W: Wire> Queue<W> {
    pub(super) fn new(
        agent: AgentId,
        encoding: Encoding,
        limits: &FeedLimits,
        outlet: Arc<dyn Outlet<W>>,
        writer: Arc<Writer<W>>,
    ) -> Arc<Self> {
        let waiting = Waiting {
            items: VecDeque::new(),
            bytes: 0,
            cut: None,
            poked: false,
            waker: None,
            rest: None,
            called: None,
            paid: None,
        };
        let (frames_max, bytes_max) = (limits.queue_frames.max(1), limits.queue_bytes);
        let waiting = Mutex::new(waiting);
        Arc::new(Self { agent, encoding, frames_max, bytes_max, outlet, writer, waiting })
    }

    /// Adds a hint; who does not keep up is cut, and resumes where it was.
    pub(super) fn push(self: &Arc<Self>, topic: &Arc<Topic<W>>, hint: &Hint<W>) {
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
        self.call(waiting);
    }

    /// Adds something that passes, while there is plenty of room.
    pub(super) fn pass(self: &Arc<Self>, topic: &Arc<Topic<W>>, frame: &Arc<Shared<W>>) {
        let mut waiting = self.waiting();
        if waiting.cut.is_some() || self.is_half_full(&waiting) {
            metrics::counter!("omnistream_feed_dropped_total").increment(1);
            return;
        }
        waiting.bytes += frame.of(self.encoding).bytes();
        let told = Told::Passing(frame.clone());
        waiting.items.push_back(Item { topic: topic.clone(), told });
        self.call(waiting);
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

    /// What comes next. When there is nothing the task that asked last is woken, or the session
    /// rests.
    pub(super) fn poll(&self, context: &Context<'_>, rests: Option<&mut Own<W>>) -> Poll<Next<W>> {
        let mut waiting = self.waiting();
        match waiting.next(self.encoding) {
            Some(next) => Poll::Ready(next),
            None => {
                waiting.remember(context);
                waiting.rest = rests.and_then(|sight| sight.0.take());
                Poll::Pending
            }
        }
    }

    /// The session does not rest any more.
    pub(super) fn rise(&self) -> Option<Box<Sight<W>>> {
        self.waiting().rest.take()
    }

    /// Writes what waits while the session rests. Its task does what is not plain, or not taken whole.
    pub(super) fn write(&self) {
        let mut waiting = self.waiting();
        waiting.called = None;
        if !waiting.write(self.encoding, &*self.outlet, self.writer.hold) {
            wake(waiting);
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

    /// Has what waits written: while the session rests by the writer, else by its task.
    fn call(self: &Arc<Self>, mut waiting: MutexGuard<'_, Waiting<W>>) {
        if waiting.rest.is_none() || waiting.cut.is_some() {
            return wake(waiting);
        }
        let is_much = waiting.items.len() >= JOINED || self.is_half_full(&waiting);
        let ahead = || waiting.paid.map(|paid| paid.saturating_duration_since(Instant::now()));
        let is_often = |ahead: Duration| ahead > self.writer.hold * (WRITES_IN_A_ROW - 1);
        let called = match waiting.called {
            Some(Called::Now) => return,
            _ if is_much => Called::Now,
            Some(Called::Later) => return,
            None if ahead().is_some_and(is_often) => Called::Later,
            None => Called::Now,
        };
        if self.writer.add(self.clone(), called == Called::Later) {
            waiting.called = Some(called);
        } else {
            wake(waiting);
        }
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

    /// Writes for a session that rests. Answers whether its task has nothing to do.
    fn write(&mut self, encoding: Encoding, outlet: &dyn Outlet<W>, hold: Duration) -> bool {
        let Some(sight) = &mut self.rest else { return true };
        // What the task was woken for is not done here.
        let is_woken = self.cut.is_some() || self.poked || !sight.shows.is_empty();
        if is_woken {
            return false;
        }
        sight.mark = sight.mark();
        if !sight.is_current() {
            return false;
        }
        let mut left = BATCH;
        while let Some(item) = self.items.front().filter(|_| left > 0) {
            match sight.plain(item) {
                Plain::Not => break,
                Plain::Nothing => {}
                Plain::Frame(frame, shows) => {
                    sight.shows.push(shows);
                    outlet.push(frame);
                }
            }
            left -= 1;
            pop(&mut self.items, &mut self.bytes, encoding);
        }
        if !sight.has_looked() || !outlet.write() {
            return false;
        }
        sight.written();
        let now = Instant::now();
        self.paid = Some(self.paid.map_or(now, |paid| paid.max(now)) + hold);
        self.items.is_empty()
    }

    fn next(&mut self, encoding: Encoding) -> Option<Next<W>> {
        if let Some(cut) = self.cut {
            return Some(Next::Cut(cut));
        }
        if std::mem::take(&mut self.poked) {
            return Some(Next::Poke);
        }
        pop(&mut self.items, &mut self.bytes, encoding).map(Next::Item)
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

/// The first of what waits, and its bytes no more.
fn pop<W: Wire>(
    items: &mut VecDeque<Item<W>>,
    bytes: &mut usize,
    encoding: Encoding,
) -> Option<Item<W>> {
    let item = items.pop_front()?;
    *bytes -= match &item.told {
        Told::Hint(hint) => hint.bytes(encoding),
        Told::Passing(frame) => frame.of(encoding).bytes(),
    };
    if items.is_empty() {
        items.shrink_to(ROOM_KEPT);
    }
    Some(item)
}

/// Wakes the session's task, which may look at once.
fn wake<W>(mut waiting: MutexGuard<'_, Waiting<W>>) {
    let waker = waiting.waker.take();
    drop(waiting);
    if let Some(waker) = waker {
        waker.wake();
    }
}
