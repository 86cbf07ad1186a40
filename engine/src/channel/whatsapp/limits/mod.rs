//! What WhatsApp takes (Cloud API reference, "Messages"): looked at before anything is stored, since
//! the provider says no only after its queue.

mod at;
mod interactive;
mod template;

use serde_json::Value;

pub(in crate::channel) use self::at::{is_link, sound};
use crate::media::Stored;
use crate::message::MessageKind;
use crate::resource::Invalid;
use crate::saying::{Card, Location, Media, NewReaction, Saying, Source, link};
use crate::text;

/// The longest text of a message, in characters.
pub const TEXT_CHARS_MAX: usize = 4096;
const CAPTION_CHARS_MAX: usize = 1024;
const FILENAME_CHARS_MAX: usize = 240;
/// Of a place's name and address; the reference names none.
const PLACE_CHARS_MAX: usize = 1000;
/// The most cards of a message.
pub(super) const CARDS_MAX: usize = 257;
/// Of each field of a card; the reference names none.
const CARD_CHARS_MAX: usize = 1000;
const CARD_LIST_MAX: usize = 20;
/// An emoji is put together from several characters.
const EMOJI_CHARS_MAX: usize = 16;
/// Of everything that is stored as it was given, as JSON: a commit is cut at 40 KiB.
const CONTENT_BYTES_MAX: usize = 30 * 1024;

/// Brings what is to be said into the form in which WhatsApp takes it, or says what is wrong.
pub fn check(saying: &mut Saying) -> Result<(), Invalid> {
    match saying {
        Saying::Text(text) => said("text", text, TEXT_CHARS_MAX),
        Saying::Media(media) => check_media(media).map_err(|wrong| wrong.within("attachments[0]")),
        Saying::Location(location) => {
            check_location(location).map_err(|wrong| wrong.within("location"))
        }
        Saying::Contacts(cards) => {
            if cards.len() > CARDS_MAX {
                return Err(Invalid::field("contacts", format!("at most {CARDS_MAX} cards")));
            }
            for (n, card) in cards.iter().enumerate() {
                check_card(card).map_err(|wrong| wrong.within(&format!("contacts[{n}]")))?;
            }
            // The provider follows no address of a card.
            sound("contacts", &fits("contacts", cards)?, |_| false)
        }
        Saying::Interactive(interactive) => {
            let given = fits("interactive", interactive)?;
            interactive::check(interactive).map_err(|wrong| wrong.within("interactive"))?;
            sound("interactive", &given, is_link)
        }
        Saying::Template(template) => {
            template::normalise(template);
            let given = fits("template", template)?;
            template::check(template).map_err(|wrong| wrong.within("template"))?;
            sound("template", &given, is_link)
        }
        Saying::Mail(_) => Err(Invalid::field("subject", "is for email")),
    }
}

/// Says what is wrong with a reaction.
pub fn check_reaction(reaction: &NewReaction) -> Result<(), Invalid> {
    let emoji = &reaction.emoji;
    let wrong = |c: char| c.is_control() || c.is_whitespace() || c.is_alphabetic();
    let shows = text::wrong(emoji, EMOJI_CHARS_MAX).is_none();
    let is_emoji = !emoji.is_ascii() && shows && !emoji.contains(wrong);
    if emoji.is_empty() || is_emoji {
        return Ok(());
    }
    Err(Invalid::field("reaction.emoji", "must be one emoji, or empty to take the reaction back"))
}

fn check_media(media: &Media) -> Result<(), Invalid> {
    match &media.from {
        Source::Link(url) => {
            if let Some(message) = link(url) {
                return Err(Invalid::field("url", message));
            }
        }
        Source::Stored(stored) => check_file(media.kind, stored)?,
        Source::Provider(_) => {}
    }
    if let Some(caption) = &media.caption {
        if matches!(media.kind, MessageKind::Audio | MessageKind::Sticker) {
            let message = "is not for audio and stickers; send it as a text";
            return Err(Invalid::field("caption", message));
        }
        said("caption", caption, CAPTION_CHARS_MAX)?;
    }
    if let Some(filename) = &media.filename {
        if media.kind != MessageKind::Document {
            return Err(Invalid::field("filename", "is for documents only"));
        }
        said("filename", filename, FILENAME_CHARS_MAX)?;
        if filename.contains(|c: char| c.is_control() || c == '/' || c == '\\') {
            return Err(Invalid::field("filename", "must be a plain name, without a path"));
        }
    }
    Ok(())
}

