//! Mails that say that one of ours did not arrive (RFC 3464, and what servers write without it).

use memchr::memmem;

use super::head::{Head, one_id};
use super::mail::Mail;

/// One of ours was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounce {
    /// The id of the mail that was not delivered.
    pub id: String,
    pub recipient: Option<String>,
    /// An enhanced status code (RFC 3463), e.g. `5.1.1`; `bounced` where there is none.
    pub code: String,
    /// The server's words.
    pub words: String,
}

/// What a report says of a recipient.
#[derive(Default)]
struct Report {
    recipient: Option<String>,
    action: Option<String>,
    status: Option<String>,
    words: Option<String>,
}

/// Of the text of a report no more is looked at.
const REPORT_BYTES_MAX: usize = 64 << 10;
const WORDS_CHARS_MAX: usize = 500;
const REPORT: &str = "multipart/report";

/// Who sends reports, in small letters.
const DAEMONS: [&str; 2] = ["mailer-daemon", "postmaster"];

/// Whether a program tells what became of a mail, of ours or not. One that a person sends on is none,
/// whatever lies in it.
pub(super) fn is_report(mail: &Mail) -> bool {
    let path = mail.head.return_path.as_deref();
    is_of_server(mail) || path.is_some_and(|path| path.trim_matches(['<', '>', ' ']).is_empty())
}

/// Whether a mail server writes it, and not a program that answers for somebody.
pub(super) fn is_of_server(mail: &Mail) -> bool {
    let kind = mail.head.content_type.as_deref().unwrap_or_default().trim_start();
    let local = mail.from.as_ref().and_then(|from| from.address.split('@').next());
    kind.get(..REPORT.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(REPORT))
        || local.is_some_and(|local| DAEMONS.contains(&local))
}

/// The mail of ours that was not delivered. A delay is no end: it may still arrive.
pub(super) fn bounce(mail: &Mail) -> Option<Bounce> {
    if !is_report(mail) {
        return None;
    }
    let report = file(mail, &["message/delivery-status"]).and_then(report);
    let failed = mail.head.failed_recipients.as_deref();
    let report = match (report, failed) {
        (Some(report), _) => report,
        (None, Some(failed)) => Report { recipient: first_address(failed), ..Report::default() },
        (None, None) => return None,
    };
    let id = original(mail)?;
    let recipient = report.recipient.or_else(|| first_address(failed?));
    let code = report.status.unwrap_or_else(|| "bounced".to_owned());
    let words = report.words.or_else(|| mail.subject.clone());
    let words = words.unwrap_or_else(|| "the mail was returned".to_owned());
    Some(Bounce { id, recipient, code, words: words.chars().take(WORDS_CHARS_MAX).collect() })
}

/// The first recipient of a report who did not get it.
fn report(bytes: &[u8]) -> Option<Report> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(REPORT_BYTES_MAX)]).into_owned();
    let text = text.replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ");
    text.split("\n\n").map(recipient).find(|report| {
        let status = report.status.as_deref().unwrap_or_default();
        match report.action.as_deref() {
            Some(action) => action == "failed",
            None => status.starts_with('5'),
        }
    })
}

fn recipient(lines: &str) -> Report {
    let mut report = Report::default();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        // Its kind stands before it, e.g. `rfc822;`.
        let typed = value.split_once(';').map_or(value, |(_, value)| value).trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "final-recipient" => report.recipient = first_address(typed),
            "original-recipient" if report.recipient.is_none() => {
                report.recipient = first_address(typed);
            }
            "action" => report.action = Some(value.to_ascii_lowercase()),
            "status" => {
                let code = value.split([' ', '(']).next().unwrap_or_default();
                let is_code = code.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                report.status = (is_code && (5..12).contains(&code.len())).then(|| code.to_owned());
            }
            "diagnostic-code" => report.words = super::one_line(typed),
            _ => {}
        }
    }
    report
}

/// The id of the mail that a report is about: that of what it sends back, or what it answers.
fn original(mail: &Mail) -> Option<String> {
    let kinds =
        ["message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers"];
    let returned = file(mail, &kinds).and_then(|bytes| {
        let end = memmem::find(bytes, b"\r\n\r\n").or_else(|| memmem::find(bytes, b"\n\n"));
        let head = &bytes[..end.unwrap_or(bytes.len()).min(REPORT_BYTES_MAX)];
        Head::of_block(&String::from_utf8_lossy(head)).message_id
    });
    let answered =
        || mail.head.in_reply_to.iter().chain(mail.head.references.last()).next().cloned();
    // Some send the headers back in their text.
    let written = || {
        let text = mail.text.as_deref()?;
        let line = text.lines().find(|line| {
            line.trim_start().get(..11).is_some_and(|l| l.eq_ignore_ascii_case("message-id:"))
        })?;
        one_id(line.split_once(':')?.1)
    };
    returned.or_else(answered).or_else(written)
}

fn file<'m>(mail: &'m Mail, kinds: &[&str]) -> Option<&'m [u8]> {
    let is_one = |kind: &str| kinds.iter().any(|known| kind.eq_ignore_ascii_case(known));
    let found = mail.files.iter().find(|file| file.mime_type.as_deref().is_some_and(is_one));
    found.map(|file| file.bytes.as_slice()).filter(|bytes| !bytes.trim_ascii().is_empty())
}

fn first_address(text: &str) -> Option<String> {
    super::address::normal(text.split(',').next()?)
}
