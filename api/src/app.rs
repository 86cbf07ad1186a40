//! What every handler reaches.

use std::net::{IpAddr, SocketAddr};
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

use crate::answers::Answers;
use crate::login_limits::LoginLimits;
use crate::naming::Naming;
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
    /// Passwords are hashed by so many at once, in turn.
    pub hashing: Turns,
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
    pub answers: Answers,
    /// New sockets.
    pub handshakes: Mutex<Bucket>,
    /// Each name is held from its claim until its holder is written.
    pub naming: Naming,
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
        client_address(&self.config.server.trusted_proxies, peer, headers)
    }
}

/// The nearest address that is no proxy's. Each proxy has written from whom it has the request
/// behind what was written before it; where that cannot be read it is the proxy that counts: what
/// stands further left may be anybody's words.
fn client_address(proxies: &[IpAddr], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let is_proxy = |address: IpAddr| proxies.iter().any(|proxy| proxy.to_canonical() == address);
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let parts = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let (mut nearest, mut addresses) = (peer.to_canonical(), parts.map(address));
    while is_proxy(nearest)
        && let Some(Some(next)) = addresses.next()
    {
        nearest = next;
    }
    nearest
}

/// An address with its port or without.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = |_| text.parse::<SocketAddr>().map(|at| at.ip());
    text.parse::<IpAddr>().or_else(with_port).ok().map(|address| address.to_canonical())
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use axum::http::{HeaderMap, HeaderValue};

    use super::client_address;

    #[test]
    fn the_address_that_counts_is_the_nearest_that_is_no_proxy_s() {
        let proxies = ["10.0.0.1", "::ffff:10.0.0.2"].map(|proxy| proxy.parse::<IpAddr>().unwrap());
        for (peer, lines, wanted) in [
            ("192.0.2.1", vec!["203.0.113.7"], "192.0.2.1"),
            ("::ffff:192.0.2.1", vec![], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", vec!["6.6.6.6", "203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", vec!["6.6.6.6, 203.0.113.7,10.0.0.2"], "203.0.113.7"),
            ("10.0.0.1", vec!["6.6.6.6, 203.0.113.7", "10.0.0.2:80"], "203.0.113.7"),
            ("::ffff:10.0.0.1", vec!["6.6.6.6, 203.0.113.7:51324"], "203.0.113.7"),
            ("10.0.0.2", vec!["6.6.6.6, [2001:db8::7]:51324 , ::ffff:10.0.0.1"], "2001:db8::7"),
            ("10.0.0.1", vec!["6.6.6.6, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["6.6.6.6", "\u{e9}", "10.0.0.2"], "10.0.0.2"),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
                headers.append("x-forwarded-for", line);
            }
            let counts = client_address(&proxies, peer.parse().unwrap(), &headers);
            assert_eq!(counts.to_string(), wanted, "{peer} says {lines:?}");
        }
    }
}
