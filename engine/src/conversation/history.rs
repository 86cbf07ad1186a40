//! History of before the account was connected. It becomes cases of its own, closed from the
//! beginning, one for each phase in which the provider hands it over: the newest phase comes first,
//! and a case is read in the order in which it was written. Nobody is told, nothing is unread, and
//! the current case does not know of it.

use super::inbound::{at, find};
use super::turn::Turn;
use super::{Context, Conversation, Decision, History, Marks, Refused, State, Thread};
use crate::channel::{Import, Imported};
use crate::fact::{By, Fact};
use crate::id::ConversationId;
use crate::message::{Direction, MessageKind, MessageStatus, Place, Sender, SenderKind};
use crate::mint::Mint;
use crate::time::Timestamp;

/// Where a file goes that comes behind its history, and names nothing of it.
const LAST_PHASE: u8 = 0;

/// Takes a part of a phase, or a file that came behind.
pub(super) fn import(
    state: &State,
    import: &Import,
    context: &mut Context<'_>,
) -> Result<Decision, Refused> {
    if let (None, [file]) = (import.phase, &import.messages[..])
        && let Some((conversation, place)) = find(state, context, &file.provider_id)
    {
        return fill(state, context, conversation, place, file);
    }
    let mut thread = state.thread.clone();
    let mut turn = phase(&mut thread, import, context);
    let news: Vec<_> = import
        .messages
        .iter()
        .filter(|message| find(state, context, &message.provider_id).is_none())
        .collect();
    for (n, message) in news.iter().enumerate() {
        if news[..n].iter().any(|before| before.provider_id == message.provider_id) {
            continue;
        }
        if turn.head.seq == 0 {
            let first = news.iter().filter_map(|message| message.sent_at).min();
            turn.record(opened(&turn, context, first.unwrap_or(context.now)));
        }
        add(&mut turn, message, context.mint);
        let history = thread.history.get_or_insert_default();
        history.until = history.until.max(message.sent_at);
    }
    turn.thread = (!turn.is_empty()).then_some(thread);
    Ok(turn.done(None))
}

/// A turn on the case of this phase, which may have to begin.
fn phase<'a>(thread: &mut Thread, import: &Import, context: &mut Context<'a>) -> Turn<'a> {
    let phase = import.phase.unwrap_or(LAST_PHASE);
    let history = thread.history.get_or_insert_default();
    let id = history.case(import.phase).unwrap_or_else(|| {
        let id = context.mint.conversation(thread.id.shard());
        history.cases.push((phase, id));
        id
    });
    let head = context.loaded.cases.get(&id).cloned().flatten();
    let is_there = head.is_some();
    let head = head.unwrap_or_else(|| Conversation { case: 0, ..Conversation::blank(id, thread) });
    let first = context.commit_first.filter(|_| is_there);
    Turn::new(head, context.loaded, By::Provider, context.now, first)
}

fn opened(turn: &Turn<'_>, context: &Context<'_>, since: Timestamp) -> Fact {
    Fact::Opened {
        case: turn.head.case,
        contact_name: context.contact_name.map(str::to_owned),
        contact_phone: context.contact_phone.map(str::to_owned),
        last_inbound_at: None,
        waiting: Vec::new(),
        parked: Vec::new(),
        marks: Marks::default(),
        history_since: Some(since),
    }
}

fn add(turn: &mut Turn<'_>, imported: &Imported, mint: &mut dyn Mint) {
    let (direction, sender) = match (imported.is_ours, &imported.author) {
        (true, _) => {
            let sender = Sender { kind: SenderKind::Provider, id: None, name: None };
            (Direction::Outbound, sender)
        }
        (false, Some(author)) => (Direction::Inbound, author.sender()),
        (false, None) => (Direction::Inbound, turn.customer()),
    };
    let mut row = turn.blank(mint.message(), direction, sender);
    row.say(imported.content.clone());
    row.message.status = match imported.is_ours {
        true => imported.status,
        false => MessageStatus::Received,
    };
    row.message.created_at = imported.sent_at.unwrap_or(turn.at);
    row.message.sent_at = imported.sent_at;
    row.message.provider_message_id = Some(imported.provider_id.clone());
    row.message.reply_to.clone_from(&imported.reply_to);
    row.message.forwarded = imported.forwarded;
    let (message, place) = (row.message.id, row.place);
    let (provider_id, sent_at) = (imported.provider_id.clone(), imported.sent_at);
    turn.add(row, By::Provider, Fact::Imported { message, place, provider_id, sent_at });
}

/// A file takes the place that was held for it.
fn fill(
    state: &State,
    context: &Context<'_>,
    conversation: ConversationId,
    place: Place,
    file: &Imported,
) -> Result<Decision, Refused> {
    let mut turn = at(state, context, conversation)?;
    let row = turn.row(place)?;
    let is_held = row.message.kind == MessageKind::Unsupported
        && row.message.provider_message_id.as_deref() == Some(&*file.provider_id)
        && row.message.deleted_at.is_none();
    if is_held && file.content.kind != MessageKind::Unsupported {
        let (message, replaces, content) = (row.message.id, row.content, turn.next_content());
        turn.contents.push(((conversation, content), Some(file.content.clone())));
        turn.record(Fact::Filled { message, place, content, replaces });
    }
    Ok(turn.done(Some(place)))
}

impl History {
    /// Whether a message of this time may be of the history.
    pub(super) fn may_hold(&self, sent_at: Option<Timestamp>) -> bool {
        sent_at.is_none() || sent_at <= self.until
    }

    /// The case of a phase.
    pub(super) fn case(&self, phase: Option<u8>) -> Option<ConversationId> {
        let phase = phase.unwrap_or(LAST_PHASE);
        self.cases.iter().find(|(of, _)| *of == phase).map(|(_, id)| *id)
    }
}
