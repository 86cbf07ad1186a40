//! A thread's actor: reads what it needs, decides what has queued and has it committed as one. It
//! never waits in a handler: loads come back as messages, and a message says when a commit can go on.

mod batch;
mod commit;
mod load;
mod order;
mod poison;

use std::collections::VecDeque;
use std::sync::Arc;

use engine::conversation::{
    Command, Context, Conversation, Decision, Envelope, Loaded, Need, Recent, Refused,
    State as Core, Target, Thread, needs,
};
use engine::fact::By;
use engine::id::{ConversationId, ThreadId};
use engine::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use storage::StoreError;
use storage::conversations::{RecentRow, Woken, Worked};
use tracing::debug;

use self::batch::{Batch, Waiter};
use self::commit::Writing;
pub use self::load::{Loading, Shown, Unread};
use self::load::{load_needs, load_thread, read};
pub(crate) use self::order::envelope;
pub use self::order::{Order, Origin};
use crate::failure::Failure;
use crate::panics::caught;
use crate::reply::Reply;
use crate::shard::{Kind, ShardMessage, Shards};
use crate::slots::{Start, Virtual};
use crate::world::World;

/// What a thread's actor is told.
pub enum ThreadMessage {
    Do(Box<Order>),
    /// Asked whether it may leave, having been given so many orders.
    Leave(u64),
    Woke(Box<Result<Loading, Unread>>),
    Loaded(Box<Result<Loaded, Unread>>),
    /// The contact of a thread that is not there yet.
    Named(Result<Option<Shown>, Unread>),
    Committed(Result<(), StoreError>),
    /// It is parked, or could not be.
    Parked(Result<(), Failure>),
    /// The commit on its way may have got further.
    GoOn,
}

/// At most so many bytes of new rows in one commit.
const COMMIT_BYTES_MAX: usize = 40 * 1024;
/// At most so many orders are looked at for one load or commit.
const BATCH_MAX: usize = 64;

pub(crate) struct ThreadActor;

pub(crate) struct State {
    id: ThreadId,
    world: Arc<World>,
    shards: Shards,
    phase: Phase,
    /// The commit on its way, where the actor goes on with it itself.
    writing: Option<Writing>,
    /// Boxed: it keeps the room that it once had.
    queue: VecDeque<Box<Order>>,
    core: Option<Core>,
    /// `None`: its contact was never written.
    contact: Option<Shown>,
    loaded: Loaded,
    /// What was written last of when it was at work.
    worked: Option<Worked>,
    /// The seq at which the newest provider ids were written.
    recent_at: (Option<ConversationId>, u64),
    handled: u64,
    /// See [`Start::again`].
    again: bool,
    /// What one before it left on its way may still come about: nothing newer is written yet.
    unfenced: bool,
    /// How many wakes in a row have panicked.
    panics: u8,
}

enum Phase {
    Asleep,
    Waking,
    Idle,
    Loading,
    Committing(Box<Batch>),
    /// With the order that it fails on, unless it fails on itself.
    Parking(Option<Box<Order>>),
}

impl Virtual for ThreadActor {
    const KIND: &'static str = "thread";

    fn new() -> Self {
        Self
    }

    fn leave(delivered: u64) -> ThreadMessage {
        ThreadMessage::Leave(delivered)
    }
}

impl Actor for ThreadActor {
    type Msg = ThreadMessage;
    // The actor's task would hold it more than once.
    type State = Box<State>;
    type Arguments = Start;

