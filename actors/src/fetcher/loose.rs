//! Files that show nowhere go: those of deleted messages at once, those that were brought and not
//! sent, or fetched in vain, after some time.

use std::time::Duration;

use engine::id::{MediaId, TenantId};
use engine::media::{Medium, Origin};
use storage::StoreError;

use super::{Fetcher, FetcherParts, PAGE};

/// What is about to be sent with a file that was still there is stored after this long.
const SENT_WITHIN: Duration = Duration::from_secs(60 * 60);

/// What there is of a file.
enum Found {
    Nothing,
    /// Its message waits for it, which could not be told yet.
    Awaited,
    Shown,
    Unshown(Box<Medium>),
}

impl Fetcher {
    /// Files that a message showed are gone with what it said, unless another message shows them.
    pub fn let_go(&self, tenant: TenantId, media: Vec<MediaId>) {
        let fetcher = self.clone();
        tokio::spawn(async move {
            for id in media {
                if let Err(error) = fetcher.remove(tenant, id).await {
                    tracing::warn!(%error, "the file of a deleted message stays for an hour");
                }
            }
        });
    }

    /// Looks at the files of which it is time to know whether they show anywhere: what a stop or a
    /// failure left of deleted messages, and what has shown nowhere for too long. Answers how many went.
    pub async fn clear(&self) -> Result<usize, StoreError> {
        let FetcherParts { media, tenants, options, .. } = &self.0.parts;
        let before = tenants.now() - options.unshown - SENT_WITHIN;
        let mut gone = 0;
        for shard in 0..=u8::MAX {
            let mut behind = None;
            loop {
                let (stamp, mut looked_at) = (media.look(), Vec::new());
                let page = media.loose(shard, before, behind.as_ref(), PAGE).await?;
                for loose in &page {
                    match self.look_at(loose.tenant, loose.medium).await {
                        Ok(Found::Nothing | Found::Shown) => looked_at.push(*loose),
                        Ok(Found::Unshown(_)) => gone += 1,
                        Ok(Found::Awaited) => {}
                        // Not those behind it.
                        Err(error) => {
                            tracing::warn!(%error, "a file is looked at again in an hour");
                        }
                    }
                }
                media.looked_at(&looked_at, stamp).await?;
                behind = page.last().copied().filter(|_| page.len() == PAGE);
                if behind.is_none() {
                    break;
                }
            }
        }
        Ok(gone)
    }

    /// A file goes, if no message shows it.
    pub(super) async fn remove(&self, tenant: TenantId, id: MediaId) -> Result<(), StoreError> {
        self.look_at(tenant, id).await.map(drop)
    }

    /// What there was of it before.
    async fn look_at(&self, tenant: TenantId, id: MediaId) -> Result<Found, StoreError> {
        let found = self.find(tenant, id).await?;
        if let Found::Unshown(medium) = &found {
            self.0.parts.media.remove(medium).await?;
        }
        Ok(found)
    }

    async fn find(&self, tenant: TenantId, id: MediaId) -> Result<Found, StoreError> {
        let FetcherParts { media, conversations, .. } = &self.0.parts;
        let Some(medium) = media.get(tenant, id).await? else { return Ok(Found::Nothing) };
        // First: one that is told meanwhile is shown then.
        if let Origin::Fetched { conversation, place: Some(place), provider_media_id, .. } =
            &medium.origin
        {
            let row = conversations.row(*conversation, *place).await?;
            if row
                .as_ref()
                .is_some_and(|row| row.message.wanted().any(|id| id == *provider_media_id))
            {
                return Ok(Found::Awaited);
            }
            // Also where it is not noted yet that it does.
            if row.is_some_and(|row| row.media().contains(&id)) {
                return Ok(Found::Shown);
            }
        }
        for (conversation, place) in media.shown(id, usize::MAX).await? {
            let row = conversations.row(conversation, place).await?;
            if row.is_some_and(|row| row.media().contains(&id)) {
                return Ok(Found::Shown);
            }
        }
        Ok(Found::Unshown(Box::new(medium)))
    }
}
