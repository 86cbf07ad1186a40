//! Lists of conversations and threads: how a commit changes them, and how they are read.

use engine::conversation::Conversation;
use engine::fact::ConversationStatus;
use engine::id::{AgentId, ContactId, ConversationId, TenantId, ThreadId};
use engine::time::Timestamp;
use uuid::Uuid;

use super::derived::put;
use super::{Conversations, Write};
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{all_ids, alone, id, ids, month, text, uuid};
use crate::port::{Batch, Change, Key, Part, Scan, Stamp};
use crate::tables::{ARCHIVE, CONTACT_CONVERSATIONS, DIRTY, OPEN_SET, SWEPT};

/// The open set of a tenant lies in so many partitions.
const SLICES: u8 = 16;

/// Rows that are read at once.
const PAGE: usize = 1000;

/// What stands for the whole store where shards are swept.
const BEGAN: i64 = -1;
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

/// That a thread was at work in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worked {
    pub hour: i64,
    /// In which conversation; `None`: it had none.
    pub case: Option<ConversationId>,
    /// Whether it may have left something undone.
    pub undone: bool,
}

impl Worked {
    pub(super) fn put(self, thread: ThreadId) -> Change {
        let case = self.case.map_or(Uuid::nil(), |case| case.0);
        let key = Key::new(in_hour(thread.shard(), self.hour), vec![id(thread.0), id(case)]);
        put(&DIRTY, key, encode(&self.undone))
    }
}

fn in_hour(shard: u8, hour: i64) -> Vec<Part> {
    vec![Part::Int(i64::from(shard)), Part::Int(hour)]
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

    /// Threads of a shard that were at work in an hour, each with its conversations.
    pub async fn worked(
        &self,
        shard: u8,
        hour: i64,
    ) -> Result<Vec<(ThreadId, Worked)>, StoreError> {
        let mut all = Vec::new();
        let mut next = Some(Scan::of(&DIRTY, in_hour(shard, hour), PAGE));
        while let Some(scan) = next {
            let page = self.store.scan(scan.clone()).await?;
            for row in &page {
                let Some(thread) = uuid(row.clustering.first()).map(ThreadId) else { continue };
                let case = uuid(row.clustering.get(1)).filter(|case| !case.is_nil());
                let case = case.map(ConversationId);
                // Rows used to say no more than that; one that is damaged says nothing either.
                let undone = decode(&row.body).unwrap_or(true);
                all.push((thread, Worked { hour, case, undone }));
            }
            next = scan.behind(&page);
        }
        Ok(all)
    }

    /// Enters when threads were at work.
    pub async fn enter(
        &self,
        worked: Vec<(ThreadId, Worked)>,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        for some in worked.chunks(PAGE) {
            let entered = some.iter().map(|(thread, worked)| worked.put(*thread));
            self.apply(entered.collect(), stamp).await?;
        }
        Ok(())
    }

    /// Whether something is not derived of the newest commit of a thread that was at work since the mark.
    pub async fn is_behind(&self, now: i64) -> Result<bool, StoreError> {
        let from = self.swept(0).await?.unwrap_or(now).min(now);
        // The clock of whoever wrote it may be ahead of this one.
        let hours = from..=now + 1;
        for (hour, shard) in hours.flat_map(|hour| (0..=u8::MAX).map(move |of| (hour, of))) {
            for (thread, worked) in self.worked(shard, hour).await? {
                let newest = self.wake(thread).await?.and_then(|woken| woken.newest);
                if newest.is_some_and(|newest| newest.underived) {
                    return Ok(true);
                }
                // One that is no thread's current case any more is no wake's.
                if let Some(case) = worked.case
                    && self.lags(case).await?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::id::{ConversationId, ThreadId};
    use engine::time::Timestamp;
    use uuid::Uuid;

    use super::{Conversations, PAGE, Worked};
    use crate::memory::Memory;
    use crate::port::{Batch, Stamp, Store};

    #[tokio::test]
    async fn who_was_at_work_in_an_hour_is_found_whole_with_and_without_conversations() {
        let store = Arc::new(Memory::new(Arc::new(|| Timestamp(0))));
        let thread = |n: u128| ThreadId(Uuid::from_u128(n << 8));
        let case = |n: u128| Some(ConversationId(Uuid::from_u128(n << 8)));
        let worked = |case, undone| Worked { hour: 7, case, undone };
        let mut all = vec![(thread(1), worked(None, true)), (thread(1), worked(case(1), false))];
        all.push((thread(1), worked(case(2), true)));
        all.extend((2..PAGE as u128 + 2).map(|n| (thread(n), worked(case(3), n % 2 == 0))));
        let mut changes: Vec<_> = all.iter().map(|(thread, worked)| worked.put(*thread)).collect();
        changes.push(Worked { hour: 8, case: case(9), undone: true }.put(thread(1)));
        store.apply(Batch { stamp: Stamp(1), changes }).await.unwrap();
        assert_eq!(Conversations::new(store).worked(0, 7).await.unwrap(), all);
    }
}
