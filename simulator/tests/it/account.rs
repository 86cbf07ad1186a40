//! Numbers and business accounts: what they are, registration, profile, blocks, callbacks, events.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{AccountEvent, Act, Graph, GraphOptions, Limits, Quality, Who};

use crate::engine::{VERIFY_TOKEN, client, inbox};
use crate::stand::{ask, get, post_to, quiet, still, text};

#[tokio::test]
async fn nodes_show_the_fields_asked_for() {
    let graph = Graph::start(quiet()).await.unwrap();
    let (_, node) = get(&graph, "1065?fields=throughput,quality_rating,health_status").await;
    assert_eq!(node["throughput"]["level"], "STANDARD");
    assert_eq!(node["health_status"]["can_send_message"], "AVAILABLE");
    assert!(node["verified_name"].is_null());
    let (_, account) = get(&graph, "waba-1065").await;
    assert_eq!(account["account_review_status"], "APPROVED");
    let (_, numbers) = get(&graph, "waba-1065/phone_numbers?fields=verified_name").await;
    let wanted = json!([{"id": "1065", "verified_name": "Corner Store"}]);
    assert_eq!(numbers["data"], wanted);
    assert_eq!(get(&graph, "waba-9/phone_numbers").await.0, 400);
}

#[tokio::test]
async fn a_number_is_taken_off_registered_again_with_its_pin_and_not_too_often() {
    let graph = Graph::start(GraphOptions { pace: 0.0, ..quiet() }).await.unwrap();
    let register = async |pin: &str| {
        let body = json!({"messaging_product": "whatsapp", "pin": pin});
        post_to(&graph, "1065/register", &body).await.1["error"]["code"].as_u64()
    };
    let send = async || {
        let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
        answer["error"]["code"].as_u64()
    };
    assert_eq!(register("12345").await, Some(100));
    assert_eq!(register("123456").await, None);
    assert_eq!(post_to(&graph, "1065/deregister", &json!({})).await.0, 200);
    assert_eq!(send().await, Some(133_010));
    let (_, node) = get(&graph, "1065?fields=status,health_status").await;
    assert_eq!(
        (&node["status"], &node["health_status"]["can_send_message"]),
        (&json!("DISCONNECTED"), &json!("BLOCKED"),)
    );
    assert_eq!(register("654321").await, Some(133_005));
    assert_eq!(register("123456").await, None);
    assert_eq!(send().await, None);
    for _ in 0..6 {
        assert_eq!(register("123456").await, None);
    }
    assert_eq!(register("123456").await, Some(133_016));
    graph.advance(Duration::from_hours(72));
    assert_eq!(register("123456").await, None);
}

#[tokio::test]
async fn a_code_proves_a_number() {
    let graph = Graph::start(quiet()).await.unwrap();
    let ask_code = json!({"code_method": "SMS", "language": "en"});
    assert_eq!(post_to(&graph, "1065/request_code", &json!({})).await.0, 400);
    assert_eq!(post_to(&graph, "1065/request_code", &ask_code).await.0, 200);
    let status = async || {
        get(&graph, "1065?fields=code_verification_status").await.1["code_verification_status"]
            .clone()
    };
    assert_eq!(status().await, "NOT_VERIFIED");
    assert_eq!(post_to(&graph, "1065/verify_code", &json!({"code": "000000"})).await.0, 400);
    assert_eq!(post_to(&graph, "1065/verify_code", &json!({"code": "001065"})).await.0, 200);
    assert_eq!(status().await, "VERIFIED");
}

#[tokio::test]
async fn a_profile_is_kept_within_its_bounds() {
    let graph = Graph::start(quiet()).await.unwrap();
    let path = "1065/whatsapp_business_profile";
    let mut profile =
        json!({"messaging_product": "whatsapp", "about": "Mugs", "vertical": "RETAIL"});
    assert_eq!(post_to(&graph, path, &profile).await.0, 200);
    let (_, shown) = get(&graph, &format!("{path}?fields=about")).await;
    assert_eq!(shown["data"], json!([{"about": "Mugs", "messaging_product": "whatsapp"}]));
    profile["about"] = json!("x".repeat(140));
    assert_eq!(post_to(&graph, path, &profile).await.0, 400);
}

#[tokio::test]
async fn only_who_wrote_within_a_day_is_blocked_and_then_neither_side_reaches_the_other() {
    let (url, _taken) = inbox(0).await;
    let graph = still(&url).await;
    let hello = || Act::Text { text: "Hello".into(), quote: false };
    let ines = graph.customer("1065", &Who::with_phone("15550100003", "Ines")).unwrap();
    let users = json!([{"user": "+15550100003"}, {"user": "15550100013"}]);
    let body = json!({"messaging_product": "whatsapp", "block_users": users});
    ines.does(hello()).await.unwrap();
    let (_, answer) = post_to(&graph, "1065/block_users", &body).await;
    let (added, failed) =
        (&answer["block_users"]["added_users"], &answer["block_users"]["failed_users"]);
    assert_eq!(added, &json!([{"input": "+15550100003", "wa_id": "15550100003"}]));
    assert_eq!(failed[0]["wa_id"], "15550100013");
    assert!(ines.does(hello()).await.is_err());
    let send = async || {
        let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
        answer["error"]["code"].as_u64()
    };
    assert_eq!(send().await, Some(131_026));
    assert_eq!(get(&graph, "1065/block_users").await.1["data"][0]["wa_id"], "15550100003");
    assert_eq!(ask(&graph, Method::DELETE, "1065/block_users", Some(&body)).await.0, 200);
    assert_eq!(send().await, None);
    ines.does(hello()).await.unwrap();
}

