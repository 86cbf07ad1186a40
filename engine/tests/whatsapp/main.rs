//! WhatsApp: what is read from webhooks, what is sent, what answers mean.

#[cfg(test)]
mod amendments;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod content;
#[cfg(test)]
mod history;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod news;

use std::time::Duration;

use engine::account::{Known, Throughput};
use engine::channel::webhook::NotAnEnvelope;
use engine::channel::whatsapp::{
    decode, known, message as request, open, outcome, read_mark, token_until, wait,
};
use engine::channel::{Answered, Handle, Inbound, Opaque, Outbound, Outcome, Outgoing, Slow};
use engine::contact::IdentityKind;
use engine::id::{ConversationId, ThreadId};
use engine::message::{MessageKind, MessageStatus, Place};
use engine::saying::Saying;
use engine::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

const NOW: Timestamp = Timestamp(1_790_000_000_000);

#[cfg(test)]
fn body(value: &Value) -> Vec<u8> {
    let mut value = value.clone();
    value["messaging_product"] = "whatsapp".into();
    value["metadata"] = json!({"display_phone_number": "441234", "phone_number_id": "7001"});
    let change = json!({"field": "messages", "value": value});
    let entry = json!({"id": "9001", "changes": [change]});
    json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string().into_bytes()
}

#[cfg(test)]
fn items(value: &Value) -> Vec<Inbound> {
    let body = body(value);
    let envelope = open(&body).unwrap();
    assert_eq!(envelope.changes[0].phone_number_id.as_deref(), Some("7001"));
    assert_eq!(envelope.changes[0].entry_id.as_deref(), Some("9001"));
    decode(&envelope.changes[0], NOW)
}

#[cfg(test)]
fn message(extra: &Value) -> Value {
    let mut message = json!({
        "from": "33600000001", "id": "wamid.A1", "timestamp": "1789999990", "type": "text",
        "text": {"body": "Is the blue one in stock?"},
    });
    for (key, value) in extra.as_object().unwrap() {
        message[key] = value.clone();
    }
    message
}

#[cfg(test)]
fn handle(kind: IdentityKind, value: &str) -> Handle {
    Handle { kind, value: value.to_owned() }
}

#[test]
fn a_text_becomes_a_message_with_its_sender_time_and_name() {
    let contacts = json!([
        {"wa_id": "49170", "profile": {"name": "Somebody else"}},
        {"wa_id": "33600000001", "user_id": "FR.1", "parent_user_id": "FR.ENT.2", "profile": {"name": " Noor "}},
    ]);
    let context = json!({"context": {"id": "wamid.OLD", "forwarded": true}});
    let items = items(&json!({"contacts": contacts, "messages": [message(&context)]}));
    let [Inbound::Message(message)] = &items[..] else { panic!("{items:?}") };
    let (bsuid, phone) = (IdentityKind::Bsuid, IdentityKind::Phone);
    let from = [handle(bsuid, "FR.1"), handle(bsuid, "FR.ENT.2"), handle(phone, "33600000001")];
    assert_eq!(message.from, from);
    assert_eq!(message.name.as_deref(), Some("Noor"));
    assert_eq!(message.sent_at, Some(Timestamp(1_789_999_990_000)));
    assert_eq!(message.content.text.as_deref(), Some("Is the blue one in stock?"));
    assert_eq!(message.reply_to.as_deref(), Some("wamid.OLD"));
    assert!(message.forwarded && message.content.raw.is_none());
}

