//! Scenarios: a server is loaded as a file says, by customers of all channels, agents and subscribers,
//! and everything that it said is compared with what it has afterwards.

mod check;
mod crowd;
mod driver;
mod findings;
mod follow;
mod frames;
mod meter;
mod organizations;
mod people;
mod phases;
pub mod scenario;
mod server;
mod table;
mod world;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use self::check::Checked;
use self::crowd::{Crowd, Order, Unrest};
use self::follow::Follow;
use self::people::Population;
use self::phases::{Asked, Phases, SEARCH_CONNECTIONS};
use self::scenario::Scenario;
use self::server::{Process, Server};
use self::world::World;
use crate::connection::Connection;
use crate::machine::{Machine, go_first};
use crate::process;
use crate::result::{self, FORMAT, Ledger, Phase, RunResult};
use crate::target::Target;

pub use organizations::{AccountKey, Credentials, Organization};
pub use scenario::Written;
pub use server::{Programs, Provider};
pub use table::Table;

/// What is asked, and of whom.
pub struct Plan {
    pub written: Written,
    pub subject: Subject,
}

/// Which server is loaded.
pub enum Subject {
    /// One that is started for it.
    Own(Programs),
    /// One that runs already.
    At {
        target: Target,
        credentials: Credentials,
        /// Its process, if it is of this machine: its processor time and memory are told.
        pid: Option<u32>,
        /// Whether agents answer: its provider is a stand-in, and nobody real is written to.
        answers: bool,
    },
}

/// What is told while it goes on.
pub enum Told<'a> {
    /// What is done next, in a sentence.
    Step(String),
    /// A second of a phase has passed.
    Second { phase: &'a str, second: &'a result::Second },
}

/// It is looked for so long how busy the machine is.
const LOOK: Duration = Duration::from_secs(1);
/// Sockets follow within this time.
const GATHER_WITHIN: Duration = Duration::from_secs(60);

