//! What the provider says of a customer's handles: which are theirs no more, and which are from now on.

use engine::account::Account;
use engine::channel::{Handle, IdentityChange};
use engine::contact::{Identity, MergeReason};
use engine::time::Timestamp;
use storage::StoreError;

use super::{Identities, identities};
use crate::contact::ContactCommand;
use crate::failure::{Failure, Full};
use crate::handles::{Held, Owner, Scope};
use crate::union::{Evidence, United};

impl Identities {
    /// Follows what the provider says of a customer's handles; however often, in any order, before
    /// or after messages that name the new ones. Answers whose they are, if anybody's.
    pub async fn change(
        &self,
        account: &Account,
        change: &IdentityChange,
    ) -> Result<Option<Owner>, Failure> {
        let IdentityChange { of, previous, current, .. } = change;
        if previous.is_empty() && current.is_empty() {
            return self.recognise(account, of, change.at).await;
        }
        let at = change.at.unwrap_or_else(|| self.world.clock.now());
        let ended = identities(account, previous);
        if let Some(owner) = self.followed(account, current, &ended, at).await? {
            return Ok(Some(owner));
        }
        // The provider itself says that these are one; a number may have come from somebody else.
        let (numbers, ids): (Vec<_>, Vec<_>) =
            current.iter().partition(|handle| handle.kind.is_recycled());
        let same: Vec<_> = previous.iter().chain(of).chain(ids).collect();
        let Some(mut owner) = self.whose(account, &same, &numbers, at).await? else {
            return Ok(None);
        };
        let scope = Scope::of(account);
        let all: Vec<_> = same.iter().map(|handle| (*handle).clone()).collect();
        let mut begun = Vec::with_capacity(current.len());
        for handle in same {
            let ends = previous.contains(handle) && handle.kind.is_recycled();
            let held = Held { ended_at: ends.then_some(at), ..owner.held() };
            // A number that they had then may be somebody else's by now.
            let other = self.holder(scope, handle, held).await?.as_of(Some(at)).owner();
            match self.unite(account, owner, other, Evidence::Said, &all).await? {
                United::One(one) => {
                    owner = one;
                    begun.extend(current.contains(handle).then_some(handle));
                }
                United::Two => {
                    let reason = MergeReason::IdChanged;
                    self.suggest(account.tenant, owner.contact, other.contact, reason, handle)
                        .await?;
                }
                // It is said once: it is delivered again.
                United::Behind(_) => return Err(Failure::busy(Full::WaitingConversation)),
            }
        }
        for handle in numbers {
            if self.take_number(account, handle, owner).await? {
                begun.push(handle);
            }
        }
        let begun_identities = identities(account, begun.iter().copied());
        let change = ContactCommand::Change { ended, begun: begun_identities, at };
        let told = self.tell(account.tenant, owner.contact, change).await;
        let numbers = || {
            previous.iter().chain(begun.iter().copied()).filter(|handle| handle.kind.is_recycled())
        };
        if numbers().next().is_some() {
            // Also what other accounts' payloads were found to name, and also where nobody knows
            // whether it is written: a repeated change finds itself followed.
            self.known.forget();
        }
        let contact = told?;
        for handle in numbers() {
            self.mark_ended(scope, handle, owner, contact.left_at(handle)).await?;
        }
        Ok(Some(owner))
    }

    /// Whose a change is that was followed before: what it ends was others' since, perhaps.
    async fn followed(
        &self,
        account: &Account,
        current: &[Handle],
        ended: &[Identity],
        at: Timestamp,
    ) -> Result<Option<Owner>, Failure> {
        let Some(first) = current.first() else { return Ok(None) };
        let Some(held) = self.handles.get(Scope::of(account), first).await? else {
            return Ok(None);
        };
        let Some(contact) = self.world.contacts.current(held.contact).await? else {
            return Ok(None);
        };
        let of = |identity: &Identity| contact.identities.iter().find(|known| known.is(identity));
        let has_ended = |identity: &Identity| {
            of(identity).is_some_and(|i| i.ended_at.max(i.since).is_some_and(|known| known >= at))
        };
        let has_begun = |identity: &Identity| {
            of(identity).is_some_and(|i| i.since.is_some_and(|since| since >= at))
        };
        let is_followed =
            ended.iter().all(has_ended) && identities(account, current).iter().all(has_begun);
        Ok(is_followed.then(|| held.owner()))
    }

    /// Who is changed: whom the first handle named then that is known. One who is known by an id
    /// alone that changes before anything else is heard of them is nobody yet, but has both ids.
    async fn whose(
        &self,
        account: &Account,
        same: &[&Handle],
        numbers: &[&Handle],
        at: Timestamp,
    ) -> Result<Option<Owner>, Failure> {
        for handle in same.iter().chain(numbers) {
            if let Some(held) = self.handles.get(Scope::of(account), handle).await? {
                return Ok(Some(held.as_of(Some(at)).owner()));
            }
        }
        let all: Vec<Handle> = same.iter().chain(numbers).map(|h| (*h).clone()).collect();
        if all.len() < 2 {
            return Ok(None);
        }
        Ok(Some(self.new_owner(account.tenant, &all).await?))
    }

    /// A number is a customer's from now on. One that another contact has is not taken: that both
    /// are one is suggested. Answers whether it is the customer's now.
    async fn take_number(
        &self,
        account: &Account,
        handle: &Handle,
        owner: Owner,
    ) -> Result<bool, Failure> {
        let (scope, reason) = (Scope::of(account), MergeReason::NumberChanged);
        let held = self.holder(scope, handle, owner.held()).await?;
        let holder = match held.ended_at {
            Some(_) => self.hand_over(scope, handle, held, owner).await?,
            None => held.owner(),
        };
        if self.root_of(holder).await?.thread != owner.thread {
            self.suggest(account.tenant, owner.contact, holder.contact, reason, handle).await?;
            return Ok(false);
        }
        self.name_everywhere(account, handle, owner, reason).await?;
        Ok(true)
    }

    /// Who holds a handle, claimed like this where nobody did.
    async fn holder(&self, scope: Scope, handle: &Handle, held: Held) -> Result<Held, StoreError> {
        match self.held(scope, handle).await? {
            Some(held) => Ok(held),
            None => self.handles.claim(scope, handle, held).await,
        }
    }

    /// The name of a number says whether its owner has left it, as the contact does.
    async fn mark_ended(
        &self,
        scope: Scope,
        handle: &Handle,
        owner: Owner,
        ended_at: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let Some(held) = self.handles.get(scope, handle).await? else { return Ok(()) };
        if held.thread == owner.thread && held.ended_at != ended_at {
            self.handles.swap(scope, handle, (held, Held { ended_at, ..held })).await?;
        }
        Ok(())
    }
}
