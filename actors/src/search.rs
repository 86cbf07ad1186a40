//! Messages and contacts are found by their words: the index beside the store follows what is
//! committed, and is asked for what somebody may see.

mod behind;
mod find;
mod keep;
mod marks;
mod pass;
mod spared;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use engine::conversation::Conversation;
use engine::id::ContactId;
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::conversations::Conversations;
use storage::keys::hour;
use storage::search::{SearchError, SearchIndex, SearchWriter, Trust, behind_all};
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::find::{Asked, Found, FoundMessage};
use self::marks::{Mark, Marks};
use crate::clock::{Clock, Stamps};
use crate::committed::Committed;
use crate::turns::Turns;

/// What finds messages. Clones are the same.
#[derive(Clone)]
pub struct Search(Arc<Inner>);

struct Inner {
    conversations: Conversations,
    contacts: Contacts,
    clock: Clock,
    stamps: Arc<Stamps>,
    options: SearchOptions,
    marks: Mutex<Marks>,
    marked: Notify,
    /// What is asked; `None`: it could not be opened yet.
    index: ArcSwapOption<SearchIndex>,
    /// It failed when it was asked.
    is_doubted: AtomicBool,
    turns: Turns,
}

/// What searching is made with.
#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Where the index lies; `None`: in memory.
    pub directory: Option<PathBuf>,
    /// The index is written so often, at most.
    pub every: Duration,
    /// Who commits tells of it within this time.
    pub told_within: Duration,
    /// So many new messages and contacts wait for that one by one.
    pub marks: usize,
    /// So many matches of one search are looked at, the newest.
    pub matches: usize,
    /// For who may not see all, those in so many conversations.
    pub conversations: usize,
}

/// So many searches are at work at once; the others wait, the tenants in turn.
const FINDS: usize = 2;

impl Search {
    /// Opens the index, over these conversations. Where it cannot be opened now, who runs it tries
    /// again.
    pub async fn start(
        conversations: Conversations,
        contacts: Contacts,
        (clock, stamps): (Clock, Arc<Stamps>),
        options: SearchOptions,
    ) -> (Self, Option<SearchWriter>) {
        let newest = stamps.newest();
        let search = Self(Arc::new(Inner {
            conversations,
            contacts,
            clock,
            stamps,
            options,
            marks: Mutex::new(Marks::since(newest)),
            marked: Notify::new(),
            index: ArcSwapOption::empty(),
            is_doubted: AtomicBool::new(false),
            turns: Turns::new(FINDS),
        }));
        let writer = search.open(Trust::Opens).await;
        let writer = writer.inspect_err(|error| tracing::warn!(%error, "nothing can be found yet"));
        (search, writer.ok())
    }

    async fn open(&self, trust: Trust) -> Result<SearchWriter, SearchError> {
        let directory = self.0.options.directory.clone();
        // Its threads come from here.
        let opening = move || behind_all(|| SearchIndex::open(directory.as_deref(), trust));
        let (index, writer) = aside(opening).await?;
        self.0.index.store(Some(Arc::new(index)));
        Ok(writer)
    }

    /// A commit is durable: what its messages say is to be found. Never waits.
    pub fn follow(&self, committed: &Committed) {
        let commit = &committed.commit;
        let says = commit.facts.iter().filter(|recorded| recorded.fact.says());
        let places = says.filter_map(|recorded| recorded.fact.message());
        let marks = places.map(|(_, place)| Mark::Message(commit.conversation, place));
        self.mark(marks, commit.at);
    }

    /// A conversation was loaded as it stands, and what it committed last may not have been told, unless
    /// that is an old one. Never waits.
    pub fn woke(&self, head: &Conversation) {
        if hour(head.updated_at) >= hour(self.0.clock.now()) - 1 {
            self.mark([Mark::Commit(head.id, head.seq)].into_iter(), head.updated_at);
        }
    }

    /// A contact was written then, or perhaps it was. Never waits.
    pub fn follow_contact(&self, id: ContactId, is_new: bool, at: Timestamp) {
        self.mark([Mark::Contact { id, was_there: !is_new }].into_iter(), at);
    }

    fn mark(&self, new: impl Iterator<Item = Mark>, at: Timestamp) {
        let mut marks = self.marks();
        marks.newest = marks.newest.max(at);
        let mut is_marked = false;
        for mark in new {
            is_marked = true;
            marks.add(mark, at, self.0.options.marks);
        }
        if is_marked && marks.since.is_none() {
            marks.since = Some(Instant::now());
        }
        drop(marks);
        if is_marked {
            self.0.marked.notify_one();
        }
    }

    /// How long the oldest waits that is committed and may not be found yet.
    pub fn oldest(&self) -> Duration {
        let marks = self.marks();
        let oldest = marks.taken.into_iter().chain(marks.since).min();
        oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed())
    }

    /// How many sets of files the index lies in.
    pub fn segments(&self) -> usize {
        self.0.index.load().as_ref().map_or(0, |index| index.segments())
    }

    /// Until something is marked or lost, or the index failed.
    async fn has_to_do(&self) {
        while !self.0.is_doubted.load(Ordering::Relaxed) && !self.marks().is_some() {
            self.0.marked.notified().await;
        }
    }

    /// The index failed somebody who asked it.
    fn doubt(&self) {
        self.0.is_doubted.store(true, Ordering::Relaxed);
        self.0.marked.notify_one();
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.0.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the index does waits for the disk: not where others are waiting, too.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SearchError> + Send + 'static,
) -> Result<T, SearchError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(SearchError::Panicked))
}
