//! A mail of ours, as it is sent. The same message is the same mail, byte for byte, however often it
//! is made.

use chrono::DateTime;
use lettre::Address;
use lettre::message::header::{
    ContentDisposition, ContentTransferEncoding, ContentType, Date, Header, HeaderName, HeaderValue,
};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use super::head::may_be_sent;
use super::one_line;
use crate::saying::Mail;
use crate::text;
use crate::time::Timestamp;

/// What a mail of ours is made of.
#[derive(Clone, Debug)]
pub struct Paper<'a> {
    /// The account's address.
    pub from: &'a str,
    /// The name that is shown before it.
    pub name: Option<&'a str>,
    /// To whom, and who gets a copy.
    pub to: &'a [String],
    pub copies: &'a [String],
    /// Where answers go, if not to the account's address.
    pub reply_to: Option<String>,
    /// Its id, without `<>`.
    pub id: String,
    /// The mails that it answers, the oldest first.
    pub references: &'a [String],
    pub at: Timestamp,
    /// A program wrote it.
    pub is_automatic: bool,
    pub mail: &'a Mail,
}

/// A file that goes along.
#[derive(Clone, Debug)]
pub struct Enclosure {
    pub name: Option<String>,
    pub mime_type: String,
    pub bytes: Vec<u8>,
}

/// A mail as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub from: String,
    /// All who get it.
    pub to: Vec<String>,
    /// Its id, without `<>`.
    pub id: String,
    pub raw: Vec<u8>,
}

/// An address to which no mail can be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no address to which a mail can be sent")]
pub struct BadAddress(pub String);

/// Of a subject so many characters are sent.
const SUBJECT_CHARS_MAX: usize = 500;
/// What a mail is about that answers one without a subject.
const NO_SUBJECT: &str = "your message";

/// The subject of an answer.
pub fn answering(subject: Option<&str>) -> String {
    let subject = subject.and_then(one_line);
    let subject = subject.as_deref().unwrap_or(NO_SUBJECT);
    let is_answer = subject.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("re:"));
    let answer = if is_answer { subject.to_owned() } else { format!("Re: {subject}") };
    answer.chars().take(SUBJECT_CHARS_MAX).collect()
}

/// Makes the mail, with these files.
pub fn compose(paper: &Paper<'_>, files: Vec<Enclosure>) -> Result<Letter, BadAddress> {
    let Paper { from, to, copies, id, mail, .. } = paper;
    let mut message = Message::builder()
        .header(date(paper.at))
        .from(mailbox(paper.name, from)?)
        .message_id(Some(format!("<{id}>")));
    for to in *to {
        message = message.to(mailbox(None, to)?);
    }
    for copy in *copies {
        message = message.cc(mailbox(None, copy)?);
    }
    if let Some(reply_to) = &paper.reply_to {
        message = message.reply_to(mailbox(paper.name, reply_to)?);
    }
    let references: Vec<_> = paper.references.iter().filter(|id| may_be_sent(id)).collect();
    if let Some(answered) = references.last() {
        let all: Vec<_> = references.iter().map(|id| format!("<{id}>")).collect();
        message = message.in_reply_to(format!("<{answered}>")).references(all.join(" "));
    }
    if let Some(subject) = mail.subject.as_deref().and_then(one_line) {
        message = message.subject(subject.chars().take(SUBJECT_CHARS_MAX).collect::<String>());
    }
    if paper.is_automatic {
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        let kind = if references.is_empty() { "auto-generated" } else { "auto-replied" };
        message = message.raw_header(HeaderValue::new(name, kind.to_owned()));
    }
    let boundary = boundary(id);
    let mut parts = words(mail, &boundary);
    if !files.is_empty() {
        let mut whole = MultiPart::mixed().boundary(format!("{boundary}.m")).build();
        whole = match parts {
            Some(Words::One(part)) => whole.singlepart(part),
            Some(Words::Both(part)) => whole.multipart(part),
            None => whole,
        };
        let whole = files.into_iter().fold(whole, |whole, file| whole.singlepart(enclosed(file)));
        parts = Some(Words::Both(whole));
    }
    let made = match parts {
        Some(Words::One(part)) => message.singlepart(part),
        Some(Words::Both(part)) => message.multipart(part),
        None => message.singlepart(written(ContentType::TEXT_PLAIN, String::new())),
    };
    let made = made.map_err(|_| BadAddress((*from).to_owned()))?;
    let to = to.iter().chain(*copies).cloned().collect();
    Ok(Letter { from: (*from).to_owned(), to, id: id.clone(), raw: made.formatted() })
}

/// What it says, in one form or in two.
enum Words {
    One(SinglePart),
    Both(MultiPart),
}

fn words(mail: &Mail, boundary: &str) -> Option<Words> {
    let plain = |text: &String| written(ContentType::TEXT_PLAIN, text.clone());
    let page = |html: &String| written(ContentType::TEXT_HTML, html.clone());
    match (&mail.text, &mail.html) {
        (Some(text), Some(html)) => {
            let both = MultiPart::alternative().boundary(format!("{boundary}.a"));
            Some(Words::Both(both.singlepart(plain(text)).singlepart(page(html))))
        }
        (Some(text), None) => Some(Words::One(plain(text))),
        (None, Some(html)) => Some(Words::One(page(html))),
        (None, None) => None,
    }
}

/// In an encoding in which no line is long, and none can be a boundary.
fn written(kind: ContentType, text: String) -> SinglePart {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let encoding = ContentTransferEncoding::QuotedPrintable;
    SinglePart::builder().header(kind).header(encoding).body(text)
}

fn enclosed(file: Enclosure) -> SinglePart {
    let any = "application/octet-stream";
    let kind = ContentType::parse(&file.mime_type).or_else(|_| ContentType::parse(any));
    let kind = kind.unwrap_or(ContentType::TEXT_PLAIN);
    let name = file.name.as_deref().and_then(text::filename);
    let name = ContentDisposition::attachment(name.as_deref().unwrap_or("file"));
    let part = SinglePart::builder().header(kind).header(name);
    part.header(ContentTransferEncoding::Base64).body(file.bytes)
}

fn mailbox(name: Option<&str>, address: &str) -> Result<Mailbox, BadAddress> {
    let bad = || BadAddress(one_line(address).unwrap_or_default());
    let address: Address = address.parse().map_err(|_| bad())?;
    Ok(Mailbox::new(name.and_then(one_line), address))
}

fn date(at: Timestamp) -> Date {
    let written = DateTime::from_timestamp_millis(at.0).unwrap_or_default();
    let written = written.format("%a, %d %b %Y %H:%M:%S +0000").to_string();
    // Four digits of a year are read, and no message is of a later one.
    Date::parse(&written).unwrap_or_else(|_| Date::from(std::time::UNIX_EPOCH))
}

/// What stands in no text that is encoded, the same for the same mail.
fn boundary(id: &str) -> String {
    format!("=_{}", hex::encode(&Sha256::digest(id)[..16]))
}
