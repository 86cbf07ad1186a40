//! One keep-alive connection, plain HTTP/1.1: as little work as possible, so that the server is
//! what is measured.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A connection that is made when it is needed, and again after it broke.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    used: Instant,
    answer: Vec<u8>,
    /// Where the body of the last answer begins, unless it came in chunks.
    body: Option<usize>,
}

/// After so long without a request a connection is looked at before the next.
const IDLE: Duration = Duration::from_millis(50);
/// The most that an answer may have.
const ANSWER_MAX: usize = 1 << 20;

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            used: Instant::now(),
            answer: Vec::with_capacity(4096),
            body: None,
        }
    }

    /// Connects, unless it is connected.
    pub(crate) async fn open(&mut self) -> io::Result<&mut TcpStream> {
        let is_idle = self.used.elapsed() > IDLE;
        self.used = Instant::now();
        // What the server has closed meanwhile would break with a request on it.
        let stream = match self.stream.take().filter(|stream| !is_idle || is_quiet(stream)) {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        Ok(self.stream.insert(stream))
    }

    /// Sends a request and reads its answer whole; answers its status.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        let sent = self.exchange(request).await;
        if !matches!(sent, Ok((_, true))) {
            self.stream = None;
        }
        sent.map(|(status, _)| status)
    }

    /// Asks for a path and reads its answer whole; answers its body if its status is 200.
    pub(crate) async fn get(&mut self, host: &str, path: &str, token: &str) -> io::Result<&[u8]> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             user-agent: omnistream-loadtest\r\n\r\n"
        );
        self.ask(path, &request).await
    }

    /// Posts JSON to a path and reads its answer whole; answers its body if its status is 2xx.
    pub(crate) async fn post(
        &mut self,
        host: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> io::Result<&[u8]> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             user-agent: omnistream-loadtest\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        self.ask(path, &request).await
    }

    async fn ask(&mut self, path: &str, request: &str) -> io::Result<&[u8]> {
        match (self.send(request.as_bytes()).await?, self.body) {
            (200..300, Some(body)) => Ok(&self.answer[body..]),
            (200..300, None) => Err(io::Error::other(format!("{path} is answered in chunks"))),
            (status, body) => {
                let body = body.map_or(&[][..], |body| &self.answer[body..]);
                let words = String::from_utf8_lossy(body);
                Err(io::Error::other(format!("{path} is answered {status}: {words}")))
            }
        }
    }

    /// The status, and whether the connection may be used again.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, bool)> {
        self.open().await?.write_all(request).await?;
        self.answer.clear();
        let body = loop {
            self.read().await?;
            if let Some(at) = find(&self.answer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = Head::read(&self.answer[..body]).ok_or(ErrorKind::InvalidData)?;
        self.body = matches!(head.length, Length::Known(_)).then_some(body);
        match head.length {
            Length::Known(length) => {
                while self.answer.len() < body + length {
                    self.read().await?;
                }
            }
            Length::Chunked => {
                while !self.answer[body..].ends_with(b"0\r\n\r\n") {
                    self.read().await?;
                }
            }
        }
        Ok((head.status, !head.closes))
    }

    async fn read(&mut self) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        let read = stream.read_buf(&mut self.answer).await?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if self.answer.len() > ANSWER_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        Ok(())
    }
}

struct Head {
    status: u16,
    length: Length,
    closes: bool,
}

enum Length {
    Known(usize),
    Chunked,
}

impl Head {
    fn read(head: &[u8]) -> Option<Self> {
        let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let mut head = Self { status, length: Length::Known(0), closes: false };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                head.length = Length::Known(value.parse().ok()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.length = Length::Chunked;
            } else if name.eq_ignore_ascii_case("connection") {
                head.closes = value.eq_ignore_ascii_case("close");
            }
        }
        Some(head)
    }
}

/// Whether nothing came on a connection, its end neither.
fn is_quiet(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::{Head, Length};

    #[test]
    fn a_head_tells_status_length_and_whether_the_connection_ends() {
        let head = Head::read(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n").unwrap();
        assert!(matches!(head, Head { status: 200, length: Length::Known(12), closes: false }));
        let head = Head::read(
            b"HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
        )
        .unwrap();
        assert!(matches!(head, Head { status: 503, length: Length::Chunked, closes: true }));
    }

    #[test]
    fn what_is_no_answer_is_none() {
        assert!(Head::read(b"SSH-2.0-OpenSSH\r\n\r\n").is_none());
        assert!(Head::read(b"HTTP/1.1 two\r\n\r\n").is_none());
    }
}
