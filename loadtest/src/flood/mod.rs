//! One organization floods a server, another one goes about its business: whether the other
//! notices, what the server keeps of it all, and how soon it is over.

mod report;
mod watch;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use crate::arrivals::{Arrivals, Schedule};
use crate::body::Bodies;
use crate::customers::Customers;
use crate::ledger::{Author, Comparison};
use crate::machine::go_first;
use crate::process::{Cost, Cpu};
use crate::readback::Reader;
use crate::sender::{Sender, Sent, Stint, done, on_a_thread};
use crate::target::Target;
pub use report::{FloodReport, Organization, Restarted, Sample, Stretch};
use watch::{Watch, Watched};

/// A flood, and who stands by.
#[derive(Clone, Debug)]
pub struct Flood {
    /// Where webhooks go; the API is on the same server.
    pub target: Target,
    /// The app secret that signs both organizations' webhooks.
    pub secret: String,
    pub flooding: Business,
    pub bystander: Business,
    /// Webhooks a second of the flood; 0: `times` what a short closed loop finds to be the most.
    pub rate: f64,
    pub times: f64,
    /// Webhooks a second of the bystander, and of both after the flood.
    pub bystander_rate: f64,
    /// How long the closed loop runs.
    pub search: Duration,
    /// How long the bystander is alone before the flood.
    pub calm: Duration,
    /// How long the flood takes.
    pub time: Duration,
    /// How long both go on after it.
    pub after: Duration,
    /// An answer that takes longer is no sign of recovery.
    pub slow: Duration,
    /// People who write to the flooding organization, a few of them most.
    pub customers: u64,
    /// Connections over which the flood comes.
    pub connections: usize,
    /// Decides who writes when.
    pub seed: u64,
    /// The server's process, to tell what it costs.
    pub server: Option<u32>,
    pub metrics: Option<Metrics>,
    pub restart: Option<Restart>,
}

/// An organization's number on the channel, and a token that may read all its conversations.
#[derive(Clone, Debug)]
pub struct Business {
    pub phone_number_id: String,
    pub token: String,
}

/// Where a server tells how much it has still to work off.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub target: Target,
    /// The metric that is 0 when nothing waits.
    pub waiting: String,
}

/// A command that ends the server and starts it again, in the middle of the flood.
#[derive(Clone, Debug)]
pub struct Restart {
    /// So long after the flood began.
    pub after: Duration,
    /// Run by `sh`, with the server's process in `SERVER`; its first line names the new process.
    pub command: String,
}

/// The bystander's customers, and connections that are more than its messages under way.
const BYSTANDERS: u64 = 100;
const BYSTANDER_CONNECTIONS: usize = 64;
/// Connections of the closed loop that finds the most.
const SEARCH_CONNECTIONS: usize = 64;
/// The begin of the closed loop, which does not count.
const WARM_UP: Duration = Duration::from_secs(1);
/// Threads are ready for what is due so much later.
const START: Duration = Duration::from_millis(100);
/// A webhook of the flood that finds no free connection for so long is not sent.
const PATIENCE_TO_SEND: Duration = Duration::from_millis(250);
/// Answers are waited for so long.
const PATIENCE: Duration = Duration::from_secs(15);

/// When what begins.
#[derive(Clone, Copy)]
struct Times {
    calm: Instant,
    flood: Instant,
    after: Instant,
    end: Instant,
}

/// What a thread that sends for one organization has done.
struct Work {
    sender: Sender,
    stretches: Vec<(&'static str, Sent)>,
}

/// Runs it all; answers what came of it. Fails if the server cannot be reached at first, or its
/// conversations not be read at the end.
pub async fn run(flood: Flood) -> io::Result<FloodReport> {
    Box::pin(LocalSet::new().run_until(flood.run())).await
}

impl Flood {
    async fn run(self) -> io::Result<FloodReport> {
        let (found, most) = oneshot::channel();
        let (start, times) = oneshot::channel();
        let flooding = {
            let flood = self.clone();
            on_a_thread(move || flood.flooding(found, times))
        };
        let Ok(most) = most.await else {
            return Err(done(flooding).await.err().unwrap_or(io::ErrorKind::Other.into()));
        };
        let rate = if self.rate > 0.0 { self.rate } else { self.times * most.unwrap_or(0.0) };
        let calm = Instant::now() + START;
        let flood = calm + self.calm;
        let after = flood + self.time;
        let times = Times { calm, flood, after, end: after + self.after };
        let _ = start.send((times, rate));
        let bystander = {
            let flood = self.clone();
            on_a_thread(move || flood.standing_by(times))
        };
        let costs = async {
            sleep_until(times.flood).await;
            let before = Cost::now(self.server);
            sleep_until(times.after).await;
            Cost::now(self.server).since(&before)
        };
        let (watched, cost) = tokio::join!(Watch::new(&self, times).run(), costs);
        let (flooding, bystander) = (done(flooding).await?, done(bystander).await?);
        let Watched { samples, drained, restarted } = watched?;
        let cores = |time: Cpu| time.total().as_secs_f64() / self.time.as_secs_f64();
        let recovery = self.recovery(times, drained, [&flooding, &bystander]);
        let restarted = restarted.map(|(began, gone, server)| {
            let works = [&flooding, &bystander];
            let back =
                works.into_iter().filter_map(|work| work.sender.ledger.borrow().first_after(gone));
            let back_seconds = back.min().map(|time| (gone - began + time).as_secs_f64());
            Restarted { second: (began - times.flood).as_secs_f64(), back_seconds, server }
        });
        Ok(FloodReport {
            scenario: "flood",
            seed: self.seed,
            most_rate: most,
            rate,
            seconds: self.time.as_secs_f64(),
            connections: self.connections,
            customers: self.customers,
            flooding: self.read_back(flooding, &self.flooding, times).await?,
            bystander: self.read_back(bystander, &self.bystander, times).await?,
            recovery_seconds: recovery.map(|time| time.as_secs_f64()),
            restarted,
            server_cores: cost.server.map(cores),
            generator_cores: cost.generator.map(cores),
            samples,
        })
    }

