//! Who customers of Messenger and Instagram are: asked behind their first message, shown and told live.

use std::sync::Arc;
use std::time::Duration;

use config::Config;
use serde_json::{Value, json};
use simulator::{Object, Plan, Trouble};

use crate::harness::{Org, SECRET, Server, eventually, graph, unique};
use crate::live::Live;
use crate::pages::Page;

async fn page(
    channel: &'static str,
    differ: impl FnOnce(&mut Config),
) -> (Arc<Server>, Page, simulator::Page) {
    let server = Server::beside(graph(), |config| {
        config.limits.profile_ladder = vec![Duration::from_millis(10)];
        config.limits.profile_every = Duration::from_millis(1);
        differ(config);
    });
    let server = server.await;
    let org = Org::on(&server).await;
    let page = Page::of(org, channel, json!({"app_secret": SECRET})).await;
    let object = if channel == "messenger" { Object::Page } else { Object::Instagram };
    let theirs = simulator::Page::new(object, &*page.key);
    (server, page, theirs)
}

async fn contact(page: &Page) -> Value {
    let row = page.conversation().await;
    let path = format!("/api/contacts/{}", row["contact_id"].as_str().unwrap());
    page.org.admin.get(&path).await.is(200)
}

/// How often somebody was asked for.
fn asked(server: &Server, person: &str) -> usize {
    let all = server.graph.requests();
    all.iter().filter(|one| one.path.contains(&format!("/{person}?fields="))).count()
}

fn fails(person: &str, times: u32, trouble: Trouble) -> Plan {
    Plan { trouble, times, id: Some(person.to_owned()), edge: Some(String::new()) }
}

#[tokio::test]
async fn a_customer_is_named_behind_their_first_message_and_that_is_told_live() {
    for channel in ["messenger", "instagram"] {
        let (server, page, theirs) = page(channel, |_| {}).await;
        server.graph.set_name(&page.person, Some("Noor A."));
        let mut live = Live::following(&page.org.admin, &["i:all"]).await;
        assert!(server.graph.write_to(&theirs, &page.person, "Hello").await);
        loop {
            let told = live.event("i:all", "conversation.upsert").await;
            if told["contact_name"] == "Noor A." {
                break;
            }
        }
        assert_eq!(contact(&page).await["name"], "Noor A.");
        server.graph.write_to(&theirs, &page.person, "Hello?").await;
        assert_eq!(page.conversation().await["contact_name"], "Noor A.");
        assert_eq!(asked(&server, &page.person), 1);
        // What people call them stands above it.
        let path = format!("/api/contacts/{}", contact(&page).await["id"].as_str().unwrap());
        page.org.admin.patch(&path, json!({"name": "Noor"})).await.is(200);
        server.restart().await;
        server.graph.write_to(&theirs, &page.person, "Still here").await;
        assert_eq!(
            (&contact(&page).await["name"], asked(&server, &page.person)),
            (&json!("Noor"), 1)
        );
    }
}

#[tokio::test]
async fn who_has_not_agreed_stays_without_a_name_and_is_not_asked_for_again() {
    let (server, page, theirs) = page("messenger", |_| {}).await;
    server.graph.set_name(&page.person, None);
    for _ in 0..3 {
        server.graph.write_to(&theirs, &page.person, "Hello").await;
    }
    eventually(async || (asked(&server, &page.person) == 1).then_some(())).await;
    page.says(json!({"text": "Hello whoever you are"})).await.is(201);
    eventually(async || {
        let last = page.reads().await.pop().unwrap();
        (last["status"] == "read").then_some(())
    })
    .await;
    assert_eq!(asked(&server, &page.person), 1);
    assert!(contact(&page).await.get("name").is_none());
    let path = format!("/api/contacts/{}", contact(&page).await["id"].as_str().unwrap());
    assert_eq!(page.org.admin.patch(&path, json!({"name": "Noor"})).await.is(200)["name"], "Noor");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_given_up_until_they_write_again() {
    let (server, page, theirs) = page("instagram", |_| {}).await;
    server.graph.set_name(&page.person, Some("Noor"));
    server.graph.plan(fails(&page.person, 1, Trouble::ResetBefore));
    server.graph.write_to(&theirs, &page.person, "Hello").await;
    eventually(async || (contact(&page).await["name"] == "Noor").then_some(())).await;
    assert_eq!(asked(&server, &page.person), 2);
    let other = Page { person: unique("81"), ..page };
    server.graph.set_name(&other.person, Some("Ada"));
    server.graph.plan(fails(&other.person, 2, Trouble::Error { code: 2 }));
    server.graph.write_to(&theirs, &other.person, "Hello").await;
    eventually(async || (asked(&server, &other.person) == 2).then_some(())).await;
    server.graph.write_to(&theirs, &other.person, "Hello?").await;
    eventually(async || {
        let all = other.org.admin.get("/api/contacts?search=Ada").await.is(200);
        (all.as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    assert_eq!(asked(&server, &other.person), 3);
}

#[tokio::test]
async fn beyond_what_may_wait_nobody_is_asked_for_until_they_write_again() {
    let (server, page, theirs) =
        page("messenger", |config| config.limits.profiles_waiting = 1).await;
    let people: Vec<_> = (0..2).map(|_| unique("81")).collect();
    for person in &people {
        server.graph.set_name(person, Some("Somebody"));
    }
    server.graph.plan(fails(&people[0], 1, Trouble::Slow { ms: 2_000 }));
    for person in &people {
        server.graph.write_to(&theirs, person, "Hello").await;
    }
    eventually(async || (asked(&server, &people[0]) == 1).then_some(())).await;
    assert_eq!(asked(&server, &people[1]), 0);
    drop(page);
}
