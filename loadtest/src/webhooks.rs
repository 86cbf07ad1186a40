//! Webhooks of customers who write to a business on WhatsApp.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::arrivals::{Arrivals, Schedule};
use crate::body::Bodies;
use crate::connection::Connection;
use crate::process;
use crate::report::{Latency, Loop, Report, ServerCost};
use crate::tally::{Outcome, Tally};
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
    pub connections: usize,
    /// The server's process, to tell what it costs.
    pub server: Option<u32>,
}

/// A server that refuses connections is tried again after this long.
const RETRY: Duration = Duration::from_millis(100);

/// Sends them on this thread; answers what came of it. Fails if no connection can be made at first.
pub async fn run(webhooks: Webhooks) -> io::Result<Report> {
    LocalSet::new().run_until(load(webhooks)).await
}

async fn load(webhooks: Webhooks) -> io::Result<Report> {
    let Webhooks { target, rate, customers, connections, .. } = &webhooks;
    let bodies =
        Bodies::new(target, &webhooks.secret, &webhooks.phone_number_id, customers.clone());
    let mut open = Vec::with_capacity(*connections);
    for _ in 0..*connections {
        let mut connection = Connection::new(target.address);
        connection.open().await?;
        open.push(connection);
    }
    let begin = Instant::now();
    let (from, until) = (begin + webhooks.warm_up, begin + webhooks.time);
    let (arrivals, pacer) = if *rate > 0.0 {
        let (rate, count) = (*rate, webhooks.count);
        let (arrivals, pacer) = Arrivals::open(Schedule { begin, until, rate, count });
        (arrivals, Some(pacer))
    } else {
        (Arrivals::closed(until, webhooks.count), None)
    };
    let shared = Rc::new(Run {
        arrivals,
        bodies,
        next: Cell::new(0),
        tally: RefCell::new(Tally::new(from)),
        give_up: until + webhooks.patience,
    });
    let mut senders = JoinSet::new();
    for connection in open {
        senders.spawn_local(shared.clone().send(connection));
    }
    sleep_until(from).await;
    let cost_before = Cost::now(webhooks.server);
    while senders.join_next().await.is_some() {}
    let cost = Cost::now(webhooks.server).since(&cost_before);
    let late = pacer.and_then(|pacer| pacer.join().ok());
    let tally = shared.tally.borrow();
    let requests = tally.total();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / requests.max(1) as f64;
    let seconds = tally.elapsed().as_secs_f64();
    Ok(Report {
        scenario: "webhooks",
        kind: if *rate > 0.0 { Loop::Open } else { Loop::Closed },
        rate: *rate,
        connections: *connections,
        customers: customers.end - customers.start,
        seconds,
        requests,
        achieved_rate: tally.accepted() as f64 / seconds.max(1e-6),
        statuses: tally.statuses.clone(),
        errors: tally.errors.clone(),
        unanswered: tally.unanswered,
        latency_us: Latency::of(&tally.latency),
        late_us_p99: late.map(|late| late.value_at_quantile(0.99)),
        generator_us: cost.generator.map(each),
        server: cost
            .server
            .zip(webhooks.server.and_then(process::resident))
            .map(|(cpu, resident_bytes)| ServerCost { cpu_us: each(cpu), resident_bytes }),
    })
}

/// What the connections of a run share.
struct Run {
    arrivals: Arrivals,
    bodies: Bodies,
    /// The number of the next webhook.
    next: Cell<u64>,
    tally: RefCell<Tally>,
    /// Nothing is waited for any longer.
    give_up: Instant,
}

impl Run {
    async fn send(self: Rc<Self>, mut connection: Connection) {
        let (mut body, mut request) = (String::new(), Vec::new());
        while let Some(due) = self.arrivals.next().await {
            let n = self.next.replace(self.next.get() + 1);
            self.bodies.request(n, &mut body, &mut request);
            let outcome = self.outcome(&mut connection, &request).await;
            let broken = matches!(outcome, Outcome::Broken(_));
            self.tally.borrow_mut().add(due, Instant::now(), outcome);
            if broken && connection.open().await.is_err() {
                sleep_until((Instant::now() + RETRY).min(self.give_up)).await;
            }
        }
    }

    async fn outcome(&self, connection: &mut Connection, request: &[u8]) -> Outcome {
        if Instant::now() >= self.give_up {
            return Outcome::Unanswered;
        }
        match timeout_at(self.give_up, connection.send(request)).await {
            Ok(Ok(status)) => Outcome::Answered(status),
            Ok(Err(error)) => Outcome::Broken(error),
            Err(_) => Outcome::Unanswered,
        }
    }
}

/// The processor time taken so far.
struct Cost {
    generator: Option<Duration>,
    server: Option<Duration>,
}

impl Cost {
    fn now(server: Option<u32>) -> Self {
        let generator = process::cpu(std::process::id());
        Self { generator, server: server.and_then(process::cpu) }
    }

    fn since(&self, before: &Self) -> Self {
        let since = |now: Option<Duration>, before: Option<Duration>| {
            now.zip(before).map(|(now, before)| now.saturating_sub(before))
        };
        let generator = since(self.generator, before.generator);
        Self { generator, server: since(self.server, before.server) }
    }
}
