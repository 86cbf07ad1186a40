//! Does what is due: customers' webhooks, agents' answers and their pages, over the connections of
//! one thread.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::people::{Population, Request};
use super::scenario::Load;
use super::world::World;
use crate::arrivals::Arrivals;
use crate::connection::Connection;
use crate::customers::{drawn, mixed};
use crate::result::{ACKNOWLEDGE, LATENESS, REST};
use crate::tally::Outcome;

/// From when an agent's answer was due until it was taken.
pub(super) const REPLY: &str = "reply";
/// The same as [`ACKNOWLEDGE`] of those whose neighbour is noisy.
pub(super) const NEIGHBOURS: &str = "acknowledge_neighbours";

/// Some time in which things are due.
pub(super) struct Stint {
    pub(super) arrivals: Arrivals,
    /// Nothing is waited for any longer.
    pub(super) give_up: Instant,
    pub(super) connections: usize,
    /// Whether each customer writes once, and nothing else is done.
    pub(super) introduces: bool,
}

/// What is done when something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// A customer writes.
    Message,
    /// An agent answers.
    Reply,
    /// An agent reads.
    Page,
    /// A webhook is delivered once more.
    Again,
}

struct Driver {
    world: Arc<World>,
    stint: Stint,
    turns: Cell<u64>,
}

/// A server that refuses connections is tried again after this long.
const RETRY: Duration = Duration::from_millis(50);
/// What is delivered once more was sent so many messages ago at most.
const AGAIN_WITHIN: u64 = 64;
/// Rows of a page.
const ROWS: usize = 50;
const OF_TURN: u64 = 0x7475_726E;

/// So many things are due for each message that somebody writes.
pub(super) fn turns_per_message(load: &Load) -> f64 {
    shares(load) / (1.0 + load.replies)
}

/// So many things are due for each message that a customer writes.
fn shares(load: &Load) -> f64 {
    1.0 + load.replies + load.pages + load.duplicates
}

/// Does all that is due in a stint.
pub(super) async fn drive(world: Arc<World>, stint: Stint) {
    let connections = stint.connections;
    let driver = Rc::new(Driver { world, stint, turns: Cell::new(0) });
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        senders.spawn_local(driver.clone().run());
    }
    while senders.join_next().await.is_some() {}
}

impl Turn {
    fn drawn(load: &Load, seed: u64, n: u64) -> Self {
        let mut at = drawn(seed ^ OF_TURN ^ mixed(n)) * shares(load);
        let shares =
            [(load.replies, Self::Reply), (load.pages, Self::Page), (load.duplicates, Self::Again)];
        for (share, turn) in shares {
            at -= share;
            if at < 0.0 {
                return turn;
            }
        }
        Self::Message
    }
}

impl Driver {
    async fn run(self: Rc<Self>) {
        let mut connection = Connection::new(self.world.target.address);
        let mut request = Request::default();
        let mut free = Instant::now();
        while let Some(due) = self.stint.arrivals.next().await {
            let now = Instant::now();
            self.world.meter.took(due, LATENESS, late(due, free, now));
            let number = self.turns.replace(self.turns.get() + 1);
            let turn = match self.stint.introduces {
                true => Turn::Message,
                false => Turn::drawn(&self.world.scenario.load, self.world.scenario.seed, number),
            };
            match turn {
                Turn::Message => self.message(due, &mut connection, &mut request).await,
                Turn::Reply => self.reply(due, number, &mut connection, &mut request).await,
                Turn::Page => self.page(due, number, &mut connection, &mut request).await,
                Turn::Again => self.again(due, number, &mut connection, &mut request).await,
            }
            free = Instant::now();
        }
    }

    /// A customer writes.
    async fn message(&self, due: Instant, connection: &mut Connection, request: &mut Request) {
        let world = &self.world;
        let n = world.ledger().sent(due, Instant::now());
        world.meter.count(due, |counts| counts.offered += 1);
        let customer = world.customer(n);
        world.webhook(n, customer, request);
        let outcome = self.outcome(connection, &request.bytes).await;
        let now = Instant::now();
        world.ended(n, due, &outcome);
        world.meter.took(due, ACKNOWLEDGE, now - due);
        if world.scenario.people.noisy > 0.0 && world.people.tenant(customer) > 0 {
            world.meter.took(due, NEIGHBOURS, now - due);
        }
    }

