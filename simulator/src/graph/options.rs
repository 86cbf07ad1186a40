//! How a stand-in behaves.

use std::net::SocketAddr;
use std::time::Duration;

use super::limits::Limits;
use crate::bodies::{Account, Page};
use crate::courier::{Faults, Retry};

/// How a [`Graph`](super::Graph) behaves.
#[derive(Clone, Debug)]
pub struct GraphOptions {
    /// Where it serves; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where its webhooks go; may be set later with [`Graph::deliver_to`](super::Graph::deliver_to).
    pub webhook_url: Option<String>,
    /// Signs its webhooks.
    pub app_secret: String,
    /// The only access token it takes; without one, any.
    pub access_token: Option<String>,
    /// When access tokens say that they end, in seconds since 1970; without it they do not. (It takes
    /// them all the same.)
    pub token_ends_at: Option<i64>,
    /// The only numbers it knows; without any it knows every number asked for.
    pub accounts: Vec<Account>,
    /// The only pages of Messenger and accounts of Instagram it knows; without any, every id asked
    /// for is a page.
    pub pages: Vec<Page>,
    /// Message ids and chance derive from it. Over a store that is kept, take another seed for
    /// every run: a known message id is a duplicate.
    pub seed: u64,
    pub delays: StatusDelays,
    /// What a number may send.
    pub limits: Limits,
    /// How fast simulated time runs: 60 is a minute a second, at 0 it stands until it is set
    /// forward. Delays, limits and retries keep to it.
    pub pace: f64,
    /// Whether free text is refused to a customer whom it never saw writing. Otherwise it is only
    /// refused 24 hours after what it saw of them.
    pub strict_window: bool,
    /// How long every answer takes: between the least and the most, simulated time.
    pub latency: (Duration, Duration),
    /// What goes wrong with its webhooks.
    pub faults: Faults,
    /// The share (0 to 1) of sends whose statuses come in the wrong order, `read` first, and `sent`
    /// twice.
    pub disorder: f64,
    /// The share whose status `delivered` is left out where they are read.
    pub undelivered: f64,
    /// The share whose first status is delivered before the send is answered.
    pub early: f64,
    /// How long a template is under review, simulated time.
    pub review: Duration,
    pub retry: Retry,
    /// Sends whose statuses are not all delivered yet; beyond it sends are refused with 130429.
    pub in_flight: usize,
    /// Sends, read marks and requests that it remembers; beyond it the oldest are forgotten.
    pub remember: usize,
    /// Bytes of uploaded media that it remembers; beyond it the oldest are forgotten.
    pub remember_media: usize,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            webhook_url: None,
            app_secret: "simulated-app-secret".into(),
            access_token: None,
            token_ends_at: None,
            accounts: Vec::new(),
            pages: Vec::new(),
            seed: 1,
            delays: StatusDelays::default(),
            limits: Limits::default(),
            pace: 1.0,
            strict_window: false,
            latency: (Duration::ZERO, Duration::ZERO),
            faults: Faults::default(),
            disorder: 0.0,
            undelivered: 0.0,
            early: 0.0,
            review: Duration::from_secs(3),
            retry: Retry::default(),
            in_flight: 20_000,
            remember: 100_000,
            remember_media: 256 << 20,
        }
    }
}

/// How long after a send each of its statuses comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusDelays {
    pub sent: Duration,
    pub delivered: Duration,
    /// Never when absent.
    pub read: Option<Duration>,
}

impl Default for StatusDelays {
    fn default() -> Self {
        Self {
            sent: Duration::from_millis(80),
            delivered: Duration::from_millis(400),
            read: Some(Duration::from_millis(2500)),
        }
    }
}
