//! A running server: everything started in order, and stopped in the other.

pub mod moving;
mod opening;
mod options;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::desk::Desk;
use actors::effects::Effects;
use actors::feed::{FeedLimits, Hub};
use actors::fetcher::{Fetcher, FetcherOptions, FetcherParts};
use actors::grants::{GrantOptions, Grants};
use actors::inbox::Inboxes;
use actors::outbox::{Files, Outbox, OutboxOptions, OutboxParts};
use actors::panics::caught_in;
use actors::profiles::{ProfileOptions, Profiles};
use actors::provider::{Provider, ProviderOptions};
use actors::search::Search;
use actors::tenants::Tenants;
use actors::turns::Turns;
use config::{Backend, Config};
use engine::channel::signature::sign;
use engine::lending::Lender;
use storage::activity::Activities;
use storage::contacts::Contacts;
use storage::conversations::Conversations;
use storage::media::{Media, MediaLimits, NotReached};
use storage::names::{Name, Names};
use storage::settings::Settings;
use storage::watched::Watched;
use storage::{Stamp, Store};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use self::opening::{Opened, Own};
use self::options::{bucket, desk_options, downloads, mailer, search_options};
use crate::app::{App, JwtKeys, Parts};
use crate::listener::{Limited, listen};
use crate::login_limits::LoginLimits;
use crate::places::Places;
use crate::rate::{Bucket, Buckets};
use crate::unproven::Unproven;
use crate::{edge, scrape};

/// Tenants, inboxes and sessions that stay in memory.
/// Below it a round, and the writer that is woken for it, saves nothing.
const ROUNDS_FROM: usize = 16;
const TENANTS_MAX: usize = 1_000;
const SESSIONS_MAX: usize = 100_000;
/// What was left undone and could not be read is looked for again after this long.
const SWEEP_AGAIN: Duration = Duration::from_secs(5);
/// How often a store that takes no writes is asked again.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// Connections of those who look at the metrics.
const METRICS_CONNECTIONS: usize = 64;

/// A server that runs.
pub struct Server {
    pub app: App,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its metrics are.
    pub metrics: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    own: Own,
}

/// What a server begins with.
struct Beginning {
    listener: TcpListener,
    metrics_listener: TcpListener,
    clock: Clock,
    stamps: Arc<Stamps>,
}

impl Beginning {
    fn new(config: &Config) -> Result<Self, NotStarted> {
        let listener = bind(config.server.listen, "server.listen")?;
        let metrics_listener = bind(config.metrics.listen, "metrics.listen")?;
        let (clock, stamps) = (Clock::system(), Arc::new(Stamps::above(Stamp(0))));
        Ok(Self { listener, metrics_listener, clock, stamps })
    }
}

/// Why a server does not start: a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotStarted(pub String);

impl Server {
    /// Starts everything. When this returns it takes work. Where another process has the keyspace
    /// it stands by until then.
    pub async fn start(config: Config) -> Result<Self, NotStarted> {
        let parts = Beginning::new(&config)?;
        let opened = opening::open(&config, &parts).await?;
        Self::begin(config, parts, opened).await
    }

    /// The same over this store.
    pub async fn over(config: Config, store: Arc<dyn Store>) -> Result<Self, NotStarted> {
        let parts = Beginning::new(&config)?;
        Self::begin(config, parts, Opened { store, own: Own::Nothing }).await
    }

