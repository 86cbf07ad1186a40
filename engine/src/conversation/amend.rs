//! What happens to a message afterwards: reactions, edits, deletions. They make no message, open no
//! window, count nothing as unread and reopen no case. What comes before its message waits for it.

use uuid::Uuid;

use super::inbound::{at, case, find, nothing};
use super::turn::Turn;
use super::{
    ContentAt, Context, Conversation, Decision, Effect, Loaded, PARKED_FOR, Refused, State, Thread,
};
use crate::channel::{Amend, Amender, Amendment};
use crate::fact::{By, Fact, Parked, ParkedAmendment, ParkedReceipt};
use crate::id::{ContactId, ConversationId};
use crate::message::{Direction, Place, Reacted, Sender, SenderKind, block_of};
use crate::time::Timestamp;

/// An amendment, once it is known whose it is.
struct Known<'a> {
    provider_id: Option<&'a String>,
    sender: &'a Sender,
    at: Timestamp,
    what: &'a Amend,
}

/// Somebody reacted to a message, changed or deleted it.
pub(super) fn amend(
    state: &State,
    amendment: &Amendment,
    context: &Context<'_>,
) -> Result<Decision, Refused> {
    let known = amendment.provider_id.as_deref().and_then(|id| find(state, context, id));
    if let Some((conversation, _)) = known {
        return nothing(state, context, conversation);
    }
    let Some((conversation, place)) = find(state, context, &amendment.target) else {
        return park(state, amendment, context);
    };
    let mut turn = at(state, context, conversation)?;
    let sender = sender(state, context, &amendment.by);
    let known = Known {
        provider_id: amendment.provider_id.as_ref(),
        sender: &sender,
        at: amendment.at.unwrap_or(context.now),
        what: &amendment.what,
    };
    turn.amend(place, &known)?;
    Ok(turn.done(Some(place)))
}

/// Whether an amendment speaks of a message in a case of this very thread.
pub(super) fn is_of_this(state: &State, amendment: &Amendment, context: &Context<'_>) -> bool {
    let found = find(state, context, &amendment.target);
    found.is_some_and(|(conversation, _)| case(state, context, conversation).is_some())
}

fn sender(state: &State, context: &Context<'_>, by: &Amender) -> Sender {
    match by {
        Amender::Customer => {
            let name = context.contact_name.map(str::to_owned);
            Sender { kind: SenderKind::Contact, id: Some(state.thread.contact.0), name }
        }
        Amender::Author(author) => author.sender(),
        Amender::Business => Sender { kind: SenderKind::Provider, id: None, name: None },
    }
}

/// Its message is nowhere yet: it waits in the current case, or in the thread before the first.
fn park(state: &State, amendment: &Amendment, context: &Context<'_>) -> Result<Decision, Refused> {
    let (mut turn, waiting, content) = match &state.case {
        Some(case) => {
            let turn = at(state, context, case.id)?;
            let content = (case.id, turn.next_content());
            (turn, &case.waiting, content)
        }
        None => {
            let nobody = Conversation::blank(ConversationId(Uuid::nil()), &state.thread);
            let turn = Turn::new(nobody, context.loaded, By::Provider, context.now, None);
            (turn, &state.thread.waiting, free(&state.thread, context.loaded))
        }
    };
    let by = sender(state, context, &amendment.by);
    let gone = waiting
        .iter()
        .any(|waits| waits.is_of(&amendment.target, &by) && matches!(waits.what, Parked::Deletion));
    let parked = ParkedAmendment {
        target: amendment.target.clone(),
        provider_id: amendment.provider_id.clone(),
        sender: by,
        at: amendment.at.unwrap_or(context.now),
        what: match &amendment.what {
            Amend::Reaction(emoji) => Parked::Reaction { emoji: emoji.clone() },
            Amend::Edit(_) => Parked::Edit { content: (!gone).then_some(content) },
            Amend::Deletion => Parked::Deletion,
        },
        parked_at: context.now,
    };
    if waiting.iter().any(|waits| waits.is_same(&parked)) {
        return Ok(turn.done(None));
    }
    if in_the_way(&parked, waiting, &turn.head) >= context.rules.parked_max {
        return Err(Refused::TooManyParked);
    }
    if let (Amend::Edit(said), false) = (&amendment.what, gone) {
        turn.contents.push((content, Some(said.clone())));
    }
    if state.case.is_some() {
        turn.record(Fact::AmendmentParked { amendment: parked });
    } else {
        let mut thread = state.thread.clone();
        parked.join(&mut thread.waiting);
        let waits = |at: &ContentAt| thread.waiting.iter().any(|w| w.content() == Some(*at));
        let before = state.thread.waiting.iter().filter_map(ParkedAmendment::content);
        turn.contents.extend(before.filter(|at| !waits(at)).map(|at| (at, None)));
        turn.thread = Some(thread);
    }
    Ok(turn.done(None))
}

