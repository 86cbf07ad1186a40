//! Whose a thread is: it turned out to be another one, another one turned out to be it, its contact
//! is another one, or the provider says that who the customer is changed.

use uuid::Uuid;

use super::turn::Turn;
use super::{Context, Conversation, Decision, Joined, MovedTo, Refused, State, inbound};
use crate::channel::IdentityChange;
use crate::fact::{By, Fact};
use crate::id::{ContactId, ConversationId};
use crate::message::{Direction, MessageKind, MessageRow, Sender, SenderKind};

/// What people read where a conversation goes on that was another one's.
const JOINED: &str =
    "The customer also wrote in another conversation of theirs, which is closed and goes on here.";

/// Closes the case at hand, if there is one, and sends everything to another thread.
pub(super) fn move_to(
    state: &State,
    to: MovedTo,
    context: &Context<'_>,
) -> Result<Decision, Refused> {
    let touched = state.case.as_ref().is_some_and(|case| case.touched);
    if state.thread.stays || touched {
        return Err(Refused::Touched);
    }
    let mut turn = turn(state, context);
    let mut thread = state.thread.clone();
    if thread.id != to.thread {
        thread.left_waiting = state.case.as_ref().is_some_and(|case| !case.status.is_closed());
        if thread.left_waiting {
            turn.record(Fact::Moved { to: to.thread });
        }
        // A first commit that may still be on its way is never read: what it took comes again.
        thread.current = thread.current.filter(|_| state.case.is_some());
        thread.moved_to = Some(to);
        turn.thread = Some(thread);
    }
    Ok(turn.done(None))
}

/// Another thread is about to move here. From now on ids that are new here may be known there, and
/// with `stays` this one never moves itself.
pub(super) fn take_in(state: &State, stays: bool, context: &Context<'_>) -> Decision {
    let mut turn = turn(state, context);
    let mut thread = state.thread.clone();
    thread.stays |= stays;
    thread.joined_at = Some(context.now);
    turn.thread = Some(thread);
    turn.done(None)
}

/// All that follows from the thread's move is done. Where only its row was written, its case has
/// still to be closed; that changes something, and is not the last step.
pub(super) fn settle(state: &State, context: &Context<'_>) -> Decision {
    let mut turn = turn(state, context);
    let Some(to) = state.thread.moved_to else { return turn.done(None) };
    if state.case.as_ref().is_some_and(|case| !case.status.is_closed()) {
        turn.record(Fact::Moved { to: to.thread });
    } else if !state.thread.settled {
        turn.thread = Some(super::Thread { settled: true, ..state.thread.clone() });
    }
    turn.done(None)
}

/// The contact is this one, of this name and number.
pub(super) fn contact_changed(
    state: &State,
    contact: ContactId,
    name: Option<&str>,
    phone: Option<&str>,
    context: &Context<'_>,
) -> Decision {
    let mut turn = turn(state, context);
    if state.thread.contact != contact {
        turn.thread = Some(super::Thread { contact, ..state.thread.clone() });
    }
    let head = &turn.head;
    let known = (head.contact, head.contact_name.as_deref(), head.contact_phone.as_deref());
    if state.case.is_some() && known != (contact, name, phone) {
        let other = (head.contact != contact).then_some(contact);
        let (name, phone) = (name.map(str::to_owned), phone.map(str::to_owned));
        turn.record(Fact::ContactChanged { name, phone, contact: other });
    }
    turn.done(None)
}

/// Who the customer is changed: people read it once, in the case at hand, which it neither opens
/// nor counts in.
pub(super) fn note(
    state: &State,
    change: &IdentityChange,
    context: &mut Context<'_>,
) -> Result<Decision, Refused> {
    let case = state.case.as_ref().ok_or(Refused::NotFound)?;
    let mut turn = inbound::at(state, context, case.id)?;
    let is_known = |mark: &String| inbound::find(state, context, mark).is_some();
    if let Some(mark) = change.marks.first().filter(|_| !change.marks.iter().any(is_known)) {
        let mut row = system(&turn, context, &change.text);
        row.message.sent_at = change.at;
        row.message.provider_message_id.clone_from(&change.provider_id);
        let (message, place, mark) = (row.message.id, row.place, mark.clone());
        let fact = Fact::Noted { message, place, mark, joined: None };
        turn.add(row, By::Provider, fact);
    }
    Ok(turn.done(None))
}

/// The customer wrote in another conversation, which was closed when its thread was moved here:
/// people read that here, and find the case open.
pub(super) fn join(state: &State, joined: &Joined, context: &mut Context<'_>) -> Decision {
    let mark = joined.mark();
    if inbound::find(state, context, &mark).is_some() {
        return turn(state, context).done(None);
    }
    let mut turn = inbound::open(state, context, By::System);
    let row = system(&turn, context, JOINED);
    let (message, place) = (row.message.id, row.place);
    let fact = Fact::Noted { message, place, mark, joined: Some(joined.clone()) };
    turn.add(row, By::System, fact);
    turn.done(None)
}

/// A message that nobody wrote.
fn system(turn: &Turn<'_>, context: &mut Context<'_>, text: &str) -> MessageRow {
    let sender = Sender { kind: SenderKind::Provider, id: None, name: None };
    let mut row = turn.blank(context.mint.message(), Direction::Inbound, sender);
    row.message.kind = MessageKind::System;
    row.message.text = Some(text.to_owned());
    row
}

/// A turn on the case at hand, or on none where the thread has none.
fn turn<'a>(state: &State, context: &Context<'a>) -> Turn<'a> {
    let none = || Conversation::blank(ConversationId(Uuid::nil()), &state.thread);
    let head = state.case.clone().unwrap_or_else(none);
    Turn::new(head, context.loaded, By::System, context.now, context.commit_first)
}
