//! Connections, bodies, times and pages.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::small::{Person, error, first_line, server, unfinished};

const ALIVE: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n";
const LAST: &[u8] = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
const HANDSHAKE: &[u8] =
    b"GET /api/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn one_more_connection_than_may_be_open_is_closed_at_once() {
    let server = server(|config| config.limits.connections = 2).await;
    let connect = async || TcpStream::connect(server.address).await.unwrap();
    let (mut one, two, mut three) = (connect().await, connect().await, connect().await);
    assert_eq!(first_line(&mut three).await, "", "it is closed");
    one.write_all(ALIVE).await.unwrap();
    assert_eq!(first_line(&mut one).await, "HTTP/1.1 200 OK");
    drop(two);
    loop {
        let mut next = connect().await;
        if next.write_all(ALIVE).await.is_ok() && !first_line(&mut next).await.is_empty() {
            break;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_the_limit_of_its_route() {
    let server = server(|config| {
        (config.limits.rest_body_bytes, config.limits.webhook_body_bytes) = (1_000, 3_000);
    })
    .await;
    for (path, most) in [("/api/auth/login", 1_000), ("/webhook", 3_000)] {
        let mut fits = unfinished(&server, path, most - 1).await;
        fits.write_all(b" ").await.unwrap();
        let answer = first_line(&mut fits).await;
        assert!(answer.ends_with("400 Bad Request") || answer.ends_with("401 Unauthorized"));
        let mut larger = unfinished(&server, path, most + 1).await;
        assert_eq!(first_line(&mut larger).await, "HTTP/1.1 413 Payload Too Large", "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_reads_only_after_writing_a_body_that_is_too_large_reads_why_it_is_refused() {
    let server = server(|config| config.limits.rest_body_bytes = 1_000).await;
    // More than all buffers between the two sides hold.
    let most = 16 << 20;
    let mut deaf = unfinished(&server, "/api/auth/login", most).await;
    let body = vec![b' '; most];
    deaf.write_all(&body).await.unwrap();
    assert_eq!(first_line(&mut deaf).await, "HTTP/1.1 413 Payload Too Large");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_stays_after_the_last_answer_is_waited_for_a_second() {
    let server = server(|config| config.limits.connections = 1).await;
    let connect = async || TcpStream::connect(server.address).await.unwrap();
    let mut stays = connect().await;
    stays.write_all(LAST).await.unwrap();
    assert_eq!(first_line(&mut stays).await, "HTTP/1.1 200 OK");
    let finds_a_place = async {
        loop {
            let mut next = connect().await;
            if next.write_all(ALIVE).await.is_ok() && !first_line(&mut next).await.is_empty() {
                break;
            }
        }
    };
    timeout(Duration::from_secs(20), finds_a_place).await.expect("its place is free again");
    drop(stays);
    server.stop().await;
}

#[tokio::test]
async fn bodies_under_way_leave_no_room_for_more_until_they_are_done() {
    let server = server(|config| config.limits.inflight_node_bytes = 10_000).await;
    let taken = || server.app.desk.permits().taken().bytes;
    let person = Person::of(&server, "shop").await;
    let login = json!({"email": "a@example.com", "password": "x".repeat(1_000)});
    assert_eq!(person.post("/api/auth/login", &login).await.status(), 401);
    let slow = unfinished(&server, "/webhook", 9_500).await;
    while taken() < 9_500 {
        tokio::task::yield_now().await;
    }
    let refused = person.post("/api/auth/login", &login).await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let (code, details) = error(refused).await;
    assert_eq!(code, "overloaded");
    assert_eq!(details[0]["message"], "the server's memory for request bodies");
    drop(slow);
    while person.post("/api/auth/login", &login).await.status() == 503 {}
    assert_eq!(taken(), 0, "everything was given back");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_done_in_its_time_is_answered_503() {
    for (path, other) in [
        ("/api/auth/login", "/webhook"),
        ("/webhook", "/api/auth/login"),
        ("/webhook/email", "/webhook"),
    ] {
        let server = server(|config| {
            let limits = &mut config.limits;
            let short = match path {
                "/webhook" => &mut limits.webhook_timeout,
                "/webhook/email" => &mut limits.mail_timeout,
                _ => &mut limits.rest_timeout,
            };
            *short = Duration::from_millis(50);
        })
        .await;
        let mut patient = unfinished(&server, other, 10).await;
        let mut slow = unfinished(&server, path, 10).await;
        assert_eq!(first_line(&mut slow).await, "HTTP/1.1 503 Service Unavailable", "{path}");
        patient.write_all(b"x").await.unwrap();
        let answer = first_line(&mut patient).await;
        assert!(!answer.contains("503"), "{other} has another limit: {answer}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_body_that_never_ends_keeps_neither_a_place_to_ask_a_provider_nor_memory() {
    let server = server(|config| {
        config.limits.account_calls = 1;
        config.limits.account_timeout = Duration::from_millis(500);
    })
    .await;
    let person = Person::of(&server, "shop").await;
    let mut silent = person.unfinished(&server, "/api/integrations/accounts", 500).await;
    assert_eq!(first_line(&mut silent).await, "HTTP/1.1 503 Service Unavailable");
    let given_back = async {
        while server.app.desk.permits().taken().bytes > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), given_back).await.expect("its bytes are given back");
    assert_eq!(person.account("7001").await.status(), 201, "the place is free");
    drop(silent);
    server.stop().await;
}

#[tokio::test]
async fn a_page_has_as_many_rows_as_its_limits_say() {
    let server = server(|config| {
        (config.limits.page_default, config.limits.page_max) = (2, 3);
    })
    .await;
    let person = Person::of(&server, "shop").await;
    for n in 0..3 {
        assert_eq!(person.agent(n).await.status(), 201);
    }
    let rows = async |path| person.get(path).await.json::<Vec<Value>>().await.unwrap().len();
    assert_eq!(rows("/api/agents").await, 2);
    assert_eq!(rows("/api/agents?per_page=3").await, 3);
    assert_eq!(person.get("/api/agents?per_page=4").await.status(), 422);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_whose_request_does_not_come_makes_room_for_others() {
    let server = server(|config| {
        config.limits.connections = 2;
        config.limits.connection_stall = Duration::from_millis(100);
    })
    .await;
    let connect = async || TcpStream::connect(server.address).await.unwrap();
    let (mut idle, mut slow) = (connect().await, connect().await);
    // It goes on a byte at a time, which is not enough.
    let trickle = async {
        while slow.write_all(b"G").await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), trickle).await.expect("it is closed");
    assert_eq!(first_line(&mut idle).await, "", "it is closed");
    let mut next = connect().await;
    next.write_all(ALIVE).await.unwrap();
    assert_eq!(first_line(&mut next).await, "HTTP/1.1 200 OK");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_whose_answers_are_not_taken_makes_room_for_others() {
    let server = server(|config| {
        config.limits.connections = 1;
        config.limits.connection_stall = Duration::from_millis(100);
    })
    .await;
    let mut deaf = TcpStream::connect(server.address).await.unwrap();
    let asks = async {
        let ask = b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        while deaf.write_all(&ask).await.is_ok() {}
    };
    timeout(Duration::from_secs(20), asks).await.expect("it is closed");
    let mut next = TcpStream::connect(server.address).await.unwrap();
    next.write_all(ALIVE).await.unwrap();
    assert_eq!(first_line(&mut next).await, "HTTP/1.1 200 OK");
    server.stop().await;
}

#[tokio::test]
async fn so_many_sockets_are_opened_a_second_and_no_more() {
    let server = server(|config| config.limits.handshakes_per_second = 2).await;
    let handshake = async |_| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(HANDSHAKE).await.unwrap();
        first_line(&mut stream).await
    };
    let answers = join_all((0..50).map(handshake)).await;
    let with = |line: &str| answers.iter().filter(|answer| answer.ends_with(line)).count();
    let (opened, refused) = (with("101 Switching Protocols"), with("503 Service Unavailable"));
    assert!(opened >= 2 && refused > 0 && opened + refused == 50, "{answers:?}");
    server.stop().await;
}

#[tokio::test]
async fn whoever_holds_a_connection_does_not_take_the_time_of_a_stop() {
    let drain = Duration::from_secs(2);
    let server = server(|config| config.server.drain = drain).await;
    let mut half = TcpStream::connect(server.address).await.unwrap();
    half.write_all(&ALIVE[..10]).await.unwrap();
    let mut asked = TcpStream::connect(server.address).await.unwrap();
    asked.write_all(ALIVE).await.unwrap();
    assert_eq!(first_line(&mut asked).await, "HTTP/1.1 200 OK");
    let begun = Instant::now();
    server.stop().await;
    assert!(begun.elapsed() < drain, "time was left to finish everything");
    assert_eq!(first_line(&mut half).await, "", "it is closed");
}
