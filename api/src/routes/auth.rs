//! Logging in and out, and founding an organization.

use actors::tenants::Caller;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse};
use engine::id::{AgentId, SessionId, TenantId};
use engine::identity::agent::{Agent, Availability, Credential, email};
use engine::identity::role;
use engine::resource;
use engine::tenant::{Tenant, TenantStatus, slug};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::names::Name;

use super::agents::AgentView;
use super::{Access, Route, route};
use crate::app::App;
use crate::crud;
use crate::error::ApiError;
use crate::extract::{Address, Body};
use crate::guard::{COOKIE, Me};
use crate::password::{self, Who};
use crate::token;

pub fn routes() -> Vec<Route> {
    let credentials = json!({"email": "ana@example.com", "password": "correct horse"});
    let founding = json!({
        "org_name": "Example", "admin_email": "new@example.com", "admin_password": "correct horse",
    });
    vec![
        route(
            Method::POST,
            "/api/auth/login",
            Access::Public,
            "Login with email and password",
            login,
        )
        .body::<Login>(credentials)
        .answers::<LoggedIn>(200),
        route(Method::GET, "/api/auth/me", Access::Session, "Get current agent profile", me)
            .answers::<Profile>(200),
        route(Method::POST, "/api/auth/logout", Access::Session, "Logout (clears cookie)", logout)
            .answers::<Said>(200),
        route(
            Method::GET,
            "/api/auth/token",
            Access::Session,
            "Issue a fresh JWT for the current session",
            fresh_token,
        )
        .answers::<Token>(200),
        route(
            Method::POST,
            "/api/auth/register",
            Access::Public,
            "Register a new tenant organization",
            register,
        )
        .body::<Register>(founding)
        .answers::<Registered>(201),
    ]
}

/// So many organizations of one name have a small number in their slugs.
const SLUGS_NUMBERED: usize = 10;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    #[schemars(extend("format" = "email"))]
    email: String,
    #[schemars(length(min = 1))]
    password: String,
}

/// A login's token and whose it is.
#[derive(Serialize, JsonSchema)]
struct LoggedIn {
    token: String,
    agent: Profile,
}

/// The caller.
#[derive(Serialize, JsonSchema)]
struct Profile {
    #[serde(flatten)]
    agent: AgentView,
    /// Codes of what the role allows.
    permissions: Vec<&'static str>,
    org_id: TenantId,
}

#[derive(Serialize, JsonSchema)]
struct Token {
    token: String,
    /// Seconds until it is over.
    expires_in: u64,
}

