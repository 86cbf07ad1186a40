//! What has to be read before a command can be decided.

use super::{Command, Conversation, Envelope, Fetched, Loaded, Need, State, Target};
use crate::channel::{Amender, Carrier, Opaque, Outcome};
use crate::fact::ParkedAmendment;
use crate::id::{ContactId, ConversationId, MessageId};
use crate::message::{MessageStatus, Place, Sender, SenderKind};
use crate::time::Timestamp;

/// What is still missing in `loaded`. What is read may name more: ask until nothing is missing.
pub fn needs(state: &State, loaded: &Loaded, envelope: &Envelope) -> Vec<Need> {
    let mut look = Look { state, loaded, needs: Vec::new() };
    if let Some(key) = &envelope.key {
        match loaded.keys.get(&key.key) {
            None => look.needs.push(Need::Key(key.key)),
            Some(Some(used)) => {
                if let (Some(place), Some(id)) = (used.place, target(state, envelope)) {
                    look.row(id, place);
                }
            }
            Some(None) => {}
        }
    }
    if let Target::Conversation(id) = envelope.target {
        look.case(id);
    }
    let case = target(state, envelope);
    match &envelope.command {
        Command::Receive(message) => {
            let id = message.provider_id.as_deref().or(message.dedup.as_deref());
            if let Some(id) = id {
                look.id(id, message.sent_at);
                // A duplicate needs a case to answer with.
                if state.case.is_none()
                    && let Some((conversation, _)) = look.found(id)
                {
                    look.case(conversation);
                }
            }
            look.waiting_for(message.provider_id.as_deref());
            let customer = state.case.as_ref().map_or(state.thread.contact, |case| case.contact);
            let author = message.author.as_ref().map_or(Some(customer), |author| author.contact);
            look.amenders(message.provider_id.as_deref(), author);
            if let Some(quoted) = &message.reply_to {
                look.known(quoted, None);
            }
        }
        Command::Receipt(receipt) => {
            match known_opaque(state, receipt.opaque) {
                Some(opaque) => look.at(opaque.conversation, opaque.place),
                None => look.known(&receipt.provider_id, None),
            }
            look.waiting_for(Some(&receipt.provider_id));
            if receipt.status == MessageStatus::Read
                && let Some((id, place)) = look.found(&receipt.provider_id)
                && let Some(case) = state.case.as_ref().filter(|case| case.id == id)
            {
                for place in case.unseen_before(place) {
                    look.row(id, place);
                }
            }
        }
        Command::Amend(amendment) => {
            if let Some(id) = &amendment.provider_id {
                look.id(id, amendment.at);
                if let (None, Some((conversation, _))) = (&state.case, look.found(id)) {
                    look.case(conversation);
                }
            }
            look.known(&amendment.target, None);
            if let Some(contact) = amender(state, &amendment.by) {
                look.persons_at(&amendment.target, contact);
            }
        }
        Command::Import(import) => {
            let history = state.thread.history.as_ref();
            if let Some(id) = history.and_then(|history| history.case(import.phase)) {
                look.case(id);
            }
            for message in &import.messages {
                look.id(&message.provider_id, message.sent_at);
            }
            if let (None, [file]) = (import.phase, &import.messages[..]) {
                look.known(&file.provider_id, file.sent_at);
            }
        }
        Command::Echo(echo) => {
            match known_opaque(state, echo.opaque) {
                Some(opaque) => look.at(opaque.conversation, opaque.place),
                None => look.known(&echo.provider_id, echo.sent_at),
            }
            look.waiting_for(Some(&echo.provider_id));
            if let Some(quoted) = &echo.reply_to {
                look.known(quoted, None);
            }
            if let Some(case) = &state.case {
                let sending = case.pending.iter().filter(|p| p.sending > 0).map(|p| p.place);
                for place in sending.chain(case.unsettled.iter().copied()) {
                    look.row(case.id, place);
                }
            }
        }
        Command::Watermark(mark) => {
            if let Some(case) = &state.case {
                for place in case.unseen_up_to(mark.up_to) {
                    look.row(case.id, place);
                }
            }
        }
        Command::Identity(change) => {
            for mark in &change.marks {
                look.id(mark, None);
            }
        }
        Command::Join(joined) => look.id(&joined.mark(), None),
        Command::Send(draft) => match (draft.reply_to, case) {
            (Some(quoted), Some(id)) => look.message(id, quoted),
            (None, Some(id)) => look.answered_mail(id),
            (_, None) => {}
        },
        Command::React(draft) => {
            if let Some(id) = case {
                look.message(id, draft.message);
            }
        }
        Command::Fetched(Fetched { place, .. }) | Command::BeginSend { place, .. } => {
            if let Some(id) = case {
                look.row(id, *place);
            }
        }
        Command::EndSend { place, outcome, .. } => {
            if let Some(id) = case {
                look.row(id, *place);
            }
            if let Outcome::Sent { provider_id, .. } = outcome {
                look.waiting_for(Some(provider_id));
            }
        }
        Command::Wake { .. } => {
            for pending in state.case.iter().flat_map(|case| &case.pending) {
                if let Some(id) = case {
                    look.row(id, pending.place);
                }
            }
        }
        Command::MarkRead { up_to: Some(seq) } => {
            if let Some(case) = case.and_then(|id| known_case(state, loaded, id))
                && let unread = case.unread_behind(*seq)
                && unread < case.unread
                && let Some(place) = case.last_read(unread)
            {
                look.row(case.id, place);
            }
        }
        Command::Assign { .. }
        | Command::TakeOver { .. }
        | Command::SetStatus { .. }
        | Command::MarkRead { up_to: None }
        | Command::SetTags { .. }
        | Command::EditTags { .. }
        | Command::Expire { .. }
        | Command::ContactChanged { .. }
        | Command::MoveTo(_)
        | Command::TakeIn { .. }
        | Command::Settle
        | Command::Look => {}
    }
    look.needs.sort();
    look.needs.dedup();
    look.needs
}

