//! What a message of each type says. What is not understood is shown as unsupported, and kept as it
//! was sent.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::limits::CARDS_MAX;
use crate::channel::reading::text;
use crate::message::{Attachment, Content, Labelled, MessageKind, Referral};
use crate::text::filename;

/// The parts of a message that are passed on as they are.
#[derive(Deserialize)]
struct AsSent<'a> {
    #[serde(borrow)]
    order: Option<&'a RawValue>,
}

/// The type of a message that does not name it: of the part that is there.
pub(super) fn kind_of(message: &Value) -> Option<&'static str> {
    const KINDS: [&str; 14] = [
        "text",
        "image",
        "video",
        "audio",
        "voice",
        "document",
        "sticker",
        "location",
        "contacts",
        "interactive",
        "button",
        "order",
        "reaction",
        "revoke",
    ];
    KINDS.into_iter().find(|kind| message.get(kind).is_some_and(|part| !part.is_null()))
}

/// What a message says; `None`: nothing that a person would want to see.
pub(super) fn of(kind: &str, message: &Value, raw: &str) -> Option<Content> {
    let part = message.get(kind);
    let said = match kind {
        "text" => part.and_then(body),
        "image" | "video" | "audio" | "voice" | "document" | "sticker" => {
            part.and_then(|part| media(kind, part))
        }
        "location" => part.and_then(place),
        "contacts" => part.and_then(cards),
        "interactive" if part.is_some_and(|part| part.get("call_permission_reply").is_some()) => {
            return None;
        }
        "interactive" => part.and_then(reply),
        "button" => part.and_then(button),
        "order" => part.and_then(|part| order(part, raw)),
        _ => None,
    };
    Some(said.unwrap_or_else(|| unsupported(raw)))
}

/// What is not understood.
pub(super) fn unsupported(raw: &str) -> Content {
    Content { kind: MessageKind::Unsupported, raw: Some(raw.to_owned()), ..Content::default() }
}

/// The advertisement, or the post, by which the customer came.
pub(super) fn referral(value: &Value) -> Option<Referral> {
    let of = |key: &str| value.get(key).and_then(text);
    let referral = Referral {
        source_url: of("source_url"),
        source_id: of("source_id"),
        source_type: of("source_type"),
        headline: of("headline"),
        body: of("body"),
        media_type: of("media_type"),
        media_url: of("image_url").or_else(|| of("video_url")).or_else(|| of("thumbnail_url")),
        click_id: of("ctwa_clid"),
        welcome_message: value.pointer("/welcome_message/text").and_then(text),
        reference: None,
    };
    (referral != Referral::default()).then_some(referral)
}

fn body(part: &Value) -> Option<Content> {
    Some(Content::text(part.get("body")?.as_str()?))
}

fn media(kind: &str, part: &Value) -> Option<Content> {
    let of = |key: &str| part.get(key).and_then(text);
    let is = |key: &str| part.get(key).and_then(Value::as_bool).unwrap_or(false);
    part.as_object()?;
    // A type of its own in older payloads.
    let is_voice = kind == "voice";
    let (name, kind) = match kind {
        "image" => ("image", MessageKind::Image),
        "video" => ("video", MessageKind::Video),
        "document" => ("document", MessageKind::Document),
        "sticker" => ("sticker", MessageKind::Sticker),
        _ => ("audio", MessageKind::Audio),
    };
    let attachment = Attachment {
        kind: name.to_owned(),
        // Some senders escape the slash twice.
        mime_type: of("mime_type").map(|mime| mime.replace('\\', "")),
        filename: of("filename").and_then(|name| filename(&name)),
        provider_media_id: of("id"),
        url: of("url").or_else(|| of("link")),
        caption: of("caption"),
        sha256: of("sha256"),
        size: part.get("file_size").and_then(text).and_then(|size| size.parse().ok()),
        voice: is("voice") || is_voice,
        animated: is("animated"),
        ..Attachment::default()
    };
    let text = attachment.caption.clone();
    Some(Content { kind, text, attachments: vec![attachment], ..Content::default() })
}

fn place(part: &Value) -> Option<Content> {
    let number = |key: &str| {
        let value = part.get(key)?;
        value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|n| n.is_finite())
    };
    let of = |key: &str| part.get(key).and_then(text);
    let place = Attachment {
        kind: "location".to_owned(),
        latitude: Some(number("latitude")?),
        longitude: Some(number("longitude")?),
        name: of("name"),
        address: of("address"),
        url: of("url"),
        ..Attachment::default()
    };
    let kind = MessageKind::Location;
    Some(Content { kind, attachments: vec![place], ..Content::default() })
}

fn cards(part: &Value) -> Option<Content> {
    let cards = part.as_array().filter(|cards| cards.len() <= CARDS_MAX)?;
    let attachments: Vec<_> = cards.iter().map(card).collect();
    let kind = MessageKind::Contacts;
    (!attachments.is_empty()).then(|| Content { kind, attachments, ..Content::default() })
}

fn card(card: &Value) -> Attachment {
    let of = |path: &str| card.pointer(path).and_then(text);
    let list = |key: &str, value: &str| {
        let all = card.get(key).and_then(Value::as_array).into_iter().flatten();
        let labelled = |one: &Value| {
            Some(Labelled {
                value: one.get(value).and_then(text)?,
                label: one.get("type").and_then(text),
                wa_id: one.get("wa_id").and_then(text),
            })
        };
        all.filter_map(labelled).collect()
    };
    let parts = || {
        let parts: Vec<_> =
            ["/name/first_name", "/name/last_name"].into_iter().filter_map(of).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    };
    Attachment {
        kind: "contact".to_owned(),
        name: of("/name/formatted_name").or_else(parts),
        phones: list("phones", "phone"),
        emails: list("emails", "email"),
        organization: of("/org/company"),
        ..Attachment::default()
    }
}

fn reply(part: &Value) -> Option<Content> {
    let kind = MessageKind::Interactive;
    let pressed = part.get("button_reply").or_else(|| part.get("list_reply"));
    let (text, payload) = match (pressed, part.get("nfm_reply")) {
        (Some(reply), _) => (reply.get("title").and_then(text), reply.get("id").and_then(text)),
        (None, Some(flow)) => {
            // A text that should be JSON, and need not be: passed on as it is.
            let answers = flow.get("response_json").filter(|answers| !answers.is_null())?;
            let answers = answers.as_str().map_or_else(|| answers.to_string(), str::to_owned);
            (flow.get("body").and_then(text), Some(answers))
        }
        (None, None) => return None,
    };
    (text.is_some() || payload.is_some()).then(|| Content {
        kind,
        text,
        payload,
        ..Content::default()
    })
}

fn button(part: &Value) -> Option<Content> {
    let kind = MessageKind::Button;
    let (text, payload) = (part.get("text").and_then(text), part.get("payload").and_then(text));
    (text.is_some() || payload.is_some()).then(|| Content {
        kind,
        text,
        payload,
        ..Content::default()
    })
}

/// Prices are in major or minor units by currency: the order is passed on as it is.
fn order(part: &Value, raw: &str) -> Option<Content> {
    part.as_object()?;
    let as_sent: Option<AsSent<'_>> = serde_json::from_str(raw).ok();
    let payload = as_sent.and_then(|parts| Some(parts.order?.get().to_owned()));
    let text = part.get("text").and_then(text);
    Some(Content { kind: MessageKind::Order, text, payload, ..Content::default() })
}
