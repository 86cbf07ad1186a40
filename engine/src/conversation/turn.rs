//! A decision in the making: every fact is followed as it is recorded, so that what comes later in
//! the same decision sees it.

use std::sync::Arc;

use super::contents::Changed;
use super::{Answer, ContentAt, Conversation, Decision, Effect, Loaded, Pending, Refused, Thread};
use crate::fact::{By, Fact, ParkedReceipt, Recorded};
use crate::id::MessageId;
use crate::message::{
    Content, Direction, Message, MessageError, MessageKind, MessageRow, MessageStatus, Place,
    Sender, SenderKind, block_of,
};
use crate::time::Timestamp;

pub(super) struct Turn<'a> {
    pub head: Conversation,
    pub thread: Option<Thread>,
    pub effects: Vec<Effect>,
    /// What the edits of this decision say.
    pub contents: Vec<Changed>,
    pub at: Timestamp,
    pub by: By,
    /// How many edits and deletions did not count.
    pub foreign: u32,
    pub(super) loaded: &'a Loaded,
    /// The first seq of the commit that this becomes part of.
    pub(super) first: u64,
    facts: Vec<Recorded>,
    rows: Vec<MessageRow>,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        head: Conversation,
        loaded: &'a Loaded,
        by: By,
        at: Timestamp,
        commit_first: Option<u64>,
    ) -> Self {
        let first = commit_first.unwrap_or(head.seq + 1);
        let (thread, effects, contents) = (None, Vec::new(), Vec::new());
        let (facts, rows, foreign) = (Vec::new(), Vec::new(), 0);
        Self { head, thread, effects, contents, at, by, foreign, loaded, first, facts, rows }
    }

    /// Records what happened. A fact about a message changes its row, which must be loaded or made
    /// by this decision.
    pub(super) fn record(&mut self, fact: Fact) {
        self.record_by(self.by, fact);
    }

    /// Records what happened by somebody else than who asked.
    pub(super) fn record_by(&mut self, by: By, fact: Fact) {
        let recorded = Recorded { by, fact };
        let seq = self.head.seq + 1;
        let row = recorded.fact.message().and_then(|(_, place)| self.index(place));
        if let Some(row) = row {
            let content = recorded.fact.content().and_then(|at| self.content((self.head.id, at)));
            let content = content.cloned();
            self.rows[row].apply(&recorded.fact, seq, content);
            let row = &self.rows[row];
            if recorded.fact.brings_content() && row.message.wanted().next().is_some() {
                self.effects.push(Effect::Fetch { place: row.place });
            }
        }
        self.head.apply(&recorded, self.at, row.map(|row| &self.rows[row]));
        self.facts.push(recorded);
    }

    /// A message's row as it stands in this decision.
    pub(super) fn row(&self, place: Place) -> Result<&MessageRow, Refused> {
        self.rows
            .iter()
            .find(|row| row.place == place)
            .or_else(|| self.loaded.rows.get(&(self.head.id, place))?.as_ref())
            .ok_or(Refused::NoSuchMessage)
    }

    /// What an edit says, of this decision or one that waited.
    pub(super) fn content(&self, at: ContentAt) -> Option<&Content> {
        let made = self.contents.iter().rfind(|(made, _)| *made == at).map(|(_, content)| content);
        made.or_else(|| self.loaded.contents.get(&at))?.as_ref()
    }

    /// The index of a message's row among those that this decision changes.
    fn index(&mut self, place: Place) -> Option<usize> {
        let known = self.rows.iter().position(|row| row.place == place);
        known.or_else(|| {
            self.rows.push(self.loaded.rows.get(&(self.head.id, place))?.clone()?);
            Some(self.rows.len() - 1)
        })
    }

    /// A new message, with the next ordinal and the next fact's seq, otherwise empty.
    pub(super) fn blank(&self, id: MessageId, direction: Direction, sender: Sender) -> MessageRow {
        let seq = self.head.seq + 1;
        let (status, place) = (
            match direction {
                Direction::Inbound => MessageStatus::Received,
                Direction::Outbound => MessageStatus::Queued,
            },
            Place { block: block_of(self.first), ordinal: self.head.messages + 1 },
        );
        let message = Message {
            id,
            conversation_id: self.head.id,
            seq,
            rev: seq,
            direction,
            kind: MessageKind::Text,
            status,
            sender,
            created_at: self.at,
            sent_at: None,
            text: None,
            visible_text: None,
            subject: None,
            html: None,
            attachments: Vec::new(),
            provider_message_id: None,
            reply_to: None,
            reply_to_message_id: None,
            story: None,
            payload: None,
            reactions: Vec::new(),
            reaction_error: None,
            edited_at: None,
            deleted_at: None,
            error: None,
            referral: None,
            forwarded: false,
            automatic: false,
        };
        MessageRow::new(message, place)
    }

    /// The customer as a sender.
    pub(super) fn customer(&self) -> Sender {
        Sender {
            kind: SenderKind::Contact,
            id: Some(self.head.contact.0),
            name: self.head.contact_name.clone(),
        }
    }

    /// Adds a message made by [`Turn::blank`], with the fact that makes it.
    pub(super) fn add(&mut self, row: MessageRow, by: By, fact: Fact) {
        self.rows.push(row);
        self.record_by(by, fact);
    }

    /// Moves a message forward, if this moves it. Once the provider's id is known, what waited for
    /// it follows.
    pub(super) fn progress(
        &mut self,
        place: Place,
        provider_id: Option<&str>,
        progress: Progress,
    ) -> Result<(), Refused> {
        let row = self.row(place)?;
        let message = row.message.id;
        let learns = provider_id.is_some() && row.message.provider_message_id.is_none();
        // One that came in is nowhere to go.
        let is_ours = row.message.direction == Direction::Outbound;
        if !is_ours || (progress.status <= row.message.status && !learns) {
            return Ok(());
        }
        let waiting = provider_id.map(|id| self.parked(id)).unwrap_or_default();
        let amendments = provider_id.map(|id| self.head.waiting_for(id)).unwrap_or_default();
        let Progress { status, at, error } = progress;
        let provider_id = provider_id.map(str::to_owned);
        self.record(Fact::Progressed { message, place, status, provider_id, at, error });
        self.let_in(place, waiting)?;
        self.let_amendments_in(place, amendments)?;
        self.let_marks_in(place)
    }

    /// Moves a message as the receipts say that waited for it.
    pub(super) fn let_in(
        &mut self,
        place: Place,
        waiting: Vec<ParkedReceipt>,
    ) -> Result<(), Refused> {
        for ParkedReceipt { status, at, error, .. } in waiting {
            self.progress(place, None, Progress { status, at, error })?;
        }
        Ok(())
    }

    /// The receipts that wait for this provider id. The fact that names it lets them go.
    pub(super) fn parked(&self, provider_id: &str) -> Vec<ParkedReceipt> {
        let of = |parked: &&ParkedReceipt| parked.provider_id == provider_id;
        self.head.parked.iter().filter(of).cloned().collect()
    }

    /// Hands the first message that waits to the outbox.
    pub(super) fn enqueue_first(&mut self) {
        if let Some(first) = self.head.pending.first().filter(|first| first.sending == 0) {
            let (message, place, due) = (first.message, first.place, first.due);
            self.effects.push(Effect::Enqueue { message, place, due });
        }
    }

    /// Whether nothing was recorded yet.
    pub(super) fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Refuses free text outside its window: where people may answer for longer, that of people.
    pub(super) fn check_window(&self) -> Result<(), Refused> {
        let Some(window) = self.head.channel.window() else { return Ok(()) };
        let open = if self.is_by_people() { window.by_people } else { window.free };
        let at = self.head.closes(open);
        if at.is_none_or(|closes| self.at >= closes) {
            let has_templates = self.head.channel.has_templates();
            return Err(Refused::WindowClosed { at, has_templates });
        }
        Ok(())
    }

    fn is_by_people(&self) -> bool {
        matches!(self.by, By::Agent(_))
    }

    /// Whether the provider would refuse this at that time, because the customer has not written for
    /// too long.
    pub(super) fn is_too_late(&self, pending: Pending, at: Timestamp) -> Result<bool, Refused> {
        let message = &self.row(pending.place)?.message;
        let is_template = !pending.is_reaction && message.kind == MessageKind::Template;
        let Some(window) = self.head.channel.window().filter(|_| !is_template) else {
            return Ok(false);
        };
        // Reactions are people's, too.
        let is_by_people = pending.is_reaction || message.sender.kind == SenderKind::Agent;
        let open = if is_by_people { window.by_people } else { window.free };
        Ok(self.head.last_inbound_at.is_none_or(|wrote| at >= wrote + open))
    }

    /// The decision, with the message it answers, if it is about one. Providers are told nothing.
    pub(super) fn done(self, message: Option<Place>) -> Decision {
        let (changed, foreign) = (!self.facts.is_empty(), self.foreign);
        let mut answer = Answer { changed, foreign, ..Answer::default() };
        let is_told = self.by != By::Provider;
        if is_told {
            let row = message.and_then(|place| self.row(place).ok());
            answer.message = row.map(|row| Box::new(row.message.clone()));
        }
        let head = Arc::new(self.head);
        answer.conversation = is_told.then(|| head.clone());
        Decision {
            head,
            thread: self.thread,
            facts: self.facts,
            rows: self.rows,
            contents: self.contents,
            key: None,
            effects: self.effects,
            answer,
        }
    }
}

/// How far a message got, as a receipt or an outcome says.
pub(super) struct Progress {
    pub status: MessageStatus,
    pub at: Option<Timestamp>,
    pub error: Option<MessageError>,
}

impl Progress {
    /// It will not go out.
    pub(super) fn failed(error: MessageError) -> Self {
        Self { status: MessageStatus::Failed, at: None, error: Some(error) }
    }

    /// The provider has it.
    pub(super) fn sent() -> Self {
        Self { status: MessageStatus::Sent, at: None, error: None }
    }
}
