//! Shards: each holds the virtual actors of some of the 256 virtual shards, wakes them and lets them
//! go. Whoever has something for one finds it there; the shard's own actor looks after those that fail
//! and those that are idle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::contact::Contact;
use engine::id::{ContactId, TenantId, ThreadId};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use storage::StoreError;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::contact::{ContactActor, ContactCommand, ContactFailure, ContactMessage, ContactOrder};
use crate::failure::Failure;
use crate::panics::{caught, caught_in};
use crate::permits::Share;
use crate::reply::{Answered, Reply};
use crate::slots::{End, Failed, Slots, Start};
use crate::thread::{Order, ThreadActor, ThreadMessage};
use crate::world::World;

/// All shards: what is for a virtual actor goes to the one that its id names.
#[derive(Clone)]
pub struct Shards(Arc<Vec<Shard>>);

struct Shard {
    actor: ActorRef<ShardMessage>,
    held: Arc<Mutex<Held>>,
    /// Some of its actors have ended.
    ended: Arc<Notify>,
}

/// What a shard's actor is told.
pub(crate) enum ShardMessage {
    /// A virtual actor is idle and has handled so many messages.
    Idle(Kind, Uuid, u64),
    /// The wait after a failure is over.
    Retry(Kind, Uuid),
    /// Time to let idle actors go.
    Tick,
    /// Everybody is to leave as soon as nothing is under way.
    Empty,
}

/// The kinds of virtual actors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Thread,
    Contact,
}

/// The virtual actors of a shard.
struct Held {
    world: Arc<World>,
    threads: Slots<ThreadActor>,
    contacts: Slots<ContactActor>,
    /// How many may be in memory,
    most: usize,
    /// and how many came since room was made for them.
    woken: usize,
    /// Nothing is taken any more.
    closed: bool,
}

/// A contact's actor leaves so soon: it is spoken to when its customer first writes, and seldom
/// again.
const CONTACT_IDLE: Duration = Duration::from_secs(1);

impl Shards {
    /// Starts so many shards, which keep so many virtual actors in memory.
    pub async fn start(world: Arc<World>, count: usize, live_actors: usize) -> Self {
        let (send, _) = watch::channel(None::<Self>);
        let count = count.clamp(1, 256);
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let held = Held::new(world.clone(), live_actors.div_ceil(count));
            let held = Arc::new(Mutex::new(held));
            let ended = Arc::new(Notify::new());
            let given = (held.clone(), ended.clone(), send.subscribe());
            let (actor, _) = Actor::spawn(None, ShardActor, given)
                .await
                .expect("a shard actor's start has nothing that fails");
            all.push(Shard { actor, held, ended });
        }
        let shards = Self(Arc::new(all));
        send.send_replace(Some(shards.clone()));
        shards
    }

    /// A command for a thread.
    pub fn tell_thread(&self, thread: ThreadId, order: Order) {
        self.tell(thread.shard(), |held, start| held.tell_thread(thread, Box::new(order), start));
    }

    /// A command for a contact.
    pub fn tell_contact(&self, contact: ContactId, order: ContactOrder) {
        self.tell(contact.shard(), |held, start| held.tell_contact(contact, order, start));
    }

    /// Has a thread do what is ordered, and answers what became of it.
    pub(crate) async fn ask_thread(
        &self,
        thread: ThreadId,
        order: impl FnOnce(Reply) -> Order,
    ) -> Answered {
        let (reply, answer) = Reply::new();
        self.tell_thread(thread, order(reply));
        answer.await.unwrap_or(Err(Failure::Unavailable))
    }

    /// Has a contact do something. Answers it, or the one that it turned out to be.
    pub(crate) async fn ask_contact(
        &self,
        tenant: TenantId,
        contact: ContactId,
        command: ContactCommand,
        share: Option<Arc<Share>>,
    ) -> Result<Contact, ContactFailure> {
        let (reply, answer) = oneshot::channel();
        self.tell_contact(contact, ContactOrder { tenant, command, reply, share });
        answer.await.unwrap_or(Err(Failure::Unavailable.into()))
    }

    /// Something for a virtual actor, on the caller's time: it is woken if it is not there.
    fn tell(&self, shard: u8, tell: impl FnOnce(&mut Held, &Starting<'_>)) {
        let shard = self.of(shard);
        let start = Starting { shards: self, supervisor: &shard.actor };
        let mut held = held(&shard.held);
        // What is not taken is dropped: its waiter hears of it by that.
        if !held.closed {
            // A bug here must not end whoever tells, nor all actors of the shard.
            let _ = caught("shard", || {
                let before = held.live();
                tell(&mut held, &start);
                if held.live() > before {
                    held.make_room();
                }
            });
        }
    }

    pub(crate) fn send(&self, shard: u8, message: ShardMessage) {
        // A shard's actor that is gone has nobody to let go.
        drop(self.of(shard).actor.send_message(message));
    }

    fn of(&self, shard: u8) -> &Shard {
        &self.0[usize::from(shard) % self.0.len()]
    }

    /// How many virtual actors are in memory.
    pub fn count(&self) -> usize {
        self.0.iter().map(|shard| held(&shard.held).live()).sum()
    }

    /// Returns when nobody is in memory.
    pub async fn emptied(&self) {
        while self.count() > 0 {
            for Shard { held: all, ended, .. } in self.0.iter() {
                // Whoever ends from here on is heard of.
                let hears = ended.notified();
                if held(all).live() > 0 {
                    hears.await;
                }
            }
        }
    }

    /// Lets everybody go, for so long at most. Answers whether all went.
    pub async fn empty(&self, within: Duration) -> bool {
        let all_gone = async {
            while self.count() > 0 {
                for shard in self.0.iter() {
                    drop(shard.actor.send_message(ShardMessage::Empty));
                }
                // Who was at work is asked once more.
                let _ = tokio::time::timeout(Duration::from_millis(10), self.emptied()).await;
            }
        };
        let gone = tokio::time::timeout(within, all_gone).await.is_ok();
        for shard in self.0.iter() {
            held(&shard.held).closed = true;
            drop(shard.actor.stop_and_wait(None, Some(Duration::from_secs(1))).await);
        }
        gone
    }
}

