//! What Messenger and Instagram take (Messenger Platform, "Send API"; Instagram Platform, "Send
//! messages"): looked at before anything is stored.

use serde_json::{Map, Value, json};

use super::media::check_file;
use crate::channel::Channel;
use crate::channel::whatsapp::{is_link, sound};
use crate::message::MessageKind;
use crate::resource::Invalid;
use crate::saying::{Interactive, Media, NewReaction, Saying, Source, link};
use crate::text;

/// The longest text on Messenger, in characters.
const TEXT_CHARS_MAX: usize = 2000;
/// The longest text on Instagram, in bytes.
const TEXT_BYTES_MAX: usize = 1000;
const QUICK_REPLIES_MAX: usize = 13;
const TITLE_CHARS_MAX: usize = 20;
const PAYLOAD_CHARS_MAX: usize = 1000;
const BUTTONS_MAX: usize = 3;
const BUTTONS_TEXT_CHARS_MAX: usize = 640;
const ELEMENTS_MAX: usize = 10;
const ELEMENT_CHARS_MAX: usize = 80;
/// Of everything that is stored as it was given, as JSON: a commit is cut at 40 KiB.
const CONTENT_BYTES_MAX: usize = 30 * 1024;

/// Brings what is to be said into the form in which it is taken, or says what is wrong.
pub fn check(channel: Channel, saying: &Saying) -> Result<(), Invalid> {
    match saying {
        Saying::Text(said) => check_text(channel, "text", said, TEXT_CHARS_MAX),
        Saying::Media(media) => {
            check_media(channel, media).map_err(|wrong| wrong.within("attachments[0]"))
        }
        Saying::Interactive(interactive) => {
            let given = json!(interactive);
            if given.to_string().len() > CONTENT_BYTES_MAX {
                let message = format!("must have at most {CONTENT_BYTES_MAX} bytes in all");
                return Err(Invalid::field("interactive", message));
            }
            pressed(channel, interactive).map_err(|wrong| wrong.within("interactive"))?;
            sound("interactive", &given, is_link)
        }
        Saying::Location(_) => Err(Invalid::field("location", "cannot be sent on this channel")),
        Saying::Contacts(_) => Err(Invalid::field("contacts", "cannot be sent on this channel")),
        Saying::Template(_) => {
            let message = "is for WhatsApp; here a template is `interactive` of type `template`";
            Err(Invalid::field("template", message))
        }
    }
}

/// Says what is wrong with a reaction.
pub fn check_reaction(reaction: &NewReaction) -> Result<(), Invalid> {
    crate::channel::whatsapp::check_reaction(reaction)
}

/// A text that shows something and is not too long for the channel.
fn check_text(channel: Channel, field: &str, said: &str, most: usize) -> Result<(), Invalid> {
    if let Some(wrong) = text::wrong(said, most) {
        return Err(Invalid::field(field, wrong));
    }
    if channel == Channel::Instagram && said.len() > TEXT_BYTES_MAX {
        let message = format!("must have at most {TEXT_BYTES_MAX} bytes");
        return Err(Invalid::field(field, message));
    }
    Ok(())
}

fn check_media(channel: Channel, media: &Media) -> Result<(), Invalid> {
    if media.kind == MessageKind::Sticker {
        return Err(Invalid::field("kind", "stickers cannot be sent on this channel"));
    }
    if media.caption.is_some() {
        let message = "is not shown on this channel; send it as a text of its own";
        return Err(Invalid::field("caption", message));
    }
    match &media.from {
        // Its own name goes along: it is shown here.
        Source::Stored(stored) => check_file(channel, media.kind, stored),
        _ if media.filename.is_some() => {
            Err(Invalid::field("filename", "is not shown on this channel; leave it out"))
        }
        Source::Link(url) => {
            link(url).map_or(Ok(()), |message| Err(Invalid::field("url", message)))
        }
        Source::Provider(_) => Ok(()),
    }
}

