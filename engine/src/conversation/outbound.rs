//! What goes to the customer: one message at a time, begun durably, ended however late.

use super::inbound::find;
use super::turn::{Progress, Turn};
use super::{Context, Decision, Draft, Effect, Pending, Refused, Rules, State, THROTTLED_MAX};
use crate::channel::{Carrier, Outcome, Slow, email};
use crate::fact::{ConversationStatus, Fact};
use crate::id::{ConversationId, MessageId};
use crate::message::{Direction, MessageError, MessageRow, MessageStatus, Place, SenderKind};
use crate::time::Timestamp;

/// Somebody says something to the customer.
pub(super) fn send<'a>(
    state: &State,
    mut turn: Turn<'a>,
    draft: &Draft,
    current: Option<ConversationId>,
    context: &mut Context<'a>,
) -> Result<Decision, Refused> {
    ready(&turn, current, draft.account_can_send, context.rules)?;
    if !draft.saying.is_always_allowed() {
        turn.check_window()?;
    }
    let quoted = match draft.reply_to {
        None => None,
        Some(id) => {
            let place = context.loaded.messages.get(&(turn.head.id, id)).copied().flatten();
            Some(turn.row(place.ok_or(Refused::NoSuchMessage)?)?.clone())
        }
    };
    let is_named = quoted.is_some();
    let quoted = quoted.or_else(|| answered(state, &turn, context));
    let customer = Some(turn.head.contact.0);
    let is_meant =
        is_named || quoted.as_ref().is_some_and(|quoted| quoted.message.sender.id == customer);
    let is_by_program = draft.sender.kind != SenderKind::Agent;
    if is_by_program && quoted.as_ref().is_some_and(|quoted| quoted.message.automatic) {
        return Err(Refused::Automatic);
    }
    let from = turn.head.status;
    if from.is_closed() {
        turn.record(Fact::StatusChanged { from, to: ConversationStatus::Open });
    }
    let mut row = turn.blank(context.mint.message(), Direction::Outbound, draft.sender.clone());
    row.say(draft.saying.shown());
    if turn.head.channel.carrier() == Carrier::Mail {
        address(&mut row, quoted.as_ref(), is_meant);
    }
    row.message.reply_to_message_id = quoted.as_ref().map(|quoted| quoted.message.id);
    row.message.reply_to = quoted.and_then(|quoted| quoted.message.provider_message_id);
    let (message, place) = (row.message.id, row.place);
    turn.add(row, turn.by, Fact::Queued { message, place });
    if turn.head.pending.len() == 1 {
        turn.enqueue_first();
    }
    Ok(turn.done(Some(place)))
}

/// What a mail answers that names nothing: the newest that came.
fn answered(state: &State, turn: &Turn<'_>, context: &Context<'_>) -> Option<MessageRow> {
    let newest = turn.head.last_inbound_id.as_deref();
    let newest = newest.filter(|_| turn.head.channel.carrier() == Carrier::Mail)?;
    context.loaded.rows.get(&find(state, context, newest)?)?.clone()
}

/// A mail's headers: what it is about, what it answers, and to whom it goes. Who writes in a thread
/// without being its customer is answered only where they are meant: anybody can write into it.
fn address(row: &mut MessageRow, answered: Option<&MessageRow>, is_meant: bool) {
    let message = &mut row.message;
    if message.subject.is_none() {
        let subject = answered.and_then(|answered| answered.message.subject.as_deref());
        message.subject = Some(email::answering(subject));
    }
    message.automatic = message.sender.kind != SenderKind::Agent;
    row.mail = answered.map(|answered| email::answer(answered, is_meant));
}

/// Refuses where nothing can be sent to the customer now, whatever it is.
pub(super) fn ready(
    turn: &Turn<'_>,
    current: Option<ConversationId>,
    account_can_send: bool,
    rules: &Rules,
) -> Result<(), Refused> {
    if current != Some(turn.head.id) {
        return Err(Refused::NotCurrent);
    }
    if !account_can_send {
        return Err(Refused::AccountInactive);
    }
    if turn.head.pending.len() >= rules.pending_max {
        return Err(Refused::TooManyPending);
    }
    Ok(())
}

/// The outbox wants to send: only the first that waits, and only one at a time. The request may
/// leave when this is durable.
pub(super) fn begin(
    mut turn: Turn<'_>,
    message: MessageId,
    place: Place,
) -> Result<Decision, Refused> {
    let first = turn.head.pending.first().copied();
    let waits = |first: &Pending| first.message == message && first.sending == 0;
    if let Some(first) = first.filter(waits) {
        if first.is_reaction && !turn.row(place)?.is_reacting(message) {
            turn.end_reaction(message, place, None, None)?;
            turn.enqueue_first();
        } else if turn.is_too_late(first, turn.at)? {
            turn.fail_late(message, place)?;
            turn.enqueue_first();
        } else {
            let attempt = first.attempts + 1;
            turn.record(Fact::SendStarted { message, place, attempt });
            turn.effects.push(Effect::Perform { message, place, attempt });
        }
    }
    Ok(turn.done(Some(place)))
}

