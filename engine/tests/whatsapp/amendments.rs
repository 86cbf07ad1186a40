//! What customers, and the business in its phone app, do to messages.

use engine::channel::whatsapp::{decode, open};
use engine::channel::{Amend, Amender, Amendment, Inbound};
use engine::contact::IdentityKind;
use engine::message::MessageKind;
use engine::time::Timestamp;
use serde_json::{Value, json};

use crate::{NOW, handle, items, message};

fn amendment(sent: &Value) -> Amendment {
    let items = items(&json!({"messages": [sent]}));
    let [Inbound::Amendment(amendment)] = &items[..] else { panic!("{items:?}") };
    amendment.clone()
}

fn of(kind: &str, part: &Value) -> Value {
    let mut sent = message(&json!({"type": kind, "text": null}));
    sent[kind] = part.clone();
    sent
}

fn echoed(echo: &Value) -> Vec<Inbound> {
    let metadata = json!({"phone_number_id": "7001", "display_phone_number": "+44 1234"});
    let value = json!({"metadata": metadata, "message_echoes": [echo]});
    let changes = json!([{"field": "smb_message_echoes", "value": value}]);
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": "9001", "changes": changes}]});
    let body = body.to_string().into_bytes();
    decode(&open(&body).unwrap().changes[0], NOW)
}

#[test]
fn a_reaction_names_its_message_and_without_an_emoji_is_taken_back() {
    for (emoji, wanted) in [(json!("👍🏽"), Some("👍🏽")), (json!(""), None), (json!(null), None)]
    {
        let told = amendment(&of("reaction", &json!({"message_id": "wamid.OLD", "emoji": emoji})));
        assert_eq!((told.target.as_str(), &told.by), ("wamid.OLD", &Amender::Customer));
        assert_eq!(told.what, Amend::Reaction(wanted.map(str::to_owned)));
        assert_eq!(told.provider_id.as_deref(), Some("wamid.A1"));
        assert_eq!(told.at, Some(Timestamp(1_789_999_990_000)));
        assert_eq!(told.customer, [handle(IdentityKind::Phone, "33600000001")]);
    }
    let missing = amendment(&of("reaction", &json!({"message_id": "wamid.OLD"})));
    assert_eq!(missing.what, Amend::Reaction(None));
}

#[test]
fn one_of_a_group_amends_for_themselves() {
    let mut sent = of("reaction", &json!({"message_id": "wamid.OLD", "emoji": "👍"}));
    sent["group_id"] = "group-1".into();
    let told = amendment(&sent);
    assert_eq!(told.customer, [handle(IdentityKind::Group, "group-1")]);
    let Amender::Author(author) = told.by else { panic!("{:?}", told.by) };
    assert_eq!(author.handles, [handle(IdentityKind::Phone, "33600000001")]);
}

#[test]
fn an_edit_says_what_the_message_says_from_now_on() {
    let image = json!({"context": {"id": "M0"}, "type": "image", "image": {"id": "9", "caption": "better"}});
    let told =
        amendment(&of("edit", &json!({"original_message_id": "wamid.OLD", "message": image})));
    let Amend::Edit(content) = &told.what else { panic!("{:?}", told.what) };
    assert_eq!((told.target.as_str(), content.kind), ("wamid.OLD", MessageKind::Image));
    assert_eq!(content.text.as_deref(), Some("better"));
    let text = json!({"text": {"body": "better"}});
    let told =
        amendment(&of("edit", &json!({"original_message_id": "wamid.OLD", "message": text})));
    assert!(
        matches!(&told.what, Amend::Edit(content) if content.text.as_deref() == Some("better"))
    );
}

#[test]
fn what_names_no_message_or_says_nothing_is_a_dead_letter() {
    for (kind, part) in [
        ("reaction", json!({"emoji": "👍"})),
        ("reaction", json!({"message_id": "wamid.OLD", "emoji": "👍".repeat(40)})),
        ("edit", json!({"message": {"type": "text", "text": {"body": "better"}}})),
        ("edit", json!({"original_message_id": "wamid.OLD"})),
        ("edit", json!({"original_message_id": "wamid.OLD", "message": {"type": "hologram"}})),
        ("revoke", json!({})),
    ] {
        let items = items(&json!({"messages": [of(kind, &part)]}));
        assert!(matches!(&items[..], [Inbound::Dead { .. }]), "{kind} {part}: {items:?}");
    }
}

#[test]
fn the_phone_app_edits_deletes_and_reacts_as_the_business() {
    let echo = |kind: &str, part: Value| {
        let mut echo =
            json!({"from": "441234", "to": "33600000001", "id": "wamid.E", "type": kind});
        echo[kind] = part;
        let items = echoed(&echo);
        let [Inbound::Amendment(told)] = &items[..] else { panic!("{items:?}") };
        assert_eq!(told.by, Amender::Business);
        assert_eq!(told.customer, [handle(IdentityKind::Phone, "33600000001")]);
        assert_eq!(told.target, "wamid.OLD");
        told.what.clone()
    };
    let text = json!({"type": "text", "text": {"body": "better"}});
    let edit = echo("edit", json!({"original_message_id": "wamid.OLD", "message": text}));
    assert!(matches!(edit, Amend::Edit(content) if content.text.as_deref() == Some("better")));
    assert_eq!(echo("revoke", json!({"original_message_id": "wamid.OLD"})), Amend::Deletion);
    let reaction = echo("reaction", json!({"message_id": "wamid.OLD", "emoji": "🎉"}));
    assert_eq!(reaction, Amend::Reaction(Some("🎉".to_owned())));
}

#[test]
fn an_echo_that_names_the_business_on_both_sides_is_to_the_one_that_it_is_not() {
    let text = json!({"body": "By phone"});
    for (from, to) in [("441234", "33600000001"), ("33600000001", "441234")] {
        let items =
            echoed(&json!({"from": from, "to": to, "id": "wamid.E", "type": "text", "text": text}));
        let [Inbound::Echo(echo)] = &items[..] else { panic!("{items:?}") };
        assert_eq!(echo.to, [handle(IdentityKind::Phone, "33600000001")], "from {from} to {to}");
    }
    let itself = echoed(&json!({"from": "441234", "to": "441234", "id": "wamid.E", "text": text}));
    assert!(matches!(&itself[..], [Inbound::Dead { .. }]), "{itself:?}");
    let image = json!({"from": "441234", "to": "33600000001", "id": "wamid.E", "type": "image", "image": {"id": "4", "caption": "this one"}});
    let items = echoed(&image);
    let [Inbound::Echo(echo)] = &items[..] else { panic!("{items:?}") };
    assert_eq!(
        (echo.content.kind, echo.content.text.as_deref()),
        (MessageKind::Image, Some("this one"))
    );
}

#[test]
fn what_became_of_a_message_at_one_of_a_group_is_not_what_became_of_it() {
    let status = json!({"id": "wamid.S", "status": "read", "recipient_id": "group-1", "recipient_type": "group"});
    let mut of_one = status.clone();
    of_one["recipient_participant_id"] = "33600000001".into();
    let items = items(&json!({"statuses": [of_one, status]}));
    let [Inbound::Ignored("participant"), Inbound::Receipt(receipt)] = &items[..] else {
        panic!("{items:?}")
    };
    assert_eq!(receipt.recipient, [handle(IdentityKind::Group, "group-1")]);
}
