//! Dead letters: looked at, and tried again.

use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use simulator::bodies;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::harness::{Org, unique};

/// A webhook with a message that has no sender.
fn nobody_s(org: &Org, text: &str) -> Value {
    let mut webhook = org.text(&unique("wamid."), &unique("1555"), text);
    let value = webhook.pointer_mut("/entry/0/changes/0/value").unwrap();
    value["messages"][0].as_object_mut().unwrap().remove("from");
    value["contacts"] = json!([]);
    webhook
}

async fn list(org: &Org, query: &str) -> Vec<Value> {
    let all = org.admin.get(&format!("/api/dead-letters?{query}")).await.is(200);
    serde_json::from_value(all).unwrap()
}

fn retry(letter: &Value) -> String {
    format!("/api/dead-letters/{}/retry", letter["id"].as_str().unwrap())
}

#[tokio::test]
async fn what_is_still_not_understood_stays_with_its_reason_and_is_counted() {
    let org = Org::found().await;
    org.deliver(&nobody_s(&org, "Hello?")).await.is(200);
    let letter = list(&org, "").await.remove(0);
    assert_eq!((&letter["source"], &letter["attempts"]), (&json!("decode"), &json!(0)));
    assert_eq!(letter["reason"], "the message has no sender");
    assert_eq!(letter["account_id"], json!(org.account));
    let raw: Value = serde_json::from_str(letter["raw"].as_str().unwrap()).unwrap();
    assert_eq!(raw["value"]["messages"][0]["text"]["body"], "Hello?");
    assert_eq!(letter["raw_bytes"], letter["raw"].as_str().unwrap().len());
    for attempts in 1..3 {
        let answer = org.admin.post(&retry(&letter), Value::Null).await.is(200);
        assert_eq!(answer["done"], false);
        assert_eq!(answer["dead_letter"]["attempts"], attempts);
        assert_eq!(answer["dead_letter"]["reason"], "the message has no sender");
        assert_eq!(list(&org, "").await, [answer["dead_letter"].clone()]);
    }
    // What is about an account that is gone cannot be placed.
    let account = format!("/api/integrations/accounts/{}", org.account);
    org.admin.delete(&account).await.is(200);
    let answer = org.admin.post(&retry(&letter), Value::Null).await.is(200);
    let reason = &answer["dead_letter"]["reason"];
    assert_eq!(reason, "its channel account is not there any more");
}

#[tokio::test]
async fn what_is_delivered_again_is_the_same_letter() {
    let org = Org::found().await;
    let webhook = nobody_s(&org, "Hello?");
    org.deliver(&webhook).await.is(200);
    let letters = list(&org, "").await;
    org.deliver(&webhook).await.is(200);
    assert_eq!(list(&org, "").await, letters);
    org.deliver(&nobody_s(&org, "Hello?")).await.is(200);
    assert_eq!(list(&org, "").await.len(), 2, "another one that says the same");
}

#[tokio::test]
async fn of_many_who_retry_at_once_each_is_counted_or_told_that_another_one_does() {
    let (org, other) = (Org::found().await, Org::found().await);
    org.deliver(&nobody_s(&org, "Hello?")).await.is(200);
    let letter = list(&org, "").await.remove(0);
    let path = retry(&letter);
    let answers = join_all((0..24).map(|_| org.admin.post(&path, Value::Null)));
    let (answers, stranger) = join(answers, other.admin.post(&path, Value::Null)).await;
    stranger.is(404);
    let (mut tried, mut told) = (Vec::new(), 0);
    for answer in answers {
        match answer.status {
            200 => tried.push(answer.is(200)["dead_letter"]["attempts"].as_u64().unwrap()),
            _ => {
                answer.refused(409, "under_way");
                told += 1;
            }
        }
    }
    assert_eq!(tried.len() + told, 24);
    tried.sort_unstable();
    assert_eq!(tried, (1..=tried.len() as u64).collect::<Vec<_>>(), "one after another");
    assert_eq!(list(&org, "").await[0]["attempts"], json!(tried.len()));
}

#[tokio::test]
async fn what_cannot_be_read_by_itself_is_not_taken_for_done() {
    let org = Org::found().await;
    let value = format!(
        r#"{{"metadata":{{"phone_number_id":"{}"}},"history":[{{"threads":[1e400]}}]}}"#,
        org.number
    );
    let change = format!(r#"{{"field":"history","value":{value}}}"#);
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{change}]}}]}}"#
    );
    org.deliver_raw(body.as_bytes()).await.is(200);
    let letter = list(&org, "").await.remove(0);
    assert_eq!(letter["raw"], r#"{"field":"history","value":1e400}"#);
    let answer = org.admin.post(&retry(&letter), Value::Null).await.is(200);
    assert_eq!(answer["done"], false);
    assert_eq!(list(&org, "").await.len(), 1);
}

#[tokio::test]
async fn dead_letters_come_in_pages_newest_first_and_by_where_they_stopped() {
    let org = Org::found().await;
    for n in 0..5 {
        org.deliver(&nobody_s(&org, &n.to_string())).await.is(200);
        // Of two of the same millisecond nobody knows which is the newer.
        let then = Instant::now();
        while then.elapsed() <= Duration::from_millis(1) {
            yield_now().await;
        }
    }
    let first = org.admin.get("/api/dead-letters?per_page=2").await;
    assert_eq!(first.headers["x-total-count"], "5");
    assert!(first.headers["link"].to_str().unwrap().contains("page=2"));
    let text = |letter: &Value| {
        let raw: Value = serde_json::from_str(letter["raw"].as_str().unwrap()).unwrap();
        raw["value"]["messages"][0]["text"]["body"].as_str().unwrap().to_owned()
    };
    let page = async |query| list(&org, query).await.iter().map(text).collect::<Vec<_>>();
    assert_eq!(page("per_page=2").await, ["4", "3"]);
    assert_eq!(page("per_page=2&page=3&source=decode").await, ["0"]);
    assert_eq!(page("source=decide").await, [""; 0]);
    assert_eq!(org.admin.get("/api/dead-letters?source=x").await.invalid(), ["source"]);
}

#[tokio::test]
async fn a_large_letter_is_shown_by_its_beginning() {
    let org = Org::found().await;
    org.deliver(&nobody_s(&org, &"é".repeat(20_000))).await.is(200);
    let letter = list(&org, "").await.remove(0);
    let shown = letter["raw"].as_str().unwrap().len();
    assert!((16_380..=16_384).contains(&shown), "{shown}");
    assert!(letter["raw_bytes"].as_u64().unwrap() > 40_000);
}

#[tokio::test]
async fn a_bad_item_is_kept_with_the_names_that_it_is_read_by() {
    let org = Org::found().await;
    let phone = unique("1555");
    let mut bad = org.text(&unique("wamid."), &phone, "two");
    bad["entry"][0]["changes"][0]["value"]["messages"][0]["text"] = json!(7);
    org.deliver(&bodies::batch([org.text(&unique("wamid."), &phone, "one"), bad])).await.is(200);
    let letter = list(&org, "").await.remove(0);
    let raw: Value = serde_json::from_str(letter["raw"].as_str().unwrap()).unwrap();
    assert_eq!(raw["value"]["contacts"][0]["wa_id"], json!(phone));
    assert_eq!(raw["value"]["metadata"]["phone_number_id"], json!(org.number));
}
