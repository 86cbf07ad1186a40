//! Messages of a conversation.

use actors::failure::{Failure, Full};
use actors::pages::{Asked, Sent};
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use engine::channel::Channel;
use engine::conversation::{Command, Conversation, Draft, ReactionDraft, Refused};
use engine::id::ConversationId;
use engine::message::{Message, Sender, SenderKind};
use engine::permission::Viewer;
use engine::saying::{self, MAIL_FILES_MAX, NewMessage};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Access, Route, media, route};
use crate::app::App;
use crate::crud::state;
use crate::error::ApiError;
use crate::extract::{Body, Encoded, Id, Key, Page, Query};
use crate::guard::Me;

pub fn routes() -> Vec<Route> {
    let path = "/api/conversations/{id}/messages";
    vec![
        route(Method::GET, path, Access::Member, "List messages in a conversation", list)
            .query::<ListQuery>()
            .answers::<Vec<Message>>(200),
        route(Method::POST, path, Access::Member, "Send an outbound message", send)
            .body::<NewMessage>(json!({"text": "Yes, it is in stock."}))
            .answers::<Message>(201),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Only messages with a smaller `seq`.
    #[serde(default)]
    before_seq: Option<u64>,
    /// Only messages with a larger `seq`.
    #[serde(default)]
    after_seq: Option<u64>,
    #[serde(default)]
    #[schemars(range(min = 1), extend("default" = 1))]
    page: Option<usize>,
    #[serde(default)]
    #[schemars(range(min = 1, max = 100), extend("default" = 20))]
    per_page: Option<usize>,
}

async fn list(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ConversationId>,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Encoded, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let (before, after) = (query.before_seq.unwrap_or(u64::MAX), query.after_seq.unwrap_or(0));
    let asked = Asked { before, after, skip: page.skip(), limit: page.per_page };
    let (viewer, pages) = (caller.viewer(), app.desk.pages());
    // Apart, so that what is kept takes no room for reading it.
    let read = || Box::pin(read(&app, viewer, id, asked));
    let sent = pages.get(viewer, id, asked, read).await?;
    let Sent { body, rows: items, total, .. } = sent;
    Ok(Encoded { body, items, total, page, uri })
}

async fn read(
    app: &App,
    viewer: Viewer,
    id: ConversationId,
    asked: Asked,
) -> Result<Sent, ApiError> {
    // First: of a long page few are held at once.
    let left_out = match asked.after {
        0 => 0,
        after => {
            let left_out = Asked { before: after.saturating_add(1), after: 0, skip: 0, limit: 1 };
            app.desk.page(viewer, id, left_out).await?.newest
        }
    };
    let found = app.desk.page(viewer, id, asked).await?;
    // Messages are numbered without a hole: those in between are as many as their numbers say.
    let total = usize::try_from(found.newest.saturating_sub(left_out)).unwrap_or(usize::MAX);
    let messages: Vec<_> = found.rows.iter().map(|row| &row.message).collect();
    let body = serde_json::to_vec(&messages).map_err(|error| {
        tracing::error!(%error, "messages cannot be written as JSON");
        ApiError::unavailable("these messages cannot be shown now; try again shortly")
    })?;
    // As large as it is: it may be kept.
    let body = Bytes::from(body.into_boxed_slice());
    let Conversation { tenant, assignee, .. } = found.head;
    Ok(Sent { tenant, assignee, body, rows: messages.len(), total })
}

async fn send(
    State(app): State<App>,
    Me(caller): Me,
    Id(id): Id<ConversationId>,
    key: Key,
    Body(body, digest): Body<NewMessage>,
) -> Result<(StatusCode, Json<Message>), ApiError> {
    let state = state(&app, &caller).await?;
    let name = state.agents.get(&caller.agent).map(|agent| agent.name.clone());
    let sender = Sender { kind: SenderKind::Agent, id: Some(caller.agent.0), name };
    let named: Vec<_> = body.media_ids().take(MAIL_FILES_MAX).collect();
    let files = media::all_sendable(&app, &caller, &named).await?;
    let (viewer, mut heads) = (caller.viewer(), app.desk.heads(caller.tenant, &[id]).await?);
    // What is not theirs to see is as if it was not there, whatever is wrong with it.
    heads.retain(|head| viewer.may_see(head.assignee));
    // Whoever names none that is there hears first what is wrong with the body.
    let channel = heads.first().map_or(Channel::Whatsapp, |head| head.channel);
    let asked = body.asked(channel, &files)?;
    let head = heads.first().ok_or(Refused::NotFound)?;
    if head.pending.is_empty() && !app.outbox.has_room(head.account) {
        return Err(Failure::busy(Full::Account).into());
    }
    let account = state.accounts.get(&head.account);
    if account.is_some_and(|account| !account.has_way_out()) {
        let message = "the account only takes mails; give it an `smtp_url` under integrations";
        return Err(ApiError::conflict("no_smtp", message));
    }
    let account_can_send = account.is_some_and(|account| account.can_send(app.tenants.now()));
    let command = match asked {
        saying::Asked::Message { mut saying, reply_to } => {
            head.channel.check(&mut saying)?;
            let most = app.config.limits.mail_file_bytes as u64;
            if saying.file_bytes() > most {
                let message = format!("must have at most {most} bytes together");
                return Err(ApiError::invalid("attachments", message));
            }
            Command::Send(Draft { saying, reply_to, sender, account_can_send })
        }
        saying::Asked::Reaction(reaction) => {
            head.channel.check_reaction(&reaction)?;
            let emoji = Some(reaction.emoji).filter(|emoji| !emoji.is_empty());
            let message = reaction.message_id;
            Command::React(ReactionDraft { message, emoji, sender, account_can_send })
        }
    };
    let key = key.of(caller.agent.0, &format!("POST messages {id}"), digest);
    let answer = app.desk.ask(viewer, id, key, command).await?;
    let message = *answer.message.ok_or(Refused::NoSuchMessage)?;
    Ok((StatusCode::CREATED, Json(message)))
}
