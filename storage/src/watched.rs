//! Whether a store takes writes, by what became of the newest: somebody may wait for a change.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::StoreError;
use crate::port::{Batch, Claim, Guarantees, Key, Pending, Row, Scan, Store, Swap, Table};
use crate::together::Aside;

/// A store that is watched.
pub struct Watched {
    inner: Arc<dyn Store>,
    takes: watch::Sender<bool>,
}

impl Watched {
    /// Over this store, which takes writes until one fails.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, takes: watch::Sender::new(true) }
    }

    /// Whether it takes writes.
    pub fn takes_writes(&self) -> watch::Receiver<bool> {
        self.takes.subscribe()
    }

    /// The write has begun already, whether its outcome is awaited or not.
    fn note<'a, T: 'a>(
        &'a self,
        write: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> Pending<'a, T> {
        Box::pin(async move {
            let outcome = write.await;
            let takes = match &outcome {
                Ok(_) => Some(true),
                Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => Some(false),
                Err(StoreError::Rejected(_) | StoreError::Corrupt(_)) => None,
            };
            if let Some(takes) = takes {
                self.takes.send_if_modified(|took| std::mem::replace(took, takes) != takes);
            }
            outcome
        })
    }
}

impl Store for Watched {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        self.inner.get(table, key)
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        self.inner.scan(scan)
    }

    fn apply(&self, batch: Batch) -> Pending<'_, ()> {
        self.note(self.inner.apply(batch))
    }

    fn claim<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        body: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Pending<'a, Claim> {
        self.note(self.inner.claim(table, key, body, ttl))
    }

    fn swap<'a>(
        &'a self,
        table: &'static Table,
        key: Key,
        expected: Option<Vec<u8>>,
        body: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        self.note(self.inner.swap(table, key, expected, body))
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }

    fn holds(&self) -> bool {
        self.inner.holds()
    }

    fn aside(&self) -> Option<&dyn Aside> {
        self.inner.aside()
    }
}
