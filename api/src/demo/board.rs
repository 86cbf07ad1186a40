//! What the live feed says, turned into rows, figures and wishes to the server. No input or output.

use std::collections::HashMap;

use engine::channel::Channel;
use engine::conversation::ConversationView;
use engine::fact::ConversationStatus;
use engine::message::{Direction, Message, MessageStatus};
use engine::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::figures::Figures;
use super::protocol::{Push, Snapshot, Wish};
use super::screen::{Row, Style, fit};
use super::words::{reaction, words};

/// Conversations followed at once; beyond it closed ones are left.
const FOLLOWED_MAX: usize = 150;
/// Replies whose fate is watched; beyond it those that were read are forgotten.
const WATCHED_MAX: usize = 10_000;
/// Messages of which it is known how they were shown; beyond it all of that is forgotten.
const SHOWN_MAX: usize = 10_000;
/// How many columns of a message its ticks, or what is done to it, repeat.
const QUOTED: usize = 40;

/// A conversation as far as it was seen.
#[derive(Default)]
struct Case {
    via: &'static str,
    name: String,
    assignee: Option<String>,
    closed: bool,
    followed: bool,
    /// Everything up to this number of its log is on the screen.
    seen: u64,
}

/// A message as the screen showed it last.
#[derive(Clone, PartialEq)]
struct Shown {
    words: String,
    /// As [`reaction`] says them.
    reactions: Vec<String>,
    deleted: bool,
}

/// How far a reply got, as the screen shows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Waiting,
    Failed,
    Sent,
    Delivered,
    Read,
}

/// Everything that was seen.
pub(super) struct Board {
    /// What is older was there before.
    since: Timestamp,
    people: HashMap<String, String>,
    cases: HashMap<String, Case>,
    replies: HashMap<String, Step>,
    shown: HashMap<String, Shown>,
    rows: Vec<Row>,
    wishes: Vec<Wish>,
    pub(super) figures: Figures,
}

impl Board {
    /// An empty one; `people` are names by agent id.
    pub(super) fn new(since: Timestamp, people: HashMap<String, String>, figures: Figures) -> Self {
        let (cases, replies, shown) = (HashMap::new(), HashMap::new(), HashMap::new());
        let (rows, wishes) = (Vec::new(), Vec::new());
        Self { since, people, cases, replies, shown, rows, wishes, figures }
    }

    /// What is new on the screen, and what is wished for.
    pub(super) fn taken(&mut self) -> (Vec<Row>, Vec<Wish>) {
        (std::mem::take(&mut self.rows), std::mem::take(&mut self.wishes))
    }

    /// A new connection follows nothing yet.
    pub(super) fn reconnected(&mut self) {
        self.cases.values_mut().for_each(|case| case.followed = false);
    }

    /// The answer to a subscription.
    pub(super) fn subscribed(&mut self, answer: &Value) {
        let snap = &answer["snap"];
        for row in snap["conversations"].as_array().into_iter().flatten() {
            if let Ok(view) = ConversationView::deserialize(row) {
                self.listed(&view);
            }
        }
        let Ok(Snapshot { conversation, messages }) = Snapshot::deserialize(snap) else { return };
        self.listed(&conversation);
        let id = conversation.id.to_string();
        let seen = self.cases.get(&id).map_or(0, |case| case.seen);
        let since = self.since;
        let new = messages.iter().rev().filter(|m| m.rev > seen && m.created_at >= since);
        for message in new {
            self.message(message, message.created_at);
        }
        if let (Some(case), Some(off)) = (self.cases.get_mut(&id), answer["off"].as_u64()) {
            case.seen = case.seen.max(off);
        }
    }

    /// Something that the server says by itself.
    pub(super) fn pushed(&mut self, push: Value) {
        match Push::deserialize(push) {
            Ok(Push::Ev { s, off, k, ts, d }) => self.event(&s, off, &k, Timestamp(ts), d),
            Ok(Push::Reset { s }) => self.wishes.push(Wish::Follow(s)),
            Ok(Push::Unsub { s }) => self.left(&s),
            Ok(Push::Ping) => self.wishes.push(Wish::Pong),
            Ok(Push::Expiring) => self.wishes.push(Wish::Renew),
            Ok(Push::Other) => {}
            Err(error) => tracing::debug!(%error, "the live feed said something unknown"),
        }
    }

