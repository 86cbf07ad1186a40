//! Templates: their names, and what is filled in. Whether that fits the approved text only the
//! provider knows.

use serde_json::{Map, Value};

use super::at::{At, field, only, required};
use crate::resource::Invalid;
use crate::saying::Template;

const NAME_CHARS_MAX: usize = 512;
const LANGUAGE_CHARS_MAX: usize = 15;
const COMPONENTS_MAX: usize = 16;
const PARAMETERS_MAX: usize = 64;
const CARDS_MAX: usize = 10;
const CURRENCY_CHARS_MAX: usize = 3;
/// Beyond it a reader of JSON may round.
const NUMBER_MAX: u64 = 1 << 53;
const HEADER_CHARS_MAX: usize = 60;
const BUTTONS_MAX: u64 = 10;
/// Of a text that is filled in; the whole body is no longer, either.
const PARAMETER_CHARS_MAX: usize = 1024;
/// The name of a type is one of the provider's words.
const KIND_CHARS_MAX: usize = 64;

/// WhatsApp refuses texts with line breaks, tabs and runs of spaces: each becomes one space.
pub(super) fn normalise(template: &mut Template) {
    template.components.iter_mut().for_each(one_line);
}

fn one_line(component: &mut Map<String, Value>) {
    for parameter in items(component, "parameters") {
        if let Some(Value::String(text)) = parameter.get_mut("text") {
            *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
    for card in items(component, "cards").filter_map(Value::as_object_mut) {
        items(card, "components").filter_map(Value::as_object_mut).for_each(one_line);
    }
}

fn items<'a>(of: &'a mut Map<String, Value>, key: &str) -> impl Iterator<Item = &'a mut Value> {
    of.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

pub(super) fn check(template: &Template) -> Result<(), Invalid> {
    let Template { name, language, components } = template;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
        let message = "must be 1 to 512 lower-case letters, digits and underscores";
        return Err(Invalid::field("name", message));
    }
    if !is_language(language) {
        return Err(Invalid::field("language", "must be a code such as `en_US`"));
    }
    if components.len() > COMPONENTS_MAX {
        let message = format!("must have at most {COMPONENTS_MAX} entries");
        return Err(Invalid::field("components", message));
    }
    for (n, component) in components.iter().enumerate() {
        check_component(component, &format!("components[{n}]"), false)?;
    }
    Ok(())
}

fn is_language(code: &str) -> bool {
    let mut parts = code.split('_');
    let first = parts.next().unwrap_or_default();
    code.len() <= LANGUAGE_CHARS_MAX
        && (2..=3).contains(&first.len())
        && first.chars().all(|c| c.is_ascii_lowercase())
        && parts.all(|part| {
            (2..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric())
        })
}

/// What is filled in where.
const IN_HEADER: &[&str] =
    &["text", "currency", "date_time", "image", "video", "document", "location", "product"];
const IN_BODY: &[&str] = &["text", "currency", "date_time"];
const IN_BUTTON: &[&str] = &["text", "payload", "coupon_code", "action"];

fn check_component(
    component: &Map<String, Value>,
    path: &str,
    is_in_card: bool,
) -> Result<(), Invalid> {
    let at = required(component, path, "type")?;
    let kind = at.text(KIND_CHARS_MAX)?.to_ascii_lowercase();
    let own = [kind.as_str()];
    let (kinds, longest, most) = match kind.as_str() {
        "header" => (IN_HEADER, HEADER_CHARS_MAX, 1),
        "body" => (IN_BODY, PARAMETER_CHARS_MAX, PARAMETERS_MAX),
        "button" => {
            only(component, path, &["type", "sub_type", "index", "parameters"])?;
            required(component, path, "sub_type")?.text(KIND_CHARS_MAX)?;
            required(component, path, "index")?.index(BUTTONS_MAX)?;
            let parameters = (IN_BUTTON, PARAMETER_CHARS_MAX, PARAMETERS_MAX);
            return check_parameters(component, path, parameters);
        }
        "carousel" if !is_in_card => return check_carousel(component, path),
        // Each has one thing of its own name.
        "limited_time_offer" | "order_status" | "tap_target_configuration" if !is_in_card => {
            (&own[..], PARAMETER_CHARS_MAX, 1)
        }
        _ if is_in_card => return Err(at.wrong("must be `header`, `body` or `button` in a card")),
        _ => {
            let message = "must be `header`, `body`, `button`, `carousel`, `limited_time_offer`, \
                `order_status` or `tap_target_configuration`";
            return Err(at.wrong(message));
        }
    };
    only(component, path, &["type", "parameters"])?;
    check_parameters(component, path, (kinds, longest, most))
}

fn check_carousel(component: &Map<String, Value>, path: &str) -> Result<(), Invalid> {
    only(component, path, &["type", "cards"])?;
    for card in required(component, path, "cards")?.items(CARDS_MAX)? {
        card.only(&["card_index", "components"])?;
        card.need("card_index")?.index(CARDS_MAX as u64)?;
        for part in card.need("components")?.items(COMPONENTS_MAX)? {
            check_component(part.object()?, part.path(), true)?;
        }
    }
    Ok(())
}

fn check_parameters(
    component: &Map<String, Value>,
    path: &str,
    (kinds, longest, most): (&[&str], usize, usize),
) -> Result<(), Invalid> {
    let Some(parameters) = field(component, path, "parameters") else { return Ok(()) };
    for parameter in parameters.items(most)? {
        check_parameter(&parameter, kinds, longest)?;
    }
    Ok(())
}

/// A parameter: its type, and one thing of that name.
fn check_parameter(parameter: &At<'_>, kinds: &[&str], longest: usize) -> Result<(), Invalid> {
    let at = parameter.need("type")?;
    let kind = at.text(KIND_CHARS_MAX)?;
    if !kinds.contains(&kind) {
        return Err(at.wrong(format!("must be one of these here: `{}`", kinds.join("`, `"))));
    }
    parameter.only(&["type", "parameter_name", kind])?;
    if let Some(name) = parameter.get("parameter_name")? {
        name.text(PARAMETER_CHARS_MAX)?;
    }
    let filled = parameter.need(kind)?;
    match kind {
        "text" | "payload" | "coupon_code" => {
            let most = if kind == "text" { longest } else { PARAMETER_CHARS_MAX };
            filled.text(most).map(drop)
        }
        "image" | "video" | "document" => {
            let keys: &[&str] =
                if kind == "document" { &["id", "link", "filename"] } else { &["id", "link"] };
            filled.only(keys)?;
            filled.media()
        }
        "currency" => {
            filled.only(&["fallback_value", "code", "amount_1000"])?;
            filled.need("fallback_value")?.text(PARAMETER_CHARS_MAX)?;
            filled.need("code")?.text(CURRENCY_CHARS_MAX)?;
            filled.need("amount_1000")?.number(NUMBER_MAX)
        }
        "date_time" => filled.need("fallback_value")?.text(PARAMETER_CHARS_MAX).map(drop),
        "limited_time_offer" => {
            filled.only(&["expiration_time_ms"])?;
            filled.need("expiration_time_ms")?.number(NUMBER_MAX)
        }
        // Places, goods, flows, orders: in the provider's form.
        _ => Ok(()),
    }
}