    async fn begin(config: Config, parts: Beginning, opened: Opened) -> Result<Self, NotStarted> {
        let Beginning { listener, metrics_listener, clock, stamps } = parts;
        let Opened { store, own } = opened;
        let recorder = scrape::recorder();
        let address = listener.local_addr().map_err(not_started)?;
        let metrics = metrics_listener.local_addr().map_err(not_started)?;
        let store = Arc::new(Watched::new(store));
        let public_url =
            config.server.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let (settings, names) = (Settings::new(store.clone()), Names::new(store.clone()));
        let secret = jwt_secret(&config, &names).await?;
        let limits = &config.limits;
        let inboxes = Inboxes::new(Conversations::new(store.clone()), TENANTS_MAX);
        let hub = Hub::new(feed_limits(&config, &names).await?, inboxes.clone());
        let tenants = Tenants::new(
            settings,
            names,
            clock.clone(),
            stamps.clone(),
            TENANTS_MAX,
            SESSIONS_MAX,
            Arc::new(hub.clone()),
        );
        let media = media(&config, store.clone(), stamps.clone()).await?;
        let downloads = downloads(&config)?;
        let provider = Provider::new(ProviderOptions {
            graph_url: config.meta.graph_url.clone(),
            instagram_url: config.meta.instagram_url.clone(),
            instagram_auth_url: config.meta.instagram_auth_url.clone(),
            graph_version: config.meta.graph_version.clone(),
            connect_timeout: limits.provider_connect_timeout,
            timeout: limits.provider_timeout,
            upload_timeout: limits.media_timeout,
            answer_bytes: limits.provider_response_bytes,
        })
        .map_err(not_started)?;
        let lender = Lender {
            base: public_url.clone(),
            key: sign(&secret, b"links to files"),
            lasts: limits.media_link_ttl,
        };
        // Of the one secret that this installation keeps: an address outlives restarts.
        let reply_key = sign(&secret, b"reply addresses of mails");
        let outbox = Outbox::new(OutboxParts {
            provider: provider.clone(),
            mailer: mailer(&config)?,
            tenants: tenants.clone(),
            contacts: Contacts::new(store.clone()),
            files: Files {
                media: media.clone(),
                downloads: downloads.clone(),
                bytes: limits.media_inbound_bytes as u64,
                lender: lender.clone(),
            },
            options: OutboxOptions {
                rate: limits.send_rate_per_second,
                rate_high: limits.send_rate_high_per_second,
                pair_burst: limits.pair_burst,
                pair_every: limits.pair_every,
                throttle_wait: limits.throttle_wait_max,
                requests: limits.account_requests,
                queue: limits.account_queue,
                renew_within: limits.token_warning,
            },
            may_act: Arc::new({
                let store = store.clone();
                move || store.holds()
            }),
            reply_key: reply_key.to_vec(),
        });
        let grants = Grants::new(
            provider.clone(),
            GrantOptions {
                keep: limits.grant_keep,
                people: limits.grant_people,
                pages: limits.grant_pages,
            },
        );
        let profiles = Profiles::new(
            provider.clone(),
            tenants.clone(),
            Contacts::new(store.clone()),
            ProfileOptions {
                at_once: limits.profiles,
                waiting: limits.profiles_waiting,
                known: limits.profiles_known,
                again: limits.profile_again,
                every: limits.profile_every,
                ladder: limits.profile_ladder.clone(),
            },
        );
        let fetcher = Fetcher::new(FetcherParts {
            provider,
            downloads: downloads.clone(),
            tenants: tenants.clone(),
            conversations: Conversations::new(store.clone()),
            media: media.clone(),
            options: FetcherOptions {
                bytes: limits.media_inbound_bytes as u64,
                at_once: limits.media_fetches,
                waiting: limits.media_fetches_waiting,
                waiting_tenant: limits.media_fetches_waiting_tenant,
                ladder: limits.media_ladder.clone(),
                unshown: limits.media_unshown,
            },
        });
        let (search, index) = Search::start(
            Conversations::new(store.clone()),
            Contacts::new(store.clone()),
            (clock.clone(), stamps.clone()),
            search_options(&config),
        )
        .await;
        let effects = Effects {
            hub: hub.clone(),
            search: search.clone(),
            outbox: outbox.clone(),
            fetcher: fetcher.clone(),
            profiles: profiles.clone(),
        };
        let options = desk_options(&config);
        let activity = Activities::new(store.clone());
        let desk = Desk::start(store.clone(), clock, stamps, Arc::new(effects), options).await;
        outbox.connect(desk.clone());
        fetcher.connect(desk.clone());
        profiles.connect(desk.clone());
        let app = App::new(Parts {
            public_url,
            tenants,
            activity,
            desk,
            inboxes,
            outbox,
            grants,
            fetcher,
            profiles,
            media,
            downloads,
            lender,
            uploads: Places::of_uploads(limits),
            account_calls: Places::of_account_calls(limits),
            hub,
            search,
            jwt: JwtKeys::new(&secret),
            login_limits: LoginLimits::new(limits),
            hashing: Semaphore::new(limits.password_hashes),
            mails: Arc::new(Semaphore::new(limits.mails)),
            mail_fetches: Turns::new(limits.mail_fetches),
            mail_keeps: Turns::new(limits.mails),
            reply_key,
            state_key: sign(&secret, b"states of logins"),
            unproven: Unproven::new(limits.inflight_unproven_bytes),
            requests: Buckets::new(limits.tenant_requests_per_second),
            handshakes: Mutex::new(Bucket::new(
                limits.handshakes_per_second,
                limits.handshakes_per_second,
            )),
            naming: tokio::sync::Mutex::default(),
            ready: AtomicBool::new(false),
            store,
            config,
        });
        app.desk.begin().await.map_err(not_started)?;
        if !app.store.guarantees().settled {
            // A write of the process before may still land: nobody reads before it is settled.
            if let Ok(recovered) = caught_in("sweep", Box::pin(app.desk.recover())).await {
                recovered.map_err(not_started)?;
            }
        }
        if let Ok(resumed) = caught_in("fetch", Box::pin(app.fetcher.resume())).await {
            let messages = resumed.map_err(not_started)?;
            tracing::info!(messages, "files that were not fetched are fetched");
        }
        let (stop, stopping) = watch::channel(false);
        let metrics_text = scrape::router(recorder, app.clone(), own.embedded().cloned());
        let limited =
            |listener, most| Limited::new(listener, most, app.config.limits.connection_stall);
        let served = limited(listener, app.config.limits.connections);
        let scraped = limited(metrics_listener, METRICS_CONNECTIONS);
        // Whoever holds a connection does not take the time of what has to be finished.
        let drain = app.config.server.drain / 2;
        let tasks = vec![
            tokio::spawn(served.serve(edge::router(&app), stopping.clone(), drain)),
            tokio::spawn(scraped.serve(metrics_text, stopping.clone(), drain)),
            tokio::spawn(app.search.clone().run(index, stopping.clone())),
            sweep(app.clone(), stopping.clone()),
            clear(app.clone(), stopping.clone()),
            probe(app.clone(), stopping),
        ];
        app.ready.store(true, Ordering::Release);
        Ok(Self { app, address, metrics, stop, tasks, own })
    }

