//! Threads and conversations: one commit, what follows from it, and what a wake makes of it. What is
//! read back beside that lies in `log` and `lists`.

mod derived;
mod files;
mod lists;
mod log;
mod redo;

use std::sync::Arc;

use engine::conversation::contents::{Changed, needed_by_thread};
use engine::conversation::{Conversation, Recent, Thread};
use engine::fact::{Commit, UsedKey};
use engine::id::{ConversationId, ThreadId};
use engine::message::MessageRow;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use self::derived::{content_key, gone, parts, put, put_key, thread_changes};
pub use self::files::Unfetched;
pub use self::lists::{FIRST_HOUR, View, Worked};
pub use self::redo::Newest;
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{alone, id};
use crate::port::{Batch, Change, Guarantees, Key, Stamp, Store, Table};
use crate::tables::{HEADS, LOG, RECENT, THREADS};
use crate::together::together;

/// The most facts of one commit: a reader who looks for a seq goes back at most so far.
pub const COMMIT_FACTS_MAX: usize = 256;

/// Threads, their conversations, and the lists derived from them.
#[derive(Clone)]
pub struct Conversations {
    store: Arc<dyn Store>,
}

/// One commit and what it changes.
#[derive(Debug)]
pub struct Write<'a> {
    pub commit: &'a Commit,
    /// Message rows made or changed by it.
    pub rows: &'a [MessageRow],
    /// What its edits say.
    pub contents: &'a [Changed],
    /// The thread's row, when the commit begins a case.
    pub thread: Option<&'a Thread>,
    /// The head before; `None`: the case begins.
    pub before: Option<&'a Conversation>,
    /// The head after.
    pub head: &'a Conversation,
    /// That the thread was at work in this hour, where that is not written yet.
    pub worked: Option<Worked>,
    /// To be written from time to time.
    pub recent: Option<&'a RecentRow>,
    /// The case is its thread's current one: a wake folds what its stored head does not know.
    pub is_current: bool,
    /// The head of the case before, which ends as this one begins.
    pub left: Option<&'a Conversation>,
}

/// A thread's newest provider ids, as of a fact of one of its cases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecentRow {
    pub recent: Recent,
    pub conversation: ConversationId,
    pub seq: u64,
}

/// What a wake loads of a thread.
#[derive(Clone, Debug)]
pub struct Woken {
    pub thread: Thread,
    pub case: Option<Conversation>,
    pub recent: Recent,
    pub newest: Option<Newest>,
}

/// Heads that are asked for at once where each answer comes from elsewhere.
const READS: usize = 32;

impl Conversations {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Makes a commit durable with everything that is derived from it. Where the store does not
    /// write several partitions as one, the thread's row goes first, then the commit and beside it
    /// what counts only with it, then the rest.
    pub async fn commit(&self, write: &Write<'_>, stamp: Stamp) -> Result<(), StoreError> {
        let conversation = write.commit.conversation;
        let atomic = self.store.guarantees().atomic;
        let mut before: Vec<_> = thread_changes(write).collect();
        if let Some(left) = write.before.filter(|head| head.clean && !atomic) {
            // Or a wake would take it for all there is while this commit may still land.
            let head = Conversation { clean: false, ..left.clone() };
            before.push(put(&HEADS, alone(id(conversation.0)), encode(&head)));
        }
        let (commit, derived) = parts(write);
        let mut snapshots = Vec::new();
        // Where it is a write of its own the head is lazy: a wake folds what is behind it.
        let is_folded = write.is_current && write.before.is_some() && write.recent.is_none();
        if atomic || !is_folded {
            snapshots.push(put(&HEADS, alone(id(conversation.0)), encode(write.head)));
        }
        if let Some(left) = write.left.filter(|_| !atomic) {
            snapshots.push(put(&HEADS, alone(id(left.id.0)), encode(left)));
        }
        if let Some(recent) = write.recent {
            snapshots.push(put(&RECENT, alone(id(write.head.thread.0)), encode(recent)));
        }
        if atomic {
            before.extend(commit);
            before.extend(derived);
            before.extend(snapshots);
            return self.apply(before, stamp).await;
        }
        self.apply(before, stamp).await?;
        self.apply(commit, stamp).await?;
        // From here on it has happened, whatever becomes of the rest.
        let rest = async {
            self.apply(derived, stamp).await?;
            self.apply(snapshots, stamp).await
        };
        rest.await.map_err(StoreError::of_a_part)
    }

