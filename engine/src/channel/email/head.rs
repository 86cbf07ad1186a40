//! What the headers of a mail say, wherever they come from: the mail itself, or a provider's field.

use mail_parser::{DateTime, HeaderName, MessageParser};

use crate::time::Timestamp;

/// Of one header no more is looked at.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// Of the mails that it answers the first and the last are read: so many.
const IDS_MAX: usize = 100;
/// A longer id is none (RFC 5322, 2.1.1: no line has more).
const ID_BYTES_MAX: usize = 998;
/// A longer one is not repeated.
const SENT_ID_BYTES_MAX: usize = 250;

/// The headers that mean something here.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Head {
    pub from: Option<String>,
    pub to: Option<String>,
    pub subject: Option<String>,
    pub date: Option<String>,
    /// Without `<>`.
    pub message_id: Option<String>,
    pub in_reply_to: Vec<String>,
    pub references: Vec<String>,
    pub content_type: Option<String>,
    pub return_path: Option<String>,
    pub failed_recipients: Option<String>,
    /// A program sent it, or it went to many.
    pub is_automatic: bool,
    /// A program answered for somebody who has not read what it answers.
    pub is_auto_reply: bool,
}

impl Head {
    /// Those of a block of lines; a line that begins with a space goes on with the one before it.
    pub(super) fn of_block(block: &str) -> Self {
        let mut head = Self::default();
        let mut header = String::new();
        for line in block.lines() {
            if line.starts_with([' ', '\t']) {
                if header.len() < VALUE_BYTES_MAX {
                    header.push(' ');
                    header.push_str(line.trim());
                }
                continue;
            }
            head.add_line(&header);
            line.clone_into(&mut header);
        }
        head.add_line(&header);
        head
    }

    fn add_line(&mut self, line: &str) {
        if let Some((name, value)) = line.split_once(':') {
            self.add(name, value);
        }
    }

    /// One more header; of several of a name the first counts.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let value = value[..value.floor_char_boundary(VALUE_BYTES_MAX)].trim();
        let first = |known: &mut Option<String>| {
            if known.is_none() {
                *known = Some(value.replace(['\r', '\n'], ""));
            }
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "from" => first(&mut self.from),
            "to" => first(&mut self.to),
            "subject" => first(&mut self.subject),
            "date" => first(&mut self.date),
            "content-type" => first(&mut self.content_type),
            "return-path" => first(&mut self.return_path),
            "x-failed-recipients" => first(&mut self.failed_recipients),
            "message-id" if self.message_id.is_none() => self.message_id = one_id(value),
            "in-reply-to" if self.in_reply_to.is_empty() => self.in_reply_to = ids(value),
            "references" if self.references.is_empty() => self.references = ids(value),
            name => {
                self.is_auto_reply |= says_auto_reply(name, value);
                self.is_automatic |= self.is_auto_reply || says_automatic(name, value);
            }
        }
    }

    /// When it was written, as its sender says.
    pub(super) fn sent_at(&self) -> Option<Timestamp> {
        let date = DateTime::parse_rfc822(self.date.as_deref()?)?;
        date.is_valid().then(|| Timestamp(date.to_timestamp().saturating_mul(1000)))
    }
}

/// A header that is a text, its encoded words (RFC 2047) read.
pub(super) fn text(value: &str) -> Option<String> {
    let header = format!("Subject: {}\r\n\r\n", value.replace(['\r', '\n'], " "));
    let parser = MessageParser::new().header_text(HeaderName::Subject).default_header_ignore();
    parser.parse_headers(header.as_bytes())?.subject().and_then(super::one_line)
}

/// Whether a header says that no person is to be answered (RFC 3834, RFC 2919, and what mail servers
/// and lists write beyond).
fn says_automatic(name: &str, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    match name {
        "auto-submitted" => value.split([';', '(']).next().is_some_and(|kind| kind.trim() != "no"),
        "precedence" => ["bulk", "junk", "list"].contains(&value.trim()),
        "x-auto-response-suppress" => !value.is_empty() && value.trim() != "none",
        "list-id" | "list-unsubscribe" | "list-post" => true,
        _ => false,
    }
}

