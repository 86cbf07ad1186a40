//! How a channel account is connected, and connected otherwise: the provider is asked whether it
//! works, it is stored all the same, and then subscribed and registered there.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::tenants::{Caller, Changing, TenantState, account_name};
use axum::Json;
use axum::http::StatusCode;
use engine::account::{Account, text};
use engine::channel::{Channel, Setup};
use engine::id::{AccountId, DivisionId, TenantId};
use engine::identity::api_key::Secret;
use engine::integration::Integration;
use engine::resource::{Resource, name};
use engine::time::Timestamp;
use serde_json::Value;

use crate::app::App;
use crate::crud::{self, New, state};
use crate::error::ApiError;
use crate::extract::{Key, NO_BODY};
use crate::holders;
use crate::routes::accounts::AccountView;

/// What is to be connected.
pub struct Connection {
    pub channel: Channel,
    pub display_name: Option<String>,
    pub is_active: Option<bool>,
    pub is_default: Option<bool>,
    pub division_id: Option<DivisionId>,
    pub config: BTreeMap<String, Value>,
    /// When the access token ends, where that was said with it.
    pub token_until: Option<Timestamp>,
}

impl Connection {
    /// Of a config alone.
    pub fn of(channel: Channel, config: BTreeMap<String, Value>) -> Self {
        Self {
            channel,
            display_name: None,
            is_active: None,
            is_default: None,
            division_id: None,
            config,
            token_until: None,
        }
    }
}

/// Connects an account, unless that was done by the same request before.
pub async fn connect(
    app: &App,
    caller: &Caller,
    new: New<Account>,
    connection: Connection,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    let Connection { channel, mut config, division_id, .. } = connection;
    let setup = setup(channel)?;
    let account_key = setup.account_key(&config)?;
    let title = setup.title;
    let display_name = connection.display_name.unwrap_or_else(|| format!("{title} {account_key}"));
    let display_name = name("display_name", &display_name)?;
    let known = app.outbox.probe(channel, &account_key, &config).await;
    let answers = known.as_ref().ok().cloned();
    let registration = channel.unregistered();
    if channel == Channel::Whatsapp && !config.contains_key("pin") {
        // Kept before it is used: whoever loses it cannot register the number again.
        config.insert("pin".to_owned(), pin(&app.tenants.secret()).into());
    }
    let (id, mut is_new) = (new.id, false);
    let naming = app.naming.lock().await;
    claim(app, channel, &account_key, (caller.tenant, id)).await?;
    holders::remember(app, &config, (caller.tenant, id)).await?;
    let shared = Integration::id_of(caller.tenant, channel);
    let make = |changing: &mut Changing| {
        let mut others = changing.state.accounts.values();
        let first = !others.any(|other| other.channel == channel);
        let is_default = connection.is_default.unwrap_or(first);
        if is_default {
            no_default(changing, channel);
        }
        let (now, shared) = (changing.now, changing.state.integrations.get(&shared));
        let shared = shared.filter(|shared| shared.is_active).and_then(|one| one.division_id);
        let mut account = Account {
            is_active: connection.is_active.unwrap_or(true),
            is_default,
            division_id: division_id.or(shared),
            config,
            registration,
            token_until: connection.token_until,
            ..Account::new(id, caller.tenant, channel, account_key, display_name, now)
        };
        if let Some(known) = &answers {
            account.token_until = account.token_end(known);
        }
        is_new = true;
        account.stands(known.map(|known| known.throughput));
        Ok(account)
    };
    let made = new.make(app, caller, app.config.limits.accounts_per_tenant, make).await?;
    drop(naming);
    let Some(known) = answers.filter(|_| is_new) else { return Ok(made) };
    app.outbox.enlist(caller.tenant, id, &known, true).await?;
    Ok((made.0, crud::shown::<Account>(app, caller, id).await?))
}

/// The same by somebody who has just logged in at the provider: an account of theirs that is
/// connected already goes on with the new token, as the same account.
pub async fn connect_or_renew(
    app: &App,
    caller: &Caller,
    new: New<Account>,
    connection: Connection,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    let account_key = setup(connection.channel)?.account_key(&connection.config)?;
    let state = state(app, caller).await?;
    let Some(known) = of_key(&state, connection.channel, &account_key) else {
        return connect(app, caller, new, connection).await;
    };
    let mut after = Account::clone(known);
    after.is_active = connection.is_active.unwrap_or(true);
    if let Some(given) = connection.display_name {
        after.display_name = name("display_name", &given)?;
    }
    after.division_id = connection.division_id.or(after.division_id);
    if let Some(registration) = &mut after.registration {
        // The app may be another one.
        registration.subscribed = false;
    } else {
        after.registration = connection.channel.unregistered();
    }
    let change = ConfigChange { config: connection.config, token_until: connection.token_until };
    let once = (Key::none(), NO_BODY);
    Ok((StatusCode::CREATED, change_to(app, caller, after, Some(change), once).await?))
}

