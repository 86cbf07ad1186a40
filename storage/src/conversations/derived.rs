//! Where the rows of a thread lie, and what is derived from a commit beside its lists.

use engine::conversation::ContentAt;
use engine::conversation::contents::{self, Changed, needed};
use engine::fact::UsedKey;
use engine::id::{AccountId, ConversationId, MessageId};
use engine::message::{Place, block_of};
use serde::{Deserialize, Serialize};

use super::Write;
use super::files::files;
use super::lists::lists;
use crate::body::encode;
use crate::keys::{alone, id, int, text};
use crate::media::Loose;
use crate::port::{Change, Key, Part, Table};
use crate::tables::{KEYS, LOG, REFS, THREADS};

/// Rows of the log: commits by their first seq, messages by their ordinal, contents of edits by
/// the seq of their fact.
pub(super) const COMMIT: i64 = 0;
pub(super) const MESSAGE: i64 = 1;
const CONTENT: i64 = 2;

pub(super) fn put(table: &'static Table, key: Key, body: Vec<u8>) -> Change {
    Change::Put { table, key, body, ttl: None }
}

pub(super) fn log_key(conversation: ConversationId, block: u32, kind: i64, n: u64) -> Key {
    Key::new(vec![id(conversation.0), Part::Int(i64::from(block))], vec![Part::Int(kind), int(n)])
}

pub(super) fn content_key((conversation, place): ContentAt) -> Key {
    log_key(conversation, place.block, CONTENT, place.ordinal)
}

/// A commit with what counts only with it, beside it; and what follows from it.
pub(super) fn parts(write: &Write<'_>) -> (Vec<Change>, Vec<Change>) {
    let (first, conversation) = (write.commit.first, write.commit.conversation);
    let block = block_of(first);
    let key = log_key(conversation, block, COMMIT, first);
    let mut commit = vec![put(&LOG, key, encode(write.commit))];
    let mut derived = Vec::new();
    for row in write.rows {
        let key = log_key(conversation, row.place.block, MESSAGE, row.place.ordinal);
        let change = put(&LOG, key, encode(row));
        if row.place.block == block { commit.push(change) } else { derived.push(change) }
    }
    let said = needed(write.contents, write.rows, write.head);
    commit.extend(said.map(|(at, said)| put(&LOG, content_key(at), encode(said))));
    commit.extend(beside(write));
    derived.extend(let_go(write));
    derived.extend(references(write));
    derived.extend(lists(write));
    derived.extend(files(write));
    (commit, derived)
}

/// The contents that a commit leaves nothing to need, and the files that perhaps nothing shows any
/// more.
fn let_go<'a>(write: &'a Write<'_>) -> impl Iterator<Item = Change> + 'a {
    let gone_now = contents::let_go(write.commit, write.before, write.head);
    let delete = |at| Change::Delete { table: &LOG, key: content_key(at) };
    let files = write.commit.facts.iter().flat_map(|recorded| recorded.fact.lets_go_of());
    let loose = files.map(|medium| Loose::of_deleted(write.head.tenant, *medium).put());
    gone_now.into_iter().map(delete).chain(gone(write.contents)).chain(loose)
}

pub(super) fn gone(contents: &[Changed]) -> impl Iterator<Item = Change> {
    let gone = contents.iter().filter(|(_, content)| content.is_none());
    gone.map(|(at, _)| Change::Delete { table: &LOG, key: content_key(*at) })
}

pub(super) fn ref_key(account: AccountId, external: &str) -> Key {
    Key::new(vec![id(account.0), text(external)], Vec::new())
}

/// What must be there before the commit is: the case's thread, and that both are at work.
pub(super) fn thread_changes<'a>(write: &'a Write<'_>) -> impl Iterator<Item = Change> + 'a {
    let head = write.head;
    let thread = write.thread.map(|thread| put(&THREADS, alone(id(thread.id.0)), encode(thread)));
    thread.into_iter().chain(write.worked.map(|worked| worked.put(head.thread)))
}

/// Where a message lies that has a provider's id; and which it is, where that may be written before
/// its commit.
#[derive(Serialize, Deserialize)]
pub(super) struct Reference(
    pub(super) ConversationId,
    pub(super) Place,
    #[serde(default)] pub(super) Option<MessageId>,
);

impl Reference {
    fn put(self, account: AccountId, external: &str) -> Change {
        put(&REFS, ref_key(account, external), encode(&self))
    }
}

/// References to the messages that a commit makes. They may be there without it: each counts only
/// if its message is.
fn beside<'a>(write: &'a Write<'_>) -> impl Iterator<Item = Change> + 'a {
    let (account, conversation) = (write.head.account, write.commit.conversation);
    write.commit.numbered().filter_map(move |(seq, recorded)| {
        let (external, place) = recorded.fact.reference()?;
        let made = made(write, seq, place)?;
        Some(Reference(conversation, place, Some(made)).put(account, external))
    })
}

/// All other references of a commit, and its idempotency keys.
fn references<'a>(write: &'a Write<'_>) -> impl Iterator<Item = Change> + 'a {
    let (account, conversation) = (write.head.account, write.commit.conversation);
    let refs = write.commit.numbered().filter_map(move |(seq, recorded)| {
        let (external, place) = recorded.fact.reference()?;
        let is_beside = made(write, seq, place).is_some();
        (!is_beside).then(|| Reference(conversation, place, None).put(account, external))
    });
    refs.chain(write.commit.keys.iter().map(put_key))
}

pub(super) fn put_key(used: &UsedKey) -> Change {
    put(&KEYS, alone(Part::Uuid(used.key)), encode(used))
}

/// The message that this fact makes.
fn made(write: &Write<'_>, seq: u64, place: Place) -> Option<MessageId> {
    let row = write.rows.iter().find(|row| row.place == place)?;
    (row.message.seq == seq).then_some(row.message.id)
}
