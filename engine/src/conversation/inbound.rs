//! What comes from the provider: messages, receipts, echoes.

use super::turn::{Progress, Turn};
use super::{Context, Conversation, Decision, Effect, Refused, State, reactions};
use crate::channel::{Author, Echo, InboundMessage, Receipt, email};
use crate::fact::{By, ConversationStatus, Fact, ParkedReceipt};
use crate::id::{ConversationId, MessageId};
use crate::message::{Direction, MessageKind, MessageStatus, Place, Sender, SenderKind};

/// A customer wrote.
pub(super) fn receive(
    state: &State,
    message: &InboundMessage,
    context: &mut Context<'_>,
) -> Result<Decision, Refused> {
    let id = message.provider_id.as_deref().or(message.dedup.as_deref());
    if let Some((conversation, _)) = id.and_then(|id| find(state, context, id)) {
        return nothing(state, context, conversation);
    }
    let mut turn = match &state.case {
        // It is nothing that anybody has to look after.
        Some(case) if message.auto_reply => at(state, context, case.id)?,
        _ => open(state, context, By::Contact),
    };
    let waiting = message.provider_id.as_deref().map(|id| turn.head.waiting_for(id));
    let quoted = quoted(state, context, message.reply_to.as_deref());
    let author = message.author.as_ref().map(Author::sender);
    let sender = author.unwrap_or_else(|| turn.customer());
    let mut row = turn.blank(context.mint.message(), Direction::Inbound, sender);
    row.say(message.content.clone());
    row.message.sent_at = message.sent_at;
    row.message.provider_message_id.clone_from(&message.provider_id);
    row.message.reply_to.clone_from(&message.reply_to);
    row.message.reply_to_message_id = quoted;
    row.message.story.clone_from(&message.story);
    row.message.forwarded = message.forwarded;
    row.message.referral.clone_from(&message.referral);
    row.message.error.clone_from(&message.error);
    row.message.automatic = message.automatic;
    row.mail = email::kept(message);
    let (made, place) = (row.message.id, row.place);
    let fact = Fact::Received {
        message: made,
        place,
        provider_id: message.provider_id.clone(),
        dedup: message.dedup.clone(),
        sent_at: message.sent_at,
        auto_reply: message.auto_reply && state.case.is_some(),
    };
    turn.add(row, By::Contact, fact);
    turn.let_amendments_in(place, waiting.unwrap_or_default())?;
    if let Some(name) =
        message.name.clone().filter(|name| turn.head.contact_name.as_ref() != Some(name))
    {
        turn.effects.push(Effect::LearnName { name });
    }
    Ok(turn.done(Some(place)))
}

/// A message of ours got further, or failed.
pub(super) fn receipt(
    state: &State,
    receipt: &Receipt,
    context: &Context<'_>,
) -> Result<Decision, Refused> {
    if let Some(decision) = reactions::receipt(state, receipt, context)? {
        return Ok(decision);
    }
    let progress =
        Progress { status: receipt.status, at: receipt.at, error: receipt.error.clone() };
    if let Some((conversation, place)) = ours(state, context, receipt.opaque, &receipt.provider_id)
    {
        let mut turn = at(state, context, conversation)?;
        let before = turn.head.unseen_before(place);
        turn.progress(place, Some(&receipt.provider_id), progress)?;
        if receipt.status == MessageStatus::Read {
            turn.read_along(&before, receipt.at)?;
        }
        next(&mut turn, place);
        return Ok(turn.done(Some(place)));
    }
    // Its message is nowhere yet: it waits in the current case.
    let case = state.case.as_ref().ok_or(Refused::NotFound)?;
    let mut turn = at(state, context, case.id)?;
    let parked = turn.parked(&receipt.provider_id);
    if parked.iter().all(|parked| parked.status != receipt.status) {
        let amendments = case.waiting.iter().filter(|waits| waits.waits_at(context.now)).count();
        if case.receipts_waiting(context.now) + amendments >= context.rules.parked_max {
            return Err(Refused::TooManyParked);
        }
        turn.record(Fact::ReceiptParked {
            receipt: ParkedReceipt {
                provider_id: receipt.provider_id.clone(),
                status: receipt.status,
                at: receipt.at,
                error: receipt.error.clone(),
                parked_at: context.now,
            },
        });
    }
    Ok(turn.done(None))
}

