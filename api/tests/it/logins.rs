//! Accounts that are connected by a login at Meta: whose the login is, how often it counts, and what
//! is made of it.

use std::sync::Arc;

use config::Config;
use serde_json::{Value, json};
use simulator::{GraphOptions, Login, Plan, Trouble};

use crate::caller::{Answer, Caller};
use crate::harness::{Org, SECRET, Server, graph, unique};

const ALL: &str = "/api/integrations/accounts";
pub(crate) const SIGNUP: &str = "/api/integrations/whatsapp/embedded-signup";
pub(crate) const GRAM: &str = "/api/integrations/instagram/oauth";
pub(crate) const PAGES: &str = "/api/integrations/messenger/oauth";
const SUBSCRIBE: &str = "/api/integrations/messenger/pages/subscribe";
const DISCONNECT: &str = "/api/integrations/messenger/pages/disconnect";
pub(crate) const BACK: &str = "https://desk.example.com/connected";

/// A server that has apps for all logins.
pub(crate) fn with_apps(config: &mut Config) {
    let meta = &mut config.meta;
    meta.app_id = Some("8000".to_owned());
    meta.app_secret = Some(SECRET.to_owned().into());
    meta.instagram_app_id = Some("8001".to_owned());
    meta.instagram_app_secret = Some(SECRET.to_owned().into());
    meta.signup_config_id = Some("77".to_owned());
    meta.redirect_url = Some(BACK.to_owned());
}

/// Makes an example body one that counts: what it needs is there before.
pub(crate) async fn complete(path: &str, body: &mut Value, org: &Org, person: &Caller) {
    let page = || (unique("50"), "Shop".to_owned());
    let login = match path {
        SIGNUP => {
            body["phone_number_id"] = unique("8").into();
            Login::Business
        }
        GRAM => Login::Instagram { id: unique("17"), username: "shop".to_owned() },
        PAGES => Login::Pages(vec![page()]),
        SUBSCRIBE => {
            let (id, name) = page();
            body["page_ids"] = json!([id]);
            let login = Login::Pages(vec![(id, name)]);
            // Whoever may not is refused by what follows.
            return drop(log_in(org, person, PAGES, login).await);
        }
        DISCONNECT => return body["page_id"] = connected(org).await["account_key"].take(),
        "/api/integrations/messenger/persistent-menu" => return drop(connected(org).await),
        _ => return,
    };
    let config = person.get(&format!("{path}/config")).await;
    if config.status == 200 {
        body["state"] = config.body["state"].clone();
        body["code"] = org.server.graph.log_in(login, redirect(path)).into();
    }
}

fn redirect(path: &str) -> Option<&'static str> {
    (path != SIGNUP).then_some(BACK)
}

/// A page of Messenger that was connected with a token.
async fn connected(org: &Org) -> Value {
    let config = json!({"page_id": unique("50"), "access_token": "a token"});
    let draft = json!({"channel": "messenger", "config": config, "is_default": true});
    org.admin.post(ALL, draft).await.is(201)
}

/// A server of its own, whose provider takes the tokens that it gives and no other.
pub(crate) async fn alone() -> (Arc<Server>, Org) {
    with(|_| {}).await
}

pub(crate) async fn with(differ: impl FnOnce(&mut Config)) -> (Arc<Server>, Org) {
    let options = GraphOptions { access_token: Some("nobody's".to_owned()), ..graph() };
    let server = Server::beside(options, |config| {
        with_apps(config);
        differ(config);
    });
    let server = server.await;
    let org = Org::on(&server).await;
    (server, org)
}

pub(crate) async fn state(person: &Caller, path: &str) -> Value {
    person.get(&format!("{path}/config")).await.is(200)["state"].take()
}

/// A whole login.
pub(crate) async fn log_in(org: &Org, person: &Caller, path: &str, login: Login) -> Answer {
    let state = person.get(&format!("{path}/config")).await.body["state"].take();
    let code = org.server.graph.log_in(login, redirect(path));
    person.post(path, json!({"code": code, "state": state})).await
}

pub(crate) fn gram(id: &str) -> Login {
    Login::Instagram { id: id.to_owned(), username: "corner.store".to_owned() }
}

pub(crate) fn signup(number: &str, code: &str, state: &Value) -> Value {
    json!({"code": code, "state": state, "waba_id": unique("9"), "phone_number_id": number})
}

pub(crate) async fn accounts(org: &Org, channel: &str) -> Vec<Value> {
    let all = org.admin.get(&format!("{ALL}?channel={channel}")).await.is(200);
    serde_json::from_value(all).unwrap()
}

