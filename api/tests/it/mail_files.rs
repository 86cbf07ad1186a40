//! Files of mails that come in: kept before they are answered, for those who see the conversation.

use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::harness::{Org, RUNTIME, Server, unique};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
const PDF: &[u8] = b"%PDF-1.7\nand more of it";

struct Inbox {
    org: Org,
    address: String,
}

impl Inbox {
    async fn on(server: &Arc<Server>) -> Self {
        let org = Org::on(server).await;
        let address = format!("{}@example.com", unique("shop"));
        let draft = json!({"channel": "email", "config": {"address": address}});
        org.admin.post("/api/integrations/accounts", draft).await.is(201);
        Self { org, address }
    }

    /// A mail with these files: name, type and content.
    fn mail(&self, id: &str, files: &[(&str, &str, &[u8])]) -> Value {
        let file = |(name, kind, bytes): &(&str, &str, &[u8])| json!({"filename": name, "content_type": kind, "content": STANDARD.encode(bytes)});
        let files: Vec<_> = files.iter().map(file).collect();
        json!({
            "from": "Mei <mei@example.org>", "to": self.address, "text": id,
            "message_id": format!("<{id}@{}>", self.address), "attachments": files,
        })
    }

    async fn posts(&self, mail: &Value) -> Answer {
        self.org.admin.nobody().post("/webhook/email", mail.clone()).await
    }

    /// The messages of the newest conversation, and its id.
    async fn newest(&self) -> (String, Vec<Value>) {
        let all = self.org.admin.get("/api/conversations").await.is(200);
        let id = all[0]["id"].as_str().unwrap().to_owned();
        let path = format!("/api/conversations/{id}/messages");
        (id, serde_json::from_value(self.org.admin.get(&path).await.is(200)).unwrap())
    }
}

