//! What goes out of a websocket, past the library: by its task, or by the feed while its task rests.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use actors::feed::Outlet;
use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::wire::Frame;
use crate::listener::Stall;

/// A connection, and what is to be written on it.
pub(super) struct Out {
    tcp: TcpStream,
    unwritten: Mutex<Unwritten>,
    _place: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Unwritten {
    /// Whole frames but the first.
    frames: VecDeque<Bytes>,
    /// Some of the first was written.
    has_begun: bool,
}

/// The same connection, as the library reads and writes it.
pub(super) struct Io {
    out: Arc<Out>,
    stall: Stall,
}

/// Frames that are written at once.
const PARTS: usize = 64;
/// So many waiting frames have a place that is kept.
const ROOM_KEPT: usize = 4;

impl Out {
    pub(super) fn new(tcp: TcpStream, place: OwnedSemaphorePermit) -> Self {
        Self { tcp, unwritten: Mutex::default(), _place: place }
    }

    /// How much is to be written.
    pub(super) fn bytes(&self) -> usize {
        self.unwritten().frames.iter().map(Bytes::len).sum()
    }

    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.unwritten().frames.is_empty()
    }

    /// Drops what was not begun to be written. Answers whether a frame was begun and not ended.
    pub(super) fn forget(&self) -> bool {
        let mut unwritten = self.unwritten();
        let has_begun = unwritten.has_begun;
        unwritten.frames.truncate(usize::from(has_begun));
        has_begun
    }

    /// One write of what is to be written, as far as the other side takes it.
    pub(super) fn poll_write(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.tcp.poll_write_ready(context))?;
            match self.unwritten().write(&self.tcp) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet<Frame> for Out {
    fn push(&self, frame: Frame) {
        let mut unwritten = self.unwritten();
        #[cfg(debug_assertions)]
        let written = crate::fault::frames(frame, std::ptr::from_ref(self).addr());
        #[cfg(not(debug_assertions))]
        let written = [frame];
        unwritten.frames.extend(written.into_iter().map(Frame::into_bytes));
    }

    fn write(&self) -> bool {
        let mut unwritten = self.unwritten();
        // What fails fails again where the socket's task writes.
        while !unwritten.frames.is_empty() && unwritten.write(&self.tcp).is_ok() {}
        unwritten.frames.is_empty()
    }
}

impl Unwritten {
    fn write(&mut self, tcp: &TcpStream) -> io::Result<()> {
        let written = match self.frames.len() {
            0 => return Ok(()),
            1 => tcp.try_write(&self.frames[0])?,
            count => {
                let mut parts = [IoSlice::new(&[]); PARTS];
                for (part, bytes) in parts.iter_mut().zip(&self.frames) {
                    *part = IoSlice::new(bytes);
                }
                tcp.try_write_vectored(&parts[..count.min(PARTS)])?
            }
        };
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        self.wrote(written);
        Ok(())
    }

    fn wrote(&mut self, mut written: usize) {
        while let Some(first) = self.frames.front_mut() {
            if written < first.len() {
                self.has_begun |= written > 0;
                drop(first.split_to(written));
                return;
            }
            written -= first.len();
            self.frames.pop_front();
            self.has_begun = false;
        }
        self.frames.shrink_to(ROOM_KEPT);
    }
}

impl Io {
    pub(super) fn new(out: Arc<Out>, stall: Stall) -> Self {
        Self { out, stall }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tcp = &self.out.tcp;
        loop {
            ready!(tcp.poll_read_ready(context))?;
            match tcp.try_read(into.initialize_unfilled()) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|read| into.advance(read))),
            }
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let tcp = &self.out.tcp;
        let written = loop {
            match tcp.poll_write_ready(context) {
                Poll::Ready(Ok(())) => match tcp.try_write(bytes) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    written => break Poll::Ready(written),
                },
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.stall.written(context, written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // There is no buffer in between.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It ends when it is dropped.
        Poll::Ready(Ok(()))
    }
}
