//! What stops an account's line, and what lets it go on.

use std::sync::Arc;

use engine::account::{Account, Trouble};
use engine::conversation::Conversation;
use engine::id::AccountId;
use engine::message::MessageError;
use engine::news::News;
use storage::StoreError;
use tokio::time::{Instant, sleep};

use super::line::{AsOf, Line};
use super::{Outbox, PATIENCE, PATIENCE_MAX, Slip};

impl Outbox {
    /// Everything of the account would fail: it stops until [`Outbox::resume`], and says why.
    pub fn stop_account(&self, head: &Conversation, code: String, message: String) {
        let line = self.line(head);
        line.stop(None, line.as_of());
        let refused = line.refused();
        let of_token = head.channel.is_of_token(&code);
        let words = MessageError { code, message }.to_string();
        let trouble = Trouble { words, pauses: true, of_token, denies: false };
        let (outbox, slip) = (self.clone(), Slip::of(head));
        tokio::spawn(async move {
            let (tenants, mut wait) = (&outbox.0.tenants, PATIENCE);
            let state = tenants.state(slip.tenant).await.ok().flatten();
            // What was refused of another token, say, than it has by now says nothing of this one.
            let now = state.as_ref().and_then(|state| state.account(slip.account));
            let is_of_now = refused.zip(now).is_none_or(|(refused, now)| refused == now.config);
            // As it is written: what its integration completes is not compared below.
            let written = state.and_then(|state| state.accounts.get(&slip.account).cloned());
            loop {
                let as_of = line.as_of();
                let change = |account: &mut Account, now| {
                    let is_same = is_of_now
                        && written.as_ref().is_none_or(|written| written.config == account.config);
                    // What stopped it before says more: until when, or what ends it.
                    let is_news = account.is_active && is_same && !account.is_paused(now);
                    if is_news {
                        account.stands(Err(trouble.clone()));
                    }
                    is_news
                };
                match tenants.change_account(slip.tenant, slip.account, change).await {
                    Ok(Some(account)) if account.is_active && account.is_paused(tenants.now()) => {
                        return outbox.stop_if_paused(&line, &account, as_of);
                    }
                    // What waits goes on; or it fails, and says so.
                    Ok(_) => return line.resume(),
                    Err(error) => {
                        tracing::warn!(account = %slip.account, %error, "an account's stop is noted later");
                    }
                }
                tokio::select! {
                    () = outbox.stops() => return,
                    () = sleep(wait) => wait = (wait * 2).min(PATIENCE_MAX),
                }
            }
        });
    }

    /// The provider says something of an account: what stops it stops here, too, and how much it may
    /// send from now on is kept to.
    pub async fn hear(&self, account: &Account, news: &News) -> Result<(), StoreError> {
        let line = self.line_of(account.tenant, account.id);
        let (as_of, mut was_paused) = (line.as_of(), false);
        let change = |account: &mut Account, now| {
            was_paused = account.is_paused(now);
            account.hear(news, now)
        };
        let tenants = &self.0.tenants;
        let heard = tenants.change_account(account.tenant, account.id, change).await?;
        let Some(account) = heard else { return Ok(()) };
        if account.is_paused(tenants.now()) {
            self.stop_if_paused(&line, &account, as_of);
        } else if was_paused {
            line.resume();
        }
        Ok(())
    }

    /// Somebody has looked after an account: what waits goes on.
    pub fn resume(&self, account: AccountId) {
        if let Some(line) = self.lines().get(&account) {
            line.resume();
        }
    }

    /// An account is removed: what waits fails, and says so. Its line goes when nothing of it is under
    /// way, or with the next one that is removed after that.
    pub fn forget(&self, account: AccountId) {
        let mut lines = self.lines();
        if let Some(line) = lines.get(&account) {
            line.end();
        }
        // Nobody else has it, and nobody comes to it without this lock.
        lines.retain(|_, line| !line.has_ended() || Arc::strong_count(line) > 1);
    }

    /// A paused account's line stands still, for as long as the provider has said. `as_of`: from
    /// before the account was as it is here.
    pub(super) fn stop_if_paused(&self, line: &Line, account: &Account, as_of: AsOf) {
        let now = self.0.tenants.now();
        // What one that is not active has to send fails at once.
        if account.is_active && account.is_paused(now) {
            let until = account.paused_until.map(|until| Instant::now() + until.since(now));
            line.stop(until, as_of);
        }
    }
}
