//! People at the desk.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::tenants::{Caller, Changing, TenantState};
use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use engine::id::{AgentId, RoleId, TenantId};
use engine::identity::agent::{Agent, Availability, Credential, email};
use engine::identity::api_key::ApiKey;
use engine::identity::role::{ADMIN, Role};
use engine::permission::Permission;
use engine::resource::{Change, Resource, name};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::names::Name;

use super::auth::{claim_email, email_name};
use super::{Access, Route, route};
use crate::app::App;
use crate::crud::{self, Deleted, New, Once, Shown, state};
use crate::error::ApiError;
use crate::extract::{Body, Id, Key, NO_BODY};
use crate::guard::Me;
use crate::password::{self, Who};

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::AgentsManage);
    let draft = json!({"name": "Ana", "email": "ana@example.com", "password": "correct horse"});
    vec![
        crud::list::<Agent>("/api/agents", Access::Member, "List all agents"),
        route(Method::POST, "/api/agents", manage, "Create a new agent", create)
            .body::<Draft>(draft)
            .answers::<AgentView>(201),
        crud::get::<Agent>("/api/agents/{id}", Access::Member, "Get an agent by ID"),
        route(Method::PATCH, "/api/agents/{id}", manage, "Update an agent", update)
            .body::<Patch>(json!({"name": "Ana"}))
            .answers::<AgentView>(200),
        route(Method::DELETE, "/api/agents/{id}", manage, "Delete an agent", delete)
            .answers::<Deleted>(200),
        route(
            Method::PATCH,
            "/api/agents/{id}/status",
            Access::Member,
            "Toggle agent online/offline status",
            set_availability,
        )
        .body::<Status>(json!({"availability": "online"}))
        .answers::<AgentView>(200),
    ]
}

