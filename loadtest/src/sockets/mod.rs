//! Many people watch one conversation live: what a delivered message and an idle socket cost the
//! server, and whether everybody gets everything.

mod herd;
mod report;
pub(crate) mod websocket;

use std::io;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot::Receiver;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::arrivals::{Arrivals, Schedule};
use crate::body::{Bodies, FIRST_NUMBER};
use crate::connection::Connection;
use crate::customers::Customers;
use crate::machine::go_first;
use crate::process::{self, Cost};
use crate::report::Latency;
use crate::sender::{Sender, Sent, Stint, on_a_thread};
use crate::target::Target;
use herd::Herd;
pub use report::{SocketCost, SocketsReport};

/// Sockets that listen, and messages that are published to all of them.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// Where the websockets are.
    pub target: Target,
    pub publisher: Publisher,
    /// How many.
    pub sockets: usize,
    /// Opened a second.
    pub ramp: f64,
    /// The server comes to rest for so long before its memory is read, without sockets and with them.
    pub settle: Duration,
    /// Messages a second; 0: none, the sockets only stay.
    pub rate: f64,
    /// What is due within it does not count.
    pub warm_up: Duration,
    /// How long messages are due, without the warm-up.
    pub time: Duration,
    /// How long the last messages are waited for.
    pub patience: Duration,
    /// The server's process, to tell what it costs.
    pub server: Option<u32>,
}

/// How messages come to a server.
#[derive(Clone, Debug)]
pub enum Publisher {
    /// A customer writes to a business, by webhook; all sockets follow that conversation.
    Customer(Customer),
    /// A bare server passes on what is posted to it, of so many bytes, to all sockets; they say
    /// nothing.
    Post { target: Target, bytes: usize },
}

/// A customer whose conversation is watched.
#[derive(Clone, Debug)]
pub struct Customer {
    /// Where webhooks go.
    pub webhooks: Target,
    /// The app secret that signs them.
    pub secret: String,
    pub phone_number_id: String,
    /// Of whoever watches.
    pub token: String,
    /// Which customer.
    pub number: u64,
    /// Streams that are followed besides the conversation.
    pub streams: Vec<String>,
}

#[derive(Deserialize)]
struct Conversation {
    id: String,
    #[serde(default)]
    contact_phone: Option<String>,
}

/// The first message is due so long after everything is at rest.
const START: Duration = Duration::from_millis(100);
/// Sockets that were asked for follow within this time.
const OPEN_WITHIN: Duration = Duration::from_secs(30);
/// A conversation is there so soon after its first message.
const FOUND_WITHIN: Duration = Duration::from_secs(10);

/// Runs it all; answers what came of it. Fails if a socket cannot be opened, or ends before
/// messages come.
pub async fn run(sockets: Sockets) -> io::Result<SocketsReport> {
    let hello = match &sockets.publisher {
        Publisher::Customer(customer) => Some(LocalSet::new().run_until(customer.hello()).await?),
        Publisher::Post { .. } => None,
    };
    // Listening takes a whole thread.
    tokio::task::spawn_blocking(move || sockets.listen(hello)).await.map_err(io::Error::other)?
}

