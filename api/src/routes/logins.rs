//! Accounts that are connected by a login at Meta: what a browser needs to begin one, and what
//! becomes of the code that it brings back. Where people are led back to is a setting, never the
//! caller's to say.

use actors::tenants::Caller;
use axum::Json;
use axum::extract::State;
use axum::http::{Method, StatusCode};
use engine::account::Account;
use engine::channel::Channel;
use engine::channel::login::{LoginApp, NotGiven};
use engine::id::DivisionId;
use engine::permission::Permission;
use engine::resource::{Invalid, name};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts::AccountView;
use super::{Access, Route, route};
use crate::app::App;
use crate::connect::{Connection, config, connect_or_renew, of_key, setup};
use crate::crud::{New, state};
use crate::error::ApiError;
use crate::extract::{Body, Key};
use crate::guard::Me;
use crate::states::{self, Flow};

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::IntegrationsManage);
    let signup = "/api/integrations/whatsapp/embedded-signup";
    let (gram, page) = ("/api/integrations/instagram/oauth", "/api/integrations/messenger/oauth");
    let code = json!({"code": "a code", "state": "a state"});
    let signed_up = json!({
        "code": "a code", "state": "a state", "waba_id": "9001", "phone_number_id": "7001",
    });
    vec![
        route(
            Method::GET,
            "/api/integrations/whatsapp/embedded-signup/config",
            manage,
            "Get WhatsApp Embedded Signup config",
            signup_config,
        )
        .answers::<LoginConfig>(200),
        route(Method::POST, signup, manage, "Complete WhatsApp Embedded Signup", sign_up)
            .lasts()
            .body::<SignupDraft>(signed_up)
            .answers::<AccountView>(201),
        route(
            Method::GET,
            "/api/integrations/instagram/oauth/config",
            manage,
            "Get Instagram OAuth app config",
            instagram_config,
        )
        .answers::<LoginConfig>(200),
        route(Method::POST, gram, manage, "Connect Instagram account via OAuth", instagram)
            .lasts()
            .body::<AccountDraft>(code.clone())
            .answers::<AccountView>(201),
        route(
            Method::GET,
            "/api/integrations/messenger/oauth/config",
            manage,
            "Get Messenger OAuth app config",
            messenger_config,
        )
        .answers::<LoginConfig>(200),
        route(Method::POST, page, manage, "Connect Messenger via Facebook Login OAuth", messenger)
            .lasts()
            .body::<LoginDraft>(code)
            .answers::<PagesView>(200),
    ]
}

