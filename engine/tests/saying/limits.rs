//! What the provider would refuse is refused before it is stored, with the field that is wrong.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{buttons, list, long, media, sent, template, with, wrong};

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
        (
            json!({"attachments": [{"kind": "image", "media_id": Uuid::nil()}]}),
            "attachments[0].media_id",
        ),
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