    /// Waits until another process may write what this one serves: it must end.
    pub async fn lost(&self) {
        self.own.lost().await;
    }

    /// Stops taking work, finishes what was taken, within `server.drain`. Answers whether all of it
    /// was.
    pub async fn stop(self) -> bool {
        let drain = self.app.config.server.drain;
        self.app.ready.store(false, Ordering::Release);
        self.stop.send_replace(true);
        let finish = async {
            self.app.hub.stop().await;
            for task in self.tasks {
                // A server's task ends when its connections have.
                let _ = task.await;
            }
            self.app.fetcher.stop().await;
            self.app.profiles.stop().await;
            self.app.outbox.stop().await;
            self.app.desk.stop(drain).await;
            self.own.give_back().await;
        };
        let is_finished = tokio::time::timeout(drain, finish).await.is_ok();
        if !is_finished {
            tracing::warn!("not everything was finished in `server.drain`");
        }
        is_finished
    }
}

fn not_started(error: impl std::fmt::Display) -> NotStarted {
    NotStarted(format!("the server cannot start: {error}"))
}

fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, NotStarted> {
    listen(address).map_err(|error| {
        NotStarted(format!(
            "cannot listen on {address} ({error}): stop what uses it, or set `{key}` to another address"
        ))
    })
}

/// Files, in a bucket or in a directory beside the store's. A bucket that refuses them is a mistake
/// that is told now; one that does not answer will, and all but files goes on without it.
async fn media(
    config: &Config,
    store: Arc<dyn Store>,
    stamps: Arc<Stamps>,
) -> Result<Media, NotStarted> {
    let limits = MediaLimits {
        tenant: config.limits.media_tenant_bytes as u64,
        reserve: config.limits.media_reserve_bytes as u64,
    };
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
        Ok(()) => {
            let (kept, orphans) = media.settle().await.map_err(not_started)?;
            tracing::info!(kept, orphans, "files that were on their way are settled");
        }
        // The next start settles them.
        Err(silent @ NotReached::Silent(_)) => tracing::warn!("{silent}; until then files get 503"),
        Err(refused @ NotReached::Refused(_)) => return Err(not_started(refused)),
    }
    Ok(media)
}

