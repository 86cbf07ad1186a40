//! Templates over real sockets: made, reviewed, paged through, changed, deleted, sent.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Act, Graph, Who};

use crate::engine::{inbox, value};
use crate::stand::{ask, get, post_to, quiet, still};

const WABA: &str = "waba-1065";
/// Longer than a review.
const REVIEW: Duration = Duration::from_secs(4);

fn draft(name: &str) -> Value {
    json!({
        "name": name, "language": "en", "category": "UTILITY",
        "components": [{"type": "BODY", "text": "Hello {{1}}, it is here."}],
    })
}

async fn create(graph: &Graph, name: &str) -> String {
    let (http, answer) = post_to(graph, "waba-1065/message_templates", &draft(name)).await;
    assert_eq!((http, &answer["status"]), (200, &json!("PENDING")), "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn send(graph: &Graph, name: &str, parameters: usize) -> Option<u64> {
    let parameters = vec![json!({"type": "text", "text": "Ines"}); parameters];
    let components = json!([{"type": "body", "parameters": parameters}]);
    let template = json!({"name": name, "language": {"code": "en"}, "components": components});
    let to = json!({
        "messaging_product": "whatsapp", "to": "15550100003", "type": "template",
        "template": template,
    });
    post_to(graph, "1065/messages", &to).await.1["error"]["code"].as_u64()
}

#[tokio::test]
async fn a_template_is_reviewed_told_of_by_webhook_and_can_then_be_sent() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let id = create(&graph, "ready").await;
    assert_eq!(send(&graph, "ready", 1).await, Some(132_001), "still under review");
    graph.advance(REVIEW);
    let (_, webhook) = taken.recv().await.unwrap();
    assert_eq!(webhook["entry"][0]["changes"][0]["field"], "message_template_status_update");
    let told = value(&webhook);
    assert_eq!((&told["event"], &told["reason"]), (&json!("APPROVED"), &json!("NONE")));
    // A number that no float holds.
    let number = told["message_template_id"].as_u64().unwrap();
    assert_eq!(number.to_string(), id);
    assert!(number > 1 << 53);
    assert_eq!(send(&graph, "ready", 1).await, None);
    assert_eq!(send(&graph, "ready", 2).await, Some(132_000));
    assert_eq!(send(&graph, "other", 1).await, Some(132_001));
    let (_, node) = get(&graph, &format!("{id}?fields=name,status")).await;
    assert_eq!(node, json!({"id": id, "name": "ready", "status": "APPROVED"}));
}

#[tokio::test]
async fn names_decide_how_a_review_ends_and_what_follows() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let mut events = async |name: &str, count: usize| {
        create(&graph, name).await;
        let mut events = Vec::new();
        for _ in 0..count {
            graph.advance(REVIEW);
            events.push(value(&taken.recv().await.unwrap().1)["event"].clone());
        }
        events
    };
    assert_eq!(events("spam_rejected", 1).await, ["REJECTED"]);
    assert_eq!(events("dull_paused", 2).await, ["APPROVED", "PAUSED"]);
    assert_eq!(events("bad_disabled", 2).await, ["APPROVED", "DISABLED"]);
    assert_eq!(send(&graph, "spam_rejected", 1).await, Some(132_001));
    assert_eq!(send(&graph, "dull_paused", 1).await, Some(132_015));
    assert_eq!(send(&graph, "bad_disabled", 1).await, Some(132_016));
}

#[tokio::test]
async fn a_business_account_without_templates_sends_any_but_those_whose_name_fails() {
    let graph = Graph::start(quiet()).await.unwrap();
    assert_eq!(send(&graph, "anything", 3).await, None);
    for code in [132_000, 132_001, 132_015, 132_016] {
        assert_eq!(send(&graph, &format!("anything_{code}"), 1).await, Some(code));
    }
}

