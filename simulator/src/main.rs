//! The simulator as a program.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use simulator::{
    Account, Business, CONTROL, Cassandra, CassandraOptions, CommitLog, CustomerOptions, Customers,
    FAILURES, Faults, Graph, GraphOptions, Limits, MailServer, MailServerOptions, Object, Page,
    StatusDelays, fresh_seed,
};

/// Both tables, as `--help` shows them.
static TABLES: LazyLock<String> = LazyLock::new(|| format!("{FAILURES}\n{CONTROL}"));

/// Stands in for Meta's channels and their users, so that OmniStream can be tried, tested and loaded without
/// Meta.
#[derive(Parser)]
#[command(version, after_long_help = TABLES.as_str())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the messaging part of Meta's Graph API, and reports by webhook.
    ///
    /// Messages with Meta's rules and limits, read marks, media, templates with their review,
    /// numbers, profiles, blocks, subscriptions. Point `meta.graph_url` of the engine at it. Prints
    /// one line when it serves: `listening on http://ADDRESS:PORT`. What it is told and asked while
    /// it runs lies under `/_sim`, as the table below says.
    #[command(after_long_help = TABLES.as_str())]
    Graph(GraphArgs),
    /// Lets scripted customers write: bursts, duplicates, several languages, talks that go on when
    /// the business answers.
    ///
    /// Prints a summary at the end; exit code 1 when a webhook was given up.
    Customers(CustomersArgs),
    /// Takes mails, as the mail server of an account's `smtp_url`, and gives them to nobody.
    ///
    /// Prints one line when it serves: `listening on smtp://ADDRESS:PORT`, and how many it took at
    /// its end. The engine takes it for trusted only if `mail.private_servers` names it.
    #[command(after_long_help = FAILURES)]
    Mail(MailArgs),
    /// Runs a real Apache Cassandra with nothing in it, for OmniStream's `cql` backend.
    ///
    /// Takes Java 17 and Maven, which fetches it when it is run for the first time. Prints one line
    /// when it answers: `listening on ADDRESS:PORT`, and the settings by which OmniStream uses it.
    /// Its data go when it ends.
    Cassandra(CassandraArgs),
}

#[derive(Args)]
struct CassandraArgs {
    /// Port to serve on, on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 19042)]
    port: u16,
    /// Have the commit log on disk before an answer: safe against a kill, and slower
    #[arg(long)]
    batch: bool,
}

#[derive(Args)]
struct MailArgs {
    /// Address to serve on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8025")]
    listen: SocketAddr,
    /// Name and password that it asks for
    #[arg(long, value_name = "NAME:PASSWORD", value_parser = login)]
    login: Option<(String, String)>,
}

