//! Mails to their servers, and how much an error proves.

mod replies;

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::channel::email::{Delivered, Letter, Security, Smtp, Step};
use engine::id::TenantId;
use engine::saying::is_public;
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;

use self::replies::Replies;
use crate::turns::{Turn, Turns};

/// Speaks to mail servers, a connection for each mail. Clones are the same.
#[derive(Clone)]
pub struct Mailer {
    options: MailerOptions,
    tls: TlsConnector,
    /// Mails that lie in memory with their files.
    turns: Turns,
}

/// How mail servers are reached.
#[derive(Clone, Debug)]
pub struct MailerOptions {
    /// Servers that need not lie on the public internet, nor encrypt: `host:port`.
    pub private: Vec<String>,
    pub connect_timeout: Duration,
    /// Of each answer of a server.
    pub timeout: Duration,
    /// Of a mail's content, until the server has it.
    pub content_timeout: Duration,
    /// Bytes of the files of one mail.
    pub file_bytes: u64,
    /// Until these are there.
    pub files_timeout: Duration,
    /// Mails with files that are made and sent at once.
    pub with_files: usize,
}

/// A mail server that waits for the content of a mail.
pub struct Ready(AsyncSmtpConnection);

/// Ways of login, the preferred first.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
/// A server that has taken a mail is not waited for any longer to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// All answers before the content may take as long as so many of them.
const ANSWERS: u32 = 4;

impl Mailer {
    /// With these options.
    ///
    /// # Errors
    /// When TLS cannot be set up on this machine.
    pub fn new(options: MailerOptions) -> Result<Self, rustls::Error> {
        // A second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = TlsConnector::from(Arc::new(ClientConfig::with_platform_verifier()?));
        let turns = Turns::new(options.with_files);
        Ok(Self { options, tls, turns })
    }

    /// A place for a mail with files.
    pub(crate) async fn place(&self, tenant: TenantId) -> Turn {
        self.turns.take(tenant, 0).await
    }

    /// How many bytes the files of a mail may have, and until when they are there.
    pub(crate) fn files(&self) -> (usize, Duration) {
        let most = usize::try_from(self.options.file_bytes).unwrap_or(usize::MAX);
        (most, self.options.files_timeout)
    }

    /// Whether a server takes mails of this address.
    pub async fn greet(&self, smtp: &Smtp, address: &str) -> Delivered {
        match self.connected(smtp, address).await {
            Ok(mut connection) => {
                let _ = timeout(GOODBYE, connection.quit()).await;
                Delivered::Taken
            }
            Err(ended) => ended,
        }
    }

    /// Has a mail's server wait for its content. Whoever gives up before it does has sent nothing.
    pub async fn begin(&self, smtp: &Smtp, letter: &Letter) -> Result<Ready, Delivered> {
        debug!(server = ?smtp, "hands over a mail");
        let begun = timeout(self.options.timeout * ANSWERS, self.begun(smtp, letter)).await;
        let begun = begun.unwrap_or_else(|_| Err(late(Step::Sender)));
        begun.inspect_err(|ended| debug!(?ended, "the mail server has nothing of the mail"))
    }