#[tokio::test]
async fn webhooks_go_to_the_address_that_proved_itself_and_nowhere_once_unsubscribed() {
    let (app, mut at_app) = inbox(0).await;
    let (other, mut at_other) = inbox(0).await;
    let graph = still(&app).await;
    let hello = || Act::Text { text: "Hello".into(), quote: false };
    let ines = graph.customer("1065", &Who::with_phone("15550100003", "Ines")).unwrap();
    let path = "waba-1065/subscribed_apps";
    let wish = |token: &str| json!({"override_callback_uri": other, "verify_token": token});

    assert_eq!(post_to(&graph, path, &wish("wrong")).await.0, 400);
    ines.does(hello()).await.unwrap();
    at_app.recv().await.unwrap();
    assert_eq!(post_to(&graph, path, &wish(VERIFY_TOKEN)).await.0, 200);
    assert_eq!(get(&graph, path).await.1["data"][0]["override_callback_uri"], json!(other));
    ines.does(hello()).await.unwrap();
    at_other.recv().await.unwrap();

    let own = json!({"webhook_configuration": {
        "override_callback_uri": app, "verify_token": VERIFY_TOKEN,
    }});
    assert_eq!(post_to(&graph, "1065", &own).await.0, 200);
    ines.does(hello()).await.unwrap();
    at_app.recv().await.unwrap();
    let (_, node) = get(&graph, "1065?fields=webhook_configuration").await;
    let configuration = &node["webhook_configuration"];
    assert_eq!(
        (&configuration["phone_number"], &configuration["whatsapp_business_account"]),
        (&json!(app), &json!(other),)
    );

    assert_eq!(ask(&graph, Method::DELETE, path, None).await.0, 200);
    assert_eq!(get(&graph, path).await.1["data"], json!([]));
    let delivered = graph.tally().delivered;
    ines.does(hello()).await.unwrap();
    assert_eq!(graph.tally().delivered, delivered);
    assert_eq!(post_to(&graph, path, &json!({})).await.0, 200);
    ines.does(hello()).await.unwrap();
    assert_eq!(graph.tally().delivered, delivered + 1);
}

#[tokio::test]
async fn management_requests_have_so_many_an_hour_and_are_told_how_many_are_used() {
    let limits = Limits { management_per_hour: 2, ..Limits::default() };
    let graph = Graph::start(GraphOptions { limits, pace: 0.0, ..quiet() }).await.unwrap();
    let node = async || {
        let url = format!("{}/v23.0/waba-1065/message_templates", graph.url());
        client().get(url).bearer_auth("token").send().await.unwrap()
    };
    let used = |answer: &reqwest::Response, key: &str| {
        let header = answer.headers()["x-business-use-case-usage"].to_str().unwrap();
        serde_json::from_str::<Value>(header).unwrap()["waba-1065"][0][key].clone()
    };
    assert_eq!(used(&node().await, "call_count"), 50);
    assert_eq!(get(&graph, "1065").await.0, 200, "the number's account is the same");
    let refused = node().await;
    assert_eq!(used(&refused, "call_count"), 100);
    assert_eq!(used(&refused, "estimated_time_to_regain_access"), 60);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], 80_007);
    let (http, _) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
    assert_eq!(http, 200, "a message is no management request");
    graph.advance(Duration::from_hours(1));
    assert_eq!(node().await.status(), 200);
}

#[tokio::test]
async fn what_happens_to_a_number_is_told_and_shows_in_its_node() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let mut happens = async |event: AccountEvent| {
        graph.happen("1065", &event).await.unwrap();
        let (signed, webhook) = taken.recv().await.unwrap();
        assert!(signed);
        let change = webhook["entry"][0]["changes"][0].clone();
        (change["field"].as_str().unwrap().to_owned(), change["value"]["event"].clone())
    };
    let number = "phone_number_quality_update".to_owned();
    let red = AccountEvent::Quality { quality: Quality::Red };
    assert_eq!(happens(red).await, (number.clone(), json!("FLAGGED")));
    assert_eq!(get(&graph, "1065").await.1["quality_rating"], "RED");
    let upgraded = happens(AccountEvent::ThroughputUpgrade).await;
    assert_eq!(upgraded, (number, json!("THROUGHPUT_UPGRADE")));
    assert_eq!(get(&graph, "1065").await.1["throughput"]["level"], "HIGH");
    let account = "account_update".to_owned();
    let restricted = happens(AccountEvent::Restricted { days: 1 }).await;
    assert_eq!(restricted, (account, json!("ACCOUNT_RESTRICTION")));
    let send = async || {
        let (_, answer) = post_to(&graph, "1065/messages", &text("15550100003", "m")).await;
        answer["error"]["code"].as_u64()
    };
    assert_eq!(send().await, Some(368));
    graph.advance(Duration::from_hours(24));
    assert_eq!(send().await, None);
    let capability = happens(AccountEvent::Capability { customers_a_day: 2000 }).await;
    assert_eq!(capability.0, "business_capability_update");
}
