//! The names by which threads are found where one customer has several: those of messages, and
//! those of what began a thread.

use std::slice;

use engine::account::Account;
use engine::channel::Handle;
use engine::id::ContactId;
use engine::mint::Mint;
use storage::StoreError;

use crate::contact::ContactCommand;
use crate::failure::Failure;
use crate::handles::{Held, Scope};
use crate::identity::{Identities, Owner, identities};

impl Identities {
    /// Whose thread a message was found to be for.
    pub(crate) async fn of_message(
        &self,
        account: &Account,
        id: &str,
    ) -> Result<Option<Owner>, StoreError> {
        let held = self.handles.message(Scope::of(account), id).await?;
        Ok(held.map(Held::owner))
    }

    /// A message is for this thread, unless it was found to be for another one at the same time.
    /// Answers which.
    pub(crate) async fn claim_message(
        &self,
        account: &Account,
        id: &str,
        owner: Owner,
    ) -> Result<Owner, StoreError> {
        self.handles.claim_message(Scope::of(account), id, owner.held()).await.map(Held::owner)
    }

    /// The thread of a customer that begins with this message, made if it is new.
    pub(crate) async fn of_topic(
        &self,
        account: &Account,
        customer: &Handle,
        first: &str,
        name: Option<&str>,
    ) -> Result<Owner, Failure> {
        let new = self.new_owner(account.tenant, slice::from_ref(customer)).await?;
        let scope = Scope::of(account);
        let held = self.handles.claim_topic(scope, customer, first, new.held()).await?;
        self.learn(account, &[customer], held.owner(), name).await?;
        Ok(held.owner())
    }

    /// Who somebody is who may have no thread of their own.
    pub(crate) async fn person(
        &self,
        account: &Account,
        handle: &Handle,
        name: Option<&str>,
    ) -> Result<ContactId, Failure> {
        let new = ContactId(self.world.ids.clone().uuid());
        let contact = self.contact_of(account.tenant, handle, new).await?;
        let (identities, name) = (identities(account, [handle]), name.map(str::to_owned));
        let learn = ContactCommand::Learn { identities, thread: None, name };
        Ok(self.tell(account.tenant, contact, learn).await?.id)
    }
}
