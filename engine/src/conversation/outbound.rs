//! What goes to the customer: one message at a time, begun durably, ended however late.

use super::turn::{Progress, Turn};
use super::{Context, Decision, Draft, Effect, Refused};
use crate::channel::{Outcome, Slow};
use crate::fact::{ConversationStatus, Fact};
use crate::id::{ConversationId, MessageId};
use crate::message::{Direction, MessageError, MessageStatus, Place};

/// Somebody says something to the customer.
pub(super) fn send<'a>(
    mut turn: Turn<'a>,
    draft: &Draft,
    current: Option<ConversationId>,
    context: &mut Context<'a>,
) -> Result<Decision, Refused> {
    if current != Some(turn.head.id) {
        return Err(Refused::NotCurrent);
    }
    if !draft.account_can_send {
        return Err(Refused::AccountInactive);
    }
    if !turn.window_is_open() {
        return Err(Refused::WindowClosed);
    }
    if turn.head.pending.len() >= context.rules.pending_max {
        return Err(Refused::TooManyPending);
    }
    let quoted = match draft.reply_to {
        None => None,
        Some(id) => {
            let place = context.loaded.messages.get(&(turn.head.id, id)).copied().flatten();
            Some(turn.row(place.ok_or(Refused::NoSuchMessage)?)?.message.clone())
        }
    };
    let from = turn.head.status;
    if from.is_closed() {
        turn.record(Fact::StatusChanged { from, to: ConversationStatus::Open });
    }
    let mut row = turn.blank(context.mint.message(), Direction::Outbound, draft.sender.clone());
    row.message.text = Some(draft.text.clone());
    row.message.reply_to_message_id = quoted.as_ref().map(|quoted| quoted.id);
    row.message.reply_to = quoted.and_then(|quoted| quoted.provider_message_id);
    let (message, place) = (row.message.id, row.place);
    turn.add(row, turn.by, Fact::Queued { message, place });
    if turn.head.pending.len() == 1 {
        turn.enqueue_first();
    }
    Ok(turn.done(Some(place)))
}

/// The outbox wants to send: only the first that waits, and only one at a time. The request may
/// leave when this is durable.
pub(super) fn begin(
    mut turn: Turn<'_>,
    message: MessageId,
    place: Place,
) -> Result<Decision, Refused> {
    let first = turn.head.pending.first().copied();
    if let Some(first) = first.filter(|first| first.place == place && first.sending == 0) {
        turn.row(place)?;
        let attempt = first.attempts + 1;
        turn.record(Fact::SendStarted { message, place, attempt });
        turn.effects.push(Effect::Perform { message, place, attempt });
    }
    Ok(turn.done(Some(place)))
}

/// How a send ended. What comes too late to matter changes nothing.
pub(super) fn end(
    mut turn: Turn<'_>,
    place: Place,
    attempt: u32,
    outcome: &Outcome,
    context: &Context<'_>,
) -> Result<Decision, Refused> {
    let (message, status) = {
        let row = turn.row(place)?;
        (row.message.id, row.message.status)
    };
    let waits_for_it = turn.head.pending_at(place).is_some_and(|p| p.sending == attempt);
    match outcome {
        Outcome::Sent { provider_id } => {
            turn.progress(place, Some(provider_id), Progress::sent())?;
        }
        // The wake, or a receipt, spoke first.
        _ if !waits_for_it && status != MessageStatus::Unknown => {}
        Outcome::Refused { error } | Outcome::Retry { error, .. } if !waits_for_it => {
            fail(&mut turn, place, error)?;
        }
        Outcome::Refused { error } => fail(&mut turn, place, error)?,
        Outcome::Retry { error, slow } => {
            match context.rules.send_ladder.get(attempt.saturating_sub(1) as usize) {
                Some(wait) => {
                    let (due, error) = (turn.at + *wait, error.clone());
                    turn.record(Fact::SendDelayed { message, place, due, error });
                }
                None => fail(&mut turn, place, error)?,
            }
            if *slow == Slow::Account {
                turn.effects.push(Effect::SlowAccount);
            }
        }
        Outcome::AccountStopped { error } => {
            if waits_for_it {
                let (due, again) = (turn.at, error.clone());
                turn.record(Fact::SendDelayed { message, place, due, error: again });
            }
            let MessageError { code, message } = error.clone();
            turn.effects.push(Effect::StopAccount { code, message });
        }
        Outcome::Unknown { .. } if waits_for_it => {
            turn.record(Fact::SendUnknown { message, place });
        }
        Outcome::Unknown { .. } => {}
    }
    if !turn.is_empty() {
        turn.enqueue_first();
    }
    Ok(turn.done(Some(place)))
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

fn fail(turn: &mut Turn<'_>, place: Place, error: &MessageError) -> Result<(), Refused> {
    let failed = Progress { status: MessageStatus::Failed, at: None, error: Some(error.clone()) };
    turn.progress(place, None, failed)
}
