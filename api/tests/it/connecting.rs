//! Accounts that are connected, changed and disconnected while the provider is slow, silent or says
//! no, while the server or the store stops, and while somebody else changes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use simulator::{GraphOptions, Login, Plan, Trouble};
use storage::faulty::{Call, Fate, Faulty, Write};
use storage::memory::Memory;
use storage::{Change, Store};

use crate::caller::Caller;
use crate::harness::{Org, SECRET, Server, account, eventually, graph, unique};
use crate::logins::{PAGES, log_in, with_apps};

const ALL: &str = "/api/integrations/accounts";
const SUBSCRIBE: &str = "/api/integrations/messenger/pages/subscribe";
const MENU: &str = "/api/integrations/messenger/persistent-menu";
const DISCONNECT: &str = "/api/integrations/messenger/pages/disconnect";

fn at(account: &Value) -> String {
    format!("{ALL}/{}", account["id"].as_str().unwrap())
}

fn meets(id: &str, edge: &str, trouble: Trouble) -> Plan {
    Plan { id: Some(id.to_owned()), edge: Some(edge.to_owned()), times: 1, trouble }
}

/// How often the provider was asked this of this object.
fn asked(server: &Server, method: &str, id: &str, edge: &str) -> usize {
    let path = if edge.is_empty() { format!("/{id}?") } else { format!("/{id}/{edge}") };
    let requests = server.graph.requests().into_iter();
    requests.filter(|one| one.method == method && one.path.contains(&path)).count()
}

fn number(number: &str, waba: &str) -> Value {
    let mut draft = account(number, SECRET);
    draft["config"]["waba_id"] = json!(waba);
    draft
}

/// The account of this key, where there is one.
async fn of_key(admin: &Caller, key: &str) -> Option<Value> {
    let all = admin.get(ALL).await.is(200);
    all.as_array().unwrap().iter().find(|one| one["account_key"] == key).cloned()
}

async fn alone() -> (Arc<Server>, Org) {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    (server, org)
}

#[tokio::test]
async fn a_number_whose_provider_stays_silent_is_saved_and_wants_attention() {
    let server = Server::start(|config| {
        config.limits.rest_timeout = Duration::from_secs(5);
        config.limits.provider_timeout = Duration::from_secs(7);
    })
    .await;
    let org = Org::on(&server).await;
    let key = unique("8");
    server.graph.plan(meets(&key, "", Trouble::HangAfter));
    let made = org.admin.post(ALL, account(&key, SECRET)).await.is(201);
    assert_eq!(made["status"], "attention");
    assert_eq!(
        made["status_detail"],
        "the provider did not answer in time whether the account works"
    );
}

#[tokio::test]
async fn what_somebody_begins_goes_on_when_they_leave() {
    let server =
        Server::start(|config| config.limits.provider_timeout = Duration::from_secs(3)).await;
    let org = Org::on(&server).await;
    let key = unique("8");
    server.graph.plan(meets(&key, "", Trouble::HangAfter));
    let (admin, draft) = (org.admin.clone(), account(&key, SECRET));
    let asks = tokio::spawn(async move { admin.post(ALL, draft).await.status });
    eventually(async || (asked(&server, "GET", &key, "") > 0).then_some(())).await;
    asks.abort();
    let saved = eventually(async || of_key(&org.admin, &key).await).await;
    assert_eq!(saved["status"], "attention");
}

#[tokio::test]
async fn as_many_pages_as_may_be_chosen_are_connected_while_their_provider_takes_its_time() {
    let second = Duration::from_millis(900);
    let server = Server::beside(GraphOptions { latency: (second, second), ..graph() }, with_apps);
    let org = Org::on(&server.await).await;
    let ids: Vec<_> = (0..20).map(|_| unique("50")).collect();
    let pages = ids.iter().map(|id| (id.clone(), "Shop".to_owned())).collect();
    log_in(&org, &org.admin, PAGES, Login::Pages(pages)).await.is(200);
    let made = org.admin.post(SUBSCRIBE, json!({"page_ids": ids})).await.is(200);
    assert_eq!((made["accounts"].as_array().unwrap().len(), &made["failed"]), (20, &json!([])));
}

#[tokio::test]
async fn a_page_that_a_stop_leaves_unsubscribed_says_so_and_is_subscribed_by_the_next_start() {
    let (server, org) = alone().await;
    let key = unique("50");
    server.graph.plan(meets(&key, "subscribed_apps", Trouble::HangAfter));
    let config = json!({"page_id": key, "access_token": "EAApage"});
    let (admin, draft) = (org.admin.clone(), json!({"channel": "messenger", "config": config}));
    let asks = tokio::spawn(async move { admin.post(ALL, draft).await.status });
    let subscribed = || asked(&server, "POST", &key, "subscribed_apps");
    eventually(async || (subscribed() == 1).then_some(())).await;
    let begun = of_key(&org.admin, &key).await.unwrap();
    assert_eq!(begun["status"], "attention", "{begun}");
    asks.abort();
    server.restart().await;
    eventually(async || (subscribed() == 2).then_some(())).await;
    let is_well = async || {
        let shown = org.admin.get(&at(&begun)).await.is(200);
        (shown["status"] == "connected").then_some(())
    };
    eventually(is_well).await;
}

