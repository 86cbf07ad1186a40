//! Messages of a conversation.

use actors::failure::{Failure, Full};
use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{Method, StatusCode};
use engine::channel::Channel;
use engine::conversation::{Command, Draft, ReactionDraft, Refused};
use engine::id::ConversationId;
use engine::message::{Message, Sender, SenderKind};
use engine::saying::{Asked, MAIL_FILES_MAX, NewMessage};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::{Access, Route, media, route};
use crate::app::App;
use crate::crud::state;
use crate::error::ApiError;
use crate::extract::{Body, Id, Key, Listed, Page, Query};
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
) -> Result<Listed<Message>, ApiError> {
    let page = Page::of(query.page, query.per_page, &app)?;
    let (before, after) = (query.before_seq.unwrap_or(u64::MAX), query.after_seq.unwrap_or(0));
    let asked = (page.skip(), page.per_page);
    let (rows, newest) = app.desk.page(caller.viewer(), id, (before, after), asked).await?;
    // Messages are numbered without a hole: those in between are as many as their numbers say.
    let left_out = match (after, newest) {
        (0, _) | (_, 0) => 0,
        _ => app.desk.page(caller.viewer(), id, (after.saturating_add(1), 0), (0, 1)).await?.1,
    };
    let total = usize::try_from(newest.saturating_sub(left_out)).unwrap_or(usize::MAX);
    let items = rows.into_iter().map(|row| row.message).collect();
    Ok(Listed { items, total, page, uri })
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
    let heads = app.desk.heads(caller.tenant, &[id]).await?;
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
        Asked::Message { mut saying, reply_to } => {
            head.channel.check(&mut saying)?;
            let most = app.config.limits.mail_file_bytes as u64;
            if saying.file_bytes() > most {
                let message = format!("must have at most {most} bytes together");
                return Err(ApiError::invalid("attachments", message));
            }
            Command::Send(Draft { saying, reply_to, sender, account_can_send })
        }
        Asked::Reaction(reaction) => {
            head.channel.check_reaction(&reaction)?;
            let emoji = Some(reaction.emoji).filter(|emoji| !emoji.is_empty());
            let message = reaction.message_id;
            Command::React(ReactionDraft { message, emoji, sender, account_can_send })
        }
    };
    let key = key.of(caller.agent.0, &format!("POST messages {id}"), digest);
    let answer = app.desk.ask(caller.viewer(), id, key, command).await?;
    let message = answer.message.ok_or(Refused::NoSuchMessage)?;
    Ok((StatusCode::CREATED, Json(message)))
}
