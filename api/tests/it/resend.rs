//! Mails that Resend has kept to itself, and does not give at once.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use engine::time::Timestamp;
use serde_json::{Value, json};

use crate::caller::Answer;
use crate::harness::{RUNTIME, Server, eventually, unix_now};
use crate::mail::Inbox;

/// A stand-in for Resend that has every mail.
struct Resend {
    base: String,
    /// How it answers who asks for one; 0: not at all.
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Resend {
    async fn start(status: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (status, asked) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicUsize::new(0)));
        // It repeats a long text.
        let html = "x".repeat(5 << 20);
        let told = json!({"raw": {"download_url": format!("{base}/raw")}, "html": html});
        let (answers, counts) = (status.clone(), asked.clone());
        let tells = async move || {
            counts.fetch_add(1, Ordering::Relaxed);
            match answers.load(Ordering::Relaxed) {
                0 => pending().await,
                200 => Ok(Json(told.clone())),
                status => Err(StatusCode::from_u16(status).unwrap()),
            }
        };
        let raw = async || "From: mei@example.org\r\nSubject: Boots\r\n\r\nWhere are they?";
        let router =
            Router::new().route("/emails/receiving/{id}", get(tells)).route("/raw", get(raw));
        RUNTIME.spawn(async move { axum::serve(listener, router).await });
        Self { base, status, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Inbox {
    async fn of_resend(server: &Arc<Server>) -> Self {
        Self::on(server, json!({"provider": "resend", "api_token": "t0ken"})).await
    }

    /// Resend tells that a mail came so long ago.
    async fn is_told(&self, id: &str, ago: Duration) -> Answer {
        let at = Timestamp::from_secs(unix_now()) - ago;
        let data = json!({
            "email_id": id, "created_at": at, "from": "mei@example.org", "to": [self.address],
            "message_id": format!("<{id}@{}>", self.address),
        });
        self.posts(&json!({"type": "email.received", "data": data})).await
    }

    /// The only message there is.
    async fn message(&self) -> Value {
        let [conversation] = &self.conversations().await[..] else { panic!("one") };
        let [message] = &self.messages(conversation).await[..] else { panic!("one") };
        message.clone()
    }

    async fn account(&self) -> Value {
        let all = self.org.admin.get("/api/integrations/accounts?channel=email").await.is(200);
        all[0].clone()
    }
}

#[tokio::test]
async fn a_resend_that_never_answers_holds_up_no_other_mail() {
    let resend = Resend::start(0).await;
    let server = Server::start(|config| {
        config.mail.resend_url.clone_from(&resend.base);
        // One of them is for other organizations.
        config.limits.mail_fetches = 3;
        config.limits.mail_timeout = Duration::from_secs(120);
        config.limits.mail_fetch_timeout = Duration::from_secs(100);
    })
    .await;
    let (slow, other) =
        (Arc::new(Inbox::of_resend(&server).await), Inbox::on(&server, json!({})).await);
    let posts: Vec<_> = (0..5)
        .map(|n| {
            let slow = slow.clone();
            tokio::spawn(async move { slow.is_told(&n.to_string(), Duration::ZERO).await })
        })
        .collect();
    eventually(async || (resend.asked() == 2).then_some(())).await;
    let gets = other.gets("m1", json!({}));
    tokio::time::timeout(Duration::from_secs(60), gets).await.expect("it is taken meanwhile");
    assert_eq!(resend.asked(), 2, "so many of one organization are fetched at once");
    assert!(posts.iter().all(|post| !post.is_finished()));
    posts.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_mail_that_does_not_come_from_resend_in_time_is_to_be_delivered_again() {
    let resend = Resend::start(0).await;
    let server = Server::start(|config| {
        config.mail.resend_url.clone_from(&resend.base);
        config.limits.mail_fetch_timeout = Duration::from_secs(1);
    })
    .await;
    let inbox = Inbox::of_resend(&server).await;
    inbox.is_told("1", Duration::ZERO).await.refused(503, "unavailable");
    resend.status.store(200, Ordering::Relaxed);
    let given = async || inbox.is_told("1", Duration::ZERO).await.status == 200;
    eventually(async || given().await.then_some(())).await;
    assert_eq!(inbox.message().await["text"], "Where are they?");
}

#[tokio::test]
async fn a_mail_that_resend_does_not_give_yet_has_its_text_in_the_end() {
    for (status, standing) in [(401, "attention"), (404, "connected")] {
        let resend = Resend::start(status).await;
        let server = Server::start(|config| config.mail.resend_url.clone_from(&resend.base)).await;
        let inbox = Inbox::of_resend(&server).await;
        inbox.is_told("1", Duration::from_secs(60)).await.refused(503, "unavailable");
        let account = inbox.account().await;
        assert_eq!(account["status"], standing, "{account}");
        assert_eq!(account["paused"], false, "mails go out all the same");
        assert!(inbox.conversations().await.is_empty());
        resend.status.store(200, Ordering::Relaxed);
        inbox.is_told("1", Duration::from_secs(60)).await.is(200);
        assert_eq!(inbox.message().await["text"], "Where are they?", "{status}");
    }
}

#[tokio::test]
async fn a_mail_that_resend_has_not_given_for_hours_is_shown_without_its_text() {
    for status in [401, 404] {
        let resend = Resend::start(status).await;
        let server = Server::start(|config| config.mail.resend_url.clone_from(&resend.base)).await;
        let inbox = Inbox::of_resend(&server).await;
        inbox.is_told("1", Duration::from_secs(7 * 3600)).await.is(200);
        assert_eq!(inbox.message().await["error"]["code"], "no_body", "{status}");
    }
}
