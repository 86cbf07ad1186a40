//! Whose a thread is: it turned out to be another one, another one turned out to be it, its contact
//! is another one, or the provider says that who the customer is changed.

use uuid::Uuid;

use super::turn::Turn;
use super::{Context, Conversation, Decision, Joined, MovedTo, Refused, State, Thread, inbound};
use crate::channel::{Amend, Amender, Amendment, Author, Handle, IdentityChange, Receipt};
use crate::fact::{By, Fact, Parked, ParkedAmendment, ParkedReceipt};
use crate::id::{ContactId, ConversationId};
use crate::message::{Content, Direction, MessageKind, MessageRow, Sender, SenderKind};
use crate::time::Timestamp;

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
    if state.thread.stays || state.thread.taken_in || touched {
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
/// where it is `older` this one never moves itself.
pub(super) fn take_in(state: &State, older: bool, context: &Context<'_>) -> Decision {
    let mut turn = turn(state, context);
    let mut thread = state.thread.clone();
    thread.taken_in |= older;
    thread.joined_at = Some(context.now);
    turn.thread = Some(thread);
    turn.done(None)
}

/// All that follows from the thread's move is done. Where only its row was written, its case has
/// still to be closed; and what waited here waits there by now. Both change something, and are not
/// the last step.
pub(super) fn settle(state: &State, context: &Context<'_>) -> Decision {
    let mut turn = turn(state, context);
    let Some(to) = state.thread.moved_to else { return turn.done(None) };
    let case = state.case.as_ref();
    if case.is_some_and(|case| !case.status.is_closed()) {
        turn.record(Fact::Moved { to: to.thread });
    } else if case.is_some_and(|case| !case.parked.is_empty() || !case.waiting.is_empty()) {
        turn.record(Fact::HandedOn);
    } else if !state.thread.settled {
        let mut thread = Thread { settled: true, ..state.thread.clone() };
        let gone = thread.waiting.drain(..);
        turn.contents.extend(gone.filter_map(|waits| Some((waits.content()?, None))));
        turn.thread = Some(thread);
    }
    turn.done(None)
}

/// What still waits at a thread for its message, in its current case or before the first.
pub fn left_behind(
    thread: &Thread,
    case: Option<&Conversation>,
    now: Timestamp,
) -> (Vec<ParkedReceipt>, Vec<ParkedAmendment>) {
    let (mut parked, mut waiting) = match case {
        Some(case) => (case.parked.clone(), case.waiting.clone()),
        None => (Vec::new(), thread.waiting.clone()),
    };
    parked.retain(|parked| parked.waits_at(now));
    waiting.retain(|waits| waits.waits_at(now));
    (parked, waiting)
}

impl ParkedReceipt {
    /// As it came, of a customer with these handles.
    pub fn again(self, recipient: Vec<Handle>) -> Receipt {
        let Self { provider_id, status, at, error, .. } = self;
        Receipt { provider_id, opaque: None, status, at, recipient, error }
    }
}

impl ParkedAmendment {
    /// As it came, at the thread of this contact with these handles; `said` is what an edit says.
    /// `None`: nobody needs it, since its message is deleted next.
    pub fn again(
        self,
        of: ContactId,
        customer: Vec<Handle>,
        said: Option<Content>,
    ) -> Option<Amendment> {
        let Self { target, provider_id, sender, at, what, .. } = self;
        let contact = sender.id.map(ContactId);
        let by = match sender.kind {
            SenderKind::Contact if contact == Some(of) => Amender::Customer,
            SenderKind::Contact => {
                Amender::Author(Author { handles: Vec::new(), name: sender.name, contact })
            }
            _ => Amender::Business,
        };
        let what = match what {
            Parked::Reaction { emoji } => Amend::Reaction(emoji),
            Parked::Edit { .. } => Amend::Edit(said?),
            Parked::Deletion => Amend::Deletion,
        };
        Some(Amendment { customer, by, target, provider_id, at: Some(at), what })
    }
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
        turn.thread = Some(Thread { contact, ..state.thread.clone() });
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
    let head = state.case.as_deref().cloned().unwrap_or_else(none);
    Turn::new(head, context.loaded, By::System, context.now, context.commit_first)
}
