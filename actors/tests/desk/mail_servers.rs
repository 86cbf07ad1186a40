//! Mail servers that say too much, nothing, or the same in their own words; and files that do not
//! come.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use engine::conversation::{Command, Draft};
use engine::message::{Message, MessageKind, MessageStatus};
use engine::saying::{Mail, Media, Saying, Source};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

use crate::mails::{CONTENT, Desktop, Limits, MailServer, SILENT, Script, until};
use crate::outbox::status;
use crate::sends::draft;

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(40);

/// A mail with the file behind a link.
pub(crate) fn with_file(link: String) -> Command {
    let from = Source::Link(link);
    let file = Media { kind: MessageKind::Document, from, caption: None, filename: None };
    let mail = Mail { text: Some("Look".into()), files: vec![file], ..Mail::default() };
    let Command::Send(said) = draft("") else { unreachable!() };
    Command::Send(Draft { saying: Saying::Mail(mail), ..said })
}

/// Links: to a file, to what is answered without one, and to one that never comes.
struct Links {
    base: String,
    refused: Arc<AtomicUsize>,
    asked: Arc<Notify>,
}

impl Links {
    async fn start() -> Self {
        let (refused, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (counted, told) = (refused.clone(), asked.clone());
        let refuses = async move |Path(status): Path<u16>| {
            counted.fetch_add(1, Ordering::Relaxed);
            StatusCode::from_u16(status).unwrap()
        };
        let never = async move || {
            told.notify_one();
            pending::<()>().await;
        };
        let router = Router::new()
            .route("/file", get(async || "a file"))
            .route("/refused/{status}", get(refuses))
            .route("/never", get(never));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, refused, asked }
    }

    fn limits(&self, server: &MailServer) -> Limits {
        Limits { files_at: self.base.clone(), ..Limits::trusting(server) }
    }

    fn to(&self, what: &str) -> Command {
        with_file(format!("{}/{what}", self.base))
    }
}

#[tokio::test]
async fn a_reply_without_an_end_is_not_read_to_it() {
    const ALL: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, taken) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (piece, mut taken) = (vec![b'2'; 64 << 10], 0);
        while taken < ALL && stream.write_all(&piece).await.is_ok() {
            taken += piece.len();
        }
        tell.send(taken).unwrap();
    });
    let server = MailServer { address, heard: Arc::default() };
    let desktop = Desktop::new(&server).await;
    let message = desktop.answers(desktop.written("mei").await).await;
    let taken = timeout(PATIENCE, taken).await.unwrap().unwrap();
    // What lies in the buffers of the connection counts, too.
    assert!(taken < ALL / 2, "{taken} bytes were taken");
    assert_ne!(status(&desktop.desk, &message).await, MessageStatus::Unknown);
}

