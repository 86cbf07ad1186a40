//! Admission: mailboxes are unbounded, so what may wait in them is counted before it is sent. A
//! permit travels inside its message and is given back when the message is done with, however.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::id::{TenantId, ThreadId};

use crate::ages::{Age, Ages};
use crate::failure::Full;

/// How much may be under way at once.
#[derive(Clone, Copy, Debug)]
pub struct PermitLimits {
    /// In the process: commands, and bytes of what came in.
    pub node: Amount,
    /// Of these one tenant's.
    pub tenant: Amount,
    /// Commands of a thread.
    pub thread: usize,
    pub marks: Marks,
}

/// How full the process may be, in percent, until something of a class is taken no more.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    pub ephemeral: usize,
    pub receipts: usize,
    pub messages: usize,
}

/// What is left out first when there is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Typing and presence: nobody misses it.
    Ephemeral,
    /// What became of our messages.
    Receipt,
    /// What people say.
    Message,
}

/// So many things, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub items: usize,
    pub bytes: usize,
}

/// Counts what is under way.
pub struct Permits {
    limits: PermitLimits,
    node_items: AtomicUsize,
    node_bytes: AtomicUsize,
    tenants: Counts<TenantId>,
    threads: Counts<ThreadId>,
    ages: Ages,
}

/// A tenant's part of what is under way.
pub struct Share {
    permits: Arc<Permits>,
    tenant: TenantId,
    amount: Amount,
    _age: Age,
}

/// A place among what is under way.
pub struct Permit(Option<Held>);

struct Held {
    share: Arc<Share>,
    thread: ThreadId,
}

/// The bytes of something that comes in, counted as they arrive.
pub struct Room {
    permits: Arc<Permits>,
    tenant: Option<TenantId>,
    bytes: usize,
}

/// Amounts by key, in so many parts that their locks do not meet.
struct Counts<K> {
    parts: [Mutex<HashMap<K, Amount>>; 32],
    hasher: std::hash::RandomState,
}

impl Class {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::Receipt => "receipt",
            Self::Message => "message",
        }
    }
}

impl Amount {
    /// So many things that weigh nothing.
    pub const fn items(items: usize) -> Self {
        Self { items, bytes: 0 }
    }

    /// Whether this fits on top. What is larger than all that may be there is there alone.
    pub fn has_room(self, for_more: Self, limit: Self) -> bool {
        self == Self::default()
            || (self.items + for_more.items <= limit.items
                && self.bytes + for_more.bytes <= limit.bytes)
    }

    /// This on top.
    pub fn add(&mut self, more: Self) {
        (self.items, self.bytes) = (self.items + more.items, self.bytes + more.bytes);
    }

    /// This taken away.
    pub fn leave(&mut self, less: Self) {
        (self.items, self.bytes) = (self.items - less.items, self.bytes - less.bytes);
    }
}

