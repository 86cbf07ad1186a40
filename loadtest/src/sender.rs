//! Sends a business's webhooks over the connections of one thread, each entered in a ledger.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::runtime::Builder;
use tokio::sync::oneshot::{Receiver, channel};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::arrivals::Arrivals;
use crate::body::Bodies;
use crate::connection::Connection;
use crate::ledger::Ledger;
use crate::tally::{Outcome, Tally, histogram, micros};
use crate::target::Target;

/// Sends the webhooks of one business.
pub(crate) struct Sender {
    address: SocketAddr,
    pub(crate) bodies: Bodies,
    pub(crate) ledger: RefCell<Ledger>,
}

/// Some time in which webhooks are due.
pub(crate) struct Stint {
    pub(crate) arrivals: Arrivals,
    /// What is due before warms up, and does not count.
    pub(crate) from: Instant,
    /// Nothing is waited for any longer.
    pub(crate) give_up: Instant,
    /// What found no free connection for so long is not sent at all.
    pub(crate) patience_to_send: Duration,
    /// An answer that takes longer is trouble.
    pub(crate) slow: Duration,
}

/// What became of the webhooks of a stint.
pub(crate) struct Sent {
    pub(crate) tally: Tally,
    /// How much later they were sent than they could have been, in microseconds: what the generator
    /// itself adds.
    pub(crate) late: Histogram<u64>,
    /// They were due and never sent, as no connection was free.
    pub(crate) unsent: u64,
    /// When the last answer came that was none, no 2xx, or slow.
    pub(crate) trouble: Option<Instant>,
}

/// A server that refuses connections is tried again after this long.
const RETRY: Duration = Duration::from_millis(100);

impl Sender {
    /// Of these requests to a server.
    pub(crate) fn new(target: &Target, bodies: Bodies) -> Rc<Self> {
        let (address, ledger) = (target.address, RefCell::new(Ledger::new(Instant::now())));
        Rc::new(Self { address, bodies, ledger })
    }

    /// So many connections, not yet made.
    pub(crate) fn connections(&self, count: usize) -> Vec<Connection> {
        (0..count).map(|_| Connection::new(self.address)).collect()
    }

    /// Makes so many connections.
    pub(crate) async fn connect(&self, count: usize) -> io::Result<Vec<Connection>> {
        let mut connections = self.connections(count);
        for connection in &mut connections {
            connection.open().await?;
        }
        Ok(connections)
    }

    /// Sends what is due over these connections.
    pub(crate) async fn send(self: &Rc<Self>, stint: Stint, connections: Vec<Connection>) -> Sent {
        let sending = Rc::new(Sending {
            sender: self.clone(),
            tally: RefCell::new(Tally::new(stint.from)),
            late: RefCell::new(histogram()),
            unsent: Cell::new(0),
            trouble: Cell::new(None),
            stint,
        });
        let mut senders = JoinSet::new();
        for connection in connections {
            senders.spawn_local(sending.clone().run(connection));
        }
        while senders.join_next().await.is_some() {}
        let sending = Rc::into_inner(sending).expect("all that shared it have ended");
        let Sending { tally, late, unsent, trouble, .. } = sending;
        let (tally, late) = (tally.into_inner(), late.into_inner());
        Sent { tally, late, unsent: unsent.get(), trouble: trouble.get() }
    }
}

/// What the connections of a stint share.
struct Sending {
    sender: Rc<Sender>,
    stint: Stint,
    tally: RefCell<Tally>,
    late: RefCell<Histogram<u64>>,
    unsent: Cell<u64>,
    trouble: Cell<Option<Instant>>,
}

impl Sending {
    async fn run(self: Rc<Self>, mut connection: Connection) {
        let Sender { bodies, ledger, .. } = &*self.sender;
        let (mut body, mut request) = (String::new(), Vec::new());
        let mut free = Instant::now();
        while let Some(due) = self.stint.arrivals.next().await {
            let now = Instant::now();
            if now - due > self.stint.patience_to_send {
                self.unsent.set(self.unsent.get() + 1);
                free = now;
                continue;
            }
            if due >= self.stint.from {
                self.late.borrow_mut().saturating_record(micros(now - due.max(free)));
            }
            let n = ledger.borrow_mut().sent(due, now);
            bodies.request(n, &mut body, &mut request);
            let outcome = self.outcome(&mut connection, &request).await;
            let now = Instant::now();
            ledger.borrow_mut().ended(n, now, &outcome);
            if !matches!(outcome, Outcome::Answered(200..300)) || now - due > self.stint.slow {
                self.trouble.set(Some(now));
            }
            let broken = matches!(outcome, Outcome::Broken(_));
            self.tally.borrow_mut().add(due, now, outcome);
            free = now;
            if broken && connection.open().await.is_err() {
                sleep_until((Instant::now() + RETRY).min(self.stint.give_up)).await;
                free = Instant::now();
            }
        }
    }

    async fn outcome(&self, connection: &mut Connection, request: &[u8]) -> Outcome {
        if Instant::now() >= self.stint.give_up {
            return Outcome::Unanswered;
        }
        match timeout_at(self.stint.give_up, connection.send(request)).await {
            Ok(Ok(status)) => Outcome::Answered(status),
            Ok(Err(error)) => Outcome::Broken(error),
            Err(_) => Outcome::Unanswered,
        }
    }
}

/// Runs it on a thread of its own, at once, so that nobody else's work makes its sends late.
pub(crate) fn on_a_thread<T, F>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Receiver<io::Result<T>>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>>,
{
    let (send, done) = channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        let result = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, work()));
        // Whoever asked is gone only when the run has failed.
        drop(send.send(result));
    });
    done
}

/// What a thread has done, once it has.
pub(crate) async fn done<T>(thread: Receiver<io::Result<T>>) -> io::Result<T> {
    thread.await.unwrap_or_else(|_| Err(io::Error::other("a sender ended early")))
}