#[tokio::test]
async fn words_in_another_charset_say_what_their_code_says() {
    const SAID: [(&[Script], MessageStatus, Option<&str>); 3] = [
        (&[&[(CONTENT, "250 \u{fc}bernommen")]], MessageStatus::Sent, None),
        (&[&[(CONTENT, "554 5.7.1 unerw\u{fc}nscht")]], MessageStatus::Failed, Some("5.7.1")),
        (&[&[("RCPT", "550 5.1.1 kein Empf\u{e4}nger")]], MessageStatus::Failed, Some("5.1.1")),
    ];
    for (scripts, wanted, code) in SAID {
        let server = MailServer::start(scripts).await;
        let desktop = Desktop::new(&server).await;
        let message = desktop.answers(desktop.written("mei").await).await;
        let ended = desktop.is(&message, wanted).await;
        assert_eq!(ended.error.as_ref().map(|error| error.code.as_str()), code);
        assert_eq!(server.heard("MAIL").len(), 1, "{wanted:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_in_trouble_for_longer_than_a_message_is_tried_gets_its_mails_afterwards()
{
    const DOWN: Script = &[("220", "421 4.3.2 down for maintenance")];
    const SCRIPTS: &[Script] = &{
        let mut all = [DOWN; 31];
        all[30] = &[];
        all
    };
    let server = MailServer::start(SCRIPTS).await;
    let desktop = Desktop::new(&server).await;
    let conversation = desktop.written("mei").await;
    let (first, second) =
        (desktop.answers(conversation).await, desktop.answers(conversation).await);
    for message in [&first, &second] {
        desktop.is(message, MessageStatus::Sent).await;
    }
    assert_eq!(server.heard("MAIL").len(), 2);
}

#[tokio::test]
async fn a_link_without_a_file_fails_its_mail_at_once_and_says_why() {
    const SAID: [(u16, &str); 7] = [
        (404, "any more"),
        (410, "any more"),
        (403, "everybody"),
        (301, "another address"),
        (302, "another address"),
        (405, "no file"),
        (451, "no file"),
    ];
    let (server, links) = (MailServer::start(&[&[]]).await, Links::start().await);
    let desktop = Desktop::with(&server, links.limits(&server)).await;
    let conversation = desktop.written("mei").await;
    for (n, (status, why)) in SAID.into_iter().enumerate() {
        let message = desktop.says(conversation, links.to(&format!("refused/{status}"))).await;
        let error = desktop.is(&message, MessageStatus::Failed).await.error.unwrap();
        assert_eq!(error.code, "no_file", "{status}");
        assert!(error.message.contains(why), "{status}: {}", error.message);
        assert_eq!(links.refused.load(Ordering::Relaxed), n + 1, "{status}: it is asked once");
    }
    let next = desktop.says(conversation, links.to("file")).await;
    desktop.is(&next, MessageStatus::Sent).await;
}

#[tokio::test]
async fn a_file_that_never_comes_keeps_no_other_mail_waiting_for_long() {
    let (server, links) = (MailServer::start(&[&[]]).await, Links::start().await);
    let mut limits = links.limits(&server);
    limits.mailer.with_files = 1;
    limits.mailer.files_timeout = Duration::from_millis(200);
    let desktop = Desktop::with(&server, limits).await;
    let (mei, bo) = (desktop.written("mei").await, desktop.written("bo").await);
    let waits = desktop.says(mei, links.to("never")).await;
    links.asked.notified().await;
    let goes = desktop.says(bo, links.to("file")).await;
    timeout(PATIENCE, desktop.is(&goes, MessageStatus::Sent)).await.unwrap();
    let failed = timeout(PATIENCE, desktop.is(&waits, MessageStatus::Failed)).await.unwrap();
    assert_eq!(failed.error.unwrap().code, "unavailable");
}

#[tokio::test]
async fn a_stop_while_files_are_awaited_leaves_their_mail_queued() {
    let (server, links) = (MailServer::start(&[&[]]).await, Links::start().await);
    let desktop = Desktop::with(&server, links.limits(&server)).await;
    let message = desktop.says(desktop.written("mei").await, links.to("never")).await;
    links.asked.notified().await;
    stopped_and_queued(&desktop, &message).await;
}

#[tokio::test]
async fn a_stop_before_a_server_waits_for_the_content_leaves_the_mail_queued() {
    let server = MailServer::start(&[&[("RCPT", SILENT)]]).await;
    let desktop = Desktop::new(&server).await;
    let message = desktop.answers(desktop.written("mei").await).await;
    until(async || !server.heard("RCPT").is_empty()).await;
    stopped_and_queued(&desktop, &message).await;
}

async fn stopped_and_queued(desktop: &Desktop, message: &Message) {
    assert_eq!(status(&desktop.desk, message).await, MessageStatus::Sending);
    timeout(PATIENCE, desktop.outbox.stop()).await.expect("nobody is waited for");
    assert_eq!(status(&desktop.desk, message).await, MessageStatus::Queued);
}

#[tokio::test(start_paused = true)]
async fn who_connects_an_account_hears_soon_that_its_server_says_nothing() {
    let server = MailServer::start(&[&[("220", SILENT)]]).await;
    let desktop = Desktop::new(&server).await;
    let account = desktop.account().await;
    let began = Instant::now();
    let probed = desktop.outbox.probe(account.channel, &account.account_key, &account.config).await;
    let trouble = probed.unwrap_err();
    assert!(trouble.words.contains("in time") && !trouble.pauses, "{trouble:?}");
    // Less than `limits.rest_timeout`, after which nobody hears anything.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