/// A message went out: one of ours, or one that was written outside the engine.
pub(super) fn echo(
    state: &State,
    echo: &Echo,
    context: &mut Context<'_>,
) -> Result<Decision, Refused> {
    let known = ours(state, context, echo.opaque, &echo.provider_id)
        .or_else(|| settled_by(state, context, echo));
    if let Some((conversation, place)) = known {
        let mut turn = at(state, context, conversation)?;
        let sent = Progress { at: echo.sent_at, ..Progress::sent() };
        turn.progress(place, Some(&echo.provider_id), sent)?;
        if let Some(at) = echo.sent_at {
            turn.taken(place, at)?;
        }
        next(&mut turn, place);
        return Ok(turn.done(Some(place)));
    }
    let mut turn = open(state, context, By::Provider);
    let quoted = quoted(state, context, echo.reply_to.as_deref());
    let sender = Sender { kind: SenderKind::Provider, id: None, name: None };
    let mut row = turn.blank(context.mint.message(), Direction::Outbound, sender);
    row.say(echo.content.clone());
    row.message.status = MessageStatus::Sent;
    row.message.sent_at = echo.sent_at;
    row.message.provider_message_id = Some(echo.provider_id.clone());
    row.message.reply_to.clone_from(&echo.reply_to);
    row.message.reply_to_message_id = quoted;
    row.message.forwarded = echo.forwarded;
    let (message, place) = (row.message.id, row.place);
    let waiting = turn.parked(&echo.provider_id);
    let amendments = turn.head.waiting_for(&echo.provider_id);
    let (provider_id, sent_at) = (echo.provider_id.clone(), echo.sent_at);
    turn.add(row, By::Provider, Fact::Echoed { message, place, provider_id, sent_at });
    turn.let_in(place, waiting)?;
    turn.let_amendments_in(place, amendments)?;
    turn.let_marks_in(place)?;
    Ok(turn.done(Some(place)))
}

/// Nothing changes, in whichever case is at hand.
pub(super) fn nothing(
    state: &State,
    context: &Context<'_>,
    known: ConversationId,
) -> Result<Decision, Refused> {
    let case = state.thread.current.filter(|_| state.case.is_some()).unwrap_or(known);
    Ok(at(state, context, case)?.done(None))
}

/// Our id of the message that is quoted.
fn quoted(state: &State, context: &Context<'_>, reply_to: Option<&str>) -> Option<MessageId> {
    let place = find(state, context, reply_to?)?;
    Some(context.loaded.rows.get(&place)?.as_ref()?.message.id)
}

/// After a message that may have been under way is done, the next one may go.
fn next(turn: &mut Turn<'_>, done: Place) {
    if !turn.is_empty() && turn.head.pending.iter().all(|pending| pending.place != done) {
        turn.enqueue_first();
    }
}

/// Whether a receipt speaks of a message in a case of this very thread.
pub(super) fn is_of_this(state: &State, receipt: &Receipt, context: &Context<'_>) -> bool {
    let found = ours(state, context, receipt.opaque, &receipt.provider_id);
    found.is_some_and(|(conversation, _)| case(state, context, conversation).is_some())
}

/// Where a message with this provider id (or hash) lies, in any case of the thread.
pub(super) fn find(
    state: &State,
    context: &Context<'_>,
    id: &str,
) -> Option<(ConversationId, Place)> {
    state.recent.find(id).or_else(|| *context.loaded.refs.get(id)?)
}

/// Which message a provider speaks of: by our own id, then by its. Ours is believed only if the
/// message is there, in a case of this thread, and has no other provider id.
fn ours(
    state: &State,
    context: &Context<'_>,
    opaque: Option<crate::channel::Opaque>,
    provider_id: &str,
) -> Option<(ConversationId, Place)> {
    let named = super::needs::known_opaque(state, opaque).filter(|opaque| {
        let row = context.loaded.rows.get(&(opaque.conversation, opaque.place));
        let row = row.filter(|_| case(state, context, opaque.conversation).is_some());
        row.and_then(Option::as_ref).is_some_and(|row| {
            opaque.reaction.is_none()
                && row.message.direction == Direction::Outbound
                && row.message.provider_message_id.as_deref().is_none_or(|id| id == provider_id)
        })
    });
    named
        .map(|opaque| (opaque.conversation, opaque.place))
        .or_else(|| find(state, context, provider_id))
}

