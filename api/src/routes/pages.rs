//! Pages of Messenger: those that somebody logged in for are subscribed as they choose, and
//! disconnected again.

use actors::tenants::Caller;
use axum::Json;
use axum::extract::State;
use axum::http::Method;
use engine::account::Account;
use engine::channel::Channel;
use engine::channel::login::GivenPage;
use engine::id::{AccountId, DivisionId};
use engine::permission::Permission;
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::accounts::AccountView;
use super::{Access, Route, route};
use crate::app::App;
use crate::connect::{Connection, config, connect_or_renew, disconnect, of_key};
use crate::crud::{New, Once, state};
use crate::error::ApiError;
use crate::extract::{Body, Key, NO_BODY};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::IntegrationsManage);
    vec![
        route(
            Method::POST,
            "/api/integrations/messenger/pages/subscribe",
            manage,
            "Subscribe selected Facebook Pages to Messenger webhooks",
            subscribe,
        )
        .lasts()
        .body::<Chosen>(json!({"page_ids": ["501"]}))
        .answers::<Subscribed>(200),
        route(
            Method::POST,
            "/api/integrations/messenger/pages/disconnect",
            manage,
            "Disconnect a Messenger page",
            leave,
        )
        .lasts()
        .body::<Left>(json!({"page_id": "501"}))
        .answers::<Disconnected>(200),
    ]
}

/// Pages of those that the login brought.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Chosen {
    #[schemars(length(min = 1, max = 20))]
    page_ids: Vec<String>,
    #[serde(default)]
    division_id: Option<DivisionId>,
}

/// What became of each.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SubscribedPages")]
struct Subscribed {
    message: String,
    /// Whether webhooks come says the `status` of each.
    accounts: Vec<AccountView>,
    failed: Vec<NotSubscribed>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct NotSubscribed {
    page_id: String,
    /// A stable word.
    code: &'static str,
    /// A sentence that says what to do.
    message: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Left {
    page_id: String,
}

/// The page is no account any more.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DisconnectedPage")]
struct Disconnected {
    message: &'static str,
    page_id: String,
    account_id: AccountId,
    /// Why the page's webhooks are sent all the same, which are not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Pages of one request, which are all connected at once.
const PAGES_MAX: usize = 20;

async fn subscribe(
    State(app): State<App>,
    Me(caller): Me,
    Body(mut chosen, _): Body<Chosen>,
) -> Result<Json<Subscribed>, ApiError> {
    if !(1..=PAGES_MAX).contains(&chosen.page_ids.len()) {
        return Err(ApiError::invalid("page_ids", "must be 1 to 20 ids of pages"));
    }
    chosen.page_ids.sort_unstable();
    chosen.page_ids.dedup();
    let held = app.grants.held_for((caller.tenant, caller.agent), app.tenants.now());
    let held = held.ok_or_else(|| {
        let message = "log in at Facebook first: the pages of a login are kept for some minutes";
        ApiError::conflict("login_needed", message)
    })?;
    let division_id = chosen.division_id;
    let each = chosen.page_ids.into_iter().map(|id| {
        let page = held.iter().find(|page| page.id == id).cloned();
        connect_one(app.clone(), caller.clone(), (id, page), division_id)
    });
    let (mut accounts, mut failed) = (Vec::new(), Vec::new());
    for one in join_all(each).await {
        match one {
            Ok(account) => accounts.push(account),
            Err(not) => failed.push(not),
        }
    }
    let message = format!("{} connected, {} not", accounts.len(), failed.len());
    Ok(Json(Subscribed { message, accounts, failed }))
}

/// Connects a page, where the login brought it.
async fn connect_one(
    app: App,
    caller: Caller,
    (id, page): (String, Option<GivenPage>),
    division_id: Option<DivisionId>,
) -> Result<AccountView, NotSubscribed> {
    let made = match page {
        Some(page) => connect_page(&app, &caller, page, division_id).await,
        None => Err(ApiError::not_found("page in your login")),
    };
    made.map_err(|ApiError { code, message, .. }| NotSubscribed { page_id: id, code, message })
}

async fn connect_page(
    app: &App,
    caller: &Caller,
    page: GivenPage,
    division_id: Option<DivisionId>,
) -> Result<AccountView, ApiError> {
    let config = config([("page_id", page.id), ("access_token", page.token)]);
    let connection = Connection {
        called: Some(page.name),
        division_id,
        ..Connection::of(Channel::Messenger, config)
    };
    let new = New::<Account>::of(app, caller, Key::none(), NO_BODY);
    let (_, Json(account)) = connect_or_renew(app, caller, new, connection).await?;
    Ok(account)
}

async fn leave(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(left, digest): Body<Left>,
) -> Result<Json<Disconnected>, ApiError> {
    let (state, once) = (state(&app, &caller).await?, Once::of(&caller, &key, digest));
    let page = of_key(&state, Channel::Messenger, &left.page_id).map(|page| page.id);
    let page = once.done(&state)?.map(AccountId).or(page);
    let unknown = || ApiError::invalid("page_id", "is no page that is connected here");
    let account_id = page.ok_or_else(unknown)?;
    let detail = disconnect(&app, &caller, account_id, once).await?;
    let message = "the page is disconnected";
    Ok(Json(Disconnected { message, page_id: left.page_id, account_id, detail }))
}