/// What can be pressed: `button` (to answer by, at most 13), or a `template` in the provider's form.
fn pressed(channel: Channel, interactive: &Interactive) -> Result<(), Invalid> {
    let Interactive { kind, header, body, footer, action } = interactive;
    for (field, is_given) in [("header", header.is_some()), ("footer", footer.is_some())] {
        if is_given {
            return Err(Invalid::field(field, "is not shown on this channel; leave it out"));
        }
    }
    match kind.as_str() {
        "button" => {
            let said = body.as_ref().map_or("", |body| body.text.as_str());
            check_text(channel, "body.text", said, TEXT_CHARS_MAX)?;
            let buttons = list(action, "buttons", QUICK_REPLIES_MAX)?;
            for (n, button) in buttons.iter().enumerate() {
                let path = format!("action.buttons[{n}].reply");
                let reply = button.get("reply").unwrap_or(&Value::Null);
                written(reply, &path, "id", PAYLOAD_CHARS_MAX)?;
                written(reply, &path, "title", TITLE_CHARS_MAX)?;
            }
            Ok(())
        }
        "template" => {
            if body.is_some() {
                let message = "is not for a template, which has its texts in `action`";
                return Err(Invalid::field("body", message));
            }
            template(action)
        }
        _ => Err(Invalid::field("type", "must be `button` or `template`")),
    }
}

/// A template, as far as its limits are known.
fn template(action: &Map<String, Value>) -> Result<(), Invalid> {
    match action.get("template_type").and_then(Value::as_str) {
        Some("button") => {
            let whole = Value::Object(action.clone());
            written(&whole, "action", "text", BUTTONS_TEXT_CHARS_MAX)?;
            buttons(&whole, "action", true)
        }
        Some("generic") => {
            for (n, element) in list(action, "elements", ELEMENTS_MAX)?.iter().enumerate() {
                let path = format!("action.elements[{n}]");
                written(element, &path, "title", ELEMENT_CHARS_MAX)?;
                if element.get("subtitle").is_some() {
                    written(element, &path, "subtitle", ELEMENT_CHARS_MAX)?;
                }
                buttons(element, &path, false)?;
            }
            Ok(())
        }
        Some("media") => {
            for (n, element) in list(action, "elements", 1)?.iter().enumerate() {
                let path = format!("action.elements[{n}]");
                if !matches!(element["media_type"].as_str(), Some("image" | "video")) {
                    let message = "must be `image` or `video`";
                    return Err(Invalid::field(format!("{path}.media_type"), message));
                }
                buttons(element, &path, false)?;
            }
            Ok(())
        }
        _ => {
            let message = "must be `generic`, `button` or `media`";
            Err(Invalid::field("action.template_type", message))
        }
    }
}

/// The buttons of a template: each leads to a website, or answers by its payload.
fn buttons(of: &Value, path: &str, are_needed: bool) -> Result<(), Invalid> {
    let path = format!("{path}.buttons");
    let buttons = match of.get("buttons") {
        None if !are_needed => return Ok(()),
        given => given.and_then(Value::as_array).filter(|all| is_so_many(all, BUTTONS_MAX)),
    };
    let Some(buttons) = buttons else {
        return Err(Invalid::field(path, format!("must have 1 to {BUTTONS_MAX} entries")));
    };
    for (n, button) in buttons.iter().enumerate() {
        let path = format!("{path}[{n}]");
        written(button, &path, "title", TITLE_CHARS_MAX)?;
        match button["type"].as_str() {
            Some("postback") => written(button, &path, "payload", PAYLOAD_CHARS_MAX)?,
            Some("web_url") => written(button, &path, "url", PAYLOAD_CHARS_MAX)?,
            _ => {
                let message = "must be `postback` or `web_url`";
                return Err(Invalid::field(format!("{path}.type"), message));
            }
        }
    }
    Ok(())
}

fn list<'a>(
    action: &'a Map<String, Value>,
    key: &str,
    most: usize,
) -> Result<&'a [Value], Invalid> {
    let list = action.get(key).and_then(Value::as_array).filter(|all| is_so_many(all, most));
    let wrong = || format!("must have 1 to {most} entries");
    list.map(Vec::as_slice).ok_or_else(|| Invalid::field(format!("action.{key}"), wrong()))
}

fn is_so_many(all: &[Value], most: usize) -> bool {
    (1..=most).contains(&all.len())
}

fn written(of: &Value, path: &str, key: &str, most: usize) -> Result<(), Invalid> {
    let wrong = match of.get(key).and_then(Value::as_str) {
        Some(said) => text::wrong(said, most),
        None => Some("is required, as a text".to_owned()),
    };
    wrong.map_or(Ok(()), |wrong| Err(Invalid::field(format!("{path}.{key}"), wrong)))
}
