//! What providers deliver: proofs first, then each item on its own.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{bodies, sign};

use crate::caller::Answer;
use crate::harness::{Org, SECRET, Server, unique};

/// Delivers these bytes, with these headers.
async fn deliver(org: &Org, body: &[u8], headers: &[(&str, &str)]) -> Answer {
    let mut request = org.admin.nobody().request(Method::POST, "/webhook").body(body.to_vec());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

async fn deliver_signed(org: &Org, secret: &str, body: &[u8]) -> Answer {
    deliver(org, body, &[("x-hub-signature-256", &sign(secret, body))]).await
}

async fn texts(org: &Org, phone: &str) -> Vec<Value> {
    let id = org.conversation(phone).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/conversations/{id}/messages?per_page=100");
    let all = org.admin.get(&path).await.is(200);
    let mut texts: Vec<_> =
        all.as_array().unwrap().iter().map(|message| message["text"].clone()).collect();
    texts.reverse();
    texts
}

async fn hears_nothing(org: &Org) {
    assert_eq!(org.admin.get("/api/conversations").await.is(200), json!([]));
    assert_eq!(org.admin.get("/api/contacts").await.is(200), json!([]));
}

/// On a server whose provider has one secret for all accounts without their own.
async fn with_fallback() -> Org {
    let server = Server::start(|config| config.meta.app_secret = Some(SECRET.to_owned().into()));
    Org::with_secret(&server.await, "its own secret").await
}

#[tokio::test]
async fn nothing_is_stored_of_what_is_not_signed_with_the_account_s_secret() {
    let (org, other) =
        (Org::found().await, Org::with_secret(&Server::shared().await, "hers").await);
    let body = other.text(&unique("wamid."), &unique("1555"), "Hello").to_string();
    let body = body.as_bytes();
    let good = sign("hers", body);
    let shouted = good.replace("sha256", "SHA256");
    for header in ["", "sha256=", &good[7..], &good[..70], &shouted, &good.replace('=', "=0")] {
        let answer = deliver(&other, body, &[("x-hub-signature-256", header)]).await;
        answer.refused(401, "bad_signature");
    }
    deliver(&other, body, &[]).await.refused(401, "bad_signature");
    deliver(&other, body, &[("x-hub-signature", &good)]).await.refused(401, "bad_signature");
    // Another organization's secret, and that of nobody here.
    deliver_signed(&other, SECRET, body).await.refused(401, "bad_signature");
    deliver_signed(&other, "", body).await.refused(401, "bad_signature");
    let mut longer = body.to_vec();
    longer.push(b' ');
    let answer = deliver(&other, &longer, &[("x-hub-signature-256", &good)]).await;
    answer.refused(401, "bad_signature");
    hears_nothing(&other).await;
    hears_nothing(&org).await;
}

#[tokio::test]
async fn of_a_body_counts_what_its_signature_proves() {
    let server = Server::shared().await;
    let (one, two) = (Org::on(&server).await, Org::with_secret(&server, "hers").await);
    let (phone, id) = (unique("1555"), unique("wamid."));
    let both = [one.text(&id, &phone, "For one"), two.text(&id, &phone, "For two")];
    let body = bodies::batch(both).to_string();
    deliver_signed(&one, SECRET, body.as_bytes()).await.is(200);
    assert_eq!(texts(&one, &phone).await, ["For one"]);
    hears_nothing(&two).await;
}

#[tokio::test]
async fn however_much_a_body_tells_of_a_number_that_nobody_has_what_is_an_account_s_counts() {
    let mut org = Org::found().await;
    let phone = unique("1555");
    let ours = org.text(&unique("wamid."), &phone, "Hello");
    org.number = unique("8");
    let nobody_s = (0..100).map(|_| org.text(&unique("wamid."), &phone, "For nobody"));
    let body = bodies::batch(nobody_s.chain([ours])).to_string();
    deliver_signed(&org, SECRET, body.as_bytes()).await.is(200);
    assert_eq!(texts(&org, &phone).await, ["Hello"]);
}

#[tokio::test]
async fn the_same_message_again_is_the_same_message() {
    let org = Org::found().await;
    let phone = unique("1555");
    let webhook = org.text(&unique("wamid."), &phone, "😀 a/b");
    for _ in 0..3 {
        org.deliver(&webhook).await.is(200);
    }
    assert_eq!(texts(&org, &phone).await, ["😀 a/b"]);
    assert_eq!(org.conversation(&phone).await["unread_count"], 1);
}

#[tokio::test]
async fn what_is_not_understood_yet_is_a_message_without_content() {
    let org = Org::found().await;
    let phone = unique("1555");
    let mut webhook = org.text(&unique("wamid."), &phone, "");
    let message = webhook.pointer_mut("/entry/0/changes/0/value/messages/0").unwrap();
    message["type"] = json!("hologram");
    message["hologram"] = json!({"id": 7});
    org.deliver(&webhook).await.is(200);
    let id = org.conversation(&phone).await["id"].as_str().unwrap().to_owned();
    let all = org.admin.get(&format!("/api/conversations/{id}/messages")).await.is(200);
    assert_eq!((&all[0]["kind"], all[0].get("text")), (&json!("unsupported"), None));
    assert_eq!(org.server.dead_letters(&org).await, [""; 0]);
}

#[tokio::test]
async fn a_bad_item_is_buried_and_its_neighbours_are_heard() {
    let org = Org::found().await;
    let phone = unique("1555");
    let one = org.text(&unique("wamid."), &phone, "one");
    let mut bad = org.text(&unique("wamid."), &phone, "two");
    bad["entry"][0]["changes"][0]["value"]["messages"][0]["from"] = json!({"no": "sender"});
    let mut worse = org.text(&unique("wamid."), &phone, "two");
    worse["entry"][0]["changes"][0]["value"]["messages"] = json!("none");
    let three = org.text(&unique("wamid."), &phone, "three");
    org.deliver(&bodies::batch([one, bad, worse, three])).await.is(200);
    assert_eq!(texts(&org, &phone).await, ["one", "three"]);
    let mut reasons = org.server.dead_letters(&org).await;
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "the change is not what a change should be",
            "the message is not what a message should be"
        ]
    );
}

