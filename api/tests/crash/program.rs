//! The real program over a directory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_omnistream");
const LISTEN: &str = "OMNISTREAM__SERVER__LISTEN";
/// How often it is asked how it is.
const AGAIN: Duration = Duration::from_millis(10);

/// A running program. It is killed when this goes.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
}

impl Program {
    /// Over this directory, with more of an environment; it serves when this returns.
    pub(crate) async fn start(directory: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = command(directory, owned(env));
        command.arg("serve");
        Self::started(command).await
    }

    async fn started(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
            Self { child, url }
        })
        .await
        .unwrap()
    }

    /// The same of a process that may have so many files open, and no more.
    pub(crate) async fn start_with_files(directory: &Path, files: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {files} && exec \"$0\" serve"), PROGRAM]);
        Self::started(with_environment(shell, directory, Vec::new())).await
    }

    /// The same without waiting: it may have to stand by.
    pub(crate) fn stand_by(directory: &Path, env: &[(&str, &str)]) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let mut command = command(directory, owned(env));
        command.arg("serve").env(LISTEN, &address).stdout(Stdio::piped());
        Self { child: command.spawn().unwrap(), url: format!("http://{address}") }
    }

    /// What it answers whoever asks for its health; `None`: nobody listens yet.
    pub(crate) async fn health(&self, path: &str) -> Option<u16> {
        // Whichever test begins first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        Some(answer.status().as_u16())
    }

    /// Waits until its health is this.
    pub(crate) async fn is(&self, status: u16) {
        let asking = async {
            let mut again = tokio::time::interval(AGAIN);
            while self.health("/health/ready").await != Some(status) {
                again.tick().await;
            }
        };
        let asked = tokio::time::timeout(Duration::from_secs(60), asking).await;
        assert!(asked.is_ok(), "{} is not {status} ready", self.url);
    }

    /// A signal to it, and to nobody else.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// How it ended by itself.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let mut again = tokio::time::interval(AGAIN);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            again.tick().await;
        }
    }

    /// SIGKILL: nothing is finished, nothing is flushed.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A command of the program, to its end: what it prints, or why not.
pub(crate) async fn run(
    directory: &Path,
    env: &[(&str, &str)],
    arguments: &[&str],
) -> Result<String, String> {
    let output = output(directory, env, arguments).await;
    let said = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.code() {
        Some(0) => Ok(said(output.stdout)),
        _ => Err(said(output.stderr)),
    }
}

/// The same, with all that it says.
pub(crate) async fn output(directory: &Path, env: &[(&str, &str)], arguments: &[&str]) -> Output {
    let child = begin(directory, env, arguments);
    tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap()
}

/// The same, which goes on by itself.
pub(crate) fn begin(directory: &Path, env: &[(&str, &str)], arguments: &[&str]) -> Child {
    let mut command = command(directory, owned(env));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The settings by which it keeps its data at this node; one process takes over from another soon.
pub(crate) fn cluster(node: Option<&str>) -> Vec<(&'static str, &str)> {
    let Some(node) = node else { return Vec::new() };
    vec![
        ("OMNISTREAM__STORAGE__BACKEND", "cql"),
        ("OMNISTREAM__STORAGE__CQL__NODES", node),
        ("OMNISTREAM__STORAGE__CQL__LEASE", "4s"),
        ("OMNISTREAM__STORAGE__CQL__REQUEST_TIMEOUT", "3s"),
    ]
}

fn owned(env: &[(&str, &str)]) -> Vec<[String; 2]> {
    env.iter().map(|(key, value)| [*key, *value].map(str::to_owned)).collect()
}

fn command(directory: &Path, env: Vec<[String; 2]>) -> Command {
    with_environment(Command::new(PROGRAM), directory, env)
}

fn with_environment(mut command: Command, directory: &Path, env: Vec<[String; 2]>) -> Command {
    command
        // Others may have the ports that it has by default, such as a test beside this one.
        .env(LISTEN, "127.0.0.1:0")
        .env("OMNISTREAM__METRICS__LISTEN", "127.0.0.1:0")
        .env("OMNISTREAM__STORAGE__PATH", directory.join("data"))
        .envs(env.into_iter().map(Into::into))
        .env("OMNISTREAM__LOG__FILTER", "error")
        // What one life acknowledges is resumed in the next.
        .env("OMNISTREAM__LIMITS__REPLAY_EVENTS", "100000")
        .env("OMNISTREAM__LIMITS__REPLAY_BYTES", "100000000")
        .current_dir(directory);
    command
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
