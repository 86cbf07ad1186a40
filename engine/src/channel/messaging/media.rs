//! Files that messages carry (Messenger Platform, "Attachment upload API", "Conversations API";
//! Instagram Platform, "Send messages").

use serde_json::{Value, json};

use super::encode::Speaker;
use crate::channel::reading::text;
use crate::channel::{Answered, Call, Channel, Located, Method, Missed, Upload, whatsapp};
use crate::media::Stored;
use crate::message::{MessageError, MessageKind};
use crate::resource::Invalid;

const MB: u64 = 1 << 20;
/// The longest id of a message.
const ID_BYTES_MAX: usize = 512;

/// As what a file goes out; `None`: files do not go out like that.
pub(super) fn sent_as(kind: MessageKind) -> Option<&'static str> {
    match kind {
        MessageKind::Image => Some("image"),
        MessageKind::Audio => Some("audio"),
        MessageKind::Video => Some("video"),
        MessageKind::Document => Some("file"),
        _ => None,
    }
}

/// What files of a kind must be: how their types begin, and the most bytes.
fn files(channel: Channel, kind: MessageKind) -> (&'static [&'static str], u64) {
    match (channel, kind) {
        (Channel::Instagram, MessageKind::Image) => (&["image/jpeg", "image/png"], 8 * MB),
        (Channel::Instagram, MessageKind::Document) => (&["application/pdf"], 25 * MB),
        (_, MessageKind::Image) => (&["image/"], 25 * MB),
        (_, MessageKind::Audio) => (&["audio/"], 25 * MB),
        (_, MessageKind::Video) => (&["video/"], 25 * MB),
        _ => (&[], 25 * MB),
    }
}

/// Says what is wrong with a file of ours that is to be sent.
pub(super) fn check_file(
    channel: Channel,
    kind: MessageKind,
    file: &Stored,
) -> Result<(), Invalid> {
    let (types, most) = files(channel, kind);
    if !types.is_empty() && !types.iter().any(|one| file.mime_type.starts_with(one)) {
        let (types, is) = (types.join(" or "), &file.mime_type);
        return Err(Invalid::field("media_id", format!("must be {types}; this file is {is}")));
    }
    if file.size > most {
        let message = format!("must have at most {most} bytes; this file has {}", file.size);
        return Err(Invalid::field("media_id", message));
    }
    Ok(())
}

/// Takes a file to the provider, for messages of this page. (Instagram takes links alone.)
pub fn upload(from: Speaker<'_>, kind: MessageKind, mime_type: &str) -> Option<Upload> {
    let kind = sent_as(kind).filter(|_| from.channel == Channel::Messenger)?;
    let attachment = json!({"type": kind, "payload": {"is_reusable": true}});
    Some(Upload {
        path: format!("{}/message_attachments", from.key),
        bearer: from.token.to_owned(),
        fields: vec![("message", json!({"attachment": attachment}).to_string())],
        file: "filedata",
        mime_type: mime_type.to_owned(),
    })
}

/// Whether an error of this code says that the provider could not use a message's file.
pub fn is_of_medium(code: &str) -> bool {
    // "Attachment upload failure", and "invalid parameter", as of an id that it does not know any more.
    matches!(code, "100" | "546")
}

/// Asks where the files of a message can be had now; `None` where its id is none.
pub fn relocate(from: Speaker<'_>, message: &str) -> Option<Call> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-=.:$".contains(&b);
    let is_id = (1..=ID_BYTES_MAX).contains(&message.len())
        && message.bytes().all(is_plain)
        && message.bytes().any(|b| b.is_ascii_alphanumeric());
    let path = format!("{message}?fields=attachments");
    is_id.then(|| from.call(Method::Get, path, None))
}

/// Where the file can be had that is the `n`th of its message.
pub fn relocated(answered: Answered, n: usize) -> Result<Located, Missed> {
    let Answered::With { status: 200..=299, body, .. } = &answered else {
        return Err(whatsapp::missed(answered));
    };
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let file = said.pointer("/attachments/data").and_then(|data| data.get(n));
    let url = file.and_then(|file| {
        let nested = ["image_data", "video_data", "audio_data"];
        let nested = nested.into_iter().find_map(|of| text(file.get(of)?.get("url")?));
        nested.or_else(|| text(file.get("file_url")?))
    });
    let over = || MessageError {
        code: "expired".to_owned(),
        message: "the address of the file is over, and the provider names no other".to_owned(),
    };
    let size = file.and_then(|file| text(file.get("size")?)?.parse().ok());
    let located = url.map(|url| Located { url, sha256: None, size });
    located.ok_or_else(|| Missed::Gone(over()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{relocate, relocated, upload};
    use crate::channel::messaging::Speaker;
    use crate::channel::{Answered, Channel, Missed};
    use crate::message::MessageKind;

    fn from(channel: Channel) -> Speaker<'static> {
        Speaker { channel, key: "501", token: "t" }
    }

    #[test]
    fn a_page_takes_files_and_instagram_takes_links() {
        let image = upload(from(Channel::Messenger), MessageKind::Image, "image/png").unwrap();
        assert_eq!((&*image.path, image.file), ("501/message_attachments", "filedata"));
        let message: Value = serde_json::from_str(&image.fields[0].1).unwrap();
        assert_eq!(message["attachment"]["type"], "image");
        assert!(upload(from(Channel::Instagram), MessageKind::Image, "image/png").is_none());
        assert!(upload(from(Channel::Messenger), MessageKind::Sticker, "image/webp").is_none());
    }

    #[test]
    fn an_id_that_is_none_leads_nowhere() {
        let asked = |id: &str| relocate(from(Channel::Messenger), id).map(|call| call.path);
        let path = asked("m_aB-9=");
        assert_eq!(path.as_deref(), Some("m_aB-9=?fields=attachments"));
        for none in ["", "..", "../me", "m/1", "m?x", "m#", "m 1", "m%2e"] {
            assert_eq!(asked(none), None, "{none}");
        }
    }

    #[test]
    fn each_file_is_found_at_its_place() {
        let data = json!([
            {"id": "1", "mime_type": "image/jpeg", "size": 7, "image_data": {"url": "https://a"}},
            {"id": "2", "file_url": "https://b"},
            {"id": "3"},
        ]);
        let answer = |body: &Value| Answered::With {
            status: 200,
            body: body.to_string().into_bytes(),
            wait: None,
        };
        let body = json!({"id": "m", "attachments": {"data": data}});
        let at = |n| relocated(answer(&body), n);
        let first = at(0).unwrap();
        assert_eq!((&*first.url, first.size), ("https://a", Some(7)));
        assert_eq!(at(1).unwrap().url, "https://b");
        for none in [at(2), at(3), relocated(answer(&json!({})), 0)] {
            assert!(matches!(none, Err(Missed::Gone(error)) if error.code == "expired"));
        }
        let away = relocated(Answered::NotSent("away".to_owned()), 0);
        assert!(matches!(away, Err(Missed::Passing(_))));
    }
}
