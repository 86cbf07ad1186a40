//! Slow and broken answers.

use std::time::Duration;

use serde_json::json;
use simulator::{Graph, GraphOptions, Plan, Trouble};

use crate::engine::client;
use crate::stand::{get, options, post_to, quiet, text};

async fn send(graph: &Graph) -> reqwest::Result<reqwest::Response> {
    let url = format!("{}/v23.0/1065/messages", graph.url());
    client().post(url).bearer_auth("token").json(&text("15550100003", "m")).send().await
}

#[tokio::test]
async fn the_next_requests_fail_as_planned_and_those_after_them_do_not() {
    let graph = Graph::start(quiet()).await.unwrap();
    graph.plan(Plan::next_sends(2, Trouble::Error { code: 131_000 }));
    graph.plan(Plan::next_sends(1, Trouble::Error { code: 424_242 }));
    let mut codes = Vec::new();
    for _ in 0..4 {
        assert_eq!(get(&graph, "1065").await.0, 200, "not a send");
        let (http, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
        codes.push((http, answer["error"]["code"].as_u64().unwrap_or_default()));
    }
    assert_eq!(codes, [(500, 131_000), (500, 131_000), (400, 424_242), (200, 0)]);
    let refused = graph.traffic().pair("1065", "15550100003").refused;
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), [(131_000, 2), (424_242, 1)]);
    let sends: Vec<_> = graph.requests().into_iter().filter(|it| it.method == "POST").collect();
    assert_eq!(sends.iter().map(|it| it.status).collect::<Vec<_>>(), [500, 500, 400, 200]);
}

#[tokio::test]
async fn who_is_throttled_is_told_how_long_to_wait_in_the_header_that_goes_with_the_code() {
    let graph = Graph::start(quiet()).await.unwrap();
    for (code, name, value) in [
        (130_429, "retry-after", "90".to_owned()),
        (131_056, "retry-after", "90".to_owned()),
        (
            80_007,
            "x-business-use-case-usage",
            json!({"1065": [{"type": "whatsapp", "call_count": 100, "total_cputime": 0,
                "total_time": 0, "estimated_time_to_regain_access": 2}]})
            .to_string(),
        ),
    ] {
        graph.plan(Plan::next_sends(1, Trouble::Throttled { code, seconds: 90 }));
        let answer = send(&graph).await.unwrap();
        assert_eq!(answer.status(), 400);
        assert_eq!(answer.headers()[name], value, "{code}");
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code);
        assert_eq!(send(&graph).await.unwrap().status(), 200, "only the next one");
    }
}

#[tokio::test]
async fn a_connection_is_reset_before_anything_happens_or_after_all_did() {
    let graph = Graph::start(quiet()).await.unwrap();
    graph.plan(Plan::next_sends(1, Trouble::ResetBefore));
    let error = send(&graph).await.unwrap_err();
    assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
    assert_eq!(graph.sends().total, 0);
    graph.plan(Plan::next_sends(1, Trouble::ResetAfter));
    assert!(send(&graph).await.is_err());
    assert_eq!((graph.sends().total, graph.counts().accepted), (1, 1));
    assert_eq!(send(&graph).await.unwrap().status(), 200);
}

#[tokio::test]
async fn half_an_answer_a_page_and_nothing_at_all_are_answers_too() {
    let graph = Graph::start(quiet()).await.unwrap();
    for trouble in [Trouble::Truncated, Trouble::Html, Trouble::TooMany] {
        graph.plan(Plan::next_sends(1, trouble));
    }
    let half = send(&graph).await.unwrap();
    assert_eq!(half.status(), 200);
    let half = half.text().await.unwrap();
    assert!(half.starts_with('{') && serde_json::from_str::<serde_json::Value>(&half).is_err());
    let page = send(&graph).await.unwrap();
    assert_eq!(
        (page.status().as_u16(), &page.headers()["content-type"]),
        (502, &"text/html; charset=utf-8".parse().unwrap(),)
    );
    let empty = send(&graph).await.unwrap();
    assert_eq!((empty.status().as_u16(), empty.content_length()), (429, Some(0)));
    assert_eq!((graph.counts().accepted, graph.counts().refused), (1, 2));
}

#[tokio::test]
async fn an_answer_that_never_comes_is_of_a_send_that_was_accepted() {
    let graph = Graph::start(options()).await.unwrap();
    graph.plan(Plan::next_sends(1, Trouble::HangAfter));
    tokio::select! {
        answer = send(&graph) => panic!("answered {answer:?}"),
        () = graph.until(|counts| counts.accepted == 1) => {}
    }
    assert_eq!(graph.sends().by_opaque()["m"], 1);
}

#[tokio::test]
async fn answers_take_the_time_they_are_told_to() {
    let hour = Duration::from_hours(1);
    let options = GraphOptions { latency: (hour, hour), pace: 0.0, ..quiet() };
    let graph = Graph::start(options).await.unwrap();
    let body = text("15550100003", "m");
    let mut answer = std::pin::pin!(post_to(&graph, "1065/messages", &body));
    // Set forward until it is answered: it takes an hour, and no hour passes by itself.
    let mut forward = tokio::time::interval(Duration::from_millis(5));
    let (http, _) = loop {
        tokio::select! {
            answer = &mut answer => break answer,
            _ = forward.tick() => graph.advance(hour / 4),
        }
    };
    assert_eq!(http, 200);
    assert!(graph.requests()[0].at_ms >= 3_600_000, "{:?}", graph.requests());
}

#[tokio::test]
async fn a_plan_can_be_for_one_number_and_one_part_of_it() {
    let graph = Graph::start(quiet()).await.unwrap();
    graph.plan(Plan {
        trouble: Trouble::Error { code: 2 },
        times: 1,
        id: Some("waba-1065".into()),
        edge: Some("message_templates".into()),
    });
    assert_eq!(send(&graph).await.unwrap().status(), 200);
    let (http, answer) = get(&graph, "waba-1065/message_templates").await;
    assert_eq!((http, &answer["error"]["code"]), (503, &json!(2)));
}
