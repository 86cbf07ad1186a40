//! Webhooks of customers who write to a business on WhatsApp.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};

use crate::arrivals::{Arrivals, Schedule};
use crate::body::Bodies;
use crate::customers::Customers;
use crate::machine::go_first;
use crate::process::{self, Cost, Cpu};
use crate::report::{Latency, Loop, Report, ServerCost};
use crate::sender::{Sender, Sent, Stint};
use crate::target::Target;

/// Signed text messages, each with an id of its own.
#[derive(Clone, Debug)]
pub struct Webhooks {
    pub target: Target,
    /// The app secret that signs them.
    pub secret: String,
    pub phone_number_id: String,
    /// Webhooks a second; 0: a closed loop, each connection sends when it is answered.
    pub rate: f64,
    /// How long they are due, with the warm-up.
    pub time: Duration,
    /// At most so many.
    pub count: u64,
    /// What is due within it does not count.
    pub warm_up: Duration,
    /// How long answers are waited for at the end.
    pub patience: Duration,
    /// People with these numbers write, in turn.
    pub customers: Range<u64>,
    /// Each of them so many messages, before the next one.
    pub in_a_row: u64,
    /// Messages in a webhook.
    pub messages_per_webhook: u64,
    pub connections: usize,
    /// The server's process, to tell what it costs.
    pub server: Option<u32>,
}

/// Sends them on this thread; answers what came of it. Fails if no connection can be made at first.
pub async fn run(webhooks: Webhooks) -> io::Result<Report> {
    let Webhooks { target, secret, phone_number_id, customers, .. } = &webhooks;
    let in_turn = Customers::InTurn(customers.clone(), webhooks.in_a_row);
    let bodies = Bodies::new(target, secret, phone_number_id, in_turn);
    let load = Load {
        scenario: "webhooks",
        rate: webhooks.rate,
        time: webhooks.time,
        count: webhooks.count,
        warm_up: webhooks.warm_up,
        patience: webhooks.patience,
        connections: webhooks.connections,
        server: webhooks.server,
    };
    let sender = Sender::new(target, bodies.of_many(webhooks.messages_per_webhook));
    let report = LocalSet::new().run_until(load.run(sender)).await?;
    let customers = customers.end - customers.start;
    Ok(Report { customers, messages_per_webhook: webhooks.messages_per_webhook, ..report })
}

/// Requests of one sender.
pub(crate) struct Load {
    pub(crate) scenario: &'static str,
    pub(crate) rate: f64,
    pub(crate) time: Duration,
    pub(crate) count: u64,
    pub(crate) warm_up: Duration,
    pub(crate) patience: Duration,
    pub(crate) connections: usize,
    pub(crate) server: Option<u32>,
}

impl Load {
    /// Sends them; answers what came of it, of nobody's customers.
    pub(crate) async fn run(self, sender: Rc<Sender>) -> io::Result<Report> {
        let Self { rate, connections, .. } = self;
        if rate > 0.0 {
            go_first();
        }
        let open = sender.connect(connections).await?;
        let begin = Instant::now();
        let (from, until) = (begin + self.warm_up, begin + self.time);
        let arrivals = match self.count {
            count if rate > 0.0 => Arrivals::open(Schedule { begin, until, rate, count }),
            count => Arrivals::closed(until, count),
        };
        let give_up = until + self.patience;
        let (patience_to_send, slow) = (Duration::MAX, Duration::MAX);
        let stint = Stint { arrivals, from, give_up, patience_to_send, slow };
        let (sent, cost_before) = tokio::join!(sender.send(stint, open), async {
            sleep_until(from).await;
            Cost::now(self.server)
        });
        let cost = Cost::now(self.server).since(&cost_before);
        let Sent { tally, late, .. } = sent;
        let requests = tally.total();
        let each = |time: Cpu| time.total().as_secs_f64() * 1e6 / requests.max(1) as f64;
        let seconds = tally.elapsed().as_secs_f64();
        Ok(Report {
            scenario: self.scenario,
            kind: if rate > 0.0 { Loop::Open } else { Loop::Closed },
            rate,
            connections,
            customers: 0,
            messages_per_webhook: 1,
            seconds,
            requests,
            achieved_rate: tally.accepted() as f64 / seconds.max(1e-6),
            statuses: tally.statuses.clone(),
            errors: tally.errors.clone(),
            unanswered: tally.unanswered,
            latency_us: Latency::of(&tally.latency),
            late_us_p99: (rate > 0.0).then(|| late.value_at_quantile(0.99)),
            generator_us: cost.generator.map(each),
            server: cost
                .server
                .zip(self.server.and_then(process::resident))
                .map(|(cpu, resident_bytes)| ServerCost { cpu_us: each(cpu), resident_bytes }),
        })
    }
}
