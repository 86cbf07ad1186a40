//! Files: a row says what each is, its bytes lie in an object store. That bytes come is written down
//! before they do, and a row is written only once they are durable; what a stop leaves in between is
//! settled by the next start.

mod bucket;
mod coming;
mod content;
mod incoming;
mod loose;
mod objects;
#[cfg(test)]
mod tests;
mod uploaded;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path as Directory;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::id::{ConversationId, MediaId, TenantId};
use engine::media::{Medium, Origin};
use engine::message::Place;
use engine::time::Timestamp;
use futures_util::stream::{self, BoxStream, StreamExt};
use uuid::Uuid;

pub use self::bucket::{BucketOptions, NotReached};
use self::coming::Announced;
use self::content::Head;
pub use self::content::{NotWhatItSays, as_declared};
pub use self::incoming::{Incoming, Lent};
pub use self::loose::Loose;
use self::objects::Objects;
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{alone, id, uuid};
use crate::port::{Batch, Change, Key, Row, Scan, Stamp, Store};
use crate::steps::in_steps;
use crate::tables::{MEDIA, MEDIA_BYTES, MEDIA_SHOWN};

/// All files. Clones are the same.
#[derive(Clone)]
pub struct Media(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    objects: Objects,
    limits: MediaLimits,
    stamp: Box<dyn Fn() -> Stamp + Send + Sync>,
    tenants: Mutex<HashMap<TenantId, Arc<Shared>>>,
}

/// How many bytes a tenant's files have; `None`: not read, or perhaps otherwise.
type Shared = tokio::sync::Mutex<Option<u64>>;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct MediaLimits {
    /// Bytes of one tenant's files.
    pub tenant: u64,
    /// Free space of the disk below which no file is written.
    pub reserve: u64,
}

/// Why a file is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// It has more bytes than it may.
    #[error("the file is too large")]
    TooLarge,
    /// The tenant's files have as many bytes as they may.
    #[error("the organization's files take all the room they have")]
    Full,
    /// Something else has this id.
    #[error("another file was stored under this id")]
    Taken,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is said of a file that has come.
#[derive(Clone, Debug)]
pub struct Draft {
    pub id: MediaId,
    pub mime_type: String,
    pub filename: Option<String>,
    pub origin: Origin,
    pub at: Timestamp,
}

/// The bytes of a file, piece by piece.
pub type Pieces = BoxStream<'static, Result<Bytes, StoreError>>;

/// Tenants whose bytes stay in memory.
const TENANTS_MAX: usize = 1_000;

impl Media {
    /// Its bytes in a directory, made if it is not there.
    pub fn local(
        store: Arc<dyn Store>,
        directory: &Directory,
        limits: MediaLimits,
        stamp: impl Fn() -> Stamp + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let objects = Objects::local(directory, crate::directory::sync)?;
        Ok(Self::of(store, objects, limits, Box::new(stamp)))
    }

    /// Its bytes in a bucket of what speaks S3. Nothing is asked of it yet.
    pub fn in_bucket(
        store: Arc<dyn Store>,
        options: BucketOptions,
        limits: MediaLimits,
        stamp: impl Fn() -> Stamp + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        Ok(Self::of(store, bucket::open(options)?, limits, Box::new(stamp)))
    }

    /// Its bytes in memory, for trials.
    pub fn in_memory(
        store: Arc<dyn Store>,
        limits: MediaLimits,
        stamp: impl Fn() -> Stamp + Send + Sync + 'static,
    ) -> Self {
        Self::of(store, Objects::in_memory(), limits, Box::new(stamp))
    }

    fn of(
        store: Arc<dyn Store>,
        objects: Objects,
        limits: MediaLimits,
        stamp: Box<dyn Fn() -> Stamp + Send + Sync>,
    ) -> Self {
        let tenants = Mutex::default();
        Self(Arc::new(Inner { store, objects, limits, stamp, tenants }))
    }

    /// Whether files can be written where they are to lie.
    ///
    /// # Errors
    /// What a bucket says against it, or that it does not answer.
    pub async fn reach(&self) -> Result<(), NotReached> {
        self.0.objects.reach().await
    }

    /// A tenant's file.
    pub async fn get(
        &self,
        tenant: TenantId,
        medium: MediaId,
    ) -> Result<Option<Medium>, StoreError> {
        let body = self.0.store.get(&MEDIA, &key(tenant, medium)).await?;
        body.map(|body| decode(&body)).transpose()
    }

    /// Where messages lie that show a file or did so, at most `limit`, of the newest conversations
    /// first.
    pub async fn shown(
        &self,
        medium: MediaId,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Place)>, StoreError> {
        let rows = self.0.store.scan(Scan::of(&MEDIA_SHOWN, vec![id(medium)], limit)).await?;
        let place = |row: &Row| {
            let conversation = uuid(row.clustering.first()).map(ConversationId);
            Some(conversation.zip(decode(&row.body).ok())).flatten()
        };
        Ok(rows.iter().filter_map(place).collect())
    }

