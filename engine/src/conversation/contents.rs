//! What edits say lies in rows of its own, each as long as something needs it: so a fact that names
//! one can be followed again, and what was said is gone when its message is deleted.

use super::{ContentAt, Conversation, Thread};
use crate::fact::{Commit, Fact, ParkedAmendment};
use crate::message::{Content, MessageRow};

/// What a decision makes of contents; `None`: it is gone.
pub type Changed = (ContentAt, Option<Content>);

/// Of the contents that a commit brings, those that something needs after it.
pub fn needed<'a>(
    contents: &'a [Changed],
    rows: &'a [MessageRow],
    after: &'a Conversation,
) -> impl Iterator<Item = (ContentAt, &'a Content)> {
    let is_needed = move |at: ContentAt| {
        let of_row = |row: &MessageRow| (after.id, row.content) == (at.0, Some(at.1));
        rows.iter().any(of_row) || is_awaited(&after.waiting, at)
    };
    brought(contents).filter(move |(at, _)| is_needed(*at))
}

/// The same where there is no case yet.
pub fn needed_by_thread<'a>(
    contents: &'a [Changed],
    thread: &'a Thread,
) -> impl Iterator<Item = (ContentAt, &'a Content)> {
    brought(contents).filter(|(at, _)| is_awaited(&thread.waiting, *at))
}

fn brought(contents: &[Changed]) -> impl Iterator<Item = (ContentAt, &Content)> {
    contents.iter().filter_map(|(at, content)| Some((*at, content.as_ref()?)))
}

/// The contents that nothing needs any more after a commit: of messages that were changed again or
/// deleted, and of edits that wait no longer.
pub fn let_go(
    commit: &Commit,
    before: Option<&Conversation>,
    after: &Conversation,
) -> Vec<ContentAt> {
    let facts = commit.facts.iter().map(|recorded| &recorded.fact);
    let replaced = facts.clone().filter_map(|fact| Some((commit.conversation, fact.lets_go()?)));
    let carried = facts.filter_map(|fact| match fact {
        Fact::Opened { waiting, .. } => Some(waiting),
        _ => None,
    });
    let waited = carried.chain(before.map(|before| &before.waiting)).flatten();
    let waited = waited.filter_map(ParkedAmendment::content);
    waited.filter(|at| !is_awaited(&after.waiting, *at)).chain(replaced).collect()
}

fn is_awaited(waiting: &[ParkedAmendment], at: ContentAt) -> bool {
    waiting.iter().any(|waits| waits.content() == Some(at))
}
