//! `omnistream`: one program for everything.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use api::cli::{Cli, Command};
use api::demo;
use api::server::{Server, moving};
use clap::Parser;
use config::{Config, LoadOptions, LogFormat};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Messages are made in one thread and freed in another: this allocator takes less time for that
/// than the C library's, and gives back what a flood took.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A start that cannot work.
const CANNOT_START: u8 = 2;
/// EX_TEMPFAIL of sysexits(3): another process serves now; started again, this one stands by.
const TAKEN_OVER: i32 = 75;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            // Where stderr is gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "omnistream: {sentence}");
            ExitCode::from(CANNOT_START)
        }
    }
}

fn run(cli: Cli) -> Result<(), String> {
    use_small_pages();
    if matches!(cli.command, Some(Command::Openapi)) {
        let document = serde_json::to_string_pretty(&api::openapi::document());
        return print(&document.map_err(|error| error.to_string())?);
    }
    let preset = match &cli.command {
        Some(Command::Demo(_)) => demo::PRESET,
        _ => "",
    };
    let sources = LoadOptions {
        cwd_file: Some(PathBuf::from("config/default.toml")),
        file: cli.config,
        env: std::env::vars(),
    };
    let config = Config::load_over(preset, sources).map_err(|error| error.to_string())?;
    match cli.command {
        Some(Command::Config { check: true }) => Ok(()),
        Some(Command::Config { check: false }) => print(&config.masked_toml()),
        Some(Command::Demo(options)) => {
            log(&config)?;
            runtime()?.block_on(async { demo::run(config, options, announce, stop()?).await })
        }
        Some(Command::Export { to }) => {
            log(&config)?;
            let exported = async { moving::export(&config, &to, stop()?).await };
            let told = runtime()?.block_on(exported)?;
            if !moving::is_stdout(&to) {
                return print(&told);
            }
            // Where stderr is gone there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "{told}");
            Ok(())
        }
        Some(Command::Import { from }) => {
            log(&config)?;
            let imported = async { moving::import(&config, &from, stop()?).await };
            print(&runtime()?.block_on(imported)?)
        }
        Some(Command::Serve | Command::Openapi) | None => {
            log(&config)?;
            runtime()?.block_on(async { serve(config, stop()?).await })
        }
    }
}

async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<(), String> {
    let mut stop = pin!(stop);
    let started = Server::start_until(config, &mut stop).await;
    let Some(server) = started.map_err(|error| error.to_string())? else { return Ok(()) };
    announce(server.address)?;
    tracing::info!(metrics = %server.metrics, "serving");
    tokio::select! {
        () = stop => {}
        () = server.lost() => {
            tracing::error!("another process may write now: this one ends, and tells nothing more");
            std::process::exit(TAKEN_OVER);
        }
    }
    tracing::info!("stopping");
    server.stop().await;
    Ok(())
}

fn runtime() -> Result<Runtime, String> {
    Runtime::new().map_err(|error| error.to_string())
}

/// Done at ctrl-c or SIGTERM, also one that comes before it is awaited.
fn stop() -> Result<impl Future<Output = ()>, String> {
    let caught = |kind| signal(kind).map_err(|error| error.to_string());
    let (mut interrupt, mut terminate) =
        (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// The one line that a program waits for.
fn announce(address: SocketAddr) -> Result<(), String> {
    print(&format!("listening on http://{address}"))
}

/// Pages of 2 MiB are resident whole although little of each is in use when many small things live
/// long: up to twice the memory, for no processor time that is seen.
fn use_small_pages() {
    // A system that does not know of it goes on with large pages.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).or_else(|error| {
        // Whoever read has read enough.
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(format!("cannot write to standard output: {error}")),
        }
    })
}

fn log(config: &Config) -> Result<(), String> {
    let to_stderr = tracing_subscriber::fmt()
        .with_env_filter(filter(&config.log.filter)?)
        .with_ansi(demo::has_colours())
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => to_stderr.init(),
        LogFormat::Json => to_stderr.json().init(),
    }
    // Without its words: they may quote what a customer wrote.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(at, "a panic");
    }));
    Ok(())
}

/// What is logged. Each actor lives in a span of its library's, which takes memory as long as the
/// actor lives, and says nothing: there is none unless it is asked for.
fn filter(asked: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(asked).map_err(|error| format!("`log.filter` is not a filter: {error}"))?;
    Ok(EnvFilter::new(format!("ractor=warn,{asked}")))
}

#[cfg(test)]
mod tests {
    use super::filter;

    /// Whether there are spans of the actors' library with what is asked to be logged.
    fn has_spans(asked: &str) -> bool {
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter(asked).unwrap()).finish();
        tracing::subscriber::with_default(subscriber, || {
            !tracing::info_span!(target: "ractor::actor", "Actor").is_disabled()
        })
    }

    #[test]
    fn an_actor_has_no_span_unless_it_is_asked_for() {
        assert!(!has_spans("info") && !has_spans("debug,storage=trace"));
        assert!(has_spans("ractor=info") && has_spans("info,ractor=debug"));
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_key() {
        assert!(filter("info,=,").unwrap_err().contains("`log.filter`"));
    }
}
