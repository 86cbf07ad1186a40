//! A store that takes no writes: nothing is acknowledged, and all goes on by itself afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;

use crate::caller::{PASSWORD, login};
use crate::harness::{Org, Server, eventually, unique};
use crate::live::Live;

#[tokio::test]
async fn a_full_disk_is_503_until_there_is_space_and_nothing_was_acknowledged_or_sent() {
    let full = Arc::new(AtomicBool::new(false));
    let is_full = full.clone();
    let clock = actors::clock::Clock::system();
    let memory = Memory::new(Arc::new(move || clock.now()));
    let store = Faulty::new(Arc::new(memory), move |call| match call {
        Call::Write(_) if is_full.load(Ordering::SeqCst) => Fate::Unavailable,
        _ => Fate::Done,
    });
    let server = Server::over(Arc::new(store.promising_as_below())).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let id = org.hears(&phone, "one").await;
    let messages = format!("/api/conversations/{id}/messages");
    let before = org.admin.get(&messages).await.is(200);
    let nobody = server.anonymous();
    nobody.get("/health/ready").await.is(200);

    full.store(true, Ordering::SeqCst);
    let (two, new) = (org.text(&unique("wamid."), &phone, "two"), unique("1555"));
    let first = org.text(&unique("wamid."), &new, "first");
    for webhook in [&two, &first] {
        org.deliver(webhook).await.refused(503, "unavailable");
    }
    org.admin.post_once(&messages, "key", json!({"text": "Hi"})).await.refused(503, "unavailable");
    let draft = json!({"name": "Ana", "email": "ana@example.com", "password": PASSWORD});
    org.admin.post("/api/agents", draft.clone()).await.refused(503, "unavailable");
    let credentials = login(&org.admin.email, PASSWORD);
    nobody.post("/api/auth/login", credentials.clone()).await.refused(503, "unavailable");
    for path in ["/health", "/health/ready"] {
        nobody.get(path).await.refused(503, "unavailable");
    }
    nobody.get("/health/live").await.is(200);
    assert_eq!(org.admin.get(&messages).await.is(200), before, "what is there can be read");

    full.store(false, Ordering::SeqCst);
    eventually(async || {
        Some(nobody.get("/health/ready").await.status).filter(|status| *status == 200)
    })
    .await;
    assert_eq!(org.admin.get(&messages).await.is(200), before, "what was refused never comes");
    assert_eq!(server.graph.sends().total, 0);
    for webhook in [&two, &two, &first] {
        org.deliver(webhook).await.is(200);
    }
    org.conversation(&new).await;
    for _ in 0..2 {
        org.admin.post_once(&messages, "key", json!({"text": "Hi"})).await.is(201);
    }
    org.admin.post("/api/agents", draft).await.is(201);
    nobody.post("/api/auth/login", credentials).await.is(200);
    let texts = org.admin.get(&messages).await.is(200);
    let texts: Vec<_> = texts.as_array().unwrap().iter().map(|one| &one["text"]).collect();
    assert_eq!(texts, ["Hi", "two", "one"]);
    server.graph.until(|counts| counts.accepted == 1).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_read_ends_no_login_but_a_hello_that_may_be_repeated() {
    let unreadable = Arc::new(AtomicBool::new(false));
    let is_unreadable = unreadable.clone();
    let clock = actors::clock::Clock::system();
    let memory = Memory::new(Arc::new(move || clock.now()));
    let store = Faulty::new(Arc::new(memory), move |call| match call {
        Call::Get(table, _) if table.name == "sessions" && is_unreadable.load(Ordering::SeqCst) => {
            Fate::Unavailable
        }
        _ => Fate::Done,
    });
    let server = Server::over(Arc::new(store.promising_as_below())).await;
    let org = Org::on(&server).await;
    // Nothing is in memory any more.
    server.restart().await;
    unreadable.store(true, Ordering::SeqCst);
    org.admin.get("/api/auth/me").await.refused(503, "unavailable");
    let mut live = Live::dial(&org.admin.url(), "omnistream.v1.json").await;
    assert_eq!(live.ask(json!({"op": "hello", "token": org.admin.token})).await, Err(113));
    assert_eq!(live.end().await.1, 4111);
    unreadable.store(false, Ordering::SeqCst);
    Live::following(&org.admin, &["i:all"]).await;
}

#[tokio::test]
async fn a_start_serves_before_it_has_found_what_was_left_undone() {
    let (unreadable, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (is_unreadable, was_asked) = (unreadable.clone(), asked.clone());
    let clock = actors::clock::Clock::system();
    let memory = Memory::new(Arc::new(move || clock.now()));
    let store = Faulty::new(Arc::new(memory), move |call| match call {
        Call::Scan(scan)
            if scan.table.name == "dirty_conversations" && is_unreadable.load(Ordering::SeqCst) =>
        {
            was_asked.store(true, Ordering::SeqCst);
            Fate::Unavailable
        }
        _ => Fate::Done,
    });
    let server = Server::over(Arc::new(store.promising_as_below())).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let id = org.hears(&phone, "one").await;
    unreadable.store(true, Ordering::SeqCst);
    server.restart().await;
    server.anonymous().get("/health/ready").await.is(200);
    assert_eq!(org.hears(&phone, "two").await, id);
    eventually(async || asked.load(Ordering::SeqCst).then_some(())).await;
}

#[tokio::test]
async fn a_start_on_a_cluster_goes_on_after_a_read_that_failed() {
    // Of this table the next read fails.
    let fails = Arc::new(Mutex::new(""));
    let failing = fails.clone();
    let clock = actors::clock::Clock::system();
    let memory = Memory::new(Arc::new(move || clock.now()));
    // It promises no more than a cluster does.
    let store = Faulty::new(Arc::new(memory), move |call| {
        let table = match call {
            Call::Get(table, _) => table.name,
            Call::Scan(scan) => scan.table.name,
            Call::Write(_) => return Fate::Done,
        };
        let mut failing = failing.lock().unwrap();
        if *failing != table {
            return Fate::Done;
        }
        *failing = "";
        Fate::Unavailable
    });
    let server = Server::over(Arc::new(store)).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let id = org.hears(&phone, "one").await;
    for table in ["media_coming", "swept", "dirty_conversations", "unfetched"] {
        server.restart_after(|| *fails.lock().unwrap() = table).await;
        assert_eq!(*fails.lock().unwrap(), "", "{table} is read by a start");
        server.anonymous().get("/health/ready").await.is(200);
    }
    assert_eq!(org.hears(&phone, "two").await, id);
}
