//! What one commit makes, and who waits for it.

use std::sync::Arc;

use engine::conversation::contents::Changed;
use engine::conversation::{Answer, Conversation, Decision, Effect, Refused, Thread};
use engine::fact::{Commit, UsedKey};
use engine::id::ThreadId;
use engine::message::{Content, MessageRow};
use engine::time::Timestamp;
use storage::conversations::COMMIT_FACTS_MAX;
use tracing::{Level, Span, debug, debug_span};

use super::order::Order;
use crate::ages::Age;
use crate::failure::Failure;
use crate::permits::Permit;
use crate::reply::Reply;

/// What one commit makes.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) waiters: Vec<Waiter>,
    pub(super) before: Option<Arc<Conversation>>,
    /// The case that was current until this one began.
    pub(super) left: Option<Arc<Conversation>>,
    pub(super) after: Option<Arc<Conversation>>,
    pub(super) thread: Option<Thread>,
    pub(super) commit: Option<Commit>,
    /// Used keys of what changes nothing: the same asked again is not to change anything either.
    pub(super) keys: Vec<UsedKey>,
    pub(super) rows: Vec<MessageRow>,
    pub(super) contents: Vec<Changed>,
    /// Each with where it comes from, and of which case it is: that of the commit or another.
    pub(super) effects: Vec<(Span, Arc<Conversation>, Effect)>,
    pub(super) bytes: usize,
    pub(super) ready: Option<Ready>,
    /// Since its commit began.
    pub(super) age: Option<Age>,
}

/// Who waits for a commit, and for what answer.
pub(super) struct Waiter {
    pub(super) reply: Reply,
    pub(super) answer: Result<Answer, Refused>,
    pub(super) permit: Permit,
    pub(super) span: Span,
}

/// A commit as it is handed to the store, and told about afterwards.
#[derive(Clone)]
pub(super) struct Ready {
    pub(super) commit: Arc<Commit>,
    pub(super) rows: Arc<[MessageRow]>,
    pub(super) before: Option<Arc<Conversation>>,
    pub(super) after: Arc<Conversation>,
}

impl Waiter {
    /// Whoever has ordered this.
    pub(super) fn of(order: Order, answer: Result<Answer, Refused>) -> Self {
        let Order { reply, permit, span, .. } = order;
        Self { reply, answer, permit, span }
    }
}

impl Batch {
    /// Whether what was decided may be part of it: a commit is of one conversation, and has so many
    /// facts at most.
    pub(super) fn has_room(&self, decision: &Decision) -> bool {
        let changes = !decision.facts.is_empty() || decision.thread.is_some();
        let (of, more) = (decision.head.id, decision.facts.len());
        !changes
            || self.commit.as_ref().is_none_or(|commit| {
                commit.conversation == of && commit.facts.len() + more <= COMMIT_FACTS_MAX
            })
    }

    pub(super) fn add(&mut self, decision: Decision, at: Timestamp, span: &Span) {
        let first = decision.head.seq + 1 - decision.facts.len() as u64;
        if decision.thread.is_some() {
            self.thread = decision.thread;
        }
        let effects = decision.effects.into_iter();
        self.effects.extend(effects.map(|effect| (span.clone(), decision.head.clone(), effect)));
        for (at, content) in decision.contents {
            self.bytes += content.as_ref().map_or(0, Content::bytes);
            self.contents.push((at, content));
        }
        if decision.facts.is_empty() {
            self.keys.extend(decision.key);
            return;
        }
        let conversation = decision.head.id;
        self.bytes += decision.rows.iter().map(MessageRow::bytes).sum::<usize>();
        self.after = Some(decision.head);
        let Some(commit) = &mut self.commit else {
            // Most commits are of one decision, whose rows are large to move one by one.
            let (facts, keys) = (decision.facts, decision.key.into_iter().collect());
            self.commit = Some(Commit { conversation, first, at, facts, keys });
            self.rows = decision.rows;
            return;
        };
        commit.facts.extend(decision.facts);
        commit.keys.extend(decision.key);
        for row in decision.rows {
            match self.rows.iter_mut().find(|known| known.place == row.place) {
                Some(known) => *known = row,
                None => self.rows.push(row),
            }
        }
    }

    /// The span of its commit. It is the first one's for whom it is made; the others lead to it.
    pub(super) fn span(&self, thread: ThreadId, ready: &Ready) -> Span {
        let Some(first) = self.waiters.first() else { return Span::none() };
        let Commit { conversation, first: seq, .. } = *ready.commit;
        let span = debug_span!(parent: &first.span, "commit", %thread, %conversation, seq);
        for waiter in self.waiters.iter().skip(1) {
            span.follows_from(&waiter.span);
        }
        span
    }

    /// Tells each one's trace that its commit is durable.
    pub(super) fn trace(&self, thread: ThreadId, commit: &Commit) {
        if !tracing::enabled!(Level::DEBUG) {
            return;
        }
        let (conversation, first, last) = (commit.conversation, commit.first, commit.last());
        for waiter in &self.waiters {
            waiter.span.in_scope(|| debug!(%thread, %conversation, first, last, "committed"));
        }
    }

    pub(super) fn answer(&mut self, failure: Option<&Failure>) {
        for Waiter { reply, answer, permit, .. } in self.waiters.drain(..) {
            let answer = match failure {
                Some(failure) => Err(failure.clone()),
                None => answer.map_err(Failure::from),
            };
            reply.send(answer);
            drop(permit);
        }
    }
}