impl Permits {
    /// With these limits.
    pub fn new(limits: PermitLimits) -> Arc<Self> {
        let (node_items, node_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (tenants, threads, ages) = (Counts::new(), Counts::new(), Ages::new());
        Arc::new(Self { limits, node_items, node_bytes, tenants, threads, ages })
    }

    /// So much of a tenant, or what is full. Its bytes are in the process already, as a [`Room`].
    pub fn share(self: &Arc<Self>, tenant: TenantId, amount: Amount) -> Result<Arc<Share>, Full> {
        enter(&self.node_items, amount.items, self.limits.node.items).map_err(|()| Full::Server)?;
        if !self.tenants.enter(tenant, amount, self.limits.tenant) {
            self.node_items.fetch_sub(amount.items, Ordering::AcqRel);
            return Err(Full::Organization);
        }
        let age = self.ages.begin();
        Ok(Arc::new(Share { permits: self.clone(), tenant, amount, _age: age }))
    }

    /// A place for a command, or what is full.
    pub fn take(self: &Arc<Self>, tenant: TenantId, thread: ThreadId) -> Result<Permit, Full> {
        self.share(tenant, Amount::items(1))?.place(thread)
    }

    /// Room for something that comes in: a tenant's, where it is known whose it is.
    pub fn room(self: &Arc<Self>, tenant: Option<TenantId>) -> Room {
        Room { permits: self.clone(), tenant, bytes: 0 }
    }

    /// Whether the process is too full for something of this class.
    pub fn sheds(&self, class: Class) -> bool {
        let Marks { ephemeral, receipts, messages } = self.limits.marks;
        let mark = match class {
            Class::Ephemeral => ephemeral,
            Class::Receipt => receipts,
            Class::Message => messages,
        };
        let taken = self.taken();
        let is_over = |taken: usize, limit: usize| taken.saturating_mul(100) >= limit * mark;
        let sheds = is_over(taken.items, self.limits.node.items)
            || is_over(taken.bytes, self.limits.node.bytes);
        if sheds {
            metrics::counter!("omnistream_shed_total", "class" => class.as_str()).increment(1);
        }
        sheds
    }

    /// How much is under way.
    pub fn taken(&self) -> Amount {
        let [items, bytes] =
            [&self.node_items, &self.node_bytes].map(|taken| taken.load(Ordering::Acquire));
        Amount { items, bytes }
    }

    /// How long the oldest is under way.
    pub fn oldest(&self) -> Duration {
        self.ages.oldest()
    }
}

impl Share {
    /// A place in a thread for a command that is part of this.
    pub fn place(self: &Arc<Self>, thread: ThreadId) -> Result<Permit, Full> {
        let limit = Amount::items(self.permits.limits.thread);
        if !self.permits.threads.enter(thread, Amount::items(1), limit) {
            return Err(Full::Conversation);
        }
        Ok(Permit(Some(Held { share: self.clone(), thread })))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.permits.tenants.leave(self.tenant, self.amount);
        self.permits.node_items.fetch_sub(self.amount.items, Ordering::AcqRel);
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
        if let Some(Held { share, thread }) = self.0.take() {
            share.permits.threads.leave(thread, Amount::items(1));
        }
    }
}

impl Room {
    /// So many bytes more have come, unless there is no room for them.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let Permits { limits, node_bytes, tenants, .. } = &*self.permits;
        enter(node_bytes, bytes, limits.node.bytes).map_err(|()| Full::Memory)?;
        let more = Amount { items: 0, bytes };
        if let Some(tenant) = self.tenant
            && !tenants.enter(tenant, more, limits.tenant)
        {
            node_bytes.fetch_sub(bytes, Ordering::AcqRel);
            return Err(Full::OrganizationMemory);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.permits.node_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        if let Some(tenant) = self.tenant {
            self.permits.tenants.leave(tenant, Amount { items: 0, bytes: self.bytes });
        }
    }
}

fn enter(taken: &AtomicUsize, more: usize, limit: usize) -> Result<(), ()> {
    let enter = |taken: usize| (taken + more <= limit).then_some(taken + more);
    taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).map(|_| ()).map_err(|_| ())
}

impl<K: Hash + Eq> Counts<K> {
    fn new() -> Self {
        Self { parts: Default::default(), hasher: std::hash::RandomState::new() }
    }

    fn enter(&self, key: K, more: Amount, limit: Amount) -> bool {
        let mut counts = self.part(&key).lock().unwrap_or_else(PoisonError::into_inner);
        let taken = counts.entry(key).or_default();
        let has_room = taken.has_room(more, limit);
        if has_room {
            taken.add(more);
        }
        has_room
    }

