//! An account at its provider: subscribed, so that its webhooks come, and registered, so that it may
//! send. What was begun is written down before it is asked for.

use std::sync::Arc;

use engine::account::{Account, Known};
use engine::channel::{Answered, Call, Channel, Outcome};
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
