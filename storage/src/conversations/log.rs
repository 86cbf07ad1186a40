//! What is read of a conversation's log: messages, commits, and what a command needs of them.

use engine::conversation::{ContentAt, Conversation, Loaded, Need};
use engine::fact::{Commit, UsedKey};
use engine::id::{AccountId, ConversationId, MessageId};
use engine::message::{Content, MessageRow, Place, block_of};

use super::derived::{COMMIT, MESSAGE, Reference, content_key, log_key, ref_key};
use super::{COMMIT_FACTS_MAX, Conversations};
use crate::body::decode;
use crate::contacts::Contacts;
use crate::error::StoreError;
use crate::keys::{alone, id, int};
use crate::port::{Part, Scan};
use crate::tables::{KEYS, LOG, REFS};

/// From where messages are read, newest first.
struct Back {
    block: u64,
    /// Ordinals: less than this.
    below: u64,
    /// Seqs: less than the first, more than the second.
    bounds: (u64, u64),
}

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
                let head = self.folded(conversation).await?;
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

    /// Where the message with this provider id (or hash) lies. A reference counts only if its
    /// message is there: it may be of a commit that never was.
    pub async fn reference(
        &self,
        account: AccountId,
        external: &str,
    ) -> Result<Option<(ConversationId, Place)>, StoreError> {
        let found = self.read(&REFS, ref_key(account, external)).await?;
        let Some(Reference(conversation, place, message)) = found else { return Ok(None) };
        if self.store.guarantees().atomic {
            return Ok(Some((conversation, place)));
        }
        let there = self.row(conversation, place).await?;
        // Of a commit that never was the place is another message's by now,
        let is_it = |row: &MessageRow| message.is_none_or(|id| row.message.id == id);
        if !there.is_some_and(|row| is_it(&row)) {
            return Ok(None);
        }
        // or nobody's yet: of what was written late the commit loses against what took its seq meanwhile,
        // and its message stays, which the head does not know of.
        let head = self.folded(conversation).await?;
        let has = |head: &Conversation| place.ordinal <= head.messages;
        Ok(head.filter(has).map(|_| (conversation, place)))
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
        // The stored head may lag behind, and what is above it counts as not there.
        let Some(head) = self.folded(conversation).await? else { return Ok(None) };
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

    /// The same behind the newest `skip` of them, and the newest one's ordinal; 0: there are none. What
    /// is passed over is not read: ordinals have no hole.
    pub async fn page(
        &self,
        head: &Conversation,
        bounds: (u64, u64),
        (skip, limit): (usize, usize),
    ) -> Result<(Vec<MessageRow>, u64), StoreError> {
        let first = if skip == 0 { limit } else { 1 };
        let rows = self.messages(head, bounds, first).await?;
        let newest = rows.first().map_or(0, |row| row.place.ordinal);
        if skip == 0 {
            return Ok((rows, newest));
        }
        let Some(from @ 1..) = newest.checked_sub(skip as u64) else {
            return Ok((Vec::new(), newest));
        };
        let block = self.block_with(head, from).await?;
        let read = |body: &[u8]| decode(body).map(Some);
        let back = Back { block, below: from + 1, bounds };
        Ok((self.read_back(head, back, limit, read).await?, newest))
    }

    /// The block in which the message with this ordinal lies: the last one that does not begin behind
    /// it. It is guessed, since messages mostly lie evenly; every other guess is the middle.
    async fn block_with(&self, head: &Conversation, ordinal: u64) -> Result<u64, StoreError> {
        // It is `found`, or one of those above `low`, up to `high`.
        let (mut found, mut low, mut high) = (0, 0, u64::from(block_of(head.seq)));
        let (mut begins, mut ends, mut is_even) = (1, head.messages + 1, true);
        while low < high {
            let blocks = high + 1 - low;
            let share = blocks.saturating_mul(ordinal - begins) / (ends - begins);
            let guess = low + if is_even { share } else { blocks / 2 };
            is_even = !is_even;
            let top = guess.clamp(low + 1, high);
            // Where there is none, it is as if the next one below had been guessed.
            let mut block = top;
            let first = loop {
                match self.begin_of(head, block).await? {
                    None if block > low + 1 => block -= 1,
                    first => break first,
                }
            };
            match first {
                Some(first) if first > ordinal => (high, ends) = (block - 1, first),
                Some(first) => (found, low, begins) = (block, top, first),
                None => low = top,
            }
        }
        Ok(found)
    }

    /// The lowest ordinal of a message in a block.
    async fn begin_of(&self, head: &Conversation, block: u64) -> Result<Option<u64>, StoreError> {
        let partition = vec![id(head.id.0), int(block)];
        let scan = Scan { prefix: vec![Part::Int(MESSAGE)], ..Scan::of(&LOG, partition, 1) };
        let rows = self.store.scan(scan).await?;
        Ok(match rows.first().and_then(|row| row.clustering.get(1)) {
            Some(Part::Int(ordinal)) => u64::try_from(*ordinal).ok(),
            _ => None,
        })
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
        read: impl FnMut(&[u8]) -> Result<Option<MessageRow>, StoreError>,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let bounds = (before.min(head.seq + 1), after);
        // No ordinal is more than its message's seq.
        let back = Back { block: u64::from(block_of(bounds.0)), below: bounds.0, bounds };
        self.read_back(head, back, limit, read).await
    }

    async fn read_back(
        &self,
        head: &Conversation,
        Back { block, below, bounds: (before, after) }: Back,
        limit: usize,
        mut read: impl FnMut(&[u8]) -> Result<Option<MessageRow>, StoreError>,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let behind = Some(vec![Part::Int(MESSAGE), int(below)]);
        // A commit that begins in one block may reach into the seqs of the next.
        let last = u64::from(block_of((after + 1).saturating_sub(COMMIT_FACTS_MAX as u64)));
        let mut found = Vec::new();
        for block in (last..=block).rev() {
            let partition = vec![id(head.id.0), int(block)];
            let (prefix, reverse) = (vec![Part::Int(MESSAGE)], true);
            let whole = Scan::of(&LOG, partition, limit.max(64));
            let mut next = Some(Scan { prefix, reverse, after: behind.clone(), ..whole });
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
            if found.len() >= limit {
                break;
            }
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
        let mut block = block_of(from);
        let near = self.newest(conversation, block, NEAR).await?;
        let is_reached = near.first().is_some_and(|commit| commit.first <= from);
        let mut found = Vec::new();
        let mut after = None;
        if is_reached || near.len() < NEAR {
            // That is all of it: mostly whoever asks is at the end.
            if !is_reached && block > 0 {
                found = self.newest(conversation, block - 1, 1).await?;
            }
            found.extend(near);
            block += 1;
        } else {
            let start = from.saturating_sub(COMMIT_FACTS_MAX as u64);
            if block_of(start) == block {
                after = Some(vec![Part::Int(COMMIT), int(start)]);
            } else {
                found = self.newest(conversation, block - 1, 1).await?;
            }
        }
        // Commits follow without a gap: the next one begins behind the newest, or is not there.
        let mut next = found.last().map(|newest: &Commit| newest.last() + 1);
        found.retain(|commit| commit.last() >= from);
        while found.len() < limit
            && (after.is_some() || next.is_some_and(|first| block_of(first) >= block))
        {
            let (prefix, after) = (vec![Part::Int(COMMIT)], after.take());
            let whole = Scan::of(&LOG, log_partition(conversation, block), 256);
            let mut page = Some(Scan { prefix, after, ..whole });
            while let Some(scan) = page.filter(|_| found.len() < limit) {
                let rows = self.store.scan(scan.clone()).await?;
                page = scan.behind(&rows);
                for row in rows {
                    let commit: Commit = decode(&row.body)?;
                    next = Some(commit.last() + 1);
                    found.extend(Some(commit).filter(|commit| commit.last() >= from));
                }
            }
            block += 1;
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The commits that begin before this fact, newest first, at most `limit`.
    pub async fn commits_before(
        &self,
        conversation: ConversationId,
        before: u64,
        limit: usize,
    ) -> Result<Vec<Commit>, StoreError> {
        let mut after = Some(vec![Part::Int(COMMIT), int(before)]);
        let mut found = Vec::new();
        for block in (0..=block_of(before)).rev() {
            let (prefix, reverse) = (vec![Part::Int(COMMIT)], true);
            let whole = Scan::of(&LOG, log_partition(conversation, block), limit - found.len());
            let scan = Scan { prefix, reverse, after: after.take(), ..whole };
            for row in self.store.scan(scan).await? {
                found.push(decode(&row.body)?);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// The newest commits of a block, oldest first, at most `most`.
    async fn newest(
        &self,
        conversation: ConversationId,
        block: u32,
        most: usize,
    ) -> Result<Vec<Commit>, StoreError> {
        let (prefix, reverse) = (vec![Part::Int(COMMIT)], true);
        let whole = Scan::of(&LOG, log_partition(conversation, block), most);
        let rows = self.store.scan(Scan { prefix, reverse, ..whole }).await?;
        rows.iter().rev().map(|row| decode(&row.body)).collect()
    }
}

/// Commits at the end of a block that are looked at first.
const NEAR: usize = 16;

fn log_partition(conversation: ConversationId, block: u32) -> Vec<Part> {
    vec![id(conversation.0), Part::Int(i64::from(block))]
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

    /// A conversation with commits of these sizes, one after the other.
    async fn written(sizes: impl Iterator<Item = usize>) -> (Conversations, Vec<Commit>) {
        let store = Arc::new(Memory::new(Arc::new(|| Timestamp(0))));
        let mut all: Vec<Commit> = Vec::new();
        for size in sizes {
            all.push(commit(all.last().map_or(1, |last| last.last() + 1), size));
        }
        let written = |commit: &Commit| {
            let key = log_key(CONVERSATION, block_of(commit.first), COMMIT, commit.first);
            put(&LOG, key, encode(commit))
        };
        let changes = all.iter().map(written).collect();
        store.apply(Batch { stamp: Stamp(1), changes }).await.unwrap();
        (Conversations::new(store), all)
    }

    async fn finds(conversations: &Conversations, all: &[Commit], from: u64, limit: usize) {
        let found = conversations.commits(CONVERSATION, from, limit).await.unwrap();
        let firsts: Vec<_> = found.iter().map(|commit| commit.first).collect();
        let behind = all.iter().filter(|commit| commit.last() >= from).take(limit);
        assert_eq!(firsts, behind.map(|commit| commit.first).collect::<Vec<_>>(), "{from} {limit}");
    }

    #[tokio::test]
    async fn commits_are_read_from_the_end_over_all_blocks() {
        let blocks = u64::from(block_of(BLOCK_SEQS * 5 / 2)) + 1;
        let sizes = std::iter::repeat_n(7, usize::try_from(BLOCK_SEQS * 5 / 2 / 7).unwrap());
        let (conversations, all) = written(sizes).await;
        assert_eq!(blocks, 3);
        let (mut before, mut found) = (all.last().unwrap().last() + 1, Vec::new());
        loop {
            let page = conversations.commits_before(CONVERSATION, before, 50).await.unwrap();
            let Some(oldest) = page.last() else { break };
            before = oldest.first;
            found.extend(page);
        }
        found.reverse();
        assert_eq!(found, all);
    }

    #[tokio::test]
    async fn a_block_as_full_as_a_page_is_not_taken_for_the_end() {
        // Of two facts each, so that every block but the first holds as many as one read.
        let pairs = usize::try_from(3 * BLOCK_SEQS / 2).unwrap();
        let (conversations, all) =
            written(std::iter::once(1).chain(std::iter::repeat_n(2, pairs))).await;
        for from in [1, 2, 3, 511, 512, 513, 700] {
            finds(&conversations, &all, from, usize::MAX).await;
        }
    }

    #[tokio::test]
    async fn commits_are_found_from_any_fact_on_whatever_their_sizes() {
        let sizes = [1, 2, 256, 1, 3, 255, 1, 1, 40, 7].into_iter().cycle().take(60);
        let (conversations, all) = written(sizes).await;
        let top = all.last().unwrap().last();
        for from in 1..=top + 2 {
            finds(&conversations, &all, from, [1, 3, 64][from as usize % 3]).await;
        }
        let (conversations, all) = written(std::iter::repeat_n(1, 1_200)).await;
        for from in 1..=1_202 {
            finds(&conversations, &all, from, [1, 3, 2_000][from as usize % 3]).await;
        }
    }
}
