//! Interactive messages: buttons and lists whole, of other kinds what is known.

use super::at::{At, Unique, only, required};
use super::said;
use crate::resource::Invalid;
use crate::saying::Interactive;

const BUTTONS_MAX: usize = 3;
const BUTTON_TITLE_CHARS_MAX: usize = 20;
const BUTTON_ID_CHARS_MAX: usize = 256;
const ROWS_MAX: usize = 10;
const ROW_TITLE_CHARS_MAX: usize = 24;
const ROW_ID_CHARS_MAX: usize = 200;
const ROW_DESCRIPTION_CHARS_MAX: usize = 72;
const HEADER_CHARS_MAX: usize = 60;
const FOOTER_CHARS_MAX: usize = 60;
const BODY_CHARS_MAX: usize = 1024;
const LIST_BODY_CHARS_MAX: usize = 4096;
/// The name of a type is one of the provider's words.
const KIND_CHARS_MAX: usize = 64;

pub(super) fn check(interactive: &Interactive) -> Result<(), Invalid> {
    let Interactive { kind, header, body, footer, action } = interactive;
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    if kind.is_empty() || kind.len() > KIND_CHARS_MAX || !kind.chars().all(plain) {
        let message = "must be `button`, `list`, or another of WhatsApp's types";
        return Err(Invalid::field("type", message));
    }
    let is_list = kind == "list";
    match body {
        Some(body) => {
            let most = if is_list { LIST_BODY_CHARS_MAX } else { BODY_CHARS_MAX };
            said("body.text", &body.text, most)?;
        }
        None if matches!(
            kind.as_str(),
            "button" | "list" | "cta_url" | "flow" | "location_request_message"
        ) =>
        {
            return Err(Invalid::field("body.text", "is required"));
        }
        None => {}
    }
    if let Some(footer) = footer {
        said("footer.text", &footer.text, FOOTER_CHARS_MAX)?;
    }
    if let Some(header) = header {
        check_header(header, is_list)?;
    }
    match kind.as_str() {
        "button" => check_buttons(action),
        "list" => check_list(action),
        "cta_url" => {
            required(action, "action", "name")?.is("cta_url")?;
            let parameters = required(action, "action", "parameters")?;
            parameters.need("display_text")?.text(BUTTON_TITLE_CHARS_MAX)?;
            parameters.need("url").map(drop)
        }
        "flow" => {
            required(action, "action", "name")?.is("flow")?;
            required(action, "action", "parameters")?.need("flow_cta").map(drop)
        }
        "location_request_message" => required(action, "action", "name")?.is("send_location"),
        _ => Ok(()),
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn check_header(header: &Object, is_list: bool) -> Result<(), Invalid> {
    let kind = required(header, "header", "type")?;
    match kind.text(KIND_CHARS_MAX)? {
        "text" => {
            only(header, "header", &["type", "text"])?;
            required(header, "header", "text")?.text(HEADER_CHARS_MAX).map(drop)
        }
        media @ ("image" | "video" | "document") if !is_list => {
            only(header, "header", &["type", media])?;
            required(header, "header", media)?.media()
        }
        _ if is_list => Err(kind.wrong("must be `text`: a list has no other header")),
        _ => Err(kind.wrong("must be `text`, `image`, `video` or `document`")),
    }
}

fn check_buttons(action: &Object) -> Result<(), Invalid> {
    only(action, "action", &["buttons"])?;
    let (mut ids, mut titles) = (Unique::default(), Unique::default());
    for button in required(action, "action", "buttons")?.items(BUTTONS_MAX)? {
        button.only(&["type", "reply"])?;
        button.need("type")?.is("reply")?;
        let reply = button.need("reply")?;
        reply.only(&["id", "title"])?;
        let (id, title) = (reply.need("id")?, reply.need("title")?);
        ids.add(&id, id.text(BUTTON_ID_CHARS_MAX)?)?;
        titles.add(&title, title.text(BUTTON_TITLE_CHARS_MAX)?)?;
    }
    Ok(())
}

fn check_list(action: &Object) -> Result<(), Invalid> {
    only(action, "action", &["button", "sections"])?;
    required(action, "action", "button")?.text(BUTTON_TITLE_CHARS_MAX)?;
    let sections = required(action, "action", "sections")?.items(ROWS_MAX)?;
    let (mut ids, mut left) = (Unique::default(), ROWS_MAX);
    for section in &sections {
        section.only(&["title", "rows"])?;
        match section.get("title")? {
            Some(title) => drop(title.text(ROW_TITLE_CHARS_MAX)?),
            None if sections.len() > 1 => drop(section.need("title")?),
            None => {}
        }
        let rows = section.need("rows")?;
        for row in rows.items(ROWS_MAX)? {
            check_row(&row, &mut ids)?;
            left = left.checked_sub(1).ok_or_else(|| {
                rows.wrong(format!("a list has at most {ROWS_MAX} rows over all its sections"))
            })?;
        }
    }
    Ok(())
}

fn check_row<'a>(row: &At<'a>, ids: &mut Unique<'a>) -> Result<(), Invalid> {
    row.only(&["id", "title", "description"])?;
    let id = row.need("id")?;
    ids.add(&id, id.text(ROW_ID_CHARS_MAX)?)?;
    row.need("title")?.text(ROW_TITLE_CHARS_MAX)?;
    if let Some(description) = row.get("description")? {
        description.text(ROW_DESCRIPTION_CHARS_MAX)?;
    }
    Ok(())
}