/// The case that is meant, where the command names it or the current one is meant.
pub(super) fn target(state: &State, envelope: &Envelope) -> Option<ConversationId> {
    match envelope.target {
        Target::Current => state.thread.current,
        Target::Conversation(id) => Some(id),
    }
}

/// A case as it stands, where that was read.
fn known_case<'a>(
    state: &'a State,
    loaded: &'a Loaded,
    id: ConversationId,
) -> Option<&'a Conversation> {
    let current = state.case.as_deref().filter(|case| case.id == id);
    current.or_else(|| loaded.cases.get(&id)?.as_ref())
}

/// An opaque id that names this thread: others are not believed.
pub(super) fn known_opaque(state: &State, opaque: Option<Opaque>) -> Option<Opaque> {
    opaque.filter(|opaque| opaque.thread == state.thread.id)
}

/// What waits for its message.
fn waiting(state: &State) -> &[ParkedAmendment] {
    match &state.case {
        Some(case) => &case.waiting,
        None => &state.thread.waiting,
    }
}

/// Whether a customer has another id than this contact.
fn is_another(contact: ContactId, sender: &Sender) -> bool {
    sender.kind == SenderKind::Contact && sender.id.is_some_and(|id| id != contact.0)
}

/// Which customer amends a message.
fn amender(state: &State, by: &Amender) -> Option<ContactId> {
    match by {
        Amender::Customer => Some(state.thread.contact),
        Amender::Author(author) => author.contact,
        Amender::Business => None,
    }
}

struct Look<'a> {
    state: &'a State,
    loaded: &'a Loaded,
    needs: Vec<Need>,
}

