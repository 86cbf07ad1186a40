//! Mails that are too much: one answer each, in bounded time.

use std::fmt::Write as _;

use engine::channel::email::{self, Unreadable, open};
use proptest::prelude::*;
use serde_json::json;

use super::{FORM, NOW, form, inbox, item, posted, read};

/// Why no more than its head is shown of a mail that is too much, and is a file as it came.
fn why(raw: &str) -> String {
    let body = form(&[("email", raw.as_bytes()), ("to", b"shop@example.com")]);
    let received = email::read(&open(FORM, &body).unwrap(), &[], &inbox(), NOW).unwrap().unwrap();
    let email::Received { message, files } = received;
    assert_eq!((&*message.from[0].value, &message.content.text), ("a@example.org", &None));
    assert_eq!(message.content.attachments[0].mime_type.as_deref(), Some("message/rfc822"));
    let [file] = &files[..] else { panic!("one file") };
    assert!(file.attachment == 0 && file.bytes == raw.as_bytes());
    let error = message.error.unwrap();
    assert_eq!(error.code, "unreadable");
    error.message
}

#[test]
fn a_mail_of_a_thousand_parts_is_shown_by_its_head_and_kept_as_it_came() {
    let mut raw = "From: a@example.org\r\n".to_owned();
    for n in 0..1_000 {
        let _ = write!(raw, "Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n");
    }
    assert!(why(&raw).starts_with(&Unreadable::TooManyParts.to_string()));
    let siblings = format!(
        "From: a@example.org\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b\r\n\r\nx\r\n".repeat(1_000)
    );
    assert!(why(&siblings).starts_with(&Unreadable::TooManyParts.to_string()));
}

#[test]
fn mails_within_mails_are_not_gone_into() {
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(200_000);
    let message = read(format!("From: a@example.org\r\n{nested}").as_bytes());
    assert_eq!(message.content.attachments.len(), 1);
}

#[test]
fn headers_of_a_megabyte_are_too_much_and_one_of_a_form_is_cut() {
    let raw = format!("From: a@example.org\r\nSubject: {}\r\n\r\nx", "x".repeat(1 << 20));
    assert!(why(&raw).starts_with(&Unreadable::HeadTooLarge.to_string()));
    let message = posted(&json!({"from": "a@example.org", "subject": "x".repeat(1 << 20)}));
    assert!(message.content.subject.unwrap().len() < 1_000);
}