    async fn begun(&self, smtp: &Smtp, letter: &Letter) -> Result<Ready, Delivered> {
        let mut connection = self.connected(smtp, &letter.from).await?;
        let address = |address: &str, at| {
            let parsed: Result<Address, _> = address.parse();
            parsed.map_err(|_| refused(at, 553, "5.1.3 this is no address for a mail"))
        };
        let mut parameters = Vec::new();
        if !letter.from.is_ascii() || letter.to.iter().any(|to| !to.is_ascii()) {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                let words = "5.6.7 the mail server takes no address with such letters";
                return Err(refused(Step::Recipient, 553, words));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let from = Mail::new(Some(address(&letter.from, Step::Sender)?), parameters);
        self.step(Step::Sender, connection.command(from)).await?;
        for to in &letter.to {
            let to = Rcpt::new(address(to, Step::Recipient)?, Vec::new());
            self.step(Step::Recipient, connection.command(to)).await?;
        }
        self.step(Step::Content, connection.command(Data)).await?;
        Ok(Ready(connection))
    }

    /// Hands over the content, once. From here on it may be there, unless the server says that it
    /// is not.
    pub async fn hand_over(&self, Ready(mut connection): Ready, letter: &Letter) -> Delivered {
        let sent = timeout(self.options.content_timeout, connection.message(&letter.raw)).await;
        let ended = match sent {
            Ok(Ok(_)) => {
                let _ = timeout(GOODBYE, connection.quit()).await;
                Delivered::Taken
            }
            Ok(Err(error)) => said(Step::Content, &error).unwrap_or_else(|| {
                let reason = "the connection to the mail server broke behind the mail";
                Delivered::PerhapsSent(reason.to_owned())
            }),
            Err(_) => {
                let reason = "the mail server did not say in time whether it has the mail";
                Delivered::PerhapsSent(reason.to_owned())
            }
        };
        debug!(?ended, "the mail server has been given the mail");
        ended
    }

    /// A connection on which a mail can begin.
    async fn connected(&self, smtp: &Smtp, from: &str) -> Result<AsyncSmtpConnection, Delivered> {
        let is_private = self.is_private(smtp);
        let addresses = self.addresses(smtp, is_private).await?;
        self.opened(smtp, from, (&addresses, is_private)).await
    }

    /// One to these addresses, encrypted unless the operator trusts the server.
    async fn opened(
        &self,
        smtp: &Smtp,
        from: &str,
        (addresses, is_private): (&[SocketAddr], bool),
    ) -> Result<AsyncSmtpConnection, Delivered> {
        let hello = hello(from);
        let (stream, peer) = self.stream(addresses).await?;
        let mut connection = match smtp.security {
            Security::Tls => {
                let stream = self.encrypted(&smtp.host, stream).await?;
                self.greeted(Replies::new(stream, peer), &hello).await?
            }
            Security::StartTls => {
                let (stream, same) = twice(stream).map_err(|_| unreachable())?;
                let mut connection = self.greeted(Replies::new(stream, peer), &hello).await?;
                if connection.can_starttls() {
                    self.step(Step::Greeting, connection.command(Starttls)).await?;
                    // With what the server, or somebody in between, said too early.
                    drop(connection);
                    let stream = self.encrypted(&smtp.host, same).await?;
                    self.greeted(Replies::greeted(stream, peer), &hello).await?
                } else if is_private {
                    connection
                } else {
                    let words = "5.7.10 the mail server does not encrypt; use one that does";
                    return Err(refused(Step::Login, 538, words));
                }
            }
        };
        if let Some((name, password)) = &smtp.login {
            if connection.server_info().get_auth_mechanism(&MECHANISMS).is_none() {
                let words = "5.7.4 the mail server offers no way of login that is known here";
                return Err(refused(Step::Login, 504, words));
            }
            let login = Credentials::new(name.clone(), password.clone());
            self.step(Step::Login, connection.auth(&MECHANISMS, &login)).await?;
        }
        Ok(connection)
    }

    /// Whether the operator trusts a server wherever it lies.
    fn is_private(&self, smtp: &Smtp) -> bool {
        let server = format!("{}:{}", smtp.host, smtp.port);
        self.options.private.contains(&server)
    }

    /// Where a server is: on the public internet, unless it is known. What is found here is what is
    /// connected to.
    async fn addresses(&self, smtp: &Smtp, anywhere: bool) -> Result<Vec<SocketAddr>, Delivered> {
        let unknown = || not_sent(Step::Greeting, "the mail server cannot be found");
        let found = tokio::net::lookup_host((smtp.host.as_str(), smtp.port));
        let found = timeout(self.options.connect_timeout, found).await;
        let found = found.map_err(|_| unknown())?.map_err(|_| unknown())?;
        let found: Vec<SocketAddr> = found.collect();
        if found.is_empty() {
            return Err(unknown());
        }
        if !anywhere && !found.iter().all(|address| is_public(address.ip())) {
            let words = "5.4.4 the mail server lies in a private network; the operator of this \
                         server can allow it by `mail.private_servers`";
            return Err(refused(Step::Greeting, 550, words));
        }
        Ok(found)
    }

    /// A connection to the first of these addresses at which somebody is.
    async fn stream(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), Delivered> {
        let connecting = async {
            for address in addresses {
                let stream = TcpStream::connect(address);
                if let Ok(Ok(stream)) = timeout(self.options.connect_timeout, stream).await {
                    // Or the end of a mail waits until what is before it has arrived.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, *address));
                }
            }
            Err(unreachable())
        };
        timeout(self.options.timeout, connecting).await.unwrap_or_else(|_| Err(unreachable()))
    }

    async fn encrypted(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Delivered> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| unreachable())?;
        match timeout(self.options.timeout, self.tls.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                debug!(%error, "a mail server's encryption failed");
                Err(not_sent(Step::Greeting, unencrypted(&error)))
            }
            Err(_) => Err(late(Step::Greeting)),
        }
    }

    /// Somebody who has heard a server's greeting, and answered it.
    async fn greeted(
        &self,
        stream: impl AsyncTokioStream + 'static,
        hello: &ClientId,
    ) -> Result<AsyncSmtpConnection, Delivered> {
        let greeting = AsyncSmtpConnection::connect_with_transport(Box::new(stream), hello);
        self.step(Step::Greeting, greeting).await
    }

    /// A step before the content: whatever goes wrong there, the server has nothing.
    async fn step<T>(
        &self,
        at: Step,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Delivered> {
        match timeout(self.options.timeout, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(said(at, &error).unwrap_or_else(|| {
                debug!(%error, "a step of a delivery failed");
                not_sent(at, "the mail server cannot be reached")
            })),
            Err(_) => Err(late(at)),
        }
    }
}

