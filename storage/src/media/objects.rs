//! Where the bytes of files lie: a directory, a bucket, or memory. How each of them takes a file is
//! known here alone.

use std::io;
use std::ops::Range;
use std::path::{Path as Directory, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::id::TenantId;
use futures_util::stream::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, MultipartId, MultipartUpload, ObjectStore, ObjectStoreExt,
};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use uuid::Uuid;

use super::Pieces;
use super::bucket::{NotReached, is_silence, reason};
use crate::error::StoreError;

/// The bytes of all files, by name.
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    place: Place,
    /// What all names begin with.
    prefix: String,
    /// It did not answer: until then nobody asks it for anything, so that not all wait for the same.
    silent_until: Mutex<Option<Instant>>,
}

/// Where they lie.
pub(super) enum Place {
    /// A directory of this machine, and how it is made durable which names a folder in it has.
    Directory {
        path: PathBuf,
        sync: SyncFolder,
    },
    /// A bucket that is left alone for so long when it did not answer.
    Bucket {
        bucket: Arc<AmazonS3>,
        name: String,
        pause: Duration,
    },
    Memory,
}

/// Does what `fsync` does to a folder.
pub(super) type SyncFolder = fn(&Directory) -> io::Result<()>;

/// A file that comes in parts. It is there when it is complete.
pub(super) enum Upload {
    /// Dropped it is gone.
    Staged(Box<dyn MultipartUpload>),
    /// It stays under its id until it is aborted.
    Parts { bucket: Arc<AmazonS3>, id: MultipartId, parts: Vec<PartId> },
}

/// Bytes that are written at once.
const PART_BYTES: usize = 256 * 1024;
/// The same of a bucket: S3 takes no smaller part but the last.
pub(super) const BUCKET_PART_BYTES: usize = 5 * 1024 * 1024;