#[tokio::test]
async fn a_mail_that_cannot_be_taken_apart_shows_its_head_and_is_a_file_as_it_came() {
    let server = Server::start(|_| {}).await;
    let inbox = Inbox::on(&server).await;
    let nested: String = (0..1_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n"))
        .collect();
    let large = format!("X: {}\n\nx", "x".repeat(1 << 20));
    for raw in [&nested, &large] {
        let raw = format!("From: {}@example.org\nSubject: odd\n{raw}", unique("mei"));
        let post = json!({"to": inbox.address, "email": raw});
        for _ in 0..2 {
            inbox.posts(&post).await.is(200);
        }
        let (_, messages) = inbox.newest().await;
        let [message] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(
            (&message["subject"], &message["error"]["code"]),
            (&json!("odd"), &json!("unreadable"))
        );
        let answer = read(&inbox.org.admin, &message["attachments"][0]).await;
        assert_eq!(answer.status, 200);
        assert!(answer.bytes == raw.as_bytes());
    }
    assert!(server.dead_letters(&inbox.org).await.is_empty());
}

async fn read(who: &Caller, file: &Value) -> Answer {
    let path = format!("/api/media/{}", file["media_id"].as_str().unwrap());
    Answer::of(who.request(Method::GET, &path)).await
}

#[tokio::test]
async fn what_a_mail_carries_is_read_by_those_who_see_the_conversation_and_by_nobody_else() {
    let server = Server::start(|_| {}).await;
    let inbox = Inbox::on(&server).await;
    let (ana, bea) = (inbox.org.hire("agent").await, inbox.org.hire("agent").await);
    inbox
        .posts(&inbox.mail("m1", &[("b.png", "image/png", PNG), ("a.pdf", "", PDF)]))
        .await
        .is(200);
    let (conversation, messages) = inbox.newest().await;
    let files = messages[0]["attachments"].clone();
    assert_eq!((&files[0]["kind"], &files[0]["mime_type"]), (&json!("image"), &json!("image/png")));
    assert_eq!(
        (&files[1]["kind"], &files[1]["mime_type"]),
        (&json!("document"), &json!("application/pdf"))
    );
    let path = format!("/api/conversations/{conversation}/assign");
    inbox.org.admin.patch(&path, json!({"agent_id": ana.id})).await.is(200);
    server.restart().await;
    let other = Org::on(&server).await;
    for (file, bytes) in [(&files[0], PNG), (&files[1], PDF)] {
        assert_eq!(file["size"], bytes.len());
        for who in [&ana, &inbox.org.admin] {
            let answer = read(who, file).await;
            assert_eq!((answer.status, &answer.bytes[..]), (200, bytes));
        }
        for who in [&bea, &other.admin] {
            read(who, file).await.refused(404, "not_found");
        }
    }
}

#[tokio::test]
async fn a_file_is_what_it_is_whatever_the_mail_calls_it() {
    let inbox = Inbox::on(&Server::shared().await).await;
    let program = b"MZ\x90\0\x03\0\0\0 this program cannot be run";
    let page = b"<!DOCTYPE html><script>steal()</script>";
    let mail =
        inbox.mail("m1", &[("a.png", "image/png", program), ("../b.png", "image/png", page)]);
    inbox.posts(&mail).await.is(200);
    let files = inbox.newest().await.1[0]["attachments"].clone();
    for n in 0..2 {
        assert_eq!(files[n]["kind"], "document", "{files}");
        let answer = read(&inbox.org.admin, &files[n]).await;
        assert_eq!(answer.headers["content-type"], "application/octet-stream");
        let disposition = answer.headers["content-disposition"].to_str().unwrap();
        assert!(disposition.starts_with("attachment"), "{disposition}");
    }
    assert_eq!(files[1]["filename"], "b.png");
}

#[tokio::test]
async fn a_mail_that_is_delivered_again_keeps_its_files_once() {
    let server = Server::start(|_| {}).await;
    let inbox = Inbox::on(&server).await;
    let mail = inbox.mail("m1", &[("a.pdf", "application/pdf", PDF)]);
    let all = futures_util::future::join_all((0..5).map(|_| inbox.posts(&mail))).await;
    assert!(all.iter().all(|answer| answer.status == 200));
    let (_, messages) = inbox.newest().await;
    assert_eq!(messages.len(), 1);
    let me = inbox.org.admin.get("/api/auth/me").await.is(200);
    let tenant = serde_json::from_value(me["org_id"].clone()).unwrap();
    let bytes = async || server.app().media.bytes(tenant).await.unwrap();
    assert_eq!(bytes().await, PDF.len() as u64);
    server.restart().await;
    inbox.posts(&mail).await.is(200);
    assert_eq!(bytes().await, PDF.len() as u64);
    assert_eq!(read(&inbox.org.admin, &messages[0]["attachments"][0]).await.bytes, PDF);
    // The same id, and another content: it is delivered again, and shows what it showed.
    inbox.posts(&inbox.mail("m1", &[("a.pdf", "application/pdf", PNG)])).await.is(200);
    assert_eq!(inbox.newest().await.1[0]["attachments"], messages[0]["attachments"]);
}

#[tokio::test]
async fn files_for_which_there_is_no_room_are_listed_with_the_reason() {
    let server = Server::start(|config| {
        config.limits.mail_files = 2;
        config.limits.media_tenant_bytes = PDF.len() + 1;
    });
    let inbox = Inbox::on(&server.await).await;
    let files = [("a.pdf", "", PDF), ("b.pdf", "", &PDF[1..]), ("c.pdf", "", &PDF[2..])];
    inbox.posts(&inbox.mail("m1", &files)).await.is(200);
    let files = inbox.newest().await.1[0]["attachments"].clone();
    assert!(files[0]["media_id"].is_string());
    for (n, code) in [(1, "full"), (2, "too_many")] {
        assert_eq!(files[n]["error"]["code"], code, "{files}");
        assert!(files[n].get("media_id").is_none());
    }
}

#[tokio::test]
async fn an_inline_image_of_a_mail_as_it_was_sent_is_kept_and_named_by_its_page() {
    let inbox = Inbox::on(&Server::shared().await).await;
    let raw = format!(
        "From: mei@example.org\r\nMessage-ID: <1@{}>\r\nContent-Type: multipart/related; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/html\r\n\r\n<p>See <img src=\"cid:i1\"></p>\r\n\
         --b\r\nContent-Type: image/png\r\nContent-ID: <i1>\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        inbox.address,
        STANDARD.encode(PNG),
    );
    let envelope = json!({"to": [inbox.address]}).to_string();
    inbox.posts(&json!({"email": raw, "to": inbox.address, "envelope": envelope})).await.is(200);
    let message = inbox.newest().await.1[0].clone();
    let file = &message["attachments"][0];
    assert!(message["html"].as_str().unwrap().contains("cid:i1"));
    assert_eq!(file["content_id"], "i1");
    assert_eq!(read(&inbox.org.admin, file).await.bytes, PNG);
}

/// A stand-in for Resend that has one mail, `1`, for who brings the token `t0ken`.
async fn resend(mail: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let told = json!({"object": "email", "raw": {"download_url": format!("{base}/raw")}});
    let tells = async move |headers: HeaderMap| match headers["authorization"].as_bytes() {
        b"Bearer t0ken" => Ok(Json(told.clone())),
        _ => Err(StatusCode::UNAUTHORIZED),
    };
    let router = Router::new()
        .route("/emails/receiving/1", get(tells))
        .route("/emails/receiving/3", get(async || StatusCode::BAD_GATEWAY))
        .route("/raw", get(async move || mail.clone()));
    RUNTIME.spawn(async move { axum::serve(listener, router).await });
    base
}

#[tokio::test]
async fn resend_is_asked_for_the_mail_of_which_it_tells() {
    let file = STANDARD.encode(PDF);
    let raw = format!(
        "From: mei@example.org\r\nMessage-ID: <2@example.org>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n\
         --b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{file}\r\n--b--\r\n"
    );
    let base = resend(raw).await;
    let server = Server::start(|config| config.mail.resend_url = base).await;
    let inbox = Inbox::on(&server).await;
    let accounts = inbox.org.admin.get("/api/integrations/accounts?channel=email").await.is(200);
    let path = format!("/api/integrations/accounts/{}", accounts[0]["id"].as_str().unwrap());
    let give = async |token: &str| {
        let config = json!({"config": {"api_token": token}});
        let shown = inbox.org.admin.patch(&path, config).await.is(200);
        assert_eq!(shown["config"]["api_token"], "********");
    };
    let post = async |id: &str| {
        let data = json!({"email_id": id, "from": "mei@example.org", "to": [inbox.address]});
        inbox.posts(&json!({"type": "email.received", "data": data})).await
    };
    give("t0ken").await;
    post("1").await.is(200);
    let message = inbox.newest().await.1[0].clone();
    assert_eq!((&message["text"], message.get("error")), (&json!("See the file."), None));
    assert_eq!(read(&inbox.org.admin, &message["attachments"][0]).await.bytes, PDF);
    // Down: it is delivered again. Gone, or refused: what there is, with the reason.
    post("3").await.refused(503, "unavailable");
    post("2").await.is(200);
    assert_eq!(inbox.newest().await.1[0]["error"]["code"], "no_body");
    give("0ld").await;
    post("1").await.is(200);
    assert_eq!(inbox.newest().await.1[0]["error"]["code"], "no_body");
}

#[tokio::test]
async fn a_mail_of_which_only_the_news_comes_says_so() {
    let inbox = Inbox::on(&Server::shared().await).await;
    let data = json!({
        "email_id": "1", "from": "mei@example.org", "to": [inbox.address], "subject": "Boots",
        "message_id": format!("<1@{}>", inbox.address),
        "attachments": [{"id": "2", "filename": "a.pdf", "content_type": "application/pdf"}],
    });
    inbox.posts(&json!({"type": "email.received", "data": data})).await.is(200);
    let message = inbox.newest().await.1[0].clone();
    assert_eq!(
        (&message["subject"], &message["error"]["code"]),
        (&json!("Boots"), &json!("no_body"))
    );
}
