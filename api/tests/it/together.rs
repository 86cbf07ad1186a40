//! People who work together, live: who writes, who is there, who takes work, what was read.

use serde_json::{Value, json};

use crate::harness::{Org, Server, unique};
use crate::live::{JSON, Live, MSGPACK};

async fn follow(live: &mut Live, stream: &str) {
    live.follow(json!({"s": stream})).await.unwrap();
}

/// The next that passes under this name.
async fn passing(live: &mut Live, k: &str) -> Value {
    loop {
        let told = live.next().await;
        if told["k"] == k || told["t"] == k {
            return told;
        }
    }
}

#[tokio::test]
async fn who_writes_is_shown_to_who_may_see_the_conversation_in_any_encoding() {
    let (org, other) = (Org::found().await, Org::found().await);
    let ana = org.hire("agent").await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let c = format!("c:{id}");
    let mut hers = Live::hello_in(JSON, &ana, json!([{"s": c}])).await.0;
    let mut same = Live::hello_in(MSGPACK, &ana, json!([{"s": c}])).await.0;
    let mut boss = Live::hello_in(MSGPACK, &org.admin, json!([{"s": c}])).await.0;
    let mut stranger = Live::following(&other.admin, &["t:agents"]).await;
    hers.say(&json!({"op": "typing", "s": c, "on": true}).to_string()).await;
    hers.say(&json!({"op": "typing", "s": c, "on": true}).to_string()).await;
    hers.say(&json!({"op": "typing", "s": c, "on": false}).to_string()).await;
    let typing = |on: bool| json!({"t": "eph", "s": c, "k": "typing", "d": {"id": ana.id, "on": on}, "ttl_ms": 6000});
    assert_eq!(passing(&mut boss, "typing").await, typing(true));
    assert_eq!(passing(&mut boss, "typing").await, typing(false));
    // Somebody else's conversation, one that is none, and one that is not followed: nothing comes.
    stranger.say(&json!({"op": "typing", "s": c, "on": true}).to_string()).await;
    stranger.say(&json!({"op": "typing", "s": "i:all", "on": true}).to_string()).await;
    assert_eq!(stranger.ask(json!({"op": "typing", "on": true})).await, Err(107));
    org.hears(&unique("1555"), "Another").await;
    for live in [&mut hers, &mut same, &mut boss] {
        live.ask(json!({"op": "unsub", "s": c})).await.unwrap();
        follow(live, &c).await;
        live.ask(json!({"op": "unsub", "s": "u:me"})).await.unwrap();
        while let Some(told) = live.waiting().await {
            assert_ne!(told["k"], "typing", "nobody is shown themselves, nor told twice");
        }
    }
}

#[tokio::test]
async fn who_writes_and_who_is_there_is_not_told_while_the_server_is_full() {
    let server = Server::start(|config| {
        config.limits.inflight_tenant = config.limits.inflight_node;
    })
    .await;
    let org = Org::on(&server).await;
    let ana = org.hire("agent").await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let c = format!("c:{id}");
    let mut boss = Live::following(&org.admin, &[&c]).await;
    let typing = json!({"op": "typing", "s": c, "on": true}).to_string();
    let full = server.fill(70);
    let mut unseen = Live::following(&ana, &[&c]).await;
    unseen.say(&typing).await;
    // It has been heard when this is answered.
    unseen.ask(json!({"op": "unsub", "s": "u:me"})).await.unwrap();
    drop(full);
    let mut seen = Live::following(&ana, &[&c]).await;
    seen.say(&typing).await;
    let mut told = boss.next().await;
    while told["k"] != "typing" {
        // Nor is the second socket of somebody who is there already.
        assert_ne!(told["t"], "pres", "the first one was not told of");
        told = boss.next().await;
    }
    assert_eq!(told["d"]["on"], true);
    assert!(boss.waiting().await.is_none_or(|told| told["k"] != "typing"), "it was told once");
}

