//! Mails that come in: whose they are, what is shown of them, and what is refused.

use std::collections::HashSet;
use std::sync::Arc;

use engine::channel::email::reply_address;
use engine::id::ConversationId;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::{Answer, Caller};
use crate::harness::{Org, Server, unique};
use crate::live::Live;
use crate::search::{found, q, shown};

/// An inbox of an organization.
pub(crate) struct Inbox {
    pub(crate) org: Org,
    pub(crate) address: String,
}

impl Inbox {
    pub(crate) async fn new() -> Self {
        Self::on(&Server::shared().await, json!({})).await
    }

    /// One with more in its config.
    pub(crate) async fn on(server: &Arc<Server>, more: Value) -> Self {
        let org = Org::on(server).await;
        let address = format!("{}@example.com", unique("shop"));
        connect(&org, &address, more).await;
        Self { org, address }
    }

    fn mail(&self, id: &str, more: Value) -> Value {
        let mut mail = json!({
            "from": "Mei Lin <mei@example.org>", "to": self.address, "subject": "Boots", "text": id,
            "message_id": format!("<{id}@{}>", self.address),
        });
        for (key, value) in more.as_object().unwrap() {
            mail[key] = value.clone();
        }
        mail
    }

    /// Ids of mails as headers name them.
    fn ids(&self, ids: &[&str]) -> String {
        let ids: Vec<_> = ids.iter().map(|id| format!("<{id}@{}>", self.address)).collect();
        ids.join(" ")
    }

    pub(crate) async fn posts(&self, mail: &Value) -> Answer {
        self.org.admin.nobody().post("/webhook/email", mail.clone()).await
    }

    pub(crate) async fn gets(&self, id: &str, more: Value) {
        let answer = self.posts(&self.mail(id, more)).await;
        assert_eq!(answer.text, "", "no body");
        answer.is(200);
    }

    pub(crate) async fn conversations(&self) -> Vec<Value> {
        let all = self.org.admin.get("/api/conversations?per_page=100").await.is(200);
        serde_json::from_value(all).unwrap()
    }

    /// The messages of a conversation, oldest first.
    pub(crate) async fn messages(&self, conversation: &Value) -> Vec<Value> {
        let id = conversation["id"].as_str().unwrap();
        let path = format!("/api/conversations/{id}/messages?per_page=100");
        let mut all: Vec<Value> =
            serde_json::from_value(self.org.admin.get(&path).await.is(200)).unwrap();
        all.reverse();
        all
    }

    /// The texts of all conversations, in the order of their first ones.
    pub(crate) async fn threads(&self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        for conversation in self.conversations().await {
            let texts = self.messages(&conversation).await;
            all.push(
                texts.iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
            );
        }
        all.sort();
        all
    }
}

async fn connect(org: &Org, address: &str, more: Value) -> Value {
    let mut config = json!({"address": address});
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let draft = json!({"channel": "email", "config": config});
    org.admin.post("/api/integrations/accounts", draft).await.is(201)
}

/// Posts these fields as a form.
async fn form(caller: &Caller, fields: &Value) -> Answer {
    let fields = fields.as_object().unwrap();
    let pairs = fields.iter().map(|(name, value)| (name, value.as_str().unwrap()));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let request = caller.request(Method::POST, "/webhook/email");
    let kind = "application/x-www-form-urlencoded";
    Answer::of(request.header("content-type", kind).body(body)).await
}

