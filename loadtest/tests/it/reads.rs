//! A page that is read again and again, of a server on a real socket that counts who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use loadtest::Target;
use loadtest::reads::{Reads, run};

/// Answers who has the token; answers how many came, too.
async fn start() -> (Target, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let page = move |headers: HeaderMap| async move {
        counter.fetch_add(1, Ordering::Relaxed);
        match headers.get("authorization").is_some_and(|value| value == "Bearer a-token") {
            true => Ok("a page"),
            false => Err(StatusCode::UNAUTHORIZED),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/page?of=it", listener.local_addr().unwrap());
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/page", get(page))).await },
    );
    (Target::new(&url, "/").unwrap(), asked)
}

fn reads(target: Target, token: &str) -> Reads {
    Reads {
        target,
        token: Some(token.to_owned()),
        time: Duration::from_millis(200),
        warm_up: Duration::ZERO,
        connections: 3,
        server: Some(std::process::id()),
    }
}

#[tokio::test]
async fn a_page_is_read_by_whoever_has_the_token_as_often_as_is_told() {
    let (target, asked) = start().await;
    let report = run(reads(target, "a-token")).await.unwrap();
    assert!(report.all_accepted() && report.server.is_some());
    assert_eq!((report.scenario, report.requests), ("reads", asked.load(Ordering::Relaxed)));
}

#[tokio::test]
async fn a_page_that_is_refused_is_told_as_that() {
    let (target, _) = start().await;
    let report = run(reads(target, "another")).await.unwrap();
    assert_eq!(report.statuses.keys().copied().collect::<Vec<_>>(), [401]);
    assert!(!report.all_accepted());
}
