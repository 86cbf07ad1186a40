//! The end of a connection whose client may still be writing. Closed with something unread it would be
//! reset, and the last answer lost with what the client had not read yet (RFC 9112, 9.6).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Reads on after the last answer, and drops what it reads.
pub(crate) struct Linger {
    /// Nothing has come for too long.
    still: Pin<Box<Sleep>>,
    patience: Duration,
    until: Instant,
}

/// A client that writes nothing for so long is done.
const STILL: Duration = Duration::from_secs(1);
/// It is listened to for so long at most.
const MOST: Duration = Duration::from_secs(30);
const AT_ONCE: usize = 8 << 10;

impl Linger {
    /// A server that stops reads only what is there: whoever has nothing under way is not waited for.
    pub(crate) fn new(is_stopping: bool) -> Self {
        let patience = if is_stopping { Duration::ZERO } else { STILL };
        Self { still: Box::pin(sleep(patience)), patience, until: Instant::now() + MOST }
    }

    /// Ready when the client is done as well, or is waited for no more.
    pub(crate) fn poll(&mut self, tcp: &mut TcpStream, context: &mut Context<'_>) -> Poll<()> {
        let mut room = [0; AT_ONCE];
        loop {
            let mut read = ReadBuf::new(&mut room);
            match Pin::new(&mut *tcp).poll_read(context, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    let until = self.until.min(Instant::now() + self.patience);
                    self.still.as_mut().reset(until);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    ready!(self.still.as_mut().poll(context));
                    return Poll::Ready(());
                }
            }
        }
    }
}