    async fn pre_start(
        &self,
        myself: ActorRef<ThreadMessage>,
        Start { id, world, shards, again }: Start,
    ) -> Result<Box<State>, ActorProcessingErr> {
        let mut state = Box::new(State {
            id: ThreadId(id),
            world,
            shards,
            phase: Phase::Asleep,
            writing: None,
            queue: VecDeque::new(),
            core: None,
            contact: None,
            loaded: Loaded::default(),
            worked: None,
            recent_at: (None, 0),
            handled: 0,
            again,
            unfenced: false,
            panics: 0,
        });
        state.wake(&myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ThreadMessage>,
        message: ThreadMessage,
        state: &mut Box<State>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ThreadMessage::Do(order) => {
                state.handled += 1;
                order.span.in_scope(|| debug!(thread = %state.id, "at its conversation"));
                match state.is_parked_for(&order) {
                    true => order.reply.send(Err(Failure::Parked)),
                    false => state.queue.push_back(order),
                }
            }
            ThreadMessage::Leave(handled) => {
                let idle = matches!(state.phase, Phase::Idle | Phase::Asleep);
                if idle && state.queue.is_empty() && handled == state.handled {
                    let idle = ShardMessage::Idle(Kind::Thread, state.id.0, handled);
                    state.shards.send(state.id.shard(), idle);
                }
                return Ok(());
            }
            ThreadMessage::Woke(woke) => state.woke(*woke, &myself)?,
            ThreadMessage::Loaded(loaded) => {
                state.phase = Phase::Idle;
                match *loaded {
                    Ok(loaded) => state.loaded = loaded,
                    Err(unread) => state.unread(unread),
                }
            }
            ThreadMessage::Named(named) => {
                state.phase = Phase::Idle;
                match named {
                    Ok(named) => {
                        // Made for one that turned out to be another one since.
                        if let (Some(core), Some(shown)) = (&mut state.core, &named) {
                            core.thread.contact = shown.contact;
                        }
                        state.contact = named;
                    }
                    Err(unread) => state.unread(unread),
                }
            }
            ThreadMessage::Committed(result) => state.committed(result)?,
            ThreadMessage::Parked(result) => state.parked(result),
            ThreadMessage::GoOn => state.go_on(&myself)?,
        }
        state.pump(&myself)
    }

    async fn post_stop(
        &self,
        _: ActorRef<ThreadMessage>,
        state: &mut Box<State>,
    ) -> Result<(), ActorProcessingErr> {
        // Apart, so that only an actor that leaves takes the room for it.
        Box::pin(state.rest()).await;
        Ok(())
    }
}

impl State {
    fn wake(&mut self, myself: &ActorRef<ThreadMessage>) {
        self.phase = Phase::Waking;
        let (world, id, myself) = (self.world.clone(), self.id, myself.clone());
        // A task is moved about whole, more than once.
        let loading = Box::pin(async move { load_thread(&world, id).await });
        tokio::spawn(async move {
            let loading = read(loading).await;
            drop(myself.send_message(ThreadMessage::Woke(Box::new(loading))));
        });
    }

    fn woke(
        &mut self,
        woke: Result<Loading, Unread>,
        myself: &ActorRef<ThreadMessage>,
    ) -> Result<(), ActorProcessingErr> {
        self.phase = Phase::Idle;
        let Loading { woken, contact, doubted } = match woke {
            Ok(loading) => loading,
            Err(Unread::Panicked(_)) => {
                self.wake_panicked(myself);
                return Ok(());
            }
            // Whoever waits for what the last one left untold hears of it by this wake alone.
            Err(Unread::Store(error @ StoreError::Unavailable(_))) if !self.again => {
                self.phase = Phase::Asleep;
                self.fail(error.into());
                return Ok(());
            }
            Err(Unread::Store(error)) => {
                self.fail(error.clone().into());
                return Err(error.into());
            }
        };
        self.panics = 0;
        let panics = self.forget_own();
        self.contact = contact;
        let Some(Woken { thread, case, recent, newest }) = woken else { return Ok(()) };
        let case = case.map(Arc::new);
        let current = case.as_ref().map(|case| case.id);
        let shows = |shown: &Shown| shown.contact == thread.contact && shown.is_in(case.as_deref());
        let other = self.contact.clone().filter(|shown| !shows(shown));
        // A store that may still write what it was told must see something newer first.
        let settled = self.world.conversations.guarantees().settled;
        let mark = !settled && newest.is_some() && case.as_ref().is_some_and(|case| !case.clean);
        self.unfenced = mark;
        self.recent_at = (current, case.as_ref().map_or(0, |case| case.seq));
        if let Some(case) = &case {
            self.world.outside.woke(case, self.again || (!settled && !case.clean));
        }
        self.core = Some(Core { thread, case, recent });
        if let Some(Shown { contact, name, phone }) = other {
            let command = Command::ContactChanged { contact, name, phone };
            self.queue.push_front(Box::new(Order { panics, ..Order::own(command) }));
        }
        if current.is_some() {
            let held = self.world.outside.held(self.id);
            let wake = Order::own(Command::Wake { mark, held });
            self.queue.push_front(Box::new(Order { panics, ..wake }));
        }
        if let Some(case) = doubted.filter(|case| current != Some(case.id)) {
            // Before anything else: a commit that is still on its way must lose, and who follows the case
            // hears of one that did not by what comes behind it.
            let (target, held) = (Target::Conversation(case.id), self.world.outside.held(self.id));
            let wake = envelope(By::System, Command::Wake { mark: true, held });
            self.loaded.cases.insert(case.id, Some(case));
            self.unfenced = true;
            let (reply, _) = Reply::new();
            let order = Order::new(Envelope { target, ..wake }, reply);
            self.queue.push_front(Box::new(Order { panics, ..order }));
        } else {
            self.world.doubts.settle(self.id);
        }
        Ok(())
    }

