//! Whose a number or a page is: of those who name it, the one for whom the provider answers.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{GraphOptions, bodies, sign};

use crate::caller::Answer;
use crate::harness::{Org, SECRET, Server, graph, unique};

const ALL: &str = "/api/integrations/accounts";

/// A server with a secret for all accounts, whose provider takes one token.
async fn strict() -> Arc<Server> {
    let options = GraphOptions { access_token: Some("good".to_owned()), ..graph() };
    Server::beside(options, |config| config.meta.app_secret = Some(SECRET.to_owned().into())).await
}

/// An account of the installation's app, with this token.
async fn connect(org: &Org, number: &str, token: &str) -> Answer {
    // One pin, or the provider would not register the number for whom it was not.
    let config = json!({
        "phone_number_id": number, "waba_id": "1", "access_token": token, "pin": "123456",
    });
    org.admin.post(ALL, json!({"channel": "whatsapp", "config": config})).await
}

/// A customer writes to this number, and Meta delivers it for the installation's app.
async fn writes(org: &Org, number: &str) -> Answer {
    let (id, phone) = (unique("wamid."), unique("1555"));
    let at = crate::harness::unix_now();
    let text =
        bodies::Text { id: &id, from: &phone, name: "Ines", text: "Hello", at, reply_to: None };
    let body = bodies::wire(&bodies::text(&bodies::Account::new(number), &text));
    let request = org.admin.nobody().request(Method::POST, "/webhook");
    Answer::of(request.header("x-hub-signature-256", sign(SECRET, &body)).body(body)).await
}

async fn heard(org: &Org) -> usize {
    org.admin.get("/api/conversations").await.is(200).as_array().unwrap().len()
}

async fn keys(org: &Org) -> Vec<Value> {
    let all = org.admin.get(ALL).await.is(200);
    all.as_array().unwrap().iter().map(|one| one["account_key"].clone()).collect()
}

#[tokio::test]
async fn a_number_is_heard_by_the_installation_s_secret_once_its_own_token_was_good_for_it() {
    let server = strict().await;
    let (mine, hers) = (Org::on(&server).await, Org::on(&server).await);
    let number = unique("8");
    let made = connect(&hers, &number, "good").await.is(201);
    assert_eq!(made["status"], "connected");
    writes(&hers, &number).await.is(200);
    assert_eq!(heard(&hers).await, 1);
    // A token that ends takes nothing from what was proven.
    let path = format!("{ALL}/{}", made["id"].as_str().unwrap());
    hers.admin.patch(&path, json!({"config": {"access_token": "bad"}})).await.is(200);
    writes(&hers, &number).await.is(200);
    assert_eq!(heard(&hers).await, 2);
    hers.admin.delete(&path).await.is(200);
    let taken = connect(&mine, &number, "bad").await.is(201);
    assert_eq!(taken["status"], "attention");
    writes(&mine, &number).await.is(200);
    assert_eq!(heard(&mine).await, 0, "it is nobody's");
    let path = format!("{ALL}/{}", taken["id"].as_str().unwrap());
    let mended = json!({"config": {"access_token": "good"}});
    assert_eq!(mine.admin.patch(&path, mended).await.is(200)["status"], "connected");
    writes(&mine, &number).await.is(200);
    assert_eq!(heard(&mine).await, 1);
}

#[tokio::test]
async fn a_number_that_somebody_only_named_is_left_to_whom_the_provider_answers_for() {
    let server = strict().await;
    let (mine, hers) = (Org::on(&server).await, Org::on(&server).await);
    let number = unique("8");
    connect(&mine, &number, "bad").await.is(201);
    connect(&hers, &number, "worse").await.refused(409, "account_key_in_use");
    connect(&mine, &number, "good").await.refused(409, "account_key_in_use");
    assert_eq!(connect(&hers, &number, "good").await.is(201)["status"], "connected");
    assert_eq!(keys(&mine).await, [json!(mine.number)]);
    writes(&hers, &number).await.is(200);
    assert_eq!((heard(&mine).await, heard(&hers).await), (0, 1));
    connect(&mine, &number, "good").await.refused(409, "account_key_in_use");
}
