//! Messenger: what is read from webhooks, what is sent, what answers mean.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod content;
#[cfg(test)]
mod sends;

use engine::account::Account;
use engine::channel::webhook::{Meant, Part, open};
use engine::channel::{
    Amend, Amender, Channel, Handle, Inbound, InboundMessage, Opaque, Receipt, Watermark,
};
use engine::contact::IdentityKind;
use engine::id::{AccountId, ConversationId, TenantId, ThreadId};
use engine::message::{Content, MessageKind, MessageStatus, Place, Referral};
use engine::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_790_000_000_000);
const SAID: Timestamp = Timestamp(1_789_999_990_123);

#[cfg(test)]
fn account() -> Account {
    let (id, tenant) = (AccountId(Uuid::nil()), TenantId(Uuid::nil()));
    Account::new(id, tenant, Channel::Messenger, "5001", "Shop", NOW)
}

#[cfg(test)]
fn body(list: &str, event: &Value) -> Vec<u8> {
    let entry = json!({"id": "5001", "time": 1_790_000_000_001_u64, list: [event]});
    json!({"object": "page", "entry": [entry]}).to_string().into_bytes()
}

/// What an event of a customer says, with what is put beside its parties and its time.
#[cfg(test)]
fn of_customer(part: &Value) -> Value {
    let mut event = json!({
        "sender": {"id": "81"}, "recipient": {"id": "5001"}, "timestamp": SAID.0,
    });
    for (key, value) in part.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

/// The same of the page.
#[cfg(test)]
fn of_page(part: &Value) -> Value {
    let parties = json!({"sender": {"id": "5001"}, "recipient": {"id": "81"}});
    let mut event = of_customer(part);
    for key in ["sender", "recipient"] {
        event[key] = parties[key].clone();
    }
    event
}

#[cfg(test)]
fn read_in(list: &str, event: &Value) -> Vec<Inbound> {
    let body = body(list, event);
    let parts = open(&body).unwrap();
    let [part] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((part.channel(), part.meant()), (Channel::Messenger, Meant::Account("5001")));
    part.read(&account(), NOW).items
}

#[cfg(test)]
fn items(event: &Value) -> Vec<Inbound> {
    read_in("messaging", event)
}

#[cfg(test)]
fn item(event: &Value) -> Inbound {
    let mut items = items(event);
    assert_eq!(items.len(), 1, "{items:?}");
    items.remove(0)
}

#[cfg(test)]
fn received(part: &Value) -> InboundMessage {
    match item(&of_customer(part)) {
        Inbound::Message(message) => *message,
        other => panic!("{other:?}"),
    }
}

#[cfg(test)]
fn customer() -> Vec<Handle> {
    vec![Handle { kind: IdentityKind::Psid, value: "81".to_owned() }]
}

#[test]
fn a_text_becomes_a_message_of_a_customer_without_a_name() {
    let message = received(&json!({"message": {"mid": "m_1", "text": "Still open?"}}));
    assert_eq!((message.from, message.name), (customer(), None));
    assert_eq!((message.provider_id.as_deref(), message.dedup), (Some("m_1"), None));
    assert_eq!((message.sent_at, message.content), (Some(SAID), Content::text("Still open?")));
}

#[test]
fn ids_may_be_numbers_and_times_seconds_or_texts() {
    for (time, at) in [
        (json!(1_789_999_990), Some(Timestamp(1_789_999_990_000))),
        (json!("1789999990"), Some(Timestamp(1_789_999_990_000))),
        (json!("1789999990123"), Some(SAID)),
        (json!(17), None),
        (json!(1_799_999_990_123_u64), None),
        (json!(null), None),
    ] {
        let mut event = of_customer(&json!({"message": {"mid": "m_1", "text": "Hi"}}));
        (event["timestamp"], event["sender"]["id"]) = (time.clone(), json!(81));
        let Inbound::Message(message) = item(&event) else { panic!("a message") };
        assert_eq!((message.sent_at, message.from), (at, customer()), "{time}");
    }
}

#[test]
fn an_answer_names_what_it_answers_and_a_quick_reply_its_payload() {
    let message = json!({
        "mid": "m_2", "text": "The blue one", "reply_to": {"mid": "m_1", "is_self_reply": false},
        "quick_reply": {"payload": "{\"pick\":\"blue\"}"},
    });
    let message = received(&json!({"message": message}));
    assert_eq!(message.reply_to.as_deref(), Some("m_1"));
    let Content { kind, text, payload, .. } = message.content;
    assert_eq!(kind, MessageKind::Interactive);
    assert_eq!(text.as_deref(), Some("The blue one"));
    assert_eq!(payload.as_deref(), Some("{\"pick\":\"blue\"}"), "unchanged");
}

#[test]
fn a_pressed_button_is_a_message_told_apart_by_its_id_or_by_all_of_it() {
    let postback = json!({"title": "Opening hours", "payload": "HOURS", "referral": {
        "ref": "window", "source": "SHORTLINK", "type": "OPEN_THREAD",
    }});
    let first = received(&json!({"postback": postback}));
    assert_eq!((first.content.kind, first.sent_at), (MessageKind::Button, Some(SAID)));
    assert_eq!(first.content.text.as_deref(), Some("Opening hours"));
    assert_eq!(first.content.payload.as_deref(), Some("HOURS"));
    let referral = first.referral.clone().unwrap();
    assert_eq!(referral.reference.as_deref(), Some("window"));
    assert_eq!(first, received(&json!({"postback": postback})), "the same once more");
    let later = received(&json!({"postback": postback, "timestamp": SAID.0 + 1}));
    assert!(first.dedup.is_some() && first.dedup != later.dedup);
    let named = received(&json!({"postback": {"mid": "m_3", "title": "Hours", "payload": "H"}}));
    assert_eq!((named.provider_id.as_deref(), named.dedup), (Some("m_3"), None));
}

#[test]
fn an_advertisement_is_kept_with_the_message_that_it_led_to() {
    let referral = json!({
        "ref": "may", "ad_id": 6001, "source": "ADS", "type": "OPEN_THREAD",
        "ads_context_data": {"ad_title": "Boots", "photo_url": "https://example.com/boots.png"},
    });
    let message = json!({"mid": "m_4", "text": "How much?", "referral": referral});
    let shown = received(&json!({"message": message})).referral.unwrap();
    assert_eq!(
        shown,
        Referral {
            source_id: Some("6001".to_owned()),
            source_type: Some("ADS".to_owned()),
            headline: Some("Boots".to_owned()),
            media_url: Some("https://example.com/boots.png".to_owned()),
            reference: Some("may".to_owned()),
            ..Referral::default()
        }
    );
}

#[test]
fn what_the_page_sends_is_an_echo_and_ours_is_known_by_what_went_along() {
    let opaque = Opaque {
        thread: ThreadId(Uuid::from_u128(1)),
        conversation: ConversationId(Uuid::from_u128(2)),
        place: Place { block: 0, ordinal: 3 },
        reaction: None,
    };
    for (metadata, known) in [(json!(opaque.encode()), Some(opaque)), (json!("theirs"), None)] {
        let message = json!({"mid": "m_5", "text": "Yes", "is_echo": true, "app_id": 12, "metadata": metadata});
        let Inbound::Echo(echo) = item(&of_page(&json!({"message": message}))) else {
            panic!("an echo")
        };
        assert_eq!((echo.to, echo.provider_id.as_str()), (customer(), "m_5"));
        assert_eq!(
            (echo.opaque, echo.sent_at, echo.content),
            (known, Some(SAID), Content::text("Yes"))
        );
    }
    let note = json!({"message": {"mid": "m_6", "text": "a note", "is_echo": true}});
    let mut to_itself = of_page(&note);
    to_itself["recipient"] = json!({"id": "5001"});
    assert_eq!(item(&to_itself), Inbound::Ignored("self"));
}

#[test]
fn deliveries_and_reads_reach_all_messages_up_to_a_time() {
    let mark = |status| {
        let up_to = Timestamp(1_789_999_980_000);
        Inbound::Watermark(Watermark { customer: customer(), status, up_to })
    };
    let delivery =
        json!({"delivery": {"mids": ["m_7", "m_8"], "watermark": 1_789_999_980_000_u64}});
    let receipt = |id: &str| {
        Inbound::Receipt(Receipt {
            provider_id: id.to_owned(),
            opaque: None,
            status: MessageStatus::Delivered,
            at: Some(SAID),
            recipient: customer(),
            error: None,
        })
    };
    assert_eq!(
        items(&of_customer(&delivery)),
        [receipt("m_7"), receipt("m_8"), mark(MessageStatus::Delivered)]
    );
    for watermark in [json!("1789999980000"), json!(1_789_999_980)] {
        let read = of_customer(&json!({"read": {"watermark": watermark}}));
        assert_eq!(items(&read), [mark(MessageStatus::Read)]);
    }
    let dead = item(&of_customer(&json!({"read": {}})));
    assert!(matches!(dead, Inbound::Dead { .. }), "{dead:?}");
}

#[test]
fn reactions_edits_and_deletions_amend_a_message_of_whoever_did_them() {
    let amended = |event: &Value| match item(event) {
        Inbound::Amendment(amendment) => {
            assert_eq!((&amendment.customer, amendment.at), (&customer(), Some(SAID)));
            assert_eq!(amendment.target, "m_9");
            (amendment.by, amendment.what)
        }
        other => panic!("{other:?}"),
    };
    let reaction = |part: Value| of_customer(&json!({"reaction": part}));
    let react = |emoji: &str| Amend::Reaction(Some(emoji.to_owned()));
    let part = json!({"mid": "m_9", "action": "react", "reaction": "love", "emoji": "❤"});
    assert_eq!(amended(&reaction(part)), (Amender::Customer, react("❤")));
    let part = json!({"mid": "m_9", "action": "react", "reaction": "wow"});
    assert_eq!(amended(&reaction(part)), (Amender::Customer, react("😮")), "by its name");
    let part = json!({"mid": "m_9", "action": "unreact", "reaction": "love", "emoji": "❤"});
    assert_eq!(amended(&reaction(part)), (Amender::Customer, Amend::Reaction(None)));
    let edit = json!({"message_edit": {"mid": "m_9", "text": "Two, please", "num_edit": 1}});
    let said = Amend::Edit(Content::text("Two, please"));
    assert_eq!(amended(&of_customer(&edit)), (Amender::Customer, said.clone()));
    assert_eq!(amended(&of_page(&edit)), (Amender::Business, said));
    let gone = json!({"message": {"mid": "m_9", "is_deleted": true}});
    assert_eq!(amended(&of_customer(&gone)), (Amender::Customer, Amend::Deletion));
    let gone = json!({"message": {"mid": "m_9", "is_deleted": true, "is_echo": true}});
    assert_eq!(amended(&of_page(&gone)), (Amender::Business, Amend::Deletion));
}

#[test]
fn while_another_app_answers_all_is_read_as_ever() {
    let text = of_customer(&json!({"message": {"mid": "m_10", "text": "Hello?"}}));
    assert_eq!(read_in("standby", &text), read_in("messaging", &text));
}

#[test]
fn a_handover_is_noted_once_with_whoever_answers_now() {
    let pass = json!({"pass_thread_control": {"new_owner_app_id": 4711, "metadata": "x"}});
    let Inbound::Identity(change) = item(&of_customer(&pass)) else { panic!("a change") };
    assert_eq!((&change.of, change.at), (&customer(), Some(SAID)));
    assert!(change.text.contains("from here again") && change.previous.is_empty());
    let Inbound::Identity(again) = item(&of_customer(&pass)) else { panic!("a change") };
    assert_eq!((change.marks.len(), change.marks), (1, again.marks));
    for (to, shown) in
        [(json!(4711), "Another app answers this customer now: 4711"), (json!(null), "Another app")]
    {
        let take = json!({"take_thread_control": {"new_owner_app_id": to}});
        let Inbound::Identity(change) = item(&of_customer(&take)) else { panic!("a change") };
        assert!(change.text.starts_with(shown), "{}", change.text);
    }
}

#[test]
fn what_is_no_message_makes_none() {
    for (part, counted) in [
        (json!({"optin": {"ref": "box", "user_ref": "u-1"}}), "optin"),
        (json!({"referral": {"ref": "poster", "source": "SHORTLINK"}}), "referral"),
        (json!({"account_linking": {"status": "linked"}}), "account_linking"),
        (json!({"policy-enforcement": {"action": "warning"}}), "policy"),
        (json!({"app_roles": {"12": ["primary_receiver"]}}), "handover"),
        (json!({"request_thread_control": {"requested_owner_app_id": 1}}), "handover"),
        (json!({"customer_information": {}}), "customer_information"),
    ] {
        assert_eq!(item(&of_customer(&part)), Inbound::Ignored(counted), "{part}");
    }
    let public = json!({"field": "feed", "value": {"item": "comment", "message": "Nice"}});
    assert_eq!(read_in("changes", &public), [Inbound::Ignored("feed")]);
    let mention = json!({"field": "mention", "value": {"post_id": "1"}});
    assert_eq!(read_in("changes", &mention), [Inbound::Ignored("mention")]);
}

#[test]
fn parts_know_whose_they_are_and_tests_of_the_dashboard_are_nobody_s() {
    let entry = |id: Value| json!({"id": id, "time": 1, "messaging": []});
    let entries = [entry(json!("5001")), entry(json!(5002)), entry(json!("0")), json!({})];
    let body = json!({"object": "page", "entry": entries}).to_string();
    let parts = open(body.as_bytes()).unwrap();
    let meant: Vec<_> = parts.iter().map(Part::meant).collect();
    assert_eq!(meant, [Meant::Account("5001"), Meant::Account("5002"), Meant::Test, Meant::Nobody]);
    assert_eq!(parts[0].read(&account(), NOW).items, [Inbound::Ignored("nothing")]);
}
