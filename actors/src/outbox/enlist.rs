//! An account at its provider: subscribed, so that its webhooks come, and registered, so that it may
//! send. What was begun is written down before it is asked for, and whatever a stop leaves undone is
//! done by the next round, as is what an access token needs before it ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::account::{Account, Known};
use engine::channel::{Answered, Call, login};
use engine::id::{AccountId, TenantId};
use engine::registration::{Step, Steps};
use futures_util::{StreamExt, stream};
use storage::StoreError;

use super::Outbox;

/// Accounts that are looked after at once: a provider that stays silent holds up only so many.
const LOOKED_AFTER: usize = 8;

impl Outbox {
    /// Has an account subscribed and registered, as far as it is not, and as often as that may be
    /// tried. `known`: what the provider has just said of it; `mended`: somebody has just changed what
    /// was perhaps wrong. Answers the account as it is then; `None`: it is gone.
    pub async fn enlist(
        &self,
        tenant: TenantId,
        id: AccountId,
        known: &Known,
        mended: bool,
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let tenants = &self.0.tenants;
        let mut steps = Steps::default();
        let begin = |account: &mut Account, now| {
            let before = account.registration.clone();
            steps = account.begin_registration(known, mended, now);
            account.registration != before
        };
        let Some(account) = tenants.change_account(tenant, id, begin).await? else {
            return Ok(None);
        };
        if steps == Steps::default() {
            return Ok(Some(account));
        }
        let channel = account.channel;
        let subscribed = match channel.subscribe(&account).filter(|_| steps.subscribe) {
            Some(call) => Some(self.step(call).await),
            None => None,
        };
        let registered = match channel.register(&account).filter(|_| steps.register) {
            Some(call) => Some(self.step(call).await),
            None => None,
        };
        let end = |account: &mut Account, _| {
            let before = account.clone();
            account.end_registration(subscribed, registered);
            *account != before
        };
        self.change_asked(&account, end).await
    }

    /// Has the provider give an access token that ends later, where that of the account ends soon and
    /// there are such. Answers the account as it is then; `None`: it is gone.
    pub async fn renew(&self, account: Arc<Account>) -> Result<Option<Arc<Account>>, StoreError> {
        let now = self.0.tenants.now();
        let soon = now + self.0.options.renew_within;
        let is_due = account.token_until.is_some_and(|until| now < until && until <= soon);
        let token = account.text("access_token").unwrap_or_default();
        let Some(call) = account.channel.renewed(token).filter(|_| is_due) else {
            return Ok(Some(account));
        };
        let given = match login::token(self.0.provider.perform(call).await) {
            Ok(given) => given,
            Err(not) => {
                // It is shown that it ends; whoever looks next asks again.
                tracing::warn!(account = %account.id, %not, "an access token was not renewed");
                return Ok(Some(account));
            }
        };
        let change = |now: &mut Account, at| {
            now.config.insert("access_token".to_owned(), given.token.into());
            now.token_until = given.lasts.map(|lasts| at + lasts);
            true
        };
        self.change_asked(&account, change).await
    }

    /// Does for all accounts what is due at their providers, without anybody who asks. What fails is
    /// tried again by the next round.
    pub async fn look_after_accounts(&self) -> Result<(), StoreError> {
        let soon = self.0.tenants.now() + self.0.options.renew_within;
        let mut due: BTreeSet<_> = self.0.tenants.accounts_due(soon).await?.into_iter().collect();
        // Accounts that nobody has changed since it is written down which are due.
        for state in self.0.tenants.in_memory() {
            let is_due = |account: &&Arc<Account>| account.due_at().is_some_and(|at| at <= soon);
            let accounts = state.accounts.values().filter(is_due);
            due.extend(accounts.map(|account| (account.tenant, account.id)));
        }
        let look_after = |(tenant, id)| async move {
            if let Err(error) = self.look_after(tenant, id).await {
                tracing::warn!(account = %id, %error, "an account was not looked after; it is tried again");
            }
        };
        stream::iter(due).for_each_concurrent(LOOKED_AFTER, look_after).await;
        Ok(())
    }

    async fn look_after(&self, tenant: TenantId, id: AccountId) -> Result<(), StoreError> {
        let state = self.0.tenants.state(tenant).await?;
        let account = state.and_then(|state| state.accounts.get(&id).cloned());
        match account.filter(|account| account.due_at().is_some()) {
            Some(account) if account.unregistered().is_some() => {
                self.check(account).await.map(drop)
            }
            Some(account) => self.renew(account).await.map(drop),
            None => Ok(()),
        }
    }

    /// Has an account's webhooks delivered to us no more, as far as they are its alone. Answers the
    /// provider's words where it does not do so.
    pub async fn unsubscribe(&self, account: &Account) -> Option<String> {
        match self.step(account.channel.unsubscribe(account)?).await {
            Step::Done => None,
            Step::NotAsked(words) | Step::Failed(words) => Some(words),
        }
    }

    async fn step(&self, call: Call) -> Step {
        match self.0.provider.perform(call).await {
            Answered::NotSent(reason) => Step::NotAsked(reason),
            answered => match login::given(answered) {
                Ok(_) => Step::Done,
                Err(not) => Step::Failed(not.to_string()),
            },
        }
    }
}
