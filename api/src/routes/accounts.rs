//! Integration accounts: a tenant's connections on channels.

use std::collections::BTreeMap;

use actors::tenants::{Changing, TenantState};
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{Method, StatusCode};
use engine::account::{self, Account, AccountStatus};
use engine::channel::Channel;
use engine::id::{AccountId, DivisionId};
use engine::news::Notice;
use engine::permission::Permission;
use engine::resource::Change;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Access, Route, route};
use crate::app::App;
use crate::connect::{Changes, Connection, change, connect, disconnect, no_default, setup};
use crate::crud::{self, Deleted, New, Once, Shown};
use crate::error::ApiError;
use crate::extract::{Body, Id, Key, Listed, NO_BODY, Page, Query};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::IntegrationsManage);
    let config = json!({
        "phone_number_id": "7001", "waba_id": "9001", "access_token": "a token", "app_secret": "a secret",
    });
    let draft = json!({"channel": "whatsapp", "display_name": "Shop", "config": config});
    let one = "/api/integrations/accounts/{id}";
    vec![
        route(Method::GET, "/api/integrations/accounts", manage, "List integration accounts", list)
            .query::<ListQuery>()
            .answers::<Vec<AccountView>>(200),
        route(
            Method::POST,
            "/api/integrations/accounts",
            manage,
            "Create an integration account",
            create,
        )
        .lasts()
        .body::<Draft>(draft)
        .answers::<AccountView>(201),
        crud::get::<Account>(one, manage, "Get an integration account by ID"),
        route(Method::PATCH, one, manage, "Update an integration account", update)
            .lasts()
            .body::<Patch>(json!({"display_name": "Shop"}))
            .answers::<AccountView>(200),
        route(Method::DELETE, one, manage, "Delete an integration account", delete)
            .lasts()
            .answers::<Deleted>(200),
        route(
            Method::POST,
            "/api/integrations/accounts/{id}/default",
            manage,
            "Set an integration account as the default for its channel",
            make_default,
        )
        .answers::<AccountView>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default)]
    channel: Option<Channel>,
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    per_page: Option<usize>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    channel: Channel,
    /// The account's id in the config (`phone_number_id`, `ig_user_id`, `page_id`); may be left out.
    #[serde(default)]
    account_key: Option<String>,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    is_active: Option<bool>,
    #[serde(default)]
    is_default: Option<bool>,
    #[serde(default)]
    division_id: Option<DivisionId>,
    /// For WhatsApp `phone_number_id`, `waba_id`, `access_token`, and optionally `app_secret`,
    /// `verify_token`, `pin`, `send_read_marks`; for Instagram `ig_user_id`, for Messenger `page_id`,
    /// each with `access_token`, and optionally `app_secret`, `verify_token`, `send_read_marks`; for email
    /// `address`, and optionally `webhook_secret`, `provider`, `smtp_url` (by which mails are sent),
    /// `sender_name`, and `api_token` of Resend.
    config: BTreeMap<String, Value>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Patch {
    #[serde(default)]
    display_name: Change<String>,
    #[serde(default)]
    is_active: Change<bool>,
    #[serde(default)]
    division_id: Change<DivisionId>,
    /// Merged: null removes a key, a secret in its masked form stays.
    #[serde(default)]
    config: Change<BTreeMap<String, Value>>,
}

/// A connection, its secrets masked.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IntegrationAccount")]
pub struct AccountView {
    id: AccountId,
    channel: Channel,
    account_key: String,
    display_name: String,
    is_active: bool,
    is_default: bool,
    status: AccountStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<String>,
    /// The provider would refuse every message: none is sent.
    paused: bool,
    /// When that is over by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_until: Option<Timestamp>,
    /// When the access token ends, where the provider tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_expires_at: Option<Timestamp>,
    /// The number itself, as digits, once it was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    /// How many people may be written to first in a day, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    messaging_limit: Option<String>,
    /// What the provider said of the account lately, the newest first.
    notices: Vec<Notice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    division_id: Option<DivisionId>,
    config: BTreeMap<String, Value>,
    /// Where the provider is to send its webhooks.
    webhook_url: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Listed<AccountView>, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let fits = |account: &Account| query.channel.is_none_or(|channel| channel == account.channel);
    crud::listed(&app, &caller, page, uri, fits).await
}

async fn create(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(draft, digest): Body<Draft>,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    let setup = setup(draft.channel)?;
    let account_key = setup.account_key(&draft.config)?;
    if draft.account_key.is_some_and(|given| given != account_key) {
        let message = format!("must be the config's `{}`, or be left out", setup.key);
        return Err(ApiError::invalid("account_key", message));
    }
    let connection = Connection {
        display_name: draft.display_name,
        is_active: draft.is_active,
        is_default: draft.is_default,
        division_id: draft.division_id,
        ..Connection::of(draft.channel, draft.config)
    };
    connect(&app, &caller, New::of(&app, &caller, key, digest), connection).await
}

async fn update(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AccountId>,
    key: Key,
    Body(patch, digest): Body<Patch>,
) -> Result<Json<AccountView>, ApiError> {
    let changes = Changes {
        display_name: patch.display_name.given("display_name")?,
        is_active: patch.is_active.given("is_active")?,
        division_id: patch.division_id,
        config: patch.config.given("config")?,
        ..Changes::default()
    };
    change(&app, &caller, id, changes, Once::of(&caller, &key, digest)).await
}

async fn delete(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AccountId>,
    key: Key,
) -> Result<Json<Deleted>, ApiError> {
    disconnect(&app, &caller, id, Once::of(&caller, &key, NO_BODY)).await?;
    Ok(crud::deleted())
}

async fn make_default(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AccountId>,
    key: Key,
) -> Result<Json<AccountView>, ApiError> {
    let change = |account: &mut Account, changing: &mut Changing| {
        if !account.is_default {
            no_default(changing, account.channel);
            account.is_default = true;
        }
        Ok(())
    };
    crud::change(&app, &caller, id, (key, NO_BODY), change).await
}

impl Shown for Account {
    type View = AccountView;

    fn view(&self, app: &App, _: &TenantState) -> AccountView {
        let webhook = self.channel.setup().map_or("/webhook", |setup| setup.webhook);
        let now = app.tenants.now();
        let (status, status_detail) = self.shown_standing(app.config.limits.token_warning, now);
        AccountView {
            id: self.id,
            channel: self.channel,
            account_key: self.account_key.clone(),
            display_name: self.display_name.clone(),
            is_active: self.is_active,
            is_default: self.is_default,
            status,
            status_detail,
            paused: self.is_paused(now),
            paused_until: self.paused_until.filter(|until| now < *until),
            token_expires_at: self.token_until,
            phone: self.phone.clone(),
            messaging_limit: self.heard.messaging_limit.clone(),
            notices: self.heard.notices.clone(),
            division_id: self.division_id,
            config: self.masked_config(),
            webhook_url: format!("{}{}", app.public_url, webhook),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    fn secrets(&self, _: &TenantState) -> BTreeMap<String, String> {
        account::secrets(&self.config)
    }
}
