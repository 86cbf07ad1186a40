//! Whatever is asked: what is taken lies within the provider's limits.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{encoded, long, media, taken, template, with};

/// A text around a limit.
fn around(most: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,8}".boxed(),
        (most.saturating_sub(2)..=most + 2).prop_map(long).boxed(),
        Just(String::new()).boxed(),
    ]
}

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
