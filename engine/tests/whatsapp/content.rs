//! What customers' messages of each type say.

use engine::channel::{Inbound, InboundMessage};
use engine::contact::IdentityKind;
use engine::message::{Attachment, Labelled, MessageKind};
use serde_json::{Value, json};

use crate::{handle, items, message};

/// The message that a payload of this type becomes.
pub(crate) fn read(kind: &str, part: &Value) -> InboundMessage {
    read_with(kind, part, &json!({}))
}

fn read_with(kind: &str, part: &Value, beside: &Value) -> InboundMessage {
    let mut sent = message(&json!({"type": kind, "text": null}));
    sent[kind] = part.clone();
    for (key, value) in beside.as_object().unwrap() {
        sent[key] = value.clone();
    }
    let items = items(&json!({"messages": [sent]}));
    let [Inbound::Message(message)] = &items[..] else { panic!("{items:?}") };
    InboundMessage::clone(message)
}

fn only(message: &InboundMessage) -> &Attachment {
    let [one] = &message.content.attachments[..] else { panic!("{message:?}") };
    one
}

#[test]
fn a_file_of_each_kind_becomes_an_attachment_with_its_caption() {
    for (sent, shown, kind) in [
        ("image", "image", MessageKind::Image),
        ("video", "video", MessageKind::Video),
        ("document", "document", MessageKind::Document),
        ("audio", "audio", MessageKind::Audio),
        ("voice", "audio", MessageKind::Audio),
        ("sticker", "sticker", MessageKind::Sticker),
    ] {
        let part = json!({
            "id": 730_001, "mime_type": "audio/ogg; codecs=opus", "sha256": "q83v", "caption": "our garden",
            "url": "https://files.example.test/1?a=b", "animated": sent == "sticker", "voice": sent == "audio",
        });
        let message = read(sent, &part);
        assert_eq!(message.content.kind, kind, "{sent}");
        assert_eq!(message.content.text.as_deref(), Some("our garden"));
        assert_eq!(message.content.raw, None);
        let wanted = Attachment {
            kind: shown.to_owned(),
            mime_type: Some("audio/ogg; codecs=opus".to_owned()),
            provider_media_id: Some("730001".to_owned()),
            url: Some("https://files.example.test/1?a=b".to_owned()),
            caption: Some("our garden".to_owned()),
            sha256: Some("q83v".to_owned()),
            voice: matches!(sent, "audio" | "voice"),
            animated: sent == "sticker",
            ..Attachment::default()
        };
        assert_eq!(*only(&message), wanted, "{sent}");
    }
    let slashed = read("audio", &json!({"id": "1", "mime_type": "audio\\/mpeg"}));
    assert_eq!(only(&slashed).mime_type.as_deref(), Some("audio/mpeg"));
}

#[test]
fn the_name_of_a_file_is_a_name_and_nothing_more() {
    let long = "n".repeat(300);
    for (sent, shown) in [
        ("offer.pdf", Some("offer.pdf")),
        ("../../etc/passwd", Some("passwd")),
        ("C:\\temp\\offer.pdf", Some("offer.pdf")),
        ("a\u{202e}fdp.exe", Some("afdp.exe")),
        ("tab\there\n.txt", Some("tabhere.txt")),
        ("..", None),
        ("folder/", None),
        ("", None),
        (&long, Some(&long[..255])),
    ] {
        let document = read("document", &json!({"id": "1", "filename": sent}));
        assert_eq!(only(&document).filename.as_deref(), shown, "{sent:?}");
    }
}

#[test]
fn a_place_is_where_it_says() {
    let part = json!({"latitude": 48.2, "longitude": "16.37", "name": "The shop", "address": "Lane 4", "url": "https://s.test"});
    let message = read("location", &part);
    let place = only(&message);
    assert_eq!((message.content.kind, place.kind.as_str()), (MessageKind::Location, "location"));
    assert_eq!((place.latitude, place.longitude), (Some(48.2), Some(16.37)));
    assert_eq!(place.name.as_deref(), Some("The shop"));
    assert_eq!(place.address.as_deref(), Some("Lane 4"));
    let nowhere = read("location", &json!({"latitude": 48.2}));
    assert_eq!(nowhere.content.kind, MessageKind::Unsupported);
}

#[test]
fn every_card_is_an_attachment() {
    let cards = json!([
        {"name": {"formatted_name": "Noor Haddad"}, "org": {"company": "Blue Ltd"},
         "phones": [{"phone": "+44 1234", "wa_id": "441234", "type": "Cellulare"}, {"type": "HOME"}],
         "emails": [{"email": "noor@blue.test", "type": "WORK"}]},
        {"name": {"first_name": "Ola", "last_name": "Berg"}, "phones": []},
        {},
    ]);
    let message = read("contacts", &cards);
    assert_eq!(message.content.kind, MessageKind::Contacts);
    let names: Vec<_> = message.content.attachments.iter().map(|a| a.name.as_deref()).collect();
    assert_eq!(names, [Some("Noor Haddad"), Some("Ola Berg"), None]);
    let noor = &message.content.attachments[0];
    let labelled = |value: &str, label: &str, wa_id: Option<&str>| Labelled {
        value: value.to_owned(),
        label: Some(label.to_owned()),
        wa_id: wa_id.map(str::to_owned),
    };
    assert_eq!(noor.phones, [labelled("+44 1234", "Cellulare", Some("441234"))]);
    assert_eq!(noor.emails, [labelled("noor@blue.test", "WORK", None)]);
    assert_eq!(noor.organization.as_deref(), Some("Blue Ltd"));
}

