//! What every request goes through, and what is served beside the operations.

use std::time::Duration;

use reqwest::Method;

use crate::caller::Answer;
use crate::harness::{Org, Server, unique};

#[tokio::test]
async fn the_server_says_that_it_is_alive_and_takes_work() {
    let nobody = Server::shared().await.anonymous();
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = nobody.get(path).await.is(200);
        assert_eq!(answer["status"], "ok", "{path}");
        assert!(answer["version"].is_string());
    }
}

#[tokio::test]
async fn every_answer_forbids_what_pages_of_others_could_do_with_it() {
    let org = Org::found().await;
    for path in ["/health", "/docs", "/api/auth/me", "/api/nothing", "/api/conversations?x=1"] {
        let answer = org.admin.get(path).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.headers[name], value, "{path}");
        }
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!answer.headers.contains_key("server"));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_request_keeps_the_id_it_brings_if_it_is_a_plain_one() {
    let org = Org::found().await;
    let ask = async |id: &str| {
        let request = org.admin.request(Method::GET, "/api/nothing").header("x-request-id", id);
        let answer = Answer::of(request).await;
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(ask("trace-1.a_B").await, "trace-1.a_B");
    for odd in ["", "two words", "<script>", &"x".repeat(65)] {
        assert_ne!(ask(odd).await, odd);
    }
    assert_ne!(ask("").await, ask("").await);
}

#[tokio::test]
async fn the_page_of_the_document_needs_nothing_from_outside() {
    let nobody = Server::shared().await.anonymous();
    let page = nobody.get("/docs").await;
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(page.text.contains("/api/openapi.json"));
    for outside in ["https://", "http://", "src=\"//"] {
        assert!(!page.text.contains(outside), "{outside}");
    }
    let document = nobody.get("/api/openapi.json").await.is(200);
    assert_eq!(document, api::openapi::document());
}

#[tokio::test]
async fn figures_are_on_an_address_of_their_own() {
    let org = Org::found().await;
    org.hears(&unique("1555"), "Hello").await;
    org.admin.get("/metrics").await.refused(404, "no_such_route");
    let figures = reqwest::get(org.server.metrics()).await.unwrap();
    assert_eq!(figures.status(), 200);
    let figures = figures.text().await.unwrap();
    assert!(figures.contains("omnistream_webhook_items_total{item=\"message\"}"), "{figures}");
    for what in ["orders", "commits", "waiting", "sends"] {
        let oldest = format!("omnistream_oldest_seconds{{what=\"{what}\"}} ");
        assert!(figures.contains(&oldest), "{oldest} in {figures}");
    }
    assert!(figures.contains("omnistream_parked_threads 0"), "{figures}");
    let other = org.server.metrics().replace("/metrics", "/api/auth/me");
    assert_eq!(reqwest::get(other).await.unwrap().status(), 404);
}

#[tokio::test]
async fn what_takes_too_long_is_answered_and_may_be_tried_again() {
    let server = Server::start(|config| config.limits.webhook_timeout = Duration::ZERO).await;
    let org = Org::on(&server).await;
    let webhook = org.text(&unique("wamid."), &unique("1555"), "Hello");
    let answer = org.deliver(&webhook).await;
    assert_eq!(answer.headers["retry-after"], "1");
    answer.refused(503, "unavailable");
}

#[tokio::test]
async fn a_server_that_stops_answers_what_it_has_taken_and_starts_again_with_all_of_it() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let id = org.hears(&phone, "Hello").await;
    let before = org.admin.get(&format!("/api/conversations/{id}")).await.is(200);
    server.restart().await;
    assert_eq!(org.admin.get(&format!("/api/conversations/{id}")).await.is(200), before);
    assert_eq!(org.hears(&phone, "Again").await, id);
}
