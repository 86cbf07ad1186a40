//! Scripted customers who write to the business.

mod crowd;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::bodies;
use crate::clock::Clock;
use crate::courier::{Courier, Retry, Tally};
use crate::graph::{Sends, Sent};
use crate::people::Business;
use crowd::Crowd;

/// Webhooks that are not answered 200 yet; beyond it the customers wait.
const IN_FLIGHT: usize = 5_000;
/// How long the last webhooks may take after the end.
const GRACE: Duration = Duration::from_secs(10);
/// How long one look for answers waits for them.
const LISTEN_MS: u64 = 5_000;
/// Answers heard and not yet taken up; beyond it listening waits.
const HEARD: usize = 1_024;
/// The share of bursts that come as one webhook with several messages.
const BATCHED: f64 = 0.25;

/// Who writes, where to, and how much.
#[derive(Clone, Debug)]
pub struct CustomerOptions {
    pub webhook_url: String,
    /// Signs the webhooks.
    pub app_secret: String,
    /// The business they write to.
    pub business: Business,
    /// The stand-in that the business answers through: customers then wait for an answer before
    /// they go on, and ask again when none comes. Without it they talk on by themselves.
    pub graph_url: Option<String>,
    /// How many people, at least one.
    pub people: usize,
    /// Messages a second of all together, at random intervals; 0 pauses.
    pub rate: f64,
    /// Ends after so many messages.
    pub messages: Option<u64>,
    /// Ends after so long.
    pub duration: Option<Duration>,
    /// The share (0 to 1) of turns that are more than text: pictures, places, reactions, edits,
    /// deletions, and pressed buttons where the business sent some.
    pub variety: f64,
    /// The share (0 to 1) of webhooks that come twice, at the same time.
    pub duplicates: f64,
    /// What a person writes in one go is delivered one after the other; else it may overtake
    /// itself, as providers let it.
    pub in_order: bool,
    pub retry: Retry,
    /// Everything random derives from it, message ids too: take another seed for every run over a
    /// store that is kept.
    pub seed: u64,
    /// Told the id of every message and when it is written, as far as there is room.
    pub tell: Option<mpsc::Sender<(String, Instant)>>,
}

impl CustomerOptions {
    /// Twenty people who write one message a second to this business until stopped.
    pub fn new(
        webhook_url: impl Into<String>,
        app_secret: impl Into<String>,
        business: impl Into<Business>,
    ) -> Self {
        Self {
            webhook_url: webhook_url.into(),
            app_secret: app_secret.into(),
            business: business.into(),
            graph_url: None,
            people: 20,
            rate: 1.0,
            messages: None,
            duration: None,
            variety: 0.0,
            duplicates: 0.05,
            in_order: false,
            retry: Retry::default(),
            seed: 1,
            tell: None,
        }
    }
}

/// What customers did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Messages written; each has an id of its own.
    pub messages: u64,
    /// Reactions, edits and deletions.
    pub amendments: u64,
    /// Webhooks sent a second time.
    pub duplicates: u64,
    /// Answers of the business heard.
    pub heard: u64,
    /// What became of the webhooks, duplicates included.
    pub webhooks: Tally,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { messages, amendments, duplicates, heard, webhooks } = self;
        write!(f, "{messages} messages written, {heard} answers heard; ")?;
        if *amendments > 0 {
            write!(f, "{amendments} reactions, edits and deletions; ")?;
        }
        write!(f, "webhooks, {duplicates} of them twice: {webhooks}")
    }
}

/// Customers at work; they stop when dropped.
#[derive(Debug)]
pub struct Customers {
    rate: watch::Sender<f64>,
    summary: watch::Receiver<Summary>,
    courier: Arc<Courier>,
    run: JoinHandle<()>,
}

impl Customers {
    /// Lets them write.
    pub fn start(options: CustomerOptions) -> Self {
        let (rate, rates) = watch::channel(options.rate);
        let (told, summary) = watch::channel(Summary::default());
        let (url, clock) = (Some(options.webhook_url.clone()), Clock::default());
        let courier = Arc::new(Courier::new(
            url,
            options.app_secret.clone(),
            options.retry,
            clock.clone(),
            options.seed,
        ));
        let street = Street {
            crowd: Crowd::new(
                &options.business,
                options.people,
                options.graph_url.is_some(),
                options.variety,
                options.seed,
            ),
            chance: StdRng::seed_from_u64(options.seed),
            courier: Arc::clone(&courier),
            clock,
            rates,
            told,
            tasks: JoinSet::new(),
            options,
        };
        Self { rate, summary, courier, run: tokio::spawn(street.run()) }
    }

    /// Lets them write so many messages a second from now on; 0 pauses.
    pub fn set_rate(&self, rate: f64) {
        self.rate.send_replace(rate);
    }

