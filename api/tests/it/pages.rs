//! Messenger and Instagram through the real routes: proofs, whose each entry is, what people at the
//! desk see of it, and what they answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Plan, Trouble, bodies, sign};
use tokio::sync::mpsc;

use crate::caller::Answer;
use crate::harness::{Org, SECRET, Server, eventually, unique, unix_now};

/// One account of an organization on one of both channels.
pub(crate) struct Page {
    pub(crate) org: Org,
    pub(crate) channel: &'static str,
    pub(crate) key: String,
    pub(crate) account: String,
    /// The customer.
    pub(crate) person: String,
}

impl Page {
    pub(crate) async fn of(org: Org, channel: &'static str, config: Value) -> Self {
        let (key, person) = (unique("50"), unique("81"));
        let id = if channel == "messenger" { "page_id" } else { "ig_user_id" };
        let mut whole = json!({"access_token": "a token", id: key});
        for (name, value) in config.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let draft = json!({"channel": channel, "config": whole});
        let made = org.admin.post("/api/integrations/accounts", draft).await.is(201);
        assert_eq!(made["account_key"], json!(key));
        assert_eq!(made["config"]["access_token"], "********");
        let hook = made["webhook_url"].as_str().unwrap();
        assert!(hook.ends_with(&format!("/webhook/{channel}")), "{hook}");
        let account = made["id"].as_str().unwrap().to_owned();
        Self { org, channel, key, account, person }
    }

    async fn found(channel: &'static str) -> Self {
        Self::of(Org::found().await, channel, json!({"app_secret": SECRET})).await
    }

    fn object(&self) -> &'static str {
        if self.channel == "messenger" { "page" } else { "instagram" }
    }

    fn entry(&self, events: &[Value]) -> Value {
        json!({"id": self.key, "time": unix_now() * 1000, "messaging": events})
    }

    fn body(&self, events: &[Value]) -> Vec<u8> {
        bodies::wire(&json!({"object": self.object(), "entry": [self.entry(events)]})).to_vec()
    }

    /// What the customer does.
    pub(crate) fn does(&self, part: Value) -> Value {
        let mut event = part;
        event["sender"] = json!({"id": self.person});
        event["recipient"] = json!({"id": self.key});
        event["timestamp"] = (unix_now() * 1000).into();
        event
    }

    fn writes(&self, id: &str, text: &str) -> Value {
        self.does(json!({"message": {"mid": id, "text": text}}))
    }

    pub(crate) async fn gets(&self, events: &[Value]) {
        let path = format!("/webhook/{}", self.channel);
        deliver(&self.org, &path, SECRET, &self.body(events)).await.is(200);
    }

    /// The conversations of this account.
    async fn conversations(&self) -> Vec<Value> {
        let all = self.org.admin.get("/api/conversations?per_page=100").await.is(200);
        let mut all: Vec<Value> = serde_json::from_value(all).unwrap();
        all.retain(|one| one["account_id"] == json!(self.account));
        all
    }

    pub(crate) async fn conversation(&self) -> Value {
        let mut all = self.conversations().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// The messages of its one conversation, oldest first.
    pub(crate) async fn reads(&self) -> Vec<Value> {
        let id = self.conversation().await["id"].as_str().unwrap().to_owned();
        let path = format!("/api/conversations/{id}/messages?per_page=100");
        let all = self.org.admin.get(&path).await.is(200);
        let mut all: Vec<Value> = serde_json::from_value(all).unwrap();
        all.reverse();
        all
    }

    pub(crate) async fn says(&self, body: Value) -> Answer {
        let id = self.conversation().await["id"].as_str().unwrap().to_owned();
        self.org.admin.post(&format!("/api/conversations/{id}/messages"), body).await
    }
}

async fn deliver(org: &Org, path: &str, secret: &str, body: &[u8]) -> Answer {
    let request = org.admin.nobody().request(Method::POST, path);
    Answer::of(request.header("x-hub-signature-256", sign(secret, body)).body(body.to_vec())).await
}

