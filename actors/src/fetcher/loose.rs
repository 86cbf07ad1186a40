//! Files that show nowhere go: those of deleted messages at once, those that were brought and not
//! sent, or fetched in vain, after some time.

use std::time::Duration;

use engine::id::{MediaId, TenantId};
use engine::media::{Medium, Origin};
use storage::StoreError;
use storage::media::Loose;

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
                let page = media.loose(shard, before, behind.as_ref(), PAGE).await?;
                for loose in &page {
                    match self.look_at(loose).await {
                        Ok(went) => gone += usize::from(went),
                        // Not those behind it.
                        Err(error) => {
                            tracing::warn!(%error, "a file is looked at again in an hour");
                        }
                    }
                }
                behind = page.last().copied().filter(|_| page.len() == PAGE);
                if behind.is_none() {
                    break;
                }
            }
        }
        Ok(gone)
    }

    /// Whether it went.
    async fn look_at(&self, loose: &Loose) -> Result<bool, StoreError> {
        let media = &self.0.parts.media;
        let found = self.find(loose.tenant, loose.medium).await?;
        match &found {
            Found::Awaited => return Ok(false),
            Found::Nothing | Found::Shown => {}
            Found::Unshown(medium) => media.remove(medium).await?,
        }
        media.looked_at(loose).await?;
        Ok(matches!(found, Found::Unshown(_)))
    }

    /// A file goes, if no message shows it.
    pub(super) async fn remove(&self, tenant: TenantId, id: MediaId) -> Result<(), StoreError> {
        match self.find(tenant, id).await? {
            Found::Unshown(medium) => self.0.parts.media.remove(&medium).await,
            Found::Nothing | Found::Awaited | Found::Shown => Ok(()),
        }
    }

    async fn find(&self, tenant: TenantId, id: MediaId) -> Result<Found, StoreError> {
        let FetcherParts { media, conversations, .. } = &self.0.parts;
        let Some(medium) = media.get(tenant, id).await? else { return Ok(Found::Nothing) };
        // First: one that is told meanwhile is shown then.
        if let Origin::Fetched { conversation, place: Some(place), provider_media_id, .. } =
            &medium.origin
        {
            let row = conversations.row(*conversation, *place).await?;
            if row.is_some_and(|row| row.message.wanted().any(|id| id == *provider_media_id)) {
                return Ok(Found::Awaited);
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
