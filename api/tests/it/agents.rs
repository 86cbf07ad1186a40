//! People at the desk: who makes, changes and deletes whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use actors::clock::Clock;
use engine::time::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use storage::Part;
use storage::faulty::Write;
use storage::memory::Memory;

use crate::caller::PASSWORD;
use crate::harness::{Org, SECRET, Server, account, unique};
use crate::held;

fn draft(role: Value) -> Value {
    let email = format!("{}@example.com", unique("somebody"));
    json!({"name": "Ana", "email": email, "password": PASSWORD, "role": role})
}

#[tokio::test]
async fn a_new_agent_is_shown_as_it_was_made_and_without_its_password() {
    let org = Org::found().await;
    let mut draft = draft(json!("supervisor"));
    draft["name"] = json!("  Ana  ");
    let made = org.admin.post("/api/agents", draft.clone()).await.is(201);
    assert_eq!((&made["name"], &made["role"]), (&json!("Ana"), &json!("supervisor")));
    assert_eq!((&made["availability"], &made["is_active"]), (&json!("offline"), &json!(true)));
    assert!(!made.to_string().contains("horse"));
    let path = format!("/api/agents/{}", made["id"].as_str().unwrap());
    assert_eq!(org.admin.get(&path).await.is(200), made);
    let by_role_id = draft_with_role_id(&made);
    org.admin.post("/api/agents", by_role_id).await.is(201);
}

fn draft_with_role_id(like: &Value) -> Value {
    draft(like["role_id"].clone())
}

#[tokio::test]
async fn without_a_role_a_new_agent_is_an_agent() {
    let org = Org::found().await;
    let mut draft = draft(Value::Null);
    assert_eq!(org.admin.post("/api/agents", draft.clone()).await.is(201)["role"], "agent");
    draft["role"] = json!("owner");
    draft["email"] = json!("owner@example.com");
    assert_eq!(org.admin.post("/api/agents", draft).await.invalid(), ["role"]);
}

#[tokio::test]
async fn nobody_gives_a_role_that_allows_more_than_their_own() {
    let org = Org::found().await;
    let boss = org.hire("supervisor").await;
    boss.post("/api/agents", draft(json!("supervisor"))).await.is(201);
    boss.post("/api/agents", draft(json!("admin"))).await.refused(403, "forbidden");
    let ana = org.hire("agent").await;
    let path = format!("/api/agents/{}", ana.id);
    boss.patch(&path, json!({"role": "admin"})).await.refused(403, "forbidden");
    boss.patch(&path, json!({"role": "supervisor"})).await.is(200);
    let own = format!("/api/agents/{}", boss.id);
    boss.patch(&own, json!({"role": "admin"})).await.refused(403, "forbidden");
}

#[tokio::test]
async fn nobody_changes_whoever_may_do_more() {
    let org = Org::found().await;
    let boss = org.hire("supervisor").await;
    let admin = format!("/api/agents/{}", org.admin.id);
    for patch in [json!({"name": "X"}), json!({"password": "secret1"}), json!({"is_active": false})]
    {
        boss.patch(&admin, patch).await.refused(403, "forbidden");
    }
    boss.delete(&admin).await.refused(403, "forbidden");
    org.admin.get("/api/auth/me").await.is(200);
}

#[tokio::test]
async fn an_organization_keeps_its_last_active_admin() {
    let org = Org::found().await;
    let path = format!("/api/agents/{}", org.admin.id);
    for patch in [json!({"role": "agent"}), json!({"is_active": false})] {
        org.admin.patch(&path, patch).await.refused(409, "last_admin");
    }
    org.admin.delete(&path).await.refused(409, "own_account");
    let second = org.hire("admin").await;
    second.patch(&path, json!({"is_active": false})).await.is(200);
    let own = format!("/api/agents/{}", second.id);
    second.patch(&own, json!({"role": "agent"})).await.refused(409, "last_admin");
}

#[tokio::test]
async fn an_absent_field_stays_and_a_null_is_refused_where_nothing_may_be_missing() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let path = format!("/api/agents/{}", ana.id);
    let before = org.admin.get(&path).await.is(200);
    let after = org.admin.patch(&path, json!({"name": "Bea"})).await.is(200);
    assert_eq!(after["name"], "Bea");
    for field in ["email", "role", "is_active", "availability", "created_at"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    for field in ["name", "email", "password", "role", "is_active"] {
        assert_eq!(org.admin.patch(&path, json!({field: null})).await.invalid(), [field]);
    }
    let wrong = json!({"name": "x".repeat(201)});
    assert_eq!(org.admin.patch(&path, wrong).await.invalid(), ["name"]);
    assert_eq!(org.admin.patch(&path, json!({"password": "12345"})).await.invalid(), ["password"]);
}

