//! Reactions of the desk. One is sent like a message, in its turn, but makes no row: its message
//! shows it once the provider has taken it. Of several to one message only the newest is sent.

use super::inbound::{at, find};
use super::needs::known_opaque;
use super::outbound::ready;
use super::turn::Turn;
use super::{Context, Decision, REACTABLE_FOR, ReactionDraft, Refused, State};
use crate::channel::Receipt;
use crate::fact::Fact;
use crate::id::{ConversationId, MessageId};
use crate::message::{MessageError, MessageRow, MessageStatus, Place, Reacted, Reacting, Sender};

/// Somebody at the desk reacts to a message.
pub(super) fn react<'a>(
    mut turn: Turn<'a>,
    draft: &ReactionDraft,
    current: Option<ConversationId>,
    context: &mut Context<'a>,
) -> Result<Decision, Refused> {
    ready(&turn, current, draft.account_can_send, context.rules)?;
    turn.check_window()?;
    let place = context.loaded.messages.get(&(turn.head.id, draft.message)).copied().flatten();
    let place = place.ok_or(Refused::NoSuchMessage)?;
    let row = turn.row(place)?;
    let message = &row.message;
    let sent_at = message.sent_at.unwrap_or(message.created_at);
    if message.provider_message_id.is_none()
        || message.deleted_at.is_some()
        || turn.at >= sent_at + REACTABLE_FOR
    {
        return Err(Refused::NotReactable);
    }
    let (message, is_new) = (message.id, !is_so_already(&turn, row, draft));
    if is_new {
        let reaction = context.mint.message();
        let (sender, emoji) = (draft.sender.clone(), draft.emoji.clone());
        turn.record(Fact::ReactionQueued { reaction, message, place, sender, emoji });
        if turn.head.pending.len() == 1 {
            turn.enqueue_first();
        }
    }
    Ok(turn.done(Some(place)))
}

/// Whether the reaction is there, or on its way, as far as anybody knows.
fn is_so_already(turn: &Turn<'_>, row: &MessageRow, draft: &ReactionDraft) -> bool {
    let waits = |reaction| turn.head.pending.iter().any(|pending| pending.message == reaction);
    let there = match row.reacting.as_ref().filter(|reacting| waits(reacting.id)) {
        Some(reacting) => reacting.emoji.as_deref(),
        None => row.emoji_of(&draft.sender),
    };
    row.message.reaction_error.is_none() && there == draft.emoji.as_deref()
}

/// What a receipt says of a reaction; `None`: it is of a message, or of something unknown.
pub(super) fn receipt(
    state: &State,
    receipt: &Receipt,
    context: &Context<'_>,
) -> Result<Option<Decision>, Refused> {
    let opaque = known_opaque(state, receipt.opaque).filter(|opaque| opaque.reaction.is_some());
    let named = opaque.map(|opaque| (opaque.conversation, opaque.place));
    let Some((conversation, place)) = named.or_else(|| find(state, context, &receipt.provider_id))
    else {
        return Ok(None);
    };
    let mut turn = at(state, context, conversation)?;
    let Ok(row) = turn.row(place) else { return Ok(None) };
    let id = row.message.provider_message_id.as_deref();
    if named.is_none() && id.is_none_or(|id| id == receipt.provider_id) {
        return Ok(None);
    }
    let is_it = |reacting: &Reacting| match opaque.and_then(|opaque| opaque.reaction) {
        Some(reaction) => reaction == reacting.id,
        None => reacting.provider_id.as_deref() == Some(&receipt.provider_id),
    };
    // What was replaced by a newer one, or came from the provider's own app, changes nothing.
    if let Some(reacting) = row.reacting.clone().filter(is_it) {
        match receipt.status {
            MessageStatus::Failed => {
                let error = receipt.error.clone().unwrap_or_else(no_reason);
                turn.take_back(&reacting, place, error)?;
            }
            _ => turn.reacted(reacting.id, place, &receipt.provider_id)?,
        }
        if !turn.is_empty() {
            turn.enqueue_first();
        }
    }
    Ok(Some(turn.done(Some(place))))
}

fn no_reason() -> MessageError {
    let (code, message) = ("unknown".to_owned(), "no reason given".to_owned());
    MessageError { code, message }
}

impl Turn<'_> {
    /// The provider took a reaction.
    pub(super) fn reacted(
        &mut self,
        reaction: MessageId,
        place: Place,
        provider_id: &str,
    ) -> Result<(), Refused> {
        let row = self.row(place)?;
        let reacting = row.reacting.clone().filter(|of| of.id == reaction);
        let newest = reacting.filter(|reacting| reacting.provider_id.is_none());
        if newest.is_none() && self.head.pending_of(reaction).is_none() {
            return Ok(());
        }
        self.end_reaction(reaction, place, Some(provider_id), None)?;
        match newest {
            Some(Reacting { sender, emoji, .. }) => self.show(place, sender, emoji),
            None => Ok(()),
        }
    }

    /// A reaction is over: it was taken, it failed, or a newer one stands in its place.
    pub(super) fn end_reaction(
        &mut self,
        reaction: MessageId,
        place: Place,
        provider_id: Option<&str>,
        error: Option<MessageError>,
    ) -> Result<(), Refused> {
        let message = self.row(place)?.message.id;
        let provider_id = provider_id.map(str::to_owned);
        self.record(Fact::ReactionEnded { reaction, message, place, provider_id, error });
        Ok(())
    }

    /// A reaction failed, perhaps after it was taken: then the customer sees what there was before.
    fn take_back(
        &mut self,
        reacting: &Reacting,
        place: Place,
        error: MessageError,
    ) -> Result<(), Refused> {
        self.end_reaction(reacting.id, place, None, Some(error))?;
        if reacting.provider_id.is_none() {
            return Ok(());
        }
        self.show(place, reacting.sender.clone(), reacting.before.clone())
    }

    /// The message shows this reaction of the desk from now on.
    fn show(&mut self, place: Place, sender: Sender, emoji: Option<String>) -> Result<(), Refused> {
        let row = self.row(place)?;
        let (message, at) = (row.message.id, self.at);
        if row.would_take(&Reacted { sender: sender.clone(), emoji: emoji.clone(), at }) {
            let provider_id = None;
            self.record(Fact::Reacted { message, place, provider_id, sender, emoji, at });
        }
        Ok(())
    }
}