/// Runs it all; answers what came of it.
///
/// # Errors
/// A sentence that says what to do, when it could not be run to its end.
pub async fn play(plan: Plan, mut tell: impl FnMut(Told<'_>)) -> Result<RunResult, String> {
    plan.play(&mut tell).await
}

impl Plan {
    async fn play(self, tell: &mut dyn FnMut(Told<'_>)) -> Result<RunResult, String> {
        let Self { written, subject } = self;
        check_subject(&written.scenario, &subject)?;
        let machine = Machine::look(LOOK).await;
        let started = result::now();
        let scenario = written.scenario.clone();
        let people = Population::new(&scenario.people, scenario.seed);
        let count = scenario.people.tenants;
        let (server, process, target, tenants) = match subject {
            Subject::Own(programs) => {
                tell(Told::Step(format!("starts {}", programs.server.display())));
                let accounts = organizations::accounts(&people, count);
                let server = Server::start(programs, &accounts).await.map_err(sentence)?;
                let url = format!("http://{}", server.address);
                let target = Target::new(&url, "/").map_err(|wrong| wrong.to_string())?;
                let tenants = organizations::found(&target, &people, count).await;
                let tenants =
                    tenants.map_err(|error| format!("no organization is founded: {error}"))?;
                (Some(server), None, target, tenants)
            }
            Subject::At { target, credentials, pid, .. } => {
                let is_there = Connection::new(target.address).open().await.map(drop);
                is_there.map_err(|error| format!("no connection to {}: {error}", target.host))?;
                let tenants = organizations::named(&credentials, &people, count);
                let tenants = tenants.map_err(|wrong| wrong.to_string())?;
                (None, Some(Process::of(pid)), target, tenants)
            }
        };
        let process = process.or(server.as_ref().map(|server| server.process.clone()));
        let process = process.unwrap_or_default();
        let server_version = version(&target).await;
        let world = World::new(target, server.is_some(), scenario, people, tenants);
        let mut run = Run {
            phases: Phases {
                kills_left: kills(&world.scenario),
                world: Arc::new(world),
                process,
                server,
                passed: Duration::ZERO,
                killed: Vec::new(),
                tell,
            },
        };
        let played = run.play().await;
        let Run { phases: Phases { server, killed, world, .. } } = run;
        let ended = match server {
            Some(server) => server.stop().await,
            None => None,
        };
        let (phases, checked, crowd) = played.map_err(|error| match ended {
            Some(how) => format!("{how}; then {error}"),
            None => error.to_string(),
        })?;
        let mut result = told(&world, phases, checked, &crowd, killed);
        result.machine = machine;
        result.started = started;
        result.server_version = server_version;
        result.scenario = described(&written);
        Ok(result)
    }
}

struct Run<'a> {
    phases: Phases<'a>,
}

type Watching = JoinHandle<io::Result<Crowd>>;

impl Run<'_> {
    async fn play(&mut self) -> io::Result<(Vec<Phase>, Checked, Crowd)> {
        let world = self.phases.world.clone();
        let mut phases = Vec::new();
        self.step(format!("{} customers write once", world.scenario.people.customers));
        let begin = Instant::now();
        world.meter.begin(begin, None);
        self.phases.introduce().await?;
        find_homes(&world).await?;
        self.step(format!("{} sockets are opened", world.scenario.subscribers.count));
        let (orders, told) = mpsc::channel();
        let watching = watch(&world, told).await?;
        phases.push(ramp(&world, begin));
        phases.extend(self.phases_of_scenario().await?);
        self.step("everything is read back".to_owned());
        // Whoever does not listen any more has failed, and is asked why.
        let _told = orders.send(Order::Calm);
        let crowd = async { watching.await.map_err(io::Error::other)? };
        let (checked, crowd) = check::check(&world, crowd, orders).await?;
        phases::settle(&mut phases, &world.meter);
        Ok((phases, checked, crowd))
    }

    /// The search for the most, and what follows.
    async fn phases_of_scenario(&mut self) -> io::Result<Vec<Phase>> {
        let world = self.phases.world.clone();
        let asked = &world.scenario.phases;
        let (warm_up, seconds) = (Duration::from_secs_f64(asked.warm_up), asked.seconds);
        let mut phases = Vec::new();
        let mut stretches: Vec<(String, f64, Option<f64>)> = Vec::new();
        if asked.search > 0.0 {
            let time = Duration::from_secs_f64(asked.search);
            let (name, connections) = ("maximum".to_owned(), SEARCH_CONNECTIONS);
            let searched = Asked { name, rate: None, load: None, warm_up, time, connections };
            let searched = self.phases.run(searched).await?;
            let most = searched.rate(searched.acknowledged_within());
            if most <= 0.0 && !asked.of_maximum.is_empty() {
                return Err(io::Error::other(
                    "nothing was acknowledged in the search for the most",
                ));
            }
            phases.push(searched);
            let named =
                |share: &f64| (format!("{:.0} %", share * 100.0), most * share, Some(*share));
            stretches.extend(asked.of_maximum.iter().map(named));
        }
        stretches.extend(asked.rates.iter().map(|rate| (format!("{rate} a second"), *rate, None)));
        for (name, rate, load) in stretches {
            let (time, connections) =
                (Duration::from_secs_f64(seconds), world.scenario.load.connections);
            let asked = Asked { name, rate: Some(rate), load, warm_up, time, connections };
            phases.push(self.phases.run(asked).await?);
        }
        Ok(phases)
    }

    fn step(&mut self, what: String) {
        (self.phases.tell)(Told::Step(what));
    }
}

fn check_subject(scenario: &Scenario, subject: &Subject) -> Result<(), String> {
    let Subject::At { answers, .. } = subject else { return Ok(()) };
    if scenario.kills.count > 0 {
        let what = "the scenario kills its server: leave out `--url`, and one is started for it";
        return Err(what.to_owned());
    }
    if scenario.load.replies > 0.0 && !answers {
        return Err("the scenario answers customers, and the server gives that to its provider: \
                    point `meta.graph_url` of the server at a stand-in and say `--answers`, or set \
                    `load.replies` to 0"
            .to_owned());
    }
    Ok(())
}

/// When the server is killed, at even distances; the first one last.
fn kills(scenario: &Scenario) -> Vec<Duration> {
    let phases = &scenario.phases;
    let all = phases.count() as f64 * (phases.warm_up + phases.seconds);
    let count = scenario.kills.count;
    let at = |n| Duration::from_secs_f64(all * (f64::from(n) + 0.5) / f64::from(count));
    (0..count).rev().map(at).collect()
}

