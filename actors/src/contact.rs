//! A contact's actor: the only one who writes its row.

use std::sync::Arc;

use engine::consent::ContactSaid;
use engine::contact::{Contact, ContactPatch, Identity};
use engine::conversation::{Command, Envelope, Target};
use engine::fact::By;
use engine::id::{AccountId, ContactId, TenantId, ThreadId};
use engine::resource::Invalid;
use engine::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use storage::StoreError;
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::panics::caught_in;
use crate::reply::Reply;
use crate::shard::{Kind, ShardMessage, Shards};
use crate::slots::{Start, Virtual};
use crate::thread::Order;
use crate::world::World;

/// What a contact's actor is told.
pub enum ContactMessage {
    Do(ContactOrder),
    Leave(u64),
}

/// A command for a contact, and who waits for it.
pub struct ContactOrder {
    pub tenant: TenantId,
    pub command: ContactCommand,
    pub reply: oneshot::Sender<Result<Contact, ContactFailure>>,
}

/// What somebody wants of a contact.
pub enum ContactCommand {
    /// A payload names it like this; it is made when it is not there.
    Learn {
        identities: Vec<Identity>,
        thread: Option<ThreadId>,
        name: Option<String>,
    },
    /// The provider of an account says this of them.
    Hear {
        account: AccountId,
        at: Option<Timestamp>,
        said: ContactSaid,
    },
    /// It turned out to be another one.
    MergeInto(ContactId),
    /// A person changes it.
    Patch(ContactPatch),
    Look,
}

/// Why a contact's actor does not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ContactFailure {
    #[error("there is no such contact")]
    NotFound,
    #[error("the change is not valid")]
    Invalid(Invalid),
    #[error(transparent)]
    Failed(#[from] Failure),
}

pub(crate) struct ContactActor;

pub(crate) struct State {
    id: ContactId,
    world: Arc<World>,
    shards: Shards,
    /// `None`: not loaded, or its row may be otherwise than remembered.
    row: Option<Option<Contact>>,
    handled: u64,
}

impl Virtual for ContactActor {
    const KIND: &'static str = "contact";

    fn new() -> Self {
        Self
    }

    fn leave(delivered: u64) -> ContactMessage {
        ContactMessage::Leave(delivered)
    }
}

impl Actor for ContactActor {
    type Msg = ContactMessage;
    type State = State;
    type Arguments = Start;

    async fn pre_start(
        &self,
        _: ActorRef<ContactMessage>,
        Start { id, world, shards, .. }: Start,
    ) -> Result<State, ActorProcessingErr> {
        Ok(State { id: ContactId(id), world, shards, row: None, handled: 0 })
    }

    // It waits for the store in its handler: all that could go on meanwhile depends on that write.
    async fn handle(
        &self,
        _: ActorRef<ContactMessage>,
        message: ContactMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ContactMessage::Leave(handled) if handled == state.handled => {
                let idle = ShardMessage::Idle(Kind::Contact, state.id.0, handled);
                state.shards.send(state.id.shard(), idle);
            }
            ContactMessage::Leave(_) => {}
            ContactMessage::Do(ContactOrder { tenant, command, reply }) => {
                state.handled += 1;
                let running = Box::pin(state.run(tenant, command));
                let answer = caught_in("contact", running).await.unwrap_or_else(|panicked| {
                    state.row = None;
                    Err(Failure::from(panicked).into())
                });
                drop(reply.send(answer));
            }
        }
        Ok(())
    }
}

impl State {
    async fn run(
        &mut self,
        tenant: TenantId,
        command: ContactCommand,
    ) -> Result<Contact, ContactFailure> {
        if self.row.is_none() {
            self.row = Some(self.load().await.map_err(Failure::from)?);
        }
        let known = self.row.clone().flatten();
        if known.as_ref().is_some_and(|contact| contact.tenant != tenant) {
            return Err(ContactFailure::NotFound);
        }
        let now = self.world.clock.now();
        let (contact, changed) = match (command, known.clone()) {
            (ContactCommand::Look, Some(contact)) => (contact, false),
            (ContactCommand::Patch(patch), Some(mut contact)) => {
                let changed = contact.patch(patch, now).map_err(ContactFailure::Invalid)?;
                (contact, changed)
            }
            (ContactCommand::Learn { identities, thread, name }, known) => {
                let mut contact = known.unwrap_or_else(|| Contact::new(self.id, tenant, now));
                let changed = contact.learn(&identities, thread, name.as_deref(), now);
                (contact, changed)
            }
            (ContactCommand::MergeInto(into), Some(mut contact)) => {
                let changed = contact.merged_into != Some(into);
                contact.merged_into = Some(into);
                (contact, changed)
            }
            (ContactCommand::Hear { account, at, said }, Some(mut contact)) => {
                let changed = contact.hear(account, at, &said, now);
                (contact, changed)
            }
            (
                ContactCommand::Look
                | ContactCommand::Patch(_)
                | ContactCommand::MergeInto(_)
                | ContactCommand::Hear { .. },
                None,
            ) => {
                return Err(ContactFailure::NotFound);
            }
        };
        if changed || known.is_none() {
            self.write(&contact, known.as_ref()).await.map_err(Failure::from)?;
        }
        Ok(contact)
    }

    async fn load(&self) -> Result<Option<Contact>, StoreError> {
        let row = self.world.contacts.get(self.id).await?;
        if let Some(contact) = &row
            && !self.world.conversations.guarantees().settled
        {
            // A write of a former owner may still be on its way: it loses to this one.
            self.world.contacts.put(contact, false, self.world.stamps.next()).await?;
        }
        Ok(row)
    }

    async fn write(
        &mut self,
        contact: &Contact,
        known: Option<&Contact>,
    ) -> Result<(), StoreError> {
        let stamp = self.world.stamps.next();
        if let Err(error) = self.world.contacts.put(contact, known.is_none(), stamp).await {
            self.row = None;
            return Err(error);
        }
        self.row = Some(Some(contact.clone()));
        let shown = |contact: &Contact| (contact.name.clone(), contact.phone().map(str::to_owned));
        let (name, phone) = shown(contact);
        if known.is_some_and(|known| shown(known) != (name.clone(), phone.clone())) {
            for thread in &contact.threads {
                let command = Command::ContactChanged { name: name.clone(), phone: phone.clone() };
                let (target, by) = (Target::Current, By::System);
                let envelope = Envelope { target, by, viewer: None, key: None, command };
                // Nobody waits: a thread that misses it compares when it wakes.
                let (reply, _) = Reply::new();
                self.shards.tell_thread(*thread, Order::new(envelope, reply));
            }
        }
        Ok(())
    }
}