    /// An agent answers a customer; one whose conversation nobody knows writes instead.
    async fn reply(
        &self,
        due: Instant,
        number: u64,
        connection: &mut Connection,
        request: &mut Request,
    ) {
        let world = &self.world;
        let Some((n, home, customer)) = world.answer(due, number) else {
            return self.message(due, connection, request).await;
        };
        world.meter.count(due, |counts| counts.offered += 1);
        let mark = world.mark.of(n);
        let text = format!("{}We look into it ({mark}).", Population::begin(customer));
        let body = format!(r#"{{"text":"{text}"}}"#);
        let path = format!("/api/conversations/{home}/messages");
        world.rest("POST", &path, customer, Some((&body, &mark)), &mut request.bytes);
        let outcome = self.outcome(connection, &request.bytes).await;
        world.ended(n, due, &outcome);
        world.meter.took(due, REPLY, due.elapsed());
    }

    /// An agent looks at the newest messages of a conversation.
    async fn page(
        &self,
        due: Instant,
        number: u64,
        connection: &mut Connection,
        request: &mut Request,
    ) {
        let world = &self.world;
        let customer = world.people.of(number);
        let Some(home) = world.home(customer) else { return };
        let path = format!("/api/conversations/{home}/messages?per_page={ROWS}");
        world.rest("GET", &path, customer, None, &mut request.bytes);
        let outcome = self.outcome(connection, &request.bytes).await;
        match world.answered("pages", &outcome) {
            true => world.meter.took(due, REST, Instant::now() - due),
            false => world.meter.count(due, |counts| counts.pages_failed += 1),
        }
    }

    /// A provider delivers a webhook once more.
    async fn again(
        &self,
        due: Instant,
        number: u64,
        connection: &mut Connection,
        request: &mut Request,
    ) {
        let world = &self.world;
        let sent = world.ledger().count();
        let Some(n) = sent.checked_sub(1 + mixed(number) % AGAIN_WITHIN.min(sent.max(1))) else {
            return;
        };
        if world.is_answer(n) {
            return;
        }
        world.webhook(n, world.customer(n), request);
        world.meter.count(due, |counts| counts.duplicates += 1);
        let outcome = self.outcome(connection, &request.bytes).await;
        world.ledger().repeated(n, Instant::now(), &outcome);
        if !world.answered("webhooks that were delivered again", &outcome) {
            world.meter.count(due, |counts| counts.duplicates_failed += 1);
        }
    }

    /// What became of a request. One for which no connection can be made waits for one, as providers
    /// do: a server that is down is charged for it.
    async fn outcome(&self, connection: &mut Connection, request: &[u8]) -> Outcome {
        if Instant::now() >= self.stint.give_up {
            return Outcome::Unanswered;
        }
        let sent = async {
            while connection.open().await.is_err() {
                sleep(RETRY).await;
            }
            connection.send(request).await
        };
        match timeout_at(self.stint.give_up, sent).await {
            Ok(Ok(status)) => Outcome::Answered(status),
            Ok(Err(error)) => Outcome::Broken(error),
            Err(_) => Outcome::Unanswered,
        }
    }
}

/// How much later something begins than it could have: what the generator itself adds. What waits for
/// a connection that is free waits for the server.
fn late(due: Instant, free: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(due.max(free))
}

impl World {
    /// An answer to the customer of a turn, entered in the ledger: its number, the conversation and
    /// the customer; `None`: that one cannot be answered.
    fn answer(&self, due: Instant, number: u64) -> Option<(u64, &str, u64)> {
        // Nobody is answered a hundred times a second, however much they write.
        let customer = mixed(number) % self.scenario.people.customers;
        let home = self.home(customer).filter(|_| self.can_be_answered(customer))?;
        let n = self.ledger().sent(due, Instant::now());
        self.answers().insert(n, customer);
        Some((n, home, customer))
    }

    /// Writes a request to the API in the name of a customer's organization.
    fn rest(
        &self,
        method: &str,
        path: &str,
        customer: u64,
        said: Option<(&str, &str)>,
        request: &mut Vec<u8>,
    ) {
        request.clear();
        let (host, token) = (&self.target.host, &self.tenants[self.people.tenant(customer)].token);
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             user-agent: omnistream-loadtest\r\n"
        );
        match said {
            Some((body, key)) => {
                let length = body.len();
                let written = write!(
                    text,
                    "content-type: application/json\r\nidempotency-key: {key}\r\n\
                     content-length: {length}\r\n\r\n{body}"
                );
                written.expect("a string takes what is written");
            }
            None => text.push_str("\r\n"),
        }
        request.extend_from_slice(text.as_bytes());
    }
}

/// Whether a generator was in time, by how late it was in 99 of 100 cases and how busy its busiest
/// thread was; else what was wrong, in sentences.
pub(super) fn why_invalid(late_us: Option<u64>, busiest: Option<f64>) -> Vec<String> {
    let mut why = Vec::new();
    if let Some(late) = late_us.filter(|late| *late > LATE_MAX_US) {
        let millis = late as f64 / 1000.0;
        why.push(format!(
            "the generator itself was {millis:.1} ms late (p99): run it where it has more processor"
        ));
    }
    if let Some(busy) = busiest.filter(|busy| *busy > BUSY_MAX) {
        let percent = busy * 100.0;
        why.push(format!("the generator was busy for {percent:.0} % of a core: ask for less"));
    }
    why
}