/// The conversations of all customers, by how their newest message begins. Where some are missing because
/// a message was lost the run goes on without them, to say which.
async fn find_homes(world: &World) -> io::Result<()> {
    let give_up = Instant::now() + Duration::from_secs_f64(world.scenario.phases.patience);
    let expected = world.scenario.people.customers as usize;
    loop {
        let mut homes = HashMap::new();
        for tenant in &world.tenants {
            for row in world.reader(tenant).conversations().await? {
                let text = row.last_message.and_then(|message| message.text);
                if let Some(customer) = text.as_deref().and_then(Population::of_text) {
                    homes.insert(customer, row.id);
                }
            }
        }
        let (found, gives_up) = (homes.len(), Instant::now() >= give_up);
        if found >= expected || (gives_up && check::has_lost(world).await?) {
            world.is_at_home(homes);
            return Ok(());
        }
        if gives_up {
            return Err(io::Error::other(format!(
                "only {found} of {expected} customers have a conversation after each has written once"
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Opens all sockets; they watch until they are told to end.
async fn watch(world: &Arc<World>, orders: mpsc::Receiver<Order>) -> io::Result<Watching> {
    let asked = world.scenario.subscribers.clone();
    let tenants = world.tenants.len();
    let busiest: Vec<_> =
        (0..tenants).map(|tenant| world.busiest(tenant, asked.conversations)).collect();
    let members = (0..asked.count).map(|at| {
        let tenant = at % tenants;
        let conversations = busiest[tenant].iter().map(|id| format!("c:{id}"));
        let lists = asked.lists.then(|| "i:all".to_owned());
        (tenant, conversations.chain(lists).map(Follow::new).collect())
    });
    let stopped = (asked.count as f64 * asked.stopped).ceil() as usize;
    let mut crowd = Crowd::new(world, members.collect(), stopped, true)?;
    let unrest = Unrest {
        reconnects: asked.reconnects,
        storm_every: Duration::from_secs_f64(asked.storm_every),
    };
    let (ready, is_ready) = oneshot::channel();
    let shared = world.clone();
    let watching: Watching = spawn_blocking(move || {
        go_first();
        if let Some(thread) = process::this_thread() {
            shared.crowd.get_or_init(|| thread);
        }
        crowd.gather(asked.ramp, GATHER_WITHIN)?;
        // Without anybody who waits for it the run has ended.
        let _told = ready.send(());
        crowd.watch(unrest, &orders)?;
        Ok(crowd)
    });
    match is_ready.await {
        Ok(()) => Ok(watching),
        Err(_) => match watching.await.map_err(io::Error::other)? {
            Ok(_) => Err(io::Error::other("the sockets ended early")),
            Err(error) => Err(error),
        },
    }
}

/// The stretch in which everybody came.
fn ramp(world: &World, begin: Instant) -> Phase {
    Phase {
        name: "ramp".to_owned(),
        seconds: begin.elapsed().as_secs_f64(),
        begin: begin.saturating_duration_since(world.begin).as_secs_f64(),
        valid: true,
        ..Phase::default()
    }
}

/// What came of a run.
fn told(
    world: &World,
    phases: Vec<Phase>,
    checked: Checked,
    crowd: &Crowd,
    killed: Vec<f64>,
) -> RunResult {
    let Checked { comparison, findings, resumed, mut notes } = checked;
    notes.extend(world.refusals());
    if crowd.seen.begun_anew > 0 {
        notes.push(format!(
            "subscribers had to begin anew with conversations {} times: what they were told before \
             was not compared",
            crowd.seen.begun_anew
        ));
    }
    let ended = crowd.seen.ended.iter();
    notes.extend(ended.map(|(why, count)| format!("sockets ended {count} times: {why}")));
    RunResult {
        format: FORMAT,
        seconds: world.begin.elapsed().as_secs_f64(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: world.scenario.seed,
        phases,
        ledger: Ledger {
            acknowledged: comparison.acknowledged,
            refused: comparison.refused,
            unknown: comparison.unknown,
            stored: comparison.stored,
            unknown_stored: comparison.stored_unasked,
            events: crowd.seen.events + resumed,
            reconnects: crowd.seen.reconnects,
            kills: killed.len() as u64,
            lost: findings.lost,
            doubled: findings.doubled,
            out_of_order: findings.out_of_order,
        },
        kills: killed,
        violations_total: findings.total(),
        violations: findings.examples,
        notes,
        ..RunResult::default()
    }
}

fn described(written: &Written) -> result::Scenario {
    let digest = Sha256::digest(written.text.as_bytes());
    result::Scenario {
        name: written.scenario.name.clone(),
        text: written.text.clone(),
        hash: hex::encode(&digest[..8]),
    }
}

async fn version(target: &Target) -> Option<String> {
    let mut connection = Connection::new(target.address);
    let answer = connection.get(&target.host, "/health", "").await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    answer["version"].as_str().map(str::to_owned)
}

fn sentence(error: io::Error) -> String {
    error.to_string()
}
