//! Dead letters: what could not be understood or placed, kept raw for 30 days, so many of a tenant.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use engine::id::{AccountId, TenantId};
use engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, month, month_of, uuid};
use crate::port::{Batch, Change, Key, Part, Scan, Stamp, Store};
use crate::tables::{DEAD_LETTERS, DEAD_LETTERS_KEPT};

/// What could not be understood or placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// A UUIDv7.
    pub id: Uuid,
    /// `None`: nobody knows whose it is.
    pub tenant: Option<TenantId>,
    pub account: Option<AccountId>,
    /// A sentence.
    pub reason: String,
    /// As it came.
    pub raw: String,
    pub at: Timestamp,
}

/// All dead letters. Clones are the same.
#[derive(Clone)]
pub struct DeadLetters {
    store: Arc<dyn Store>,
    most: usize,
    shelves: Arc<Mutex<HashMap<Option<TenantId>, Arc<Shelf>>>>,
}

/// The ids of one tenant's, oldest first; `None`: not loaded, or otherwise than remembered.
type Shelf = tokio::sync::Mutex<Option<VecDeque<Uuid>>>;

/// So many shelves stay in memory.
const SHELVES_MAX: usize = 1_000;
/// Rows of one read: each may be as large as a webhook.
const PAGE: usize = 64;

impl DeadLetters {
    /// On this store; at most `most` of each tenant, and of the installation.
    pub fn new(store: Arc<dyn Store>, most: usize) -> Self {
        Self { store, most, shelves: Arc::default() }
    }

    /// Keeps one; the oldest leave. The stamp is asked for when it is this one's turn.
    pub async fn put(
        &self,
        letter: &DeadLetter,
        stamp: impl FnOnce() -> Stamp,
    ) -> Result<(), StoreError> {
        let shelf = self.shelf(letter.tenant);
        let mut shelf = shelf.lock().await;
        // Until it is known what was written it has to be read again.
        let mut kept = match shelf.take() {
            Some(kept) => kept,
            None => self.load(letter.tenant, letter.at).await?,
        };
        let mut changes = Vec::new();
        while kept.len() >= self.most.max(1) {
            let Some(oldest) = kept.pop_front() else { break };
            // What has expired meanwhile is deleted once more, which changes nothing.
            changes.push(Change::Delete { table: &DEAD_LETTERS, key: key(letter.tenant, oldest) });
        }
        let (table, key) = (&DEAD_LETTERS, key(letter.tenant, letter.id));
        changes.push(Change::Put { table, key, body: encode(letter), ttl: None });
        self.store.apply(Batch { stamp: stamp(), changes }).await?;
        kept.push_back(letter.id);
        *shelf = Some(kept);
        Ok(())
    }

    /// One month of a tenant's, newest first.
    pub async fn list(
        &self,
        tenant: Option<TenantId>,
        month: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let scan = scan(tenant, month, limit);
        self.store.scan(scan).await?.iter().map(|row| decode(&row.body)).collect()
    }

    fn shelf(&self, tenant: Option<TenantId>) -> Arc<Shelf> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if shelves.len() >= SHELVES_MAX && !shelves.contains_key(&tenant) {
            // Whoever puts nothing at the moment is read again.
            shelves.retain(|_, shelf| Arc::strong_count(shelf) > 1);
        }
        shelves.entry(tenant).or_default().clone()
    }

    async fn load(
        &self,
        tenant: Option<TenantId>,
        now: Timestamp,
    ) -> Result<VecDeque<Uuid>, StoreError> {
        let mut newest = Vec::new();
        let oldest = Timestamp(now.0 - i64::try_from(DEAD_LETTERS_KEPT.as_millis()).unwrap_or(0));
        for month in (month(oldest)..=month(now)).rev() {
            let mut behind = None;
            loop {
                let scan = Scan { after: behind.take(), ..scan(tenant, month, PAGE) };
                let page = self.store.scan(scan).await?;
                newest.extend(page.iter().filter_map(|row| uuid(row.clustering.first())));
                if page.len() < PAGE {
                    break;
                }
                behind = page.into_iter().next_back().map(|row| row.clustering);
            }
        }
        Ok(newest.into_iter().rev().collect())
    }
}

fn scan(tenant: Option<TenantId>, month: i64, limit: usize) -> Scan {
    Scan {
        table: &DEAD_LETTERS,
        partition: partition(tenant, month),
        prefix: Vec::new(),
        after: None,
        until: None,
        reverse: false,
        limit,
    }
}

fn key(tenant: Option<TenantId>, letter: Uuid) -> Key {
    Key::new(partition(tenant, month_of(letter)), vec![id(letter)])
}

fn partition(tenant: Option<TenantId>, month: i64) -> Vec<Part> {
    vec![id(tenant.map_or(Uuid::nil(), |tenant| tenant.0)), Part::Int(month)]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use engine::id::TenantId;
    use engine::time::Timestamp;
    use uuid::Uuid;

    use super::{DeadLetter, DeadLetters};
    use crate::keys::month;
    use crate::memory::Memory;
    use crate::port::{Stamp, Store};

    /// 2026-11-30, an hour before the month ends.
    const START: Timestamp = Timestamp(1_796_079_600_000);
    const OURS: Option<TenantId> = Some(TenantId(Uuid::from_u128(1)));

    fn letter(tenant: Option<TenantId>, n: u64) -> DeadLetter {
        // An hour apart, so that a month ends among them.
        let at = START + Duration::from_secs(n * 3_600);
        let millis = u64::try_from(at.0).unwrap();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
        let (account, reason, raw) = (None, "no reason".to_owned(), n.to_string());
        DeadLetter { id, tenant, account, reason, raw, at }
    }

    /// The texts of all that are kept, newest first.
    async fn kept(letters: &DeadLetters, tenant: Option<TenantId>) -> Vec<String> {
        let mut all = Vec::new();
        for month in [month(START) + 1, month(START)] {
            all.extend(letters.list(tenant, month, 1_000).await.unwrap());
        }
        all.into_iter().map(|letter| letter.raw).collect()
    }

    #[tokio::test]
    async fn the_oldest_letters_of_a_tenant_leave_also_after_a_restart() {
        let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| START)));
        for process in 0..3 {
            let letters = DeadLetters::new(store.clone(), 100);
            for n in process * 70..(process + 1) * 70 {
                let stamp = || Stamp(i64::try_from(n).unwrap() + 1);
                letters.put(&letter(OURS, n), stamp).await.unwrap();
            }
        }
        let letters = DeadLetters::new(store, 100);
        let wanted: Vec<_> = (110..210).rev().map(|n| n.to_string()).collect();
        assert_eq!(kept(&letters, OURS).await, wanted);
        letters.put(&letter(None, 1), || Stamp(1_000)).await.unwrap();
        assert_eq!(
            kept(&letters, OURS).await.len(),
            100,
            "the installation's are not the tenant's"
        );
        assert_eq!(kept(&letters, None).await, ["1"]);
    }
}