#[tokio::test]
async fn a_customer_of_a_page_is_heard_at_every_address_once() {
    for (channel, kind) in [("messenger", "psid"), ("instagram", "igsid")] {
        let page = Page::found(channel).await;
        let first = page.body(&[page.writes(&unique("m."), "Hello")]);
        for path in ["/webhook/messenger", "/webhook/instagram", "/webhook"] {
            deliver(&page.org, path, SECRET, &first).await.is(200);
        }
        page.gets(&[page.writes(&unique("m."), "Anybody?")]).await;
        let messages = page.reads().await;
        let texts: Vec<_> = messages.iter().map(|message| message["text"].clone()).collect();
        assert_eq!(texts, ["Hello", "Anybody?"]);
        let row = page.conversation().await;
        assert_eq!((&row["contact_channel"], &row["unread_count"]), (&json!(channel), &json!(2)));
        let (people, anything) = (&row["window_expires_at"], &row["automation_window_expires_at"]);
        assert!(people.as_str().unwrap() > anything.as_str().unwrap(), "seven days, and one");
        let path = format!("/api/contacts/{}", row["contact_id"].as_str().unwrap());
        let contact = page.org.admin.get(&path).await.is(200);
        let identity = json!([{"kind": kind, "value": page.person, "account_id": page.account}]);
        assert_eq!(contact["identities"], identity);
        assert!(
            contact.get("name").is_none_or(Value::is_null),
            "nobody knows it, and that is well"
        );
    }
}

#[tokio::test]
async fn an_album_that_comes_in_parallel_is_one_conversation() {
    let page = Page::found("instagram").await;
    let photo = |n: usize| {
        let url = format!("https://example.com/{n}.jpg");
        let file = json!([{"type": "image", "payload": {"url": url}}]);
        let event = page.does(json!({"message": {"mid": unique("m."), "attachments": file}}));
        page.body(&[event])
    };
    let photos: Vec<_> = (0..5).map(photo).collect();
    let all = photos.iter().map(|body| deliver(&page.org, "/webhook", SECRET, body));
    for answer in futures_util::future::join_all(all).await {
        answer.is(200);
    }
    let messages = page.reads().await;
    assert_eq!(messages.len(), 5);
    assert!(messages.iter().all(|message| message["kind"] == "image"));
}

#[tokio::test]
async fn each_entry_counts_by_the_secret_of_its_own_account() {
    let server = Server::shared().await;
    let (mine, hers) = (Org::on(&server).await, Org::on(&server).await);
    let mine = Page::of(mine, "messenger", json!({"app_secret": SECRET})).await;
    let hers = Page::of(hers, "messenger", json!({"app_secret": "hers"})).await;
    let entries = [&mine, &hers].map(|page| page.entry(&[page.writes(&unique("m."), "Hi")]));
    let body = bodies::wire(&json!({"object": "page", "entry": entries}));
    deliver(&mine.org, "/webhook/messenger", "nobody's", &body).await.refused(401, "bad_signature");
    assert_eq!((mine.conversations().await.len(), hers.conversations().await.len()), (0, 0));
    deliver(&mine.org, "/webhook/messenger", SECRET, &body).await.is(200);
    assert_eq!((mine.conversations().await.len(), hers.conversations().await.len()), (1, 0));
    let draft =
        json!({"channel": "messenger", "config": {"page_id": mine.key, "access_token": "x"}});
    let taken = hers.org.admin.post("/api/integrations/accounts", draft).await;
    taken.refused(409, "account_key_in_use");
}

#[tokio::test]
async fn both_secrets_of_instagram_s_logins_count_where_an_account_has_none_of_its_own() {
    let server = Server::start(|config| {
        config.meta.app_secret = Some("of facebook".to_owned().into());
        config.meta.instagram_app_secret = Some("of instagram".to_owned().into());
    });
    let server = server.await;
    let page = Page::of(Org::on(&server).await, "instagram", json!({})).await;
    for (n, secret) in ["of facebook", "of instagram"].into_iter().enumerate() {
        let body = page.body(&[page.writes(&unique("m."), secret)]);
        deliver(&page.org, "/webhook/instagram", secret, &body).await.is(200);
        assert_eq!(page.reads().await.len(), n + 1);
    }
    let page = Page::of(page.org, "messenger", json!({})).await;
    let body = page.body(&[page.writes(&unique("m."), "Hi")]);
    let refused = deliver(&page.org, "/webhook/messenger", "of instagram", &body).await;
    refused.refused(401, "bad_signature");
}

