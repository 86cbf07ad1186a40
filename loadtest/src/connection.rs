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
    pub(crate) async fn open(&mut self) -> io::Result<()> {
        self.stream = Some(self.taken().await?);
        Ok(())
    }

    /// Sends a request and reads its answer whole; answers its status. Whoever gives up on it before
    /// gives up the connection, too: what comes on it later is no answer of the next request.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<u16> {
        let mut stream = self.taken().await?;
        stream.write_all(request).await?;
        let head = self.answer(&mut stream).await?;
        self.stream = (!head.closes).then_some(stream);
        Ok(head.status)
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

    /// The connection, which is kept no longer, or a new one.
    async fn taken(&mut self) -> io::Result<TcpStream> {
        let is_idle = self.used.elapsed() > IDLE;
        self.used = Instant::now();
        // What the server has closed meanwhile would break with a request on it.
        if let Some(stream) = self.stream.take().filter(|stream| !is_idle || is_quiet(stream)) {
            return Ok(stream);
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Reads an answer whole.
    async fn answer(&mut self, stream: &mut TcpStream) -> io::Result<Head> {
        self.answer.clear();
        let body = loop {
            self.read(stream).await?;
            if let Some(at) = find(&self.answer, b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = Head::read(&self.answer[..body]).ok_or(ErrorKind::InvalidData)?;
        self.body = matches!(head.length, Length::Known(_)).then_some(body);
        match head.length {
            Length::Known(length) => {
                while self.answer.len() < body + length {
                    self.read(stream).await?;
                }
            }
            Length::Chunked => {
                while !self.answer[body..].ends_with(b"0\r\n\r\n") {
                    self.read(stream).await?;
                }
            }
        }
        Ok(head)
    }

    async fn read(&mut self, stream: &mut TcpStream) -> io::Result<()> {
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
    use super::{Connection, Head, Length};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_answer_that_nobody_waited_for_is_none_of_the_next_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = Connection::new(listener.local_addr().unwrap());
        let (first, second) = (b"GET /1 HTTP/1.1\r\n\r\n", b"GET /2 HTTP/1.1\r\n\r\n");
        let mut said = [0; 18];
        let mut late = tokio::select! {
            sent = connection.send(first) => panic!("{sent:?}"),
            taken = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_exact(&mut said).await.unwrap();
                stream
            } => taken,
        };
        // Whoever is asked has not heard yet that nobody waits.
        let _ = late.write_all(b"HTTP/1.1 201 Created\r\n\r\n").await;
        let answers = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut said).await.unwrap();
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.unwrap();
        };
        let status = tokio::select! {
            status = connection.send(second) => status.unwrap(),
            () = async { answers.await; std::future::pending().await } => unreachable!(),
        };
        assert_eq!(status, 404);
    }

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
