//! Instagram: where its webhooks differ from Messenger's.

use engine::account::Account;
use engine::channel::webhook::{Meant, open};
use engine::channel::{Amend, Amender, Channel, Handle, Inbound, InboundMessage, Receipt};
use engine::contact::IdentityKind;
use engine::id::{AccountId, TenantId};
use engine::message::{Content, MessageKind, MessageStatus, Story};
use engine::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const SAID: Timestamp = Timestamp(1_789_999_990_123);

#[cfg(test)]
fn items(list: &str, event: &Value, time: &Value) -> Vec<Inbound> {
    let entry = json!({"id": "17841", "time": time, list: [event]});
    let body = json!({"object": "instagram", "entry": [entry]}).to_string();
    let parts = open(body.as_bytes()).unwrap();
    let [part] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((part.channel(), part.meant()), (Channel::Instagram, Meant::Account("17841")));
    let (id, tenant) = (AccountId(Uuid::nil()), TenantId(Uuid::nil()));
    let account = Account::new(id, tenant, Channel::Instagram, "17841", "Shop", NOW);
    part.read(&account, NOW).items
}

#[cfg(test)]
fn event(sender: &str, recipient: &str, part: &Value) -> Value {
    let mut event = json!({
        "sender": {"id": sender}, "recipient": {"id": recipient}, "timestamp": SAID.0,
    });
    for (key, value) in part.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

#[cfg(test)]
fn item(event: &Value) -> Inbound {
    let mut items = items("messaging", event, &json!(1_790_000_000_001_u64));
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

#[cfg(test)]
fn received(message: Value) -> InboundMessage {
    match item(&event("92", "17841", &json!({"message": message}))) {
        Inbound::Message(message) => *message,
        other => panic!("{other:?}"),
    }
}

#[cfg(test)]
fn customer() -> Vec<Handle> {
    vec![Handle { kind: IdentityKind::Igsid, value: "92".to_owned() }]
}

#[test]
fn a_text_is_of_whoever_the_account_knows_by_that_id() {
    let message = received(json!({"mid": "ig.1", "text": "Olá, têm botas?"}));
    assert_eq!((message.from, message.sent_at), (customer(), Some(SAID)));
    assert_eq!(message.content, Content::text("Olá, têm botas?"));
}

#[test]
fn an_answer_to_a_story_names_the_story_and_no_message() {
    let story = json!({"id": 1780, "url": "https://example.com/story"});
    let message = received(json!({"mid": "ig.2", "text": "Nice!", "reply_to": {"story": story}}));
    let url = Some("https://example.com/story".to_owned());
    assert_eq!(message.story, Some(Story { id: "1780".to_owned(), url }));
    assert_eq!((message.reply_to, message.content.kind), (None, MessageKind::Text));
}

#[test]
fn a_mention_in_a_story_is_shown_as_the_story() {
    let mention = json!({"type": "story_mention", "payload": {"url": "https://example.com/s"}});
    let content = received(json!({"mid": "ig.3", "attachments": [mention]})).content;
    assert_eq!((content.kind, content.attachments[0].kind.as_str()), (MessageKind::Story, "story"));
}

#[test]
fn a_like_is_a_sticker_without_anything_else() {
    let content = received(json!({"mid": "ig.4", "attachments": [{"type": "like_heart"}]})).content;
    let [heart] = &content.attachments[..] else { panic!("one heart") };
    assert_eq!((content.kind, heart.kind.as_str()), (MessageKind::Sticker, "sticker"));
    assert_eq!(heart.url, None);
}

#[test]
fn a_post_that_comes_in_both_forms_is_one() {
    let url = "https://example.com/p";
    let old = json!({"type": "share", "payload": {"url": url}});
    let post = json!({"url": url, "title": "Boots", "ig_post_media_id": 17});
    let new = json!({"type": "ig_post", "payload": post});
    let shown = received(json!({"mid": "ig.5", "attachments": [old, new]})).content;
    let [one] = &shown.attachments[..] else { panic!("one post") };
    assert_eq!((shown.kind, one.name.as_deref()), (MessageKind::Share, Some("Boots")));
    assert_eq!(one.provider_media_id.as_deref(), Some("17"));
    let another = json!({"type": "share", "payload": {"url": "https://example.com/q"}});
    let two = received(json!({"mid": "ig.6", "attachments": [another, new]})).content;
    assert_eq!(two.attachments.len(), 2, "another one is another one");
}

#[test]
fn a_message_that_is_seen_is_named_by_its_id() {
    let seen = event("92", "17841", &json!({"read": {"mid": "ig.7"}}));
    let receipt = Receipt {
        provider_id: "ig.7".to_owned(),
        opaque: None,
        status: MessageStatus::Read,
        at: Some(SAID),
        recipient: customer(),
        error: None,
    };
    assert_eq!(item(&seen), Inbound::Receipt(receipt));
}

#[test]
fn an_echo_is_of_the_customer_even_where_the_business_goes_by_its_other_id() {
    let message = json!({"message": {"mid": "ig.8", "text": "On its way", "is_echo": true}});
    for sender in ["17841", "25001"] {
        let Inbound::Echo(echo) = item(&event(sender, "92", &message)) else { panic!("an echo") };
        assert_eq!((echo.to, echo.provider_id.as_str()), (customer(), "ig.8"));
    }
    let Inbound::Echo(echo) = item(&event("92", "17841", &message)) else { panic!("an echo") };
    assert_eq!(echo.to, customer(), "whoever of both is not the account");
}

#[test]
fn a_test_of_the_account_with_itself_is_nobody_s_message() {
    let note = json!({"mid": "ig.9", "text": "test", "is_echo": true, "is_self": true});
    let note = json!({"message": note});
    assert_eq!(item(&event("17841", "17841", &note)), Inbound::Ignored("self"));
    assert_eq!(item(&event("25001", "17841", &note)), Inbound::Ignored("self"));
}

#[test]
fn edits_and_deletions_name_their_message() {
    let edit = json!({"message_edit": {"mid": "ig.1", "text": "two pairs", "num_edit": "1"}});
    let Inbound::Amendment(edit) = item(&event("92", "17841", &edit)) else { panic!("an edit") };
    assert_eq!((edit.target.as_str(), edit.by), ("ig.1", Amender::Customer));
    assert_eq!(edit.what, Amend::Edit(Content::text("two pairs")));
    let gone = json!({"message": {"mid": "ig.1", "is_deleted": true}});
    let Inbound::Amendment(gone) = item(&event("92", "17841", &gone)) else { panic!("a deletion") };
    assert_eq!((gone.target.as_str(), gone.what), ("ig.1", Amend::Deletion));
}

#[test]
fn an_ice_breaker_is_a_button() {
    let postback = json!({"mid": "ig.10", "title": "Where are you?", "payload": "{\"q\":1}"});
    let Inbound::Message(message) = item(&event("92", "17841", &json!({"postback": postback})))
    else {
        panic!("a message")
    };
    assert_eq!(message.content.kind, MessageKind::Button);
    assert_eq!(message.content.payload.as_deref(), Some("{\"q\":1}"));
}

#[test]
fn what_happens_in_public_opens_no_conversation() {
    for (field, counted) in [
        ("comments", "comment"),
        ("live_comments", "comment"),
        ("mentions", "mention"),
        ("other", "event"),
    ] {
        let value =
            json!({"from": {"id": "92", "username": "noor"}, "id": "1790", "text": "How much?"});
        let change = json!({"field": field, "value": value});
        let read = items("changes", &change, &json!("1790000000"));
        assert_eq!(read, [Inbound::Ignored(counted)], "{field}");
    }
    let nameless = items("changes", &json!({"value": {}}), &json!(1));
    assert!(matches!(nameless[..], [Inbound::Dead { .. }]));
}
