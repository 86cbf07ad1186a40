//! Loose files: of which nobody knows whether they show anywhere. Each stands in a row from when it is
//! kept, and once more when a message is deleted that showed it, until somebody has looked.

use engine::id::{MediaId, TenantId};
use engine::media::{Medium, Origin};
use engine::time::Timestamp;

use super::Media;
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, uuid};
use crate::port::{Batch, Change, Key, Part, Row, Scan, Stamp};
use crate::tables::LOOSE;

/// A file of which nobody knows whether it shows anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loose {
    pub tenant: TenantId,
    pub medium: MediaId,
    /// Of one that never was shown: it is given time.
    pub since: Timestamp,
}

impl Loose {
    /// A message showed it that is deleted.
    pub(crate) fn of_deleted(tenant: TenantId, medium: MediaId) -> Self {
        Self { tenant, medium, since: Timestamp(0) }
    }

    /// It is kept, and nothing shows it yet. That of a mail is not waited for: its mail may be among
    /// what waits, or among the dead letters, for as long as people leave it there.
    pub(super) fn of_new(medium: &Medium) -> Option<Self> {
        let Medium { tenant, id: medium, created_at: since, ref origin, .. } = *medium;
        let is_awaited = matches!(origin, Origin::Mailed { .. });
        (!is_awaited).then_some(Self { tenant, medium, since })
    }

    pub(crate) fn put(&self) -> Change {
        Change::Put { table: &LOOSE, key: self.key(), body: encode(&self.tenant), ttl: None }
    }

    fn gone(&self) -> Change {
        Change::Delete { table: &LOOSE, key: self.key() }
    }

    /// Of a file that goes nothing is left to be looked at.
    pub(super) fn of_gone(medium: &Medium) -> impl Iterator<Item = Change> {
        let deleted = Self::of_deleted(medium.tenant, medium.id);
        [Some(deleted), Self::of_new(medium)].into_iter().flatten().map(|loose| loose.gone())
    }

    fn key(&self) -> Key {
        let shard = self.medium.0.as_bytes()[15];
        Key::new(partition(shard), vec![Part::Int(self.since.0), id(self.medium)])
    }
}

impl Media {
    /// Loose files of a shard, those since before a time, behind one of them.
    pub async fn loose(
        &self,
        shard: u8,
        before: Timestamp,
        behind: Option<&Loose>,
        limit: usize,
    ) -> Result<Vec<Loose>, StoreError> {
        let after = behind.map(|behind| behind.key().clustering);
        let until = Some(vec![Part::Int(before.0)]);
        let scan = Scan { after, until, ..Scan::of(&LOOSE, partition(shard), limit) };
        let read = |row: &Row| {
            let tenant = decode(&row.body)?;
            let [Part::Int(since), medium] = &row.clustering[..] else { return Ok(None) };
            let medium = uuid(Some(medium)).map(MediaId);
            Ok(medium.map(|medium| Loose { tenant, medium, since: Timestamp(*since) }))
        };
        self.0.store.scan(scan).await?.iter().filter_map(|row| read(row).transpose()).collect()
    }

    /// From when on somebody looks at loose files.
    pub fn look(&self) -> Stamp {
        (self.0.stamp)()
    }

    /// Somebody has looked at these. What was written of them since stays.
    pub async fn looked_at(&self, loose: &[Loose], stamp: Stamp) -> Result<(), StoreError> {
        if loose.is_empty() {
            return Ok(());
        }
        let changes = loose.iter().map(Loose::gone).collect();
        self.0.store.apply(Batch { stamp, changes }).await
    }
}

fn partition(shard: u8) -> Vec<Part> {
    vec![Part::Int(i64::from(shard))]
}
