//! Channel integrations: what a channel's accounts have in common, and that it counts.

use serde_json::{Value, json};
use simulator::{bodies, sign};

use crate::caller::{Answer, Caller};
use crate::harness::{Org, SECRET, Server, unique};
use crate::live::Live;

const ALL: &str = "/api/integrations";
const WHATSAPP: &str = "/api/integrations/whatsapp";

async fn put(person: &Caller, body: Value) -> Answer {
    person.call(reqwest::Method::PUT, WHATSAPP, Some(&body)).await
}

/// Delivers a message, signed with this secret.
async fn deliver(org: &Org, secret: &str) -> Answer {
    let body = bodies::wire(&org.text(&unique("wamid."), &unique("1555"), "Hello"));
    let request = org.admin.nobody().request(reqwest::Method::POST, "/webhook");
    Answer::of(request.header("x-hub-signature-256", sign(secret, &body)).body(body)).await
}

async fn verify(org: &Org, token: &str) -> u16 {
    let query = format!("hub.mode=subscribe&hub.verify_token={token}&hub.challenge=17");
    org.admin.nobody().get(&format!("/webhook?{query}")).await.status
}

/// The account has no secret of its own any more.
async fn without_secret(org: &Org) {
    let none = json!({"config": {"app_secret": null}});
    org.admin.patch(&format!("{ALL}/accounts/{}", org.account), none).await.is(200);
}

