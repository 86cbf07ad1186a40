//! The menu that customers of a page have beside what they write. It is the provider's: it is read
//! from there, and kept nowhere else.

use std::sync::Arc;

use actors::tenants::Caller;
use axum::Json;
use axum::extract::State;
use axum::http::Method;
use engine::account::Account;
use engine::activity::{Seen, Thing};
use engine::channel::Channel;
use engine::channel::messaging::{Menu, check_menus, menus, read_menus, set_menus};
use engine::id::AccountId;
use engine::permission::Permission;
use engine::resource::Change;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Access, Route, route};
use crate::activity::note_outside;
use crate::app::App;
use crate::crud::state;
use crate::error::ApiError;
use crate::extract::{Body, Query};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let manage = Access::Permission(Permission::IntegrationsManage);
    let menu = "/api/integrations/messenger/persistent-menu";
    let items = json!([{"type": "postback", "title": "Opening hours", "payload": "HOURS"}]);
    let example = json!({"persistent_menu": [{"locale": "default", "call_to_actions": items}]});
    vec![
        route(Method::GET, menu, manage, "Get Messenger persistent menu", get)
            .lasts()
            .query::<Which>()
            .answers::<MenuView>(200),
        route(Method::POST, menu, manage, "Set or delete Messenger persistent menu", set)
            .lasts()
            .body::<Draft>(example)
            .answers::<MenuView>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Which {
    /// The page's; without it that of the channel's default account.
    #[serde(default)]
    account_id: Option<AccountId>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Draft {
    /// The page's; without it that of the channel's default account.
    #[serde(default)]
    account_id: Option<AccountId>,
    /// By language; null or none deletes the menu.
    #[serde(default)]
    persistent_menu: Change<Vec<Menu>>,
}

/// A page's menu.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MessengerMenu")]
struct MenuView {
    /// Absent where no page is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<AccountId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_id: Option<String>,
    persistent_menu: Vec<Menu>,
}

impl MenuView {
    fn of(page: &Account, persistent_menu: Vec<Menu>) -> Self {
        let page_id = Some(page.account_key.clone());
        Self { account_id: Some(page.id), page_id, persistent_menu }
    }
}

async fn get(
    State(app): State<App>,
    Me(caller): Me,
    Query(which): Query<Which>,
) -> Result<Json<MenuView>, ApiError> {
    let Some(page) = page(&app, &caller, which.account_id).await? else {
        let persistent_menu = Vec::new();
        return Ok(Json(MenuView { account_id: None, page_id: None, persistent_menu }));
    };
    let said = app.outbox.ask(menus(page.channel.speaker(&page))).await?;
    Ok(Json(MenuView::of(&page, read_menus(&said).0)))
}

async fn set(
    State(app): State<App>,
    Me(caller): Me,
    Body(draft, _): Body<Draft>,
) -> Result<Json<MenuView>, ApiError> {
    let wanted = match draft.persistent_menu {
        Change::Keep => return Err(ApiError::invalid("persistent_menu", "is required")),
        Change::Clear => Vec::new(),
        Change::Set(menus) => menus,
    };
    check_menus("persistent_menu", &wanted)?;
    let page = page(&app, &caller, draft.account_id).await?.ok_or_else(|| {
        ApiError::conflict("no_account", "there is no page; connect one to Messenger first")
    })?;
    let said = app.outbox.ask(menus(page.channel.speaker(&page))).await?;
    // What is there may be more than could be read of it.
    let (before, begins) = read_menus(&said);
    app.outbox.ask(set_menus(page.channel.speaker(&page), &wanted, begins)).await?;
    note(&app, &caller, &page, (&before, &wanted)).await?;
    Ok(Json(MenuView::of(&page, wanted)))
}

async fn note(
    app: &App,
    caller: &Caller,
    page: &Account,
    (before, after): (&[Menu], &[Menu]),
) -> Result<(), ApiError> {
    let seen = |menus: &[Menu]| Seen {
        shown: match menus {
            [] => json!({}),
            menus => json!({"persistent_menu": menus}),
        },
        ..Seen::default()
    };
    let (kind, name) = ("persistent_menu".to_owned(), Some(page.display_name.clone()));
    let thing = Thing { kind, id: page.id.0, name };
    note_outside(app, caller, thing, (&seen(before), &seen(after))).await
}

/// The page of this account, or of the channel's default one.
async fn page(
    app: &App,
    caller: &Caller,
    id: Option<AccountId>,
) -> Result<Option<Arc<Account>>, ApiError> {
    let state = state(app, caller).await?;
    let mut pages = state.accounts.values().filter(|account| account.channel == Channel::Messenger);
    let Some(id) = id else { return Ok(pages.find(|page| page.is_default).cloned()) };
    let page = pages.find(|page| page.id == id).cloned();
    let unknown = || ApiError::invalid("account_id", "is no account of Messenger here");
    page.map(Some).ok_or_else(unknown)
}