/// What was done, in words.
#[derive(Serialize, JsonSchema)]
pub struct Said {
    pub message: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Register {
    org_name: String,
    #[schemars(extend("format" = "email"))]
    admin_email: String,
    #[schemars(length(min = 6))]
    admin_password: String,
}

#[derive(Serialize, JsonSchema)]
struct Registered {
    token: String,
    org_id: TenantId,
    message: String,
}

async fn login(
    State(app): State<App>,
    Address(address): Address,
    Body(body, _): Body<Login>,
) -> Result<impl IntoResponse, ApiError> {
    if body.password.is_empty() {
        return Err(ApiError::invalid("password", "must not be empty"));
    }
    let (email, now) = (email(&body.email)?, app.tenants.now());
    let locked = |wait| {
        ApiError::too_many("too many failed logins; wait, or ask an admin for a new password", wait)
    };
    app.login_limits.check(&email, address, now).map_err(locked)?;
    let held = app.tenants.names().get::<(TenantId, AgentId)>(&email_name(&email)).await?;
    let state = match held {
        Some((tenant, _)) => app.tenants.state(tenant).await?,
        None => None,
    };
    let agent = held.zip(state.as_ref()).and_then(|((_, id), state)| state.agents.get(&id));
    // A claim may have come to nothing, or be of an address that the agent had before.
    let agent = agent.filter(|agent| agent.email == email);
    let hash = agent.and_then(|agent| state.as_ref()?.credential(agent.id));
    let hash = hash.map(|credential| credential.password_hash.clone());
    let fits = password::fits(&app, Who::Address(address), hash.clone(), body.password).await?;
    let agent = agent.filter(|agent| fits && agent.is_active);
    app.login_limits.tried(&email, address, agent.is_some(), now).map_err(locked)?;
    let wrong = || {
        let message = "the email address or the password is wrong";
        ApiError::new(StatusCode::UNAUTHORIZED, "wrong_credentials", message)
    };
    let (Some(agent), Some((tenant, _)), Some(hash)) = (agent, held, hash) else {
        return Err(wrong());
    };
    // The password may be another one since its hash was read.
    let at = app.tenants.login_at(tenant, agent.id, &hash).await?.ok_or_else(wrong)?;
    let (cookie, token, caller) = open(&app, tenant, agent.id, at).await?;
    let agent = profile(&app, &caller).await?;
    Ok((AppendHeaders([cookie]), Json(LoggedIn { token, agent })))
}

async fn me(State(app): State<App>, Me(caller): Me) -> Result<Json<Profile>, ApiError> {
    profile(&app, &caller).await.map(Json)
}

async fn logout(State(app): State<App>, Me(caller): Me) -> Result<impl IntoResponse, ApiError> {
    app.tenants.end_session(caller.session).await?;
    let said = Said { message: "logged out".to_owned() };
    Ok((AppendHeaders([cookie(&app, "", 0)]), Json(said)))
}

async fn fresh_token(State(app): State<App>, Me(caller): Me) -> Result<Json<Token>, ApiError> {
    let ttl = app.config.auth.token_ttl;
    let token = token::issue(&app.jwt, caller.session, app.tenants.now(), ttl)?;
    Ok(Json(Token { token, expires_in: ttl.as_secs() }))
}

async fn register(
    State(app): State<App>,
    Address(address): Address,
    Body(body, _): Body<Register>,
) -> Result<impl IntoResponse, ApiError> {
    app.login_limits.register(address, app.tenants.now()).map_err(|wait| {
        ApiError::too_many("too many new organizations from this address; wait a minute", wait)
    })?;
    let (who, name) = (Who::Address(address), "Admin".to_owned());
    let (tenant, admin) =
        found(&app, who, body.org_name, name, body.admin_email, body.admin_password).await?;
    let (cookie, token, _) = open(&app, tenant, admin, app.tenants.now()).await?;
    let message = "the organization is ready".to_owned();
    let registered = Registered { token, org_id: tenant, message };
    Ok((StatusCode::CREATED, AppendHeaders([cookie]), Json(registered)))
}

/// Founds an organization with its first admin.
pub async fn found(
    app: &App,
    who: Who,
    org_name: String,
    name: String,
    address: String,
    password: String,
) -> Result<(TenantId, AgentId), ApiError> {
    let org_name = resource::name("org_name", &org_name)?;
    let email = email(&address)
        .map_err(|_| ApiError::invalid("admin_email", "must be an email address"))?;
    let password_hash = password::hash(app, who, "admin_password", password).await?;
    let (tenants, now) = (&app.tenants, app.tenants.now());
    let (id, admin) = (TenantId(tenants.id()), AgentId(tenants.id()));
    let _naming = app.naming.hold([email_name(&email)]).await;
    claim_email(app, &email, (id, admin), "admin_email").await?;
    let slug = free_slug(app, &org_name, id).await?;
    let tenant = Tenant {
        id,
        name: org_name,
        slug,
        status: TenantStatus::Active,
        history_since: None,
        created_at: now,
        updated_at: now,
    };
    let agent = Agent {
        id: admin,
        name,
        email,
        role_id: role::ADMIN,
        availability: Availability::Offline,
        is_active: true,
        rev: 1,
        created_at: now,
        updated_at: now,
    };
    let credential = Credential { agent: admin, password_hash, sessions_since: now };
    tenants.create(tenant, agent, credential).await?;
    Ok((id, admin))
}

/// Claims a slug of a name. What is taken has a number behind it; of what is taken often, as `org` is by
/// all whose names have no Latin letters, digits of the id.
async fn free_slug(app: &App, name: &str, id: TenantId) -> Result<String, ApiError> {
    let (base, digits) = (slug(name), id.0.simple().to_string());
    let numbered = (2..=SLUGS_NUMBERED).map(|n| format!("{base}-{n}"));
    let last = format!("{base}-{}", &digits[24..]);
    for slug in [base.clone()].into_iter().chain(numbered).chain([last]) {
        if app.tenants.names().claim(&Name::global("slug", &slug), id).await? == id {
            return Ok(slug);
        }
    }
    Err(ApiError::invalid("org_name", "is taken too often; choose another one"))
}

/// The name under which an address is unique in the installation.
pub fn email_name(email: &str) -> Name {
    Name::global("email", email)
}

/// Claims an address for an agent. A claim whose agent was never written is taken over: the caller
/// [holds](crate::naming::Naming::hold) its name until its own is.
pub async fn claim_email(
    app: &App,
    email: &str,
    agent: (TenantId, AgentId),
    field: &str,
) -> Result<(), ApiError> {
    let (names, name) = (app.tenants.names(), email_name(email));
    let held = names.claim(&name, agent).await?;
    if held == agent {
        return Ok(());
    }
    let state = app.tenants.state(held.0).await?;
    let is_used = state
        .is_some_and(|state| state.agents.get(&held.1).is_some_and(|agent| agent.email == email));
    if is_used || !names.swap(&name, &held, &agent).await? {
        let message = format!("`{field}` is in use already; log in, or use another address");
        return Err(ApiError::conflict("email_in_use", message));
    }
    Ok(())
}

async fn open(
    app: &App,
    tenant: TenantId,
    agent: AgentId,
    at: Timestamp,
) -> Result<((header::HeaderName, HeaderValue), String, Caller), ApiError> {
    let config::Auth { token_ttl, session_ttl, .. } = app.config.auth;
    let session = app.tenants.open_session(tenant, agent, at, session_ttl).await?;
    let issue = |ttl| token::issue(&app.jwt, session.id, session.created_at, ttl);
    let caller = caller(app, session.id).await?;
    // A browser cannot renew what it does not see: the cookie lasts as long as the login.
    let cookie = cookie(app, &issue(session_ttl)?, session_ttl.as_secs());
    Ok((cookie, issue(token_ttl)?, caller))
}

async fn caller(app: &App, session: SessionId) -> Result<Caller, ApiError> {
    app.tenants.caller(session).await?.ok_or_else(ApiError::unauthorized)
}

fn cookie(app: &App, token: &str, age: u64) -> (header::HeaderName, HeaderValue) {
    let secure = if app.public_url.starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={token}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    let value = HeaderValue::from_str(&cookie).unwrap_or(HeaderValue::from_static(""));
    (header::SET_COOKIE, value)
}

async fn profile(app: &App, caller: &Caller) -> Result<Profile, ApiError> {
    let Json(agent) = crud::shown::<Agent>(app, caller, caller.agent).await?;
    let permissions = caller.permissions.iter().map(|permission| permission.code()).collect();
    Ok(Profile { agent, permissions, org_id: caller.tenant })
}