#[tokio::test]
async fn what_was_asked_for_with_one_config_says_nothing_of_the_next() {
    let (server, org) = alone().await;
    let (key, one, two) = (unique("8"), unique("waba"), unique("waba"));
    server.graph.plan(meets(&one, "subscribed_apps", Trouble::Slow { ms: 4_000 }));
    let (admin, draft) = (org.admin.clone(), number(&key, &one));
    let asks = tokio::spawn(async move { admin.post(ALL, draft).await.is(201) });
    let begun = eventually(async || of_key(&org.admin, &key).await).await;
    server.graph.plan(meets(&two, "subscribed_apps", Trouble::Error { code: 200 }));
    let other = json!({"config": {"waba_id": two}});
    let refused = org.admin.patch(&at(&begun), other).await.is(200);
    assert!(refused["status_detail"].as_str().unwrap().starts_with("200: "), "{refused}");
    asks.await.unwrap();
    let still = org.admin.get(&at(&begun)).await.is(200);
    assert_eq!(still["status_detail"], refused["status_detail"]);
}

#[tokio::test]
async fn a_page_that_could_not_be_removed_is_subscribed_again() {
    let full = Arc::new(AtomicBool::new(false));
    let is_full = full.clone();
    let clock = actors::clock::Clock::system();
    let memory = Memory::new(Arc::new(move || clock.now()));
    let removes = |change: &Change| matches!(change, Change::Delete { table, .. } if table.name == "settings");
    let store = Faulty::new(Arc::new(memory), move |call| match call {
        Call::Write(Write::Apply(batch))
            if is_full.load(Ordering::SeqCst) && batch.changes.iter().any(removes) =>
        {
            Fate::Unavailable
        }
        _ => Fate::Done,
    });
    let store: Arc<dyn Store> = Arc::new(store.promising_as_below());
    let server = Server::over(store).await;
    let org = Org::on(&server).await;
    let page = connected(&org, "messenger", "page_id").await;
    let key = page["account_key"].as_str().unwrap().to_owned();
    full.store(true, Ordering::SeqCst);
    let leaves = json!({"page_id": key});
    org.admin.post(DISCONNECT, leaves.clone()).await.refused(503, "unavailable");
    full.store(false, Ordering::SeqCst);
    assert_eq!(asked(&server, "DELETE", &key, "subscribed_apps"), 1);
    assert_eq!(org.admin.get(&at(&page)).await.is(200)["status"], "attention");
    let health = org.admin.get(&format!("{}/health", at(&page))).await.is(200);
    assert_eq!(
        (&health["status"], asked(&server, "POST", &key, "subscribed_apps")),
        (&json!("connected"), 2)
    );
    org.admin.post(DISCONNECT, leaves).await.is(200);
}

/// An account that is connected by a page's token.
async fn connected(org: &Org, channel: &str, key: &str) -> Value {
    let config = json!({key: unique("50"), "access_token": "EAApage"});
    org.admin.post(ALL, json!({"channel": channel, "config": config})).await.is(201)
}

#[tokio::test]
async fn a_page_by_which_an_account_of_instagram_is_heard_stays_subscribed() {
    let (server, org) = alone().await;
    let page = connected(&org, "messenger", "page_id").await;
    let gram = connected(&org, "instagram", "ig_user_id").await;
    let key = page["account_key"].as_str().unwrap();
    let left = org.admin.post(DISCONNECT, json!({"page_id": key})).await.is(200);
    assert!(left["detail"].as_str().unwrap().contains("Instagram"), "{left}");
    assert_eq!(asked(&server, "DELETE", key, "subscribed_apps"), 0);
    // Without one, a page that is removed is told so.
    org.admin.delete(&at(&gram)).await.is(200);
    let page = connected(&org, "messenger", "page_id").await;
    org.admin.delete(&at(&page)).await.is(200);
    let key = page["account_key"].as_str().unwrap();
    assert_eq!(asked(&server, "DELETE", key, "subscribed_apps"), 1, "it is told");
}

#[tokio::test]
async fn so_many_of_one_organization_and_of_all_ask_providers_at_once() {
    let server = Server::start(|config| {
        (config.limits.account_calls, config.limits.account_calls_tenant) = (2, 1);
        config.limits.provider_timeout = Duration::from_secs(10);
    })
    .await;
    let orgs = [Org::on(&server).await, Org::on(&server).await, Org::on(&server).await];
    let mut begun = Vec::new();
    for org in &orgs[..2] {
        let (key, admin) = (unique("8"), org.admin.clone());
        server.graph.plan(meets(&key, "", Trouble::HangAfter));
        let draft = account(&key, SECRET);
        begun.push(tokio::spawn(async move { admin.post(ALL, draft).await.status }));
        eventually(async || (asked(&server, "GET", &key, "") > 0).then_some(())).await;
        let health = format!("{ALL}/{}/health", org.account);
        let full = if begun.len() == 1 { (429, "too_many_requests") } else { (503, "overloaded") };
        for asks in [&*health, MENU] {
            org.admin.get(asks).await.refused(full.0, full.1);
        }
    }
    let health = format!("{ALL}/{}/health", orgs[2].account);
    orgs[2].admin.get(&health).await.refused(503, "overloaded");
    for made in begun {
        assert_eq!(made.await.unwrap(), 201);
    }
    orgs[2].admin.get(&health).await.is(200);
}

#[tokio::test]
async fn whoever_waits_too_long_is_told_so_and_it_is_done_all_the_same() {
    let server = Server::start(|config| {
        config.limits.account_timeout = Duration::from_secs(5);
        config.limits.provider_timeout = Duration::from_secs(7);
    })
    .await;
    let org = Org::on(&server).await;
    let key = unique("8");
    server.graph.plan(meets(&key, "", Trouble::HangAfter));
    org.admin.post(ALL, account(&key, SECRET)).await.refused(503, "unavailable");
    eventually(async || of_key(&org.admin, &key).await).await;
}
