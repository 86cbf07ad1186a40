//! Whose a payload is: handles to a contact and its thread, claimed once for all who ask at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::account::Account;
use engine::channel::Handle;
use engine::contact::Identity;
use engine::conversation::{Command, Envelope, MovedTo, Refused, Target};
use engine::fact::By;
use engine::id::{AccountId, ContactId, ThreadId};
use engine::mint::Mint;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::StoreError;
use storage::names::{Name, Names};
use tokio::sync::oneshot;

use crate::clock::Ids;
use crate::contact::{ContactCommand, ContactFailure, ContactOrder};
use crate::failure::Failure;
use crate::reply::Reply;
use crate::shard::Shards;
use crate::thread::{Order, Origin};

/// Who a handle belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    // First, so that of two owners the older thread is the smaller one.
    pub thread: ThreadId,
    pub contact: ContactId,
}

/// Finds and claims identities.
pub struct Identities {
    names: Names,
    shards: Shards,
    ids: Mutex<Ids>,
    /// What was found, by hash of account and handle: neither thread nor contact of a handle
    /// changes but by a merge, and a thread that moved says so itself.
    known: Mutex<HashMap<u128, Owner>>,
    known_max: usize,
}

impl Identities {
    /// Over these names; at most `known_max` handles are remembered.
    pub fn new(names: Names, shards: Shards, ids: Ids, known_max: usize) -> Arc<Self> {
        let (ids, known) = (Mutex::new(ids), Mutex::new(HashMap::new()));
        Arc::new(Self { names, shards, ids, known, known_max })
    }

    /// Whose these handles are, if they are known. Nothing is claimed.
    pub async fn find(
        &self,
        account: &Account,
        handles: &[Handle],
    ) -> Result<Option<Owner>, StoreError> {
        for handle in handles {
            if let Some(owner) = self.remembered(account, handle) {
                return Ok(Some(owner));
            }
            if let Some(owner) = self.names.get(&on_account(account, handle)).await? {
                return Ok(Some(owner));
            }
        }
        Ok(None)
    }

    /// Whose these handles are; what is not known yet is claimed, in canonical order, and the
    /// contact's row is there when this answers.
    pub async fn resolve(
        &self,
        account: &Account,
        handles: &[Handle],
        name: Option<&str>,
    ) -> Result<Owner, Failure> {
        let remembered: Vec<_> =
            handles.iter().map(|handle| self.remembered(account, handle)).collect();
        if let Some(Some(owner)) = remembered.first()
            && remembered.iter().all(|known| *known == Some(*owner))
        {
            return Ok(*owner);
        }
        let mut owners = Vec::with_capacity(handles.len());
        for handle in handles {
            owners.push(self.names.get::<Owner>(&on_account(account, handle)).await?);
        }
        let mut owner = match owners.iter().flatten().min() {
            Some(oldest) => *oldest,
            None => self.new_owner(account, handles).await?,
        };
        let mut claimed = owners.iter().any(Option::is_some);
        for (handle, known) in handles.iter().zip(&mut owners) {
            if known.is_none() {
                let held = self.names.claim(&on_account(account, handle), owner).await?;
                if !claimed {
                    // The first canonical handle decides: whoever came first is the owner.
                    (owner, claimed) = (held, true);
                }
                *known = Some(held);
            }
        }
        let first = owners.first().copied().flatten().unwrap_or(owner);
        let oldest = owners.iter().flatten().copied().min().unwrap_or(owner);
        let mut all_one = true;
        for other in owners.iter().flatten().copied().filter(|other| *other != oldest) {
            all_one &= self.merge(account, handles, other, oldest).await?;
        }
        let owner = if all_one { oldest } else { first };
        let mine: Vec<_> = handles
            .iter()
            .zip(&owners)
            .filter(|(_, held)| all_one || **held == Some(owner))
            .map(|(handle, _)| handle)
            .collect();
        self.learn(account, &mine, owner, name).await?;
        for handle in mine {
            self.remember(account, handle, owner);
        }
        Ok(owner)
    }

    /// A new thread of a contact who may be known on another account.
    async fn new_owner(&self, account: &Account, handles: &[Handle]) -> Result<Owner, StoreError> {
        let (contact, thread) = {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            // The last byte of a UUIDv7 is random: it is the virtual shard as it is.
            (ContactId(ids.uuid()), ThreadId(ids.uuid()))
        };
        let mut contact = contact;
        for handle in handles.iter().filter(|handle| handle.kind.is_global()) {
            contact = self.names.claim(&everywhere(account, handle), contact).await?;
        }
        Ok(Owner { thread, contact })
    }

