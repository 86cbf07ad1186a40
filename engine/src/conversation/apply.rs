//! What a fact changes: the head of its case, the row of its message, the ids known in memory.
//! The same code follows a decision and replays the log.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Conversation, Decision, Joined, Loaded, Marks, PARKED_FOR, PREVIEW_CHARS, Pending, Preview,
    State, Thread, UNREAD_KEPT, UNSETTLED_MAX, WINDOW_MARGIN,
};
use crate::fact::{By, ConversationStatus, Fact, Recorded};
use crate::id::{ConversationId, MessageId};
use crate::message::{
    Attachment, Content, Message, MessageError, MessageRow, MessageStatus, Place, Reacted, Reacting,
};
use crate::text::beginning;
use crate::time::Timestamp;

impl Conversation {
    /// A case of a thread before its first fact.
    pub fn blank(id: ConversationId, thread: &Thread) -> Self {
        let never = Timestamp::default();
        Self {
            id,
            tenant: thread.tenant,
            thread: thread.id,
            account: thread.account,
            channel: thread.channel,
            contact: thread.contact,
            contact_name: None,
            contact_phone: None,
            case: thread.case,
            status: ConversationStatus::Open,
            assignee: None,
            tags: Vec::new(),
            unread: 0,
            unread_at: Vec::new(),
            created_at: never,
            updated_at: never,
            last_message_at: never,
            closed_at: None,
            last_inbound_at: None,
            last_inbound_id: None,
            seq: 0,
            messages: 0,
            last_message: None,
            pending: Vec::new(),
            unsettled: Vec::new(),
            unseen: Vec::new(),
            marks: Marks::default(),
            touched: false,
            parked: Vec::new(),
            waiting: Vec::new(),
            clean: false,
        }
    }