/// How a send ended. What comes too late to matter changes nothing.
pub(super) fn end(
    mut turn: Turn<'_>,
    (message, place): (MessageId, Place),
    attempt: u32,
    outcome: &Outcome,
    rules: &Rules,
) -> Result<Decision, Refused> {
    let under_way = turn.head.pending_of(message).filter(|p| p.sending == attempt).copied();
    let row = turn.row(place)?;
    let is_unknown = row.message.id == message && row.message.status == MessageStatus::Unknown;
    match outcome {
        Outcome::Sent { provider_id, held } if row.message.id == message => {
            let sent = Progress { error: held.clone(), ..Progress::sent() };
            turn.progress(place, Some(provider_id), sent)?;
        }
        Outcome::Sent { provider_id, .. } => turn.reacted(message, place, provider_id)?,
        Outcome::AccountStopped { error } => {
            if let Some(pending) = under_way {
                // It is no fault of the message's, which is tried as often as any other.
                delay(&mut turn, pending, pending.due, error, true);
            }
            let MessageError { code, message } = error.clone();
            turn.effects.push(Effect::StopAccount { code, message });
        }
        // The wake, or a receipt, spoke first.
        _ if under_way.is_none() && !is_unknown => {}
        Outcome::Refused { error } => turn.fail(message, place, error.clone())?,
        Outcome::Retry { error, slow } => match under_way {
            Some(pending) => again(&mut turn, pending, error, *slow, rules)?,
            None => turn.fail(message, place, error.clone())?,
        },
        Outcome::Unknown { .. } if under_way.is_some() => {
            turn.record(Fact::SendUnknown { message, place });
        }
        Outcome::Unknown { .. } => {}
    }
    if !turn.is_empty() {
        turn.enqueue_first();
    }
    Ok(turn.done(Some(place)))
}

/// A passing error: again later, as long as there is a later.
fn again(
    turn: &mut Turn<'_>,
    pending: Pending,
    error: &MessageError,
    slow: Slow,
    rules: &Rules,
) -> Result<(), Refused> {
    let tried = pending.attempts.saturating_sub(pending.throttled + 1) as usize;
    let due = match slow {
        Slow::Message => rules.send_ladder.get(tried).map(|wait| turn.at + *wait),
        _ if pending.throttled >= THROTTLED_MAX => None,
        // It keeps its place: the account's line as a whole goes slower.
        Slow::Account => Some(pending.due),
        Slow::Pair | Slow::Ours => {
            let step = rules.pair_ladder.get(pending.throttled as usize);
            let wait = step.or(rules.pair_ladder.last()).copied().unwrap_or_default();
            Some(turn.at + wait)
        }
    };
    let Pending { message, place, .. } = pending;
    match due {
        None => turn.fail(message, place, error.clone()),
        Some(due) if turn.is_too_late(pending, due.max(turn.at))? => turn.fail_late(message, place),
        Some(due) => {
            delay(turn, pending, due, error, slow != Slow::Message);
            Ok(())
        }
    }
}

fn delay(
    turn: &mut Turn<'_>,
    Pending { message, place, .. }: Pending,
    due: Timestamp,
    error: &MessageError,
    throttled: bool,
) {
    let error = error.clone();
    turn.record(Fact::SendDelayed { message, place, due, error, throttled });
}

impl Turn<'_> {
    /// A message, or a reaction, will not go out, since its customer wrote too long ago.
    fn fail_late(&mut self, message: MessageId, place: Place) -> Result<(), Refused> {
        let plan = match self.head.channel.has_templates() {
            true => "send a template",
            false => "wait until they write again",
        };
        let words =
            format!("the customer's window for free text closed before it could go out; {plan}");
        let error = MessageError { code: "window_closed".to_owned(), message: words };
        self.fail(message, place, error)
    }

    /// A message, or a reaction, will not go out.
    fn fail(
        &mut self,
        message: MessageId,
        place: Place,
        error: MessageError,
    ) -> Result<(), Refused> {
        if self.row(place)?.message.id == message {
            self.progress(place, None, Progress::failed(error))
        } else {
            self.end_reaction(message, place, None, Some(error))
        }
    }
}

/// After a load: what was under way and is not held any more is of unknown outcome.
pub(super) fn wake(
    mut turn: Turn<'_>,
    mark: bool,
    held: &[MessageId],
) -> Result<Decision, Refused> {
    let lost: Vec<_> = turn
        .head
        .pending
        .iter()
        .filter(|pending| pending.sending > 0 && !held.contains(&pending.message))
        .map(|pending| (pending.message, pending.place))
        .collect();
    for (message, place) in lost {
        turn.row(place)?;
        turn.record(Fact::SendUnknown { message, place });
    }
    if mark {
        turn.record(Fact::Woken);
    }
    turn.enqueue_first();
    Ok(turn.done(None))
}
