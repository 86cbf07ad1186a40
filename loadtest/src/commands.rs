//! The commands that play scenarios.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use loadtest::Target;
use loadtest::live::Live;
use loadtest::page::page;
use loadtest::result::RunResult;
use loadtest::scenarios::{
    self, Credentials, Plan, Programs, Provider, Subject, Table, Told, Written,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Args)]
pub(crate) struct RunArgs {
    /// A file, or one of: inbound, chat, fan-out, rest, hot-conversation, noisy-neighbour,
    /// reconnect-storm, restart, mixed, soak, quick
    scenario: String,
    /// The server, such as http://127.0.0.1:8080; without it one is started
    #[arg(long, requires = "credentials", conflicts_with_all = ["server", "provider", "dir"])]
    url: Option<String>,
    /// A file that names its organizations: for each a `[[tenant]]` with `token` and, for each channel
    /// by which customers write, `whatsapp = { key = "ITS ID", secret = "APP SECRET" }`
    #[arg(long, value_name = "FILE", requires = "url")]
    credentials: Option<PathBuf>,
    /// Its process, if it is of this machine: processor time and memory are told
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// Its provider is a stand-in: agents may answer customers
    #[arg(long, requires = "url")]
    answers: bool,
    #[command(flatten)]
    own: OwnArgs,
    /// Where `result.json` and `report.html` are written
    #[arg(long, value_name = "DIR", default_value = "loadtest-result")]
    out: PathBuf,
    /// Shorten the phases so that all take so many seconds
    #[arg(long, value_name = "SECONDS")]
    within: Option<f64>,
}

#[derive(Args)]
pub(crate) struct QuickArgs {
    #[command(flatten)]
    own: OwnArgs,
    /// Seconds that it takes, beside starting and reading back
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 60.0)]
    seconds: f64,
    /// Where `result.json` and `report.html` are written
    #[arg(long, value_name = "DIR", default_value = "loadtest-result")]
    out: PathBuf,
}

/// The server that is started.
#[derive(Args)]
struct OwnArgs {
    /// The program to start, with `simulator` beside it; without it that of this checkout, which is built
    /// if it is missing
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// A stand-in for Meta that runs already
    #[arg(long, value_name = "URL")]
    provider: Option<String>,
    /// Where scratch lies: on the disk whose durability counts
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Plays a scenario.
pub(crate) async fn run(args: RunArgs) -> Result<ExitCode, String> {
    let mut written = Written::read(&args.scenario).map_err(|wrong| wrong.to_string())?;
    if let Some(seconds) = args.within {
        written = written.within(super::time(seconds, "--within")?);
    }
    let subject = match (&args.url, &args.credentials) {
        (Some(url), Some(file)) => Subject::At {
            target: super::target(url, "/")?,
            credentials: credentials(file)?,
            pid: args.pid,
            answers: args.answers,
        },
        _ => Subject::Own(args.own.programs()?),
    };
    play(Plan { written, subject }, &args.out).await
}

/// Plays a minute of everything.
pub(crate) async fn quick(args: QuickArgs) -> Result<ExitCode, String> {
    let written = Written::read("quick").map_err(|wrong| wrong.to_string())?;
    let written = written.within(super::time(args.seconds, "--for")?);
    let subject = Subject::Own(args.own.programs()?);
    play(Plan { written, subject }, &args.out).await
}

async fn play(plan: Plan, out: &Path) -> Result<ExitCode, String> {
    allow_many_files();
    std::fs::create_dir_all(out).map_err(|error| format!("`{}`: {error}", out.display()))?;
    let scenario = &plan.written.scenario;
    let mut live = Live::new(&scenario.name, Some(scenario.seconds()));
    let result = scenarios::play(plan, |told| match told {
        Told::Step(what) => live.say(&what),
        Told::Second { phase, second } => live.second(phase, second),
    });
    // Dropped, it takes with it what it has started.
    let result = tokio::select! {
        result = Box::pin(result) => result?,
        interrupted = interrupted() => return Err(interrupted),
    };
    live.end();
    let (file, report) = (out.join("result.json"), out.join("report.html"));
    result.write(&file).map_err(|error| format!("`{}`: {error}", file.display()))?;
    std::fs::write(&report, page(&result))
        .map_err(|error| format!("`{}`: {error}", report.display()))?;
    say(&format!("\n{}\n{}\n{}", Table(&result), file.display(), report.display()))?;
    Ok(code(&result))
}

/// Why a run that goes on is to end.
async fn interrupted() -> String {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    "interrupted: nothing was compared".to_owned()
}

fn code(result: &RunResult) -> ExitCode {
    if result.is_kept() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn say(line: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{line}").map_err(|error| format!("cannot write: {error}"))
}

fn credentials(file: &Path) -> Result<Credentials, String> {
    let wrong = |why: String| format!("`{}`: {why}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    Credentials::parse(&text).map_err(wrong)
}

/// Each socket takes a file on both sides, and what is started inherits it.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where that is not allowed there are fewer, and a socket that cannot be opened says so.
    let _set = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

impl OwnArgs {
    fn programs(self) -> Result<Programs, String> {
        let server = match self.server {
            Some(server) => server,
            None => built(self.provider.is_none())?,
        };
        // It is started where its scratch is.
        let server =
            server.canonicalize().map_err(|error| format!("`{}`: {error}", server.display()))?;
        let provider = match self.provider {
            Some(url) => Provider::At(
                Target::new(&url, "/").map(|_| url).map_err(|wrong| wrong.to_string())?,
            ),
            None => Provider::Program(server.with_file_name("simulator")),
        };
        let scratch = self.dir.unwrap_or_else(std::env::temp_dir);
        Ok(Programs { server, provider, scratch, environment: Vec::new() })
    }
}

/// The server of the checkout of which this program was built, as a release; the stand-in for Meta lies
/// beside it, if it is needed. What is missing is built.
fn built(with_simulator: bool) -> Result<PathBuf, String> {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let named = "name the server to start by `--server`";
    let own = std::env::current_exe().map_err(|error| format!("{error}: {named}"))?;
    let target = own.parent().and_then(Path::parent);
    let target =
        target.ok_or_else(|| format!("this program lies in no target directory: {named}"))?;
    let release = target.join("release");
    let server = release.join("omnistream");
    if server.exists() && (release.join("simulator").exists() || !with_simulator) {
        return Ok(server);
    }
    say(&format!("builds the server in {} (once, some minutes)", release.display()))?;
    let status = cargo()
        .args([
            "build",
            "--release",
            "--locked",
            "-p",
            "omnistream-api",
            "-p",
            "omnistream-simulator",
        ])
        .arg("--target-dir")
        .arg(target)
        .current_dir(checkout)
        .status()
        .map_err(|error| format!("cargo does not start ({error}): {named}"))?;
    match status.success() {
        true => Ok(server),
        false => Err(format!("the server of {} is not built: {named}", checkout.display())),
    }
}

/// Cargo, as whoever calls it by hand would: what `cargo run` says of this package is not passed on. `ring` is
/// built anew when that changes, and the whole server with it.
fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    let is_of_package = |name: &OsString| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_package(name)) {
        cargo.env_remove(name);
    }
    cargo
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::cargo;

    #[test]
    fn a_server_is_built_as_if_by_hand() {
        let cargo = cargo();
        let taken: Vec<_> = cargo.get_envs().filter(|(_, value)| value.is_none()).collect();
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(taken.contains(&(OsStr::new(name), None)), "{name} in {taken:?}");
        }
    }
}