    /// Follows one fact, whose seq is one above the head's. `row` is its message's, after the fact;
    /// without it the preview stays.
    pub fn apply(&mut self, recorded: &Recorded, at: Timestamp, row: Option<&MessageRow>) {
        self.seq += 1;
        // Who looks for what was changed since then finds it, also where the clock was set back.
        self.updated_at = self.updated_at.max(at);
        self.clean = false;
        self.touched |= matches!(recorded.by, By::Agent(_));
        match &recorded.fact {
            Fact::Opened {
                case,
                contact_name,
                contact_phone,
                last_inbound_at,
                waiting,
                parked,
                marks,
                history_since,
            } => {
                self.case = *case;
                self.waiting.clone_from(waiting);
                self.parked.clone_from(parked);
                self.marks = *marks;
                self.contact_name.clone_from(contact_name);
                self.contact_phone.clone_from(contact_phone);
                self.last_inbound_at = *last_inbound_at;
                (self.created_at, self.last_message_at) = (at, at);
                if let Some(since) = history_since {
                    (self.created_at, self.last_message_at) = (*since, *since);
                    self.turn(ConversationStatus::Resolved, at);
                }
            }
            Fact::Received { provider_id, sent_at, place, auto_reply, .. } => {
                if !auto_reply {
                    self.unread = self.unread.saturating_add(1);
                    if self.unread_at.len() == UNREAD_KEPT {
                        self.unread_at.remove(0);
                    }
                    self.unread_at.push((self.seq, *place));
                }
                // What arrives late does not take the window back.
                self.last_inbound_at = self.last_inbound_at.max(Some(sent_at.unwrap_or(at)));
                if let Some(id) = provider_id {
                    self.last_inbound_id = Some(id.clone());
                    self.unpark(id);
                }
                self.added(*place, at, row);
            }
            Fact::Echoed { place, provider_id, sent_at, .. } => {
                self.unpark(provider_id);
                self.left(*place, sent_at.unwrap_or(at));
                self.added(*place, at, row);
            }
            Fact::Imported { place, provider_id, sent_at, .. } => {
                self.unpark(provider_id);
                let last = self.last_message_at;
                self.added(*place, last.max(sent_at.unwrap_or(last)), row);
            }
            Fact::Noted { place, joined, .. } => {
                // It neither opens the window nor is it what lists show and go by.
                self.messages = place.ordinal;
                if let Some(joined) = joined {
                    self.join(joined);
                }
            }
            Fact::Queued { message, place } => {
                self.pending.push(Pending::new(*message, *place, at));
                self.added(*place, at, row);
            }
            Fact::ReactionQueued { reaction, place, .. } => {
                let pending = Pending::new(*reaction, *place, at);
                self.pending.push(Pending { is_reaction: true, ..pending });
            }
            Fact::ReactionEnded { reaction, provider_id, .. } => {
                self.pending.retain(|pending| pending.message != *reaction);
                if let Some(id) = provider_id {
                    self.unpark(id);
                }
            }
            Fact::SendStarted { message, attempt, place } => {
                let pending = self.pending_of(*message);
                let is_reaction = pending.as_ref().is_some_and(|of| of.is_reaction);
                if let Some(pending) = pending {
                    (pending.sending, pending.attempts) = (*attempt, *attempt);
                }
                if !is_reaction {
                    self.left(*place, at);
                }
            }
            Fact::SendDelayed { message, due, throttled, .. } => {
                if let Some(pending) = self.pending_of(*message) {
                    (pending.sending, pending.due) = (0, *due);
                    pending.throttled += u32::from(*throttled);
                }
            }
            Fact::SendUnknown { message, place } => {
                let is_reaction = self.pending_of(*message).is_some_and(|of| of.is_reaction);
                self.done(*message, *place);
                if !is_reaction {
                    if self.unsettled.len() == UNSETTLED_MAX {
                        self.unsettled.remove(0);
                    }
                    self.unsettled.push(*place);
                }
            }
            Fact::Progressed { message, place, status, provider_id, at, .. } => {
                if *status >= MessageStatus::Sent {
                    self.done(*message, *place);
                }
                self.got_to(*place, *status, *at);
                if let Some(id) = provider_id {
                    self.unpark(id);
                }
            }
            Fact::Taken { place, at } => self.got_to(*place, MessageStatus::Sent, Some(*at)),
            Fact::Watermarked { status, up_to } => self.mark(*status, *up_to),
            Fact::ReceiptParked { receipt } => {
                self.parked.retain(|p| p.parked_at + PARKED_FOR > receipt.parked_at);
                self.parked.push(receipt.clone());
            }
            Fact::Reacted { .. } | Fact::Fetched { .. } => {}
            Fact::Edited { message, .. } | Fact::Filled { message, .. } => {
                self.amended(*message, row);
            }
            Fact::Deleted { message, .. } => {
                self.amended(*message, row);
                if let Some(last) = self.last_message.as_mut().filter(|last| last.id == *message) {
                    last.text = None;
                }
            }
            Fact::AmendmentParked { amendment } => amendment.clone().join(&mut self.waiting),
            Fact::Assigned { to, .. } => self.assignee = *to,
            Fact::StatusChanged { to, .. } => self.turn(*to, at),
            Fact::Reopened { .. } => self.turn(ConversationStatus::Open, at),
            Fact::Expired { .. } => self.turn(ConversationStatus::Expired, at),
            Fact::TagsChanged { to, .. } => self.tags.clone_from(to),
            Fact::ReadMarked { unread } => {
                self.unread = *unread;
                let read = self.unread_at.len().saturating_sub(*unread as usize);
                self.unread_at.drain(..read);
            }
            Fact::ContactChanged { name, phone, contact } => {
                self.contact = contact.unwrap_or(self.contact);
                self.contact_name.clone_from(name);
                self.contact_phone.clone_from(phone);
            }
            Fact::Moved { .. } => self.turn(ConversationStatus::Resolved, at),
            Fact::HandedOn => {
                self.parked.clear();
                self.waiting.clear();
            }
            Fact::Woken => {}
        }
    }

    /// Until when people may send free text; `None`: the customer never wrote, or it is possible at
    /// any time.
    pub fn window_closes_at(&self) -> Option<Timestamp> {
        self.closes(self.channel.window()?.by_people)
    }

    /// The same of everybody else, and of what has nothing to do with people.
    pub fn free_window_closes_at(&self) -> Option<Timestamp> {
        self.closes(self.channel.window()?.free)
    }

    /// When a window closes that is open so long after the customer wrote.
    pub(super) fn closes(&self, open: Duration) -> Option<Timestamp> {
        self.last_inbound_at.map(|wrote| wrote + (open - WINDOW_MARGIN))
    }