/// How much waits that takes the place of one more. Deletions have as many places of their own:
/// whatever else is lost, what somebody took back must not be shown.
fn in_the_way(parked: &ParkedAmendment, waiting: &[ParkedAmendment], head: &Conversation) -> usize {
    let still = waiting.iter().filter(|waits| waits.waits_at(parked.parked_at));
    match parked.what {
        Parked::Deletion => still.filter(|waits| waits.what == Parked::Deletion).count(),
        _ => still.count() + head.receipts_waiting(parked.parked_at),
    }
}

/// A place for a content among those of a thread that has no case; none that was free shortly
/// before, lest its deletion is still on its way.
fn free(thread: &Thread, loaded: &Loaded) -> ContentAt {
    let own = ConversationId(thread.id.0);
    let waiting = thread.waiting.iter().filter_map(ParkedAmendment::content);
    let taken = waiting.chain(loaded.contents.keys().copied()).filter(|(of, _)| *of == own);
    let last = taken.map(|(_, place)| place.ordinal).max().unwrap_or(0);
    (own, Place { block: 0, ordinal: last + 1 })
}

impl ParkedReceipt {
    /// Whether it still waits.
    pub(super) fn waits_at(&self, now: Timestamp) -> bool {
        self.parked_at + PARKED_FOR > now
    }
}

impl ParkedAmendment {
    /// Whether it still waits.
    pub(super) fn waits_at(&self, now: Timestamp) -> bool {
        self.parked_at + PARKED_FOR > now
    }

    /// Where the content of an edit lies that waits.
    pub fn content(&self) -> Option<ContentAt> {
        match self.what {
            Parked::Edit { content } => content,
            Parked::Reaction { .. } | Parked::Deletion => None,
        }
    }

    /// Joins what waits, and whatever has waited too long leaves. What a message will have said
    /// that is deleted is gone at once.
    pub(super) fn join(self, waiting: &mut Vec<Self>) {
        waiting.retain(|waits| waits.waits_at(self.parked_at));
        if self.what == Parked::Deletion {
            let is_of_it = |waits: &&mut Self| waits.is_of(&self.target, &self.sender);
            for waits in waiting.iter_mut().filter(is_of_it) {
                if let Parked::Edit { content } = &mut waits.what {
                    *content = None;
                }
            }
        }
        waiting.push(self);
    }

    /// Whether it is of this message and by this person.
    fn is_of(&self, target: &str, by: &Sender) -> bool {
        self.target == target && self.sender.is_one_with(by)
    }

    /// Whether it is the same once more.
    fn is_same(&self, other: &Self) -> bool {
        let of = |parked: &Self| (parked.sender.id, parked.at, parked.what.number());
        self.target == other.target
            && match (&self.provider_id, &other.provider_id) {
                (Some(one), Some(two)) => one == two,
                _ => of(self) == of(other),
            }
    }
}

impl Parked {
    fn number(&self) -> u8 {
        match self {
            Self::Reaction { .. } => 0,
            Self::Edit { .. } => 1,
            Self::Deletion => 2,
        }
    }
}

impl Conversation {
    /// What waits for a message.
    pub(super) fn waiting_for(&self, provider_id: &str) -> Vec<ParkedAmendment> {
        self.waiting.iter().filter(|waits| waits.target == provider_id).cloned().collect()
    }

    /// How many receipts wait.
    pub(super) fn receipts_waiting(&self, now: Timestamp) -> usize {
        self.parked.iter().filter(|parked| parked.waits_at(now)).count()
    }
}