#[tokio::test]
async fn a_changed_address_is_the_login_from_then_on_and_the_old_one_is_free() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let new = format!("{}@example.com", unique("new"));
    org.admin.patch(&format!("/api/agents/{}", ana.id), json!({"email": new})).await.is(200);
    ana.login(&new).await.get("/api/auth/me").await.is(200);
    let old = crate::caller::login(&ana.email, PASSWORD);
    ana.nobody().post("/api/auth/login", old).await.refused(401, "wrong_credentials");
    let draft = json!({"name": "Bea", "email": ana.email, "password": PASSWORD});
    org.admin.post("/api/agents", draft).await.is(201);
}

#[tokio::test]
async fn a_change_of_address_that_is_refused_makes_no_login_and_the_address_stays_free() {
    let org = Org::found().await;
    let boss = org.hire("supervisor").await;
    let new = format!("{}@example.com", unique("new"));
    for (id, patch) in
        [(&org.admin.id, json!({"email": new})), (&boss.id, json!({"email": new, "role": "admin"}))]
    {
        boss.patch(&format!("/api/agents/{id}"), patch).await.refused(403, "forbidden");
        let login = crate::caller::login(&new, PASSWORD);
        boss.nobody().post("/api/auth/login", login).await.refused(401, "wrong_credentials");
    }
    let draft = json!({"name": "Bea", "email": new, "password": PASSWORD});
    Org::found().await.admin.post("/api/agents", draft).await.is(201);
}

#[tokio::test]
async fn one_sets_one_s_own_availability_and_managers_everybody_s() {
    let org = Org::found().await;
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let path = format!("/api/agents/{}/status", ana.id);
    let busy = json!({"availability": "busy"});
    assert_eq!(ana.patch(&path, busy.clone()).await.is(200)["availability"], "busy");
    bea.patch(&path, busy).await.refused(403, "forbidden");
    let boss = org.hire("supervisor").await;
    let online = boss.patch(&path, json!({"availability": "online"})).await.is(200);
    assert_eq!(online["availability"], "online");
    let gone = ana.patch(&path, json!({"availability": "gone"})).await;
    assert_eq!(gone.invalid(), ["availability"]);
}

#[tokio::test]
async fn the_list_is_paged() {
    let org = Org::found().await;
    org.hire("agent").await;
    org.hire("agent").await;
    let first = org.admin.get("/api/agents?per_page=2").await;
    assert_eq!(first.headers["x-total-count"], "3");
    assert_eq!(first.headers["link"], "</api/agents?page=2&per_page=2>; rel=\"next\"");
    let first: Vec<Value> = serde_json::from_value(first.is(200)).unwrap();
    let second = org.admin.get("/api/agents?per_page=2&page=2").await;
    assert_eq!(second.headers["link"], "</api/agents?page=1&per_page=2>; rel=\"prev\"");
    let second: Vec<Value> = serde_json::from_value(second.is(200)).unwrap();
    assert_eq!((first.len(), second.len()), (2, 1));
    assert!(!first.contains(&second[0]));
    let beyond = org.admin.get("/api/agents?page=9").await;
    assert_eq!(beyond.headers["x-total-count"], "3");
    assert_eq!(beyond.is(200), json!([]));
    for query in ["page=0", "page=-1", "page=x", "page=1000001"] {
        assert_eq!(org.admin.get(&format!("/api/agents?{query}")).await.invalid(), ["page"]);
    }
    for query in ["per_page=0", "per_page=101", "per_page="] {
        assert_eq!(org.admin.get(&format!("/api/agents?{query}")).await.invalid(), ["per_page"]);
    }
}

#[tokio::test]
async fn an_idempotency_key_makes_one_agent_and_takes_no_other_body() {
    let org = Org::found().await;
    let (key, draft) = (unique("key"), draft(json!("agent")));
    let made = org.admin.post_once("/api/agents", &key, draft.clone()).await.is(201);
    let again = org.admin.post_once("/api/agents", &key, draft.clone()).await.is(201);
    assert_eq!(made, again);
    let mut other = draft;
    other["name"] = json!("Bea");
    let refused = org.admin.post_once("/api/agents", &key, other.clone()).await;
    refused.refused(409, "idempotency_key_reused");
    // Somebody else's key is another one.
    let boss = org.hire("supervisor").await;
    other["email"] = json!(format!("{}@example.com", unique("bea")));
    boss.post_once("/api/agents", &key, other).await.is(201);
}

