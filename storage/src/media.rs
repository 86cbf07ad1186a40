//! Files: a row says what each is, its bytes lie in an object store. A row is written only once its
//! bytes are durable; what a stop leaves in between is settled by the next start.

mod content;
mod incoming;
mod loose;
#[cfg(test)]
mod tests;
mod uploaded;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path as Directory, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use engine::id::{ConversationId, MediaId, TenantId};
use engine::media::{Medium, Origin};
use engine::message::Place;
use engine::time::Timestamp;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use self::content::Head;
pub use self::content::{NotWhatItSays, as_declared};
pub use self::incoming::{Incoming, Lent};
pub use self::loose::Loose;
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{alone, id, uuid};
use crate::port::{Batch, Change, Key, Row, Scan, Stamp, Store};
use crate::tables::{MEDIA, MEDIA_BYTES, MEDIA_SHOWN};

/// All files. Clones are the same.
#[derive(Clone)]
pub struct Media(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    objects: Arc<dyn ObjectStore>,
    /// Where the bytes lie, if that is a directory of this machine.
    directory: Option<PathBuf>,
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
/// Where bytes lie that are coming,
const ARRIVING: &str = "arriving";
/// and those that are whole, of which it is not known whether they have a row.
const INCOMING: &str = "incoming";

impl Media {
    /// Its bytes in a directory, made if it is not there.
    pub fn local(
        store: Arc<dyn Store>,
        directory: &Directory,
        limits: MediaLimits,
        stamp: impl Fn() -> Stamp + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let failed = |error: &dyn std::fmt::Display| {
            let directory = directory.display();
            StoreError::Unavailable(format!("{directory} cannot be used: {error}").into())
        };
        std::fs::create_dir_all(directory).map_err(|error| failed(&error))?;
        let objects =
            LocalFileSystem::new_with_prefix(directory).map_err(|error| failed(&error))?;
        let objects = Arc::new(objects.with_fsync(true));
        Ok(Self::of(store, objects, Some(directory.to_owned()), limits, Box::new(stamp)))
    }

    /// Its bytes in memory, for trials.
    pub fn in_memory(
        store: Arc<dyn Store>,
        limits: MediaLimits,
        stamp: impl Fn() -> Stamp + Send + Sync + 'static,
    ) -> Self {
        Self::of(store, Arc::new(InMemory::new()), None, limits, Box::new(stamp))
    }

    fn of(
        store: Arc<dyn Store>,
        objects: Arc<dyn ObjectStore>,
        directory: Option<PathBuf>,
        limits: MediaLimits,
        stamp: Box<dyn Fn() -> Stamp + Send + Sync>,
    ) -> Self {
        let tenants = Mutex::default();
        Self(Arc::new(Inner { store, objects, directory, limits, stamp, tenants }))
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
        Incoming::begin(self.clone(), tenant, object, most).await
    }

    /// How many bytes a tenant's files have.
    pub async fn bytes(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let shared = self.shared(tenant);
        let mut bytes = shared.lock().await;
        self.counted(tenant, &mut bytes).await
    }

    /// The bytes of a file within this range.
    pub async fn read(&self, medium: &Medium, range: Range<u64>) -> Result<Pieces, StoreError> {
        let (kept, incoming) = (kept(medium.tenant, medium.object), incoming(medium));
        // It may be on its way from one to the other.
        for place in [&kept, &incoming, &kept] {
            if let Some(pieces) = self.pieces(place, range.clone()).await? {
                return Ok(pieces);
            }
        }
        Err(StoreError::Corrupt("the bytes of a file are gone".into()))
    }

    /// What lies there, if anything does.
    async fn pieces(&self, place: &Path, range: Range<u64>) -> Result<Option<Pieces>, StoreError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        match self.0.objects.get_opts(place, options).await {
            Ok(found) => Ok(Some(found.into_stream().map_err(unavailable).boxed())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Takes a file away. Its row goes before its bytes, which lie by then where the next start looks
    /// for what has no row.
    pub async fn remove(&self, medium: &Medium) -> Result<(), StoreError> {
        let shared = self.shared(medium.tenant);
        let mut bytes = shared.lock().await;
        let left = self.counted(medium.tenant, &mut bytes).await?.saturating_sub(medium.size);
        let (from, to) = (kept(medium.tenant, medium.object), incoming(medium));
        match self.0.objects.rename(&from, &to).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(unavailable(error)),
        }
        let gone = Change::Delete { table: &MEDIA, key: key(medium.tenant, medium.id) };
        self.write(medium.tenant, &mut bytes, vec![gone], left).await?;
        self.discard(&to).await;
        // It may have been placed just now.
        self.discard(&from).await;
        Ok(())
    }

    /// After a start, before anything comes: what has a row is put where it belongs, what has none
    /// never was. Answers how many were left of each.
    pub async fn settle(&self) -> Result<(usize, usize), StoreError> {
        if let Some(directory) = self.0.directory.clone() {
            let cleared = tokio::task::spawn_blocking(move || {
                clear_unfinished(&directory.join(ARRIVING));
            });
            cleared.await.map_err(|error| StoreError::Unavailable(error.to_string().into()))?;
        }
        let (mut kept, mut orphans) = (0, 0);
        for folder in [ARRIVING, INCOMING] {
            let mut all = self.0.objects.list(Some(&Path::from(folder)));
            while let Some(object) = all.try_next().await.map_err(unavailable)? {
                match self.owner(&object.location).await? {
                    Some(medium) => {
                        kept += 1;
                        self.place(&medium).await;
                    }
                    None => {
                        orphans += 1;
                        self.discard(&object.location).await;
                    }
                }
            }
        }
        Ok((kept, orphans))
    }

    /// The file whose bytes lie there.
    async fn owner(&self, incoming: &Path) -> Result<Option<Medium>, StoreError> {
        let mut names = incoming.parts().skip(1).map(|name| name.as_ref().parse::<Uuid>().ok());
        let mut next = || names.next().flatten();
        let (Some(tenant), Some(medium), Some(object)) = (next(), next(), next()) else {
            return Ok(None);
        };
        let medium = self.get(TenantId(tenant), MediaId(medium)).await?;
        Ok(medium.filter(|medium| medium.object == object))
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
        // First: where a stop may come in between, what has a row is looked at.
        let rows = Loose::of_new(&medium).iter().map(Loose::put).chain([row]).collect();
        self.write(medium.tenant, &mut bytes, rows, all).await?;
        Ok(medium)
    }

    /// Writes rows, and how many bytes the tenant's files have then.
    async fn write(
        &self,
        tenant: TenantId,
        bytes: &mut Option<u64>,
        mut rows: Vec<Change>,
        all: u64,
    ) -> Result<(), StoreError> {
        let (table, key) = (&MEDIA_BYTES, alone(id(tenant)));
        let count = Change::Put { table, key, body: encode(&all), ttl: None };
        *bytes = None;
        rows.push(count);
        self.0.store.apply(Batch { stamp: (self.0.stamp)(), changes: rows }).await?;
        *bytes = Some(all);
        Ok(())
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

    /// Bytes that have a row go where those lie that need no look at the start.
    async fn place(&self, medium: &Medium) {
        let to = kept(medium.tenant, medium.object);
        if let Err(error) = self.0.objects.rename(&incoming(medium), &to).await {
            tracing::warn!(%error, "a file stays where it came; the next start places it");
        }
    }

    async fn discard(&self, place: &Path) {
        match self.0.objects.delete(place).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(%error, "bytes without a file stay until the next start"),
        }
    }

    /// Whether the disk has room for more.
    fn has_space(&self) -> bool {
        let Some(directory) = &self.0.directory else { return true };
        rustix::fs::statvfs(directory).is_ok_and(|found| {
            found.f_bavail.saturating_mul(found.f_frsize) >= self.0.limits.reserve
        })
    }
}

fn key(tenant: TenantId, medium: MediaId) -> Key {
    Key::new(vec![id(tenant), id(medium)], Vec::new())
}

/// Where the bytes of a file lie once it has a row.
fn kept(tenant: TenantId, object: Uuid) -> Path {
    let folder = format!("{:02x}", object.as_bytes()[15]);
    Path::from_iter([tenant.to_string(), folder, object.to_string()])
}

/// Where they lie before. The path names the row.
fn incoming(medium: &Medium) -> Path {
    let Medium { tenant, id, object, .. } = medium;
    Path::from_iter([INCOMING, &tenant.to_string(), &id.to_string(), &object.to_string()])
}

fn unavailable(error: object_store::Error) -> StoreError {
    StoreError::Unavailable(format!("the object store failed: {error}").into())
}

/// What was being written when the process ended: the object store itself does not show it.
fn clear_unfinished(directory: &Directory) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() {
            clear_unfinished(&path);
            // Only where nothing is left in it.
            let _ = std::fs::remove_dir(&path);
        } else if path.to_string_lossy().contains('#') {
            let _ = std::fs::remove_file(&path);
        }
    }
}
