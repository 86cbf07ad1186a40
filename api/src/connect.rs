//! How a channel account is connected, and connected otherwise: the provider is asked whether it
//! works, it is stored all the same, and then subscribed and registered there; and how it is
//! disconnected. Whose its key is says `claim`.

mod claim;

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::tenants::{Caller, Changing, TenantState, account_name};
use axum::Json;
use axum::http::StatusCode;
use engine::account::{Account, text};
use engine::channel::login::Token;
use engine::channel::{Channel, Setup};
use engine::id::{AccountId, DivisionId};
use engine::identity::api_key::Secret;
use engine::integration::Integration;
use engine::resource::{Change, Resource, name};
use engine::time::Timestamp;
use serde_json::Value;

use self::claim::claim;
use crate::app::App;
use crate::crud::{self, New, Once, state};
use crate::error::ApiError;
use crate::extract::{Key, NO_BODY};
use crate::holders;
use crate::routes::accounts::AccountView;

/// What is to be connected.
pub struct Connection {
    pub channel: Channel,
    pub display_name: Option<String>,
    /// What the provider calls it: its name, where it is new and nobody gives it one.
    pub called: Option<String>,
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
            called: None,
            is_active: None,
            is_default: None,
            division_id: None,
            config,
            token_until: None,
        }
    }

    /// By an access token that was given just now.
    pub fn by(mut self, token: Token, now: Timestamp) -> Self {
        self.config.insert("access_token".to_owned(), token.token.into());
        Self { token_until: token.lasts.map(|lasts| now + lasts), ..self }
    }
}

/// A config of these texts.
pub fn config<const N: usize>(of: [(&str, String); N]) -> BTreeMap<String, Value> {
    of.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
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
    if let Some(made) = new.made(app, caller).await? {
        return Ok(made);
    }
    let called = connection.called.filter(|called| name("display_name", called).is_ok());
    let given = connection.display_name.or(called);
    let display_name = given.unwrap_or_else(|| format!("{} {account_key}", setup.title));
    let display_name = name("display_name", &display_name)?;
    let said = app.outbox.probe(channel, &account_key, &config).await;
    if channel == Channel::Whatsapp && !config.contains_key("pin") {
        // Kept before it is used: whoever loses it cannot register the number again.
        config.insert("pin".to_owned(), pin(&app.tenants.secret()).into());
    }
    let (id, mut is_new) = (new.id, false);
    let names = holders::names(&config).chain([account_name(channel, &account_key)]);
    let naming = app.naming.hold(names).await;
    claim(app, channel, &account_key, (caller.tenant, id), said.is_ok()).await?;
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
            registration: channel.unregistered(),
            token_until: connection.token_until,
            ..Account::new(id, caller.tenant, channel, account_key, display_name, now)
        };
        account.asked(&said);
        is_new = true;
        Ok(account)
    };
    let made = new.make(app, caller, app.config.limits.accounts_per_tenant, make).await?;
    drop(naming);
    let Some(known) = said.ok().filter(|_| is_new) else { return Ok(made) };
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
    let changes = Changes {
        display_name: connection.display_name,
        is_active: Some(connection.is_active.unwrap_or(true)),
        is_default: connection.is_default.unwrap_or(false),
        division_id: connection.division_id.map_or(Change::Keep, Change::Set),
        config: Some(connection.config),
        token_until: connection.token_until,
        by_login: true,
    };
    Ok((StatusCode::CREATED, change(app, caller, known.id, changes, new.once).await?))
}

/// The tenant's account of a channel that has this key.
pub fn of_key<'s>(state: &'s TenantState, channel: Channel, key: &str) -> Option<&'s Arc<Account>> {
    let is_it = |one: &&Arc<Account>| one.channel == channel && one.account_key == key;
    state.accounts.values().find(is_it)
}

/// What of an account is to be otherwise.
#[derive(Default)]
pub struct Changes {
    pub display_name: Option<String>,
    pub is_active: Option<bool>,
    /// It is the channel's default from now on.
    pub is_default: bool,
    pub division_id: Change<DivisionId>,
    /// Merged: null removes a key, a secret in its masked form stays.
    pub config: Option<BTreeMap<String, Value>>,
    /// When a new access token ends, where that was said with it.
    pub token_until: Option<Timestamp>,
    /// Somebody has logged in: the app may be another one, and the login does not come again.
    pub by_login: bool,
}