/// What a virtual actor is woken with.
struct Starting<'a> {
    shards: &'a Shards,
    supervisor: &'a ActorRef<ShardMessage>,
}

impl Starting<'_> {
    fn start(&self, world: &Arc<World>, id: Uuid) -> (Start, ActorCell) {
        let (world, shards) = (world.clone(), self.shards.clone());
        (Start { id, world, shards, again: false }, self.supervisor.get_cell())
    }
}

struct ShardActor;

struct Looking {
    held: Arc<Mutex<Held>>,
    ended: Arc<Notify>,
    shards: watch::Receiver<Option<Shards>>,
}

impl Looking {
    /// Does something about its actors.
    fn at_all(&self, myself: &ActorRef<ShardMessage>, look: impl FnOnce(&mut Held, &Starting<'_>)) {
        // Nobody can have spoken to a shard before.
        let Some(shards) = self.shards.borrow().clone() else { return };
        let start = Starting { shards: &shards, supervisor: myself };
        let mut held = held(&self.held);
        // A bug here must not end all actors of the shard.
        let _ = caught("shard", || look(&mut held, &start));
    }
}

impl Actor for ShardActor {
    type Msg = ShardMessage;
    type State = Looking;
    type Arguments = (Arc<Mutex<Held>>, Arc<Notify>, watch::Receiver<Option<Shards>>);

    async fn pre_start(
        &self,
        myself: ActorRef<ShardMessage>,
        (all, ended, shards): Self::Arguments,
    ) -> Result<Looking, ActorProcessingErr> {
        let idle_after = held(&all).world.idle_after;
        let every = (idle_after / 2).clamp(Duration::from_millis(10), CONTACT_IDLE);
        myself.send_interval(every, || ShardMessage::Tick);
        Ok(Looking { held: all, ended, shards })
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        looking: &mut Looking,
    ) -> Result<(), ActorProcessingErr> {
        looking.at_all(&myself, |held, start| held.told(message, start));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ShardMessage>,
        event: SupervisionEvent,
        looking: &mut Looking,
    ) -> Result<(), ActorProcessingErr> {
        looking.at_all(&myself, |held, start| held.heard(&myself, event, start));
        looking.ended.notify_waiters();
        Ok(())
    }
}

impl Held {
    fn new(world: Arc<World>, most: usize) -> Self {
        let (threads, contacts) = (Slots::new(), Slots::new());
        Self { world, threads, contacts, most, woken: 0, closed: false }
    }

