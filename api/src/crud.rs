//! What the routes of a tenant's resources share: listed, found, made once, changed, removed.

use std::sync::Arc;

use actors::tenants::{Caller, Changing, Held, TenantState};
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{StatusCode, Uri};
use engine::conversation::Refused;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Id, Key, Listed, Page, Paging, Query};
use crate::guard::Me;

/// A resource that callers are shown.
pub trait Shown: Held {
    /// What they see of it.
    type View: Serialize + JsonSchema + Send + 'static;

    /// What they see of this one.
    fn view(&self, app: &App, state: &TenantState) -> Self::View;
}

/// It is gone.
#[derive(Serialize, JsonSchema)]
pub struct Deleted {
    deleted: bool,
}

/// The tenant's settings as they are.
pub async fn state(app: &App, caller: &Caller) -> Result<Arc<TenantState>, ApiError> {
    app.tenants.state(caller.tenant).await?.ok_or_else(ApiError::unauthorized)
}

/// A page of all.
pub async fn list<T: Shown>(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(paging): Query<Paging>,
) -> Result<Listed<T::View>, ApiError> {
    let page = Page::of(paging.page, paging.per_page, &app)?;
    listed(&app, &caller, page, uri, |_: &T| true).await
}

/// One, by its id.
pub async fn get<T: Shown>(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<T::Id>,
) -> Result<Json<T::View>, ApiError> {
    shown::<T>(&app, &caller, id).await
}

/// A page of those that fit.
pub async fn listed<T: Shown>(
    app: &App,
    caller: &Caller,
    page: Page,
    uri: Uri,
    fits: impl Fn(&T) -> bool,
) -> Result<Listed<T::View>, ApiError> {
    let state = state(app, caller).await?;
    let all: Vec<&Arc<T>> = T::rows(&state).values().filter(|row| fits(row)).collect();
    let total = all.len();
    let items = all.into_iter().skip(page.skip()).take(page.per_page);
    Ok(Listed { items: items.map(|row| row.view(app, &state)).collect(), total, page, uri })
}

/// One as it is now.
pub async fn shown<T: Shown>(
    app: &App,
    caller: &Caller,
    id: T::Id,
) -> Result<Json<T::View>, ApiError> {
    let state = state(app, caller).await?;
    let row = T::rows(&state).get(&id).ok_or_else(|| ApiError::not_found(T::NAME))?;
    Ok(Json(row.view(app, &state)))
}

/// One that is to be made. With an idempotency key its id comes from the key, so that a repeat
/// finds what the first request made.
pub struct New<T: Held> {
    pub id: T::Id,
    keyed: bool,
    digest: [u8; 16],
}

impl<T: Shown> New<T> {
    /// For a request with this key and body.
    pub fn of(app: &App, caller: &Caller, key: Key, digest: [u8; 16]) -> Self {
        let derived = key.derived(caller.agent.0, &key.route);
        let id = derived.unwrap_or_else(|| app.tenants.id()).into();
        Self { id, keyed: derived.is_some(), digest }
    }

    /// Makes it, unless it was made before; a tenant has at most `most` (0: any number).
    pub async fn make(
        self,
        app: &App,
        caller: &Caller,
        most: usize,
        make: impl FnOnce(&mut Changing) -> Result<T, ApiError>,
    ) -> Result<(StatusCode, Json<T::View>), ApiError> {
        let Self { id, keyed, digest } = self;
        app.tenants
            .change(caller.tenant, |changing| {
                if is_done(changing, keyed.then_some(id.into()), digest)? {
                    return Ok(());
                }
                if most > 0 && T::rows(&changing.state).len() >= most {
                    let message = format!("an organization has at most {most} {}s", T::NAME);
                    return Err(ApiError::conflict("too_many", message));
                }
                let row = make(changing)?;
                changing.put(row);
                Ok(())
            })
            .await?;
        Ok((StatusCode::CREATED, shown::<T>(app, caller, id).await?))
    }
}

/// Changes one, once for an idempotency key and its body, and marks it if anything of it is
/// different then.
pub async fn change<T: Shown>(
    app: &App,
    caller: &Caller,
    id: T::Id,
    (key, digest): (Key, [u8; 16]),
    change: impl FnOnce(&mut T, &mut Changing) -> Result<(), ApiError>,
) -> Result<Json<T::View>, ApiError> {
    let once = key.derived(caller.agent.0, &key.route);
    app.tenants
        .change(caller.tenant, |changing| {
            let before: T = found(changing, id)?;
            if is_done(changing, once, digest)? {
                return Ok(());
            }
            let mut row = before.clone();
            change(&mut row, changing)?;
            if row != before {
                row.touch(changing.now);
                changing.put(row);
            }
            Ok::<_, ApiError>(())
        })
        .await?;
    shown::<T>(app, caller, id).await
}

/// Removes one, unless `refuse` says why not. Answers what it was.
pub async fn remove<T: Held>(
    app: &App,
    caller: &Caller,
    id: T::Id,
    refuse: impl FnOnce(&T, &mut Changing) -> Result<(), ApiError>,
) -> Result<T, ApiError> {
    let removed = app.tenants.change(caller.tenant, |changing| {
        let row: T = found(changing, id)?;
        refuse(&row, changing)?;
        changing.delete::<T>(id);
        Ok::<_, ApiError>(row)
    });
    Ok(removed.await?)
}

/// The answer of a request that removed something.
pub fn deleted() -> Json<Deleted> {
    Json(Deleted { deleted: true })
}

fn found<T: Held>(changing: &Changing, id: T::Id) -> Result<T, ApiError> {
    let row = T::rows(&changing.state).get(&id).map(|row| T::clone(row));
    row.ok_or_else(|| ApiError::not_found(T::NAME))
}

/// Whether what carries this key is done already; otherwise it is from now on.
fn is_done(
    changing: &mut Changing,
    once: Option<Uuid>,
    digest: [u8; 16],
) -> Result<bool, ApiError> {
    let Some(once) = once else { return Ok(false) };
    changing.used(once, digest).map_err(|_| Refused::KeyReused.into())
}
