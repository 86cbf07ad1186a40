//! A WhatsApp account that is connected is subscribed and registered with Meta, its failure is
//! shown, and nothing is asked more often than Meta takes.

use std::sync::Arc;

use serde_json::{Value, json};
use simulator::{GraphOptions, Plan, Trouble};

use crate::harness::{Org, SECRET, Server, account, graph, unique, unix_now};
use crate::live::Live;

const ALL: &str = "/api/integrations/accounts";

fn at(id: &Value) -> String {
    format!("{ALL}/{}", id.as_str().unwrap())
}

/// How often this part of this object was posted to.
fn asked(server: &Arc<Server>, id: &str, edge: &str) -> usize {
    let path = format!("/{id}/{edge}");
    let requests = server.graph.requests().into_iter();
    requests.filter(|one| one.method == "POST" && one.path.ends_with(&path)).count()
}

fn fails(id: &str, edge: &str, trouble: Trouble) -> Plan {
    Plan { id: Some(id.to_owned()), edge: Some(edge.to_owned()), times: 1, trouble }
}

/// A new server with an organization on it.
async fn alone() -> (Arc<Server>, Org) {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    (server, org)
}

#[tokio::test]
async fn a_connected_number_is_subscribed_and_registered_once_with_a_pin_that_is_kept() {
    let (server, org) = alone().await;
    let number = unique("8");
    let (once, draft) = (unique("once"), account(&number, SECRET));
    let made = org.admin.post_once(ALL, &once, draft.clone()).await.is(201);
    assert_eq!(
        (&made["status"], &made["config"]["pin"]),
        (&json!("connected"), &json!("********"))
    );
    assert_eq!(org.admin.post_once(ALL, &once, draft).await.is(201), made);
    assert_eq!(
        (asked(&server, &number, "register"), asked(&server, "1", "subscribed_apps")),
        (1, 2)
    );
    let health = org.admin.get(&format!("{}/health", at(&made["id"]))).await.is(200);
    let done = json!({"subscribed": true, "registered": true});
    assert_eq!(health["registration"], done);
    org.admin.patch(&at(&made["id"]), json!({"config": {"send_read_marks": false}})).await.is(200);
    assert_eq!(asked(&server, &number, "register"), 1);
    // The same pin, or the provider would say no.
    org.admin.patch(&at(&made["id"]), json!({"config": {"waba_id": "2"}})).await.is(200);
    assert_eq!(asked(&server, "2", "subscribed_apps"), 1, "another business account");
    let given = json!({"channel": "whatsapp", "config": {
        "phone_number_id": unique("8"), "waba_id": "1", "access_token": "a token", "pin": "012345",
    }});
    assert_eq!(org.admin.post(ALL, given).await.is(201)["status"], "connected");
}

#[tokio::test]
async fn a_registration_that_fails_is_shown_and_tried_again_when_somebody_mends_it() {
    let (server, org) = alone().await;
    let number = unique("8");
    server.graph.plan(fails(&number, "register", Trouble::Error { code: 133_005 }));
    let made = org.admin.post(ALL, account(&number, SECRET)).await.is(201);
    assert_eq!((&made["status"], &made["paused"]), (&json!("attention"), &json!(false)));
    assert!(made["status_detail"].as_str().unwrap().starts_with("133005: "), "{made}");
    let path = format!("{}/health", at(&made["id"]));
    for _ in 0..3 {
        let health = org.admin.get(&path).await.is(200);
        assert_eq!((&health["token"], &health["status"]), (&json!("valid"), &json!("attention")));
        assert_eq!(health["registration"]["registered"], false);
        assert!(health["registration"]["next_try_at"].as_str() > made["created_at"].as_str());
    }
    assert_eq!(asked(&server, &number, "register"), 1, "to look is not to mend");
    server.restart().await;
    org.admin.get(&path).await.is(200);
    assert_eq!(asked(&server, &number, "register"), 1, "a start does not, either");
    let mut live = Live::following(&org.admin, &["u:me"]).await;
    let mended = json!({"config": {"pin": "123456"}});
    let mended = org.admin.patch(&at(&made["id"]), mended).await.is(200);
    assert_eq!((&mended["status"], mended.get("status_detail")), (&json!("connected"), None));
    let told = live.event("u:me", "integration.status_changed").await;
    assert_eq!((&told["id"], &told["status"]), (&made["id"], &json!("connected")));
    assert_eq!(asked(&server, &number, "register"), 2);
}

