//! The activity of an organization: who changed what, from what to what, and never a secret.

use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::{Answer, Caller, PASSWORD};
use crate::harness::{Org, SECRET, Server, unique};

const ALL: &str = "/api/activity-logs";

/// What fits, newest first.
async fn told(person: &Caller, query: &str) -> Vec<Value> {
    let all = person.get(&format!("{ALL}?per_page=100&{query}")).await.is(200);
    serde_json::from_value(all).unwrap()
}

/// The actions of what fits, newest first.
async fn actions(person: &Caller, query: &str) -> Vec<String> {
    let all = told(person, query).await;
    all.iter().map(|one| one["action"].as_str().unwrap().to_owned()).collect()
}

/// From what to what a field changed.
#[track_caller]
fn change(told: &Value, field: &str) -> Value {
    let changes = told["changes"].as_array().unwrap();
    let found = changes.iter().find(|one| one["field"] == field);
    let found = found.unwrap_or_else(|| panic!("{field} of {told}"));
    json!([found["from"], found["to"]])
}

#[tokio::test]
async fn a_change_is_told_with_who_made_it_and_the_fields_that_are_different() {
    let org = Org::found().await;
    let draft = json!({"name": "Night shift", "permissions": ["sla.manage"]});
    let role = org.admin.post("/api/roles", draft).await.is(201);
    let path = format!("/api/roles/{}", role["id"].as_str().unwrap());
    let patch = json!({"name": "Day shift", "permissions": ["sla.manage", "activity.view"]});
    let changed = org.admin.patch(&path, patch.clone()).await.is(200);
    org.admin.patch(&path, patch).await.is(200);
    org.admin.delete(&path).await.is(200);
    let all = told(&org.admin, "kind=role").await;
    let actions: Vec<_> = all.iter().map(|one| &one["action"]).collect();
    assert_eq!(actions, ["role.deleted", "role.updated", "role.created"], "{all:?}");
    let updated = &all[1];
    assert_eq!(updated["agent_id"], json!(org.admin.id));
    assert_eq!((&updated["agent_name"], updated.get("api_key_id")), (&json!("Admin"), None));
    let thing = json!({"kind": "role", "id": role["id"], "name": "Day shift"});
    assert_eq!(updated["entity"], thing);
    assert_eq!(updated["changes"].as_array().unwrap().len(), 2, "{updated}");
    assert_eq!(change(updated, "name"), json!(["Night shift", "Day shift"]));
    let permissions = json!([["sla.manage"], ["activity.view", "sla.manage"]]);
    assert_eq!(change(updated, "permissions"), permissions);
    assert!(updated["created_at"].as_str() >= changed["updated_at"].as_str(), "{updated}");
    assert_eq!(change(&all[2], "name"), json!([null, "Night shift"]));
    assert_eq!(change(&all[0], "name"), json!(["Day shift", null]));
}

#[tokio::test]
async fn a_change_by_an_api_key_names_the_key_and_is_its_makers() {
    let org = Org::found().await;
    let made = org.admin.post("/api/api-keys", json!({"name": "ERP"})).await.is(201);
    let draft = json!({"title": "Hours", "text": "From nine to five."});
    let by_key = org.admin.nobody().request(Method::POST, "/api/quick-replies");
    let by_key = by_key.header("x-api-key", made["key"].as_str().unwrap()).json(&draft);
    let reply = Answer::of(by_key).await.is(201);
    let path = format!("/api/quick-replies/{}", reply["id"].as_str().unwrap());
    org.admin.patch(&path, json!({"text": "From ten to six."})).await.is(200);
    org.admin.delete(&format!("/api/api-keys/{}", made["id"].as_str().unwrap())).await.is(200);
    let all = told(&org.admin, "").await;
    let actions: Vec<_> = all.iter().take(4).map(|one| &one["action"]).collect();
    let wanted =
        ["api_key.deleted", "quick_reply.updated", "quick_reply.created", "api_key.created"];
    assert_eq!(actions, wanted);
    assert_eq!(all[2]["api_key_id"], made["id"]);
    assert_eq!((&all[2]["agent_id"], all[1].get("api_key_id")), (&json!(org.admin.id), None));
    assert_eq!(all[2]["entity"]["name"], "Hours");
    assert_eq!(change(&all[1], "text"), json!(["From nine to five.", "From ten to six."]));
    let secret = made["key"].as_str().unwrap().rsplit('_').next().unwrap();
    assert!(!json!(all).to_string().contains(secret));
}

#[tokio::test]
async fn a_secret_that_changes_is_told_to_have_changed_and_nothing_more() {
    let org = Org::found().await;
    let account = format!("/api/integrations/accounts/{}", org.account);
    let config = json!({"config": {"access_token": "quite new", "waba_id": "2"}});
    org.admin.patch(&account, config).await.is(200);
    org.hire("agent").await;
    let person = told(&org.admin, "action=agent.created").await[0]["entity"]["id"].take();
    let person = format!("/api/agents/{}", person.as_str().unwrap());
    org.admin.patch(&person, json!({"password": "brand new"})).await.is(200);
    // What the provider says, and what a repeat with the mask leaves, is nobody's change.
    let masked = json!({"config": {"access_token": "********"}});
    org.admin.patch(&account, masked).await.is(200);
    let all = told(&org.admin, "").await;
    let changed = &told(&org.admin, "action=integration_account.updated").await;
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert_eq!(change(&changed[0], "config.access_token"), json!(["********", "********"]));
    assert_eq!(change(&changed[0], "config.waba_id"), json!(["1", "2"]));
    assert_eq!(
        (&all[0]["action"], &all[0]["changes"].as_array().unwrap().len()),
        (&json!("agent.updated"), &1)
    );
    assert_eq!(change(&all[0], "password"), json!(["********", "********"]));
    let created = &told(&org.admin, "action=agent.created").await[0];
    assert_eq!(change(created, "password"), json!([null, "********"]));
    for secret in ["quite new", "brand new", "a token", PASSWORD, SECRET, "argon2"] {
        assert!(!json!(all).to_string().contains(secret), "{secret}: {all:?}");
    }
}