#[tokio::test]
async fn a_channel_that_has_none_answers_an_empty_one_and_what_is_no_channel_is_not_found() {
    let org = Org::found().await;
    for channel in ["whatsapp", "instagram", "messenger", "email"] {
        let empty = org.admin.get(&format!("{ALL}/{channel}")).await.is(200);
        assert_eq!((&empty["channel"], &empty["config"]), (&json!(channel), &json!({})));
        assert_eq!((&empty["is_active"], empty.get("division_id")), (&json!(false), None));
        assert!(empty["id"].is_string() && empty["created_at"].is_string(), "{empty}");
    }
    assert_eq!(org.admin.get(ALL).await.is(200), json!([]));
    org.admin.delete(WHATSAPP).await.refused(404, "not_found");
    for path in ["fax", "WHATSAPP", "%00"] {
        org.admin.get(&format!("{ALL}/{path}")).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn what_is_put_is_merged_secrets_are_masked_and_a_mask_overwrites_nothing() {
    let org = Org::found().await;
    let blank = org.admin.get(WHATSAPP).await.is(200);
    let config = json!({"app_secret": "hush", "verify_token": unique("token")});
    let made = put(&org.admin, json!({"config": config})).await.is(200);
    assert_eq!((&made["id"], &made["is_active"]), (&blank["id"], &json!(true)));
    let masked = json!({"app_secret": "********", "verify_token": "********"});
    assert_eq!(made["config"], masked);
    assert_eq!(org.admin.get(ALL).await.is(200), json!([made]));
    let division = uuid::Uuid::nil();
    let sent_back = json!({
        "division_id": division, "config": {"app_secret": "********", "send_read_marks": false},
    });
    let merged = put(&org.admin, sent_back).await.is(200);
    assert_eq!(merged["config"]["verify_token"], "********");
    assert_eq!(merged["config"]["send_read_marks"], false);
    assert_eq!(merged["division_id"], json!(division));
    without_secret(&org).await;
    deliver(&org, "hush").await.is(200);
    let connected = org.connect(&unique("8")).await;
    let account = org.admin.get(&format!("{ALL}/accounts/{connected}")).await.is(200);
    assert_eq!(account["division_id"], json!(division), "it is that of new accounts");
    let cleared = json!({"division_id": null, "config": {"verify_token": null}});
    let cleared = put(&org.admin, cleared).await.is(200);
    assert_eq!((cleared.get("division_id"), cleared["config"].get("verify_token")), (None, None));
    let told = org.admin.get("/api/activity-logs?kind=channel_integration").await.is(200);
    assert_eq!(told.as_array().unwrap().len(), 3, "{told}");
    assert_eq!(told[2]["action"], "channel_integration.created");
    assert_eq!(told[2]["entity"]["name"], "whatsapp");
    assert!(!told.to_string().contains("hush"));
}

#[tokio::test]
async fn what_accounts_cannot_have_in_common_names_its_field() {
    let org = Org::found().await;
    for (body, field) in [
        (json!({"config": {"access_token": "x"}}), "config.access_token"),
        (json!({"config": {"zzz": "x"}}), "config.zzz"),
        (json!({"config": {"app_secret": ""}}), "config.app_secret"),
        (json!({"config": {"send_read_marks": "no"}}), "config.send_read_marks"),
        (json!({"config": null}), "config"),
        (json!({"is_active": null}), "is_active"),
        (json!({"channel": "email"}), "channel"),
    ] {
        assert_eq!(put(&org.admin, body).await.invalid(), [field]);
    }
    assert_eq!(org.admin.get(ALL).await.is(200), json!([]), "nothing was kept");
}

#[tokio::test]
async fn its_secret_proves_the_webhooks_of_accounts_that_have_none_of_their_own() {
    let server =
        Server::start(|config| config.meta.app_secret = Some("installation".to_owned().into()));
    let org = Org::on(&server.await).await;
    put(&org.admin, json!({"config": {"app_secret": "common"}})).await.is(200);
    deliver(&org, SECRET).await.is(200);
    deliver(&org, "common").await.refused(401, "bad_signature");
    without_secret(&org).await;
    deliver(&org, "common").await.is(200);
    deliver(&org, SECRET).await.refused(401, "bad_signature");
    // Where the channel has one, the installation's does not count.
    deliver(&org, "installation").await.refused(401, "bad_signature");
    org.server.restart().await;
    deliver(&org, "common").await.is(200);
    put(&org.admin, json!({"is_active": false})).await.is(200);
    deliver(&org, "common").await.refused(401, "bad_signature");
    deliver(&org, "installation").await.is(200);
    put(&org.admin, json!({"is_active": true})).await.is(200);
    deliver(&org, "common").await.is(200);
    org.admin.delete(WHATSAPP).await.is(200);
    deliver(&org, "common").await.refused(401, "bad_signature");
    deliver(&org, "installation").await.is(200);
}

#[tokio::test]
async fn a_number_seen_by_one_proof_is_not_known_by_another() {
    let org = Org::found().await;
    put(&org.admin, json!({"config": {"app_secret": "common"}})).await.is(200);
    without_secret(&org).await;
    let path = format!("{ALL}/accounts/{}", org.account);
    let seen = async || org.admin.get(&path).await.is(200).get("phone").is_some();
    let see = async || {
        let mut webhook = org.text(&unique("wamid."), &unique("1555"), "Hello");
        webhook["entry"][0]["id"] = json!("1");
        let body = bodies::wire(&webhook);
        let request = org.admin.nobody().request(reqwest::Method::POST, "/webhook");
        let signed = request.header("x-hub-signature-256", sign("common", &body));
        Answer::of(signed.body(body)).await.is(200);
    };
    see().await;
    assert!(seen().await);
    put(&org.admin, json!({"config": {"send_read_marks": true}})).await.is(200);
    assert!(seen().await, "the proof is the same");
    put(&org.admin, json!({"config": {"app_secret": "another"}})).await.is(200);
    assert!(!seen().await);
    put(&org.admin, json!({"config": {"app_secret": "common"}})).await.is(200);
    see().await;
    assert!(seen().await);
    org.admin.delete(WHATSAPP).await.is(200);
    assert!(!seen().await);
}

#[tokio::test]
async fn its_verify_token_is_answered_before_there_is_an_account_and_as_long_as_it_counts() {
    let (org, other) = (Org::found().await, Org::found().await);
    org.admin.delete(&format!("{ALL}/accounts/{}", org.account)).await.is(200);
    let token = unique("token");
    assert_eq!(verify(&org, &token).await, 403);
    for admin in [&org.admin, &other.admin] {
        put(admin, json!({"config": {"verify_token": token}})).await.is(200);
    }
    assert_eq!(verify(&org, &token).await, 200);
    put(&org.admin, json!({"is_active": false})).await.is(200);
    assert_eq!(verify(&org, &token).await, 200, "it is another organization's, too");
    other.admin.delete(WHATSAPP).await.is(200);
    assert_eq!(verify(&org, &token).await, 403);
    put(&org.admin, json!({"is_active": true})).await.is(200);
    assert_eq!(verify(&org, &token).await, 200);
    put(&org.admin, json!({"config": {"verify_token": unique("token")}})).await.is(200);
    assert_eq!(verify(&org, &token).await, 403);
}

#[tokio::test]
async fn an_organization_sees_and_changes_only_its_own() {
    let (org, other) = (Org::found().await, Org::found().await);
    let made = put(&org.admin, json!({"config": {"app_secret": "hush"}})).await.is(200);
    let theirs = other.admin.get(WHATSAPP).await.is(200);
    assert_eq!((&theirs["config"], &theirs["is_active"]), (&json!({}), &json!(false)));
    assert_ne!(theirs["id"], made["id"]);
    other.admin.delete(WHATSAPP).await.refused(404, "not_found");
    put(&other.admin, json!({"config": {"app_secret": "theirs"}})).await.is(200);
    assert_eq!(org.admin.get(WHATSAPP).await.is(200), made);
    let agent = org.hire("supervisor").await;
    agent.get(WHATSAPP).await.refused(403, "forbidden");
    put(&agent, json!({"is_active": false})).await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_repeat_with_its_idempotency_key_changes_nothing_and_managers_hear_of_it_live() {
    let org = Org::found().await;
    let mut live = Live::following(&org.admin, &["u:me"]).await;
    let once = unique("once");
    let body = json!({"config": {"app_secret": "one"}});
    let keyed = async |body: &Value| {
        org.admin.once(reqwest::Method::PUT, WHATSAPP, &once, body.clone()).await
    };
    keyed(&body).await.is(200);
    let told = live.event("u:me", "integration.status_changed").await;
    assert_eq!((&told["channel"], &told["is_active"]), (&json!("whatsapp"), &json!(true)));
    let off = put(&org.admin, json!({"is_active": false})).await.is(200);
    let told = live.event("u:me", "integration.status_changed").await;
    assert_eq!((&told["id"], &told["is_active"]), (&off["id"], &json!(false)));
    assert_eq!(keyed(&body).await.is(200), off);
    keyed(&json!({"is_active": true})).await.refused(409, "idempotency_key_reused");
}