    fn left(&mut self, stream: &str) {
        if let Some(id) = stream.strip_prefix("c:")
            && let Some(case) = self.cases.get_mut(id)
        {
            case.followed = false;
        }
    }

    fn event(&mut self, stream: &str, off: u64, kind: &str, at: Timestamp, data: Value) {
        self.figures.events += 1;
        if kind == "conversation.upsert" {
            if let Ok(view) = ConversationView::deserialize(&data) {
                self.listed(&view);
            }
            return;
        }
        let Some(id) = stream.strip_prefix("c:") else { return };
        let Some(case) = self.cases.get_mut(id).filter(|case| off > case.seen) else { return };
        case.seen = off;
        match kind.split_once('.') {
            Some(("message", _)) => {
                if let Ok(message) = Message::deserialize(data) {
                    self.message(&message, at);
                }
            }
            Some(("conversation", what)) => {
                if let Ok(view) = ConversationView::deserialize(data) {
                    self.changed(&view, what, at);
                }
            }
            _ => {}
        }
    }

    /// A conversation is in the list: it is followed from now on.
    fn listed(&mut self, view: &ConversationView) {
        let id = view.id.to_string();
        let case = self.cases.entry(id.clone()).or_default();
        let name = view.contact_name.as_ref().or(view.contact_phone.as_ref());
        case.via = channel(view.contact_channel);
        case.name = name.map_or_else(|| "somebody".to_owned(), Clone::clone);
        case.assignee = view.assigned_agent_id.map(|agent| agent.to_string());
        case.closed = view.status.is_closed();
        if case.followed || case.closed {
            return;
        }
        case.followed = true;
        self.wishes.push(Wish::Follow(format!("c:{id}")));
        let followed = self.cases.values().filter(|case| case.followed).count();
        if followed > FOLLOWED_MAX {
            self.leave_closed();
        }
    }

    fn leave_closed(&mut self) {
        let closed = self.cases.iter_mut().filter(|(_, case)| case.followed && case.closed);
        for (id, case) in closed {
            case.followed = false;
            self.wishes.push(Wish::Leave(format!("c:{id}")));
        }
        self.cases.retain(|_, case| case.followed);
    }

    fn message(&mut self, message: &Message, at: Timestamp) {
        let now = Shown {
            words: words(message),
            reactions: message.reactions.iter().map(reaction).collect(),
            deleted: message.deleted_at.is_some(),
        };
        if self.shown.len() >= SHOWN_MAX {
            self.shown.clear();
        }
        let before = self.shown.insert(message.id.to_string(), now.clone());
        match (message.direction, &before) {
            (Direction::Inbound, None) => self.received(message, at),
            (Direction::Inbound, Some(before)) => self.amended(message, before, &now, at),
            (Direction::Outbound, _) => self.replied(message, at),
        }
        let reactions = before.map_or_else(Vec::new, |before| before.reactions);
        if !now.deleted && now.reactions != reactions {
            self.reacted(message, &reactions, &now, at);
        }
    }

    fn received(&mut self, message: &Message, at: Timestamp) {
        if message.status != MessageStatus::Received {
            return;
        }
        self.figures.received(message.provider_message_id.as_deref());
        self.row(message, at, ("→", Style::Cyan), words(message), "");
    }

    /// A customer's message was edited or deleted.
    fn amended(&mut self, message: &Message, before: &Shown, now: &Shown, at: Timestamp) {
        let text = match (now.deleted, now.words != before.words) {
            (true, _) if !before.deleted => "deleted a message".to_owned(),
            (false, true) => format!("edited: {}", now.words),
            _ => return,
        };
        self.figures.amended += 1;
        self.row(message, at, ("~", Style::Cyan), text, "");
    }

    /// Somebody thinks something else of a message.
    fn reacted(&mut self, message: &Message, before: &[String], now: &Shown, at: Timestamp) {
        let new = now.reactions.iter().find(|reaction| !before.contains(reaction));
        let (quoted, _) = fit(&now.words, QUOTED);
        let text = match new {
            Some(reaction) => format!("{reaction} to: {quoted}"),
            None => format!("no reaction any more to: {quoted}"),
        };
        self.figures.amended += 1;
        self.row(message, at, ("+", Style::Yellow), text, "");
    }

