//! What a number may send, with the time standing still until it is set forward.

use std::time::Duration;

use serde_json::json;
use simulator::{Account, Graph, GraphOptions, Limits};

use crate::engine::client;
use crate::stand::{options, post_to, text};

async fn graph(limits: Limits) -> Graph {
    let accounts = vec![Account::new("1065"), Account::new("1066")];
    Graph::start(GraphOptions { accounts, limits, pace: 0.0, ..options() }).await.unwrap()
}

/// The codes of so many sends to one recipient, each with its number as our data; 0: accepted.
async fn send(graph: &Graph, number: &str, to: &str, times: u64) -> Vec<u64> {
    let mut codes = Vec::new();
    for n in 0..times {
        let path = format!("{number}/messages");
        let (_, answer) = post_to(graph, &path, &text(to, &format!("{to}-{n}"))).await;
        codes.push(answer["error"]["code"].as_u64().unwrap_or_default());
    }
    codes
}

#[tokio::test]
async fn a_number_beyond_its_throughput_is_refused_with_130429_until_time_has_passed() {
    let graph = graph(Limits { per_second: 3, ..Limits::default() }).await;
    for to in ["15550100003", "15550100013", "15550100023"] {
        assert_eq!(send(&graph, "1065", to, 1).await, [0]);
    }
    let (http, answer) = post_to(&graph, "1065/messages", &text("15550100033", "m")).await;
    assert_eq!((http, &answer["error"]["code"]), (400, &json!(130_429)));
    assert_eq!(answer["error"]["type"], "OAuthException");
    assert!(answer["error"]["fbtrace_id"].is_string());
    assert_eq!(send(&graph, "1066", "15550100033", 1).await, [0], "another number is free");

    graph.advance(Duration::from_millis(334));
    assert_eq!(send(&graph, "1065", "15550100033", 2).await, [0, 130_429]);
    graph.set_throughput("1065", 1000);
    graph.advance(Duration::from_millis(1));
    assert_eq!(send(&graph, "1065", "15550100033", 1).await, [0]);
    let (all, one) = (graph.traffic().number("1065"), graph.traffic().pair("1065", "15550100033"));
    assert_eq!((all.accepted, all.refused_with(130_429)), (5, 2));
    assert_eq!((one.accepted, one.refused_with(130_429)), (2, 2));
}

#[tokio::test]
async fn a_customer_beyond_a_burst_of_45_is_refused_with_131056_and_gets_one_more_every_6_s() {
    let graph = graph(Limits::default()).await;
    let mut wanted = vec![0; 45];
    wanted.push(131_056);
    assert_eq!(send(&graph, "1065", "15550100003", 46).await, wanted);
    assert_eq!(send(&graph, "1065", "15550100013", 1).await, [0], "another customer is free");
    graph.advance(Duration::from_secs(6));
    assert_eq!(send(&graph, "1065", "15550100003", 2).await, [0, 131_056]);

    let sends = graph.sends();
    let order: Vec<_> = sends.to("15550100003").map(|sent| sent.opaque.clone().unwrap()).collect();
    let first = (0..45).chain([0]).map(|n| format!("15550100003-{n}"));
    assert_eq!(order, first.collect::<Vec<_>>(), "in the order of acceptance");
    assert_eq!(sends.to("15550100003").last().unwrap().at_ms, 6000);
    let refused = graph.traffic().pair("1065", "15550100003").refused_with(131_056);
    assert_eq!((refused, graph.traffic().number("1065").accepted), (2, 47));
}

#[tokio::test]
async fn an_expired_token_stops_its_number_alone_until_it_is_renewed() {
    let graph = graph(Limits::default()).await;
    graph.expire_token("1065");
    let (http, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
    assert_eq!((http, &answer["error"]["code"]), (401, &json!(190)));
    let node = |number: &str| client().get(format!("{}/v23.0/{number}", graph.url()));
    assert_eq!(node("1065").bearer_auth("token").send().await.unwrap().status(), 401);
    assert_eq!(send(&graph, "1066", "15550100003", 1).await, [0]);
    graph.renew_token("1065");
    assert_eq!(send(&graph, "1065", "15550100003", 1).await, [0]);
    graph.until_traffic(|traffic| traffic.number("1065").refused_with(190) == 1).await;
}
