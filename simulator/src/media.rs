//! The media that simulated customers send. A medium's id says what its bytes are, so that the
//! customer who sends it and the stand-in that is asked for it need not know each other.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What a medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    Image,
    Video,
    Audio,
    Document,
    Sticker,
}

/// Each kind with its mime type, the most bytes Meta takes of it, and how a file of it begins.
const KINDS: [(MediaKind, &str, usize, &[u8]); 5] = [
    (MediaKind::Image, "image/jpeg", 5 << 20, b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01"),
    (MediaKind::Video, "video/mp4", 16 << 20, b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"),
    (MediaKind::Audio, "audio/ogg; codecs=opus", 16 << 20, b"OggS\0\x02\0\0\0\0\0\0\0\0"),
    (MediaKind::Document, "application/pdf", 100 << 20, b"%PDF-1.4\n"),
    (MediaKind::Sticker, "image/webp", 500 << 10, b"RIFF\x1a\0\0\0WEBPVP8L"),
];

/// How an id of these media begins; digits of the kind and of the number follow.
const PREFIX: &str = "7007";
/// Digits of the number.
const DIGITS: usize = 12;
/// The least bytes of one, and how many of the next are drawn.
const SIZE: (usize, u64) = (2_000, 6_000);

impl MediaKind {
    /// As messages name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Sticker => "sticker",
        }
    }

    /// The kind of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        KINDS.iter().map(|row| row.0).find(|kind| kind.name() == name)
    }

    /// The kind of files of this type: what is no other is a document.
    pub(crate) fn of_mime(mime: &str) -> Self {
        match mime.split('/').next() {
            _ if mime == "image/webp" => Self::Sticker,
            Some("image") => Self::Image,
            Some("video") => Self::Video,
            Some("audio") => Self::Audio,
            _ => Self::Document,
        }
    }

    /// The most bytes that are taken of it.
    pub(crate) fn limit(self) -> usize {
        self.row().2
    }

    fn row(self) -> &'static (Self, &'static str, usize, &'static [u8]) {
        let found = KINDS.iter().find(|row| row.0 == self);
        found.expect("every kind has its row")
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A medium with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Medium {
    pub(crate) id: String,
    pub(crate) mime_type: String,
    pub(crate) bytes: Bytes,
}

impl Medium {
    /// The `n`th of its kind: the same bytes every time.
    pub(crate) fn simulated(kind: MediaKind, n: u64) -> Self {
        let n = n % 10_u64.pow(DIGITS as u32);
        let (at, mime, begin) = (kind as usize, kind.row().1, kind.row().3);
        let size = SIZE.0 + usize::try_from(n % SIZE.1).unwrap_or_default();
        let mut bytes = begin.to_vec();
        let mut block = n;
        while bytes.len() < size {
            bytes.extend_from_slice(&Sha256::digest(block.to_be_bytes()));
            block = block.wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        bytes.truncate(size);
        let id = format!("{PREFIX}{at}{n:0DIGITS$}");
        Self { id, mime_type: mime.to_owned(), bytes: bytes.into() }
    }

    /// The simulated customer's medium of this id.
    pub(crate) fn of_id(id: &str) -> Option<Self> {
        let rest = id.strip_prefix(PREFIX)?;
        let (kind, n) = rest.split_at_checked(1)?;
        let kind = KINDS.get(kind.parse::<usize>().ok()?)?.0;
        let n = n.parse().ok().filter(|_| n.len() == DIGITS)?;
        Some(Self::simulated(kind, n))
    }

    /// As the lookup shows it.
    pub(crate) fn sha256_hex(&self) -> String {
        hex::encode(Sha256::digest(&self.bytes))
    }

    /// As webhooks show it.
    pub(crate) fn sha256_base64(&self) -> String {
        BASE64_STANDARD.encode(Sha256::digest(&self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_medium_is_found_by_its_id_and_is_the_same_every_time() {
        for (kind, mime, ..) in KINDS {
            let medium = Medium::simulated(kind, 123_456_789);
            assert_eq!(Medium::of_id(&medium.id), Some(medium.clone()), "{kind}");
            assert_eq!(
                (medium.mime_type.as_str(), MediaKind::named(kind.name())),
                (mime, Some(kind))
            );
            assert_eq!(MediaKind::of_mime(mime), kind);
        }
        let (one, two) =
            (Medium::simulated(MediaKind::Image, 1), Medium::simulated(MediaKind::Image, 2));
        assert_ne!(one.sha256_hex(), two.sha256_hex());
        for id in ["", "7007", "70079000000000001", "7007000000000001", "1065"] {
            assert_eq!(Medium::of_id(id), None, "{id}");
        }
    }
}
