//! What several accounts may share, and the provider names without saying which is meant: verify
//! tokens, which Meta brings along when it subscribes, and business accounts (WABA), of which it
//! tells what concerns all their numbers. A verify token may also be what all accounts of a channel
//! have in common: its holder is the channel integration, whether there is an account or not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine::account::{Account, text};
use engine::channel::Channel;
use engine::id::{AccountId, IntegrationId, TenantId};
use engine::integration::Integration;
use serde_json::Value;
use sha2::{Digest, Sha256};
use storage::StoreError;
use storage::names::Name;

use crate::app::App;

type Holder = (TenantId, AccountId);

/// So many share one value, and so many of one tenant. First those leave of whom the provider has never
/// let anything be known: anybody can name any value.
const HOLDERS_MAX: usize = 1000;
const HOLDERS_OF_TENANT_MAX: usize = 100;

/// A key of accounts' configs that several may have the same value of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    VerifyToken,
    Waba,
}

impl Shared {
    fn key(self) -> &'static str {
        match self {
            Self::VerifyToken => "verify_token",
            Self::Waba => "waba_id",
        }
    }

    fn name(self, value: &str) -> Name {
        let digest = || hex::encode(Sha256::digest(value));
        match self {
            // The token itself is a secret.
            Self::VerifyToken => Name::global(self.key(), &digest()),
            Self::Waba => Name::global(self.key(), value),
        }
    }
}

/// An integration as the holder of a verify token.
pub fn of_integration(tenant: TenantId, integration: IntegrationId) -> (TenantId, AccountId) {
    (tenant, AccountId(integration.0))
}

/// The names of what this config shares.
pub fn names(config: &BTreeMap<String, Value>) -> impl Iterator<Item = Name> {
    shared(config).map(|(shared, value)| shared.name(value))
}

fn shared(config: &BTreeMap<String, Value>) -> impl Iterator<Item = (Shared, &str)> {
    let all = [Shared::VerifyToken, Shared::Waba].into_iter();
    all.filter_map(|shared| Some((shared, text(config, shared.key())?)))
}

/// Remembers who has what this config shares. The caller [holds](crate::naming::Naming::hold) its
/// [`names`].
pub async fn remember(
    app: &App,
    config: &BTreeMap<String, Value>,
    holder: Holder,
) -> Result<(), StoreError> {
    for (shared, value) in shared(config) {
        remember_one(app, shared, value, holder).await?;
    }
    Ok(())
}

async fn remember_one(
    app: &App,
    shared: Shared,
    value: &str,
    holder: Holder,
) -> Result<(), StoreError> {
    let (names, name) = (app.tenants.names(), shared.name(value));
    let held = names.claim(&name, vec![holder]).await?;
    if held.contains(&holder) {
        return Ok(());
    }
    let mut others = Vec::new();
    for other in &held {
        let account = account(app, shared, value, *other).await?;
        let is_known = match &account {
            Some(account) => account.is_subscribed() || account.phone.is_some(),
            None => true,
        };
        let is_held = match shared {
            Shared::VerifyToken => channel(app, value, *other).await?.is_some(),
            Shared::Waba => account.is_some(),
        };
        if is_held {
            others.push((*other, is_known));
        }
    }
    names.swap(&name, &held, &with(holder, others)).await.map(|_| ())
}

/// The holders with a new one before the others, each of which the provider knows or not: as many as
/// there is room for.
fn with(new: Holder, mut others: Vec<(Holder, bool)>) -> Vec<Holder> {
    others.sort_by_key(|(_, is_known)| !is_known);
    let mut of_tenant = HashMap::from([(new.0, 1)]);
    let mut all = vec![new];
    for (other, _) in others {
        let count = of_tenant.entry(other.0).or_insert(0);
        if *count < HOLDERS_OF_TENANT_MAX && all.len() < HOLDERS_MAX {
            *count += 1;
            all.push(other);
        }
    }
    all
}

/// The active accounts that have this value.
pub async fn all(app: &App, shared: Shared, value: &str) -> Result<Vec<Arc<Account>>, StoreError> {
    let held = app.tenants.names().get::<Vec<Holder>>(&shared.name(value)).await?;
    let mut all = Vec::new();
    for holder in held.unwrap_or_default() {
        all.extend(account(app, shared, value, holder).await?);
    }
    Ok(all)
}

/// The channels of whoever has this verify token.
pub async fn of_token(app: &App, token: &str) -> Result<Vec<Channel>, StoreError> {
    let held = app.tenants.names().get::<Vec<Holder>>(&Shared::VerifyToken.name(token)).await?;
    let mut channels = Vec::new();
    for holder in held.unwrap_or_default() {
        channels.extend(channel(app, token, holder).await?);
    }
    Ok(channels)
}

async fn channel(app: &App, token: &str, holder: Holder) -> Result<Option<Channel>, StoreError> {
    if let Some(account) = account(app, Shared::VerifyToken, token, holder).await? {
        return Ok(Some(account.channel));
    }
    let (tenant, id) = (holder.0, IntegrationId(holder.1.0));
    let state = app.tenants.state(tenant).await?;
    let has = |one: &&Arc<Integration>| one.is_active && one.text("verify_token") == Some(token);
    let integration = state.as_ref().and_then(|state| state.integrations.get(&id).filter(has));
    Ok(integration.map(|integration| integration.channel))
}

async fn account(
    app: &App,
    shared: Shared,
    value: &str,
    (tenant, id): Holder,
) -> Result<Option<Arc<Account>>, StoreError> {
    let state = app.tenants.state(tenant).await?;
    let account = state.as_ref().and_then(|state| state.account(id));
    Ok(account.filter(|account| account.is_active && account.text(shared.key()) == Some(value)))
}

#[cfg(test)]
mod tests {
    use engine::id::{AccountId, TenantId};
    use uuid::Uuid;

    use super::{HOLDERS_MAX, HOLDERS_OF_TENANT_MAX, Holder, with};

    fn holder(tenant: usize, n: usize) -> Holder {
        let id = |n: usize| Uuid::from_u128(n as u128);
        (TenantId(id(tenant)), AccountId(id(n)))
    }

    #[test]
    fn whom_the_provider_knows_is_not_driven_out_by_those_who_only_name_the_value() {
        let (hers, mut all) = (holder(1, 0), vec![holder(1, 0)]);
        for n in 1..3 * HOLDERS_MAX {
            // Many organizations, so that no share of one of them protects anybody.
            let others = all.iter().map(|holder| (*holder, *holder == hers));
            all = with(holder(n / 50 + 2, n), others.collect());
        }
        assert_eq!((all.len(), all.contains(&hers)), (HOLDERS_MAX, true));
    }

    #[test]
    fn one_organization_has_a_share_of_the_places_and_its_newest_stay() {
        let mut all = vec![holder(1, 0)];
        for n in 1..2 * HOLDERS_MAX {
            all = with(holder(2, n), all.iter().map(|holder| (*holder, false)).collect());
        }
        assert_eq!((all.len(), all.contains(&holder(1, 0))), (HOLDERS_OF_TENANT_MAX + 1, true));
        assert!(all.contains(&holder(2, 2 * HOLDERS_MAX - HOLDERS_OF_TENANT_MAX)));
    }
}