impl Loaded {
    /// Whether both are the same customer, by ids that may have been merged since.
    fn are_one(&self, one: &Sender, other: &Sender) -> bool {
        let contact =
            |of: &Sender| Some(ContactId(of.id?)).filter(|_| of.kind == SenderKind::Contact);
        let (Some(one), Some(other)) = (contact(one), contact(other)) else { return false };
        let all = |of: ContactId| self.persons.get(&of).map_or(&[][..], Vec::as_slice);
        let root = |of: ContactId| all(of).first().copied().unwrap_or(of);
        root(one) == root(other) || all(one).contains(&other)
    }
}

impl Turn<'_> {
    /// What waited for a message follows it.
    pub(super) fn let_amendments_in(
        &mut self,
        place: Place,
        waiting: Vec<ParkedAmendment>,
    ) -> Result<(), Refused> {
        for ParkedAmendment { provider_id, sender, at, what, .. } in waiting {
            let what = match what {
                Parked::Reaction { emoji } => Amend::Reaction(emoji),
                Parked::Deletion => Amend::Deletion,
                // Without content it is deleted next.
                Parked::Edit { content: None } => Amend::Edit(Default::default()),
                Parked::Edit { content: Some(at) } => match self.content(at) {
                    Some(content) => Amend::Edit(content.clone()),
                    None => continue,
                },
            };
            let provider_id = provider_id.as_ref();
            self.amend(place, &Known { provider_id, sender: &sender, at, what: &what })?;
        }
        Ok(())
    }

    /// Amends a message, if that changes anything. Only its author changes or deletes it, whoever
    /// else is in the same conversation.
    fn amend(&mut self, place: Place, known: &Known<'_>) -> Result<(), Refused> {
        let &Known { provider_id, sender, at, what } = known;
        let row = self.row(place)?;
        let (message, before) = (row.message.id, row.content);
        let is_customer = sender.kind == SenderKind::Contact;
        let is_author = match row.message.direction {
            Direction::Inbound => is_customer && self.loaded.are_one(sender, &row.message.sender),
            Direction::Outbound => !is_customer,
        };
        let provider_id = provider_id.cloned();
        let fact = match what {
            Amend::Reaction(emoji) => {
                // Who reacted before they were merged still is the same.
                let known = row.reacted.iter().map(|reacted| &reacted.sender);
                let known = known.into_iter().find(|known| self.loaded.are_one(sender, known));
                let id = known.map_or(sender.id, |known| known.id);
                let (sender, emoji) = (Sender { id, ..sender.clone() }, emoji.clone());
                let reaction = Reacted { sender: sender.clone(), emoji: emoji.clone(), at };
                let changes = row.would_take(&reaction);
                changes.then_some(Fact::Reacted { message, place, provider_id, sender, emoji, at })
            }
            _ if !is_author => {
                self.foreign += 1;
                None
            }
            Amend::Edit(content) => {
                let edited = row.message.edited_at;
                let changes = match row.message.deleted_at {
                    Some(deleted) => edited < Some(at) && at <= deleted,
                    None => edited != Some(at) || row.content() != *content,
                };
                let to = self.next_content();
                if changes {
                    self.contents.push(((self.head.id, to), Some(content.clone())));
                }
                let (content, replaces) = (to, before);
                changes.then_some(Fact::Edited {
                    message,
                    place,
                    provider_id,
                    at,
                    content,
                    replaces,
                })
            }
            Amend::Deletion => {
                let (changes, media) = (row.message.deleted_at.is_none(), row.media());
                if changes && !media.is_empty() {
                    self.effects.push(Effect::LetGo { media: media.clone() });
                }
                changes.then_some(Fact::Deleted { message, place, at, content: before, media })
            }
        };
        if let Some(fact) = fact {
            self.record_by(if is_customer { By::Contact } else { By::Provider }, fact);
        }
        Ok(())
    }

    /// Where the content of an edit lies that is recorded next.
    pub(super) fn next_content(&self) -> Place {
        Place { block: block_of(self.first), ordinal: self.head.seq + 1 }
    }
}
