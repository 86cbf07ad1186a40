//! A real Apache Cassandra for tests, and for people who try OmniStream on one: started out of Maven
//! artifacts, with nothing installed but Java and Maven.

mod jars;
mod server;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use server::{Server, answers};

use crate::missing::{environment, skipped};

/// A real Cassandra, or what else speaks CQL where `TEST_CQL` says. One that was started here ends,
/// and its data with it, when this is dropped and when the process ends, in whatever way.
#[derive(Debug)]
pub struct Cassandra {
    address: SocketAddr,
    /// `None`: it is somebody else's.
    server: Option<Server>,
}

/// What one is like that is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct CassandraOptions {
    /// Where it serves, on 127.0.0.1; otherwise on a free port.
    pub port: Option<u16>,
    /// When what it has answered is on disk.
    pub commit_log: CommitLog,
    /// It asks for a login, and what that may do. A moment after its first start there is one who may do
    /// everything: `cassandra`, by its own name as password.
    pub logins: bool,
}

impl From<CommitLog> for CassandraOptions {
    fn from(commit_log: CommitLog) -> Self {
        Self { commit_log, ..Self::default() }
    }
}

/// When what a Cassandra has answered is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitLog {
    /// Every few seconds: the tables are there ten times as fast, and a kill loses what came since.
    #[default]
    Periodic,
    /// Before the answer: a kill loses nothing.
    Batch,
}

/// Why there is no Cassandra, in a sentence that says what to do.
#[derive(Debug)]
pub struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Missing {}

impl From<Missing> for io::Error {
    fn from(missing: Missing) -> Self {
        Self::other(missing)
    }
}

impl Missing {
    fn because(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

impl Cassandra {
    /// What a test runs against: the one that `TEST_CQL` (`HOST:PORT`) names, or one of its own.
    /// `None` when neither can be had, said on stderr where nobody overlooks it.
    ///
    /// # Panics
    /// When none can be had though `TEST_REQUIRE_ALL` is set, or the named one does not answer.
    pub async fn for_test(commit_log: CommitLog) -> Option<Self> {
        match environment("TEST_CQL") {
            // Whoever names one does not want another, and not none.
            Some(name) => {
                Some(Self::named(name).await.unwrap_or_else(|missing| panic!("{missing}")))
            }
            None => Self::own_for_test(commit_log).await,
        }
    }

    /// The same for a test that kills it, or wants another one: never the one that `TEST_CQL` names.
    ///
    /// # Panics
    /// When none can be had though `TEST_REQUIRE_ALL` is set.
    pub async fn own_for_test(options: impl Into<CassandraOptions>) -> Option<Self> {
        match Self::start(options.into()).await {
            Ok(cassandra) => Some(cassandra),
            Err(missing) => {
                skipped(missing);
                None
            }
        }
    }

    /// Starts one with nothing in it, and waits until it answers. The first one ever has its jars
    /// fetched before.
    ///
    /// # Errors
    /// When it cannot be had: there is no Java, no Maven, no way to the jars, or it does not start.
    pub async fn start(options: CassandraOptions) -> Result<Self, Missing> {
        let mut server = blocking(move || Server::prepare(&jars::fetched()?, options)).await?;
        server.restart().await?;
        Ok(Self { address: server.address(), server: Some(server) })
    }

    async fn named(name: String) -> Result<Self, Missing> {
        blocking(move || {
            let wrong = |error: io::Error| Missing::because(format_args!("TEST_CQL={name}"), error);
            let address = name.to_socket_addrs().map_err(wrong)?.next();
            let address = address.ok_or_else(|| wrong(io::ErrorKind::AddrNotAvailable.into()))?;
            answers(address).map_err(wrong)?;
            Ok(Self { address, server: None })
        })
        .await
    }

    /// Where it serves CQL.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it (SIGKILL): nothing is finished, nothing is flushed. Its data stay.
    ///
    /// # Panics
    /// When it is somebody else's.
    pub async fn kill(&mut self) {
        self.ours().kill().await;
    }

    /// Starts it over its data and on its port, after a kill or with one, and waits until it
    /// answers.
    ///
    /// # Errors
    /// When it does not start.
    ///
    /// # Panics
    /// When it is somebody else's.
    pub async fn restart(&mut self) -> Result<(), Missing> {
        self.ours().restart().await
    }

    fn ours(&mut self) -> &mut Server {
        self.server.as_mut().expect("whoever kills it took `own_for_test`")
    }
}

/// Does what waits for files and processes beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Missing> + Send + 'static,
) -> Result<T, Missing> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Missing::because("the start failed", error)))
}