#[tokio::test]
async fn what_was_read_is_marked_up_to_a_message_for_everybody() {
    let (org, other) = (Org::found().await, Org::found().await);
    let phone = unique("1555");
    org.hears(&phone, "one").await;
    org.hears(&phone, "two").await;
    let id = org.hears(&phone, "three").await;
    let c = format!("c:{id}");
    let mut live = Live::following(&org.admin, &[&c, "i:all"]).await;
    let seen = |seq: u64| json!({"op": "seen", "s": c, "seq": seq});
    let ok = live.ask(seen(3)).await.unwrap();
    assert_eq!(ok, json!({"s": c, "seq": 3, "unread_count": 1}));
    assert_eq!(live.event(&c, "conversation.read").await["unread_count"], json!(1));
    assert_eq!(live.event("i:all", "conversation.upsert").await["counters"]["unread"], json!(1));
    assert_eq!(live.ask(seen(2)).await.unwrap()["unread_count"], json!(1), "it never goes back");
    let read = org.admin.get(&format!("/api/conversations/{id}")).await.is(200);
    assert_eq!(read["unread_count"], json!(1));
    let all = live.ask(seen(1_000)).await.unwrap();
    let read = org.admin.get(&format!("/api/conversations/{id}")).await.is(200);
    assert_eq!(all, json!({"s": c, "seq": read["seq"], "unread_count": 0}), "no more is there");
    assert_eq!(live.ask(seen(u64::MAX)).await.unwrap(), all);
    for wrong in ["i:all", "c:nothing", "u:me"] {
        let seen = json!({"op": "seen", "s": wrong, "seq": 1});
        assert_eq!(live.ask(seen).await, Err(102), "{wrong}");
    }
    assert_eq!(live.ask(json!({"op": "seen", "s": c})).await, Err(107));
    let mut stranger = Live::following(&other.admin, &[]).await;
    assert_eq!(stranger.ask(seen(1)).await, Err(102));
}

#[tokio::test]
async fn who_is_there_is_told_to_who_asks_and_to_who_follows() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let c = format!("c:{}", org.hears(&unique("1555"), "Hello").await);
    let quiet = format!("c:{}", org.hears(&unique("1555"), "Hello?").await);
    let mut boss = Live::following(&org.admin, &[&c]).await;
    let presence = json!({"op": "presence", "s": c});
    let there = boss.ask(presence.clone()).await.unwrap();
    assert_eq!((&there["total"], &there["users"][0]["id"]), (&json!(1), &json!(org.admin.id)));
    let mut hers = Live::following(&ana, &[&c]).await;
    let joined = passing(&mut boss, "presence.join").await;
    assert_eq!(joined["d"], json!({"id": ana.id, "state": "offline"}));
    hers.say(r#"{"op": "away", "state": "busy"}"#).await;
    let update = passing(&mut boss, "presence.update").await;
    assert_eq!(update["d"], json!({"id": ana.id, "state": "busy"}));
    let there = boss.ask(presence.clone()).await.unwrap();
    let mut ids: Vec<_> =
        there["users"].as_array().unwrap().iter().map(|user| &user["id"]).collect();
    ids.sort_by_key(ToString::to_string);
    let mut wanted = [json!(org.admin.id), json!(ana.id)];
    wanted.sort_by_key(ToString::to_string);
    assert_eq!((ids, &there["total"]), (wanted.iter().collect(), &json!(2)));
    // Visible or not, or not there at all: who is there is told to who follows.
    for unfollowed in ["t:agents".to_owned(), format!("c:{}", uuid::Uuid::nil()), quiet] {
        let presence = json!({"op": "presence", "s": unfollowed});
        assert_eq!(boss.ask(presence).await, Err(107), "{unfollowed}");
    }
    assert_eq!(boss.ask(json!({"op": "presence", "s": "u:me"})).await, Err(102));
}

#[tokio::test]
async fn who_takes_work_is_a_durable_state_that_everybody_is_told() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let mut boss = Live::following(&org.admin, &["t:agents"]).await;
    let mut hers = Live::following(&ana, &[]).await;
    for state in ["busy", "away", "online"] {
        hers.say(&json!({"op": "away", "state": state}).to_string()).await;
        let told = boss.event("t:agents", "agent.updated").await;
        assert_eq!((&told["id"], &told["availability"]), (&json!(ana.id), &json!(state)));
        let stored = org.admin.get(&format!("/api/agents/{}", ana.id)).await.is(200);
        assert_eq!(stored["availability"], json!(state));
    }
    assert_eq!(hers.ask(json!({"op": "away", "state": "asleep"})).await, Err(107));
    assert_eq!(hers.ask(json!({"op": "away", "state": "offline"})).await, Err(107));
}
