//! Roles: who makes them, what they allow, and that a change counts at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::{Org, unique};
use crate::live::Live;
use crate::socket::{say, stream};

fn role(permissions: &[&str]) -> Value {
    json!({"name": unique("role"), "permissions": permissions})
}

async fn make(org: &Org, permissions: &[&str]) -> Value {
    org.admin.post("/api/roles", role(permissions)).await.is(201)
}

fn path(role: &Value) -> String {
    format!("/api/roles/{}", role["id"].as_str().unwrap())
}

async fn holds(person: &Caller) -> Value {
    person.get("/api/auth/me").await.is(200)["permissions"].take()
}

#[tokio::test]
async fn the_systems_roles_are_there_from_the_beginning_and_stay_as_they_are() {
    let org = Org::found().await;
    let roles = org.admin.get("/api/roles").await.is(200);
    let names: Vec<_> = roles.as_array().unwrap().iter().map(|role| &role["name"]).collect();
    assert_eq!(names, ["admin", "supervisor", "agent"]);
    assert_eq!(roles[0]["agents"], 1);
    let known = org.admin.get("/api/permissions").await.is(200);
    assert_eq!(known.as_array().unwrap().len(), roles[0]["permissions"].as_array().unwrap().len());
    assert!(known.as_array().unwrap().iter().all(|one| one["description"] != ""));
    for role in roles.as_array().unwrap() {
        assert!(role["created_at"].as_str() > Some("2020"), "{role}");
        org.admin.patch(&path(role), json!({"name": "mine"})).await.refused(409, "system_role");
        org.admin.delete(&path(role)).await.refused(409, "system_role");
    }
}

#[tokio::test]
async fn a_new_role_is_shown_as_it_was_made_and_changed_field_by_field() {
    let org = Org::found().await;
    let draft = json!({
        "name": " Night shift ", "description": "From ten to six",
        "permissions": ["sla.manage", "activity.view", "sla.manage"],
    });
    let made = org.admin.post("/api/roles", draft).await.is(201);
    assert_eq!((&made["name"], &made["is_system"]), (&json!("Night shift"), &json!(false)));
    assert_eq!(made["permissions"], json!(["activity.view", "sla.manage"]));
    assert_eq!(org.admin.get(&path(&made)).await.is(200), made);
    let cleared = org.admin.patch(&path(&made), json!({"description": null})).await.is(200);
    assert_eq!((&cleared["description"], &cleared["name"]), (&Value::Null, &made["name"]));
    let none = org.admin.patch(&path(&made), json!({"permissions": []})).await.is(200);
    assert_eq!(none["permissions"], json!([]));
    org.admin.delete(&path(&made)).await.is(200);
    org.admin.get(&path(&made)).await.refused(404, "not_found");
}

#[tokio::test]
async fn names_of_roles_are_told_apart_without_their_case_and_are_no_ids() {
    let org = Org::found().await;
    org.admin
        .post("/api/roles", json!({"name": "ADMIN", "permissions": []}))
        .await
        .refused(409, "name_in_use");
    let (one, two) = (make(&org, &[]).await, make(&org, &[]).await);
    let name = one["name"].as_str().unwrap().to_uppercase();
    org.admin.patch(&path(&two), json!({"name": name})).await.refused(409, "name_in_use");
    assert_eq!(org.admin.patch(&path(&one), json!({"name": name})).await.is(200)["name"], name);
    let id = two["id"].clone();
    let named = json!({"name": id, "permissions": []});
    assert_eq!(org.admin.post("/api/roles", named).await.invalid(), ["name"]);
    let unknown = json!({"name": unique("role"), "permissions": ["sla.manage", "all"]});
    assert_eq!(org.admin.post("/api/roles", unknown).await.invalid(), ["permissions.1"]);
}

