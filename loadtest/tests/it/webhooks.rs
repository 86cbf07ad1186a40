//! The scenario against a server on a real socket that checks what it gets.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use hmac::{Hmac, KeyInit, Mac};
use loadtest::{Loop, Target, Webhooks, run};
use serde_json::Value;
use sha2::Sha256;

const SECRET: &str = "a secret of the test";

/// What a server has got, and how it answers.
#[derive(Default)]
struct Provider {
    /// Ids of messages, and who wrote them.
    messages: Mutex<HashSet<(String, String)>>,
    doubles: Mutex<u64>,
    /// How many messages each webhook had.
    webhooks: Mutex<Vec<usize>>,
    takes: Duration,
    /// Of so many webhooks one is refused.
    refuses_every: Option<usize>,
}

async fn start(provider: Provider) -> (SocketAddr, Arc<Provider>) {
    let provider = Arc::new(provider);
    let router = Router::new().route("/webhook", post(receive)).with_state(provider.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, provider)
}

async fn receive(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let signature = headers.get("x-hub-signature-256").and_then(|value| value.to_str().ok());
    let signature = signature.and_then(|text| text.strip_prefix("sha256=")).map(hex::decode);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&body);
    if !matches!(signature, Some(Ok(signature)) if mac.verify_slice(&signature).is_ok()) {
        return StatusCode::UNAUTHORIZED;
    }
    let webhook: Value = serde_json::from_slice(&body).unwrap();
    let value = &webhook["entry"][0]["changes"][0]["value"];
    assert_eq!(value["metadata"]["phone_number_id"], "4711");
    let text = |of: &Value, key: &str| of[key].as_str().unwrap().to_owned();
    let named: Vec<_> =
        value["contacts"].as_array().unwrap().iter().map(|one| text(one, "wa_id")).collect();
    let count = {
        let mut messages = provider.messages.lock().unwrap();
        let mut webhook = Vec::new();
        for message in value["messages"].as_array().unwrap() {
            let from = text(message, "from");
            webhook.push(from.clone());
            if !messages.insert((text(message, "id"), from)) {
                *provider.doubles.lock().unwrap() += 1;
            }
        }
        let mut writers = webhook.clone();
        writers.dedup();
        assert_eq!(writers, named, "every customer is introduced once");
        provider.webhooks.lock().unwrap().push(webhook.len());
        messages.len()
    };
    tokio::time::sleep(provider.takes).await;
    match provider.refuses_every {
        Some(every) if count.is_multiple_of(every) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}

fn webhooks(address: SocketAddr) -> Webhooks {
    Webhooks {
        target: Target::new(&format!("http://{address}"), "/webhook").unwrap(),
        secret: SECRET.to_owned(),
        phone_number_id: "4711".to_owned(),
        rate: 0.0,
        time: Duration::from_secs(60),
        count: 100,
        warm_up: Duration::ZERO,
        patience: Duration::from_secs(60),
        customers: 20..30,
        in_a_row: 1,
        messages_per_webhook: 1,
        connections: 4,
        server: None,
    }
}

#[tokio::test]
async fn a_closed_loop_sends_each_webhook_once_signed_with_an_id_of_its_own() {
    let (address, provider) = start(Provider::default()).await;
    let report = run(webhooks(address)).await.unwrap();
    assert_eq!((report.kind, report.requests, report.statuses[&200]), (Loop::Closed, 100, 100));
    assert!(report.all_accepted() && report.errors.is_empty() && report.achieved_rate > 0.0);
    let messages = provider.messages.lock().unwrap();
    let customers: HashSet<_> = messages.iter().map(|(_, from)| from).collect();
    assert_eq!((messages.len(), customers.len()), (100, 10));
    assert_eq!(*provider.doubles.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_webhook_may_carry_many_messages_and_a_customer_write_several_in_a_row() {
    let (address, provider) = start(Provider::default()).await;
    let many = Webhooks { count: 10, in_a_row: 3, messages_per_webhook: 6, ..webhooks(address) };
    let report = run(many).await.unwrap();
    assert_eq!((report.requests, report.messages_per_webhook), (10, 6));
    assert_eq!(*provider.webhooks.lock().unwrap(), [6; 10]);
    let messages = provider.messages.lock().unwrap();
    let mut written = std::collections::BTreeMap::new();
    for (_, from) in messages.iter() {
        *written.entry(from).or_insert(0) += 1;
    }
    // 60 messages, in turns of three: ten customers, two turns each.
    assert_eq!(written.into_values().collect::<Vec<_>>(), [6; 10]);
    assert_eq!(*provider.doubles.lock().unwrap(), 0);
}

#[tokio::test]
async fn two_runs_share_no_id() {
    let (address, provider) = start(Provider::default()).await;
    run(webhooks(address)).await.unwrap();
    run(webhooks(address)).await.unwrap();
    assert_eq!(provider.messages.lock().unwrap().len(), 200);
}

#[tokio::test]
async fn an_open_loop_charges_a_slow_server_for_all_who_waited() {
    let takes = Duration::from_millis(20);
    let (address, _) = start(Provider { takes, ..Provider::default() }).await;
    // Due within 20 ms, but one connection needs 400 ms for them.
    let open = Webhooks { rate: 1000.0, count: 20, connections: 1, ..webhooks(address) };
    let report = run(open).await.unwrap();
    assert_eq!((report.kind, report.requests, report.statuses[&200]), (Loop::Open, 20, 20));
    let due_before_the_last = Duration::from_millis(19);
    let least = 20 * takes - due_before_the_last;
    assert!(u128::from(report.latency_us.max) * 1001 / 1000 >= least.as_micros());
    assert!(u128::from(report.latency_us.p50) >= (10 * takes - due_before_the_last).as_micros());
    assert!(report.achieved_rate < 51.0, "{}", report.achieved_rate);
}

#[tokio::test]
async fn what_is_refused_counts_under_its_status() {
    let (address, _) = start(Provider { refuses_every: Some(10), ..Provider::default() }).await;
    let report = run(Webhooks { connections: 1, ..webhooks(address) }).await.unwrap();
    assert_eq!((report.statuses[&200], report.statuses[&503]), (90, 10));
    assert!(!report.all_accepted());
    let report = run(Webhooks { secret: "another".to_owned(), ..webhooks(address) }).await.unwrap();
    assert_eq!(report.statuses[&401], 100);
}

#[tokio::test]
async fn a_server_that_never_answers_is_waited_for_no_longer_than_patience() {
    let takes = Duration::from_secs(3600);
    let (address, _) = start(Provider { takes, ..Provider::default() }).await;
    let time = Duration::from_millis(50);
    let report =
        run(Webhooks { rate: 1000.0, time, patience: time, ..webhooks(address) }).await.unwrap();
    assert_eq!((report.requests, report.unanswered), (50, 50));
    assert!(report.latency_us.max >= 99_000);
}

#[tokio::test]
async fn a_connection_that_breaks_is_counted_and_made_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (provider, _) = start(Provider::default()).await;
    tokio::spawn(async move {
        // The first connection ends before it answers; the others lead to a real server.
        drop(listener.accept().await);
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(provider).await.unwrap();
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    let report = run(Webhooks { connections: 1, ..webhooks(address) }).await.unwrap();
    assert_eq!((report.errors.values().sum::<u64>(), report.statuses[&200]), (1, 99));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(run(webhooks(address)).await.is_err());
}