#[tokio::test]
async fn an_installation_without_an_app_says_so_and_takes_no_login() {
    let org = Org::found().await;
    for path in [SIGNUP, GRAM, PAGES] {
        let config = org.admin.get(&format!("{path}/config")).await.is(200);
        assert_eq!(config, json!({"is_configured": false}), "{path}");
        let mut body = json!({"code": "x", "state": "x"});
        if path == SIGNUP {
            body = signup("7001", "x", &json!("x"));
        }
        org.admin.post(path, body).await.refused(409, "not_configured");
    }
}

#[tokio::test]
async fn a_number_that_is_signed_up_is_an_account_like_any_other() {
    let (server, org) = alone().await;
    let config = org.admin.get(&format!("{SIGNUP}/config")).await.is(200);
    assert_eq!((&config["app_id"], &config["config_id"]), (&json!("8000"), &json!("77")));
    assert!(!config.to_string().contains(SECRET));
    let (number, code) = (unique("8"), server.graph.log_in(Login::Business, None));
    let mut body = signup(&number, &code, &config["state"]);
    body["display_name"] = json!("Front desk");
    let made = org.admin.post(SIGNUP, body).await.is(201);
    assert_eq!((&made["status"], &made["account_key"]), (&json!("connected"), &json!(number)));
    assert_eq!(
        (&made["display_name"], made["channel"].as_str()),
        (&json!("Front desk"), Some("whatsapp"))
    );
    for secret in ["access_token", "pin"] {
        assert_eq!(made["config"][secret], "********");
    }
    let path = format!("{ALL}/{}", made["id"].as_str().unwrap());
    let health = org.admin.get(&format!("{path}/health")).await.is(200);
    assert_eq!(health["registration"], json!({"subscribed": true, "registered": true}));
    assert_eq!(org.admin.get(&path).await.is(200), made);
    let log = org.admin.get("/api/activity-logs?action=integration_account.created").await.is(200);
    assert_eq!(log[0]["entity"]["id"], made["id"]);
    assert!(!log.to_string().contains("EAA"), "{log}");
}

#[tokio::test]
async fn a_login_counts_once_and_for_whoever_began_it() {
    let (server, org) = alone().await;
    let (bea, other) = (org.hire("admin").await, Org::on(&server).await);
    let begun = state(&org.admin, GRAM).await;
    let code = || server.graph.log_in(gram(&unique("17")), Some(BACK));
    let post = async |who: &Caller, state: &Value| {
        who.post(GRAM, json!({"code": code(), "state": state})).await
    };
    for stranger in [&bea, &other.admin] {
        assert_eq!(post(stranger, &begun).await.invalid(), ["state"]);
    }
    let text = begun.as_str().unwrap();
    let later = format!("f{}", &text[1..]);
    let forged = format!("{}0", &text[..text.len() - 1]);
    let forged = if forged == text { format!("{}1", &text[..text.len() - 1]) } else { forged };
    let more = format!("{text}.00");
    for wrong in ["", "x", ".", "..", &later, &forged, &more, &text[..20]] {
        assert_eq!(post(&org.admin, &json!(wrong)).await.invalid(), ["state"], "{wrong}");
    }
    let of_another_flow = state(&org.admin, PAGES).await;
    assert_eq!(post(&org.admin, &of_another_flow).await.invalid(), ["state"]);
    post(&org.admin, &begun).await.is(201);
    post(&org.admin, &begun).await.refused(409, "login_used");
    server.restart().await;
    post(&org.admin, &begun).await.refused(409, "login_used");
    assert_eq!(accounts(&org, "instagram").await.len(), 1);
}

#[tokio::test]
async fn of_two_who_bring_the_same_login_at_once_one_is_taken() {
    let (server, org) = alone().await;
    let begun = state(&org.admin, GRAM).await;
    let posts = (0..4).map(|_| {
        let code = server.graph.log_in(gram(&unique("17")), Some(BACK));
        org.admin.post(GRAM, json!({"code": code, "state": begun}))
    });
    let mut answers: Vec<_> = futures_util::future::join_all(posts.collect::<Vec<_>>()).await;
    answers.sort_by_key(|answer| answer.status);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201, 409, 409, 409]);
}

#[tokio::test]
async fn a_login_that_is_over_is_begun_again() {
    let (server, org) =
        with(|config| config.limits.grant_state_ttl = std::time::Duration::ZERO).await;
    let begun = state(&org.admin, GRAM).await;
    let code = server.graph.log_in(gram("17"), Some(BACK));
    let late = org.admin.post(GRAM, json!({"code": code, "state": begun})).await;
    assert_eq!(late.invalid(), ["state"]);
}

