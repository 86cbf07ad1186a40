//! The live feed: what is told, to whom, and how a socket ends.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::caller::Answer;
use crate::harness::{Org, Server, unique};
use crate::live::{JSON, Live, MSGPACK};

pub(crate) fn stream(id: &str) -> String {
    format!("c:{id}")
}

pub(crate) async fn say(org: &Org, id: &str, text: &str) -> Value {
    let path = format!("/api/conversations/{id}/messages");
    org.admin.post(&path, json!({"text": text})).await.is(201)
}

#[tokio::test]
async fn a_customers_message_and_its_answer_are_told_as_they_happen() {
    let org = Org::found().await;
    let phone = unique("1555");
    let mut live = Live::following(&org.admin, &["i:all"]).await;
    let id = org.hears(&phone, "Is it in stock?").await;
    let row = live.event("i:all", "conversation.upsert").await;
    assert_eq!((&row["id"], &row["last_message"]["text"]), (&json!(id), &json!("Is it in stock?")));
    assert_eq!(row["counters"], json!({"conversations": 1, "unread": 1}));
    assert_eq!(row["conv_seq"], row["seq"]);

    let c = stream(&id);
    let ok = live.follow(json!({"s": c, "snap": true})).await.unwrap();
    assert_eq!(ok["snap"]["conversation"]["id"], json!(id));
    assert_eq!(ok["snap"]["messages"][0]["text"], "Is it in stock?");
    assert_eq!(ok["off"], ok["snap"]["conversation"]["seq"]);

    let sent = say(&org, &id, "Yes.").await;
    let told = live.event(&c, "message.updated").await;
    assert_eq!((&told["id"], &told["text"]), (&sent["id"], &json!("Yes.")));
    // A receipt may overtake the answer of the send: what is behind it is not told any more.
    let told = live.event(&c, "message.read").await;
    assert_eq!((&told["id"], &told["status"]), (&sent["id"], &json!("read")));
    let path = format!("/api/conversations/{id}/status");
    org.admin.patch(&path, json!({"status": "resolved"})).await.is(200);
    let told = live.event(&c, "conversation.resolved").await;
    assert_eq!(
        (&told["status"], &told["previous"]),
        (&json!("resolved"), &json!({"status": "open"}))
    );
    let gone = live.event("i:all", "conversation.remove").await;
    assert_eq!(gone["counters"], json!({"conversations": 0, "unread": 0}));
}

#[tokio::test]
async fn whoever_comes_back_is_told_what_it_missed_and_nothing_else() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let id = org.hears(&phone, "one").await;
    let c = stream(&id);
    let at = Live::following(&org.admin, &[&c, "i:all"]).await.vanish();
    for text in ["two", "three"] {
        org.hears(&phone, text).await;
    }
    let since = |name: &str| json!({"epoch": at[name].0, "off": at[name].1});
    let subs = json!([{"s": c, "since": since(&c)}, {"s": "i:all", "since": since("i:all")}]);
    let (mut live, ok) = Live::hello(&org.admin, subs.clone()).await;
    for sub in &ok["subs"].as_array().unwrap()[..2] {
        assert_eq!(
            (&sub["recovered"], &sub["n"], &sub["snap"]),
            (&json!(true), &json!(2), &Value::Null)
        );
    }
    assert_eq!(live.event(&c, "message.received").await["text"], "two");
    assert_eq!(live.event(&c, "message.received").await["text"], "three");
    let row = live.event("i:all", "conversation.upsert").await;
    assert_eq!(row["last_message"]["text"], "two");
    let row = live.event("i:all", "conversation.upsert").await;
    assert_eq!(row["last_message"]["text"], "three");

    // A restart loses the ring of a list, and no conversation's log.
    server.restart().await;
    let (mut live, ok) = Live::hello(&org.admin, subs).await;
    assert_eq!((&ok["subs"][0]["recovered"], &ok["subs"][0]["n"]), (&json!(true), &json!(2)));
    assert_eq!(ok["subs"][1]["err"]["code"], 112);
    assert_eq!(live.event(&c, "message.received").await["text"], "two");
    assert_eq!(live.event(&c, "message.received").await["text"], "three");
    let ok =
        live.follow(json!({"s": "i:all", "since": since("i:all"), "snap": true})).await.unwrap();
    assert_eq!(ok["recovered"], json!(false));
    assert_eq!(ok["snap"]["conversations"][0]["id"], json!(id));
    assert_eq!(ok["snap"]["counters"], json!({"conversations": 1, "unread": 3}));
}

