//! A contact's actor: the only one who writes its row.

use std::sync::Arc;

use engine::consent::ContactSaid;
use engine::contact::{Contact, ContactPatch, Identity, MergeSuggestion};
use engine::conversation::{Command, IdempotencyKey};
use engine::id::{AccountId, ContactId, TenantId, ThreadId};
use engine::resource::Invalid;
use engine::time::Timestamp;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use storage::StoreError;
use storage::keys::hour;
use tokio::sync::oneshot;

use crate::failure::Failure;
use crate::panics::caught_in;
use crate::permits::Share;
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
    /// Of what its tenant may have under way; `None`: it is part of something that counts.
    pub share: Option<Arc<Share>>,
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
    /// The provider says that some of its handles are others now; that is kept also of somebody of
    /// whom nothing else is known yet.
    Change {
        ended: Vec<Identity>,
        begun: Vec<Identity>,
        at: Timestamp,
    },
    /// It turned out to be another one, which is older: whatever is for it goes there from now on.
    /// Answers what it was, or the one that it had been merged into before.
    /// The first thread of `moved` was moved to the second one.
    MergeInto {
        into: ContactId,
        moved: Option<(ThreadId, ThreadId)>,
    },
    /// Another one turned out to be this one.
    Absorb {
        other: Box<Contact>,
        moved: Option<(ThreadId, ThreadId)>,
    },
    /// Another one may be this one.
    Suggest(MergeSuggestion),
    /// A person changes it, by one key once.
    Patch(ContactPatch, Option<IdempotencyKey>),
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

/// What became of an order.
enum Taken {
    Answered(Result<Contact, ContactFailure>),
    /// It is for the contact that this one turned out to be.
    PassedOn(ContactId, ContactCommand),
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
            ContactMessage::Do(ContactOrder { tenant, command, reply, share }) => {
                state.handled += 1;
                let taking = Box::pin(state.take(tenant, command));
                let taken = caught_in("contact", taking).await.unwrap_or_else(|panicked| {
                    state.row = None;
                    Taken::Answered(Err(Failure::from(panicked).into()))
                });
                match taken {
                    Taken::Answered(answer) => drop(reply.send(answer)),
                    Taken::PassedOn(into, command) => {
                        let order = ContactOrder { tenant, command, reply, share };
                        state.shards.tell_contact(into, order);
                    }
                }
            }
        }
        Ok(())
    }
}

impl State {
    /// Does what is ordered, unless it is for the contact that this one turned out to be.
    async fn take(&mut self, tenant: TenantId, command: ContactCommand) -> Taken {
        if self.row.is_none() {
            match self.load().await {
                Ok(row) => self.row = Some(row),
                Err(error) => return Taken::Answered(Err(Failure::from(error).into())),
            }
        }
        let known = self.row.clone().flatten();
        let Some(contact) = &known else {
            return Taken::Answered(self.run(tenant, command, known).await);
        };
        if contact.tenant != tenant {
            return Taken::Answered(Err(ContactFailure::NotFound));
        }
        if let Err(failure) = self.hand_over(contact, None).await {
            return Taken::Answered(Err(failure));
        }
        match contact.merged_into {
            // Each is merged into an older one: this ends.
            Some(into) if !matches!(command, ContactCommand::MergeInto { .. }) => {
                Taken::PassedOn(into, command)
            }
            _ => Taken::Answered(self.run(tenant, command, known).await),
        }
    }

    async fn run(
        &mut self,
        tenant: TenantId,
        command: ContactCommand,
        known: Option<Contact>,
    ) -> Result<Contact, ContactFailure> {
        let now = self.world.clock.now();
        let makes = matches!(
            &command,
            ContactCommand::Learn { .. }
                | ContactCommand::Change { .. }
                | ContactCommand::MergeInto { .. }
                | ContactCommand::Absorb { .. }
        );
        if known.is_none() && !makes {
            return Err(ContactFailure::NotFound);
        }
        let mut contact = known.clone().unwrap_or_else(|| Contact::new(self.id, tenant, now));
        let changed = match command {
            ContactCommand::Look => false,
            ContactCommand::Patch(patch, key) => {
                let used = key.map(|key| contact.is_used(key)).transpose();
                match used.map_err(Failure::Refused)? {
                    Some(true) => false,
                    // That a key is used is written also where nothing else is.
                    None | Some(false) => {
                        let patched = contact.patch(patch, now).map_err(ContactFailure::Invalid)?;
                        patched || key.is_some()
                    }
                }
            }
            ContactCommand::Learn { identities, thread, name } => {
                contact.learn(&identities, thread, name.as_deref(), now)
            }
            ContactCommand::Change { ended, begun, at } => contact.change(&ended, &begun, at, now),
            ContactCommand::MergeInto { into, moved } => {
                return self.merge_into(contact, known, into, moved).await;
            }
            ContactCommand::Hear { account, at, said } => contact.hear(account, at, &said, now),
            ContactCommand::Absorb { other, moved } => {
                contact.absorb(&other, moved, self.world.merge_suggestions, now)
            }
            ContactCommand::Suggest(suggestion) => {
                contact.suggest(suggestion, self.world.merge_suggestions, now)
            }
        };
        if changed || known.is_none() {
            self.write(&contact, known.as_ref()).await.map_err(Failure::from)?;
        }
        Ok(contact)
    }

