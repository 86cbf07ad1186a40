//! Customers.

use actors::contact::ContactCommand;
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::Method;
use engine::consent::OptOut;
use engine::contact::{Contact, ContactPatch, Identity, MergeSuggestion};
use engine::conversation::ConversationView;
use engine::id::ContactId;
use engine::search::contact::Sought;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Access, Route, route};
use crate::app::App;
use crate::crud::state;
use crate::error::ApiError;
use crate::extract::{Body, Id, Key, Listed, Page, Paging, Query};
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
    /// A name, a number or an address, in one of the ways below. What is asked for must all be so;
    /// what is empty asks for nothing.
    #[serde(default)]
    search: Option<String>,
    /// Words of a name in any order, each or its beginning; in scripts without spaces any part.
    #[serde(default)]
    name: Option<String>,
    /// A number, its beginning or its end, three digits at least, however it is written.
    #[serde(default)]
    phone: Option<String>,
    /// An address, its domain, or the beginning of one of them.
    #[serde(default)]
    email: Option<String>,
    /// A tag, exactly as it is written.
    #[serde(default)]
    tag: Option<String>,
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

/// At most so many conversations of one contact are listed.
pub const CONVERSATIONS_MAX: usize = 1_000;

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Listed<ContactView>, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let (skip, limit) = (page.skip(), page.per_page);
    let (contacts, total) = match sought(&query, app.config.limits.search_words)? {
        Some(sought) => app.search.contacts(caller.tenant, sought, (skip, limit)).await?,
        None => {
            let since = state(&app, &caller).await?.tenant.created_at;
            app.desk.contacts(caller.tenant, since, (skip, limit)).await?
        }
    };
    let mut items = Vec::with_capacity(contacts.len());
    for contact in contacts {
        items.push(ContactView::of(contact, &app).await?);
    }
    Ok(Listed { items, total, page, uri })
}

/// What a query asks for, if for anything.
fn sought(query: &ListQuery, words_max: usize) -> Result<Option<Sought>, ApiError> {
    type Read = fn(&str) -> Option<Sought>;
    let filters: [(&str, &Option<String>, Read, &str); 5] = [
        ("search", &query.search, Sought::of, "must have a letter or a digit"),
        ("name", &query.name, Sought::name, "must have a letter or a digit"),
        (
            "phone",
            &query.phone,
            Sought::phone,
            "must be at least three digits of a number's beginning or end",
        ),
        (
            "email",
            &query.email,
            Sought::email,
            "must be an address, a domain, or the beginning of one of them",
        ),
        ("tag", &query.tag, Sought::tag, "must be a tag"),
    ];
    let mut all = Vec::new();
    for (field, typed, read, must) in filters {
        let Some(typed) = typed.as_deref().filter(|typed| !typed.trim().is_empty()) else {
            continue;
        };
        let sought = read(typed).ok_or_else(|| ApiError::invalid(field, must))?;
        let words = sought.words();
        if words > words_max {
            let message = format!("has {words} words; at most {words_max} are taken");
            return Err(ApiError::invalid(field, message));
        }
        all.push(sought);
    }
    Ok((!all.is_empty()).then_some(Sought::All(all)))
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
    key: Key,
    Body(patch, digest): Body<ContactPatch>,
) -> Result<Json<ContactView>, ApiError> {
    // Before it waits for its contact: it is small then.
    let patch = patch.checked()?;
    let command = ContactCommand::Patch(patch, key.of(caller.agent.0, &key.route, digest));
    let contact = app.desk.contact(caller.tenant, id, command).await?;
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
