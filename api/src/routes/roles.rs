//! Roles: what people at the desk may do.

use actors::tenants::{Caller, Changing, TenantState};
use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use engine::id::RoleId;
use engine::identity::role::{Role, permissions, role_name};
use engine::permission::{Permission, Permissions};
use engine::resource::{Change, Invalid, trimmed};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Access, Route, route};
use crate::app::App;
use crate::crud::{self, Deleted, New, Once, Shown};
use crate::error::ApiError;
use crate::extract::{Body, Id, Key, NO_BODY};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::RolesManage);
    let (all, one) = ("/api/roles", "/api/roles/{id}");
    let example = json!({"name": "Night shift", "permissions": ["conversations.view_all"]});
    vec![
        crud::list::<Role>(all, manage, "List all roles with permissions"),
        route(Method::POST, all, manage, "Create a custom role", create)
            .body::<Draft>(example)
            .answers::<RoleView>(201),
        crud::get::<Role>(one, manage, "Get a single role with permissions"),
        route(Method::DELETE, one, manage, "Delete a custom role", delete).answers::<Deleted>(200),
        route(Method::PATCH, one, manage, "Update a role", update)
            .body::<Patch>(json!({"permissions": ["conversations.view_all"]}))
            .answers::<RoleView>(200),
        route(Method::GET, "/api/permissions", manage, "List all available permissions", known)
            .answers::<Vec<PermissionView>>(200),
    ]
}

/// A named set of permissions.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Role")]
pub struct RoleView {
    id: RoleId,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Codes of what it allows.
    permissions: Vec<&'static str>,
    /// Whether it is there from the beginning and cannot be changed.
    is_system: bool,
    /// How many agents have it.
    agents: usize,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// Something a role may allow.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Permission")]
struct PermissionView {
    code: &'static str,
    /// What it allows.
    description: &'static str,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    #[schemars(length(min = 1, max = 200))]
    name: String,
    #[serde(default)]
    #[schemars(length(max = 1000))]
    description: Option<String>,
    permissions: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Patch {
    #[serde(default)]
    name: Change<String>,
    #[serde(default)]
    description: Change<String>,
    #[serde(default)]
    permissions: Change<Vec<String>>,
}

const DESCRIPTION_CHARS_MAX: usize = 1000;

impl Shown for Role {
    type View = RoleView;

    fn view(&self, _: &App, state: &TenantState) -> RoleView {
        RoleView {
            id: self.id,
            name: self.name.clone(),
            description: self.description.clone(),
            permissions: self.permissions.iter().map(Permission::code).collect(),
            is_system: self.is_system,
            agents: holders(state, self.id),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

async fn create(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(draft, digest): Body<Draft>,
) -> Result<(StatusCode, Json<RoleView>), ApiError> {
    let name = role_name(&draft.name)?;
    let description = draft.description.as_deref().map(description).transpose()?;
    let permissions = permissions("permissions", &draft.permissions)?;
    may_give(&caller, permissions)?;
    let new = New::<Role>::of(&app, &caller, key, digest);
    let id = new.id;
    let make = |changing: &mut Changing| {
        is_free(&changing.state, &name, id)?;
        let (created_at, updated_at) = (changing.now, changing.now);
        let is_system = false;
        Ok(Role { id, name, description, permissions, is_system, created_at, updated_at })
    };
    new.make(&app, &caller, app.config.limits.rows_per_tenant, make).await
}

async fn update(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<RoleId>,
    key: Key,
    Body(patch, digest): Body<Patch>,
) -> Result<Json<RoleView>, ApiError> {
    let new_name = patch.name.given("name")?.map(|text| role_name(&text)).transpose()?;
    let new_description = match patch.description {
        Change::Keep => None,
        Change::Clear => Some(None),
        Change::Set(text) => Some(Some(description(&text)?)),
    };
    let codes = patch.permissions.given("permissions")?;
    let new_permissions = codes.map(|codes| permissions("permissions", &codes)).transpose()?;
    let change = |role: &mut Role, changing: &mut Changing| {
        may_manage(&caller, role)?;
        if let Some(permissions) = new_permissions {
            may_give(&caller, permissions)?;
            role.permissions = permissions;
        }
        if let Some(name) = new_name {
            is_free(&changing.state, &name, id)?;
            role.name = name;
        }
        role.description = new_description.unwrap_or(role.description.take());
        Ok(())
    };
    crud::change(&app, &caller, id, (key, digest), change).await
}

async fn delete(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<RoleId>,
    key: Key,
) -> Result<Json<Deleted>, ApiError> {
    let refuse = |role: &Role, changing: &mut Changing| {
        may_manage(&caller, role)?;
        match holders(&changing.state, id) {
            0 => Ok(()),
            1 => {
                Err(ApiError::conflict("role_in_use", "give the agent with it another role first"))
            }
            n => {
                let message = format!("give the {n} agents with it another role first");
                Err(ApiError::conflict("role_in_use", message))
            }
        }
    };
    let once = Once::of(&caller, &key, NO_BODY);
    crud::remove(&app, &caller, id, once, refuse).await?;
    Ok(crud::deleted())
}

async fn known() -> Json<Vec<PermissionView>> {
    let view = |permission: &Permission| PermissionView {
        code: permission.code(),
        description: permission.allows(),
    };
    Json(Permission::ALL.iter().map(view).collect())
}

fn description(text: &str) -> Result<String, Invalid> {
    trimmed("description", text, DESCRIPTION_CHARS_MAX)
}

fn holders(state: &TenantState, role: RoleId) -> usize {
    state.agents.values().filter(|agent| agent.role_id == role).count()
}

fn is_free(state: &TenantState, name: &str, but: RoleId) -> Result<(), ApiError> {
    match state.role(name).filter(|role| role.id != but) {
        None => Ok(()),
        Some(_) => Err(ApiError::conflict("name_in_use", "another role has this name")),
    }
}

/// Nobody gives what they do not hold.
fn may_give(caller: &Caller, permissions: Permissions) -> Result<(), ApiError> {
    if caller.permissions.covers(permissions) {
        return Ok(());
    }
    Err(ApiError::forbidden("nobody gives a role that allows more than their own"))
}

/// Nobody changes what allows more than their own role, nor what is the system's.
fn may_manage(caller: &Caller, role: &Role) -> Result<(), ApiError> {
    if role.is_system {
        let message =
            "the roles `admin`, `supervisor` and `agent` stay as they are; make another one";
        return Err(ApiError::conflict("system_role", message));
    }
    if caller.permissions.covers(role.permissions) {
        return Ok(());
    }
    Err(ApiError::forbidden("nobody changes a role that allows more than their own"))
}