    /// Decides what has queued, as far as one load or one commit goes.
    fn pump(&mut self, myself: &ActorRef<ThreadMessage>) -> Result<(), ActorProcessingErr> {
        if matches!(self.phase, Phase::Asleep) && !self.queue.is_empty() {
            self.wake(myself);
        }
        while matches!(self.phase, Phase::Idle) && !self.queue.is_empty() {
            if self.queue.front().is_some_and(|order| order.reply.is_broken()) {
                // One before it was not done, which it must not overtake.
                self.queue.pop_front();
                continue;
            }
            if self.has_failed() {
                self.give_up(myself);
                continue;
            }
            if self.core.is_none() {
                self.begin_thread(myself);
                continue;
            }
            let missing = self.missing();
            if !missing.is_empty() {
                self.load(missing, myself);
                continue;
            }
            let batch = self.decide();
            if batch.waiters.is_empty() && self.has_panicked() {
                if !self.has_failed() {
                    // Once more, on what is stored.
                    self.core = None;
                    self.wake(myself);
                }
                continue;
            }
            self.commit(batch, myself);
            self.go_on(myself)?;
        }
        Ok(())
    }

    /// Makes the thread of the first order, once its contact is read; an order that cannot make
    /// one is refused.
    fn begin_thread(&mut self, myself: &ActorRef<ThreadMessage>) {
        let origin = self.queue.front().and_then(|order| order.origin);
        let Some(Origin { tenant, account, channel, contact }) = origin else {
            if let Some(order) = self.queue.pop_front() {
                order.reply.send(Err(Refused::NotFound.into()));
            }
            return;
        };
        let thread = Thread::new(self.id, tenant, (account, channel), contact);
        self.core = Some(Core { thread, case: None, recent: Recent::default() });
        self.phase = Phase::Loading;
        let (contacts, myself) = (self.world.contacts.clone(), myself.clone());
        tokio::spawn(async move {
            let current = contacts.current(contact);
            let named = read(async { Ok(current.await?.map(Shown::of)) }).await;
            drop(myself.send_message(ThreadMessage::Named(named)));
        });
    }

    /// What has to be read for the orders at hand.
    fn missing(&self) -> Vec<Need> {
        let Some(core) = &self.core else { return Vec::new() };
        let first = self.queue.front().map(|order| needs(core, &self.loaded, &order.envelope));
        let mut missing = first.unwrap_or_default();
        if !missing.is_empty() && !self.has_panicked() {
            for order in self.queue.iter().take(BATCH_MAX).skip(1) {
                missing.extend(needs(core, &self.loaded, &order.envelope));
            }
            missing.sort();
            missing.dedup();
        }
        missing
    }

    fn load(&mut self, missing: Vec<Need>, myself: &ActorRef<ThreadMessage>) {
        let Some(core) = &self.core else { return };
        self.phase = Phase::Loading;
        let (world, of) = (self.world.clone(), (core.thread.id, core.thread.account));
        let mut loaded = std::mem::take(&mut self.loaded);
        let myself = myself.clone();
        tokio::spawn(async move {
            let loading = async {
                load_needs(&world, of, missing, &mut loaded).await?;
                Ok(loaded)
            };
            let loaded = Box::new(read(loading).await);
            drop(myself.send_message(ThreadMessage::Loaded(loaded)));
        });
    }

