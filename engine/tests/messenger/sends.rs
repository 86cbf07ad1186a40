//! What may be said, how it is asked for, and what answers mean: on Messenger, and where Instagram
//! differs.

use engine::account::Account;
use engine::channel::{
    Answered, Api, Call, Channel, Handle, Method, Opaque, Outbound, Outcome, Outgoing, Slow,
};
use engine::contact::IdentityKind;
use engine::id::{AccountId, ConversationId, MediaId, MessageId, TenantId, ThreadId};
use engine::media::Stored;
use engine::message::{MessageKind, Place};
use engine::saying::{Asked, Media, NewMessage, NewReaction, Saying, Source};
use engine::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

const BOTH: [Channel; 2] = [Channel::Messenger, Channel::Instagram];

fn taken(channel: Channel, body: &Value) -> Result<Saying, String> {
    let asked =
        serde_json::from_value::<NewMessage>(body.clone()).unwrap().asked(Channel::Messenger, &[]);
    let Asked::Message { mut saying, .. } = asked.unwrap() else { panic!("no message") };
    match channel.check(&mut saying) {
        Ok(()) => Ok(saying),
        Err(wrong) => Err(wrong.details[0].field.clone()),
    }
}

fn opaque() -> Opaque {
    Opaque {
        thread: ThreadId(Uuid::from_u128(1)),
        conversation: ConversationId(Uuid::from_u128(2)),
        place: Place { block: 0, ordinal: 1 },
        reaction: None,
    }
}

fn call(channel: Channel, what: Outgoing, is_late: bool) -> Option<Call> {
    let kinds =
        [(IdentityKind::Phone, "1555"), (IdentityKind::Psid, "81"), (IdentityKind::Igsid, "82")];
    let to = kinds.map(|(kind, value)| Handle { kind, value: value.to_owned() });
    let outbound = Outbound { to: to.to_vec(), is_late, what, opaque: opaque() };
    channel.message(&outbound, "5001", "EAAtoken")
}

fn sent(channel: Channel, body: &Value) -> Value {
    let saying = taken(channel, body).unwrap_or_else(|field| panic!("{body}: {field}"));
    let shown = saying.shown();
    assert_eq!(Saying::of(&shown).as_ref(), Some(&saying), "the row says all of it");
    call(channel, Outgoing::Message { saying, reply_to: None }, false).unwrap().body.unwrap()
}

fn buttons(n: usize) -> Value {
    let button = |n: usize| json!({"type": "reply", "reply": {"id": format!("b{n}"), "title": format!("No. {n}")}});
    let buttons: Vec<_> = (0..n).map(button).collect();
    json!({"interactive": {"type": "button", "body": {"text": "Which?"}, "action": {"buttons": buttons}}})
}

#[test]
fn a_text_goes_to_the_customer_by_the_id_of_its_channel() {
    for (channel, id) in [(Channel::Messenger, "81"), (Channel::Instagram, "82")] {
        let saying = Saying::Text("Yes".to_owned());
        let what = Outgoing::Message { saying, reply_to: Some("m_1".to_owned()) };
        let call = call(channel, what, false).unwrap();
        assert_eq!((call.path.as_str(), call.bearer.as_str()), ("5001/messages", "EAAtoken"));
        assert_eq!(call.api, Api::Graph);
        let body = call.body.unwrap();
        assert_eq!(body["recipient"], json!({"id": id}));
        assert_eq!(
            (&body["message"]["text"], &body["messaging_type"]),
            (&json!("Yes"), &json!("RESPONSE"))
        );
        assert_eq!(body["reply_to"], json!({"mid": "m_1"}));
        assert!(body.get("tag").is_none());
        let metadata = body["message"].get("metadata");
        let ours = (channel == Channel::Messenger).then(|| json!(opaque().encode()));
        assert_eq!(metadata, ours.as_ref(), "Instagram takes none");
    }
    let what = Outgoing::Message { saying: Saying::Text("Yes".to_owned()), reply_to: None };
    let nobody = Outbound { to: Vec::new(), is_late: false, what, opaque: opaque() };
    assert!(Channel::Messenger.message(&nobody, "5001", "t").is_none());
}

#[test]
fn tokens_of_instagram_login_count_at_instagram_alone() {
    let api = |channel: Channel, token| channel.account("5001", token).unwrap().api;
    assert_eq!(api(Channel::Instagram, "IGAAtoken"), Api::Instagram);
    assert_eq!(api(Channel::Instagram, "EAAtoken"), Api::Graph);
    assert_eq!(api(Channel::Messenger, "IGAAtoken"), Api::Graph);
}

