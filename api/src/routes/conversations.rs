//! Conversations: lists, and what people do with one.

use std::collections::HashSet;
use std::sync::Arc;

use actors::failure::Failure;
use actors::inbox::Filter;
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::Method;
use engine::conversation::{Answer, Command, Conversation, ConversationView, Refused, tags};
use engine::fact::ConversationStatus;
use engine::id::{AgentId, ConversationId};
use engine::permission::Permission;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Access, Route, route};
use crate::app::App;
use crate::crud::{Once, once, state};
use crate::error::ApiError;
use crate::extract::{Body, Id, Key, Listed, NO_BODY, Page, Query};
use crate::guard::{self, Me};

pub fn routes() -> Vec<Route> {
    let assigns = Access::Permission(Permission::ConversationsAssign);
    let member = Access::Member;
    let bulk_example = json!({
        "conversation_ids": ["01890000-0000-7000-8000-000000000000"], "action": {"type": "resolve"},
    });
    vec![
        route(Method::GET, "/api/conversations", member, "List conversations", list)
            .query::<ListQuery>()
            .answers::<Vec<ConversationView>>(200),
        route(Method::GET, "/api/conversations/{id}", member, "Get a single conversation", get)
            .answers::<ConversationView>(200),
        route(
            Method::PATCH,
            "/api/conversations/{id}/assign",
            assigns,
            "Assign or unassign an agent",
            assign,
        )
        .body::<Assign>(json!({"agent_id": null}))
        .answers::<ConversationAssigned>(200),
        route(
            Method::PATCH,
            "/api/conversations/{id}/status",
            member,
            "Update conversation status",
            set_status,
        )
        .body::<SetStatus>(json!({"status": "pending"}))
        .answers::<ConversationStatusUpdated>(200),
        route(
            Method::POST,
            "/api/conversations/{id}/read",
            member,
            "Mark conversation as read",
            mark_read,
        )
        .answers::<ConversationRead>(200),
        route(
            Method::POST,
            "/api/conversations/expire",
            assigns,
            "Expire stale conversations",
            expire,
        )
        .answers::<ConversationsExpired>(200),
        route(
            Method::PATCH,
            "/api/conversations/{id}/tags",
            member,
            "Update conversation tags",
            set_tags,
        )
        .body::<SetTags>(json!({"tags": ["vip"]}))
        .answers::<ConversationTagsUpdated>(200),
        route(
            Method::POST,
            "/api/conversations/{id}/takeover",
            member,
            "Takeover a conversation",
            take_over,
        )
        .answers::<ConversationTakenOver>(200),
        route(Method::POST, "/api/conversations/bulk", member, "Bulk conversation actions", bulk)
            .body::<Bulk>(bulk_example)
            .answers::<BulkActionApplied>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    #[serde(default)]
    status: Option<ConversationStatus>,
    #[serde(default)]
    assigned_agent_id: Option<AgentId>,
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    per_page: Option<usize>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Assign {
    /// Null, or left out: nobody's.
    #[serde(default)]
    agent_id: Option<AgentId>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetStatus {
    status: ConversationStatus,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetTags {
    /// Replaces all tags.
    tags: Vec<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Bulk {
    /// Those that are unknown, or not the caller's to see, are skipped.
    #[schemars(length(min = 1, max = 100))]
    conversation_ids: Vec<String>,
    action: BulkAction,
}

/// What is done with each.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum BulkAction {
    // With braces: a variant without takes any field.
    Resolve {},
    Reopen {},
    /// Null: nobody's.
    Assign {
        #[serde(default)]
        agent_id: Option<AgentId>,
    },
    AddTags {
        tags: Vec<String>,
    },
    RemoveTags {
        tags: Vec<String>,
    },
}

#[derive(Serialize, JsonSchema)]
struct ConversationAssigned {
    message: &'static str,
    conversation_id: ConversationId,
    assigned_agent_id: Option<AgentId>,
}

#[derive(Serialize, JsonSchema)]
struct ConversationStatusUpdated {
    message: &'static str,
    conversation_id: ConversationId,
    status: ConversationStatus,
}

#[derive(Serialize, JsonSchema)]
struct ConversationRead {
    message: &'static str,
    conversation_id: ConversationId,
    unread_count: u32,
}

#[derive(Serialize, JsonSchema)]
struct ConversationsExpired {
    message: &'static str,
    expired_count: usize,
}

#[derive(Serialize, JsonSchema)]
struct ConversationTagsUpdated {
    message: &'static str,
    conversation_id: ConversationId,
    tags: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct ConversationTakenOver {
    message: &'static str,
    conversation_id: ConversationId,
    assigned_agent_id: Option<AgentId>,
}

#[derive(Serialize, JsonSchema)]
struct BulkActionApplied {
    message: &'static str,
    affected_count: usize,
}

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Listed<ConversationView>, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let filter =
        Filter { status: query.status, assignee: query.assigned_agent_id, unassigned: false };
    let tenant = state(&app, &caller).await?;
    let imported = tenant.accounts.values().filter_map(|account| account.heard.history_since);
    let imported = imported.chain(tenant.tenant.history_since);
    let since = imported.fold(tenant.tenant.created_at, Timestamp::min);
    let times = (app.tenants.now(), since);
    let viewer = caller.viewer();
    let found = app.inboxes.page(viewer, filter, page.skip(), page.per_page, times).await?;
    let heads = app.desk.heads(caller.tenant, &found.ids).await?;
    // What changed hands since the list was made is not shown.
    let seen = heads.iter().filter(|head| viewer.may_see(head.assignee));
    let items = seen.map(ConversationView::of).collect();
    Ok(Listed { items, total: found.total, page, uri })
}

async fn get(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ConversationId>,
) -> Result<Json<ConversationView>, ApiError> {
    let answer = app.desk.ask(caller.viewer(), id, None, Command::Look).await?;
    Ok(Json(ConversationView::of(&head(answer)?)))
}

async fn assign(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ConversationId>,
    key: Key,
    Body(body, digest): Body<Assign>,
) -> Result<Json<ConversationAssigned>, ApiError> {
    if let Some(agent) = body.agent_id {
        active_agent(&app, &caller, agent, "agent_id").await?;
    }
    let command = Command::Assign { agent: body.agent_id };
    let key = key.of(caller.agent.0, &format!("PATCH assign {id}"), digest);
    let head = head(app.desk.ask(caller.viewer(), id, key, command).await?)?;
    let message = if head.assignee.is_some() { "agent assigned" } else { "agent unassigned" };
    let assigned_agent_id = head.assignee;
    Ok(Json(ConversationAssigned { message, conversation_id: id, assigned_agent_id }))
}

async fn set_status(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ConversationId>,
    key: Key,
    Body(body, digest): Body<SetStatus>,
) -> Result<Json<ConversationStatusUpdated>, ApiError> {
    let command = Command::SetStatus { status: body.status };
    let key = key.of(caller.agent.0, &format!("PATCH status {id}"), digest);
    let head = head(app.desk.ask(caller.viewer(), id, key, command).await?)?;
    let (message, status) = ("status updated", head.status);
    Ok(Json(ConversationStatusUpdated { message, conversation_id: id, status }))
}

async fn mark_read(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ConversationId>,
    key: Key,
) -> Result<Json<ConversationRead>, ApiError> {
    let key = key.of(caller.agent.0, &format!("POST read {id}"), NO_BODY);
    let command = Command::MarkRead { up_to: None };
    let head = head(app.desk.ask(caller.viewer(), id, key, command).await?)?;
    let (message, unread_count) = ("marked as read", head.unread);
    Ok(Json(ConversationRead { message, conversation_id: id, unread_count }))
}

async fn expire(
    State(app): State<App>,
    Me(caller): Me,
) -> Result<Json<ConversationsExpired>, ApiError> {
    let older_than = app.config.conversations.reopen_within;
    let since = app.tenants.now() - older_than;
    let mut expired_count = 0;
    for id in app.inboxes.stale(caller.tenant, since).await? {
        guard::still(&app, &caller).await?;
        let command = Command::Expire { older_than };
        match app.desk.ask(caller.viewer(), id, None, command).await {
            Ok(answer) => expired_count += usize::from(answer.changed),
            // Not the caller's to see, gone meanwhile, or parked: the others go on.
            Err(Failure::Refused(_) | Failure::Parked) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(Json(ConversationsExpired { message: "conversations expired", expired_count }))
}

async fn set_tags(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ConversationId>,
    key: Key,
    Body(body, digest): Body<SetTags>,
) -> Result<Json<ConversationTagsUpdated>, ApiError> {
    let command = Command::SetTags { tags: tags(body.tags)? };
    let key = key.of(caller.agent.0, &format!("PATCH tags {id}"), digest);
    let head = head(app.desk.ask(caller.viewer(), id, key, command).await?)?;
    let (message, tags) = ("tags updated", head.tags);
    Ok(Json(ConversationTagsUpdated { message, conversation_id: id, tags }))
}

async fn take_over(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ConversationId>,
    key: Key,
) -> Result<Json<ConversationTakenOver>, ApiError> {
    let command = Command::TakeOver { agent: caller.agent };
    let key = key.of(caller.agent.0, &format!("POST takeover {id}"), NO_BODY);
    let head = head(app.desk.ask(caller.viewer(), id, key, command).await?)?;
    let (message, assigned_agent_id) = ("conversation taken over", head.assignee);
    Ok(Json(ConversationTakenOver { message, conversation_id: id, assigned_agent_id }))
}

async fn bulk(
    State(app): State<App>,
    Me(caller): Me,
    key: Key,
    Body(body, digest): Body<Bulk>,
) -> Result<Json<BulkActionApplied>, ApiError> {
    if body.conversation_ids.is_empty() || body.conversation_ids.len() > 100 {
        return Err(ApiError::invalid("conversation_ids", "must have 1 to 100 ids"));
    }
    let command = match body.action {
        BulkAction::Resolve {} => Command::SetStatus { status: ConversationStatus::Resolved },
        BulkAction::Reopen {} => Command::SetStatus { status: ConversationStatus::Open },
        BulkAction::Assign { agent_id } => {
            if !caller.permissions.has(Permission::ConversationsAssign) {
                let code = Permission::ConversationsAssign.code();
                let message = format!("your role does not allow this; it needs `{code}`");
                return Err(ApiError::forbidden(message));
            }
            if let Some(agent) = agent_id {
                active_agent(&app, &caller, agent, "action.agent_id").await?;
            }
            Command::Assign { agent: agent_id }
        }
        BulkAction::AddTags { tags: add } => {
            let add = tags(add).map_err(|invalid| invalid.within("action"))?;
            Command::EditTags { add, remove: Vec::new() }
        }
        BulkAction::RemoveTags { tags: remove } => {
            let remove = tags(remove).map_err(|invalid| invalid.within("action"))?;
            Command::EditTags { add: Vec::new(), remove }
        }
    };
    // One by one they know only the keys that were used for each.
    once(&app, &caller, Once::of(&caller, &key, digest)).await?;
    let mut affected_count = 0;
    let mut named = HashSet::new();
    for id in body.conversation_ids.iter().filter_map(|id| id.parse().ok()) {
        if !named.insert(id) {
            // With a key it would be answered, and counted, as before.
            continue;
        }
        guard::still(&app, &caller).await?;
        let key = key.of(caller.agent.0, &format!("POST bulk {id}"), digest);
        match app.desk.ask(caller.viewer(), id, key, command.clone()).await {
            Ok(answer) => affected_count += usize::from(answer.changed),
            Err(Failure::Refused(refused @ Refused::KeyReused)) => return Err(refused.into()),
            Err(Failure::Refused(_) | Failure::Parked) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(Json(BulkActionApplied { message: "bulk action applied", affected_count }))
}

fn head(answer: Answer) -> Result<Conversation, ApiError> {
    answer.conversation.map(Arc::unwrap_or_clone).ok_or_else(|| Refused::NotFound.into())
}

async fn active_agent(
    app: &App,
    caller: &actors::tenants::Caller,
    agent: AgentId,
    field: &str,
) -> Result<(), ApiError> {
    let state = state(app, caller).await?;
    if state.agents.get(&agent).is_some_and(|agent| agent.is_active) {
        return Ok(());
    }
    Err(ApiError::invalid(field, "must be an active agent of your organization"))
}