#[tokio::test]
async fn a_mail_is_shown_as_it_says_and_told_live() {
    let inbox = Inbox::new().await;
    let mut live = Live::following(&inbox.org.admin, &["i:all"]).await;
    let html = "<p onclick=\"x()\">Brown.<img src=\"cid:i1\"></p><script>x()</script>";
    let more = json!({
        "text": "Brown.\n\nOn 2 May 2026, Shop <shop@example.com> wrote:\n> Which?", "html": html,
        "attachments": [{"filename": "b.png", "content_type": "image/png", "content": "iVBORw==", "content_id": "<i1>"}],
    });
    inbox.gets("m1", more).await;
    let row = live.event("i:all", "conversation.upsert").await;
    assert_eq!(row["contact_name"], "Mei Lin");
    let [conversation] = &inbox.conversations().await[..] else { panic!("one") };
    let [message] = &inbox.messages(conversation).await[..] else { panic!("one") };
    assert_eq!(message["subject"], "Boots");
    assert_eq!(message["visible_text"], "Brown.");
    assert!(message["text"].as_str().unwrap().ends_with("> Which?"));
    assert_eq!(message["html"], "<p>Brown.<img src=\"cid:i1\"></p>");
    assert_eq!(message["provider_message_id"], format!("m1@{}", inbox.address));
    assert_eq!(
        (&message["kind"], &message["status"], &message["direction"]),
        (&json!("text"), &json!("received"), &json!("inbound"))
    );
    let file = &message["attachments"][0];
    assert_eq!(
        (&file["kind"], &file["filename"], &file["size"], &file["content_id"]),
        (&json!("image"), &json!("b.png"), &json!(4), &json!("i1"))
    );
    let contact = conversation["contact_id"].as_str().unwrap();
    let contact = inbox.org.admin.get(&format!("/api/contacts/{contact}")).await.is(200);
    assert_eq!(contact["identities"], json!([{"kind": "email", "value": "mei@example.org"}]));
}

#[tokio::test]
async fn a_mail_is_found_by_its_subject_its_text_and_what_its_page_says() {
    let inbox = Inbox::new().await;
    let html = "<p>Please see the <b>attached</b> invoice &amp; pay</p><style>p{margin:0}</style>";
    inbox.gets("m1", json!({"text": "An invoice", "html": html, "subject": "Bill of March"})).await;
    for (typed, wanted) in [
        ("march", "Bill of [March]"),
        ("invoice", "An [invoice]"),
        ("attached", "Please see the [attached] invoice & pay"),
    ] {
        assert_eq!(shown(&found(&inbox.org.admin, &q(typed), 1).await[0]), wanted);
    }
    for nothing in ["margin", "amp"] {
        found(&inbox.org.admin, &q(nothing), 0).await;
    }
}

