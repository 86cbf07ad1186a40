//! `omnistream export` and `omnistream import`: a store moved to another backend, while nothing serves it.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use config::{Backend, Config};
use storage::Stamp;
use storage::memory::Now;
use storage::moving::{self, Export, Imported, Moved, NotMoved, Source};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncWrite, BufWriter};
use tokio::time::Instant;
use uuid::Uuid;

use super::opening::{self, Own};

/// How often it is said how far it is.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// Whether a name of a file stands for standard output.
pub fn is_stdout(name: &Path) -> bool {
    name == Path::new("-")
}

/// Writes all rows of the store of these settings to a new file, or to standard output; answers what to
/// tell.
///
/// # Errors
/// One sentence. There is no file then; what went to standard output ends in the middle, which an
/// import refuses.
pub async fn export(
    config: &Config,
    to: &Path,
    stop: impl Future<Output = ()>,
) -> Result<String, String> {
    let name = match is_stdout(to) {
        true => "what went to standard output".to_owned(),
        false => to.display().to_string(),
    };
    refuse_target(to, &name).await?;
    let path = &config.storage.path;
    if config.storage.backend == Backend::Embedded && !path.join("tree").exists() {
        return Err(format!(
            "there is no store in {}: set `storage.path` to where it is",
            path.display()
        ));
    }
    let (clock, stamps) = (Clock::system(), Arc::new(Stamps::above(Stamp(0))));
    let (store, own) = opened(opening::open_to_move(config, stamps, standing(&clock)).await)?;
    let exporting = async {
        refuse_source(store.clone(), &clock).await?;
        match is_stdout(to) {
            true => write_rows(&*store, tokio::io::stdout()).await,
            false => write_file(&*store, to).await,
        }
    };
    let exported = alone(&own, stop, exporting).await;
    own.give_back().await;
    if exported.is_err() && !is_stdout(to) {
        // Nobody takes it for an export, if it stays.
        let _ = fs::remove_file(part_of(to)).await;
    }
    let Moved { tables, rows, bytes, .. } = exported?;
    Ok(format!(
        "{rows} rows of {tables} tables ({}) are in {name}. {}",
        size(bytes),
        files(config, "are not in it")
    ))
}

/// Writes all rows of a file into the store of these settings; answers what to tell.
///
/// # Errors
/// One sentence. The same file can be imported again.
pub async fn import(
    config: &Config,
    from: &Path,
    stop: impl Future<Output = ()>,
) -> Result<String, String> {
    let mut stop = pin!(stop);
    let name = from.display();
    let about = |error: NotMoved| format!("{name}: {error}");
    let file = File::open(from).await.map_err(|error| unusable(from, &error))?;
    // Nothing is written of what cannot be read to its end.
    let export = tokio::select! {
        export = moving::check(file) => export.map_err(about)?,
        () = &mut stop => return Err(stopped()),
    };
    let clock = Clock::system();
    let now: Now = match config.storage.backend {
        // What is written expires in the very second in which it did: time stands meanwhile.
        Backend::Embedded => standing(&clock),
        Backend::Memory | Backend::Cql => Arc::new(move || clock.now()),
    };
    let stamps = Arc::new(Stamps::above(export.highest));
    let (store, own) = opened(opening::open_to_move(config, stamps, now.clone()).await)?;
    let imported = alone(&own, stop, read_in(store, from, &export, &now)).await;
    own.give_back().await;
    let imported = imported?;
    // Also of one before, which may have ended here.
    forget_index(config).await?;
    match imported {
        Imported::Before => {
            Ok(format!("all of {name} was imported into this store before: nothing was changed"))
        }
        Imported::Now(Moved { tables, rows, bytes, expired, .. }) => {
            let files = files(config, "were not in it");
            Ok(format!(
                "{rows} rows of {tables} tables ({}) of {name} are in the store, {expired} had expired. {files}",
                size(bytes)
            ))
        }
    }
}

