//! Where the rows of a thread lie, and what is derived from a commit.

use engine::conversation::contents::{self, Changed};
use engine::conversation::{ContentAt, Conversation};
use engine::id::{AccountId, ConversationId, ThreadId};

use super::{View, Write};
use crate::body::encode;
use crate::keys::{alone, hour, id, int, month, text};
use crate::port::{Change, Key, Part, Table};
use crate::tables::{ARCHIVE, CONTACT_CONVERSATIONS, DIRTY, KEYS, LOG, OPEN_SET, REFS, THREADS};

/// Rows of the log: commits by their first seq, messages by their ordinal, contents of edits by
/// the seq of their fact.
pub(super) const COMMIT: i64 = 0;
pub(super) const MESSAGE: i64 = 1;
const CONTENT: i64 = 2;
/// The open set of a tenant lies in so many partitions.
pub(super) const SLICES: u8 = 16;

pub(super) fn put(table: &'static Table, key: Key, body: Vec<u8>) -> Change {
    Change::Put { table, key, body, ttl: None }
}

pub(super) fn log_key(conversation: ConversationId, block: u32, kind: i64, n: u64) -> Key {
    Key::new(vec![id(conversation.0), Part::Int(i64::from(block))], vec![Part::Int(kind), int(n)])
}

pub(super) fn content_key((conversation, place): ContentAt) -> Key {
    log_key(conversation, place.block, CONTENT, place.ordinal)
}

/// The contents that a commit leaves nothing to need.
pub(super) fn let_go<'a>(write: &'a Write<'_>) -> impl Iterator<Item = Change> + 'a {
    let gone_now = contents::let_go(write.commit, write.before, write.head);
    let delete = |at| Change::Delete { table: &LOG, key: content_key(at) };
    gone_now.into_iter().map(delete).chain(gone(write.contents))
}

pub(super) fn gone(contents: &[Changed]) -> impl Iterator<Item = Change> {
    let gone = contents.iter().filter(|(_, content)| content.is_none());
    gone.map(|(at, _)| Change::Delete { table: &LOG, key: content_key(*at) })
}

pub(super) fn ref_key(account: AccountId, external: &str) -> Key {
    Key::new(vec![id(account.0), text(external)], Vec::new())
}

/// What must be there before the commit is: the case's thread, and that the thread is at work.
pub(super) fn thread_changes<'a>(write: &'a Write<'_>) -> impl Iterator<Item = Change> + 'a {
    let head = write.head;
    let thread = write.thread.map(|thread| put(&THREADS, alone(id(thread.id.0)), encode(thread)));
    let dirty = write.dirty.then(|| dirty(head.thread, hour(write.commit.at)));
    thread.into_iter().chain(dirty)
}

/// That a thread may have something left undone in an hour.
pub(super) fn dirty(thread: ThreadId, hour: i64) -> Change {
    let shard = Part::Int(i64::from(thread.shard()));
    let key = Key::new(vec![shard, Part::Int(hour)], vec![id(thread.0)]);
    put(&DIRTY, key, Vec::new())
}

/// Provider ids and idempotency keys of a commit.
pub(super) fn references<'a>(write: &'a Write<'_>) -> impl Iterator<Item = Change> + 'a {
    let (account, conversation) = (write.head.account, write.commit.conversation);
    let refs = write.commit.facts.iter().filter_map(move |recorded| {
        let (external, place) = recorded.fact.reference()?;
        Some(put(&REFS, ref_key(account, external), encode(&(conversation, place))))
    });
    let keys =
        write.commit.keys.iter().map(|used| put(&KEYS, alone(Part::Uuid(used.key)), encode(used)));
    refs.chain(keys)
}

/// Rows of lists that appear or go with a commit.
pub(super) fn lists(write: &Write<'_>) -> Vec<Change> {
    let (after, conversation) = (write.head, id(write.commit.conversation.0));
    let mut changes = Vec::new();
    let was_open = write.before.map(|before| !before.status.is_closed());
    let is_open = !after.status.is_closed();
    if write.before.is_none_or(|before| before.contact != after.contact) {
        let key = Key::new(vec![id(after.contact.0)], vec![conversation.clone()]);
        changes.push(put(&CONTACT_CONVERSATIONS, key, Vec::new()));
    }
    if was_open != Some(is_open) {
        let slice = Part::Int(i64::from(after.id.0.as_bytes()[9] % SLICES));
        let key = Key::new(vec![id(after.tenant.0), slice], vec![conversation.clone()]);
        changes.push(if is_open {
            put(&OPEN_SET, key, Vec::new())
        } else {
            Change::Delete { table: &OPEN_SET, key }
        });
    }
    let archived = |of: &Conversation| {
        let own = of.assignee.map_or(View::Unassigned, View::Of);
        [View::All, own].map(|view| {
            Key::new(
                vec![id(of.tenant.0), text(&view.name()), Part::Int(month(of.last_message_at))],
                vec![Part::Int(of.last_message_at.0), conversation.clone()],
            )
        })
    };
    let before = write.before.filter(|before| before.status.is_closed()).map(archived);
    let now = (!is_open).then(|| archived(after));
    let closed_as = write.before.map(|before| before.status);
    if before != now || closed_as != Some(after.status) {
        // A row that stays is put again: of two writes of one batch the deletion would win.
        let kept = now.clone();
        let stays = |key: &Key| kept.as_ref().is_some_and(|now| now.contains(key));
        for key in before.into_iter().flatten().filter(|key| !stays(key)) {
            changes.push(Change::Delete { table: &ARCHIVE, key });
        }
        for key in now.into_iter().flatten() {
            changes.push(put(&ARCHIVE, key, encode(&after.status)));
        }
    }
    changes
}