/// A connection, and itself once more: what holds it does not give it back.
fn twice(stream: TcpStream) -> io::Result<(TcpStream, TcpStream)> {
    let stream = stream.into_std()?;
    let same = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, TcpStream::from_std(same)?))
}

/// Why a connection is not encrypted.
fn unencrypted(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(_)) => {
            "the mail server's certificate cannot be trusted: it is over, for another name, or of an \
             authority that is not known here"
        }
        Some(_) => {
            "no encryption comes about with the mail server; `smtps://` means TLS from the first \
             byte, `smtp://` STARTTLS"
        }
        None => "the mail server cannot be reached",
    }
}

/// The server's own no, if it is one.
fn said(at: Step, error: &Error) -> Option<Delivered> {
    let code = error.status()?.to_string().parse().ok()?;
    let words = error.source().map(ToString::to_string).unwrap_or_default();
    Some(refused(at, code, &words))
}

fn refused(at: Step, code: u16, words: &str) -> Delivered {
    Delivered::Refused { at, code, words: words.to_owned() }
}

fn not_sent(at: Step, reason: &str) -> Delivered {
    Delivered::NotSent { at, reason: reason.to_owned() }
}

fn unreachable() -> Delivered {
    not_sent(Step::Greeting, "the mail server cannot be reached")
}

fn late(at: Step) -> Delivered {
    not_sent(at, "the mail server did not answer in time")
}

/// As whom this server greets: the domain in whose name it writes.
fn hello(from: &str) -> ClientId {
    let domain = from.rsplit_once('@').map(|(_, domain)| domain.to_owned());
    let is_name =
        |domain: &String| domain.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
    domain.filter(is_name).map_or_else(ClientId::default, ClientId::Domain)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use engine::channel::email::{Delivered, Smtp, Step};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::{Mailer, MailerOptions};

    #[tokio::test]
    async fn to_a_server_that_does_not_encrypt_nothing_is_said_unless_the_operator_trusts_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(b"220 here\r\n").await.unwrap();
                let mut said = [0; 1024];
                while let Ok(read @ 1..) = stream.read(&mut said).await {
                    hears.lock().unwrap().extend_from_slice(&said[..read]);
                    let answer = match said.starts_with(b"AUTH") {
                        true => "235 welcome\r\n",
                        false => "250-here\r\n250 AUTH PLAIN\r\n",
                    };
                    // Whoever does not understand it leaves.
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        let patience = Duration::from_secs(60);
        let mailer = Mailer::new(MailerOptions {
            private: Vec::new(),
            connect_timeout: patience,
            timeout: patience,
            content_timeout: patience,
            file_bytes: 1,
            files_timeout: patience,
            with_files: 1,
        })
        .unwrap();
        let opened = async |scheme: &str, is_private: bool| {
            let smtp = Smtp::read(&format!("{scheme}://shop:s3cret@{address}")).unwrap();
            mailer.opened(&smtp, "shop@example.com", (&[address], is_private)).await.err()
        };
        let refused = opened("smtp", false).await;
        let Some(Delivered::Refused { at: Step::Login, code: 538, words }) = &refused else {
            panic!("{refused:?}")
        };
        assert!(words.contains("does not encrypt"), "{words}");
        for is_private in [false, true] {
            let refused = opened("smtps", is_private).await;
            let Some(Delivered::NotSent { at: Step::Greeting, reason }) = &refused else {
                panic!("{refused:?}")
            };
            assert!(reason.contains("no encryption comes about"), "{reason}");
        }
        let is_given = || heard.lock().unwrap().windows(4).any(|said| said == b"AUTH");
        assert!(!is_given(), "no password without encryption");
        assert_eq!(opened("smtp", true).await, None);
        assert!(is_given());
    }
}
