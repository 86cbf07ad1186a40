//! Delivers signed webhooks, again and again as Meta does, with everything bounded.

mod faults;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, watch};

use crate::bodies;
use crate::clock::Clock;
use crate::signature::sign;
use faults::Waiting;
pub use faults::{Batch, Faults};

/// Posts on their way at once.
const POSTS: usize = 64;
/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a webhook that was not answered 200 is delivered again. Meta goes on for days with falling
/// frequency; this is the same curve on a shorter clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The pause before the second attempt; each later one is twice as long.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// Attempts in all, at least one.
    pub attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        let longest = Duration::from_secs(30);
        Self { first: Duration::from_millis(500), longest, attempts: 12 }
    }
}

/// What became of webhooks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Answers by HTTP status.
    pub answers: BTreeMap<u16, u64>,
    /// Attempts that had no answer.
    pub errors: u64,
    /// Webhooks answered 200.
    pub delivered: u64,
    /// Webhooks given up after their last attempt.
    pub given_up: u64,
    /// Answers to webhooks with a wrong signature, by HTTP status.
    pub forged: BTreeMap<u16, u64>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} delivered, {} given up; answers:", self.delivered, self.given_up)?;
        for (status, count) in &self.answers {
            write!(f, " {status} x {count}")?;
        }
        write!(f, " none x {}", self.errors)?;
        for (status, count) in &self.forged {
            write!(f, "; wrongly signed: {status} x {count}")?;
        }
        Ok(())
    }
}

/// Delivers to one address, which may be set later, unless a webhook has one of its own.
#[derive(Debug)]
pub(crate) struct Courier {
    http: reqwest::Client,
    url: Mutex<Option<Arc<str>>>,
    secret: String,
    retry: Retry,
    clock: Clock,
    faults: Mutex<Faults>,
    chance: Mutex<StdRng>,
    /// Updates that wait to leave as one.
    waiting: Mutex<Vec<Waiting>>,
    full: Notify,
    /// Whether everything waits.
    held: watch::Sender<bool>,
    posts: Semaphore,
    tally: watch::Sender<Tally>,
}

impl Courier {
    pub(crate) fn new(
        url: Option<String>,
        secret: String,
        retry: Retry,
        clock: Clock,
        seed: u64,
    ) -> Self {
        // Another crate of the process may have chosen a provider before; either will do.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Self {
            http: http.expect("no option here can be refused"),
            url: Mutex::new(url.map(Into::into)),
            secret,
            retry,
            clock,
            faults: Mutex::default(),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
            waiting: Mutex::default(),
            full: Notify::new(),
            held: watch::Sender::default(),
            posts: Semaphore::new(POSTS),
            tally: watch::Sender::default(),
        }
    }

    pub(crate) fn deliver_to(&self, url: &str) {
        *lock(&self.url) = Some(url.into());
    }

    /// Where webhooks go that have no address of their own.
    pub(crate) fn url(&self) -> Option<Arc<str>> {
        lock(&self.url).clone()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *lock(&self.faults) = faults;
    }

    pub(crate) fn set_seed(&self, seed: u64) {
        *lock(&self.chance) = StdRng::seed_from_u64(seed);
    }

    /// Lets webhooks wait, or lets all that wait go at once.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// A client for other requests.
    pub(crate) fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    pub(crate) fn forget(&self) {
        self.tally.send_replace(Tally::default());
    }

    /// Waits until the tally satisfies `enough`.
    pub(crate) async fn until(&self, enough: impl Fn(&Tally) -> bool) {
        let mut tally = self.tally.subscribe();
        tally.wait_for(|tally| enough(tally)).await.expect("the sender is in self");
    }

    /// Delivers with whatever goes wrong, to this address or the common one, and says whether it
    /// was answered 200. Without any address nothing is subscribed, and the webhook is dropped.
    pub(crate) async fn deliver(&self, to: Option<Arc<str>>, webhook: Value) -> bool {
        let Some(url) = to.or_else(|| self.url()) else { return false };
        let faults = lock(&self.faults).clone();
        if self.chance(faults.late) {
            self.clock.sleep(faults.late_by).await;
        }
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.expect("the sender is in self");
        match faults.batch {
            Some(batch) => self.in_batch(url, webhook, batch, &faults).await,
            None => self.send(&url, webhook, &faults).await,
        }
    }

    /// Delivers one webhook, as often and in such forms as the faults want.
    async fn send(&self, url: &str, mut webhook: Value, faults: &Faults) -> bool {
        let again = self.chance(faults.in_two_posts).then(|| faults::otherwise(&webhook));
        if self.chance(faults.twice_in_one) {
            webhook = bodies::batch([webhook.clone(), webhook]);
        }
        let is_plain = self.chance(faults.plain);
        let body = if is_plain { bodies::plain_wire(&webhook) } else { bodies::wire(&webhook) };
        if self.chance(faults.forged) {
            self.forge(url, body.clone()).await;
        }
        let repeats = self.chance(faults.repeats);
        let (first, ..) = tokio::join!(
            self.deliver_bytes(url, body.clone()),
            async {
                if repeats {
                    self.deliver_bytes(url, body).await;
                }
            },
            async {
                if let Some(again) = again {
                    self.deliver_bytes(url, bodies::wire(&again)).await;
                }
            },
        );
        first
    }

    /// Delivers until answered 200 or out of attempts, to the common address.
    pub(crate) async fn deliver_body(&self, body: Bytes) {
        if let Some(url) = self.url() {
            self.deliver_bytes(&url, body).await;
        }
    }

    async fn deliver_bytes(&self, url: &str, body: Bytes) -> bool {
        let signature = sign(&self.secret, &body);
        let mut pause = self.retry.first;
        for attempt in 1.. {
            if self.post(url, &signature, body.clone()).await {
                self.tally.send_modify(|tally| tally.delivered += 1);
                return true;
            }
            if attempt >= self.retry.attempts {
                break;
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(self.retry.longest);
        }
        self.tally.send_modify(|tally| tally.given_up += 1);
        false
    }

    async fn post(&self, url: &str, signature: &str, body: Bytes) -> bool {
        match self.answer(url, signature, body).await {
            Some(status) => {
                self.tally.send_modify(|tally| *tally.answers.entry(status).or_default() += 1);
                status == 200
            }
            None => {
                self.tally.send_modify(|tally| tally.errors += 1);
                false
            }
        }
    }

    /// Posts once with a signature of somebody else's secret.
    async fn forge(&self, url: &str, body: Bytes) {
        let signature = sign("nobody's secret", &body);
        if let Some(status) = self.answer(url, &signature, body).await {
            self.tally.send_modify(|tally| *tally.forged.entry(status).or_default() += 1);
        }
    }

    async fn answer(&self, url: &str, signature: &str, body: Bytes) -> Option<u16> {
        let _turn = self.posts.acquire().await.expect("never closed");
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json");
        let request = request.header("x-hub-signature-256", signature).body(body);
        match request.send().await {
            Ok(answer) => Some(answer.status().as_u16()),
            Err(error) => {
                tracing::debug!(%error, "a webhook had no answer");
                None
            }
        }
    }

    fn chance(&self, share: f64) -> bool {
        share > 0.0 && lock(&self.chance).random_bool(share.min(1.0))
    }
}

/// Whoever panicked while holding it left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