#[tokio::test]
async fn however_often_it_is_mended_a_number_is_not_registered_too_often() {
    let (server, org) = alone().await;
    let number = unique("8");
    let trouble = Trouble::Error { code: 133_005 };
    server.graph.plan(Plan { times: 100, ..fails(&number, "register", trouble) });
    let made = org.admin.post(ALL, account(&number, SECRET)).await.is(201);
    for n in 0..12 {
        let pin = json!({"config": {"pin": format!("{n:06}")}});
        let still = org.admin.patch(&at(&made["id"]), pin).await.is(200);
        assert!(still["status_detail"].as_str().unwrap().starts_with("133005: "), "{still}");
    }
    assert_eq!(asked(&server, &number, "register"), 5);
}

#[tokio::test]
async fn a_subscription_that_fails_is_asked_for_again_by_whoever_looks() {
    let (server, org) = alone().await;
    let waba = unique("waba");
    server.graph.plan(fails(&waba, "subscribed_apps", Trouble::Error { code: 200 }));
    let mut draft = account(&unique("8"), SECRET);
    draft["config"]["waba_id"] = json!(waba);
    let made = org.admin.post(ALL, draft).await.is(201);
    assert_eq!(made["status"], "attention");
    assert!(made["status_detail"].as_str().unwrap().starts_with("200: "), "{made}");
    let health = org.admin.get(&format!("{}/health", at(&made["id"]))).await.is(200);
    assert_eq!(health["registration"], json!({"subscribed": true, "registered": true}));
    assert_eq!(org.admin.get(&at(&made["id"])).await.is(200)["status"], "connected");
    assert_eq!(asked(&server, &waba, "subscribed_apps"), 2);
}

#[tokio::test]
async fn what_was_connected_while_the_provider_was_away_is_registered_once_it_answers() {
    let (server, org) = alone().await;
    let number = unique("8");
    let away =
        Plan { id: Some(number.clone()), edge: None, times: 1, trouble: Trouble::ResetBefore };
    server.graph.plan(away);
    let made = org.admin.post(ALL, account(&number, SECRET)).await.is(201);
    assert_eq!(made["status"], "attention");
    assert_eq!(asked(&server, &number, "register"), 0);
    let health = org.admin.get(&format!("{}/health", at(&made["id"]))).await.is(200);
    assert_eq!(health["status"], "connected");
    assert_eq!(health["registration"], json!({"subscribed": true, "registered": true}));
    assert_eq!(asked(&server, &number, "register"), 1);
}

#[tokio::test]
async fn a_token_that_ends_soon_wants_attention_before_it_does() {
    let soon = unix_now() + 3 * 24 * 3_600;
    let server =
        Server::beside(GraphOptions { token_ends_at: Some(soon), ..graph() }, |_| {}).await;
    let org = Org::on(&server).await;
    let path = format!("{ALL}/{}", org.account);
    let shown = org.admin.get(&path).await.is(200);
    assert_eq!(shown["status"], "attention");
    assert!(shown["token_expires_at"].is_string(), "{shown}");
    let detail = shown["status_detail"].as_str().unwrap();
    assert!(detail.contains(shown["token_expires_at"].as_str().unwrap()), "{detail}");
    let health = org.admin.get(&format!("{path}/health")).await.is(200);
    assert_eq!((&health["token"], &health["status"]), (&json!("valid"), &json!("attention")));
    assert_eq!(health["token_expires_at"], shown["token_expires_at"]);
    org.hears(&unique("1555"), "It works until then").await;
    let later = soon + 30 * 24 * 3_600;
    let server =
        Server::beside(GraphOptions { token_ends_at: Some(later), ..graph() }, |_| {}).await;
    let org = Org::on(&server).await;
    let shown = org.admin.get(&format!("{ALL}/{}", org.account)).await.is(200);
    assert_eq!(
        (&shown["status"], shown["token_expires_at"].is_string()),
        (&json!("connected"), true)
    );
}
