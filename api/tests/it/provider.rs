//! What customers do and what goes wrong between the provider and us, by the simulator: everything
//! once, and nothing that was not so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use simulator::{Act, Batch, Faults, GraphOptions, Plan, Trouble, Who};

use crate::harness::{Org, Server, eventually, graph, unique};

async fn beside(options: GraphOptions) -> (Arc<Server>, Org) {
    let server = Server::beside(options, |_| {}).await;
    let org = Org::on(&server).await;
    (server, org)
}

fn says(text: &str) -> Act {
    Act::Text { text: text.to_owned(), quote: false }
}

/// All messages of the customer's one conversation.
async fn messages(org: &Org, phone: &str) -> Vec<Value> {
    let id = org.conversation(phone).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/conversations/{id}/messages?per_page=100");
    serde_json::from_value(org.admin.get(&path).await.is(200)).unwrap()
}

/// Answers a customer; the conversation's messages and the answer's id.
async fn answers(org: &Org, phone: &str) -> (String, Value) {
    let id = org.conversation(phone).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/conversations/{id}/messages");
    let sent = org.admin.post(&path, json!({"text": "Hi"})).await.is(201);
    (path, sent["id"].clone())
}

/// The answer once it has this status.
async fn becomes(org: &Org, (path, id): &(String, Value), status: &str) -> Value {
    eventually(async || {
        let all = org.admin.get(path).await.is(200);
        let all = all.as_array().unwrap().iter();
        all.into_iter().find(|one| one["id"] == *id && one["status"] == status).cloned()
    })
    .await
}

#[tokio::test]
async fn webhooks_that_come_twice_late_together_and_in_other_envelopes_make_everything_once() {
    let faults = Faults {
        repeats: 0.5,
        twice_in_one: 0.3,
        in_two_posts: 0.5,
        late: 0.5,
        late_by: Duration::from_millis(30),
        plain: 0.5,
        forged: 0.3,
        batch: Some(Batch { most: 20, within: Duration::from_millis(10) }),
    };
    let (server, org) = beside(GraphOptions { faults, ..graph() }).await;
    let script = [
        says("one"),
        Act::Album { photos: 20 },
        says("two"),
        Act::Edit { text: "three".into() },
        says("four"),
        Act::Delete,
    ];
    let phones: Vec<_> = (0..4).map(|_| unique("1555")).collect();
    let play = async |phone: &String| {
        let who = Who::with_phone(phone, "Ines");
        let customer = server.graph.customer(&org.number, &who).unwrap();
        customer.plays(&script).await.unwrap();
    };
    join_all(phones.iter().map(play)).await;
    for phone in &phones {
        let all = messages(&org, phone).await;
        let ids: BTreeSet<_> = all.iter().map(|it| it["provider_message_id"].as_str()).collect();
        assert_eq!((all.len(), ids.len()), (23, 23), "{phone}");
        let edited: Vec<_> = all.iter().filter(|it| !it["edited_at"].is_null()).collect();
        assert_eq!((edited.len(), &edited[0]["text"]), (1, &json!("three")), "{phone}");
        let deleted: Vec<_> = all.iter().filter(|it| !it["deleted_at"].is_null()).collect();
        assert_eq!((deleted.len(), &deleted[0]["text"]), (1, &Value::Null), "{phone}");
    }
    let tally = server.graph.tally();
    assert_eq!(tally.forged.keys().collect::<Vec<_>>(), [&401], "{tally}");
    assert_eq!(tally.answers.keys().collect::<Vec<_>>(), [&200], "{tally}");
}

#[tokio::test]
async fn five_photos_at_once_from_somebody_new_are_one_contact_and_one_conversation() {
    let (server, org) = beside(graph()).await;
    let phone = unique("1555");
    let customer = server.graph.customer(&org.number, &Who::with_phone(&*phone, "Ines")).unwrap();
    let ids = customer.does(Act::Album { photos: 5 }).await.unwrap();
    let all = messages(&org, &phone).await;
    let came: BTreeSet<_> =
        all.iter().map(|it| it["provider_message_id"].as_str().unwrap()).collect();
    assert_eq!(came, ids.iter().map(String::as_str).collect());
    assert!(all.iter().all(|it| it["kind"] == "image"));
    assert_eq!(org.admin.get("/api/contacts").await.is(200).as_array().unwrap().len(), 1);
    assert_eq!(org.conversation(&phone).await["unread_count"], 5);
}

#[tokio::test]
async fn a_connection_that_breaks_is_no_reason_to_send_again() {
    let (server, org) = beside(graph()).await;
    for (trouble, status, taken) in [
        (Trouble::ResetBefore, "unknown", 0),
        (Trouble::ResetAfter, "read", 1),
        (Trouble::Truncated, "read", 1),
    ] {
        let phone = unique("1555");
        org.hears(&phone, "Hello").await;
        server.graph.plan(Plan::next_sends(1, trouble));
        let answer = answers(&org, &phone).await;
        becomes(&org, &answer, status).await;
        assert_eq!(server.graph.sends().to(&phone).count(), taken, "{trouble:?}");
    }
    let posts =
        server.graph.requests().into_iter().filter(|request| request.path.ends_with("/messages"));
    assert_eq!(posts.count(), 3);
}

#[tokio::test]
async fn a_window_that_is_closed_at_the_provider_fails_the_message_until_the_customer_writes_again()
{
    let (server, org) = beside(graph()).await;
    let phone = unique("1555");
    let customer = server.graph.customer(&org.number, &Who::with_phone(&*phone, "Ines")).unwrap();
    customer.does(says("Hello")).await.unwrap();
    server.graph.advance(Duration::from_hours(24));
    let failed = becomes(&org, &answers(&org, &phone).await, "failed").await;
    assert_eq!(failed["error"]["code"], "131047");
    customer.does(says("Still there?")).await.unwrap();
    becomes(&org, &answers(&org, &phone).await, "read").await;
}

#[tokio::test]
async fn whoever_gets_another_user_id_or_number_stays_one_contact_in_whichever_order_it_is_told() {
    let (server, org) = beside(graph()).await;
    let contacts = async || {
        let all = org.admin.get("/api/contacts?per_page=100").await.is(200);
        all.as_array().unwrap().len()
    };
    let ines = Who::with_username("ines", "Ines");
    let customer = server.graph.customer(&org.number, &ines).unwrap();
    let script = [
        says("one"),
        Act::ChangeUserId { update_first: true },
        says("two"),
        Act::ChangeUserId { update_first: false },
        says("three"),
    ];
    customer.plays(&script).await.unwrap();
    assert_eq!(contacts().await, 1);

    let phone = unique("1555");
    let who = Who::with_phone(&*phone, "Max").and_user_id();
    let customer = server.graph.customer(&org.number, &who).unwrap();
    let script = [says("one"), Act::ChangeNumber { to: unique("1555") }, says("two")];
    customer.plays(&script).await.unwrap();
    assert_eq!(contacts().await, 2);
    let all = org.admin.get("/api/conversations?per_page=100").await.is(200);
    let mut unread: Vec<_> = all.as_array().unwrap().iter().map(|it| &it["unread_count"]).collect();
    unread.sort_by_key(|count| count.as_u64());
    assert_eq!(unread, [2, 3], "{all}");
}
