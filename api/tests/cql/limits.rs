//! The limits of what is asked of a cluster, reached. What is on its way is counted at the wire.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use simulator::{Wire, WireFaults};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::{Org, RUNTIME, Server, graph, unique};
use crate::stores::{Kept, cassandra};

/// Opcodes of the protocol: a statement that was prepared, and several as one.
const EXECUTE: u8 = 0x0a;
const BATCH: u8 = 0x0d;

/// A statement that has no answer: its connection, and its stream there.
type OnTheWay = (SocketAddr, [u8; 2]);

/// Which statements are on their way, and the most that ever were.
#[derive(Default)]
struct Counted {
    now: HashSet<OnTheWay>,
    most: usize,
}

/// What counts statements in front of a server, whose address is answered. It ends with the program.
async fn counter(server: SocketAddr) -> (SocketAddr, Arc<Mutex<Counted>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, counted) = (listener.local_addr().unwrap(), Arc::<Mutex<Counted>>::default());
    let all = counted.clone();
    tokio::spawn(async move {
        while let Ok((client, from)) = listener.accept().await {
            tokio::spawn(connection(client, from, server, all.clone()));
        }
    });
    (address, counted)
}

async fn connection(
    client: TcpStream,
    from: SocketAddr,
    server: SocketAddr,
    counted: Arc<Mutex<Counted>>,
) -> io::Result<()> {
    let server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((asks, hears), (answers, is_asked)) = (client.into_split(), server.into_split());
    let asked = carry(asks, is_asked, |opcode, stream| {
        if matches!(opcode, EXECUTE | BATCH) {
            let mut counted = counted.lock().unwrap();
            counted.now.insert((from, stream));
            counted.most = counted.most.max(counted.now.len());
        }
    });
    let answered = carry(answers, hears, |_, stream| {
        counted.lock().unwrap().now.remove(&(from, stream));
    });
    let ended = tokio::try_join!(asked, answered).map(drop);
    counted.lock().unwrap().now.retain(|(connection, _)| *connection != from);
    ended
}

/// Carries frames: version, flags, stream (2), opcode, length (4), body.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut seen: impl FnMut(u8, [u8; 2]),
) -> io::Result<()> {
    loop {
        let mut frame = vec![0; 9];
        from.read_exact(&mut frame).await?;
        let length = u32::from_be_bytes([frame[5], frame[6], frame[7], frame[8]]);
        frame.resize(9 + length as usize, 0);
        from.read_exact(&mut frame[9..]).await?;
        seen(frame[4], [frame[2], frame[3]]);
        to.write_all(&frame).await?;
    }
}

/// The log of this program, from when it is first asked for.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    /// Of what the store warns.
    fn of_the_store() -> Self {
        let log = Self::default();
        let filter = tracing_subscriber::EnvFilter::new("storage=warn");
        let lines = tracing_subscriber::fmt().json().with_env_filter(filter);
        // The server works in threads of its own.
        tracing::subscriber::set_global_default(lines.with_writer(log.clone()).finish()).unwrap();
        log
    }

    /// How many milliseconds statements took that were slow.
    fn slow(&self) -> Vec<u64> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let fields = lines.map(|line| line["fields"].clone());
        let slow = fields.filter(|fields| fields["message"] == "a statement was slow");
        slow.map(|fields| {
            assert!(fields["statement"].is_string() && fields["table"].is_string(), "{fields}");
            fields["millis"].as_u64().unwrap()
        })
        .collect()
    }
}

/// Customers who all write at once, each of them heard.
async fn all_write(org: &Arc<Org>) {
    let mut writing = JoinSet::new();
    for _ in 0..8 {
        let org = org.clone();
        writing.spawn(async move {
            let webhook = org.text(&unique("wamid."), &unique("4915"), "hello");
            org.deliver(&webhook).await.is(200);
        });
    }
    writing.join_all().await;
}

/// A way on which everything takes a while.
const DELAY: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_statements_are_on_their_way_than_may_be_and_slow_ones_are_told() {
    let Some(cassandra) = cassandra().await else { return };
    let wire = RUNTIME.spawn(Wire::start(cassandra.address())).await.unwrap().unwrap();
    let (node, counted) = RUNTIME.spawn(counter(wire.address())).await.unwrap();
    let log = Log::of_the_store();
    for (statements, slow) in [(2, DELAY), (64, Duration::from_hours(1))] {
        wire.set_faults(WireFaults::default());
        let differ = |config: &mut config::Config| {
            config.storage.cql.nodes = vec![node.to_string()];
            // Whatever else the machine does meanwhile.
            config.storage.cql.request_timeout = Duration::from_secs(60);
            config.storage.cql.lease = Duration::from_secs(120);
            (config.limits.cql_statements, config.limits.cql_slow) = (statements, slow);
        };
        let server = Kept::InCluster(cassandra).server(graph(), differ).await;
        let org = Arc::new(Org::on(&server).await);
        // What the start had asked is no matter of this test.
        counted.lock().unwrap().most = 0;
        let before = log.slow().len();
        wire.set_faults(WireFaults { delay: DELAY, ..WireFaults::default() });
        all_write(&org).await;
        let most = counted.lock().unwrap().most;
        let told = log.slow().split_off(before);
        eprintln!("{most} of {statements} statements were on their way, {} were slow", told.len());
        if statements == 2 {
            assert_eq!(most, 2, "the others waited, and all of them were done");
            let wanted = u64::try_from(DELAY.as_millis()).unwrap();
            assert!(!told.is_empty() && told.iter().all(|millis| *millis >= wanted), "{told:?}");
        } else {
            assert!(most > 2, "they would not have waited for anything else");
        }
        let figures = reqwest::get(server.metrics()).await.unwrap().text().await.unwrap();
        assert!(figures.contains("omnistream_cql_statement_seconds_count{statement="), "{figures}");
        stopped(server, org);
    }
}

/// Before the wire, which it needs to stop.
fn stopped(server: Arc<Server>, org: Arc<Org>) {
    drop(org);
    let last = Arc::into_inner(server).is_some();
    assert!(last, "it stops here");
}
