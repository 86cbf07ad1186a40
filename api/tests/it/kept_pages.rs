//! Pages of messages that are kept as they were sent: nobody can tell.

use std::sync::atomic::{AtomicU64, Ordering};

use actors::pages::Asked;
use engine::id::{AgentId, ConversationId};
use engine::permission::{Permissions, Viewer};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::caller::{Answer, Caller};
use crate::harness::{Org, Server, eventually, unique};

fn at(id: &str) -> String {
    format!("/api/conversations/{id}/messages")
}

/// Whether the page that is asked for without a word is kept.
async fn is_kept(org: &Org, id: &str) -> bool {
    let asked = Asked { before: u64::MAX, after: 0, skip: 0, limit: 20 };
    let (agent, permissions) = (AgentId(Uuid::nil()), Permissions::all());
    let viewer = Viewer { tenant: org.tenant(), agent, permissions };
    let id = ConversationId(id.parse().unwrap());
    let app = org.server.app();
    app.desk.pages().get(viewer, id, asked, async || Err(())).await.is_ok()
}

/// Asks for the page twice, until it is kept; it is the same as one that nobody asked for before.
async fn page(org: &Org, id: &str) -> Value {
    static ASKED: AtomicU64 = AtomicU64::new(1 << 40);
    let path = at(id);
    let new = async || {
        let before = ASKED.fetch_add(1, Ordering::SeqCst);
        org.admin.get(&format!("{path}?before_seq={before}")).await
    };
    let told = |answer: &Answer| {
        let headers = ["content-type", "content-length", "x-total-count", "cache-control"];
        let headers = headers.map(|name| answer.headers[name].to_str().unwrap().to_owned());
        (answer.status, answer.text.clone(), headers)
    };
    eventually(async || {
        let first = new().await;
        let known = [org.admin.get(&path).await, org.admin.get(&path).await];
        let last = new().await;
        // A message that is being sent gets on by itself, and what its sending still writes
        // when it is read already drives out the page once more.
        if told(&first) != told(&last) {
            return None;
        }
        known.iter().for_each(|known| assert_eq!(told(known), told(&last)));
        is_kept(org, id).await.then(|| last.is(200))
    })
    .await
}

#[tokio::test]
async fn whatever_changes_a_message_is_on_the_next_page() {
    let org = Org::found().await;
    let (phone, first) = (unique("1555"), unique("wamid."));
    org.gets(&first, &phone, "text", json!({"body": "the blue one?"})).await;
    let id = org.conversation(&phone).await["id"].as_str().unwrap().to_owned();
    assert_eq!(page(&org, &id).await[0]["text"], "the blue one?");
    org.hears(&phone, "Hello?").await;
    assert_eq!(page(&org, &id).await[0]["text"], "Hello?");
    let love = json!({"message_id": first, "emoji": "👍"});
    org.gets(&unique("wamid."), &phone, "reaction", love).await;
    assert_eq!(page(&org, &id).await[1]["reactions"][0]["emoji"], "👍");
    let red = json!({"type": "text", "text": {"body": "the red one?"}});
    let edit = json!({"original_message_id": first, "message": red});
    org.gets(&unique("wamid."), &phone, "edit", edit).await;
    assert_eq!(page(&org, &id).await[1]["text"], "the red one?");
    org.gets(&unique("wamid."), &phone, "revoke", json!({"original_message_id": first})).await;
    let shown = page(&org, &id).await;
    assert!(shown[1]["deleted_at"].is_string() && !shown.to_string().contains("one?"));
    let sent = org.admin.post(&at(&id), json!({"text": "Here."})).await.is(201);
    assert_eq!(org.admin.get(&at(&id)).await.is(200)[0]["id"], sent["id"]);
    // As far as it gets: each step is on a page that nobody had before.
    eventually(async || {
        let shown = org.admin.get(&at(&id)).await.is(200);
        (shown[0]["status"] == "read").then_some(())
    })
    .await;
    assert_eq!(page(&org, &id).await[0]["status"], "read");
}

#[tokio::test]
async fn a_page_is_shown_to_whoever_may_see_its_conversation_now() {
    let (org, other) = (Org::found().await, Org::found().await);
    let (ana, bea) = (org.hire("agent").await, org.hire("agent").await);
    let id = org.hears(&unique("1555"), "Hello").await;
    let assign = async |to: Option<&Caller>| {
        let body = json!({"agent_id": to.map(|agent| &agent.id)});
        org.admin.patch(&format!("/api/conversations/{id}/assign"), body).await.is(200);
    };
    let see = async |all: &[&Caller], none: &[&Caller]| {
        let shown = page(&org, &id).await;
        for _ in 0..2 {
            for caller in all {
                assert_eq!(caller.get(&at(&id)).await.is(200), shown);
            }
            for caller in none {
                caller.get(&at(&id)).await.refused(404, "not_found");
            }
        }
        assert!(is_kept(&org, &id).await);
        org.admin.nobody().get(&at(&id)).await.refused(401, "unauthorized");
    };
    see(&[&ana, &bea], &[&other.admin]).await;
    assign(Some(&bea)).await;
    see(&[&bea], &[&ana, &other.admin]).await;
    assign(Some(&ana)).await;
    see(&[&ana], &[&bea, &other.admin]).await;
    org.admin.patch(&format!("/api/agents/{}", bea.id), json!({"role": "admin"})).await.is(200);
    see(&[&ana, &bea], &[&other.admin]).await;
    assign(None).await;
    see(&[&ana, &bea], &[&other.admin]).await;
}

#[tokio::test]
async fn nothing_is_kept_where_there_is_no_room_for_it() {
    let server = Server::start(|config| config.limits.page_cache_bytes = 0).await;
    let org = Org::on(&server).await;
    let id = org.hears(&unique("1555"), "Hello").await;
    for _ in 0..2 {
        assert_eq!(org.admin.get(&at(&id)).await.is(200)[0]["text"], "Hello");
    }
    assert!(!is_kept(&org, &id).await);
    assert_eq!(server.app().desk.pages().bytes(), 0);
}
