//! Mails of ours on their way to a mail server that answers by a script.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::desk::Desk;
use actors::mailer::{Mailer, MailerOptions};
use actors::outbox::{Outbox, OutboxOptions};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use engine::account::{Account, AccountStatus};
use engine::channel::email::Smtp;
use engine::channel::{Channel, Handle, Inbound, InboundMessage, Topic};
use engine::contact::IdentityKind;
use engine::conversation::Command;
use engine::id::ConversationId;
use engine::message::{Content, Message, MessageStatus};
use futures_util::StreamExt;
use futures_util::stream::repeat;
use storage::conversations::Conversations;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::{TENANT, account, admin};
use crate::mail_servers::with_file;
use crate::outbox::{Shop, at, files, mailer_options, options, outbox_of, shop, status};
use crate::sends::draft;

/// What a mail server does at a line that begins so; it takes all else.
pub(crate) type Script = &'static [(&'static str, &'static str)];

/// The connection is closed instead of an answer.
const CLOSED: &str = "";
/// It stays open, and nothing is answered.
pub(crate) const SILENT: &str = "...";
/// What is said of the content.
pub(crate) const CONTENT: &str = ".";

/// Waits between the attempts of a send.
const SOON: &[Duration] = &[Duration::from_millis(1); 6];

/// A mail server. Each connection has the next script, the last one all others.
pub(crate) struct MailServer {
    pub(crate) address: String,
    /// All that was said, line by line.
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub(crate) async fn start(scripts: &'static [Script]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let script = scripts[n.min(scripts.len() - 1)];
                tokio::spawn(talk(stream, script, hears.clone()));
            }
        });
        Self { address, heard }
    }

    pub(crate) fn heard(&self, begin: &str) -> Vec<String> {
        self.lines(|line| line.starts_with(begin))
    }

    /// The lines of which this is so; a long header goes on in the next one.
    fn lines(&self, is_so: impl Fn(&str) -> bool) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|line| is_so(line)).cloned().collect()
    }
}

/// Answers line by line, until the script closes the connection or the other side does.
async fn talk(stream: TcpStream, script: Script, heard: Arc<Mutex<Vec<String>>>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut within = false;
    let mut line = "220".to_owned();
    loop {
        let said = if within { CONTENT } else { line.as_str() };
        let known = script.iter().find(|(begin, _)| said.starts_with(begin));
        let answer = match (known, said.split(' ').next().unwrap()) {
            (Some((_, answer)), _) => answer,
            (None, "220") => "220 here",
            (None, "EHLO") => "250-here\r\n250 AUTH PLAIN",
            (None, "DATA") => "354 go on",
            (None, "AUTH") => "235 welcome",
            (None, "QUIT") => "221 bye",
            (None, _) => "250 fine",
        };
        if answer == CLOSED {
            return;
        }
        if answer == SILENT {
            return pending().await;
        }
        within = answer.starts_with("354");
        // As a server says it that has never heard of other charsets than its own (Latin-1).
        let bytes = answer.chars().map(|c| u8::try_from(c).unwrap()).chain(*b"\r\n");
        write.write_all(&bytes.collect::<Vec<_>>()).await.unwrap();
        loop {
            let Ok(Some(next)) = lines.next_line().await else { return };
            heard.lock().unwrap().push(next.clone());
            line = next;
            if !within || line == "." {
                break;
            }
        }
    }
}

/// Asks until it is so, for what nobody is told of.
pub(crate) async fn until(is_so: impl AsyncFn() -> bool) {
    let asking = async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, asking).await.expect("it is so before long");
}

/// How an organization's mails go out.
pub(crate) struct Limits {
    pub(crate) mailer: MailerOptions,
    pub(crate) outbox: OutboxOptions,
    /// Where its files are.
    pub(crate) files_at: String,
}

impl Limits {
    /// Of one whose operator trusts this server, and leaves it alone no longer than others.
    pub(crate) fn trusting(server: &MailServer) -> Self {
        let mailer = mailer_options(vec![server.address.clone()]);
        let outbox = OutboxOptions { throttle_wait: Duration::from_millis(1), ..options() };
        Self { mailer, outbox, files_at: "http://127.0.0.1:1".to_owned() }
    }
}

/// An organization whose inbox sends by this server.
pub(crate) struct Desktop {
    shop: Shop,
    pub(crate) outbox: Outbox,
    pub(crate) desk: Desk,
    inbox: Account,
}

impl Desktop {
    pub(crate) async fn new(server: &MailServer) -> Self {
        Self::with(server, Limits::trusting(server)).await
    }

