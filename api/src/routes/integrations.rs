//! Channel integrations: what an organization's accounts on a channel have in common. An account
//! that says nothing of a key has the integration's: its app's secret proves the account's webhooks,
//! its verify token is answered when Meta subscribes, also before there is any account.

use std::collections::BTreeMap;

use actors::tenants::{Changing, TenantState};
use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::Method;
use axum::http::request::Parts;
use engine::account::{self, Account};
use engine::channel::Channel;
use engine::id::{DivisionId, IntegrationId};
use engine::integration::Integration;
use engine::permission::Permission;
use engine::resource::{Change, Resource};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Access, Route, route};
use crate::app::App;
use crate::crud::{self, Deleted, Once, Shown, state};
use crate::error::ApiError;
use crate::extract::{Body, Key, NO_BODY};
use crate::guard::Me;
use crate::holders;

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::IntegrationsManage);
    let (all, one) = ("/api/integrations", "/api/integrations/{channel}");
    let put = "Create or update an integration (upsert)";
    vec![
        crud::list::<Integration>(all, manage, "List all channel integrations"),
        route(Method::GET, one, manage, "Get a single integration by channel", get)
            .answers::<IntegrationView>(200),
        route(Method::PUT, one, manage, put, upsert)
            .body::<Draft>(json!({"config": {"app_secret": "a secret"}}))
            .answers::<IntegrationView>(200),
        route(Method::DELETE, one, manage, "Delete an integration", delete).answers::<Deleted>(200),
    ]
}

/// What the accounts on a channel have in common, secrets masked.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ChannelIntegration")]
pub struct IntegrationView {
    id: IntegrationId,
    channel: Channel,
    /// Whether accounts have something of it.
    is_active: bool,
    /// The division of new accounts of which nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    division_id: Option<DivisionId>,
    config: BTreeMap<String, Value>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// What is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    /// A new one is active without it.
    #[serde(default)]
    is_active: Change<bool>,
    #[serde(default)]
    division_id: Change<DivisionId>,
    /// Merged: null removes a key, a secret in its masked form stays. `app_secret`, `verify_token`,
    /// `send_read_marks`, as far as the channel's accounts may have them.
    #[serde(default)]
    config: Change<BTreeMap<String, Value>>,
}

/// The channel in the path. What is none names nothing.
struct Chosen(Channel);

impl FromRequestParts<App> for Chosen {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let path = Path::<Channel>::from_request_parts(parts, app).await;
        path.map(|Path(channel)| Self(channel)).map_err(|_| ApiError::not_found("channel"))
    }
}

impl Shown for Integration {
    type View = IntegrationView;

    fn view(&self, _: &App, _: &TenantState) -> IntegrationView {
        IntegrationView {
            id: self.id,
            channel: self.channel,
            is_active: self.is_active,
            division_id: self.division_id,
            config: self.masked_config(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    fn secrets(&self, _: &TenantState) -> BTreeMap<String, String> {
        account::secrets(&self.config)
    }
}

async fn get(
    State(app): State<App>,
    Me(caller): Me,
    Chosen(channel): Chosen,
) -> Result<Json<IntegrationView>, ApiError> {
    let state = state(&app, &caller).await?;
    let known = state.integrations.get(&Integration::id_of(caller.tenant, channel));
    let blank = || Integration::blank(caller.tenant, channel, state.tenant.created_at);
    let shown = known.map_or_else(blank, |known| Integration::clone(known));
    Ok(Json(shown.view(&app, &state)))
}

async fn upsert(
    State(app): State<App>,
    Me(caller): Me,
    Chosen(channel): Chosen,
    key: Key,
    Body(draft, digest): Body<Draft>,
) -> Result<Json<IntegrationView>, ApiError> {
    let setup =
        channel.setup().ok_or_else(|| ApiError::invalid("channel", "cannot be connected yet"))?;
    let is_active = draft.is_active.given("is_active")?;
    let config = draft.config.given("config")?.unwrap_or_default();
    let kept = config.iter().filter(|(_, value)| !value.is_null());
    setup.check_shared(&kept.map(|(key, value)| (key.clone(), value.clone())).collect())?;
    let id = Integration::id_of(caller.tenant, channel);
    let holder = holders::of_integration(caller.tenant, id);
    let token = token(&config);
    // Held until its holder is written.
    let _naming = app.naming.hold(holders::names(&token)).await;
    holders::remember(&app, &token, holder).await?;
    let blank = |changing: &Changing| {
        let blank = Integration::blank(caller.tenant, channel, changing.now);
        Ok(Integration { is_active: true, ..blank })
    };
    let change = |integration: &mut Integration, changing: &mut Changing| {
        let before = counting_secret(integration).map(str::to_owned);
        integration.is_active = is_active.unwrap_or(integration.is_active);
        match draft.division_id {
            Change::Keep => {}
            Change::Clear => integration.division_id = None,
            Change::Set(division) => integration.division_id = Some(division),
        }
        account::merge(&mut integration.config, config);
        let known = changing.state.integrations.get(&id);
        let before = known.and(before);
        if before.as_deref() != counting_secret(integration) {
            forget_numbers(changing, channel);
        }
        Ok(())
    };
    crud::change_or_make(&app, &caller, id, Once::of(&caller, &key, digest), blank, change).await
}

async fn delete(
    State(app): State<App>,
    Me(caller): Me,
    Chosen(channel): Chosen,
    key: Key,
) -> Result<Json<Deleted>, ApiError> {
    let id = Integration::id_of(caller.tenant, channel);
    let goes = |integration: &Integration, changing: &mut Changing| {
        if counting_secret(integration).is_some() {
            forget_numbers(changing, channel);
        }
        Ok(())
    };
    let once = Once::of(&caller, &key, NO_BODY);
    crud::remove(&app, &caller, id, once, goes).await?;
    Ok(crud::deleted())
}

/// A token that Meta brings along is found by its value. One that is not new is known already.
fn token(given: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let token = account::text(given, "verify_token").filter(|token| *token != account::MASK);
    token.into_iter().map(|token| ("verify_token".to_owned(), token.into())).collect()
}

/// The secret that proves webhooks of those who have none of their own.
fn counting_secret(integration: &Integration) -> Option<&str> {
    integration.text("app_secret").filter(|_| integration.is_active)
}

/// The channel's accounts are proven otherwise from now on: that their number was seen by the proof
/// before says nothing any more.
fn forget_numbers(changing: &mut Changing, channel: Channel) {
    let accounts = changing.state.accounts.values().map(|account| &**account);
    let seen = accounts.filter(|account| {
        account.channel == channel && account.phone.is_some() && account.app_secret().is_none()
    });
    let seen: Vec<Account> = seen.cloned().collect();
    for mut account in seen {
        account.phone = None;
        account.touch(changing.now);
        changing.put(account);
    }
}
