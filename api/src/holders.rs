//! What several accounts may share, and the provider names without saying which is meant: verify
//! tokens, which Meta brings along when it subscribes, and business accounts (WABA), of which it
//! tells what concerns all their numbers. A verify token may also be what all accounts of a channel
//! have in common: its holder is the channel integration, whether there is an account or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::account::Account;
use engine::channel::Channel;
use engine::id::{AccountId, IntegrationId, TenantId};
use engine::integration::Integration;
use serde_json::Value;
use sha2::{Digest, Sha256};
use storage::StoreError;
use storage::names::Name;

use crate::app::App;

type Holder = (TenantId, AccountId);

/// So many accounts share one value; the oldest leave.
const HOLDERS_MAX: usize = 1000;

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

/// Remembers who has what this config shares. The caller holds
/// [`naming`](crate::app::Parts::naming).
pub async fn remember(
    app: &App,
    config: &BTreeMap<String, Value>,
    holder: Holder,
) -> Result<(), StoreError> {
    for shared in [Shared::VerifyToken, Shared::Waba] {
        let value = config.get(shared.key()).and_then(Value::as_str);
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            remember_one(app, shared, value, holder).await?;
        }
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
    let mut now = vec![holder];
    for other in held.iter().take(HOLDERS_MAX - 1) {
        let is_held = match shared {
            Shared::VerifyToken => channel(app, value, *other).await?.is_some(),
            Shared::Waba => account(app, shared, value, *other).await?.is_some(),
        };
        if is_held {
            now.push(*other);
        }
    }
    names.swap(&name, &held, &now).await.map(|_| ())
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