/// What files of a kind must be: their types (none: any), and the most bytes (Cloud API reference,
/// "Supported media types").
fn files(kind: MessageKind) -> (&'static [&'static str], u64) {
    const MB: u64 = 1 << 20;
    match kind {
        MessageKind::Image => (&["image/jpeg", "image/png"], 5 * MB),
        MessageKind::Sticker => (&["image/webp"], 500 << 10),
        MessageKind::Video => (&["video/mp4", "video/3gpp"], 16 * MB),
        MessageKind::Audio => {
            (&["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"], 16 * MB)
        }
        _ => (&[], 100 * MB),
    }
}

fn check_file(kind: MessageKind, file: &Stored) -> Result<(), Invalid> {
    let (types, most) = files(kind);
    if !types.is_empty() && !types.contains(&file.mime_type.as_str()) {
        let (types, is) = (types.join(" or "), &file.mime_type);
        return Err(Invalid::field("media_id", format!("must be {types}; this file is {is}")));
    }
    if file.size > most {
        let message = format!("must have at most {most} bytes; this file has {}", file.size);
        return Err(Invalid::field("media_id", message));
    }
    Ok(())
}

fn check_location(location: &Location) -> Result<(), Invalid> {
    for (field, degrees, most) in
        [("latitude", location.latitude, 90.0), ("longitude", location.longitude, 180.0)]
    {
        if !(-most..=most).contains(&degrees) {
            return Err(Invalid::field(field, format!("must be from -{most} to {most}")));
        }
    }
    for (field, text) in [("name", &location.name), ("address", &location.address)] {
        if let Some(text) = text {
            said(field, text, PLACE_CHARS_MAX)?;
        }
    }
    Ok(())
}

fn check_card(card: &Card) -> Result<(), Invalid> {
    let Card { name, phones, emails, urls, addresses, org, birthday } = card;
    said("name.formatted_name", &name.formatted_name, CARD_CHARS_MAX)?;
    let parts = [&name.first_name, &name.middle_name, &name.last_name, &name.prefix, &name.suffix];
    if parts.iter().all(|part| part.is_none()) {
        return Err(Invalid::field("name.first_name", "is required, or another part of the name"));
    }
    for (n, phone) in phones.iter().enumerate() {
        said(&format!("phones[{n}].phone"), &phone.phone, CARD_CHARS_MAX)?;
    }
    for (n, email) in emails.iter().enumerate() {
        said(&format!("emails[{n}].email"), &email.email, CARD_CHARS_MAX)?;
    }
    for (n, url) in urls.iter().enumerate() {
        said(&format!("urls[{n}].url"), &url.url, CARD_CHARS_MAX)?;
    }
    for (field, length) in [
        ("phones", phones.len()),
        ("emails", emails.len()),
        ("urls", urls.len()),
        ("addresses", addresses.len()),
    ] {
        if length > CARD_LIST_MAX {
            return Err(Invalid::field(field, format!("at most {CARD_LIST_MAX}")));
        }
    }
    if let Some(birthday) = birthday
        && !is_date(birthday)
    {
        return Err(Invalid::field("birthday", "must be a day such as 1990-12-31"));
    }
    let is_alone = phones.is_empty() && emails.is_empty() && urls.is_empty();
    if is_alone && addresses.is_empty() && org.is_none() && birthday.is_none() {
        return Err(Invalid::field("phones", "is required, or another thing beside the name"));
    }
    Ok(())
}

fn is_date(text: &str) -> bool {
    chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok() && text.len() == "1990-12-31".len()
}

/// A text that shows something and is not too long.
fn said(field: &str, text: &str, most: usize) -> Result<(), Invalid> {
    text::wrong(text, most).map_or(Ok(()), |wrong| Err(Invalid::field(field, wrong)))
}

/// What is stored as it was given, which is bounded.
fn fits<T: serde::Serialize>(field: &str, given: &T) -> Result<Value, Invalid> {
    let written = serde_json::to_value(given);
    let value = written.map_err(|_| Invalid::field(field, "cannot be written as JSON"))?;
    if value.to_string().len() > CONTENT_BYTES_MAX {
        let message = format!("must have at most {CONTENT_BYTES_MAX} bytes in all");
        return Err(Invalid::field(field, message));
    }
    Ok(value)
}
