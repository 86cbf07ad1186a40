//! API keys: logins of programs, each of the agent who made it.

use actors::tenants::{Changing, TenantState};
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{Method, StatusCode};
use engine::id::ApiKeyId;
use engine::identity::api_key::{ApiKey, text};
use engine::identity::role::permissions;
use engine::permission::{Permission, Permissions};
use engine::resource::{Resource, name};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Access, Route, route};
use crate::app::App;
use crate::crud::{self, Deleted, New, Once, Shown};
use crate::error::ApiError;
use crate::extract::{Body, Id, Key, Listed, NO_BODY, Page, Paging, Query};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let developer = Access::Permission(Permission::DeveloperAccess);
    let (all, one) = ("/api/api-keys", "/api/api-keys/{id}");
    vec![
        route(Method::GET, all, developer, "List caller's API keys", list)
            .query::<Paging>()
            .answers::<Vec<KeyView>>(200),
        route(Method::POST, all, developer, "Create a new API key", create)
            .body::<Draft>(json!({"name": "ERP"}))
            .answers::<Made>(201),
        route(Method::DELETE, one, developer, "Revoke an API key", delete).answers::<Deleted>(200),
    ]
}

/// A program's login.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub struct KeyView {
    id: ApiKeyId,
    name: String,
    /// How the key begins. The rest of it was shown once.
    prefix: String,
    /// Codes of what it allows, as far as its maker may do it; without them it allows all that.
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// To the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A new key.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewApiKey")]
struct Made {
    #[serde(flatten)]
    made: KeyView,
    /// The whole key, for the header `X-API-Key`. It is never shown again.
    key: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    #[schemars(length(min = 1, max = 200))]
    name: String,
    /// Codes of what it may do; without them all that its maker may do, also later.
    #[serde(default)]
    permissions: Option<Vec<String>>,
    /// Without it the key has no end, or that of the key that makes it.
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

impl Shown for ApiKey {
    type View = KeyView;

    fn view(&self, _: &App, _: &TenantState) -> KeyView {
        let codes = |allowed: Permissions| allowed.iter().map(Permission::code).collect();
        KeyView {
            id: self.id,
            name: self.name.clone(),
            prefix: self.prefix(),
            permissions: self.permissions.map(codes),
            expires_at: self.expires_at,
            last_used_at: self.last_used_at,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(paging): Query<Paging>,
) -> Result<Listed<KeyView>, ApiError> {
    let page = Page::of(paging.page, paging.per_page, &app)?;
    crud::listed(&app, &caller, page, uri, |key: &ApiKey| key.agent == caller.agent).await
}

async fn create(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(draft, digest): Body<Draft>,
) -> Result<(StatusCode, Json<Made>), ApiError> {
    let (name, expires_at) = (name("name", &draft.name)?, draft.expires_at);
    if expires_at.is_some_and(|at| at <= app.tenants.now()) {
        return Err(ApiError::invalid("expires_at", "must lie ahead"));
    }
    let codes = draft.permissions.as_deref();
    let asked = codes.map(|codes| permissions("permissions", codes)).transpose()?;
    if asked.is_some_and(|asked| !caller.permissions.covers(asked)) {
        return Err(ApiError::forbidden("nobody makes a key that allows more than they may do"));
    }
    // What a key makes never allows more than it does itself, nor for longer.
    let permissions = asked.or(caller.key.map(|_| caller.permissions));
    let secret = app.tenants.secret();
    let new = New::<ApiKey>::of(&app, &caller, key, digest);
    let (id, agent, mut is_new) = (new.id, caller.agent, false);
    let most = app.config.limits.api_keys_per_agent;
    let make = |changing: &mut Changing| {
        let of_agent = |key: &&std::sync::Arc<ApiKey>| key.agent == agent;
        if changing.state.api_keys.values().filter(of_agent).count() >= most {
            let message = format!("an agent has at most {most} keys; revoke one that is not used");
            return Err(ApiError::conflict("too_many", message));
        }
        let maker = caller.key.and_then(|key| changing.state.api_keys.get(&key));
        let end = maker.and_then(|maker| maker.expires_at);
        if end.zip(expires_at).is_some_and(|(end, asked)| asked > end) {
            let message = "must not lie behind the end of the key that makes this one";
            return Err(ApiError::invalid("expires_at", message));
        }
        is_new = true;
        let expires_at = expires_at.or(end);
        let key = ApiKey::made(id, agent, name, &secret, changing.now);
        Ok(ApiKey { permissions, expires_at, ..key })
    };
    let (status, Json(made)) = new.make(&app, &caller, 0, make).await?;
    if !is_new {
        let message = "this key was made before and is not shown again; revoke it and make another";
        return Err(ApiError::conflict("shown_once", message));
    }
    Ok((status, Json(Made { made, key: text(id, &secret) })))
}

async fn delete(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ApiKeyId>,
    key: Key,
) -> Result<Json<Deleted>, ApiError> {
    let is_own = |key: &ApiKey, _: &mut Changing| match key.agent == caller.agent {
        true => Ok(()),
        false => Err(ApiError::not_found(ApiKey::NAME)),
    };
    let once = Once::of(&caller, &key, NO_BODY);
    crud::remove(&app, &caller, id, once, is_own).await?;
    Ok(crud::deleted())
}
