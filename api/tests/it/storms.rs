//! Storms of the provider's limits: what is too much waits, nothing is lost, and what a customer gets
//! comes in its order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use futures_util::future::join_all;
use serde_json::json;
use simulator::{GraphOptions, Limits, Plan, Sent, Trouble};
use tokio::time::Instant;

use crate::harness::{Org, Server, eventually, graph, unique};

/// A server beside a provider with these limits, and an organization on it.
async fn beside(limits: Limits, differ: impl FnOnce(&mut Config)) -> (Arc<Server>, Org) {
    let server = Server::beside(GraphOptions { limits, ..graph() }, |config| {
        config.limits.pair_ladder = vec![Duration::from_millis(20), Duration::from_millis(80)];
        config.limits.send_rate_per_second = 1_000;
        // Its messages to one customer are more than the provider lets through.
        config.limits.pair_every = Duration::from_millis(1);
        differ(config);
    })
    .await;
    let org = Org::on(&server).await;
    (server, org)
}

/// So many new customers of an organization, each by the id of the conversation.
async fn customers(org: &Org, number: usize) -> Vec<(String, String)> {
    join_all((0..number).map(async |_| {
        let phone = unique("1555");
        let id = org.hears(&phone, "Hello").await;
        (phone, id)
    }))
    .await
}

/// Says so many things to each customer, one after another, to all at once.
async fn say(org: &Org, customers: &[(String, String)], messages: usize) {
    join_all(customers.iter().map(async |(_, id)| {
        for n in 0..messages {
            let path = format!("/api/conversations/{id}/messages");
            org.admin.post(&path, json!({"text": n.to_string()})).await.is(201);
        }
    }))
    .await;
}

/// Each customer got so many messages, each once and in their order.
fn in_order(sends: &[Sent], customers: &[(String, String)], messages: usize) {
    let mut got: HashMap<&str, Vec<&str>> = HashMap::new();
    for sent in sends {
        got.entry(&sent.to).or_default().push(sent.text.as_deref().unwrap_or_default());
    }
    let wanted: Vec<_> = (0..messages).map(|n| n.to_string()).collect();
    for (phone, _) in customers {
        assert_eq!(got[phone.as_str()], wanted, "what {phone} got");
    }
}

#[tokio::test]
async fn a_number_over_its_throughput_settles_at_the_limit_in_every_customer_s_order() {
    let limits = Limits { per_second: 50, pair_burst: 1_000, ..Limits::default() };
    let (server, org) = beside(limits, |_| {}).await;
    let customers = customers(&org, 30).await;
    say(&org, &customers, 10).await;
    server.graph.until(|counts| counts.accepted == 300).await;
    in_order(&server.graph.sends().sends, &customers, 10);
    let refused = server.graph.counts().refused;
    assert!(refused > 0, "it was over the limit");
    assert!(refused < 150, "it goes on beating against the limit: {refused} refused");
}

#[tokio::test]
async fn a_customer_who_gets_too_many_waits_alone_and_in_order() {
    let limits = Limits {
        per_second: 1_000,
        pair_burst: 3,
        pair_every: Duration::from_millis(100),
        ..Limits::default()
    };
    let (server, org) = beside(limits, |_| {}).await;
    let (one, others) = (customers(&org, 1).await, customers(&org, 10).await);
    say(&org, &one, 15).await;
    say(&org, &others, 2).await;
    server.graph.until(|counts| counts.accepted == 35).await;
    let sends = server.graph.sends().sends;
    in_order(&sends, &one, 15);
    in_order(&sends, &others, 2);
    assert!(server.graph.counts().refused > 0, "the customer got too many");
    let last = sends.iter().rposition(|sent| sent.to == one[0].0).unwrap();
    assert_eq!(last, 34, "nobody else waited for it");
}

