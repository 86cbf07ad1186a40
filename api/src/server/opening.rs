//! The store that the settings name, opened. Where another process has it, this one stands by: it
//! says so, and serves nothing, until all is there to serve.

use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::clock::Stamps;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::routing::get;
use config::{Backend, Config, Consistency};
use storage::cql::{self, Cql, Lease, Leased};
use storage::embedded::{Embedded, Options};
use storage::memory::{Memory, Now};
use storage::moving::{Source, refuse_part};
use storage::{Stamp, Store, tables};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use super::{Beginning, NotStarted, not_started};
use crate::error::ApiError;
use crate::files;
use crate::listener::Limited;
use crate::request_id;
use crate::routes::health::live;

/// Whoever asks a standby is answered within this, also when it begins to serve.
const STANDBY_DRAIN: Duration = Duration::from_secs(1);

/// A store, and what this process has of it for itself.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) own: Own,
    /// It stood by, and answers as such until it serves.
    pub(super) standby: Option<Standby>,
}

impl Opened {
    pub(super) fn new(store: Arc<dyn Store>, own: Own) -> Self {
        Self { store, own, standby: None }
    }
}

/// What only one process may have. Clones are the same.
#[derive(Clone)]
pub(super) enum Own {
    Nothing,
    Directory(Arc<Embedded>),
    Keyspace(Lease),
}

impl Own {
    pub(super) fn embedded(&self) -> Option<&Arc<Embedded>> {
        match self {
            Self::Directory(store) => Some(store),
            Self::Nothing | Self::Keyspace(_) => None,
        }
    }

    /// Waits until another process has it.
    pub(super) async fn lost(&self) {
        match self {
            Self::Keyspace(lease) => lease.lost().await,
            Self::Nothing | Self::Directory(_) => std::future::pending().await,
        }
    }

    /// The next process need not wait.
    pub(super) async fn give_back(&self) {
        match self {
            Self::Nothing => {}
            Self::Keyspace(lease) => lease.give_back().await,
            Self::Directory(store) => {
                if let Err(error) = store.close().await {
                    tracing::warn!(%error, "the store was not closed in order; its next start repairs");
                }
            }
        }
    }
}

/// Opens the store, and raises the stamps above all that are in it. One into which rows are still to be
/// imported is not served. `owned` is what this process has for itself, from when it has it: whoever drops
/// this gives that back.
pub(super) async fn open(
    config: &Config,
    parts: &Beginning,
    owned: &OnceLock<Own>,
) -> Result<Opened, NotStarted> {
    let opened = open_to_serve(config, parts, owned).await?;
    if let Err(part) = refuse_part(&*opened.store).await {
        opened.own.give_back().await;
        return Err(NotStarted(part.0));
    }
    Ok(opened)
}

async fn open_to_serve(
    config: &Config,
    parts: &Beginning,
    owned: &OnceLock<Own>,
) -> Result<Opened, NotStarted> {
    let owns = |own| owned.get_or_init(|| own).clone();
    let clock = parts.clock.clone();
    let now: Now = Arc::new(move || clock.now());
    match config.storage.backend {
        Backend::Memory => Ok(Opened::new(Arc::new(Memory::new(now)), Own::Nothing)),
        Backend::Embedded => {
            let store = Arc::new(embedded(config, now)?);
            parts.stamps.raise(store.highest_stamp());
            Ok(Opened::new(store.clone(), owns(Own::Directory(store))))
        }
        Backend::Cql => {
            let store = Cql::open(options(config)).await.map_err(not_started)?;
            let (lease, standby) = lease(config, parts, &store).await?;
            let own = owns(Own::Keyspace(lease.clone()));
            parts.stamps.raise(Stamp(lease.from().0 - 1));
            complete(&store, &lease).await.map_err(not_started)?;
            Ok(Opened { standby, ..Opened::new(Arc::new(Leased::new(store, lease)), own) })
        }
    }
}

/// Opens the store to move what is in it: nobody is served, and nobody who serves it is waited for.
/// What is written to a keyspace has no stamps above those that `stamps` makes now.
pub(super) async fn open_to_move(
    config: &Config,
    stamps: Arc<Stamps>,
    now: Now,
) -> Result<(Arc<dyn Source>, Own), NotStarted> {
    match config.storage.backend {
        Backend::Memory => Err(NotStarted(
            "a store in memory is gone when its process ends: set `storage.backend` to `embedded` or `cql`".to_owned(),
        )),
        Backend::Embedded => {
            let store = Arc::new(embedded(config, now)?);
            Ok((store.clone(), Own::Directory(store)))
        }
        Backend::Cql => {
            let refused = |error: cql::NotOpened| NotStarted(error.to_string());
            let store = Cql::open(options(config)).await.map_err(refused)?;
            let (waits, waiting) = watch::channel(false);
            let taking = take(config, stamps, &store, waits)?;
            // Who was killed has it for so long.
            let patience = config.storage.cql.lease * 2 + config.storage.cql.request_timeout;
            let taken = timeout(patience, taking).await.map_err(|_| {
                let keyspace = &config.storage.cql.keyspace;
                NotStarted(match *waiting.borrow() {
                    true => format!("another process serves the keyspace `{keyspace}`: stop it first"),
                    false => format!("the database does not say who serves the keyspace `{keyspace}`: look at it"),
                })
            })?;
            let lease = taken.map_err(refused)?;
            complete(&store, &lease).await.map_err(refused)?;
            Ok((Arc::new(Leased::moving(store, lease.clone())), Own::Keyspace(lease)))
        }
    }
}

