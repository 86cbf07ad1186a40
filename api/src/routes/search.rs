//! Messages of all conversations, by what they say.

use std::collections::HashSet;

use actors::contact::ContactCommand;
use actors::search::Asked;
use axum::extract::{OriginalUri, State};
use axum::http::Method;
use engine::channel::Channel;
use engine::id::{ContactId, ConversationId};
use engine::message::Message;
use engine::search::{Part, Wanted};
use engine::time::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contacts::CONVERSATIONS_MAX;
use super::{Access, Route, route};
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Listed, Page, Query};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let (path, title) = ("/api/messages/search", "Search messages across conversations");
    vec![
        route(Method::GET, path, Access::Member, title, search)
            .query::<SearchQuery>()
            .answers::<Vec<FoundMessage>>(200),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    /// Words that a message must have, each or its beginning; what is written without a space between
    /// must stand so. Without it all messages are found.
    #[serde(default)]
    q: Option<String>,
    #[serde(default)]
    contact_id: Option<ContactId>,
    #[serde(default)]
    channel: Option<Channel>,
    /// Not older than this.
    #[serde(default)]
    from: Option<Timestamp>,
    /// Older than this.
    #[serde(default)]
    to: Option<Timestamp>,
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    per_page: Option<usize>,
}

/// A message that was found.
#[derive(Serialize, JsonSchema)]
struct FoundMessage {
    #[serde(flatten)]
    message: Message,
    channel: Channel,
    contact_id: ContactId,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact_name: Option<String>,
    /// Its texts in which something of `q` stands, each around the first place and in parts.
    highlights: Vec<Vec<Part>>,
}

async fn search(
    State(app): State<App>,
    Me(caller): Me,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<SearchQuery>,
) -> Result<Listed<FoundMessage>, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let wanted = wanted(query.q.as_deref(), app.config.limits.search_words)?;
    if query.from.zip(query.to).is_some_and(|(from, to)| from > to) {
        return Err(ApiError::invalid("to", "must not be before `from`"));
    }
    let within: Option<HashSet<ConversationId>> = match query.contact_id {
        Some(id) => {
            let contact = app.desk.contact(caller.tenant, id, ContactCommand::Look).await?;
            let ids = app.desk.of_contact(&contact, CONVERSATIONS_MAX).await?;
            Some(ids.into_iter().collect())
        }
        None => None,
    };
    let SearchQuery { channel, from, to, .. } = query;
    let asked = Asked { wanted, channel, from, to, within };
    let found = app.search.find(caller.viewer(), asked, (page.skip(), page.per_page)).await?;
    let items = found.messages.into_iter().map(|found| FoundMessage {
        message: found.row.message,
        channel: found.head.channel,
        contact_id: found.head.contact,
        contact_name: found.head.contact_name,
        highlights: found.highlights,
    });
    Ok(Listed { items: items.collect(), total: found.total, page, uri })
}

/// What is asked for, which must be something, and not too much.
fn wanted(q: Option<&str>, words_max: usize) -> Result<Wanted, ApiError> {
    let Some(q) = q else { return Ok(Wanted::default()) };
    let wanted = Wanted::of(q);
    match wanted.words() {
        0 => Err(ApiError::invalid("q", "must have a word; leave it out to find all messages")),
        words if words > words_max => {
            Err(ApiError::invalid("q", format!("has {words} words; at most {words_max} are taken")))
        }
        _ => Ok(wanted),
    }
}