#[tokio::test]
async fn rubbish_is_buried_when_it_is_signed_and_refused_otherwise() {
    let org = with_fallback().await;
    let rubbish: [&[u8]; 6] =
        [b"", b"no json", b"[]", b"{}", b"{\"object\":\"page\",\"entry\":1}", b"\xff\xfe"];
    for body in rubbish {
        deliver_signed(&org, SECRET, body).await.is(200);
        deliver_signed(&org, "its own secret", body).await.refused(401, "bad_signature");
    }
    assert_eq!(org.server.dead_letters_of_nobody().await.len(), rubbish.len());
    hears_nothing(&org).await;
}

#[tokio::test]
async fn a_number_that_nobody_has_connected_is_buried_for_the_installation() {
    let mut org = with_fallback().await;
    let known = std::mem::replace(&mut org.number, unique("8"));
    let body = org.text(&unique("wamid."), &unique("1555"), "Hello").to_string();
    for _ in 0..2 {
        deliver_signed(&org, SECRET, body.as_bytes()).await.is(200);
    }
    let reasons = org.server.dead_letters_of_nobody().await;
    assert_eq!(reasons, ["no connected account is named by it"]);
    // An account's own secret is the only one that counts for it, while it is active.
    org.number = known;
    let body = org.text(&unique("wamid."), &unique("1555"), "Hello").to_string();
    deliver_signed(&org, SECRET, body.as_bytes()).await.refused(401, "bad_signature");
    let path = format!("/api/integrations/accounts/{}", org.account);
    org.admin.patch(&path, json!({"is_active": false})).await.is(200);
    deliver_signed(&org, SECRET, body.as_bytes()).await.is(200);
    assert_eq!(org.server.dead_letters_of_nobody().await.len(), 2);
    hears_nothing(&org).await;
}

#[tokio::test]
async fn a_webhook_that_is_too_large_is_refused() {
    let server = Server::start(|config| config.limits.webhook_body_bytes = 1_000).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let large = org.text(&unique("wamid."), &phone, &"x".repeat(1_000));
    org.deliver(&large).await.refused(413, "body_too_large");
    org.deliver(&org.text(&unique("wamid."), &phone, "small")).await.is(200);
    assert_eq!(texts(&org, &phone).await, ["small"]);
}

#[tokio::test]
async fn an_address_is_verified_with_the_installation_s_token_or_an_account_s() {
    let server = Server::start(|config| config.meta.verify_token = Some("ours".to_owned().into()));
    let org = Org::on(&server.await).await;
    let account = format!("/api/integrations/accounts/{}", org.account);
    let verify = async |mode: &str, token: &str| {
        let query = format!("hub.mode={mode}&hub.verify_token={token}&hub.challenge=0017");
        org.admin.nobody().get(&format!("/webhook?{query}")).await
    };
    let own = json!({"config": {"verify_token": "its own"}});
    org.admin.patch(&account, own).await.is(200);
    for token in ["ours", "its+own"] {
        let answer = verify("subscribe", token).await;
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        assert_eq!(answer.text, "0017");
        answer.is(200);
        verify("unsubscribe", token).await.refused(403, "forbidden");
    }
    verify("subscribe", "another").await.refused(403, "forbidden");
    verify("subscribe", "").await.refused(403, "forbidden");
    let another = json!({"config": {"verify_token": "another"}});
    org.admin.patch(&account, another).await.is(200);
    verify("subscribe", "its+own").await.refused(403, "forbidden");
    org.server.restart().await;
    verify("subscribe", "another").await.is(200);
    org.admin.delete(&account).await.is(200);
    verify("subscribe", "another").await.refused(403, "forbidden");
    org.admin.nobody().get("/webhook").await.refused(403, "forbidden");
}

#[tokio::test]
async fn accounts_of_one_app_share_its_verify_token() {
    let org = Org::found().await;
    let token = unique("token");
    let second = org.connect(&unique("8")).await;
    let path = |id: &str| format!("/api/integrations/accounts/{id}");
    for id in [&org.account, &second] {
        let token = json!({"config": {"verify_token": token}});
        org.admin.patch(&path(id), token).await.is(200);
    }
    let query = format!("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=17");
    for (id, after) in [(&second, 200), (&org.account, 403)] {
        org.admin.delete(&path(id)).await.is(200);
        assert_eq!(org.admin.nobody().get(&format!("/webhook?{query}")).await.status, after);
    }
}
