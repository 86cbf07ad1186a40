//! API keys: shown once, never more than their makers, ended at once.

use engine::id::SessionId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::{Answer, Caller};
use crate::harness::{Org, eventually, unique, unix_now};
use crate::live::Live;
use crate::socket::{say, stream};

const KEYS: &str = "/api/api-keys";

/// A new key of this person: its row, and the whole of it.
async fn make(person: &Caller, draft: Value) -> (Value, String) {
    let mut made = person.post(KEYS, draft).await.is(201);
    let key = made.as_object_mut().unwrap().remove("key").unwrap();
    (made, key.as_str().unwrap().to_owned())
}

fn erp() -> Value {
    json!({"name": "ERP"})
}

async fn by_key(person: &Caller, key: &str, verb: Method, path: &str) -> Answer {
    Answer::of(person.nobody().request(verb, path).header("x-api-key", key)).await
}

async fn gets(person: &Caller, key: &str, path: &str) -> Answer {
    by_key(person, key, Method::GET, path).await
}

/// Somebody with a role of their own that allows this.
async fn developer(org: &Org, more: &[&str]) -> (Caller, String) {
    let permissions = [&["developer.access"], more].concat();
    let draft = json!({"name": unique("role"), "permissions": permissions});
    let role = org.admin.post("/api/roles", draft).await.is(201);
    let person = org.hire(role["name"].as_str().unwrap()).await;
    (person, format!("/api/roles/{}", role["id"].as_str().unwrap()))
}

#[tokio::test]
async fn a_key_is_shown_once_and_calls_as_its_maker() {
    let org = Org::found().await;
    let (made, key) = make(&org.admin, erp()).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    gets(&org.admin, &key, &format!("/api/conversations/{id}")).await.is(200);
    let bearer = org.admin.with_token(&key).get("/api/agents").await.is(200);
    assert_eq!(bearer, gets(&org.admin, &key, "/api/agents").await.is(200));
    let listed = org.admin.get(KEYS).await.is(200);
    assert_eq!(listed[0]["id"], made["id"]);
    assert!(key.starts_with(listed[0]["prefix"].as_str().unwrap()));
    let secret = key.rsplit('_').next().unwrap();
    assert!(!listed.to_string().contains(secret), "{listed}");
}

