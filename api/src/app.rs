//! What every handler reaches.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actors::desk::Desk;
use actors::downloads::Downloads;
use actors::feed::Hub;
use actors::fetcher::Fetcher;
use actors::grants::Grants;
use actors::inbox::Inboxes;
use actors::outbox::Outbox;
use actors::profiles::Profiles;
use actors::search::Search;
use actors::tenants::Tenants;
use actors::turns::Turns;
use axum::http::HeaderMap;
use config::Config;
use engine::id::TenantId;
use engine::lending::Lender;
use jsonwebtoken::{DecodingKey, EncodingKey};
use storage::Store;
use storage::activity::Activities;
use storage::media::Media;
use storage::watched::Watched;
use tokio::sync::Semaphore;

use crate::login_limits::LoginLimits;
use crate::places::Places;
use crate::rate::{Bucket, Buckets};
use crate::socket::Frame;
use crate::unproven::Unproven;

/// The running server, as handlers see it. Clones are the same.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What a server is made of.
pub struct Parts {
    pub config: Config,
    /// How providers and browsers reach it.
    pub public_url: String,
    pub tenants: Tenants,
    pub activity: Activities,
    pub desk: Desk,
    pub inboxes: Inboxes,
    pub outbox: Outbox,
    pub grants: Grants,
    pub fetcher: Fetcher,
    pub profiles: Profiles,
    pub media: Media,
    pub downloads: Downloads,
    pub uploads: Places,
    /// Requests that ask providers about accounts.
    pub account_calls: Places,
    pub lender: Lender,
    pub hub: Hub<Frame>,
    pub search: Search,
    pub jwt: JwtKeys,
    pub login_limits: LoginLimits,
    /// Passwords are hashed by so many at once.
    pub hashing: Semaphore,
    /// Mails are taken apart by so many at once.
    pub mails: Arc<Semaphore>,
    /// So many are being fetched from their providers, tenant by tenant,
    pub mail_fetches: Turns,
    /// and of so many files are being kept.
    pub mail_keeps: Turns,
    /// Signs the addresses by which mails are answered.
    pub reply_key: [u8; 32],
    /// Signs the states of logins at providers.
    pub state_key: [u8; 32],
    /// Bodies of which nobody knows yet whose they are.
    pub unproven: Arc<Unproven>,
    /// How fast each tenant's people may ask.
    pub requests: Buckets<TenantId>,
    /// New sockets.
    pub handshakes: Mutex<Bucket>,
    /// Held from the claim of a name until its holder is written: to everybody else a claim
    /// without its holder is one that was given up.
    pub naming: tokio::sync::Mutex<()>,
    pub ready: AtomicBool,
    pub store: Arc<Watched>,
}

/// The secret that signs access tokens.
pub struct JwtKeys {
    pub sign: EncodingKey,
    pub check: DecodingKey,
}

impl App {
    /// Of its parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Whether it takes work.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
            && self.store.holds()
            && *self.store.takes_writes().borrow()
    }

    /// Whether one more socket may be opened now.
    pub fn handshake(&self) -> bool {
        self.handshakes.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whose address counts: the peer's, unless it is a configured proxy that names another.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let proxies = &self.config.server.trusted_proxies;
        if !proxies.contains(&peer) {
            return peer;
        }
        let forwarded = headers.get("x-forwarded-for").and_then(|list| list.to_str().ok());
        let addresses = forwarded.unwrap_or_default().rsplit(',');
        let mut addresses = addresses.filter_map(|address| address.trim().parse().ok());
        addresses.find(|address| !proxies.contains(address)).unwrap_or(peer)
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl JwtKeys {
    /// Of a secret.
    pub fn new(secret: &[u8]) -> Self {
        Self { sign: EncodingKey::from_secret(secret), check: DecodingKey::from_secret(secret) }
    }
}
