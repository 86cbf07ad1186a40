//! Mails that go out: by a real mail server on this machine, to people who answer, and what comes
//! back.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Letter, MailServer, MailServerOptions};

use crate::caller::Answer;
use crate::harness::{Org, RUNTIME, Server, eventually, unique};
use crate::live::Live;

/// An inbox that sends by a mail server of its own.
struct Desk {
    org: Org,
    mail: MailServer,
    address: String,
    account: String,
}

impl Desk {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(differ: impl FnOnce(&mut config::Config)) -> Self {
        let login = Some(("shop".to_owned(), "s3cret".to_owned()));
        let options = MailServerOptions { login, ..MailServerOptions::default() };
        let mail = RUNTIME.spawn(MailServer::start(options)).await.unwrap().unwrap();
        let address = mail.address().to_string();
        let server = Server::start(|config| {
            config.mail.private_servers = vec![address];
            config.limits.send_ladder = vec![Duration::from_millis(1); 4];
            differ(config);
        });
        Self::on(&server.await, mail).await
    }

    async fn on(server: &Arc<Server>, mail: MailServer) -> Self {
        let org = Org::on(server).await;
        let address = format!("{}@example.com", unique("shop"));
        let config = json!({"address": address, "smtp_url": mail.url(), "sender_name": "The Shop"});
        let draft = json!({"channel": "email", "config": config});
        let made = org.admin.post("/api/integrations/accounts", draft).await.is(201);
        assert_eq!(made["status"], "connected", "{made}");
        let account = made["id"].as_str().unwrap().to_owned();
        Self { org, mail, address, account }
    }

    async fn posts(&self, mail: Value) -> Answer {
        self.org.admin.nobody().post("/webhook/email", mail).await
    }

    /// Somebody writes; their conversation.
    async fn written(&self, by: &str) -> String {
        let (from, id) = (format!("{by}@example.org"), format!("{by}.1@example.org"));
        let mail = json!({
            "from": from, "to": self.address, "subject": "Boots", "text": "Where are they?",
            "message_id": format!("<{id}>"),
        });
        self.posts(mail).await.is(200);
        let all = self.org.admin.get("/api/conversations?per_page=100").await.is(200);
        let of_them = |c: &&Value| c["last_message"]["text"] == "Where are they?";
        let found = all.as_array().unwrap().iter().find(of_them).unwrap();
        found["id"].as_str().unwrap().to_owned()
    }

    async fn sends(&self, conversation: &str, body: Value) -> Answer {
        self.org.admin.post(&format!("/api/conversations/{conversation}/messages"), body).await
    }

    /// All messages of a conversation, oldest first.
    async fn messages(&self, conversation: &str) -> Vec<Value> {
        let path = format!("/api/conversations/{conversation}/messages?per_page=100");
        let all = self.org.admin.get(&path).await.is(200);
        let mut all: Vec<Value> = serde_json::from_value(all).unwrap();
        all.reverse();
        all
    }

    /// Waits until a message of ours has this status.
    async fn is(&self, conversation: &str, message: &Value, wanted: &str) -> Value {
        eventually(async || {
            let all = self.messages(conversation).await;
            let found = all.into_iter().find(|one| one["id"] == message["id"]).unwrap();
            let is_over = ["failed", "sent", "unknown"].iter().any(|end| found["status"] == *end);
            assert!(!is_over || found["status"] == wanted, "{found}");
            Some(found).filter(|found| found["status"] == wanted)
        })
        .await
    }

    /// What the mail server has taken, once that is so much.
    async fn letters(&self, so_many: usize) -> Vec<Letter> {
        self.mail.letters_when(so_many).await
    }

    async fn uploads(&self, name: &str, bytes: Vec<u8>) -> Value {
        self.org.admin.brings(name, "application/octet-stream", &bytes).await.is(201)
    }
}