#[tokio::test]
async fn who_keeps_to_the_provider_s_limits_is_never_refused() {
    let pair_every = Duration::from_millis(100);
    let limits = Limits { per_second: 100, pair_burst: 3, pair_every, ..Limits::default() };
    let (server, org) = beside(limits, |config| {
        config.limits.send_rate_per_second = 90;
        config.limits.pair_burst = 3;
        // The provider counts from when a message arrives, which is later than when it left.
        config.limits.pair_every = pair_every * 3 / 2;
    })
    .await;
    let customers = customers(&org, 10).await;
    say(&org, &customers, 8).await;
    server.graph.until(|counts| counts.accepted == 80).await;
    in_order(&server.graph.sends().sends, &customers, 8);
    assert_eq!(server.graph.counts().refused, 0);
}

#[tokio::test]
async fn an_expired_token_stops_its_account_alone_and_loses_nothing() {
    let limits = Limits { per_second: 1_000, pair_burst: 1_000, ..Limits::default() };
    let (server, org) = beside(limits, |config| config.limits.send_rate_per_second = 10).await;
    let other = Org::on(&server).await;
    let (ours, theirs) = (customers(&org, 5).await, customers(&other, 5).await);
    say(&org, &ours, 3).await;
    server.graph.expire_token(&org.number);
    let account = format!("/api/integrations/accounts/{}", org.account);
    eventually(async || {
        let account = org.admin.get(&account).await.is(200);
        Some(()).filter(|()| account["status"] == "attention")
    })
    .await;
    say(&other, &theirs, 3).await;
    let accepted = |org: &Org| server.graph.traffic().number(&org.number).accepted;
    server.graph.until_traffic(|traffic| traffic.number(&other.number).accepted == 15).await;
    assert!(accepted(&org) < 15, "it stopped on the way");
    // Somebody looks before the token is good again, and after.
    for renewed in [false, true] {
        if renewed {
            server.graph.renew_token(&org.number);
        }
        let looked = org.admin.patch(&account, json!({"config": {}})).await.is(200);
        assert_eq!(looked["status"] == "connected", renewed);
    }
    server.graph.until_traffic(|traffic| traffic.number(&org.number).accepted == 15).await;
    let refused = server.graph.traffic().number(&org.number).refused_with(190);
    assert!((1..10).contains(&refused), "{refused} beat against a stopped account");
    let sends = server.graph.sends().sends;
    in_order(&sends, &ours, 3);
    in_order(&sends, &theirs, 3);
}

#[tokio::test]
async fn an_account_of_the_high_level_sends_at_its_own_pace() {
    let limits = Limits { pair_burst: 1_000, ..Limits::default() };
    let (server, org) = beside(limits, |config| {
        config.limits.send_rate_per_second = 1;
        config.limits.send_rate_high_per_second = 1_000;
    })
    .await;
    server.graph.set_throughput(&org.number, 1_000);
    let account = format!("/api/integrations/accounts/{}", org.account);
    org.admin.patch(&account, json!({"config": {}})).await.is(200);
    let customers = customers(&org, 20).await;
    say(&org, &customers, 10).await;
    // At the usual pace it would take more than three minutes.
    let all = server.graph.until(|counts| counts.accepted == 200);
    tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    in_order(&server.graph.sends().sends, &customers, 10);
}

#[tokio::test]
async fn a_provider_that_says_for_how_long_is_left_alone_for_so_long() {
    let limits = Limits { per_second: 1_000, pair_burst: 1_000, ..Limits::default() };
    let bound = Duration::from_secs(2);
    let (server, org) = beside(limits, |config| config.limits.throttle_wait_max = bound).await;
    let customers = customers(&org, 1).await;
    let second = Duration::from_secs(1);
    let throttles =
        [(130_429, 1, second), (131_056, 1, second), (4, 3_600, bound), (80_007, 60, bound)];
    for (accepted, (code, seconds, waits)) in (1..).zip(throttles) {
        server.graph.plan(Plan::next_sends(1, Trouble::Throttled { code, seconds }));
        let began = Instant::now();
        say(&org, &customers, 1).await;
        server.graph.until(|counts| counts.accepted == accepted).await;
        assert!(began.elapsed() >= waits, "after {code}: {:?}", began.elapsed());
        assert_eq!(server.graph.counts().refused, accepted, "it was asked once");
    }
}
