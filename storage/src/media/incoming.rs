//! A file on its way in: counted, hashed and written piece by piece.

use engine::id::{MediaId, TenantId};
use engine::media::Medium;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::coming::{Announced, Coming};
use super::objects::Upload;
use super::{Draft, Head, Media, NotStored, Pieces};
use crate::error::StoreError;

/// A file on its way in. Dropped before it is kept it leaves nothing.
pub struct Incoming {
    media: Media,
    tenant: TenantId,
    name: Path,
    most: u64,
    size: u64,
    hash: Sha256,
    head: Head,
    /// What comes is gathered to parts of one size.
    part: Vec<u8>,
    /// Those that are written, of a file of several.
    upload: Option<Upload>,
    coming: Coming,
}

impl Incoming {
    pub(super) fn new(media: Media, tenant: TenantId, object: Uuid, most: u64) -> Self {
        Self {
            name: media.0.objects.name(tenant, object),
            coming: Coming::new(media.clone(), object),
            media,
            tenant,
            most,
            size: 0,
            hash: Sha256::new(),
            head: Head::default(),
            part: Vec::new(),
            upload: None,
        }
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
        let (mut rest, part_bytes) = (piece, self.media.0.objects.part_bytes());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(part_bytes - self.part.len()));
            self.part.extend_from_slice(now);
            rest = later;
            if self.part.len() == part_bytes {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// What was gathered is written as the next part.
    async fn flush(&mut self) -> Result<(), StoreError> {
        self.has_space()?;
        let mut upload = match self.upload.take() {
            Some(upload) => upload,
            None => self.begin().await?,
        };
        let (Media(inner), part) = (self.media.clone(), std::mem::take(&mut self.part));
        inner.objects.part(&self.name, &mut upload, part).await?;
        self.upload = Some(upload);
        Ok(())
    }

    /// It comes in parts. What has to be aborted by an id is there, with nothing in it, before that
    /// is known.
    async fn begin(&mut self) -> Result<Upload, StoreError> {
        let Media(inner) = self.media.clone();
        if inner.objects.is_bucket() {
            let upload = inner.objects.begin(&self.name).await?;
            self.announce(None, upload.id().cloned()).await?;
            return Ok(upload);
        }
        self.announce(None, None).await?;
        inner.objects.begin(&self.name).await
    }

    /// All of it is written, and durable.
    async fn finish(&mut self, medium: Option<MediaId>) -> Result<(), StoreError> {
        // Whose they are has to be known where a row may be there and this still be written down.
        if self.upload.is_none() || !self.media.0.store.guarantees().atomic {
            let id = self.upload.as_ref().and_then(Upload::id).cloned();
            self.announce(medium, id).await?;
        }
        if self.upload.is_some() && !self.part.is_empty() {
            self.flush().await?;
        }
        let Media(inner) = self.media.clone();
        match self.upload.take() {
            Some(upload) => inner.objects.complete(&self.name, upload).await,
            None => {
                self.has_space()?;
                inner.objects.put(&self.name, std::mem::take(&mut self.part)).await
            }
        }
    }

    async fn announce(
        &mut self,
        medium: Option<MediaId>,
        upload: Option<String>,
    ) -> Result<(), StoreError> {
        self.coming.announce(Announced { tenant: self.tenant, medium, upload }).await
    }

    fn has_space(&self) -> Result<(), StoreError> {
        self.media.0.objects.has_space(self.media.0.limits.reserve)
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
        self.finish(Some(draft.id)).await?;
        let Draft { id, mime_type, filename, origin, at } = draft;
        let medium = Medium {
            id,
            tenant: self.tenant,
            mime_type,
            size: self.size,
            sha256: hex::encode(self.sha256()),
            filename,
            origin,
            object: self.coming.object,
            created_at: at,
        };
        let (media, object, announced) = (self.media, medium.object, self.coming.held());
        let kept = media.put(medium).await;
        let is_ours = match &kept {
            Ok(kept) => kept.object == object,
            // Perhaps its row is there: the next start looks.
            Err(error) => matches!(error, NotStored::Store(StoreError::Unknown(_))),
        };
        if let Some(announced) = announced.filter(|_| !is_ours) {
            media.clear(object, &announced).await;
        }
        kept
    }

    /// It is whole, and nobody's: to be read once, and to go.
    pub async fn lend(mut self) -> Result<Lent, NotStored> {
        self.finish(None).await?;
        let sha256 = hex::encode(self.sha256());
        let Self { media, tenant, size, head, coming, .. } = self;
        Ok(Lent { media, tenant, coming, size, sha256, mime_type: head.mime_type() })
    }
}

/// A file that is here for a short time: dropped, it goes.
pub struct Lent {
    media: Media,
    tenant: TenantId,
    coming: Coming,
    pub size: u64,
    /// Hex.
    pub sha256: String,
    /// By its content.
    pub mime_type: &'static str,
}

impl Lent {
    /// Its bytes.
    pub async fn read(&self) -> Result<Pieces, StoreError> {
        self.media.pieces(self.tenant, self.coming.object, 0..self.size).await
    }

    /// It goes.
    pub async fn discard(self) {
        self.coming.go().await;
    }
}
