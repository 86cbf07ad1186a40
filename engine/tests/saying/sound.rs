//! What must not leave in any message: links inwards, parts that nobody knows, texts that show nothing.

use serde_json::{Value, json};

use crate::{buttons, media, sent, template, with, wrong};

/// A template of one carousel with one card, which has this component.
fn in_a_card(component: &Value) -> Value {
    let card = json!({"card_index": 0, "components": [component]});
    template(&json!([{"type": "carousel", "cards": [card]}]))
}

#[test]
fn a_link_is_looked_at_wherever_it_stands() {
    let image = |link: &str| json!({"type": "image", "image": {"link": link}});
    let header = |link: &str| json!({"type": "HEADER", "parameters": [image(link)]});
    sent(&in_a_card(&header("https://example.com/a.jpg")));
    sent(&template(&json!([header("https://example.com/a.jpg")])));
    let local = "http://169.254.169.254/a";
    let filled = |parameter: Value| template(&json!([{"type": "body", "parameters": [parameter]}]));
    let pressed = |parameter: Value| {
        template(
            &json!([{"type": "button", "sub_type": "flow", "index": 0, "parameters": [parameter]}]),
        )
    };
    let card = "template.components[0].cards[0].components[0].parameters[0]";
    let parameter = "template.components[0].parameters[0]";
    let shop = json!({"name": "x", "cards": [{"HEADER": {"Link": local}}]});
    for (body, field) in [
        (in_a_card(&header(local)), format!("{card}.image.link")),
        (template(&json!([header(local)])), format!("{parameter}.image.link")),
        (
            filled(json!({"type": "text", "text": "a", "image": {"link": local}})),
            format!("{parameter}.image"),
        ),
        (
            pressed(json!({"type": "action", "action": {"data": [{"URL": local}]}})),
            format!("{parameter}.action.data[0].URL"),
        ),
        (
            pressed(json!({"type": "action", "action": {"link": 7}})),
            format!("{parameter}.action.link"),
        ),
        (
            filled(
                json!({"type": "date_time", "date_time": {"fallback_value": "a", "more_url": local}}),
            ),
            format!("{parameter}.date_time.more_url"),
        ),
        (
            json!({"interactive": {"type": "carousel", "action": shop}}),
            "interactive.action.cards[0].HEADER.Link".to_owned(),
        ),
        (
            with(
                buttons(&["A"]),
                "/interactive/header",
                json!({"type": "image", "image": {"link": local}}),
            ),
            "interactive.header.image.link".to_owned(),
        ),
    ] {
        assert_eq!(wrong(&body), field, "{body}");
    }
}