#[tokio::test]
async fn strangers_and_tests_of_the_dashboard_are_answered_and_nothing_of_them_is_kept() {
    let server = Server::start(|config| config.meta.app_secret = Some(SECRET.to_owned().into()));
    let org = Org::on(&server.await).await;
    let event = json!({
        "sender": {"id": "12334"}, "recipient": {"id": "23245"}, "timestamp": "1527459824",
        "message": {"mid": "random_mid", "text": "random_text"},
    });
    for (object, id) in [("instagram", "0"), ("page", "0"), ("instagram", "991"), ("page", "992")] {
        let entry = json!({"id": id, "time": "1527459824", "messaging": [event]});
        let body = bodies::wire(&json!({"object": object, "entry": [entry]}));
        deliver(&org, "/webhook", SECRET, &body).await.is(200);
        deliver(&org, "/webhook", "another", &body).await.refused(401, "bad_signature");
    }
    assert_eq!(org.admin.get("/api/contacts").await.is(200), json!([]));
    assert!(org.server.dead_letters_of_nobody().await.is_empty());
    assert!(org.server.dead_letters(&org).await.is_empty());
}

#[tokio::test]
async fn each_address_is_verified_with_the_tokens_of_its_own_channel() {
    let server = Server::start(|config| config.meta.verify_token = Some("ours".to_owned().into()));
    let server = server.await;
    let config = |token: &str| json!({"app_secret": SECRET, "verify_token": token});
    let page = Page::of(Org::on(&server).await, "messenger", config("pages")).await;
    let page = Page::of(page.org, "instagram", config("grams")).await;
    let (all, good) = (["ours", "pages", "grams"], [200, 403]);
    for (path, known) in [
        ("/webhook", [0, 1, 0]),
        ("/webhook/messenger", [0, 0, 1]),
        ("/webhook/instagram", [0, 1, 0]),
    ] {
        for (token, is) in all.into_iter().zip(known) {
            let query = format!("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=17");
            let answer = page.org.admin.nobody().get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, good[is], "{path} {token}");
        }
    }
}

