//! Accounts that are connected already and whose people log in again, and access tokens that are
//! renewed by themselves.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Login, Plan, Trouble};

use crate::harness::{Org, Server, eventually, unique};
use crate::logins::{GRAM, PAGES, SIGNUP, accounts, alone, gram, log_in, signup, state, with};

const ALL: &str = "/api/integrations/accounts";
const SUBSCRIBE: &str = "/api/integrations/messenger/pages/subscribe";
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

fn at(account: &Value) -> String {
    format!("{ALL}/{}", account["id"].as_str().unwrap())
}

fn asked(server: &Server, path: &str) -> usize {
    server.graph.requests().iter().filter(|one| one.path.contains(path)).count()
}

fn slow(id: &str, trouble: Trouble) -> Plan {
    Plan { id: Some(id.to_owned()), edge: Some(String::new()), times: 1, trouble }
}

#[tokio::test]
async fn a_login_is_taken_whatever_else_is_changed_of_its_account_meanwhile() {
    let (server, org) = alone().await;
    let id = unique("17");
    let made = log_in(&org, &org.admin, GRAM, gram(&id)).await.is(201);
    server.graph.plan(slow(&id, Trouble::Slow { ms: 4_000 }));
    let begun = state(&org.admin, GRAM).await;
    let body =
        json!({"code": server.graph.log_in(gram(&id), Some(crate::logins::BACK)), "state": begun});
    let (admin, before) = (org.admin.clone(), asked(&server, "/me?"));
    let logs_in = tokio::spawn(async move { admin.post(GRAM, body).await });
    eventually(async || (asked(&server, "/me?") > before).then_some(())).await;
    org.admin.patch(&at(&made), json!({"display_name": "Front desk"})).await.is(200);
    let renewed = logs_in.await.unwrap().is(201);
    assert_eq!((&renewed["id"], &renewed["status"]), (&made["id"], &json!("connected")));
    assert_eq!(renewed["display_name"], "Front desk");
}

#[tokio::test]
async fn a_login_that_is_repeated_with_its_key_finds_the_account_that_it_renewed() {
    let (server, org) = alone().await;
    let (number, key) = (unique("8"), unique("once"));
    let begin = async || {
        let code = server.graph.log_in(Login::Business, None);
        signup(&number, &code, &state(&org.admin, SIGNUP).await)
    };
    let made = org.admin.post(SIGNUP, begin().await).await.is(201);
    let body = begin().await;
    let again = org.admin.post_once(SIGNUP, &key, body.clone()).await.is(201);
    assert_eq!(again["id"], made["id"]);
    assert_eq!(org.admin.post_once(SIGNUP, &key, body.clone()).await.is(201), again);
    let mut other = body;
    other["display_name"] = json!("Other");
    org.admin.post_once(SIGNUP, &key, other).await.refused(409, "idempotency_key_reused");
}

#[tokio::test]
async fn a_login_keeps_the_name_that_people_gave_and_makes_its_account_the_default_if_asked() {
    let (_, org) = alone().await;
    let (id, other) = (unique("50"), unique("50"));
    let page = |id: &String| (id.clone(), "Shop".to_owned());
    log_in(&org, &org.admin, PAGES, Login::Pages(vec![page(&id), page(&other)])).await.is(200);
    let chosen = json!({"page_ids": [id]});
    let made = org.admin.post(SUBSCRIBE, chosen.clone()).await.is(200)["accounts"][0].take();
    assert_eq!(made["display_name"], "Shop");
    org.admin.patch(&at(&made), json!({"display_name": "Front desk"})).await.is(200);
    let again = org.admin.post(SUBSCRIBE, chosen).await.is(200)["accounts"][0].take();
    assert_eq!((&again["id"], &again["display_name"]), (&made["id"], &json!("Front desk")));
    let grams = [unique("17"), unique("17")];
    for id in &grams {
        log_in(&org, &org.admin, GRAM, gram(id)).await.is(201);
    }
    let code = org.server.graph.log_in(gram(&grams[1]), Some(crate::logins::BACK));
    let mut body = json!({"code": code, "state": state(&org.admin, GRAM).await});
    (body["is_default"], body["display_name"]) = (json!(true), json!("Jam"));
    let renewed = org.admin.post(GRAM, body).await.is(201);
    assert_eq!((&renewed["is_default"], &renewed["display_name"]), (&json!(true), &json!("Jam")));
    let all = accounts(&org, "instagram").await;
    assert_eq!(all.iter().filter(|one| one["is_default"] == true).count(), 1);
}

#[tokio::test]
async fn a_channel_whose_default_leaves_has_another_one() {
    let org = Org::found().await;
    let connect = async || {
        let config = json!({"page_id": unique("50"), "access_token": "a token"});
        let draft = json!({"channel": "messenger", "config": config});
        org.admin.post(ALL, draft).await.is(201)
    };
    let all = [connect().await, connect().await, connect().await];
    for left in 0..2 {
        let leaves = json!({"page_id": all[left]["account_key"]});
        org.admin.post("/api/integrations/messenger/pages/disconnect", leaves).await.is(200);
        assert_eq!(org.admin.get(&at(&all[left + 1])).await.is(200)["is_default"], true);
    }
    org.admin.delete(&at(&all[2])).await.is(200);
    assert_eq!(accounts(&org, "messenger").await.len(), 0);
}

#[tokio::test]
async fn a_token_that_ends_soon_is_renewed_by_a_start_that_nobody_asks_anything() {
    let (server, org) = with(|config| config.limits.token_warning = YEAR).await;
    let made = log_in(&org, &org.admin, GRAM, gram(&unique("17"))).await.is(201);
    let renewals = || asked(&server, "/refresh_access_token");
    let before = renewals();
    server.restart().await;
    eventually(async || (renewals() > before).then_some(())).await;
    let later = async || {
        let shown = org.admin.get(&at(&made)).await.is(200);
        (shown["token_expires_at"].as_str() > made["token_expires_at"].as_str()).then_some(())
    };
    eventually(later).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_what_is_done_by_the_hour() {
    let (server, org) = with(|config| config.limits.token_warning = YEAR).await;
    log_in(&org, &org.admin, GRAM, gram(&unique("17"))).await.is(201);
    let renewals = || asked(&server, "/refresh_access_token");
    let before = renewals();
    server.graph.plan(slow("refresh_access_token", Trouble::HangAfter));
    server.restart().await;
    eventually(async || (renewals() > before).then_some(())).await;
    assert!(server.restart().await, "everything was finished in time");
}
