//! From a mail to an item.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sha2::{Digest, Sha256};

use super::address::Mailbox;
use super::bounce::{self, Bounce};
use super::mail::{FILES_MAX, File, Mail};
use super::mime::{self, Unreadable};
use super::post::{Post, Provider};
use super::{html, quote, reply};
use crate::channel::{Handle, InboundMessage, Opaque, Receipt, Topic};
use crate::contact::IdentityKind;
use crate::conversation::AHEAD_MAX;
use crate::id::ThreadId;
use crate::media::Stored;
use crate::message::{Attachment, Content, MessageError, MessageKind, MessageStatus};
use crate::time::Timestamp;

/// Where a mail came to.
#[derive(Clone, Copy, Debug)]
pub struct Inbox<'a> {
    /// The account's address.
    pub address: &'a str,
    /// By which its reply addresses are signed.
    pub reply_key: &'a [u8],
    /// So much of a text is kept; the rest is cut.
    pub text_bytes: usize,
    /// Longer HTML is not kept: its text is.
    pub html_bytes: usize,
}

/// What senders are called who are programs, in small letters.
const PROGRAMS: [&str; 7] =
    ["mailer-daemon", "postmaster", "noreply", "no-reply", "donotreply", "do-not-reply", "bounce"];
/// Before 2009: a clock that was never set.
const EARLIEST: Timestamp = Timestamp(1_230_768_000_000);
const NAME_CHARS_MAX: usize = 255;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A mail that came, as an item, and the files that it carries.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub message: InboundMessage,
    pub files: Vec<Carried>,
}

/// A file that a mail carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Which of the message's attachments it is.
    pub attachment: usize,
    pub bytes: Vec<u8>,
}

/// The mail of a post, addressed to these; `None`: it has no sender.
pub fn read(
    post: &Post<'_>,
    recipients: &[String],
    inbox: &Inbox<'_>,
    now: Timestamp,
) -> Result<Option<Received>, Unreadable> {
    let received = |mut mail: Mail| {
        let mut message = decode(&mail, recipients, inbox, now)?;
        if let Some(why) = mail.unreadable {
            message.error = Some(unreadable(why));
        } else if post.provider == Provider::Resend && says_nothing(&message.content) {
            message.error = Some(no_body());
        }
        Some(Received { message, files: carried(&mut mail) })
    };
    // Decoders of mails have panicked on damaged ones before.
    let caught = |read: &dyn Fn() -> Mail| catch_unwind(AssertUnwindSafe(|| received(read())));
    caught(&|| post.mail(mime::read))
        .or_else(|_| caught(&|| post.mail(|raw| mime::whole(raw, Unreadable::Damaged))))
        .map_err(|_| Unreadable::Damaged)
}

fn decode(
    mail: &Mail,
    recipients: &[String],
    inbox: &Inbox<'_>,
    now: Timestamp,
) -> Option<InboundMessage> {
    let Mailbox { address, name } = mail.from.clone()?;
    let provider_id = mail.head.message_id.clone();
    let dedup = provider_id.is_none().then(|| hash(mail, &address, now));
    let sent_at = mail.head.sent_at().filter(|at| *at >= EARLIEST && *at <= now + AHEAD_MAX);
    let mut recipients = recipients.iter();
    let thread =
        recipients.find_map(|to| reply::replied_thread(inbox.reply_key, inbox.address, to));
    let is_automatic = is_automatic(mail, &address, inbox);
    Some(InboundMessage {
        from: vec![Handle { kind: IdentityKind::Email, value: address }],
        name,
        sent_at,
        content: content(mail, inbox),
        reply_to: mail.head.in_reply_to.first().cloned(),
        topic: topic(mail, provider_id.as_ref().or(dedup.as_ref())?, thread),
        automatic: is_automatic,
        auto_reply: mail.head.is_auto_reply && !bounce::is_of_server(mail),
        bounce: bounce::bounce(mail).map(|bounce| receipt(bounce, sent_at)),
        provider_id,
        dedup,
        ..InboundMessage::default()
    })
}

/// The bytes of the files that are shown, those that there are.
fn carried(mail: &mut Mail) -> Vec<Carried> {
    let shown = mail.files.iter_mut().filter(|file| !is_of_report(file)).take(FILES_MAX);
    let bytes = shown.map(|file| std::mem::take(&mut file.bytes)).enumerate();
    let bytes = bytes.filter(|(_, bytes)| !bytes.is_empty());
    bytes.map(|(attachment, bytes)| Carried { attachment, bytes }).collect()
}

fn says_nothing(content: &Content) -> bool {
    content.text.is_none() && content.html.is_none()
}

/// Why a mail is empty that has something to say.
fn no_body() -> MessageError {
    let message = "the provider told that a mail came, and not what it says; give the account an \
                   `api_token` by which it can be asked, and read this one there";
    MessageError { code: "no_body".to_owned(), message: message.to_owned() }
}

/// Why no more than the head of a mail is shown.
fn unreadable(why: Unreadable) -> MessageError {
    let message = format!("{why}, and was not taken apart; it is attached as it came");
    MessageError { code: "unreadable".to_owned(), message }
}

fn topic(mail: &Mail, own: &str, thread: Option<ThreadId>) -> Option<Topic> {
    let head = &mail.head;
    let mut answers: Vec<String> = Vec::new();
    for id in head.in_reply_to.iter().chain(head.references.iter().rev()) {
        if id != own && !answers.contains(id) {
            answers.push(id.clone());
        }
    }
    let first = head.references.first().or(head.in_reply_to.first());
    let first = first.map_or_else(|| own.to_owned(), Clone::clone);
    Some(Topic { own: own.to_owned(), answers, thread, first })
}