    pub(crate) async fn with(server: &MailServer, limits: Limits) -> Self {
        let shop = shop().await;
        let url = format!("smtp://shop:s3cret@{}", server.address);
        let mut inbox = Account {
            channel: Channel::Email,
            account_key: "shop@example.com".into(),
            ..account()
        };
        inbox.config.insert("smtp_url".into(), url.into());
        let put = shop.tenants.change(TENANT, |changing| {
            changing.put(inbox.clone());
            Ok::<_, ()>(())
        });
        put.await.unwrap();
        let ways = (at("http://127.0.0.1:1".into()), Mailer::new(limits.mailer).unwrap());
        let files = files(&shop.store, &limits.files_at);
        let outbox = outbox_of(&shop.store, shop.tenants.clone(), ways, files, limits.outbox);
        let desk = shop.desk_in_haste(&outbox, SOON).await;
        Self { shop, outbox, desk, inbox }
    }

    /// Somebody writes; their conversation.
    pub(crate) async fn written(&self, by: &str) -> ConversationId {
        let id = format!("{by}1@example.org");
        let (own, first) = (id.clone(), id.clone());
        let mail = InboundMessage {
            from: vec![Handle { kind: IdentityKind::Email, value: format!("{by}@example.org") }],
            provider_id: Some(id),
            content: Content { subject: Some("Boots".into()), ..Content::text("hello") },
            topic: Some(Topic { own, answers: Vec::new(), thread: None, first }),
            ..InboundMessage::default()
        };
        let conversations = Conversations::new(self.shop.store.clone());
        let known = conversations.open_set(TENANT).await.unwrap();
        self.desk.ingest(&self.inbox, vec![Inbound::Message(Box::new(mail))]).await.unwrap();
        let open = conversations.open_set(TENANT).await.unwrap();
        open.into_iter().find(|id| !known.contains(id)).unwrap()
    }

    pub(crate) async fn answers(&self, conversation: ConversationId) -> Message {
        self.says(conversation, draft("Yes")).await
    }

    pub(crate) async fn says(&self, conversation: ConversationId, draft: Command) -> Message {
        let answer = self.desk.ask(admin(), conversation, None, draft).await.unwrap();
        *answer.message.unwrap()
    }

    /// Waits until a message is that far.
    pub(crate) async fn is(&self, message: &Message, wanted: MessageStatus) -> Message {
        until(async || status(&self.desk, message).await == wanted).await;
        let bounds = (u64::MAX, 0);
        let rows = self.desk.messages(admin(), message.conversation_id, bounds, 50).await.unwrap();
        rows.into_iter().find(|row| row.message.id == message.id).unwrap().message
    }

    pub(crate) async fn account(&self) -> Account {
        let state = self.shop.tenants.state(TENANT).await.unwrap().unwrap();
        Account::clone(&state.accounts[&self.inbox.id])
    }
}

