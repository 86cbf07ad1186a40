//! What may be missing in the index, read from the store: of many conversations at once, since each look at
//! a disk that is handed to another thread costs more than what is read.

use engine::conversation::Conversation;
use engine::fact::Commit;
use engine::id::ConversationId;
use engine::message::MessageRow;
use storage::StoreError;
use storage::conversations::Conversations;
use storage::keys::hour;

use super::pass::Step;
use super::spared::spared;

/// About so many conversations and messages are read at once.
pub(super) const BATCH: usize = 64;

/// What is looked for: conversations that were last changed in this hour, and since then.
#[derive(Clone, Copy)]
pub(super) struct Sought(pub(super) Step);

/// A page of what a conversation says, newest first.
pub(super) struct Page {
    pub(super) rows: Vec<MessageRow>,
    /// Where older ones begin.
    pub(super) before: Option<u64>,
    /// It is of all that the conversation says, and not of what it said since then.
    pub(super) is_whole: bool,
    /// Some of it cannot be read.
    pub(super) is_damaged: bool,
}

/// The messages of which a commit says something, as they are now.
pub(super) async fn said_by(
    conversations: &Conversations,
    commit: &Commit,
) -> Result<Vec<MessageRow>, StoreError> {
    let says = commit.facts.iter().filter(|recorded| recorded.fact.says());
    let mut rows = Vec::new();
    for (_, place) in says.filter_map(|says| says.fact.message()) {
        rows.extend(spared(conversations.row(commit.conversation, place)).await?.flatten());
    }
    Ok(rows)
}

impl Sought {
    /// Of these conversations those that are sought, each with its newest page: as far as one read goes.
    /// And how many were looked at, one at least.
    pub(super) async fn among(
        self,
        conversations: &Conversations,
        ids: &[ConversationId],
    ) -> Result<(usize, Vec<(Conversation, Page)>), StoreError> {
        let (mut looked, mut rows, mut found) = (0, 0, Vec::new());
        for id in ids {
            looked += 1;
            let head = spared(conversations.folded(*id)).await?.flatten();
            if let Some(head) = head.filter(|head| self.is_for(head)) {
                let is_whole = head.created_at >= self.0.since;
                let page = self.page(conversations, &head, is_whole, head.seq + 1).await?;
                rows += page.rows.len();
                found.push((head, page));
            }
            if rows >= BATCH {
                break;
            }
        }
        Ok((looked, found))
    }

    /// Of each conversation once: it may have been at work in many hours.
    fn is_for(self, head: &Conversation) -> bool {
        hour(head.updated_at) == self.0.hour && head.updated_at >= self.0.since
    }

    /// What a conversation says before this fact: all of it, or what its commits since then say, unless they
    /// cannot be read.
    pub(super) async fn page(
        self,
        conversations: &Conversations,
        head: &Conversation,
        is_whole: bool,
        before: u64,
    ) -> Result<Page, StoreError> {
        if !is_whole && let Some(page) = self.since_then(conversations, head, before).await? {
            return Ok(page);
        }
        let before = if is_whole { before } else { head.seq + 1 };
        let page = spared(conversations.readable(head, (before, 0), BATCH)).await?;
        let (rows, is_damaged) = page.unwrap_or_default();
        let oldest = rows.last().filter(|_| rows.len() >= BATCH);
        let before = oldest.map(|oldest| oldest.message.seq);
        Ok(Page { rows, before, is_whole: true, is_damaged })
    }

    async fn since_then(
        self,
        conversations: &Conversations,
        head: &Conversation,
        before: u64,
    ) -> Result<Option<Page>, StoreError> {
        let commits = spared(conversations.commits_before(head.id, before, BATCH)).await?;
        let Some(commits) = commits else { return Ok(None) };
        // One may be older than the one before it: a clock was set back in between. So many are not.
        let is_older = commits.iter().all(|commit| commit.at < self.0.since);
        let is_last = is_older || commits.len() < BATCH;
        let mut before = commits.last().filter(|_| !is_last).map(|oldest| oldest.first);
        let mut rows = Vec::new();
        for commit in commits.iter().filter(|commit| commit.at >= self.0.since) {
            rows.extend(said_by(conversations, commit).await?);
            // One alone may be of as many as there are in an import.
            if rows.len() >= BATCH {
                before = Some(commit.first);
                break;
            }
        }
        Ok(Some(Page { rows, before, is_whole: false, is_damaged: false }))
    }
}