    /// Decides orders in turn, each on what was decided before it, until one needs a load, is of
    /// another case than this commit, or the commit is full.
    fn decide(&mut self) -> Batch {
        let mut batch = Batch::default();
        let (now, mut ids) = (self.world.clock.now(), self.world.ids.clone());
        while batch.waiters.len() < BATCH_MAX && batch.bytes < COMMIT_BYTES_MAX {
            let Some(core) = &self.core else { break };
            let Some(order) = self.queue.front_mut().filter(|order| !order.reply.is_broken())
            else {
                break;
            };
            let is_first = batch.waiters.is_empty();
            // What has panicked is decided alone, and on what is durable.
            let is_suspect = order.panics > 0;
            if is_suspect && !is_first {
                break;
            }
            if order.origin.is_some_and(|origin| !origin.fits(&core.thread)) {
                // An id that names this thread came from another account: it names nothing there.
                let order = self.queue.pop_front();
                batch.waiters.extend(order.map(|order| Waiter::of(*order, Err(Refused::NotFound))));
                continue;
            }
            // What the first one needs was looked at before.
            if !is_first && !needs(core, &self.loaded, &order.envelope).is_empty() {
                break;
            }
            let mut context = Context {
                now,
                mint: &mut ids,
                loaded: &self.loaded,
                rules: &self.world.rules,
                contact_name: self.contact.as_ref().and_then(|shown| shown.name.as_deref()),
                contact_phone: self.contact.as_ref().and_then(|shown| shown.phone.as_deref()),
                commit_first: batch.commit.as_ref().map(|commit| commit.first),
            };
            let decide = self.world.decide;
            let deciding = || decide(core, &order.envelope, &mut context);
            let Ok(decision) = order.span.in_scope(|| caught("decide", deciding)) else {
                order.panics = order.panics.saturating_add(1);
                break;
            };
            if decision.as_ref().is_ok_and(|decision| !batch.has_room(decision)) {
                break;
            }
            let Some(order) = self.queue.pop_front() else { break };
            self.decided(&mut batch, *order, decision, now);
            if is_suspect {
                break;
            }
        }
        batch
    }

    /// An order was decided: what comes behind it is decided on that.
    fn decided(
        &mut self,
        batch: &mut Batch,
        order: Order,
        decision: Result<Decision, Refused>,
        now: Timestamp,
    ) {
        let Some(core) = &mut self.core else { return };
        if let Command::ContactChanged { contact, name, phone } = &order.envelope.command {
            let (contact, name, phone) = (*contact, name.clone(), phone.clone());
            self.contact = Some(Shown { contact, name, phone });
        }
        let answer = decision.map(|mut decision| {
            let answer = std::mem::take(&mut decision.answer);
            let before = core.take(&decision, self.world.rules.recent_ids);
            if !decision.facts.is_empty() && batch.commit.is_none() {
                let id = decision.head.id;
                let earlier = || self.loaded.cases.get(&id)?.clone().map(Arc::new);
                (batch.before, batch.left) = match before {
                    Some(case) if case.id != id => (earlier(), Some(case)),
                    before => (before.or_else(earlier), None),
                };
            }
            if !self.queue.is_empty() {
                self.loaded.take(core, &decision);
            }
            batch.add(decision, now, &order.span);
            answer
        });
        batch.waiters.push(Waiter::of(order, answer));
    }

    /// Answers everybody who waits that it cannot be done now.
    fn fail(&mut self, failure: Failure) {
        for order in self.queue.drain(..) {
            order.reply.send(Err(failure.clone()));
        }
    }

    /// Leaves: the snapshots are brought up to date, so that the next wake is short.
    async fn rest(&mut self) {
        let Some(Core { thread, case: Some(case), recent }) = self.core.take() else { return };
        let row = RecentRow { recent, conversation: case.id, seq: case.seq };
        if self.world.conversations.keeps_up() && self.recent_at == (Some(case.id), case.seq) {
            return;
        }
        let head = Conversation { clean: true, ..Arc::unwrap_or_clone(case) };
        let result = self.world.conversations.rest(&head, &row, self.world.stamps.next()).await;
        if let Err(error) = result {
            tracing::warn!(thread = %thread.id, %error, "a thread left without its snapshot");
        }
    }
}
