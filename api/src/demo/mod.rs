//! `omnistream demo`: everything in one process, as a person would set it up. Past the start of the
//! server all of it goes through the outside: REST, webhooks, the websocket.

mod agents;
mod banner;
mod board;
mod cast;
mod feed;
mod figures;
mod home;
mod protocol;
mod replies;
mod rest;
mod screen;
mod socket;
mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use config::{Backend, Config};
use simulator::{
    Account, Business, CustomerOptions, Customers, Graph, GraphOptions, Object, Page, StatusDelays,
    fresh_seed,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::server::Server;
use banner::Banner;
use feed::Feed;
use figures::Figures;
use home::Home;
use screen::{Screen, Style, tell};

pub use screen::has_colours;

/// The settings that differ from the built-in ones: logs give way to the feed.
pub const PRESET: &str = "log.filter = \"warn\"\nlimits.connections = 1000";

/// How many customers write on each channel, and how many messages a second all together.
const PEOPLE: usize = 10;
const RATE: f64 = 1.2;
/// How often they do more than write: send pictures and places, react, edit, delete.
const VARIETY: f64 = 0.35;
/// At first they are more lively, so that there is something to see.
const RATE_AT_FIRST: f64 = 3.0;
const AT_FIRST: Duration = Duration::from_secs(3);
/// A person looks at what they got after this long.
const READ_AFTER: Duration = Duration::from_millis(1800);
/// Messages written that the feed has not looked up yet.
const WRITTEN: usize = 1_024;

/// How the demo runs.
#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Keeps the data there, and goes on with what is there already.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Ends by itself after so many seconds.
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
}

/// Runs until `stop` or its time is over. `announce` tells where it listens, once everything is
/// there.
///
/// # Errors
/// A sentence that says what to do, when it cannot start, or another process has taken over.
pub async fn run(
    config: Config,
    options: DemoOptions,
    announce: impl FnOnce(SocketAddr) -> Result<(), String>,
    stop: impl Future<Output = ()>,
) -> Result<(), String> {
    let DemoOptions { data, seconds } = options;
    let keeps = data.is_some();
    let home = Home::open(data)?;
    let seed = fresh_seed();
    let graph = graph(seed).await?;
    let mut stop = std::pin::pin!(stop);
    let started = Server::start_until(furnished(config, &graph, &home, keeps), &mut stop).await;
    let Some(server) = started.map_err(|error| error.to_string())? else { return Ok(()) };
    let url = home::url(server.address);
    graph.deliver_to(&format!("{url}/webhook"));
    let metrics = home::url(server.metrics);
    let (data, temporary) = (home.path(), home.is_temporary());
    let banner = Banner { url: &url, metrics: &metrics, data, temporary };
    let play = async {
        let scene = tokio::select! {
            scene = Scene::set(&banner, &graph, seed) => scene?,
            () = &mut stop => return Ok(()),
        };
        announce(server.address)?;
        scene.play(seconds, stop).await
    };
    let ended = tokio::select! {
        ended = play => ended,
        // This one tells nothing more.
        () = server.lost() => return Err(
            "another process has taken over: start this one again, and it stands by".to_owned(),
        ),
    };
    drop(graph);
    server.stop().await;
    ended
}

/// Where customers write beside the number.
fn pages() -> [Page; 2] {
    [Page::new(Object::Instagram, cast::IG_USER_ID), Page::new(Object::Page, cast::PAGE_ID)]
}

/// Where customers write, and where their providers post it.
fn businesses() -> Vec<(Business, &'static str)> {
    let number = Business::from(Account::new(cast::PHONE_NUMBER_ID));
    let meta = [number].into_iter().chain(pages().map(Business::from));
    let inbox = Business::Inbox(cast::INBOX.to_owned());
    meta.map(|business| (business, "/webhook")).chain([(inbox, "/webhook/email")]).collect()
}

/// Whether customers hear what is answered there.
fn is_answered(business: &Business) -> bool {
    !matches!(business, Business::Inbox(_))
}

async fn graph(seed: u64) -> Result<Graph, String> {
    let options = GraphOptions {
        app_secret: cast::APP_SECRET.to_owned(),
        access_token: Some(cast::ACCESS_TOKEN.to_owned()),
        accounts: vec![Account::new(cast::PHONE_NUMBER_ID)],
        pages: pages().into(),
        seed,
        delays: StatusDelays { read: Some(READ_AFTER), ..StatusDelays::default() },
        ..GraphOptions::default()
    };
    let graph = Graph::start(options).await;
    graph.map_err(|error| format!("the simulated provider cannot listen on loopback: {error}"))
}

/// The settings with what the demo must set.
fn furnished(mut config: Config, graph: &Graph, home: &Home, keeps: bool) -> Config {
    config.meta.graph_url = graph.url();
    config.storage.path = home.path().to_owned();
    if keeps {
        config.storage.backend = Backend::Embedded;
    }
    config.server.listen = home::free(config.server.listen);
    config.metrics.listen = home::free(config.metrics.listen);
    config
}

/// Everybody at work.
struct Scene {
    /// Of each channel.
    customers: Vec<Customers>,
    working: JoinSet<()>,
    feed: Feed,
}

impl Scene {
    async fn set(banner: &Banner<'_>, graph: &Graph, seed: u64) -> Result<Self, String> {
        let team = cast::assemble(banner.url).await?;
        banner.show();
        let (tell, written) = mpsc::channel(WRITTEN);
        // The supervisor sees everything; the admin's sockets are left to whoever tries them.
        let supervisor = team.iter().find(|member| member.person.role == "supervisor");
        let supervisor = supervisor.ok_or("the demo's organization has no supervisor")?;
        let (person, caller) = (supervisor.person, supervisor.caller.clone());
        let feed = Feed::open(person, caller, Figures::new(written)).await?;
        let working = agents::work(team, seed);
        let among = businesses().len() as f64;
        let customers = (0..).zip(businesses()).map(|(n, (business, path))| {
            Customers::start(CustomerOptions {
                graph_url: Some(graph.url()).filter(|_| is_answered(&business)),
                people: PEOPLE,
                rate: RATE_AT_FIRST / among,
                variety: VARIETY,
                in_order: true,
                seed: seed.wrapping_add(n),
                tell: Some(tell.clone()),
                ..CustomerOptions::new(format!("{}{path}", banner.url), cast::APP_SECRET, business)
            })
        });
        let customers = customers.collect();
        Ok(Self { customers, working, feed })
    }

    /// Lets them work until the time is over or `stop`, then sums up.
    async fn play(
        self,
        seconds: Option<u64>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), String> {
        let Self { customers, working, feed } = self;
        let screen = Screen::now();
        let hint = screen.paint(Style::Dim, "(read from the websocket; ctrl-c ends)");
        tell(&format!("\n{}  {hint}", screen.paint(Style::Bold, "Live")));
        let over = async {
            match seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        let settle = async {
            tokio::time::sleep(AT_FIRST).await;
            customers.iter().for_each(|some| some.set_rate(RATE / customers.len() as f64));
            std::future::pending::<()>().await;
        };
        let since = Instant::now();
        tokio::select! {
            () = settle => {}
            () = over => {}
            () = stop => {}
        }
        let seconds = since.elapsed().as_secs();
        drop((customers, working));
        let figures = feed.finish().await?;
        let head = screen.paint(Style::Bold, &format!("Summary, after {seconds} s"));
        tell(&format!("\n{head}\n{figures}"));
        Ok(())
    }
}
