//! A running server: everything started in order, and stopped in the other.

mod chores;
mod kept;
pub mod moving;
mod opening;
mod options;

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::desk::Desk;
use actors::effects::Effects;
use actors::feed::Hub;
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
use config::Config;
use engine::channel::signature::sign;
use engine::lending::Lender;
use storage::activity::Activities;
use storage::contacts::Contacts;
use storage::conversations::Conversations;
use storage::names::Names;
use storage::settings::Settings;
use storage::watched::Watched;
use storage::{Stamp, Store};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use self::kept::{answered, feed_limits, jwt_secret, media};
use self::opening::{Opened, Own};
use self::options::{desk_options, downloads, mailer, search_options};
use crate::answers::Answers;
use crate::app::{App, JwtKeys, Parts};
use crate::listener::{Limited, listen};
use crate::login_limits::LoginLimits;
use crate::naming::Naming;
use crate::places::Places;
use crate::rate::{Bucket, Buckets};
use crate::unproven::Unproven;
use crate::{edge, files, scrape};

/// Tenants, inboxes and sessions that stay in memory.
const TENANTS_MAX: usize = 1_000;
const SESSIONS_MAX: usize = 100_000;
/// So much of `server.drain`, at most a quarter, is kept for giving back what only one process has.
const GIVES_BACK: Duration = Duration::from_secs(1);
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
        begun(Self::start_until(config, pending()).await)
    }

    /// The same; `None`: `stop` was done before. What it had for itself then is given back.
    pub async fn start_until(
        config: Config,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, NotStarted> {
        let mut stop = pin!(stop);
        let parts = Beginning::new(&config)?;
        let owned = OnceLock::new();
        let opened = tokio::select! {
            opened = Box::pin(opening::open(&config, &parts, &owned)) => opened?,
            () = &mut stop => {
                if let Some(own) = owned.get() {
                    give_back(own, config.server.drain).await;
                }
                return Ok(None);
            }
        };
        Box::pin(Self::begin(config, parts, opened, stop)).await
    }

    /// The same over this store.
    pub async fn over(config: Config, store: Arc<dyn Store>) -> Result<Self, NotStarted> {
        let parts = Beginning::new(&config)?;
        let opened = Opened::new(store, Own::Nothing);
        begun(Self::begin(config, parts, opened, pending()).await)
    }

    /// What it has for itself is given back where it does not begin.
    async fn begin(
        config: Config,
        parts: Beginning,
        opened: Opened,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, NotStarted> {
        let (own, drain) = (opened.own.clone(), config.server.drain);
        let begun = tokio::select! {
            begun = Box::pin(Self::begin_with(config, parts, opened)) => begun.map(Some),
            () = own.lost() => Err(NotStarted(
                "another process has taken over: start this one again, and it stands by".to_owned(),
            )),
            () = stop => Ok(None),
        };
        if !matches!(begun, Ok(Some(_))) {
            give_back(&own, drain).await;
        }
        begun
    }

    async fn begin_with(
        config: Config,
        parts: Beginning,
        opened: Opened,
    ) -> Result<Self, NotStarted> {
        let Beginning { listener, metrics_listener, clock, stamps } = parts;
        let Opened { store, own, standby } = opened;
        let promised = store.guarantees();
        let recorder = scrape::recorder();
        let address = listener.local_addr().map_err(not_started)?;
        let metrics = metrics_listener.local_addr().map_err(not_started)?;
        let store = Arc::new(Watched::new(store));
        let public_url =
            config.server.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let (settings, names) = (Settings::new(store.clone()), Names::new(store.clone()));
        let secret = jwt_secret(&config, &names, promised).await?;
        let limits = &config.limits;
        let inboxes = Inboxes::new(Conversations::new(store.clone()), TENANTS_MAX);
        let hub = Hub::new(feed_limits(&config, &names, promised).await?, inboxes.clone());
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
        let options = desk_options(&config, stamps.newest());
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
            hashing: Turns::new(limits.password_hashes),
            mails: Arc::new(Semaphore::new(limits.mails)),
            mail_fetches: Turns::new(limits.mail_fetches),
            mail_keeps: Turns::new(limits.mails),
            reply_key,
            state_key: sign(&secret, b"states of logins"),
            unproven: Unproven::new(limits.inflight_unproven_bytes),
            requests: Buckets::new(limits.tenant_requests_per_second),
            answers: Answers::new(limits),
            handshakes: Mutex::new(Bucket::new(
                limits.handshakes_per_second,
                limits.handshakes_per_second,
            )),
            naming: Naming::default(),
            ready: AtomicBool::new(false),
            store,
            config,
        });
        answered(promised, || Box::pin(app.desk.begin())).await?;
        if !promised.settled {
            // A write of the process before may still land: nobody reads before it is settled.
            let recovered = answered(promised, || Box::pin(app.desk.recover()));
            if let Ok(recovered) = caught_in("sweep", recovered).await {
                recovered?;
            }
        }
        let resumed = answered(promised, || Box::pin(app.fetcher.resume()));
        if let Ok(resumed) = caught_in("fetch", resumed).await {
            let messages = resumed?;
            tracing::info!(messages, "files that were not fetched are fetched");
        }
        let (stop, stopping) = watch::channel(false);
        let metrics_text = scrape::router(recorder, app.clone(), own.embedded().cloned());
        let limited =
            |listener, most| Limited::new(listener, most, app.config.limits.connection_stall);
        let served = limited(listener, files::places(app.config.limits.connections));
        let scraped = limited(metrics_listener, METRICS_CONNECTIONS);
        // Whoever holds a connection does not take the time of what has to be finished.
        let drain = app.config.server.drain / 2;
        if let Some(standby) = standby {
            standby.end().await;
        }
        let tasks = vec![
            tokio::spawn(served.serve(edge::router(&app), stopping.clone(), drain)),
            tokio::spawn(scraped.serve(metrics_text, stopping.clone(), drain)),
            tokio::spawn(app.search.clone().run(index, stopping.clone())),
            chores::sweep(app.clone(), stopping.clone()),
            chores::clear(app.clone(), stopping.clone()),
            chores::probe(app.clone(), stopping),
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
        let Self { app, stop, tasks, own, .. } = self;
        let drain = app.config.server.drain;
        let until = Instant::now() + drain;
        app.ready.store(false, Ordering::Release);
        stop.send_replace(true);
        let finish = async {
            app.hub.stop().await;
            for task in tasks {
                // A server's task ends when its connections have.
                let _ = task.await;
            }
            app.fetcher.stop().await;
            app.profiles.stop().await;
            app.outbox.stop().await;
            app.desk.stop(drain).await;
        };
        let is_done = timeout_at(until - GIVES_BACK.min(drain / 4), finish).await.is_ok();
        // Also where not all of it is done: nothing is written from here on.
        let is_finished = timeout_at(until, own.give_back()).await.is_ok() && is_done;
        if !is_finished {
            tracing::warn!("not everything was finished in `server.drain`");
        }
        is_finished
    }
}

/// Of a start that nobody stops.
fn begun(begun: Result<Option<Server>, NotStarted>) -> Result<Server, NotStarted> {
    begun?.ok_or_else(|| NotStarted("the server was stopped before it served".to_owned()))
}

/// Whoever is stopped while nothing answers ends all the same.
async fn give_back(own: &Own, within: Duration) {
    if timeout(within, own.give_back()).await.is_err() {
        tracing::warn!("what this process has for itself was not given back in `server.drain`");
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
