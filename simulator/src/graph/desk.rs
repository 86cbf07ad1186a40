//! What the handlers share, and what happens after a send was accepted.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::book::{Book, Counts, Sent};
use super::callbacks::Callbacks;
use super::carried::Carried;
use super::limits::Limiter;
use super::logins::Logins;
use super::numbers::Numbers;
use super::options::{GraphOptions, StatusDelays};
use super::people::People;
use super::profiles::Profiles;
use super::templates::Templates;
use super::traffic::Traffic;
use super::trouble::Troubles;
use super::uploads::Uploads;
use super::usage::Usage;
use super::windows::Windows;
use crate::bodies::{self, Account};
use crate::clock::Clock;
use crate::courier::Courier;
use crate::error::UNDELIVERABLE;
use crate::failure::Fate;

/// Reads are followed by `played`, of what can be played, after this part of the time to them.
const PLAYED: u32 = 4;

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) options: GraphOptions,
    pub(super) clock: Clock,
    pub(super) courier: Courier,
    state: Mutex<State>,
    pub(super) counts: watch::Sender<Counts>,
    pub(super) traffic: watch::Sender<Traffic>,
    /// One task for whatever goes on after its request was answered.
    tasks: Mutex<JoinSet<()>>,
}

/// Everything that requests change.
#[derive(Debug)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) limiter: Limiter,
    pub(super) usage: Usage,
    /// Numbers whose access token is not taken.
    pub(super) expired: HashSet<String>,
    pub(super) troubles: Troubles,
    pub(super) windows: Windows,
    pub(super) numbers: Numbers,
    pub(super) templates: Templates,
    pub(super) uploads: Uploads,
    pub(super) callbacks: Callbacks,
    pub(super) people: People,
    pub(super) carried: Carried,
    /// What people of Messenger and Instagram are called, as far as they agreed.
    pub(super) names: HashMap<String, Option<String>>,
    pub(super) logins: Logins,
    pub(super) profiles: Profiles,
}

impl State {
    fn new(options: &GraphOptions, seed: u64) -> Self {
        Self {
            book: Book::new(seed, options.remember),
            limiter: Limiter::new(options.limits),
            usage: Usage::new(options.limits.management_per_hour),
            expired: HashSet::new(),
            troubles: Troubles::default(),
            windows: Windows::default(),
            numbers: Numbers::default(),
            templates: Templates::default(),
            uploads: Uploads::new(options.remember_media),
            callbacks: Callbacks::default(),
            people: People::new(seed),
            carried: Carried::default(),
            names: HashMap::new(),
            logins: Logins::default(),
            profiles: Profiles::default(),
        }
    }
}

impl Desk {
    pub(super) fn new(options: GraphOptions) -> Self {
        let clock = Clock::new(options.pace);
        let (url, secret) = (options.webhook_url.clone(), options.app_secret.clone());
        let courier = Courier::new(url, secret, options.retry, clock.clone(), options.seed);
        courier.set_faults(options.faults.clone());
        Self {
            courier,
            clock,
            state: Mutex::new(State::new(&options, options.seed)),
            counts: watch::Sender::default(),
            traffic: watch::Sender::default(),
            tasks: Mutex::new(JoinSet::new()),
            options,
        }
    }