    /// How many messages stay unread when everything up to this fact is read. Where only the newest
    /// of them are known one by one, the mark waits until it reaches these.
    pub(super) fn unread_behind(&self, seq: u64) -> u32 {
        let behind = self.unread_at.iter().filter(|(unread, _)| *unread > seq).count();
        match u32::try_from(behind) {
            Ok(behind) if behind < self.unread_at.len() as u32 || seq >= self.seq => behind,
            _ => self.unread,
        }
    }

    /// Where the newest message lies that is read when so many stay unread; `None`: it is the
    /// customer's newest.
    pub(super) fn last_read(&self, unread: u32) -> Option<Place> {
        let at = self.unread_at.len().checked_sub(unread as usize + 1)?;
        self.unread_at.get(at).filter(|_| unread > 0).map(|(_, place)| *place)
    }

    pub(super) fn pending_of(&mut self, message: MessageId) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|pending| pending.message == message)
    }

    fn added(&mut self, place: Place, at: Timestamp, row: Option<&MessageRow>) {
        self.messages = place.ordinal;
        self.last_message_at = at;
        if let Some(row) = row {
            self.last_message = Some(Preview::of(&row.message));
        }
    }

    /// A message says something else: so does the preview, if it is of this one.
    fn amended(&mut self, message: MessageId, row: Option<&MessageRow>) {
        let is_last = self.last_message.as_ref().is_some_and(|last| last.id == message);
        if let Some(row) = row.filter(|_| is_last) {
            self.last_message = Some(Preview::of(&row.message));
        }
    }

    /// What the customer wrote elsewhere counts as if it had been written here.
    fn join(&mut self, joined: &Joined) {
        self.unread = self.unread.saturating_add(joined.unread);
        if joined.last_inbound_at > self.last_inbound_at {
            self.last_inbound_at = joined.last_inbound_at;
            self.last_inbound_id.clone_from(&joined.last_inbound_id);
        }
    }

    fn done(&mut self, message: MessageId, place: Place) {
        self.pending.retain(|pending| pending.message != message);
        self.unsettled.retain(|unsettled| *unsettled != place);
    }

    fn unpark(&mut self, provider_id: &str) {
        self.parked.retain(|parked| parked.provider_id != provider_id);
        self.waiting.retain(|waits| waits.target != provider_id);
    }

    fn turn(&mut self, status: ConversationStatus, at: Timestamp) {
        self.status = status;
        self.closed_at = status.is_closed().then_some(at);
    }
}

impl Pending {
    fn new(message: MessageId, place: Place, due: Timestamp) -> Self {
        let (is_reaction, sending, attempts, throttled) = (false, 0, 0, 0);
        Self { message, place, is_reaction, sending, attempts, throttled, due }
    }
}

impl Preview {
    /// Of a message.
    pub fn of(message: &Message) -> Self {
        Self {
            id: message.id,
            direction: message.direction,
            kind: message.kind,
            text: message.text.as_deref().map(|text| beginning(text, PREVIEW_CHARS).to_owned()),
            at: message.created_at,
        }
    }
}

