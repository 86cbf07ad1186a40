//! Shard actors: each holds the virtual actors of some of the 256 virtual shards, wakes them,
//! lets them go, and looks after them when they fail.

use std::sync::Arc;
use std::time::Duration;

use engine::contact::Contact;
use engine::id::{ContactId, TenantId, ThreadId};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use storage::StoreError;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use crate::contact::{ContactActor, ContactCommand, ContactFailure, ContactMessage, ContactOrder};
use crate::failure::Failure;
use crate::panics::{caught, caught_in};
use crate::reply::{Answered, Reply};
use crate::slots::{End, Failed, Slots, Start};
use crate::thread::{Order, ThreadActor, ThreadMessage};
use crate::world::World;

/// All shard actors: messages for a virtual actor go to the one that its id names.
#[derive(Clone)]
pub struct Shards(Arc<Vec<ActorRef<ShardMessage>>>);

/// What a shard actor is told.
pub enum ShardMessage {
    Thread(ThreadId, Box<Order>),
    Contact(ContactId, ContactOrder),
    /// A virtual actor is idle and has handled so many messages.
    Idle(Kind, Uuid, u64),
    /// The wait after a failure is over.
    Retry(Kind, Uuid),
    /// Time to let idle actors go.
    Tick,
    /// How many actors are in memory.
    Count(oneshot::Sender<usize>),
    /// Everybody is to leave as soon as nothing is under way.
    Empty,
}

/// The kinds of virtual actors.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Thread,
    Contact,
}

/// A contact's actor leaves so soon: it is spoken to when its customer first writes, and seldom
/// again.
const CONTACT_IDLE: Duration = Duration::from_secs(1);

impl Shards {
    /// Starts so many shard actors, which keep so many virtual actors in memory.
    pub async fn start(world: Arc<World>, count: usize, live_actors: usize) -> Self {
        let (send, _) = tokio::sync::watch::channel(None::<Self>);
        let count = count.clamp(1, 256);
        let mut actors = Vec::with_capacity(count);
        for _ in 0..count {
            let arguments = (world.clone(), send.subscribe(), live_actors.div_ceil(count));
            let (actor, _) = Actor::spawn(None, ShardActor, arguments)
                .await
                .expect("a shard actor's start has nothing that fails");
            actors.push(actor);
        }
        let shards = Self(Arc::new(actors));
        send.send_replace(Some(shards.clone()));
        shards
    }

    /// A command for a thread.
    pub fn tell_thread(&self, thread: ThreadId, order: Order) {
        self.send(thread.shard(), ShardMessage::Thread(thread, Box::new(order)));
    }

    /// A command for a contact.
    pub fn tell_contact(&self, contact: ContactId, order: ContactOrder) {
        self.send(contact.shard(), ShardMessage::Contact(contact, order));
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
    ) -> Result<Contact, ContactFailure> {
        let (reply, answer) = oneshot::channel();
        self.tell_contact(contact, ContactOrder { tenant, command, reply });
        answer.await.unwrap_or(Err(Failure::Unavailable.into()))
    }

    pub(crate) fn send(&self, shard: u8, message: ShardMessage) {
        let at = usize::from(shard) % self.0.len();
        // A shard actor that is gone drops the message: its waiter hears of it by that.
        drop(self.0[at].send_message(message));
    }

    /// How many virtual actors are in memory.
    pub async fn count(&self) -> usize {
        let mut count = 0;
        for actor in self.0.iter() {
            let (send, answer) = oneshot::channel();
            drop(actor.send_message(ShardMessage::Count(send)));
            count += answer.await.unwrap_or(0);
        }
        count
    }