    /// Whoever panicked while holding it left nothing half done.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets this go on by itself, until it ends or everything does.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks().spawn(task);
    }

    /// Ends whatever goes on by itself.
    pub(super) fn stop(&self) {
        self.tasks().abort_all();
    }

    /// Forgets everything that happened, and goes on with this seed. The time stays.
    pub(super) fn reset(&self, seed: u64) {
        self.stop();
        *self.state() = State::new(&self.options, seed);
        self.courier.set_seed(seed);
        self.courier.set_faults(self.options.faults.clone());
        self.courier.hold(false);
        self.courier.forget();
        self.counts.send_replace(Counts::default());
        self.traffic.send_replace(Traffic::default());
    }

    pub(super) async fn until(&self, enough: impl Fn(&Counts) -> bool) {
        let mut counts = self.counts.subscribe();
        counts.wait_for(|counts| enough(counts)).await.expect("the sender is in self");
    }

    /// The account of this number, if it is known.
    pub(super) fn account(&self, phone_number_id: &str) -> Option<Account> {
        if self.options.accounts.is_empty() {
            return Some(Account::new(phone_number_id));
        }
        let mut known = self.options.accounts.iter();
        known.find(|account| account.phone_number_id == phone_number_id).cloned()
    }

    /// The numbers of this business account: empty when it is not known.
    pub(super) fn numbers_of(&self, waba_id: &str) -> Vec<Account> {
        if self.options.accounts.is_empty() {
            return Account::of_waba(waba_id).into_iter().collect();
        }
        let all = self.options.accounts.iter();
        all.filter(|account| account.waba_id == waba_id).cloned().collect()
    }

    /// Whether this is a business account.
    pub(super) fn knows_waba(&self, waba_id: &str) -> bool {
        self.options.accounts.is_empty() || !self.numbers_of(waba_id).is_empty()
    }

    /// Delivers a webhook to whoever is subscribed, and says whether it was answered 200.
    pub(super) async fn deliver(&self, account: &Account, webhook: Value) -> bool {
        let (waba_id, number) = (&account.waba_id, &account.phone_number_id);
        let to = self.state().callbacks.of(waba_id, number);
        match to {
            Ok(url) => self.courier.deliver(url, webhook).await,
            // Nobody is subscribed.
            Err(()) => false,
        }
    }

    /// Counts how a send ended: accepted, or refused with a code.
    pub(super) fn count(&self, number: &str, to: Option<&str>, refused: Option<u32>) {
        self.traffic.send_modify(|traffic| traffic.count(number, to, refused));
        self.counts.send_modify(|counts| match refused {
            None => counts.accepted += 1,
            Some(_) => counts.refused += 1,
        });
    }

    /// Whether there is room for one more send.
    pub(super) fn has_room(&self) -> bool {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.len() < self.options.in_flight
    }

    /// Delivers the statuses of an accepted send by itself, each at its own time; with `early` the
    /// first one at once, which the answer tells.
    pub(super) fn report(
        self: &Arc<Self>,
        account: Account,
        sent: Sent,
        fate: &Fate,
        early: bool,
    ) -> oneshot::Receiver<()> {
        let mut steps = self.steps(&sent, fate);
        let at_once = early.then(|| steps.remove(0));
        let (told, first) = oneshot::channel();
        let (desk, began) = (Arc::clone(self), self.clock.passed());
        self.spawn(async move {
            if let Some((status, _)) = at_once {
                let body = status_of(&account, &sent, status, desk.clock.now());
                desk.deliver(&account, body).await;
                // Whoever sent it may have left.
                let _heard = told.send(());
            }
            let mut each = JoinSet::new();
            for (status, delay) in steps {
                let (desk, account, sent) = (Arc::clone(&desk), account.clone(), sent.clone());
                each.spawn(async move {
                    desk.clock.sleep_until(began + delay).await;
                    let body = status_of(&account, &sent, status, desk.clock.now());
                    desk.deliver(&account, body).await;
                });
            }
            each.join_all().await;
        });
        first
    }

    fn steps(&self, sent: &Sent, fate: &Fate) -> Vec<(&'static str, Duration)> {
        let StatusDelays { sent: first, delivered, read } = self.options.delays;
        if *fate == Fate::FailLater {
            return vec![("sent", first), ("failed", delivered)];
        }
        let (disorder, undelivered) = {
            let book = &mut self.state().book;
            (book.chance(self.options.disorder), book.chance(self.options.undelivered))
        };
        let last = read.unwrap_or(delivered);
        let mut steps = match (disorder, read) {
            (false, None) => vec![("sent", first), ("delivered", delivered)],
            (false, Some(read)) => vec![("sent", first), ("delivered", delivered), ("read", read)],
            (true, None) => vec![("delivered", first), ("sent", last), ("sent", last)],
            (true, Some(_)) => {
                vec![("read", first), ("delivered", delivered), ("sent", last), ("sent", last)]
            }
        };
        if undelivered && read.is_some() {
            steps.retain(|(status, _)| *status != "delivered");
        }
        if let (Some(read), "audio") = (read, sent.kind.as_str()) {
            steps.push(("played", read + read / PLAYED));
        }
        steps
    }
}

fn status_of(account: &Account, sent: &Sent, status: &'static str, at: i64) -> Value {
    let failed = (UNDELIVERABLE.code, &*UNDELIVERABLE.details);
    bodies::status(
        account,
        &bodies::Status {
            id: &sent.wamid,
            to: &sent.wa_id,
            status,
            at,
            opaque: sent.opaque.as_deref(),
            error: (status == "failed").then_some(failed),
        },
    )
}
