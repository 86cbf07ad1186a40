//! What is taken, what waits and what is refused when there is too much.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actors::permits::{Amount, Share};
use api::server::Server;
use config::{Config, Limits};
use engine::id::TenantId;
use engine::time::Timestamp;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;
use storage::{Change, Store};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::small::{Person, error, first_line, server, small, unfinished};

/// Longer than any test.
const FOR_EVER: Duration = Duration::from_secs(3_600);

/// A number has nothing to say.
fn entry(number: &str) -> Value {
    let value = json!({"metadata": {"phone_number_id": number}, "messages": []});
    json!({"id": "1", "changes": [{"field": "messages", "value": value}]})
}

/// Somebody else takes so much of the process.
fn fill(server: &Server, percent: usize) -> Arc<Share> {
    let other = TenantId(Uuid::from_u128(7));
    let items = server.app.config.limits.inflight_node * percent / 100;
    server.app.desk.permits().share(other, Amount::items(items)).ok().unwrap()
}

/// A server with the number 7001, and whose it is.
async fn shop(change: impl FnOnce(&mut Limits)) -> (Server, Person) {
    let server = server(|config| {
        config.limits.inflight_tenant = config.limits.inflight_node;
        change(&mut config.limits);
    })
    .await;
    let person = Person::of(&server, "shop").await;
    assert_eq!(person.account("7001").await.status(), 201);
    (server, person)
}

/// One of the limits.
type Key = fn(&mut Limits) -> &mut usize;

async fn is_full(refused: Response, status: u16, what: &str) {
    assert_eq!(refused.status(), status, "{what}");
    assert!(refused.headers().contains_key("retry-after"), "{what}");
    assert_eq!(error(refused).await.1[0]["message"], what);
}

#[tokio::test]
async fn bodies_that_nobody_proved_make_room_for_newer_ones() {
    let server = server(|config| config.limits.inflight_unproven_bytes = 10_000).await;
    let person = Person::of(&server, "shop").await;
    let mut slow = unfinished(&server, "/webhook", 9_000).await;
    while server.app.unproven.bytes() < 9_000 {
        tokio::task::yield_now().await;
    }
    let login = json!({"email": "a@example.com", "password": "x".repeat(1_500)});
    assert_eq!(person.post("/api/auth/login", &login).await.status(), 401, "it is taken");
    assert_eq!(first_line(&mut slow).await, "HTTP/1.1 503 Service Unavailable", "it is given up");
    assert_eq!(server.app.unproven.bytes(), 0);
    server.stop().await;
}