#[test]
fn ten_thousand_recipients_are_refused_unless_the_envelope_says_who() {
    let many: Vec<_> = (0..10_000).map(|n| format!("a{n}@example.com")).collect();
    let (many, envelope) =
        (many.join(", "), br#"{"to":["shop@example.com"],"from":"a@example.org"}"#);
    let body = form(&[("from", b"a@example.org"), ("to", many.as_bytes())]);
    assert_eq!(open(FORM, &body).unwrap().recipients(), None);
    let body = form(&[("from", b"a@example.org"), ("to", many.as_bytes()), ("envelope", envelope)]);
    assert_eq!(open(FORM, &body).unwrap().recipients().unwrap()[0], ["shop@example.com"]);
}

#[test]
fn some_hundred_recipients_are_looked_at() {
    let many: Vec<_> = (0..999).map(|n| format!("a{n}@example.com")).collect();
    let many = format!("{}, shop@example.com", many.join(", "));
    let body = form(&[("from", b"a@example.org"), ("to", many.as_bytes())]);
    let groups = open(FORM, &body).unwrap().recipients().unwrap();
    assert_eq!(groups[0].last().unwrap(), "shop@example.com");
}

#[test]
fn what_holds_no_part_of_a_mail_is_not_read_where_it_is_very_long() {
    let long = " ".repeat(300 << 10);
    let ids = "<1@x>".repeat(100_000);
    let message = posted(&json!({
        "from": "a@example.org", "text": "Hi", "references": ids, "in_reply_to": format!("<2@x>{long}"),
        "headers": format!("Auto-Submitted: yes\n{long}"), "sender_name": format!("Bo{long}"),
    }));
    assert_eq!(message.topic.unwrap().answers, [""; 0]);
    assert_eq!((message.automatic, message.name), (false, None));
    let envelope = format!(r#"{{"to":["shop@example.com"],"x":"{long}"}}"#);
    let charsets = format!(r#"{{"text":"iso-8859-5"{}}}"#, &long[..16 << 10]);
    let fields: [(&str, &[u8]); 5] = [
        ("from", b"a@example.org"),
        ("to", b"other@example.com"),
        ("text", b"Gr\xfc\xdfe"),
        ("envelope", envelope.as_bytes()),
        ("charsets", charsets.as_bytes()),
    ];
    let body = form(&fields);
    let post = open(FORM, &body).unwrap();
    assert_eq!(post.recipients().unwrap(), [["other@example.com"]]);
    assert_eq!(item(&post).content.text.as_deref(), Some("Grüße"));
}

#[test]
fn an_object_of_very_many_fields_is_none() {
    let many: Vec<_> = (0..1_000).map(|n| format!(r#""a{n}":1"#)).collect();
    let body = |more: &str| format!(r#"{{{}{more}}}"#, many.join(","));
    assert!(open("application/json", body("").as_bytes()).is_ok());
    assert!(open("application/json", body(r#","b":1"#).as_bytes()).is_err());
}

#[test]
fn a_page_that_is_clean_only_when_it_is_long_is_shown_as_a_text() {
    let links = "<a href=\"https://x.example\">x</a>".repeat(7_000);
    let message = posted(&json!({"from": "a@example.org", "html": links}));
    assert!(links.len() <= inbox().html_bytes && message.content.html.is_none());
    assert!(message.content.text.is_some());
}

#[test]
fn what_would_end_a_header_ends_none() {
    let message = posted(&json!({
        "from": "\"Mei\r\nBcc: b@example.org\" <a@example.org>", "subject": "Hi\r\nBcc: c@example.org",
        "message_id": "<x\r\ny@example.org>",
        "attachments": [{"filename": "a\r\nb.txt", "content": "eA=="}],
    }));
    let shown = format!("{message:?}");
    assert!(!shown.contains("\\r") && !shown.contains("\\n"), "{shown}");
    assert!(message.provider_id.is_none());
}

#[test]
fn a_long_text_is_cut_and_a_long_page_is_read_as_a_text() {
    let (text, page) = ("ü".repeat(200_000), format!("<p>{}</p>", "x ".repeat(200_000)));
    let message = posted(&json!({"from": "a@example.org", "text": text}));
    assert!(message.content.text.unwrap().len() <= inbox().text_bytes);
    let message = posted(&json!({"from": "a@example.org", "html": page}));
    assert!(message.content.html.is_none());
    assert!(message.content.text.unwrap().starts_with("x x"));
}

#[test]
fn forms_of_many_fields_are_refused() {
    let body = "a=b&".repeat(2_000);
    assert!(open("application/x-www-form-urlencoded", body.as_bytes()).is_err());
}

#[test]
fn control_characters_behind_the_sender_lose_no_mail() {
    for odd in ["\t\u{1}", " \u{7f}", "\u{b}"] {
        let message = read(format!("From: a@example.org\r\n{odd}\r\n\r\nHi").as_bytes());
        assert_eq!(&*message.from[0].value, "a@example.org", "{odd:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_are_too_odd(
        raw in prop::collection::vec(any::<u8>(), 0..400),
        lines in prop::collection::vec(prop_oneof![
            Just("Content-Type: multipart/mixed; boundary=b"), Just("--b"), Just("--b--"), Just(""),
            Just("Content-Type: text/html; charset=utf-7"), Just("Content-Transfer-Encoding: base64"),
            Just("Content-Transfer-Encoding: quoted-printable"), Just("=?utf-8?B?///?="), Just("Subject: =?x?Q?=F?="),
            Just("Content-Type: message/rfc822"), Just("Content-Disposition: attachment; filename*0*=x''%"), Just("Date: x"),
        ], 0..40),
    ) {
        let sender = "From: a@example.org\r\n";
        let mail = [sender.as_bytes(), lines.join("\r\n").as_bytes(), &raw].concat();
        // What goes on with a space belongs to the sender, and may spoil it.
        let is_folded = mail[sender.len()..].first().is_some_and(|&c| c == b' ' || c == b'\t');
        let mail = form(&[("email", &mail), ("to", b"shop@example.com")]);
        let posts = [
            (FORM, &mail, !is_folded), (FORM, &raw, false), ("application/json", &raw, false),
            ("application/x-www-form-urlencoded", &raw, false),
        ];
        for (kind, body, has_sender) in posts {
            let Ok(post) = open(kind, body) else { continue };
            let _ = (post.recipients(), post.may_have_sender());
            let read = email::read(&post, &[], &inbox(), NOW);
            prop_assert!(read.as_ref().is_ok_and(|read| read.is_some() || !has_sender), "{:?}", body);
            let error = read.unwrap().and_then(|read| read.message.error);
            let damaged = Unreadable::Damaged.to_string();
            prop_assert!(!error.is_some_and(|of| of.message.starts_with(&damaged)), "{:?}", body);
        }
    }
}