/// Keeps a lease, and makes the tables that are not there; where that fails it is given back.
async fn complete(store: &Cql, lease: &Lease) -> Result<(), cql::NotOpened> {
    let kept = lease.clone();
    tokio::spawn(async move { kept.keep().await });
    let completed = store.complete(&tables::ALL).await;
    if completed.is_err() {
        lease.give_back().await;
    }
    completed
}

/// Waits for the lease of a keyspace, and takes it; `waits` says when it has to wait.
fn take(
    config: &Config,
    stamps: Arc<Stamps>,
    store: &Cql,
    waits: watch::Sender<bool>,
) -> Result<impl Future<Output = Result<Lease, cql::NotOpened>>, NotStarted> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(not_started)?;
    let (owner, now) = (Uuid::from_bytes(id), Arc::new(move || stamps.next()));
    Ok(Lease::take(store.clone(), owner, now, config.storage.cql.lease, waits))
}

fn embedded(config: &Config, now: Now) -> Result<Embedded, NotStarted> {
    let options = Options {
        segment: config.limits.segment_bytes,
        overlay: config.limits.overlay_bytes,
        cache: config.limits.tree_cache_bytes as u64,
        memtable: config.limits.tree_memtable_bytes as u64,
        reserve: config.limits.disk_reserve_bytes as u64,
        group_bytes: config.limits.group_bytes,
        group_batches: config.limits.group_batches,
        sync_every: config.limits.tree_sync_every,
        stall: config.limits.commit_stall,
        ..Options::new(&config.storage.path, now)
    };
    let fatal = |cause: storage::Cause| {
        tracing::error!(%cause, "the store cannot write any more: the next start repairs");
        // EX_IOERR of sysexits(3): a supervisor starts the process again.
        std::process::exit(74);
    };
    Embedded::open(options, fatal).map_err(|error| NotStarted(error.to_string()))
}

fn options(config: &Config) -> cql::Options {
    let password = config.storage.cql.password.as_ref();
    let login = config.storage.cql.username.clone().zip(password);
    cql::Options {
        nodes: config.storage.cql.nodes.clone(),
        keyspace: config.storage.cql.keyspace.clone(),
        replication_factor: config.storage.cql.replication_factor,
        consistency: match config.storage.cql.consistency {
            Consistency::One => cql::Consistency::One,
            Consistency::LocalQuorum => cql::Consistency::LocalQuorum,
            Consistency::Quorum => cql::Consistency::Quorum,
        },
        login: login.map(|(name, password)| (name, password.expose().to_owned())),
        request_timeout: config.storage.cql.request_timeout,
        statements: config.limits.cql_statements,
        slow: config.limits.cql_slow,
    }
}

/// Stands by until nobody else may write. Whoever stood by still answers as such.
async fn lease(
    config: &Config,
    parts: &Beginning,
    store: &Cql,
) -> Result<(Lease, Option<Standby>), NotStarted> {
    let (waits, mut waiting) = watch::channel(false);
    let mut take = pin!(take(config, parts.stamps.clone(), store, waits)?);
    tokio::select! {
        taken = &mut take => return Ok((taken.map_err(not_started)?, None)),
        _ = waiting.wait_for(|waits| *waits) => {}
    }
    tracing::info!("another process serves this keyspace: this one stands by");
    let standby = Standby::start(config, parts)?;
    let lease = take.await.map_err(not_started)?;
    tracing::info!("nobody serves this keyspace any more: this process does");
    Ok((lease, Some(standby)))
}

/// What answers for a process that stands by. It ends when this goes.
pub(super) struct Standby {
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Standby {
    fn start(config: &Config, parts: &Beginning) -> Result<Self, NotStarted> {
        let limits = &config.limits;
        let listener = twin(&parts.listener).map_err(not_started)?;
        let places = files::places(limits.connections);
        let limited = Limited::new(listener, places, limits.connection_stall);
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(limited.serve(standby(), stopping, STANDBY_DRAIN));
        Ok(Self { stop, serving })
    }

    /// From here on somebody else takes connections.
    pub(super) async fn end(self) {
        self.stop.send_replace(true);
        // One that panicked has ended, too.
        let _ = self.serving.await;
    }
}

/// Another one of the same address.
fn twin(listener: &TcpListener) -> std::io::Result<TcpListener> {
    let twin = listener.as_fd().try_clone_to_owned()?;
    TcpListener::from_std(twin.into())
}

/// What a standby answers: it lives, and takes no work.
fn standby() -> Router {
    Router::new()
        .route("/health/live", get(live))
        .fallback(async || {
            ApiError::unavailable(
                "another process serves this; ask that one, or ask again in a moment",
            )
        })
        .layer(middleware::from_fn(async |request: Request, next: Next| {
            request_id::scope(request, async |request| next.run(request).await).await
        }))
}
