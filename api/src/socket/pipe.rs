//! A websocket after its handshake: what the client says is read by the library, what goes out is
//! written past it. The frames of all sockets share their bytes, and a socket that was sent much
//! keeps no room for it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use actors::feed::{Encoding, Outlet as _};
use axum::body::Bytes;
use futures_util::{Sink as _, SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::GOODBYE;
use super::out::{Io, Out};
use super::protocol::End;
use super::wire::Frame;
use crate::listener::Connection;

/// A websocket.
pub(super) struct Pipe {
    socket: WebSocketStream<Io>,
    pub(super) encoding: Encoding,
    out: Arc<Out>,
    /// The client sent what is no message: what comes after it is not read as messages any more.
    is_deaf: bool,
}

/// Each waits with this much memory at the least.
const READ_BUFFER_BYTES: usize = 1024;
/// What the library writes by itself: pongs, and the close.
const WRITE_BUFFER_BYTES: usize = 256;

impl Pipe {
    /// Over a connection from which this was read already; the client's messages have at most so many
    /// bytes.
    pub(super) async fn new(
        connection: Connection,
        read: Bytes,
        encoding: Encoding,
        most: usize,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(most))
            .max_frame_size(Some(most));
        let Connection { tcp, stall, place, .. } = connection;
        let out = Arc::new(Out::new(tcp, place));
        let (io, role) = (Io::new(out.clone(), stall), Role::Server);
        // A copy: what was read lies in the request's buffer, which is large.
        let socket =
            WebSocketStream::from_partially_read(io, read.to_vec(), role, Some(config)).await;
        Self { socket, encoding, out, is_deaf: false }
    }

    /// Where frames go, also while this side rests.
    pub(super) fn out(&self) -> Arc<Out> {
        self.out.clone()
    }

    /// What the client says next; `None`: it is there, and says nothing. Nothing is lost when it is
    /// dropped.
    pub(super) async fn hear(&mut self) -> Result<Option<Bytes>, End> {
        poll_fn(|context| self.poll_hear(context)).await
    }

    pub(super) fn poll_hear(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, End>> {
        let said = ready!(self.socket.poll_next_unpin(context));
        Poll::Ready(self.heard(said))
    }

    fn heard(&mut self, said: Option<Result<Message, Error>>) -> Result<Option<Bytes>, End> {
        let message = match said {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(self.is_broken_by(&error)),
            None => return Err(End::Gone),
        };
        match (message, self.encoding) {
            (Message::Text(text), Encoding::Json) => Ok(Some(text.into())),
            (Message::Binary(bytes), Encoding::MessagePack) => Ok(Some(bytes)),
            (Message::Text(_) | Message::Binary(_), _) => Err(End::WrongFrame),
            (Message::Ping(_) | Message::Pong(_) | Message::Frame(_), _) => Ok(None),
            (Message::Close(_), _) => Err(End::Gone),
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
        self.out.push(frame);
    }

    /// How much is to be written.
    pub(super) fn bytes(&self) -> usize {
        self.out.bytes()
    }

    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// One write of what is to be written, as far as the other side takes it.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What the library has begun comes first.
        ready!(Pin::new(&mut self.socket).poll_flush(context)).map_err(io::Error::other)?;
        self.out.poll_write(context)
    }

    /// Whether nothing is under way, so that what comes may be written from elsewhere. If not, the
    /// task is woken.
    pub(super) fn is_at_rest(&mut self, context: &mut Context<'_>) -> bool {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        matches!(flushed, Poll::Ready(Ok(()))) && self.out.is_empty()
    }

    /// Drops what was not begun to be written. Answers whether a frame was begun and not ended.
    pub(super) fn forget(&mut self) -> bool {
        self.out.forget()
    }

    /// Writes a frame, and what is to be written before it.
    pub(super) async fn send(&mut self, frame: Frame) -> io::Result<()> {
        self.push(frame);
        while !self.is_empty() {
            poll_fn(|context| self.poll_write(context)).await?;
        }
        Ok(())
    }

    /// Answers the other side's goodbye, if it said one.
    pub(super) async fn answer_close(&mut self) {
        let _ = timeout(GOODBYE, self.socket.flush()).await;
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
}
