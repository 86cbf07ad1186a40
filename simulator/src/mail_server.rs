//! A mail server that takes what the business sends (SMTP, RFC 5321 and 4954; over TLS, RFC 3207 and
//! 8314) and keeps it.

mod session;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::session::serve;
use crate::letter::Letter;

/// A running mail server. It ends when it is dropped.
pub struct MailServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

/// What a mail server asks for.
#[derive(Clone, Debug)]
pub struct MailServerOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Name and password without which nothing is taken.
    pub login: Option<(String, String)>,
    /// How long a recipient that ends in `-slow` waits.
    pub slow: Duration,
    pub encryption: Encryption,
}

/// How connections are encrypted, with the certificate by which it is known. Unencrypted nothing is
/// taken then.
#[derive(Clone, Debug, Default)]
pub enum Encryption {
    /// Not at all.
    #[default]
    None,
    /// Once they are there (STARTTLS).
    StartTls(Arc<ServerConfig>),
    /// From their first byte.
    Tls(Arc<ServerConfig>),
}

struct Shared {
    encryption: Encryption,
    login: Mutex<Option<(String, String)>>,
    slow: Duration,
    /// By recipient, how often a mail for it was begun.
    tries: Mutex<HashMap<String, u32>>,
    letters: watch::Sender<Vec<Letter>>,
}

/// What happens to a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Take,
    /// Said to the recipient, so often.
    Refuse(&'static str, u32),
    /// Said to the content.
    RefuseContent(&'static str),
    /// Taken, and the connection is closed without an answer.
    Drop,
    /// Not taken, and the connection is closed within the content.
    Lose,
    /// Taken, and answered late.
    Slow,
    /// Taken, and never answered.
    Silence,
}

const ALWAYS: u32 = u32::MAX;
/// By the end of the recipient's name.
const TABLE: [(&str, Fate); 8] = [
    ("-421", Fate::Refuse("421 4.3.2 too busy", 2)),
    ("-450", Fate::Refuse("450 4.2.0 greylisted, come back", 2)),
    ("-550", Fate::Refuse("550 5.1.1 there is nobody of this name", ALWAYS)),
    ("-554", Fate::RefuseContent("554 5.7.1 this is spam")),
    ("-dropped", Fate::Drop),
    ("-lost", Fate::Lose),
    ("-slow", Fate::Slow),
    ("-silent", Fate::Silence),
];
/// So many of the newest mails are kept.
const LETTERS_MAX: usize = 10_000;
/// Recipients whose tries are counted; beyond it counting starts anew.
const COUNTED: usize = 10_000;

impl Default for MailServerOptions {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let (slow, encryption) = (Duration::from_secs(2), Encryption::None);
        Self { listen, login: None, slow, encryption }
    }
}

