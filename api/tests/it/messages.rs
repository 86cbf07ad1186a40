//! Messages of a conversation: reading and sending.

use serde_json::{Value, json};

use crate::harness::{Org, Server, unique, unix_now};

fn at(id: &str) -> String {
    format!("/api/conversations/{id}/messages")
}

#[tokio::test]
async fn a_sent_message_is_queued_under_the_sender_s_name_and_listed_newest_first() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let id = org.hears(&unique("1555"), "Is it in stock?").await;
    let sent = ana.post(&at(&id), json!({"text": "Yes, it is."})).await.is(201);
    assert_eq!((&sent["status"], &sent["direction"]), (&json!("queued"), &json!("outbound")));
    assert_eq!((&sent["kind"], &sent["text"]), (&json!("text"), &json!("Yes, it is.")));
    assert_eq!(sent["sender"], json!({"type": "agent", "id": ana.id, "name": "agent"}));
    let all = ana.get(&at(&id)).await.is(200);
    assert_eq!(all[0]["id"], sent["id"]);
    assert_eq!((&all[1]["status"], &all[1]["direction"]), (&json!("received"), &json!("inbound")));
    assert_eq!(all[1]["sender"]["type"], "contact");
    assert!(all[0]["seq"].as_u64() > all[1]["seq"].as_u64());
}

#[tokio::test]
async fn a_reply_names_what_it_answers_by_both_ids() {
    let (org, other) = (Org::found().await, Org::found().await);
    let id = org.hears(&unique("1555"), "Is it in stock?").await;
    let question = org.admin.get(&at(&id)).await.is(200)[0].take();
    let reply = json!({"text": "Yes.", "reply_to_message_id": question["id"]});
    let sent = org.admin.post(&at(&id), reply).await.is(201);
    assert_eq!(sent["reply_to_message_id"], question["id"]);
    assert_eq!(sent["reply_to"], question["provider_message_id"]);
    let foreign = other.hears(&unique("1555"), "Hello").await;
    let foreign = other.admin.get(&at(&foreign)).await.is(200)[0]["id"].take();
    let reply = json!({"text": "Yes.", "reply_to_message_id": foreign});
    org.admin.post(&at(&id), reply).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_said_before_anything_is_stored() {
    let org = Org::found().await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let titled = |title: &str| {
        let reply = json!({"type": "reply", "reply": {"id": title, "title": title}});
        let action = json!({"buttons": [reply]});
        json!({"interactive": {"type": "button", "body": {"text": "Which?"}, "action": action}})
    };
    for (body, field) in [
        (json!({}), "text"),
        (json!({"text": ""}), "text"),
        (json!({"text": " \n"}), "text"),
        (json!({"text": "ö".repeat(4097)}), "text"),
        (json!({"text": "x", "kind": "image"}), "kind"),
        (json!({"text": "x", "kind": "poem"}), "kind"),
        (json!({"text": "x", "size": 1}), "size"),
        (json!({"text": "x", "reply_to_message_id": "first"}), "reply_to_message_id"),
        (json!({"text": "x", "location": {"latitude": 1, "longitude": 1}}), "text"),
        (json!({"attachments": [{"kind": "image", "link": "x"}]}), "attachments[0].link"),
        (
            json!({"attachments": [{"kind": "image", "url": "http://10.0.0.1/a"}]}),
            "attachments[0].url",
        ),
        (json!({"location": {"latitude": 91, "longitude": 1}}), "location.latitude"),
        (json!({"contacts": [{"name": {}}]}), "contacts[0].name.formatted_name"),
        (titled(&"t".repeat(21)), "interactive.action.buttons[0].reply.title"),
        (json!({"template": {"name": "Order", "language": "en"}}), "template.name"),
        (json!({"reaction": {"message_id": id, "emoji": "ok"}}), "reaction.emoji"),
    ] {
        assert_eq!(org.admin.post(&at(&id), body).await.invalid(), [field]);
    }
    assert_eq!(org.admin.get(&at(&id)).await.headers["x-total-count"], "1");
    org.admin.post(&at(&id), json!({"text": "ö".repeat(4096), "kind": "text"})).await.is(201);
    org.admin.post(&at(&id), titled(&"t".repeat(20))).await.is(201);
}

#[tokio::test]
async fn free_text_needs_a_customer_who_wrote_within_a_day() {
    let org = Org::found().await;
    let phone = unique("1555");
    let day_ago = unix_now() - 24 * 60 * 60;
    org.deliver(&org.text_at(&unique("wamid."), &phone, "Hello", day_ago)).await.is(200);
    let id = org.conversation(&phone).await["id"].as_str().unwrap().to_owned();
    let closed = org.admin.post(&at(&id), json!({"text": "Hi"})).await;
    let plan = &closed.body["error"]["details"][0];
    let closes = org.conversation(&phone).await["window_expires_at"].take();
    assert_eq!(plan["field"], "window_expires_at");
    assert!(plan["message"].as_str().unwrap().contains(closes.as_str().unwrap()), "{plan}");
    closed.refused(409, "window_closed");
    assert_eq!(org.admin.get(&at(&id)).await.headers["x-total-count"], "1");
    let template = json!({"template": {"name": "order_ready", "language": "en_US"}});
    let sent = org.admin.post(&at(&id), template).await.is(201);
    assert_eq!((&sent["kind"], &sent["status"]), (&json!("template"), &json!("queued")));
    org.hears(&phone, "Still there?").await;
    org.admin.post(&at(&id), json!({"text": "Hi"})).await.is(201);
}

#[tokio::test]
async fn nothing_is_sent_through_an_account_that_is_not_active() {
    let org = Org::found().await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let account = format!("/api/integrations/accounts/{}", org.account);
    org.admin.patch(&account, json!({"is_active": false})).await.is(200);
    org.admin.post(&at(&id), json!({"text": "Hi"})).await.refused(409, "account_inactive");
    org.admin.patch(&account, json!({"is_active": true})).await.is(200);
    org.admin.post(&at(&id), json!({"text": "Hi"})).await.is(201);
    org.admin.delete(&account).await.is(200);
    org.admin.post(&at(&id), json!({"text": "Hi"})).await.refused(409, "account_inactive");
}

#[tokio::test]
async fn an_idempotency_key_sends_once_and_takes_no_other_body() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let (path, hi) = (at(&id), json!({"text": "Hi"}));
    let sent = org.admin.post_once(&path, "k1", hi.clone()).await.is(201);
    server.restart().await;
    let again = org.admin.post_once(&path, "k1", hi.clone()).await.is(201);
    assert_eq!(again["id"], sent["id"]);
    let other = org.admin.post_once(&path, "k1", json!({"text": "Ho"})).await;
    other.refused(409, "idempotency_key_reused");
    assert_ne!(org.admin.post_once(&path, "k2", hi.clone()).await.is(201)["id"], sent["id"]);
    // Somebody else's key, and the same one elsewhere, are other keys.
    let ana = org.hire("agent").await;
    assert_ne!(ana.post_once(&path, "k1", hi.clone()).await.is(201)["id"], sent["id"]);
    let second = org.hears(&unique("1555"), "Hello").await;
    org.admin.post_once(&at(&second), "k1", hi).await.is(201);
    assert_eq!(org.admin.get(&path).await.headers["x-total-count"], "4");
    let long = org.admin.post_once(&path, &"k".repeat(256), json!({"text": "Hi"})).await;
    assert_eq!(long.invalid(), ["Idempotency-Key"]);
}

