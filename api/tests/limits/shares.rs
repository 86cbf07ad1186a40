//! What one organization, one account and one login may take.

use std::future::pending;
use std::time::Duration;

use actors::permits::Amount;
use axum::Router;
use axum::routing::{get, post};
use engine::id::{ConversationId, TenantId};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::small::{Person, error, server};

#[tokio::test]
async fn an_organization_that_asks_too_fast_is_told_so_and_no_other() {
    let server = server(|config| config.limits.tenant_requests_per_second = 5).await;
    let (fast, slow) = (Person::of(&server, "fast").await, Person::of(&server, "slow").await);
    let refused = loop {
        let answer = fast.get("/api/auth/me").await;
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(error(refused).await.0, "too_many_requests");
    assert_eq!(slow.get("/api/auth/me").await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn an_organization_has_at_most_so_many_agents_and_accounts() {
    let server = server(|config| {
        (config.limits.agents_per_tenant, config.limits.accounts_per_tenant) = (2, 1);
    })
    .await;
    let person = Person::of(&server, "shop").await;
    assert_eq!(person.agent(1).await.status(), 201, "the admin is the first");
    let refused = person.agent(2).await;
    assert_eq!(refused.status(), 409);
    assert_eq!(error(refused).await.0, "too_many");
    assert_eq!(person.account("7001").await.status(), 201);
    let refused = person.account("7002").await;
    assert_eq!(refused.status(), 409);
    assert_eq!(error(refused).await.0, "too_many");
    server.stop().await;
}

#[tokio::test]
async fn an_organization_has_at_most_so_many_rows_of_each_kind() {
    let server = server(|config| config.limits.rows_per_tenant = 2).await;
    let (full, other) = (Person::of(&server, "full").await, Person::of(&server, "other").await);
    let draft = json!({"title": "Hours", "text": "From nine to five."});
    for _ in 0..2 {
        assert_eq!(full.post("/api/quick-replies", &draft).await.status(), 201);
    }
    let refused = full.post("/api/quick-replies", &draft).await;
    assert_eq!(refused.status(), 409);
    assert_eq!(error(refused).await.0, "too_many");
    assert_eq!(other.post("/api/quick-replies", &draft).await.status(), 201);
    server.stop().await;
}

#[tokio::test]
async fn what_is_asked_of_contacts_counts_among_what_is_under_way() {
    let server = server(|config| config.limits.inflight_node = 1).await;
    let person = Person::of(&server, "shop").await;
    let permits = server.app.desk.permits();
    let nobody = format!("/api/contacts/{}", Uuid::nil());
    assert_eq!(person.get(&nobody).await.status(), 404);
    let other = permits.share(TenantId(Uuid::nil()), Amount::items(1)).unwrap();
    assert_eq!(person.get(&nobody).await.status(), 503);
    drop(other);
    assert_eq!(person.get(&nobody).await.status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn a_parked_conversation_keeps_no_other_from_being_expired_or_changed_with_many() {
    let server = server(|config| config.conversations.reopen_within = Duration::ZERO).await;
    let person = Person::of(&server, "shop").await;
    assert_eq!(person.account("7001").await.status(), 201);
    person.hears("15550001").await;
    person.hears("15550002").await;
    let open: Vec<Value> = person.get("/api/conversations").await.json().await.unwrap();
    let ids: Vec<ConversationId> =
        open.iter().map(|one| one["id"].as_str().unwrap().parse().unwrap()).collect();
    let me: Value = person.get("/api/auth/me").await.json().await.unwrap();
    let tenant = me["org_id"].as_str().unwrap().parse().unwrap();
    let heads = server.app.desk.heads(tenant, &ids[..1]).await.unwrap();
    // The figure of how many are parked is the process's: no other test of this one looks at it.
    server.app.desk.waiting().hold(heads[0].thread);
    let tag = json!({"type": "add_tags", "tags": ["old"]});
    let body = json!({"conversation_ids": ids, "action": tag});
    let bulk = person.post("/api/conversations/bulk", &body).await;
    assert_eq!(bulk.json::<Value>().await.unwrap()["affected_count"], 1);
    let expired = person.post("/api/conversations/expire", &Value::Null).await;
    assert_eq!(expired.json::<Value>().await.unwrap()["expired_count"], 1);
    server.stop().await;
}

#[tokio::test]
async fn a_login_waits_for_its_turn_to_have_a_password_hashed() {
    let server = server(|config| {
        config.limits.password_hashes = 1;
        config.limits.rest_timeout = Duration::from_secs(3);
    })
    .await;
    let person = Person::of(&server, "shop").await;
    // Whoever it is of: there is one.
    let turn = server.app.hashing.take(TenantId(Uuid::nil()), 0).await;
    let login = json!({"email": "admin@shop.example.com", "password": "secret1"});
    assert_eq!(person.post("/api/auth/login", &login).await.status(), 503);
    drop(turn);
    // Slow machines may take longer than the time that is set.
    while person.post("/api/auth/login", &login).await.status() == 503 {}
    drop(server.app.hashing.take(TenantId(Uuid::nil()), 0).await);
    server.stop().await;
}

/// A provider that knows every account and never answers a send, but tells of it.
async fn provider() -> (String, mpsc::UnboundedReceiver<()>) {
    let (asked, sends) = mpsc::unbounded_channel();
    let never = async move || {
        let _ = asked.send(());
        pending::<()>().await;
    };
    let known = async || axum::Json(json!({"id": "7001"}));
    let router = Router::new()
        .route("/v23.0/{number}", get(known))
        .route("/v23.0/{number}/messages", post(never));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), sends)
}

#[tokio::test]
async fn what_waits_for_one_account_is_bounded() {
    let (graph_url, mut sends) = provider().await;
    let server = server(|config| {
        config.meta.graph_url = graph_url;
        (config.limits.account_requests, config.limits.account_queue) = (1, 1);
        config.limits.pending_sends = 2;
        config.server.drain = Duration::from_millis(100);
    })
    .await;
    let person = Person::of(&server, "shop").await;
    assert_eq!(person.account("7001").await.status(), 201);
    for from in ["15550001", "15550002", "15550003"] {
        person.hears(from).await;
    }
    let open: Vec<Value> = person.get("/api/conversations").await.json().await.unwrap();
    assert_eq!(open.len(), 3);
    let send = async |n: usize| {
        let path = format!("/api/conversations/{}/messages", open[n]["id"].as_str().unwrap());
        person.post(&path, &json!({"text": "yes"})).await
    };
    assert_eq!(send(0).await.status(), 201);
    sends.recv().await.unwrap();
    assert_eq!(send(1).await.status(), 201, "it waits for the provider");
    let refused = send(2).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    let (_, details) = error(refused).await;
    assert_eq!(details[0]["message"], "the account's queue");
    assert_eq!(send(1).await.status(), 201, "what waits behind it takes no place of its own");
    assert_eq!(send(1).await.status(), 429, "but two of one conversation are all that may");
    server.stop().await;
}