/// The message of ours, under way or of unknown outcome, that an echo without our id speaks of.
fn settled_by(
    state: &State,
    context: &Context<'_>,
    echo: &Echo,
) -> Option<(ConversationId, Place)> {
    let case = state.case.as_ref()?;
    let under_way = case.pending.iter().filter(|p| p.sending > 0).map(|p| p.place);
    let mut places = under_way.chain(case.unsettled.iter().copied());
    let place = places.find(|place| {
        let row = context.loaded.rows.get(&(case.id, *place)).and_then(Option::as_ref);
        row.is_some_and(|row| {
            row.message.provider_message_id.is_none()
                && is_alike(row.message.kind, echo.content.kind)
                && row.message.text == echo.content.text
        })
    })?;
    Some((case.id, place))
}

/// Whether a message of ours may be shown to us as such a one: what can be pressed is told as its
/// words, or as a template.
fn is_alike(ours: MessageKind, shown: MessageKind) -> bool {
    ours == shown
        || (ours == MessageKind::Interactive
            && matches!(shown, MessageKind::Text | MessageKind::Template))
}

/// A case of this thread. Whatever an id says, those of other threads have other owners.
pub(super) fn case<'a>(
    state: &'a State,
    context: &'a Context<'_>,
    id: ConversationId,
) -> Option<&'a Conversation> {
    let current = state.case.as_deref().filter(|case| case.id == id);
    current
        .or_else(|| context.loaded.cases.get(&id)?.as_ref())
        .filter(|case| case.thread == state.thread.id)
}

/// A turn on a case of this thread.
pub(super) fn at<'a>(
    state: &State,
    context: &Context<'a>,
    id: ConversationId,
) -> Result<Turn<'a>, Refused> {
    let case = case(state, context, id).ok_or(Refused::NotFound)?;
    Ok(Turn::new(case.clone(), context.loaded, By::Provider, context.now, context.commit_first))
}

/// A turn on the case that takes a new message: the current one, reopened if it was closed shortly
/// before, or the next.
pub(super) fn open<'a>(state: &State, context: &mut Context<'a>, by: By) -> Turn<'a> {
    let (now, first) = (context.now, context.commit_first);
    if let Some(case) = &state.case {
        let recent = case.closed_at.is_none_or(|closed| now < closed + context.rules.reopen_within);
        // What is still to be sent keeps its case current: only that one is looked after.
        if recent || !case.pending.is_empty() {
            let mut turn =
                Turn::new(Conversation::clone(case), context.loaded, By::Provider, now, first);
            match case.status {
                ConversationStatus::Open => {}
                from @ ConversationStatus::Pending => {
                    turn.record_by(by, Fact::StatusChanged { from, to: ConversationStatus::Open });
                }
                from @ (ConversationStatus::Resolved | ConversationStatus::Expired) => {
                    turn.record_by(by, Fact::Reopened { from });
                }
            }
            return turn;
        }
    }
    next_case(state, context, by)
}

fn next_case<'a>(state: &State, context: &mut Context<'a>, by: By) -> Turn<'a> {
    let mut thread = state.thread.clone();
    // A thread row whose conversation was never written is reused.
    let unwritten = thread.current.filter(|_| state.case.is_none());
    let id = unwritten.unwrap_or_else(|| context.mint.conversation(thread.id.shard()));
    if unwritten.is_none() {
        // Where people have worked is where the customer stays, however many cases later.
        thread.stays |= state.case.as_ref().is_some_and(|case| case.touched);
        thread.case += 1;
        thread.current = Some(id);
    }
    let waiting = match &state.case {
        Some(case) => {
            thread.waiting.clear();
            &case.waiting
        }
        // It stays there until the next case, lest this one is never written.
        None => &state.thread.waiting,
    };
    let waiting = waiting.iter().filter(|waits| waits.waits_at(context.now)).cloned().collect();
    // What is early may be of a message that begins this case, or comes later in it.
    let parked = state.case.iter().flat_map(|case| &case.parked);
    let parked = parked.filter(|parked| parked.waits_at(context.now)).cloned().collect();
    let fact = Fact::Opened {
        case: thread.case,
        contact_name: context.contact_name.map(str::to_owned),
        contact_phone: context.contact_phone.map(str::to_owned),
        last_inbound_at: state.case.as_ref().and_then(|case| case.last_inbound_at),
        waiting,
        parked,
        marks: state.case.as_ref().map(|case| case.marks).unwrap_or_default(),
        history_since: None,
    };
    let head = Conversation::blank(id, &thread);
    let mut turn = Turn::new(head, context.loaded, By::Provider, context.now, None);
    turn.thread = unwritten.is_none().then_some(thread);
    turn.record_by(by, fact);
    turn
}
