//! How accounts stand: whether their providers answer for them, and what these say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::account::{self, Account, Known, Trouble};
use engine::channel::login::{self, NotGiven};
use engine::channel::{Answered, Call, Carrier, Channel, Outcome, email, whatsapp};
use engine::time::Timestamp;
use serde_json::Value;
use storage::StoreError;
use tokio::time::timeout;

use super::Outbox;

/// A provider is asked how an account stands for so long: whoever connects one waits for it.
const PROBE: Duration = Duration::from_secs(5);

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
            Err(Trouble { words, pauses: false, of_token: false })
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
        let token = config.get("access_token").and_then(Value::as_str).unwrap_or_default();
        let Some(call) = channel.account(key, token) else { return Ok(Known::default()) };
        let words = match self.0.provider.perform(call).await {
            Answered::With { status: 200..=299, body, .. } => {
                let known = channel.known(&body);
                if let Some(other) = known.key.as_ref().filter(|other| *other != key) {
                    let words = format!("webhooks name it {other}; connect it by that id");
                    return Err(Trouble { words, pauses: false, of_token: false });
                }
                let token_until = self.token_until(channel, token).await;
                return Ok(Known { token_until, ..known });
            }
            Answered::NotSent(reason) | Answered::PerhapsSent(reason) => reason,
            answered @ Answered::With { .. } => {
                return known(channel, channel.outcome(answered, None));
            }
        };
        Err(Trouble { words, pauses: false, of_token: false })
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
        known(channel, email::outcome(greeted, key))
    }

    /// When an access token ends, where the provider tells.
    async fn token_until(&self, channel: Channel, token: &str) -> Option<Timestamp> {
        match self.0.provider.perform(channel.token(token)?).await {
            Answered::With { status: 200..=299, body, .. } => whatsapp::token_until(&body),
            _ => None,
        }
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
        let said = self.probe(account.channel, &account.account_key, &account.config).await;
        let (standing, ends) = match &said {
            Ok(known) => (Ok(known.throughput), account.token_end(known)),
            Err(trouble) => (Err(trouble.clone()), account.token_until),
        };
        let change = |now: &mut Account, at| {
            // Another token, perhaps: what was said is not about it.
            if now.config != account.config {
                return false;
            }
            let is_other = std::mem::replace(&mut now.token_until, ends) != ends;
            now.asked_again(standing, at) || is_other
        };
        let tenants = &self.0.tenants;
        let Some(now) = tenants.change_account(account.tenant, account.id, change).await? else {
            return Ok(None);
        };
        self.stop_if_paused(&self.line_of(now.tenant, now.id), &now);
        let now = match &said {
            Ok(known) => self.enlist(now.tenant, now.id, known, false).await?,
            Err(_) => Some(now),
        };
        Ok(now.map(|now| (now, said)))
    }
}

/// What an answer says of an account: nothing, or what is wrong with it.
fn known(channel: Channel, outcome: Outcome) -> Result<Known, Trouble> {
    let (words, pauses, of_token) = match outcome {
        Outcome::Sent { .. } => return Ok(Known::default()),
        Outcome::Unknown { reason } => (reason, false, false),
        Outcome::Retry { error, .. } => (error.to_string(), false, false),
        Outcome::Refused { error } | Outcome::AccountStopped { error } => {
            (error.to_string(), true, channel.is_of_token(&error.code))
        }
    };
    Err(Trouble { words, pauses, of_token })
}
