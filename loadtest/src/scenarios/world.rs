//! What all who take part in a run share.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::meter::Meter;
use super::people::{Channel, Population, Request, Tenant};
use super::scenario::Scenario;
use crate::body::since_1970;
use crate::ledger::Ledger;
use crate::marks::Mark;
use crate::readback::Reader;
use crate::tally::Outcome;
use crate::target::Target;

/// A run: who takes part, and what was sent.
pub(super) struct World {
    pub(super) target: Target,
    pub(super) scenario: Scenario,
    pub(super) people: Population,
    pub(super) tenants: Vec<Tenant>,
    pub(super) mark: Mark,
    pub(super) meter: Meter,
    /// Whether the server was started for it.
    pub(super) is_own: bool,
    /// When it began.
    pub(super) begin: Instant,
    begin_since_1970: Duration,
    /// The thread of those who watch.
    pub(super) crowd: OnceLock<u32>,
    ledger: Mutex<Ledger>,
    /// To whom messages of the ledger were said; all others were written by customers.
    answers: Mutex<HashMap<u64, u64>>,
    /// How often which status refused what, or nobody answered it.
    refusals: Mutex<BTreeMap<(&'static str, Option<u16>), u64>>,
    /// Pages that had to be asked for again when everything was read back.
    unread: Arc<AtomicU64>,
    /// The conversation of each customer.
    homes: OnceLock<HashMap<u64, String>>,
}

impl World {
    pub(super) fn new(
        target: Target,
        is_own: bool,
        scenario: Scenario,
        people: Population,
        tenants: Vec<Tenant>,
    ) -> Self {
        let (begin, begin_since_1970) = (Instant::now(), since_1970());
        Self {
            target,
            scenario,
            people,
            tenants,
            mark: Mark::new(begin_since_1970.as_micros()),
            meter: Meter::new(),
            is_own,
            begin,
            begin_since_1970,
            crowd: OnceLock::new(),
            ledger: Mutex::new(Ledger::new(begin)),
            answers: Mutex::default(),
            refusals: Mutex::default(),
            unread: Arc::default(),
            homes: OnceLock::new(),
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answers(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters what became of a message that was due.
    pub(super) fn ended(&self, n: u64, due: Instant, outcome: &Outcome) {
        self.ledger().ended(n, Instant::now(), outcome);
        self.meter.ended(due, outcome);
        // What nobody answered is counted by the ledger.
        if let Outcome::Answered(_) = outcome {
            self.answered("messages", outcome);
        }
    }

    /// Enters how something was answered, whose failures nobody else tells; answers whether it was taken.
    pub(super) fn answered(&self, what: &'static str, outcome: &Outcome) -> bool {
        let status = match outcome {
            Outcome::Answered(200..300) => return true,
            Outcome::Answered(status) => Some(*status),
            Outcome::Broken(_) | Outcome::Unanswered => None,
        };
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        *refusals.entry((what, status)).or_default() += 1;
        false
    }

    /// What was refused or not answered, and how often, a sentence each.
    pub(super) fn refusals(&self) -> Vec<String> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let told = refusals.iter().map(|((what, status), count)| match status {
            Some(status) => format!("{what} were refused by {status} ({count} times)"),
            None => format!("{what} were not answered ({count} times)"),
        });
        let unread = self.unread.load(Ordering::Relaxed);
        let unread = (unread > 0).then(|| {
            format!("pages had to be asked for again when all was read back ({unread} times)")
        });
        told.chain(unread).collect()
    }

    /// Whose the message number `n` is: at first each customer writes once.
    pub(super) fn customer(&self, n: u64) -> u64 {
        if n < self.scenario.people.customers {
            return n;
        }
        self.answers().get(&n).copied().unwrap_or_else(|| self.people.of(n))
    }

    /// Whether the message number `n` was said to a customer.
    pub(super) fn is_answer(&self, n: u64) -> bool {
        self.answers().contains_key(&n)
    }

    /// What people find the message number `n` by.
    pub(super) fn name(&self, n: u64) -> String {
        let mark = self.mark.of(n);
        match self.people.channel(self.customer(n)) {
            _ if self.is_answer(n) => format!("with the text \"{mark}\""),
            Channel::Whatsapp => format!("wamid.{mark}"),
            Channel::Messenger | Channel::Instagram => format!("m_{mark}"),
            Channel::Email => format!("<{mark}@customers.example>"),
        }
    }

    /// Writes the webhook with the message number `n`, each time the same.
    pub(super) fn webhook(&self, n: u64, customer: u64, request: &mut Request) {
        let due = self.ledger().due(n).unwrap_or(self.begin);
        let at = self.begin_since_1970 + due.saturating_duration_since(self.begin);
        let (host, load) = (self.target.host.as_str(), &self.scenario.load);
        self.people.webhook((n, customer, at), (host, &self.mark), &self.tenants, load, request);
    }

    /// The conversation of a customer, once they are known.
    pub(super) fn home(&self, customer: u64) -> Option<&str> {
        self.homes.get()?.get(&customer).map(String::as_str)
    }

    /// Whether agents answer a customer: mails have no mail server here by which they would leave.
    pub(super) fn can_be_answered(&self, customer: u64) -> bool {
        self.people.channel(customer) != Channel::Email
    }

    /// The conversations of customers are these.
    pub(super) fn is_at_home(&self, homes: HashMap<u64, String>) {
        // They are found once.
        let _set = self.homes.set(homes);
    }

    /// Somebody who may read all of a tenant.
    pub(super) fn reader(&self, tenant: &Tenant) -> Reader {
        let (address, host) = (self.target.address, self.target.host.clone());
        Reader { address, host, token: tenant.token.clone(), again: self.unread.clone() }
    }

    /// The conversations of a tenant's busiest customers.
    pub(super) fn busiest(&self, tenant: usize, count: usize) -> Vec<String> {
        let customers = 0..self.scenario.people.customers;
        let own = customers.filter(|customer| self.people.tenant(*customer) == tenant);
        own.filter_map(|customer| self.home(customer)).take(count).map(str::to_owned).collect()
    }
}

#[cfg(test)]
impl World {
    /// Of one organization, to which a customer writes by WhatsApp, at a server of a test.
    pub(super) fn of_one(address: std::net::SocketAddr, scenario: &str) -> Arc<Self> {
        let people = "[people]\ntenants = 1\ncustomers = 1\nchannels = { whatsapp = 1, \
                      messenger = 0, instagram = 0, email = 0 }";
        let text = format!("name = \"a\"\nabout = \"A test.\"\n{people}\n{scenario}");
        let scenario = Scenario::parse(&text).unwrap();
        let people = Population::new(&scenario.people, scenario.seed);
        let mut tenant = Tenant::new("a-token".to_owned());
        tenant.add(Channel::Whatsapp, "4711".to_owned(), "secret");
        let target = Target::new(&format!("http://{address}"), "/").unwrap();
        Arc::new(Self::new(target, false, scenario, people, vec![tenant]))
    }
}
