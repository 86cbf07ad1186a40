//! A file on its way in: counted, hashed and written piece by piece.

use engine::id::TenantId;
use engine::media::Medium;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{ARRIVING, Draft, Head, Media, NotStored, Pieces, unavailable};
use crate::error::StoreError;

/// A file on its way in. Dropped before it is kept it leaves nothing.
pub struct Incoming {
    media: Media,
    tenant: TenantId,
    object: Uuid,
    most: u64,
    size: u64,
    hash: Sha256,
    head: Head,
    /// What comes is gathered to parts of one size.
    part: Vec<u8>,
    upload: Box<dyn MultipartUpload>,
}

/// Bytes that are written at once.
const PART_BYTES: usize = 256 * 1024;

impl Incoming {
    pub(super) async fn begin(
        media: Media,
        tenant: TenantId,
        object: Uuid,
        most: u64,
    ) -> Result<Self, NotStored> {
        let place = arriving(tenant, object);
        let upload = media.0.objects.put_multipart(&place).await.map_err(unavailable)?;
        let (hash, head, part) = (Sha256::new(), Head::default(), Vec::new());
        Ok(Self { media, tenant, object, most, size: 0, hash, head, part, upload })
    }

    /// How many bytes have come.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// More of it comes.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), NotStored> {
        self.size += piece.len() as u64;
        if self.size > self.most {
            return Err(NotStored::TooLarge);
        }
        self.hash.update(piece);
        self.head.add(piece);
        let mut rest = piece;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PART_BYTES - self.part.len()));
            self.part.extend_from_slice(now);
            rest = later;
            if self.part.len() == PART_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), NotStored> {
        if !self.media.has_space() {
            let cause = "the disk has no room for files; free some";
            return Err(StoreError::Unavailable(cause.into()).into());
        }
        let part = std::mem::take(&mut self.part);
        Ok(self.upload.put_part(part.into()).await.map_err(unavailable)?)
    }

    /// What it is, by its content.
    pub fn mime_type(&self) -> &'static str {
        self.head.mime_type()
    }

    /// Its SHA-256, of what has come.
    pub fn sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// It is whole: its bytes become durable, then its row. Where the draft's id has the same file
    /// already, that one is answered.
    pub async fn keep(mut self, draft: Draft) -> Result<Medium, NotStored> {
        if !self.part.is_empty() {
            self.flush().await?;
        }
        let Draft { id, mime_type, filename, origin, at } = draft;
        let medium = Medium {
            id,
            tenant: self.tenant,
            mime_type,
            size: self.size,
            sha256: hex::encode(self.sha256()),
            filename,
            origin,
            object: self.object,
            created_at: at,
        };
        self.upload.complete().await.map_err(unavailable)?;
        let (media, arrived) = (self.media, arriving(self.tenant, self.object));
        let there = super::incoming(&medium);
        if let Err(error) = media.0.objects.rename(&arrived, &there).await {
            media.discard(&arrived).await;
            return Err(unavailable(error).into());
        }
        match media.put(medium.clone()).await {
            Ok(kept) if kept.object == medium.object => {
                media.place(&kept).await;
                Ok(kept)
            }
            // Perhaps its row is there: the next start looks.
            Err(error @ NotStored::Store(StoreError::Unknown(_))) => Err(error),
            other => {
                media.discard(&there).await;
                other
            }
        }
    }
}

impl Incoming {
    /// It is whole, and nobody's: to be read once, and to go.
    pub async fn lend(mut self) -> Result<Lent, NotStored> {
        if !self.part.is_empty() {
            self.flush().await?;
        }
        self.upload.complete().await.map_err(unavailable)?;
        let sha256 = hex::encode(self.sha256());
        let Self { media, tenant, object, size, head, .. } = self;
        let mime_type = head.mime_type();
        Ok(Lent { media, place: arriving(tenant, object), size, sha256, mime_type })
    }
}

/// A file that is here for a short time: what is not discarded goes with the next start.
pub struct Lent {
    media: Media,
    place: Path,
    pub size: u64,
    /// Hex.
    pub sha256: String,
    /// By its content.
    pub mime_type: &'static str,
}

impl Lent {
    /// Its bytes.
    pub async fn read(&self) -> Result<Pieces, StoreError> {
        let pieces = self.media.pieces(&self.place, 0..self.size).await?;
        pieces.ok_or_else(|| StoreError::Corrupt("the bytes of a file are gone".into()))
    }

    /// It goes.
    pub async fn discard(self) {
        self.media.discard(&self.place).await;
    }
}

/// Where it lies until it is known whose it is.
fn arriving(tenant: TenantId, object: Uuid) -> Path {
    Path::from_iter([ARRIVING, &tenant.to_string(), &object.to_string()])
}