#[tokio::test]
async fn what_goes_along_with_a_change_is_told_too() {
    let org = Org::found().await;
    let second = org.connect(&unique("8")).await;
    org.admin
        .post(&format!("/api/integrations/accounts/{second}/default"), json!(null))
        .await
        .is(200);
    let both = told(&org.admin, "action=integration_account.updated").await;
    let mut ids: Vec<_> = both.iter().map(|one| one["entity"]["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let mut wanted = [org.account.as_str(), second.as_str()];
    wanted.sort_unstable();
    assert_eq!(ids, wanted);
    let person = org.hire("admin").await;
    person.post("/api/api-keys", json!({"name": "ERP"})).await.is(201);
    org.admin.delete(&format!("/api/agents/{}", person.id)).await.is(200);
    let gone = actions(&org.admin, &format!("agent_id={}", org.admin.id)).await;
    assert!(gone.contains(&"api_key.deleted".to_owned()), "{gone:?}");
    assert!(gone.contains(&"agent.deleted".to_owned()), "{gone:?}");
}

#[tokio::test]
async fn founding_and_logins_are_told_and_what_is_no_setting_is_not() {
    let org = Org::found().await;
    let person = org.hire("agent").await;
    let status = format!("/api/agents/{}/status", person.id);
    person.patch(&status, json!({"availability": "online"})).await.is(200);
    person.post("/api/auth/logout", Value::Null).await.is(200);
    let wanted = ["agent.logged_out", "agent.logged_in", "agent.created"];
    let of_person = actions(&org.admin, &format!("entity_id={}", person.id)).await;
    assert_eq!(of_person, wanted);
    let first = actions(&org.admin, "").await;
    assert_eq!(first.last().unwrap(), "organization.created");
    let by_person = told(&org.admin, &format!("agent_id={}", person.id)).await;
    assert_eq!((by_person.len(), &by_person[0]["agent_name"]), (2, &json!("agent")));
}

#[tokio::test]
async fn activity_is_shown_by_page_and_time_to_those_who_may_see_it() {
    let (org, other) = (Org::found().await, Org::found().await);
    for n in 0..5 {
        let draft = json!({"title": format!("Reply {n}"), "text": "Hello."});
        org.admin.post("/api/quick-replies", draft).await.is(201);
    }
    let page = org.admin.get(&format!("{ALL}?kind=quick_reply&per_page=2&page=2")).await;
    assert_eq!(page.headers["x-total-count"], "5");
    let link = page.headers["link"].to_str().unwrap().to_owned();
    assert!(link.contains("rel=\"next\"") && link.contains("kind=quick_reply"), "{link}");
    let page = page.is(200);
    let names = [&page[0]["entity"]["name"], &page[1]["entity"]["name"]];
    assert_eq!(names, ["Reply 2", "Reply 1"]);
    let all = told(&org.admin, "kind=quick_reply").await;
    let at = all[2]["created_at"].as_str().unwrap();
    let later = told(&org.admin, &format!("kind=quick_reply&from={at}")).await;
    let earlier = told(&org.admin, &format!("kind=quick_reply&to={at}")).await;
    assert_eq!(later.len() + earlier.len(), 5);
    assert!(later.contains(&all[2]) && !earlier.contains(&all[2]), "{later:?}");
    assert_eq!(actions(&other.admin, "kind=quick_reply").await, [""; 0]);
    org.hire("agent").await.get(ALL).await.refused(403, "forbidden");
    org.hire("supervisor").await.get(ALL).await.is(200);
    let wrong = format!("{ALL}?from={at}&to=2020-01-01T00:00:00Z");
    assert_eq!(org.admin.get(&wrong).await.invalid(), ["to"]);
    assert_eq!(org.admin.get(&format!("{ALL}?from=yesterday")).await.invalid(), ["from"]);
}

#[tokio::test]
async fn one_request_looks_at_a_limited_number_and_a_time_leads_further_back() {
    let server = Server::start(|config| config.limits.activity_scanned = 3).await;
    let org = Org::on(&server).await;
    for n in 0..4 {
        let draft = json!({"title": format!("Reply {n}"), "text": "Hello."});
        org.admin.post("/api/quick-replies", draft).await.is(201);
    }
    let newest = told(&org.admin, "").await;
    assert_eq!(newest.len(), 3);
    let to = newest[2]["created_at"].as_str().unwrap();
    let before = told(&org.admin, &format!("to={to}")).await;
    assert_eq!(before.len(), 3);
    assert!(before.iter().all(|one| !newest.contains(one)));
}

#[tokio::test]
async fn a_restart_forgets_nothing_of_it() {
    let server = Server::start(|_| {}).await;
    let org = Org::on(&server).await;
    let before = told(&org.admin, "").await;
    assert!(!before.is_empty());
    server.restart().await;
    assert_eq!(told(&org.admin, "").await, before);
}
