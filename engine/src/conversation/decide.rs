//! What a command would do. Nothing is done here: the decision is a value, the same for the same
//! arguments.

use super::turn::Turn;
use super::{
    Answer, Command, Context, Conversation, Decision, Effect, Envelope, IdempotencyKey, Refused,
    State, TAGS_MAX, Target, amend, belonging, files, history, inbound, outbound, reactions,
    watermark,
};

use crate::fact::{ConversationStatus, Fact, UsedKey};
use crate::id::{AgentId, ConversationId};

/// What this command would do to the thread as it stands. Everything that
/// [`needs`](super::needs) names must be loaded.
pub fn decide(
    state: &State,
    envelope: &Envelope,
    context: &mut Context<'_>,
) -> Result<Decision, Refused> {
    if let Some(to) = state.thread.moved_to.filter(|_| goes_along(state, envelope, context)) {
        return Err(Refused::Moved(to));
    }
    if let Some(answer) = repeated(state, envelope, context)? {
        return Ok(answer);
    }
    let mut decision = match &envelope.command {
        Command::Receive(message) => inbound::receive(state, message, context),
        Command::Receipt(receipt) => inbound::receipt(state, receipt, context),
        Command::Watermark(mark) => watermark::raise(state, mark, context),
        Command::Echo(echo) => inbound::echo(state, echo, context),
        Command::Amend(amendment) => amend::amend(state, amendment, context),
        Command::Import(import) => history::import(state, import, context),
        Command::Identity(change) => belonging::note(state, change, context),
        Command::Fetched(fetched) => files::fetched(turn(state, envelope, context)?, fetched),
        Command::Send(draft) => {
            let turn = turn(state, envelope, context)?;
            outbound::send(state, turn, draft, open_case(state), context)
        }
        Command::React(draft) => {
            let turn = turn(state, envelope, context)?;
            reactions::react(turn, draft, open_case(state), context)
        }
        Command::BeginSend { message, place } => {
            outbound::begin(turn(state, envelope, context)?, *message, *place)
        }
        Command::EndSend { message, place, attempt, outcome } => {
            let turn = turn(state, envelope, context)?;
            outbound::end(turn, (*message, *place), *attempt, outcome, context.rules)
        }
        Command::Wake { mark, held } => {
            outbound::wake(turn(state, envelope, context)?, *mark, held)
        }
        Command::SetStatus { status } => {
            let turn = turn(state, envelope, context)?;
            let reopens = turn.head.status.is_closed() && !status.is_closed();
            if reopens && open_case(state) != Some(turn.head.id) {
                return Err(Refused::NotCurrent);
            }
            Ok(set_status(turn, *status))
        }
        Command::Assign { agent } => Ok(assign(turn(state, envelope, context)?, *agent)),
        Command::TakeOver { agent } => Ok(assign(turn(state, envelope, context)?, Some(*agent))),
        Command::MarkRead { up_to } => Ok(mark_read(turn(state, envelope, context)?, *up_to)),
        Command::SetTags { tags } => set_tags(turn(state, envelope, context)?, tags.clone()),
        Command::EditTags { add, remove } => {
            let turn = turn(state, envelope, context)?;
            let mut tags = turn.head.tags.clone();
            tags.retain(|tag| !remove.contains(tag));
            for tag in add {
                if !tags.contains(tag) {
                    tags.push(tag.clone());
                }
            }
            set_tags(turn, tags)
        }
        Command::Expire { older_than } => {
            let mut turn = turn(state, envelope, context)?;
            let from = turn.head.status;
            if !from.is_closed() && turn.head.last_message_at + *older_than <= turn.at {
                turn.record(Fact::Expired { from });
            }
            Ok(turn.done(None))
        }
        Command::ContactChanged { contact, name, phone } => {
            let (name, phone) = (name.as_deref(), phone.as_deref());
            Ok(belonging::contact_changed(state, *contact, name, phone, context))
        }
        Command::MoveTo(to) => belonging::move_to(state, *to, context),
        Command::TakeIn { older } => Ok(belonging::take_in(state, *older, context)),
        Command::Join(joined) => Ok(belonging::join(state, joined, context)),
        Command::Settle => Ok(belonging::settle(state, context)),
        Command::Look => Ok(turn(state, envelope, context)?.done(None)),
    }?;
    if let Some(IdempotencyKey { key, digest }) = envelope.key {
        let made = decision.rows.iter().find(|row| {
            decision.answer.message.as_ref().is_some_and(|message| message.id == row.message.id)
        });
        let (place, changed) = (made.map(|row| row.place), decision.answer.changed);
        decision.key = Some(UsedKey { key, digest, place, changed });
    }
    Ok(decision)
}