    /// A file of a tenant begins to come, of at most so many bytes.
    pub async fn begin(
        &self,
        tenant: TenantId,
        object: Uuid,
        most: u64,
    ) -> Result<Incoming, NotStored> {
        if self.bytes(tenant).await? >= self.0.limits.tenant {
            return Err(NotStored::Full);
        }
        Ok(Incoming::new(self.clone(), tenant, object, most))
    }

    /// How many bytes a tenant's files have.
    pub async fn bytes(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let shared = self.shared(tenant);
        let mut bytes = shared.lock().await;
        self.counted(tenant, &mut bytes).await
    }

    /// The bytes of a file within this range.
    pub async fn read(&self, medium: &Medium, range: Range<u64>) -> Result<Pieces, StoreError> {
        self.pieces(medium.tenant, medium.object, range).await
    }

    async fn pieces(
        &self,
        tenant: TenantId,
        object: Uuid,
        range: Range<u64>,
    ) -> Result<Pieces, StoreError> {
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let objects = &self.0.objects;
        let found = objects.read(&objects.name(tenant, object), range).await?;
        found.ok_or_else(|| StoreError::Corrupt("the bytes of a file are gone".into()))
    }

    /// Takes a file away. Its row goes before its bytes, of which it is written down with it that
    /// they are to go.
    pub async fn remove(&self, medium: &Medium) -> Result<(), StoreError> {
        let Medium { id, tenant, object, .. } = *medium;
        let announced = Announced { tenant, medium: Some(id), upload: None };
        let shared = self.shared(tenant);
        let mut bytes = shared.lock().await;
        if self.get(tenant, id).await?.is_none_or(|known| known.object != object) {
            return Ok(());
        }
        let left = self.counted(tenant, &mut bytes).await?.saturating_sub(medium.size);
        let row = [gone(tenant, id), count(tenant, left)].into_iter();
        let row = row.chain(Loose::of_gone(medium)).collect();
        self.write(&mut bytes, [vec![announced.written(object)], row], left).await?;
        // Nobody waits for the object store.
        drop(bytes);
        self.clear(object, &announced).await;
        Ok(())
    }

    /// The row of bytes that are durable; unless the same file has its id already.
    async fn put(&self, medium: Medium) -> Result<Medium, NotStored> {
        let shared = self.shared(medium.tenant);
        let mut bytes = shared.lock().await;
        if let Some(known) = self.get(medium.tenant, medium.id).await? {
            let same = known.sha256 == medium.sha256 && known.filename == medium.filename;
            return if same { Ok(known) } else { Err(NotStored::Taken) };
        }
        let all = self.counted(medium.tenant, &mut bytes).await?.saturating_add(medium.size);
        if all > self.0.limits.tenant {
            return Err(NotStored::Full);
        }
        let (table, key) = (&MEDIA, key(medium.tenant, medium.id));
        let row = Change::Put { table, key, body: encode(&medium), ttl: None };
        let loose = Loose::of_new(&medium);
        let row = loose.iter().map(Loose::put).chain([row, count(medium.tenant, all)]).collect();
        // Then: where a stop comes in between, the next start looks at it.
        self.write(&mut bytes, [row, vec![coming::forgotten(medium.object)]], all).await?;
        Ok(medium)
    }

    /// Writes rows, among them how many bytes the tenant's files have then.
    async fn write<const N: usize>(
        &self,
        bytes: &mut Option<u64>,
        steps: [Vec<Change>; N],
        all: u64,
    ) -> Result<(), StoreError> {
        *bytes = None;
        in_steps(&*self.0.store, (self.0.stamp)(), steps).await?;
        *bytes = Some(all);
        Ok(())
    }

    async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.0.store.apply(Batch { stamp: (self.0.stamp)(), changes }).await
    }

    async fn counted(&self, tenant: TenantId, bytes: &mut Option<u64>) -> Result<u64, StoreError> {
        if let Some(bytes) = *bytes {
            return Ok(bytes);
        }
        let stored = self.0.store.get(&MEDIA_BYTES, &alone(id(tenant))).await?;
        let counted = stored.map_or(Ok(0), |body| decode(&body))?;
        *bytes = Some(counted);
        Ok(counted)
    }

    fn shared(&self, tenant: TenantId) -> Arc<Shared> {
        let mut tenants = self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= TENANTS_MAX {
            // Nobody waits for those.
            tenants.retain(|_, shared| Arc::strong_count(shared) > 1);
        }
        tenants.entry(tenant).or_default().clone()
    }
}

/// How many bytes a tenant's files have.
fn count(tenant: TenantId, all: u64) -> Change {
    Change::Put { table: &MEDIA_BYTES, key: alone(id(tenant)), body: encode(&all), ttl: None }
}

/// What takes a file's row away.
fn gone(tenant: TenantId, medium: MediaId) -> Change {
    Change::Delete { table: &MEDIA, key: key(tenant, medium) }
}

fn key(tenant: TenantId, medium: MediaId) -> Key {
    Key::new(vec![id(tenant), id(medium)], Vec::new())
}