    /// The flooding organization's thread.
    async fn flooding(
        self,
        found: oneshot::Sender<Option<f64>>,
        times: oneshot::Receiver<(Times, f64)>,
    ) -> io::Result<Work> {
        let customers = Customers::busy(self.customers, 1.0, self.seed);
        let sender = self.sender(&self.flooding, customers);
        let most = if self.rate > 0.0 {
            // Whether it is there at all.
            drop(sender.connect(1).await?);
            None
        } else {
            Some(self.most(&sender).await?)
        };
        let _ = found.send(most);
        let (times, rate) = times.await.map_err(io::Error::other)?;
        let patience = |stint| Stint { patience_to_send: PATIENCE_TO_SEND, ..stint };
        let after = self.stint(self.bystander_rate, times.after, times.end);
        let (flood, after) = tokio::join!(
            sender.send(
                patience(self.stint(rate, times.flood, times.after)),
                sender.connections(self.connections)
            ),
            sender.send(after, sender.connections(BYSTANDER_CONNECTIONS)),
        );
        Ok(work(sender, vec![("flood", flood), ("after", after)]))
    }

    /// The bystander's thread.
    async fn standing_by(self, times: Times) -> io::Result<Work> {
        go_first();
        let sender = self.sender(&self.bystander, Customers::InTurn(0..BYSTANDERS, 1));
        let send = |from, until| {
            let connections = sender.connections(BYSTANDER_CONNECTIONS);
            sender.send(self.stint(self.bystander_rate, from, until), connections)
        };
        let (calm, flood, after) = tokio::join!(
            send(times.calm, times.flood),
            send(times.flood, times.after),
            send(times.after, times.end),
        );
        Ok(work(sender, vec![("calm", calm), ("flood", flood), ("after", after)]))
    }

    fn sender(&self, business: &Business, customers: Customers) -> Rc<Sender> {
        let number = &business.phone_number_id;
        Sender::new(&self.target, Bodies::new(&self.target, &self.secret, number, customers))
    }

    /// Webhooks at even distances.
    fn stint(&self, rate: f64, from: Instant, until: Instant) -> Stint {
        let arrivals = Arrivals::open(Schedule { begin: from, until, rate, count: u64::MAX });
        let (give_up, patience_to_send) = (until + PATIENCE, Duration::MAX);
        Stint { arrivals, from, give_up, patience_to_send, slow: self.slow }
    }

    /// The most that a closed loop has accepted a second.
    async fn most(&self, sender: &Rc<Sender>) -> io::Result<f64> {
        let connections = sender.connect(SEARCH_CONNECTIONS).await?;
        let from = Instant::now() + WARM_UP;
        let until = from + self.search;
        let stint = Stint {
            arrivals: Arrivals::closed(until, u64::MAX),
            from,
            give_up: until + PATIENCE,
            patience_to_send: Duration::MAX,
            slow: self.slow,
        };
        let tally = sender.send(stint, connections).await.tally;
        Ok(tally.accepted() as f64 / tally.elapsed().as_secs_f64().max(1e-6))
    }

    /// How long after the flood the last refusal or slow answer came, and the last of what had
    /// waited was worked off; `None`: not before the end.
    fn recovery(
        &self,
        times: Times,
        drained: Option<Instant>,
        works: [&Work; 2],
    ) -> Option<Duration> {
        let stretches = works.into_iter().flat_map(|work| &work.stretches);
        let after = stretches.filter(|(name, _)| *name == "after");
        let last = after.filter_map(|(_, sent)| sent.trouble).fold(times.after, Instant::max);
        // Half of the time without trouble is taken for recovered.
        let is_over = last <= times.after + self.after / 2;
        drained.filter(|_| is_over).map(|drained| drained.max(last) - times.after)
    }

    /// Compares what an organization has with what was acknowledged.
    async fn read_back(
        &self,
        work: Work,
        business: &Business,
        times: Times,
    ) -> io::Result<Organization> {
        let Target { address, host, .. } = &self.target;
        let (address, host, token) = (*address, host.clone(), business.token.clone());
        let Sender { bodies, ledger, .. } = &work.sender;
        let reader = Reader { address, host, token, again: Arc::default() };
        let read = reader.all(bodies.mark()).await?;
        let ledger = ledger.borrow();
        let mut comparing = ledger.compare(|n| format!("wamid.{}", bodies.mark().of(n)));
        for conversation in read {
            let author = |n| Author { customer: bodies.customer(n), answers: false };
            comparing.conversation(&conversation.numbers(), author);
        }
        let ledger: Comparison = comparing.end();
        let time = |name| match name {
            "calm" => times.flood - times.calm,
            "flood" => times.after - times.flood,
            _ => times.end - times.after,
        };
        let told = |(name, sent): &(&'static str, Sent)| (*name, Stretch::of(sent, time(*name)));
        Ok(Organization { stretches: work.stretches.iter().map(told).collect(), ledger })
    }
}

fn work(sender: Rc<Sender>, stretches: Vec<(&'static str, Sent)>) -> Work {
    let sender = Rc::into_inner(sender).expect("all that shared it have ended");
    Work { sender, stretches }
}