#[tokio::test]
async fn a_customer_is_answered_and_answers_in_the_same_conversation() {
    let desk = Desk::new().await;
    let conversation = desk.written("mei").await;
    let queued = desk.sends(&conversation, json!({"text": "In stock."})).await.is(201);
    assert_eq!(queued["subject"], "Re: Boots");
    let sent = desk.is(&conversation, &queued, "sent").await;
    let [letter] = &desk.letters(1).await[..] else { panic!("one") };
    assert_eq!(
        (letter.from.as_str(), &letter.to[..]),
        (desk.address.as_str(), &["mei@example.org".to_owned()][..])
    );
    let id = sent["provider_message_id"].as_str().unwrap();
    assert_eq!(letter.header("Message-ID"), Some(format!("<{id}>")));
    assert_eq!(letter.header("In-Reply-To").as_deref(), Some("<mei.1@example.org>"));
    assert!(letter.header("From").unwrap().contains("The Shop"));
    // By the ids alone, by the address alone, and by neither.
    let answer = letter.answer("mei@example.org", "mei.2@example.org", "Thanks");
    desk.posts(answer.clone()).await.is(200);
    let mut by_address = letter.answer("mei.home@example.org", "mei.3@example.org", "By address");
    for id in ["in_reply_to", "references"] {
        by_address.as_object_mut().unwrap().remove(id);
    }
    desk.posts(by_address).await.is(200);
    let mut by_ids = letter.answer("mei@example.org", "mei.4@example.org", "By ids");
    by_ids["to"] = desk.address.clone().into();
    desk.posts(by_ids).await.is(200);
    let texts: Vec<_> = desk.messages(&conversation).await;
    let texts: Vec<_> = texts.iter().map(|m| m["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Where are they?", "In stock.", "Thanks", "By address", "By ids"]);
    assert_eq!(desk.messages(&conversation).await[2]["reply_to_message_id"], sent["id"]);
    // The next answer goes on with the chain.
    let second = desk.sends(&conversation, json!({"text": "Welcome"})).await.is(201);
    desk.is(&conversation, &second, "sent").await;
    let references = desk.letters(2).await[1].header("References").unwrap();
    assert!(references.contains(id) && references.ends_with("<mei.4@example.org>"), "{references}");
}

#[tokio::test]
async fn a_mail_that_comes_back_is_shown_as_failed_and_told_live() {
    let desk = Desk::new().await;
    let conversation = desk.written("mei").await;
    let queued = desk.sends(&conversation, json!({"text": "In stock."})).await.is(201);
    desk.is(&conversation, &queued, "sent").await;
    let stream = format!("c:{conversation}");
    let mut live = Live::following(&desk.org.admin, &[&stream]).await;
    let bounce = desk.letters(1).await[0].bounce("bounce.1@mx.example.net");
    let kept = async || desk.org.server.app().media.bytes(desk.org.tenant()).await.unwrap();
    let before = kept().await;
    desk.posts(bounce.clone()).await.is(200);
    assert_eq!(kept().await, before, "what was returned is no file");
    let told = live.event(&stream, "message.failed").await;
    assert_eq!((&told["status"], &told["error"]["code"]), (&json!("failed"), &json!("5.1.1")));
    desk.posts(bounce).await.is(200);
    let all = desk.messages(&conversation).await;
    assert_eq!((all.len(), &all[1]["status"]), (2, &json!("failed")));
    assert!(all[1]["error"]["message"].as_str().unwrap().contains("nobody of this name"));
}

#[tokio::test]
async fn files_and_pages_go_along_and_arrive_as_they_were() {
    let desk = Desk::new().await;
    let conversation = desk.written("mei").await;
    let pdf = [b"%PDF-1.7\n".to_vec(), (0..=255).cycle().take(200_000).collect()].concat();
    let file = desk.uploads("offer.pdf", pdf.clone()).await;
    let body = json!({
        "subject": "Our offer \u{2014} \u{4f60}\u{597d}", "text": "Attached.", "html": "<p>Attached.<script>x()</script></p>",
        "attachments": [{"kind": "document", "media_id": file["id"]}],
    });
    let queued = desk.sends(&conversation, body).await.is(201);
    assert_eq!(queued["html"], "<p>Attached.</p>");
    assert_eq!(queued["attachments"][0]["filename"], "offer.pdf");
    desk.is(&conversation, &queued, "sent").await;
    let [letter] = &desk.letters(1).await[..] else { panic!("one") };
    // Another organization takes it in as it was sent.
    let other = Desk::new().await;
    let raw = String::from_utf8(letter.raw.clone()).unwrap();
    let posted = json!({"email": raw, "to": other.address, "envelope": json!({"to": [other.address]}).to_string()});
    other.posts(posted).await.is(200);
    let all = other.org.admin.get("/api/conversations").await.is(200);
    let message = &other.messages(all[0]["id"].as_str().unwrap()).await[0];
    assert_eq!(message["subject"], "Our offer \u{2014} \u{4f60}\u{597d}");
    assert_eq!(
        (&message["text"], &message["html"]),
        (&json!("Attached."), &json!("<p>Attached.</p>"))
    );
    assert_eq!(message["attachments"][0]["size"], pdf.len());
    assert_eq!(message["attachments"][0]["filename"], "offer.pdf");
}

