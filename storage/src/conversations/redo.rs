//! Commits of which nobody saw the end: they are written again, and what follows from them is made up
//! for. How a head follows commits.

use engine::conversation::Conversation;
use engine::conversation::contents::{Changed, needed};
use engine::fact::{Commit, Fact, Recorded};
use engine::id::ConversationId;
use engine::message::{Content, MessageRow, block_of};

use super::derived::{COMMIT, log_key, parts, put};
use super::{Conversations, Write};
use crate::body::encode;
use crate::error::StoreError;
use crate::keys::{alone, id};
use crate::port::Stamp;
use crate::tables::{HEADS, LOG};

/// Commits that are read at once.
const COMMITS: usize = 64;

/// The newest commit of a case: the only one that may not have been answered, where the store may still
/// write what it did not answer.
#[derive(Clone, Debug)]
pub struct Newest {
    pub commit: Commit,
    /// The head before it; `None`: it began the case.
    pub before: Option<Conversation>,
    /// What follows from it may not be written.
    pub underived: bool,
    /// The rows of its messages after it, where that is so.
    pub rows: Vec<MessageRow>,
}

impl Newest {
    /// Whether a message is not there that it makes.
    fn lacks_a_row(&self) -> bool {
        let (seq, known) = self.before.as_ref().map_or((0, 0), |head| (head.seq, head.messages));
        let places = self.commit.facts.iter().filter_map(|recorded| recorded.fact.message());
        let mut made = places.map(|(_, place)| place).filter(|place| place.ordinal > known);
        let is_there =
            |place| self.rows.iter().any(|row| row.place == place && row.message.seq > seq);
        made.any(|place| !is_there(place))
    }
}

impl Conversations {
    /// Writes the newest commit again, so that no older write of it can land after this; then what
    /// follows from it, as far as that may be missing; and the head, of which an older write may be on
    /// its way, too.
    pub async fn redo(
        &self,
        newest: &Newest,
        head: &Conversation,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let head_again = put(&HEADS, alone(id(head.id.0)), encode(head));
        if newest.underived {
            self.follow(newest, head, stamp).await?;
            return self.apply(vec![head_again], stamp).await;
        }
        let commit = &newest.commit;
        let key = log_key(commit.conversation, block_of(commit.first), COMMIT, commit.first);
        self.apply(vec![put(&LOG, key, encode(commit)), head_again], stamp).await
    }

    /// Writes of an earlier case what follows from the commits that its stored head does not know of, and
    /// then the head: no wake does, and once the head is written nobody sees what is missing.
    pub async fn catch_up(
        &self,
        case: ConversationId,
        stamp: impl Fn() -> Stamp,
    ) -> Result<(), StoreError> {
        let Some(mut head) = self.head(case).await? else { return Ok(()) };
        'behind: loop {
            let (commits, is_all) = self.some_commits(case, head.seq + 1).await?;
            let last = commits.last().map(Commit::last);
            for commit in commits {
                let is_last = is_all && Some(commit.last()) == last;
                let mut after = head.clone();
                let rows = self.fold(&mut after, &commit).await?;
                let one = Newest { commit, before: Some(head.clone()), underived: true, rows };
                if is_last && self.is_torn(&one, &after).await? {
                    // It has not happened: the next one takes its place.
                    break 'behind;
                }
                self.follow(&one, &after, stamp()).await?;
                head = after;
            }
            if is_all {
                break;
            }
        }
        self.apply(vec![put(&HEADS, alone(id(case.0)), encode(&head))], stamp()).await
    }

    /// Writes a commit again with what lies beside it, since the one copy that told of it may be the only
    /// one that has them; then what follows from it.
    async fn follow(
        &self,
        Newest { commit, before, rows, .. }: &Newest,
        head: &Conversation,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let mut contents = self.brought(commit).await?;
        contents.retain(|(_, content)| content.is_some());
        let (again, derived) = parts(&Write {
            commit,
            rows,
            contents: &contents,
            thread: None,
            before: before.as_ref(),
            head,
            worked: None,
            recent: None,
            is_current: true,
            left: None,
        });
        self.apply(again, stamp).await?;
        self.apply(derived, stamp).await
    }

    /// Whether something is not there that a newest commit brings. All of it travels as one: what was
    /// answered is there whole, and of what was not one copy may have told of the commit, and others
    /// of nothing.
    pub(super) async fn is_torn(
        &self,
        newest: &Newest,
        head: &Conversation,
    ) -> Result<bool, StoreError> {
        if !newest.underived || newest.lacks_a_row() {
            return Ok(newest.underived);
        }
        let mut missing = self.brought(&newest.commit).await?;
        missing.retain(|(_, content)| content.is_none());
        let missing: Vec<_> =
            missing.into_iter().map(|(at, _)| (at, Some(Content::default()))).collect();
        Ok(needed(&missing, &newest.rows, head).next().is_some())
    }

    /// The contents that a commit brings; `None`: it is not there.
    async fn brought(&self, commit: &Commit) -> Result<Vec<Changed>, StoreError> {
        let mut all = Vec::new();
        for recorded in &commit.facts {
            let at = match &recorded.fact {
                Fact::AmendmentParked { amendment } => amendment.content(),
                fact => fact.content().map(|place| (commit.conversation, place)),
            };
            // One that waited lies with the commit that brought it.
            let beside = (commit.conversation, block_of(commit.first));
            if let Some(at) = at.filter(|at| (at.0, at.1.block) == beside) {
                all.push((at, self.content(at).await?));
            }
        }
        Ok(all)
    }

    /// Commits that hold facts from `from` on, oldest first, and whether these are all.
    pub(super) async fn some_commits(
        &self,
        case: ConversationId,
        from: u64,
    ) -> Result<(Vec<Commit>, bool), StoreError> {
        let mut commits = self.commits(case, from, COMMITS + 1).await?;
        let is_all = commits.len() <= COMMITS;
        commits.truncate(COMMITS);
        Ok((commits, is_all))
    }

    /// Follows a commit as far as a head has not. Answers the rows of the messages of what it followed,
    /// as they are after it: in the store they may be behind.
    pub(super) async fn fold(
        &self,
        head: &mut Conversation,
        commit: &Commit,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let mut rows = Vec::new();
        for (seq, recorded) in commit.numbered() {
            if seq == head.seq + 1 {
                let row = self.row_after(&mut rows, commit.conversation, (seq, recorded)).await?;
                head.apply(recorded, commit.at, row);
            }
        }
        Ok(rows)
    }

    /// The row of a fact's message after it: one of these, or read and added to them.
    async fn row_after<'a>(
        &self,
        rows: &'a mut Vec<MessageRow>,
        conversation: ConversationId,
        (seq, Recorded { fact, .. }): (u64, &Recorded),
    ) -> Result<Option<&'a MessageRow>, StoreError> {
        let Some((_, place)) = fact.message() else { return Ok(None) };
        let index = match rows.iter().position(|row| row.place == place) {
            Some(known) => known,
            None => {
                let Some(row) = self.row(conversation, place).await? else { return Ok(None) };
                rows.push(row);
                rows.len() - 1
            }
        };
        let row = &mut rows[index];
        if row.message.rev < seq {
            let content = match fact.content() {
                Some(at) => self.content((conversation, at)).await?,
                None => None,
            };
            row.apply(fact, seq, content);
        }
        Ok(Some(row))
    }
}
