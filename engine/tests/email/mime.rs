//! Mails as they were sent: parts, charsets, what programs send, what came back.

use engine::channel::Opaque;
use engine::id::{ConversationId, ThreadId};
use engine::message::Place;
use engine::message::{MessageKind, MessageStatus};
use uuid::Uuid;

use super::{read, sent};

const HEAD: &str = "From: Mei <mei@example.org>\nTo: shop@example.com\nMessage-ID: <m1@example.org>\nDate: Sat, 2 May 2026 10:00:00 +0000\n";

#[test]
fn of_two_forms_of_a_text_both_are_kept_and_an_inline_image_is_listed() {
    let message = sent(&format!(
        "{HEAD}Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"a b\"\n\n\
         preamble\n--a b\nContent-Type: multipart/related; boundary=r\n\n--r\nContent-Type: multipart/alternative; boundary=l\n\n\
         --l\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nSch=F6n\n\
         --l\nContent-Type: text/html; charset=utf-8\n\n<p>Schön <img src=\"cid:i1\"></p>\n--l--\n\
         --r\nContent-Type: image/png; name=\"b.png\"\nContent-ID: <i1>\nContent-Transfer-Encoding: base64\n\niVBORw==\n--r--\n\
         --a b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename*=utf-8''%C3%BC.pdf\nContent-Transfer-Encoding: base64\n\nJVBERg==\n\
         --a b\nContent-Type: text/plain\n\nA footer\n--a b--\n"
    ));
    let content = &message.content;
    assert_eq!(content.text.as_deref(), Some("Schön\nA footer"));
    assert!(content.html.as_deref().unwrap().contains("cid:i1"));
    assert_eq!(content.subject.as_deref(), Some("Grüße"));
    let files: Vec<_> = content
        .attachments
        .iter()
        .map(|f| (&*f.kind, f.filename.as_deref(), f.size, f.content_id.as_deref()))
        .collect();
    assert_eq!(
        files,
        [("image", Some("b.png"), Some(4), Some("i1")), ("document", Some("ü.pdf"), Some(4), None)]
    );
    assert_eq!(message.name.as_deref(), Some("Mei"));
}

#[test]
fn a_page_alone_is_shown_as_a_text_too() {
    let message =
        sent(&format!("{HEAD}Content-Type: text/html\n\n<p>One</p><p>Two &amp; three</p>"));
    assert!(message.content.text.as_deref().unwrap().contains("Two & three"));
    assert!(message.content.html.is_some());
}

#[test]
fn what_is_not_coded_as_it_has_to_be_is_read_as_far_as_it_is() {
    let coded =
        "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable";
    let message = sent(&format!("{HEAD}{coded}\n\n<p align=\"left\">Gr=C3=BC=C3=\n=9Fe</p>"));
    assert_eq!(message.content.text.as_deref(), Some("Grüße"));
}

#[test]
fn a_file_alone_is_a_message_of_its_kind() {
    let message = sent(&format!(
        "{HEAD}Content-Type: image/jpeg\nContent-Disposition: attachment; filename=a.jpg\nContent-Transfer-Encoding: base64\n\n/9j/2Q=="
    ));
    assert_eq!((message.content.kind, message.content.text), (MessageKind::Image, None));
}

#[test]
fn charsets_that_are_wrong_or_unknown_are_read_as_far_as_can_be() {
    for (charset, bytes, text) in [
        ("utf-8", &b"Gr\xc3\xbc\xc3\x9fe"[..], "Grüße"),
        ("windows-1252", b"\x80 5", "€ 5"),
        ("utf-8", b"Gr\xfc\xdfe", "Gr"),
        ("no-such-charset", b"Gr\xfc\xdfe", "Grüße"),
        ("gb2312", b"\xc4\xe3\xba\xc3", "你好"),
        ("iso-2022-jp", b"\x1b$B$\"\x1b(B", "あ"),
        ("utf-7", b"Gr+APwA3w-e", "Grüße"),
    ] {
        let mut raw = format!("{HEAD}Content-Type: text/plain; charset={charset}\n\n").into_bytes();
        raw.extend_from_slice(bytes);
        let read = read(&raw).content.text.unwrap();
        assert!(read.starts_with(text), "{charset}: {read}");
    }
}

#[test]
fn several_answered_mails_and_a_missing_end_are_read() {
    let message = sent(&format!(
        "{HEAD}In-Reply-To: <a@x>\n <b@x>\nReferences: <r@x>\nContent-Type: multipart/mixed; boundary=q\n\n--q\n\nHello\n"
    ));
    assert_eq!(message.content.text.as_deref(), Some("Hello"));
    let topic = message.topic.unwrap();
    assert_eq!(
        (&topic.answers[..], &*topic.first),
        (&["a@x".to_owned(), "b@x".into(), "r@x".into()][..], "r@x")
    );
}

