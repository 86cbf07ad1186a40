//! A server of this program's own, over scratch: started, killed without a warning, started again.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::people::Channel;
use crate::process::{self, Cpu};

/// What is started.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The server.
    pub server: PathBuf,
    pub provider: Provider,
    /// Where scratch lies: on the disk whose durability counts.
    pub scratch: PathBuf,
    /// More of the server's environment.
    pub environment: Vec<(String, String)>,
}

/// Who stands in for Meta.
#[derive(Clone, Debug)]
pub enum Provider {
    /// The program `simulator`, started beside the server.
    Program(PathBuf),
    /// One that runs already, here.
    At(String),
}

/// A server, its scratch, and who stands in for Meta.
pub(super) struct Server {
    programs: Programs,
    pub(super) address: SocketAddr,
    child: Option<Child>,
    provider: Option<Child>,
    provider_url: String,
    pub(super) process: Process,
    /// The last to go: nobody writes into it any more.
    directory: TempDir,
}

/// What all processes of a server take, whichever runs now.
#[derive(Clone, Default)]
pub(super) struct Process(Arc<Mutex<Running>>);

#[derive(Clone, Copy, Default)]
struct Running {
    pid: Option<u32>,
    /// Of those that ended.
    before: Cpu,
}

/// Signs what providers post.
pub(super) const SECRET: &str = "loadtest-app-secret";
/// A server has recovered within this time, or never will.
const START_WITHIN: Duration = Duration::from_secs(300);

/// What differs from the settings of a server that is on its own: many sockets of one person, many
/// organizations at once, agents who are not slowed down, and cursors that are good for a kill or a pause: lists keep as much
/// in memory.
const SETTINGS: [(&str, &str); 15] = [
    ("METRICS__LISTEN", "127.0.0.1:0"),
    ("LOG__FILTER", "warn"),
    ("AUTH__TOKEN_TTL", "12h"),
    ("AUTH__SESSION_TTL", "24h"),
    ("LIMITS__CONNECTIONS", "200000"),
    ("LIMITS__REGISTRATIONS_PER_MINUTE", "10000"),
    ("LIMITS__SOCKETS_PER_USER", "100000"),
    ("LIMITS__HANDSHAKES_PER_SECOND", "100000"),
    ("LIMITS__REPLAY_EVENTS", "20000"),
    ("LIMITS__REPLAY_BYTES", "67108864"),
    ("LIMITS__SEND_RATE_PER_SECOND", "1000"),
    ("LIMITS__PAIR_BURST", "1000000"),
    ("LIMITS__PAIR_EVERY", "1ms"),
    ("LIMITS__SOCKET_COMMANDS_PER_SECOND", "1000"),
    ("LIMITS__SOCKET_COMMANDS_BURST", "1000"),
];

impl Server {
    /// Starts it; it serves when this returns. `accounts`: those that it will have, so that whoever stands
    /// in for Meta knows whose they are.
    pub(super) async fn start(
        programs: Programs,
        accounts: &[(Channel, String)],
    ) -> io::Result<Self> {
        let mut directory = tempfile::Builder::new();
        let directory = directory.prefix("omnistream-loadtest-").tempdir_in(&programs.scratch)?;
        // Whoever stands in for Meta has to know where it will be.
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let (provider, provider_url) = match &programs.provider {
            Provider::At(url) => (None, url.clone()),
            Provider::Program(program) => {
                let (child, url) = simulator(program, address, accounts, directory.path()).await?;
                (Some(child), url)
            }
        };
        let (child, process) = (None, Process::default());
        let mut server =
            Self { programs, address, child, provider, provider_url, process, directory };
        server.rise().await?;
        Ok(server)
    }

    /// Ends it without a warning and starts it again. Fails if it had ended by itself: started again
    /// it would look well.
    pub(super) async fn kill(&mut self) -> io::Result<()> {
        if let Some(how) = self.ended() {
            return Err(io::Error::other(how));
        }
        self.process.ends();
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        self.rise().await
    }

    /// Ends it in order; its scratch goes. Answers how it had ended by itself, if it had.
    pub(super) async fn stop(mut self) -> Option<String> {
        let ended = self.ended();
        for child in [self.child.take(), self.provider.take()].into_iter().flatten() {
            end(child).await;
        }
        ended
    }

    /// How it has ended by itself, if it has.
    fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        let last = last_line(self.directory.path());
        Some(format!("the server ended by itself ({status}): {last}"))
    }

    async fn rise(&mut self) -> io::Result<()> {
        let directory = self.directory.path();
        let log = File::options().create(true).append(true).open(directory.join("log"))?;
        let mut command = Command::new(&self.programs.server);
        command
            .arg("serve")
            .envs(SETTINGS.map(|(key, value)| (format!("OMNISTREAM__{key}"), value)))
            .env("OMNISTREAM__SERVER__LISTEN", self.address.to_string())
            .env("OMNISTREAM__STORAGE__PATH", directory.join("data"))
            .env("OMNISTREAM__META__GRAPH_URL", &self.provider_url)
            .env("NO_COLOR", "1")
            .envs(self.programs.environment.iter().cloned())
            .current_dir(directory)
            .stderr(log);
        let (child, _) = listening(command, &self.programs.server)
            .await
            .map_err(|error| io::Error::other(format!("{error}: {}", last_line(directory))))?;
        self.process.begins(child.id());
        self.child = Some(child);
        Ok(())
    }
}