#[tokio::test]
async fn of_many_sends_with_one_key_at_once_one_is_made() {
    let org = Org::found().await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (admin, path) = (org.admin.clone(), at(&id));
        let hi = json!({"text": "Hi"});
        all.spawn(async move { admin.post_once(&path, "key", hi).await.is(201)["id"].take() });
    }
    let mut made = all.join_all().await;
    made.dedup();
    assert_eq!(made.len(), 1);
}

/// The texts of an answered list.
fn texts(all: &Value) -> Vec<&str> {
    all.as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn pages_and_bounds_lead_through_all_messages() {
    let org = Org::found().await;
    let phone = unique("1555");
    for n in 1..=7 {
        org.hears(&phone, &n.to_string()).await;
    }
    let id = org.hears(&phone, "8").await;
    let first = org.admin.get(&format!("{}?per_page=3", at(&id))).await;
    assert_eq!(first.headers["x-total-count"], "8");
    let next = format!("<{}?page=2&per_page=3>; rel=\"next\"", at(&id));
    assert_eq!(first.headers["link"], next);
    assert_eq!(texts(&first.is(200)), ["8", "7", "6"]);
    let last = org.admin.get(&format!("{}?per_page=3&page=3", at(&id))).await;
    assert!(!last.headers["link"].to_str().unwrap().contains("next"));
    let last = last.is(200);
    assert_eq!(texts(&last), ["2", "1"]);
    let two = last[0]["seq"].as_u64().unwrap();
    let newer = org.admin.get(&format!("{}?after_seq={two}", at(&id))).await;
    assert_eq!(newer.headers["x-total-count"], "6");
    assert!(!newer.headers.contains_key("link"));
    let newer = newer.is(200);
    assert_eq!(texts(&newer), ["8", "7", "6", "5", "4", "3"]);
    let six = newer[2]["seq"].as_u64().unwrap();
    let between = format!("{}?before_seq={six}&after_seq={two}&per_page=2", at(&id));
    let page = org.admin.get(&between).await;
    assert_eq!(page.headers["x-total-count"], "3");
    let next = page.headers["link"].to_str().unwrap().to_owned();
    assert!(next.contains(&format!("before_seq={six}&after_seq={two}&page=2")), "{next}");
    assert_eq!(texts(&page.is(200)), ["5", "4"]);
    let next = org.admin.get(&format!("{between}&page=2")).await;
    assert!(!next.headers["link"].to_str().unwrap().contains("next"));
    assert_eq!(texts(&next.is(200)), ["3"]);
    for (query, total) in [("before_seq=1", "0"), ("after_seq=9999", "0"), ("before_seq=0", "0")] {
        let none = org.admin.get(&format!("{}?{query}", at(&id))).await;
        assert_eq!(none.headers["x-total-count"], total, "{query}");
        assert_eq!(none.is(200), json!([]));
    }
    let wrong = org.admin.get(&format!("{}?before_seq=x", at(&id))).await;
    assert_eq!(wrong.invalid(), ["before_seq"]);
}