    fn replied(&mut self, message: &Message, at: Timestamp) {
        let step = match message.status {
            MessageStatus::Failed => Step::Failed,
            MessageStatus::Sent => Step::Sent,
            MessageStatus::Delivered => Step::Delivered,
            MessageStatus::Read | MessageStatus::Played => Step::Read,
            _ => Step::Waiting,
        };
        if self.replies.len() >= WATCHED_MAX {
            self.replies.retain(|_, step| *step != Step::Read);
        }
        let before = self.replies.insert(message.id.to_string(), step).unwrap_or(Step::Waiting);
        if step <= before {
            self.replies.insert(message.id.to_string(), before);
            return;
        }
        let passed = |mark: Step| u64::from(before < mark && mark <= step);
        self.figures.sent += passed(Step::Sent);
        self.figures.delivered += passed(Step::Delivered);
        self.figures.read += passed(Step::Read);
        let author = message.sender.name.as_deref().unwrap_or("somebody");
        let (ticks, word, style) = match step {
            Step::Waiting | Step::Sent => ("✓", "sent", Style::Dim),
            Step::Delivered => ("✓✓", "delivered", Style::Dim),
            Step::Read => ("✓✓", "read", Style::Blue),
            Step::Failed => ("✗", "failed", Style::Red),
        };
        match (step, &message.error) {
            (Step::Failed, Some(error)) => {
                self.figures.failed += 1;
                let text = format!("{author}: {} (failed: {})", words(message), error.message);
                self.row(message, at, (ticks, style), text, "");
            }
            _ if before < Step::Sent => {
                let text = format!("{author}: {}", words(message));
                self.row(message, at, ("←", Style::Green), text, ticks);
            }
            _ => {
                let (text, _) = fit(&words(message), QUOTED);
                self.row(message, at, (ticks, style), format!("{word}: {text}"), "");
            }
        }
    }

    fn changed(&mut self, view: &ConversationView, what: &str, at: Timestamp) {
        self.listed(view);
        let assignee = view.assigned_agent_id.map(|agent| agent.to_string());
        let agent = assignee.as_ref().and_then(|id| self.people.get(id));
        let agent = agent.map_or("somebody", String::as_str);
        let (mark, style, text) = match what {
            "created" => return,
            "assigned" => ("◆", Style::Yellow, format!("{agent} takes care of it")),
            "unassigned" => ("◇", Style::Yellow, "nobody takes care of it".to_owned()),
            "resolved" => {
                self.figures.resolved += 1;
                ("■", Style::Magenta, format!("resolved by {agent}"))
            }
            "reopened" => ("□", Style::Magenta, "open again".to_owned()),
            "expired" => ("■", Style::Dim, "expired".to_owned()),
            "status_changed" if view.status == ConversationStatus::Pending => {
                ("□", Style::Magenta, "pending".to_owned())
            }
            "tags_changed" => ("#", Style::Yellow, view.tags.join(", ")),
            _ => return,
        };
        let (via, who) = self.whose(&view.id.to_string());
        self.rows.push(Row { at, via, who, mark, style, text, tail: "" });
    }

    fn row(
        &mut self,
        message: &Message,
        at: Timestamp,
        (mark, style): (&'static str, Style),
        text: String,
        tail: &'static str,
    ) {
        let (via, who) = self.whose(&message.conversation_id.to_string());
        self.rows.push(Row { at, via, who, mark, style, text, tail });
    }

    /// On which channel a conversation is, and whose it is.
    fn whose(&self, conversation: &str) -> (&'static str, String) {
        self.cases.get(conversation).map_or_else(Default::default, |c| (c.via, c.name.clone()))
    }
}

/// A channel as its people call it.
fn channel(channel: Channel) -> &'static str {
    match channel {
        Channel::Whatsapp => "WhatsApp",
        Channel::Instagram => "Instagram",
        Channel::Messenger => "Messenger",
        Channel::Email => "Email",
    }
}

#[cfg(test)]
mod tests;
