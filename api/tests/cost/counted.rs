//! The real program while its instructions are counted.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use simulator::skipped;
use tempfile::TempDir;

/// A program under callgrind, over a directory of its own. It is killed when this goes.
pub(crate) struct Counted {
    child: Child,
    counts: PathBuf,
    pub(crate) url: String,
    _directory: TempDir,
}

/// How often it is looked at whether it has ended.
const AGAIN: Duration = Duration::from_millis(10);

/// What does something by the clock waits until the count is over.
const SETTINGS: [(&str, &str); 9] = [
    ("SERVER__LISTEN", "127.0.0.1:0"),
    ("METRICS__LISTEN", "127.0.0.1:0"),
    ("LOG__FILTER", "error"),
    ("LIMITS__SEARCH_EVERY", "1h"),
    ("LIMITS__TREE_SYNC_EVERY", "1h"),
    ("LIMITS__SOCKET_PING_EVERY", "1h"),
    ("LIMITS__SOCKETS_PER_USER", "2000"),
    // It runs so slowly here that these would end what is all right.
    ("LIMITS__SOCKET_HELLO_TIMEOUT", "10m"),
    ("LIMITS__SOCKET_WRITE_TIMEOUT", "10m"),
];

/// Where it writes down what each function took when it ends.
pub(crate) fn counts(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.callgrind"))
}

impl Counted {
    /// It serves when this returns; `None`, said loudly: it cannot be counted here.
    pub(crate) async fn start(name: &str) -> Option<Self> {
        if !cfg!(debug_assertions) {
            skipped("the figures are of builds that are not optimized");
            return None;
        }
        if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
            skipped("install valgrind to count instructions");
            return None;
        }
        // Sockets are files, here and there.
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        let (directory, counts) = (tempfile::tempdir().unwrap(), counts(name));
        let mut child = command(directory.path(), &counts).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let said = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        });
        let said = said.await.unwrap().unwrap();
        let url = said.trim().strip_prefix("listening on ").unwrap().to_owned();
        Some(Self { child, counts, url, _directory: directory })
    }

    /// Stops it; answers how many instructions it took in all.
    pub(crate) async fn end(mut self) -> u64 {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        let mut again = tokio::time::interval(AGAIN);
        let ended = loop {
            again.tick().await;
            if let Some(ended) = self.child.try_wait().unwrap() {
                break ended;
            }
        };
        assert!(ended.success(), "{ended}");
        let counts = std::fs::read_to_string(&self.counts).unwrap();
        let total = counts.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        total.parse().unwrap()
    }
}

fn command(directory: &Path, counts: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--log-file=/dev/null"])
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .args([env!("CARGO_BIN_EXE_omnistream"), "serve"])
        .envs(SETTINGS.map(|(key, value)| (format!("OMNISTREAM__{key}"), value)))
        .env("OMNISTREAM__STORAGE__PATH", directory.join("data"))
        // More of them take tasks from each other, one time so and another time so.
        .env("TOKIO_WORKER_THREADS", "1")
        .current_dir(directory)
        .stdout(Stdio::piped());
    command
}

impl Drop for Counted {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