#[test]
fn what_answers_for_somebody_is_told_from_what_else_programs_send() {
    for line in [
        "Auto-Submitted: auto-replied (vacation)",
        "Auto-Submitted: Auto-Replied; owner-email=\"mei@example.org\"",
        "Precedence: auto_reply",
        "X-Autoreply: yes",
        "Return-Path: <>\nX-Autorespond: Away",
        "Auto-Submitted: auto-generated\nX-MS-Exchange-Generated-Message-Source: Mailbox Rules Agent",
    ] {
        let message = sent(&format!("{HEAD}{line}\n\nI am away."));
        assert!(message.auto_reply && message.automatic, "{line}");
    }
    for line in [
        "Auto-Submitted: no",
        // People write by these, too.
        "Auto-Submitted: auto-generated\nX-Auto-Response-Suppress: All",
        "Precedence: list\nList-Id: <all.example.org>",
        "Return-Path: <>",
        // Something did not arrive.
        "Auto-Submitted: auto-replied\nContent-Type: multipart/report; boundary=b",
    ] {
        assert!(!sent(&format!("{HEAD}{line}\n\nx")).auto_reply, "{line}");
    }
    let daemon = sent("From: MAILER-DAEMON@example.org\nAuto-Submitted: auto-replied\n\nx");
    assert!(daemon.automatic && !daemon.auto_reply);
}

#[test]
fn what_programs_send_is_marked() {
    for line in [
        "Auto-Submitted: auto-replied",
        "Precedence: bulk",
        "List-Id: <news.example.org>",
        "Return-Path: <>",
    ] {
        assert!(sent(&format!("{HEAD}{line}\n\nI am away.")).automatic, "{line}");
    }
    for from in [
        "MAILER-DAEMON@example.org",
        "no-reply@example.org",
        "shop@example.com",
        "shop+1@example.com",
    ] {
        assert!(sent(&format!("From: {from}\n\nx")).automatic, "{from}");
    }
    assert!(
        !sent(&format!("{HEAD}Return-Path: <mei@example.org>\nAuto-Submitted: no\n\nHi")).automatic
    );
}

fn ours() -> Opaque {
    Opaque {
        thread: ThreadId(Uuid::from_u128(7)),
        conversation: ConversationId(Uuid::from_u128(8)),
        place: Place { block: 0, ordinal: 3 },
        reaction: None,
    }
}

fn report(status: &str, returned: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example.org\nTo: shop@example.com\nSubject: Undelivered\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=d\n\n\
         --d\nContent-Type: text/plain\n\nIt did not arrive.\n\
         --d\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\n{status}\n\n\
         --d\nContent-Type: {returned}\n\n--d--\n"
    )
}

#[test]
fn a_report_that_a_customer_sends_on_is_a_mail_like_every_other() {
    let status = "Final-Recipient: rfc822; mei@example.org\nAction: failed\nStatus: 5.1.1";
    let id = ours().mail_id("example.com");
    let returned = format!("message/rfc822\n\nMessage-ID: <{id}>\n\nHello");
    let report = report(status, &returned);
    for sender in ["Mei <mei@example.org>", "Mailer <mailer@example.org>"] {
        let sent_on = report.replace("MAILER-DAEMON@mx.example.org", sender);
        let sent_on = sent_on.replace("multipart/report", "multipart/mixed");
        let message = sent(&format!("X-Failed-Recipients: mei@example.org\n{sent_on}"));
        assert!(message.bounce.is_none() && !message.automatic, "{sender}");
        let without_sender = sent(&format!("Return-Path: <>\n{sent_on}"));
        assert!(without_sender.bounce.is_some() && without_sender.automatic);
    }
    let by_daemon = sent(&report.replace("multipart/report", "multipart/mixed"));
    assert!(by_daemon.bounce.is_some());
}

#[test]
fn a_bounce_names_the_message_that_did_not_arrive() {
    let id = ours().mail_id("example.com");
    let status = "Final-Recipient: rfc822; Mei@example.org\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1\n no such user";
    for returned in [
        format!("message/rfc822\n\nMessage-ID: <{id}>\nSubject: x\n\nHello"),
        format!("text/rfc822-headers\n\nMessage-ID: <{id}>"),
    ] {
        let message = sent(&report(status, &returned));
        assert!(message.automatic);
        let bounce = message.bounce.unwrap();
        assert_eq!((&*bounce.provider_id, bounce.opaque), (&*id, Some(ours())));
        assert_eq!(bounce.status, MessageStatus::Failed);
        assert_eq!(bounce.recipient[0].value, "mei@example.org");
        let error = bounce.error.unwrap();
        assert_eq!((&*error.code, &*error.message), ("5.1.1", "550 5.1.1 no such user"));
    }
}

#[test]
fn a_bounce_without_a_report_is_known_by_whom_it_did_not_reach() {
    let raw = "From: mailer-daemon@example.org\nX-Failed-Recipients: mei@example.org\nIn-Reply-To: <o1@example.com>\nSubject: Delivery failed\n\nNo such user";
    let bounce = sent(raw).bounce.unwrap();
    let error = bounce.error.unwrap();
    assert_eq!(
        (&*bounce.provider_id, &*error.code, &*error.message),
        ("o1@example.com", "bounced", "Delivery failed")
    );
}

#[test]
fn a_delay_and_a_report_about_nothing_fail_no_message() {
    let returned = "message/rfc822\n\nMessage-ID: <o1@example.com>\n\nx";
    for status in ["Action: delayed\nStatus: 4.4.1", "Action: delivered\nStatus: 2.0.0", ""] {
        let message = sent(&report(status, returned));
        assert!(message.automatic && message.bounce.is_none(), "{status}");
    }
    let gave_up = "Final-Recipient: rfc822; mei@example.org\nAction: failed\nStatus: 4.4.7";
    assert!(sent(&report(gave_up, returned)).bounce.is_some(), "after too long it is an end");
    assert!(sent(&report(gave_up, "text/plain\n\nnothing")).bounce.is_none(), "of which mail?");
}
