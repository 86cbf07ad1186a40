//! A websocket as a client has it: just enough to listen cheaply.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

/// A connection from its handshake on.
pub(crate) struct WebSocket {
    stream: TcpStream,
    is_open: bool,
    /// What came of a frame that is not whole yet.
    begun: Vec<u8>,
}

/// What a read brought, in order.
pub(crate) enum Heard<'a> {
    /// The handshake is done.
    Open,
    /// A whole text.
    Text(&'a [u8]),
    /// The server closes, with a code and a reason.
    Close(String),
}

/// A frame, and how many bytes it took.
struct Frame<'a> {
    kind: u8,
    is_whole: bool,
    payload: &'a [u8],
    length: usize,
}

const CONTINUED: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl WebSocket {
    /// Asks for a websocket at a path.
    pub(crate) fn open(mut stream: TcpStream, host: &str, path: &str) -> io::Result<Self> {
        // Any 16 bytes will do: the server is of this machine, and no cache lies in between.
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-key: bG9hZHRlc3QgIGxvYWR0ZQ==\r\nsec-websocket-version: 13\r\n\
             user-agent: omnistream-loadtest\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        Ok(Self { stream, is_open: false, begun: Vec::new() })
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends a short text.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        self.send(TEXT, text.as_bytes())
    }

    /// Reads what is there, into a buffer that all sockets share.
    pub(crate) fn hear(
        &mut self,
        buffer: &mut [u8],
        mut heard: impl FnMut(&mut Self, Heard<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let kept = self.begun.len();
            if kept == buffer.len() {
                return Err(io::Error::other("the server sent a frame that is too long"));
            }
            buffer[..kept].copy_from_slice(&self.begun);
            let read = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (there, is_full) = (&buffer[..kept + read], kept + read == buffer.len());
            let used = self.take(there, &mut heard)?;
            self.begun.clear();
            self.begun.extend_from_slice(&there[used..]);
            // Less than was asked for is all that there was: the next read would only say so.
            if !is_full {
                return Ok(());
            }
        }
    }

    /// Takes all that is whole; answers how many bytes that was.
    fn take(
        &mut self,
        bytes: &[u8],
        heard: &mut impl FnMut(&mut Self, Heard<'_>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut used = 0;
        if !self.is_open {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                let line = String::from_utf8_lossy(line);
                return Err(io::Error::other(format!("no websocket: {line}")));
            }
            (self.is_open, used) = (true, end + 4);
            heard(self, Heard::Open)?;
        }
        while let Some(frame) = Frame::read(&bytes[used..]) {
            used += frame.length;
            match frame.kind {
                TEXT if frame.is_whole => heard(self, Heard::Text(frame.payload))?,
                TEXT | CONTINUED => return Err(io::Error::other("texts in parts are not read")),
                PING => self.send(PONG, frame.payload)?,
                CLOSE => {
                    let (code, reason) = frame.payload.split_at(frame.payload.len().min(2));
                    let code = code.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
                    let reason = String::from_utf8_lossy(reason);
                    heard(self, Heard::Close(format!("{code} {reason}")))?;
                }
                _ => {}
            }
        }
        Ok(used)
    }

    /// Sends a frame of less than 64 KiB. The mask is nothing: it is there for caches in between.
    fn send(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = Vec::with_capacity(payload.len() + 8);
        frame.push(0x80 | kind);
        match u8::try_from(payload.len()) {
            Ok(length) if length < 126 => frame.push(0x80 | length),
            _ => {
                let length = u16::try_from(payload.len()).map_err(io::Error::other)?;
                frame.push(0x80 | 126);
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame)
    }
}

impl<'a> Frame<'a> {
    /// The first of these bytes; `None`: it is not whole yet. Servers do not mask.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (payload_length, rest) = match second & 0x7F {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX), rest)
            }
            length => (usize::from(length), rest),
        };
        let payload = rest.get(..payload_length)?;
        let length = bytes.len() - rest.len() + payload_length;
        Some(Self { kind: first & 0x0F, is_whole: first & 0x80 != 0, payload, length })
    }
}

#[cfg(test)]
mod tests {
    use super::Frame;

    fn frame(payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x81];
        match payload {
            0..126 => bytes.push(u8::try_from(payload).unwrap()),
            126..65_536 => {
                bytes.push(126);
                bytes.extend_from_slice(&u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + payload, b'x');
        bytes
    }

    #[test]
    fn a_frame_of_any_length_is_read_once_it_is_whole() {
        for payload in [0, 1, 125, 126, 500, 65_535, 65_536, 100_000] {
            let mut bytes = frame(payload);
            let whole = bytes.len();
            assert!(Frame::read(&bytes[..whole - 1]).is_none(), "{payload}");
            bytes.push(0x81);
            let read = Frame::read(&bytes).unwrap();
            assert_eq!((read.kind, read.payload.len(), read.length), (1, payload, whole));
            assert!(read.is_whole);
        }
    }
}
