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
    pub(super) async fn content(&self, at: ContentAt) -> Result<Option<Content>, StoreError> {
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
        (before, after): (u64, u64),
        limit: usize,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let (conversation, before) = (head.id, before.min(head.seq + 1));
        let mut found = Vec::new();
        let mut block = i64::from(block_of(before));
        // A commit that begins in one block may reach into the seqs of the next.
        let last = i64::from(block_of((after + 1).saturating_sub(COMMIT_FACTS_MAX as u64)));
        while block >= last && found.len() < limit {
            let mut behind = None;
            loop {
                let scan = Scan {
                    table: &LOG,
                    partition: vec![id(conversation.0), Part::Int(block)],
                    prefix: vec![Part::Int(MESSAGE)],
                    after: behind.take(),
                    until: None,
                    reverse: true,
                    limit: limit.max(64),
                };
                let wanted = scan.limit;
                let rows = self.store.scan(scan).await?;
                let full = rows.len() == wanted;
                behind = rows.last().map(|row| row.clustering.clone());
                for row in rows {
                    let row: MessageRow = decode(&row.body)?;
                    let seq = row.message.seq;
                    let exists = row.place.ordinal <= head.messages;
                    if exists && seq > after && seq < before && found.len() < limit {
                        found.push(row);
                    }
                }
                if !full || found.len() >= limit {
                    break;
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
        let mut behind = start.checked_sub(1).map(|n| vec![Part::Int(COMMIT), int(n)]);
        loop {
            let scan = Scan {
                table: &LOG,
                partition: vec![id(conversation.0), Part::Int(i64::from(block))],
                prefix: vec![Part::Int(COMMIT)],
                after: behind.take(),
                until: None,
                reverse: false,
                limit: 256,
            };
            let rows = self.store.scan(scan).await?;
            let full = rows.len() == 256;
            behind = rows.last().filter(|_| full).map(|row| row.clustering.clone());
            let empty = rows.is_empty();
            for row in rows {
                let commit: Commit = decode(&row.body)?;
                if commit.last() >= from {
                    found.push(commit);
                    if found.len() == limit {
                        return Ok(found);
                    }
                }
            }
            if full {
                continue;
            }
            if empty && block > block_of(from) {
                return Ok(found);
            }
            block += 1;
        }
    }
}
