//! What may be said on WhatsApp, how it is said, and what its row shows of it.

#[cfg(test)]
mod any;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod reactions;
#[cfg(test)]
mod sound;

use engine::channel::{Channel, Handle, Opaque, Outbound, Outgoing, whatsapp};
use engine::contact::IdentityKind;
use engine::id::{ConversationId, ThreadId};
use engine::message::{Content, Place};
use engine::resource::Invalid;
use engine::saying::{Asked, NewMessage, Saying};
use serde_json::{Value, json};
use uuid::Uuid;

/// What this body says, as it is taken.
#[cfg(test)]
fn taken(body: &Value) -> Result<Saying, Invalid> {
    let body: NewMessage = serde_json::from_value(body.clone()).unwrap();
    match body.asked(Channel::Whatsapp, &[])? {
        Asked::Message { mut saying, .. } => whatsapp::check(&mut saying).map(|()| saying),
        Asked::Reaction(_) => panic!("a reaction is no message"),
    }
}

/// What its row shows, and the request that is made of that.
#[cfg(test)]
fn sent(body: &Value) -> (Content, Value) {
    let saying = taken(body).unwrap_or_else(|wrong| panic!("{body}: {wrong:?}"));
    let shown = saying.shown();
    assert_eq!(Saying::of(&shown).as_ref(), Some(&saying), "the row says all of it");
    (shown, encoded(saying))
}

#[cfg(test)]
fn encoded(saying: Saying) -> Value {
    let opaque = Opaque {
        thread: ThreadId(Uuid::from_u128(1)),
        conversation: ConversationId(Uuid::from_u128(2)),
        place: Place { block: 0, ordinal: 1 },
        reaction: None,
    };
    let to = vec![Handle { kind: IdentityKind::Phone, value: "15550001".into() }];
    let what = Outgoing::Message { saying, reply_to: None };
    let outbound = Outbound { to, is_late: false, what, opaque };
    whatsapp::message(&outbound, "7001", "token").unwrap().body.unwrap()
}

/// The field that is wrong with a body.
#[cfg(test)]
fn wrong(body: &Value) -> String {
    let wrong = taken(body).expect_err(&body.to_string());
    assert_eq!(wrong.details.len(), 1);
    wrong.details[0].field.clone()
}

#[cfg(test)]
fn media(kind: &str) -> Value {
    json!({"attachments": [{"kind": kind, "url": "https://example.com/a"}]})
}

#[cfg(test)]
fn buttons(titles: &[&str]) -> Value {
    let button = |(n, title): (usize, &&str)| json!({"type": "reply", "reply": {"id": format!("b{n}"), "title": title}});
    let buttons: Vec<_> = titles.iter().enumerate().map(button).collect();
    json!({"interactive": {"type": "button", "body": {"text": "Which?"}, "action": {"buttons": buttons}}})
}

#[cfg(test)]
fn list(sections: &[usize]) -> Value {
    let mut id = 0;
    let mut section = |rows: &usize| {
        let mut row = |_| {
            id += 1;
            json!({"id": id.to_string(), "title": "A row", "description": "It says more"})
        };
        json!({"title": "A part", "rows": (0..*rows).map(&mut row).collect::<Vec<_>>()})
    };
    let sections: Vec<_> = sections.iter().map(&mut section).collect();
    json!({"interactive": {
        "type": "list", "body": {"text": "Which?"}, "action": {"button": "Choose", "sections": sections},
    }})
}

#[cfg(test)]
fn template(components: &Value) -> Value {
    json!({"template": {"name": "order_ready", "language": "en_US", "components": components}})
}

/// A body with this value at a path such as `/interactive/body/text`.
#[cfg(test)]
fn with(mut body: Value, path: &str, value: impl Into<Value>) -> Value {
    let (parent, key) = path.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[key] = value.into();
    body
}

#[cfg(test)]
fn long(chars: usize) -> String {
    "ö".repeat(chars)
}