const LATE_MAX_US: u64 = 1_000;
const BUSY_MAX: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::super::scenario::Load;
    use super::super::world::World;
    use super::{REST, Stint, Turn, drive, late, why_invalid};
    use crate::arrivals::{Arrivals, Schedule};
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;
    use tokio::time::Instant;

    const PHASES: &str = "[phases]\nseconds = 1\nrates = [1]\n";

    /// Answers each request of a connection when the next one comes on it.
    async fn answer_one_late(mut stream: TcpStream, answered: Arc<AtomicUsize>) {
        let (mut said, mut heard) = (Vec::new(), 0);
        while stream.read_buf(&mut said).await.is_ok_and(|read| read > 0) {
            let all = said.windows(5).filter(|window| *window == b"POST ").count();
            for _ in heard.max(1)..all {
                answered.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
            heard = all;
        }
    }

    #[tokio::test]
    async fn behind_the_end_of_patience_no_answer_is_taken_for_that_of_another_message() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::of_one(listener.local_addr().unwrap(), PHASES);
        let answered = Arc::new(AtomicUsize::new(0));
        let counter = answered.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_one_late(stream, counter.clone()));
            }
        });
        // All are due, and wait for a connection.
        let begin = Instant::now() - Duration::from_secs(10);
        let schedule = Schedule { begin, until: Instant::now(), rate: 100.0, count: 200 };
        let stint = Stint {
            arrivals: Arrivals::open(schedule),
            give_up: Instant::now() + Duration::from_millis(100),
            connections: 2,
            introduces: true,
        };
        LocalSet::new().run_until(drive(world.clone(), stint)).await;
        let compared = world.ledger().compare(|n| n.to_string()).end();
        assert_eq!((compared.sent, compared.acknowledged, compared.unknown), (200, 0, 200));
        assert_eq!(answered.load(Ordering::Relaxed), 0, "a second request came before an answer");
    }

    /// Refuses all webhooks, and every second page; answers where it is, and how many pages it was asked for.
    async fn refuse() -> (SocketAddr, Arc<AtomicUsize>) {
        let pages = Arc::new(AtomicUsize::new(0));
        let asked = pages.clone();
        let page = async move || match asked.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => StatusCode::OK,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let router = Router::new()
            .route("/webhook", post(async || StatusCode::TOO_MANY_REQUESTS))
            .route("/api/conversations/home/messages", get(page));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (address, pages)
    }

    #[tokio::test]
    async fn pages_and_repeats_that_are_refused_are_counted_and_told_with_how() {
        let (address, pages) = refuse().await;
        let load = format!("{PHASES}[load]\npages = 1.0\nduplicates = 1.0\n");
        let world = World::of_one(address, &load);
        world.is_at_home([(0, "home".to_owned())].into());
        let end = Instant::now() + Duration::from_secs(60);
        let arrivals = Arrivals::closed(end, 200);
        let stint = Stint { arrivals, give_up: end, connections: 1, introduces: false };
        LocalSet::new().run_until(drive(world.clone(), stint)).await;
        let (counts, pages) = (world.meter.take(), pages.load(Ordering::Relaxed) as u64);
        assert!(pages > 20 && counts.duplicates > 20);
        assert_eq!(counts.pages_failed, pages / 2);
        assert_eq!(counts.took[REST].len(), pages - pages / 2);
        assert_eq!(counts.duplicates_failed, counts.duplicates);
        let told = |what: &str, count| format!("{what} were refused by {count} times)");
        let notes = [
            told("messages", format!("429 ({}", counts.refused)),
            told("pages", format!("500 ({}", pages / 2)),
            told("webhooks that were delivered again", format!("429 ({}", counts.duplicates)),
        ];
        assert_eq!(world.refusals(), notes);
    }

    #[test]
    fn turns_are_drawn_by_their_shares() {
        let load = Load { replies: 0.5, pages: 2.0, duplicates: 0.25, ..Load::default() };
        let drawn: Vec<_> = (0..100_000).map(|n| Turn::drawn(&load, 4711, n)).collect();
        let share = |turn| drawn.iter().filter(|one| **one == turn).count() as f64 / 100_000.0;
        for (turn, weight) in
            [(Turn::Message, 1.0), (Turn::Reply, 0.5), (Turn::Page, 2.0), (Turn::Again, 0.25)]
        {
            assert!((share(turn) - weight / 3.75).abs() < 0.01, "{turn:?}: {}", share(turn));
        }
    }

    #[test]
    fn waiting_for_a_free_connection_is_not_the_generators_lateness() {
        let due = Instant::now();
        let at = |millis| due + Duration::from_millis(millis);
        assert_eq!(late(due, at(0), at(3)), Duration::from_millis(3));
        assert_eq!(late(due, at(10), at(11)), Duration::from_millis(1));
        assert_eq!(late(at(5), at(0), at(4)), Duration::ZERO);
    }

    #[test]
    fn a_generator_that_was_late_or_busy_says_so() {
        assert!(why_invalid(Some(1_000), Some(0.8)).is_empty());
        assert!(why_invalid(None, None).is_empty());
        assert!(why_invalid(Some(2_500), None)[0].contains("2.5 ms late"));
        assert!(why_invalid(None, Some(0.93))[0].contains("93 % of a core"));
        assert_eq!(why_invalid(Some(9_999), Some(1.0)).len(), 2);
    }
}