#[derive(Args)]
struct GraphArgs {
    /// Address to serve on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Where status webhooks go; without it none are sent
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// App secret that signs the webhooks
    #[arg(long)]
    secret: String,
    /// The only access token it takes; without it any
    #[arg(long)]
    token: Option<String>,
    /// A phone number id that exists (may be repeated); without it every one does
    #[arg(long, value_name = "ID")]
    phone_number_id: Vec<String>,
    /// A page of Messenger that exists (may be repeated); without it, and without an account of
    /// Instagram, every id is one
    #[arg(long, value_name = "ID")]
    page_id: Vec<String>,
    /// An account of Instagram that exists (may be repeated)
    #[arg(long, value_name = "ID")]
    ig_user_id: Vec<String>,
    /// Milliseconds from a send to its status `sent`
    #[arg(long, value_name = "MS", default_value_t = 80)]
    sent_after: u64,
    /// Milliseconds from a send to its status `delivered`
    #[arg(long, value_name = "MS", default_value_t = 400)]
    delivered_after: u64,
    /// Milliseconds from a send to its status `read`; 0: never read
    #[arg(long, value_name = "MS", default_value_t = 2500)]
    read_after: u64,
    /// Share (0 to 1) of sends whose statuses come in the wrong order, with a duplicate
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    disorder: f64,
    /// Share (0 to 1) of read messages whose status `delivered` never comes
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    undelivered: f64,
    /// Share (0 to 1) of sends whose first status comes before their answer
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    early: f64,
    /// Messages a second of one number; beyond it 130429
    #[arg(long, value_name = "N", default_value_t = Limits::default().per_second)]
    per_second: u32,
    /// Messages of one number to one customer at once; beyond it 131056
    #[arg(long, value_name = "N", default_value_t = Limits::default().pair_burst)]
    pair_burst: u32,
    /// Milliseconds after which there may be one more to one customer
    #[arg(long, value_name = "MS", default_value_t = 6_000)]
    pair_every: u64,
    /// Management requests of one business account an hour; beyond it 80007
    #[arg(long, value_name = "N", default_value_t = Limits::default().management_per_hour)]
    management_per_hour: u32,
    /// Simulated seconds in one of ours; all times here are simulated ones. 0: only when set
    /// forward
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = pace)]
    pace: f64,
    /// Refuse free text to customers whom it never saw writing (131047)
    #[arg(long)]
    strict_window: bool,
    /// Milliseconds that an answer takes: from the least to the most
    #[arg(long, value_name = "LEAST..MOST", default_value = "0..0", value_parser = latency)]
    latency: (Duration, Duration),
    /// Milliseconds of a template's review
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    review: u64,
    /// What goes wrong with webhooks, as JSON: see POST /_sim/faults
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = faults)]
    faults: Faults,
    /// Ids and chance derive from it [default: a fresh one]
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
struct CustomersArgs {
    /// The engine's webhook address, such as http://127.0.0.1:8080/webhook
    #[arg(long, value_name = "URL")]
    webhook: String,
    /// App secret that signs the webhooks
    #[arg(long)]
    secret: String,
    #[command(flatten)]
    business: BusinessArgs,
    /// Base of a running `simulator graph` through which the business answers: they then wait for
    /// answers instead of talking on
    #[arg(long, value_name = "URL")]
    graph: Option<String>,
    /// How many people write
    #[arg(long, default_value_t = 20)]
    people: usize,
    /// Messages a second of all together, at random intervals
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// End after so many messages
    #[arg(long, value_name = "MESSAGES")]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    duration: Option<f64>,
    /// Share (0 to 1) of turns that are more than text: pictures, places, reactions, edits,
    /// deletions, pressed buttons
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    variety: f64,
    /// Share (0 to 1) of webhooks that come twice
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    duplicates: f64,
    /// Ids and chance derive from it [default: a fresh one]
    #[arg(long)]
    seed: Option<u64>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Whom customers write to: one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct BusinessArgs {
    /// The number of WhatsApp they write to
    #[arg(long, value_name = "ID")]
    phone_number_id: Option<String>,
    /// The page of Messenger they write to
    #[arg(long, value_name = "ID")]
    page_id: Option<String>,
    /// The account of Instagram they write to
    #[arg(long, value_name = "ID")]
    ig_user_id: Option<String>,
    /// The inbox they write to, in the API's own JSON; nothing is signed
    #[arg(long, value_name = "ADDRESS")]
    inbox: Option<String>,
}

impl BusinessArgs {
    fn business(self) -> Option<Business> {
        let Self { phone_number_id, page_id, ig_user_id, inbox } = self;
        let number = phone_number_id.map(|id| Account::new(id).into());
        let page = page_id.map(|id| Page::new(Object::Page, id).into());
        let instagram = ig_user_id.map(|id| Page::new(Object::Instagram, id).into());
        number.or(page).or(instagram).or(inbox.map(Business::Inbox))
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Graph(args) => graph(args).await,
        Command::Customers(args) => customers(args).await,
        Command::Mail(args) => mail(args).await,
        Command::Cassandra(args) => cassandra(args).await,
    };
    done.unwrap_or_else(|error| {
        // Without stderr there is nobody to tell.
        let _told = writeln!(io::stderr(), "simulator: {error}");
        ExitCode::from(2)
    })
}

fn pace(text: &str) -> Result<f64, String> {
    let pace = text.parse().ok().filter(|pace: &f64| pace.is_finite() && *pace >= 0.0);
    pace.ok_or_else(|| "a factor from 0".to_owned())
}

fn latency(text: &str) -> Result<(Duration, Duration), String> {
    let (least, most) = text.split_once("..").ok_or("two numbers with `..` between them")?;
    let millis = |text: &str| text.parse().map(Duration::from_millis);
    let (Ok(least), Ok(most)) = (millis(least), millis(most)) else {
        return Err("milliseconds are whole numbers".to_owned());
    };
    if least > most { Err("the least is above the most".to_owned()) } else { Ok((least, most)) }
}

fn faults(text: &str) -> Result<Faults, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn login(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once(':').ok_or("a name and a password with `:` between them")?;
    Ok((parts.0.to_owned(), parts.1.to_owned()))
}

async fn mail(args: MailArgs) -> io::Result<ExitCode> {
    let MailArgs { listen, login } = args;
    let options = MailServerOptions { listen, login, ..MailServerOptions::default() };
    let server = MailServer::start(options).await?;
    writeln!(io::stdout(), "listening on smtp://{}", server.address())?;
    tokio::signal::ctrl_c().await?;
    writeln!(io::stderr(), "{} mails taken", server.letters().len())?;
    Ok(ExitCode::SUCCESS)
}

async fn cassandra(args: CassandraArgs) -> io::Result<ExitCode> {
    let CassandraArgs { port, batch } = args;
    let commit_log = if batch { CommitLog::Batch } else { CommitLog::Periodic };
    let port = (port > 0).then_some(port);
    let options = CassandraOptions { port, ..commit_log.into() };
    let cassandra = Cassandra::start(options).await?;
    let address = cassandra.address();
    let settings = format!("STORAGE__BACKEND=cql OMNISTREAM__STORAGE__CQL__NODES={address}");
    writeln!(io::stdout(), "listening on {address} (OMNISTREAM__{settings})")?;
    tokio::signal::ctrl_c().await?;
    Ok(ExitCode::SUCCESS)
}

async fn graph(args: GraphArgs) -> io::Result<ExitCode> {
    let read = Duration::from_millis(args.read_after);
    let page = |object| move |id: String| Page::new(object, id);
    let pages = args.page_id.into_iter().map(page(Object::Page));
    let pages = pages.chain(args.ig_user_id.into_iter().map(page(Object::Instagram)));
    let graph = Graph::start(GraphOptions {
        listen: args.listen,
        webhook_url: args.webhook,
        app_secret: args.secret,
        access_token: args.token,
        accounts: args.phone_number_id.into_iter().map(Account::new).collect(),
        pages: pages.collect(),
        seed: args.seed.unwrap_or_else(fresh_seed),
        delays: StatusDelays {
            sent: Duration::from_millis(args.sent_after),
            delivered: Duration::from_millis(args.delivered_after),
            read: (!read.is_zero()).then_some(read),
        },
        limits: Limits {
            per_second: args.per_second,
            pair_burst: args.pair_burst,
            pair_every: Duration::from_millis(args.pair_every),
            management_per_hour: args.management_per_hour,
        },
        pace: args.pace,
        strict_window: args.strict_window,
        latency: args.latency,
        faults: args.faults,
        disorder: args.disorder,
        undelivered: args.undelivered,
        early: args.early,
        review: Duration::from_millis(args.review),
        ..GraphOptions::default()
    })
    .await?;
    writeln!(io::stdout(), "listening on {}", graph.url())?;
    tokio::signal::ctrl_c().await?;
    writeln!(io::stderr(), "{} sends accepted; webhooks: {}", graph.sends().total, graph.tally())?;
    Ok(ExitCode::SUCCESS)
}

async fn customers(args: CustomersArgs) -> io::Result<ExitCode> {
    let duration = args.duration.map(Duration::try_from_secs_f64).transpose();
    let business =
        args.business.business().ok_or_else(|| io::Error::other("whom do they write to?"))?;
    let customers = Customers::start(CustomerOptions {
        graph_url: args.graph,
        people: args.people,
        rate: args.rate,
        messages: args.count,
        duration: duration.map_err(io::Error::other)?,
        variety: args.variety,
        duplicates: args.duplicates,
        seed: args.seed.unwrap_or_else(fresh_seed),
        ..CustomerOptions::new(args.webhook, args.secret, business)
    });
    let so_far = customers.watch();
    let summary = tokio::select! {
        summary = customers.finished() => summary,
        stopped = tokio::signal::ctrl_c() => stopped.map(|()| so_far())?,
    };
    let mut out = io::stdout();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&summary)?)?,
        false => writeln!(out, "{summary}")?,
    }
    Ok(if summary.webhooks.given_up == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
