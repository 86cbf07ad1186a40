//! The files of messages: taken to the provider before the message, and not again as long as it has
//! them.

use std::time::Duration;

use engine::account::Account;
use engine::channel::{Outcome, Outgoing};
use engine::id::TenantId;
use engine::lending::Lender;
use engine::media::Stored;
use engine::message::MessageKind;
use engine::saying::{self as said, Saying, Source};
use storage::media::{Lent, Media, Pieces};

use super::Outbox;
use super::send::{ours, refused};
use crate::downloads::Downloads;

/// Where the files of messages are had.
#[derive(Clone)]
pub struct Files {
    pub media: Media,
    pub downloads: Downloads,
    /// The largest that is read by its link.
    pub bytes: u64,
    /// For a provider that takes no files.
    pub lender: Lender,
}

/// A file that the provider has, or can have.
pub(super) struct Taken {
    pub(super) from: Source,
    /// It was taken there before.
    pub(super) is_known: bool,
}

/// What becomes of a message whose file the provider did not get, and for how long the provider wants
/// to be left alone.
pub(super) struct NotTaken {
    pub(super) outcome: Outcome,
    pub(super) wait: Duration,
}

impl From<Outcome> for NotTaken {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, wait: Duration::ZERO }
    }
}

/// The file of what is sent.
pub(super) fn medium(what: &mut Outgoing) -> Option<&mut said::Media> {
    match what {
        Outgoing::Message { saying: Saying::Media(media), .. } => Some(media),
        _ => None,
    }
}

impl Outbox {
    /// A file of ours is with the provider when this returns; else what becomes of its message.
    pub(super) async fn take(
        &self,
        tenant: TenantId,
        account: &Account,
        (kind, file): (MessageKind, &Stored),
    ) -> Result<Taken, NotTaken> {
        let Files { media, lender, .. } = &self.0.files;
        if account.channel.is_lent() {
            let link = lender.link(tenant, file.id, self.0.tenants.now());
            return Ok(Taken { from: Source::Link(link), is_known: false });
        }
        let failed = |_| ours("the file could not be read");
        let medium = media.get(tenant, file.id).await.map_err(failed)?;
        let medium = medium.ok_or_else(|| refused("no_file", "the file is gone"))?;
        let mark = account.channel.uploaded_mark(&medium.sha256, kind);
        if let Some(id) = media.uploaded(account.id, &mark).await.map_err(failed)? {
            return Ok(Taken { from: Source::Provider(id), is_known: true });
        }
        let pieces = media.read(&medium, 0..medium.size).await.map_err(failed)?;
        let what = (kind, medium.size, medium.mime_type.as_str());
        let id = self.upload(account, &mark, what, pieces).await?;
        Ok(Taken { from: Source::Provider(id), is_known: false })
    }

    /// The provider could not use a file: if it was one that it had, or one that it should have
    /// fetched itself, it is taken there now. `None`: that does not help.
    pub(super) async fn take_again(
        &self,
        tenant: TenantId,
        account: &Account,
        (kind, file): (MessageKind, &Source),
        was_known: bool,
    ) -> Option<Source> {
        let files = &self.0.files;
        match file {
            Source::Stored(stored) if was_known => {
                let medium = files.media.get(tenant, stored.id).await.ok()??;
                let mark = account.channel.uploaded_mark(&medium.sha256, kind);
                files.media.has_lost(account.id, &mark).await.ok()?;
                Some(self.take(tenant, account, (kind, stored)).await.ok()?.from)
            }
            Source::Link(url) => {
                let lent = self.read_link(tenant, url).await?;
                let id = self.take_lent(account, kind, &lent).await;
                lent.discard().await;
                id.map(Source::Provider)
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

    async fn take_lent(&self, account: &Account, kind: MessageKind, lent: &Lent) -> Option<String> {
        let pieces = lent.read().await.ok()?;
        let mark = account.channel.uploaded_mark(&lent.sha256, kind);
        self.upload(account, &mark, (kind, lent.size, lent.mime_type), pieces).await.ok()
    }

    async fn upload(
        &self,
        account: &Account,
        mark: &str,
        (kind, size, mime_type): (MessageKind, u64, &str),
        pieces: Pieces,
    ) -> Result<String, NotTaken> {
        let token = account.text("access_token").unwrap_or_default();
        let upload = account.channel.upload((kind, mime_type), &account.account_key, token);
        let upload = upload.ok_or_else(|| refused("no_file", "the channel takes no files"))?;
        let boundary = self.0.tenants.id();
        let answered = self.0.provider.upload(upload, boundary, size, pieces).await;
        let wait = self.waits(&answered);
        let id = account.channel.uploaded(answered);
        let id = id.map_err(|outcome| NotTaken { outcome, wait })?;
        // Where that cannot be noted it is taken there once more the next time.
        let _ = self.0.files.media.has_uploaded(account.id, mark, &id).await;
        Ok(id)
    }
}