#[test]
fn what_is_longer_than_anything_of_a_provider_is_a_dead_letter_beside_its_neighbours() {
    let long = |bytes: usize| "7".repeat(bytes);
    let status = |extra: Value| {
        let mut status =
            json!({"id": "wamid.S", "status": "failed", "recipient_id": "33600000001"});
        status.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"statuses": [status]})
    };
    let echo = |id: &str| json!({"message_echoes": [{"id": id, "to": "33600000001"}]});
    for part in [
        json!({"messages": [message(&json!({"id": long(1025)}))]}),
        json!({"messages": [message(&json!({"from": long(1025)}))]}),
        json!({"messages": [message(&json!({"from_user_id": long(1025)}))]}),
        json!({"messages": [message(&json!({"group_id": long(1025)}))]}),
        json!({"messages": [message(&json!({"context": {"id": long(1025)}}))]}),
        json!({"messages": [message(&json!({"text": {"body": long(256 << 10)}}))]}),
        status(json!({"id": long(1025)})),
        status(json!({"recipient_user_id": long(1025)})),
        echo(&long(1025)),
    ] {
        let of_part = items(&part);
        assert!(matches!(&of_part[..], [Inbound::Dead { .. }]), "{of_part:?}");
    }
    let both = [message(&json!({"id": long(1025)})), message(&json!({"id": long(1024)}))];
    let contacts = json!([{"wa_id": "33600000001", "profile": {"name": long(1000)}}]);
    let both = items(&json!({"messages": both, "contacts": contacts}));
    let [Inbound::Dead { .. }, Inbound::Message(kept)] = &both[..] else { panic!("{both:?}") };
    assert_eq!(kept.name.as_ref().map(String::len), Some(200));
    let failed = items(&status(json!({"errors": [{"code": long(1000), "title": long(1000)}]})));
    let [Inbound::Receipt(failed)] = &failed[..] else { panic!("{failed:?}") };
    let error = failed.error.as_ref().unwrap();
    assert_eq!((error.code.len(), error.message.len()), (500, 500));
    let body = String::from_utf8(body(&json!({}))).unwrap().replace("7001", &long(1025));
    assert_eq!(open(body.as_bytes()).unwrap().changes[0].phone_number_id, None);
}

#[test]
fn implausible_times_are_left_out_and_numbers_are_read() {
    for (timestamp, wanted) in [
        (json!(1_789_999_990_i64), Some(Timestamp(1_789_999_990_000))),
        (json!("1000000"), None),
        (json!("1790090000"), None),
        (json!("soon"), None),
        (json!(null), None),
    ] {
        let items = items(&json!({"messages": [message(&json!({"timestamp": timestamp}))]}));
        let [Inbound::Message(message)] = &items[..] else { panic!("{items:?}") };
        assert_eq!(message.sent_at, wanted, "{timestamp}");
    }
}

