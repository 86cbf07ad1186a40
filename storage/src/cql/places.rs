//! Places of statements: so many are on their way at once.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::schema;
use crate::error::StoreError;
use crate::port::Table;

/// All that there are.
pub(super) struct Places {
    free: Semaphore,
    patience: Duration,
}

impl Places {
    /// So many; nobody waits longer for one than that.
    pub(super) fn new(many: usize, patience: Duration) -> Self {
        Self { free: Semaphore::new(many), patience }
    }

    /// One for a statement over this table, until it is dropped. `None`: it needs none, since who may
    /// write must not wait behind what is written.
    pub(super) async fn take(
        &self,
        table: &Table,
    ) -> Result<Option<SemaphorePermit<'_>>, StoreError> {
        if *table == schema::CLUSTER {
            return Ok(None);
        }
        if let Ok(place) = self.free.try_acquire() {
            return Ok(Some(place));
        }
        match timeout(self.patience, self.free.acquire()).await {
            Ok(Ok(place)) => Ok(Some(place)),
            _ => Err(StoreError::Unavailable(
                "the database does not keep up: too many statements wait (`limits.cql_statements`)"
                    .into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Places;
    use crate::cql::schema::CLUSTER;
    use crate::error::StoreError;
    use crate::tables::THREADS;

    #[tokio::test(start_paused = true)]
    async fn a_renewal_does_not_wait_behind_what_is_written() {
        let places = Places::new(1, Duration::from_secs(5));
        let written = places.take(&THREADS).await.unwrap();
        let began = Instant::now();
        for _ in 0..2 {
            places.take(&CLUSTER).await.expect("it needs no place");
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        let refused = places.take(&THREADS).await.map(drop);
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        drop(written);
        let _renewal = places.take(&CLUSTER).await.unwrap();
        let _written = places.take(&THREADS).await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(5), "nor the other way round");
    }
}
