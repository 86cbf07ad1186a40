//! What is on its way in or out: written down before there are bytes of which no row tells, until
//! one does or they are gone. So a start looks at these alone, wherever bytes lie.

use std::fs;

use engine::id::{MediaId, TenantId};
use engine::media::Medium;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{Loose, Media, count, gone};
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, uuid};
use crate::port::{Change, Key, Part, Scan};
use crate::steps::in_steps;
use crate::tables::MEDIA_COMING;

/// What is written down of bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Announced {
    pub(super) tenant: TenantId,
    /// The file whose they are, once that is known and has to be.
    #[serde(default)]
    pub(super) medium: Option<MediaId>,
    /// The upload by which a bucket takes them in parts.
    #[serde(default)]
    pub(super) upload: Option<String>,
}

/// Bytes that are on their way. Dropped, they go.
pub(super) struct Coming {
    media: Media,
    pub(super) object: Uuid,
    announced: Option<Announced>,
}

/// Rows that are read at once.
const PAGE: usize = 256;
/// Where those lay that were on their way, before it was written down which these are.
const APART: [&str; 2] = ["arriving", "incoming"];

impl Announced {
    /// What writes it down.
    pub(super) fn written(&self, object: Uuid) -> Change {
        Change::Put { table: &MEDIA_COMING, key: key(object), body: encode(self), ttl: None }
    }
}

/// What makes nothing known of bytes any more.
pub(super) fn forgotten(object: Uuid) -> Change {
    Change::Delete { table: &MEDIA_COMING, key: key(object) }
}

impl Coming {
    /// Nothing of them is there yet.
    pub(super) fn new(media: Media, object: Uuid) -> Self {
        Self { media, object, announced: None }
    }

    /// It is written down that they come, or what became known since.
    pub(super) async fn announce(&mut self, announced: Announced) -> Result<(), StoreError> {
        self.media.apply(vec![announced.written(self.object)]).await?;
        self.announced = Some(announced);
        Ok(())
    }

    /// From here on a row may be there whose they are: they go only when that is known not to be so.
    pub(super) fn held(mut self) -> Option<Announced> {
        self.announced.take()
    }

    /// They go.
    pub(super) async fn go(mut self) {
        if let Some(announced) = self.announced.take() {
            self.media.clear(self.object, &announced).await;
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let Some(announced) = self.announced.take() else { return };
        let (media, object) = (self.media.clone(), self.object);
        // Without a runtime the process ends, and the next start does it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { media.clear(object, &announced).await });
        }
    }
}

impl Media {
    /// After a start, before anything comes: of what was on its way that stays which has a row, and
    /// the rest never was. Answers how many were left of each.
    pub async fn settle(&self) -> Result<(usize, usize), StoreError> {
        let (mut kept, mut orphans) = self.settle_apart().await?;
        for shard in 0..=i64::from(u8::MAX) {
            let mut scan = Some(Scan::of(&MEDIA_COMING, vec![Part::Int(shard)], PAGE));
            while let Some(page) = scan {
                let rows = self.0.store.scan(page.clone()).await?;
                for row in &rows {
                    let Some(object) = uuid(row.clustering.first()) else { continue };
                    let Ok(announced) = decode::<Announced>(&row.body) else {
                        tracing::warn!(%object, "what is written down of a file on its way cannot be read");
                        continue;
                    };
                    let known = self.known(announced.tenant, announced.medium).await?;
                    if let Some(known) = known.as_ref().filter(|known| known.object == object) {
                        kept += 1;
                        // Perhaps it was being removed, and is not loose any more.
                        let loose = Loose::of_new(known);
                        let steps =
                            [loose.iter().map(Loose::put).collect(), vec![forgotten(object)]];
                        in_steps(&*self.0.store, (self.0.stamp)(), steps).await?;
                        continue;
                    }
                    if let (Some(medium), None) = (announced.medium, &known) {
                        // A row that is still on its way would name bytes that are gone: it loses, and
                        // so does the count that came with it.
                        let shared = self.shared(announced.tenant);
                        let mut bytes = shared.lock().await;
                        let all = self.counted(announced.tenant, &mut bytes).await?;
                        let never = [gone(announced.tenant, medium), count(announced.tenant, all)];
                        self.write(&mut bytes, [never.to_vec()], all).await?;
                    }
                    orphans += usize::from(self.clear(object, &announced).await);
                }
                scan = page.behind(&rows);
            }
        }
        Ok((kept, orphans))
    }

    /// Bytes go, and then what is written down of them. Answers whether they are gone.
    pub(super) async fn clear(&self, object: Uuid, announced: &Announced) -> bool {
        let objects = &self.0.objects;
        let name = objects.name(announced.tenant, object);
        let cleared = async {
            objects.clear(&name, announced.upload.as_ref()).await?;
            self.apply(vec![forgotten(object)]).await
        };
        let cleared: Result<(), StoreError> = cleared.await;
        if let Err(error) = &cleared {
            tracing::warn!(%error, "bytes without a file stay until the next start");
        }
        cleared.is_ok()
    }

    /// What is kept under this id.
    async fn known(
        &self,
        tenant: TenantId,
        medium: Option<MediaId>,
    ) -> Result<Option<Medium>, StoreError> {
        let Some(medium) = medium else { return Ok(None) };
        self.get(tenant, medium).await
    }

    /// What an older program left: there, what was on its way lay in folders of its own, named by
    /// tenant, file and object once it was whole.
    async fn settle_apart(&self) -> Result<(usize, usize), StoreError> {
        let Some(directory) = self.0.objects.directory() else { return Ok((0, 0)) };
        let (mut kept, mut orphans) = (0, 0);
        for place in self.0.objects.list(APART[1]).await? {
            let mut names = place.parts().skip(1).map(|name| name.as_ref().parse::<Uuid>().ok());
            let mut next = || names.next().flatten();
            let (tenant, medium, object) = (next().map(TenantId), next().map(MediaId), next());
            let (Some(tenant), Some(object)) = (tenant, object) else { continue };
            let known = self.known(tenant, medium).await?;
            if known.is_some_and(|known| known.object == object) {
                self.0.objects.rename(&place, &self.0.objects.name(tenant, object)).await?;
                kept += 1;
            } else {
                orphans += 1;
            }
        }
        for folder in APART.map(|folder| directory.join(folder)).into_iter().filter(|f| f.exists())
        {
            fs::remove_dir_all(&folder).map_err(|error| {
                let folder = folder.display();
                StoreError::Unavailable(format!("{folder} cannot be removed: {error}").into())
            })?;
        }
        Ok((kept, orphans))
    }
}

fn key(object: Uuid) -> Key {
    Key::new(vec![Part::Int(i64::from(object.as_bytes()[15]))], vec![id(object)])
}
