//! Dead letters: what could not be understood or placed, kept raw for 30 days.

use std::sync::Arc;

use engine::id::{AccountId, TenantId};
use engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, month_of};
use crate::port::{Batch, Change, Key, Part, Scan, Stamp, Store};
use crate::tables::DEAD_LETTERS;

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

/// All dead letters.
#[derive(Clone)]
pub struct DeadLetters {
    store: Arc<dyn Store>,
}

impl DeadLetters {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// Keeps one.
    pub async fn put(&self, letter: &DeadLetter, stamp: Stamp) -> Result<(), StoreError> {
        let partition = partition(letter.tenant, month_of(letter.id));
        let key = Key::new(partition, vec![id(letter.id)]);
        let change = Change::Put { table: &DEAD_LETTERS, key, body: encode(letter), ttl: None };
        self.store.apply(Batch { stamp, changes: vec![change] }).await
    }

    /// One month of a tenant's, newest first.
    pub async fn list(
        &self,
        tenant: Option<TenantId>,
        month: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let scan = Scan {
            table: &DEAD_LETTERS,
            partition: partition(tenant, month),
            prefix: Vec::new(),
            after: None,
            until: None,
            reverse: false,
            limit,
        };
        self.store.scan(scan).await?.iter().map(|row| decode(&row.body)).collect()
    }
}

fn partition(tenant: Option<TenantId>, month: i64) -> Vec<Part> {
    vec![id(tenant.map_or(Uuid::nil(), |tenant| tenant.0)), Part::Int(month)]
}
