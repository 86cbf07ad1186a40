//! The stand-in for the WhatsApp part of the Graph API.

mod book;
mod limits;
mod routes;
mod traffic;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bodies::{self, Account};
use crate::clock::Clock;
use crate::courier::{Courier, Retry, Tally};
use crate::failure::{Fate, UNDELIVERABLE};
use book::Book;
pub use book::{Counts, ReadMark, Sends, Sent};
use limits::Limiter;
pub use limits::Limits;
pub use traffic::{NumberTraffic, Passed, Traffic};

/// How a [`Graph`] behaves.
#[derive(Clone, Debug)]
pub struct GraphOptions {
    /// Where it serves; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where its webhooks go; may be set later with [`Graph::deliver_to`].
    pub webhook_url: Option<String>,
    /// Signs its webhooks.
    pub app_secret: String,
    /// The only access token it takes; without one, any.
    pub access_token: Option<String>,
    /// The only numbers it knows; without any it knows every number asked for.
    pub accounts: Vec<Account>,
    /// Message ids and chance derive from it. Over a store that is kept, take another seed for
    /// every run: a known message id is a duplicate.
    pub seed: u64,
    pub delays: StatusDelays,
    /// What a number may send.
    pub limits: Limits,
    /// How fast simulated time runs: 60 is a minute a second, at 0 it stands until it is set
    /// forward. Delays, limits and retries keep to it.
    pub pace: f64,
    /// The share (0 to 1) of sends whose statuses come in the wrong order, `read` first, and `sent`
    /// twice.
    pub disorder: f64,
    pub retry: Retry,
    /// Sends whose statuses are not all delivered yet; beyond it sends are refused with 130429.
    pub in_flight: usize,
    /// Sends and read marks that it remembers; beyond it the oldest are forgotten.
    pub remember: usize,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            webhook_url: None,
            app_secret: "simulated-app-secret".into(),
            access_token: None,
            accounts: Vec::new(),
            seed: 1,
            delays: StatusDelays::default(),
            limits: Limits::default(),
            pace: 1.0,
            disorder: 0.0,
            retry: Retry::default(),
            in_flight: 20_000,
            remember: 100_000,
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

/// A running stand-in; it stops when dropped.
#[derive(Debug)]
pub struct Graph {
    address: SocketAddr,
    desk: Arc<Desk>,
    server: tokio::task::JoinHandle<()>,
}

impl Graph {
    /// Serves.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(options: GraphOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let clock = Clock::new(options.pace);
        let (url, secret) = (options.webhook_url.clone(), options.app_secret.clone());
        let desk = Arc::new(Desk {
            courier: Courier::new(url, secret, options.retry, clock.clone()),
            clock,
            book: Mutex::new(Book::new(options.seed, options.remember)),
            limiter: Mutex::new(Limiter::new(options.limits)),
            expired: Mutex::default(),
            counts: watch::Sender::default(),
            traffic: watch::Sender::default(),
            tasks: Mutex::new(JoinSet::new()),
            options,
        });
        let router = routes::router(Arc::clone(&desk));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the Graph stand-in stopped");
            }
        });
        Ok(Self { address, desk, server })
    }

    /// Its base, `http://ADDRESS:PORT`, as the engine's `meta.graph_url` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends webhooks there from now on.
    pub fn deliver_to(&self, webhook_url: &str) {
        self.desk.courier.deliver_to(webhook_url);
    }

    /// What it accepted, as far as it remembers.
    pub fn sends(&self) -> Sends {
        self.desk.book().sends()
    }

    /// The read marks it got, as far as it remembers.
    pub fn read_marks(&self) -> Vec<ReadMark> {
        self.desk.book().read_marks()
    }

    /// How many requests ended how.
    pub fn counts(&self) -> Counts {
        *self.desk.counts.borrow()
    }

    /// What became of its webhooks.
    pub fn tally(&self) -> Tally {
        self.desk.courier.tally()
    }

    /// How sends ended, by number and by recipient.
    pub fn traffic(&self) -> Traffic {
        self.desk.traffic.borrow().clone()
    }

    /// Sets simulated time forward: what was due until then happens at once.
    pub fn advance(&self, by: Duration) {
        self.desk.clock.advance(by);
    }

    /// Lets this number send so many messages a second from now on.
    pub fn set_throughput(&self, phone_number_id: &str, per_second: u32) {
        lock(&self.desk.limiter).set_throughput(phone_number_id, per_second);
    }

    /// Answers every request about this number with 190, as if its access token had expired, until
    /// [`renew_token`](Self::renew_token).
    pub fn expire_token(&self, phone_number_id: &str) {
        lock(&self.desk.expired).insert(phone_number_id.to_owned());
    }

    /// Takes this number's access token again.
    pub fn renew_token(&self, phone_number_id: &str) {
        lock(&self.desk.expired).remove(phone_number_id);
    }

    /// Waits until its counts satisfy `enough`.
    pub async fn until(&self, enough: impl Fn(&Counts) -> bool) {
        self.desk.until(enough).await;
    }

    /// Waits until how sends ended satisfies `enough`.
    pub async fn until_traffic(&self, enough: impl Fn(&Traffic) -> bool) {
        let mut traffic = self.desk.traffic.subscribe();
        traffic.wait_for(|traffic| enough(traffic)).await.expect("the sender is in self");
    }

    /// Waits until what became of its webhooks satisfies `enough`.
    pub async fn until_tally(&self, enough: impl Fn(&Tally) -> bool) {
        self.desk.courier.until(enough).await;
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.server.abort();
        lock(&self.desk.tasks).abort_all();
    }
}