#[tokio::test]
async fn what_a_mail_server_says_decides_what_becomes_of_a_mail() {
    let desk = Desk::new().await;
    for (name, status, code, taken) in [
        ("a-421", "sent", None, 1),
        ("b-450", "sent", None, 1),
        ("c-550", "failed", Some("5.1.1"), 0),
        ("d-554", "failed", Some("5.7.1"), 0),
        ("e-dropped", "unknown", None, 1),
        ("f-lost", "unknown", None, 0),
        ("g-slow", "sent", None, 1),
    ] {
        let before = desk.mail.letters().len();
        let conversation = desk.written(name).await;
        let queued = desk.sends(&conversation, json!({"text": "Yes"})).await.is(201);
        let message = desk.is(&conversation, &queued, status).await;
        assert_eq!(message["error"]["code"].as_str(), code, "{name}: {message}");
        assert_eq!(desk.mail.letters().len() - before, taken, "{name}");
    }
    for (name, tries) in [("a-421", 3), ("b-450", 3), ("c-550", 1), ("e-dropped", 1), ("f-lost", 1)]
    {
        assert_eq!(desk.mail.tries(&format!("{name}@example.org")), tries, "{name}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_leaves_a_mail_unknown_also_after_a_restart() {
    let patience = Duration::from_millis(300);
    let desk = Desk::with(|config| config.limits.mail_content_timeout = patience).await;
    let conversation = desk.written("mei-silent").await;
    let queued = desk.sends(&conversation, json!({"text": "Yes"})).await.is(201);
    desk.is(&conversation, &queued, "unknown").await;
    desk.org.server.restart().await;
    desk.is(&conversation, &queued, "unknown").await;
    assert_eq!(desk.mail.tries("mei-silent@example.org"), 1);
    // What comes back speaks of it all the same.
    desk.posts(desk.letters(1).await[0].bounce("bounce.1@mx.example.net")).await.is(200);
    assert_eq!(desk.messages(&conversation).await[1]["status"], "failed");
}

#[tokio::test]
async fn the_address_of_a_mail_server_is_a_secret_that_a_mask_does_not_overwrite() {
    let desk = Desk::new().await;
    let path = format!("/api/integrations/accounts/{}", desk.account);
    let shown = desk.org.admin.get(&path).await;
    assert!(!shown.text.contains("s3cret"), "{}", shown.text);
    let shown = shown.is(200);
    assert_eq!(shown["config"]["smtp_url"], "********");
    let config = json!({"config": {"smtp_url": "********", "sender_name": "Shop"}});
    desk.org.admin.patch(&path, config).await.is(200);
    let conversation = desk.written("mei").await;
    let queued = desk.sends(&conversation, json!({"text": "Yes"})).await.is(201);
    desk.is(&conversation, &queued, "sent").await;
    let log = desk.org.admin.get("/api/activity-logs").await;
    assert!(!log.text.contains("s3cret"), "{}", log.text);
}

#[tokio::test]
async fn a_login_that_stops_counting_pauses_the_account_until_somebody_gives_another() {
    let desk = Desk::new().await;
    let conversation = desk.written("mei").await;
    desk.mail.set_login(Some(("shop".to_owned(), "n3w".to_owned())));
    let queued = desk.sends(&conversation, json!({"text": "Yes"})).await.is(201);
    let path = format!("/api/integrations/accounts/{}", desk.account);
    let account = eventually(async || {
        let account = desk.org.admin.get(&path).await.is(200);
        Some(account).filter(|account| account["paused"] == true)
    })
    .await;
    assert_eq!(account["status"], "attention");
    assert!(account["status_detail"].as_str().unwrap().starts_with("5.7.8"), "{account}");
    desk.sends(&conversation, json!({"text": "And"})).await.refused(409, "account_inactive");
    let health = desk.org.admin.get(&format!("{path}/health")).await.is(200);
    assert_eq!((&health["can_send"], &health["token"]), (&json!(false), &json!("refused")));
    // The wrong one again, then the right one.
    let give = async |url: String| {
        desk.org.admin.patch(&path, json!({"config": {"smtp_url": url}})).await.is(200)
    };
    let wrong = desk.mail.url().replace("n3w", "0ld");
    assert_eq!(give(wrong).await["status"], "attention");
    assert_eq!(give(desk.mail.url()).await["status"], "connected");
    desk.is(&conversation, &queued, "sent").await;
    assert_eq!(desk.letters(1).await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_by_its_field() {
    let desk = Desk::with(|config| config.limits.mail_file_bytes = 1_000).await;
    let conversation = desk.written("mei").await;
    for (body, field) in [
        (json!({"text": "Hi", "subject": "a\r\nBcc: b@example.org"}), "subject"),
        (json!({"template": {"name": "a", "language": "en"}}), "template"),
        (json!({"html": "<script>x()</script>"}), "html"),
    ] {
        assert_eq!(desk.sends(&conversation, body).await.invalid(), [field]);
    }
    let file = desk.uploads("a.bin", vec![7; 600]).await;
    let twice = json!({"attachments": [
        {"kind": "document", "media_id": file["id"]}, {"kind": "document", "media_id": file["id"]},
    ]});
    assert_eq!(desk.sends(&conversation, twice).await.invalid(), ["attachments"]);
    let theirs = Desk::new().await.uploads("a.bin", vec![7; 600]).await;
    let foreign = json!({"attachments": [{"kind": "document", "media_id": theirs["id"]}]});
    let refused = desk.sends(&conversation, foreign).await.invalid();
    assert_eq!(refused, ["attachments[0].media_id"]);
    let draft = |config: Value| json!({"channel": "email", "config": config});
    for config in [
        json!({"address": "a@example.com", "smtp_url": "mail.example.com"}),
        json!({"address": "a@example.com", "smtp_url": "********"}),
        json!({"address": "a@example.com", "sender_name": "a\r\nBcc: b@example.org"}),
    ] {
        let refused = desk.org.admin.post("/api/integrations/accounts", draft(config)).await;
        assert_eq!(refused.invalid().len(), 1);
    }
    assert!(desk.mail.letters().is_empty());
}

#[tokio::test]
async fn an_account_without_a_mail_server_only_takes_mails_and_says_so() {
    let desk = Desk::new().await;
    let path = format!("/api/integrations/accounts/{}", desk.account);
    desk.org.admin.patch(&path, json!({"config": {"smtp_url": null}})).await.is(200);
    let conversation = desk.written("mei").await;
    desk.sends(&conversation, json!({"text": "Yes"})).await.refused(409, "no_smtp");
    // Whoever may not see it hears what they hear of one that is not there.
    let (ana, bea) = (desk.org.hire("agent").await, desk.org.hire("agent").await);
    let assign = format!("/api/conversations/{conversation}/assign");
    desk.org.admin.patch(&assign, json!({"agent_id": bea.id})).await.is(200);
    for id in [conversation.as_str(), "01890000-0000-7000-8000-000000000000"] {
        let messages = format!("/api/conversations/{id}/messages");
        ana.post(&messages, json!({"text": "Yes"})).await.refused(404, "not_found");
        let mail = json!({"text": "Yes", "subject": "Boots"});
        assert_eq!(ana.post(&messages, mail).await.invalid(), ["subject"]);
    }
    let health = desk.org.admin.get(&format!("{path}/health")).await.is(200);
    assert_eq!(health["can_send"], false);
}

#[tokio::test]
async fn a_mail_server_in_a_private_network_is_refused_unless_the_operator_allows_it() {
    let mail = RUNTIME.spawn(MailServer::start(MailServerOptions::default())).await;
    let mail = mail.unwrap().unwrap();
    let org = Org::found().await;
    let config =
        json!({"address": format!("{}@example.com", unique("shop")), "smtp_url": mail.url()});
    let draft = json!({"channel": "email", "config": config});
    let made = org.admin.post("/api/integrations/accounts", draft).await.is(201);
    assert_eq!(made["status"], "attention");
    assert!(made["status_detail"].as_str().unwrap().contains("private network"), "{made}");
}
