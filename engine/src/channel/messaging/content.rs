//! What a message says. What is not understood is shown as unsupported, and kept as it was sent.

use std::collections::HashSet;

use serde_json::Value;

use crate::channel::reading::text;
use crate::message::{Attachment, Content, MessageKind};

/// So many attachments of a message are shown.
const ATTACHMENTS_MAX: usize = 100;

/// What a message says.
pub(super) fn of(message: &Value, raw: &str) -> Content {
    let said = message.get("text").and_then(Value::as_str).filter(|said| !said.is_empty());
    let listed = message.get("attachments").and_then(Value::as_array);
    let listed = listed.map_or(&[][..], Vec::as_slice);
    let newer: HashSet<_> = listed.iter().filter(|sent| !is_older(sent)).filter_map(twin).collect();
    // Another one is the same in a newer form: a sticker that comes as an image too, a post that comes as
    // a plain share too.
    let is_doubled =
        |sent: &&Value| is_older(sent) && twin(sent).is_some_and(|id| newer.contains(&id));
    let read = listed.iter().filter(|sent| !is_doubled(sent)).take(ATTACHMENTS_MAX);
    let attachments: Vec<_> = read.map(attachment).collect();
    let payload = message.pointer("/quick_reply/payload").and_then(text);
    let is_unsupported = message.get("is_unsupported").and_then(Value::as_bool) == Some(true);
    let of_file = attachments.iter().find(|one| one.kind != "share").or(attachments.first());
    let kind = match of_file {
        _ if is_unsupported => MessageKind::Unsupported,
        _ if payload.is_some() => MessageKind::Interactive,
        // A link is shown along with the text that it stands in.
        Some(one) if said.is_none() || one.kind != "share" => kind_of(one),
        _ if said.is_some() => MessageKind::Text,
        _ => MessageKind::Unsupported,
    };
    Content {
        kind,
        text: said.map(str::to_owned),
        attachments,
        payload,
        raw: (kind == MessageKind::Unsupported).then(|| raw.to_owned()),
        ..Content::default()
    }
}

/// What the two forms of one attachment have in common.
fn twin(sent: &Value) -> Option<String> {
    match type_of(sent) {
        "image" | "sticker" => sent.pointer("/payload/sticker_id").and_then(text),
        "share" | "ig_post" | "ig_reel" | "post" | "reel" => {
            sent.pointer("/payload/url").and_then(text)
        }
        _ => None,
    }
}

fn is_older(sent: &Value) -> bool {
    matches!(type_of(sent), "image" | "share")
}

fn type_of(sent: &Value) -> &str {
    sent.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn attachment(sent: &Value) -> Attachment {
    let payload = sent.get("payload");
    let of = |key: &str| payload.and_then(|payload| payload.get(key)).and_then(text);
    let is_sticker = of("sticker_id").is_some();
    let kind = match type_of(sent) {
        _ if sent.get("unsupported_type").is_some() || of("unsupported_type").is_some() => {
            "unsupported"
        }
        "image" if is_sticker => "sticker",
        "image" => "image",
        "audio" => "audio",
        "video" => "video",
        "file" => "document",
        "sticker" | "like_heart" => "sticker",
        "location" => "location",
        "template" => "template",
        "fallback" | "share" | "post" | "reel" | "ig_post" | "ig_reel" | "product" => "share",
        "story" | "ig_story" | "story_mention" => "story",
        _ => "unsupported",
    };
    // The payload of a link is a text at times, or stands beside it.
    let plain = payload.and_then(Value::as_str).map(str::to_owned);
    let beside = |key: &str| sent.get(key).and_then(text);
    let place = |key: &str| {
        let of = payload.and_then(|payload| payload.get("coordinates")?.get(key));
        of.and_then(|of| of.as_f64().or_else(|| of.as_str()?.trim().parse().ok()))
            .filter(|of| of.is_finite())
    };
    let (latitude, longitude) = match kind {
        "location" => (place("lat"), place("long")),
        _ => (None, None),
    };
    let heading = || payload?.pointer("/generic/elements/0/title").and_then(text);
    let url = of("url").or_else(|| beside("url")).or_else(|| plain.filter(|url| is_link(url)));
    let url_expires = url.as_deref().is_some_and(|url| is_file(type_of(sent), kind, url));
    // An id alone is none by which a file could be asked for.
    let has_id = url_expires || matches!(kind, "share" | "story");
    Attachment {
        kind: kind.to_owned(),
        url,
        url_expires,
        name: of("title").or_else(|| beside("title")).or_else(heading),
        provider_media_id: ["sticker_id", "ig_post_media_id", "reel_video_id", "id"]
            .into_iter()
            .filter(|_| has_id)
            .find_map(of),
        latitude,
        longitude,
        ..Attachment::default()
    }
}

/// Whether what lies at an address is a file of the provider's, for a while. What is shared may be
/// one, or a page of the web.
fn is_file(sent_as: &str, kind: &str, url: &str) -> bool {
    match kind {
        "image" | "audio" | "video" | "document" | "sticker" | "story" => is_link(url),
        "share" => sent_as != "fallback" && is_link(url) && !is_page(url),
        _ => false,
    }
}

/// Whether this is a page that people see at Facebook or Instagram.
fn is_page(url: &str) -> bool {
    let host = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
    let host = host.unwrap_or_default().to_ascii_lowercase();
    let pages = ["facebook.com", "instagram.com", "fb.com", "fb.me", "fb.watch", "instagr.am"];
    pages.iter().any(|page| {
        host.strip_suffix(page).is_some_and(|left| left.is_empty() || left.ends_with('.'))
    })
}

fn is_link(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

fn kind_of(attachment: &Attachment) -> MessageKind {
    match attachment.kind.as_str() {
        "image" => MessageKind::Image,
        "audio" => MessageKind::Audio,
        "video" => MessageKind::Video,
        "document" => MessageKind::Document,
        "sticker" => MessageKind::Sticker,
        "location" => MessageKind::Location,
        "template" => MessageKind::Template,
        "share" => MessageKind::Share,
        "story" => MessageKind::Story,
        _ => MessageKind::Unsupported,
    }
}