#[test]
fn every_other_type_is_kept_raw_and_shown_as_unsupported() {
    let poll = json!({"type": "poll", "text": null, "poll": {"id": "55"}});
    let items = items(&json!({"messages": [message(&poll)]}));
    let [Inbound::Message(message)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((message.content.kind, &message.content.text), (MessageKind::Unsupported, &None));
    let raw: Value = serde_json::from_str(message.content.raw.as_ref().unwrap()).unwrap();
    assert_eq!(raw["poll"]["id"], "55");
}

#[test]
fn a_bad_item_does_not_lose_its_neighbours() {
    let bad = [json!(17), json!({"id": "wamid.X", "type": "text"}), json!({"from": {}})];
    let messages =
        json!([message(&json!({})), bad[0], bad[1], bad[2], message(&json!({"id": "wamid.A2"}))]);
    let statuses = json!([{"id": "wamid.S", "status": "read"}, {"status": "read"}]);
    let items = items(&json!({"messages": messages, "statuses": statuses}));
    let kinds: Vec<_> = items
        .iter()
        .map(|item| match item {
            Inbound::Message(_) => "message",
            Inbound::Receipt(_) => "receipt",
            Inbound::Dead { .. } => "dead",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["message", "dead", "dead", "dead", "message", "receipt", "dead"]);
}

#[test]
fn a_message_without_an_id_is_told_apart_by_what_was_sent() {
    let one = message(&json!({"id": null}));
    let two = message(&json!({"id": null, "text": {"body": "And the red one?"}}));
    let items = items(&json!({"messages": [one, two, one]}));
    let dedups: Vec<_> = items
        .iter()
        .map(|item| match item {
            Inbound::Message(message) => message.dedup.clone().unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(dedups[0], dedups[2]);
    assert_ne!(dedups[0], dedups[1]);
}

#[test]
fn a_status_becomes_a_receipt_with_our_id_and_its_error() {
    let opaque = Opaque {
        thread: ThreadId(Uuid::from_u128(7)),
        conversation: ConversationId(Uuid::from_u128(8)),
        place: Place { block: 1, ordinal: 600 },
        reaction: None,
    };
    let error = json!({"code": 131_026, "title": "Undeliverable", "error_data": {"details": "Not on WhatsApp."}});
    let statuses = json!([
        {"id": "wamid.S", "status": "delivered", "timestamp": "1789999990", "recipient_id": "33600000001",
         "biz_opaque_callback_data": opaque.encode()},
        {"id": "wamid.F", "status": "failed", "recipient_user_id": "FR.1", "errors": [error]},
        {"id": "wamid.T", "status": "warning"},
    ]);
    let items = items(&json!({"statuses": statuses}));
    let [Inbound::Receipt(delivered), Inbound::Receipt(failed), Inbound::Ignored(_)] = &items[..]
    else {
        panic!("{items:?}")
    };
    assert_eq!((delivered.status, delivered.opaque), (MessageStatus::Delivered, Some(opaque)));
    assert_eq!(delivered.recipient, [handle(IdentityKind::Phone, "33600000001")]);
    assert_eq!(failed.recipient, [handle(IdentityKind::Bsuid, "FR.1")]);
    assert_eq!(failed.error.as_ref().unwrap().message, "Not on WhatsApp.");
    assert_eq!(failed.error.as_ref().unwrap().code, "131026");
}

#[test]
fn an_echo_names_the_customer_it_went_to() {
    let echo = json!({"from": "441234", "to": "33600000001", "id": "wamid.E", "type": "text", "text": {"body": "By phone"}});
    let change = json!({"field": "smb_message_echoes", "value": {"metadata": {"phone_number_id": "7001"}, "message_echoes": [echo]}});
    let body =
        json!({"object": "whatsapp_business_account", "entry": [{"id": "0", "changes": [change]}]});
    let body = body.to_string().into_bytes();
    let items = decode(&open(&body).unwrap().changes[0], NOW);
    let [Inbound::Echo(echo)] = &items[..] else { panic!("{items:?}") };
    assert_eq!(echo.to, [handle(IdentityKind::Phone, "33600000001")]);
    assert_eq!(echo.content.text.as_deref(), Some("By phone"));
}

#[test]
fn what_is_no_envelope_says_why() {
    for (body, why) in [
        ("", NotAnEnvelope::NotJson),
        ("[1", NotAnEnvelope::NotJson),
        (r#"{"entry":[]}"#, NotAnEnvelope::NoObject),
        (r#"{"object":"page"}"#, NotAnEnvelope::NoEntries),
        (r#"{"object":"page","entry":{}}"#, NotAnEnvelope::NoEntries),
    ] {
        assert_eq!(open(body.as_bytes()).unwrap_err(), why, "{body}");
    }
}

#[cfg(test)]
fn outbound(to: Vec<Handle>) -> Outbound {
    let place = Place { block: 0, ordinal: 1 };
    let (thread, conversation) = (ThreadId(Uuid::nil()), ConversationId(Uuid::nil()));
    Outbound {
        is_late: false,
        to,
        what: Outgoing::Message {
            saying: Saying::Text("Yes, in blue".to_owned()),
            reply_to: Some("wamid.A1".to_owned()),
        },
        opaque: Opaque { thread, conversation, place, reaction: None },
    }
}

#[test]
fn a_text_is_sent_to_the_phone_number_where_one_is_known() {
    let (bsuid, phone) = (handle(IdentityKind::Bsuid, "FR.1"), handle(IdentityKind::Phone, "336"));
    let call = request(&outbound(vec![bsuid.clone(), phone]), "7001", "secret").unwrap();
    assert_eq!((call.path.as_str(), call.bearer.as_str()), ("7001/messages", "secret"));
    let sent = call.body.unwrap();
    assert_eq!((&sent["to"], &sent["recipient"]), (&json!("336"), &Value::Null));
    assert_eq!(sent["text"]["body"], "Yes, in blue");
    assert_eq!(sent["context"]["message_id"], "wamid.A1");
    let opaque = sent["biz_opaque_callback_data"].as_str().unwrap();
    assert!(Opaque::decode(opaque).is_some() && opaque.len() <= 512);
    let to = |to| Some(request(&outbound(vec![to]), "7001", "secret")?.body.unwrap());
    let sent = to(bsuid).unwrap();
    assert_eq!((&sent["to"], &sent["recipient"]), (&Value::Null, &json!("FR.1")));
    let sent = to(handle(IdentityKind::Group, "G1")).unwrap();
    assert_eq!((&sent["to"], &sent["recipient_type"]), (&json!("G1"), &json!("group")));
    assert_eq!(to(handle(IdentityKind::Email, "ines@example.com")), None);
    let mark = |types| read_mark("wamid.A1", types, "7001", "secret").body.unwrap();
    assert_eq!(
        (&mark(false)["status"], mark(false).get("typing_indicator")),
        (&json!("read"), None)
    );
    assert_eq!(mark(true)["typing_indicator"], json!({"type": "text"}));
}

#[test]
fn an_error_is_told_without_the_access_token_that_it_repeats() {
    let said = |message: &str| {
        let body = json!({"error": {"code": 190, "message": message}}).to_string().into_bytes();
        match outcome(Answered::With { status: 401, body, wait: None }) {
            Outcome::AccountStopped { error } => error.message,
            other => panic!("{other:?}"),
        }
    };
    let (token, login) =
        ("EAAGm0".to_owned() + &"Zx9".repeat(40), "IGAA".to_owned() + &"q7".repeat(40));
    for token in [token, login] {
        assert_eq!(
            said(&format!("Malformed access token {token}")),
            "Malformed access token ********"
        );
        assert_eq!(
            said(&format!("token=\"{token}\"; é {token}.")),
            "token=\"********\"; é ********."
        );
        // Where it begins near the end of what is kept, too.
        let late = said(&format!("{}{token}", "é ".repeat(245)));
        assert!(late.ends_with("é ********"), "{late}");
    }
    let of_template =
        "template EAA (order_confirmation_with_payment_reminder_2) of IG is not there";
    assert_eq!(said(of_template), of_template);
}

#[test]
fn each_class_of_error_means_what_it_should() {
    let with = |status, body: Value| {
        outcome(Answered::With { status, body: body.to_string().into_bytes(), wait: None })
    };
    let of = |code: i64| with(400, json!({"error": {"code": code, "message": "no"}}));
    assert!(matches!(of(190), Outcome::AccountStopped { .. }));
    assert!(matches!(of(131_042), Outcome::AccountStopped { .. }));
    assert!(matches!(of(230), Outcome::AccountStopped { .. }));
    assert!(matches!(of(130_429), Outcome::Retry { slow: Slow::Account, .. }));
    assert!(matches!(of(131_056), Outcome::Retry { slow: Slow::Pair, .. }));
    assert!(matches!(of(131_016), Outcome::Retry { slow: Slow::Message, .. }));
    assert!(matches!(of(131_026), Outcome::Refused { .. }));
    assert!(matches!(of(130_497), Outcome::Refused { .. }), "it is of the recipient's country");
    assert!(matches!(of(999_999), Outcome::Refused { .. }), "unknown codes are not repeated");
    let sent = with(200, json!({"messages": [{"id": "wamid.N"}]}));
    assert_eq!(sent, Outcome::Sent { provider_id: "wamid.N".to_owned(), held: None });
    let template =
        json!({"messages": [{"id": "wamid.N", "message_status": "held_for_quality_assessment"}]});
    let Outcome::Sent { held: Some(held), .. } = with(200, template) else { panic!("it is held") };
    assert_eq!(held.code, "held_for_quality_assessment");
    assert!(matches!(with(200, json!({})), Outcome::Unknown { .. }));
    assert!(matches!(with(502, json!({})), Outcome::Unknown { .. }));
    assert!(matches!(with(429, json!({})), Outcome::Retry { slow: Slow::Account, .. }));
    assert!(matches!(with(503, json!({"error": {"code": 2}})), Outcome::Retry { .. }));
    let unreached = outcome(Answered::NotSent("refused".into()));
    assert!(matches!(unreached, Outcome::Retry { slow: Slow::Account, .. }));
    assert!(matches!(outcome(Answered::PerhapsSent("cut".into())), Outcome::Unknown { .. }));
}

#[test]
fn how_long_to_wait_is_read_where_the_provider_says_it() {
    let usage = |minutes: Value| json!({"9001": [{"type": "whatsapp", "call_count": 100}, {"estimated_time_to_regain_access": minutes}]});
    let some = |seconds| Some(Duration::from_secs(seconds));
    let date = ("date", "Tue, 03 Mar 2026 10:00:00 GMT".to_owned());
    for (headers, waits) in [
        (vec![], None),
        (vec![("retry-after", "7".to_owned())], some(7)),
        (vec![("retry-after", "0".to_owned())], None),
        (vec![("retry-after", "soon".to_owned())], None),
        (vec![("retry-after", "-1".to_owned())], None),
        (
            vec![("retry-after", "Tue, 03 Mar 2026 10:02:00 GMT".to_owned()), date.clone()],
            some(120),
        ),
        (vec![("retry-after", "Tue, 03 Mar 2026 09:00:00 GMT".to_owned()), date], None),
        (vec![("retry-after", "Tue, 03 Mar 2026 10:02:00 GMT".to_owned())], None),
        (vec![("x-business-use-case-usage", usage(json!(5)).to_string())], some(300)),
        (vec![("x-business-use-case-usage", usage(json!(0)).to_string())], None),
        (vec![("x-business-use-case-usage", usage(json!("x")).to_string())], None),
        (vec![("x-business-use-case-usage", usage(json!(u64::MAX)).to_string())], some(u64::MAX)),
        (vec![("x-business-use-case-usage", "[]".to_owned())], None),
        (
            vec![
                ("retry-after", "7".to_owned()),
                ("x-business-use-case-usage", usage(json!(1)).to_string()),
            ],
            some(60),
        ),
    ] {
        let header = |name: &str| headers.iter().find(|(is, _)| *is == name).map(|(_, is)| &**is);
        assert_eq!(wait(header), waits, "{headers:?}");
    }
}

#[test]
fn what_a_number_may_send_is_read_where_the_provider_says_it() {
    let of = |level: &str| known(&json!({"throughput": {"level": level}})).throughput;
    assert_eq!(of("STANDARD"), Some(Throughput::Standard));
    assert_eq!(of("HIGH"), Some(Throughput::High));
    assert_eq!(of("NOT_APPLICABLE"), None);
    assert_eq!((known(&json!({})), known(&json!(null))), (Known::default(), Known::default()));
    let node =
        json!({"display_phone_number": "+1 555", "verified_name": "Shop", "quality_rating": "RED"});
    let (phone, name) = (Some("+1 555".to_owned()), Some("Shop".to_owned()));
    let quality = Some("RED".to_owned());
    let all = Known { phone, name, quality, ..Known::default() };
    assert_eq!(known(&node), all);
    assert!(known(&json!({"is_on_biz_app": true})).in_app);
}

#[test]
fn a_token_ends_when_it_says_so_first_and_zero_is_never() {
    let ends = |expires_at: i64, access: i64| {
        let data = json!({"expires_at": expires_at, "data_access_expires_at": access});
        token_until(&json!({"data": data}))
    };
    let at = |seconds| Some(Some(Timestamp::from_secs(seconds)));
    assert_eq!(ends(0, 0), Some(None));
    assert_eq!(ends(0, 1_800_000_000), at(1_800_000_000));
    assert_eq!(ends(1_700_000_000, 1_800_000_000), at(1_700_000_000));
    assert_eq!((token_until(&json!(null)), token_until(&json!({}))), (None, None));
}

#[cfg(test)]
fn any_json() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        Just("id"),
        Just("from"),
        Just("type"),
        Just("text"),
        Just("body"),
        Just("timestamp"),
        Just("messages"),
        Just("statuses"),
        Just("contacts"),
        Just("status"),
        Just("errors"),
        Just("context"),
        Just("profile"),
        Just("wa_id"),
        Just("metadata"),
        Just("entry"),
        Just("changes"),
        Just("value"),
        Just("object"),
        Just("field"),
    ]
    .prop_map(str::to_owned);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_stands_beside_it_a_good_message_is_found(
        before in prop::collection::vec(any_json(), 0..3),
        after in prop::collection::vec(any_json(), 0..3),
        contacts in prop::collection::vec(any_json(), 0..3),
    ) {
        let mut messages = before;
        messages.push(message(&json!({"id": "wamid.GOOD"})));
        messages.extend(after);
        let items = items(&json!({"messages": messages, "contacts": contacts}));
        let good = items.iter().any(|item| matches!(item, Inbound::Message(message)
            if message.provider_id.as_deref() == Some("wamid.GOOD")));
        prop_assert!(good);
    }

    #[test]
    fn any_body_is_opened_and_read_without_a_panic(body in any_json()) {
        let bytes = body.to_string().into_bytes();
        if let Ok(envelope) = open(&bytes) {
            for change in &envelope.changes {
                decode(change, NOW);
            }
        }
    }
}
