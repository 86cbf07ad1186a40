//! Somebody reads a page again and again: what it costs the server.

use std::io;
use std::time::Duration;

use tokio::task::LocalSet;

use crate::body::Bodies;
use crate::report::Report;
use crate::sender::Sender;
use crate::target::Target;
use crate::webhooks::Load;

/// A page that is asked for over many connections, on each as soon as it has come.
#[derive(Clone, Debug)]
pub struct Reads {
    pub target: Target,
    /// Of whoever reads.
    pub token: Option<String>,
    /// How long, with the warm-up.
    pub time: Duration,
    /// What is asked for within it does not count.
    pub warm_up: Duration,
    pub connections: usize,
    /// The server's process, to tell what it costs.
    pub server: Option<u32>,
}

/// The last pages are waited for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads on this thread; answers what came of it. Fails if no connection can be made at first.
pub async fn run(reads: Reads) -> io::Result<Report> {
    let bodies = Bodies::page(&reads.target, reads.token.as_deref());
    let load = Load {
        scenario: "reads",
        rate: 0.0,
        time: reads.time,
        count: u64::MAX,
        warm_up: reads.warm_up,
        patience: PATIENCE,
        connections: reads.connections,
        server: reads.server,
    };
    LocalSet::new().run_until(load.run(Sender::new(&reads.target, bodies))).await
}
