//! An integration account: a tenant's connection on a channel.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::channel::{Carrier, Channel};
use crate::id::{AccountId, DivisionId, TenantId};
use crate::news::Heard;
use crate::registration::Registration;
use crate::resource::{Resource, SettingKind};
use crate::time::Timestamp;

/// A connection as stored, secrets included: no answer ever holds this type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    pub tenant: TenantId,
    pub channel: Channel,
    /// What the provider's payloads name it by; unique within its channel in the installation.
    pub account_key: String,
    pub display_name: String,
    pub is_active: bool,
    pub is_default: bool,
    pub status: AccountStatus,
    /// The provider's words when it wants attention.
    pub status_detail: Option<String>,
    /// The provider would refuse every message: none is taken until somebody has looked after it.
    #[serde(default)]
    pub paused: bool,
    /// When that is over by itself.
    #[serde(default)]
    pub paused_until: Option<Timestamp>,
    /// How much it may send, where the provider said so.
    #[serde(default)]
    pub throughput: Option<Throughput>,
    /// The number itself, as digits, once it was seen.
    #[serde(default)]
    pub phone: Option<String>,
    /// What the provider said of it.
    #[serde(default)]
    pub heard: Heard,
    /// How far it is registered at its provider; `None`: it was connected otherwise.
    #[serde(default)]
    pub registration: Option<Registration>,
    /// When the access token ends, as far as the provider tells.
    #[serde(default)]
    pub token_until: Option<Timestamp>,
    pub division_id: Option<DivisionId>,
    /// By channel. Keys ending in `secret`, `token` or named `pin` or `smtp_url` are secrets.
    pub config: BTreeMap<String, Value>,
    /// Raised by every change.
    pub rev: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Whether an account works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AccountStatus {
    Connected,
    /// The provider refused something, or could not be asked: see the detail.
    Attention,
    Disabled,
}

/// How much an account may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Throughput {
    Standard,
    High,
}

/// Why an account wants attention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The provider's, where it said something.
    pub words: String,
    /// Every message would be refused, too.
    pub pauses: bool,
    /// It is the access token that does not count.
    pub of_token: bool,
    /// The provider has answered, and not for this account.
    pub denies: bool,
}

/// What the provider knows of an account that it answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub throughput: Option<Throughput>,
    /// The number, as the provider writes it.
    pub phone: Option<String>,
    /// The name that customers see.
    pub name: Option<String>,
    /// What customers think of its messages, in the provider's words.
    pub quality: Option<String>,
    /// The number is still used in the phone's app: it is registered there.
    pub in_app: bool,
    /// When the access token ends, or that it does not; `None`: it was not told.
    pub token_until: Option<Option<Timestamp>>,
    /// By which key webhooks name it, where that may be another one than it was asked for by.
    pub key: Option<String>,
}

/// What a secret looks like in answers.
pub const MASK: &str = "********";

/// Whether a config key holds a secret.
pub fn is_secret(key: &str) -> bool {
    // The address of a mail server holds the password.
    matches!(key, "pin" | "smtp_url") || key.ends_with("secret") || key.ends_with("token")
}

/// A text of a config.
pub fn text<'c>(config: &'c BTreeMap<String, Value>, key: &str) -> Option<&'c str> {
    config.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// A config as answers show it.
pub fn masked(config: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let shown = |(key, value): (&String, &Value)| {
        let shown = if is_secret(key) { Value::from(MASK) } else { value.clone() };
        (key.clone(), shown)
    };
    config.iter().map(shown).collect()
}

/// Merges a config sent by a client: null removes, a secret in its masked form stays.
pub fn merge(config: &mut BTreeMap<String, Value>, given: BTreeMap<String, Value>) {
    for (key, value) in given {
        if is_secret(&key) && value.as_str() == Some(MASK) {
            continue;
        }
        if value.is_null() {
            config.remove(&key);
        } else {
            config.insert(key, value);
        }
    }
}

/// The secrets of a config by their paths, as texts that can be compared.
pub fn secrets(config: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let secrets = config.iter().filter(|(key, _)| is_secret(key));
    secrets.map(|(key, value)| (format!("config.{key}"), value.to_string())).collect()
}

impl Resource for Account {
    const KIND: SettingKind = SettingKind::Account;
    const NAME: &'static str = "integration account";
    type Id = AccountId;

    fn id(&self) -> AccountId {
        self.id
    }

    fn touch(&mut self, now: Timestamp) {
        self.rev += 1;
        self.updated_at = now;
    }
}