/// The configured secret, or one that is made once and kept in the store.
async fn jwt_secret(config: &Config, names: &Names) -> Result<Vec<u8>, NotStarted> {
    if let Some(secret) = &config.auth.jwt_secret {
        return Ok(secret.expose().as_bytes().to_vec());
    }
    let mut fresh = vec![0; 32];
    getrandom::fill(&mut fresh).map_err(not_started)?;
    names.claim(&Name::global("secret", "jwt"), fresh).await.map_err(not_started)
}

async fn feed_limits(config: &Config, names: &Names) -> Result<FeedLimits, NotStarted> {
    let mut fresh = [0; 4];
    getrandom::fill(&mut fresh).map_err(not_started)?;
    // Of the store, not of the run: logs go on after a restart.
    let name = Name::global("store", "incarnation");
    let incarnation = names.claim(&name, hex::encode(fresh)).await.map_err(not_started)?;
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

/// Takes up what was left undone, and does for accounts what is due at their providers, at the start and
/// every hour. Nobody waits for it: a thread that is spoken to before takes up its own. A stop does not wait
/// for it either: whatever is left is done by the next one.
fn sweep(app: App, mut stopping: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        tokio::select! {
            () = by_the_hour(&app) => {}
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
        }
    })
}

async fn by_the_hour(app: &App) {
    let mut hours = tokio::time::interval(Duration::from_secs(3600));
    loop {
        hours.tick().await;
        tokio::join!(take_up(app), look_after_accounts(app));
    }
}

async fn look_after_accounts(app: &App) {
    let looked = Box::pin(app.outbox.look_after_accounts());
    if let Ok(Err(error)) = caught_in("accounts", looked).await {
        tracing::warn!(%error, "accounts were not looked after; it is tried again");
    }
}

async fn take_up(app: &App) {
    while let Ok(swept) = caught_in("sweep", Box::pin(app.desk.recover())).await {
        match swept {
            Ok(threads) => return tracing::info!(threads, "what was left undone is taken up"),
            Err(error) => tracing::warn!(%error, "what was left undone is looked for again"),
        }
        tokio::time::sleep(SWEEP_AGAIN).await;
    }
}

/// Takes away files that show nowhere, now and every hour.
fn clear(app: App, mut stopping: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut hours = tokio::time::interval(Duration::from_secs(3600));
        let clear = async {
            loop {
                hours.tick().await;
                match caught_in("clear", Box::pin(app.fetcher.clear())).await {
                    Ok(Ok(files)) => tracing::info!(files, "files that showed nowhere are gone"),
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "files that show nowhere stay for an hour");
                    }
                    Err(_) => {}
                }
            }
        };
        tokio::select! {
            () = clear => {}
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
        }
    })
}

/// Asks a store that refused a write until it takes one again: who is not ready gets no work by
/// which that would show.
fn probe(app: App, mut stopping: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut takes = app.store.takes_writes();
        let ask = async {
            while takes.wait_for(|takes| !takes).await.is_ok() {
                tracing::error!(
                    "the store takes no writes: free space, or look at the disk or the cluster"
                );
                while !*takes.borrow() {
                    tokio::time::sleep(PROBE_EVERY).await;
                    // Once it is claimed nothing is written, but it would be refused all the same.
                    let _ = app.tenants.names().claim(&Name::global("store", "probe"), ()).await;
                }
                tracing::info!("the store takes writes again");
            }
        };
        tokio::select! {
            () = ask => {}
            () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => {}
        }
    })
}
