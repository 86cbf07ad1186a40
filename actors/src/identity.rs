//! Whose a payload is: handles to a contact and its thread, claimed once for all who ask at once.

mod changes;

use std::sync::Arc;

use engine::account::Account;
use engine::channel::Handle;
use engine::channel::messaging::Introduction;
use engine::contact::{Contact, Identity, MergeReason};
use engine::conversation::{Answer, Command};
use engine::fact::By;
use engine::id::{ContactId, TenantId, ThreadId};
use engine::mint::Mint;
use engine::time::Timestamp;
use storage::StoreError;
use storage::names::Names;

use crate::contact::{ContactCommand, ContactFailure};
use crate::failure::Failure;
pub use crate::handles::Owner;
use crate::handles::{Handles, Held, Known, Scope, key};
use crate::shard::Shards;
use crate::thread::{Order, Origin, envelope};
use crate::union::{Evidence, United};
use crate::world::World;

/// Finds and claims identities.
pub struct Identities {
    pub(crate) handles: Handles,
    pub(crate) known: Known,
    pub(crate) world: Arc<World>,
    shards: Shards,
}

impl Identities {
    /// Over these names; at most `known_max` sets of handles are remembered.
    pub fn new(names: Names, shards: Shards, world: Arc<World>, known_max: usize) -> Arc<Self> {
        let (handles, known) = (Handles::new(names), Known::new(known_max));
        Arc::new(Self { handles, known, world, shards })
    }

    /// Rises whenever a handle becomes somebody else's.
    pub fn changes(&self) -> u64 {
        self.known.forgotten()
    }

    /// Whose these handles are, if one of them is known; those that are not are learned from it.
    pub async fn recognise(
        &self,
        account: &Account,
        handles: &[Handle],
        sent_at: Option<Timestamp>,
    ) -> Result<Option<Owner>, Failure> {
        if let Ok(owner) = self.known.look(key(account.id, handles)) {
            return Ok(Some(owner));
        }
        let mut found = Vec::with_capacity(handles.len());
        for handle in handles {
            let held = self.held(Scope::of(account), handle).await?;
            found.push(held.map(|held| held.as_of(sent_at)));
        }
        let Some(first) = found.iter().flatten().next().copied() else { return Ok(None) };
        let is_one = found.iter().all(|held| held.is_some_and(|held| held.thread == first.thread));
        if is_one || !found.iter().flatten().any(|held| held.counts(sent_at)) {
            return Ok(Some(first.owner()));
        }
        self.resolve(account, handles, None, sent_at).await.map(Some)
    }

    /// Somebody who was known by a reference alone turns out to be a person; answers who that is, as
    /// was said first.
    pub(crate) async fn introduce(
        &self,
        account: &Account,
        Introduction { reference, person }: &Introduction,
    ) -> Result<String, StoreError> {
        self.handles.claim_person(Scope::of(account), reference, person.clone()).await
    }

    /// The person whom a reference names, if they were introduced.
    pub(crate) async fn introduced(
        &self,
        account: &Account,
        reference: &str,
    ) -> Result<Option<String>, StoreError> {
        self.handles.person(Scope::of(account), reference).await
    }

    /// Whose these handles are; what is not known yet is claimed, in canonical order, and the
    /// contact's row is there when this answers. Where they are of two who cannot be made one, the
    /// first handle decides. What names a handle that its owner had left by then is of whoever
    /// else it names.
    pub async fn resolve(
        &self,
        account: &Account,
        handles: &[Handle],
        name: Option<&str>,
        sent_at: Option<Timestamp>,
    ) -> Result<Owner, Failure> {
        let key = key(account.id, handles);
        let looked = match self.known.look(key) {
            Ok(owner) => return Ok(owner),
            Err(looked) => looked,
        };
        if let Some(owner) = self.familiar(account, handles, name).await? {
            self.known.remember(key, owner, looked);
            return Ok(owner);
        }
        let found = self.claimed(account, handles, sent_at).await?;
        let mut owner = found.first().ok_or(Failure::Unavailable)?.1.owner();
        // Whose a number is that somebody had before depends on when something was sent.
        let mut is_lasting = found.iter().all(|(_, held)| held.before.is_none());
        let (mut mine, mut left) = (Vec::with_capacity(handles.len()), Vec::new());
        let mut behind = None;
        for (handle, held) in found {
            let other = held.owner();
            match self.unite(account, owner, other, Evidence::Together, handles).await? {
                United::One(one) => {
                    owner = one;
                    mine.push(handle);
                    left.extend(held.ended_at.map(|_| handle));
                }
                United::Two => {
                    let reason = MergeReason::NamedTogether;
                    self.suggest(account.tenant, owner.contact, other.contact, reason, handle)
                        .await?;
                }
                United::Behind(waiting) => {
                    // It waits as well, and the next message makes them one.
                    behind = Some(waiting);
                    is_lasting = false;
                }
            }
        }
        self.learn(account, &mine, owner, name).await?;
        // On other accounts somebody else may have by now what they have left.
        mine.retain(|handle| !left.contains(handle));
        for handle in mine {
            self.name_everywhere(account, handle, owner, MergeReason::NamedTogether).await?;
        }
        if is_lasting {
            self.known.remember(key, owner, looked);
        }
        Ok(behind.unwrap_or(owner))
    }