/// What a browser begins a login with.
#[derive(Default, Serialize, JsonSchema)]
struct LoginConfig {
    /// Whether this installation has an app for it; without one there is nothing else.
    is_configured: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<String>,
    /// Of WhatsApp's embedded signup.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    graph_version: Option<String>,
    /// Where people are led back to with `code` and `state`.
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes: Vec<&'static str>,
    /// Where people log in: whole, with the state in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorize_url: Option<String>,
    /// Has to come back with the code. It counts for whoever asked for it, and for one login.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_expires_at: Option<Timestamp>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LoginDraft {
    code: String,
    state: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AccountDraft {
    code: String,
    state: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    is_default: Option<bool>,
    #[serde(default)]
    division_id: Option<DivisionId>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignupDraft {
    code: String,
    state: String,
    /// What the window's session named.
    waba_id: String,
    phone_number_id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    is_default: Option<bool>,
    #[serde(default)]
    division_id: Option<DivisionId>,
}

/// The pages that somebody logged in for: they choose those that are to be subscribed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MessengerPages")]
struct PagesView {
    message: &'static str,
    pages: Vec<PageView>,
    /// Until then they can be chosen from; after it somebody logs in again.
    expires_at: Timestamp,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct PageView {
    page_id: String,
    name: String,
    /// It is an account of this organization already.
    is_connected: bool,
}

/// Codes of Meta's have some hundred bytes.
const CODE_BYTES_MAX: usize = 4096;
/// What is asked for of a person's pages.
const PAGE_SCOPES: [&str; 5] = [
    "pages_show_list",
    "pages_messaging",
    "pages_manage_metadata",
    "pages_read_engagement",
    "business_management",
];
/// What is asked for of an account of Instagram.
const GRAM_SCOPES: [&str; 3] = [
    "instagram_business_basic",
    "instagram_business_manage_messages",
    "instagram_business_manage_comments",
];

async fn signup_config(State(app): State<App>, Me(caller): Me) -> Json<LoginConfig> {
    let meta = &app.config.meta;
    let (Some(of), Some(config_id)) = (facebook(&app), &meta.signup_config_id) else {
        return Json(LoginConfig::default());
    };
    let (state, until) = states::issue(&app, &caller, Flow::Signup);
    Json(LoginConfig {
        is_configured: true,
        app_id: Some(of.id.to_owned()),
        config_id: Some(config_id.clone()),
        graph_version: Some(meta.graph_version.clone()),
        state: Some(state),
        state_expires_at: Some(until),
        ..LoginConfig::default()
    })
}

async fn instagram_config(State(app): State<App>, Me(caller): Me) -> Json<LoginConfig> {
    let Some(of) = gram(&app) else { return Json(LoginConfig::default()) };
    let dialog = format!("{}/oauth/authorize", app.config.meta.instagram_login_url);
    Json(login(&app, &caller, (Flow::Instagram, of, &GRAM_SCOPES), &dialog))
}

async fn messenger_config(State(app): State<App>, Me(caller): Me) -> Json<LoginConfig> {
    let Some(of) = facebook(&app) else { return Json(LoginConfig::default()) };
    let meta = &app.config.meta;
    let dialog = format!("{}/{}/dialog/oauth", meta.login_url, meta.graph_version);
    Json(login(&app, &caller, (Flow::Messenger, of, &PAGE_SCOPES), &dialog))
}

/// A login by leading somebody to this dialog.
fn login(
    app: &App,
    caller: &Caller,
    (flow, of, scopes): (Flow, LoginApp<'_>, &[&'static str]),
    dialog: &str,
) -> LoginConfig {
    let (state, until) = states::issue(app, caller, flow);
    let redirect = redirect(app);
    let asked: [(&str, &str); 5] = [
        ("client_id", of.id),
        ("redirect_uri", &redirect),
        ("response_type", "code"),
        ("scope", &scopes.join(",")),
        ("state", &state),
    ];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(asked).finish();
    LoginConfig {
        is_configured: true,
        app_id: Some(of.id.to_owned()),
        graph_version: Some(app.config.meta.graph_version.clone()),
        scopes: scopes.to_vec(),
        authorize_url: Some(format!("{dialog}?{query}")),
        redirect_uri: Some(redirect),
        state: Some(state),
        state_expires_at: Some(until),
        config_id: None,
    }
}

async fn sign_up(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(draft, digest): Body<SignupDraft>,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    let code = code(&draft.code)?;
    let config = config([
        ("phone_number_id", draft.phone_number_id),
        ("waba_id", draft.waba_id),
        ("access_token", "is on its way".to_owned()),
    ]);
    // What the code cannot mend is refused before it is spent.
    setup(Channel::Whatsapp)?.account_key(&config).map_err(at_the_top)?;
    let display_name = display_name(draft.display_name)?;
    let of = facebook(&app).filter(|_| app.config.meta.signup_config_id.is_some());
    let of = of.ok_or_else(unconfigured)?;
    let new = New::<Account>::of(&app, &caller, key, digest);
    if let Some(made) = new.made(&app, &caller).await? {
        return Ok(made);
    }
    states::take(&app, &caller, Flow::Signup, &draft.state).await?;
    let token = app.grants.business(of, code).await.map_err(of_code)?;
    let connection = Connection {
        display_name,
        is_default: draft.is_default,
        division_id: draft.division_id,
        ..Connection::of(Channel::Whatsapp, config)
    };
    connect_or_renew(&app, &caller, new, connection.by(token, app.tenants.now())).await
}

async fn instagram(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(draft, digest): Body<AccountDraft>,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    let code = code(&draft.code)?;
    let display_name = display_name(draft.display_name)?;
    let of = gram(&app).ok_or_else(unconfigured)?;
    let new = New::<Account>::of(&app, &caller, key, digest);
    if let Some(made) = new.made(&app, &caller).await? {
        return Ok(made);
    }
    states::take(&app, &caller, Flow::Instagram, &draft.state).await?;
    let login = app.grants.instagram(of, code, &redirect(&app)).await;
    let (account, token) = login.map_err(of_code)?;
    let connection = Connection {
        display_name,
        called: account.username,
        is_default: draft.is_default,
        division_id: draft.division_id,
        ..Connection::of(Channel::Instagram, config([("ig_user_id", account.id)]))
    };
    connect_or_renew(&app, &caller, new, connection.by(token, app.tenants.now())).await
}

async fn messenger(
    State(app): State<App>,
    Me(caller): Me,
    Body(draft, _): Body<LoginDraft>,
) -> Result<Json<PagesView>, ApiError> {
    let code = code(&draft.code)?;
    let of = facebook(&app).ok_or_else(unconfigured)?;
    states::take(&app, &caller, Flow::Messenger, &draft.state).await?;
    let who = ((caller.tenant, caller.agent), app.tenants.now());
    let given = app.grants.pages(of, code, &redirect(&app), who).await;
    let (pages, expires_at) = given.map_err(of_code)?;
    let state = state(&app, &caller).await?;
    let shown = pages.iter().map(|page| PageView {
        page_id: page.id.clone(),
        name: page.name.clone(),
        is_connected: of_key(&state, Channel::Messenger, &page.id).is_some(),
    });
    let message = match pages.is_empty() {
        true => "no page was given; log in as somebody who manages one, and choose it there",
        false => "choose the pages that are to be subscribed",
    };
    Ok(Json(PagesView { message, pages: shown.collect(), expires_at }))
}

fn display_name(given: Option<String>) -> Result<Option<String>, Invalid> {
    given.map(|given| name("display_name", &given)).transpose()
}

/// What is wrong with a config whose keys stand at the top of the body.
fn at_the_top(mut wrong: Invalid) -> Invalid {
    for detail in &mut wrong.details {
        detail.field = detail.field.trim_start_matches("config.").to_owned();
    }
    wrong
}

/// The app of logins at Facebook.
fn facebook(app: &App) -> Option<LoginApp<'_>> {
    let meta = &app.config.meta;
    Some(LoginApp { id: meta.app_id.as_deref()?, secret: meta.app_secret.as_ref()?.expose() })
}

/// The app of logins at Instagram.
fn gram(app: &App) -> Option<LoginApp<'_>> {
    let meta = &app.config.meta;
    let secret = meta.instagram_app_secret.as_ref()?.expose();
    Some(LoginApp { id: meta.instagram_app_id.as_deref()?, secret })
}

/// Where people are led back to: the same in every request of a login.
fn redirect(app: &App) -> String {
    let set = app.config.meta.redirect_url.clone();
    set.unwrap_or_else(|| format!("{}/", app.public_url))
}

fn code(code: &str) -> Result<&str, ApiError> {
    let is_code = (1..=CODE_BYTES_MAX).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_graphic());
    is_code.then_some(code).ok_or_else(|| ApiError::invalid("code", "must be what came back"))
}

/// Whatever the provider does not give for a code, another login may bring.
fn of_code(not: NotGiven) -> ApiError {
    match not {
        NotGiven::Refused(error) | NotGiven::Stopped(error) => {
            ApiError::invalid("code", format!("is refused ({error}); begin the login again"))
        }
        NotGiven::Unanswered(reason) => {
            ApiError::unavailable(format!("{reason}; begin the login again"))
        }
    }
}

fn unconfigured() -> ApiError {
    let message = "this installation has no app for it; connect the account with its token";
    ApiError::conflict("not_configured", message)
}
