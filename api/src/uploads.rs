//! Files that people are bringing: so many at once, of one tenant a part of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actors::failure::{Failure, Full};
use engine::id::TenantId;

/// Places for files on their way.
pub struct Uploads {
    most: usize,
    of_tenant: usize,
    held: Arc<Held>,
}

#[derive(Default)]
struct Held(Mutex<HashMap<TenantId, usize>>);

/// One file's place, until it is dropped.
pub struct Upload {
    held: Arc<Held>,
    tenant: TenantId,
}

impl Uploads {
    /// So many, and so many of one tenant.
    pub fn new(most: usize, of_tenant: usize) -> Self {
        Self { most, of_tenant, held: Arc::default() }
    }

    /// A place for one more.
    pub fn begin(&self, tenant: TenantId) -> Result<Upload, Failure> {
        let mut held = self.held.counts();
        if held.values().sum::<usize>() >= self.most {
            return Err(Failure::busy(Full::Uploads));
        }
        let of_tenant = held.entry(tenant).or_default();
        if *of_tenant >= self.of_tenant {
            return Err(Failure::busy(Full::OrganizationUploads));
        }
        *of_tenant += 1;
        Ok(Upload { held: self.held.clone(), tenant })
    }
}

impl Held {
    fn counts(&self) -> MutexGuard<'_, HashMap<TenantId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upload {
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

    use super::Uploads;

    #[test]
    fn one_tenant_does_not_take_the_places_of_all() {
        let uploads = Uploads::new(3, 2);
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