/// What the handlers share.
#[derive(Debug)]
struct Desk {
    options: GraphOptions,
    clock: Clock,
    courier: Courier,
    book: Mutex<Book>,
    limiter: Mutex<Limiter>,
    /// Numbers whose access token is not taken.
    expired: Mutex<HashSet<String>>,
    counts: watch::Sender<Counts>,
    traffic: watch::Sender<Traffic>,
    /// One task for each accepted send, until its last status is delivered.
    tasks: Mutex<JoinSet<()>>,
}

/// Whoever panicked while holding it left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    async fn until(&self, enough: impl Fn(&Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        counts.wait_for(|counts| enough(counts)).await.expect("the sender is in self");
    }

    /// The account of this number, if it is known.
    fn account(&self, phone_number_id: &str) -> Option<Account> {
        if self.options.accounts.is_empty() {
            return Some(Account::new(phone_number_id));
        }
        let mut known = self.options.accounts.iter();
        known.find(|account| account.phone_number_id == phone_number_id).cloned()
    }

    /// Counts how a send ended: accepted, or refused with a code.
    fn count(&self, number: &str, to: Option<&str>, refused: Option<u32>) {
        self.traffic.send_modify(|traffic| traffic.count(number, to, refused));
        self.counts.send_modify(|counts| match refused {
            None => counts.accepted += 1,
            Some(_) => counts.refused += 1,
        });
    }

    /// Whether there is room for one more send.
    fn has_room(&self) -> bool {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.len() < self.options.in_flight
    }

    /// Delivers the statuses of an accepted send, each at its own time.
    fn report(self: &Arc<Self>, account: Account, sent: Sent, fate: Fate) {
        let disorder = self.book().chance(self.options.disorder);
        let (desk, steps) = (Arc::clone(self), self.steps(fate, disorder));
        lock(&self.tasks).spawn(async move {
            let mut each = JoinSet::new();
            for (status, delay) in steps {
                let (desk, account, sent) = (Arc::clone(&desk), account.clone(), sent.clone());
                each.spawn(async move {
                    desk.clock.sleep(delay).await;
                    let body = status_body(&account, &sent, status, desk.clock.now());
                    desk.courier.deliver(body).await;
                });
            }
            each.join_all().await;
        });
    }

    fn steps(&self, fate: Fate, disorder: bool) -> Vec<(&'static str, Duration)> {
        let StatusDelays { sent, delivered, read } = self.options.delays;
        if fate == Fate::FailLater {
            return vec![("sent", sent), ("failed", delivered)];
        }
        let last = read.unwrap_or(delivered);
        match (disorder, read) {
            (false, None) => vec![("sent", sent), ("delivered", delivered)],
            (false, Some(read)) => vec![("sent", sent), ("delivered", delivered), ("read", read)],
            (true, None) => vec![("delivered", sent), ("sent", last), ("sent", last)],
            (true, Some(_)) => {
                vec![("read", sent), ("delivered", delivered), ("sent", last), ("sent", last)]
            }
        }
    }
}

fn status_body(account: &Account, sent: &Sent, status: &'static str, at: i64) -> Bytes {
    let failed = (UNDELIVERABLE.code, UNDELIVERABLE.details);
    bodies::wire(&bodies::status(
        account,
        &bodies::Status {
            id: &sent.wamid,
            to: &sent.to,
            status,
            at,
            opaque: sent.opaque.as_deref(),
            error: (status == "failed").then_some(failed),
        },
    ))
}
