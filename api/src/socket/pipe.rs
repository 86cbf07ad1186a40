//! A websocket after its handshake: what the client says is read by the library, what goes out is
//! written past it. The frames of all sockets share their bytes, and a socket that was sent much
//! keeps no room for it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actors::feed::Encoding;
use axum::body::Bytes;
use futures_util::{Sink as _, SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::protocol::End;
use super::wire::Frame;

/// A websocket.
pub(super) struct Pipe {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    pub(super) encoding: Encoding,
    /// What is to be written, whole frames but the first.
    out: VecDeque<Bytes>,
    /// Some of the first was written.
    has_begun: bool,
    /// The client sent what is no message: what comes after it is not read as messages any more.
    is_deaf: bool,
}

/// Each waits with this much memory at the least.
const READ_BUFFER_BYTES: usize = 1024;
/// What the library writes by itself: pongs, and the close.
const WRITE_BUFFER_BYTES: usize = 256;
/// Frames that are written at once.
const PARTS: usize = 64;
/// So many waiting frames have a place that is kept.
const ROOM_KEPT: usize = 4;

impl Pipe {
    /// Over an upgraded connection; the client's messages have at most so many bytes.
    pub(super) async fn new(upgraded: Upgraded, encoding: Encoding, most: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(most))
            .max_frame_size(Some(most));
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        Self { socket, encoding, out: VecDeque::new(), has_begun: false, is_deaf: false }
    }

    /// What the client says next; `None`: it is there, and says nothing. Nothing is lost when it is
    /// dropped.
    pub(super) async fn hear(&mut self) -> Result<Option<Bytes>, End> {
        let message = match self.socket.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(self.is_broken_by(&error)),
            None => return Err(End::Gone),
        };
        match (message, self.encoding) {
            (Message::Text(text), Encoding::Json) => Ok(Some(text.into())),
            (Message::Binary(bytes), Encoding::MessagePack) => Ok(Some(bytes)),
            (Message::Text(_) | Message::Binary(_), _) => Err(End::WrongFrame),
            (Message::Ping(_) | Message::Pong(_) | Message::Frame(_), _) => Ok(None),
            (Message::Close(_), _) => {
                // The answer to it.
                let _ = self.socket.flush().await;
                Err(End::Gone)
            }
        }
    }

    /// What a websocket's end is called that breaks its rules (RFC 6455, 7.4.1).
    fn is_broken_by(&mut self, error: &Error) -> End {
        let end = match error {
            Error::Capacity(_) => End::TooBig,
            Error::Utf8(_) => End::NotText,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
            Error::Protocol(_) => End::NotWebsocket,
            _ => End::Gone,
        };
        self.is_deaf = end != End::Gone;
        end
    }

    /// Adds a frame to what is to be written.
    pub(super) fn push(&mut self, frame: Frame) {
        self.out.push_back(frame.into_bytes());
    }

    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// One write of what is to be written, as far as the other side takes it.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What the library has begun comes first.
        ready!(Pin::new(&mut self.socket).poll_flush(context)).map_err(io::Error::other)?;
        let mut parts = [IoSlice::new(&[]); PARTS];
        let count = self.out.len().min(PARTS);
        for (part, bytes) in parts.iter_mut().zip(&self.out) {
            *part = IoSlice::new(bytes);
        }
        let io = Pin::new(self.socket.get_mut());
        let written = ready!(io.poll_write_vectored(context, &parts[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.wrote(written);
        Poll::Ready(Ok(()))
    }

    /// Drops what was not begun to be written. Answers whether a frame was begun and not ended.
    pub(super) fn forget(&mut self) -> bool {
        self.out.truncate(usize::from(self.has_begun));
        self.has_begun
    }

    /// Writes a frame, and what is to be written before it.
    pub(super) async fn send(&mut self, frame: Frame) -> io::Result<()> {
        self.push(frame);
        while !self.is_empty() {
            poll_fn(|context| self.poll_write(context)).await?;
        }
        Ok(())
    }

    /// Says goodbye in the protocol's words and in the websocket's.
    pub(super) async fn close(&mut self, last: Frame, code: u16, reason: &'static str) {
        if self.send(last).await.is_err() {
            return;
        }
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        let _ = self.socket.send(Message::Close(Some(frame))).await;
        // The other side's answer, so that the connection ends in order.
        while let Some(Ok(_)) = self.socket.next().await {}
        // What is left unread would take the goodbye back.
        let mut rest = [0; 512];
        while self.is_deaf && self.socket.get_mut().read(&mut rest).await.is_ok_and(|read| read > 0)
        {
        }
    }

    fn wrote(&mut self, mut written: usize) {
        while let Some(first) = self.out.front_mut() {
            if written < first.len() {
                self.has_begun |= written > 0;
                drop(first.split_to(written));
                return;
            }
            written -= first.len();
            self.out.pop_front();
            self.has_begun = false;
        }
        self.out.shrink_to(ROOM_KEPT);
    }
}
