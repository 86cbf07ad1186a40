//! What a mail server says, kept within bounds: lettre reads a reply up to its end, whether it has
//! one or not, and gives up on words that are not UTF-8, whatever their code says.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection to a mail server, encrypted or not.
#[derive(Debug)]
pub(super) struct Replies<S> {
    stream: S,
    peer: SocketAddr,
    /// What is read first, in the server's place.
    greeting: &'static [u8],
    /// So many bytes it may still say before it is told something.
    left: usize,
}

/// Replies are no longer, with all their lines.
const REPLY_BYTES_MAX: usize = 128 << 10;
/// What stands for a byte of words in another charset.
const UNKNOWN: u8 = b'?';

impl<S> Replies<S> {
    /// Of a server that is about to greet.
    pub(super) fn new(stream: S, peer: SocketAddr) -> Self {
        Self { stream, peer, greeting: b"", left: REPLY_BYTES_MAX }
    }

    /// Of one that has greeted, and does not do so once more.
    pub(super) fn greeted(stream: S, peer: SocketAddr) -> Self {
        Self { greeting: b"220 it greeted before\r\n", ..Self::new(stream, peer) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replies<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.greeting.is_empty() {
            let (now, later) = self.greeting.split_at(self.greeting.len().min(buf.remaining()));
            buf.put_slice(now);
            self.greeting = later;
            return Poll::Ready(Ok(()));
        }
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("the mail server's reply does not end")));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = &mut buf.filled_mut()[before..];
        read.iter_mut().filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = UNKNOWN);
        self.left = self.left.saturating_sub(read.len());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replies<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.left = REPLY_BYTES_MAX;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream
    for Replies<S>
{
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