#[test]
fn an_answer_by_a_press_has_its_title_and_its_value_unchanged() {
    let press = |kind: &str, part: Value, beside: &str| {
        let message = read(kind, &part);
        let content = message.content;
        assert_eq!(
            content.kind,
            if kind == "button" { MessageKind::Button } else { MessageKind::Interactive }
        );
        assert_eq!(content.payload.as_deref(), Some(beside));
        content.text
    };
    let text = press(
        "interactive",
        json!({"type": "button_reply", "button_reply": {"id": "b:1", "title": "Yes"}}),
        "b:1",
    );
    assert_eq!(text.as_deref(), Some("Yes"));
    let list = json!({"list_reply": {"id": "l:2", "title": "Monday", "description": "from nine"}});
    assert_eq!(press("interactive", list, "l:2").as_deref(), Some("Monday"));
    assert_eq!(
        press("button", json!({"payload": "STOP", "text": "Stop it"}), "STOP").as_deref(),
        Some("Stop it")
    );
    for answers in ["{\"size\": 4, \"note\":\"\\u00e4\"}", "{\"cut", "[1]", "null"] {
        let flow = json!({"type": "nfm_reply", "nfm_reply": {"name": "flow", "body": "Sent", "response_json": answers}});
        assert_eq!(press("interactive", flow, answers).as_deref(), Some("Sent"), "{answers}");
    }
    for nothing in [
        json!({}),
        json!({"button_reply": {}}),
        json!({"nfm_reply": {"body": "Sent"}}),
        json!(null),
    ] {
        assert_eq!(
            read("interactive", &nothing).content.kind,
            MessageKind::Unsupported,
            "{nothing}"
        );
    }
}

#[test]
fn an_order_is_passed_on_as_it_was_sent() {
    let order = json!({"text": "Soon, please", "catalog_id": "88", "product_items": [{"product_retailer_id": "x1", "quantity": 2, "item_price": 99.99, "currency": "JPY"}]});
    let message = read("order", &order);
    assert_eq!(
        (message.content.kind, message.content.text.as_deref()),
        (MessageKind::Order, Some("Soon, please"))
    );
    assert_eq!(message.content.payload, Some(order.to_string()));
}

#[test]
fn what_nobody_understands_is_shown_as_such_with_the_provider_s_reason() {
    let errors = json!([{"code": 131_051, "title": "Unknown", "error_data": {"details": "Not supported here."}}]);
    let message = read_with("unsupported", &json!({"type": "poll"}), &json!({"errors": errors}));
    assert_eq!(message.content.kind, MessageKind::Unsupported);
    assert_eq!(message.error.unwrap().to_string(), "131051: Not supported here.");
    for kind in ["unknown", "any", "hologram", "image"] {
        let message = read(kind, &json!("not what it should be"));
        assert_eq!(message.content.kind, MessageKind::Unsupported, "{kind}");
        let raw: Value = serde_json::from_str(&message.content.raw.unwrap()).unwrap();
        assert_eq!(raw["type"], kind);
    }
}

#[test]
fn a_type_that_is_not_named_is_that_of_the_part_that_is_there() {
    let place =
        message(&json!({"type": null, "text": null, "location": {"latitude": 1, "longitude": 2}}));
    let items = items(&json!({"messages": [place]}));
    let [Inbound::Message(message)] = &items[..] else { panic!("{items:?}") };
    assert_eq!(message.content.kind, MessageKind::Location);
}

#[test]
fn nothing_that_a_person_would_read_is_made_of_a_greeting_or_a_preference() {
    for (kind, part) in [
        ("request_welcome", json!({})),
        (
            "interactive",
            json!({"type": "call_permission_reply", "call_permission_reply": {"response": "accept"}}),
        ),
    ] {
        let mut sent = message(&json!({"type": kind, "text": null}));
        sent[kind] = part;
        let items = items(&json!({"messages": [sent]}));
        assert!(matches!(&items[..], [Inbound::Ignored(_)]), "{items:?}");
    }
}

#[test]
fn an_advertisement_is_told_with_the_message_that_came_by_it() {
    let referral = json!({
        "source_url": "https://ad.test/1", "source_id": 12, "source_type": "ad", "headline": "Blue chairs",
        "body": "All of them", "media_type": "video", "video_url": "https://ad.test/1.mp4", "ctwa_clid": "click",
        "welcome_message": {"text": "What can we do?"},
    });
    let message = read_with("text", &json!({"body": "hello"}), &json!({"referral": referral}));
    let told = message.referral.unwrap();
    assert_eq!(told.source_id.as_deref(), Some("12"));
    assert_eq!(told.media_url.as_deref(), Some("https://ad.test/1.mp4"));
    assert_eq!(told.click_id.as_deref(), Some("click"));
    assert_eq!(told.welcome_message.as_deref(), Some("What can we do?"));
    let none = read_with("text", &json!({"body": "hello"}), &json!({"referral": {}}));
    assert_eq!(none.referral, None);
}

#[test]
fn a_group_is_the_customer_and_who_wrote_is_told_beside_it() {
    let sent = message(&json!({"group_id": "group-1"}));
    let contacts =
        json!([{"wa_id": "33600000001", "user_id": "FR.1", "profile": {"name": "Noor"}}]);
    let items = items(&json!({"messages": [sent], "contacts": contacts}));
    let [Inbound::Message(message)] = &items[..] else { panic!("{items:?}") };
    assert_eq!(message.from, [handle(IdentityKind::Group, "group-1")]);
    assert_eq!(message.name, None, "a group is not called like one of it");
    let author = message.author.as_ref().unwrap();
    assert_eq!(author.name.as_deref(), Some("Noor"));
    let (bsuid, phone) = (IdentityKind::Bsuid, IdentityKind::Phone);
    assert_eq!(author.handles, [handle(bsuid, "FR.1"), handle(phone, "33600000001")]);
}