#[test]
fn later_than_a_day_a_person_s_answer_says_so() {
    for channel in BOTH {
        let what = Outgoing::Message { saying: Saying::Text("Sorry".to_owned()), reply_to: None };
        let body = call(channel, what, true).unwrap().body.unwrap();
        assert_eq!(
            (&body["messaging_type"], &body["tag"]),
            (&json!("MESSAGE_TAG"), &json!("HUMAN_AGENT"))
        );
    }
}

#[test]
fn texts_have_so_many_characters_and_on_instagram_so_many_bytes() {
    let text = |text: String| json!({"text": text});
    assert!(taken(Channel::Messenger, &text("é".repeat(2000))).is_ok());
    assert_eq!(taken(Channel::Messenger, &text("é".repeat(2001))), Err("text".to_owned()));
    assert!(taken(Channel::Instagram, &text("é".repeat(500))).is_ok());
    assert_eq!(taken(Channel::Instagram, &text("é".repeat(500) + "a")), Err("text".to_owned()));
    for channel in BOTH {
        assert_eq!(taken(channel, &text(" ".to_owned())), Err("text".to_owned()));
    }
}

#[test]
fn files_are_fetched_by_the_provider_and_carry_no_words() {
    for (kind, named) in
        [("image", "image"), ("audio", "audio"), ("video", "video"), ("document", "file")]
    {
        let file = json!({"attachments": [{"kind": kind, "url": "https://example.com/f"}]});
        let attachment = json!({"type": named, "payload": {"url": "https://example.com/f"}});
        for channel in BOTH {
            assert_eq!(sent(channel, &file)["message"]["attachment"], attachment);
        }
    }
    for (key, field) in
        [("caption", "attachments[0].caption"), ("filename", "attachments[0].filename")]
    {
        let mut file =
            json!({"attachments": [{"kind": "document", "url": "https://example.com/f"}]});
        file["attachments"][0][key] = "x".into();
        assert_eq!(taken(Channel::Messenger, &file), Err(field.to_owned()));
    }
    let inside = json!({"attachments": [{"kind": "image", "url": "https://10.0.0.1/f"}]});
    assert_eq!(taken(Channel::Messenger, &inside), Err("attachments[0].url".to_owned()));
    let sticker = json!({"attachments": [{"kind": "sticker", "url": "https://example.com/f"}]});
    assert_eq!(taken(Channel::Instagram, &sticker), Err("attachments[0].kind".to_owned()));
}

#[test]
fn buttons_are_quick_replies_up_to_thirteen() {
    for channel in BOTH {
        let message = sent(channel, &buttons(13))["message"].clone();
        assert_eq!(message["text"], "Which?");
        let replies = message["quick_replies"].as_array().unwrap();
        assert_eq!(replies.len(), 13);
        assert_eq!(replies[1], json!({"content_type": "text", "title": "No. 1", "payload": "b1"}));
        let many = taken(channel, &buttons(14));
        assert_eq!(many, Err("interactive.action.buttons".to_owned()));
        let mut long = buttons(1);
        let title = "/interactive/action/buttons/0/reply/title";
        *long.pointer_mut(title).unwrap() = json!("t".repeat(21));
        let field = "interactive.action.buttons[0].reply.title";
        assert_eq!(taken(channel, &long), Err(field.to_owned()));
        let mut footed = buttons(1);
        footed["interactive"]["footer"] = json!({"text": "x"});
        assert_eq!(taken(channel, &footed), Err("interactive.footer".to_owned()));
    }
}