#[tokio::test]
async fn an_answer_is_handed_over_once_and_known_by_its_own_id() {
    let server = MailServer::start(&[&[]]).await;
    let desktop = Desktop::new(&server).await;
    let conversation = desktop.written("mei").await;
    let message = desktop.answers(conversation).await;
    let sent = desktop.is(&message, MessageStatus::Sent).await;
    let id = sent.provider_message_id.unwrap();
    assert!(id.starts_with("os1.") && id.ends_with("@example.com"), "{id}");
    assert_eq!(server.heard("MAIL"), ["MAIL FROM:<shop@example.com>"]);
    assert_eq!(server.heard("RCPT"), ["RCPT TO:<mei@example.org>"]);
    assert_eq!(server.heard("Subject: "), ["Subject: Re: Boots"]);
    assert_eq!(server.heard("In-Reply-To: "), ["In-Reply-To: <mei1@example.org>"]);
    assert_eq!(server.lines(|line| line.contains("shop+c.")).len(), 1);
    assert!(server.heard("Auto-Submitted").is_empty());
    let raw = server.heard.lock().unwrap().join(" ");
    assert!(raw.contains(&format!("<{id}>")), "{raw}");
    assert!(!raw.contains("s3cret"), "the password is not sent in the clear, but coded");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_is_the_same_mail() {
    // One no at each step, and a server that closes before the content.
    const SCRIPTS: &[Script] = &[
        &[("220", "421 too busy")],
        &[("EHLO", CLOSED)],
        &[("MAIL", "451 later")],
        &[("RCPT", "450 greylisted")],
        &[("DATA", CLOSED)],
        &[(CONTENT, "452 no room")],
        &[],
    ];
    let server = MailServer::start(SCRIPTS).await;
    let desktop = Desktop::new(&server).await;
    let conversation = desktop.written("mei").await;
    let message = desktop.answers(conversation).await;
    desktop.is(&message, MessageStatus::Sent).await;
    let ids = server.lines(|line| line.contains("<os1."));
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
    assert_eq!(server.heard("MAIL").len(), 5);
}

#[tokio::test]
async fn a_mail_that_is_refused_fails_with_the_server_s_words_and_the_next_one_goes() {
    for script in [
        &[&[("RCPT", "550 5.1.1 nobody here")] as Script, &[]] as &'static [Script],
        &[&[(CONTENT, "550 5.1.1 nobody here")], &[]],
    ] {
        let server = MailServer::start(script).await;
        let desktop = Desktop::new(&server).await;
        let conversation = desktop.written("mei").await;
        let refused = desktop.answers(conversation).await;
        let next = desktop.answers(conversation).await;
        let error = desktop.is(&refused, MessageStatus::Failed).await.error.unwrap();
        assert_eq!((error.code.as_str(), error.message.as_str()), ("5.1.1", "nobody here"));
        desktop.is(&next, MessageStatus::Sent).await;
        assert_eq!(desktop.account().await.status, AccountStatus::Connected);
    }
}

#[tokio::test]
async fn a_mail_whose_connection_breaks_behind_its_content_is_never_sent_again_by_itself() {
    let server = MailServer::start(&[&[(CONTENT, CLOSED)], &[]]).await;
    let desktop = Desktop::new(&server).await;
    let conversation = desktop.written("mei").await;
    let lost = desktop.answers(conversation).await;
    let next = desktop.answers(conversation).await;
    desktop.is(&lost, MessageStatus::Unknown).await;
    desktop.is(&next, MessageStatus::Sent).await;
    assert_eq!(server.heard("MAIL").len(), 2, "each once");
    assert_eq!(status(&desktop.desk, &lost).await, MessageStatus::Unknown);
}

#[tokio::test]
async fn a_login_that_does_not_count_stops_the_account_and_keeps_its_mails() {
    let server = MailServer::start(&[&[("AUTH", "535 5.7.8 wrong password")], &[]]).await;
    let desktop = Desktop::new(&server).await;
    let conversation = desktop.written("mei").await;
    let message = desktop.answers(conversation).await;
    until(async || desktop.account().await.paused).await;
    let account = desktop.account().await;
    assert_eq!(account.status, AccountStatus::Attention);
    assert_eq!(account.status_detail.as_deref(), Some("5.7.8: wrong password"));
    assert_eq!(status(&desktop.desk, &message).await, MessageStatus::Queued);
    assert!(server.heard("MAIL").is_empty());
    // Somebody gives it another one.
    let put = desktop.shop.tenants.change(TENANT, |changing| {
        changing.put(desktop.inbox.clone());
        Ok::<_, ()>(())
    });
    put.await.unwrap();
    desktop.outbox.resume(desktop.inbox.id);
    desktop.is(&message, MessageStatus::Sent).await;
}

#[tokio::test]
async fn a_server_in_a_private_network_is_none_unless_the_operator_says_so() {
    let server = MailServer::start(&[&[]]).await;
    let mailer = mailer_options(Vec::new());
    let desktop = Desktop::with(&server, Limits { mailer, ..Limits::trusting(&server) }).await;
    let conversation = desktop.written("mei").await;
    desktop.answers(conversation).await;
    until(async || desktop.account().await.paused).await;
    let words = desktop.account().await.status_detail.unwrap();
    assert!(words.contains("private network"), "{words}");
    assert!(server.heard.lock().unwrap().is_empty(), "nothing was said to it");
}

#[tokio::test]
async fn an_account_is_asked_whether_its_server_takes_its_login() {
    let server = MailServer::start(&[&[], &[("AUTH", "535 5.7.8 wrong password")]]).await;
    let desktop = Desktop::new(&server).await;
    let probe = async || {
        let Account { channel, account_key, config, .. } = desktop.account().await;
        desktop.outbox.probe(channel, &account_key, &config).await
    };
    assert!(probe().await.is_ok());
    let trouble = probe().await.unwrap_err();
    assert!(trouble.pauses && trouble.of_token, "{trouble:?}");
    assert!(Smtp::of(&desktop.account().await).is_some());
}

#[tokio::test]
async fn a_file_by_a_link_without_an_end_or_into_our_network_is_not_sent() {
    let piece = || Ok::<_, Infallible>(Bytes::from_static(&[7; 10_000]));
    let endless = async move || Body::from_stream(repeat(()).map(move |()| piece()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/endless", get(endless));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let server = MailServer::start(&[&[]]).await;
    let limits = Limits { files_at: base.clone(), ..Limits::trusting(&server) };
    let desktop = Desktop::with(&server, limits).await;
    let conversation = desktop.written("mei").await;
    for (link, code) in [
        (format!("{base}/endless"), "too_large"),
        (format!("{}/endless", base.replace("127.0.0.1", "localhost")), "no_file"),
    ] {
        let message = desktop.says(conversation, with_file(link)).await;
        let failed = desktop.is(&message, MessageStatus::Failed).await;
        assert_eq!(failed.error.unwrap().code, code);
    }
    assert!(server.heard("MAIL").is_empty());
}
