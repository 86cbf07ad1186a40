//! What waits for one session. A queue never waits: what passes is left out first, then of a list's
//! rows the older copies, and who does not keep up at all is cut.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use engine::id::AgentId;

use super::frame::{Encoding, Shared};
use super::pace::{Called, JOINED, Pace};
use super::sight::{Own, Sight};
use super::topic::{Hint, Topic};
use super::writer::{Job, Writer};
use super::{Outlet, Stream, Wire};

/// A session's queue, as hub and topics see the session.
pub(super) struct Queue<W> {
    pub(super) agent: AgentId,
    pub(super) encoding: Encoding,
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
    /// Of what is written past the session's task.
    pace: Pace,
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

impl<W: Wire> Queue<W> {
    pub(super) fn new(
        agent: AgentId,
        encoding: Encoding,
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
            pace: Pace::default(),
        };
        let waiting = Mutex::new(waiting);
        Arc::new(Self { agent, encoding, outlet, writer, waiting })
    }

    /// Who writes for it while its session rests.
    pub(super) fn writer(&self) -> &Arc<Writer<W>> {
        &self.writer
    }

    /// Adds a hint; who does not keep up is cut, and resumes where it was.
    pub(super) fn push(self: &Arc<Self>, topic: &Arc<Topic<W>>, hint: &Hint<W>) {
        let mut waiting = self.waiting();
        self.add(&mut waiting, topic, hint);
        self.call(waiting);
    }

    /// The same of several, from the writer: what is plain is written at once while the session rests and
    /// nothing else waits. Answers in how many writes.
    pub(super) fn take(self: &Arc<Self>, topic: &Arc<Topic<W>>, hints: &[Hint<W>]) -> usize {
        let mut waiting = self.waiting();
        let is_much = hints.len() >= JOINED;
        let may_write =
            waiting.is_at_rest() && (is_much || !waiting.pace.is_fast(self.writer.hold));
        let written = match may_write {
            true => waiting.write_through(topic, hints, &*self.outlet),
            false => None,
        };
        let (taken, is_done) = written.unwrap_or_default();
        if is_done && taken == hints.len() {
            waiting.pace.wrote(self.writer.hold);
            return taken.div_ceil(BATCH);
        }
        for hint in &hints[taken..] {
            self.add(&mut waiting, topic, hint);
        }
        match written {
            Some(_) => wake(waiting),
            None => self.call(waiting),
        }
        taken.div_ceil(BATCH)
    }

    fn add(&self, waiting: &mut Waiting<W>, topic: &Arc<Topic<W>>, hint: &Hint<W>) {
        let mut hint = hint.clone();
        let bytes = hint.bytes(self.encoding);
        if waiting.cut.is_some() {
            return;
        }
        if self.is_half_full(waiting) {
            waiting.make_way(topic, &mut hint, self.encoding);
        }
        let is_full = waiting.items.len() >= self.writer.frames_max
            || (waiting.bytes + bytes > self.writer.bytes_max && !waiting.items.is_empty());
        if is_full {
            return waiting.end(Cut::Slow);
        }
        waiting.bytes += bytes;
        waiting.items.push_back(Item { topic: topic.clone(), told: Told::Hint(hint) });
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
    /// Answers in how many writes.
    pub(super) fn write(&self) -> usize {
        let mut waiting = self.waiting();
        waiting.called = None;
        if !waiting.write(self.encoding, &*self.outlet, self.writer.hold) {
            wake(waiting);
        }
        1
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
        let Some(called) = waiting.pace.call(waiting.called, is_much, self.writer.hold) else {
            return;
        };
        if self.writer.add(Job::Queue(self.clone()), called) {
            waiting.called = Some(called);
        } else {
            wake(waiting);
        }
    }

    fn is_half_full(&self, waiting: &Waiting<W>) -> bool {
        let Writer { frames_max, bytes_max, .. } = &*self.writer;
        waiting.items.len() * 2 >= *frames_max || waiting.bytes * 2 >= *bytes_max
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

    /// Whether its session rests, and nothing waits for it.
    fn is_at_rest(&self) -> bool {
        self.rest.is_some() && self.items.is_empty() && self.cut.is_none() && !self.poked
    }

    /// Writes for a session that rests. Answers whether its task has nothing to do.
    fn write(&mut self, encoding: Encoding, outlet: &dyn Outlet<W>, hold: Duration) -> bool {
        let Some(sight) = &mut self.rest else { return true };
        // What the task was woken for is not done here.
        if self.cut.is_some() || self.poked || !sight.begin_past() {
            return false;
        }
        let mut left = BATCH;
        while let Some(item) = self.items.front().filter(|_| left > 0) {
            let plain = sight.plain(item);
            if !sight.push_past(outlet, plain) {
                break;
            }
            left -= 1;
            pop(&mut self.items, &mut self.bytes, encoding);
        }
        let is_done = sight.write_past(outlet);
        self.pace.wrote(hold);
        is_done && self.items.is_empty()
    }

    /// Writes these for a session that rests, as far as they are plain. Answers how many that were, and
    /// whether its task has nothing to do; `None`: it was not begun.
    fn write_through(
        &mut self,
        topic: &Arc<Topic<W>>,
        hints: &[Hint<W>],
        outlet: &dyn Outlet<W>,
    ) -> Option<(usize, bool)> {
        let sight = self.rest.as_mut()?;
        if !sight.begin_past() {
            return Some((0, false));
        }
        let mut taken = 0;
        for batch in hints.chunks(BATCH) {
            let is_plain = |hint: &&Hint<W>| {
                let plain = sight.plain_hint(topic, hint);
                sight.push_past(outlet, plain)
            };
            let plain = batch.iter().take_while(is_plain).count();
            taken += plain;
            if !sight.write_past(outlet) || plain < batch.len() {
                return Some((taken, false));
            }
        }
        Some((taken, true))
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