impl Sockets {
    fn listen(&self, hello: Option<String>) -> io::Result<SocketsReport> {
        let streams = hello.as_ref().map_or(1, |hello| hello.matches("\"s\":").count());
        let bodies = self.publisher.bodies();
        let mut herd = Herd::new(hello, bodies.mark().run())?;
        let resident = || self.server.and_then(process::resident);
        herd.listen_until(Instant::now() + self.settle)?;
        let before = resident();
        let ramp = herd.gather(&self.target, self.sockets, self.ramp, OPEN_WITHIN)?;
        herd.listen_until(Instant::now() + self.settle)?;
        let idle = resident();
        let begin = Instant::now() + START;
        let from = begin + self.warm_up;
        let until = from + self.time;
        let schedule = Schedule { begin, until, rate: self.rate, count: u64::MAX };
        herd.expect(begin, Duration::from_secs_f64(1.0 / self.rate.max(1e-9)), from..until);
        let publishing = (self.rate > 0.0).then(|| self.publish(bodies, schedule));
        herd.listen_until(from)?;
        let (cost, seen) = (Cost::now(self.server), (herd.seen.deliveries, herd.seen.bytes));
        herd.listen_until(until)?;
        let cost = Cost::now(self.server).since(&cost);
        let deliveries = herd.seen.deliveries - seen.0;
        let bytes = herd.seen.bytes - seen.1;
        let sent = publishing.map(|publishing| herd.listen_beside(publishing)).transpose()?;
        let published = sent.as_ref().map_or(0, |sent| sent.tally.accepted());
        let give_up = Instant::now() + self.patience;
        while herd.waits(published) && Instant::now() < give_up {
            herd.listen_until(Instant::now() + Duration::from_millis(20))?;
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / deliveries.max(1) as f64;
        let count = self.sockets.max(1) as f64;
        Ok(SocketsReport {
            scenario: "sockets",
            sockets: self.sockets,
            streams,
            ramp_seconds: ramp.as_secs_f64(),
            opening_us: Latency::of(&herd.seen.opening),
            rate: self.rate,
            seconds: self.time.as_secs_f64(),
            published,
            refused: sent.as_ref().map_or(0, |sent| sent.tally.total() - published),
            deliveries,
            deliveries_rate: deliveries as f64 / self.time.as_secs_f64().max(1e-6),
            message_bytes: bytes / deliveries.max(1),
            latency_us: Latency::of(&herd.seen.latency),
            missing: herd.missing(published),
            gaps: herd.seen.gaps,
            repeats: herd.seen.repeats,
            late_us_p99: sent.map(|sent| sent.late.value_at_quantile(0.99)),
            server: cost.server.zip(before).zip(idle).map(|((cpu, before), idle)| SocketCost {
                cpu_us: each(cpu.total()),
                user_us: each(cpu.user),
                system_us: each(cpu.system),
                resident_bytes_per_socket: (idle as f64 - before as f64) / count,
                resident_bytes: idle,
            }),
            generator_us: cost.generator.map(|cpu| each(cpu.total())),
            ended: herd.seen.ended,
        })
    }

    /// Publishes from a thread of its own, over one connection, so that messages have an order.
    fn publish(&self, bodies: Bodies, schedule: Schedule) -> Receiver<io::Result<Sent>> {
        let (target, patience) = (self.publisher.target().clone(), self.patience);
        on_a_thread(move || async move {
            go_first();
            let sender = Sender::new(&target, bodies);
            let connections = sender.connect(1).await?;
            let stint = Stint {
                arrivals: Arrivals::open(schedule),
                from: schedule.begin,
                give_up: schedule.until + patience,
                patience_to_send: Duration::MAX,
                slow: Duration::MAX,
            };
            Ok(sender.send(stint, connections).await)
        })
    }
}

impl Publisher {
    fn target(&self) -> &Target {
        match self {
            Self::Customer(customer) => &customer.webhooks,
            Self::Post { target, .. } => target,
        }
    }

    fn bodies(&self) -> Bodies {
        match self {
            Self::Customer(customer) => customer.bodies(),
            Self::Post { target, bytes } => Bodies::events(target, *bytes),
        }
    }
}

impl Customer {
    fn bodies(&self) -> Bodies {
        let customers = Customers::InTurn(self.number..self.number + 1, 1);
        Bodies::new(&self.webhooks, &self.secret, &self.phone_number_id, customers)
    }

    /// Writes once, so that there is a conversation; answers the hello of whoever watches it.
    async fn hello(&self) -> io::Result<String> {
        let sender = Sender::new(&self.webhooks, self.bodies());
        let now = Instant::now();
        let stint = Stint {
            arrivals: Arrivals::closed(now + FOUND_WITHIN, 1),
            from: now,
            give_up: now + FOUND_WITHIN,
            patience_to_send: Duration::MAX,
            slow: Duration::MAX,
        };
        let sent = sender.send(stint, sender.connect(1).await?).await;
        if sent.tally.accepted() != 1 {
            let statuses = sent.tally.statuses;
            return Err(io::Error::other(format!("the first webhook was answered {statuses:?}")));
        }
        let mut streams = vec![json!({"s": format!("c:{}", self.conversation().await?)})];
        streams.extend(self.streams.iter().map(|stream| json!({"s": stream})));
        let hello = json!({"op": "hello", "id": 1, "token": self.token, "subs": streams});
        Ok(hello.to_string())
    }

    /// The customer's conversation: among the newest, since it was just written in.
    async fn conversation(&self) -> io::Result<String> {
        let Target { address, host, .. } = &self.webhooks;
        let phone = (FIRST_NUMBER + self.number).to_string();
        let (mut connection, until) = (Connection::new(*address), Instant::now() + FOUND_WITHIN);
        loop {
            let page = connection.get(host, "/api/conversations?per_page=20", &self.token).await?;
            let rows: Vec<Conversation> = serde_json::from_slice(page).map_err(io::Error::other)?;
            let is_of = |row: &Conversation| {
                row.contact_phone.as_ref().is_some_and(|of| of.ends_with(&phone))
            };
            match rows.into_iter().find(is_of) {
                Some(row) => return Ok(row.id),
                None if Instant::now() >= until => {
                    return Err(io::Error::other("the customer's conversation is not listed"));
                }
                None => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}
