//! Dead letters: what could not be understood, placed or decided, to be looked at and tried again.

use actors::letters::NotRetried;
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::Method;
use engine::account::Account;
use engine::channel::{Inbound, webhook};
use engine::id::{AccountId, ThreadId};
use engine::permission::Permission;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::dead_letters::{self, DeadLetter};
use uuid::Uuid;

use super::{Access, Route, route};
use crate::app::App;
use crate::crud::state;
use crate::error::ApiError;
use crate::extract::{Id, Listed, Page, Query};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let developer = Access::Permission(Permission::DeveloperAccess);
    vec![
        route(Method::GET, "/api/dead-letters", developer, "List dead letters", list)
            .query::<ListQuery>()
            .answers::<Vec<LetterView>>(200),
        route(
            Method::POST,
            "/api/dead-letters/{id}/retry",
            developer,
            "Try a dead letter again",
            retry,
        )
        .answers::<Retried>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only those that stopped here.
    #[serde(default)]
    source: Option<Source>,
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    per_page: Option<usize>,
}

/// Where it stopped: it was not understood; it has no place; its conversation, which is parked,
/// cannot decide it; its conversation, which is parked, cannot be loaded.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Source {
    Decode,
    Place,
    Decide,
    Load,
}

/// What could not be understood, placed or decided.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeadLetter")]
struct LetterView {
    id: Uuid,
    source: Source,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<AccountId>,
    /// The customer's thread that is parked until this is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<ThreadId>,
    /// What it is about: at most its first 16384 bytes.
    raw: String,
    /// How many bytes it has.
    raw_bytes: usize,
    /// How often it was tried again.
    attempts: u32,
    created_at: Timestamp,
}

/// What came of another try.
#[derive(Serialize, JsonSchema)]
struct Retried {
    /// Whether it is done, and the letter gone.
    done: bool,
    /// The letter as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<LetterView>,
}

/// A page must not become as large as its letters may be.
const RAW_SHOWN: usize = 16_384;

impl From<dead_letters::Source> for Source {
    fn from(source: dead_letters::Source) -> Self {
        match source {
            dead_letters::Source::Decode => Self::Decode,
            dead_letters::Source::Place => Self::Place,
            dead_letters::Source::Decide => Self::Decide,
            dead_letters::Source::Load => Self::Load,
        }
    }
}

impl From<Source> for dead_letters::Source {
    fn from(source: Source) -> Self {
        match source {
            Source::Decode => Self::Decode,
            Source::Place => Self::Place,
            Source::Decide => Self::Decide,
            Source::Load => Self::Load,
        }
    }
}

impl From<DeadLetter> for LetterView {
    fn from(letter: DeadLetter) -> Self {
        let DeadLetter { id, account, source, thread, reason, mut raw, attempts, at, .. } = letter;
        let raw_bytes = raw.len();
        raw.truncate(raw.floor_char_boundary(RAW_SHOWN));
        // Else a page would hold all that was cut off.
        raw.shrink_to_fit();
        let (source, account_id, thread_id) = (source.into(), account, thread);
        Self { id, source, reason, account_id, thread_id, raw, raw_bytes, attempts, created_at: at }
    }
}

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Listed<LetterView>, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let source = query.source.map(dead_letters::Source::from);
    let window = (page.skip(), page.per_page);
    let letters = app.desk.letters(caller.tenant, source, window, LetterView::from);
    let (items, total) = letters.await?;
    Ok(Listed { items, total, page, uri })
}

async fn retry(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<Uuid>,
) -> Result<Json<Retried>, ApiError> {
    let retrying = app.desk.take_up(caller.tenant, id).await.map_err(|why| match why {
        NotRetried::Gone => ApiError::not_found("dead letter"),
        NotRetried::UnderWay => ApiError::conflict("under_way", why.to_string()),
        NotRetried::Store(error) => error.into(),
    })?;
    let state = state(&app, &caller).await?;
    let account = retrying.letter().account.and_then(|id| state.accounts.get(&id)).cloned();
    let account = account.as_deref();
    let now = app.tenants.now();
    let decode = |raw: &str| account.map_or_else(Vec::new, |account| items(account, raw, now));
    let left = app.desk.retry(retrying, account, decode).await?;
    Ok(Json(Retried { done: left.is_none(), dead_letter: left.map(LetterView::from) }))
}

/// The items of what was not understood, as they are understood today.
fn items(account: &Account, raw: &str, now: Timestamp) -> Vec<Inbound> {
    let items = webhook::reopen(account, raw, now);
    // What nothing is done about stays: a part of a history, say.
    if items.iter().any(|item| !matches!(item, Inbound::Ignored(_))) {
        return items;
    }
    let (reason, raw) = ("it is still not understood".to_owned(), String::new());
    vec![Inbound::Dead { reason, raw }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_of_a_letter_is_not_kept_for_its_page() {
        let letter = DeadLetter {
            id: Uuid::nil(),
            tenant: None,
            account: None,
            source: dead_letters::Source::Decode,
            thread: None,
            reason: String::new(),
            raw: "ä".repeat(RAW_SHOWN * 8),
            attempts: 0,
            at: Timestamp(0),
        };
        let view = LetterView::from(letter);
        assert_eq!((view.raw.len(), view.raw_bytes), (RAW_SHOWN, RAW_SHOWN * 16));
        assert!(view.raw.capacity() < RAW_SHOWN * 2, "{}", view.raw.capacity());
    }
}