/// What a mail without an id is told apart by.
fn hash(mail: &Mail, from: &str, now: Timestamp) -> String {
    let Mail { head, posted_id, .. } = mail;
    // What nothing tells apart is the same on one day, and is another one on the next.
    let day = (posted_id.is_none() && head.date.is_none()).then(|| (now.0 / DAY_MS).to_string());
    let (subject, text, html) = (&mail.subject, &mail.text, &mail.html);
    let parts = [posted_id, &day, &head.date, subject, text, html].map(Option::as_deref);
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    };
    add(from.as_bytes());
    for part in parts {
        add(part.unwrap_or_default().as_bytes());
    }
    for ids in [&head.in_reply_to, &head.references] {
        add(ids.join(" ").as_bytes());
    }
    for File { bytes, url, provider_id, .. } in &mail.files {
        add(bytes);
        for of in [url, provider_id] {
            add(of.as_deref().unwrap_or_default().as_bytes());
        }
    }
    hex::encode(&hash.finalize()[..16])
}

fn content(mail: &Mail, inbox: &Inbox<'_>) -> Content {
    let cut = |text: &str| text[..text.floor_char_boundary(inbox.text_bytes)].replace('\0', "");
    let page = mail.html.as_deref();
    let fits = |page: &&str| page.len() <= inbox.html_bytes;
    // A page that is too long is read as far as the text may be long, with its marks.
    let read = |page: &str| html::text(&page[..page.floor_char_boundary(inbox.html_bytes)]);
    let written = mail.text.as_deref().filter(|text| !text.trim().is_empty()).map(str::to_owned);
    let text = written.or_else(|| page.map(read)).filter(|text| !text.is_empty());
    let text = text.map(|text| cut(&text));
    let visible = mail.visible.as_deref().map(|text| cut(text.trim()));
    let visible = visible.or_else(|| text.as_deref().and_then(quote::visible));
    let visible = visible.filter(|own| text.as_deref().is_some_and(|text| text.trim() != own));
    let files = mail.files.iter().filter(|file| !is_of_report(file));
    let attachments: Vec<_> = files.take(FILES_MAX).map(attachment).collect();
    Content {
        kind: match attachments.first() {
            Some(first) if text.is_none() => kind(&first.kind),
            _ => MessageKind::Text,
        },
        subject: mail.subject.clone(),
        html: page.filter(fits).and_then(html::sanitised).filter(|clean| fits(&clean.as_str())),
        visible_text: visible,
        text,
        attachments,
        ..Content::default()
    }
}

/// What a report says for programs is none of its files.
fn is_of_report(file: &File) -> bool {
    file.mime_type.as_deref() == Some("message/delivery-status")
}

fn kind(of: &str) -> MessageKind {
    match of {
        "image" => MessageKind::Image,
        "audio" => MessageKind::Audio,
        "video" => MessageKind::Video,
        _ => MessageKind::Document,
    }
}

fn attachment(file: &File) -> Attachment {
    let mime_type = file.mime_type.as_deref().and_then(super::one_line);
    let kind = attachment_kind(mime_type.as_deref().unwrap_or_default()).to_owned();
    // A name is none of a folder.
    let name = file.name.as_deref().and_then(|name| name.rsplit(['/', '\\']).next());
    let name = name.and_then(super::one_line);
    let held = u64::try_from(file.bytes.len()).ok().filter(|size| *size > 0);
    Attachment {
        kind,
        mime_type,
        filename: name.map(|name| name.chars().take(NAME_CHARS_MAX).collect()),
        content_id: file.content_id.as_deref().and_then(super::one_line),
        size: held.or(file.size),
        url: file.url.clone(),
        provider_media_id: file.provider_id.clone(),
        ..Attachment::default()
    }
}

/// As what a file of this type is shown.
fn attachment_kind(mime_type: &str) -> &'static str {
    let family = mime_type.split('/').next().unwrap_or_default();
    let mut known = ["image", "audio", "video"].into_iter();
    known.find(|known| family.eq_ignore_ascii_case(known)).unwrap_or("document")
}

/// A file of a mail is kept here, or cannot be: it is shown as what it is, not as what the mail says.
pub fn keep(content: &mut Content, attachment: usize, kept: Result<Stored, MessageError>) {
    let Some(shown) = content.attachments.get_mut(attachment) else { return };
    match kept {
        Ok(Stored { id, mime_type, size }) => {
            attachment_kind(&mime_type).clone_into(&mut shown.kind);
            (shown.media_id, shown.mime_type, shown.size) = (Some(id), Some(mime_type), Some(size));
        }
        Err(error) => shown.error = Some(error),
    }
    if let (MessageKind::Image | MessageKind::Audio | MessageKind::Video, [first, ..]) =
        (content.kind, &content.attachments[..])
    {
        content.kind = kind(&first.kind);
    }
}

fn is_automatic(mail: &Mail, from: &str, inbox: &Inbox<'_>) -> bool {
    let local = from.split('@').next().unwrap_or_default();
    mail.head.is_automatic
        || PROGRAMS.contains(&local)
        || from == inbox.address
        || super::address::without_tag(from).any(|name| name == inbox.address)
        || bounce::is_report(mail)
}

fn receipt(bounce: Bounce, at: Option<Timestamp>) -> Receipt {
    let Bounce { id, recipient, code, words } = bounce;
    let recipient = recipient.map(|value| Handle { kind: IdentityKind::Email, value });
    Receipt {
        opaque: Opaque::of_mail(&id),
        provider_id: id,
        status: MessageStatus::Failed,
        at,
        recipient: recipient.into_iter().collect(),
        error: Some(MessageError { code, message: words }),
    }
}
