//! An account at its provider: subscribed, so that its webhooks come, and registered, so that it may
//! send. What was begun is written down before it is asked for.

use std::sync::Arc;

use engine::account::{Account, Known};
use engine::channel::{Answered, Call, Channel, Outcome, login};
use engine::id::{AccountId, TenantId};
use engine::registration::{Step, Steps};
use storage::StoreError;

use super::Outbox;

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
            Some(call) => Some(self.step(channel, call).await),
            None => None,
        };
        let registered = match channel.register(&account).filter(|_| steps.register) {
            Some(call) => Some(self.step(channel, call).await),
            None => None,
        };
        let end = |account: &mut Account, _| {
            let before = account.clone();
            account.end_registration(subscribed, registered);
            *account != before
        };
        tenants.change_account(tenant, id, end).await
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
            // Somebody has given another one meanwhile.
            if now.config != account.config {
                return false;
            }
            now.config.insert("access_token".to_owned(), given.token.into());
            now.token_until = given.lasts.map(|lasts| at + lasts);
            true
        };
        self.0.tenants.change_account(account.tenant, account.id, change).await
    }

    /// The same of all accounts of tenants in memory: of those that anything is done for.
    pub async fn renew_all(&self) -> Result<(), StoreError> {
        for state in self.0.tenants.in_memory() {
            for account in state.accounts.values().filter(|account| account.is_active) {
                self.renew(account.clone()).await?;
            }
        }
        Ok(())
    }

    /// Has an account's webhooks delivered to us no more, as far as they are its alone. Answers the
    /// provider's words where it does not do so.
    pub async fn unsubscribe(&self, account: &Account) -> Option<String> {
        let call = account.channel.unsubscribe(account)?;
        match self.step(account.channel, call).await {
            Step::Done => None,
            Step::NotAsked(words) | Step::Failed(words) => Some(words),
        }
    }

    async fn step(&self, channel: Channel, call: Call) -> Step {
        match self.0.provider.perform(call).await {
            Answered::With { status: 200..=299, .. } => Step::Done,
            Answered::NotSent(reason) => Step::NotAsked(reason),
            Answered::PerhapsSent(reason) => Step::Failed(reason),
            answered @ Answered::With { .. } => match channel.outcome(answered, None) {
                Outcome::Sent { .. } => Step::Done,
                Outcome::Unknown { reason } => Step::Failed(reason),
                Outcome::Retry { error, .. }
                | Outcome::Refused { error }
                | Outcome::AccountStopped { error } => Step::Failed(error.to_string()),
            },
        }
    }
}
