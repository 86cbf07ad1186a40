//! How accounts stand: whether their providers answer for them, and what these say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::account::{self, Account, Known, Trouble};
use engine::channel::login::{self, NotGiven};
use engine::channel::{Call, Carrier, Channel, Outcome, email, whatsapp};
use engine::time::Timestamp;
use serde_json::Value;
use storage::StoreError;
use tokio::time::timeout;

use super::Outbox;

/// A provider is asked how an account stands for so long: whoever connects one waits for it.
const PROBE: Duration = Duration::from_secs(5);
/// So long of that for when its token ends, which is good to know.
const TOKEN_PROBE: Duration = Duration::from_secs(2);

impl Outbox {
    /// Whether an account works, and what the provider knows of it; for so long as somebody waits
    /// for it.
    pub async fn probe(
        &self,
        channel: Channel,
        key: &str,
        config: &BTreeMap<String, Value>,
    ) -> Result<Known, Trouble> {
        let probing = timeout(PROBE, Box::pin(self.probed(channel, key, config))).await;
        probing.unwrap_or_else(|_| {
            let words = "the provider did not answer in time whether the account works".to_owned();
            Err(Trouble { words, ..Trouble::default() })
        })
    }

    async fn probed(
        &self,
        channel: Channel,
        key: &str,
        config: &BTreeMap<String, Value>,
    ) -> Result<Known, Trouble> {
        if channel.carrier() == Carrier::Mail {
            return self.greet(channel, key, config).await;
        }
        let token = account::text(config, "access_token").unwrap_or_default();
        let Some(call) = channel.account(key, token) else { return Ok(Known::default()) };
        let said = self.ask(call).await.map_err(|not| trouble(channel, &not))?;
        let known = channel.known(&said);
        if let Some(other) = known.key.as_ref().filter(|other| *other != key) {
            let words = format!("webhooks name it {other}; connect it by that id");
            return Err(Trouble { words, denies: true, ..Trouble::default() });
        }
        let asked = Box::pin(self.token_until(channel, token));
        let token_until = timeout(TOKEN_PROBE, asked).await.ok().flatten();
        Ok(Known { token_until, ..known })
    }

    /// Whether the mail server of an account takes its mails, if it has one.
    async fn greet(
        &self,
        channel: Channel,
        key: &str,
        config: &BTreeMap<String, Value>,
    ) -> Result<Known, Trouble> {
        let smtp = account::text(config, "smtp_url").map(email::Smtp::read);
        let Some(Ok(smtp)) = smtp else { return Ok(Known::default()) };
        let greeted = Box::pin(self.0.mailer.greet(&smtp, key)).await;
        let (words, pauses, of_token) = match email::outcome(greeted, key) {
            Outcome::Sent { .. } => return Ok(Known::default()),
            Outcome::Unknown { reason } => (reason, false, false),
            Outcome::Retry { error, .. } => (error.to_string(), false, false),
            Outcome::Refused { error } | Outcome::AccountStopped { error } => {
                (error.to_string(), true, channel.is_of_token(&error.code))
            }
        };
        Err(Trouble { words, pauses, of_token, denies: pauses })
    }

    /// When an access token ends, where the provider tells.
    async fn token_until(&self, channel: Channel, token: &str) -> Option<Option<Timestamp>> {
        whatsapp::token_until(&self.ask(channel.token(token)?).await.ok()?)
    }

    /// Asks the provider something of an account; what it gives, or why it does not.
    pub async fn ask(&self, call: Call) -> Result<Value, NotGiven> {
        login::given(self.0.provider.perform(call).await)
    }

    /// Asks the provider how an account stands, and follows what it says. Answers the account as it
    /// is then; `None`: it is gone.
    pub async fn check(
        &self,
        account: Arc<Account>,
    ) -> Result<Option<(Arc<Account>, Result<Known, Trouble>)>, StoreError> {
        let Some(account) = self.renew(account).await? else { return Ok(None) };
        let line = self.line_of(account.tenant, account.id);
        let as_of = line.as_of();
        let said = self.probe(account.channel, &account.account_key, &account.config).await;
        let change = |now: &mut Account, at| now.asked_again(&said, at);
        let Some(now) = self.change_asked(&account, change).await? else { return Ok(None) };
        self.stop_if_paused(&line, &now, as_of);
        let now = match &said {
            Ok(known) => self.enlist(now.tenant, now.id, known, false).await?,
            Err(_) => Some(now),
        };
        Ok(now.map(|now| (now, said)))
    }

    /// Changes an account by what the provider says of it, who was asked about it as it was then: with
    /// another config it is not about it any more. Answers the account as it is then; `None`: it is
    /// gone.
    pub(super) async fn change_asked(
        &self,
        asked: &Account,
        change: impl FnOnce(&mut Account, Timestamp) -> bool,
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let change = |now: &mut Account, at| now.config == asked.config && change(now, at);
        self.0.tenants.change_account(asked.tenant, asked.id, change).await
    }
}

/// What is wrong with an account whose provider does not answer for it.
fn trouble(channel: Channel, not: &NotGiven) -> Trouble {
    let (pauses, of_token) = match not {
        NotGiven::Stopped(error) => (true, channel.is_of_token(&error.code)),
        NotGiven::Refused(_) | NotGiven::Unanswered(_) => (false, false),
    };
    let denies = !matches!(not, NotGiven::Unanswered(_));
    Trouble { words: not.to_string(), pauses, of_token, denies }
}