impl Look<'_> {
    fn case(&mut self, id: ConversationId) {
        let known = self.state.case.as_ref().is_some_and(|case| case.id == id);
        if !known && !self.loaded.cases.contains_key(&id) {
            self.needs.push(Need::Case(id));
        }
    }

    fn row(&mut self, id: ConversationId, place: Place) {
        if !self.loaded.rows.contains_key(&(id, place)) {
            self.needs.push(Need::Row(id, place));
        }
    }

    fn message(&mut self, id: ConversationId, message: MessageId) {
        match self.loaded.messages.get(&(id, message)) {
            None => self.needs.push(Need::Message(id, message)),
            Some(Some(place)) => self.row(id, *place),
            Some(None) => {}
        }
    }

    /// The mail that one answers which names none: the newest that came.
    fn answered_mail(&mut self, id: ConversationId) {
        let case = known_case(self.state, self.loaded, id);
        let case = case.filter(|case| case.channel.carrier() == Carrier::Mail);
        if let Some(newest) = case.and_then(|case| case.last_inbound_id.clone()) {
            self.known(&newest, None);
        }
    }

    fn at(&mut self, id: ConversationId, place: Place) {
        self.case(id);
        self.row(id, place);
    }

    /// Whether an id is new: a look-up only where memory cannot tell.
    fn id(&mut self, id: &str, sent_at: Option<Timestamp>) {
        if self.state.recent.find(id).is_none()
            && self.may_be_known(sent_at)
            && !self.loaded.refs.contains_key(id)
        {
            self.needs.push(Need::Ref(id.to_owned()));
        }
    }

    /// Whether an id that is not remembered may still be one of this thread, of one that was moved
    /// here, or of before the account was connected.
    fn may_be_known(&self, sent_at: Option<Timestamp>) -> bool {
        let State { thread, recent, .. } = self.state;
        let history = thread.history.as_ref();
        recent.may_have_forgotten(sent_at)
            || thread.may_have_joined(sent_at)
            || history.is_some_and(|history| history.may_hold(sent_at))
    }

    fn found(&self, id: &str) -> Option<(ConversationId, Place)> {
        self.state.recent.find(id).or(self.loaded.refs.get(id).copied().flatten())
    }

    /// What the edits say that wait for the message with this id.
    fn waiting_for(&mut self, id: Option<&str>) {
        let of_it = waiting(self.state).iter().filter(|waits| Some(waits.target.as_str()) == id);
        for at in of_it.filter_map(ParkedAmendment::content) {
            if !self.loaded.contents.contains_key(&at) {
                self.needs.push(Need::Content(at));
            }
        }
    }

    /// Whether those are its author whose amendments wait for the message with this id.
    fn amenders(&mut self, id: Option<&str>, author: Option<ContactId>) {
        let (Some(id), Some(author)) = (id, author) else { return };
        for waits in waiting(self.state).iter().filter(|waits| waits.target == id) {
            self.persons(author, &waits.sender);
        }
    }

    /// Whether this contact wrote the message with this id, or reacted to it before.
    fn persons_at(&mut self, id: &str, contact: ContactId) {
        let Some(found) = self.found(id) else { return };
        let Some(Some(row)) = self.loaded.rows.get(&found) else { return };
        self.persons(contact, &row.message.sender);
        let others = row.reacted.iter().map(|reacted| &reacted.sender);
        if others.into_iter().any(|other| is_another(contact, other)) {
            self.person(contact);
        }
    }

    /// Whether this is that contact: to be looked up only where the ids do not say so.
    fn persons(&mut self, contact: ContactId, other: &Sender) {
        if let Some(id) = other.id.filter(|_| is_another(contact, other)) {
            self.person(contact);
            self.person(ContactId(id));
        }
    }

    fn person(&mut self, contact: ContactId) {
        if !self.loaded.persons.contains_key(&contact) {
            self.needs.push(Need::Person(contact));
        }
    }

    /// The row of the message with this id, if there is one.
    fn known(&mut self, id: &str, sent_at: Option<Timestamp>) {
        self.id(id, sent_at);
        if let Some((conversation, place)) = self.found(id) {
            self.at(conversation, place);
        }
    }
}
