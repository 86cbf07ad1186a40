//! Load as a program.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use loadtest::{Target, Webhooks};

/// Loads a running server of this machine and tells what it stood, without knowing anything of it
/// but its API.
#[derive(Parser)]
#[command(name = "loadtest", version)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Customers write to a business on WhatsApp: signed webhooks, each with an id of its own.
    ///
    /// With a rate, webhooks are due at fixed times (open loop) and their latency counts from when
    /// they were due: a server that stalls is charged for all who waited. With `--rate 0` every
    /// connection sends as soon as it is answered (closed loop): the accepted rate is the server's
    /// maximum for so many connections. Exit code 1 when a webhook was not answered 2xx, 2 when
    /// nothing was sent.
    Webhooks(WebhooksArgs),
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { scenario: Scenario::Webhooks(args) } = Cli::parse();
    webhooks(args).await.unwrap_or_else(|sentence| {
        // Without stderr there is nobody to tell.
        let _told = writeln!(io::stderr(), "loadtest: {sentence}");
        ExitCode::from(2)
    })
}

async fn webhooks(args: WebhooksArgs) -> Result<ExitCode, String> {
    let target = Target::new(&args.url, "/webhook").map_err(|error| error.to_string())?;
    if !args.rate.is_finite() || args.rate < 0.0 {
        return Err("`--rate` must be 0 or more".to_owned());
    }
    let time = |seconds: f64, name: &str| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("`{name}` must be a number of seconds"))
    };
    let warm_up = time(args.warm_up, "--warm-up")?;
    let report = loadtest::run(Webhooks {
        target,
        secret: args.secret,
        phone_number_id: args.phone_number_id,
        rate: args.rate,
        time: warm_up + time(args.seconds, "--for")?,
        count: args.count.unwrap_or(u64::MAX),
        warm_up,
        patience: time(args.patience, "--patience")?,
        customers: args.first_customer..args.first_customer.saturating_add(args.customers),
        connections: args.connections,
        server: args.server,
    })
    .await
    .map_err(|error| format!("no connection to {}: {error}", args.url))?;
    let text = match args.json {
        true => serde_json::to_string(&report).map_err(|error| error.to_string())?,
        false => report.to_string(),
    };
    writeln!(io::stdout(), "{text}").map_err(|error| error.to_string())?;
    Ok(match report.all_accepted() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