#[test]
fn a_template_has_the_parts_that_the_provider_knows_and_no_others() {
    let filled = |parameter: Value| template(&json!([{"type": "body", "parameters": [parameter]}]));
    let offer = |time: Value| {
        let offer = json!({"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": time}});
        template(&json!([{"type": "limited_time_offer", "parameters": [offer]}]))
    };
    let price = |amount: Value| {
        let currency = json!({"fallback_value": "1 EUR", "code": "EUR", "amount_1000": amount});
        filled(json!({"type": "currency", "currency": currency}))
    };
    let button = |index: u64, parameter: Value| json!({"type": "button", "sub_type": "flow", "index": index, "parameters": [parameter]});
    for good in [
        offer(json!(1_700_000_000_000_u64)),
        price(json!(1000)),
        filled(json!({"type": "text", "text": "a", "parameter_name": "who"})),
        filled(json!({"type": "date_time", "date_time": {"fallback_value": "today"}})),
        template(&json!([button(0, json!({"type": "payload", "payload": "yes"}))])),
        template(&json!([button(0, json!({"type": "coupon_code", "coupon_code": "X1"}))])),
        template(&json!([button(0, json!({"type": "action", "action": {"flow_token": "t"}}))])),
        in_a_card(&json!({"type": "body", "parameters": [{"type": "text", "text": "a"}]})),
        in_a_card(&button(1, json!({"type": "payload", "payload": "yes"}))),
        template(&json!([{"type": "header", "parameters": [{"type": "location",
            "location": {"latitude": "48.2", "longitude": 16.4, "name": "Shop", "address": "Lane 4"}}]}])),
    ] {
        sent(&good);
    }
    let parameter = "template.components[0].parameters[0]";
    let card = "template.components[0].cards[0]";
    let document = |extra: Value| {
        let mut document = json!({"link": "https://example.com/a.pdf", "filename": "a.pdf"});
        document.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        template(
            &json!([{"type": "header", "parameters": [{"type": "document", "document": document}]}]),
        )
    };
    sent(&document(json!({})));
    for (body, field) in [
        (template(&json!([{"type": "poster"}])), "template.components[0].type".to_owned()),
        (template(&json!([{"type": "FOOTER"}])), "template.components[0].type".to_owned()),
        (filled(json!({"type": "hologram", "hologram": {}})), format!("{parameter}.type")),
        (filled(json!({"type": "text", "text": "a", "x": 1})), format!("{parameter}.x")),
        (document(json!({"x": 1})), format!("{parameter}.document.x")),
        (offer(json!(1e300)), format!("{parameter}.limited_time_offer.expiration_time_ms")),
        (offer(json!(1.5)), format!("{parameter}.limited_time_offer.expiration_time_ms")),
        (offer(json!(u64::MAX)), format!("{parameter}.limited_time_offer.expiration_time_ms")),
        (price(json!("1")), format!("{parameter}.currency.amount_1000")),
        (filled(json!({"type": "action", "action": {}})), format!("{parameter}.type")),
        (filled(json!({"type": "text", "payload": "a"})), format!("{parameter}.payload")),
        (
            template(&json!([button(
                0,
                json!({"type": "image", "image": {"link": "https://example.com/a"}})
            )])),
            format!("{parameter}.type"),
        ),
        (
            in_a_card(&json!({"type": "carousel", "cards": []})),
            format!("{card}.components[0].type"),
        ),
        (in_a_card(&json!({"type": "poster"})), format!("{card}.components[0].type")),
        (
            template(&json!([{"type": "carousel", "cards": [{"components": []}]}])),
            format!("{card}.card_index"),
        ),
        (template(&json!([{"type": "carousel"}])), "template.components[0].cards".to_owned()),
    ] {
        assert_eq!(wrong(&body), field, "{body}");
    }
}

#[test]
fn what_shows_nothing_is_not_sent_and_neither_are_control_characters() {
    for nothing in
        ["\u{200b}", " \u{2060}\n", "\u{202e}\u{202c}", "\u{3164}", "\u{0}", "a\u{0}b", "\u{1b}[1m"]
    {
        for (body, field) in [
            (json!({"text": nothing}), "text"),
            (with(media("image"), "/attachments/0/caption", nothing), "attachments[0].caption"),
            (with(buttons(&["A"]), "/interactive/body/text", nothing), "interactive.body.text"),
            (buttons(&[nothing]), "interactive.action.buttons[0].reply.title"),
            (
                json!({"location": {"latitude": 1, "longitude": 1, "name": nothing}}),
                "location.name",
            ),
            (
                json!({"contacts": [{"name": {"formatted_name": nothing, "first_name": "I"}}]}),
                "contacts[0].name.formatted_name",
            ),
            (
                template(
                    &json!([{"type": "body", "parameters": [{"type": "text", "text": nothing}]}]),
                ),
                "template.components[0].parameters[0].text",
            ),
        ] {
            assert_eq!(wrong(&body), field, "{body}");
        }
    }
    // Nor in what is not looked at by itself.
    let card = json!({"name": {"formatted_name": "Ines", "first_name": "I\u{0}"}, "phones": [{"phone": "+1"}]});
    assert_eq!(wrong(&json!({"contacts": [card]})), "contacts[0].name.first_name");
    let site = json!({"name": {"formatted_name": "Ines", "first_name": "Ines"}, "urls": [{"url": "shop.local"}]});
    sent(&json!({"contacts": [site]}));
    sent(&json!({"text": "two\r\nlines\tand \u{200f}more"}));
}