#[tokio::test]
async fn a_code_that_the_provider_refuses_makes_nothing_and_its_words_are_shown() {
    let (server, org) = alone().await;
    let refused = async |path: &str, body: Value| {
        let error = org.admin.post(path, body).await.refused(422, "invalid");
        assert_eq!(error["details"][0]["field"], "code");
        error["details"][0]["message"].as_str().unwrap().to_owned()
    };
    let begun = || state(&org.admin, SIGNUP);
    let code = server.graph.log_in(Login::Business, None);
    server.graph.advance(std::time::Duration::from_secs(31));
    let late = refused(SIGNUP, signup(&unique("8"), &code, &begun().await)).await;
    assert!(late.contains("has expired"), "{late}");
    let code = server.graph.log_in(Login::Business, None);
    org.admin.post(SIGNUP, signup(&unique("8"), &code, &begun().await)).await.is(201);
    let again = refused(SIGNUP, signup(&unique("8"), &code, &begun().await)).await;
    assert!(again.contains("has been used"), "{again}");
    // Led back elsewhere: an address of the caller's own is nothing that could be said.
    let elsewhere = server.graph.log_in(gram("17"), Some("https://evil.example/"));
    let body = json!({"code": elsewhere, "state": state(&org.admin, GRAM).await});
    assert!(refused(GRAM, body).await.contains("400: "));
    let mut body = json!({"code": "x", "state": state(&org.admin, GRAM).await});
    body["redirect_uri"] = json!("https://evil.example/");
    assert_eq!(org.admin.post(GRAM, body).await.invalid(), ["redirect_uri"]);
    let trouble = Trouble::ResetBefore;
    server.graph.plan(Plan { id: Some("oauth".to_owned()), edge: None, times: 1, trouble });
    let code = server.graph.log_in(gram("17"), Some(BACK));
    let body = json!({"code": code, "state": state(&org.admin, GRAM).await});
    org.admin.post(GRAM, body).await.refused(503, "unavailable");
    assert_eq!(accounts(&org, "instagram").await.len(), 0);
    assert_eq!(accounts(&org, "whatsapp").await.len(), 2);
}

#[tokio::test]
async fn an_account_of_instagram_gets_a_token_that_lasts_and_keeps_itself_by_the_next_login() {
    let (_, org) = alone().await;
    let config = org.admin.get(&format!("{GRAM}/config")).await.is(200);
    let url = config["authorize_url"].as_str().unwrap();
    assert!(url.starts_with("https://www.instagram.com/oauth/authorize?client_id=8001&"), "{url}");
    assert!(url.contains("redirect_uri=https%3A%2F%2Fdesk.example.com%2Fconnected&"), "{url}");
    assert!(url.ends_with(&format!("&state={}", config["state"].as_str().unwrap())), "{url}");
    let id = unique("17");
    let made = log_in(&org, &org.admin, GRAM, gram(&id)).await.is(201);
    assert_eq!((&made["status"], &made["account_key"]), (&json!("connected"), &json!(id)));
    assert_eq!(
        (&made["display_name"], &made["config"]["access_token"]),
        (&json!("corner.store"), &json!("********"))
    );
    let path = format!("{ALL}/{}", made["id"].as_str().unwrap());
    let health = org.admin.get(&format!("{path}/health")).await.is(200);
    assert_eq!(health["registration"], json!({"subscribed": true, "registered": true}));
    let ends = made["token_expires_at"].as_str().unwrap();
    assert_eq!(health["token_expires_at"], ends, "to look does not forget it");
    let again = log_in(&org, &org.admin, GRAM, gram(&id)).await.is(201);
    assert_eq!((&again["id"], accounts(&org, "instagram").await.len()), (&made["id"], 1));
    assert!(again["token_expires_at"].as_str().unwrap() >= ends);
    let other = Org::on(&org.server).await;
    log_in(&other, &other.admin, GRAM, gram(&id)).await.refused(409, "account_key_in_use");
    let changed =
        org.admin.patch(&path, json!({"config": {"access_token": "IGother"}})).await.is(200);
    assert!(changed.get("token_expires_at").is_none(), "it was the other token's");
}