/// Changes an account. With another config the provider is asked once more.
pub async fn change(
    app: &App,
    caller: &Caller,
    id: AccountId,
    changes: Changes,
    once: Once,
) -> Result<Json<AccountView>, ApiError> {
    let known = state(app, caller).await?.accounts.get(&id).cloned();
    let known = known.ok_or_else(|| ApiError::not_found(Account::NAME))?;
    let (mut after, pin) = (Account::clone(&known), pin(&app.tenants.secret()));
    changes.apply(&mut after, &pin)?;
    let (mut naming, mut said) = (None, None);
    if changes.config.is_some() {
        said = Some(app.outbox.probe(after.channel, &after.account_key, &after.config).await);
        naming = Some(app.naming.hold(holders::names(&after.config)).await);
        holders::remember(app, &after.config, (caller.tenant, id)).await?;
    }
    let mut waits = after.paused;
    let change = |account: &mut Account, changing: &mut Changing| {
        changes.apply(account, &pin)?;
        if changes.is_default && !account.is_default {
            no_default(changing, account.channel);
            account.is_default = true;
        }
        if let Some(said) = &said {
            if account.config != after.config && !changes.by_login {
                let message = "the account was changed meanwhile; look again and repeat";
                return Err(ApiError::conflict("changed", message));
            }
            account.asked(said);
        }
        waits = account.paused && account.is_active;
        Ok(())
    };
    let changed = crud::change_once(app, caller, id, once, change).await?;
    drop(naming);
    if !waits {
        // What waits goes on, or fails where the account is not active any more.
        app.outbox.resume(id);
    }
    let Some(Ok(known)) = said else { return Ok(changed) };
    app.outbox.enlist(caller.tenant, id, &known, true).await?;
    crud::shown::<Account>(app, caller, id).await
}

impl Changes {
    /// Changes an account that is there, as it is now. `pin`: by which its number is registered where
    /// it has none.
    fn apply(&self, account: &mut Account, pin: &str) -> Result<(), ApiError> {
        if let Some(given) = &self.display_name {
            account.display_name = name("display_name", given)?;
        }
        account.is_active = self.is_active.unwrap_or(account.is_active);
        match self.division_id {
            Change::Keep => {}
            Change::Clear => account.division_id = None,
            Change::Set(division) => account.division_id = Some(division),
        }
        let Some(config) = &self.config else { return Ok(()) };
        let waba = account.text("waba_id").map(str::to_owned);
        account.merge_config(config.clone());
        account.token_until = self.token_until.or(account.token_until);
        let setup = setup(account.channel)?;
        if setup.account_key(&account.config)? != account.account_key {
            let message = "must stay as it is; connect another account for another one";
            return Err(ApiError::invalid(format!("config.{}", setup.key), message));
        }
        if self.by_login && account.registration.is_none() {
            account.registration = account.channel.unregistered();
            account.registration.iter_mut().for_each(|registration| registration.proven = true);
        }
        // The webhooks of another app, or of another business account, have to be asked for.
        if self.by_login || waba.as_deref() != text(&account.config, "waba_id") {
            account.resubscribe();
        }
        let is_registered = account.registration.as_ref().is_none_or(|it| it.registered);
        if !is_registered && !account.config.contains_key("pin") {
            account.config.insert("pin".to_owned(), pin.into());
        }
        Ok(())
    }
}

/// Removes an account, so that it may be connected elsewhere; its webhooks are delivered no more, as
/// far as they are its alone. Answers why they are all the same. The same request does it once.
pub async fn disconnect(
    app: &App,
    caller: &Caller,
    id: AccountId,
    once: Once,
) -> Result<Option<String>, ApiError> {
    let state = state(app, caller).await?;
    if once.done(&state)?.is_some() {
        return Ok(None);
    }
    let account = state.accounts.get(&id).ok_or_else(|| ApiError::not_found(Account::NAME))?;
    let mut detail = None;
    if account.channel.unsubscribe(account).is_some() {
        let mut others = state.accounts.values().filter(|other| other.is_active);
        if others.any(|other| other.channel.is_of_page(other)) {
            let words = "an account of Instagram is heard by a page, perhaps by this one";
            detail = Some(words.to_owned());
        } else {
            // Written down before it is so: whatever comes between, it is subscribed again.
            let first = Once::of(caller, &Key::none(), NO_BODY);
            let leaves = |account: &mut Account, _: &mut Changing| {
                account.resubscribe();
                Ok(())
            };
            if let Err(error) = crud::change_once(app, caller, id, first, leaves).await {
                // The same request, at the same time, may have removed it meanwhile.
                let is_done = once.done(&*self::state(app, caller).await?)?.is_some();
                return if is_done { Ok(None) } else { Err(error) };
            }
            detail = app.outbox.unsubscribe(account).await;
        }
    }
    let hand_on = |account: &Account, changing: &mut Changing| {
        let others = changing.state.accounts.values();
        let others = others.filter(|other| other.channel == account.channel && other.id != id);
        let next = others.min_by_key(|other| !other.is_active);
        if let Some(next) = next.filter(|_| account.is_default) {
            let mut next = Account::clone(next);
            next.is_default = true;
            next.touch(changing.now);
            changing.put(next);
        }
        changing.keep_history(account);
        Ok(())
    };
    let Some(account) = crud::remove(app, caller, id, once, hand_on).await? else {
        return Ok(None);
    };
    // What still waits to be sent fails, and says so.
    app.outbox.forget(id);
    let name = account_name(account.channel, &account.account_key);
    app.tenants.names().release(&name, &(caller.tenant, id)).await?;
    Ok(detail)
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

/// What the config of the channel's accounts holds.
pub fn setup(channel: Channel) -> Result<&'static Setup, ApiError> {
    channel.setup().ok_or_else(|| ApiError::invalid("channel", "cannot be connected yet"))
}
