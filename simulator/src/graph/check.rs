//! What a message must be (Meta, "Messages API"), and the error for what it is not.

use serde_json::Value;

use crate::error::GraphError;

const TEXT: usize = 4096;
const CAPTION: usize = 1024;
const FOOTER: usize = 60;
const HEADER: usize = 60;
const BUTTON_BODY: usize = 1024;
const BUTTONS: usize = 3;
const BUTTON_TITLE: usize = 20;
const BUTTON_ID: usize = 256;
const LIST_BODY: usize = 4096;
const LIST_ROWS: usize = 10;
const LIST_SECTIONS: usize = 10;
const ROW_ID: usize = 200;
const ROW_TITLE: usize = 24;
const ROW_DESCRIPTION: usize = 72;
const PRODUCTS: usize = 30;
const TEMPLATE_NAME: usize = 512;
/// Of `biz_opaque_callback_data`, in bytes.
const OPAQUE: usize = 512;
const LINK: usize = 2048;

type Checked = Result<(), GraphError>;

/// Whether a message of this kind may be what `body` says.
pub(super) fn check(kind: &str, body: &Value) -> Checked {
    if let Some(opaque) = body["biz_opaque_callback_data"].as_str()
        && opaque.len() > OPAQUE
    {
        let most = format!("biz_opaque_callback_data has at most {OPAQUE} bytes.");
        return Err(GraphError::wrong(most));
    }
    if !body["context"].is_null() {
        needed(&body["context"], "message_id")?;
    }
    let content = &body[kind];
    let is_list = kind == "contacts";
    if content.is_null() || (is_list && !content.is_array()) || (!is_list && !content.is_object()) {
        return Err(GraphError::missing(kind));
    }
    match kind {
        "text" => length(content, "body", 1, TEXT),
        "image" | "video" | "audio" | "document" | "sticker" => medium(kind, content),
        "location" => location(content),
        "contacts" => contacts(content),
        "reaction" => {
            needed(content, "message_id")?;
            // An empty one takes the reaction back.
            content["emoji"].as_str().map(drop).ok_or_else(|| GraphError::missing("emoji"))
        }
        "interactive" => interactive(content),
        "template" => template(content),
        other => Err(GraphError::invalid(format!("type must not be {other}."))),
    }
}

fn medium(kind: &str, content: &Value) -> Checked {
    let (id, link) = (content["id"].as_str(), content["link"].as_str());
    match (id, link) {
        (Some(id), None) if !id.is_empty() => {}
        (None, Some(link)) => {
            let is_web = link.starts_with("https://") || link.starts_with("http://");
            if !is_web || link.len() > LINK {
                return Err(GraphError::wrong(format!("{kind}.link is not a web address.")));
            }
        }
        (Some(_), Some(_)) => {
            return Err(GraphError::invalid(format!("{kind} takes an id or a link, not both.")));
        }
        _ => return Err(GraphError::missing(&format!("{kind}.id or {kind}.link"))),
    }
    let has_caption = !content["caption"].is_null();
    if has_caption && matches!(kind, "audio" | "sticker") {
        return Err(GraphError::invalid(format!("{kind} takes no caption.")));
    }
    if has_caption { length(content, "caption", 0, CAPTION) } else { Ok(()) }
}