/// Whether a command goes where a moved thread went: everything for its current case does, but for
/// what happens to messages of the time when it was a thread of its own.
fn goes_along(state: &State, envelope: &Envelope, context: &Context<'_>) -> bool {
    envelope.target == Target::Current
        && match &envelope.command {
            // A write still on its way is of this thread: it must lose here.
            Command::Settle | Command::Wake { .. } => false,
            Command::Receipt(receipt) => !inbound::is_of_this(state, receipt, context),
            Command::Amend(amendment) => !amend::is_of_this(state, amendment, context),
            _ => true,
        }
}

/// The answer that a used idempotency key had.
fn repeated(
    state: &State,
    envelope: &Envelope,
    context: &Context<'_>,
) -> Result<Option<Decision>, Refused> {
    let Some(IdempotencyKey { key, digest }) = envelope.key else { return Ok(None) };
    let Some(used) = context.loaded.keys.get(&key).and_then(Option::as_ref) else {
        return Ok(None);
    };
    if used.digest != digest {
        return Err(Refused::KeyReused);
    }
    let turn = turn(state, envelope, context)?;
    if let Some(place) = used.place {
        turn.row(place)?;
    }
    let mut decision = turn.done(used.place);
    decision.answer = Answer { changed: used.changed, ..decision.answer };
    Ok(Some(decision))
}

/// A turn on the case that is meant, if the caller may see it.
fn turn<'a>(
    state: &State,
    envelope: &Envelope,
    context: &Context<'a>,
) -> Result<Turn<'a>, Refused> {
    let current = state.case.as_deref();
    let case = match envelope.target {
        Target::Current => current,
        Target::Conversation(id) => {
            current.filter(|case| case.id == id).or_else(|| context.loaded.cases.get(&id)?.as_ref())
        }
    };
    let case = case.filter(|case| may_see(case, envelope)).ok_or(Refused::NotFound)?;
    let by = envelope.by;
    Ok(Turn::new(case.clone(), context.loaded, by, context.now, context.commit_first))
}

/// The case that may take new messages.
fn open_case(state: &State) -> Option<ConversationId> {
    state.thread.current.filter(|_| state.thread.moved_to.is_none())
}

fn may_see(case: &Conversation, envelope: &Envelope) -> bool {
    envelope
        .viewer
        .is_none_or(|viewer| viewer.tenant == case.tenant && viewer.may_see(case.assignee))
}

fn set_status(mut turn: Turn<'_>, to: ConversationStatus) -> Decision {
    let from = turn.head.status;
    if from != to {
        turn.record(Fact::StatusChanged { from, to });
    }
    turn.done(None)
}

fn assign(mut turn: Turn<'_>, to: Option<AgentId>) -> Decision {
    let from = turn.head.assignee;
    if from != to {
        turn.record(Fact::Assigned { from, to });
    }
    turn.done(None)
}

/// The mark only moves forward. The provider hears of the newest message that was read.
fn mark_read(mut turn: Turn<'_>, up_to: Option<u64>) -> Decision {
    let unread = up_to.map_or(0, |seq| turn.head.unread_behind(seq));
    if unread < turn.head.unread {
        let provider_id = match turn.head.last_read(unread) {
            Some(place) => {
                turn.row(place).ok().and_then(|row| row.message.provider_message_id.clone())
            }
            None => turn.head.last_inbound_id.clone(),
        };
        turn.record(Fact::ReadMarked { unread });
        turn.effects.extend(provider_id.map(|provider_id| Effect::MarkRead { provider_id }));
    }
    turn.done(None)
}

fn set_tags(mut turn: Turn<'_>, to: Vec<String>) -> Result<Decision, Refused> {
    if to.len() > TAGS_MAX {
        return Err(Refused::TooManyTags);
    }
    let from = turn.head.tags.clone();
    if from != to {
        turn.record(Fact::TagsChanged { from, to });
    }
    Ok(turn.done(None))
}