#[tokio::test]
async fn a_key_made_again_by_the_same_idempotency_key_is_not_shown_again() {
    let org = Org::found().await;
    let once = unique("once");
    org.admin.post_once(KEYS, &once, erp()).await.is(201);
    org.admin.post_once(KEYS, &once, erp()).await.refused(409, "shown_once");
    assert_eq!(org.admin.get(KEYS).await.is(200).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_that_is_refused_leaves_the_key_that_is_there_as_it_is() {
    let org = Org::found().await;
    let (once, soon) = (unique("once"), chrono::DateTime::from_timestamp(unix_now() + 60, 0));
    let made = org.admin.post_once(KEYS, &once, erp()).await.is(201);
    let sooner = json!({"name": "ERP", "expires_at": soon.unwrap().to_rfc3339()});
    org.admin.post_once(KEYS, &once, sooner).await.refused(409, "idempotency_key_reused");
    let id = serde_json::from_value(made["id"].clone()).unwrap();
    let caller = org.server.app().tenants.caller(SessionId(id)).await.unwrap().unwrap();
    assert!(caller.until.0 / 1000 > unix_now() + 3600, "{:?}", caller.until);
}

#[tokio::test]
async fn what_a_key_makes_ends_no_later_than_it_does() {
    let org = Org::found().await;
    let at = |secs| chrono::DateTime::from_timestamp(unix_now() + secs, 0).unwrap().to_rfc3339();
    let (parent, key) = make(&org.admin, json!({"name": "ERP", "expires_at": at(600)})).await;
    let program = org.admin.with_token(&key);
    assert_eq!(make(&program, erp()).await.0["expires_at"], parent["expires_at"]);
    let later = json!({"name": "ERP", "expires_at": at(6_000)});
    assert_eq!(program.post(KEYS, later.clone()).await.invalid(), ["expires_at"]);
    let (sooner, _) = make(&program, json!({"name": "ERP", "expires_at": at(60)})).await;
    assert!(sooner["expires_at"].as_str() < parent["expires_at"].as_str());
    make(&org.admin, later).await;
    let (_, endless) = make(&org.admin, erp()).await;
    let (child, _) = make(&org.admin.with_token(&endless), erp()).await;
    assert_eq!(child["expires_at"], Value::Null);
}

#[tokio::test]
async fn what_is_no_key_or_has_another_secret_is_401() {
    let org = Org::found().await;
    let (_, key) = make(&org.admin, erp()).await;
    let (_, other) = make(&org.admin, erp()).await;
    let swap = |key: &str, from: &str| {
        let secret = from.rsplit('_').next().unwrap();
        format!("{}_{secret}", key.rsplit_once('_').unwrap().0)
    };
    let unknown = format!("omni_{}_{}", "0".repeat(32), "0".repeat(64));
    for wrong in ["", "x", &key[..key.len() - 1], &swap(&key, &other), &unknown, "omni_é_é"] {
        let answer = Answer::of(
            org.admin.nobody().request(Method::GET, "/api/agents").header("x-api-key", wrong),
        );
        answer.await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_key_allows_what_it_and_its_maker_have_in_common_whatever_becomes_of_the_maker() {
    let org = Org::found().await;
    let (person, role) = developer(&org, &["roles.manage", "integrations.manage"]).await;
    let (all, whole) = make(&person, erp()).await;
    assert_eq!(all["permissions"], Value::Null);
    let part = json!({"name": "Roles", "permissions": ["roles.manage", "developer.access"]});
    let (_, part) = make(&person, part).await;
    let accounts = "/api/integrations/accounts";
    gets(&person, &whole, accounts).await.is(200);
    gets(&person, &part, accounts).await.refused(403, "forbidden");
    gets(&person, &part, "/api/roles").await.is(200);
    let more = json!({"name": "More", "permissions": ["billing.manage"]});
    person.post(KEYS, more).await.refused(403, "forbidden");
    // What a key makes allows no more than it does.
    let child = Answer::of(
        person.nobody().request(Method::POST, KEYS).header("x-api-key", &part).json(&erp()),
    );
    let child = child.await.is(201);
    assert_eq!(child["permissions"], json!(["developer.access", "roles.manage"]));
    gets(&person, child["key"].as_str().unwrap(), accounts).await.refused(403, "forbidden");
    org.admin.patch(&role, json!({"permissions": ["developer.access"]})).await.is(200);
    gets(&person, &whole, accounts).await.refused(403, "forbidden");
    gets(&person, &part, "/api/roles").await.refused(403, "forbidden");
    let agent = format!("/api/agents/{}", person.id);
    org.admin.patch(&agent, json!({"is_active": false})).await.is(200);
    gets(&person, &whole, "/api/agents").await.refused(401, "unauthorized");
    org.admin.patch(&agent, json!({"is_active": true})).await.is(200);
    gets(&person, &whole, "/api/agents").await.is(200);
    org.admin.delete(&agent).await.is(200);
    gets(&person, &whole, "/api/agents").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn what_only_people_do_is_refused_to_keys() {
    let org = Org::found().await;
    let (_, key) = make(&org.admin, erp()).await;
    gets(&org.admin, &key, "/api/auth/token").await.refused(403, "forbidden");
    by_key(&org.admin, &key, Method::POST, "/api/auth/logout").await.refused(403, "forbidden");
    gets(&org.admin, &key, "/api/agents").await.is(200);
}

#[tokio::test]
async fn keys_are_their_makers_alone() {
    let (org, stranger) = (Org::found().await, Org::found().await);
    let (made, _) = make(&org.admin, erp()).await;
    let (colleague, _) = developer(&org, &[]).await;
    let path = format!("{KEYS}/{}", made["id"].as_str().unwrap());
    for other in [&colleague, &stranger.admin] {
        assert_eq!(other.get(KEYS).await.is(200), json!([]));
        other.delete(&path).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_ends_at_once_also_on_open_sockets() {
    let org = Org::found().await;
    let (made, key) = make(&org.admin, erp()).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let program = org.admin.with_token(&key);
    let mut live = Live::following(&program, &[&stream(&id)]).await;
    say(&org, &id, "one").await;
    // The last thing that is told of it, whatever overtakes what.
    live.event(&stream(&id), "message.read").await;
    org.admin.delete(&format!("{KEYS}/{}", made["id"].as_str().unwrap())).await.is(200);
    say(&org, &id, "two").await;
    let (told, code) = live.end().await;
    assert_eq!(code, 4003);
    assert!(!json!(told).to_string().contains("two"), "{told:?}");
    gets(&org.admin, &key, "/api/agents").await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_key_ends_when_it_was_said_to() {
    let org = Org::found().await;
    let past = json!({"name": "ERP", "expires_at": "2020-01-01T00:00:00Z"});
    assert_eq!(org.admin.post(KEYS, past).await.invalid(), ["expires_at"]);
    let soon = unix_now() + 2;
    let ends = chrono::DateTime::from_timestamp(soon, 0);
    let (_, key) =
        make(&org.admin, json!({"name": "ERP", "expires_at": ends.unwrap().to_rfc3339()})).await;
    eventually(async || (gets(&org.admin, &key, "/api/agents").await.status == 401).then_some(()))
        .await;
    assert!(unix_now() >= soon);
}

#[tokio::test]
async fn that_a_key_is_used_is_written_down() {
    let org = Org::found().await;
    let (_, key) = make(&org.admin, erp()).await;
    assert_eq!(org.admin.get(KEYS).await.is(200)[0]["last_used_at"], Value::Null);
    gets(&org.admin, &key, "/api/agents").await.is(200);
    let used =
        async || org.admin.get(KEYS).await.is(200)[0]["last_used_at"].take().as_str().map(drop);
    eventually(used).await;
}

#[tokio::test]
async fn keys_of_one_agent_are_bounded() {
    let server = crate::harness::Server::start(|config| config.limits.api_keys_per_agent = 2).await;
    let org = Org::on(&server).await;
    let (first, _) = make(&org.admin, erp()).await;
    make(&org.admin, erp()).await;
    org.admin.post(KEYS, erp()).await.refused(409, "too_many");
    org.admin.delete(&format!("{KEYS}/{}", first["id"].as_str().unwrap())).await.is(200);
    make(&org.admin, erp()).await;
}

#[tokio::test]
async fn a_key_outlives_a_restart() {
    let server = crate::harness::Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let (_, key) = make(&org.admin, erp()).await;
    server.restart().await;
    gets(&org.admin, &key, "/api/agents").await.is(200);
}
