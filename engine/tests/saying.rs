//! What may be said on WhatsApp, how it is said, and what its row shows of it.

#[cfg(test)]
use engine::channel::{Handle, Opaque, Outbound, Outgoing, whatsapp};
#[cfg(test)]
use engine::contact::IdentityKind;
#[cfg(test)]
use engine::id::{ConversationId, MessageId, ThreadId};
#[cfg(test)]
use engine::message::{Content, Place};
#[cfg(test)]
use engine::resource::Invalid;
#[cfg(test)]
use engine::saying::{Asked, NewMessage, Saying};
use proptest::prelude::*;
use serde_json::{Value, json};
#[cfg(test)]
use uuid::Uuid;

/// What this body says, as it is taken.
#[cfg(test)]
fn taken(body: &Value) -> Result<Saying, Invalid> {
    let body: NewMessage = serde_json::from_value(body.clone()).unwrap();
    match body.asked()? {
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
    let outbound = Outbound { to, what, opaque };
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
fn every_limit_is_said_with_its_field_and_what_lies_at_it_is_taken() {
    let place = |latitude: f64, longitude: f64| json!({"location": {"latitude": latitude, "longitude": longitude}});
    let file =
        |kind, key: &str, value: &str| with(media(kind), &format!("/attachments/0/{key}"), value);
    let press = |path: &str, value: &str| {
        with(buttons(&["A", "B", "C"]), &format!("/interactive{path}"), value)
    };
    let reply = |key: &str, value: &str| press(&format!("/action/buttons/2/reply/{key}"), value);
    let row = |key: &str, value: &str| {
        with(list(&[1, 9]), &format!("/interactive/action/sections/1/rows/8/{key}"), value)
    };
    let words = |most| json!({"text": long(most)});
    let foot = |most| with(buttons(&["A"]), "/interactive/footer", words(most));
    let head = |most| {
        with(buttons(&["A"]), "/interactive/header", json!({"type": "text", "text": long(most)}))
    };
    let body = |of: Value, most| with(of, "/interactive/body", words(most));
    let filled = |kind: &str, most| {
        template(&json!([{"type": kind, "parameters": [{"type": "text", "text": long(most)}]}]))
    };
    for (most, over, field) in [
        (json!({"text": long(4096)}), json!({"text": long(4097)}), "text"),
        (json!({"text": "x"}), json!({"text": " \n"}), "text"),
        (
            file("image", "caption", &long(1024)),
            file("image", "caption", &long(1025)),
            "attachments[0].caption",
        ),
        (
            file("document", "filename", &long(240)),
            file("document", "filename", &long(241)),
            "attachments[0].filename",
        ),
        (place(90.0, -180.0), place(90.1, 0.0), "location.latitude"),
        (place(-90.0, 180.0), place(0.0, -180.1), "location.longitude"),
        (buttons(&["A", "B", "C"]), buttons(&["A", "B", "C", "D"]), "interactive.action.buttons"),
        (buttons(&["A"]), buttons(&[]), "interactive.action.buttons"),
        (
            reply("title", &long(20)),
            reply("title", &long(21)),
            "interactive.action.buttons[2].reply.title",
        ),
        (reply("title", "D"), reply("title", ""), "interactive.action.buttons[2].reply.title"),
        (reply("title", "D"), reply("title", "A"), "interactive.action.buttons[2].reply.title"),
        (
            reply("id", &long(256)),
            reply("id", &long(257)),
            "interactive.action.buttons[2].reply.id",
        ),
        (reply("id", "b3"), reply("id", "b0"), "interactive.action.buttons[2].reply.id"),
        (body(buttons(&["A"]), 1024), body(buttons(&["A"]), 1025), "interactive.body.text"),
        (body(list(&[1]), 4096), body(list(&[1]), 4097), "interactive.body.text"),
        (foot(60), foot(61), "interactive.footer.text"),
        (head(60), head(61), "interactive.header.text"),
        (list(&[10]), list(&[11]), "interactive.action.sections[0].rows"),
        (list(&[5, 5]), list(&[5, 6]), "interactive.action.sections[1].rows"),
        (list(&[1; 10]), list(&[1; 11]), "interactive.action.sections"),
        (
            row("title", &long(24)),
            row("title", &long(25)),
            "interactive.action.sections[1].rows[8].title",
        ),
        (
            row("description", &long(72)),
            row("description", &long(73)),
            "interactive.action.sections[1].rows[8].description",
        ),
        (row("id", &long(200)), row("id", &long(201)), "interactive.action.sections[1].rows[8].id"),
        (row("id", "11"), row("id", "1"), "interactive.action.sections[1].rows[8].id"),
        (filled("header", 60), filled("header", 61), "template.components[0].parameters[0].text"),
        (filled("body", 1024), filled("body", 1025), "template.components[0].parameters[0].text"),
    ] {
        sent(&most);
        assert_eq!(wrong(&over), field, "{over}");
    }
    let choose = |most| with(list(&[1]), "/interactive/action/button", long(most));
    sent(&choose(20));
    assert_eq!(wrong(&choose(21)), "interactive.action.button");
}

#[test]
fn what_the_provider_would_not_understand_is_refused_before_it_is_stored() {
    let local = |key: &str| json!({"type": key, key: {"link": "http://10.0.0.1/a"}});
    let card = |card: Value| json!({"contacts": [card]});
    let named = |name: &str| with(template(&json!([])), "/template/name", name);
    let in_language = |code: &str| with(template(&json!([])), "/template/language", code);
    let button = |extra: Value| {
        let mut component = json!({"type": "button", "sub_type": "url", "index": "0"});
        component.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        template(&json!([component]))
    };
    sent(&button(json!({"parameters": [{"type": "text", "text": "a"}]})));
    for (body, field) in [
        (json!({"attachments": [{"kind": "image"}]}), "attachments[0].url"),
        (
            json!({"attachments": [{"kind": "image", "url": "http://localhost/a"}]}),
            "attachments[0].url",
        ),
        (json!({"attachments": [{"kind": "image", "media_id": "m"}]}), "attachments[0].media_id"),
        (with(media("audio"), "/attachments/0/caption", "x"), "attachments[0].caption"),
        (with(media("sticker"), "/text", "x"), "attachments[0].caption"),
        (with(media("image"), "/attachments/0/filename", "x"), "attachments[0].filename"),
        (with(media("document"), "/attachments/0/filename", "../x"), "attachments[0].filename"),
        (card(json!({"name": {"formatted_name": " "}})), "contacts[0].name.formatted_name"),
        (card(json!({"name": {"formatted_name": "Ines"}})), "contacts[0].name.first_name"),
        (
            card(json!({"name": {"formatted_name": "Ines", "first_name": "Ines"}})),
            "contacts[0].phones",
        ),
        (
            card(
                json!({"name": {"formatted_name": "Ines", "first_name": "Ines"}, "birthday": "31.12.1990"}),
            ),
            "contacts[0].birthday",
        ),
        (with(buttons(&["A"]), "/interactive/type", "Buttons!"), "interactive.type"),
        (with(buttons(&["A"]), "/interactive/body", Value::Null), "interactive.body.text"),
        (
            with(buttons(&["A"]), "/interactive/action/buttons/0/type", "url"),
            "interactive.action.buttons[0].type",
        ),
        (
            with(buttons(&["A"]), "/interactive/action/buttons/0/reply/x", 1),
            "interactive.action.buttons[0].reply.x",
        ),
        (with(buttons(&["A"]), "/interactive/action/x", 1), "interactive.action.x"),
        (
            with(buttons(&["A"]), "/interactive/header", local("image")),
            "interactive.header.image.link",
        ),
        (with(list(&[1]), "/interactive/header", local("image")), "interactive.header.type"),
        (
            with(list(&[1, 1]), "/interactive/action/sections/1/title", Value::Null),
            "interactive.action.sections[1].title",
        ),
        (
            json!({"interactive": {"type": "cta_url", "body": {"text": "x"}, "action": {"name": "cta_url",
                "parameters": {"display_text": "x", "url": "ftp://example.com"}}}}),
            "interactive.action.parameters.url",
        ),
        (named(""), "template.name"),
        (named("Order ready"), "template.name"),
        (named(&"a".repeat(513)), "template.name"),
        (in_language("english"), "template.language"),
        (in_language("en-US"), "template.language"),
        (template(&json!([{"parameters": []}])), "template.components[0].type"),
        (template(&json!([{"type": "body", "text": "x"}])), "template.components[0].text"),
        (
            template(&json!([{"type": "body", "parameters": [{"text": "x"}]}])),
            "template.components[0].parameters[0].type",
        ),
        (
            template(&json!([{"type": "body", "parameters": [{"type": "text", "text": "\n\t"}]}])),
            "template.components[0].parameters[0].text",
        ),
        (
            template(&json!([{"type": "header", "parameters": [local("video")]}])),
            "template.components[0].parameters[0].video.link",
        ),
        (button(json!({"index": 10})), "template.components[0].index"),
        (button(json!({"sub_type": null})), "template.components[0].sub_type"),
    ] {
        assert_eq!(wrong(&body), field, "{body}");
    }
    for (body, key) in [(buttons(&["A"]), "interactive"), (template(&json!([])), "template")] {
        let filler = json!({"type": "carousel", "cards": long(16_000)});
        let large = match key {
            "template" => with(body, "/template/components", json!([filler])),
            _ => with(with(body, "/interactive/type", "carousel"), "/interactive/action", filler),
        };
        assert_eq!(wrong(&large), key);
    }
}

#[test]
fn what_is_filled_into_a_template_is_one_line() {
    let parts = json!([{"type": "body", "parameters": [{"type": "text", "text": " Two\n lines,\ta     gap "}]}]);
    let (_, request) = sent(&template(&parts));
    assert_eq!(request["template"]["components"][0]["parameters"][0]["text"], "Two lines, a gap");
}

#[test]
fn a_reaction_names_its_message_and_is_known_again() {
    let opaque = Opaque {
        thread: ThreadId(Uuid::from_u128(1)),
        conversation: ConversationId(Uuid::from_u128(2)),
        place: Place { block: 0, ordinal: 1 },
        reaction: Some(MessageId(Uuid::from_u128(3))),
    };
    for (emoji, said) in [(Some("👍".to_owned()), "👍"), (None, "")] {
        let to = vec![Handle { kind: IdentityKind::Phone, value: "15550001".into() }];
        let what = Outgoing::Reaction { message: "wamid.A1".into(), emoji };
        let request = whatsapp::message(&Outbound { to, what, opaque }, "7001", "token");
        let request = request.unwrap().body.unwrap();
        assert_eq!(request["type"], "reaction");
        assert_eq!(request["reaction"], json!({"message_id": "wamid.A1", "emoji": said}));
        let known = request["biz_opaque_callback_data"].as_str().unwrap();
        assert_eq!(Opaque::decode(known), Some(opaque));
    }
}

#[test]
fn a_reaction_is_one_emoji_or_none() {
    let emoji = |emoji: &str| {
        let body = json!({"reaction": {"message_id": Uuid::nil(), "emoji": emoji}});
        let body: NewMessage = serde_json::from_value(body).unwrap();
        let Ok(Asked::Reaction(reaction)) = body.asked() else { panic!("a reaction") };
        whatsapp::check_reaction(&reaction)
    };
    for good in ["", "👍", "❤️", "👨‍👩‍👧‍👦", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
    {
        assert_eq!(emoji(good), Ok(()), "{good}");
    }
    for bad in [" ", "a", "ok", "é", ":)", "👍 👍", "👍\n", &"👍".repeat(17)] {
        assert!(emoji(bad).is_err(), "{bad}");
    }
}

/// A text around a limit.
#[cfg(test)]
fn around(most: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,8}".boxed(),
        (most.saturating_sub(2)..=most + 2).prop_map(long).boxed(),
        Just(String::new()).boxed(),
    ]
}

#[cfg(test)]
fn any_buttons() -> impl Strategy<Value = Value> {
    let button = (around(256), around(20))
        .prop_map(|(id, title)| json!({"type": "reply", "reply": {"id": id, "title": title}}));
    (
        prop::collection::vec(button, 0..5),
        around(1024),
        prop::option::of(around(60)),
        prop::option::of(around(60)),
    )
        .prop_map(|(buttons, body, header, footer)| {
            let header = header.map(|text| json!({"type": "text", "text": text}));
            let footer = footer.map(|text| json!({"text": text}));
            json!({"interactive": {"type": "button", "header": header, "body": {"text": body},
                "footer": footer, "action": {"buttons": buttons}}})
        })
}

#[cfg(test)]
fn any_list() -> impl Strategy<Value = Value> {
    let row = ("[0-9]{1,4}", around(24), prop::option::of(around(72))).prop_map(
        |(id, title, description)| {
            let row = json!({"id": id, "title": title});
            description.map_or(row.clone(), |text| with(row, "/description", text))
        },
    );
    let section = (prop::option::of(around(24)), prop::collection::vec(row, 0..5)).prop_map(
        |(title, rows)| {
            let section = json!({"rows": rows});
            title.map_or(section.clone(), |text| with(section, "/title", text))
        },
    );
    (prop::collection::vec(section, 0..4), around(20), around(4096)).prop_map(
        |(sections, button, body)| {
            json!({"interactive": {"type": "list", "body": {"text": body},
            "action": {"button": button, "sections": sections}}})
        },
    )
}

#[cfg(test)]
fn any_other() -> impl Strategy<Value = Value> {
    let parameters =
        prop::collection::vec(("\\PC{0,6}[\n\t ]{0,6}", around(1024)), 0..3).prop_map(|texts| {
            let text =
                |(start, end): (String, String)| json!({"type": "text", "text": start + &end});
            json!([{"type": "body", "parameters": texts.into_iter().map(text).collect::<Vec<_>>()}])
        });
    prop_oneof![
        around(4096).prop_map(|text| json!({"text": text})),
        (around(1024), "(image|video|document)").prop_map(|(caption, kind)| with(
            media(&kind),
            "/attachments/0/caption",
            caption
        )),
        parameters.prop_map(|components| template(&components)),
        (-100.0..100.0, -200.0..200.0).prop_map(|(latitude, longitude): (f64, f64)| {
            json!({"location": {"latitude": latitude, "longitude": longitude}})
        }),
    ]
}

/// Says what of a request the provider would refuse, by the figures of its reference alone.
#[cfg(test)]
fn too_much(request: &Value) -> Option<String> {
    let longer = |at: &str, most: usize| {
        let chars = request.pointer(at).and_then(Value::as_str).map(|text| text.chars().count());
        chars.is_some_and(|chars| chars == 0 || chars > most).then(|| at.to_owned())
    };
    let is_list = request["interactive"]["type"] == "list";
    let mut wrong = longer("/text/body", 4096)
        .or(longer("/interactive/body/text", if is_list { 4096 } else { 1024 }))
        .or(longer("/interactive/header/text", 60))
        .or(longer("/interactive/footer/text", 60))
        .or(longer("/interactive/action/button", 20))
        .or(longer("/image/caption", 1024))
        .or(longer("/video/caption", 1024))
        .or(longer("/document/caption", 1024));
    let many = |at: &str| request.pointer(at).and_then(Value::as_array).map_or(0, Vec::len);
    for n in 0..many("/interactive/action/buttons") {
        let reply = format!("/interactive/action/buttons/{n}/reply");
        wrong =
            wrong.or(longer(&format!("{reply}/id"), 256)).or(longer(&format!("{reply}/title"), 20));
    }
    let (mut rows, sections) = (0, many("/interactive/action/sections"));
    for n in 0..sections {
        let section = format!("/interactive/action/sections/{n}");
        wrong = wrong.or(longer(&format!("{section}/title"), 24));
        for row in 0..many(&format!("{section}/rows")) {
            let row = format!("{section}/rows/{row}");
            wrong = wrong
                .or(longer(&format!("{row}/title"), 24))
                .or(longer(&format!("{row}/description"), 72));
            rows += 1;
        }
    }
    for n in 0..many("/template/components/0/parameters") {
        let text = format!("/template/components/0/parameters/{n}/text");
        let filled = request.pointer(&text).and_then(Value::as_str).unwrap_or_default();
        let is_ragged = filled.contains(['\n', '\t']) || filled.contains("    ");
        wrong = wrong.or(longer(&text, 1024)).or(is_ragged.then_some(text));
    }
    let degrees = |key: &str| request["location"][key].as_f64().unwrap_or_default().abs();
    let is_nowhere = degrees("latitude") > 90.0 || degrees("longitude") > 180.0;
    let is_over =
        many("/interactive/action/buttons") > 3 || rows > 10 || sections > 10 || is_nowhere;
    wrong.or(is_over.then(|| "too many, or nowhere".to_owned()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_taken_is_said_within_the_provider_s_limits(
        body in prop_oneof![any_buttons(), any_list(), any_other()],
    ) {
        match taken(&body) {
            Ok(saying) => {
                let request = encoded(saying);
                prop_assert_eq!(too_much(&request), None, "{}", request);
                prop_assert!(request.to_string().len() < 64 * 1024);
            }
            Err(wrong) => prop_assert!(!wrong.details[0].field.is_empty()),
        }
    }
}