#[tokio::test]
async fn people_answer_late_with_the_tag_of_a_human_agent_and_not_after_a_week() {
    let (url, mut asks) = provider().await;
    let server = Server::start(|config| config.meta.graph_url = url).await;
    for channel in ["messenger", "instagram"] {
        let config = json!({"app_secret": SECRET, "send_read_marks": false});
        let page = Page::of(Org::on(&server).await, channel, config).await;
        let wrote = |days: i64| {
            let mut event = page.writes(&unique("m."), "Hello?");
            event["timestamp"] = ((unix_now() - days * 24 * 3_600) * 1000).into();
            event
        };
        page.gets(&[wrote(8)]).await;
        let closed = page.says(json!({"text": "Sorry"})).await.refused(409, "window_closed");
        assert!(!closed.to_string().contains("template"), "{closed}");
        page.gets(&[wrote(2)]).await;
        page.says(json!({"text": "Sorry to be late"})).await.is(201);
        let (_, asked, _) = asks.recv().await.unwrap();
        assert_eq!(
            (&asked["messaging_type"], &asked["tag"]),
            (&json!("MESSAGE_TAG"), &json!("HUMAN_AGENT"))
        );
        page.gets(&[wrote(0)]).await;
        page.says(json!({"text": "Here"})).await.is(201);
        let (_, asked, _) = asks.recv().await.unwrap();
        assert_eq!((&asked["messaging_type"], asked.get("tag")), (&json!("RESPONSE"), None));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_of_its_organization_and_costs_nothing_else() {
    let page = Page::found("messenger").await;
    let mut nameless = page.does(json!({"postback": {"title": "Go", "payload": "GO"}}));
    nameless["sender"] = json!({"user_ref": "u-1"});
    let odd = page.does(json!({"something_new": {"x": 1}}));
    page.gets(&[odd, page.writes(&unique("m."), "Hello"), nameless]).await;
    assert_eq!(page.reads().await.len(), 1);
    let letters = page.org.admin.get("/api/dead-letters").await.is(200);
    let letters = letters.as_array().unwrap();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(
            (&letter["source"], &letter["account_id"]),
            (&json!("decode"), &json!(page.account))
        );
        let path = format!("/api/dead-letters/{}/retry", letter["id"].as_str().unwrap());
        let again = page.org.admin.call(Method::POST, &path, None).await;
        assert_eq!(again.is(200)["done"], false);
    }
    // Then the person is known whom that reference names.
    let mut known = page.writes(&unique("m."), "It is me");
    known["sender"]["user_ref"] = "u-1".into();
    page.gets(&[known]).await;
    let texts: Vec<_> = page.reads().await.into_iter().map(|one| one["text"].clone()).collect();
    assert_eq!(texts, ["Hello", "Go", "It is me"]);
    let letters = page.org.admin.get("/api/dead-letters").await.is(200);
    assert_eq!(letters.as_array().unwrap().len(), 1, "it is done");
}

#[tokio::test]
async fn what_the_page_s_own_inbox_sends_and_another_app_s_handover_are_shown() {
    let page = Page::found("messenger").await;
    let pass = page.does(json!({"pass_thread_control": {"new_owner_app_id": "4711"}}));
    page.gets(std::slice::from_ref(&pass)).await;
    assert!(page.conversations().await.is_empty(), "of nobody who is known");
    page.gets(&[page.writes(&unique("m."), "Hello")]).await;
    let mut echo =
        page.does(json!({"message": {"mid": unique("m."), "text": "Yes?", "is_echo": true}}));
    (echo["sender"], echo["recipient"]) = (json!({"id": page.key}), json!({"id": page.person}));
    page.gets(&[echo.clone(), pass.clone(), echo, pass]).await;
    let messages = page.reads().await;
    let shown: Vec<_> = messages
        .iter()
        .map(|message| {
            (
                message["direction"].clone(),
                message["sender"]["type"].clone(),
                message["kind"].clone(),
            )
        })
        .collect();
    let row = |way: &str, who: &str, kind: &str| (json!(way), json!(who), json!(kind));
    assert_eq!(
        shown[..2],
        [row("inbound", "contact", "text"), row("outbound", "provider", "text")]
    );
    assert_eq!((shown.len(), &shown[2].2), (3, &json!("system")));
    assert_eq!(page.conversation().await["unread_count"], 1);
}

#[tokio::test]
async fn reactions_edits_and_deletions_wait_for_their_message() {
    let page = Page::found("instagram").await;
    let (first, second) = (unique("m."), unique("m."));
    let edit = page.does(json!({"message_edit": {"mid": first, "text": "two", "num_edit": "1"}}));
    let love = json!({"mid": first, "action": "react", "reaction": "love"});
    let gone = page.does(json!({"message": {"mid": second, "is_deleted": true}}));
    page.gets(&[edit, page.does(json!({"reaction": love})), gone]).await;
    assert!(page.conversations().await.is_empty());
    page.gets(&[page.writes(&first, "one"), page.writes(&second, "a secret")]).await;
    let messages = page.reads().await;
    assert_eq!(
        (&messages[0]["text"], &messages[0]["reactions"][0]["emoji"]),
        (&json!("two"), &json!("❤️"))
    );
    assert!(messages[1].get("text").is_none() && messages[1]["deleted_at"].is_string());
}

#[tokio::test]
async fn an_answer_to_a_story_shows_the_story() {
    let page = Page::found("instagram").await;
    let story = json!({"id": "1780", "url": "https://example.com/s"});
    let message = json!({"mid": unique("m."), "text": "Nice", "reply_to": {"story": story}});
    page.gets(&[page.does(json!({"message": message}))]).await;
    let messages = page.reads().await;
    assert_eq!(messages[0]["story"], story);
    assert!(messages[0].get("reply_to").is_none());
}

/// A provider that takes every message; what it was asked, and by which id it knows it.
async fn provider() -> (String, mpsc::UnboundedReceiver<(String, Value, String)>) {
    type Asked = mpsc::UnboundedSender<(String, Value, String)>;
    let (asked, asks) = mpsc::unbounded_channel();
    let take = async |Path(key): Path<String>, State(asked): State<Arc<Asked>>, body: String| {
        let body: Value = serde_json::from_str(&body).unwrap();
        let id = unique("m.");
        let answer = json!({"recipient_id": body["recipient"]["id"], "message_id": id});
        let _ = asked.send((key, body, id));
        axum::Json(answer)
    };
    let known = async || axum::Json(json!({"id": "1", "name": "Corner Store"}));
    let router = Router::new()
        .route("/v23.0/{key}", axum::routing::get(known))
        .route("/v23.0/{key}/messages", post(take))
        .with_state(Arc::new(asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), asks)
}

#[tokio::test]
async fn an_answer_goes_out_is_known_by_its_echo_and_raised_by_watermarks() {
    let (url, mut asks) = provider().await;
    let server = Server::start(|config| config.meta.graph_url = url).await;
    let config = json!({"app_secret": SECRET, "send_read_marks": false});
    let page = Page::of(Org::on(&server).await, "messenger", config).await;
    page.gets(&[page.writes(&unique("m."), "Are you open?")]).await;
    page.says(json!({"text": "x".repeat(2001)})).await.refused(422, "invalid");
    let sent = page.says(json!({"text": "Until nine."})).await.is(201);
    let (key, asked, id) = asks.recv().await.unwrap();
    assert_eq!((&key, &asked["recipient"]), (&page.key, &json!({"id": page.person})));
    assert_eq!(
        (&asked["message"]["text"], &asked["messaging_type"]),
        (&json!("Until nine."), &json!("RESPONSE"))
    );
    let mut echo = page.does(json!({"message": {
        "mid": id, "text": "Until nine.", "is_echo": true, "metadata": asked["message"]["metadata"],
    }}));
    (echo["sender"], echo["recipient"]) = (json!({"id": page.key}), json!({"id": page.person}));
    page.gets(&[echo]).await;
    let status = async || {
        let messages = page.reads().await;
        assert_eq!((messages.len(), &messages[1]["id"]), (2, &sent["id"]), "it is shown once");
        messages[1]["status"].clone()
    };
    eventually(async || (status().await == "sent").then_some(())).await;
    let later = (unix_now() + 60) * 1000;
    page.gets(&[page.does(json!({"delivery": {"watermark": later}}))]).await;
    assert_eq!(status().await, "delivered");
    page.gets(&[page.does(json!({"read": {"watermark": later}}))]).await;
    page.gets(&[page.does(json!({"delivery": {"mids": [id], "watermark": later}}))]).await;
    assert_eq!(status().await, "read", "nothing goes back");
    let nobody = Page { person: unique("81"), ..page };
    nobody.gets(&[nobody.does(json!({"read": {"watermark": later}}))]).await;
    assert_eq!(nobody.conversations().await.len(), 1, "a watermark makes nobody known");
}

#[tokio::test]
async fn the_stand_in_s_echoes_deliveries_and_reads_settle_one_message() {
    let page = Page::found("messenger").await;
    page.gets(&[page.writes(&unique("m."), "Are you open?")]).await;
    for text in ["Until nine.", "And on Sunday, too."] {
        page.says(json!({"text": text})).await.is(201);
    }
    let are_read = async || {
        let messages = page.reads().await;
        assert_eq!(messages.len(), 3, "each is shown once");
        messages[1..].iter().all(|message| message["status"] == "read").then_some(())
    };
    eventually(are_read).await;
}

#[tokio::test]
async fn what_is_seen_on_instagram_is_read() {
    let (url, mut asks) = provider().await;
    let server = Server::start(|config| config.meta.instagram_url = url).await;
    let config =
        json!({"app_secret": SECRET, "access_token": "IGAAtoken", "send_read_marks": false});
    let page = Page::of(Org::on(&server).await, "instagram", config).await;
    page.gets(&[page.writes(&unique("m."), "Olá")]).await;
    page.says(json!({"text": "é".repeat(501)})).await.refused(422, "invalid");
    page.says(json!({"text": "Olá!"})).await.is(201);
    let (_, asked, id) = asks.recv().await.unwrap();
    assert_eq!(asked["recipient"], json!({"id": page.person}));
    page.gets(&[page.does(json!({"read": {"mid": id}}))]).await;
    eventually(async || (page.reads().await[1]["status"] == "read").then_some(())).await;
}

#[tokio::test]
async fn an_echo_before_the_answer_to_our_send_is_that_message_whatever_is_answered() {
    let patience = Duration::from_millis(500);
    let server = Server::start(|config| config.limits.provider_timeout = patience).await;
    let config = json!({"app_secret": SECRET, "send_read_marks": false});
    let page = Page::of(Org::on(&server).await, "messenger", config).await;
    page.gets(&[page.writes(&unique("m."), "Are you open?")]).await;
    // It is done and told of by webhook; its answer is late, is none, or says that nothing happened.
    for (n, how) in [Trouble::HangAfter, Trouble::ResetAfter, Trouble::Truncated].iter().enumerate()
    {
        server.graph.plan(Plan::next_sends(1, *how));
        let sent = page.says(json!({"text": "Until nine."})).await.is(201);
        let is_read = async || {
            let messages = page.reads().await;
            assert_eq!(messages.len(), 2 + n, "{how:?}: it is shown once");
            assert_eq!(messages[1 + n]["id"], sent["id"]);
            (messages[1 + n]["status"] == "read").then_some(())
        };
        eventually(is_read).await;
    }
    let messages = page.reads().await;
    assert!(messages[1..].iter().all(|message| message["status"] == "read"), "{messages:?}");
    assert_eq!(server.graph.sends().sends.len(), 3, "nothing is sent twice");
}