impl Account {
    /// One that works, the default of its channel, of which the provider has said nothing yet.
    pub fn new(
        id: AccountId,
        tenant: TenantId,
        channel: Channel,
        account_key: impl Into<String>,
        display_name: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            tenant,
            channel,
            account_key: account_key.into(),
            display_name: display_name.into(),
            is_active: true,
            is_default: true,
            status: AccountStatus::Connected,
            status_detail: None,
            paused: false,
            paused_until: None,
            throughput: None,
            phone: None,
            heard: Heard::default(),
            registration: None,
            token_until: None,
            division_id: None,
            config: BTreeMap::new(),
            rev: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// A text of the config.
    pub fn text(&self, key: &str) -> Option<&str> {
        text(&self.config, key)
    }

    /// A switch of the config.
    pub fn flag(&self, key: &str, default: bool) -> bool {
        self.config.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    /// The secret of the app it belongs to, that signs its webhooks.
    pub fn app_secret(&self) -> Option<&str> {
        self.text("app_secret")
    }

    /// The config as answers show it.
    pub fn masked_config(&self) -> BTreeMap<String, Value> {
        masked(&self.config)
    }

    /// Merges a config sent by a client: null removes, a secret in its masked form stays.
    pub fn merge_config(&mut self, config: BTreeMap<String, Value>) {
        let proof = |account: &Self| {
            ["app_secret", "waba_id"].map(|key| account.text(key).map(str::to_owned))
        };
        let before = proof(self);
        let token = self.text("access_token").map(str::to_owned);
        merge(&mut self.config, config);
        if self.text("access_token") != token.as_deref() {
            // That was another token's.
            self.token_until = None;
        }
        if proof(self) != before {
            // It was seen by another proof, or as of another business account.
            self.phone = None;
        }
    }

    /// Follows what the provider said of it: how much it may send, or what is wrong.
    pub fn stands(&mut self, standing: Result<Option<Throughput>, Trouble>) {
        self.throughput = standing.as_ref().ok().copied().flatten().or(self.throughput);
        let trouble = standing.err();
        self.paused = trouble.as_ref().is_some_and(|trouble| trouble.pauses);
        (self.paused_until, self.heard.is_standing) = (None, false);
        self.status = match trouble {
            Some(_) => AccountStatus::Attention,
            None => AccountStatus::Connected,
        };
        if let (Some(trouble), Some(registration)) = (&trouble, &mut self.registration)
            && !registration.subscribed
        {
            registration.refused = Some(trouble.words.clone());
        }
        self.status_detail = trouble.map(|trouble| trouble.words);
        if let Some(words) = self.unregistered().filter(|_| self.status == AccountStatus::Connected)
        {
            self.status_detail = Some(words.to_owned());
            self.status = AccountStatus::Attention;
        }
    }

    /// Follows what the provider says when it is asked whether the account works.
    pub fn asked(&mut self, said: &Result<Known, Trouble>) {
        self.told(said);
        self.stands(said.as_ref().map(|known| known.throughput).map_err(Clone::clone));
    }

    /// The same when it is asked again: one that could not be asked before is well, one that it
    /// refuses stops. What news stopped, or somebody has to look after, stays as it is. Answers whether
    /// that changes anything.
    pub fn asked_again(&mut self, said: &Result<Known, Trouble>, now: Timestamp) -> bool {
        let is_known = self.heard.is_standing || self.is_paused(now);
        let follows = match said {
            _ if self.status == AccountStatus::Disabled => false,
            Ok(known) => {
                let is_other = known.throughput.is_some() && known.throughput != self.throughput;
                // It answers, and perhaps something is still to be done there.
                let is_well = self.unregistered().is_none();
                let is_better = is_well && self.status == AccountStatus::Attention;
                !is_known && (is_other || is_better)
            }
            Err(trouble) => trouble.pauses && !self.is_paused(now),
        };
        let before = (self.token_until, self.is_denied());
        match follows {
            true => self.asked(said),
            false => self.told(said),
        }
        follows || (self.token_until, self.is_denied()) != before
    }

    /// When its access token ends, and whether it is whose it is said to be: as the provider says, or,
    /// where it does not tell, as it said before.
    fn told(&mut self, said: &Result<Known, Trouble>) {
        if let Ok(Known { token_until: Some(ends), .. }) = said {
            self.token_until = *ends;
        }
        if let Some(registration) = &mut self.registration {
            registration.denied = match said {
                Ok(_) => false,
                Err(trouble) => registration.denied || trouble.denies,
            };
        }
    }

    /// When something is to be done for it at its provider, without anybody who asks: at once where
    /// it is not subscribed and registered, and before its access token ends where there are new ones
    /// for it.
    pub fn due_at(&self) -> Option<Timestamp> {
        let is_stopped = self.paused && self.paused_until.is_none();
        if !self.is_active || is_stopped || self.status == AccountStatus::Disabled {
            return None;
        }
        if self.unregistered().is_some() {
            return Some(self.created_at);
        }
        let token = self.text("access_token").unwrap_or_default();
        self.channel.renewed(token).and(self.token_until)
    }

    /// Its status as people are shown it: an access token that ends within `soon` wants attention
    /// before it does.
    pub fn shown_standing(
        &self,
        soon: Duration,
        now: Timestamp,
    ) -> (AccountStatus, Option<String>) {
        match self.token_until {
            Some(until) if self.status == AccountStatus::Connected && until <= now + soon => {
                let message = match until <= now {
                    true => format!("the access token ended at {until}; renew it"),
                    false => format!("the access token ends at {until}; renew it before"),
                };
                (AccountStatus::Attention, Some(message))
            }
            _ => (self.status, self.status_detail.clone()),
        }
    }

    /// How it stands, as people are told when that changes.
    pub fn standing(&self) -> (AccountStatus, Option<&str>, bool) {
        (self.status, self.status_detail.as_deref(), self.paused)
    }

    /// Whether a message may be sent through it now.
    pub fn can_send(&self, now: Timestamp) -> bool {
        self.is_active
            && !self.is_paused(now)
            && self.status != AccountStatus::Disabled
            && self.has_way_out()
    }

    /// Whether its config says by which way messages leave.
    pub fn has_way_out(&self) -> bool {
        self.channel.carrier() == Carrier::Api || self.text("smtp_url").is_some()
    }
}
