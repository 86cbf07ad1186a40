//! A wire between a client and a server of any protocol over TCP, on which things go wrong when a
//! test wants it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout_at};

/// As much of what is said at once is carried at once.
const PIECE_BYTES: usize = 64 * 1024;

/// A running wire: it passes on what comes, whether the server behind it is up or not. It is cut
/// when it is dropped.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

/// What goes wrong on a [`Wire`]; by default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct WireFaults {
    /// Connections end as soon as they begin; those that are there stay.
    pub refuse: bool,
    /// For so long each piece is under way, to the server as well as back.
    pub delay: Duration,
    /// What the server answers is lost, and its connection is cut with it: what was asked for has
    /// happened, and the client cannot know.
    pub lose_answers: bool,
}

#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    faults: watch::Sender<WireFaults>,
    cuts: watch::Sender<()>,
    /// Answers that were lost.
    lost: watch::Sender<u64>,
}

impl Wire {
    /// Lays one to this server, on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server,
            faults: watch::Sender::default(),
            cuts: watch::Sender::default(),
            lost: watch::Sender::default(),
        });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { address, shared, serving })
    }

    /// Where it is taken for the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// This goes wrong from now on.
    pub fn set_faults(&self, faults: WireFaults) {
        self.shared.faults.send_replace(faults);
    }

    /// Cuts all connections that there are.
    pub fn cut(&self) {
        self.shared.cuts.send_replace(());
    }

    /// So many answers have been lost since it was laid.
    pub fn lost(&self) -> u64 {
        *self.shared.lost.borrow()
    }

    /// Waits until so many answers have been lost since it was laid.
    pub async fn lost_when(&self, so_many: u64) {
        let mut lost = self.shared.lost.subscribe();
        lost.wait_for(|lost| *lost >= so_many).await.expect("the sender is in self");
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Its connections end with it.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                if !shared.faults.borrow().refuse {
                    connections.spawn(connection(client, shared.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    tokio::select! {
        // Nothing passes any more once it is cut.
        biased;
        _ = cuts.changed() => {}
        // However it ends, both sides see it.
        _ = both_ways(client, &shared) => {}
    }
}

async fn both_ways(client: TcpStream, shared: &Shared) -> io::Result<()> {
    let server = TcpStream::connect(shared.server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let asked = carry(from_client, to_server, shared, |_| Ok(()));
    let answered = carry(from_server, to_client, shared, |faults| match faults.lose_answers {
        true => {
            shared.lost.send_modify(|lost| *lost += 1);
            Err(io::ErrorKind::ConnectionAborted.into())
        }
        false => Ok(()),
    });
    tokio::try_join!(asked, answered).map(drop)
}

/// Carries until the one side has no more to say, which the other is told.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    passes: impl Fn(WireFaults) -> io::Result<()>,
) -> io::Result<()> {
    let mut faults = shared.faults.subscribe();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut piece).await?;
        delayed(&mut faults).await;
        if read == 0 {
            return to.shutdown().await;
        }
        passes(*faults.borrow())?;
        to.write_all(&piece[..read]).await?;
    }
}

/// For as long as a piece is delayed that has just come, by what is set meanwhile.
async fn delayed(faults: &mut watch::Receiver<WireFaults>) {
    let came = Instant::now();
    loop {
        let delay = faults.borrow_and_update().delay;
        // A timer takes its millisecond even for no time at all.
        if delay.is_zero() || timeout_at(came + delay, faults.changed()).await.is_err() {
            return;
        }
    }
}