impl Process {
    /// Of a process that runs already.
    pub(super) fn of(pid: Option<u32>) -> Self {
        let process = Self::default();
        process.begins(pid);
        process
    }

    /// The processor time that all took so far; `None`: nobody knows.
    pub(super) fn cpu(&self) -> Option<Cpu> {
        let Running { pid, before } = *self.lock();
        // One that has just ended took what it took before.
        pid.map(|pid| before + process::cpu(pid).unwrap_or_default())
    }

    /// The memory that it holds, in bytes.
    pub(super) fn resident(&self) -> Option<u64> {
        let pid = self.lock().pid;
        pid.and_then(process::resident)
    }

    fn begins(&self, pid: Option<u32>) {
        self.lock().pid = pid;
    }

    /// What it took is kept: it is about to be gone.
    fn ends(&self) {
        let mut running = self.lock();
        if let Some(taken) = running.pid.and_then(process::cpu) {
            running.before = running.before + taken;
        }
        // A number that no process has.
        running.pid = running.pid.map(|_| u32::MAX);
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a server has said last.
fn last_line(directory: &Path) -> String {
    let said = std::fs::read_to_string(directory.join("log")).unwrap_or_default();
    said.lines().next_back().unwrap_or("it said nothing").to_owned()
}

/// Starts whoever stands in for Meta, and tells the server of each answer's receipts.
async fn simulator(
    program: &Path,
    server: SocketAddr,
    accounts: &[(Channel, String)],
    directory: &Path,
) -> io::Result<(Child, String)> {
    let known = accounts.iter().filter_map(|(channel, key)| match channel {
        Channel::Messenger => Some(["--page-id", key]),
        Channel::Instagram => Some(["--ig-user-id", key]),
        // Every number is one, and mails go elsewhere.
        Channel::Whatsapp | Channel::Email => None,
    });
    let mut command = Command::new(program);
    command
        .args(["graph", "--listen", "127.0.0.1:0", "--secret", SECRET])
        .args(["--webhook", &format!("http://{server}/webhook")])
        .args(["--per-second", "1000000", "--pair-burst", "1000000", "--pair-every", "1"])
        .args(["--sent-after", "20", "--delivered-after", "60", "--read-after", "200"])
        .args(known.flatten())
        .current_dir(directory)
        .stderr(Stdio::null());
    listening(command, program).await
}

/// Starts a program and waits until it says where it listens.
async fn listening(mut command: Command, program: &Path) -> io::Result<(Child, String)> {
    let program = program.display();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| io::Error::other(format!("`{program}` does not start: {error}")))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.as_mut() {
        let mut stdout = BufReader::new(stdout);
        let read = timeout(START_WITHIN, stdout.read_line(&mut line)).await;
        read.map_err(|_| io::Error::other(format!("`{program}` does not say where it listens")))??;
    }
    match line.trim().strip_prefix("listening on ") {
        Some(url) => Ok((child, url.to_owned())),
        None => Err(io::Error::other(format!("`{program}` ended before it listened"))),
    }
}

/// Ends a child as its operator would.
async fn end(mut child: Child) {
    const GRACE: Duration = Duration::from_secs(30);
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _sent = kill_process(pid, Signal::TERM);
        let _ended = timeout(GRACE, child.wait()).await;
    }
    // Dropped, whatever is left of it is killed.
}

#[cfg(test)]
mod tests {
    use super::{Process, Programs, Provider, Server};
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    #[tokio::test]
    async fn a_server_that_ended_by_itself_is_not_started_again_as_if_it_had_been_killed() {
        let scratch = tempfile::tempdir().unwrap();
        let script = "echo listening on nothing\necho it is full >&2\nexit 3\n";
        std::fs::write(scratch.path().join("serve"), script).unwrap();
        let mut server = Server {
            // It is told `serve`, which is the script.
            programs: Programs {
                server: "sh".into(),
                provider: Provider::At(String::new()),
                scratch: scratch.path().to_owned(),
                environment: Vec::new(),
            },
            address: ([127, 0, 0, 1], 0).into(),
            child: None,
            provider: None,
            provider_url: String::new(),
            process: Process::default(),
            directory: scratch,
        };
        server.rise().await.unwrap();
        let pid = server.child.as_ref().unwrap().id().unwrap();
        let pid = WaitId::Pid(Pid::from_raw(pid.cast_signed()).unwrap());
        // It stays for whoever started it to look at.
        waitid(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let why = server.kill().await.unwrap_err().to_string();
        assert_eq!(why, "the server ended by itself (exit status: 3): it is full");
    }
}
