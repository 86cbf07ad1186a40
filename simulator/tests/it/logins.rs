//! The stand-in's logins: codes that count once and not for long, tokens, and whose they are.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Graph, GraphOptions, Login};

use crate::engine::client;
use crate::stand::{ask, get, post_to, quiet, still};

const BACK: &str = "https://desk.example.com/";

/// A path without a version.
async fn plain(graph: &Graph, path: &str, form: Option<&[(&str, &str)]>) -> (u16, Value) {
    let url = format!("{}/{path}", graph.url());
    let request = match form {
        Some(form) => {
            let mut body = form_urlencoded::Serializer::new(String::new());
            client().post(url).body(body.extend_pairs(form).finish())
        }
        None => client().get(url),
    };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

async fn exchange(graph: &Graph, code: &str, more: &str) -> (u16, Value) {
    let path = format!("oauth/access_token?client_id=8000&client_secret=secret&code={code}{more}");
    get(graph, &path).await
}

fn as_token(url: &Graph, path: &str, token: &str) -> reqwest::RequestBuilder {
    client().get(format!("{}/v23.0/{path}", url.url())).bearer_auth(token)
}

#[tokio::test]
async fn a_code_counts_once_not_for_long_and_where_it_was_led_to() {
    let graph = still("http://127.0.0.1:9").await;
    let code = graph.log_in(Login::Business, None);
    let (status, given) = exchange(&graph, &code, "").await;
    assert_eq!((status, given.get("expires_in")), (200, None));
    let (status, used) = exchange(&graph, &code, "").await;
    assert_eq!((status, &used["error"]["error_subcode"]), (400, &json!(36_009)));
    let late = graph.log_in(Login::Business, None);
    graph.advance(Duration::from_secs(30));
    assert_eq!(exchange(&graph, &late, "").await.1["error"]["error_subcode"], 36_007);
    let pages = || Login::Pages(vec![("5001".to_owned(), "Shop".to_owned())]);
    let code = graph.log_in(pages(), Some(BACK));
    assert_eq!(exchange(&graph, &code, "").await.1["error"]["error_subcode"], 36_008);
    let back = "&redirect_uri=https%3A%2F%2Fdesk.example.com%2F";
    assert_eq!(exchange(&graph, &code, back).await.0, 200, "another address does not spend it");
    let path = "oauth/access_token?client_id=8000&client_secret=wrong&code=x";
    assert_eq!(get(&graph, path).await.0, 400);
}

#[tokio::test]
async fn pages_have_tokens_of_their_own_and_come_in_parts() {
    let graph = Graph::start(quiet()).await.unwrap();
    let all = (0..3).map(|n| (format!("500{n}"), format!("Shop {n}"))).collect();
    let code = graph.log_in(Login::Pages(all), Some(BACK));
    let back = "&redirect_uri=https%3A%2F%2Fdesk.example.com%2F";
    let token = exchange(&graph, &code, back).await.1["access_token"].take();
    let ask = async |path: &str, token: &str| {
        let answer = as_token(&graph, path, token).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let token = token.as_str().unwrap();
    let first = ask("me/accounts?limit=2", token).await;
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    assert!(first["paging"]["next"].is_string());
    let after = first["paging"]["cursors"]["after"].as_str().unwrap();
    let last = ask(&format!("me/accounts?limit=2&after={after}"), token).await;
    assert_eq!((&last["data"][0]["id"], last["paging"].get("next")), (&json!("5002"), None));
    let page = last["data"][0]["access_token"].as_str().unwrap();
    assert_eq!(ask("messenger_profile", page).await["error"]["code"], 100);
    assert_eq!(ask("me/accounts", "token").await["error"]["code"], 190);
}

#[tokio::test]
async fn instagram_takes_a_form_and_gives_a_token_that_lasts_for_one_that_does_not() {
    let graph = Graph::start(quiet()).await.unwrap();
    let login = Login::Instagram { id: "17841".to_owned(), username: "shop".to_owned() };
    let code = graph.log_in(login, Some(BACK));
    let mut form = HashMap::from([
        ("client_id", "8001"),
        ("client_secret", "secret"),
        ("grant_type", "authorization_code"),
        ("redirect_uri", BACK),
    ]);
    form.insert("code", &code);
    let form: Vec<_> = form.into_iter().collect();
    let (status, given) = plain(&graph, "oauth/access_token", Some(&form)).await;
    assert_eq!((status, &given["data"][0]["user_id"]), (200, &json!("17841")));
    let (status, refused) = plain(&graph, "oauth/access_token", Some(&form)).await;
    assert_eq!((status, &refused["error_type"]), (400, &json!("OAuthException")));
    let brief = given["data"][0]["access_token"].as_str().unwrap().to_owned();
    let exchange = |token: &str| {
        format!(
            "access_token?grant_type=ig_exchange_token&client_secret=secret&access_token={token}"
        )
    };
    let (_, long) = plain(&graph, &exchange(&brief), None).await;
    assert_eq!(long["expires_in"], 5_184_000);
    let long = long["access_token"].as_str().unwrap().to_owned();
    let refresh = |token: &str| {
        format!("refresh_access_token?grant_type=ig_refresh_token&access_token={token}")
    };
    assert_eq!(plain(&graph, &refresh(&brief), None).await.0, 401, "it lasts for an hour only");
    assert_eq!(plain(&graph, &refresh(&long), None).await.0, 200);
    let answer = as_token(&graph, "me?fields=user_id,username", &long).send().await.unwrap();
    let me: Value = answer.json().await.unwrap();
    assert_eq!(me, json!({"id": "917841", "user_id": "17841", "username": "shop"}));
}

#[tokio::test]
async fn a_browser_is_led_back_with_a_code_and_its_state() {
    let graph = Graph::start(quiet()).await.unwrap();
    let url = format!("{}/oauth/authorize?redirect_uri={BACK}&state=mine", graph.url());
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let answer = browser.build().unwrap().get(url).send().await.unwrap();
    let to = answer.headers()["location"].to_str().unwrap();
    assert!(to.starts_with(&format!("{BACK}?code=AQ")), "{to}");
    assert!(to.ends_with("&state=mine#_"), "{to}");
}

#[tokio::test]
async fn a_menu_needs_a_button_to_begin() {
    let graph = Graph::start(GraphOptions { access_token: None, ..quiet() }).await.unwrap();
    let items = json!([{"type": "postback", "title": "Hours", "payload": "HOURS"}]);
    let menu = json!([{"locale": "default", "call_to_actions": items}]);
    let path = "5001/messenger_profile";
    let set = json!({"persistent_menu": menu});
    assert_eq!(post_to(&graph, path, &set).await.0, 400);
    assert_eq!(post_to(&graph, path, &json!({"get_started": {"payload": "GO"}})).await.0, 200);
    assert_eq!(post_to(&graph, path, &set).await.0, 200);
    let shown = get(&graph, &format!("{path}?fields=persistent_menu")).await.1;
    assert_eq!(shown, json!({"data": [{"persistent_menu": menu}]}));
    let begin = json!({"fields": ["get_started"]});
    assert_eq!(ask(&graph, Method::DELETE, path, Some(&begin)).await.0, 400);
    let both = json!({"fields": ["persistent_menu", "get_started"]});
    assert_eq!(ask(&graph, Method::DELETE, path, Some(&both)).await.0, 200);
    assert_eq!(get(&graph, &format!("{path}?fields=persistent_menu")).await.1, json!({"data": []}));
}
