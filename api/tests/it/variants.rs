//! Payloads of which one node is something else: whatever a provider sends, it hears 200 or 401.

use serde_json::{Value, json};

use crate::harness::{Org, unique};

/// What stands in a node's place; the last is no number that anything holds.
fn instead() -> Vec<String> {
    let long = format!("\"{}\"", "7".repeat(20_000));
    let values = ["null", "[]", "{}", "\"\"", "0", "-1", "true", "[null]", "1e400"];
    values.into_iter().map(str::to_owned).chain([long]).collect()
}

/// The pointers to a value and all that is in it (RFC 6901).
fn nodes(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                nodes(field, &format!("{at}/{name}"), into);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                nodes(item, &format!("{at}/{n}"), into);
            }
        }
        _ => {}
    }
}

/// The payload with every node replaced by every value in turn.
fn variants(payload: &Value) -> Vec<String> {
    let (mut pointers, mut variants) = (Vec::new(), Vec::new());
    nodes(payload, "", &mut pointers);
    for pointer in pointers {
        let mut marked = payload.clone();
        *marked.pointer_mut(&pointer).unwrap() = json!("the mark");
        let marked = marked.to_string();
        variants.extend(instead().iter().map(|value| marked.replace("\"the mark\"", value)));
    }
    variants
}

#[tokio::test]
async fn no_variant_of_a_payload_is_answered_otherwise_than_200_or_401() {
    let org = Org::found().await;
    let phone = unique("1555");
    let id = org.hears(&phone, "Before").await;
    let message = org.text(&unique("wamid."), &phone, "Hello");
    let value = |fields: Value| {
        let mut value = fields;
        value["metadata"] = json!({"phone_number_id": org.number});
        let change = json!({"field": "messages", "value": value});
        let entry = json!({"id": "1", "changes": [change]});
        json!({"object": "whatsapp_business_account", "entry": [entry]})
    };
    let opaque = format!("os1.{id}.{id}.0.1").replace('-', "");
    let status = value(json!({"statuses": [{
        "id": "wamid.x", "status": "failed", "timestamp": "1790000000", "recipient_id": phone,
        "biz_opaque_callback_data": opaque, "errors": [{"code": 1, "title": "No"}],
    }]}));
    let echo = value(json!({"message_echoes": [{
        "id": "wamid.y", "to": phone, "timestamp": "1790000000", "type": "text",
        "text": {"body": "Echo"}, "context": {"id": "wamid.z", "forwarded": false},
    }]}));
    for payload in [message, status, echo] {
        for variant in variants(&payload) {
            let answer = org.deliver_raw(variant.as_bytes()).await;
            let shown: String = variant.chars().take(600).collect();
            assert!([200, 401].contains(&answer.status), "{}: {shown}", answer.status);
        }
    }
    assert_eq!(org.hears(&phone, "After").await, id);
    let path = format!("/api/conversations/{id}/messages?per_page=100");
    let all = org.admin.get(&path).await.is(200);
    let texts: Vec<_> = all.as_array().unwrap().iter().map(|message| &message["text"]).collect();
    assert_eq!((texts.first(), texts.last()), (Some(&&json!("After")), Some(&&json!("Before"))));
}
