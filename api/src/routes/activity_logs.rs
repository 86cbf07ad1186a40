//! What people changed of their organization, and who.

use axum::extract::{OriginalUri, State};
use axum::http::Method;
use engine::activity::{Activity, Difference};
use engine::id::{ActivityId, AgentId, ApiKeyId};
use engine::permission::Permission;
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use storage::activity::Span;
use storage::keys::made_at;
use uuid::Uuid;

use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Listed, Page, Query};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let view = Access::Permission(Permission::ActivityView);
    vec![
        route(Method::GET, "/api/activity-logs", view, "List activity logs", list)
            .query::<ListQuery>()
            .answers::<Vec<ActivityView>>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only what this agent did.
    #[serde(default)]
    agent_id: Option<AgentId>,
    /// Only what was done like this, e.g. `role.updated`.
    #[serde(default)]
    action: Option<String>,
    /// Only what was done to this kind of thing, e.g. `role`.
    #[serde(default)]
    kind: Option<String>,
    /// Only what was done to the thing with this id.
    #[serde(default)]
    entity_id: Option<Uuid>,
    /// Only from then on.
    #[serde(default)]
    from: Option<Timestamp>,
    /// Only before then. One request looks at a limited number of entries: this leads further back.
    #[serde(default)]
    to: Option<Timestamp>,
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    per_page: Option<usize>,
}

/// Something that somebody did. It is known for a year.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ActivityLog")]
struct ActivityView {
    id: ActivityId,
    /// What was done to which kind of thing, e.g. `role.updated`.
    action: String,
    agent_id: AgentId,
    /// What they were called then.
    agent_name: String,
    /// The API key by which they did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_id: Option<ApiKeyId>,
    entity: Entity,
    /// The fields that are different since, as the thing is shown; secrets are masked.
    changes: Vec<ChangeView>,
    /// So many more changed and are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes_left_out: Option<usize>,
    created_at: Timestamp,
}

/// What it was done to.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Entity {
    /// E.g. `role`.
    kind: String,
    id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ChangeView {
    /// The field's path, e.g. `config.access_token`.
    field: String,
    /// Without it there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Value>,
    /// Without it there is nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Value>,
    /// A value is too long: it is told in part or not at all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

impl From<Activity> for ActivityView {
    fn from(activity: Activity) -> Self {
        let Activity { id, by, by_name, key, action, thing, differences } = activity;
        Self {
            id,
            action,
            agent_id: by,
            agent_name: by_name,
            api_key_id: key,
            entity: Entity { kind: thing.kind, id: thing.id, name: thing.name },
            changes: differences.fields.into_iter().map(ChangeView::from).collect(),
            changes_left_out: Some(differences.left_out).filter(|left_out| *left_out > 0),
            created_at: made_at(id.0),
        }
    }
}

impl From<Difference> for ChangeView {
    fn from(Difference { field, from, to, cut }: Difference) -> Self {
        Self { field, from, to, cut }
    }
}

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Listed<ActivityView>, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let from = query.from.unwrap_or_default();
    let to = query.to.unwrap_or(Timestamp(i64::MAX));
    if to < from {
        return Err(ApiError::invalid("to", "must not be earlier than `from`"));
    }
    let fits = |one: &Activity| {
        query.agent_id.is_none_or(|agent| agent == one.by)
            && query.entity_id.is_none_or(|id| id == one.thing.id)
            && query.action.as_ref().is_none_or(|action| *action == one.action)
            && query.kind.as_ref().is_none_or(|kind| *kind == one.thing.kind)
    };
    let span = Span { from, to, most: app.config.limits.activity_scanned };
    let (window, now) = ((page.skip(), page.per_page), app.tenants.now());
    let (found, total) = app.activity.page(caller.tenant, span, fits, window, now).await?;
    Ok(Listed { items: found.into_iter().map(ActivityView::from).collect(), total, page, uri })
}
