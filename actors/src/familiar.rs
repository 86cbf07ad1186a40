//! Somebody of whom a payload says nothing new: found by reading alone, without the contact's actor.

use std::sync::Arc;

use engine::account::Account;
use engine::channel::Handle;
use engine::contact::{Contact, Identity};
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::names::Names;
use storage::{Store, StoreError, together};

use crate::handles::{Handles, Owner, Scope};
use crate::identity::Identities;

impl Identities {
    /// Whose these handles are, where all that follows from that is written already: each is held by
    /// that thread and its contact, was nobody's before and is nobody's elsewhere, and the contact has
    /// them all, and this name. All of it is read at once.
    pub(crate) async fn familiar(
        &self,
        account: &Account,
        handles: &[Handle],
        name: Option<&str>,
    ) -> Result<Option<Owner>, StoreError> {
        let store = self.world.conversations.store();
        // Otherwise its contact has to be written anew first, which its actor does.
        if !store.guarantees().settled {
            return Ok(None);
        }
        let (scope, now) = (Scope::of(account), self.world.clock.now());
        let said = Said { scope, handles: handles.to_vec(), name: name.map(str::to_owned), now };
        together(store, async move |store| said.whose(store).await).await
    }
}

/// What a payload says of who wrote it.
struct Said {
    scope: Scope,
    handles: Vec<Handle>,
    name: Option<String>,
    now: Timestamp,
}

impl Said {
    async fn whose(&self, store: Arc<dyn Store>) -> Result<Option<Owner>, StoreError> {
        let Self { scope, handles, .. } = self;
        let names = Handles::new(Names::new(store.clone()));
        let mut owner = None;
        for handle in handles {
            let Some(held) = names.written(*scope, handle).await? else {
                return Ok(None);
            };
            let is_one = owner.is_none_or(|owner| owner == held.owner());
            if !is_one || held.ended_at.is_some() || held.before.is_some() {
                return Ok(None);
            }
            owner = Some(held.owner());
        }
        let Some(owner) = owner else { return Ok(None) };
        for handle in handles.iter().filter(|handle| handle.kind.is_global()) {
            if names.contact(scope.tenant, handle).await? != Some(owner.contact) {
                return Ok(None);
            }
        }
        Ok(self.is_known(store, owner).await?.then_some(owner))
    }

    /// Whether their contact would learn nothing from it.
    async fn is_known(&self, store: Arc<dyn Store>, owner: Owner) -> Result<bool, StoreError> {
        let Self { scope, handles, name, now } = self;
        let contact = Contacts::new(store).get(owner.contact).await?;
        let is_itself = |c: &Contact| c.tenant == scope.tenant && c.merged_into.is_none();
        let Some(mut contact) = contact.filter(is_itself) else { return Ok(false) };
        let named: Vec<_> = handles.iter().map(|h| Identity::of(h, scope.account)).collect();
        Ok(!contact.learn(&named, Some(owner.thread), name.as_deref(), *now))
    }
}
