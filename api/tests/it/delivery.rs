//! From the customer to the desk and back, through the provider: everything once, whatever fails.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use simulator::bodies::{self, Account, Status};
use simulator::{GraphOptions, Sent, StatusDelays};

use crate::harness::{Org, Server, eventually, graph, unique};

/// Delivers all of these so many times at once, each again until it is taken.
async fn deliver_all(org: &Org, webhooks: &[Value], times: usize) {
    let all = (0..times).flat_map(|_| webhooks);
    join_all(all.map(async |webhook| {
        while org.deliver(webhook).await.status != 200 {
            tokio::task::yield_now().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn two_hundred_first_messages_at_once_make_one_contact_and_one_conversation() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let webhooks: Vec<_> =
        (0..200).map(|n| org.text(&unique("wamid."), &phone, &n.to_string())).collect();
    let mut before = None;
    for round in 0..3 {
        if round == 2 {
            server.restart().await;
        }
        let times = if round == 1 { 3 } else { 1 };
        deliver_all(&org, &webhooks, times).await;
        let contacts = org.admin.get("/api/contacts").await.is(200);
        assert_eq!(contacts.as_array().unwrap().len(), 1, "round {round}");
        assert_eq!((&contacts[0]["phone"], &contacts[0]["name"]), (&json!(phone), &json!("Ines")));
        let conversation = org.conversation(&phone).await;
        assert_eq!(conversation["unread_count"], 200, "round {round}");
        let messages = everything(&org, &conversation).await;
        let texts: BTreeSet<_> =
            messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
        assert_eq!((messages.len(), texts.len()), (200, 200), "round {round}");
        let now = (contacts, conversation, messages);
        assert!(before.is_none() || before.as_ref() == Some(&now), "round {round}: {before:?}");
        before = Some(now);
    }
}

async fn everything(org: &Org, conversation: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let mut path = Some(format!("{}?per_page=100", at(conversation["id"].as_str().unwrap())));
    while let Some(next) = path {
        let answer = org.admin.get(&next).await;
        let link = answer.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
        let next = link.filter(|link| link.contains("rel=\"next\""));
        path = next.map(|link| link[1..].split('>').next().unwrap().to_owned());
        all.extend(answer.is(200).as_array().unwrap().iter().cloned());
    }
    all
}

fn at(id: &str) -> String {
    format!("/api/conversations/{id}/messages")
}

/// A customer with these last digits wrote, and is answered. The conversation and the message.
async fn answered(org: &Org, last: &str) -> (String, Value) {
    let id = org.hears(&format!("{}{last}", unique("1555")), "Hello").await;
    let sent = org.admin.post(&at(&id), json!({"text": "Hi"})).await.is(201);
    (id, sent["id"].clone())
}

/// A message as it is now.
async fn message(org: &Org, id: &str, message: &Value) -> Value {
    let all = org.admin.get(&at(id)).await.is(200);
    let found = all.as_array().unwrap().iter().find(|found| found["id"] == *message);
    found.unwrap().clone()
}

/// A message once it has this status.
async fn becomes(org: &Org, id: &str, of: &Value, status: &str) -> Value {
    eventually(async || {
        Some(message(org, id, of).await).filter(|message| message["status"] == status)
    })
    .await
}

/// A provider that says nothing later by itself.
fn silent() -> GraphOptions {
    let never = Duration::from_secs(3600);
    GraphOptions { delays: StatusDelays { sent: never, delivered: never, read: None }, ..graph() }
}

/// The provider says what became of a send.
async fn reports(org: &Org, sent: &Sent, status: &str) {
    let account = Account::new(&*org.number);
    let status = Status {
        id: &sent.wamid,
        to: &sent.to,
        status,
        at: crate::harness::unix_now(),
        opaque: sent.opaque.as_deref(),
        error: None,
    };
    org.deliver(&bodies::status(&account, &status)).await.is(200);
}

async fn start(graph: GraphOptions) -> (Arc<Server>, Org) {
    let server = Server::beside(graph, |config| {
        config.limits.send_ladder = vec![Duration::from_millis(5); 3];
        config.limits.pair_ladder = vec![Duration::from_millis(5)];
        config.limits.provider_timeout = Duration::from_secs(1);
        config.server.drain = Duration::from_secs(2);
    })
    .await;
    let org = Org::on(&server).await;
    (server, org)
}

#[tokio::test]
async fn a_message_goes_its_way_step_by_step() {
    let (server, org) = start(silent()).await;
    let (id, hi) = answered(&org, "1").await;
    let accepted = becomes(&org, &id, &hi, "sent").await;
    let sent = server.graph.sends().sends.remove(0);
    assert_eq!(accepted["provider_message_id"], json!(sent.wamid));
    assert_eq!(sent.text.as_deref(), Some("Hi"));
    assert_eq!(sent.phone_number_id, org.number);
    for status in ["delivered", "read"] {
        reports(&org, &sent, status).await;
        assert_eq!(message(&org, &id, &hi).await["status"], status);
    }
    // What comes late or again takes nothing back.
    for status in ["sent", "delivered", "read", "failed"] {
        reports(&org, &sent, status).await;
        assert_eq!(message(&org, &id, &hi).await["status"], "read");
    }
    reports(&org, &sent, "played").await;
    assert_eq!(message(&org, &id, &hi).await["status"], "played");
}

#[tokio::test]
async fn statuses_in_the_wrong_order_and_twice_end_the_same() {
    let (server, org) = start(GraphOptions { disorder: 1.0, ..graph() }).await;
    let mut all = Vec::new();
    for n in 0..10 {
        all.push(answered(&org, &n.to_string()).await);
    }
    server.graph.until_tally(|tally| tally.delivered == 40).await;
    for (id, hi) in all {
        becomes(&org, &id, &hi, "read").await;
    }
    assert!(server.graph.sends().by_opaque().values().all(|times| *times == 1));
    assert_eq!(server.graph.tally().given_up, 0);
}

#[tokio::test]
async fn messages_of_one_conversation_go_out_in_their_order() {
    let (server, org) = start(graph()).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    for n in 0..8 {
        org.admin.post(&at(&id), json!({"text": n.to_string()})).await.is(201);
    }
    server.graph.until(|counts| counts.accepted == 8).await;
    let texts: Vec<_> = server.graph.sends().sends.into_iter().flat_map(|sent| sent.text).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn a_reply_quotes_the_provider_s_id() {
    let (server, org) = start(graph()).await;
    let id = org.hears(&unique("1555"), "Is it in stock?").await;
    let question = org.admin.get(&at(&id)).await.is(200)[0].take();
    let reply = json!({"text": "Yes.", "reply_to_message_id": question["id"]});
    org.admin.post(&at(&id), reply).await.is(201);
    server.graph.until(|counts| counts.accepted == 1).await;
    let quoted = server.graph.sends().sends.remove(0).reply_to;
    assert_eq!(json!(quoted), question["provider_message_id"]);
}

#[tokio::test]
async fn a_send_without_an_answer_is_unknown_is_not_repeated_and_is_settled_by_its_receipt() {
    let (server, org) = start(silent()).await;
    let (id, hi) = answered(&org, "000408").await;
    becomes(&org, &id, &hi, "unknown").await;
    let next = org.admin.post(&at(&id), json!({"text": "Are you there?"})).await.is(201);
    becomes(&org, &id, &next["id"], "unknown").await;
    let sends = server.graph.sends();
    assert_eq!(sends.total, 2);
    assert!(sends.by_opaque().values().all(|times| *times == 1));
    reports(&org, &sends.sends[0], "delivered").await;
    let settled = message(&org, &id, &hi).await;
    assert_eq!(settled["status"], "delivered");
    assert_eq!(settled["provider_message_id"], json!(sends.sends[0].wamid));
    assert_eq!(message(&org, &id, &next["id"]).await["status"], "unknown");
}

#[tokio::test]
async fn a_send_under_way_when_the_server_stops_is_not_repeated() {
    let (server, org) = start(silent()).await;
    let (id, hi) = answered(&org, "000408").await;
    server.graph.until(|counts| counts.accepted == 1).await;
    server.restart().await;
    becomes(&org, &id, &hi, "unknown").await;
    let sends = server.graph.sends();
    reports(&org, &sends.sends[0], "read").await;
    assert_eq!(message(&org, &id, &hi).await["status"], "read");
    assert_eq!(server.graph.sends().total, 1);
}

#[tokio::test]
async fn a_gateway_s_page_proves_nothing_and_nothing_is_repeated() {
    let (server, org) = start(silent()).await;
    let (id, hi) = answered(&org, "000502").await;
    becomes(&org, &id, &hi, "unknown").await;
    assert_eq!((server.graph.counts().refused, server.graph.sends().total), (1, 0));
}

#[tokio::test]
async fn a_passing_error_is_tried_again() {
    let (server, org) = start(silent()).await;
    for (last, refusals) in [("000500", 2), ("000429", 2), ("131056", 1)] {
        let before = server.graph.counts();
        let (id, hi) = answered(&org, last).await;
        let sent = becomes(&org, &id, &hi, "sent").await;
        assert_eq!(sent.get("error"), None, "{last}");
        let after = server.graph.counts();
        assert_eq!(after.refused - before.refused, refusals, "{last}");
        assert_eq!(after.accepted - before.accepted, 1, "{last}");
    }
}

#[tokio::test]
async fn an_error_that_does_not_pass_fails_the_message_after_the_ladder() {
    let server = Server::beside(silent(), |config| {
        config.limits.send_ladder = vec![Duration::from_millis(5)];
    })
    .await;
    let org = Org::on(&server).await;
    let (id, hi) = answered(&org, "000500").await;
    let failed = becomes(&org, &id, &hi, "failed").await;
    assert_eq!(failed["error"]["code"], "131000");
    assert_eq!(server.graph.counts().refused, 2);
}

#[tokio::test]
async fn a_refused_recipient_fails_at_once_in_the_provider_s_words_and_the_next_message_goes_on() {
    let (server, org) = start(silent()).await;
    let (id, hi) = answered(&org, "131026").await;
    let words =
        json!({"code": "131026", "message": "The recipient cannot be reached on WhatsApp."});
    assert_eq!(becomes(&org, &id, &hi, "failed").await["error"], words);
    assert_eq!(server.graph.counts().refused, 1);
    let next = org.admin.post(&at(&id), json!({"text": "Hello?"})).await.is(201);
    assert_eq!(becomes(&org, &id, &next["id"], "failed").await["error"], words);
}

#[tokio::test]
async fn what_fails_after_it_was_accepted_is_failed() {
    let (_, org) = start(graph()).await;
    let (id, hi) = answered(&org, "000131").await;
    let failed = becomes(&org, &id, &hi, "failed").await;
    assert_eq!(failed["error"]["code"], "131026");
}

#[tokio::test]
async fn an_expired_token_pauses_the_account_until_somebody_has_looked_after_it() {
    let (server, org) = start(silent()).await;
    let account = format!("/api/integrations/accounts/{}", org.account);
    let (other, _) = answered(&org, "1").await;
    let (id, hi) = answered(&org, "000190").await;
    let attention = async || {
        eventually(async || {
            let account = org.admin.get(&account).await.is(200);
            Some(account).filter(|account| account["status"] == "attention")
        })
        .await
    };
    let words = "190: The access token has expired or is not valid for this account.";
    assert_eq!(attention().await["status_detail"], words);
    for id in [&id, &other] {
        org.admin.post(&at(id), json!({"text": "Hi"})).await.refused(409, "account_inactive");
    }
    let waits = message(&org, &id, &hi).await;
    assert_eq!((&waits["status"], &waits["error"]["code"]), (&json!("queued"), &json!("190")));
    // Somebody looks, and for the provider all is well: what waits goes on.
    let refused = server.graph.counts().refused;
    let looked = org.admin.patch(&account, json!({"config": {}})).await.is(200);
    assert_eq!(looked["status"], "connected");
    server.graph.until(|counts| counts.refused > refused).await;
    attention().await;
    server.restart().await;
    org.admin.post(&at(&other), json!({"text": "Hi"})).await.refused(409, "account_inactive");
}

#[tokio::test]
async fn read_marks_reach_the_provider_unless_the_account_does_not_send_them() {
    let (server, loud) = start(silent()).await;
    let quiet = Org::on(&server).await;
    let off = json!({"config": {"send_read_marks": false}});
    let account = format!("/api/integrations/accounts/{}", quiet.account);
    quiet.admin.patch(&account, off).await.is(200);
    for org in [&quiet, &loud] {
        let phone = unique("1555");
        org.deliver(&org.text(&format!("wamid.{}", org.number), &phone, "Hello")).await.is(200);
        let id = org.conversation(&phone).await["id"].as_str().unwrap().to_owned();
        let path = format!("/api/conversations/{id}/read");
        org.admin.post(&path, json!(null)).await.is(200);
        // There is nothing new to be read.
        org.admin.post(&path, json!(null)).await.is(200);
    }
    server.graph.until(|counts| counts.read_marks > 0).await;
    let marks = server.graph.read_marks();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0].message_id, format!("wamid.{}", loud.number));
    assert_eq!(marks[0].phone_number_id, loud.number);
}

#[tokio::test]
async fn every_kind_of_message_reaches_the_customer_and_is_shown() {
    let (server, org) = start(silent()).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let url = "https://example.com/a";
    let card = json!({"name": {"formatted_name": "Ines Sol", "first_name": "Ines"},
        "phones": [{"phone": "+34 600 000 001"}]});
    let reply = json!({"type": "reply", "reply": {"id": "y", "title": "Yes"}});
    let section = json!({"title": "Sizes", "rows": [{"id": "s", "title": "Small"}]});
    let buttons =
        json!({"type": "button", "body": {"text": "Do you?"}, "action": {"buttons": [reply]}});
    let list = json!({"type": "list", "body": {"text": "Which?"},
        "action": {"button": "Choose", "sections": [section]}});
    let filled = json!([{"type": "body", "parameters": [{"type": "text", "text": "Ines"}]}]);
    let all = [
        ("text", json!({"text": "Hi"})),
        ("image", json!({"attachments": [{"kind": "image", "url": url, "caption": "Blue"}]})),
        ("audio", json!({"attachments": [{"kind": "audio", "url": url}]})),
        ("video", json!({"attachments": [{"kind": "video", "url": url}], "text": "A film"})),
        (
            "document",
            json!({"attachments": [{"kind": "document", "url": url, "filename": "a.pdf"}]}),
        ),
        ("sticker", json!({"attachments": [{"kind": "sticker", "url": url}]})),
        ("location", json!({"location": {"latitude": 41.5, "longitude": 2, "name": "Shop"}})),
        ("contacts", json!({"contacts": [card]})),
        ("interactive", json!({"interactive": buttons})),
        ("interactive", json!({"interactive": list})),
        ("template", json!({"template": {"name": "a", "language": "en", "components": filled}})),
    ];
    for (kind, body) in &all {
        let sent = org.admin.post(&at(&id), body.clone()).await.is(201);
        assert_eq!((&sent["kind"], &sent["status"]), (&json!(kind), &json!("queued")));
        let sent = becomes(&org, &id, &sent["id"], "sent").await;
        assert_eq!(sent["kind"], *kind);
    }
    let kinds: Vec<_> = server.graph.sends().sends.into_iter().map(|sent| sent.kind).collect();
    assert!(kinds.iter().eq(all.iter().map(|(kind, _)| kind)), "{kinds:?}");
    let shown = org.admin.get(&at(&id)).await.is(200);
    let of = |kind: &str| shown.as_array().unwrap().iter().find(|message| message["kind"] == kind);
    assert_eq!(
        (&of("image").unwrap()["text"], &of("video").unwrap()["text"]),
        (&json!("Blue"), &json!("A film"))
    );
    assert_eq!(of("location").unwrap()["attachments"][0]["latitude"], 41.5);
    assert_eq!(of("contacts").unwrap()["attachments"][0]["name"], "Ines Sol");
    assert_eq!(of("interactive").unwrap()["text"], "Which?");
}

#[tokio::test]
async fn a_reaction_is_shown_with_its_message_once_the_provider_has_taken_it() {
    let (server, org) = start(graph()).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let hello = org.admin.get(&at(&id)).await.is(200)[0]["id"].take();
    let react = |emoji: &str| json!({"reaction": {"message_id": hello, "emoji": emoji}});
    let shows = async |emojis: &[&str]| {
        eventually(async || {
            let shown = message(&org, &id, &hello).await["reactions"].take();
            let shown = shown.as_array().cloned().unwrap_or_default();
            let is_so =
                shown.iter().map(|one| one["emoji"].as_str().unwrap()).eq(emojis.iter().copied());
            is_so.then_some(shown)
        })
        .await
    };
    let answer = org.admin.post_once(&at(&id), "k", react("👍")).await.is(201);
    assert_eq!((&answer["id"], &answer["status"]), (&hello, &json!("received")));
    assert_eq!(shows(&["👍"]).await[0]["sender"]["id"], org.admin.id.as_str());
    org.admin.post_once(&at(&id), "k", react("👍")).await.is(201);
    org.admin.post(&at(&id), react("")).await.is(201);
    shows(&[]).await;
    // What the provider says of reactions is not said of the message.
    server.graph.until_tally(|tally| tally.delivered >= 6).await;
    let shown = org.admin.get(&at(&id)).await;
    assert_eq!(shown.headers["x-total-count"], "1");
    assert_eq!(shown.is(200)[0]["status"], "received");
    assert_eq!(server.dead_letters(&org).await, [""; 0]);
    let sent: Vec<_> = server.graph.sends().sends.into_iter().map(|sent| sent.kind).collect();
    assert_eq!(sent, ["reaction", "reaction"]);
    let nobody = json!({"reaction": {"message_id": org.account, "emoji": "👍"}});
    org.admin.post(&at(&id), nobody).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_waits_to_be_sent_by_an_account_that_is_removed_fails_and_says_so() {
    let server = Server::beside(graph(), |_| {}).await;
    let org = Org::on(&server).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    server.graph.expire_token(&org.number);
    let sent = org.admin.post(&at(&id), json!({"text": "Hi"})).await.is(201);
    let account = format!("/api/integrations/accounts/{}", org.account);
    eventually(async || {
        let known = org.admin.get(&account).await.is(200);
        (known["status"] == "attention").then_some(())
    })
    .await;
    assert_eq!(message(&org, &id, &sent["id"]).await["status"], "queued");
    org.admin.delete(&account).await.is(200);
    let failed = becomes(&org, &id, &sent["id"], "failed").await;
    assert_eq!(failed["error"]["code"], "account_inactive", "{failed}");
}
