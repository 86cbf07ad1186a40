//! What somebody may see live, and what they may not see any more.

use serde_json::json;

use crate::caller::Caller;
use crate::harness::{Org, unique};
use crate::live::Live;
use crate::socket::{say, stream, strict};

async fn assign(org: &Org, id: &str, agent: Option<&Caller>) {
    let body = json!({"agent_id": agent.map(|agent| &agent.id)});
    org.admin.patch(&format!("/api/conversations/{id}/assign"), body).await.is(200);
}

#[tokio::test]
async fn an_agent_is_told_of_its_own_and_of_nobody_s_conversations() {
    let org = Org::found().await;
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let id = org.hears(&unique("1555"), "Hello").await;
    let c = stream(&id);
    let mut live = Live::following(&ana, &["i:mine", "i:unassigned", &c]).await;
    assert_eq!(live.follow(json!({"s": "i:all"})).await, Err(103));
    assign(&org, &id, Some(&ana)).await;
    let told = live.event(&c, "conversation.assigned").await;
    assert_eq!(told["assigned_agent_id"], json!(ana.id));
    assert_eq!(told["previous"], json!({"assigned_agent_id": null}));
    assert_eq!(live.event("i:unassigned", "conversation.remove").await["id"], json!(id));
    assert_eq!(live.event("i:mine", "conversation.upsert").await["id"], json!(id));
    assert_eq!(live.event("u:me", "conversation.assigned").await["id"], json!(id));

    assign(&org, &id, Some(&bea)).await;
    let secret = "for Bea's eyes";
    say(&org, &id, secret).await;
    let (before, end) = live.until("unsub", &c).await;
    assert_eq!(end["code"], 2403);
    let gone = live.event("i:mine", "conversation.remove").await;
    assert_eq!(gone["id"], json!(id));
    assert!(!before.iter().any(|told| told.to_string().contains(secret)));
    assert_eq!(live.follow(json!({"s": c, "snap": true})).await, Err(102));
    let mut hers = Live::following(&bea, &["i:mine", &c]).await;
    let more = say(&org, &id, "more").await;
    while hers.event(&c, "message.updated").await["id"] != more["id"] {}
}

#[tokio::test]
async fn whoever_goes_on_with_a_key_that_allows_less_follows_no_more_than_it_allows() {
    let org = Org::found().await;
    let draft = json!({"name": "Narrow", "permissions": ["developer.access"]});
    let key = org.admin.post("/api/api-keys", draft).await.is(201)["key"].take();
    let mut live = Live::following(&org.admin, &["i:all"]).await;
    live.ask(json!({"op": "auth", "token": key})).await.unwrap();
    let (_, end) = live.until("unsub", "i:all").await;
    assert_eq!(end["code"], 2403);
    assert_eq!(live.follow(json!({"s": "i:all"})).await, Err(103));
}

#[tokio::test]
async fn what_waits_for_one_who_loses_sight_of_it_is_not_sent() {
    let org = Org::found().await;
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let id = org.hears(&unique("1555"), "Hello").await;
    let c = stream(&id);
    // She does not read: what is told waits in the server, as far as it does not fit in between.
    let live = Live::following(&ana, &["i:unassigned", &c]).await;
    for n in 0..50 {
        say(&org, &id, &format!("{n} {}", "x".repeat(4000))).await;
    }
    assign(&org, &id, Some(&bea)).await;
    say(&org, &id, "for Bea's eyes").await;
    org.admin.delete(&format!("/api/agents/{}", ana.id)).await.is(200);
    let (told, code) = live.end().await;
    assert_eq!(code, 4003);
    assert!(!told.iter().any(|told| told.to_string().contains("for Bea's eyes")));
}

#[tokio::test]
async fn what_is_being_written_to_one_who_loses_sight_of_it_ends_there() {
    let org = strict(|config| {
        config.limits.replay_events = 10_000;
        config.limits.replay_bytes = 100_000_000;
    })
    .await;
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let phone = unique("1555");
    let id = org.hears(&phone, "Hello").await;
    let c = stream(&id);
    let at = Live::following(&ana, &[&c]).await.vanish();
    // More than lies in between when she does not read.
    let text = "\u{1F4E6}".repeat(4_000);
    for _ in 0..500 {
        let webhook = org.text(&unique("wamid."), &phone, &text);
        org.deliver(&webhook).await.is(200);
    }
    let since = json!({"epoch": at[&c].0, "off": at[&c].1});
    let (mut live, ok) = Live::hello(&ana, json!([{"s": c, "since": since}])).await;
    assert_eq!((&ok["subs"][0]["recovered"], &ok["subs"][0]["n"]), (&json!(true), &json!(500)));
    live.next().await;
    assign(&org, &id, Some(&bea)).await;
    let (told, code) = live.end().await;
    assert!(told.len() < 450, "{} of 500 were under way at most", told.len());
    // Where half a frame was written there is no goodbye.
    assert!([0, 4111].contains(&code), "{code}");
}

