//! Channel accounts: connecting them, their secrets, whose a number is.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::GraphOptions;

use crate::harness::{Org, SECRET, Server, account, graph, unique};

const ALL: &str = "/api/integrations/accounts";

fn at(id: &str) -> String {
    format!("{ALL}/{id}")
}

#[tokio::test]
async fn a_connected_account_shows_no_secret() {
    let org = Org::found().await;
    let mut draft = account(&unique("8"), "hush");
    draft["config"]["pin"] = json!("123456");
    draft["config"]["verify_token"] = json!("hush");
    let made = org.admin.post(ALL, draft.clone()).await.is(201);
    assert_eq!(made["account_key"], draft["config"]["phone_number_id"]);
    assert_eq!((&made["status"], &made["is_active"]), (&json!("connected"), &json!(true)));
    assert!(made["webhook_url"].as_str().unwrap().ends_with("/webhook"));
    assert_eq!(made["config"]["waba_id"], "1");
    for secret in ["access_token", "app_secret", "verify_token", "pin"] {
        assert_eq!(made["config"][secret], "********", "{secret}");
    }
    let path = at(made["id"].as_str().unwrap());
    assert_eq!(org.admin.get(&path).await.is(200), made);
    assert!(org.admin.get(ALL).await.is(200).as_array().unwrap().contains(&made));
}

#[tokio::test]
async fn a_secret_that_is_sent_back_masked_stays_and_a_null_removes_it() {
    let org = Org::found().await;
    let shown = org.admin.get(&at(&org.account)).await.is(200);
    let renamed = json!({"display_name": "Shop", "config": shown["config"]});
    let after = org.admin.patch(&at(&org.account), renamed).await.is(200);
    assert_eq!((&after["display_name"], &after["status"]), (&json!("Shop"), &json!("connected")));
    org.hears(&unique("1555"), "Signed with the old secret").await;
    let removed = json!({"config": {"app_secret": null}});
    let after = org.admin.patch(&at(&org.account), removed).await.is(200);
    assert!(after["config"].get("app_secret").is_none());
    let webhook = org.text(&unique("wamid."), &unique("1555"), "Hello");
    org.deliver(&webhook).await.refused(401, "bad_signature");
}

