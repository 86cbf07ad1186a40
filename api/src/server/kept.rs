//! What a start finds in the store, or makes there once: files, the secret of tokens, the name of its logs.

use std::sync::Arc;
use std::time::Duration;

use actors::clock::Stamps;
use actors::feed::FeedLimits;
use config::{Backend, Config};
use serde::Serialize;
use serde::de::DeserializeOwned;
use storage::media::{Media, MediaLimits, NotReached};
use storage::names::{Name, Names};
use storage::{Guarantees, Store, StoreError};
use tokio::time::{Instant, sleep};

use super::options::bucket;
use super::{NotStarted, not_started};

/// Below it a round, and the writer that is woken for it, saves nothing.
const ROUNDS_FROM: usize = 16;
/// A start asks a store that did not answer again after this long, and each time later, up to that.
const ASKS_AGAIN: Duration = Duration::from_millis(100);
const SELDOM: Duration = Duration::from_secs(5);
/// After this long it ends: somebody else may fare better.
const ASKS_FOR: Duration = Duration::from_secs(60);

/// What a store answers. A cluster is asked until it does: whoever has taken over from another process
/// does not leave everybody without any for one read that failed.
pub(super) async fn answered<T, A: Future<Output = Result<T, StoreError>>>(
    promised: Guarantees,
    ask: impl Fn() -> A,
) -> Result<T, NotStarted> {
    let (began, mut wait) = (Instant::now(), ASKS_AGAIN);
    loop {
        match ask().await {
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_)))
                if !promised.settled && began.elapsed() < ASKS_FOR =>
            {
                tracing::warn!(%error, "the start goes on once the store answers");
            }
            answer => return answer.map_err(not_started),
        }
        sleep(wait).await;
        wait = (wait * 2).min(SELDOM);
    }
}

/// Files, in a bucket or in a directory beside the store's. A bucket that refuses them is a mistake
/// that is told now; one that does not answer will, and all but files goes on without it.
pub(super) async fn media(
    config: &Config,
    store: Arc<dyn Store>,
    stamps: Arc<Stamps>,
) -> Result<Media, NotStarted> {
    let limits = MediaLimits {
        tenant: config.limits.media_tenant_bytes as u64,
        reserve: config.limits.media_reserve_bytes as u64,
    };
    let promised = store.guarantees();
    let stamp = move || stamps.next();
    let media = match (config.storage.backend, bucket(config)) {
        (Backend::Memory, _) => Media::in_memory(store, limits, stamp),
        (Backend::Embedded | Backend::Cql, Some(bucket)) => {
            Media::in_bucket(store, bucket, limits, stamp).map_err(not_started)?
        }
        (Backend::Embedded | Backend::Cql, None) => {
            let directory = config.storage.path.join("media");
            Media::local(store, &directory, limits, stamp).map_err(not_started)?
        }
    };
    match media.reach().await {
        Ok(()) => match answered(promised, || Box::pin(media.settle())).await {
            Ok((kept, orphans)) => {
                tracing::info!(kept, orphans, "files that were on their way are settled");
            }
            // There may be no space for that.
            Err(error) if promised.settled => {
                tracing::warn!(%error, "files that were on their way are settled by the next start");
            }
            Err(error) => return Err(error),
        },
        // The next start settles them.
        Err(silent @ NotReached::Silent(_)) => tracing::warn!("{silent}; until then files get 503"),
        Err(refused @ NotReached::Refused(_)) => return Err(not_started(refused)),
    }
    Ok(media)
}

/// The configured secret, or one that is made once and kept in the store.
pub(super) async fn jwt_secret(
    config: &Config,
    names: &Names,
    promised: Guarantees,
) -> Result<Vec<u8>, NotStarted> {
    if let Some(secret) = &config.auth.jwt_secret {
        return Ok(secret.expose().as_bytes().to_vec());
    }
    let mut fresh = vec![0; 32];
    getrandom::fill(&mut fresh).map_err(not_started)?;
    held(names, &Name::global("secret", "jwt"), fresh, promised).await
}

/// Who holds a name. It is claimed only where nobody does: there may be no space to write.
async fn held<T: Clone + Serialize + DeserializeOwned>(
    names: &Names,
    name: &Name,
    fresh: T,
    promised: Guarantees,
) -> Result<T, NotStarted> {
    match answered(promised, || names.get(name)).await? {
        Some(held) => Ok(held),
        None => answered(promised, || names.claim(name, fresh.clone())).await,
    }
}

pub(super) async fn feed_limits(
    config: &Config,
    names: &Names,
    promised: Guarantees,
) -> Result<FeedLimits, NotStarted> {
    let mut fresh = [0; 4];
    getrandom::fill(&mut fresh).map_err(not_started)?;
    // Of the store, not of the run: logs go on after a restart.
    let name = Name::global("store", "incarnation");
    let incarnation = held(names, &name, hex::encode(fresh), promised).await?;
    let limits = &config.limits;
    Ok(FeedLimits {
        replay_events: limits.replay_events,
        replay_bytes: limits.replay_bytes,
        queue_frames: limits.socket_queue_frames,
        queue_bytes: limits.socket_queue_bytes,
        hold: limits.socket_hold,
        rounds_from: ROUNDS_FROM,
        sessions_per_agent: limits.sockets_per_user,
        streams_per_session: limits.subscriptions_per_socket,
        incarnation,
    })
}
