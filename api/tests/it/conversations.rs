//! Conversations: who sees what, and what people do with one.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::harness::{Org, Server, unique};

fn at(id: &str) -> String {
    format!("/api/conversations/{id}")
}

async fn a_conversation(org: &Org) -> String {
    org.hears(&unique("1555"), "Hello").await
}

async fn set_status(org: &Org, id: &str, status: &str) -> Value {
    let path = format!("{}/status", at(id));
    org.admin.patch(&path, json!({"status": status})).await.is(200)
}

async fn assign(org: &Org, id: &str, agent: &Caller) {
    let path = format!("{}/assign", at(id));
    let answer = org.admin.patch(&path, json!({"agent_id": agent.id})).await.is(200);
    assert_eq!(answer["assigned_agent_id"], json!(agent.id));
}

async fn ids(person: &Caller, query: &str) -> Vec<String> {
    let all = person.get(&format!("/api/conversations?{query}")).await.is(200);
    let all = all.as_array().unwrap().iter();
    all.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_first_message_opens_a_conversation() {
    let org = Org::found().await;
    let phone = unique("1555");
    let id = org.hears(&phone, "Is it in stock?").await;
    let found = org.admin.get(&at(&id)).await.is(200);
    assert_eq!((&found["status"], &found["unread_count"]), (&json!("open"), &json!(1)));
    assert_eq!(found["contact_channel"], "whatsapp");
    assert_eq!((&found["contact_name"], &found["contact_phone"]), (&json!("Ines"), &json!(phone)));
    assert_eq!(found["account_id"], json!(org.account));
    assert_eq!(found["last_message"]["text"], "Is it in stock?");
    assert!(found["assigned_agent_id"].is_null() && found["tags"] == json!([]));
    assert_eq!(org.admin.get("/api/conversations").await.is(200), json!([found]));
}

#[tokio::test]
async fn an_agent_sees_its_own_and_nobody_s_conversations_and_supervisors_all() {
    let org = Org::found().await;
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let boss = org.hire("supervisor").await;
    let (hers, nobodys) = (a_conversation(&org).await, a_conversation(&org).await);
    assign(&org, &hers, &ana).await;
    assert_eq!(ids(&ana, "").await, [nobodys.clone(), hers.clone()]);
    assert_eq!(ids(&boss, "").await, [nobodys.clone(), hers.clone()]);
    assert_eq!(ids(&bea, "").await, [nobodys.as_str()]);
    set_status(&org, &hers, "resolved").await;
    assert_eq!(ids(&bea, "status=resolved").await, [""; 0]);
    assert_eq!(ids(&ana, "status=resolved").await, [hers.as_str()]);
    bea.get(&at(&nobodys)).await.is(200);
    for (path, body) in [("", None), ("/messages", None), ("/read", Some(json!(null)))] {
        let verb = if body.is_some() { Method::POST } else { Method::GET };
        let answer = bea.call(verb, &format!("{}{path}", at(&hers)), body.as_ref()).await;
        answer.refused(404, "not_found");
    }
    for (verb, path, body) in [
        (Method::PATCH, "status", json!({"status": "open"})),
        (Method::PATCH, "tags", json!({"tags": ["x"]})),
        (Method::POST, "takeover", json!(null)),
        (Method::POST, "messages", json!({"text": "Hi"})),
    ] {
        let path = format!("{}/{path}", at(&hers));
        bea.call(verb, &path, Some(&body)).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_list_is_filtered_and_paged_newest_first() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.insert(0, a_conversation(&org).await);
    }
    assign(&org, &all[1], &ana).await;
    set_status(&org, &all[2], "pending").await;
    set_status(&org, &all[3], "resolved").await;
    assert_eq!(ids(&org.admin, "").await, all);
    assert_eq!(ids(&org.admin, "status=pending").await, [all[2].clone()]);
    assert_eq!(ids(&org.admin, "status=resolved").await, [all[3].clone()]);
    let open = [all[0].clone(), all[1].clone(), all[4].clone()];
    assert_eq!(ids(&org.admin, "status=open").await, open);
    let hers = format!("assigned_agent_id={}", ana.id);
    assert_eq!(ids(&org.admin, &hers).await, [all[1].clone()]);
    assert_eq!(ids(&org.admin, &format!("status=pending&{hers}")).await, [""; 0]);
    let second = org.admin.get("/api/conversations?per_page=2&page=2").await;
    assert_eq!(second.headers["x-total-count"], "5");
    let link = second.headers["link"].to_str().unwrap();
    assert_eq!(
        link,
        "</api/conversations?page=3&per_page=2>; rel=\"next\", \
         </api/conversations?page=1&per_page=2>; rel=\"prev\""
    );
    assert_eq!(ids(&org.admin, "per_page=2&page=2").await, all[2..4]);
    for (query, field) in
        [("status=shut", "status"), ("assigned_agent_id=ana", "assigned_agent_id")]
    {
        let answer = org.admin.get(&format!("/api/conversations?{query}")).await;
        assert_eq!(answer.invalid(), [field]);
    }
}

#[tokio::test]
async fn assigning_takes_active_agents_of_the_organization_and_null_unassigns() {
    let (org, other) = (Org::found().await, Org::found().await);
    let ana = org.hire("agent").await;
    let id = a_conversation(&org).await;
    let path = format!("{}/assign", at(&id));
    assign(&org, &id, &ana).await;
    for body in [json!({"agent_id": null}), json!({})] {
        assign(&org, &id, &ana).await;
        let answer = org.admin.patch(&path, body).await.is(200);
        assert_eq!(answer["assigned_agent_id"], Value::Null);
        assert!(org.admin.get(&at(&id)).await.is(200)["assigned_agent_id"].is_null());
    }
    let stranger = json!({"agent_id": other.admin.id});
    assert_eq!(org.admin.patch(&path, stranger).await.invalid(), ["agent_id"]);
    let inactive = json!({"is_active": false});
    org.admin.patch(&format!("/api/agents/{}", ana.id), inactive).await.is(200);
    let gone = json!({"agent_id": ana.id});
    assert_eq!(org.admin.patch(&path, gone).await.invalid(), ["agent_id"]);
}

#[tokio::test]
async fn a_takeover_makes_it_the_caller_s() {
    let org = Org::found().await;
    let (ana, boss) = (org.hire("agent").await, org.hire("supervisor").await);
    let id = a_conversation(&org).await;
    let path = format!("{}/takeover", at(&id));
    assert_eq!(ana.post(&path, json!(null)).await.is(200)["assigned_agent_id"], json!(ana.id));
    assert_eq!(boss.post(&path, json!(null)).await.is(200)["assigned_agent_id"], json!(boss.id));
    ana.post(&path, json!(null)).await.refused(404, "not_found");
}

#[tokio::test]
async fn reading_clears_the_unread_count() {
    let org = Org::found().await;
    let phone = unique("1555");
    org.hears(&phone, "Hello").await;
    let id = org.hears(&phone, "Anybody?").await;
    assert_eq!(org.admin.get(&at(&id)).await.is(200)["unread_count"], 2);
    let path = format!("{}/read", at(&id));
    assert_eq!(org.admin.post(&path, json!(null)).await.is(200)["unread_count"], 0);
    assert_eq!(org.admin.post(&path, json!(null)).await.is(200)["unread_count"], 0);
    assert_eq!(org.admin.get(&at(&id)).await.is(200)["unread_count"], 0);
}

#[tokio::test]
async fn tags_are_replaced_whole_trimmed_and_without_repeats() {
    let org = Org::found().await;
    let id = a_conversation(&org).await;
    let path = format!("{}/tags", at(&id));
    let tags = json!({"tags": [" vip ", "vip", "late"]});
    assert_eq!(org.admin.patch(&path, tags).await.is(200)["tags"], json!(["vip", "late"]));
    assert_eq!(org.admin.patch(&path, json!({"tags": []})).await.is(200)["tags"], json!([]));
    let many: Vec<_> = (0..51).map(|n| n.to_string()).collect();
    for wrong in [json!([""]), json!(["a\u{0}b"]), json!(["x".repeat(65)]), json!(many)] {
        assert_eq!(org.admin.patch(&path, json!({"tags": wrong})).await.invalid(), ["tags"]);
    }
}

#[tokio::test]
async fn a_customer_reopens_what_was_closed_shortly_before() {
    let org = Org::found().await;
    let phone = unique("1555");
    for status in ["pending", "resolved", "expired"] {
        let id = org.hears(&phone, "Hello").await;
        assert_eq!(set_status(&org, &id, status).await["status"], status);
        assert_eq!(org.hears(&phone, "One more thing").await, id);
        assert_eq!(org.admin.get(&at(&id)).await.is(200)["status"], "open");
    }
    let unknown = json!({"status": "shut"});
    let id = org.hears(&phone, "Hello").await;
    let answer = org.admin.patch(&format!("{}/status", at(&id)), unknown).await;
    assert_eq!(answer.invalid(), ["status"]);
}

#[tokio::test]
async fn an_earlier_case_is_not_reopened_beside_the_current_one() {
    let server = Server::start(|config| config.conversations.reopen_within = Duration::ZERO).await;
    let org = Org::on(&server).await;
    let phone = unique("1555");
    let first = org.hears(&phone, "Hello").await;
    set_status(&org, &first, "resolved").await;
    org.deliver(&org.text(&unique("wamid."), &phone, "Something else")).await.is(200);
    let open = ids(&org.admin, "status=open").await;
    assert!(open.len() == 1 && open[0] != first, "{open:?}");
    let path = format!("{}/status", at(&first));
    let reopen = org.admin.patch(&path, json!({"status": "open"})).await;
    reopen.refused(409, "not_current");
    let say = org.admin.post(&format!("{}/messages", at(&first)), json!({"text": "Hi"})).await;
    say.refused(409, "not_current");
    let tag = json!({"tags": ["old"]});
    org.admin.patch(&format!("{}/tags", at(&first)), tag).await.is(200);
}

#[tokio::test]
async fn expiring_closes_what_nobody_wrote_in_for_long_enough() {
    let org = Org::found().await;
    let fresh = a_conversation(&org).await;
    let none = org.admin.post("/api/conversations/expire", json!(null)).await.is(200);
    assert_eq!(none["expired_count"], 0);
    assert_eq!(ids(&org.admin, "status=open").await, [fresh]);

    let server = Server::start(|config| config.conversations.reopen_within = Duration::ZERO).await;
    let org = Org::on(&server).await;
    let (stale, closed) = (a_conversation(&org).await, a_conversation(&org).await);
    set_status(&org, &closed, "resolved").await;
    let boss = org.hire("supervisor").await;
    let expired = boss.post("/api/conversations/expire", json!(null)).await.is(200);
    assert_eq!(expired["expired_count"], 1);
    assert_eq!(ids(&org.admin, "status=expired").await, [stale]);
    assert_eq!(ids(&org.admin, "status=resolved").await, [closed]);
}

async fn bulk(person: &Caller, ids: &[&str], action: Value) -> Value {
    let body = json!({"conversation_ids": ids, "action": action});
    person.post("/api/conversations/bulk", body).await.is(200)["affected_count"].take()
}

#[tokio::test]
async fn a_bulk_action_s_idempotency_key_takes_no_other_conversations() {
    let org = Org::found().await;
    let (one, other) =
        (org.hears(&unique("1555"), "1").await, org.hears(&unique("1555"), "2").await);
    let once = async |id: &str| {
        let body = json!({"conversation_ids": [id], "action": {"type": "resolve"}});
        org.admin.post_once("/api/conversations/bulk", "key", body).await
    };
    for _ in 0..2 {
        once(&one).await.is(200);
    }
    once(&other).await.refused(409, "idempotency_key_reused");
    let head = org.admin.get(&format!("/api/conversations/{other}")).await.is(200);
    assert_eq!(head["status"], "open");
}

#[tokio::test]
async fn bulk_actions_count_what_changed_and_skip_what_is_unknown_or_not_to_be_seen() {
    let (org, other) = (Org::found().await, Org::found().await);
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let (hers, nobodys) = (a_conversation(&org).await, a_conversation(&org).await);
    let foreign = a_conversation(&other).await;
    assign(&org, &hers, &ana).await;
    let nil = uuid::Uuid::nil().to_string();
    let all = [hers.as_str(), &nobodys, &foreign, &nil, "no-id", &nobodys];
    let add = json!({"type": "add_tags", "tags": ["vip", "late"]});
    assert_eq!(bulk(&bea, &all, add.clone()).await, 1);
    assert_eq!(bulk(&ana, &all, add).await, 1);
    let remove = json!({"type": "remove_tags", "tags": ["vip", "other"]});
    assert_eq!(bulk(&org.admin, &all, remove).await, 2);
    for id in [&hers, &nobodys] {
        assert_eq!(org.admin.get(&at(id)).await.is(200)["tags"], json!(["late"]));
    }
    assert_eq!(bulk(&org.admin, &all, json!({"type": "resolve"})).await, 2);
    assert_eq!(bulk(&org.admin, &all, json!({"type": "resolve"})).await, 0);
    assert_eq!(bulk(&org.admin, &all, json!({"type": "reopen"})).await, 2);
    let unassign = json!({"type": "assign", "agent_id": null});
    assert_eq!(bulk(&org.admin, &all, unassign).await, 1);
    let to_bea = json!({"type": "assign", "agent_id": bea.id});
    assert_eq!(bulk(&org.admin, &all, to_bea).await, 2);
    assert_eq!(other.admin.get(&at(&foreign)).await.is(200)["tags"], json!([]));
}

#[tokio::test]
async fn a_bulk_assignment_needs_the_right_to_assign_and_an_agent_of_ours() {
    let (org, other) = (Org::found().await, Org::found().await);
    let ana = org.hire("agent").await;
    let id = a_conversation(&org).await;
    let body = |agent: Value| json!({"conversation_ids": [id], "action": {"type": "assign", "agent_id": agent}});
    let path = "/api/conversations/bulk";
    ana.post(path, body(json!(ana.id))).await.refused(403, "forbidden");
    let foreign = org.admin.post(path, body(json!(other.admin.id))).await;
    assert_eq!(foreign.invalid(), ["action.agent_id"]);
}

#[tokio::test]
async fn what_is_no_bulk_action_names_its_field() {
    let org = Org::found().await;
    let id = uuid::Uuid::nil().to_string();
    let many: Vec<_> = (0..101).map(|_| &id).collect();
    let resolve = json!({"type": "resolve"});
    for (ids, action, field) in [
        (json!([]), resolve.clone(), "conversation_ids"),
        (json!(many), resolve.clone(), "conversation_ids"),
        (json!([1]), resolve, "conversation_ids[0]"),
        (json!([id]), json!({"type": "burn"}), "action.type"),
        (json!([id]), json!({}), "action.type"),
        (json!([id]), json!({"type": "add_tags"}), "action.tags"),
        (json!([id]), json!({"type": "add_tags", "tags": [""]}), "action.tags"),
        (json!([id]), json!({"type": "remove_tags", "tags": "x"}), "action"),
        (json!([id]), json!({"type": "resolve", "zzz": 1}), "action.zzz"),
    ] {
        let body = json!({"conversation_ids": ids, "action": action});
        let answer = org.admin.post("/api/conversations/bulk", body.clone()).await;
        assert_eq!(answer.invalid(), [field], "{body}");
    }
}

#[tokio::test]
async fn actions_answer_what_they_did_and_to_which() {
    let org = Org::found().await;
    let id = a_conversation(&org).await;
    let answer = set_status(&org, &id, "pending").await;
    assert_eq!(answer["conversation_id"], json!(id));
    assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()));
}

