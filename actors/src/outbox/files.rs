//! The files of messages: taken to the provider before the message, and not again as long as it has
//! them.

use engine::account::Account;
use engine::channel::{Outcome, Outgoing};
use engine::id::TenantId;
use engine::media::Stored;
use engine::saying::{Saying, Source};
use storage::media::{Lent, Media, Pieces};

use super::Outbox;
use super::send::{refused, unread};
use crate::downloads::Downloads;

/// Where the files of messages are had.
#[derive(Clone)]
pub struct Files {
    pub media: Media,
    pub downloads: Downloads,
    /// The largest that is read by its link.
    pub bytes: u64,
}

/// A file that is with the provider.
pub(super) struct Taken {
    pub(super) id: String,
    /// It was taken there before.
    pub(super) is_known: bool,
}

/// The file of what is sent.
pub(super) fn source(what: &mut Outgoing) -> Option<&mut Source> {
    match what {
        Outgoing::Message { saying: Saying::Media(media), .. } => Some(&mut media.from),
        _ => None,
    }
}

impl Outbox {
    /// A file of ours is with the provider when this returns; else what becomes of its message.
    pub(super) async fn take(
        &self,
        tenant: TenantId,
        account: &Account,
        file: &Stored,
    ) -> Result<Taken, Outcome> {
        let media = &self.0.files.media;
        let failed = |_| unread("the file could not be read");
        let medium = media.get(tenant, file.id).await.map_err(failed)?;
        let medium = medium.ok_or_else(|| refused("no_file", "the file is gone"))?;
        let known = media.uploaded(account.id, &medium.sha256).await.map_err(failed)?;
        if let Some(id) = known {
            return Ok(Taken { id, is_known: true });
        }
        let pieces = media.read(&medium, 0..medium.size).await.map_err(failed)?;
        let (size, kind) = (medium.size, &medium.mime_type);
        let id = self.upload(account, &medium.sha256, (size, kind), pieces).await?;
        Ok(Taken { id, is_known: false })
    }

    /// The provider could not use a file: if it was one that it had, or one that it should have
    /// fetched itself, it is taken there now. `None`: that does not help.
    pub(super) async fn take_again(
        &self,
        tenant: TenantId,
        account: &Account,
        file: &Source,
        was_known: bool,
    ) -> Option<String> {
        let files = &self.0.files;
        match file {
            Source::Stored(stored) if was_known => {
                let medium = files.media.get(tenant, stored.id).await.ok()??;
                files.media.has_lost(account.id, &medium.sha256).await.ok()?;
                Some(self.take(tenant, account, stored).await.ok()?.id)
            }
            Source::Link(url) => {
                let lent = self.read_link(tenant, url).await?;
                let id = self.take_lent(account, &lent).await;
                lent.discard().await;
                id
            }
            Source::Stored(_) | Source::Provider(_) => None,
        }
    }

    async fn read_link(&self, tenant: TenantId, url: &str) -> Option<Lent> {
        let files = &self.0.files;
        let mut file = files.downloads.of_link(url).await.ok()?;
        let (object, most) = (self.0.tenants.id(), files.bytes);
        let mut incoming = files.media.begin(tenant, object, most).await.ok()?;
        while let Some(piece) = file.next().await.ok()? {
            incoming.write(&piece).await.ok()?;
        }
        incoming.lend().await.ok()
    }

    async fn take_lent(&self, account: &Account, lent: &Lent) -> Option<String> {
        let pieces = lent.read().await.ok()?;
        let what = (lent.size, lent.mime_type);
        self.upload(account, &lent.sha256, what, pieces).await.ok()
    }

    async fn upload(
        &self,
        account: &Account,
        sha256: &str,
        (size, mime_type): (u64, &str),
        pieces: Pieces,
    ) -> Result<String, Outcome> {
        let token = account.text("access_token").unwrap_or_default();
        let upload = account.channel.upload(mime_type, &account.account_key, token);
        let upload = upload.ok_or_else(|| refused("no_file", "the channel takes no files"))?;
        let boundary = self.0.tenants.id();
        let answered = self.0.provider.upload(upload, boundary, size, pieces).await;
        let id = account.channel.uploaded(answered)?;
        // Where that cannot be noted it is taken there once more the next time.
        let _ = self.0.files.media.has_uploaded(account.id, sha256, &id).await;
        Ok(id)
    }
}