/// The tenant's account of a channel that has this key.
pub fn of_key<'s>(state: &'s TenantState, channel: Channel, key: &str) -> Option<&'s Arc<Account>> {
    let is_it = |one: &&Arc<Account>| one.channel == channel && one.account_key == key;
    state.accounts.values().find(is_it)
}

/// What of an account's config is to change.
pub struct ConfigChange {
    /// Merged: null removes a key, a secret in its masked form stays.
    pub config: BTreeMap<String, Value>,
    /// When a new access token ends, where that was said with it.
    pub token_until: Option<Timestamp>,
}

/// Stores an account as it is to be, `after` being what it was but for that. With another config
/// the provider is asked once more.
pub async fn change_to(
    app: &App,
    caller: &Caller,
    mut after: Account,
    change: Option<ConfigChange>,
    once: (Key, [u8; 16]),
) -> Result<Json<AccountView>, ApiError> {
    let (id, rev) = (after.id, after.rev);
    let (mut naming, mut answers) = (None, None);
    if let Some(ConfigChange { config, token_until }) = change {
        reconfigure(app, &mut after, config)?;
        let known = app.outbox.probe(after.channel, &after.account_key, &after.config).await;
        answers = known.as_ref().ok().cloned();
        after.token_until = token_until.or(after.token_until);
        if let Some(known) = &answers {
            after.token_until = after.token_end(known);
        }
        after.stands(known.map(|known| known.throughput));
        naming = Some(app.naming.lock().await);
        holders::remember(app, &after.config, (caller.tenant, id)).await?;
    }
    let paused = after.paused;
    let change = |account: &mut Account, _: &mut Changing| {
        if account.rev != rev {
            let message = "the account was changed meanwhile; look again and repeat";
            return Err(ApiError::conflict("changed", message));
        }
        *account = after;
        Ok(())
    };
    let changed = crud::change(app, caller, id, once, change).await?;
    drop(naming);
    if !paused {
        app.outbox.resume(id);
    }
    let Some(known) = answers else { return Ok(changed) };
    app.outbox.enlist(caller.tenant, id, &known, true).await?;
    crud::shown::<Account>(app, caller, id).await
}

fn reconfigure(
    app: &App,
    after: &mut Account,
    config: BTreeMap<String, Value>,
) -> Result<(), ApiError> {
    let waba = after.text("waba_id").map(str::to_owned);
    after.merge_config(config);
    if let Some(registration) = &mut after.registration {
        // The webhooks of another business account have to be asked for.
        registration.subscribed &= waba.as_deref() == text(&after.config, "waba_id");
        if !registration.registered && !after.config.contains_key("pin") {
            after.config.insert("pin".to_owned(), pin(&app.tenants.secret()).into());
        }
    }
    let setup = setup(after.channel)?;
    if setup.account_key(&after.config)? != after.account_key {
        let message = "must stay as it is; connect another account for another one";
        return Err(ApiError::invalid(format!("config.{}", setup.key), message));
    }
    Ok(())
}

/// Removes an account, so that it may be connected elsewhere.
pub async fn disconnect(app: &App, caller: &Caller, id: AccountId) -> Result<Account, ApiError> {
    let account: Account = crud::remove(app, caller, id, |_, _| Ok(())).await?;
    let name = account_name(account.channel, &account.account_key);
    app.tenants.names().release(&name, &(caller.tenant, id)).await?;
    Ok(account)
}

/// Six digits that nobody guesses.
fn pin(secret: &Secret) -> String {
    let random = u64::from_be_bytes(secret.0[..8].try_into().expect("eight of thirty-two bytes"));
    format!("{:06}", random % 1_000_000)
}

/// Takes the mark from the channel's default, so that another account may have it.
pub fn no_default(changing: &mut Changing, channel: Channel) {
    let accounts = changing.state.accounts.values();
    let marked = accounts.filter(|account| account.is_default && account.channel == channel);
    let marked: Vec<_> = marked.map(|account| Account::clone(account)).collect();
    for mut account in marked {
        account.is_default = false;
        account.touch(changing.now);
        changing.put(account);
    }
}

/// An account's key is one tenant's. A claim whose account was never written is taken over: the
/// caller holds [`naming`](crate::app::Parts::naming) until its own is.
async fn claim(
    app: &App,
    channel: Channel,
    key: &str,
    account: (TenantId, AccountId),
) -> Result<(), ApiError> {
    let (names, name) = (app.tenants.names(), account_name(channel, key));
    let held = names.claim(&name, account).await?;
    if held == account {
        return Ok(());
    }
    let state = app.tenants.state(held.0).await?;
    let is_used = state.is_some_and(|state| {
        state.accounts.get(&held.1).is_some_and(|account| account.account_key == key)
    });
    if is_used || !names.swap(&name, &held, &account).await? {
        let message = "this is connected already; disconnect it there first";
        return Err(ApiError::conflict("account_key_in_use", message));
    }
    Ok(())
}

/// What the config of the channel's accounts holds.
pub fn setup(channel: Channel) -> Result<&'static Setup, ApiError> {
    channel.setup().ok_or_else(|| ApiError::invalid("channel", "cannot be connected yet"))
}