/// Whoever repeats what was lost on the way does not undo what others did meanwhile.
#[tokio::test]
async fn an_action_with_an_idempotency_key_is_done_once_and_takes_no_other_body() {
    let org = Org::found().await;
    let ana = org.hire("agent").await;
    for (path, one, other) in [
        ("assign", json!({"agent_id": ana.id}), json!({"agent_id": null})),
        ("status", json!({"status": "pending"}), json!({"status": "open"})),
        ("tags", json!({"tags": ["vip"]}), json!({"tags": []})),
    ] {
        let id = a_conversation(&org).await;
        let path = format!("{}/{path}", at(&id));
        let once = async |key: &str, body: &Value| {
            org.admin.once(Method::PATCH, &path, key, body.clone()).await
        };
        once("k1", &one).await.is(200);
        once("k2", &other).await.is(200);
        let before = org.admin.get(&at(&id)).await.is(200);
        once("k1", &one).await.is(200);
        assert_eq!(org.admin.get(&at(&id)).await.is(200), before, "{path}");
        once("k1", &other).await.refused(409, "idempotency_key_reused");
        once("k3", &one).await.is(200);
        assert_ne!(org.admin.get(&at(&id)).await.is(200), before, "{path}");
    }
}

#[tokio::test]
async fn a_bulk_action_with_an_idempotency_key_is_done_once_and_counts_the_same() {
    let org = Org::found().await;
    let id = a_conversation(&org).await;
    let once = async |key: &str, action: &str| {
        let body = json!({"conversation_ids": [id], "action": {"type": action}});
        org.admin.post_once("/api/conversations/bulk", key, body).await
    };
    assert_eq!(once("k1", "resolve").await.is(200)["affected_count"], 1);
    assert_eq!(once("k2", "reopen").await.is(200)["affected_count"], 1);
    assert_eq!(once("k1", "resolve").await.is(200)["affected_count"], 1);
    assert_eq!(org.admin.get(&at(&id)).await.is(200)["status"], "open");
    once("k1", "reopen").await.refused(409, "idempotency_key_reused");
    let twice =
        json!({"conversation_ids": [id, id, id.to_uppercase()], "action": {"type": "resolve"}});
    let counted = org.admin.post_once("/api/conversations/bulk", "k3", twice).await.is(200);
    assert_eq!(counted["affected_count"], 1, "what is named again is the same one");
}
