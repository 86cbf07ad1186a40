//! People at the desk.

use actors::tenants::{Caller, Changing, TenantState};
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{Method, StatusCode};
use engine::conversation::Refused;
use engine::id::{AgentId, RoleId};
use engine::identity::agent::{Agent, Availability, Credential, email};
use engine::identity::role::{ADMIN, Role};
use engine::permission::Permission;
use engine::resource::Change;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::names::Name;
use uuid::Uuid;

use super::auth::claim_email;
use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Body, Id, Key, Listed, Page, Query};
use crate::guard::Me;
use crate::password;

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::AgentsManage);
    let draft = json!({"name": "Ana", "email": "ana@example.com", "password": "correct horse"});
    vec![
        route(Method::GET, "/api/agents", Access::Member, "List all agents", list)
            .query::<Paging>()
            .answers::<Vec<AgentView>>(200),
        route(Method::POST, "/api/agents", manage, "Create a new agent", create)
            .body::<Draft>(draft)
            .answers::<AgentView>(201),
        route(Method::GET, "/api/agents/{id}", Access::Member, "Get an agent by ID", get)
            .answers::<AgentView>(200),
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

/// Which page.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    pub page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    pub per_page: Option<usize>,
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

/// It is gone.
#[derive(Serialize, JsonSchema)]
pub struct Deleted {
    deleted: bool,
}

impl Deleted {
    /// It is gone.
    pub const YES: Self = Self { deleted: true };
}

impl AgentView {
    /// An agent as callers see it.
    pub fn of(agent: &Agent, state: &TenantState) -> Self {
        Self {
            id: agent.id,
            name: agent.name.clone(),
            email: agent.email.clone(),
            role: state
                .roles
                .get(&agent.role_id)
                .map_or_else(String::new, |role| role.name.clone()),
            role_id: agent.role_id,
            availability: agent.availability,
            is_active: agent.is_active,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }
}

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(paging): Query<Paging>,
) -> Result<Listed<AgentView>, ApiError> {
    let page = Page::of(paging.page, paging.per_page, &app)?;
    let state = state(&app, &caller).await?;
    let all = state.agents.values().skip(page.skip()).take(page.per_page);
    let items = all.map(|agent| AgentView::of(agent, &state)).collect();
    Ok(Listed { items, total: state.agents.len(), page, uri })
}

async fn get(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AgentId>,
) -> Result<Json<AgentView>, ApiError> {
    shown(&app, &caller, id).await
}

async fn create(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(draft, digest): Body<Draft>,
) -> Result<(StatusCode, Json<AgentView>), ApiError> {
    let name = name(draft.name)?;
    let email = email(&draft.email)?;
    let password_hash = password::hash(&app, "password", draft.password).await?;
    let derived = key.derived(caller.agent.0, "POST /api/agents");
    let id = AgentId(derived.unwrap_or_else(|| app.tenants.id()));
    let _naming = app.naming.lock().await;
    claim_email(&app, &email, (caller.tenant, id), "email").await?;
    let most = app.config.limits.agents_per_tenant;
    let role = draft.role.unwrap_or_else(|| "agent".to_owned());
    app.tenants
        .change(caller.tenant, |changing| {
            if is_done(changing, derived, digest)? {
                return Ok(());
            }
            if most > 0 && changing.state.agents.len() >= most {
                let message = format!("an organization has at most {most} agents");
                return Err(ApiError::conflict("too_many_agents", message));
            }
            let role_id = role_for(&changing.state, &caller, &role)?.id;
            let now = changing.now;
            changing.put_credential(Credential { agent: id, password_hash, sessions_since: now });
            changing.put_agent(Agent {
                id,
                name,
                email,
                role_id,
                availability: Availability::Offline,
                is_active: true,
                rev: 1,
                created_at: now,
                updated_at: now,
            });
            Ok(())
        })
        .await?;
    Ok((StatusCode::CREATED, shown(&app, &caller, id).await?))
}

async fn update(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AgentId>,
    key: Key,
    Body(patch, digest): Body<Patch>,
) -> Result<Json<AgentView>, ApiError> {
    if !state(&app, &caller).await?.agents.contains_key(&id) {
        return Err(ApiError::not_found("agent"));
    }
    let new_name = given(patch.name, "name")?.map(name).transpose()?;
    let new_email = given(patch.email, "email")?.map(|text| email(&text)).transpose()?;
    let new_hash = match given(patch.password, "password")? {
        Some(password) => Some(password::hash(&app, "password", password).await?),
        None => None,
    };
    let new_role = given(patch.role, "role")?;
    let new_active = given(patch.is_active, "is_active")?;
    let once = key.derived(caller.agent.0, &format!("PATCH /api/agents/{id}"));
    let _naming = app.naming.lock().await;
    if let Some(email) = &new_email {
        claim_email(&app, email, (caller.tenant, id), "email").await?;
    }
    let old_email = app
        .tenants
        .change(caller.tenant, |changing| {
            let agent = changing.state.agents.get(&id).cloned();
            let mut agent = agent.ok_or_else(|| ApiError::not_found("agent"))?;
            may_manage(&changing.state, &caller, &agent)?;
            if is_done(changing, once, digest)? {
                return Ok(None);
            }
            if let Some(role) = &new_role {
                agent.role_id = role_for(&changing.state, &caller, role)?.id;
            }
            let old_email = agent.email.clone();
            agent.name = new_name.unwrap_or(agent.name);
            agent.email = new_email.clone().unwrap_or(agent.email);
            agent.is_active = new_active.unwrap_or(agent.is_active);
            keep_an_admin(&changing.state, Some(&agent), id)?;
            agent.rev += 1;
            agent.updated_at = changing.now;
            let ends = new_hash.is_some() || new_active == Some(false);
            if let Some(credential) = changing.state.credential(id).filter(|_| ends) {
                let mut credential = (**credential).clone();
                // A login of this very millisecond is one from before.
                credential.sessions_since = changing.now + std::time::Duration::from_millis(1);
                credential.password_hash = new_hash.unwrap_or(credential.password_hash);
                changing.put_credential(credential);
            }
            changing.put_agent(agent);
            Ok(Some(old_email))
        })
        .await?;
    if let Some(old) = old_email.filter(|old| new_email.is_some_and(|new| new != *old)) {
        let old = Name::global("email", &old);
        app.tenants.names().release(&old, &(caller.tenant, id)).await?;
    }
    shown(&app, &caller, id).await
}

async fn delete(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AgentId>,
) -> Result<Json<Deleted>, ApiError> {
    if id == caller.agent {
        return Err(ApiError::conflict("own_account", "nobody deletes their own account"));
    }
    let email = app
        .tenants
        .change(caller.tenant, |changing| {
            let agent = changing.state.agents.get(&id).cloned();
            let agent = agent.ok_or_else(|| ApiError::not_found("agent"))?;
            may_manage(&changing.state, &caller, &agent)?;
            keep_an_admin(&changing.state, None, id)?;
            changing.delete_agent(id);
            Ok(agent.email)
        })
        .await?;
    let name = Name::global("email", &email);
    app.tenants.names().release(&name, &(caller.tenant, id)).await?;
    Ok(Json(Deleted::YES))
}

async fn set_availability(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<AgentId>,
    key: Key,
    Body(status, digest): Body<Status>,
) -> Result<Json<AgentView>, ApiError> {
    let once = key.derived(caller.agent.0, &format!("PATCH /api/agents/{id}/status"));
    app.tenants
        .change(caller.tenant, |changing| {
            let agent = changing.state.agents.get(&id).cloned();
            let mut agent = agent.ok_or_else(|| ApiError::not_found("agent"))?;
            if id != caller.agent && !caller.permissions.has(Permission::AgentsManage) {
                let message = "only managers of agents change somebody else's availability";
                return Err(ApiError::forbidden(message));
            }
            if !is_done(changing, once, digest)? && agent.availability != status.availability {
                agent.availability = status.availability;
                agent.rev += 1;
                agent.updated_at = changing.now;
                changing.put_agent(agent);
            }
            Ok(())
        })
        .await?;
    shown(&app, &caller, id).await
}

/// The tenant's settings as they are.
pub async fn state(app: &App, caller: &Caller) -> Result<std::sync::Arc<TenantState>, ApiError> {
    app.tenants.state(caller.tenant).await?.ok_or_else(ApiError::unauthorized)
}

async fn shown(app: &App, caller: &Caller, id: AgentId) -> Result<Json<AgentView>, ApiError> {
    let state = state(app, caller).await?;
    let agent = state.agents.get(&id).ok_or_else(|| ApiError::not_found("agent"))?;
    Ok(Json(AgentView::of(agent, &state)))
}

/// A field that may be left out but not cleared.
pub fn given<T>(change: Change<T>, field: &str) -> Result<Option<T>, ApiError> {
    match change {
        Change::Keep => Ok(None),
        Change::Set(value) => Ok(Some(value)),
        Change::Clear => Err(ApiError::invalid(field, "must not be null")),
    }
}

fn name(name: String) -> Result<String, ApiError> {
    let name = name.trim().to_owned();
    if name.is_empty() || name.chars().count() > 200 {
        return Err(ApiError::invalid("name", "must have 1 to 200 characters"));
    }
    Ok(name)
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
    let others = state.agents.values().filter(|agent| agent.id != id);
    let mut after = others.chain(changed);
    if after.any(|agent| agent.role_id == ADMIN && agent.is_active) {
        return Ok(());
    }
    Err(ApiError::conflict("last_admin", "an organization keeps at least one active admin"))
}

/// Whether what carries this key is done already; otherwise it is from now on.
pub fn is_done(
    changing: &mut Changing,
    once: Option<Uuid>,
    digest: [u8; 16],
) -> Result<bool, ApiError> {
    let Some(once) = once else { return Ok(false) };
    changing.used(once, digest).map_err(|_| Refused::KeyReused.into())
}