#[tokio::test]
async fn the_first_account_of_a_channel_is_its_default_until_another_is_made_it() {
    let org = Org::found().await;
    let defaults = async || {
        let all = org.admin.get(ALL).await.is(200);
        let all = all.as_array().unwrap().iter().filter(|one| one["is_default"] == true);
        all.map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let second = org.connect(&unique("8")).await;
    assert_eq!(defaults().await, [org.account.as_str()]);
    for _ in 0..2 {
        let path = format!("{}/default", at(&second));
        assert_eq!(org.admin.post(&path, json!(null)).await.is(200)["is_default"], true);
        assert_eq!(defaults().await, [second.as_str()]);
    }
    let mut third = account(&unique("8"), SECRET);
    third["is_default"] = json!(true);
    let third = org.admin.post(ALL, third).await.is(201)["id"].take();
    assert_eq!(json!(defaults().await), json!([third]));
}

#[tokio::test]
async fn a_number_is_one_account_s_in_the_whole_installation() {
    let (org, other) = (Org::found().await, Org::found().await);
    for admin in [&org.admin, &other.admin] {
        let again = admin.post(ALL, account(&org.number, SECRET)).await;
        again.refused(409, "account_key_in_use");
    }
    let mut all = tokio::task::JoinSet::new();
    let number = unique("8");
    for admin in [&org.admin, &other.admin, &org.admin, &other.admin, &org.admin, &other.admin] {
        let (admin, draft) = (admin.clone(), account(&number, SECRET));
        all.spawn(async move { admin.post(ALL, draft).await.status });
    }
    let mut statuses = all.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_number_that_moves_to_another_organization_is_heard_there_from_its_first_message() {
    let server = Server::shared().await;
    let (org, mut other) = (Org::on(&server).await, Org::with_secret(&server, "other").await);
    org.hears(&unique("1555"), "Hello").await;
    org.admin.delete(&at(&org.account)).await.is(200);
    other.number = org.number.clone();
    other.connect(&other.number).await;
    let phone = unique("1555");
    other.hears(&phone, "Hello").await;
    let webhook = org.text(&unique("wamid."), &phone, "Signed with the old secret");
    org.deliver(&webhook).await.refused(401, "bad_signature");
}

#[tokio::test]
async fn what_the_provider_refuses_is_saved_and_wants_attention_until_it_is_mended() {
    let strict = GraphOptions { access_token: Some("good".to_owned()), ..graph() };
    let server = Server::beside(strict, |_| {}).await;
    let org = Org::on(&server).await;
    let refused = org.admin.get(&at(&org.account)).await.is(200);
    assert_eq!(refused["status"], "attention");
    let detail = refused["status_detail"].as_str().unwrap();
    assert!(detail.starts_with("190: The access token"), "{detail}");
    let id = org.hears(&unique("1555"), "Hello").await;
    let path = format!("/api/conversations/{id}/messages");
    org.admin.post(&path, json!({"text": "Hi"})).await.refused(409, "account_inactive");
    let mended = json!({"config": {"access_token": "good"}});
    let mended = org.admin.patch(&at(&org.account), mended).await.is(200);
    assert_eq!((&mended["status"], mended.get("status_detail")), (&json!("connected"), None));
    org.admin.post(&path, json!({"text": "Hi"})).await.is(201);
}

#[tokio::test]
async fn what_cannot_be_asked_of_the_provider_is_saved_and_what_is_sent_waits() {
    // Nobody listens there.
    let nowhere = "http://127.0.0.1:9";
    let server = Server::start(|config| config.meta.graph_url = nowhere.to_owned()).await;
    let org = Org::on(&server).await;
    let unreached = org.admin.get(&at(&org.account)).await.is(200);
    assert_eq!(unreached["status"], "attention");
    assert_eq!(unreached["status_detail"], "the provider cannot be reached");
    let id = org.hears(&unique("1555"), "Hello").await;
    let path = format!("/api/conversations/{id}/messages");
    org.admin.post(&path, json!({"text": "Hi"})).await.is(201);
}

#[tokio::test]
async fn what_is_no_account_names_its_field() {
    let org = Org::found().await;
    let good = account(&unique("8"), SECRET);
    for (pointer, value, field) in [
        ("/channel", json!("fax"), "channel"),
        ("/channel", json!("email"), "config.access_token"),
        ("/config/phone_number_id", json!("+1 555"), "config.phone_number_id"),
        ("/config/phone_number_id", json!(7), "config.phone_number_id"),
        ("/config/waba_id", json!(""), "config.waba_id"),
        ("/config/access_token", json!(null), "config.access_token"),
        ("/config/access_token", json!("a\ntoken"), "config.access_token"),
        ("/config/app_secret", json!("x".repeat(2049)), "config.app_secret"),
    ] {
        let mut draft = good.clone();
        *draft.pointer_mut(pointer).unwrap() = value;
        assert_eq!(org.admin.post(ALL, draft).await.invalid(), [field]);
    }
    for key in ["phone_number_id", "waba_id", "access_token"] {
        let mut draft = good.clone();
        draft["config"].as_object_mut().unwrap().remove(key);
        assert_eq!(org.admin.post(ALL, draft).await.invalid(), [format!("config.{key}")]);
    }
    for (field, value, wrong) in [
        ("account_key", json!("1"), "account_key"),
        ("display_name", json!(" "), "display_name"),
        ("division_id", json!("x"), "division_id"),
    ] {
        let mut draft = good.clone();
        draft[field] = value;
        assert_eq!(org.admin.post(ALL, draft).await.invalid(), [wrong]);
    }
    let mut draft = good;
    draft["config"]["colour"] = json!("red");
    assert_eq!(org.admin.post(ALL, draft).await.invalid(), ["config.colour"]);
    for (patch, field) in [
        (json!({"display_name": ""}), "display_name"),
        (json!({"display_name": null}), "display_name"),
        (json!({"is_active": null}), "is_active"),
        (json!({"config": null}), "config"),
        (json!({"config": {"send_read_marks": "no"}}), "config.send_read_marks"),
        (json!({"config": {"phone_number_id": "1"}}), "config.phone_number_id"),
        (json!({"config": {"access_token": null}}), "config.access_token"),
    ] {
        let answer = org.admin.patch(&at(&org.account), patch).await;
        assert_eq!(answer.invalid(), [field]);
    }
}

#[tokio::test]
async fn a_list_may_be_of_one_channel() {
    let org = Org::found().await;
    let of = async |query: &str| org.admin.get(&format!("{ALL}?{query}")).await;
    assert_eq!(of("channel=whatsapp").await.is(200).as_array().unwrap().len(), 1);
    assert_eq!(of("channel=email").await.is(200), json!([]));
    assert_eq!(of("channel=fax").await.invalid(), ["channel"]);
}

#[tokio::test]
async fn an_idempotency_key_connects_once_and_takes_no_other_body() {
    let org = Org::found().await;
    let (key, draft) = (unique("key"), account(&unique("8"), SECRET));
    let made = org.admin.post_once(ALL, &key, draft.clone()).await.is(201);
    assert_eq!(org.admin.post_once(ALL, &key, draft).await.is(201), made);
    let other = org.admin.post_once(ALL, &key, account(&unique("8"), SECRET)).await;
    other.refused(409, "idempotency_key_reused");
    let path = at(made["id"].as_str().unwrap());
    for _ in 0..2 {
        org.admin.once(Method::DELETE, &path, &key, json!(null)).await.is(200);
    }
    org.admin.delete(&path).await.refused(404, "not_found");
    let all = org.admin.get(ALL).await.is(200);
    let keys: Vec<&Value> = all.as_array().unwrap().iter().map(|one| &one["account_key"]).collect();
    assert_eq!(keys, [&json!(org.number)]);
}