#[tokio::test]
async fn an_account_of_instagram_that_is_connected_by_its_other_id_says_by_which_it_is_heard() {
    let pages = vec![simulator::Page::new(simulator::Object::Instagram, "17841")];
    let server = Server::beside(GraphOptions { pages, ..graph() }, |_| {}).await;
    let org = Org::on(&server).await;
    let connect = async |id: &str| {
        let config = json!({"ig_user_id": id, "access_token": "IGAAtoken"});
        let draft = json!({"channel": "instagram", "config": config});
        org.admin.post(ALL, draft).await.is(201)
    };
    let deaf = connect("917841").await;
    assert_eq!((&deaf["status"], &deaf["paused"]), (&json!("attention"), &json!(false)));
    assert!(deaf["status_detail"].as_str().unwrap().contains(" 17841;"), "{deaf}");
    assert_eq!(connect("17841").await["status"], "connected");
}

#[tokio::test]
async fn a_token_that_ends_soon_is_renewed_by_whoever_looks_and_every_hour() {
    let year = std::time::Duration::from_secs(365 * 24 * 3_600);
    let (server, org) = with(|config| config.limits.token_warning = year).await;
    let made = log_in(&org, &org.admin, GRAM, gram(&unique("17"))).await.is(201);
    assert_eq!(made["status"], "attention", "it ends within a year");
    let renewals = || {
        let all = server.graph.requests();
        all.iter().filter(|one| one.path.starts_with("/refresh_access_token")).count()
    };
    let path = format!("{ALL}/{}", made["id"].as_str().unwrap());
    let health = org.admin.get(&format!("{path}/health")).await.is(200);
    assert_eq!((renewals(), &health["token"]), (1, &json!("valid")), "the new one works");
    assert!(health["token_expires_at"].as_str() > made["token_expires_at"].as_str());
    server.app().outbox.look_after_accounts().await.unwrap();
    assert_eq!(renewals(), 2);
    // One that cannot be renewed stays as it is.
    let before = org.admin.get(&path).await.is(200);
    let trouble = Trouble::Error { code: 190 };
    let id = Some("refresh_access_token".to_owned());
    server.graph.plan(Plan { id, edge: None, times: 1, trouble });
    server.app().outbox.look_after_accounts().await.unwrap();
    assert_eq!(org.admin.get(&path).await.is(200), before);
}

#[tokio::test]
async fn somebody_chooses_among_the_pages_of_their_login() {
    let (server, org) = alone().await;
    let bea = org.hire("admin").await;
    org.admin.post(SUBSCRIBE, json!({"page_ids": ["1"]})).await.refused(409, "login_needed");
    let ids: Vec<_> = (0..120).map(|_| unique("50")).collect();
    let pages = || Login::Pages(ids.iter().map(|id| (id.clone(), format!("Shop {id}"))).collect());
    let given = log_in(&org, &org.admin, PAGES, pages()).await.is(200);
    let shown = given["pages"].as_array().unwrap();
    assert_eq!((shown.len(), &shown[119]["page_id"]), (120, &json!(ids[119])));
    assert_eq!(shown[0]["is_connected"], false);
    assert!(!given.to_string().contains("EAA"), "no token is shown");
    assert_eq!(accounts(&org, "messenger").await.len(), 0, "nobody has chosen yet");
    bea.post(SUBSCRIBE, json!({"page_ids": [ids[0]]})).await.refused(409, "login_needed");
    let trouble = Trouble::Error { code: 200 };
    let edge = Some("subscribed_apps".to_owned());
    server.graph.plan(Plan { id: Some(ids[1].clone()), edge, times: 1, trouble });
    let chosen = json!({"page_ids": [ids[0], ids[1], ids[0], "4711"]});
    let made = org.admin.post(SUBSCRIBE, chosen).await.is(200);
    let (accounts_of, failed) = (made["accounts"].as_array().unwrap(), &made["failed"]);
    assert_eq!((accounts_of.len(), &failed[0]["page_id"]), (2, &json!("4711")));
    assert_eq!((&failed[0]["code"], failed.get(1)), (&json!("not_found"), None));
    let of = |id: &String| accounts_of.iter().find(|one| one["account_key"] == json!(id)).unwrap();
    let (well, ill) = (of(&ids[0]), of(&ids[1]));
    assert_eq!(
        (&well["status"], &well["display_name"]),
        (&json!("connected"), &json!(format!("Shop {}", ids[0])))
    );
    assert_eq!(ill["status"], "attention");
    assert!(ill["status_detail"].as_str().unwrap().starts_with("200: "), "{ill}");
    // Whoever looks after it has it subscribed.
    let path = format!("{ALL}/{}", ill["id"].as_str().unwrap());
    assert_eq!(org.admin.get(&format!("{path}/health")).await.is(200)["status"], "connected");
    let given = log_in(&org, &org.admin, PAGES, pages()).await.is(200);
    assert_eq!(
        (&given["pages"][0]["is_connected"], &given["pages"][2]["is_connected"]),
        (&json!(true), &json!(false))
    );
    for ids in [json!([]), json!(vec!["1"; 21])] {
        let answer = org.admin.post(SUBSCRIBE, json!({"page_ids": ids})).await;
        assert_eq!(answer.invalid(), ["page_ids"]);
    }
}