impl Objects {
    pub(super) fn local(directory: &Directory, sync: SyncFolder) -> Result<Self, StoreError> {
        let failed = |error: &dyn std::fmt::Display| {
            let directory = directory.display();
            StoreError::Unavailable(format!("{directory} cannot be used: {error}").into())
        };
        crate::directory::make(directory).map_err(|error| failed(&error))?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| failed(&error))?;
        let place = Place::Directory { path: directory.to_owned(), sync };
        Ok(Self::of(Arc::new(store.with_fsync(true)), place, String::new()))
    }

    pub(super) fn in_memory() -> Self {
        Self::of(Arc::new(InMemory::new()), Place::Memory, String::new())
    }

    /// `prefix` is nothing, or ends with a slash.
    pub(super) fn of(store: Arc<dyn ObjectStore>, place: Place, prefix: String) -> Self {
        Self { store, place, prefix, silent_until: Mutex::default() }
    }

    /// The name of a file's bytes.
    pub(super) fn name(&self, tenant: TenantId, object: Uuid) -> Path {
        let folder = object.as_bytes()[15];
        Path::from(format!("{}{tenant}/{folder:02x}/{object}", self.prefix))
    }

    pub(super) fn directory(&self) -> Option<&Directory> {
        match &self.place {
            Place::Directory { path, .. } => Some(path),
            Place::Bucket { .. } | Place::Memory => None,
        }
    }

    pub(super) fn is_bucket(&self) -> bool {
        matches!(self.place, Place::Bucket { .. })
    }

    /// Bytes of every part of a file but the last.
    pub(super) fn part_bytes(&self) -> usize {
        if self.is_bucket() { BUCKET_PART_BYTES } else { PART_BYTES }
    }

    /// Fails when the disk has less free space than this.
    pub(super) fn has_space(&self, reserve: u64) -> Result<(), StoreError> {
        let Some(directory) = self.directory() else { return Ok(()) };
        let has_space = rustix::fs::statvfs(directory)
            .is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= reserve);
        let full = || StoreError::Unavailable("the disk has no room for files; free some".into());
        has_space.then_some(()).ok_or_else(full)
    }

    /// A file at once. It is durable when this returns.
    pub(super) async fn put(&self, name: &Path, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.done(self.store.put(name, bytes.into())).await.map(drop)
    }

    /// A file begins that comes in parts.
    pub(super) async fn begin(&self, name: &Path) -> Result<Upload, StoreError> {
        match &self.place {
            Place::Bucket { bucket, .. } => {
                let id = self.done(bucket.create_multipart(name)).await?;
                Ok(Upload::Parts { bucket: bucket.clone(), id, parts: Vec::new() })
            }
            Place::Directory { .. } | Place::Memory => {
                Ok(Upload::Staged(self.done(self.store.put_multipart(name)).await?))
            }
        }
    }

    /// Its next part.
    pub(super) async fn part(
        &self,
        name: &Path,
        upload: &mut Upload,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        match upload {
            Upload::Staged(staged) => self.done(staged.put_part(bytes.into())).await,
            Upload::Parts { bucket, id, parts } => {
                let part = bucket.put_part(name, id, parts.len(), bytes.into());
                parts.push(self.done(part).await?);
                Ok(())
            }
        }
    }

    /// All its parts are there: it becomes durable.
    pub(super) async fn complete(&self, name: &Path, upload: Upload) -> Result<(), StoreError> {
        match upload {
            Upload::Staged(mut staged) => self.done(staged.complete()).await.map(drop),
            Upload::Parts { bucket, id, parts } => {
                self.done(bucket.complete_multipart(name, &id, parts)).await.map(drop)
            }
        }
    }

    /// What lies there within this range, if anything does.
    pub(super) async fn read(
        &self,
        name: &Path,
        range: Range<u64>,
    ) -> Result<Option<Pieces>, StoreError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.ask(self.store.get_opts(name, options)).await?;
        Ok(found.map(|found| found.into_stream().map_err(|error| unavailable(&error)).boxed()))
    }

    /// Nothing is left under this name, nor of the upload that had it; no power cut brings it back.
    pub(super) async fn clear(
        &self,
        name: &Path,
        upload: Option<&MultipartId>,
    ) -> Result<(), StoreError> {
        match (&self.place, upload) {
            (Place::Bucket { bucket, .. }, Some(id)) => {
                self.ask(bucket.abort_multipart(name, id)).await?;
            }
            (Place::Directory { path, .. }, _) => {
                // What was being written when the process ended: the object store does not show it.
                let staged = path.join(format!("{name}#1"));
                // Mostly nothing is there.
                let _ = tokio::fs::remove_file(staged).await;
            }
            (Place::Bucket { .. } | Place::Memory, _) => {}
        }
        self.ask(self.store.delete(name)).await?;
        let Place::Directory { path, sync } = &self.place else { return Ok(()) };
        // The object store syncs what it writes, and not what it takes away.
        let (file, sync) = (path.join(name.as_ref()), *sync);
        let synced = spawn_blocking(move || file.parent().map_or(Ok(()), sync)).await;
        synced.map_err(io::Error::other).flatten().map_err(|error| {
            StoreError::Unavailable(format!("a folder cannot be synced: {error}").into())
        })
    }

    /// The names in a folder of a few.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<Path>, StoreError> {
        let found = self.store.list(Some(&Path::from(folder)));
        let found = found.map_ok(|found| found.location).try_collect();
        found.await.map_err(|error| unavailable(&error))
    }

    pub(super) async fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.done(self.store.rename(from, to)).await
    }

    /// Writes something and takes it away again, where that says more than opening it did.
    pub(super) async fn reach(&self) -> Result<(), NotReached> {
        let Place::Bucket { name, .. } = &self.place else { return Ok(()) };
        let trial = Path::from(format!("{}trial", self.prefix));
        let written = async {
            self.store.put(&trial, b"OmniStream".to_vec().into()).await?;
            self.store.delete(&trial).await
        };
        written.await.map_err(|error| NotReached::of(&error, name))
    }

    /// What must be there for this.
    async fn done<T>(
        &self,
        asked: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let gone = "the object store knows no such bucket or upload";
        self.ask(asked).await?.ok_or_else(|| StoreError::Unavailable(gone.into()))
    }

    /// Asks for something, unless there was no answer just now. `None`: it is not there.
    async fn ask<T>(
        &self,
        asked: impl Future<Output = object_store::Result<T>>,
    ) -> Result<Option<T>, StoreError> {
        if !self.may_ask() {
            let cause = "the object store did not answer just now";
            return Err(StoreError::Unavailable(cause.into()));
        }
        let answer = asked.await;
        let is_silent = answer.as_ref().is_err_and(is_silence);
        *self.silent_until() = is_silent.then(|| self.pause_ends()).flatten();
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Of all who come when a pause is over one asks, and the others wait for what becomes of it.
    fn may_ask(&self) -> bool {
        let mut until = self.silent_until();
        match *until {
            None => true,
            Some(at) if Instant::now() < at => false,
            Some(_) => {
                *until = self.pause_ends();
                true
            }
        }
    }

    fn pause_ends(&self) -> Option<Instant> {
        match &self.place {
            Place::Bucket { pause, .. } => Some(Instant::now() + *pause),
            Place::Directory { .. } | Place::Memory => None,
        }
    }

    fn silent_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// The id under which it stays.
    pub(super) fn id(&self) -> Option<&MultipartId> {
        match self {
            Self::Staged(_) => None,
            Self::Parts { id, .. } => Some(id),
        }
    }
}

fn unavailable(error: &object_store::Error) -> StoreError {
    StoreError::Unavailable(format!("the object store failed: {}", reason(error)).into())
}