    async fn apply(&self, changes: Vec<Change>, stamp: Stamp) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.store.apply(Batch { stamp, changes }).await
    }

    /// Whether a head that was written is never behind, nor ahead of, what was committed.
    pub fn keeps_up(&self) -> bool {
        let Guarantees { atomic, settled } = self.store.guarantees();
        atomic && settled
    }

    /// Writes the snapshots of a thread that leaves memory. The head, too, where it is stored already: that
    /// the thread left in order is for whoever the store is moved to.
    pub async fn rest(
        &self,
        head: &Conversation,
        recent: &RecentRow,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let changes = vec![
            put(&HEADS, alone(id(head.id.0)), encode(head)),
            put(&RECENT, alone(id(head.thread.0)), encode(recent)),
        ];
        self.store.apply(Batch { stamp, changes }).await
    }

    /// Writes a thread's row without a commit, and what the edits say that wait in it. One with
    /// something left undone is entered as dirty in this hour.
    pub async fn put_thread(
        &self,
        thread: &Thread,
        contents: &[Changed],
        undone_in: Option<i64>,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let said = needed_by_thread(contents, thread);
        let said = said.map(|(at, said)| put(&LOG, content_key(at), encode(said)));
        // First: the row that is there need not find what it needs no more.
        let mut changes: Vec<_> = said.chain(gone(contents)).collect();
        let worked = undone_in.map(|hour| Worked { hour, case: thread.current, undone: true });
        changes.extend(worked.map(|worked| worked.put(thread.id)));
        let row = put(&THREADS, alone(id(thread.id.0)), encode(thread));
        if self.store.guarantees().atomic {
            changes.push(row);
            return self.apply(changes, stamp).await;
        }
        self.apply(changes, stamp).await?;
        self.apply(vec![row], stamp).await
    }

    /// Writes used keys without a commit: of what changed nothing.
    pub async fn put_keys(&self, keys: &[UsedKey], stamp: Stamp) -> Result<(), StoreError> {
        self.apply(keys.iter().map(put_key).collect(), stamp).await
    }

    /// Whether a start has to look at a thread with this head and row: something may be on its way,
    /// or not be derived.
    pub fn leaves_undone(&self, head: &Conversation, row: &Thread) -> bool {
        let is_done = self.keeps_up() && head.pending.is_empty();
        !is_done || row.is_moving()
    }

    /// What the store promises.
    pub fn guarantees(&self) -> Guarantees {
        self.store.guarantees()
    }

    /// Where they are kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// A thread with its current case, folded up to its newest fact.
    pub async fn wake(&self, thread: ThreadId) -> Result<Option<Woken>, StoreError> {
        together(&self.store, move |store| async move { Self::new(store).woken(thread).await })
            .await
    }

    async fn woken(&self, thread: ThreadId) -> Result<Option<Woken>, StoreError> {
        let Some(thread) = self.thread(thread).await? else { return Ok(None) };
        let recent = self.read::<RecentRow>(&RECENT, alone(id(thread.id.0))).await?;
        let Some(current) = thread.current else {
            return Ok(Some(Woken { thread, case: None, recent: Recent::default(), newest: None }));
        };
        let snapshot = self.read::<Conversation>(&HEADS, alone(id(current.0))).await?;
        let mut head = snapshot.unwrap_or_else(|| Conversation::blank(current, &thread));
        // Ids of a case that is not the one they were kept for can only be looked up.
        let (mut recent, learned) = match recent {
            Some(row) if row.conversation == current => (row.recent, row.seq),
            Some(_) => (Recent::unknown(), 0),
            None if thread.case > 1 => (Recent::unknown(), 0),
            None => (Recent::default(), 0),
        };
        let mut newest = None;
        let mut from = head.seq.min(learned) + 1;
        if !self.keeps_up() {
            // The newest one may have to be written again even when everything is derived.
            from = from.min(head.seq.max(1));
        }
        while !self.keeps_up() || from <= head.seq {
            let (commits, is_all) = self.some_commits(current, from).await?;
            let Some(last) = commits.last() else { break };
            from = last.last() + 1;
            for commit in commits {
                let before = (head.seq > 0).then(|| head.clone());
                let underived = commit.last() > head.seq;
                let is_last = is_all && commit.last() + 1 == from;
                let rows = self.fold(&mut head, &commit).await?;
                let one = Newest { commit, before, underived, rows };
                if is_last && self.is_torn(&one, &head).await? {
                    // It has not happened: what is committed next takes its place.
                    head = one.before.unwrap_or_else(|| Conversation::blank(current, &thread));
                    break;
                }
                for (_, recorded) in one.commit.numbered().filter(|(seq, _)| *seq > learned) {
                    recent.learn(current, &recorded.fact, usize::MAX);
                }
                newest = Some(one);
            }
            if is_all {
                break;
            }
        }
        let case = (head.seq > 0).then_some(head);
        Ok(Some(Woken { thread, case, recent, newest }))
    }

    /// A thread's row.
    pub async fn thread(&self, thread: ThreadId) -> Result<Option<Thread>, StoreError> {
        self.read(&THREADS, alone(id(thread.0))).await
    }

    /// A conversation's head as it is stored: current on a store whose commits are atomic.
    pub async fn head(&self, head: ConversationId) -> Result<Option<Conversation>, StoreError> {
        self.read(&HEADS, alone(id(head.0))).await
    }

    /// A conversation's head up to its newest fact, also where the stored one may lag behind.
    pub async fn folded(&self, id: ConversationId) -> Result<Option<Conversation>, StoreError> {
        Ok(self.standing(id).await?.map(|(head, _)| head))
    }

    /// The same, and whether something was committed that the stored one does not know of.
    pub async fn standing(
        &self,
        id: ConversationId,
    ) -> Result<Option<(Conversation, bool)>, StoreError> {
        let Some(mut head) = self.head(id).await? else { return Ok(None) };
        let (stored, mut is_behind) = (head.seq, !self.store.guarantees().atomic);
        while is_behind {
            let (commits, is_all) = self.some_commits(id, head.seq + 1).await?;
            for commit in &commits {
                self.fold(&mut head, commit).await?;
            }
            is_behind = !is_all;
        }
        let lags = head.seq > stored;
        Ok(Some((head, lags)))
    }

    /// Whether something was committed that a stored head does not know of.
    pub async fn lags(&self, id: ConversationId) -> Result<bool, StoreError> {
        Ok(self.standing(id).await?.is_some_and(|(_, lags)| lags))
    }

    /// The heads of these, as [`Conversations::folded`] has them, of those that are there.
    pub async fn all_folded(
        &self,
        ids: Vec<ConversationId>,
    ) -> Result<Vec<Conversation>, StoreError> {
        // Where what is written travels alone a head is followed by what was committed since.
        if self.store.aside().is_none() || !self.store.guarantees().atomic {
            let heads = stream::iter(ids).map(|id| self.folded(id)).buffered(READS);
            return heads.try_filter_map(async |head| Ok(head)).try_collect().await;
        }
        let each = async move |store: Arc<dyn Store>| {
            let keys: Vec<_> = ids.iter().map(|head| alone(id(head.0))).collect();
            let bodies = store.get_all(&HEADS, &keys).await?;
            bodies.iter().flatten().map(|body| decode(body)).collect()
        };
        together(&self.store, each).await
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        table: &'static Table,
        key: Key,
    ) -> Result<Option<T>, StoreError> {
        self.store.get(table, &key).await?.map(|body| decode(&body)).transpose()
    }
}
