//! A mail as it was sent (RFC 5322, MIME): taken apart within bounds, each part's form read by
//! `mail-parser`. It is not asked to take mails apart itself: it goes into mails within mails as
//! deep as they are.

use std::borrow::Cow;

use mail_parser::decoders::base64::base64_decode;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;
use mail_parser::{ContentType, MessageParser, MimeHeaders};
use memchr::memmem;

use super::head::Head;
use super::mail::{File, Mail};

/// A mail has no more parts.
const PARTS_MAX: usize = 500;
/// Parts lie within each other no deeper.
const DEPTH_MAX: usize = 30;
/// A mail's headers, or those of a part, are no longer.
const HEAD_BYTES_MAX: usize = 256 << 10;

/// Why a mail cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the mail has more parts than any mail needs")]
    TooManyParts,
    #[error("the mail's headers are longer than any mail's")]
    HeadTooLarge,
    #[error("the mail is damaged")]
    Damaged,
}

/// Reads a mail as it was sent. One that cannot be taken apart is what its head says, and itself a
/// file.
pub(super) fn read(raw: &[u8]) -> Mail {
    Reader::default().mail(raw).unwrap_or_else(|why| whole(raw, why))
}

/// A mail that is not taken apart.
pub(super) fn whole(raw: &[u8], why: Unreadable) -> Mail {
    let most = &raw[..raw.len().min(HEAD_BYTES_MAX)];
    let head = split(most).map_or(most, |(head, _)| head);
    let itself = File {
        name: Some("mail.eml".to_owned()),
        mime_type: Some("message/rfc822".to_owned()),
        bytes: raw.to_owned(),
        ..File::default()
    };
    let head = Head::of_block(&decoded(head, None));
    Mail { head, files: vec![itself], unreadable: Some(why), ..Mail::default() }
}

/// A text in some charset; without one it is UTF-8 if it can be, else that of Windows.
pub(super) fn decoded(bytes: &[u8], charset: Option<&str>) -> String {
    let named = charset.map(|of| of.trim().to_ascii_lowercase());
    let other = named.filter(|of| !["utf-8", "utf8", "us-ascii", "ascii"].contains(&&**of));
    if let Some(decode) = other.and_then(|of| charset_decoder(of.as_bytes())) {
        return decode(bytes);
    }
    match (std::str::from_utf8(bytes), charset_decoder(b"windows-1252")) {
        (Ok(text), _) => text.to_owned(),
        (Err(_), Some(decode)) => decode(bytes),
        (Err(_), None) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// A media type without its parameters.
pub(super) fn type_of(of: &ContentType<'_>) -> String {
    let (kind, sub) = (of.ctype(), of.subtype().unwrap_or("plain"));
    format!("{kind}/{sub}").to_ascii_lowercase()
}

#[derive(Default)]
struct Reader {
    parts: usize,
    mail: Mail,
    texts: Vec<String>,
    pages: Vec<String>,
}

/// What a part is within.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Nothing,
    Alternative,
    Related,
    Digest,
}

impl Reader {
    fn mail(mut self, raw: &[u8]) -> Result<Mail, Unreadable> {
        let (head, _) = split(raw)?;
        // Some servers write other bytes than ASCII there.
        self.mail.head = Head::of_block(&decoded(head, None));
        self.part(raw, 0, Within::Nothing)?;
        let joined = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join("\n"));
        self.mail.text = joined(self.texts);
        self.mail.html = joined(self.pages);
        Ok(self.mail)
    }

    fn part(&mut self, raw: &[u8], depth: usize, within: Within) -> Result<(), Unreadable> {
        self.parts += 1;
        if self.parts > PARTS_MAX || depth > DEPTH_MAX {
            return Err(Unreadable::TooManyParts);
        }
        let (head, body) = split(raw)?;
        let parsed = MessageParser::new().with_mime_headers().parse_headers(head);
        let content_type = parsed.as_ref().and_then(|parsed| parsed.content_type());
        let kind = content_type.map(type_of);
        let kind = kind.as_deref().unwrap_or(match within {
            Within::Digest => "message/rfc822",
            _ => "text/plain",
        });
        let boundary = content_type.and_then(|of| of.attribute("boundary"));
        if let (Some(sub), Some(boundary)) = (kind.strip_prefix("multipart/"), boundary) {
            let within = match sub {
                "alternative" => Within::Alternative,
                "related" => Within::Related,
                "digest" => Within::Digest,
                _ => Within::Nothing,
            };
            let mut first = true;
            for part in Parts::new(body, boundary) {
                // What stands beside a page is shown by it.
                let within =
                    if within == Within::Related && first { Within::Nothing } else { within };
                first = false;
                self.part(part, depth + 1, within)?;
            }
            return Ok(());
        }
        let encoding = parsed.as_ref().and_then(|parsed| parsed.content_transfer_encoding());
        let bytes = decode(body, encoding.unwrap_or_default());
        let disposition = parsed.as_ref().and_then(|parsed| parsed.content_disposition());
        let is_attached = disposition.is_some_and(ContentType::is_attachment);
        let name = parsed.as_ref().and_then(|parsed| parsed.attachment_name());
        let is_body = matches!(kind, "text/plain" | "text/html")
            && !is_attached
            && name.is_none()
            && within != Within::Related;
        if is_body {
            let charset = content_type.and_then(|of| of.attribute("charset"));
            let text = decoded(&bytes, charset);
            let texts = if kind == "text/html" { &mut self.pages } else { &mut self.texts };
            if !text.trim().is_empty() {
                texts.push(text.replace("\r\n", "\n").trim_end().to_owned());
            }
            return Ok(());
        }
        let content_id = parsed.as_ref().and_then(|parsed| parsed.content_id());
        let is_inline = !is_attached && content_id.is_some();
        self.mail.files.push(File {
            name: name.map(str::to_owned),
            mime_type: Some(kind.to_owned()),
            content_id: content_id.map(|id| id.trim_matches(['<', '>']).to_owned()),
            is_inline,
            bytes: bytes.into_owned(),
            ..File::default()
        });
        Ok(())
    }
}