#[tokio::test]
async fn mails_that_wait_for_their_turn_make_room_for_newer_ones() {
    let server = server(|config| config.limits.inflight_unproven_bytes = 10_000).await;
    let person = Person::of(&server, "shop").await;
    let many = u32::try_from(server.app.config.limits.mails).unwrap();
    let all = server.app.mails.clone().acquire_many_owned(many).await.unwrap();
    let mail = json!({"from": "a@example.org", "to": "b@example.org", "text": "x".repeat(8_900)});
    let login = json!({"email": "a@example.com", "password": "x".repeat(1_500)});
    let mut waits = pin!(person.post("/webhook/email", &mail));
    tokio::select! {
        _ = &mut waits => panic!("it has no turn"),
        () = async {
            while server.app.unproven.bytes() < 8_900 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    assert_eq!(person.post("/api/auth/login", &login).await.status(), 401, "it is taken");
    assert_eq!(waits.await.status(), 503, "it is given up");
    drop(all);
    assert_eq!(person.post("/webhook/email", &mail).await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn one_organization_s_bodies_leave_room_for_those_of_others() {
    let server = server(|config| config.limits.inflight_tenant_bytes = 10_000).await;
    let (large, other) = (Person::of(&server, "large").await, Person::of(&server, "other").await);
    let slow = large.unfinished(&server, "/api/quick-replies", 9_000).await;
    while server.app.desk.permits().taken().bytes < 9_000 {
        tokio::task::yield_now().await;
    }
    let draft = json!({"title": "Hours", "text": "x".repeat(2_000)});
    let refused = large.post("/api/quick-replies", &draft).await;
    is_full(refused, 429, "the organization's memory for request bodies").await;
    assert_eq!(other.post("/api/quick-replies", &draft).await.status(), 201);
    drop(slow);
    while large.post("/api/quick-replies", &draft).await.status() == 429 {}
    server.stop().await;
}

#[tokio::test]
async fn long_answers_that_are_not_taken_leave_room_for_those_of_others() {
    let server = server(|config| {
        let limits = &mut config.limits;
        (limits.answers_tenant_bytes, limits.answers_node_bytes) = (100_000, 250_000);
    })
    .await;
    let (large, other) = (Person::of(&server, "large").await, Person::of(&server, "other").await);
    for person in [&large, &other] {
        for n in 0..40 {
            let draft = json!({"title": n.to_string(), "text": "x".repeat(2_000)});
            assert_eq!(person.post("/api/quick-replies", &draft).await.status(), 201);
        }
    }
    let all = "/api/quick-replies?per_page=100";
    let taken_but = async |bytes| {
        while server.app.answers.bytes() > bytes {
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(large.get(all).await.status(), 200);
    taken_but(0).await;
    let me: Value = large.get("/api/auth/me").await.json().await.unwrap();
    let tenant = me["org_id"].as_str().unwrap().parse().unwrap();
    // Somebody reads nothing of what they asked for.
    let unread = async |tenant, bytes: usize| {
        let answer = axum::response::Response::new(vec![0; bytes].into());
        server.app.answers.counted(tenant, &Method::GET, answer).await
    };
    let ours = unread(tenant, 70_000).await;
    is_full(large.get(all).await, 429, "the organization's memory for long answers").await;
    assert_eq!(large.get("/api/auth/me").await.status(), 200, "it is not long");
    assert_eq!(other.get(all).await.status(), 200);
    taken_but(70_000).await;
    let small = [8, 9].map(|n| TenantId(Uuid::from_u128(n)));
    let theirs = [unread(small[0], 80_000).await, unread(small[1], 80_000).await];
    is_full(other.get(all).await, 503, "the server's memory for long answers").await;
    drop((ours, theirs));
    assert_eq!(large.get(all).await.status(), 200);
    server.stop().await;
}

#[tokio::test]
async fn what_may_wait_is_bounded_and_the_answer_names_what_is_full() {
    let keys: [(&str, Key, usize); 6] = [
        ("conversation", |limits| &mut limits.waiting_conversation, 2),
        ("conversation", |limits| &mut limits.waiting_conversation_bytes, 1),
        ("organization", |limits| &mut limits.waiting_tenant, 2),
        ("organization", |limits| &mut limits.waiting_tenant_bytes, 1),
        ("server", |limits| &mut limits.waiting_node, 2),
        ("server", |limits| &mut limits.waiting_node_bytes, 1),
    ];
    for (whose, key, most) in keys {
        let (server, person) = shop(|limits| *key(limits) = most).await;
        let from = match whose {
            "conversation" => ["15550001"; 3],
            _ => ["15550001", "15550002", "15550003"],
        };
        let full = fill(&server, 95);
        let refused = person.hears_all(&from, "a").await;
        is_full(refused, 503, &format!("the {whose}'s waiting room")).await;
        assert_eq!(person.hears_all(&from[..1], "b").await.status(), 200, "one waits");
        drop(full);
        assert_eq!(person.hears_all(&from, "a").await.status(), 200, "they are taken");
        server.stop().await;
    }
}

#[tokio::test]
async fn who_delivers_too_much_is_told_so_only_after_a_while() {
    let delay = Duration::from_millis(700);
    let (server, person) = shop(|limits| {
        limits.waiting_conversation = 1;
        limits.webhook_refusal_delay = delay;
    })
    .await;
    let (full, began) = (fill(&server, 95), Instant::now());
    assert_eq!(person.hears_all(&["15550001"; 2], "a").await.status(), 503);
    assert!(began.elapsed() >= delay);
    drop(full);
    server.stop().await;
}

#[tokio::test]
async fn receipts_and_messages_wait_from_their_marks_on() {
    let receipt = |n: usize| {
        json!({
            "id": format!("wamid.{n}"), "status": "delivered", "timestamp": "1790000000",
            "recipient_id": "15550001",
        })
    };
    for (receipts, messages) in [(1, 95), (1, 1), (85, 95)] {
        let (server, person) = shop(|limits| {
            limits.shed_receipts_percent = receipts;
            limits.shed_messages_percent = messages;
            // Of two that wait at once the second is refused: so it shows.
            limits.waiting_conversation = 1;
        })
        .await;
        person.hears("15550001").await;
        let full = fill(&server, 2);
        let told = person.webhook(&json!({"statuses": [receipt(1), receipt(2)]})).await;
        assert_eq!(told.status() == 503, receipts == 1, "receipts from {receipts} % on");
        let heard = person.hears_all(&["15550002"; 2], "b").await;
        assert_eq!(heard.status() == 503, messages == 1, "messages from {messages} % on");
        drop(full);
        server.stop().await;
    }
}

/// A server whose commits take for ever once the switch is on.
async fn slow(change: impl FnOnce(&mut Config)) -> (Server, Person, Arc<AtomicBool>) {
    let switch = Arc::new(AtomicBool::new(false));
    let (on, memory) = (switch.clone(), Memory::new(Arc::new(|| Timestamp(1_790_000_000_000))));
    let commits = |change: &Change| matches!(change, Change::Put { table, .. } if table.name == "conversation_log");
    let store = Faulty::new(Arc::new(memory), move |call| match call {
        Call::Write(Write::Apply(batch))
            if on.load(Ordering::SeqCst) && batch.changes.iter().any(commits) =>
        {
            Fate::Slow(FOR_EVER)
        }
        _ => Fate::Done,
    });
    let store: Arc<dyn Store> = Arc::new(store.promising_as_below());
    let config = small(|config| {
        config.server.drain = Duration::from_millis(100);
        config.limits.webhook_timeout = FOR_EVER;
        change(config);
    });
    let server = Server::over(config, store).await.unwrap();
    let person = Person::of(&server, "shop").await;
    assert_eq!(person.account("7001").await.status(), 201);
    (server, person, switch)
}

#[tokio::test]
async fn a_webhook_whose_commit_takes_too_long_waits_and_is_answered() {
    let patience = Duration::from_millis(50);
    let (server, person, slow) = slow(|config| config.limits.webhook_patience = patience).await;
    slow.store(true, Ordering::SeqCst);
    assert_eq!(person.hears_all(&["15550001"], "a").await.status(), 200);
    assert_eq!(server.app.desk.waiting().amount().items, 1);
    server.stop().await;
}

#[tokio::test]
async fn so_much_is_worked_on_at_once_and_the_rest_waits_for_its_turn() {
    // One of several is for other organizations.
    for turns in [1, 3] {
        let (server, person, slow) = slow(|config| {
            config.limits.turns = turns;
            config.limits.webhook_patience = FOR_EVER;
            config.limits.rest_timeout = Duration::from_secs(2);
        })
        .await;
        let person = Arc::new(person);
        person.hears("15550001").await;
        let open: Vec<Value> = person.get("/api/conversations").await.json().await.unwrap();
        let path = format!("/api/conversations/{}", open[0]["id"].as_str().unwrap());
        assert_eq!(person.get(&path).await.status(), 200);
        slow.store(true, Ordering::SeqCst);
        let customer = person.clone();
        let held = tokio::spawn(async move { customer.hears_all(&["15550002"], "b").await });
        while server.app.desk.permits().taken().items == 0 {
            tokio::task::yield_now().await;
        }
        let other = Person::of(&server, "other").await;
        assert_eq!(other.get("/api/auth/me").await.status(), 200, "it takes no turn");
        // Slow machines may take longer than the time that is set.
        let mut answer = person.get(&path).await.status();
        while turns == 3 && answer == 503 {
            answer = person.get(&path).await.status();
        }
        assert_eq!(answer == 503, turns == 1, "{turns} turns: {answer}");
        held.abort();
        server.stop().await;
    }
}

#[tokio::test]
async fn one_conversation_has_so_much_under_way_and_no_more() {
    let (server, person, slow) = slow(|config| {
        config.limits.inflight_conversation = 1;
        config.limits.webhook_patience = FOR_EVER;
    })
    .await;
    for from in ["15550001", "15550002"] {
        person.hears(from).await;
    }
    let open: Vec<Value> = person.get("/api/conversations").await.json().await.unwrap();
    let path = |from: &str| {
        let theirs = open.iter().find(|conversation| conversation["contact_phone"] == from);
        format!("/api/conversations/{}", theirs.unwrap()["id"].as_str().unwrap())
    };
    slow.store(true, Ordering::SeqCst);
    let mut held = pin!(person.hears_all(&["15550002"], "b"));
    let refused = async {
        loop {
            let answer = person.get(&path("15550002")).await;
            if answer.status() != 200 {
                return answer;
            }
        }
    };
    tokio::select! {
        answer = &mut held => panic!("it is not committed: {answer:?}"),
        refused = refused => is_full(refused, 429, "the conversation's queue").await,
    }
    assert_eq!(person.get(&path("15550001")).await.status(), 200, "another one has its own");
    server.stop().await;
}

#[tokio::test]
async fn conversations_leave_memory_when_they_are_idle_or_too_many() {
    // Each shard keeps one at least, beside the one that has just come.
    let few = 8 * std::thread::available_parallelism().map_or(2, usize::from);
    for (idle_passivation, live_actors, most) in
        [(Duration::from_millis(10), 100_000, 0), (FOR_EVER, 1, few)]
    {
        let (server, person) = shop(|limits| {
            (limits.idle_passivation, limits.live_actors) = (idle_passivation, live_actors);
        })
        .await;
        for n in 0..2 * few {
            person.hears(&format!("1555{n:04}")).await;
        }
        // Whoever was at work just then leaves a little later.
        let all_leave = async {
            let mut n = 2 * few;
            while server.app.desk.actors() > most {
                match most {
                    0 => tokio::task::yield_now().await,
                    _ => person.hears(&format!("1555{n:04}")).await,
                }
                n += 1;
            }
        };
        timeout(Duration::from_secs(60), all_leave).await.expect("they leave in the end");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_body_of_strangers_is_looked_at_only_so_far() {
    let (server, person) = shop(|_| ()).await;
    for (strangers, status) in [(63, 200), (64, 401)] {
        let unknown = (0..strangers).map(|n| entry(&format!("9{n}")));
        let entries: Vec<_> = unknown.chain([entry("7001")]).collect();
        let answer = person.deliver(&json!({"entry": entries})).await;
        assert_eq!(answer.status(), status, "behind {strangers} strangers");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_is_tried_with_only_so_many_secrets() {
    let (server, person) = shop(|_| ()).await;
    for n in 0..16 {
        let org = Person::of(&server, &format!("other-{n}")).await;
        let answer = org.account_with(&format!("80{n}"), &format!("secret {n}")).await;
        assert_eq!(answer.status(), 201);
    }
    for (others, status) in [(15, 200), (16, 401)] {
        let before = (0..others).map(|n| entry(&format!("80{n}")));
        let entries: Vec<_> = before.chain([entry("7001")]).collect();
        let answer = person.deliver(&json!({"entry": entries})).await;
        assert_eq!(answer.status(), status, "behind {others} others");
    }
    server.stop().await;
}
