//! Load as a program.

mod commands;
mod files;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use commands::{QuickArgs, RunArgs};
use files::{CompareArgs, ReportArgs};
use loadtest::flood::{Business, Flood, Metrics, Restart};
use loadtest::reads::Reads;
use loadtest::sockets::{Customer, Publisher, Sockets};
use loadtest::{Target, Webhooks};
use serde::Serialize;
use tokio::runtime::Builder;

/// Loads a server and tells what it stood, without knowing anything of it but its API.
#[derive(Parser)]
#[command(name = "loadtest", version)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Tells in a minute whether this machine's engine is healthy.
    ///
    /// Starts the server of this checkout on a scratch store (it is built if it is missing) with a
    /// stand-in for Meta, finds the most that it takes, loads it with 30, 50 and 70 % of that while
    /// agents answer, read and watch, kills it once, and compares everything that it said with what
    /// it has afterwards. Exit code 0 when it kept its word, 1 when it broke it, 2 when the run did not
    /// come to its end.
    Quick(QuickArgs),
    /// Plays a scenario: a file, or one that the program brings.
    ///
    /// Customers of WhatsApp, Messenger, Instagram and mail write to several organizations: webhooks
    /// that are signed, due at fixed times (an open loop) and entered in a ledger; a server that stalls
    /// is charged for all who waited. Agents answer and read by REST, others watch live and come back
    /// where they were whenever their sockets end. Afterwards everything is read back, by REST and from
    /// where each subscriber began: what was acknowledged is there once and in order, and was told once
    /// and in order. Without `--url` a server is started, and killed where the scenario says so. Exit
    /// code 0 when it kept its word, 1 when it broke it, 2 when the run did not come to its end.
    Run(Box<RunArgs>),
    /// Customers write to a business on WhatsApp: signed webhooks, each with an id of its own.
    ///
    /// With a rate, webhooks are due at fixed times (open loop) and their latency counts from when
    /// they were due: a server that stalls is charged for all who waited. With `--rate 0` every
    /// connection sends as soon as it is answered (closed loop): the accepted rate is the server's
    /// maximum for so many connections. Exit code 1 when a webhook was not answered 2xx, 2 when
    /// nothing was sent.
    Webhooks(WebhooksArgs),
    /// One organization floods the server, another goes about its business.
    ///
    /// The flood is an open loop of more webhooks than the server takes: without `--rate` three times
    /// (`--times`) what a closed loop finds first. The bystander's webhooks are due at fixed times
    /// before, during and after it. Every id is entered in a ledger: acknowledged, refused, or unknown
    /// when there was no answer. At the end all conversations of both are read by REST and compared:
    /// whatever was acknowledged is there once, and in each conversation before what was sent after
    /// its acknowledgement. The report also tells the server's memory twice a second, who was refused
    /// how often, and how long after the flood the last refusal or slow answer came. Exit code 1 when
    /// the server broke its word, however fast it was; 2 when nothing could be sent or read.
    Flood(FloodArgs),
    /// Many people watch one conversation live.
    ///
    /// A customer writes once, by webhook; then so many websockets are opened at `/api/ws`, each with
    /// the token in its hello and following that customer's conversation (and each `--stream`). Once
    /// all follow and have settled the server's memory is read. Then the customer writes at a rate,
    /// over one connection, so that messages have an order, and every socket is checked to get each
    /// of them once and in order. Latency counts from when a message was due. With `--rate 0` the
    /// sockets only stay. Sockets of one person are limited by the server: raise
    /// `limits.sockets_per_user` and `limits.handshakes_per_second`, and `ulimit -n` on both sides.
    ///
    /// With `--post URL` the same sockets listen to a bare server instead: they say nothing, and
    /// events of `--bytes` are posted to that address at the same rate. What a receipt costs the
    /// server can so be compared. Exit code 1 when something was missing or came again, or a socket
    /// ended; 2 when the sockets could not be opened.
    Sockets(SocketsArgs),
    /// Shows what a run found as one page with plots, which needs no network.
    Report(ReportArgs),
    /// Compares runs of one server with runs of another, such as before and after a change.
    ///
    /// Machines vary from minute to minute, so make the runs in turn (A, B, A, B, ...), three of each at
    /// least, and name them in that order: for each figure the ratio of B's median to A's is told, and
    /// the least and the most of the ratios of rounds. Better or worse is what every round says. Exit
    /// code 2 when the runs are of different scenarios, or when a run is not valid or broke its word:
    /// then nothing of it counts.
    Compare(CompareArgs),
    /// Somebody reads a page again and again.
    ///
    /// Every connection asks for the same page as soon as it has it. Exit code 1 when it was not
    /// answered 2xx each time, 2 when nothing was asked.
    Reads(ReadsArgs),
}

