//! What is said on one connection.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, empty,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Encryption, Fate, Shared};
use crate::letter::Letter;

/// A line has no more bytes.
const LINE_BYTES_MAX: u64 = 4_096;
/// A mail has no more bytes.
const MAIL_BYTES_MAX: usize = 64 << 20;

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    let stream: Box<dyn Stream> = match &shared.encryption {
        Encryption::Tls(tls) => Box::new(TlsAcceptor::from(tls.clone()).accept(stream).await?),
        Encryption::None | Encryption::StartTls(_) => Box::new(stream),
    };
    Session::new(stream, shared).run().await
}

/// One connection.
struct Session {
    stream: BufReader<Box<dyn Stream>>,
    shared: Arc<Shared>,
    /// Whether it has to be encrypted before anything is taken.
    is_open: bool,
    is_known: bool,
    from: Option<String>,
    to: Vec<String>,
    fate: Fate,
}

impl Session {
    fn new(stream: Box<dyn Stream>, shared: Arc<Shared>) -> Self {
        let is_open = matches!(shared.encryption, Encryption::StartTls(_));
        let (stream, to) = (BufReader::new(stream), Vec::new());
        Self { stream, shared, is_open, is_known: false, from: None, to, fate: Fate::Take }
    }

    async fn run(mut self) -> io::Result<()> {
        self.say("220 mx.example.net ready").await?;
        loop {
            let line = self.line().await?;
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    let more = if self.is_open { "250-STARTTLS\r\n" } else { "" };
                    let known = "250-mx.example.net\r\n250-SMTPUTF8\r\n";
                    self.say(&format!("{known}{more}250 AUTH PLAIN LOGIN")).await?;
                }
                "STARTTLS" if self.is_open => self.encrypt().await?,
                "HELO" | "NOOP" => self.say("250 mx.example.net").await?,
                "RSET" => {
                    self.begin(None);
                    self.say("250 2.0.0 done").await?;
                }
                "QUIT" => return self.say("221 2.0.0 bye").await,
                "AUTH" | "MAIL" if self.is_open => self.say("530 5.7.0 encrypt first").await?,
                "AUTH" => self.auth(rest).await?,
                "MAIL" if !self.may_write() => self.say("530 5.7.0 log in first").await?,
                "MAIL" => {
                    self.begin(path(rest));
                    self.say("250 2.1.0 yes").await?;
                }
                "RCPT" => {
                    if self.recipient(rest).await? {
                        return Ok(());
                    }
                }
                "DATA" if self.to.is_empty() => self.say("503 5.5.1 to whom?").await?,
                "DATA" => {
                    if self.data().await? {
                        return Ok(());
                    }
                }
                _ => self.say("500 5.5.2 what?").await?,
            }
        }
    }

    /// The connection goes on encrypted; what came before that does not count.
    async fn encrypt(&mut self) -> io::Result<()> {
        let Encryption::StartTls(tls) = self.shared.encryption.clone() else { return Ok(()) };
        self.say("220 2.0.0 go on").await?;
        let none: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(empty()));
        let plain = std::mem::replace(&mut self.stream, none).into_inner();
        let stream: Box<dyn Stream> = Box::new(TlsAcceptor::from(tls).accept(plain).await?);
        (self.stream, self.is_open) = (BufReader::new(stream), false);
        Ok(())
    }

    fn may_write(&self) -> bool {
        self.is_known || self.shared.login().is_none()
    }

    fn begin(&mut self, from: Option<String>) {
        (self.from, self.fate) = (from, Fate::Take);
        self.to.clear();
    }

    async fn auth(&mut self, how: &str) -> io::Result<()> {
        let given = match how.split_once(' ') {
            Some(("PLAIN", coded)) => decoded(coded).and_then(|plain| {
                let mut parts = plain.split('\0').skip(1).map(str::to_owned);
                Some((parts.next()?, parts.next()?))
            }),
            _ if how == "LOGIN" => {
                self.say("334 VXNlcm5hbWU6").await?;
                let name = self.line().await?;
                self.say("334 UGFzc3dvcmQ6").await?;
                let password = self.line().await?;
                let text = |line: &[u8]| decoded(String::from_utf8_lossy(line).trim());
                text(&name).zip(text(&password))
            }
            _ => return self.say("504 5.5.4 not in this way").await,
        };
        self.is_known = given.is_some() && *self.shared.login() == given;
        match self.is_known {
            true => self.say("235 2.7.0 welcome").await,
            false => self.say("535 5.7.8 name or password are wrong").await,
        }
    }

    /// Answers whether the connection is over.
    async fn recipient(&mut self, rest: &str) -> io::Result<bool> {
        let (Some(to), true) = (path(rest), self.from.is_some()) else {
            self.say("503 5.5.1 who writes?").await?;
            return Ok(false);
        };
        let fate = self.shared.fate(&to);
        if let Fate::Refuse(words, _) = fate {
            self.say(words).await?;
            return Ok(words.starts_with("421"));
        }
        if fate != Fate::Take {
            self.fate = fate;
        }
        self.to.push(to);
        self.say("250 2.1.5 yes").await?;
        Ok(false)
    }

    /// Answers whether the connection is over.
    async fn data(&mut self) -> io::Result<bool> {
        self.say("354 go on").await?;
        let mut raw = Vec::new();
        loop {
            let line = self.line().await?;
            if self.fate == Fate::Lose {
                return Ok(true);
            }
            if line == b".\r\n" {
                break;
            }
            raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if raw.len() > MAIL_BYTES_MAX {
                self.say("552 5.3.4 too large").await?;
                return Ok(true);
            }
        }
        let (from, to) = (self.from.clone().unwrap_or_default(), self.to.clone());
        let fate = self.fate;
        if let Fate::RefuseContent(words) = fate {
            self.say(words).await?;
            return Ok(false);
        }
        self.shared.take(Letter { from, to, raw });
        match fate {
            Fate::Drop => return Ok(true),
            Fate::Silence => {
                // Until the other side leaves.
                let _ = self.stream.read_u8().await;
                return Ok(true);
            }
            Fate::Slow => tokio::time::sleep(self.shared.slow).await,
            _ => {}
        }
        self.begin(None);
        self.say("250 2.0.0 taken").await?;
        Ok(false)
    }

    async fn say(&mut self, words: &str) -> io::Result<()> {
        self.stream.write_all(format!("{words}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    /// The next line, with its end.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
        match read {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

/// The address of `FROM:<a@b> ...`.
fn path(rest: &str) -> Option<String> {
    let (_, address) = rest.split_once('<')?;
    let (address, _) = address.split_once('>')?;
    Some(address.to_owned())
}

/// A text in base64.
fn decoded(coded: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(coded).ok()?).ok()
}
