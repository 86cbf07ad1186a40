//! The stretches of a run: each at its rate, measured second by second while the server is killed when
//! that is due.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep_until};

use super::Told;
use super::driver::{Stint, drive, turns_per_message, why_invalid};
use super::meter::{Counts, Meter};
use super::server::{Process, Server};
use super::world::World;
use crate::arrivals::{Arrivals, Schedule};
use crate::machine::go_first;
use crate::process::{self, Cpu};
use crate::result::{
    ACKNOWLEDGE, END_TO_END, GeneratorCost, LATENESS, Phase, REST, Recorded, Second, ServerCost,
};
use crate::sender::{done, on_a_thread};

/// Runs phases, one after the other.
pub(super) struct Phases<'a> {
    pub(super) world: Arc<World>,
    pub(super) process: Process,
    /// The server, where it may be killed.
    pub(super) server: Option<Server>,
    /// When it is killed, counted from the begin of the first phase that has a rate; the next one last.
    pub(super) kills_left: Vec<Duration>,
    /// How much of that has passed.
    pub(super) passed: Duration,
    /// When it was killed.
    pub(super) killed: Vec<f64>,
    pub(super) tell: &'a mut dyn FnMut(Told<'_>),
}

/// A stretch that is to be.
pub(super) struct Asked {
    pub(super) name: String,
    /// Messages a second, agents' answers among them; `None`: as many as are answered.
    pub(super) rate: Option<f64>,
    pub(super) load: Option<f64>,
    pub(super) warm_up: Duration,
    pub(super) time: Duration,
    pub(super) connections: usize,
}

/// What was taken so far.
struct Costs {
    server: Option<Cpu>,
    resident: Option<u64>,
    generator: Option<Cpu>,
    threads: HashMap<u32, Duration>,
}

/// Threads are ready for what is due so much later.
const START: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