impl MailServer {
    /// Starts one.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub async fn start(options: MailServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            encryption: options.encryption,
            login: Mutex::new(options.login),
            slow: options.slow,
            tries: Mutex::default(),
            letters: watch::Sender::new(Vec::new()),
        });
        let of = shared.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = of.clone();
                tokio::spawn(async move {
                    // Whoever leaves is not missed.
                    let _ = serve(stream, shared).await;
                });
            }
        });
        Ok(Self { address, shared, serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as an account names it, with the login that it asks for.
    pub fn url(&self) -> String {
        let login = self.shared.login();
        let login = login.as_ref().map(|(name, password)| format!("{name}:{password}@"));
        let scheme = match self.shared.encryption {
            Encryption::Tls(_) => "smtps",
            Encryption::None | Encryption::StartTls(_) => "smtp",
        };
        format!("{scheme}://{}{}", login.unwrap_or_default(), self.address)
    }

    /// It asks for another login from now on.
    pub fn set_login(&self, login: Option<(String, String)>) {
        *self.shared.login() = login;
    }

    /// What it has taken.
    pub fn letters(&self) -> Vec<Letter> {
        self.shared.letters.borrow().clone()
    }

    /// What it has taken, once that is so much.
    pub async fn letters_when(&self, so_many: usize) -> Vec<Letter> {
        let mut letters = self.shared.letters.subscribe();
        match letters.wait_for(|letters| letters.len() >= so_many).await {
            Ok(letters) => letters.clone(),
            // It holds the sender itself.
            Err(_) => Vec::new(),
        }
    }

    /// How often a mail for somebody was begun.
    pub fn tries(&self, recipient: &str) -> u32 {
        self.shared.tries().get(recipient).copied().unwrap_or_default()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    fn login(&self) -> MutexGuard<'_, Option<(String, String)>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tries(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to a mail for this recipient, by how often one came before.
    fn fate(&self, recipient: &str) -> Fate {
        let mut tries = self.tries();
        if tries.len() >= COUNTED {
            tries.clear();
        }
        let tries = tries.entry(recipient.to_owned()).or_default();
        *tries += 1;
        let name = recipient.split('@').next().unwrap_or_default();
        match TABLE.iter().find(|(end, _)| name.ends_with(end)) {
            Some((_, Fate::Refuse(_, times))) if *tries > *times => Fate::Take,
            Some((_, fate)) => *fate,
            None => Fate::Take,
        }
    }

    fn take(&self, letter: Letter) {
        self.letters.send_modify(|letters| {
            if letters.len() >= LETTERS_MAX {
                letters.remove(0);
            }
            letters.push(letter);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpStream;

    use super::{ALWAYS, Fate, MailServer, MailServerOptions, TABLE};

    #[test]
    fn every_row_is_in_the_documented_table() {
        for (end, fate) in TABLE {
            let row = crate::FAILURES.lines().find(|line| line.starts_with(&format!("| {end} ")));
            let row = row.unwrap_or_else(|| panic!("{end} is not in failures.md"));
            let tries = match fate {
                Fate::Refuse(_, times) if times != ALWAYS => times.to_string(),
                _ => "always".to_owned(),
            };
            assert!(row.contains(&format!("| {tries:<6} |")), "{end}");
        }
    }

    /// Says these lines, each when the one before was answered. Answers the first three signs of
    /// each answer.
    async fn say(server: &MailServer, lines: &[&str]) -> Vec<String> {
        let (read, mut write) = TcpStream::connect(server.address()).await.unwrap().into_split();
        let mut answers = BufReader::new(read).lines();
        assert!(answers.next_line().await.unwrap().unwrap().starts_with("220"));
        let mut said = Vec::new();
        for line in lines {
            write.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
            loop {
                let Some(answer) = answers.next_line().await.unwrap_or(None) else { return said };
                if answer.as_bytes()[3] == b' ' {
                    said.push(answer[..3].to_owned());
                    break;
                }
            }
        }
        said
    }

    #[tokio::test]
    async fn a_mail_is_taken_as_it_was_sent_without_the_dots_of_the_protocol() {
        let server = MailServer::start(MailServerOptions::default()).await.unwrap();
        let lines = ["EHLO x", "MAIL FROM:<shop@example.com>", "RCPT TO:<mei@example.org>", "DATA"];
        let content = "Subject: x\r\n\r\n..\r\n...a\r\n.";
        let mut all = lines.to_vec();
        all.push(content);
        assert_eq!(say(&server, &all).await, ["250", "250", "250", "354", "250"]);
        let [letter] = &server.letters_when(1).await[..] else { panic!("one") };
        assert_eq!(letter.raw, b"Subject: x\r\n\r\n.\r\n..a\r\n");
        assert_eq!(letter.to, ["mei@example.org"]);
    }

    #[tokio::test]
    async fn who_has_not_logged_in_is_not_heard() {
        let login = Some(("shop".to_owned(), "s3cret".to_owned()));
        let options = MailServerOptions { login, ..MailServerOptions::default() };
        let server = MailServer::start(options).await.unwrap();
        let from = "MAIL FROM:<shop@example.com>";
        assert_eq!(say(&server, &["EHLO x", from]).await, ["250", "530"]);
        // \0shop\0s3cret, and one with another password.
        let (right, wrong) = ("AUTH PLAIN AHNob3AAczNjcmV0", "AUTH PLAIN AHNob3AAb3RoZXI=");
        assert_eq!(say(&server, &[wrong, from]).await, ["535", "530"]);
        assert_eq!(say(&server, &[right, from]).await, ["235", "250"]);
        let login = ["AUTH LOGIN", "c2hvcA==", "czNjcmV0", from];
        assert_eq!(say(&server, &login).await, ["334", "334", "235", "250"]);
    }

    #[tokio::test]
    async fn recipients_fail_as_the_table_says() {
        let server = MailServer::start(MailServerOptions::default()).await.unwrap();
        let begin = "MAIL FROM:<shop@example.com>";
        let to = |name: &str| format!("RCPT TO:<{name}@example.org>");
        for said in ["450", "450", "250"] {
            assert_eq!(say(&server, &[begin, &to("mei-450")]).await[1], said);
        }
        assert_eq!(say(&server, &[begin, &to("mei-421"), "NOOP"]).await, ["250", "421"]);
        assert_eq!(say(&server, &[begin, &to("mei-550"), "NOOP"]).await, ["250", "550", "250"]);
        let content =
            |name: &str| vec![begin.to_owned(), to(name), "DATA".to_owned(), "x\r\n.".to_owned()];
        for (name, answers, letters) in [("a-554", 4, 0), ("a-lost", 3, 0), ("a-dropped", 3, 1)] {
            let lines = content(name);
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            assert_eq!(say(&server, &lines).await.len(), answers, "{name}");
            assert_eq!(server.letters().len(), letters, "{name}");
        }
        assert_eq!(server.tries("mei-450@example.org"), 3);
    }
}