    fn tell_thread(&mut self, id: ThreadId, order: Box<Order>, start: &Starting<'_>) {
        let Self { world, threads, .. } = self;
        threads.deliver(id.0, ThreadMessage::Do(order), || start.start(world, id.0));
    }

    fn tell_contact(&mut self, id: ContactId, order: ContactOrder, start: &Starting<'_>) {
        let Self { world, contacts, .. } = self;
        contacts.deliver(id.0, ContactMessage::Do(order), || start.start(world, id.0));
    }

    fn told(&mut self, message: ShardMessage, start: &Starting<'_>) {
        let Self { world, threads, contacts, .. } = self;
        match message {
            ShardMessage::Idle(Kind::Thread, id, handled) => threads.idle(id, handled),
            ShardMessage::Idle(Kind::Contact, id, handled) => contacts.idle(id, handled),
            ShardMessage::Retry(Kind::Thread, id) => {
                threads.retry(id, || start.start(world, id));
            }
            ShardMessage::Retry(Kind::Contact, id) => {
                contacts.retry(id, || start.start(world, id));
            }
            ShardMessage::Tick => {
                let (now, idle_after) = (Instant::now(), world.idle_after);
                if let Some(since) = now.checked_sub(idle_after) {
                    threads.ask_idle(since);
                }
                if let Some(since) = now.checked_sub(idle_after.min(CONTACT_IDLE)) {
                    contacts.ask_idle(since);
                }
                threads.give_back();
                contacts.give_back();
            }
            ShardMessage::Empty => {
                threads.ask_all();
                contacts.ask_all();
            }
        }
    }

    /// Something became of one of its actors.
    fn heard(
        &mut self,
        myself: &ActorRef<ShardMessage>,
        event: SupervisionEvent,
        start: &Starting<'_>,
    ) {
        let (cell, end) = match event {
            SupervisionEvent::ActorTerminated(cell, ..) => (cell, End::Left),
            // What our actors end with themselves is the store's.
            SupervisionEvent::ActorFailed(cell, error) if error.is::<StoreError>() => {
                (cell, End::Failed)
            }
            // Its words are not logged: they may quote what a customer wrote.
            SupervisionEvent::ActorFailed(cell, _) => (cell, End::Panicked),
            _ => return,
        };
        let Self { world, threads, contacts, .. } = self;
        let thread = threads.ended(cell.get_id(), end, |id| start.start(world, id));
        let contact = contacts.ended(cell.get_id(), end, |id| start.start(world, id));
        let failed = thread
            .map(|failed| (Kind::Thread, failed))
            .or(contact.map(|failed| (Kind::Contact, failed)));
        let Some((kind, Failed { id, wait, panics })) = failed else { return };
        tracing::warn!(?kind, %id, ?end, panics, "an actor failed");
        match kind {
            Kind::Thread if panics >= u32::from(world.poison_attempts) => {
                threads.forget(id);
                park(world.clone(), ThreadId(id));
            }
            kind => drop(myself.send_after(wait, move || ShardMessage::Retry(kind, id))),
        }
    }

    fn live(&self) -> usize {
        self.threads.len() + self.contacts.len()
    }

    /// Asks those that have been idle longest to leave, some at once, before there are too many.
    /// Whoever is at work stays.
    fn make_room(&mut self) {
        self.woken += 1;
        let some = self.most.div_ceil(16);
        let surplus = (self.live() + some).saturating_sub(self.most);
        if surplus == 0 || self.woken < some {
            return;
        }
        self.woken = 0;
        let mut last: Vec<_> = self.threads.last().chain(self.contacts.last()).collect();
        if let Some(nth) = surplus.min(last.len()).checked_sub(1) {
            let (_, since, _) = last.select_nth_unstable(nth);
            self.threads.ask_idle(*since);
            self.contacts.ask_idle(*since);
        }
    }
}

fn held(all: &Mutex<Held>) -> MutexGuard<'_, Held> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parks a thread whose actor panics again and again, nobody knows on what.
fn park(world: Arc<World>, thread: ThreadId) {
    tokio::spawn(async move {
        let parking = Box::pin(world.parking.park(thread, None, None));
        if let Ok(Err(failure)) = caught_in("park", parking).await {
            // It is tried again with the next panic.
            tracing::warn!(%thread, %failure, "a conversation could not be parked");
        }
    });
}