#[test]
fn templates_go_out_as_they_are_given_within_their_limits() {
    let template = |action: Value| json!({"interactive": {"type": "template", "action": action}});
    let web = json!({"type": "web_url", "title": "Shop", "url": "https://example.com"});
    let ask = json!({"type": "postback", "title": "Ask", "payload": "ASK"});
    let element = json!({"title": "Boots", "subtitle": "Blue", "image_url": "https://example.com/i", "buttons": [web, ask]});
    let generic = json!({"template_type": "generic", "elements": [element]});
    let button = json!({"template_type": "button", "text": "How?", "buttons": [ask, web]});
    let media = json!({"template_type": "media", "elements": [{"media_type": "image", "url": "https://facebook.com/p/1"}]});
    for action in [&generic, &button, &media] {
        for channel in BOTH {
            let attachment = json!({"type": "template", "payload": action});
            assert_eq!(
                sent(channel, &template(action.clone()))["message"]["attachment"],
                attachment
            );
        }
    }
    let change = |of: &Value, at: &str, to: Value| {
        let mut action = of.clone();
        *action.pointer_mut(at).unwrap() = to;
        taken(Channel::Messenger, &template(action)).unwrap_err()
    };
    assert_eq!(change(&button, "/text", json!("x".repeat(641))), "interactive.action.text");
    assert_eq!(
        change(&button, "/buttons", json!([ask, ask, ask, ask])),
        "interactive.action.buttons"
    );
    assert_eq!(
        change(&button, "/buttons/1/url", json!("https://10.0.0.1")),
        "interactive.action.buttons[1].url"
    );
    assert_eq!(
        change(&button, "/buttons/0/type", json!("x")),
        "interactive.action.buttons[0].type"
    );
    assert_eq!(
        change(&generic, "/elements", json!(vec![element; 11])),
        "interactive.action.elements"
    );
    assert_eq!(
        change(&generic, "/elements/0/title", json!("x".repeat(81))),
        "interactive.action.elements[0].title"
    );
    assert_eq!(
        change(&generic, "/elements/0/image_url", json!("x")),
        "interactive.action.elements[0].image_url"
    );
    assert_eq!(
        change(&media, "/elements/0/media_type", json!("x")),
        "interactive.action.elements[0].media_type"
    );
    assert_eq!(
        change(&media, "/template_type", json!("receipt")),
        "interactive.action.template_type"
    );
}

#[test]
fn what_only_other_channels_have_is_refused_by_its_field() {
    for (body, field) in [
        (json!({"location": {"latitude": 1, "longitude": 2}}), "location"),
        (json!({"template": {"name": "hello", "language": "en"}}), "template"),
        (json!({"contacts": [{"name": {"formatted_name": "A"}}]}), "contacts"),
        (json!({"interactive": {"type": "list", "action": {}}}), "interactive.type"),
    ] {
        assert_eq!(taken(Channel::Messenger, &body), Err(field.to_owned()), "{body}");
    }
}

#[test]
fn a_reaction_is_an_action_of_the_sender_and_its_answer_has_no_id() {
    let reaction = |emoji: Option<&str>| {
        let (message, emoji) = ("m_1".to_owned(), emoji.map(str::to_owned));
        let what = Outgoing::Reaction { message, emoji };
        call(Channel::Instagram, what, false).unwrap().body.unwrap()
    };
    let love = json!({"message_id": "m_1", "reaction": "love"});
    let expected = json!({"recipient": {"id": "82"}, "sender_action": "react", "payload": love});
    assert_eq!(reaction(Some("❤️")), expected);
    assert_eq!(reaction(Some("😮"))["payload"]["reaction"], "😮");
    let back = reaction(None);
    assert_eq!(
        (&back["sender_action"], &back["payload"]),
        (&json!("unreact"), &json!({"message_id": "m_1"}))
    );
    let ours = Opaque { reaction: Some(MessageId(Uuid::from_u128(9))), ..opaque() };
    let answered = answer(200, &json!({"recipient_id": "82"}));
    let provider_id = ours.encode();
    let sent = Outcome::Sent { provider_id, held: None };
    assert_eq!(Channel::Instagram.outcome(answered, Some(ours)), sent);
    let message_id = MessageId(Uuid::from_u128(9));
    let word = NewReaction { message_id, emoji: "no".to_owned() };
    assert!(Channel::Instagram.check_reaction(&word).is_err());
}

#[test]
fn what_was_read_is_marked_and_perhaps_that_somebody_types() {
    let to = [Handle { kind: IdentityKind::Psid, value: "81".to_owned() }];
    let calls = Channel::Messenger.read_marks((&to, "m_1"), true, "5001", "t");
    let said: Vec<_> = calls.into_iter().map(|call| call.body.unwrap()).collect();
    let action = |action| json!({"recipient": {"id": "81"}, "sender_action": action});
    assert_eq!(said, [action("mark_seen"), action("typing_on")]);
    assert!(Channel::Instagram.read_marks((&to, "m_1"), false, "5001", "t").is_empty());
}

fn answer(status: u16, body: &Value) -> Answered {
    Answered::With { status, body: body.to_string().into_bytes(), wait: None }
}

