//! Admission: mailboxes are unbounded, so what may wait in them is counted before it is sent. A
//! permit travels inside its message and is given back when the message is done with, however.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use engine::id::{TenantId, ThreadId};

use crate::failure::{Failure, Full};

/// How much may be under way at once.
#[derive(Clone, Copy, Debug)]
pub struct PermitLimits {
    pub node: usize,
    pub tenant: usize,
    pub thread: usize,
}

/// Counts what is under way.
pub struct Permits {
    limits: PermitLimits,
    node: AtomicUsize,
    tenants: Counts<TenantId>,
    threads: Counts<ThreadId>,
}

/// A place among what is under way.
pub struct Permit(Option<Held>);

struct Held {
    permits: Arc<Permits>,
    tenant: TenantId,
    thread: ThreadId,
}

/// Counts by key, in so many parts that their locks do not meet.
struct Counts<K> {
    parts: [Mutex<HashMap<K, usize>>; 32],
    hasher: std::hash::RandomState,
}

impl Permits {
    /// With these limits.
    pub fn new(limits: PermitLimits) -> Arc<Self> {
        let (node, tenants, threads) = (AtomicUsize::new(0), Counts::new(), Counts::new());
        Arc::new(Self { limits, node, tenants, threads })
    }

    /// A place, or what is full.
    pub fn take(self: &Arc<Self>, tenant: TenantId, thread: ThreadId) -> Result<Permit, Failure> {
        let enter = |n: usize| (n < self.limits.node).then_some(n + 1);
        self.node
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, enter)
            .map_err(|_| Failure::busy(Full::Server))?;
        if !self.tenants.enter(tenant, self.limits.tenant) {
            self.node.fetch_sub(1, Ordering::AcqRel);
            return Err(Failure::busy(Full::Organization));
        }
        if !self.threads.enter(thread, self.limits.thread) {
            self.tenants.leave(tenant);
            self.node.fetch_sub(1, Ordering::AcqRel);
            return Err(Failure::busy(Full::Conversation));
        }
        Ok(Permit(Some(Held { permits: self.clone(), tenant, thread })))
    }

    /// How much is under way.
    pub fn taken(&self) -> usize {
        self.node.load(Ordering::Acquire)
    }
}

impl Permit {
    /// For what the engine sends itself: it is bounded by what caused it.
    pub fn own() -> Self {
        Self(None)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(Held { permits, tenant, thread }) = self.0.take() {
            permits.threads.leave(thread);
            permits.tenants.leave(tenant);
            permits.node.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl<K: Hash + Eq> Counts<K> {
    fn new() -> Self {
        Self { parts: Default::default(), hasher: std::hash::RandomState::new() }
    }

    fn enter(&self, key: K, limit: usize) -> bool {
        let mut counts = self.part(&key).lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(key).or_insert(0);
        let free = *count < limit;
        *count += usize::from(free);
        free
    }

    fn leave(&self, key: K) {
        let mut counts = self.part(&key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }

    fn part(&self, key: &K) -> &Mutex<HashMap<K, usize>> {
        let hash = self.hasher.hash_one(key);
        &self.parts[usize::from(hash.to_le_bytes()[0]) % self.parts.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::{PermitLimits, Permits};
    use crate::failure::{Failure, Full};
    use engine::id::{TenantId, ThreadId};
    use uuid::Uuid;

    fn full(failure: &Failure) -> Option<Full> {
        match failure {
            Failure::Busy { full, .. } => Some(*full),
            _ => None,
        }
    }

    #[test]
    fn a_permit_counts_until_it_is_dropped() {
        let permits = Permits::new(PermitLimits { node: 3, tenant: 2, thread: 1 });
        let (tenant, other) = (TenantId(Uuid::from_u128(1)), TenantId(Uuid::from_u128(2)));
        let thread = |n| ThreadId(Uuid::from_u128(n));
        let one = permits.take(tenant, thread(1)).ok().unwrap();
        let refused = permits.take(tenant, thread(1)).err().unwrap();
        assert_eq!(full(&refused), Some(Full::Conversation));
        let _two = permits.take(tenant, thread(2)).ok().unwrap();
        let refused = permits.take(tenant, thread(3)).err().unwrap();
        assert_eq!(full(&refused), Some(Full::Organization));
        let _three = permits.take(other, thread(4)).ok().unwrap();
        let refused = permits.take(other, thread(5)).err().unwrap();
        assert_eq!(full(&refused), Some(Full::Server));
        assert_eq!(permits.taken(), 3);
        drop(one);
        assert_eq!(permits.taken(), 2);
        assert!(permits.take(tenant, thread(1)).is_ok());
    }
}
