//! Customers whose handles change, and those who prove to be one.

use serde_json::{Value, json};

use crate::harness::{Org, eventually, unique, unix_now};

/// A customer's message, with the ids that the provider names them by.
fn writes(org: &Org, ids: &Value, text: &str) -> Value {
    let mut message = json!({
        "id": unique("wamid."), "timestamp": unix_now().to_string(),
        "type": "text", "text": {"body": text},
    });
    let mut contact = json!({"profile": {"name": "Ines"}});
    for (id, of_message) in
        [("wa_id", "from"), ("user_id", "from_user_id"), ("parent_user_id", "from_parent_user_id")]
    {
        if let Some(value) = ids.get(id) {
            (message[of_message], contact[id]) = (value.clone(), value.clone());
        }
    }
    org.webhook("messages", json!({"contacts": [contact], "messages": [message]}))
}

/// The provider says in a message that something about the customer is new.
fn says(org: &Org, extra: &Value, event: &Value) -> Value {
    let at = unix_now().to_string();
    let mut message = json!({"id": "wamid.S", "timestamp": at, "type": "system", "system": event});
    message.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    org.webhook("messages", json!({"messages": [message]}))
}

async fn contacts(org: &Org) -> Vec<Value> {
    serde_json::from_value(org.admin.get("/api/contacts").await.is(200)).unwrap()
}

async fn conversations(org: &Org) -> Vec<Value> {
    serde_json::from_value(org.admin.get("/api/conversations").await.is(200)).unwrap()
}

#[tokio::test]
async fn a_customer_with_a_new_number_and_a_new_id_stays_one_contact_in_one_conversation() {
    let org = Org::found().await;
    let (old, new) = (unique("1555"), unique("1556"));
    let (b1, b2) = (unique("US.1"), unique("US.2"));
    let number = json!({
        "type": "user_changed_number", "wa_id": new, "user_id": b2,
        "body": format!("User Ines changed from {old} to {new}"),
    });
    let id = json!([{
        "wa_id": new, "user_id": {"previous": b1, "current": b2},
        "timestamp": unix_now().to_string(), "detail": "The id was updated.",
    }]);
    let number = says(&org, &json!({"from": old}), &number);
    let id = org.webhook("user_id_update", json!({"user_id_update": id}));
    org.deliver(&writes(&org, &json!({"wa_id": old, "user_id": b1}), "old")).await.is(200);
    for webhook in [&number, &id, &number, &id] {
        org.deliver(webhook).await.is(200);
    }
    org.deliver(&writes(&org, &json!({"wa_id": new, "user_id": b2}), "new")).await.is(200);
    org.deliver(&writes(&org, &json!({"user_id": b1}), "late")).await.is(200);
    let [contact] = &contacts(&org).await[..] else { panic!("one contact") };
    assert_eq!(contact["phone"], json!(new));
    let has_ended = |value: &str| {
        let all = contact["identities"].as_array().unwrap();
        all.iter().find(|known| known["value"] == value).unwrap().get("ended_at").is_some()
    };
    assert_eq!([&old, &b1, &new, &b2].map(|value| has_ended(value)), [true, true, false, false]);
    let [conversation] = &conversations(&org).await[..] else { panic!("one conversation") };
    assert_eq!(conversation["contact_id"], contact["id"]);
    assert_eq!(conversation["unread_count"], 3, "what the provider says counts as nothing");
    let path = format!("/api/conversations/{}/messages", conversation["id"].as_str().unwrap());
    let messages = org.admin.get(&path).await.is(200);
    let said = |kind: &str| -> Vec<Value> {
        let all = messages.as_array().unwrap().iter().rev();
        all.filter(|message| message["kind"] == kind).map(|m| m["text"].clone()).collect()
    };
    assert_eq!(said("text"), ["old", "new", "late"]);
    assert_eq!(said("system"), [json!(format!("User Ines changed from {old} to {new}"))], "once");
    org.admin.post(&path, json!({"text": "Hello at your new number"})).await.is(201);
    eventually(async || (org.server.graph.sends().to(&new).count() == 1).then_some(())).await;
}

#[tokio::test]
async fn two_that_people_worked_on_are_suggested_to_each_other_and_to_nobody_else() {
    let (org, other) = (Org::found().await, Org::found().await);
    let (phone, id) = (unique("1555"), unique("US."));
    let both = json!({"wa_id": phone, "user_id": id});
    for ids in [json!({"wa_id": phone}), json!({"user_id": id})] {
        org.deliver(&writes(&org, &ids, "hello")).await.is(200);
    }
    other.deliver(&writes(&other, &both, "hello")).await.is(200);
    let mut paths = Vec::new();
    for contact in contacts(&org).await {
        assert!(contact.get("merge_suggestions").is_none());
        let path = format!("/api/contacts/{}", contact["id"].as_str().unwrap());
        org.admin.patch(&path, json!({"tags": ["vip"]})).await.is(200);
        paths.push(path);
    }
    org.deliver(&writes(&org, &both, "it is me")).await.is(200);
    assert_eq!(paths.len(), 2);
    for (path, with) in [(&paths[0], &paths[1]), (&paths[1], &paths[0])] {
        let contact = org.admin.get(path).await.is(200);
        let suggestion = &contact["merge_suggestions"][0];
        let with = with.strip_prefix("/api/contacts/").unwrap();
        assert_eq!(
            (&suggestion["contact_id"], &suggestion["reason"]),
            (&json!(with), &json!("named_together"))
        );
        assert_eq!(suggestion["identity"], json!({"kind": "phone", "value": phone}));
        other.admin.get(path).await.is(404);
    }
    assert!(contacts(&other).await[0].get("merge_suggestions").is_none());
}