#[tokio::test]
async fn a_page_that_is_disconnected_may_be_connected_elsewhere() {
    let (server, org) = alone().await;
    let other = Org::on(&server).await;
    let id = unique("50");
    let page = || Login::Pages(vec![(id.clone(), "Shop".to_owned())]);
    let chosen = json!({"page_ids": [id]});
    for who in [&org, &other] {
        log_in(who, &who.admin, PAGES, page()).await.is(200);
    }
    let made = org.admin.post(SUBSCRIBE, chosen.clone()).await.is(200);
    let taken = other.admin.post(SUBSCRIBE, chosen.clone()).await.is(200);
    assert_eq!(taken["failed"][0]["code"], "account_key_in_use");
    let leave = json!({"page_id": id});
    assert_eq!(other.admin.post(DISCONNECT, leave.clone()).await.invalid(), ["page_id"]);
    let left = org.admin.post(DISCONNECT, leave.clone()).await.is(200);
    assert_eq!((&left["account_id"], left.get("detail")), (&made["accounts"][0]["id"], None));
    assert_eq!(org.admin.post(DISCONNECT, leave).await.invalid(), ["page_id"]);
    let told = |one: &simulator::Request| one.method == "DELETE" && one.path.contains(&id);
    assert_eq!(server.graph.requests().iter().filter(|one| told(one)).count(), 1);
    assert_eq!(other.admin.post(SUBSCRIBE, chosen).await.is(200)["failed"], json!([]));
    let log = org.admin.get("/api/activity-logs?action=integration_account.deleted").await.is(200);
    assert_eq!(log[0]["entity"]["id"], left["account_id"]);
}

#[tokio::test]
async fn pages_are_held_for_so_many_people_and_not_for_long() {
    let (_, org) = with(|config| config.limits.grant_people = 1).await;
    let bea = org.hire("admin").await;
    let id = unique("50");
    let page = || Login::Pages(vec![(id.clone(), "Shop".to_owned())]);
    let chosen = json!({"page_ids": [id]});
    for who in [&org.admin, &bea] {
        log_in(&org, who, PAGES, page()).await.is(200);
    }
    org.admin.post(SUBSCRIBE, chosen.clone()).await.refused(409, "login_needed");
    bea.post(SUBSCRIBE, chosen.clone()).await.is(200);
    let (_, org) = with(|config| {
        config.limits.grant_keep = std::time::Duration::ZERO;
        config.limits.grant_pages = 2;
    })
    .await;
    let many = Login::Pages((0..5).map(|_| (unique("50"), "Shop".to_owned())).collect());
    let given = log_in(&org, &org.admin, PAGES, many).await.is(200);
    assert_eq!(given["pages"].as_array().unwrap().len(), 2);
    org.admin.post(SUBSCRIBE, chosen).await.refused(409, "login_needed");
}

#[tokio::test]
async fn a_request_that_is_repeated_with_its_key_makes_one_account() {
    let (server, org) = alone().await;
    let (number, key) = (unique("8"), unique("once"));
    let code = server.graph.log_in(Login::Business, None);
    let body = signup(&number, &code, &state(&org.admin, SIGNUP).await);
    let made = org.admin.post_once(SIGNUP, &key, body.clone()).await.is(201);
    assert_eq!(org.admin.post_once(SIGNUP, &key, body.clone()).await.is(201), made);
    let mut other = body;
    other["display_name"] = json!("Other");
    org.admin.post_once(SIGNUP, &key, other).await.refused(409, "idempotency_key_reused");
}

#[tokio::test]
async fn what_no_code_could_mend_is_refused_before_it_is_spent() {
    let (server, org) = alone().await;
    let begun = state(&org.admin, SIGNUP).await;
    let code = server.graph.log_in(Login::Business, None);
    for (field, value) in [
        ("phone_number_id", json!("x")),
        ("waba_id", json!("")),
        ("code", json!("")),
        ("code", json!("a b")),
        ("code", json!("x".repeat(5000))),
        ("display_name", json!("\u{0}")),
    ] {
        let mut body = signup(&unique("8"), &code, &begun);
        body[field] = value;
        assert_eq!(org.admin.post(SIGNUP, body).await.invalid(), [field]);
    }
    org.admin.post(SIGNUP, signup(&unique("8"), &code, &begun)).await.is(201);
}
