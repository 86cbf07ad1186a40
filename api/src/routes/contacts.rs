//! Customers.

use actors::contact::ContactCommand;
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::Method;
use engine::consent::OptOut;
use engine::contact::{Contact, ContactPatch, Identity, MergeSuggestion};
use engine::conversation::ConversationView;
use engine::id::ContactId;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use storage::keys::month;

use super::{Access, Route, route};
use crate::app::App;
use crate::crud::state;
use crate::error::ApiError;
use crate::extract::{Body, Id, Listed, Page, Paging, Query};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let member = Access::Member;
    vec![
        route(Method::GET, "/api/contacts", member, "List contacts", list)
            .query::<ListQuery>()
            .answers::<Vec<ContactView>>(200),
        route(Method::GET, "/api/contacts/{id}", member, "Get a contact by ID", get)
            .answers::<ContactView>(200),
        route(Method::PATCH, "/api/contacts/{id}", member, "Update a contact", update)
            .body::<ContactPatch>(json!({"name": "Noor"}))
            .answers::<ContactView>(200),
        route(
            Method::GET,
            "/api/contacts/{id}/conversations",
            member,
            "List conversations for a contact",
            conversations,
        )
        .query::<Paging>()
        .answers::<Vec<ConversationView>>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Part of a name, a number or an address.
    #[serde(default)]
    search: Option<String>,
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    per_page: Option<usize>,
}

/// A customer.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Contact")]
struct ContactView {
    id: ContactId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    tags: Vec<String>,
    identities: Vec<Identity>,
    /// What they want no more of.
    opt_outs: Vec<OptOut>,
    /// Other contacts that may be the same person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    merge_suggestions: Vec<MergeSuggestion>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl ContactView {
    async fn of(contact: Contact, app: &App) -> Result<Self, ApiError> {
        let merge_suggestions = app.desk.merge_suggestions(&contact).await?;
        Ok(Self {
            id: contact.id,
            phone: contact.phone().map(str::to_owned),
            opt_outs: contact.opt_outs(),
            name: contact.name,
            email: contact.email,
            tags: contact.tags,
            identities: contact.identities,
            merge_suggestions,
            created_at: contact.created_at,
            updated_at: contact.updated_at,
        })
    }
}

/// At most so many contacts are looked through for one list.
const CONTACTS_MAX: usize = 10_000;
/// At most so many conversations of one contact are listed.
pub const CONVERSATIONS_MAX: usize = 1_000;

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Listed<ContactView>, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let since = state(&app, &caller).await?.tenant.created_at;
    let wanted = query.search.map(|text| text.trim().to_lowercase());
    let mut found: Vec<Contact> = Vec::new();
    let mut left = CONTACTS_MAX;
    for month in (month(since)..=month(app.tenants.now())).rev() {
        let contacts = app.desk.contacts(caller.tenant, month, left).await?;
        left = left.saturating_sub(contacts.len());
        found.extend(contacts.into_iter().filter(|contact| fits(contact, wanted.as_deref())));
        if left == 0 {
            break;
        }
    }
    let total = found.len();
    let mut items = Vec::with_capacity(page.per_page);
    for contact in found.into_iter().skip(page.skip()).take(page.per_page) {
        items.push(ContactView::of(contact, &app).await?);
    }
    Ok(Listed { items, total, page, uri })
}

fn fits(contact: &Contact, wanted: Option<&str>) -> bool {
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return true };
    let texts = contact.name.iter().chain(&contact.email);
    texts.map(|text| text.to_lowercase()).any(|text| text.contains(wanted))
        || contact.identities.iter().any(|identity| identity.value.contains(wanted))
}

async fn get(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ContactId>,
) -> Result<Json<ContactView>, ApiError> {
    let contact = app.desk.contact(caller.tenant, id, ContactCommand::Look).await?;
    Ok(Json(ContactView::of(contact, &app).await?))
}

async fn update(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ContactId>,
    Body(patch, _): Body<ContactPatch>,
) -> Result<Json<ContactView>, ApiError> {
    let contact = app.desk.contact(caller.tenant, id, ContactCommand::Patch(patch)).await?;
    Ok(Json(ContactView::of(contact, &app).await?))
}

async fn conversations(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ContactId>,
    OriginalUri(uri): OriginalUri,
    Query(paging): Query<Paging>,
) -> Result<Listed<ConversationView>, ApiError> {
    let page = Page::of(paging.page, paging.per_page, &app)?;
    let contact = app.desk.contact(caller.tenant, id, ContactCommand::Look).await?;
    let ids = app.desk.of_contact(&contact, CONVERSATIONS_MAX).await?;
    let heads = app.desk.heads(caller.tenant, &ids).await?;
    let viewer = caller.viewer();
    let seen: Vec<_> = heads.iter().filter(|head| viewer.may_see(head.assignee)).collect();
    let total = seen.len();
    let items = seen.into_iter().skip(page.skip()).take(page.per_page);
    Ok(Listed { items: items.map(ConversationView::of).collect(), total, page, uri })
}
