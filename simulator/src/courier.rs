//! Delivers signed webhooks, again and again as Meta does, with everything bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use crate::clock::Clock;
use crate::signature::sign;

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
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} delivered, {} given up; answers:", self.delivered, self.given_up)?;
        for (status, count) in &self.answers {
            write!(f, " {status} x {count}")?;
        }
        write!(f, " none x {}", self.errors)
    }
}

/// Delivers to one address at a time, which may be set later.
#[derive(Debug)]
pub(crate) struct Courier {
    http: reqwest::Client,
    url: Mutex<Option<Arc<str>>>,
    secret: String,
    retry: Retry,
    clock: Clock,
    posts: Semaphore,
    tally: watch::Sender<Tally>,
}

impl Courier {
    pub(crate) fn new(url: Option<String>, secret: String, retry: Retry, clock: Clock) -> Self {
        // Another crate of the process may have chosen a provider before; either will do.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build();
        Self {
            http: http.expect("no option here can be refused"),
            url: Mutex::new(url.map(Into::into)),
            secret,
            retry,
            clock,
            posts: Semaphore::new(POSTS),
            tally: watch::Sender::default(),
        }
    }

    pub(crate) fn deliver_to(&self, url: &str) {
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = Some(url.into());
    }

    /// A client for other requests.
    pub(crate) fn http(&self) -> reqwest::Client {
        self.http.clone()
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Waits until the tally satisfies `enough`.
    pub(crate) async fn until(&self, enough: impl Fn(&Tally) -> bool) {
        let mut tally = self.tally.subscribe();
        tally.wait_for(|tally| enough(tally)).await.expect("the sender is in self");
    }

    /// Delivers until answered 200 or out of attempts. Without an address nothing is subscribed,
    /// and the webhook is dropped.
    pub(crate) async fn deliver(&self, body: Bytes) {
        let url = self.url.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(url) = url else { return };
        let signature = sign(&self.secret, &body);
        let mut pause = self.retry.first;
        for attempt in 1.. {
            if self.post(&url, &signature, body.clone()).await {
                return self.tally.send_modify(|tally| tally.delivered += 1);
            }
            if attempt >= self.retry.attempts {
                break;
            }
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(self.retry.longest);
        }
        self.tally.send_modify(|tally| tally.given_up += 1);
    }

    async fn post(&self, url: &str, signature: &str, body: Bytes) -> bool {
        let _turn = self.posts.acquire().await.expect("never closed");
        let request = self.http.post(url).header(CONTENT_TYPE, "application/json");
        let answer = request.header("x-hub-signature-256", signature).body(body).send().await;
        match answer {
            Ok(answer) => {
                let status = answer.status().as_u16();
                self.tally.send_modify(|tally| *tally.answers.entry(status).or_default() += 1);
                status == 200
            }
            Err(error) => {
                tracing::debug!(%error, "a webhook had no answer");
                self.tally.send_modify(|tally| tally.errors += 1);
                false
            }
        }
    }
}