/// Whether a header says that a program answered in somebody's place. What a program made (`auto-generated`)
/// a person may have written, as in a system for tickets; Exchange says which of it is an answer of
/// its own.
fn says_auto_reply(name: &str, value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    match name {
        // Parameters and comments may follow (RFC 3834, section 5).
        "auto-submitted" => {
            let kind = value.trim_start().split([';', '(', ' ', '\t']).next();
            kind.is_some_and(|kind| kind == "auto-replied")
        }
        "precedence" => value.trim() == "auto_reply",
        "x-ms-exchange-generated-message-source" => value.trim() == "mailbox rules agent",
        "x-autoreply" | "x-autorespond" | "x-auto-reply" => true,
        _ => false,
    }
}

/// An id as it is stored: without `<>`, one word.
pub(super) fn one_id(text: &str) -> Option<String> {
    ids(text).into_iter().next()
}

/// Whether an id may stand in a header of ours: what would break it is left out.
pub(super) fn may_be_sent(id: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_graphic() && c != '<' && c != '>';
    (1..=SENT_ID_BYTES_MAX).contains(&id.len()) && id.chars().all(is_plain)
}

/// The ids of a header, in order: the first, and the last ones.
pub(super) fn ids(text: &str) -> Vec<String> {
    let words: Vec<&str> = if text.contains('<') {
        text.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(id, _)| id).collect()
    } else {
        text.split([' ', '\t', '\r', '\n', ',']).collect()
    };
    let is_id = |id: &&str| {
        let odd = |c: char| c.is_whitespace() || c.is_control();
        !id.is_empty() && id.len() <= ID_BYTES_MAX && !id.contains(odd)
    };
    let mut ids: Vec<String> =
        words.into_iter().map(str::trim).filter(is_id).map(str::to_owned).collect();
    if ids.len() > IDS_MAX {
        ids.drain(1..ids.len() - (IDS_MAX - 1));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::{Head, IDS_MAX, ids};

    #[test]
    fn folded_lines_are_one_header() {
        let head = Head::of_block(
            "From: a@example.com\r\nIn-Reply-To: <1@x>\r\n  <2@x>\r\nMessage-ID: <3@x>\r\n",
        );
        assert_eq!(head.in_reply_to, ["1@x", "2@x"]);
        assert_eq!(head.message_id.as_deref(), Some("3@x"));
    }

    #[test]
    fn ids_are_read_with_and_without_brackets() {
        assert_eq!(ids("<1@x><2@x> junk <3@x>"), ["1@x", "2@x", "3@x"]);
        assert_eq!(ids("1@x"), ["1@x"]);
        assert!(ids(" , ").is_empty());
        assert!(ids("<a b>").is_empty());
    }

    #[test]
    fn of_very_many_ids_the_first_and_the_last_are_kept() {
        let many: String = (0..5_000).map(|n| format!("<{n}@x> ")).collect();
        let read = ids(&many);
        assert_eq!(read.len(), IDS_MAX);
        assert_eq!(
            (read[0].as_str(), read[IDS_MAX - 1].as_str(), read[1].as_str()),
            ("0@x", "4999@x", "4901@x")
        );
    }

    #[test]
    fn programs_and_lists_are_recognised() {
        for line in [
            "Auto-Submitted: auto-replied",
            "Auto-Submitted: auto-generated; x=y",
            "Precedence: Bulk",
            "List-Id: <a.example.com>",
            "List-Unsubscribe: <mailto:x@example.com>",
            "X-Auto-Response-Suppress: All",
            "X-Autoreply: yes",
        ] {
            assert!(Head::of_block(line).is_automatic, "{line}");
        }
        for line in ["Auto-Submitted: no", "Precedence: first-class", "Subject: Auto-Submitted"] {
            assert!(!Head::of_block(line).is_automatic, "{line}");
        }
    }

    #[test]
    fn a_date_is_read_with_its_zone() {
        let head = Head::of_block("Date: Wed, 11 Oct 2023 18:31:04 -0700");
        assert_eq!(head.sent_at().unwrap().to_string(), "2023-10-12T01:31:04.000Z");
        assert_eq!(Head::of_block("Date: soon").sent_at(), None);
    }
}
