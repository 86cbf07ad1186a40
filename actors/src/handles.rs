//! The names of handles: who holds each, and what was found before.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::account::Account;
use engine::channel::Handle;
use engine::id::{AccountId, ContactId, TenantId, ThreadId};
use engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use storage::StoreError;
use storage::names::{Name, Names};

/// Who a handle belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    // First, so that of two owners the older thread is the smaller one.
    pub thread: ThreadId,
    /// Whose the thread was when it was made. It may have turned out to be another contact since.
    pub contact: ContactId,
}

/// What the name of a handle holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) thread: ThreadId,
    pub(crate) contact: ContactId,
    /// When its owner left it. It still finds them, but somebody else may have it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_at: Option<Timestamp>,
    /// Whose it was before they left it: what was sent by then is still theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Before>,
}

/// Who had a handle that is somebody else's now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    thread: ThreadId,
    contact: ContactId,
    /// Since when at the earliest, where somebody had it before them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    until: Timestamp,
}

/// An account of a tenant: where handles of one provider count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) tenant: TenantId,
    pub(crate) account: AccountId,
}

/// The names of handles.
pub(crate) struct Handles(Names);

impl Handles {
    pub(crate) fn new(names: Names) -> Self {
        Self(names)
    }

    /// Who holds a handle on an account.
    pub(crate) async fn get(
        &self,
        scope: Scope,
        handle: &Handle,
    ) -> Result<Option<Held>, StoreError> {
        let name = on_account(scope, handle);
        let held = self.0.get(&name).await?;
        if held.is_some() || name.name == handle.value {
            return Ok(held);
        }
        // Claimed as it is written, before such numbers were compared.
        match self.0.get(&Name { name: handle.value.clone(), ..name.clone() }).await? {
            Some(held) => self.0.claim(&name, held).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same of a handle that was claimed as such are by now: that has nothing to be written.
    pub(crate) async fn written(
        &self,
        scope: Scope,
        handle: &Handle,
    ) -> Result<Option<Held>, StoreError> {
        self.0.get(&on_account(scope, handle)).await
    }

    /// Claims a handle; answers who holds it then.
    pub(crate) async fn claim(
        &self,
        scope: Scope,
        handle: &Handle,
        held: Held,
    ) -> Result<Held, StoreError> {
        self.0.claim(&on_account(scope, handle), held).await
    }

    /// Gives a handle to somebody else, if it is still held so. Answers whether it was.
    pub(crate) async fn swap(
        &self,
        scope: Scope,
        handle: &Handle,
        (from, to): (Held, Held),
    ) -> Result<bool, StoreError> {
        self.0.swap(&on_account(scope, handle), &from, &to).await
    }

    /// Who holds the thread that a message was found to be for.
    pub(crate) async fn message(&self, scope: Scope, id: &str) -> Result<Option<Held>, StoreError> {
        self.0.get(&of_message(scope, id)).await
    }

    /// Says which thread a message is for; answers which it is then.
    pub(crate) async fn claim_message(
        &self,
        scope: Scope,
        id: &str,
        held: Held,
    ) -> Result<Held, StoreError> {
        self.0.claim(&of_message(scope, id), held).await
    }

    /// Claims the thread of a customer that begins with this message; answers which it is then.
    pub(crate) async fn claim_topic(
        &self,
        scope: Scope,
        customer: &Handle,
        first: &str,
        held: Held,
    ) -> Result<Held, StoreError> {
        let kind = format!("topic:{}", scope.account.0.simple());
        // No handle has a space.
        let name = format!("{} {first}", customer.compared());
        self.0.claim(&Name { scope: scope.tenant.0, kind, name }, held).await
    }

    /// The id of the person whom a reference names.
    pub(crate) async fn person(
        &self,
        scope: Scope,
        reference: &str,
    ) -> Result<Option<String>, StoreError> {
        self.0.get(&of_reference(scope, reference)).await
    }

    /// Says whom a reference names; answers whom it does then.
    pub(crate) async fn claim_person(
        &self,
        scope: Scope,
        reference: &str,
        person: String,
    ) -> Result<String, StoreError> {
        self.0.claim(&of_reference(scope, reference), person).await
    }

    /// Which contact a handle names on every account of the tenant.
    pub(crate) async fn contact(
        &self,
        tenant: TenantId,
        handle: &Handle,
    ) -> Result<Option<ContactId>, StoreError> {
        self.0.get(&everywhere(tenant, handle)).await
    }

    /// Claims a handle on every account of the tenant; answers whose it is then.
    pub(crate) async fn claim_contact(
        &self,
        tenant: TenantId,
        handle: &Handle,
        contact: ContactId,
    ) -> Result<ContactId, StoreError> {
        self.0.claim(&everywhere(tenant, handle), contact).await
    }

    /// Lets a handle name another contact on every account, if it still names that one.
    pub(crate) async fn swap_contact(
        &self,
        tenant: TenantId,
        handle: &Handle,
        (from, to): (ContactId, ContactId),
    ) -> Result<bool, StoreError> {
        self.0.swap(&everywhere(tenant, handle), &from, &to).await
    }
}

impl Owner {
    pub(crate) fn held(self) -> Held {
        Held { thread: self.thread, contact: self.contact, ended_at: None, before: None }
    }
}

impl Held {
    /// Whether its owner had it when something was sent; what does not say is of now.
    pub(crate) fn counts(self, sent_at: Option<Timestamp>) -> bool {
        self.ended_at.is_none_or(|ended| sent_at.is_some_and(|at| at <= ended))
    }

    /// As it was when something was sent; what does not say is of now.
    pub(crate) fn as_of(self, sent_at: Option<Timestamp>) -> Self {
        match self.before.zip(sent_at) {
            Some((Before { thread, contact, since, until }, at))
                if at <= until && since.is_none_or(|since| since < at) =>
            {
                Self { thread, contact, ended_at: Some(until), ..self }
            }
            _ => self,
        }
    }

    /// It as somebody else's, who has it since its owner left it.
    pub(crate) fn given_to(self, to: Owner) -> Self {
        let Self { thread, contact, ended_at, before } = self;
        let since = before.map(|before| before.until);
        let before = ended_at.map(|until| Before { thread, contact, since, until });
        Self { before, ..to.held() }
    }

    pub(crate) fn owner(self) -> Owner {
        Owner { thread: self.thread, contact: self.contact }
    }
}

impl Scope {
    pub(crate) fn of(account: &Account) -> Self {
        Self { tenant: account.tenant, account: account.id }
    }
}

fn on_account(Scope { tenant, account }: Scope, handle: &Handle) -> Name {
    let kind = format!("{}:{}", handle.kind.as_str(), account.0.simple());
    Name { scope: tenant.0, kind, name: handle.compared().into_owned() }
}

fn of_message(Scope { tenant, account }: Scope, id: &str) -> Name {
    let kind = format!("message:{}", account.0.simple());
    Name { scope: tenant.0, kind, name: id.to_owned() }
}

fn of_reference(Scope { tenant, account }: Scope, reference: &str) -> Name {
    let kind = format!("user_ref:{}", account.0.simple());
    Name { scope: tenant.0, kind, name: reference.to_owned() }
}

fn everywhere(tenant: TenantId, handle: &Handle) -> Name {
    Name {
        scope: tenant.0,
        kind: handle.kind.as_str().to_owned(),
        name: handle.compared().into_owned(),
    }
}

/// Whom payloads were found to name, by hash of account and handles. Whatever makes one of them
/// another's forgets all: that is seldom, and each is found again by one read a handle.
pub(crate) struct Known {
    found: Mutex<Found>,
    most: usize,
}

struct Found {
    owners: HashMap<u128, Owner>,
    /// How often all was forgotten.
    forgotten: u64,
}

impl Known {
    /// At most so many are remembered.
    pub(crate) fn new(most: usize) -> Self {
        let found = Found { owners: HashMap::new(), forgotten: 0 };
        Self { found: Mutex::new(found), most }
    }

    /// Who was found for this key; else up to where things were forgotten before what is now read.
    pub(crate) fn look(&self, key: u128) -> Result<Owner, u64> {
        let found = self.found();
        found.owners.get(&key).copied().ok_or(found.forgotten)
    }

    /// Remembers what was read after that look, unless it may be otherwise since.
    pub(crate) fn remember(&self, key: u128, owner: Owner, looked: u64) {
        let mut found = self.found();
        if found.forgotten != looked {
            return;
        }
        if found.owners.len() >= self.most {
            found.owners.clear();
        }
        found.owners.insert(key, owner);
    }

    /// How often all was forgotten.
    pub(crate) fn forgotten(&self) -> u64 {
        self.found().forgotten
    }

    /// Something became another's: what is being read now may be from before.
    pub(crate) fn forget(&self) {
        let mut found = self.found();
        found.owners.clear();
        found.forgotten += 1;
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a payload of an account with these handles is remembered by.
pub(crate) fn key(account: AccountId, handles: &[Handle]) -> u128 {
    let mut hash = Sha256::new();
    hash.update(account.0.as_bytes());
    for handle in handles {
        hash.update(handle.kind.as_str());
        hash.update(":");
        hash.update(handle.value.len().to_le_bytes());
        hash.update(&handle.value);
    }
    hash.finalize().iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use engine::id::{ContactId, ThreadId};
    use uuid::Uuid;

    use super::{Known, Owner};

    fn owner(n: u128) -> Owner {
        Owner { thread: ThreadId(Uuid::from_u128(n)), contact: ContactId(Uuid::from_u128(n)) }
    }

    #[test]
    fn what_was_read_before_something_became_another_s_is_not_remembered() {
        let known = Known::new(2);
        let looked = known.look(1).unwrap_err();
        known.forget();
        known.remember(1, owner(1), looked);
        let looked = known.look(1).expect_err("it may be stale");
        known.remember(1, owner(2), looked);
        assert_eq!(known.look(1), Ok(owner(2)));
        known.forget();
        assert!(known.look(1).is_err());
    }

    #[test]
    fn at_most_so_many_are_remembered() {
        let known = Known::new(2);
        for key in 0..5 {
            let looked = known.look(key).unwrap_err();
            known.remember(key, owner(key), looked);
        }
        assert_eq!((0..5).filter(|key| known.look(*key).is_ok()).count(), 1);
    }
}
