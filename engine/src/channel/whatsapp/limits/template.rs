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
const HEADER_CHARS_MAX: usize = 60;
const BUTTONS_MAX: u64 = 10;
/// Of a text that is filled in; the whole body is no longer, either.
const PARAMETER_CHARS_MAX: usize = 1024;
/// The name of a type is one of the provider's words.
const KIND_CHARS_MAX: usize = 64;

/// WhatsApp refuses texts with line breaks, tabs and runs of spaces: each becomes one space.
pub(super) fn normalise(template: &mut Template) {
    for component in &mut template.components {
        let parameters = component.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            if let Some(Value::String(text)) = parameter.get_mut("text") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
        }
    }
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
        check_component(component, &format!("components[{n}]"))?;
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

fn check_component(component: &Map<String, Value>, path: &str) -> Result<(), Invalid> {
    let kind = required(component, path, "type")?;
    let (longest, most) = match kind.text(KIND_CHARS_MAX)?.to_ascii_lowercase().as_str() {
        "header" => {
            only(component, path, &["type", "parameters"])?;
            (HEADER_CHARS_MAX, 1)
        }
        "body" => {
            only(component, path, &["type", "parameters"])?;
            (PARAMETER_CHARS_MAX, PARAMETERS_MAX)
        }
        "button" => {
            only(component, path, &["type", "sub_type", "index", "parameters"])?;
            required(component, path, "sub_type")?.text(KIND_CHARS_MAX)?;
            required(component, path, "index")?.index(BUTTONS_MAX)?;
            (PARAMETER_CHARS_MAX, PARAMETERS_MAX)
        }
        // Carousels, offers and what comes later: as they are.
        _ => return Ok(()),
    };
    let Some(parameters) = field(component, path, "parameters") else { return Ok(()) };
    for parameter in parameters.items(most)? {
        check_parameter(&parameter, longest)?;
    }
    Ok(())
}

fn check_parameter(parameter: &At<'_>, longest: usize) -> Result<(), Invalid> {
    match parameter.need("type")?.text(KIND_CHARS_MAX)? {
        "text" => parameter.need("text")?.text(longest).map(drop),
        media @ ("image" | "video" | "document") => parameter.need(media)?.media(),
        _ => Ok(()),
    }
}
