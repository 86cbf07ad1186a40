//! How an account is: what the provider says when it is asked, and how sending goes.

use serde_json::{Value, json};
use simulator::{GraphOptions, Plan, Trouble};

use crate::harness::{Org, Server, account, eventually, graph, unique};

fn path(account: &str) -> String {
    format!("/api/integrations/accounts/{account}/health")
}

async fn health(org: &Org) -> Value {
    org.admin.get(&path(&org.account)).await.is(200)
}

async fn says(org: &Org, id: &str, text: &str) {
    let path = format!("/api/conversations/{id}/messages");
    org.admin.post(&path, json!({"text": text})).await.is(201);
}

#[tokio::test]
async fn the_provider_is_asked_and_what_it_knows_is_shown_to_who_manages_accounts_alone() {
    let (org, other) = (Org::found().await, Org::found().await);
    let well = health(&org).await;
    assert_eq!((&well["account_id"], &well["status"]), (&json!(org.account), &json!("connected")));
    assert_eq!((&well["token"], &well["can_send"]), (&json!("valid"), &json!(true)));
    assert_eq!(well["provider"]["throughput"], "standard");
    for known in ["display_phone_number", "verified_name", "quality_rating"] {
        assert!(well["provider"][known].is_string(), "{known}: {well}");
    }
    let sending = json!({"per_second": 80.0, "waiting": 0, "oldest_waiting_ms": 0, "under_way": 0});
    assert_eq!(well["sending"], sending, "nothing was sent yet");
    other.admin.get(&path(&org.account)).await.refused(404, "not_found");
    let ana = org.hire("agent").await;
    ana.get(&path(&org.account)).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_token_that_the_provider_refuses_stops_the_account_as_soon_as_somebody_looks() {
    let server = Server::beside(graph(), |_| {}).await;
    let org = Org::on(&server).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    server.graph.expire_token(&org.number);
    let ill = health(&org).await;
    assert_eq!((&ill["token"], &ill["status"]), (&json!("refused"), &json!("attention")));
    assert_eq!((&ill["paused"], &ill["can_send"]), (&json!(true), &json!(false)));
    assert!(ill["provider"]["error"].as_str().unwrap().starts_with("190: "), "{ill}");
    assert_eq!(ill["status_detail"], ill["provider"]["error"]);
    let message = format!("/api/conversations/{id}/messages");
    org.admin.post(&message, json!({"text": "Hi"})).await.refused(409, "account_inactive");
    // To look does not say that it was looked after.
    server.graph.renew_token(&org.number);
    let looked = health(&org).await;
    assert_eq!((&looked["token"], &looked["paused"]), (&json!("valid"), &json!(true)));
    let account = format!("/api/integrations/accounts/{}", org.account);
    org.admin.patch(&account, json!({"config": {}})).await.is(200);
    assert_eq!(health(&org).await["can_send"], true);
}

#[tokio::test]
async fn an_account_whose_provider_could_not_be_reached_is_well_once_it_can() {
    let server = Server::beside(graph(), |_| {}).await;
    let org = Org::on(&server).await;
    let number = unique("8");
    let trouble = Trouble::ResetBefore;
    server.graph.plan(Plan { id: Some(number.clone()), edge: None, times: 1, trouble });
    let draft = account(&number, "secret");
    let made = org.admin.post("/api/integrations/accounts", draft).await.is(201);
    assert_eq!((&made["status"], &made["paused"]), (&json!("attention"), &json!(false)));
    let id = made["id"].as_str().unwrap();
    server.graph.plan(Plan { id: Some(number), edge: None, times: 1, trouble });
    let still = org.admin.get(&path(id)).await.is(200);
    assert_eq!((&still["token"], &still["status"]), (&json!("unknown"), &json!("attention")));
    let well = org.admin.get(&path(id)).await.is(200);
    assert_eq!((&well["token"], &well["status"]), (&json!("valid"), &json!("connected")));
    let account = org.admin.get(&format!("/api/integrations/accounts/{id}")).await.is(200);
    assert_eq!(account["status"], "connected", "it is kept");
}

#[tokio::test]
async fn what_waits_and_what_the_provider_said_no_to_is_shown_while_it_throttles() {
    let server = Server::beside(GraphOptions { ..graph() }, |_| {}).await;
    let org = Org::on(&server).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    server.graph.plan(Plan::next_sends(1, Trouble::Throttled { code: 130_429, seconds: 3_000 }));
    says(&org, &id, "Hi").await;
    let slow = eventually(async || {
        let now = health(&org).await;
        (now["sending"]["waiting"] == 1 && now["sending"]["throttled_until"].is_string())
            .then_some(now)
    })
    .await;
    let sending = &slow["sending"];
    assert_eq!(sending["last_error"]["code"], "130429");
    assert!(sending["last_error"]["at"].is_string() && sending["under_way"] == 0, "{sending}");
    assert!(sending["per_second"].as_f64().unwrap() < 80.0, "{sending}");
    assert_eq!(slow["can_send"], true, "what is said meanwhile waits, too");
}

#[tokio::test]
async fn what_is_no_word_about_the_token_stops_nothing() {
    let server = Server::beside(graph(), |_| {}).await;
    let org = Org::on(&server).await;
    for trouble in [Trouble::Expired, Trouble::Html, Trouble::TooMany] {
        let (id, edge) = (Some(org.number.clone()), Some(String::new()));
        server.graph.plan(Plan { id, edge, times: 1, trouble });
        let unsure = health(&org).await;
        assert_eq!((&unsure["token"], &unsure["can_send"]), (&json!("unknown"), &json!(true)));
        assert!(unsure["provider"]["error"].is_string(), "{unsure}");
        let well = health(&org).await;
        assert_eq!((&well["token"], &well["status"]), (&json!("valid"), &json!("connected")));
    }
}

#[tokio::test]
async fn when_a_token_ends_is_not_forgotten_because_the_provider_does_not_say_it_now() {
    let soon = crate::harness::unix_now() + 3 * 24 * 3_600;
    let server =
        Server::beside(GraphOptions { token_ends_at: Some(soon), ..graph() }, |_| {}).await;
    let org = Org::on(&server).await;
    let known = health(&org).await["token_expires_at"].take();
    assert!(known.is_string());
    let (id, trouble) = (Some("debug_token".to_owned()), Trouble::Html);
    server.graph.plan(Plan { id, edge: None, times: 1, trouble });
    assert_eq!(health(&org).await["token_expires_at"], known);
    let account = format!("/api/integrations/accounts/{}", org.account);
    assert_eq!(org.admin.get(&account).await.is(200)["token_expires_at"], known);
}