    /// Lets everybody go, for so long at most. Answers whether all went.
    pub async fn empty(&self, within: Duration) -> bool {
        let all_gone = async {
            while self.count().await > 0 {
                for actor in self.0.iter() {
                    drop(actor.send_message(ShardMessage::Empty));
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let gone = tokio::time::timeout(within, all_gone).await.is_ok();
        for actor in self.0.iter() {
            drop(actor.stop_and_wait(None, Some(Duration::from_secs(1))).await);
        }
        gone
    }
}

struct ShardActor;

struct Shard {
    world: Arc<World>,
    shards: tokio::sync::watch::Receiver<Option<Shards>>,
    threads: Slots<ThreadActor>,
    contacts: Slots<ContactActor>,
    /// How many may be in memory,
    most: usize,
    /// and how many came since room was made for them.
    woken: usize,
}

impl Actor for ShardActor {
    type Msg = ShardMessage;
    type State = Shard;
    type Arguments = (Arc<World>, tokio::sync::watch::Receiver<Option<Shards>>, usize);

    async fn pre_start(
        &self,
        myself: ActorRef<ShardMessage>,
        (world, shards, most): Self::Arguments,
    ) -> Result<Shard, ActorProcessingErr> {
        let every = (world.idle_after / 2).clamp(Duration::from_millis(10), CONTACT_IDLE);
        myself.send_interval(every, || ShardMessage::Tick);
        let (threads, contacts) = (Slots::new(), Slots::new());
        Ok(Shard { world, shards, threads, contacts, most, woken: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<ShardMessage>,
        message: ShardMessage,
        shard: &mut Shard,
    ) -> Result<(), ActorProcessingErr> {
        // A bug here must not end all actors of the shard.
        let _ = caught("shard", || shard.told(&myself, message));
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ShardMessage>,
        event: SupervisionEvent,
        shard: &mut Shard,
    ) -> Result<(), ActorProcessingErr> {
        let _ = caught("shard", || shard.heard(&myself, event));
        Ok(())
    }
}

impl Shard {
    fn told(&mut self, myself: &ActorRef<ShardMessage>, message: ShardMessage) {
        let before = self.live();
        match message {
            ShardMessage::Thread(id, order) => {
                let Self { world, shards, threads, .. } = self;
                threads
                    .deliver(id.0, ThreadMessage::Do(order), || start(world, shards, id.0, myself));
            }
            ShardMessage::Contact(id, order) => {
                let Self { world, shards, contacts, .. } = self;
                contacts.deliver(id.0, ContactMessage::Do(order), || {
                    start(world, shards, id.0, myself)
                });
            }
            ShardMessage::Idle(Kind::Thread, id, handled) => self.threads.idle(id, handled),
            ShardMessage::Idle(Kind::Contact, id, handled) => self.contacts.idle(id, handled),
            ShardMessage::Retry(Kind::Thread, id) => {
                let Self { world, shards, threads, .. } = self;
                threads.retry(id, || start(world, shards, id, myself));
            }
            ShardMessage::Retry(Kind::Contact, id) => {
                let Self { world, shards, contacts, .. } = self;
                contacts.retry(id, || start(world, shards, id, myself));
            }
            ShardMessage::Tick => {
                let (now, idle_after) = (Instant::now(), self.world.idle_after);
                if let Some(since) = now.checked_sub(idle_after) {
                    self.threads.ask_idle(since);
                }
                if let Some(since) = now.checked_sub(idle_after.min(CONTACT_IDLE)) {
                    self.contacts.ask_idle(since);
                }
                self.threads.give_back();
                self.contacts.give_back();
            }
            ShardMessage::Count(answer) => {
                // Who asked may have gone.
                let _ = answer.send(self.live());
            }
            ShardMessage::Empty => {
                self.threads.ask_all();
                self.contacts.ask_all();
            }
        }
        if self.live() > before {
            self.make_room();
        }
    }

    /// Something became of one of its actors.
    fn heard(&mut self, myself: &ActorRef<ShardMessage>, event: SupervisionEvent) {
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
        let Self { world, shards, threads, contacts, .. } = self;
        let begin = |id: Uuid| start(world, shards, id, myself);
        let thread = threads.ended(cell.get_id(), end, begin);
        let begin = |id: Uuid| start(world, shards, id, myself);
        let contact = contacts.ended(cell.get_id(), end, begin);
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

fn start(
    world: &Arc<World>,
    shards: &tokio::sync::watch::Receiver<Option<Shards>>,
    id: Uuid,
    myself: &ActorRef<ShardMessage>,
) -> (Start, ActorCell) {
    let shards = shards.borrow().clone().expect("set before anybody can speak to a shard");
    (Start { id, world: world.clone(), shards, again: false }, myself.get_cell())
}