    /// Says what they did so far, also when they have been stopped.
    pub fn watch(&self) -> impl Fn() -> Summary + Send + 'static {
        let (courier, summary) = (Arc::clone(&self.courier), self.summary.clone());
        move || Summary { webhooks: courier.tally(), ..summary.borrow().clone() }
    }

    /// Waits until they are through, which they never are without a limit of messages or time.
    pub async fn finished(mut self) -> Summary {
        if let Err(error) = (&mut self.run).await {
            tracing::error!(%error, "the customers ended early");
        }
        self.watch()()
    }
}

impl Drop for Customers {
    fn drop(&mut self) {
        self.run.abort();
    }
}

struct Street {
    options: CustomerOptions,
    crowd: Crowd,
    chance: StdRng,
    courier: Arc<Courier>,
    clock: Clock,
    rates: watch::Receiver<f64>,
    told: watch::Sender<Summary>,
    tasks: JoinSet<()>,
}

impl Street {
    async fn run(mut self) {
        let (hear, mut heard) = mpsc::channel(HEARD);
        let mut listening = JoinSet::new();
        if let Some(graph) = &self.options.graph_url {
            listening.spawn(listen(self.courier.http(), graph.clone(), hear));
        }
        let end = self.options.duration.map(|duration| Instant::now() + duration);
        let mut due = Instant::now();
        while !self.is_done() {
            let rate = *self.rates.borrow_and_update();
            tokio::select! {
                () = sleep_until(due), if rate > 0.0 => {
                    let written = self.write().await;
                    // Many independent people arrive as a Poisson process.
                    let gap = -(1.0 - self.chance.random::<f64>()).ln() * written / rate;
                    due += Duration::from_secs_f64(gap.min(3600.0));
                }
                changed = self.rates.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    due = Instant::now();
                }
                Some(sent) = heard.recv() => {
                    // Others may send by the same provider.
                    let is_theirs = sent.phone_number_id == self.options.business.key();
                    if is_theirs && self.crowd.hear(&sent) {
                        self.told.send_modify(|summary| summary.heard += 1);
                    }
                }
                () = sleep_until(end.unwrap_or(due)), if end.is_some() => break,
            }
        }
        let last = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, last).await.is_err() {
            tracing::warn!("webhooks were still unanswered at the end");
        }
    }

    fn is_done(&self) -> bool {
        self.options.messages.is_some_and(|limit| self.told.borrow().messages >= limit)
    }

    /// Lets one person do what comes next, and says how many messages it were.
    async fn write(&mut self) -> f64 {
        let said = self.crowd.speak(&mut self.chance);
        let (mut webhooks, mut written) = (Vec::with_capacity(said.acts.len()), 0_u32);
        for act in &said.acts {
            let person = self.crowd.person(said.who);
            let deeds = match person.act_at(&self.options.business, act, self.clock.now_ms()) {
                Ok(deeds) => deeds,
                Err(reason) => {
                    tracing::debug!(reason, "a customer could not do what they wanted");
                    continue;
                }
            };
            webhooks.extend(deeds.webhooks);
            if !deeds.opens_window {
                self.told.send_modify(|summary| summary.amendments += 1);
                continue;
            }
            for id in deeds.ids {
                written += 1;
                self.told.send_modify(|summary| summary.messages += 1);
                if let Some(tell) = &self.options.tell {
                    // Who does not listen misses something.
                    let _heard = tell.try_send((id, Instant::now()));
                }
            }
        }
        if webhooks.len() > 1 && self.chance.random_bool(BATCHED) {
            webhooks = vec![bodies::batch(webhooks)];
        }
        let mut all = Vec::with_capacity(webhooks.len() * 2);
        for webhook in webhooks {
            let body = bodies::wire(&webhook);
            if self.chance.random_bool(self.options.duplicates.clamp(0.0, 1.0)) {
                self.told.send_modify(|summary| summary.duplicates += 1);
                all.push(body.clone());
            }
            all.push(body);
        }
        if self.options.in_order {
            self.deliver(all).await;
        } else {
            for body in all {
                self.deliver(vec![body]).await;
            }
        }
        f64::from(written.max(1))
    }

    /// Lets these leave one after the other.
    async fn deliver(&mut self, bodies: Vec<Bytes>) {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() >= IN_FLIGHT {
            self.tasks.join_next().await;
        }
        let courier = Arc::clone(&self.courier);
        self.tasks.spawn(async move {
            for body in bodies {
                courier.deliver_body(body).await;
            }
        });
    }
}

/// Passes on everything that the business sends.
async fn listen(http: reqwest::Client, graph: String, hear: mpsc::Sender<Sent>) {
    let mut after = 0;
    loop {
        let url = format!("{graph}/_sim/sends?after={after}&wait_ms={LISTEN_MS}");
        let page = async { http.get(url).send().await?.json::<Sends>().await };
        match page.await {
            Ok(page) => {
                for sent in page.sends {
                    after = sent.n;
                    if hear.send(sent).await.is_err() {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "customers cannot hear the business");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