/// Refuses to write over a file, and to show secrets at a terminal.
async fn refuse_target(to: &Path, name: &str) -> Result<(), String> {
    if is_stdout(to) {
        return match std::io::stdout().is_terminal() {
            true => {
                Err("an export is not for a terminal: name a file, or send standard output to one"
                    .to_owned())
            }
            false => Ok(()),
        };
    }
    match fs::try_exists(to).await.map_err(|error| unusable(to, &error))? {
        true => Err(format!("{name} is there already: name another file, or remove that one")),
        false => Ok(()),
    }
}

/// Refuses a store of which no part must be moved yet.
async fn refuse_source(store: Arc<dyn Source>, clock: &Clock) -> Result<(), String> {
    let said = |error: NotMoved| error.0;
    moving::refuse_part(&*store).await.map_err(said)?;
    moving::refuse_unfinished(store, clock.now()).await.map_err(said)
}

async fn write_rows(store: &dyn Source, to: impl AsyncWrite + Unpin) -> Result<Moved, String> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    let to = BufWriter::with_capacity(1 << 20, to);
    let moved = moving::export(store, to, Uuid::from_bytes(id), tell()).await;
    moved.map_err(|error| error.0)
}

async fn write_file(store: &dyn Source, to: &Path) -> Result<Moved, String> {
    let (part, failed) = (part_of(to), |error: std::io::Error| unusable(to, &error));
    // It holds secrets.
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
    let mut file = options.open(&part).await.map_err(failed)?;
    let moved = write_rows(store, &mut file).await?;
    file.sync_all().await.map_err(failed)?;
    fs::rename(&part, to).await.map_err(failed)?;
    let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(directory.unwrap_or(Path::new("."))).await.map_err(failed)?;
    directory.sync_all().await.map_err(failed)?;
    Ok(moved)
}

async fn read_in(
    store: Arc<dyn Source>,
    from: &Path,
    export: &Export,
    now: &Now,
) -> Result<Imported, String> {
    let file = File::open(from).await.map_err(|error| unusable(from, &error))?;
    let imported = moving::import(file, export, &*store, now, tell()).await;
    imported.map_err(|error| error.0)
}

/// Does this as long as the store is ours.
async fn alone<T>(
    own: &Own,
    stop: impl Future<Output = ()>,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    tokio::select! {
        done = work => done,
        () = own.lost() => Err("another process has taken over the store: stop it, and do this again".to_owned()),
        () = stop => Err(stopped()),
    }
}

/// The index of another store, perhaps, is made anew from this one.
async fn forget_index(config: &Config) -> Result<(), String> {
    let index = config.storage.path.join("search");
    match fs::remove_dir_all(&index).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(format!(
            "all rows are in the store; but {} has to be removed, and cannot be ({error})",
            index.display()
        )),
        _ => Ok(()),
    }
}

fn tell() -> impl FnMut(&Moved) {
    let mut last = Instant::now();
    move |moved| {
        if last.elapsed() >= TELL_EVERY {
            last = Instant::now();
            tracing::info!(
                table = moved.table,
                rows = moved.rows,
                size = size(moved.bytes),
                "so far"
            );
        }
    }
}

/// Where files are, which do not move with the rows.
fn files(config: &Config, are_not: &str) -> String {
    let then = match &config.storage.s3.bucket {
        Some(_) => "name their bucket (`storage.s3`) for whatever serves this next",
        None => {
            "bring `media` of the `storage.path` that they lie in to that of whatever serves this next"
        }
    };
    format!("Files that messages show {are_not}: {then}.")
}

fn size(bytes: u64) -> String {
    let tenths = (bytes * 10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn standing(clock: &Clock) -> Now {
    let now = clock.now();
    Arc::new(move || now)
}

fn part_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".part");
    name.into()
}

fn opened<T>(opened: Result<T, impl Display>) -> Result<T, String> {
    opened.map_err(|error| error.to_string())
}

fn unusable(file: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be used ({error}): name another file", file.display())
}

fn stopped() -> String {
    "it was stopped before it was done: do it again".to_owned()
}
