//! Lists of conversations and threads: how a commit changes them, and how they are read.

use engine::conversation::Conversation;
use engine::fact::ConversationStatus;
use engine::id::{AgentId, ContactId, ConversationId, TenantId, ThreadId};
use engine::time::Timestamp;

use super::derived::put;
use super::{Conversations, Write};
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{all_ids, alone, id, ids, month, text, uuid};
use crate::port::{Batch, Change, Key, Part, Scan, Stamp};
use crate::tables::{ARCHIVE, CONTACT_CONVERSATIONS, DIRTY, DIRTY_CASES, OPEN_SET, SWEPT};

/// The open set of a tenant lies in so many partitions.
const SLICES: u8 = 16;

/// What stands for the whole store where shards are swept.
const BEGAN: i64 = -1;
const CASES_SINCE: i64 = -2;
/// The hour in which a store began that does not say: 2026-01-01. None is older.
pub const FIRST_HOUR: i64 = 490_896;

/// A list of closed conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    All,
    /// Nobody's.
    Unassigned,
    Of(AgentId),
}

impl View {
    fn name(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Unassigned => "none".to_owned(),
            Self::Of(agent) => agent.0.simple().to_string(),
        }
    }
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

/// That a thread may have something left undone in an hour.
pub(super) fn dirty(thread: ThreadId, hour: i64) -> Change {
    let shard = Part::Int(i64::from(thread.shard()));
    let key = Key::new(vec![shard, Part::Int(hour)], vec![id(thread.0)]);
    put(&DIRTY, key, Vec::new())
}

/// That a conversation was at work in an hour.
pub(super) fn dirty_case(case: ConversationId, hour: i64) -> Change {
    let shard = Part::Int(i64::from(case.shard()));
    let key = Key::new(vec![shard, Part::Int(hour)], vec![id(case.0)]);
    put(&DIRTY_CASES, key, Vec::new())
}

impl Conversations {
    /// The conversations of a contact, newest first, behind one of them.
    pub async fn of_contact(
        &self,
        contact: ContactId,
        behind: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let after = behind.map(|behind| vec![id(behind.0)]);
        let scan = Scan { after, ..Scan::of(&CONTACT_CONVERSATIONS, vec![id(contact.0)], limit) };
        Ok(ids(&self.store.scan(scan).await?).map(ConversationId).collect())
    }

    /// All conversations of a tenant that are not closed.
    pub async fn open_set(&self, tenant: TenantId) -> Result<Vec<ConversationId>, StoreError> {
        let mut all = Vec::new();
        for slice in 0..SLICES {
            let partition = vec![id(tenant.0), Part::Int(i64::from(slice))];
            all.extend(
                all_ids(&*self.store, &OPEN_SET, partition).await?.into_iter().map(ConversationId),
            );
        }
        Ok(all)
    }

    /// One month of a list of closed conversations, newest first, behind one of its rows.
    pub async fn archive(
        &self,
        tenant: TenantId,
        view: View,
        month: i64,
        behind: Option<(Timestamp, ConversationId)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, ConversationId, ConversationStatus)>, StoreError> {
        let partition = vec![id(tenant.0), text(&view.name()), Part::Int(month)];
        let after = behind.map(|(at, behind)| vec![Part::Int(at.0), id(behind.0)]);
        let scan = Scan { after, ..Scan::of(&ARCHIVE, partition, limit) };
        let mut found = Vec::new();
        for row in self.store.scan(scan).await? {
            let [Part::Int(at), conversation] = &row.clustering[..] else { continue };
            let Some(conversation) = uuid(Some(conversation)) else { continue };
            found.push((Timestamp(*at), ConversationId(conversation), decode(&row.body)?));
        }
        Ok(found)
    }

    /// Threads of a shard with commits in an hour, and that were perhaps left undone.
    pub async fn dirty(&self, shard: u8, hour: i64) -> Result<Vec<ThreadId>, StoreError> {
        let partition = vec![Part::Int(i64::from(shard)), Part::Int(hour)];
        Ok(all_ids(&*self.store, &DIRTY, partition).await?.into_iter().map(ThreadId).collect())
    }

    /// Conversations of a shard with commits in an hour, from [`Self::cases_since`] on.
    pub async fn dirty_cases(
        &self,
        shard: u8,
        hour: i64,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let partition = vec![Part::Int(i64::from(shard)), Part::Int(hour)];
        let ids = all_ids(&*self.store, &DIRTY_CASES, partition).await?;
        Ok(ids.into_iter().map(ConversationId).collect())
    }

    /// From this hour on conversations are entered as dirty, before only threads; `None`: never yet.
    pub async fn cases_since(&self) -> Result<Option<i64>, StoreError> {
        self.read(&SWEPT, alone(Part::Int(CASES_SINCE))).await
    }

    /// Conversations are entered as dirty in this hour, and in all behind it.
    pub async fn set_cases_since(&self, hour: i64, stamp: Stamp) -> Result<(), StoreError> {
        let changes = vec![put(&SWEPT, alone(Part::Int(CASES_SINCE)), encode(&hour))];
        self.store.apply(Batch { stamp, changes }).await
    }

    /// The first hour in which a shard may have left something undone.
    pub async fn swept(&self, shard: u8) -> Result<Option<i64>, StoreError> {
        self.read(&SWEPT, alone(Part::Int(i64::from(shard)))).await
    }

    /// Before this hour nothing of a shard is left to look at.
    pub async fn set_swept(&self, shard: u8, hour: i64, stamp: Stamp) -> Result<(), StoreError> {
        let changes = vec![put(&SWEPT, alone(Part::Int(i64::from(shard))), encode(&hour))];
        self.store.apply(Batch { stamp, changes }).await
    }

    /// Before this hour nothing was committed.
    pub async fn began(&self) -> Result<i64, StoreError> {
        let began = self.read(&SWEPT, alone(Part::Int(BEGAN))).await?;
        Ok(began.unwrap_or(FIRST_HOUR))
    }

    /// The store begins in this hour.
    pub async fn set_began(&self, hour: i64, stamp: Stamp) -> Result<(), StoreError> {
        let changes = vec![put(&SWEPT, alone(Part::Int(BEGAN)), encode(&hour))];
        self.store.apply(Batch { stamp, changes }).await
    }
}
