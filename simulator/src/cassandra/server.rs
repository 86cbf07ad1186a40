//! One server in a directory of its own: its settings, its process, and when it answers.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use rand::RngExt;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{CassandraOptions, CommitLog, Missing, blocking};

/// Below those that a system gives to whoever asks for any: nobody is given that of one that is
/// down.
const PORTS: Range<u16> = 20_000..32_000;
/// Many times what a busy machine takes.
const START_WITHIN: Duration = Duration::from_mins(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The frame by which a server says what it supports.
const SUPPORTED: u8 = 6;
/// So much of its log is shown when it does not start.
const LINES_SHOWN: usize = 12;

/// Its directory, and its process while it runs.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    // Dropped first: it writes into the directory.
    shell: Option<Shell>,
    home: TempDir,
}

/// The shell that runs the process until this is dropped, or nobody is there any more who could.
#[derive(Debug)]
struct Shell(Child);

impl Server {
    /// Writes down what it starts with.
    pub(super) fn prepare(lib: &Path, options: CassandraOptions) -> Result<Self, Missing> {
        let java = Command::new("java").arg("-version").output();
        java.map_err(|error| Missing::because("Cassandra runs on Java 17; install it", error))?;
        let cql = match options.port {
            Some(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .map_err(|error| Missing::because(format_args!("port {port}"), error))?,
            None => free_port().map_err(|error| Missing::because("no port is free", error))?,
        };
        let written = Self::write(lib, &cql, options);
        written.map_err(|error| Missing::because("Cassandra's settings cannot be written", error))
    }

    fn write(lib: &Path, cql: &TcpListener, options: CassandraOptions) -> io::Result<Self> {
        let (storage, address) = (free_port()?.local_addr()?, cql.local_addr()?);
        let home = TempDir::with_prefix("omnistream-cassandra-")?;
        let (commit_log, unsafe_system) = match options.commit_log {
            CommitLog::Periodic => ("periodic\ncommitlog_sync_period: 10s", "true"),
            CommitLog::Batch => ("batch", "false"),
        };
        let (authenticator, authorizer) = match options.logins {
            true => ("PasswordAuthenticator", "CassandraAuthorizer"),
            false => ("AllowAllAuthenticator", "AllowAllAuthorizer"),
        };
        let fill = |name: &str, template: &str| {
            let text = template
                .replace("@HOME@", &home.path().to_string_lossy())
                .replace("@LIB@", &lib.to_string_lossy())
                .replace("@STORAGE_PORT@", &storage.port().to_string())
                .replace("@CQL_PORT@", &address.port().to_string())
                .replace("@COMMIT_LOG@", commit_log)
                .replace("@AUTHENTICATOR@", authenticator)
                .replace("@AUTHORIZER@", authorizer)
                .replace("@UNSAFE_SYSTEM@", unsafe_system);
            fs::write(home.path().join(name), text)
        };
        fill("cassandra.yaml", include_str!("cassandra.yaml"))?;
        fill("logback.xml", include_str!("logback.xml"))?;
        fill("java.args", include_str!("java.args"))?;
        fs::create_dir(home.path().join("tmp"))?;
        Ok(Self { address, shell: None, home })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn kill(&mut self) {
        if let Some(shell) = self.shell.take() {
            // It cannot fail.
            let _killed = tokio::task::spawn_blocking(move || shell.kill()).await;
        }
    }

    pub(super) async fn restart(&mut self) -> Result<(), Missing> {
        self.kill().await;
        let failed = |error| Missing::because("Cassandra does not start", error);
        let stdout = self.spawn().map_err(failed)?;
        let address = self.address;
        let serves = blocking(move || serves(stdout, address).map_err(failed));
        let late = || Err(failed(io::ErrorKind::TimedOut.into()));
        let served = timeout(START_WITHIN, serves).await.unwrap_or_else(|_late| late());
        if let Err(missing) = served {
            // Its end is the end of what it says, too, for which somebody may still wait.
            self.kill().await;
            return Err(Missing::because(missing, self.last_said()));
        }
        Ok(())
    }

    /// Answers what the daemon says.
    fn spawn(&mut self) -> io::Result<ChildStdout> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut shell = Command::new("sh")
            .args(["-c", include_str!("while_held.sh"), "sh"])
            .arg(self.home.path())
            .args(["java", &format!("@{}", self.home.path().join("java.args").display())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // An interrupt at the terminal is for whoever holds it.
            .process_group(0)
            .spawn()?;
        let stdout = shell.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        self.shell = Some(Shell(shell));
        Ok(stdout)
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("server.log")
    }

    fn last_said(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        // Where in Cassandra's own code it was says nothing here.
        let lines: Vec<_> = log.lines().filter(|line| !line.starts_with('\t')).collect();
        lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
    }
}

impl Shell {
    /// Has the process killed and the directory kept.
    fn kill(mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            // A shell that is gone has done it.
            let _told = stdin.write_all(b"keep\n");
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Closes its stdin first.
        let _ended = self.0.wait();
    }
}

/// One that nobody listens on, held for as long as the answer is.
fn free_port() -> io::Result<TcpListener> {
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, rand::rng().random_range(PORTS))) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
}

/// Waits until it says that it has started, and then does what it says.
fn serves(stdout: ChildStdout, address: SocketAddr) -> io::Result<()> {
    for line in BufReader::new(stdout).lines() {
        if line? == "Startup complete" {
            return answers(address);
        }
    }
    Err(io::Error::other("it ended before it served"))
}

/// Asks a server which CQL it speaks, which it says before any login.
pub(super) fn answers(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    // Version 4, no flags, stream 0, OPTIONS, no body.
    stream.write_all(&[4, 0, 0, 0, 5, 0, 0, 0, 0])?;
    let mut header = [0; 9];
    stream.read_exact(&mut header)?;
    let [_, _, _, _, SUPPORTED, ..] = header else {
        return Err(io::Error::other("it does not speak CQL"));
    };
    Ok(())
}
