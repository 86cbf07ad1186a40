//! What is read of a conversation's log: messages, commits, and what a command needs of them.

use engine::conversation::{ContentAt, Conversation, Loaded, Need};
use engine::fact::{Commit, UsedKey};
use engine::id::{AccountId, ConversationId, MessageId};
use engine::message::{Content, MessageRow, Place, block_of};

use super::derived::{COMMIT, MESSAGE, content_key, log_key, ref_key};
use super::{COMMIT_FACTS_MAX, Conversations};
use crate::body::decode;
use crate::contacts::Contacts;
use crate::error::StoreError;
use crate::keys::{alone, id, int};
use crate::port::{Part, Scan};
use crate::tables::{KEYS, LOG, REFS};

impl Conversations {
    /// Reads what a command needs.
    pub async fn load(
        &self,
        account: AccountId,
        need: Need,
        into: &mut Loaded,
    ) -> Result<(), StoreError> {
        match need {
            Need::Ref(external) => {
                let found = self.reference(account, &external).await?;
                into.refs.insert(external, found);
            }
            Need::Key(key) => {
                let used: Option<UsedKey> = self.read(&KEYS, alone(Part::Uuid(key))).await?;
                into.keys.insert(key, used);
            }
            Need::Row(conversation, place) => {
                let row = self.row(conversation, place).await?;
                into.rows.insert((conversation, place), row);
            }
            Need::Content(at) => {
                let content = self.content(at).await?;
                into.contents.insert(at, content);
            }
            Need::Message(conversation, message) => {
                let place = self.place(conversation, message).await?;
                into.messages.insert((conversation, message), place);
            }
            Need::Case(conversation) => {
                let head = self.head(conversation).await?;
                into.cases.insert(conversation, head);
            }
            Need::Person(contact) => {
                let person = Contacts::new(self.store.clone()).current(contact).await?;
                let all = person.map(|person| [vec![person.id], person.absorbed].concat());
                into.persons.insert(contact, all.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Where the message with this provider id (or hash) lies. A reference counts only if the row
    /// is there: it may be of a commit that never was.
    pub async fn reference(
        &self,
        account: AccountId,
        external: &str,
    ) -> Result<Option<(ConversationId, Place)>, StoreError> {
        let found = self.read(&REFS, ref_key(account, external)).await?;
        let Some((conversation, place)) = found else { return Ok(None) };
        if self.store.guarantees().atomic {
            return Ok(Some((conversation, place)));
        }
        Ok(self.row(conversation, place).await?.map(|_| (conversation, place)))
    }

    /// A message's row.
    pub async fn row(
        &self,
        conversation: ConversationId,
        place: Place,
    ) -> Result<Option<MessageRow>, StoreError> {
        self.read(&LOG, log_key(conversation, place.block, MESSAGE, place.ordinal)).await
    }

    /// What an edit says.
    pub async fn content(&self, at: ContentAt) -> Result<Option<Content>, StoreError> {
        self.read(&LOG, content_key(at)).await
    }

    /// Where a message lies that is known by its id; newest blocks first.
    pub async fn place(
        &self,
        conversation: ConversationId,
        message: MessageId,
    ) -> Result<Option<Place>, StoreError> {
        let Some(head) = self.head(conversation).await? else { return Ok(None) };
        let mut before = head.seq + 1;
        loop {
            let page = self.messages(&head, (before, 0), 200).await?;
            if let Some(found) = page.iter().find(|row| row.message.id == message) {
                return Ok(Some(found.place));
            }
            match page.last() {
                Some(oldest) if oldest.message.seq > 1 => before = oldest.message.seq,
                _ => return Ok(None),
            }
        }
    }

    /// Messages of a head with `after < seq < before`, newest first, at most `limit`. Rows above
    /// what the head knows do not exist: they are of commits that never were.
    pub async fn messages(
        &self,
        head: &Conversation,
        bounds: (u64, u64),
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        self.read_messages(head, bounds, limit, |body| decode(body).map(Some)).await
    }

    /// The same without those that cannot be read, and whether there are any.
    pub async fn readable(
        &self,
        head: &Conversation,
        bounds: (u64, u64),
        limit: usize,
    ) -> Result<(Vec<MessageRow>, bool), StoreError> {
        let mut is_damaged = false;
        let read = |body: &[u8]| Ok(decode(body).inspect_err(|_| is_damaged = true).ok());
        let found = self.read_messages(head, bounds, limit, read).await?;
        Ok((found, is_damaged))
    }

    async fn read_messages(
        &self,
        head: &Conversation,
        (before, after): (u64, u64),
        limit: usize,
        mut read: impl FnMut(&[u8]) -> Result<Option<MessageRow>, StoreError>,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let (conversation, before) = (head.id, before.min(head.seq + 1));
        let mut found = Vec::new();
        let mut block = i64::from(block_of(before));
        // A commit that begins in one block may reach into the seqs of the next.
        let last = i64::from(block_of((after + 1).saturating_sub(COMMIT_FACTS_MAX as u64)));
        while block >= last && found.len() < limit {
            let partition = vec![id(conversation.0), Part::Int(block)];
            let (prefix, reverse) = (vec![Part::Int(MESSAGE)], true);
            let whole = Scan::of(&LOG, partition, limit.max(64));
            let mut next = Some(Scan { prefix, reverse, ..whole });
            while let Some(scan) = next.take_if(|_| found.len() < limit) {
                let rows = self.store.scan(scan.clone()).await?;
                next = scan.behind(&rows);
                for row in rows {
                    let Some(row) = read(&row.body)? else { continue };
                    let seq = row.message.seq;
                    let exists = row.place.ordinal <= head.messages;
                    if exists && seq > after && seq < before && found.len() < limit {
                        found.push(row);
                    }
                }
            }
            block -= 1;
        }
        Ok(found)
    }

    /// The commits that hold facts from `from` on, oldest first, at most `limit`.
    pub async fn commits(
        &self,
        conversation: ConversationId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Commit>, StoreError> {
        let mut found: Vec<Commit> = Vec::new();
        let start = from.saturating_sub(COMMIT_FACTS_MAX as u64);
        let mut block = block_of(start);
        let mut after = start.checked_sub(1).map(|n| vec![Part::Int(COMMIT), int(n)]);
        loop {
            let partition = vec![id(conversation.0), Part::Int(i64::from(block))];
            let (prefix, after) = (vec![Part::Int(COMMIT)], after.take());
            let mut next = Some(Scan { prefix, after, ..Scan::of(&LOG, partition, 256) });
            let mut is_empty = true;
            while let Some(scan) = next {
                let rows = self.store.scan(scan.clone()).await?;
                next = scan.behind(&rows);
                is_empty = is_empty && rows.is_empty();
                for row in rows {
                    let commit: Commit = decode(&row.body)?;
                    if commit.last() >= from {
                        found.push(commit);
                        if found.len() == limit {
                            return Ok(found);
                        }
                    }
                }
            }
            if is_empty && block > block_of(from) {
                return Ok(found);
            }
            block += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::fact::{By, Commit, Fact, Recorded};
    use engine::id::ConversationId;
    use engine::message::{BLOCK_SEQS, block_of};
    use engine::time::Timestamp;
    use uuid::Uuid;

    use super::super::derived::{COMMIT, log_key, put};
    use super::Conversations;
    use crate::body::encode;
    use crate::memory::Memory;
    use crate::port::{Batch, Stamp, Store};
    use crate::tables::LOG;

    const CONVERSATION: ConversationId = ConversationId(Uuid::from_u128(1));

    fn commit(first: u64, facts: usize) -> Commit {
        let facts = vec![Recorded { by: By::System, fact: Fact::Woken }; facts];
        Commit { conversation: CONVERSATION, first, at: Timestamp(0), facts, keys: Vec::new() }
    }

    #[tokio::test]
    async fn a_block_as_full_as_a_page_is_not_taken_for_the_end() {
        let store = Arc::new(Memory::new(Arc::new(|| Timestamp(0))));
        // Of two facts each, so that every block but the first holds as many as one read.
        let pairs = (2..=3 * BLOCK_SEQS).step_by(2).map(|first| commit(first, 2));
        let all: Vec<_> = std::iter::once(commit(1, 1)).chain(pairs).collect();
        let written = |commit: &Commit| {
            let key = log_key(CONVERSATION, block_of(commit.first), COMMIT, commit.first);
            put(&LOG, key, encode(commit))
        };
        let changes = all.iter().map(written).collect();
        store.apply(Batch { stamp: Stamp(1), changes }).await.unwrap();
        let conversations = Conversations::new(store);
        for from in [1, 2, 3, 511, 512, 513, 700] {
            let found = conversations.commits(CONVERSATION, from, usize::MAX).await.unwrap();
            let firsts: Vec<_> = found.iter().map(|commit| commit.first).collect();
            let behind = all.iter().filter(|commit| commit.last() >= from);
            assert_eq!(firsts, behind.map(|commit| commit.first).collect::<Vec<_>>(), "{from}");
        }
    }
}