#[test]
fn every_kind_is_said_in_the_provider_s_form() {
    let card = json!({"name": {"formatted_name": "Ines Sol", "first_name": "Ines"},
        "phones": [{"phone": "+34 600 000 001", "type": "WORK", "wa_id": "34600000001"}],
        "org": {"company": "Corner Store"}});
    let cta = json!({"type": "cta_url", "body": {"text": "See it"}, "action": {"name": "cta_url",
        "parameters": {"display_text": "Open", "url": "https://example.com/shop"}}});
    let carousel = json!({"type": "carousel", "action": {"cards": [{"card_index": 0}]}});
    let parts = json!([{"type": "body", "parameters": [{"type": "text", "text": "Ines"}]}]);
    for (body, kind, said) in [
        (json!({"text": "Hi"}), "text", json!({"body": "Hi", "preview_url": true})),
        (media("image"), "image", json!({"link": "https://example.com/a"})),
        (media("audio"), "audio", json!({"link": "https://example.com/a"})),
        (media("video"), "video", json!({"link": "https://example.com/a"})),
        (media("sticker"), "sticker", json!({"link": "https://example.com/a"})),
        (
            json!({"attachments": [{"kind": "document", "url": "https://example.com/a",
                "filename": "a.pdf", "caption": "The bill"}]}),
            "document",
            json!({"link": "https://example.com/a", "filename": "a.pdf", "caption": "The bill"}),
        ),
        (
            json!({"location": {"latitude": 41.5, "longitude": -2, "name": "Shop"}}),
            "location",
            json!({"latitude": 41.5, "longitude": -2.0, "name": "Shop"}),
        ),
        (json!({"contacts": [card]}), "contacts", json!([card])),
        (buttons(&["Yes", "No"]), "interactive", buttons(&["Yes", "No"])["interactive"].clone()),
        (list(&[2, 1]), "interactive", list(&[2, 1])["interactive"].clone()),
        (json!({"interactive": cta}), "interactive", cta),
        (json!({"interactive": carousel}), "interactive", carousel),
        (
            template(&parts),
            "template",
            json!({"name": "order_ready", "language": {"code": "en_US"}, "components": parts}),
        ),
        (
            template(&json!([])),
            "template",
            json!({"name": "order_ready", "language": {"code": "en_US"}}),
        ),
    ] {
        let (_, request) = sent(&body);
        assert_eq!((&request["type"], &request[kind]), (&json!(kind), &said));
        assert_eq!(
            (&request["to"], &request["recipient_type"]),
            (&json!("15550001"), &json!("individual"))
        );
        // What is sent names its kind, whether the caller did or not.
        if kind != "image" {
            assert_eq!(sent(&with(body, "/kind", kind)).1, request);
        }
    }
}

#[test]
fn the_row_shows_what_a_person_would_read() {
    let shown = |body: &Value| {
        let (shown, _) = sent(body);
        (shown.kind.as_str(), shown.text, shown.attachments.len())
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(shown(&json!({"text": "Hi"})), ("text", text("Hi"), 0));
    assert_eq!(shown(&media("sticker")), ("sticker", None, 1));
    let caption = with(media("image"), "/text", "The blue one");
    assert_eq!(shown(&caption), ("image", text("The blue one"), 1));
    assert_eq!(sent(&caption).0.attachments[0].caption, text("The blue one"));
    let place = json!({"location": {"latitude": 41.5, "longitude": -2, "name": "Shop"}});
    assert_eq!(shown(&place), ("location", None, 1));
    assert_eq!(sent(&place).0.attachments[0].latitude, Some(41.5));
    let pressed = buttons(&["Yes"]);
    assert_eq!(shown(&pressed), ("interactive", text("Which?"), 0));
    let payload = sent(&pressed).0.payload.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&payload).unwrap(), pressed["interactive"]);
    let pictured = with(
        pressed,
        "/interactive/header",
        json!({"type": "image", "image": {"link": "https://example.com/a"}}),
    );
    assert_eq!(shown(&pictured), ("interactive", text("Which?"), 1));
    assert_eq!(shown(&template(&json!([]))), ("template", None, 0));
}

#[test]
fn one_thing_is_said_at_a_time() {
    let place = json!({"latitude": 1, "longitude": 1});
    for (body, field) in [
        (json!({}), "text"),
        (json!({"kind": "image"}), "attachments"),
        (json!({"kind": "template"}), "template"),
        (json!({"attachments": [], "contacts": []}), "text"),
        (json!({"text": "x", "kind": "image"}), "kind"),
        (with(media("image"), "/kind", "video"), "kind"),
        (with(media("image"), "/kind", "text"), "kind"),
        (json!({"text": "x", "location": place}), "text"),
        (with(buttons(&["A"]), "/location", place.clone()), "interactive"),
        (with(template(&json!([])), "/text", "x"), "text"),
        (with(media("image"), "/location", place), "location"),
        (json!({"text": "x", "subject": "y"}), "subject"),
        (json!({"text": "x", "html": "<b>x</b>"}), "html"),
    ] {
        assert_eq!(wrong(&body), field, "{body}");
    }
    let (one, two) = (media("image"), media("video"));
    let both = json!({"attachments": [one["attachments"][0], two["attachments"][0]]});
    assert_eq!(wrong(&both), "attachments[1]");
}

#[test]
fn what_is_filled_into_a_template_is_one_line() {
    let parts = json!([{"type": "body", "parameters": [{"type": "text", "text": " Two\n lines,\ta     gap "}]}]);
    let (_, request) = sent(&template(&parts));
    assert_eq!(request["template"]["components"][0]["parameters"][0]["text"], "Two lines, a gap");
}