impl Phases<'_> {
    /// Each customer writes once, so that there are conversations.
    pub(super) async fn introduce(&mut self) -> io::Result<()> {
        let (world, patience) = (self.world.clone(), self.patience());
        let count = world.scenario.people.customers;
        let introduced = on_a_thread(move || async move {
            let give_up = Instant::now() + Duration::from_secs(3600);
            let stint = Stint {
                arrivals: Arrivals::closed(give_up, count),
                give_up: give_up + patience,
                connections: SEARCH_CONNECTIONS,
                introduces: true,
            };
            drive(world, stint).await;
            Ok(())
        });
        done(introduced).await
    }

    /// A stretch, measured.
    pub(super) async fn run(&mut self, asked: Asked) -> io::Result<Phase> {
        let begin = Instant::now() + START;
        let from = begin + asked.warm_up;
        let until = from + asked.time;
        let number = self.world.meter.begin(from, Some(until));
        let sent = self.send(&asked, begin, until);
        // The whole stretch counts for kills, with its warm-up.
        let kills = self.kills_before(asked.rate.map(|_| until - begin), begin);
        let server = self.server.take();
        let killing = kill(server, kills, self.world.begin);
        let (measured, killed) = tokio::join!(self.measure(&asked.name, from, until), killing);
        let (server, killed) = killed;
        self.server = server;
        for (at, away) in killed? {
            let away = away.as_secs_f64();
            let words =
                format!("the server was killed after {at:.0} s, and is back {away:.1} s later");
            (self.tell)(Told::Step(words));
            self.killed.push(at);
        }
        let (series, costs) = measured;
        done(sent).await?;
        let mut within = Counts::default();
        let mut phase_series = Vec::new();
        for (second, taken) in series {
            within.add(&taken);
            phase_series.push(second);
        }
        let ([before, after], crowd) = (costs, self.world.crowd.get().copied());
        // All of it is sent.
        let late = self.world.meter.at(number, LATENESS, 0.99);
        Ok(phase(asked, late, &within, phase_series, (self.at(from), &before, &after), crowd))
    }

    fn send(
        &self,
        asked: &Asked,
        begin: Instant,
        until: Instant,
    ) -> tokio::sync::oneshot::Receiver<io::Result<()>> {
        let (world, give_up) = (self.world.clone(), until + self.patience());
        let (connections, rate) = (asked.connections, asked.rate);
        on_a_thread(move || async move {
            let arrivals = match rate {
                Some(rate) => {
                    go_first();
                    let rate = rate * turns_per_message(&world.scenario.load);
                    Arrivals::open(Schedule { begin, until, rate, count: u64::MAX })
                }
                None => Arrivals::closed(until, u64::MAX),
            };
            drive(world, Stint { arrivals, give_up, connections, introduces: false }).await;
            Ok(())
        })
    }

    /// When the server is killed within the next stretch.
    fn kills_before(&mut self, time: Option<Duration>, begin: Instant) -> Vec<Instant> {
        let Some(time) = time else { return Vec::new() };
        let until = self.passed + time;
        let mut kills = Vec::new();
        while let Some(at) = self.kills_left.pop_if(|at| *at < until) {
            kills.push(begin + at.saturating_sub(self.passed));
        }
        self.passed = until;
        kills
    }

    async fn measure(
        &mut self,
        name: &str,
        from: Instant,
        until: Instant,
    ) -> (Vec<(Second, Counts)>, [Costs; 2]) {
        sleep_until(from).await;
        // What happened before.
        drop(self.world.meter.take());
        let before = Costs::now(&self.process);
        let (mut series, mut server) = (Vec::new(), before.server);
        let mut next = from;
        while next < until {
            next = (next + SECOND).min(until);
            sleep_until(next).await;
            let (counts, cpu) = (self.world.meter.take(), self.process.cpu());
            let taken = cpu.zip(server).map(|(now, before)| now - before);
            server = cpu;
            let second = self.second(&counts, taken);
            (self.tell)(Told::Second { phase: name, second: &second });
            series.push((second, counts));
        }
        (series, [before, Costs::now(&self.process)])
    }

    fn second(&self, counts: &Counts, taken: Option<Cpu>) -> Second {
        let micros = |of: fn(&Cpu) -> Duration| taken.map(|taken| of(&taken).as_micros() as u64);
        Second {
            at: self.at(Instant::now()),
            offered: counts.offered,
            acknowledged: counts.acknowledged,
            refused: counts.refused,
            unknown: counts.unknown,
            delivered: counts.delivered,
            acknowledge_p50_us: counts.at(ACKNOWLEDGE, 0.5),
            acknowledge_p99_us: counts.at(ACKNOWLEDGE, 0.99),
            end_to_end_p50_us: counts.at(END_TO_END, 0.5),
            end_to_end_p99_us: counts.at(END_TO_END, 0.99),
            server_user_us: micros(|taken| taken.user),
            server_system_us: micros(|taken| taken.system),
            server_rss_bytes: self.process.resident(),
        }
    }

    fn at(&self, time: Instant) -> f64 {
        time.saturating_duration_since(self.world.begin).as_secs_f64()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.world.scenario.phases.patience)
    }
}

/// Connections of a closed loop.
pub(super) const SEARCH_CONNECTIONS: usize = 64;

impl Costs {
    fn now(process: &Process) -> Self {
        Self {
            server: process.cpu(),
            resident: process.resident(),
            generator: process::cpu(std::process::id()),
            threads: process::threads(),
        }
    }

    /// How busy the busiest thread of this program was since then.
    fn busiest(&self, before: &Self, time: Duration) -> Option<f64> {
        let most = self.threads.keys().map(|id| self.of_thread(*id, before)).max()?;
        Some(most.as_secs_f64() / time.as_secs_f64().max(1e-6))
    }

    /// What a thread of this program took since then.
    fn of_thread(&self, id: u32, before: &Self) -> Duration {
        let of = |costs: &Self| costs.threads.get(&id).copied().unwrap_or_default();
        of(self).saturating_sub(of(before))
    }
}

/// Kills the server at these times. Answers it, and when it was killed and for how long it was away.
async fn kill(
    mut server: Option<Server>,
    kills: Vec<Instant>,
    begin: Instant,
) -> (Option<Server>, io::Result<Vec<(f64, Duration)>>) {
    let mut killed = Vec::new();
    if let Some(server) = &mut server {
        for at in kills {
            sleep_until(at).await;
            let now = Instant::now();
            if let Err(error) = server.kill().await {
                return (None, Err(error));
            }
            killed.push(((now - begin).as_secs_f64(), now.elapsed()));
        }
    }
    (server, Ok(killed))
}