#[tokio::test]
async fn a_key_that_is_forgotten_puts_nothing_in_the_place_of_what_it_made() {
    let (clock, ahead) = (Clock::system(), Arc::new(AtomicI64::new(0)));
    let by = ahead.clone();
    let now = move || Timestamp(clock.now().0 + by.load(Ordering::SeqCst));
    let server = Server::over(Arc::new(Memory::new(Arc::new(now)))).await;
    let org = Org::on(&server).await;
    let accounts = "/api/integrations/accounts";
    let mut all = Vec::new();
    for (path, field, draft) in [
        ("/api/agents", "name", draft(json!("agent"))),
        (accounts, "display_name", account(&unique("8"), SECRET)),
        ("/api/quick-replies", "title", json!({"title": "Hi", "text": "Hello"})),
    ] {
        let made = org.admin.post_once(path, "key", draft.clone()).await.is(201);
        let one = format!("{path}/{}", made["id"].as_str().unwrap());
        let changed = org.admin.patch(&one, json!({field: "Changed"})).await.is(200);
        all.push((path, draft, changed));
    }
    server.restart_after(|| ahead.store(9 * 24 * 3600 * 1000, Ordering::SeqCst)).await;
    let admin = org.admin.login(&org.admin.email).await;
    for (path, draft, changed) in all {
        let late = admin.post_once(path, "key", draft).await;
        late.refused(409, "idempotency_key_reused");
        let there = admin.get(path).await.is(200);
        let there = there.as_array().unwrap();
        let at = |one: &Value| (one["id"].clone(), one["updated_at"].clone());
        assert!(there.iter().any(|one| at(one) == at(&changed)), "{there:?}");
    }
    let other = admin.post_once(accounts, "key", account(&unique("8"), SECRET)).await;
    other.refused(409, "idempotency_key_reused");
}

#[tokio::test]
async fn a_change_with_an_idempotency_key_is_made_once_and_takes_no_other_body() {
    let org = Org::found().await;
    let agent = format!("/api/agents/{}", org.hire("agent").await.id);
    let status = format!("{agent}/status");
    let account = format!("/api/integrations/accounts/{}", org.account);
    for (path, field, one, other) in [
        (&agent, "name", "Bea", "Cleo"),
        (&status, "availability", "busy", "away"),
        (&account, "display_name", "Shop", "Store"),
    ] {
        let once = async |key: &str, value: &str| {
            org.admin.once(Method::PATCH, path, key, json!({field: value})).await
        };
        assert_eq!(once("k1", one).await.is(200)[field], one);
        assert_eq!(once("k2", other).await.is(200)[field], other);
        assert_eq!(once("k1", one).await.is(200)[field], other, "others' changes stay");
        once("k1", other).await.refused(409, "idempotency_key_reused");
    }
}

#[tokio::test]
async fn a_repeated_removal_takes_nothing_from_whoever_has_the_address_since() {
    let (org, other) = (Org::found().await, Org::found().await);
    let ana = org.hire("agent").await;
    let path = format!("/api/agents/{}", ana.id);
    let removed = async || org.admin.once(Method::DELETE, &path, "k", json!(null)).await.is(200);
    removed().await;
    let mut draft = draft(json!("agent"));
    draft["email"] = json!(ana.email);
    org.admin.post("/api/agents", draft.clone()).await.is(201);
    assert_eq!(removed().await, json!({"deleted": true}));
    other.admin.post("/api/agents", draft).await.refused(409, "email_in_use");
}

#[tokio::test]
async fn an_organization_whose_settings_are_written_slowly_keeps_no_other_from_naming_anything() {
    let (server, mut writes) =
        held::server(|config| config.limits.rest_timeout = Duration::from_secs(5)).await;
    let (slow, other) = (Org::on(&server).await, Org::on(&server).await);
    let its = [Part::Uuid(slow.tenant().0.into_bytes())];
    writes.hold(move |write| match write {
        Write::Apply(batch) => batch.changes.iter().any(|change| {
            let (table, partition) = change.place();
            table.name == "settings" && *partition == its
        }),
        _ => false,
    });
    let (admin, first) = (slow.admin.clone(), draft(json!("agent")));
    let asks = tokio::spawn(async move { admin.post("/api/agents", first).await.status });
    let waits = writes.next().await;
    other.admin.post("/api/agents", draft(json!("agent"))).await.is(201);
    other.connect(&unique("8")).await;
    Org::on(&server).await;
    writes.go_on(waits).await;
    assert_eq!(asks.await.unwrap(), 201);
}