#[tokio::test]
async fn the_id_of_a_contact_that_was_merged_answers_as_the_contact_that_it_became() {
    let org = Org::found().await;
    let (phone, id) = (unique("1555"), unique("US."));
    org.deliver(&writes(&org, &json!({"wa_id": phone}), "by number")).await.is(200);
    let first = contacts(&org).await[0]["id"].clone();
    org.deliver(&writes(&org, &json!({"user_id": id}), "by id")).await.is(200);
    let both = contacts(&org).await;
    let second = both.iter().find(|contact| contact["id"] != first).unwrap()["id"].clone();
    org.deliver(&writes(&org, &json!({"wa_id": phone, "user_id": id}), "both")).await.is(200);
    let path = format!("/api/contacts/{}", second.as_str().unwrap());
    let contact = org.admin.get(&path).await.is(200);
    assert_eq!((&contact["id"], &contacts(&org).await[..]), (&first, &[contact.clone()][..]));
    let all = org.admin.get(&format!("{path}/conversations")).await.is(200);
    let statuses: Vec<_> = all.as_array().unwrap().iter().map(|c| c["status"].clone()).collect();
    assert_eq!(statuses, ["resolved", "open"], "newest first");
    org.admin.patch(&path, json!({"name": "Noor"})).await.is(200);
    let open = org.conversation(&phone).await;
    assert_eq!(open["contact_id"], first);
    assert_eq!(open["unread_count"], 3, "what was unread there is unread here");
    eventually(async || (org.conversation(&phone).await["contact_name"] == "Noor").then_some(()))
        .await;
}

#[tokio::test]
async fn whoever_has_only_a_number_s_id_then_both_then_another_id_stays_one_contact() {
    let org = Org::found().await;
    let (phone, b1, b2) = (unique("1555"), unique("US.1"), unique("US.2"));
    org.deliver(&writes(&org, &json!({"user_id": b1}), "by id")).await.is(200);
    org.deliver(&writes(&org, &json!({"user_id": b1, "wa_id": phone}), "by both")).await.is(200);
    // The id changes in the same body as a message that has the new one already, and before it.
    let mut body = writes(&org, &json!({"user_id": b2}), "by the new id");
    let pair = json!({"previous": b1, "current": b2});
    let at = unix_now().to_string();
    let change = json!([{"wa_id": phone, "user_id": pair, "timestamp": at, "detail": "New id."}]);
    let change = org.webhook("user_id_update", json!({"user_id_update": change}));
    let change = change["entry"][0]["changes"][0].clone();
    body["entry"][0]["changes"].as_array_mut().unwrap().push(change);
    org.deliver(&body).await.is(200);
    let [contact] = &contacts(&org).await[..] else { panic!("one contact") };
    assert_eq!(contact["phone"], json!(phone));
    let mut open = conversations(&org).await;
    open.retain(|conversation| conversation["status"] == "open");
    assert_eq!((open.len(), &open[0]["unread_count"]), (1, &json!(3)));
}

#[tokio::test]
async fn who_was_introduced_is_known_by_a_reference_alone_however_late_that_is_told() {
    let org = Org::found().await;
    let (page, person) = (unique("50"), unique("81"));
    let config = json!({"page_id": page, "access_token": "a token", "app_secret": org.secret});
    let draft = json!({"channel": "messenger", "config": config});
    org.admin.post("/api/integrations/accounts", draft).await.is(201);
    let post = async |events: &[Value]| {
        let entry = json!({"id": page, "messaging": events});
        org.deliver(&json!({"object": "page", "entry": [entry]})).await.is(200);
    };
    let event = |sender: Value, part: Value| {
        let mut event = part;
        (event["sender"], event["recipient"]) = (sender, json!({"id": page}));
        event["timestamp"] = (unix_now() * 1000).into();
        event
    };
    let (r1, r2) = (unique("ref"), unique("ref"));
    let pressed = |reference: &str, title: &str| {
        let part = json!({"postback": {"title": title, "payload": "GO", "mid": unique("m.")}});
        event(json!({"user_ref": reference}), part)
    };
    let says = |reference: &str, text: &str| {
        let prior = json!({"source": "checkbox_plugin", "identifier": reference});
        let part = json!({"message": {"mid": unique("m."), "text": text}, "prior_message": prior});
        event(json!({"id": person}), part)
    };
    post(&[says(&r1, "it is me")]).await;
    // Behind the introduction, and in one body with another one.
    post(&[pressed(&r1, "pressed")]).await;
    post(&[pressed(&r2, "pressed again"), says(&r2, "me again")]).await;
    assert!(org.server.dead_letters(&org).await.is_empty());
    let [contact] = &contacts(&org).await[..] else { panic!("one contact") };
    assert_eq!(contact["identities"][0]["value"], json!(person));
    let [conversation] = &conversations(&org).await[..] else { panic!("one conversation") };
    assert_eq!(conversation["unread_count"], 4);
}
