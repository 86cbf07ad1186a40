//! The end of a connection whose client may still be writing. Closed with something unread it would be
//! reset, and the last answer lost with what the client had not read yet (RFC 9112, 9.6).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
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
    pub(crate) fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut room = [0; AT_ONCE];
        // From who never pauses there is always something to read, and no timer is looked at.
        while Instant::now() < self.until {
            let mut read = ReadBuf::new(&mut room);
            match Pin::new(&mut *from).poll_read(context, &mut read) {
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
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf, duplex};
    use tokio::time::{Instant, advance, sleep};

    use super::{Linger, MOST, STILL};

    /// How long a client is listened to that writes so often, for ever.
    async fn listened_to(every: Duration) -> Duration {
        let (mut client, mut server) = duplex(64);
        let writing = tokio::spawn(async move {
            loop {
                client.write_all(b"more").await.unwrap();
                sleep(every).await;
            }
        });
        let (mut linger, began) = (Linger::new(false), Instant::now());
        poll_fn(|context| linger.poll(&mut server, context)).await;
        writing.abort();
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_listened_to_until_it_is_still_or_for_half_a_minute() {
        assert_eq!(listened_to(2 * STILL).await.as_secs(), STILL.as_secs());
        assert_eq!(listened_to(STILL / 2).await.as_secs(), MOST.as_secs());
    }

    /// It writes as fast as it is read.
    struct Flood(usize);

    impl AsyncRead for Flood {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            self.0 += 1;
            // A task that reads without end is put off now and then.
            if self.0.is_multiple_of(128) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            into.put_slice(b"more");
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_never_pauses_is_listened_to_no_longer() {
        let (mut linger, mut flood) = (Linger::new(false), Flood(0));
        let before = poll_fn(|context| Poll::Ready(linger.poll(&mut flood, context))).await;
        assert!(before.is_pending() && flood.0 > 0);
        advance(MOST).await;
        let read = flood.0;
        let after = poll_fn(|context| Poll::Ready(linger.poll(&mut flood, context))).await;
        assert_eq!((after, flood.0), (Poll::Ready(()), read), "nothing more is read");
    }
}