#[tokio::test]
async fn pages_lead_through_all_templates_forth_and_back() {
    let (url, _taken) = inbox(0).await;
    let graph = still(&url).await;
    for n in 0..7 {
        create(&graph, &format!("t{n}")).await;
    }
    let names = |page: &Value| -> Vec<String> {
        let all = page["data"].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut path = format!("{WABA}/message_templates?limit=3&fields=name");
    let (mut all, mut pages) = (Vec::new(), Vec::new());
    loop {
        let (_, page) = get(&graph, &path).await;
        all.extend(names(&page));
        pages.push(page.clone());
        let Some(next) = page["paging"]["next"].as_str() else { break };
        path = next.split("/v23.0/").nth(1).unwrap().to_owned();
    }
    assert_eq!(all, (0..7).map(|n| format!("t{n}")).collect::<Vec<_>>());
    assert_eq!(pages.len(), 3);
    let before = pages[2]["paging"]["cursors"]["before"].as_str().unwrap();
    let (_, back) = get(&graph, &format!("{WABA}/message_templates?limit=3&before={before}")).await;
    assert_eq!(names(&back), ["t3", "t4", "t5"]);
    let (_, none) = get(&graph, &format!("{WABA}/message_templates?status=APPROVED")).await;
    assert_eq!(none, json!({"data": []}));
    assert_eq!(get(&graph, &format!("{WABA}/message_templates?limit=x")).await.0, 400);
}

#[tokio::test]
async fn a_template_is_changed_once_a_day_and_its_name_stays_taken_after_it_was_deleted() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let id = create(&graph, "ready").await;
    let other = json!({"components": [{"type": "BODY", "text": "Good day {{1}}, here."}]});
    assert_eq!(post_to(&graph, &id, &other).await.0, 400, "still under review");
    graph.advance(REVIEW);
    taken.recv().await.unwrap();
    assert_eq!(post_to(&graph, &id, &other).await.0, 200);
    graph.advance(REVIEW);
    taken.recv().await.unwrap();
    assert_eq!(get(&graph, &id).await.1["components"], other["components"]);
    assert_eq!(post_to(&graph, &id, &other).await.0, 400, "only once a day");

    let path = format!("{WABA}/message_templates");
    let twice = post_to(&graph, &path, &draft("ready")).await.1;
    assert_eq!(twice["error"]["error_subcode"], 2_388_024);
    let gone = format!("{path}?name=ready");
    assert_eq!(ask(&graph, Method::DELETE, &gone, None).await.0, 200);
    assert_eq!(ask(&graph, Method::DELETE, &gone, None).await.0, 400);
    let again = post_to(&graph, &path, &draft("ready")).await.1;
    assert_eq!(again["error"]["error_subcode"], 2_388_023);
    graph.advance(Duration::from_hours(31 * 24));
    create(&graph, "ready").await;
}

#[tokio::test]
async fn a_name_is_deleted_in_all_languages_or_in_one() {
    let (url, _taken) = inbox(0).await;
    let graph = still(&url).await;
    let mut ids = Vec::new();
    for language in ["de", "en", "fr"] {
        let mut draft = draft("ready");
        draft["language"] = json!(language);
        ids.push(graph.approve_template(WABA, &draft).unwrap());
    }
    let path = format!("{WABA}/message_templates?name=ready");
    let left = async || get(&graph, &path).await.1["data"].as_array().unwrap().len();
    let one = format!("{path}&hsm_id={}", ids[0]);
    assert_eq!(ask(&graph, Method::DELETE, &one, None).await.0, 200);
    assert_eq!(left().await, 2);
    graph.settle_template(&ids[1], "DISABLED").await.unwrap();
    assert_eq!(ask(&graph, Method::DELETE, &path, None).await.0, 400, "one is disabled");
    graph.settle_template(&ids[1], "PAUSED").await.unwrap();
    assert_eq!(ask(&graph, Method::DELETE, &path, None).await.0, 200);
    assert_eq!(left().await, 0);
}

#[tokio::test]
async fn a_wrong_draft_is_refused() {
    let graph = Graph::start(quiet()).await.unwrap();
    let with = |key: &str, value: Value| {
        let mut draft = draft("ready");
        draft[key] = value;
        draft
    };
    for (draft, code) in [
        (with("name", json!("Ready!")), 100),
        (with("language", Value::Null), 131_008),
        (with("category", json!("FUN")), 100),
        (with("components", json!([])), 131_008),
        (with("components", json!([{"type": "BODY", "text": "x".repeat(1025)}])), 100),
        (with("components", json!([{"type": "BODY", "text": "Hello {{1}}"}])), 100),
    ] {
        let (http, answer) = post_to(&graph, "waba-1065/message_templates", &draft).await;
        assert_eq!((http, &answer["error"]["code"]), (400, &json!(code)), "{draft}");
    }
    assert_eq!(post_to(&graph, "waba-9/message_templates", &draft("a")).await.0, 400);
}

#[tokio::test]
async fn whoever_opted_out_gets_no_marketing() {
    let (url, _taken) = inbox(0).await;
    let graph = still(&url).await;
    let mut template = draft("offer");
    template["category"] = json!("MARKETING");
    graph.approve_template(WABA, &template).unwrap();
    graph.approve_template(WABA, &draft("receipt")).unwrap();
    let ines = graph.customer("1065", &Who::with_phone("15550100003", "Ines")).unwrap();
    ines.does(Act::OptOut).await.unwrap();
    assert_eq!(send(&graph, "offer", 1).await, Some(131_050));
    assert_eq!(send(&graph, "receipt", 1).await, None);
    ines.does(Act::OptIn).await.unwrap();
    assert_eq!(send(&graph, "offer", 1).await, None);
}

#[tokio::test]
async fn a_template_is_settled_from_outside() {
    let (url, mut taken) = inbox(0).await;
    let graph = still(&url).await;
    let id = graph.approve_template(WABA, &draft("receipt")).unwrap();
    graph.settle_template(&id, "PAUSED").await.unwrap();
    assert_eq!(value(&taken.recv().await.unwrap().1)["event"], "PAUSED");
    assert_eq!(send(&graph, "receipt", 1).await, Some(132_015));
    assert!(graph.settle_template(&id, "TIRED").await.is_err());
    assert!(graph.settle_template("1", "PAUSED").await.is_err());
}