    /// Becomes another one, also where it was never written: whoever learns of it later finds where
    /// it went.
    async fn merge_into(
        &mut self,
        mut contact: Contact,
        known: Option<Contact>,
        into: ContactId,
        moved: Option<(ThreadId, ThreadId)>,
    ) -> Result<Contact, ContactFailure> {
        if contact.merged_into.is_none() {
            contact.merged_into = Some(into);
            self.write(&contact, known.as_ref()).await.map_err(Failure::from)?;
            self.hand_over(&contact, moved).await?;
        }
        Ok(contact)
    }

    /// Once it is merged, what it had becomes the other one's. It waits for that one: each waits
    /// for an older one only.
    async fn hand_over(
        &mut self,
        contact: &Contact,
        moved: Option<(ThreadId, ThreadId)>,
    ) -> Result<(), ContactFailure> {
        let Some(into) = contact.merged_into.filter(|_| !contact.handed_over) else {
            return Ok(());
        };
        let absorb = ContactCommand::Absorb { other: Box::new(contact.clone()), moved };
        self.shards.ask_contact(contact.tenant, into, absorb, None).await?;
        let done = Contact { handed_over: true, ..contact.clone() };
        Ok(self.write(&done, Some(contact)).await.map_err(Failure::from)?)
    }

    async fn load(&self) -> Result<Option<Contact>, StoreError> {
        let row = self.world.contacts.get(self.id).await?;
        if let Some(contact) = &row
            && !self.world.conversations.guarantees().settled
        {
            // A write of a former owner may still be on its way: it loses to this one.
            self.put(contact, false).await?;
        }
        Ok(row)
    }

    /// Also what is not known to be written is told: it may be.
    async fn put(&self, contact: &Contact, is_new: bool) -> Result<(), StoreError> {
        let World { contacts, clock, stamps, outside, .. } = &*self.world;
        let now = clock.now();
        let put = contacts.put(contact, is_new, hour(now), stamps.next()).await;
        outside.follow_contact(contact.id, is_new, now);
        put
    }

    async fn write(
        &mut self,
        contact: &Contact,
        known: Option<&Contact>,
    ) -> Result<(), StoreError> {
        if let Err(error) = self.put(contact, known.is_none()).await {
            self.row = None;
            return Err(error);
        }
        self.row = Some(Some(contact.clone()));
        let shown = |contact: &Contact| (contact.name.clone(), contact.phone().map(str::to_owned));
        let is_other = match known {
            _ if contact.merged_into.is_some() => return Ok(()),
            Some(known) => {
                shown(known) != shown(contact) || known.absorbed.len() != contact.absorbed.len()
            }
            // The threads of a new one are none yet, but for those of one that it absorbs.
            None => !contact.absorbed.is_empty(),
        };
        // A thread that is new to it may have been made for one that was merged away.
        let is_new = |thread: &&ThreadId| {
            is_other || known.is_some_and(|known| !known.threads.contains(thread))
        };
        for thread in contact.threads.iter().filter(is_new) {
            self.tell_thread(contact, *thread);
        }
        Ok(())
    }

    /// Tells a thread of the contact what its conversations show of it.
    fn tell_thread(&self, contact: &Contact, thread: ThreadId) {
        let (name, phone) = (contact.name.clone(), contact.phone().map(str::to_owned));
        let command = Command::ContactChanged { contact: contact.id, name, phone };
        // A thread that misses it compares when it wakes.
        self.shards.tell_thread(thread, Order::own(command));
    }
}
