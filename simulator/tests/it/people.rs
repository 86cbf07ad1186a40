//! Scripted customers over real sockets.

use serde_json::{Value, json};
use simulator::{Act, Customer, Graph, Who};

use crate::engine::{Taken, inbox, message, value};
use crate::stand::{post_to, still};

async fn stand(who: &Who) -> (Graph, Customer, Taken) {
    let (url, taken) = inbox(0).await;
    let graph = still(&url).await;
    let customer = graph.customer("1065", who).unwrap();
    (graph, customer, taken)
}

fn ines() -> Who {
    Who::with_phone("15550100003", "Ines")
}

fn text(text: &str) -> Act {
    Act::Text { text: text.to_owned(), quote: false }
}

async fn send(graph: &Graph, to: &str, kind: &str, content: Value) -> String {
    let mut body = json!({"messaging_product": "whatsapp", "type": kind, kind: content});
    body[if to.contains('.') { "recipient" } else { "to" }] = json!(to);
    let (http, answer) = post_to(graph, "1065/messages", &body).await;
    assert_eq!(http, 200, "{answer}");
    answer["messages"][0]["id"].as_str().unwrap().to_owned()
}

async fn next(taken: &mut Taken) -> Value {
    let (signed, webhook) = taken.recv().await.unwrap();
    assert!(signed);
    webhook
}

#[tokio::test]
async fn an_album_is_as_many_webhooks_as_pictures() {
    let (_graph, ines, mut taken) = stand(&ines()).await;
    let mut ids = ines.does(Act::Album { photos: 5 }).await.unwrap();
    let mut came = Vec::new();
    for _ in 0..5 {
        let webhook = next(&mut taken).await;
        assert_eq!(message(&webhook)["type"], "image");
        came.push(message(&webhook)["id"].as_str().unwrap().to_owned());
    }
    ids.sort();
    came.sort();
    assert_eq!(came, ids);
}

#[tokio::test]
async fn a_customer_waits_for_an_answer_and_presses_the_button_it_has() {
    let (graph, ines, mut taken) = stand(&ines()).await;
    let script = tokio::spawn(async move {
        ines.plays(&[text("Open?"), Act::AwaitAnswer, Act::Press { choice: 1 }]).await
    });
    assert_eq!(message(&next(&mut taken).await)["text"]["body"], "Open?");
    let button = |id: &str| json!({"type": "reply", "reply": {"id": id, "title": id}});
    let buttons = json!({
        "type": "button", "body": {"text": "Which?"},
        "action": {"buttons": [button("today"), button("tomorrow")]},
    });
    let ours = send(&graph, "15550100003", "interactive", buttons).await;
    let pressed = next(&mut taken).await;
    assert_eq!(message(&pressed)["context"]["id"], json!(ours));
    let reply = json!({"id": "tomorrow", "title": "tomorrow"});
    assert_eq!(message(&pressed)["interactive"]["button_reply"], reply);
    script.await.unwrap().unwrap();
}

#[tokio::test]
async fn rows_quick_replies_forms_places_and_contacts_are_answered_in_kind() {
    let (graph, ines, mut taken) = stand(&ines()).await;
    let asks = [
        (
            "interactive",
            json!({
                "type": "list", "body": {"text": "?"},
                "action": {"button": "Choose", "sections": [{"rows": [{"id": "r1", "title": "One"}]}]},
            }),
            "/interactive/list_reply/id",
            "r1",
        ),
        (
            "interactive",
            json!({
                "type": "flow", "body": {"text": "?"},
                "action": {"parameters": {"flow_cta": "Go", "flow_id": "1", "flow_token": "t"}},
            }),
            "/interactive/type",
            "nfm_reply",
        ),
        (
            "interactive",
            json!({
                "type": "location_request_message", "body": {"text": "?"},
                "action": {"name": "send_location"},
            }),
            "/type",
            "location",
        ),
        (
            "interactive",
            json!({
                "type": "request_contact_info", "body": {"text": "?"},
                "action": {"name": "request_contact_info"},
            }),
            "/contacts/0/origin",
            "contact_request",
        ),
        (
            "template",
            json!({
                "name": "hello", "language": {"code": "en"},
                "components": [{
                    "type": "button", "sub_type": "quick_reply", "index": 0,
                    "parameters": [{"type": "payload", "payload": "stop"}],
                }],
            }),
            "/button/payload",
            "stop",
        ),
    ];
    for (kind, content, pointer, wanted) in asks {
        let ours = send(&graph, "15550100003", kind, content).await;
        ines.does(Act::Press { choice: 0 }).await.unwrap();
        let webhook = next(&mut taken).await;
        assert_eq!(message(&webhook).pointer(pointer), Some(&json!(wanted)));
        assert_eq!(message(&webhook)["context"]["id"], json!(ours));
    }
    assert!(ines.does(Act::Press { choice: 9 }).await.is_err());
}

