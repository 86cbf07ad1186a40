//! Whose an account's key is: one tenant's in the whole installation. Anybody can name any key, so a
//! claim counts as far as the provider bears it out.

use std::sync::Arc;

use actors::tenants::{Changing, account_name};
use engine::account::Account;
use engine::channel::{Channel, email};
use engine::id::{AccountId, TenantId};

use crate::app::App;
use crate::error::ApiError;

/// Claims a key. A claim whose account was never written is taken over; so is one of another tenant
/// whose account the provider has denied, where it `answers` for this one: that account goes.
/// The caller [holds](crate::naming::Naming::hold) the account's name until its own is written.
pub(super) async fn claim(
    app: &App,
    channel: Channel,
    key: &str,
    account: (TenantId, AccountId),
    answers: bool,
) -> Result<(), ApiError> {
    if channel == Channel::Email {
        // What is sent to a name with a tag is of whoever has the name.
        for name in email::without_tag(key) {
            let holder = app.tenants.account(channel, &name).await?;
            if holder.is_some_and(|holder| holder.tenant != account.0) {
                return Err(in_use());
            }
        }
    }
    let (names, name) = (app.tenants.names(), account_name(channel, key));
    let held = names.claim(&name, account).await?;
    if held == account {
        return Ok(());
    }
    let state = app.tenants.state(held.0).await?;
    let holder = state.and_then(|state| state.accounts.get(&held.1).cloned());
    let is_free = match holder.filter(|holder| holder.account_key == key) {
        None => true,
        Some(holder) => answers && held.0 != account.0 && gave_way(app, &holder).await?,
    };
    if !is_free || !names.swap(&name, &held, &account).await? {
        return Err(in_use());
    }
    Ok(())
}

fn in_use() -> ApiError {
    let message = "this is connected already; disconnect it there first";
    ApiError::conflict("account_key_in_use", message)
}

/// Removes an account that the provider has denied; answers whether it has.
async fn gave_way(app: &App, holder: &Arc<Account>) -> Result<bool, ApiError> {
    let change = |changing: &mut Changing| {
        let account = changing.state.accounts.get(&holder.id).cloned();
        let denied = account.filter(|account| account.is_denied());
        if let Some(account) = &denied {
            changing.keep_history(account);
            changing.delete::<Account>(account.id);
        }
        Ok::<_, ApiError>(denied.is_some())
    };
    let is_denied = app.tenants.change(holder.tenant, change).await?;
    if is_denied {
        // What still waits to be sent fails, and says so.
        app.outbox.forget(holder.id);
        let (account, tenant) = (holder.id, holder.tenant);
        tracing::warn!(%account, %tenant, "its key is connected elsewhere, where the provider answers for it");
    }
    Ok(is_denied)
}
