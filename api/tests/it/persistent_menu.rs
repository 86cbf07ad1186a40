//! The menu of a page: kept by the provider, checked here, and its changes told.

use serde_json::{Value, json};
use simulator::{Plan, Trouble};

use crate::harness::{Org, Server, graph, unique};

const MENU: &str = "/api/integrations/messenger/persistent-menu";

async fn page(org: &Org) -> Value {
    let config = json!({"page_id": unique("50"), "access_token": "a token"});
    let draft = json!({"channel": "messenger", "config": config});
    org.admin.post("/api/integrations/accounts", draft).await.is(201)
}

fn menus(title: &str) -> Value {
    let items = json!([
        {"type": "postback", "title": title, "payload": "HOURS"},
        {"type": "web_url", "title": "Shop", "url": "https://example.com/"},
    ]);
    json!([{"locale": "default", "composer_input_disabled": false, "call_to_actions": items}])
}

#[tokio::test]
async fn a_menu_is_set_shown_told_and_deleted() {
    let org = Org::found().await;
    assert_eq!(org.admin.get(MENU).await.is(200), json!({"persistent_menu": []}));
    let body = json!({"persistent_menu": menus("Hours")});
    org.admin.post(MENU, body.clone()).await.refused(409, "no_account");
    let (first, second) = (page(&org).await, page(&org).await);
    let set = org.admin.post(MENU, body).await.is(200);
    let of = |page: &Value, menus: Value| json!({"account_id": page["id"], "page_id": page["account_key"], "persistent_menu": menus});
    assert_eq!(set, of(&first, menus("Hours")));
    assert_eq!(org.admin.get(MENU).await.is(200), set);
    let other = format!("{MENU}?account_id={}", second["id"].as_str().unwrap());
    assert_eq!(org.admin.get(&other).await.is(200), of(&second, json!([])));
    let body = json!({"account_id": second["id"], "persistent_menu": menus("Jam")});
    for _ in 0..2 {
        org.admin.post(MENU, body.clone()).await.is(200);
    }
    let deleted = json!({"persistent_menu": null});
    assert_eq!(org.admin.post(MENU, deleted.clone()).await.is(200), of(&first, json!([])));
    org.admin.post(MENU, deleted).await.is(200);
    assert_eq!(org.admin.get(&other).await.is(200), of(&second, menus("Jam")));
    let log = org.admin.get("/api/activity-logs?kind=persistent_menu").await.is(200);
    let changed: Vec<_> = log.as_array().unwrap().iter().map(|one| &one["entity"]["id"]).collect();
    assert_eq!(
        changed,
        [&first["id"], &second["id"], &first["id"]],
        "what changes nothing is not told"
    );
}

#[tokio::test]
async fn a_menu_that_is_none_is_refused_with_its_field() {
    let org = Org::found().await;
    page(&org).await;
    let theirs = page(&Org::found().await).await;
    let set = async |body: Value| org.admin.post(MENU, body).await.invalid();
    assert_eq!(set(json!({})).await, ["persistent_menu"]);
    let mut long = menus("Hours");
    long[0]["call_to_actions"][0]["title"] = json!("x".repeat(31));
    let field = "persistent_menu[0].call_to_actions[0].title";
    assert_eq!(set(json!({"persistent_menu": long})).await, [field]);
    let mut foreign = menus("Hours");
    foreign[0]["locale"] = json!("id_ID");
    assert_eq!(set(json!({"persistent_menu": foreign})).await, ["persistent_menu"]);
    let body = json!({"account_id": theirs["id"], "persistent_menu": menus("Hours")});
    assert_eq!(set(body).await, ["account_id"]);
    let of_whatsapp = json!({"account_id": org.account, "persistent_menu": []});
    assert_eq!(set(of_whatsapp).await, ["account_id"]);
    let theirs = format!("{MENU}?account_id={}", theirs["id"].as_str().unwrap());
    assert_eq!(org.admin.get(&theirs).await.invalid(), ["account_id"]);
}

#[tokio::test]
async fn what_the_provider_says_no_to_is_said_in_its_words() {
    let server = Server::beside(graph(), |_| {}).await;
    let org = Org::on(&server).await;
    page(&org).await;
    let fails = |trouble| {
        let edge = Some("messenger_profile".to_owned());
        server.graph.plan(Plan { id: None, edge, times: 1, trouble });
    };
    fails(Trouble::Error { code: 190 });
    let error = org.admin.get(MENU).await.refused(409, "provider_refused");
    assert!(error["message"].as_str().unwrap().contains("190: "), "{error}");
    fails(Trouble::ResetBefore);
    org.admin.get(MENU).await.refused(503, "unavailable");
    assert_eq!(org.admin.get(MENU).await.is(200)["persistent_menu"], json!([]));
}

#[tokio::test]
async fn a_menu_is_set_although_what_can_be_read_of_the_one_that_is_there_is_the_same() {
    let server = Server::beside(graph(), |_| {}).await;
    let org = Org::on(&server).await;
    page(&org).await;
    let sets = || {
        let all = server.graph.requests();
        all.iter().filter(|one| one.method == "POST" && one.path.contains("profile")).count()
    };
    // Items of kinds that are not made here are not read: the two may differ all the same.
    for n in 1..3 {
        org.admin.post(MENU, json!({"persistent_menu": menus("Hours")})).await.is(200);
        assert_eq!(sets(), n);
    }
}