    fn leave(&self, key: K, less: Amount) {
        let mut counts = self.part(&key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = counts.get_mut(&key) {
            taken.leave(less);
            if *taken == Amount::default() {
                counts.remove(&key);
            }
        }
    }

    fn part(&self, key: &K) -> &Mutex<HashMap<K, Amount>> {
        let hash = self.hasher.hash_one(key);
        &self.parts[usize::from(hash.to_le_bytes()[0]) % self.parts.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, Class, Marks, PermitLimits, Permits};
    use crate::failure::Full;
    use engine::id::{TenantId, ThreadId};
    use uuid::Uuid;

    const OURS: TenantId = TenantId(Uuid::from_u128(1));
    const OTHER: TenantId = TenantId(Uuid::from_u128(2));
    const MARKS: Marks = Marks { ephemeral: 70, receipts: 85, messages: 95 };

    fn thread(n: u128) -> ThreadId {
        ThreadId(Uuid::from_u128(n))
    }

    #[test]
    fn a_permit_counts_until_it_is_dropped() {
        let few = |items| Amount { items, bytes: 100 };
        let limits = PermitLimits { node: few(3), tenant: few(2), thread: 1, marks: MARKS };
        let permits = Permits::new(limits);
        let one = permits.take(OURS, thread(1)).ok().unwrap();
        assert_eq!(permits.take(OURS, thread(1)).err(), Some(Full::Conversation));
        let _two = permits.take(OURS, thread(2)).ok().unwrap();
        assert_eq!(permits.take(OURS, thread(3)).err(), Some(Full::Organization));
        let _three = permits.take(OTHER, thread(4)).ok().unwrap();
        assert_eq!(permits.take(OTHER, thread(5)).err(), Some(Full::Server));
        assert_eq!(permits.taken().items, 3);
        drop(one);
        assert_eq!(permits.taken().items, 2);
        assert!(permits.take(OURS, thread(1)).is_ok());
    }

    #[test]
    fn one_tenant_s_bytes_leave_room_for_those_of_others() {
        let (node, tenant) = (Amount { items: 9, bytes: 100 }, Amount { items: 9, bytes: 60 });
        let permits = Permits::new(PermitLimits { node, tenant, thread: 9, marks: MARKS });
        let (mut ours, mut more, mut other) =
            (permits.room(Some(OURS)), permits.room(Some(OURS)), permits.room(Some(OTHER)));
        assert_eq!(ours.grow(50), Ok(()));
        assert_eq!(more.grow(20), Err(Full::OrganizationMemory));
        assert!(permits.share(OURS, Amount { items: 1, bytes: 20 }).is_err(), "the same bytes");
        assert_eq!(other.grow(20), Ok(()));
        assert_eq!(other.grow(31), Err(Full::Memory));
        assert_eq!(permits.room(None).grow(31), Err(Full::Memory), "nobody's counts, too");
        assert_eq!(permits.taken().bytes, 70);
        drop((ours, other));
        assert_eq!(more.grow(20), Ok(()));
        drop(more);
        assert_eq!(permits.taken(), Amount::default());
        let large = permits.share(OURS, Amount { items: 20, bytes: 200 });
        assert!(large.is_err(), "more than the process takes");
        let large = permits.share(OURS, Amount { items: 9, bytes: 200 }).ok().unwrap();
        assert!(permits.take(OURS, thread(1)).is_err(), "what is too large is alone");
        drop(large);
        assert!(permits.take(OURS, thread(1)).is_ok());
    }

    #[test]
    fn what_nobody_misses_is_shed_first_and_messages_last() {
        let (node, tenant) =
            (Amount { items: 100, bytes: 1_000 }, Amount { items: 100, bytes: 1_000 });
        let permits = Permits::new(PermitLimits { node, tenant, thread: 9, marks: MARKS });
        let classes = [Class::Ephemeral, Class::Receipt, Class::Message];
        let shed = || classes.map(|class| permits.sheds(class));
        for (full, wanted) in [
            (69, [false, false, false]),
            (70, [true, false, false]),
            (84, [true, false, false]),
            (85, [true, true, false]),
            (95, [true, true, true]),
        ] {
            let share = permits.share(OURS, Amount::items(full)).ok().unwrap();
            assert_eq!(shed(), wanted, "{full} items");
            drop(share);
            let mut room = permits.room(None);
            room.grow(full * 10).unwrap();
            assert_eq!(shed(), wanted, "{full} % of the bytes");
        }
    }
}
