//! Verify tokens of accounts: Meta brings one along when it subscribes, and does not say for whom.

use std::collections::BTreeMap;

use engine::id::{AccountId, TenantId};
use serde_json::Value;
use sha2::{Digest, Sha256};
use storage::StoreError;
use storage::names::Name;

use crate::app::App;

type Holder = (TenantId, AccountId);

/// Remembers whose the token of this config is, if it has one. Accounts of one app share theirs.
/// The caller holds [`naming`](crate::app::Parts::naming).
pub async fn remember(
    app: &App,
    config: &BTreeMap<String, Value>,
    holder: Holder,
) -> Result<(), StoreError> {
    let Some(token) = config.get("verify_token").and_then(Value::as_str) else { return Ok(()) };
    let (names, name) = (app.tenants.names(), name(token));
    let held = names.claim(&name, vec![holder]).await?;
    if held.contains(&holder) {
        return Ok(());
    }
    let mut now = vec![holder];
    for other in &held {
        if has(app, *other, token).await? {
            now.push(*other);
        }
    }
    names.swap(&name, &held, &now).await.map(|_| ())
}

/// Whether an active account has this token.
pub async fn is_an_account_s(app: &App, token: &str) -> Result<bool, StoreError> {
    let held = app.tenants.names().get::<Vec<Holder>>(&name(token)).await?;
    for holder in held.unwrap_or_default() {
        if has(app, holder, token).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn has(app: &App, (tenant, id): Holder, token: &str) -> Result<bool, StoreError> {
    let state = app.tenants.state(tenant).await?;
    let account = state.as_ref().and_then(|state| state.accounts.get(&id));
    Ok(account
        .is_some_and(|account| account.is_active && account.text("verify_token") == Some(token)))
}

/// By its digest: the token itself is a secret.
fn name(token: &str) -> Name {
    Name::global("verify_token", &hex::encode(Sha256::digest(token)))
}
