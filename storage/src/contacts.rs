//! Contacts: each a row of its own, listed by the month in which it was made, and by the hours in which
//! it was written.

use std::sync::Arc;

use engine::contact::Contact;
use engine::id::{ContactId, TenantId};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{all_ids, alone, id, ids, month_of};
use crate::port::{Change, Key, Part, Scan, Stamp, Store};
use crate::steps::in_steps;
use crate::tables::{CONTACT_LIST, CONTACTS, DIRTY_CONTACTS};
use crate::together::together;

/// Asked for at once where each answer comes from elsewhere.
const READS: usize = 32;

/// Customers.
#[derive(Clone)]
pub struct Contacts {
    store: Arc<dyn Store>,
}

impl Contacts {
    /// On this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// One contact.
    pub async fn get(&self, contact: ContactId) -> Result<Option<Contact>, StoreError> {
        let body = self.store.get(&CONTACTS, &alone(id(contact.0))).await?;
        body.map(|body| decode(&body)).transpose()
    }

    /// These, of those that are there, in their order. What is `held` meanwhile is so as long as they are
    /// read, also where nobody waits for them any more.
    pub async fn all<H: Send + 'static>(
        &self,
        ids: Vec<ContactId>,
        held: H,
    ) -> Result<(Vec<Contact>, H), StoreError> {
        if self.store.aside().is_none() {
            let each = stream::iter(ids).map(|contact| self.get(contact)).buffered(READS);
            let all = each.try_filter_map(async |contact| Ok(contact)).try_collect().await?;
            return Ok((all, held));
        }
        let each = async move |store: Arc<dyn Store>| {
            let keys: Vec<_> = ids.iter().map(|contact| alone(id(contact.0))).collect();
            let bodies = store.get_all(&CONTACTS, &keys).await?;
            let all = bodies.iter().flatten().map(|body| decode(body)).collect::<Result<_, _>>()?;
            Ok((all, held))
        };
        together(&self.store, each).await
    }

    /// A contact, or the one that it turned out to be.
    pub async fn current(&self, contact: ContactId) -> Result<Option<Contact>, StoreError> {
        let mut found = self.get(contact).await?;
        // Each is merged into an older one: this ends.
        while let Some(into) = found.as_ref().and_then(|contact| contact.merged_into) {
            found = self.get(into).await?;
        }
        Ok(found)
    }

    /// Writes a contact whole, in this hour; a new one is listed too.
    pub async fn put(
        &self,
        contact: &Contact,
        new: bool,
        hour: i64,
        stamp: Stamp,
    ) -> Result<(), StoreError> {
        let shard = Part::Int(i64::from(contact.id.shard()));
        let key = Key::new(vec![shard, Part::Int(hour)], vec![id(contact.id.0)]);
        let dirty = Change::Put { table: &DIRTY_CONTACTS, key, body: Vec::new(), ttl: None };
        let mut before = vec![dirty];
        if new {
            let month = Part::Int(month_of(contact.id.0));
            let key = Key::new(vec![id(contact.tenant.0), month], vec![id(contact.id.0)]);
            before.push(Change::Put { table: &CONTACT_LIST, key, body: Vec::new(), ttl: None });
        }
        let (key, body) = (alone(id(contact.id.0)), encode(contact));
        let row = Change::Put { table: &CONTACTS, key, body, ttl: None };
        // What has a row is not listed any more.
        in_steps(&*self.store, stamp, [before, vec![row]]).await
    }

    /// One month of a tenant's contacts, newest first, behind one of them.
    pub async fn list(
        &self,
        tenant: TenantId,
        month: i64,
        behind: Option<ContactId>,
        limit: usize,
    ) -> Result<Vec<ContactId>, StoreError> {
        let partition = vec![id(tenant.0), Part::Int(month)];
        let after = behind.map(|behind| vec![id(behind.0)]);
        let scan = Scan { after, ..Scan::of(&CONTACT_LIST, partition, limit) };
        let rows = self.store.scan(scan).await?;
        Ok(ids(&rows).map(ContactId).collect())
    }

    /// The contacts of a shard that were written in an hour.
    pub async fn dirty(&self, shard: u8, hour: i64) -> Result<Vec<ContactId>, StoreError> {
        let partition = vec![Part::Int(i64::from(shard)), Part::Int(hour)];
        let all = all_ids(&*self.store, &DIRTY_CONTACTS, partition).await?;
        Ok(all.into_iter().map(ContactId).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use engine::id::ContactId;
    use engine::time::Timestamp;
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::Contacts;
    use crate::memory::Memory;
    use crate::port::{Batch, Claim, Guarantees, Key, Pending, Row, Scan, Store, Swap, Table};
    use crate::together::{Aside, Reads};

    /// A store whose disk is at work until the test says that it is done.
    struct Busy {
        memory: Arc<Memory>,
        reads: Mutex<Vec<Reads>>,
    }

    impl Store for Busy {
        fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
            self.memory.get(table, key)
        }

        fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
            self.memory.scan(scan)
        }

        fn apply(&self, batch: Batch) -> Pending<'_, ()> {
            self.memory.apply(batch)
        }

        fn claim<'a>(
            &'a self,
            table: &'static Table,
            key: Key,
            body: Vec<u8>,
            ttl: Option<Duration>,
        ) -> Pending<'a, Claim> {
            self.memory.claim(table, key, body, ttl)
        }

        fn swap<'a>(
            &'a self,
            table: &'static Table,
            key: Key,
            expected: Option<Vec<u8>>,
            body: Option<Vec<u8>>,
        ) -> Pending<'a, Swap> {
            self.memory.swap(table, key, expected, body)
        }

        fn guarantees(&self) -> Guarantees {
            self.memory.guarantees()
        }

        fn aside(&self) -> Option<&dyn Aside> {
            Some(self)
        }
    }

    impl Aside for Busy {
        fn run(&self, reads: Reads) -> Pending<'_, ()> {
            self.reads.lock().unwrap().push(reads);
            Box::pin(pending())
        }
    }

    #[tokio::test]
    async fn what_is_held_for_reads_is_so_until_they_are_done_also_when_nobody_waits_for_them() {
        let memory = Arc::new(Memory::new(Arc::new(|| Timestamp(0))));
        let busy = Arc::new(Busy { memory: memory.clone(), reads: Mutex::default() });
        let (contacts, held) = (Contacts::new(busy.clone()), Arc::new(()));
        let ids = vec![ContactId(Uuid::from_u128(1))];
        assert!(contacts.all(ids, held.clone()).now_or_never().is_none());
        assert_eq!(Arc::strong_count(&held), 2, "whoever asked has left, and the disk is at work");
        let reads = busy.reads.lock().unwrap().pop().unwrap();
        reads(memory);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
