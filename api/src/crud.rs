//! What the routes of a tenant's resources share. First whole rows of the table: any resource is
//! listed and read by one, a plain one also made, changed and removed. Then the steps of handlers
//! that have something of their own to do. What they change is noted in the organization's activity.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::tenants::{Caller, Changing, Held, TenantState};
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{Method, StatusCode, Uri};
use engine::conversation::Refused;
use engine::resource::{Plain, Row};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::activity;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Id, Key, Listed, NO_BODY, Page, Paging, Query};
use crate::fields::{Draft, Patch, View};
use crate::guard::{self, Me};
use crate::routes::{Access, Route, route};

/// A resource that callers are shown.
pub trait Shown: Held {
    /// What they see of it.
    type View: Serialize + JsonSchema + Send + 'static;

    /// What they see of this one.
    fn view(&self, app: &App, state: &TenantState) -> Self::View;

    /// What they are not shown of it, by the paths of fields: its activity tells that they changed.
    fn secrets(&self, _: &TenantState) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

impl<F: Plain> Shown for Row<F>
where
    Self: Held,
{
    type View = View<F>;

    fn view(&self, _: &App, _: &TenantState) -> View<F> {
        let Self { id, fields, created_at, updated_at } = self.clone();
        View { id, fields, created_at, updated_at }
    }
}

/// It is gone.
#[derive(Serialize, JsonSchema)]
pub struct Deleted {
    deleted: bool,
}

/// The row that lists all.
pub fn list<T: Shown>(path: &'static str, access: Access, title: &'static str) -> Route {
    route(Method::GET, path, access, title, all::<T>).query::<Paging>().answers::<Vec<T::View>>(200)
}

/// The row that reads one.
pub fn get<T: Shown>(path: &'static str, access: Access, title: &'static str) -> Route {
    route(Method::GET, path, access, title, one::<T>).answers::<T::View>(200)
}

/// The row that makes one. `example`: all that is required.
pub fn create<F: Plain>(
    path: &'static str,
    access: Access,
    title: &'static str,
    example: Value,
) -> Route
where
    Row<F>: Held<Id = F::Id>,
{
    route(Method::POST, path, access, title, make::<F>)
        .body::<Draft<F>>(example)
        .answers::<View<F>>(201)
}

/// The row that changes one. `example`: what is to change.
pub fn update<F: Plain>(
    path: &'static str,
    access: Access,
    title: &'static str,
    example: Value,
) -> Route
where
    Row<F>: Held<Id = F::Id>,
{
    route(Method::PATCH, path, access, title, patch::<F>)
        .body::<Patch<F>>(example)
        .answers::<View<F>>(200)
}

/// The row that removes one.
pub fn delete<F: Plain>(path: &'static str, access: Access, title: &'static str) -> Route
where
    Row<F>: Held<Id = F::Id>,
{
    route(Method::DELETE, path, access, title, discard::<F>).answers::<Deleted>(200)
}

async fn all<T: Shown>(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(paging): Query<Paging>,
) -> Result<Listed<T::View>, ApiError> {
    let page = Page::of(paging.page, paging.per_page, &app)?;
    listed(&app, &caller, page, uri, |_: &T| true).await
}

async fn one<T: Shown>(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<T::Id>,
) -> Result<Json<T::View>, ApiError> {
    shown::<T>(&app, &caller, id).await
}

async fn make<F: Plain>(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Draft(mut fields, digest): Draft<F>,
) -> Result<(StatusCode, Json<View<F>>), ApiError>
where
    Row<F>: Held<Id = F::Id>,
{
    fields.check()?;
    let new = New::<Row<F>>::of(&app, &caller, key, digest);
    let id = new.id;
    let make = |changing: &mut Changing| {
        let (created_at, updated_at) = (changing.now, changing.now);
        Ok(Row { id, fields, created_at, updated_at })
    };
    new.make(&app, &caller, app.config.limits.rows_per_tenant, make).await
}

async fn patch<F: Plain>(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<F::Id>,
    key: Key,
    patch: Patch<F>,
) -> Result<Json<View<F>>, ApiError>
where
    Row<F>: Held<Id = F::Id>,
{
    let digest = patch.digest;
    let merge = |row: &mut Row<F>, _: &mut Changing| {
        row.fields = patch.merged(&row.fields)?;
        Ok(row.fields.check()?)
    };
    change(&app, &caller, id, (key, digest), merge).await
}

async fn discard<F: Plain>(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<F::Id>,
    key: Key,
) -> Result<Json<Deleted>, ApiError>
where
    Row<F>: Held<Id = F::Id>,
{
    let once = Once::of(&caller, &key, NO_BODY);
    remove::<Row<F>>(&app, &caller, id, once, |_, _| Ok(())).await?;
    Ok(deleted())
}

/// The tenant's settings as they are.
pub async fn state(app: &App, caller: &Caller) -> Result<Arc<TenantState>, ApiError> {
    app.tenants.state(caller.tenant).await?.ok_or_else(ApiError::unauthorized)
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

/// What a repeat of a request is known by: its idempotency key, where it has one, and its body.
#[derive(Clone, Copy)]
pub struct Once {
    key: Option<Uuid>,
    digest: [u8; 16],
}

impl Once {
    /// Of a request with this key and body.
    pub fn of(caller: &Caller, key: &Key, digest: [u8; 16]) -> Self {
        Self { key: key.derived(caller.agent.0, &key.route), digest }
    }

    /// The row that the same request made, changed or removed before, if it did.
    pub fn done(self, state: &TenantState) -> Result<Option<Uuid>, ApiError> {
        let Some(key) = self.key else { return Ok(None) };
        state.used_by(key, self.digest).map_err(|_| Refused::KeyReused.into())
    }

    /// Whether what this request does to a row is done already; otherwise it is from now on.
    fn is_done(self, changing: &mut Changing, row: Uuid) -> Result<bool, ApiError> {
        let Some(key) = self.key else { return Ok(false) };
        let done = changing.used_for(key, self.digest, Some(row));
        done.map_err(|_| Refused::KeyReused.into())
    }
}

/// One that is to be made. With an idempotency key its id comes from the key, so that a repeat
/// finds what the first request made.
pub struct New<T: Held> {
    pub id: T::Id,
    pub once: Once,
}

impl<T: Shown> New<T> {
    /// For a request with this key and body.
    pub fn of(app: &App, caller: &Caller, key: Key, digest: [u8; 16]) -> Self {
        let once = Once::of(caller, &key, digest);
        Self { id: once.key.unwrap_or_else(|| app.tenants.id()).into(), once }
    }

    /// What the same request made or changed before, if it did.
    pub async fn made(
        &self,
        app: &App,
        caller: &Caller,
    ) -> Result<Option<(StatusCode, Json<T::View>)>, ApiError> {
        let state = state(app, caller).await?;
        let Some(row) = self.once.done(&state)? else {
            self.outlived(&state)?;
            return Ok(None);
        };
        Ok(Some((StatusCode::CREATED, shown::<T>(app, caller, row.into()).await?)))
    }

    /// Refuses a key that is forgotten while what it made is there: whatever was done to that since
    /// would be undone.
    fn outlived(&self, state: &TenantState) -> Result<(), ApiError> {
        let is_there = T::rows(state).contains_key(&self.id);
        if is_there { Err(Refused::KeyReused.into()) } else { Ok(()) }
    }

    /// Makes it, unless it was made before; a tenant has at most `most` (0: any number).
    pub async fn make(
        self,
        app: &App,
        caller: &Caller,
        most: usize,
        make: impl FnOnce(&mut Changing) -> Result<T, ApiError>,
    ) -> Result<(StatusCode, Json<T::View>), ApiError> {
        let id = self.id;
        noted(app, caller, |changing| {
            if self.once.is_done(changing, id.into())? {
                return Ok(());
            }
            self.outlived(&changing.state)?;
            if most > 0 && T::rows(&changing.state).len() >= most {
                let message = format!("an organization has at most {most} of these");
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

/// Refuses a request whose idempotency key was used with another body.
pub async fn once(app: &App, caller: &Caller, once: Once) -> Result<(), ApiError> {
    if once.key.is_none() {
        return Ok(());
    }
    noted(app, caller, |changing| once.is_done(changing, Uuid::nil()).map(drop)).await
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
    change_once(app, caller, id, Once::of(caller, &key, digest), change).await
}

/// The same of a request whose repeat is known by this.
pub async fn change_once<T: Shown>(
    app: &App,
    caller: &Caller,
    id: T::Id,
    once: Once,
    change: impl FnOnce(&mut T, &mut Changing) -> Result<(), ApiError>,
) -> Result<Json<T::View>, ApiError> {
    let blank = |_: &Changing| Err(ApiError::not_found(T::NAME));
    change_or_make(app, caller, id, once, blank, change).await
}

/// The same of one that is made of a `blank` where it is not there yet.
pub async fn change_or_make<T: Shown>(
    app: &App,
    caller: &Caller,
    id: T::Id,
    once: Once,
    blank: impl FnOnce(&Changing) -> Result<T, ApiError>,
    change: impl FnOnce(&mut T, &mut Changing) -> Result<(), ApiError>,
) -> Result<Json<T::View>, ApiError> {
    noted(app, caller, |changing| {
        let before = T::rows(&changing.state).get(&id).cloned();
        let mut row = match before.as_deref() {
            Some(row) => row.clone(),
            None => blank(changing)?,
        };
        if once.is_done(changing, id.into())? {
            return Ok(());
        }
        change(&mut row, changing)?;
        if before.as_deref() != Some(&row) {
            row.touch(changing.now);
            changing.put(row);
        }
        Ok(())
    })
    .await?;
    shown::<T>(app, caller, id).await
}

/// Removes one, unless `refuse` says why not. Answers what it was; `None`: the same request has
/// removed it before.
pub async fn remove<T: Held>(
    app: &App,
    caller: &Caller,
    id: T::Id,
    once: Once,
    refuse: impl FnOnce(&T, &mut Changing) -> Result<(), ApiError>,
) -> Result<Option<T>, ApiError> {
    noted(app, caller, |changing| {
        if once.is_done(changing, id.into())? {
            return Ok(None);
        }
        let row: T = found(changing, id)?;
        refuse(&row, changing)?;
        changing.delete::<T>(id);
        Ok(Some(row))
    })
    .await
}

/// Changes the tenant's settings; the organization's activity tells who did, and what is different.
/// Whoever lost since the request began what it was let through for changes nothing.
async fn noted<T>(
    app: &App,
    caller: &Caller,
    change: impl FnOnce(&mut Changing) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let noting = |changing: &mut Changing| {
        guard::covers(app.tenants.caller_in(changing, caller), caller)?;
        let made = change(changing)?;
        activity::note(app, caller, changing);
        Ok::<_, ApiError>(made)
    };
    Ok(app.tenants.change(caller.tenant, noting).await?)
}

/// The answer of a request that removed something.
pub fn deleted() -> Json<Deleted> {
    Json(Deleted { deleted: true })
}

fn found<T: Held>(changing: &Changing, id: T::Id) -> Result<T, ApiError> {
    let row = T::rows(&changing.state).get(&id).map(|row| T::clone(row));
    row.ok_or_else(|| ApiError::not_found(T::NAME))
}