fn location(content: &Value) -> Checked {
    for (key, most) in [("latitude", 90.0), ("longitude", 180.0)] {
        let value = &content[key];
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
        match number {
            None => return Err(GraphError::missing(&format!("location.{key}"))),
            Some(number) if number.abs() > most => {
                return Err(GraphError::wrong(format!("location.{key} is at most {most}.")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn contacts(content: &Value) -> Checked {
    let cards = each(content);
    if cards.is_empty() {
        return Err(GraphError::missing("contacts"));
    }
    for card in cards {
        needed(&card["name"], "formatted_name")?;
        let others = ["first_name", "last_name", "middle_name", "prefix", "suffix"];
        if others.iter().all(|key| card["name"][key].is_null()) {
            return Err(GraphError::missing("name.first_name or another part of the name"));
        }
    }
    Ok(())
}

fn interactive(content: &Value) -> Checked {
    let kind = content["type"].as_str().ok_or_else(|| GraphError::missing("interactive.type"))?;
    let action = &content["action"];
    if !action.is_object() {
        return Err(GraphError::missing("interactive.action"));
    }
    header(&content["header"])?;
    if !content["footer"].is_null() {
        length(&content["footer"], "text", 1, FOOTER)?;
    }
    let body = &content["body"];
    match kind {
        "button" => {
            length(body, "text", 1, BUTTON_BODY)?;
            buttons(action)
        }
        "list" => {
            length(body, "text", 1, LIST_BODY)?;
            length(action, "button", 1, BUTTON_TITLE)?;
            rows(action)
        }
        "cta_url" => {
            length(body, "text", 1, BUTTON_BODY)?;
            length(&action["parameters"], "display_text", 1, BUTTON_TITLE)?;
            needed(&action["parameters"], "url")
        }
        "flow" => {
            length(body, "text", 1, BUTTON_BODY)?;
            let parameters = &action["parameters"];
            needed(parameters, "flow_cta")?;
            needed(parameters, "flow_id").or_else(|_| needed(parameters, "flow_name"))
        }
        "location_request_message" | "address_message" | "request_contact_info" => {
            length(body, "text", 1, BUTTON_BODY)?;
            needed(action, "name")
        }
        "product" => {
            needed(action, "catalog_id")?;
            needed(action, "product_retailer_id")
        }
        "product_list" => products(content),
        "catalog_message" => length(body, "text", 1, BUTTON_BODY),
        "carousel" => many(&action["cards"], "action.cards", 2, 10).map(drop),
        "call_permission_request" | "voice_call" => Ok(()),
        other => Err(GraphError::wrong(format!("interactive.type must not be {other}."))),
    }
}

fn header(header: &Value) -> Checked {
    match header["type"].as_str() {
        None if header.is_null() => Ok(()),
        Some("text") => length(header, "text", 1, HEADER),
        Some(kind @ ("image" | "video" | "document")) => medium(kind, &header[kind]),
        _ => Err(GraphError::wrong("header.type is text, image, video or document.")),
    }
}

fn buttons(action: &Value) -> Checked {
    let buttons = many(&action["buttons"], "action.buttons", 1, BUTTONS)?;
    for button in buttons {
        if button["type"] != "reply" {
            return Err(GraphError::wrong("A button's type is reply."));
        }
        length(&button["reply"], "id", 1, BUTTON_ID)?;
        length(&button["reply"], "title", 1, BUTTON_TITLE)?;
    }
    different(buttons.iter().map(|button| &button["reply"]), "id", "button")?;
    different(buttons.iter().map(|button| &button["reply"]), "title", "button")
}

fn rows(action: &Value) -> Checked {
    let sections = many(&action["sections"], "action.sections", 1, LIST_SECTIONS)?;
    for section in sections {
        if sections.len() > 1 {
            length(section, "title", 1, ROW_TITLE)?;
        }
        many(&section["rows"], "section.rows", 1, LIST_ROWS)?;
    }
    let rows: Vec<_> = sections.iter().flat_map(|section| each(&section["rows"])).collect();
    if rows.len() > LIST_ROWS {
        return Err(GraphError::wrong(format!("A list has at most {LIST_ROWS} rows in all.")));
    }
    for row in &rows {
        length(row, "id", 1, ROW_ID)?;
        length(row, "title", 1, ROW_TITLE)?;
        if !row["description"].is_null() {
            length(row, "description", 0, ROW_DESCRIPTION)?;
        }
    }
    different(rows.into_iter(), "id", "row")
}

fn products(content: &Value) -> Checked {
    header(&content["header"])?;
    needed(&content["action"], "catalog_id")?;
    let sections = many(&content["action"]["sections"], "action.sections", 1, LIST_SECTIONS)?;
    let items = sections.iter().map(|section| each(&section["product_items"]).len());
    match items.sum() {
        0 => Err(GraphError::missing("product_items")),
        1..=PRODUCTS => Ok(()),
        _ => Err(GraphError::wrong(format!("A list has at most {PRODUCTS} products."))),
    }
}

fn template(content: &Value) -> Checked {
    length(content, "name", 1, TEMPLATE_NAME)?;
    needed(&content["language"], "code")?;
    for component in each(&content["components"]) {
        match component["type"].as_str() {
            Some("button") => {
                needed(component, "sub_type")?;
                if component["index"].is_null() {
                    return Err(GraphError::missing("component.index"));
                }
            }
            Some("header" | "body" | "carousel" | "limited_time_offer") => {}
            _ => return Err(GraphError::invalid("A component's type is header, body or button.")),
        }
        for parameter in each(&component["parameters"]) {
            parameter_is_right(parameter)?;
        }
    }
    Ok(())
}

fn parameter_is_right(parameter: &Value) -> Checked {
    let kind = parameter["type"].as_str().ok_or_else(|| GraphError::missing("parameter.type"))?;
    match kind {
        "text" => {
            let text = parameter["text"].as_str();
            let text = text.ok_or_else(|| GraphError::missing("parameter.text"))?;
            let is_tidy = !text.contains(['\n', '\t']) && !text.contains("     ");
            match is_tidy && !text.is_empty() {
                true => Ok(()),
                false => Err(GraphError::invalid(
                    "A parameter has no line breaks, tabs, or more than 4 spaces in a row.",
                )),
            }
        }
        "payload" => needed(parameter, "payload"),
        kind @ ("image" | "video" | "document") => medium(kind, &parameter[kind]),
        kind => match parameter[kind].is_null() {
            true => Err(GraphError::missing(&format!("parameter.{kind}"))),
            false => Ok(()),
        },
    }
}

/// A text that has to be there.
fn needed(object: &Value, key: &str) -> Checked {
    match object[key].as_str() {
        Some(text) if !text.is_empty() => Ok(()),
        _ => Err(GraphError::missing(key)),
    }
}

/// A text of so many characters.
fn length(object: &Value, key: &str, least: usize, most: usize) -> Checked {
    let text = object[key].as_str().ok_or_else(|| GraphError::missing(key))?;
    match text.chars().count() {
        count if (least..=most).contains(&count) => Ok(()),
        _ => Err(GraphError::wrong(format!("{key} has {least} to {most} characters."))),
    }
}

/// A list of so many.
fn many<'a>(
    list: &'a Value,
    what: &str,
    least: usize,
    most: usize,
) -> Result<&'a [Value], GraphError> {
    let all = list.as_array().ok_or_else(|| GraphError::missing(what))?;
    match (least..=most).contains(&all.len()) {
        true => Ok(all),
        false => Err(GraphError::wrong(format!("{what} has {least} to {most} entries."))),
    }
}

fn different<'a>(all: impl Iterator<Item = &'a Value>, key: &str, what: &str) -> Checked {
    let mut seen: Vec<_> = all.filter_map(|one| one[key].as_str()).collect();
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    match seen.len() == count {
        true => Ok(()),
        false => Err(GraphError::wrong(format!("Each {what} has another {key}."))),
    }
}

fn each(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}