/// A person at the desk.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Agent")]
pub struct AgentView {
    id: AgentId,
    name: String,
    email: String,
    /// The role's name.
    role: String,
    role_id: RoleId,
    availability: Availability,
    is_active: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    name: String,
    #[schemars(extend("format" = "email"))]
    email: String,
    #[schemars(length(min = 6))]
    password: String,
    /// A role's name or id; without it `agent`.
    #[serde(default)]
    role: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Patch {
    #[serde(default)]
    name: Change<String>,
    #[serde(default)]
    #[schemars(extend("format" = "email"))]
    email: Change<String>,
    /// Ends all logins of the agent.
    #[serde(default)]
    password: Change<String>,
    /// A role's name or id.
    #[serde(default)]
    role: Change<String>,
    /// `false` ends all logins of the agent.
    #[serde(default)]
    is_active: Change<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Status {
    availability: Availability,
}

impl AgentView {
    /// An agent as callers see it.
    pub fn of(agent: &Agent, state: &TenantState) -> Self {
        let role = state.roles.get(&agent.role_id).map(|role| role.name.clone());
        Self {
            id: agent.id,
            name: agent.name.clone(),
            email: agent.email.clone(),
            role: role.unwrap_or_default(),
            role_id: agent.role_id,
            availability: agent.availability,
            is_active: agent.is_active,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }
}

impl Shown for Agent {
    type View = AgentView;

    fn view(&self, _: &App, state: &TenantState) -> AgentView {
        AgentView::of(self, state)
    }

    fn secrets(&self, state: &TenantState) -> BTreeMap<String, String> {
        let secret = state.credential(self.id).map(|secret| secret.password_hash.clone());
        secret.into_iter().map(|hash| ("password".to_owned(), hash)).collect()
    }
}

async fn create(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(draft, digest): Body<Draft>,
) -> Result<(StatusCode, Json<AgentView>), ApiError> {
    let name = name("name", &draft.name)?;
    let email = email(&draft.email)?;
    let role = draft.role.unwrap_or_else(|| "agent".to_owned());
    // Once more below; here, since a password takes long.
    role_for(&*state(&app, &caller).await?, &caller, &role)?;
    let who = Who::Tenant(caller.tenant);
    let password_hash = password::hash(&app, who, "password", draft.password).await?;
    let new = New::<Agent>::of(&app, &caller, key, digest);
    let id = new.id;
    let _naming = app.naming.hold([email_name(&email)]).await;
    claim_email(&app, &email, (caller.tenant, id), "email").await?;
    let make = |changing: &mut Changing| {
        let role_id = role_for(&changing.state, &caller, &role)?.id;
        let now = changing.now;
        changing.put_credential(Credential { agent: id, password_hash, sessions_since: now });
        Ok(Agent {
            id,
            name,
            email,
            role_id,
            availability: Availability::Offline,
            is_active: true,
            rev: 1,
            created_at: now,
            updated_at: now,
        })
    };
    new.make(&app, &caller, app.config.limits.agents_per_tenant, make).await
}

async fn update(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AgentId>,
    key: Key,
    Body(patch, digest): Body<Patch>,
) -> Result<Json<AgentView>, ApiError> {
    let before = state(&app, &caller).await?;
    let known = before.agents.get(&id).ok_or_else(|| ApiError::not_found(Agent::NAME))?;
    may_manage(&before, &caller, known)?;
    let new_name = patch.name.given("name")?.map(|text| name("name", &text)).transpose()?;
    let new_email = patch.email.given("email")?.map(|text| email(&text)).transpose()?;
    let new_hash = match patch.password.given("password")? {
        Some(password) => {
            let who = Who::Tenant(caller.tenant);
            Some(password::hash(&app, who, "password", password).await?)
        }
        None => None,
    };
    let new_role = patch.role.given("role")?;
    let new_active = patch.is_active.given("is_active")?;
    // Of one agent, too: which address it leaves is known only when it has the other.
    let names = new_email.iter().flat_map(|email| [email_name(email), own_name(&caller, id)]);
    let _naming = app.naming.hold(names).await;
    if let Some(email) = &new_email {
        claim_email(&app, email, (caller.tenant, id), "email").await?;
    }
    let (mut left, mut forgiven) = (None, None);
    let change = |agent: &mut Agent, changing: &mut Changing| {
        may_manage(&changing.state, &caller, agent)?;
        if let Some(role) = &new_role {
            agent.role_id = role_for(&changing.state, &caller, role)?.id;
        }
        agent.name = new_name.unwrap_or_else(|| agent.name.clone());
        if let Some(email) = new_email.filter(|new| *new != agent.email) {
            left = Some(std::mem::replace(&mut agent.email, email));
        }
        agent.is_active = new_active.unwrap_or(agent.is_active);
        keep_an_admin(&changing.state, Some(agent), id)?;
        forgiven = new_hash.is_some().then(|| agent.email.clone());
        let ends = new_hash.is_some() || new_active == Some(false);
        if let Some(credential) = changing.state.credential(id).filter(|_| ends) {
            let mut credential = (**credential).clone();
            // A login of this very millisecond is one from before.
            let since = changing.now.max(credential.sessions_since);
            credential.sessions_since = since + Duration::from_millis(1);
            credential.password_hash = new_hash.unwrap_or(credential.password_hash);
            changing.put_credential(credential);
        }
        Ok(())
    };
    let changed = crud::change(&app, &caller, id, (key, digest), change).await?;
    if let Some(email) = forgiven {
        app.login_limits.forgive(&email);
    }
    if let Some(email) = left {
        release_email(&app, &email, (caller.tenant, id)).await?;
    }
    Ok(changed)
}

async fn delete(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AgentId>,
    key: Key,
) -> Result<Json<Deleted>, ApiError> {
    if id == caller.agent {
        return Err(ApiError::conflict("own_account", "nobody deletes their own account"));
    }
    let refuse = |agent: &Agent, changing: &mut Changing| {
        may_manage(&changing.state, &caller, agent)?;
        keep_an_admin(&changing.state, None, id)?;
        changing.delete_credential(id);
        let keys = changing.state.api_keys.values().filter(|key| key.agent == id);
        let keys: Vec<_> = keys.map(|key| key.id).collect();
        keys.into_iter().for_each(|key| changing.delete::<ApiKey>(key));
        Ok(())
    };
    let once = Once::of(&caller, &key, NO_BODY);
    if let Some(agent) = crud::remove(&app, &caller, id, once, refuse).await? {
        release_email(&app, &agent.email, (caller.tenant, id)).await?;
    }
    Ok(crud::deleted())
}

async fn set_availability(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AgentId>,
    key: Key,
    Body(status, digest): Body<Status>,
) -> Result<Json<AgentView>, ApiError> {
    let change = |agent: &mut Agent, _: &mut Changing| {
        if id != caller.agent && !caller.permissions.has(Permission::AgentsManage) {
            let message = "only managers of agents change somebody else's availability";
            return Err(ApiError::forbidden(message));
        }
        agent.availability = status.availability;
        Ok(())
    };
    crud::change(&app, &caller, id, (key, digest), change).await
}

/// Somebody says that they take work, or do not. That it could not be written is shown by what is
/// not told.
pub async fn is_available(app: &App, caller: &Caller, availability: Availability) {
    let change = |agent: &mut Agent, _: &mut Changing| {
        agent.availability = availability;
        Ok(())
    };
    let once = (Key::none(), NO_BODY);
    if let Err(error) = crud::change(app, caller, caller.agent, once, change).await {
        tracing::debug!(?error, "an availability was not changed");
    }
}

/// By which an agent is held while its address changes.
fn own_name(caller: &Caller, agent: AgentId) -> Name {
    Name { scope: caller.tenant.0, kind: "agent".to_owned(), name: agent.to_string() }
}

async fn release_email(app: &App, email: &str, agent: (TenantId, AgentId)) -> Result<(), ApiError> {
    Ok(app.tenants.names().release(&email_name(email), &agent).await?)
}

/// Nobody gives a role that holds what they do not.
fn role_for<'a>(state: &'a TenantState, caller: &Caller, role: &str) -> Result<&'a Role, ApiError> {
    let role = state
        .role(role)
        .ok_or_else(|| ApiError::invalid("role", "must be the name or id of a role"))?;
    if !caller.permissions.covers(role.permissions) {
        return Err(ApiError::forbidden("nobody gives a role that allows more than their own"));
    }
    Ok(role)
}

/// Nobody changes somebody who may do more than they.
fn may_manage(state: &TenantState, caller: &Caller, agent: &Agent) -> Result<(), ApiError> {
    if caller.permissions.covers(state.permissions(agent)) {
        return Ok(());
    }
    Err(ApiError::forbidden("nobody changes an agent whose role allows more than their own"))
}

/// An organization keeps at least one active admin.
fn keep_an_admin(
    state: &TenantState,
    changed: Option<&Agent>,
    id: AgentId,
) -> Result<(), ApiError> {
    let others = state.agents.values().map(|agent| &**agent).filter(|agent| agent.id != id);
    let mut after = others.chain(changed);
    if after.any(|agent| agent.role_id == ADMIN && agent.is_active) {
        return Ok(());
    }
    Err(ApiError::conflict("last_admin", "an organization keeps at least one active admin"))
}