#[derive(Args)]
struct WebhooksArgs {
    /// The server, such as http://127.0.0.1:8080; webhooks go to `/webhook` unless it has a path
    #[arg(long)]
    url: String,
    /// App secret that signs the webhooks
    #[arg(long)]
    secret: String,
    /// The business number that customers write to
    #[arg(long, value_name = "ID")]
    phone_number_id: String,
    /// Webhooks a second; 0 finds the maximum
    #[arg(long)]
    rate: f64,
    /// Seconds that count
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: f64,
    /// Seconds before them that do not
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warm_up: f64,
    /// End after so many webhooks, those of the warm-up among them
    #[arg(long, value_name = "WEBHOOKS")]
    count: Option<u64>,
    /// How many people write, in turn
    #[arg(long, default_value_t = 1000)]
    customers: u64,
    /// Messages that each of them writes before the next one does
    #[arg(long, value_name = "MESSAGES", default_value_t = 1)]
    in_a_row: u64,
    /// Messages in a webhook: a provider sends many in one when they had to wait
    #[arg(long, value_name = "MESSAGES", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    messages_per_webhook: u64,
    /// The number of the first of them: others than an earlier run's are new to the server
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_customer: u64,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds to wait for answers at the end
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    patience: f64,
    /// The server's process id: its processor time and memory are told, too
    #[arg(long, value_name = "PID")]
    server: Option<u32>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct FloodArgs {
    /// The server, such as http://127.0.0.1:8080; webhooks go to `/webhook` unless it has a path
    #[arg(long)]
    url: String,
    /// App secret that signs the webhooks of both
    #[arg(long)]
    secret: String,
    /// The business number of the organization that floods
    #[arg(long, value_name = "ID")]
    flooding: String,
    /// A token of it that may read all its conversations
    #[arg(long, value_name = "TOKEN")]
    flooding_token: String,
    /// The business number of the one that stands by
    #[arg(long, value_name = "ID")]
    bystander: String,
    /// A token of it that may read all its conversations
    #[arg(long, value_name = "TOKEN")]
    bystander_token: String,
    /// Webhooks a second of the flood; 0: a multiple of the most that a closed loop finds
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// That multiple
    #[arg(long, default_value_t = 3.0)]
    times: f64,
    /// Seconds that the flood takes
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60.0)]
    seconds: f64,
    /// Webhooks a second of the bystander, and of both after the flood
    #[arg(long, value_name = "RATE", default_value_t = 50.0)]
    bystander_rate: f64,
    /// Seconds of the closed loop
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    search: f64,
    /// Seconds that the bystander is alone before the flood
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    calm: f64,
    /// Seconds that both go on after the flood
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    after: f64,
    /// Seconds after which an answer is no sign of recovery
    #[arg(long, value_name = "SECONDS", default_value_t = 0.25)]
    slow: f64,
    /// How many people write to the organization that floods, a few of them most
    #[arg(long, default_value_t = 10_000)]
    customers: u64,
    /// Keep-alive connections of the flood
    #[arg(long, default_value_t = 512)]
    connections: usize,
    /// Decides who writes when
    #[arg(long, default_value_t = 4711)]
    seed: u64,
    /// The server's process id: its processor time and memory are told, too
    #[arg(long, value_name = "PID")]
    server: Option<u32>,
    /// The server's metrics, such as http://127.0.0.1:9464
    #[arg(long, value_name = "URL")]
    metrics: Option<String>,
    /// The metric that is 0 when nothing waits in the server any more
    #[arg(long, value_name = "NAME", default_value = "omnistream_waiting_items")]
    waiting: String,
    /// Start the server again so many seconds after the flood began
    #[arg(long, value_name = "SECONDS", requires = "restart")]
    restart_after: Option<f64>,
    /// What `sh` runs for it: it ends the process `$SERVER`, starts another, and prints its id
    #[arg(long, value_name = "COMMAND", requires = "restart_after")]
    restart: Option<String>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SocketsArgs {
    /// The server, such as http://127.0.0.1:8080; sockets are opened at `/api/ws` unless it has a path
    #[arg(long)]
    url: String,
    /// App secret that signs the customer's webhooks, which go to `/webhook`
    #[arg(long, required_unless_present = "post")]
    secret: Option<String>,
    /// The business number that the customer writes to
    #[arg(long, value_name = "ID", required_unless_present = "post")]
    phone_number_id: Option<String>,
    /// A token of whoever watches
    #[arg(long, required_unless_present = "post")]
    token: Option<String>,
    /// Which customer
    #[arg(long, value_name = "N", default_value_t = 900_000_000)]
    customer: u64,
    /// A stream that is followed, too, such as `i:all`
    #[arg(long, value_name = "STREAM")]
    stream: Vec<String>,
    /// Where a bare server takes events
    #[arg(long, value_name = "URL", conflicts_with_all = ["secret", "phone_number_id", "token", "stream"])]
    post: Option<String>,
    /// Bytes of such an event
    #[arg(long, default_value_t = 500, requires = "post")]
    bytes: usize,
    /// How many sockets
    #[arg(long, default_value_t = 1000)]
    sockets: usize,
    /// Sockets that are opened a second
    #[arg(long, value_name = "RATE", default_value_t = 400.0)]
    ramp: f64,
    /// Seconds for the server to come to rest before its memory is read
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    settle: f64,
    /// Messages a second; 0: none
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Seconds that count
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before them that do not
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds to wait for the last messages
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    patience: f64,
    /// The server's process id: its processor time and memory are told, too
    #[arg(long, value_name = "PID")]
    server: Option<u32>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ReadsArgs {
    /// The page, such as http://127.0.0.1:8080/api/conversations
    #[arg(long)]
    url: String,
    /// A token of whoever reads
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Seconds that count
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before them that do not
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warm_up: f64,
    /// Keep-alive connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The server's process id: its processor time and memory are told, too
    #[arg(long, value_name = "PID")]
    server: Option<u32>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let scenario = Cli::parse().scenario;
    let runtime = Builder::new_current_thread().enable_all().build();
    let done =
        runtime.map_err(|error| format!("nothing can be run: {error}")).and_then(|runtime| {
            let done = runtime.block_on(run(scenario));
            // Whoever interrupts a run does not wait for its sockets: a thread of theirs may listen on.
            runtime.shutdown_background();
            done
        });
    done.unwrap_or_else(|sentence| {
        // Without stderr there is nobody to tell.
        let _told = writeln!(io::stderr(), "loadtest: {sentence}");
        ExitCode::from(2)
    })
}

async fn run(scenario: Scenario) -> Result<ExitCode, String> {
    match scenario {
        Scenario::Quick(args) => commands::quick(args).await,
        Scenario::Run(args) => commands::run(*args).await,
        Scenario::Webhooks(args) => webhooks(args).await,
        Scenario::Flood(args) => flood(args).await,
        Scenario::Sockets(args) => sockets(args).await,
        Scenario::Report(args) => files::report(args),
        Scenario::Compare(args) => files::compared(args),
        Scenario::Reads(args) => reads(args).await,
    }
}

async fn webhooks(args: WebhooksArgs) -> Result<ExitCode, String> {
    let target = target(&args.url, "/webhook")?;
    let warm_up = time(args.warm_up, "--warm-up")?;
    let report = loadtest::run(Webhooks {
        target,
        secret: args.secret,
        phone_number_id: args.phone_number_id,
        rate: rate(args.rate, "--rate")?,
        time: warm_up + time(args.seconds, "--for")?,
        count: args.count.unwrap_or(u64::MAX),
        warm_up,
        patience: time(args.patience, "--patience")?,
        customers: args.first_customer..args.first_customer.saturating_add(args.customers),
        in_a_row: args.in_a_row,
        messages_per_webhook: args.messages_per_webhook,
        connections: args.connections,
        server: args.server,
    })
    .await
    .map_err(|error| format!("no connection to {}: {error}", args.url))?;
    tell(&report, args.json)?;
    Ok(code(report.all_accepted()))
}

async fn flood(args: FloodArgs) -> Result<ExitCode, String> {
    let metrics = args.metrics.map(|url| target(&url, "/metrics")).transpose()?;
    let restart_after = args.restart_after.map(|seconds| time(seconds, "--restart-after"));
    let restart = restart_after.transpose()?.zip(args.restart);
    let report = loadtest::flood::run(Flood {
        target: target(&args.url, "/webhook")?,
        secret: args.secret,
        flooding: Business { phone_number_id: args.flooding, token: args.flooding_token },
        bystander: Business { phone_number_id: args.bystander, token: args.bystander_token },
        rate: rate(args.rate, "--rate")?,
        times: rate(args.times, "--times")?,
        bystander_rate: rate(args.bystander_rate, "--bystander-rate")?,
        search: time(args.search, "--search")?,
        calm: time(args.calm, "--calm")?,
        time: time(args.seconds, "--for")?,
        after: time(args.after, "--after")?,
        slow: time(args.slow, "--slow")?,
        customers: args.customers,
        connections: args.connections,
        seed: args.seed,
        server: args.server,
        metrics: metrics.map(|target| Metrics { target, waiting: args.waiting }),
        restart: restart.map(|(after, command)| Restart { after, command }),
    })
    .await
    .map_err(|error| format!("the flood of {} ended early: {error}", args.url))?;
    tell(&report, args.json)?;
    Ok(code(report.word_is_kept()))
}

async fn sockets(args: SocketsArgs) -> Result<ExitCode, String> {
    let publisher = match (&args.post, args.secret, args.phone_number_id, args.token) {
        (None, Some(secret), Some(phone_number_id), Some(token)) => {
            let webhooks = target(&args.url, "/")?.at("/webhook");
            let (number, streams) = (args.customer, args.stream);
            let customer = Customer { webhooks, secret, phone_number_id, token, number, streams };
            Publisher::Customer(customer)
        }
        (Some(post), ..) => Publisher::Post { target: target(post, "/pub")?, bytes: args.bytes },
        _ => return Err("name `--secret`, `--phone-number-id` and `--token`".to_owned()),
    };
    let default_path = if args.post.is_some() { "/ws" } else { "/api/ws" };
    if args.ramp <= 0.0 {
        return Err("`--ramp` must be above 0".to_owned());
    }
    let report = loadtest::sockets::run(Sockets {
        target: target(&args.url, default_path)?,
        publisher,
        sockets: args.sockets,
        ramp: rate(args.ramp, "--ramp")?,
        settle: time(args.settle, "--settle")?,
        rate: rate(args.rate, "--rate")?,
        warm_up: time(args.warm_up, "--warm-up")?,
        time: time(args.seconds, "--for")?,
        patience: time(args.patience, "--patience")?,
        server: args.server,
    })
    .await
    .map_err(|error| format!("the sockets of {} could not be loaded: {error}", args.url))?;
    tell(&report, args.json)?;
    Ok(code(report.all_delivered()))
}

async fn reads(args: ReadsArgs) -> Result<ExitCode, String> {
    let warm_up = time(args.warm_up, "--warm-up")?;
    let report = loadtest::reads::run(Reads {
        target: target(&args.url, "/")?,
        token: args.token,
        time: warm_up + time(args.seconds, "--for")?,
        warm_up,
        connections: args.connections,
        server: args.server,
    })
    .await
    .map_err(|error| format!("no connection to {}: {error}", args.url))?;
    tell(&report, args.json)?;
    Ok(code(report.all_accepted()))
}

fn target(url: &str, path: &str) -> Result<Target, String> {
    Target::new(url, path).map_err(|error| error.to_string())
}

fn rate(rate: f64, name: &str) -> Result<f64, String> {
    match rate.is_finite() && rate >= 0.0 {
        true => Ok(rate),
        false => Err(format!("`{name}` must be 0 or more")),
    }
}

fn time(seconds: f64, name: &str) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| format!("`{name}` must be a number of seconds"))
}

fn tell(report: &(impl Serialize + Display), as_json: bool) -> Result<(), String> {
    let text = match as_json {
        true => serde_json::to_string(report).map_err(|error| error.to_string())?,
        false => report.to_string(),
    };
    writeln!(io::stdout(), "{text}").map_err(|error| error.to_string())
}

fn code(is_good: bool) -> ExitCode {
    match is_good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn all_arguments_fit_together() {
        Cli::command().debug_assert();
    }
}