#[tokio::test]
async fn reactions_edits_and_deletions_name_what_they_are_of() {
    let (graph, ines, mut taken) = stand(&ines()).await;
    assert!(ines.does(Act::Unreact).await.is_err());
    let ours = send(&graph, "15550100003", "text", json!({"body": "Hi"})).await;
    ines.does(Act::React { emoji: "👍".into() }).await.unwrap();
    let wanted = json!({"message_id": ours, "emoji": "👍"});
    assert_eq!(message(&next(&mut taken).await)["reaction"], wanted);
    ines.does(Act::Unreact).await.unwrap();
    assert_eq!(message(&next(&mut taken).await)["reaction"]["emoji"], "");

    let own = json!(
        ines.does(Act::Media { kind: simulator::MediaKind::Image, caption: None }).await.unwrap()
            [0]
    );
    next(&mut taken).await;
    ines.does(Act::Edit { text: "Look".into() }).await.unwrap();
    let webhook = next(&mut taken).await;
    let edit = &message(&webhook)["edit"];
    assert_eq!(
        (&edit["original_message_id"], &edit["message"]["image"]["caption"]),
        (&own, &json!("Look"),)
    );
    ines.does(Act::Delete).await.unwrap();
    assert_eq!(message(&next(&mut taken).await)["revoke"]["original_message_id"], own);
}

#[tokio::test]
async fn whoever_changes_number_or_user_id_is_reached_by_the_old_and_the_new_one() {
    let (graph, ines, mut taken) = stand(&ines().and_user_id()).await;
    let before = ines.handles();
    ines.does(Act::ChangeUserId { update_first: true }).await.unwrap();
    let after = ines.handles();
    assert_eq!((before.len(), &before[0], after[1] != before[1]), (2, &after[0], true));
    let update = next(&mut taken).await;
    assert_eq!(update["entry"][0]["changes"][0]["field"], "user_id_update");
    let changed = &value(&update)["user_id_update"][0]["user_id"];
    assert_eq!(changed, &json!({"previous": before[1], "current": after[1]}));
    assert_eq!(message(&next(&mut taken).await)["system"]["user_id"], json!(after[1]));

    ines.does(Act::ChangeUserId { update_first: false }).await.unwrap();
    assert_eq!(message(&next(&mut taken).await)["system"]["type"], "user_changed_user_id");
    next(&mut taken).await;

    ines.does(Act::ChangeNumber { to: "15550100013".into() }).await.unwrap();
    let webhook = next(&mut taken).await;
    let system = &message(&webhook)["system"];
    assert_eq!(
        (&message(&webhook)["from"], &system["wa_id"]),
        (&json!("15550100003"), &json!("15550100013"),)
    );
    for to in ["15550100003", "15550100013", &before[1], &ines.handles()[1]] {
        let ours = send(&graph, to, "text", json!({"body": "Hi"})).await;
        ines.answered().await;
        ines.does(Act::React { emoji: "👍".into() }).await.unwrap();
        assert_eq!(message(&next(&mut taken).await)["reaction"]["message_id"], json!(ours));
    }
}

#[tokio::test]
async fn who_has_a_username_only_is_reached_by_the_user_id() {
    let (graph, ines, mut taken) = stand(&Who::with_username("ines", "Ines")).await;
    ines.does(text("Hello")).await.unwrap();
    let webhook = next(&mut taken).await;
    let user_id = message(&webhook)["from_user_id"].as_str().unwrap();
    assert!(message(&webhook)["from"].is_null());
    send(&graph, user_id, "text", json!({"body": "Hi"})).await;
    ines.answered().await;
}

#[tokio::test]
async fn everything_else_of_whatsapp_is_said_in_its_own_form() {
    let (_graph, ines, mut taken) = stand(&ines()).await;
    let name = Some("Market".to_owned());
    let acts = [
        (Act::Location { latitude: 1.5, longitude: 2.5, name }, "/location/latitude", json!(1.5)),
        (
            Act::Contact { name: "Max".into(), phone: "49".into() },
            "/contacts/0/phones/0/wa_id",
            json!("49"),
        ),
        (Act::Order, "/order/product_items/0/quantity", json!(2)),
        (Act::Unsupported, "/errors/0/code", json!(131_051)),
        (Act::Open, "/type", json!("request_welcome")),
        (Act::FromAdvertisement { text: "Hi".into() }, "/referral/source_type", json!("ad")),
        (Act::InGroup { group: "g1".into(), text: "Hi".into() }, "/group_id", json!("g1")),
    ];
    for (act, pointer, wanted) in acts {
        ines.does(act).await.unwrap();
        let webhook = next(&mut taken).await;
        assert_eq!(message(&webhook).pointer(pointer), Some(&wanted), "{webhook}");
        assert_eq!(message(&webhook)["from"], "15550100003");
    }
    ines.does(Act::OptOut).await.unwrap();
    assert_eq!(value(&next(&mut taken).await)["user_preferences"][0]["value"], "stop");
}