#[tokio::test]
async fn more_than_is_kept_is_not_told_in_part() {
    let server = Server::start(|config| config.limits.replay_events = 3).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let id = org.hears(&phone, "one").await;
    let c = stream(&id);
    let at = Live::following(&org.admin, &[&c, "i:all"]).await.vanish();
    for n in 0..4 {
        org.hears(&phone, &format!("more {n}")).await;
    }
    let mut live = Live::following(&org.admin, &[]).await;
    for name in [c.as_str(), "i:all"] {
        let since = json!({"epoch": at[name].0, "off": at[name].1});
        assert_eq!(live.follow(json!({"s": name, "since": since})).await, Err(112));
        let later = json!({"epoch": at[name].0, "off": at[name].1 + 1});
        let ok = live.follow(json!({"s": name, "since": later})).await.unwrap();
        assert_eq!((&ok["recovered"], &ok["n"]), (&json!(true), &json!(3)));
        live.ask(json!({"op": "unsub", "s": name})).await.unwrap();
        let beyond = json!({"epoch": at[name].0, "off": 1_000_000});
        assert_eq!(live.follow(json!({"s": name, "since": beyond})).await, Err(112));
        let other = json!({"epoch": "another", "off": at[name].1});
        let ok = live.follow(json!({"s": name, "since": other, "snap": true})).await.unwrap();
        assert!(ok["recovered"] == json!(false) && ok["snap"].is_object());
    }
}

#[tokio::test]
async fn changes_of_agents_are_told() {
    let org = Org::found().await;
    let mut live = Live::following(&org.admin, &["t:agents"]).await;
    let ana = org.hire("agent").await;
    assert_eq!(live.event("t:agents", "agent.created").await["id"], json!(ana.id));
    let path = format!("/api/agents/{}/status", ana.id);
    ana.patch(&path, json!({"availability": "away"})).await.is(200);
    assert_eq!(live.event("t:agents", "agent.updated").await["availability"], "away");
    org.admin.delete(&format!("/api/agents/{}", ana.id)).await.is(200);
    assert_eq!(live.event("t:agents", "agent.deleted").await, json!({"id": ana.id}));
}