#[tokio::test]
async fn mails_land_where_a_person_would_look_for_them() {
    let inbox = Inbox::new().await;
    inbox.gets("m1", json!({})).await;
    // A reply with and without References, under another subject.
    inbox
        .gets("m2", json!({"in_reply_to": inbox.ids(&["m1"]), "references": inbox.ids(&["m1"])}))
        .await;
    inbox.gets("m3", json!({"in_reply_to": inbox.ids(&["m2"]), "subject": "Shoes"})).await;
    inbox.gets("m4", json!({"references": inbox.ids(&["m1", "m2", "unknown"])})).await;
    // Forwarded, and answered by somebody else.
    let colleague = json!({"from": "Bo <bo@example.org>", "subject": "Fwd: Boots", "references": inbox.ids(&["m1"])});
    inbox.gets("m5", colleague).await;
    // The same subject alone is another matter, also of the same customer.
    inbox.gets("n1", json!({})).await;
    inbox.gets("o1", json!({"from": "ana@example.org", "subject": "Re: Boots"})).await;
    assert_eq!(inbox.threads().await, [vec!["m1", "m2", "m3", "m4", "m5"], vec!["n1"], vec!["o1"]]);
    let conversations = inbox.conversations().await;
    let first = conversations.iter().find(|c| c["last_message"]["text"] == "m5").unwrap();
    assert_eq!(first["contact_name"], "Mei Lin");
    assert_eq!(inbox.messages(first).await[4]["sender"]["name"], "Bo");
    let contacts = inbox.org.admin.get("/api/contacts").await.is(200);
    assert_eq!(contacts.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_mail_to_a_signed_address_goes_to_its_thread_also_after_a_restart() {
    let server = Server::start(|_| {}).await;
    let inbox = Inbox::on(&server, json!({})).await;
    inbox.gets("m1", json!({})).await;
    let id = inbox.conversations().await[0]["id"].take();
    let id: ConversationId = serde_json::from_value(id).unwrap();
    let address = server.reply_address(&inbox.address, id).await;
    server.restart().await;
    let forged = address.replacen("+c.a", "+c.b", 1).replacen("+c.c", "+c.a", 1);
    assert_ne!(forged, address);
    inbox.gets("m2", json!({"to": address.to_uppercase(), "from": "mei.home@example.org"})).await;
    inbox.gets("m3", json!({"to": forged, "from": "mei.home@example.org"})).await;
    assert_eq!(inbox.threads().await, [vec!["m1", "m2"], vec!["m3"]]);
}

#[tokio::test]
async fn a_mail_that_is_posted_again_or_at_once_is_there_once() {
    let inbox = Inbox::new().await;
    let mail = inbox.mail("m1", json!({}));
    let all = futures_util::future::join_all((0..5).map(|_| inbox.posts(&mail))).await;
    assert!(all.iter().all(|answer| answer.status == 200));
    let mut without = inbox.mail("x1", json!({}));
    without.as_object_mut().unwrap().remove("message_id");
    for _ in 0..2 {
        inbox.posts(&without).await.is(200);
    }
    assert_eq!(inbox.threads().await, [vec!["m1"], vec!["x1"]]);
}

#[tokio::test]
async fn the_envelope_decides_then_the_recipient_then_whom_it_is_to() {
    let server = Server::shared().await;
    let (one, two, three) = (Inbox::new().await, Inbox::new().await, Inbox::new().await);
    let envelope = json!({"to": [one.address.to_uppercase()], "from": "b@example.org"}).to_string();
    let post = async |fields: Value| {
        form(&server.anonymous(), &fields).await.is(200);
    };
    let (tagged, name) = (two.address.replace('@', "+sale@"), format!("Shop <{}>", three.address));
    post(json!({"from": "mei@example.org", "text": "1", "envelope": envelope, "recipient": tagged, "to": name})).await;
    post(json!({"from": "mei@example.org", "text": "2", "recipient": tagged, "to": name})).await;
    post(json!({"from": "mei@example.org", "text": "3", "recipient": "nobody@example.com", "to": name})).await;
    post(json!({"from": "mei@example.org", "text": "4", "to": format!("{}, {name}", one.address)}))
        .await;
    assert_eq!(one.threads().await, [["1"], ["4"]]);
    assert_eq!(two.threads().await, [["2"]]);
    assert_eq!(three.threads().await, [["3"], ["4"]], "each inbox gets its copy");
}

#[tokio::test]
async fn an_inbox_among_hundreds_of_addresses_or_with_a_tag_in_its_name_gets_its_mail() {
    let inbox = Inbox::new().await;
    let tagged = inbox.address.replace('@', "+help@");
    connect(&inbox.org, &tagged, json!({})).await;
    let many: Vec<_> = (0..300).map(|n| format!("a{n}@example.net")).collect();
    inbox.gets("m1", json!({"to": many.join(", "), "cc": inbox.address})).await;
    inbox.gets("m2", json!({"to": tagged})).await;
    inbox.gets("m3", json!({"to": tagged.replace('@', "+sale@")})).await;
    assert_eq!(inbox.threads().await, [["m1"], ["m2"], ["m3"]]);
    let accounts: HashSet<_> =
        inbox.conversations().await.iter().map(|c| c["account_id"].to_string()).collect();
    assert_eq!(accounts.len(), 2);
}

#[tokio::test]
async fn nobody_takes_another_organization_s_mail_by_naming_its_address_with_a_tag_or_without() {
    let server = Server::shared().await;
    let (inbox, stranger) = (Inbox::new().await, Org::on(&server).await);
    let tagged = inbox.address.replace('@', "+orders@");
    let draft = json!({"channel": "email", "config": {"address": tagged}});
    let refused = stranger.admin.post("/api/integrations/accounts", draft).await;
    refused.refused(409, "account_key_in_use");
    inbox.gets("m1", json!({"to": tagged})).await;

    // Whoever has the name with a tag was there first.
    let first =
        Inbox { org: Org::on(&server).await, address: format!("{}@example.com", unique("a")) };
    let tagged = first.address.replace('@', "+orders@");
    connect(&first.org, &tagged, json!({})).await;
    let second = Inbox { org: stranger, address: first.address.clone() };
    connect(&second.org, &second.address, json!({})).await;
    first.gets("m1", json!({"to": tagged})).await;
    second.gets("m2", json!({"to": second.address})).await;
    assert_eq!(inbox.threads().await, [["m1"]]);
    assert_eq!(first.threads().await, [["m1"]]);
    assert_eq!(second.threads().await, [["m2"]]);
}

#[tokio::test]
async fn an_address_with_a_secret_takes_only_what_is_proven() {
    let server = Server::shared().await;
    let inbox = Inbox::on(&server, json!({"webhook_secret": "s3cret"})).await;
    let mail = inbox.mail("m1", json!({})).to_string();
    let post = async |signature: Option<String>| {
        let request = server.anonymous().request(Method::POST, "/webhook/email");
        let mut request = request.header("content-type", "application/json").body(mail.clone());
        if let Some(signature) = signature {
            request = request.header("x-email-webhook-signature", signature);
        }
        Answer::of(request).await
    };
    let signed = |secret: &str| simulator::sign(secret, mail.as_bytes());
    for wrong in [None, Some(String::new()), Some(signed("other")), Some("sha256=00".to_owned())] {
        post(wrong).await.refused(401, "bad_signature");
    }
    assert!(inbox.conversations().await.is_empty());
    post(Some(signed("s3cret"))).await.is(200);
    post(Some(signed("s3cret").replace("sha256=", ""))).await.is(200);
    assert_eq!(inbox.threads().await, [["m1"]]);
    let accounts = inbox.org.admin.get("/api/integrations/accounts?channel=email").await.is(200);
    assert_eq!(accounts[0]["config"]["webhook_secret"], "********");
    assert!(accounts[0]["webhook_url"].as_str().unwrap().ends_with("/webhook/email"));
}

#[tokio::test]
async fn an_address_of_one_provider_takes_no_other_s_posts() {
    let inbox = Inbox::on(&Server::shared().await, json!({"provider": "mailgun"})).await;
    inbox.posts(&inbox.mail("m1", json!({}))).await.refused(401, "bad_signature");
    let fields = json!({"from": "mei@example.org", "recipient": inbox.address, "body-plain": "m2"});
    form(&inbox.org.admin.nobody(), &fields).await.is(200);
    assert_eq!(inbox.threads().await, [["m2"]]);
}

#[tokio::test]
async fn a_proof_that_is_too_old_counts_no_more() {
    let server =
        Server::start(|config| config.limits.mail_proof_age = std::time::Duration::from_secs(60))
            .await;
    let inbox = Inbox::on(&server, json!({"webhook_secret": "key"})).await;
    let post = async |seconds: i64| {
        let signed = format!("{seconds}t0ken");
        let signature = simulator::sign("key", signed.as_bytes()).replace("sha256=", "");
        let fields = json!({
            "from": "mei@example.org", "recipient": inbox.address, "body-plain": "m1",
            "timestamp": seconds.to_string(), "token": "t0ken", "signature": signature,
        });
        form(&inbox.org.admin.nobody(), &fields).await
    };
    let now = crate::harness::unix_now();
    post(now - 3600).await.refused(401, "bad_signature");
    post(now).await.is(200);
}

#[tokio::test]
async fn a_mail_to_nobody_here_is_answered_and_counted_and_one_from_nobody_refused() {
    let server = Server::start(|_| {}).await;
    let inbox = Inbox::on(&server, json!({})).await;
    inbox.gets("m1", json!({"to": "nobody@example.net"})).await;
    inbox.gets("m2", json!({"to": ""})).await;
    let figures = reqwest::get(server.metrics()).await.unwrap().text().await.unwrap();
    assert!(figures.contains("omnistream_mails_unknown_total "), "{figures}");
    for from in [json!(null), json!(""), json!("nobody"), json!("@"), json!(7)] {
        let mail = inbox.mail("m3", json!({"from": from}));
        assert_eq!(inbox.posts(&mail).await.invalid(), ["from"], "{from}");
    }
    let raw = json!({"to": inbox.address, "email": "Subject: x\n\nno sender", "envelope": "{}"});
    assert_eq!(inbox.posts(&raw).await.invalid(), ["from"]);
    assert!(inbox.conversations().await.is_empty());
    assert!(server.dead_letters_of_nobody().await.is_empty());
}

#[tokio::test]
async fn mails_that_are_too_much_get_one_clear_answer() {
    let inbox = Inbox::new().await;
    let many: Vec<_> = (0..10_000).map(|n| format!("a{n}@example.com")).collect();
    let many = inbox.mail("m1", json!({"to": many.join(", ")}));
    assert_eq!(inbox.posts(&many).await.invalid(), ["to"]);
    // On a connection of its own, which is closed: it is answered while it is still being sent.
    let server = inbox.org.server.url().replace("http://", "");
    let (mut answer, mut request) = TcpStream::connect(server).await.unwrap().into_split();
    let posting = tokio::spawn(async move {
        let head = "POST /webhook/email HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
        let head = format!("{head}content-length: {}\r\n\r\n", 40 << 20);
        request.write_all(head.as_bytes()).await?;
        request.write_all(&vec![b'x'; 40 << 20]).await
    });
    let mut begin = [0; 12];
    answer.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 413");
    // It may be cut off before all of it was sent.
    let _ = posting.await.unwrap();
    let odd = inbox.org.admin.nobody().request(Method::POST, "/webhook/email").body("x");
    Answer::of(odd.header("content-type", "text/plain"))
        .await
        .refused(415, "unsupported_media_type");
    inbox.gets("m2", json!({})).await;
    assert_eq!(inbox.threads().await, [["m2"]]);
}

#[tokio::test]
async fn long_texts_are_cut_and_mails_wait_for_their_turn() {
    let server = Server::start(|config| {
        config.limits.mails = 1;
        config.limits.mail_text_bytes = 10;
        config.limits.mail_html_bytes = 20;
        config.limits.mail_body_bytes = 10_000;
    });
    let inbox = Inbox::on(&server.await, json!({})).await;
    let mails: Vec<_> = (10..30)
        .map(|n| {
            inbox.mail(
                &format!("{n}, and more"),
                json!({"html": format!("<p>{}</p>", "x".repeat(20))}),
            )
        })
        .collect();
    for answer in futures_util::future::join_all(mails.iter().map(|mail| inbox.posts(mail))).await {
        answer.is(200);
    }
    let large = inbox.mail("m1", json!({"text": "x".repeat(10_000)}));
    inbox.posts(&large).await.refused(413, "body_too_large");
    let all = inbox.threads().await;
    assert_eq!((all.len(), &all[0][0][..]), (20, "10, and mo"));
    let first = inbox.messages(&inbox.conversations().await[0]).await;
    assert!(first[0].get("html").is_none());
}

#[tokio::test]
async fn what_programs_and_inboxes_of_one_s_own_send_is_marked() {
    let inbox = Inbox::new().await;
    let other = format!("{}@example.com", unique("help"));
    connect(&inbox.org, &other, json!({})).await;
    inbox.gets("m1", json!({"headers": "Auto-Submitted: auto-replied\n"})).await;
    inbox.gets("m2", json!({"from": format!("Help <{other}>")})).await;
    inbox.gets("m3", json!({"from": Inbox::new().await.address})).await;
    for conversation in inbox.conversations().await {
        let message = &inbox.messages(&conversation).await[0];
        let is_marked = message["automatic"] == true;
        assert_eq!(is_marked, message["text"] != "m3", "{message}");
    }
}

#[tokio::test]
async fn only_an_address_can_be_an_inbox() {
    let org = Org::found().await;
    for config in [
        json!({}),
        json!({"address": "shop"}),
        json!({"address": "a@b", "phone_number_id": "1"}),
        json!({"address": "a@b", "provider": "pigeon"}),
    ] {
        let draft = json!({"channel": "email", "config": config});
        assert_eq!(org.admin.post("/api/integrations/accounts", draft).await.invalid().len(), 1);
    }
    let address = format!("{}@Example.com", unique("Shop"));
    let made = connect(&org, &address, json!({})).await;
    assert_eq!(made["account_key"], address.to_lowercase());
    let again = json!({"channel": "email", "config": {"address": address.to_uppercase()}});
    org.admin.post("/api/integrations/accounts", again).await.refused(409, "account_key_in_use");
}

impl Server {
    /// The address by which answers come to a conversation.
    pub(crate) async fn reply_address(&self, inbox: &str, conversation: ConversationId) -> String {
        let app = self.app();
        let head = app.desk.ingress().conversations.head(conversation).await.unwrap().unwrap();
        reply_address(&app.reply_key, inbox, head.thread).unwrap()
    }
}