#[test]
fn answers_mean_what_their_codes_say() {
    let of = |code: i64, subcode: i64| {
        let error = json!({"code": code, "error_subcode": subcode, "message": "No."});
        Channel::Messenger.outcome(answer(400, &json!({"error": error})), Some(opaque()))
    };
    let sent = answer(200, &json!({"recipient_id": "81", "message_id": "m_9"}));
    let known = Outcome::Sent { provider_id: "m_9".to_owned(), held: None };
    assert_eq!(Channel::Messenger.outcome(sent, Some(opaque())), known);
    let silent = answer(200, &json!({"recipient_id": "81"}));
    let outcome = Channel::Messenger.outcome(silent, Some(opaque()));
    assert!(matches!(outcome, Outcome::Unknown { .. }), "a message has an id");
    for (code, subcode) in [
        (10, 2_018_278),
        (10, 2_018_065),
        (10, 2_534_022),
        (10, 2_018_108),
        (10, 9_999_999),
        (200, 1_545_041),
        (551, 0),
        (100, 2_018_001),
    ] {
        assert!(matches!(of(code, subcode), Outcome::Refused { .. }), "{code}/{subcode}");
    }
    for (code, subcode) in [(190, 463), (10, 0), (200, 0), (368, 0), (10, 1_893_063)] {
        assert!(matches!(of(code, subcode), Outcome::AccountStopped { .. }), "{code}/{subcode}");
    }
    for code in [4, 32, 613, 80_006] {
        let slow = Slow::Account;
        assert!(matches!(of(code, 0), Outcome::Retry { slow: is, .. } if is == slow), "{code}");
    }
    for code in [1, 2, 1200] {
        let slow = Slow::Message;
        assert!(matches!(of(code, 0), Outcome::Retry { slow: is, .. } if is == slow), "{code}");
    }
}

fn account(channel: Channel, token: &str) -> Account {
    let (id, tenant) = (AccountId(Uuid::nil()), TenantId(Uuid::nil()));
    let mut account = Account::new(id, tenant, channel, "501", "Shop", Timestamp(0));
    account.config.insert("access_token".to_owned(), json!(token));
    account
}

#[test]
fn a_page_is_subscribed_and_an_account_of_instagram_by_what_its_token_is_of() {
    let asked = |channel: Channel, token: &str| {
        let call = channel.subscribe(&account(channel, token)).unwrap();
        assert!(call.method == Method::Post && call.body.is_none());
        let (of, fields) = call.path.split_once("/subscribed_apps?subscribed_fields=").unwrap();
        for field in ["messages", "messaging_postbacks", "standby"] {
            assert!(fields.split(',').any(|one| one == field), "{channel:?} {field}");
        }
        assert!(fields.bytes().all(|b| b.is_ascii_lowercase() || b"_,".contains(&b)), "{fields}");
        (of.to_owned(), call.api)
    };
    assert_eq!(asked(Channel::Messenger, "EAA"), ("501".to_owned(), Api::Graph));
    assert_eq!(asked(Channel::Instagram, "EAA"), ("me".to_owned(), Api::Graph));
    assert_eq!(asked(Channel::Instagram, "IGAA"), ("501".to_owned(), Api::Instagram));
    let leaves = Channel::Messenger.unsubscribe(&account(Channel::Messenger, "EAA")).unwrap();
    assert!(leaves.method == Method::Delete && leaves.path == "501/subscribed_apps");
    for channel in BOTH {
        assert!(channel.register(&account(channel, "t")).is_none());
        assert!(channel.unregistered().is_some_and(|it| it.registered && !it.subscribed));
    }
}

#[test]
fn an_account_of_instagram_says_by_which_of_its_ids_webhooks_name_it() {
    let asked = |token: &str| Channel::Instagram.account("901", token).unwrap().path;
    assert_eq!(asked("IGAA"), "901?fields=id,user_id,username");
    assert_eq!(asked("EAA"), "901?fields=id,username");
    let known =
        Channel::Instagram.known(&json!({"id": "901", "user_id": 17841, "username": "shop"}));
    assert_eq!((known.key.as_deref(), known.name.as_deref()), (Some("17841"), Some("shop")));
    assert_eq!(Channel::Messenger.known(&json!({"id": "5", "name": "Shop"})).key, None);
}

#[test]
fn a_file_that_is_with_the_provider_is_sent_by_its_id_there() {
    let media = |from| Media { kind: MessageKind::Image, from, caption: None, filename: None };
    let sent = |from| {
        let what = Outgoing::Message { saying: Saying::Media(media(from)), reply_to: None };
        let body = call(Channel::Messenger, what, false)?.body.unwrap();
        Some(body["message"]["attachment"]["payload"].clone())
    };
    assert_eq!(sent(Source::Provider("77".to_owned())), Some(json!({"attachment_id": "77"})));
    let (id, mime_type, size) = (MediaId(Uuid::nil()), "image/png".to_owned(), 7);
    let ours = Source::Stored(Stored { id, mime_type, size });
    assert_eq!(sent(ours), None, "it has to be there first");
}