impl MessageRow {
    /// Follows a fact about an older message: its status, its provider id, its error, what it says.
    /// `content` is what the fact brings. All orders of the same receipts and amendments end in the
    /// same row.
    pub fn apply(&mut self, fact: &Fact, seq: u64, content: Option<Content>) {
        if fact.message().is_some_and(|(message, _)| message != self.message.id) {
            // It is about a reaction to this one.
            if matches!(fact, Fact::SendUnknown { message, .. } if self.is_reacting(*message)) {
                self.message.reaction_error = Some(unknown_reaction());
                self.message.rev = seq;
            }
            return;
        }
        let message = &mut self.message;
        match fact {
            Fact::SendStarted { attempt, .. } => {
                message.status = message.status.max(MessageStatus::Sending);
                message.error = None;
                self.attempts = *attempt;
            }
            Fact::SendDelayed { error, .. } => {
                message.status = MessageStatus::Queued;
                message.error = Some(error.clone());
            }
            Fact::SendUnknown { .. } => {
                message.status = message.status.max(MessageStatus::Unknown);
            }
            Fact::Progressed { status, provider_id, error, .. } => {
                if *status > message.status {
                    message.status = *status;
                    message.error = error.clone();
                }
                if message.provider_message_id.is_none() {
                    message.provider_message_id.clone_from(provider_id);
                }
            }
            Fact::Reacted { sender, emoji, at, .. } => {
                self.react(Reacted { sender: sender.clone(), emoji: emoji.clone(), at: *at });
            }
            Fact::Edited { at, content: place, .. } => {
                self.edit(*at, content);
                self.content = Some(*place).filter(|_| self.message.deleted_at.is_none());
            }
            Fact::ReactionQueued { reaction, sender, emoji, .. } => {
                let sent = |reacting: &&Reacting| reacting.provider_id.is_none();
                let before = match self.reacting.as_ref().filter(sent) {
                    Some(waiting) => waiting.before.clone(),
                    None => self.emoji_of(sender).map(str::to_owned),
                };
                let (id, sender, emoji) = (*reaction, sender.clone(), emoji.clone());
                self.reacting = Some(Reacting { id, sender, emoji, before, provider_id: None });
                self.message.reaction_error = None;
            }
            Fact::ReactionEnded { reaction, provider_id, error, .. } => {
                if let Some(reacting) = self.reacting.as_mut().filter(|of| of.id == *reaction) {
                    reacting.provider_id.clone_from(provider_id);
                    self.message.reaction_error.clone_from(error);
                    if error.is_some() {
                        self.reacting = None;
                    }
                }
            }
            Fact::Fetched { provider_media_id, stored, error, .. } => {
                let is_it = |of: &&mut Attachment| {
                    of.is_wanted() && of.source().is_some_and(|source| source == *provider_media_id)
                };
                for attachment in message.attachments.iter_mut().filter(is_it) {
                    attachment.error.clone_from(error);
                    if let Some(stored) = stored {
                        attachment.media_id = Some(stored.id);
                        attachment.mime_type = Some(stored.mime_type.clone());
                        attachment.size = Some(stored.size);
                    }
                }
            }
            Fact::Deleted { at, .. } => self.delete(*at),
            Fact::Filled { content: place, .. } => {
                if let Some(content) = content.filter(|_| self.message.deleted_at.is_none()) {
                    self.say(content);
                    self.content = Some(*place);
                }
            }
            _ => return,
        }
        self.message.rev = seq;
    }

    /// Whether this is the desk's newest reaction to it.
    pub fn is_reacting(&self, reaction: MessageId) -> bool {
        self.reacting.as_ref().is_some_and(|reacting| reacting.id == reaction)
    }
}

/// Why nobody can say what became of a reaction.
fn unknown_reaction() -> MessageError {
    let message = "nobody knows whether the reaction has arrived; react again to be sure";
    MessageError { code: "unknown".to_owned(), message: message.to_owned() }
}

impl State {
    /// The thread and its current case after a decision. Answers the case that stood here before.
    pub fn take(&mut self, decision: &Decision, recent_ids: usize) -> Option<Arc<Conversation>> {
        if let Some(thread) = &decision.thread {
            self.thread = thread.clone();
        }
        let id = decision.head.id;
        for recorded in &decision.facts {
            self.recent.learn(id, &recorded.fact, recent_ids);
        }
        // A thread that moved before its first case has no head.
        let is_current = self.thread.current == Some(id) && !decision.facts.is_empty();
        is_current.then(|| self.case.replace(decision.head.clone())).flatten()
    }
}

impl Loaded {
    /// What a decision made or changed, for the decisions that follow it in the same commit.
    pub fn take(&mut self, state: &State, decision: &Decision) {
        let id = decision.head.id;
        for row in &decision.rows {
            self.rows.insert((id, row.place), Some(row.clone()));
            self.messages.insert((id, row.message.id), Some(row.place));
        }
        let known = decision.facts.iter().filter_map(|recorded| recorded.fact.reference());
        self.refs.extend(known.map(|(known, place)| (known.to_owned(), Some((id, place)))));
        for (at, content) in &decision.contents {
            self.contents.insert(*at, content.clone());
        }
        if let Some(used) = &decision.key {
            self.keys.insert(used.key, Some(used.clone()));
        }
        if state.thread.current != Some(id) && !id.0.is_nil() {
            self.cases.insert(id, Some(Conversation::clone(&decision.head)));
        }
    }
}
