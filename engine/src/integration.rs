//! A channel integration: what a tenant's accounts on a channel have in common, for as far as they
//! say nothing themselves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::account::{Account, masked, text};
use crate::channel::Channel;
use crate::id::{DivisionId, IntegrationId, TenantId};
use crate::resource::{Resource, SettingKind};
use crate::time::Timestamp;

/// What a tenant's accounts on a channel have in common, secrets included: no answer ever holds
/// this type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Integration {
    pub id: IntegrationId,
    pub channel: Channel,
    /// Whether it counts.
    pub is_active: bool,
    /// That of new accounts of which nothing else is said.
    pub division_id: Option<DivisionId>,
    /// Of keys that the channel's accounts may have, too.
    pub config: BTreeMap<String, Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Resource for Integration {
    const KIND: SettingKind = SettingKind::Integration;
    const NAME: &'static str = "channel integration";
    type Id = IntegrationId;

    fn id(&self) -> IntegrationId {
        self.id
    }

    fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
    }
}

impl Integration {
    /// The one of a channel, as long as nobody has said anything of it.
    pub fn blank(tenant: TenantId, channel: Channel, since: Timestamp) -> Self {
        Self {
            id: Self::id_of(tenant, channel),
            channel,
            is_active: false,
            division_id: None,
            config: BTreeMap::new(),
            created_at: since,
            updated_at: since,
        }
    }

    /// The id of a tenant's one integration of a channel (UUIDv8).
    pub fn id_of(tenant: TenantId, channel: Channel) -> IntegrationId {
        let mut hash = Sha256::new_with_prefix(tenant.0.as_bytes());
        hash.update(channel.as_str());
        let digest = hash.finalize();
        let bytes = digest[..16].try_into().expect("sixteen of thirty-two bytes");
        IntegrationId(Uuid::new_v8(bytes))
    }

    /// A text of the config.
    pub fn text(&self, key: &str) -> Option<&str> {
        text(&self.config, key)
    }

    /// The config as answers show it.
    pub fn masked_config(&self) -> BTreeMap<String, Value> {
        masked(&self.config)
    }

    /// Whether an account gets something from it.
    pub fn completes(&self, account: &Account) -> bool {
        let is_missing = |key: &String| !account.config.contains_key(key);
        self.is_active && self.channel == account.channel && self.config.keys().any(is_missing)
    }

    /// An account with all that it has in common with the others of its channel.
    pub fn completed(&self, account: &Account) -> Account {
        let mut account = account.clone();
        if self.is_active && self.channel == account.channel {
            for (key, value) in &self.config {
                account.config.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        account
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::Integration;
    use crate::account::Account;
    use crate::channel::Channel;
    use crate::id::{AccountId, TenantId};
    use crate::time::Timestamp;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    fn account(app_secret: Option<&str>) -> Account {
        let (id, now) = (AccountId(Uuid::nil()), Timestamp(0));
        let mut account = Account::new(id, TENANT, Channel::Whatsapp, "7", "Shop", now);
        let secret = app_secret.map(|secret| ("app_secret".to_owned(), json!(secret)));
        account.config.extend(secret);
        account
    }

    #[test]
    fn an_account_has_in_common_what_it_does_not_say_itself() {
        let mut shared = Integration::blank(TENANT, Channel::Whatsapp, Timestamp(0));
        shared.config = [("app_secret".to_owned(), json!("ours"))].into();
        assert!(!shared.completes(&account(None)), "it does not count yet");
        assert_eq!(shared.completed(&account(None)), account(None));
        shared.is_active = true;
        assert_eq!(shared.completed(&account(None)).app_secret(), Some("ours"));
        assert!(shared.completes(&account(None)) && !shared.completes(&account(Some("own"))));
        assert_eq!(shared.completed(&account(Some("own"))).app_secret(), Some("own"));
        shared.channel = Channel::Messenger;
        assert_eq!(shared.completed(&account(None)), account(None));
    }

    #[test]
    fn each_channel_of_each_tenant_has_one_id() {
        let other = TenantId(Uuid::from_u128(2));
        let of = Integration::id_of;
        assert_eq!(of(TENANT, Channel::Whatsapp), of(TENANT, Channel::Whatsapp));
        assert_ne!(of(TENANT, Channel::Whatsapp), of(TENANT, Channel::Email));
        assert_ne!(of(TENANT, Channel::Whatsapp), of(other, Channel::Whatsapp));
        assert_eq!(of(TENANT, Channel::Email).0.get_version_num(), 8);
    }
}