    /// The handles, each with who held it then: those that nobody held are claimed for who holds
    /// the others, or for somebody new.
    async fn claimed<'a>(
        &self,
        account: &Account,
        handles: &'a [Handle],
        sent_at: Option<Timestamp>,
    ) -> Result<Vec<(&'a Handle, Held)>, Failure> {
        let scope = Scope::of(account);
        let mut found = Vec::with_capacity(handles.len());
        for handle in handles {
            let held = self.held(scope, handle).await?;
            found.push((handle, held.map(|held| held.as_of(sent_at))));
        }
        let held = || found.iter().filter_map(|(_, held)| *held);
        // If they are of two who stay two, the first one decides: it has what is new, too.
        let first = held().find(|held| held.counts(sent_at)).map(Held::owner);
        let has_new = found.iter().any(|(_, held)| held.is_none());
        // What has ended finds who had it, unless something else says who it is.
        let is_gone = first.is_none() && !has_new;
        let known = first.or_else(|| held().next().filter(|_| is_gone).map(Held::owner));
        let mut owner = match known {
            Some(owner) => owner,
            None => self.new_owner(account.tenant, handles).await?,
        };
        let mut is_first = known.is_none();
        let mut claimed = Vec::with_capacity(handles.len());
        for (handle, held) in found {
            let held = match held {
                None => {
                    let held = self.handles.claim(scope, handle, owner.held()).await?;
                    if is_first {
                        // Whoever came first is the owner.
                        (owner, is_first) = (held.owner(), false);
                    }
                    held
                }
                Some(held) if !held.counts(sent_at) && !is_gone => {
                    self.hand_over(scope, handle, held, owner).await?.held()
                }
                Some(held) => held,
            };
            claimed.push((handle, held));
        }
        Ok(claimed)
    }

    /// Who holds a handle on an account. A number that its owner left on another account is left on
    /// this one, too.
    async fn held(&self, scope: Scope, handle: &Handle) -> Result<Option<Held>, StoreError> {
        let held = self.handles.get(scope, handle).await?;
        let is_open = |held: &Held| handle.kind.is_recycled() && held.ended_at.is_none();
        let Some(open) = held.filter(is_open) else { return Ok(held) };
        let contact = self.world.contacts.current(open.contact).await?;
        let Some(left_at) = contact.and_then(|contact| contact.left_at(handle)) else {
            return Ok(held);
        };
        let ended = Held { ended_at: Some(left_at), ..open };
        self.handles.swap(scope, handle, (open, ended)).await?;
        self.known.forget();
        self.handles.get(scope, handle).await
    }

    /// Somebody has a handle now that its last owner has left. Answers who.
    async fn hand_over(
        &self,
        scope: Scope,
        handle: &Handle,
        held: Held,
        to: Owner,
    ) -> Result<Owner, Failure> {
        if held.thread == to.thread {
            return Ok(to);
        }
        let swapped = self.handles.swap(scope, handle, (held, held.given_to(to))).await?;
        self.known.forget();
        let held = if swapped { None } else { self.handles.get(scope, handle).await? };
        Ok(held.map_or(to, Held::owner))
    }

    /// A new thread of a contact who may be known on another account.
    pub(crate) async fn new_owner(
        &self,
        tenant: TenantId,
        handles: &[Handle],
    ) -> Result<Owner, StoreError> {
        let mut ids = self.world.ids.clone();
        // The last byte of a UUIDv7 is random: it is the virtual shard as it is.
        let (mut contact, thread) = (ContactId(ids.uuid()), ThreadId(ids.uuid()));
        for handle in handles.iter().filter(|handle| handle.kind.is_global()) {
            contact = self.contact_of(tenant, handle, contact).await?;
        }
        Ok(Owner { thread, contact })
    }

    /// Which contact a handle names on every account: this one, if it names none yet, or one that
    /// has left it.
    pub(crate) async fn contact_of(
        &self,
        tenant: TenantId,
        handle: &Handle,
        contact: ContactId,
    ) -> Result<ContactId, StoreError> {
        let known = match self.handles.contact(tenant, handle).await? {
            Some(known) => known,
            None => self.handles.claim_contact(tenant, handle, contact).await?,
        };
        if known == contact || !handle.kind.is_recycled() {
            return Ok(known);
        }
        let row = self.world.contacts.current(known).await?;
        let has_left = row.is_some_and(|row| row.id != contact && row.left_at(handle).is_some());
        if has_left && self.handles.swap_contact(tenant, handle, (known, contact)).await? {
            return Ok(contact);
        }
        Ok(known)
    }

    /// The contact knows these handles and its thread, durably.
    pub(crate) async fn learn(
        &self,
        account: &Account,
        handles: &[&Handle],
        owner: Owner,
        name: Option<&str>,
    ) -> Result<(), Failure> {
        let identities = identities(account, handles.iter().copied());
        let (thread, name) = (Some(owner.thread), name.map(str::to_owned));
        let learn = ContactCommand::Learn { identities, thread, name };
        self.tell(account.tenant, owner.contact, learn).await.map(|_| ())
    }

    /// A handle that counts everywhere names this owner's contact on every account, too; if it
    /// names another one already, both are one, or may be.
    async fn name_everywhere(
        &self,
        account: &Account,
        handle: &Handle,
        owner: Owner,
        reason: MergeReason,
    ) -> Result<(), Failure> {
        if !handle.kind.is_global() {
            return Ok(());
        }
        let tenant = account.tenant;
        let contact = self.contact_of(tenant, handle, owner.contact).await?;
        if contact == owner.contact {
            return Ok(());
        }
        let (ours, theirs) = (self.root(owner.contact).await?, self.root(contact).await?);
        if ours == theirs {
            return self.merge(tenant, owner.contact, contact, None).await;
        }
        let together = reason == MergeReason::NamedTogether;
        if together && self.unite_contacts(account, ours, theirs).await? {
            return Ok(());
        }
        self.suggest(tenant, ours, theirs, reason, handle).await
    }

    /// Has a contact do something. Answers it, or the one that it turned out to be.
    pub(crate) async fn tell(
        &self,
        tenant: TenantId,
        contact: ContactId,
        command: ContactCommand,
    ) -> Result<Contact, Failure> {
        self.tell_if_there(tenant, contact, command).await?.ok_or_else(|| {
            tracing::error!(%contact, "a contact is not there");
            Failure::Unavailable
        })
    }

    /// The same for one that may never have been written.
    pub(crate) async fn tell_if_there(
        &self,
        tenant: TenantId,
        contact: ContactId,
        command: ContactCommand,
    ) -> Result<Option<Contact>, Failure> {
        match self.shards.ask_contact(tenant, contact, command, None).await {
            Ok(contact) => Ok(Some(contact)),
            Err(ContactFailure::NotFound) => Ok(None),
            Err(ContactFailure::Failed(failure)) => Err(failure),
            Err(error @ ContactFailure::Invalid(_)) => {
                tracing::error!(%error, %contact, "a contact does not take what it is told");
                Err(Failure::Unavailable)
            }
        }
    }

    /// Has a thread do something; with `origin` it is made if it is not there.
    pub(crate) async fn ask(
        &self,
        thread: ThreadId,
        origin: Option<Origin>,
        command: Command,
    ) -> Result<Answer, Failure> {
        let envelope = envelope(By::System, command);
        let order = |reply| Order { origin, ..Order::new(envelope, reply) };
        self.shards.ask_thread(thread, order).await
    }
}

/// What the thread of an owner is made of.
pub(crate) fn origin(account: &Account, owner: Owner) -> Origin {
    Origin {
        tenant: account.tenant,
        account: account.id,
        channel: account.channel,
        contact: owner.contact,
    }
}

pub(crate) fn identities<'a>(
    account: &Account,
    handles: impl IntoIterator<Item = &'a Handle>,
) -> Vec<Identity> {
    handles.into_iter().map(|handle| Identity::of(handle, account.id)).collect()
}
