//! What a template must be, and how many parameters its messages take.

use serde_json::Value;

use crate::error::{self, GraphError};

const NAME: usize = 512;
const CATEGORIES: [&str; 3] = ["MARKETING", "UTILITY", "AUTHENTICATION"];
const BODY: usize = 1024;
const SHORT: usize = 60;
const BUTTONS: usize = 10;
const BUTTON: usize = 25;
/// The subcode of whatever is longer than it may be.
const TOO_LONG: u32 = 2_388_040;

/// What whoever makes a template says of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) language: String,
    pub(super) category: String,
    pub(super) parameter_format: String,
    pub(super) components: Value,
}

impl Draft {
    pub(super) fn read(body: &Value) -> Result<Self, GraphError> {
        let text = |key: &str| {
            let value = body[key].as_str().filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| GraphError::missing(key))
        };
        let name = text("name")?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if name.len() > NAME || !name.chars().all(is_name) {
            let words = "name has lower-case letters, digits and underscores, at most 512.";
            return Err(GraphError::invalid(words));
        }
        let draft = Self {
            name,
            language: text("language")?,
            category: text("category")?,
            parameter_format: text("parameter_format").unwrap_or_else(|_| "POSITIONAL".into()),
            components: body["components"].clone(),
        };
        draft.check()?;
        Ok(draft)
    }

    /// The same with what `body` changes of it.
    pub(super) fn changed(&self, body: &Value) -> Result<Self, GraphError> {
        let mut draft = self.clone();
        if let Some(category) = body["category"].as_str() {
            category.clone_into(&mut draft.category);
        }
        if !body["components"].is_null() {
            draft.components = body["components"].clone();
        }
        draft.check()?;
        Ok(draft)
    }

    fn check(&self) -> Result<(), GraphError> {
        if !CATEGORIES.contains(&self.category.as_str()) {
            let words = "category is MARKETING, UTILITY or AUTHENTICATION.";
            return Err(GraphError::invalid(words));
        }
        let all = self.components.as_array().ok_or_else(|| GraphError::missing("components"))?;
        if !all.iter().any(|component| kind(component) == "BODY") {
            return Err(GraphError::missing("A component of type BODY"));
        }
        all.iter().try_for_each(component_is_right)
    }
}

fn component_is_right(component: &Value) -> Result<(), GraphError> {
    let text = component["text"].as_str().unwrap_or_default();
    match kind(component).as_str() {
        "BODY" => {
            at_most("The body", text, BODY)?;
            // An authentication template's text is Meta's own.
            let is_whole = !text.trim().starts_with("{{") && !text.trim().ends_with("}}");
            if !is_whole {
                let words = "A body neither begins nor ends with a variable.";
                return Err(GraphError::invalid(words).sub(2_388_299));
            }
            Ok(())
        }
        "HEADER" => match component["format"].as_str() {
            Some("TEXT") => at_most("The header", text, SHORT),
            Some("IMAGE" | "VIDEO" | "DOCUMENT") => {
                match component["example"]["header_handle"].is_array() {
                    true => Ok(()),
                    false => Err(GraphError::missing("example.header_handle").sub(2_388_273)),
                }
            }
            Some("LOCATION") => Ok(()),
            _ => Err(GraphError::invalid("A header's format is TEXT, IMAGE, VIDEO or DOCUMENT.")),
        },
        "FOOTER" => at_most("The footer", text, SHORT),
        "BUTTONS" => {
            let buttons = component["buttons"].as_array().map_or(&[][..], Vec::as_slice);
            if buttons.is_empty() || buttons.len() > BUTTONS {
                return Err(GraphError::invalid(format!("buttons has 1 to {BUTTONS} entries.")));
            }
            buttons.iter().try_for_each(|button| {
                at_most("A button", button["text"].as_str().unwrap_or_default(), BUTTON)
            })
        }
        "CAROUSEL" | "LIMITED_TIME_OFFER" | "CALL_PERMISSION_REQUEST" => Ok(()),
        _ => Err(GraphError::invalid("A component's type is HEADER, BODY, FOOTER or BUTTONS.")),
    }
}

fn at_most(what: &str, text: &str, most: usize) -> Result<(), GraphError> {
    match text.chars().count() <= most {
        true => Ok(()),
        false => {
            Err(GraphError::invalid(format!("{what} has at most {most} characters.")).sub(TOO_LONG))
        }
    }
}

/// Whether a message gives header and body as many parameters as they have variables.
pub(super) fn parameters(components: &Value, content: &Value) -> Result<(), GraphError> {
    let given = |of: &str| {
        let all = content["components"].as_array().map_or(&[][..], Vec::as_slice);
        let it = all.iter().find(|component| kind(component) == of);
        it.and_then(|it| it["parameters"].as_array()).map_or(0, Vec::len)
    };
    for component in components.as_array().map_or(&[][..], Vec::as_slice) {
        let of = kind(component);
        let wanted = match (of.as_str(), component["format"].as_str()) {
            ("BODY", _) | ("HEADER", Some("TEXT")) => variables(component["text"].as_str()),
            ("HEADER", Some(_)) => 1,
            _ => continue,
        };
        let given = given(&of);
        if given != wanted {
            let place = of.to_lowercase();
            let details =
                format!("{place}: {given} parameters do not match the expected number {wanted}.");
            return Err(error::TEMPLATE_PARAMETERS.because(details));
        }
    }
    Ok(())
}

/// How many different variables a text has.
fn variables(text: Option<&str>) -> usize {
    let mut names: Vec<_> = text
        .unwrap_or_default()
        .split("{{")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("}}")?.0.trim()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.len()
}

/// A component's type, in whichever case it is written.
fn kind(component: &Value) -> String {
    component["type"].as_str().unwrap_or_default().to_uppercase()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_gives_as_many_parameters_as_the_text_has_variables() {
        let components = json!([
            {"type": "HEADER", "format": "TEXT", "text": "Order {{1}}"},
            {"type": "BODY", "text": "Hello {{1}}, {{2}} and again {{1}}."},
        ]);
        let message = |header: usize, body: usize| {
            let many = |count| vec![json!({"type": "text", "text": "x"}); count];
            json!({"components": [
                {"type": "header", "parameters": many(header)},
                {"type": "body", "parameters": many(body)},
            ]})
        };
        assert_eq!(parameters(&components, &message(1, 2)), Ok(()));
        for (header, body) in [(0, 2), (1, 1), (1, 3)] {
            assert_eq!(parameters(&components, &message(header, body)).unwrap_err().code, 132_000);
        }
    }
}