    /// Two threads prove to be one: the younger one's items go to the older from now on. Answers
    /// whether they are one; where people have worked they stay two.
    async fn merge(
        &self,
        account: &Account,
        handles: &[Handle],
        loser: Owner,
        winner: Owner,
    ) -> Result<bool, Failure> {
        let Owner { thread, contact } = winner;
        let command = Command::MoveTo(MovedTo { thread, contact });
        let (target, by) = (Target::Current, By::System);
        let envelope = Arc::new(Envelope { target, by, viewer: None, key: None, command });
        let (reply, answer) = Reply::new();
        let origin = Some(origin(account, loser));
        self.shards.tell_thread(loser.thread, Order { origin, ..Order::new(envelope, reply) });
        match answer.await.unwrap_or(Err(Failure::Unavailable)) {
            Ok(_) | Err(Failure::Refused(Refused::Moved(_))) => {}
            Err(Failure::Refused(_)) => return Ok(false),
            Err(failure) => return Err(failure),
        }
        // If this stops half way, the moved thread forwards, and whoever meets it goes on here.
        for handle in handles {
            self.names.swap(&on_account(account, handle), &loser, &winner).await?;
            if handle.kind.is_global() && loser.contact != winner.contact {
                let name = everywhere(account, handle);
                self.names.swap(&name, &loser.contact, &winner.contact).await?;
            }
        }
        if loser.contact != winner.contact {
            let merged = ContactCommand::MergeInto(winner.contact);
            match self.tell(account, loser.contact, merged).await {
                // It was never written.
                Ok(()) | Err(ContactFailure::NotFound | ContactFailure::Invalid(_)) => {}
                Err(ContactFailure::Failed(failure)) => return Err(failure),
            }
        }
        Ok(true)
    }

    /// The contact knows these handles and its thread, durably.
    async fn learn(
        &self,
        account: &Account,
        handles: &[&Handle],
        owner: Owner,
        name: Option<&str>,
    ) -> Result<(), Failure> {
        let identities = handles
            .iter()
            .map(|handle| Identity {
                kind: handle.kind,
                value: handle.value.clone(),
                account_id: (!handle.kind.is_global()).then_some(account.id),
            })
            .collect();
        let (thread, name) = (Some(owner.thread), name.map(str::to_owned));
        let learn = ContactCommand::Learn { identities, thread, name };
        match self.tell(account, owner.contact, learn).await {
            Ok(()) => Ok(()),
            Err(ContactFailure::Failed(failure)) => Err(failure),
            Err(error @ (ContactFailure::NotFound | ContactFailure::Invalid(_))) => {
                tracing::error!(%error, contact = %owner.contact, "a contact does not learn");
                Err(Failure::Unavailable)
            }
        }
    }

    async fn tell(
        &self,
        account: &Account,
        contact: ContactId,
        command: ContactCommand,
    ) -> Result<(), ContactFailure> {
        let (reply, answer) = oneshot::channel();
        let order = ContactOrder { tenant: account.tenant, command, reply };
        self.shards.tell_contact(contact, order);
        answer.await.unwrap_or(Err(Failure::Unavailable.into())).map(|_| ())
    }

    fn remembered(&self, account: &Account, handle: &Handle) -> Option<Owner> {
        let hash = hash(account.id, handle);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&hash).copied()
    }

    fn remember(&self, account: &Account, handle: &Handle, owner: Owner) {
        let hash = hash(account.id, handle);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.known_max {
            // It is found again by one read each.
            known.clear();
        }
        known.insert(hash, owner);
    }

    /// Forgets what was found: the thread turned out to be another one.
    pub fn forget(&self, account: AccountId, handles: &[Handle]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for handle in handles {
            known.remove(&hash(account, handle));
        }
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

fn on_account(account: &Account, handle: &Handle) -> Name {
    Name {
        scope: account.tenant.0,
        kind: format!("{}:{}", handle.kind.as_str(), account.id.0.simple()),
        name: handle.value.clone(),
    }
}

fn everywhere(account: &Account, handle: &Handle) -> Name {
    Name {
        scope: account.tenant.0,
        kind: handle.kind.as_str().to_owned(),
        name: handle.value.clone(),
    }
}

fn hash(account: AccountId, handle: &Handle) -> u128 {
    let mut hash = Sha256::new();
    hash.update(account.0.as_bytes());
    hash.update(handle.kind.as_str());
    hash.update(":");
    hash.update(&handle.value);
    hash.finalize().iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}