#[tokio::test]
async fn commands_that_make_no_sense_are_refused_and_the_socket_goes_on() {
    let org = Org::found().await;
    let mut live = Live::following(&org.admin, &["i:all"]).await;
    assert_eq!(live.ask(json!({"op": "dance"})).await, Err(104));
    assert_eq!(live.ask(json!({"op": "sub"})).await, Err(107));
    assert_eq!(live.ask(json!({"op": "sub", "s": "x:1"})).await, Err(102));
    assert_eq!(live.ask(json!({"op": "sub", "s": "i:all"})).await, Err(105));
    assert_eq!(live.ask(json!({"op": "unsub", "s": "i:mine"})).await, Err(102));
    assert_eq!(live.ask(json!({"op": "hello", "token": org.admin.token})).await, Err(107));
    live.say(r#"{"id": 2, "op": "sub", "s": "i:mine"}"#).await;
    assert_eq!(live.answer(Some(2)).await, Err(107), "numbers rise");
    live.say(
        r#"[{"id": 50, "op": "sub", "s": "i:mine"}, {"id": 51, "op": "unsub", "s": "i:mine"}]"#,
    )
    .await;
    assert!(live.answer(Some(50)).await.is_ok() && live.answer(Some(51)).await.is_ok());
    org.hears(&unique("1555"), "Hello").await;
    live.event("i:all", "conversation.upsert").await;
}

#[tokio::test]
async fn a_ping_before_hello_is_not_what_is_said_first() {
    let org = Org::found().await;
    let mut live = Live::dial(&org.admin.url(), JSON).await;
    for ping in [Message::Ping("are you there?".into()), Message::Pong("I am".into())] {
        live.send(ping).await;
    }
    let hello = json!({"op": "hello", "token": org.admin.token, "subs": [{"s": "i:all"}]});
    assert!(live.ask(hello).await.is_ok());
}

#[tokio::test]
async fn whoever_does_not_keep_to_the_protocol_is_told_why_and_let_go() {
    let org = Org::found().await;
    let url = org.admin.url();
    let mut live = Live::dial(&url, JSON).await;
    live.say("hello").await;
    assert_eq!(live.end().await.1, 4001);
    let mut live = Live::dial(&url, JSON).await;
    assert_eq!(live.ask(json!({"op": "sub", "s": "i:all"})).await, Err(107));
    assert_eq!(live.end().await.1, 4001);
    for (protocol, wrong) in [(JSON, Message::binary(vec![0x80])), (MSGPACK, Message::text("{}"))] {
        let mut live = Live::dial(&url, protocol).await;
        live.send(wrong.clone()).await;
        assert_eq!(live.end().await.1, 4002);
        let (mut live, _) = Live::hello_in(protocol, &org.admin, json!([])).await;
        live.send(wrong).await;
        assert_eq!(live.end().await.1, 4002);
    }
    let mut live = Live::dial(&url, JSON).await;
    assert_eq!(live.ask(json!({"op": "hello", "token": "nonsense"})).await, Err(101));
    assert_eq!(live.end().await.1, 4003);
    let mut live = Live::following(&org.admin, &[]).await;
    live.say("{").await;
    assert_eq!(live.end().await.1, 4001);
}

#[tokio::test]
async fn a_frame_that_is_too_large_ends_the_socket_with_the_code_for_it() {
    let org = strict(|config| config.limits.socket_frame_bytes = 2_000).await;
    let long = format!(r#"{{"op": "{}"}}"#, "x".repeat(2_000));
    for protocol in [JSON, MSGPACK] {
        let mut live = Live::dial(&org.admin.url(), protocol).await;
        live.say(&long).await;
        assert_eq!(live.end().await.1, 1009);
        let (mut live, _) = Live::hello_in(protocol, &org.admin, json!([])).await;
        live.say(&long).await;
        let (told, code) = live.end().await;
        assert_eq!((&told.last().unwrap()["t"], code), (&json!("bye"), 1009));
    }
}

#[tokio::test]
async fn both_encodings_say_the_same() {
    let org = Org::found().await;
    let id = org.hears(&unique("1555"), "Is it in stock?").await;
    let subs = json!([{"s": stream(&id), "snap": true}, {"s": "t:agents", "snap": true}]);
    let (mut json, said) = Live::hello_in(JSON, &org.admin, subs.clone()).await;
    let (mut msgpack, same) = Live::hello_in(MSGPACK, &org.admin, subs).await;
    assert_eq!(said["subs"][0], same["subs"][0]);
    assert_eq!(said["limits"], same["limits"]);
    say(&org, &id, "Yes. \u{1F44D}").await;
    org.hire("agent").await;
    let mut events = [Vec::new(), Vec::new()];
    for (live, events) in [&mut json, &mut msgpack].into_iter().zip(&mut events) {
        while events.last().is_none_or(|last: &Value| last["k"] != "agent.created") {
            let told = live.next().await;
            // How far the message got by then is another matter.
            if told["s"] == "t:agents"
                || told["off"] == said["subs"][0]["off"].as_u64().unwrap() + 1
            {
                events.push(told);
            }
        }
    }
    assert_eq!(events[0], events[1]);
}

#[tokio::test]
async fn a_socket_needs_an_upgrade_an_own_page_and_a_known_protocol() {
    let org = Org::found().await;
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let but = |name: &str, value: &str| {
        let kept = handshake.into_iter().filter(|(other, _)| *other != name);
        let other = Some((name, value)).filter(|_| !value.is_empty());
        let request = org.admin.request(Method::GET, "/api/ws");
        let all = kept.chain(other);
        Answer::of(all.fold(request, |request, (name, value)| request.header(name, value)))
    };
    for (name, value) in [
        ("connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-version", ""),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25j"),
        ("sec-websocket-key", "the sample nonce of 24=="),
        ("sec-websocket-key", ""),
    ] {
        let answer = but(name, value).await;
        // What would have been taken is said, too.
        for (name, value) in &handshake[..3] {
            assert_eq!(answer.headers[*name], *value);
        }
        answer.refused(426, "upgrade_required");
    }
    let foreign = but("origin", "https://elsewhere.example.com");
    foreign.await.refused(403, "forbidden");
    let later = but("sec-websocket-protocol", "omnistream.v9.json");
    later.await.refused(400, "unknown_protocol");
    // Whoever asks only for the head of the answer gets no socket either.
    let request = org.admin.request(Method::HEAD, "/api/ws");
    let head =
        handshake.into_iter().fold(request, |request, (name, value)| request.header(name, value));
    assert_eq!(head.send().await.unwrap().status(), 426);
}

/// A server whose sockets are watched closely.
pub(crate) async fn strict(differ: impl FnOnce(&mut config::Config)) -> Org {
    Org::on(&Server::start(differ).await).await
}

#[tokio::test]
async fn the_sockets_of_one_person_and_the_streams_of_one_socket_are_bounded() {
    let org = strict(|config| {
        config.limits.sockets_per_user = 2;
        config.limits.subscriptions_per_socket = 2;
    })
    .await;
    let (first, mut second) =
        (Live::following(&org.admin, &[]).await, Live::following(&org.admin, &["i:all"]).await);
    assert_eq!(second.follow(json!({"s": "i:mine"})).await, Err(106));
    let _third = Live::following(&org.admin, &[]).await;
    assert_eq!(first.end().await.1, 4004);
    org.hears(&unique("1555"), "Hello").await;
    second.event("i:all", "conversation.upsert").await;
}

#[tokio::test]
async fn too_many_commands_are_refused_and_then_cut() {
    let org = strict(|config| {
        config.limits.socket_commands_burst = 3;
        config.limits.socket_commands_per_second = 1;
    })
    .await;
    let mut live = Live::following(&org.admin, &[]).await;
    for n in 10..20 {
        live.say(&format!(r#"{{"id": {n}, "op": "unsub", "s": "i:all"}}"#)).await;
    }
    assert_eq!(live.answer(Some(12)).await, Err(102));
    assert_eq!(live.answer(Some(13)).await, Err(111));
    assert_eq!(live.end().await.1, 4110);
}

#[tokio::test]
async fn too_many_pings_are_too_many_commands() {
    let org = strict(|config| {
        config.limits.socket_commands_burst = 3;
        config.limits.socket_commands_per_second = 1;
    })
    .await;
    let mut live = Live::following(&org.admin, &[]).await;
    for _ in 0..10 {
        live.send(Message::Ping("are you there?".into())).await;
    }
    assert_eq!(live.end().await.1, 4110);
}

#[tokio::test]
async fn whoever_is_silent_is_asked_and_then_let_go() {
    let org = strict(|config| {
        config.limits.socket_ping_every = Duration::from_millis(200);
        config.limits.socket_pong_timeout = Duration::from_secs(1);
        config.limits.socket_hello_timeout = Duration::from_secs(1);
    })
    .await;
    assert_eq!(Live::dial(&org.admin.url(), JSON).await.end().await.1, 4001);
    let mut live = Live::following(&org.admin, &[]).await;
    for _ in 0..3 {
        assert_eq!(live.next().await["t"], "ping");
        live.say(r#"{"op": "pong"}"#).await;
    }
    assert_eq!(live.end().await.1, 4201);
}

#[tokio::test]
async fn a_socket_outlives_its_token_only_with_a_new_one() {
    let org = strict(|config| {
        config.auth.token_ttl = Duration::from_secs(2);
        config.limits.socket_token_grace = Duration::from_secs(1);
    })
    .await;
    let admin = org.admin.login(&org.admin.email).await;
    let (mut renewed, left) =
        (Live::following(&admin, &[]).await, Live::following(&admin, &[]).await);
    let expiring = renewed.next().await;
    assert_eq!(expiring["t"], "expiring");
    let token = admin.get("/api/auth/token").await.is(200)["token"].take();
    let ok = renewed.ask(json!({"op": "auth", "token": token})).await.unwrap();
    assert!(ok["exp_in"].as_i64().unwrap() > 0);
    assert_eq!(left.end().await.1, 4103);
    let ana = org.admin.login(&org.admin.email).await;
    let stranger = Org::on(&org.server).await;
    let mut live = Live::following(&ana, &[]).await;
    live.say(&json!({"id": 9, "op": "auth", "token": stranger.admin.token}).to_string()).await;
    assert_eq!(live.end().await.1, 4003);
}

async fn figures(org: &Org) -> String {
    reqwest::get(org.server.metrics()).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn whoever_does_not_read_is_cut_and_resumes_where_it_was() {
    let org = strict(|config| {
        config.limits.socket_queue_frames = 8;
        config.limits.replay_events = 10_000;
        config.limits.replay_bytes = 100_000_000;
    })
    .await;
    let phone = unique("1555");
    let id = org.hears(&phone, "0").await;
    let c = stream(&id);
    let mut live = Live::following(&org.admin, &[&c]).await;
    let slow = Live::following(&org.admin, &[&c]).await;
    let text = "x".repeat(4000);
    let mut sent = 0;
    // As much as it takes to fill what lies in between.
    let cut = r#"omnistream_sockets_closed_total{code="4108"}"#;
    while !figures(&org).await.contains(cut) {
        for _ in 0..20 {
            sent += 1;
            let webhook = org.text(&unique("wamid."), &phone, &format!("{sent} {text}"));
            org.deliver(&webhook).await.is(200);
            // The others are not held up.
            live.event(&c, "message.received").await;
        }
        assert!(sent < 10_000, "it is noticed in the end");
    }
    let mut at = slow.at[&c].clone();
    let (told, code) = slow.end().await;
    assert!(code == 4108 || code == 0, "{code}");
    for event in told.iter().filter(|told| told["t"] == "ev") {
        assert_eq!(event["off"].as_u64().unwrap(), at.1 + 1);
        at.1 += 1;
    }
    let since = json!({"epoch": at.0, "off": at.1});
    let (mut back, ok) = Live::hello(&org.admin, json!([{"s": c, "since": since}])).await;
    assert_eq!(ok["subs"][0]["recovered"], json!(true));
    while back.at[&c].1 < live.at[&c].1 {
        back.next().await;
    }
}

#[tokio::test]
async fn a_stop_says_goodbye_to_sockets() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let live = Live::following(&org.admin, &["i:all"]).await;
    server.restart().await;
    let (told, code) = live.end().await;
    assert_eq!(code, 4200);
    let bye = told.last().unwrap();
    assert_eq!((&bye["t"], &bye["code"]), (&json!("bye"), &json!(4200)));
    assert!(bye["reconnect_ms"].is_u64());
}
