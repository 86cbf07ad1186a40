//! Places for what people have under way and takes its time: so many at once, of one tenant a part
//! of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actors::failure::{Failure, Full};
use config::Limits;
use engine::id::TenantId;

/// Places of one kind.
pub struct Places {
    most: usize,
    of_tenant: usize,
    /// What is full when all are taken, and when those of one tenant are.
    full: [Full; 2],
    held: Arc<Held>,
}

#[derive(Default)]
struct Held(Mutex<HashMap<TenantId, usize>>);

/// A place, until it is dropped.
pub struct Place {
    held: Arc<Held>,
    tenant: TenantId,
}

impl Places {
    /// For files that people are bringing.
    pub fn of_uploads(limits: &Limits) -> Self {
        let full = [Full::Uploads, Full::OrganizationUploads];
        Self::new(limits.media_uploads, limits.media_uploads_tenant, full)
    }

    /// For requests that ask providers about accounts.
    pub fn of_account_calls(limits: &Limits) -> Self {
        let full = [Full::AccountCalls, Full::OrganizationAccountCalls];
        Self::new(limits.account_calls, limits.account_calls_tenant, full)
    }

    fn new(most: usize, of_tenant: usize, full: [Full; 2]) -> Self {
        Self { most, of_tenant, full, held: Arc::default() }
    }

    /// A place for one more.
    pub fn begin(&self, tenant: TenantId) -> Result<Place, Failure> {
        let mut held = self.held.counts();
        if held.values().sum::<usize>() >= self.most {
            return Err(Failure::busy(self.full[0]));
        }
        let of_tenant = held.entry(tenant).or_default();
        if *of_tenant >= self.of_tenant {
            return Err(Failure::busy(self.full[1]));
        }
        *of_tenant += 1;
        Ok(Place { held: self.held.clone(), tenant })
    }
}

impl Held {
    fn counts(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.counts();
        if let Some(of_tenant) = held.get_mut(&self.tenant) {
            *of_tenant -= 1;
            if *of_tenant == 0 {
                held.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use actors::failure::{Failure, Full};
    use engine::id::TenantId;
    use uuid::Uuid;

    use super::Places;

    #[test]
    fn one_tenant_does_not_take_the_places_of_all() {
        let uploads = Places::new(3, 2, [Full::Uploads, Full::OrganizationUploads]);
        let tenant = |n| TenantId(Uuid::from_u128(n));
        let full = |n| match uploads.begin(tenant(n)).map(drop) {
            Err(Failure::Busy { full, .. }) => Some(full),
            _ => None,
        };
        let (one, two) = (uploads.begin(tenant(1)).ok(), uploads.begin(tenant(1)).ok());
        assert_eq!(full(1), Some(Full::OrganizationUploads));
        let three = uploads.begin(tenant(2)).ok();
        assert_eq!(full(3), Some(Full::Uploads));
        drop((one, two, three));
        assert_eq!(full(1), None);
        assert!(uploads.held.counts().is_empty());
    }
}