/// Head and body: the empty line between them belongs to the head.
fn split(raw: &[u8]) -> Result<(&[u8], &[u8]), Unreadable> {
    if raw.starts_with(b"\r\n") || raw.starts_with(b"\n") {
        // A part without headers.
        return Ok((b"\r\n", &raw[raw.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1)..]));
    }
    let crlf = memmem::find(raw, b"\r\n\r\n").map(|at| at + 4);
    let lf = memmem::find(&raw[..crlf.unwrap_or(raw.len())], b"\n\n").map(|at| at + 2);
    let end = lf.or(crlf).unwrap_or(raw.len());
    if end > HEAD_BYTES_MAX {
        return Err(Unreadable::HeadTooLarge);
    }
    Ok(raw.split_at(end))
}

fn decode<'a>(body: &'a [u8], encoding: &str) -> Cow<'a, [u8]> {
    let decoded = match encoding.trim().to_ascii_lowercase().as_str() {
        "base64" => base64_decode(body),
        // Some write an `=` where a coded one has to stand.
        "quoted-printable" => quoted_printable_decode(body).or_else(|| Some(as_far_as_coded(body))),
        _ => return Cow::Borrowed(body),
    };
    // What is not what it says it is, is shown as it came.
    decoded.map_or(Cow::Borrowed(body), Cow::Owned)
}

/// What is written as quoted-printable (RFC 2045, 6.7), and all else as it stands.
fn as_far_as_coded(body: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(body.len()), body);
    while let Some(at) = memchr::memchr(b'=', rest) {
        decoded.extend_from_slice(&rest[..at]);
        let behind = &rest[at + 1..];
        let mut byte = [0];
        rest = if behind.len() > 1 && hex::decode_to_slice(&behind[..2], &mut byte).is_ok() {
            decoded.push(byte[0]);
            &behind[2..]
        } else if let Some(next) = behind.strip_prefix(b"\r\n").or(behind.strip_prefix(b"\n")) {
            next
        } else {
            decoded.push(b'=');
            behind
        };
    }
    decoded.extend_from_slice(rest);
    decoded
}

/// The parts between boundaries; the last boundary may be missing.
struct Parts<'a> {
    rest: Option<&'a [u8]>,
    delimiter: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn new(body: &'a [u8], boundary: &str) -> Self {
        let delimiter = format!("--{boundary}").into_bytes();
        let mut parts = Self { rest: Some(body), delimiter };
        // What stands before the first boundary is for no one.
        parts.cut();
        parts
    }

    /// Takes what comes before the next boundary, and goes behind that.
    fn cut(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let mut from = 0;
        while let Some(at) = memmem::find(&rest[from..], &self.delimiter) {
            let (at, behind) = (from + at, from + at + self.delimiter.len());
            let begins_line = at == 0 || rest[at - 1] == b'\n';
            // A boundary may be the beginning of another one.
            let tail = &rest[behind..];
            let ends_line = tail.first().is_none_or(|next| b"\r\n \t-".contains(next));
            if begins_line && ends_line {
                let is_last = tail.starts_with(b"--");
                let line_end = tail.iter().position(|byte| *byte == b'\n');
                self.rest = match (is_last, line_end) {
                    (false, Some(end)) => Some(&tail[end + 1..]),
                    _ => None,
                };
                let part = &rest[..at];
                let part = part.strip_suffix(b"\n").unwrap_or(part);
                return Some(part.strip_suffix(b"\r").unwrap_or(part));
            }
            from = behind;
        }
        self.rest = None;
        Some(rest)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.cut()
    }
}
