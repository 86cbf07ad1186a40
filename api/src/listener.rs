//! TCP connections: so many and no more, none of which stands still for ever.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use crate::linger::Linger;

/// Takes connections while there is a place for them; one more is closed at once.
pub struct Limited {
    listener: TcpListener,
    places: Arc<Semaphore>,
    stall: Duration,
}

/// A connection, which has its place until it is dropped.
pub(crate) struct Connection {
    pub(crate) tcp: TcpStream,
    pub(crate) stall: Stall,
    pub(crate) place: OwnedSemaphorePermit,
    /// Since the last answer is written.
    linger: Option<Box<Linger>>,
    stopping: watch::Receiver<bool>,
}

/// That the other side takes nothing, and for how long it may.
pub(crate) struct Stall {
    most: Duration,
    since: Option<Pin<Box<Sleep>>>,
}

impl Limited {
    /// Over this listener; at most so many connections at once, each closed when it stands still for
    /// `stall`.
    pub fn new(listener: TcpListener, most: usize, stall: Duration) -> Self {
        let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { listener, places, stall }
    }

    /// Serves whoever connects until it is stopped; then what was asked is answered, within `drain`.
    pub async fn serve(
        mut self,
        router: Router,
        mut stopping: watch::Receiver<bool>,
        drain: Duration,
    ) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.stall);
        let (router, mut open) = (TowerToHyperService::new(router), JoinSet::new());
        let until = stopping.clone();
        loop {
            let (connection, peer) = tokio::select! {
                accepted = self.accept(&until) => accepted,
                Some(_) = open.join_next() => continue,
                () = stopped(&mut stopping) => break,
            };
            let router = router.clone();
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                router.call(request)
            });
            let serving = http.serve_connection(TokioIo::new(connection), service).with_upgrades();
            let mut until = until.clone();
            open.spawn(async move {
                let mut serving = pin!(serving);
                // What goes wrong with a connection ends it, and nothing else.
                tokio::select! {
                    _ = &mut serving => {}
                    () = stopped(&mut until) => {
                        serving.as_mut().graceful_shutdown();
                        let _ = serving.await;
                    }
                }
            });
        }
        drop(self);
        // One that panics is no reason to leave the others.
        let ended = async { while open.join_next().await.is_some() {} };
        let _ = timeout(drain, ended).await;
    }

    async fn accept(&mut self, stopping: &watch::Receiver<bool>) -> (Connection, SocketAddr) {
        loop {
            let (tcp, peer) = Listener::accept(&mut self.listener).await;
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                metrics::counter!("omnistream_connections_refused_total").increment(1);
                continue;
            };
            // An answer is small and complete: nothing is gained by waiting for more.
            let _ = tcp.set_nodelay(true);
            let stall = Stall { most: self.stall, since: None };
            let stopping = stopping.clone();
            return (Connection { tcp, stall, place, linger: None, stopping }, peer);
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

impl Stall {
    /// What came of a write, unless nothing has been taken for too long.
    pub(crate) fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.since = None;
            return written;
        }
        let most = self.most;
        let since = self.since.get_or_insert_with(|| Box::pin(sleep(most)));
        ready!(since.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.stall.written(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, linger, stopping, .. } = &mut *self;
        if linger.is_none() {
            ready!(Pin::new(&mut *tcp).poll_shutdown(context))?;
        }
        let linger = linger.get_or_insert_with(|| Box::new(Linger::new(*stopping.borrow())));
        linger.poll(tcp, context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write_vectored(context, parts);
        self.stall.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

/// Connections that have a place before anybody takes them: after a start all clients come back at
/// once, and one that finds no place tries again only after a second.
const BACKLOG: u32 = 4_096;

/// Listens at this address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that is started again takes its address back at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::listen;

    #[tokio::test]
    async fn who_comes_before_the_server_takes_any_has_a_place() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        // Without a place it would be tried again and again until somebody is taken.
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(30)).unwrap();
        let all: Vec<_> = (0..400).map(connect).collect();
        assert_eq!(all.len(), 400);
    }
}