#[tokio::test]
async fn another_password_and_an_agent_who_is_put_to_rest_end_open_sockets() {
    let org = Org::found().await;
    for change in [json!({"password": "battery staple"}), json!({"is_active": false})] {
        let ana = org.hire("agent").await;
        let live = Live::following(&ana, &["i:mine"]).await;
        org.admin.patch(&format!("/api/agents/{}", ana.id), change).await.is(200);
        assert_eq!(live.end().await.1, 4003);
    }
}

#[tokio::test]
async fn another_tenants_conversation_cannot_be_followed() {
    let (org, other) = (Org::found().await, Org::found().await);
    let id = org.hears(&unique("1555"), "Hello").await;
    let mut live = Live::following(&other.admin, &["i:all"]).await;
    assert_eq!(live.follow(json!({"s": stream(&id), "snap": true})).await, Err(102));
    org.hears(&unique("1555"), "Hello again").await;
    let theirs = other.hears(&unique("1555"), "Hello").await;
    // The first it is told of is its own.
    assert_eq!(live.event("i:all", "conversation.upsert").await["id"], json!(theirs));
}

#[tokio::test]
async fn a_lower_role_and_a_logout_count_at_once_on_open_sockets() {
    let org = Org::found().await;
    let boss = org.hire("supervisor").await;
    let id = org.hears(&unique("1555"), "Hello").await;
    assign(&org, &id, Some(&org.admin)).await;
    let c = stream(&id);
    let mut live = Live::following(&boss, &["i:all", &c]).await;
    let agent = format!("/api/agents/{}", boss.id);
    org.admin.patch(&agent, json!({"role": "agent"})).await.is(200);
    say(&org, &id, "not for everybody").await;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let told = live.next().await;
        assert!(!told.to_string().contains("not for everybody"));
        if told["t"] == "unsub" {
            assert_eq!(told["code"], 2403);
            ended.push(told["s"].as_str().unwrap().to_owned());
        }
    }
    ended.sort();
    assert_eq!(ended, [c, "i:all".to_owned()]);
    boss.post("/api/auth/logout", json!({})).await.is(200);
    assert_eq!(live.end().await.1, 4003);
}

#[tokio::test]
async fn who_managed_the_channels_is_told_nothing_of_them_afterwards() {
    let org = Org::found().await;
    let boss = org.hire("admin").await;
    let at = Live::following(&boss, &["u:me"]).await.vanish();
    let integration = "/api/integrations/whatsapp";
    let secret = json!({"config": {"app_secret": "one"}});
    org.admin.call(reqwest::Method::PUT, integration, Some(&secret)).await.is(200);
    org.admin.patch(&format!("/api/agents/{}", boss.id), json!({"role": "agent"})).await.is(200);
    let since = json!({"epoch": at["u:me"].0, "off": at["u:me"].1});
    let (mut live, ok) = Live::hello(&boss, json!([{"s": "u:me", "since": since}])).await;
    assert_eq!(ok["subs"][0]["recovered"], true);
    loop {
        let told = live.next().await;
        assert_ne!(told["k"], "integration.status_changed", "{told}");
        if told["k"] == "agent.updated" {
            break;
        }
    }
}

#[tokio::test]
async fn one_s_own_stream_is_followed_however_many_others_are_asked_for() {
    let org = strict(|config| config.limits.subscriptions_per_socket = 2).await;
    let ana = org.hire("agent").await;
    let (mut live, ok) = Live::hello(&ana, json!([{"s": "i:mine"}, {"s": "i:unassigned"}])).await;
    let refused = |stream: &str| {
        let all = ok["subs"].as_array().unwrap();
        all.iter().find(|sub| sub["s"] == stream).unwrap()["err"].is_object()
    };
    assert_eq!(["u:me", "i:mine", "i:unassigned"].map(refused), [false, false, true]);
    org.admin.patch(&format!("/api/agents/{}", ana.id), json!({"name": "Ana B."})).await.is(200);
    assert_eq!(live.event("u:me", "agent.updated").await["name"], "Ana B.");
}
