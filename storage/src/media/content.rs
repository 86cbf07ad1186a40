//! What a file is, by how it begins. What it is said to be decides nothing.

/// The beginning of a file.
#[derive(Default)]
pub(super) struct Head(Vec<u8>);

/// So much of a file is looked at.
const HEAD_BYTES: usize = 8 * 1024;
/// What nothing is known of.
const BYTES: &str = "application/octet-stream";

/// A file is said to be a picture, a sound or a film, and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotWhatItSays;

impl Head {
    pub(super) fn add(&mut self, piece: &[u8]) {
        let room = HEAD_BYTES - self.0.len();
        self.0.extend_from_slice(&piece[..piece.len().min(room)]);
    }

    pub(super) fn mime_type(&self) -> &'static str {
        match infer::get(&self.0).map(|kind| kind.mime_type()) {
            // One name for each.
            Some("audio/opus") => "audio/ogg",
            Some("audio/m4a") => "audio/mp4",
            Some("audio/x-wav") => "audio/wav",
            Some("audio/x-flac") => "audio/flac",
            Some("video/x-m4v") => "video/mp4",
            Some(known) => known,
            None if self.is_text() => "text/plain",
            None => BYTES,
        }
    }

    fn is_text(&self) -> bool {
        let text = match std::str::from_utf8(&self.0) {
            Ok(text) => text,
            // Only the last character may be cut.
            Err(error) if error.error_len().is_none() && self.0.len() == HEAD_BYTES => {
                std::str::from_utf8(&self.0[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return false,
        };
        let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}');
        !text.is_empty() && !text.contains(is_control)
    }
}

/// The type of a file that is said to be of another, by its content: sounds may lie in the
/// containers of films, whose beginning does not tell. A picture, a sound or a film must be one.
pub fn as_declared(content: &str, declared: Option<&str>) -> Result<String, NotWhatItSays> {
    let declared = declared.unwrap_or_default().trim().to_ascii_lowercase();
    let family = declared.split('/').next().unwrap_or_default();
    let is_of = |family: &str| content.split('/').next() == Some(family);
    match family {
        "audio" if is_of("video") => Ok(content.replacen("video/", "audio/", 1)),
        "image" | "audio" | "video" if !is_of(family) => Err(NotWhatItSays),
        _ => Ok(content.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, NotWhatItSays, as_declared};

    fn of(bytes: &[u8]) -> &'static str {
        let mut head = Head::default();
        bytes.chunks(3).for_each(|piece| head.add(piece));
        head.mime_type()
    }

    #[test]
    fn a_file_is_what_it_begins_like() {
        for (bytes, mime_type) in [
            (&b"\x89PNG\r\n\x1a\n\0\0"[..], "image/png"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg"),
            (b"%PDF-1.4\n", "application/pdf"),
            (b"OggS\0\x02\0\0\0\0\0\0\0\0", "audio/ogg"),
            (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video/mp4"),
            (b"<!DOCTYPE html><p>hi", "text/html"),
            (b"name,phone\nInes,1555\n", "text/plain"),
            ("\u{4f60}\u{597d}".as_bytes(), "text/plain"),
            (b"\0\x01\x02", "application/octet-stream"),
            (b"", "application/octet-stream"),
        ] {
            assert_eq!(of(bytes), mime_type, "{bytes:?}");
        }
        assert!(of(b"MZ\x90\0\x03\0\0\0").starts_with("application/"), "a program is no picture");
        // A character that is cut at the end of what is looked at.
        assert_eq!(of("\u{20ac}".repeat(4_000).as_bytes()), "text/plain");
    }

    #[test]
    fn what_is_said_to_be_a_picture_must_be_one() {
        let is = |content: &str, declared| as_declared(content, declared);
        assert_eq!(is("image/png", Some("image/jpeg")), Ok("image/png".to_owned()));
        assert_eq!(is("video/mp4", Some("audio/mp4; codecs=x")), Ok("audio/mp4".to_owned()));
        assert_eq!(is("application/pdf", None), Ok("application/pdf".to_owned()));
        assert_eq!(is("text/html", Some("application/pdf")), Ok("text/html".to_owned()));
        for declared in ["image/png", "IMAGE/PNG", "audio/ogg", "video/mp4"] {
            assert_eq!(is("application/x-msdownload", Some(declared)), Err(NotWhatItSays));
        }
    }
}