#[tokio::test]
async fn nobody_makes_changes_or_deletes_a_role_that_allows_more_than_their_own() {
    let org = Org::found().await;
    let keeper = make(&org, &["roles.manage", "sla.manage", "agents.manage"]).await;
    let more = make(&org, &["billing.manage"]).await;
    let person = org.hire(keeper["name"].as_str().unwrap()).await;
    person.post("/api/roles", role(&["sla.manage"])).await.is(201);
    person.post("/api/roles", role(&["billing.manage"])).await.refused(403, "forbidden");
    let own = path(&keeper);
    let with_more = json!({"permissions": ["roles.manage", "billing.manage"]});
    person.patch(&own, with_more).await.refused(403, "forbidden");
    person.patch(&path(&more), json!({"permissions": []})).await.refused(403, "forbidden");
    person.patch(&path(&more), json!({"name": "Harmless"})).await.refused(403, "forbidden");
    person.delete(&path(&more)).await.refused(403, "forbidden");
    let hired = json!({
        "name": "Eve", "email": format!("{}@example.com", unique("eve")), "password": "correct horse",
        "role": more["id"],
    });
    person.post("/api/agents", hired).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_role_that_somebody_has_is_not_deleted() {
    let org = Org::found().await;
    let role = make(&org, &[]).await;
    let person = org.hire(role["name"].as_str().unwrap()).await;
    let said = org.admin.delete(&path(&role)).await.refused(409, "role_in_use");
    assert!(said["message"].as_str().unwrap().contains("another role first"), "{said}");
    let agent = format!("/api/agents/{}", person.id);
    org.admin.patch(&agent, json!({"role": "agent"})).await.is(200);
    org.admin.delete(&path(&role)).await.is(200);
}

#[tokio::test]
async fn another_organizations_role_is_not_found() {
    let (org, other) = (Org::found().await, Org::found().await);
    let role = make(&org, &[]).await;
    for verb in [Method::GET, Method::DELETE] {
        other.admin.call(verb, &path(&role), None).await.refused(404, "not_found");
    }
    other.admin.patch(&path(&role), json!({"name": "x"})).await.refused(404, "not_found");
    let listed = other.admin.get("/api/roles").await.is(200);
    assert_eq!(listed.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_change_of_a_role_counts_from_its_answer_on_also_on_open_sockets() {
    let org = Org::found().await;
    let role = make(&org, &["conversations.view_all", "sla.manage"]).await;
    let person = org.hire(role["name"].as_str().unwrap()).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    let taken = json!({"agent_id": org.admin.id});
    let assign = format!("/api/conversations/{id}/assign");
    org.admin.patch(&assign, taken).await.is(200);
    let mut live = Live::following(&person, &[&stream(&id), "i:all"]).await;
    say(&org, &id, "seen").await;
    // The last thing that is told of it, whatever overtakes what.
    live.event(&stream(&id), "message.read").await;
    org.admin.patch(&path(&role), json!({"permissions": ["sla.manage"]})).await.is(200);
    say(&org, &id, "not for them").await;
    assert_eq!(holds(&person).await, json!(["sla.manage"]));
    person.get(&format!("/api/conversations/{id}")).await.refused(404, "not_found");
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let told = live.next().await;
        assert!(!told.to_string().contains("not for them"), "{told}");
        if told["t"] == "unsub" {
            assert_eq!(told["code"], 2403, "{told}");
            ended.push(told["s"].as_str().unwrap().to_owned());
        }
    }
    ended.sort();
    assert_eq!(ended, [stream(&id), "i:all".to_owned()]);
    org.admin.patch(&path(&role), json!({"permissions": ["conversations.view_all"]})).await.is(200);
    person.get(&format!("/api/conversations/{id}")).await.is(200);
}

#[tokio::test]
async fn while_much_is_said_whoever_has_a_role_that_falls_is_told_nothing_said_from_then_on() {
    let org = Org::found().await;
    let role = make(&org, &["conversations.view_all"]).await;
    let person = org.hire(role["name"].as_str().unwrap()).await;
    let phone = unique("1555");
    let id = org.hears(&phone, "Hello").await;
    let assign = format!("/api/conversations/{id}/assign");
    org.admin.patch(&assign, json!({"agent_id": org.admin.id})).await.is(200);
    let c = stream(&id);
    let mut live = Live::following(&person, &[&c, "i:all"]).await;
    let (begun, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let saying = async {
        while !is_over.load(Ordering::Acquire) {
            let n = begun.fetch_add(1, Ordering::AcqRel);
            org.deliver(&org.text(&unique("wamid."), &phone, &format!("said {n}"))).await.is(200);
        }
    };
    let watching = async {
        while live.event(&c, "message.received").await["text"] != "said 9" {}
        org.admin.patch(&path(&role), json!({"permissions": []})).await.is(200);
        let after = begun.load(Ordering::Acquire);
        let mut ended = std::collections::BTreeSet::new();
        // More is said than what may have waited.
        while ended.len() < 2 || begun.load(Ordering::Acquire) < after + 20 {
            let Ok(told) = tokio::time::timeout(Duration::from_millis(20), live.next()).await
            else {
                continue;
            };
            let text = told["d"]["text"].as_str().or(told["d"]["last_message"]["text"].as_str());
            let said = text.and_then(|text| text.strip_prefix("said ")?.parse::<usize>().ok());
            assert!(said.is_none_or(|said| said < after), "{told} after {after}");
            if told["t"] == "unsub" {
                assert_eq!(told["code"], 2403, "{told}");
                ended.insert(told["s"].as_str().unwrap().to_owned());
            }
            assert!(
                !ended.contains(&c) || told["s"] != c.as_str() || told["t"] == "unsub",
                "{told}"
            );
        }
        is_over.store(true, Ordering::Release);
    };
    tokio::join!(saying, watching);
    assert_eq!(live.follow(json!({"s": c, "snap": true})).await, Err(102));
    assert_eq!(live.follow(json!({"s": "i:all"})).await, Err(103));
    // What it was not told meanwhile it is told from where it was, once it may see it again.
    org.admin.patch(&path(&role), json!({"permissions": ["conversations.view_all"]})).await.is(200);
    let (epoch, off) = live.at[&c].clone();
    let again = live.follow(json!({"s": c, "since": {"epoch": epoch, "off": off}})).await.unwrap();
    assert!(again["n"].as_u64() > Some(0) || again["recovered"] == false, "{again}");
}
