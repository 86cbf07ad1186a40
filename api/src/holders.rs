//! What several accounts may share, and the provider names without saying which is meant: verify
//! tokens, which Meta brings along when it subscribes, and business accounts (WABA), of which it
//! tells what concerns all their numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::account::Account;
use engine::id::{AccountId, TenantId};
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
        if account(app, shared, value, *other).await?.is_some() {
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

async fn account(
    app: &App,
    shared: Shared,
    value: &str,
    (tenant, id): Holder,
) -> Result<Option<Arc<Account>>, StoreError> {
    let state = app.tenants.state(tenant).await?;
    let account = state.as_ref().and_then(|state| state.accounts.get(&id).cloned());
    Ok(account.filter(|account| account.is_active && account.text(shared.key()) == Some(value)))
}