/// What came of a stretch within its time; what became of all that was due in it is entered at the end
/// of the run.
fn phase(
    asked: Asked,
    late: Option<u64>,
    within: &Counts,
    series: Vec<Second>,
    (begin, before, after): (f64, &Costs, &Costs),
    crowd: Option<u32>,
) -> Phase {
    let time = asked.time;
    let why_invalid = match asked.rate {
        Some(_) => why_invalid(late, after.busiest(before, time)),
        // Whoever waits for answers is never late.
        None => Vec::new(),
    };
    let server = after.server.zip(before.server).map(|(after_cpu, before_cpu)| {
        let taken = after_cpu - before_cpu;
        ServerCost {
            user_us: taken.user.as_micros() as u64,
            system_us: taken.system.as_micros() as u64,
            rss_before: before.resident.unwrap_or_default(),
            rss_after: after.resident.unwrap_or_default(),
        }
    });
    let own = after.generator.zip(before.generator).map(|(after, before)| (after - before).total());
    let own = own.unwrap_or_default();
    let listening = crowd.map_or(Duration::ZERO, |thread| after.of_thread(thread, before));
    let each =
        |time: Duration, count: u64| (count > 0).then(|| time.as_secs_f64() * 1e6 / count as f64);
    let pages = within.took.get(REST).map_or(0, Histogram::len) + within.pages_failed;
    let requests = within.offered + within.duplicates + pages;
    let cpu_us_per_webhook = each(own.saturating_sub(listening), requests);
    let cpu_us_per_event = each(listening, within.delivered);
    let cpu_us = own.as_micros() as u64;
    Phase {
        name: asked.name,
        begin,
        seconds: time.as_secs_f64(),
        target_rate: asked.rate,
        load: asked.load,
        valid: why_invalid.is_empty(),
        why_invalid,
        series,
        server,
        generator: GeneratorCost { cpu_us, cpu_us_per_webhook, cpu_us_per_event },
        ..Phase::default()
    }
}

/// Enters in phases, once everybody has heard of everything, what became of what was due in each.
pub(super) fn settle(phases: &mut [Phase], meter: &Meter) {
    for (number, phase) in phases.iter_mut().enumerate() {
        let counts = meter.take_phase(number);
        phase.offered = counts.offered;
        phase.acknowledged = counts.acknowledged;
        phase.refused = counts.refused;
        phase.unknown = counts.unknown;
        phase.duplicates_sent = counts.duplicates;
        phase.duplicates_failed = counts.duplicates_failed;
        phase.pages_failed = counts.pages_failed;
        phase.delivered = counts.delivered;
        let latencies = counts.took.into_iter();
        phase.latencies = latencies.map(|(what, took)| (what.to_owned(), Recorded(took))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::Process;
    use super::super::world::World;
    use super::{Asked, Phases, settle};
    use axum::Router;
    use axum::routing::post;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::net::TcpListener;
    use tokio::sync::Mutex;
    use tokio::time::{MissedTickBehavior, interval};

    /// What the server takes a second.
    const MOST: u64 = 50;
    const SCENARIO: &str =
        "[load]\nduplicates = 0\n[phases]\nseconds = 1\nrates = [1]\npatience = 0.5\n";

    /// A server that takes so much and no more.
    async fn busy() -> SocketAddr {
        let mut turns = interval(Duration::from_secs(1) / MOST as u32);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let turns = Arc::new(Mutex::new(turns));
        let take = async move || {
            turns.lock().await.tick().await;
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/webhook", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[tokio::test]
    async fn a_server_that_is_asked_for_more_than_it_takes_is_not_said_to_have_taken_more() {
        for warm_up in [Duration::ZERO, Duration::from_millis(500)] {
            let world = World::of_one(busy().await, SCENARIO);
            let mut phases = Phases {
                world: world.clone(),
                process: Process::default(),
                server: None,
                kills_left: Vec::new(),
                passed: Duration::ZERO,
                killed: Vec::new(),
                tell: &mut |_| {},
            };
            let asked = Asked {
                name: "too much".to_owned(),
                rate: Some(4.0 * MOST as f64),
                load: None,
                warm_up,
                time: Duration::from_secs(2),
                connections: 4,
            };
            let mut phase = phases.run(asked).await.unwrap();
            let rate = phase.rate(phase.acknowledged_within());
            assert!((0.2..=1.1).contains(&(rate / MOST as f64)), "{rate} after {warm_up:?}");
            settle(std::slice::from_mut(&mut phase), &world.meter);
            assert_eq!(phase.offered, 2 * 4 * MOST);
            assert_eq!(phase.acknowledged + phase.unknown, phase.offered);
        }
    }
}
