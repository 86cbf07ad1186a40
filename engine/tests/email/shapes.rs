//! Each provider's post of the same mail.

use std::time::Duration;

use engine::channel::email::{self, NotAMail, Provider, open};
use engine::contact::IdentityKind;
use engine::message::MessageKind;
use engine::time::Timestamp;
use serde_json::{Value, json};

use super::{FORM, NOW, form, inbox, item, posted};

fn text(of: &Option<String>) -> &str {
    of.as_deref().unwrap_or_default()
}

#[test]
fn the_api_s_own_json_is_read() {
    let message = posted(&json!({
        "from": "\"Lin, Mei\" <Mei@Example.org>", "to": "Shop <shop@example.com>", "subject": "Re: Boots",
        "text": "Brown, please.\n\nOn 2 May 2026, Shop <shop@example.com> wrote:\n> Which?",
        "html": "<p>Brown, please.</p><script>x()</script>",
        "message_id": "<m2@example.org>", "in_reply_to": "<o1@example.com>",
        "references": "<m1@example.org> <o1@example.com>",
        "attachments": [
            {"filename": "../boots.png", "content_type": "image/png", "content": "iVBORw==", "content_id": "<i1>"},
            {"filename": "announced.pdf", "size": 10},
        ],
    }));
    assert_eq!(
        (message.from[0].kind, &*message.from[0].value),
        (IdentityKind::Email, "mei@example.org")
    );
    assert_eq!(text(&message.name), "Lin, Mei");
    assert_eq!(text(&message.provider_id), "m2@example.org");
    assert_eq!(text(&message.reply_to), "o1@example.com");
    let topic = message.topic.unwrap();
    assert_eq!(topic.answers, ["o1@example.com", "m1@example.org"]);
    assert_eq!((&*topic.own, &*topic.first), ("m2@example.org", "m1@example.org"));
    let content = message.content;
    assert_eq!(text(&content.visible_text), "Brown, please.");
    assert!(text(&content.text).contains("> Which?"), "all of it is kept");
    assert_eq!(text(&content.html), "<p>Brown, please.</p>");
    assert_eq!(text(&content.subject), "Re: Boots");
    let [file] = &content.attachments[..] else { panic!("what is only announced is no file") };
    assert_eq!((&*file.kind, text(&file.filename), file.size), ("image", "boots.png", Some(4)));
    assert_eq!((text(&file.content_id), text(&file.mime_type)), ("i1", "image/png"));
}

#[test]
fn a_sender_alone_is_a_mail() {
    let message = posted(&json!({"from": "mei@example.org", "sender_name": "Mei"}));
    assert_eq!((text(&message.name), message.content.kind), ("Mei", MessageKind::Text));
    assert!(message.provider_id.is_none() && message.dedup.is_some() && !message.automatic);
    let same = posted(&json!({"from": "mei@example.org", "sender_name": "Mei"}));
    assert_eq!(message.dedup, same.dedup, "delivered again it is the same");
    let other = posted(&json!({"from": "mei@example.org", "text": "Hi"}));
    assert_ne!(message.dedup, other.dedup);
}

#[test]
fn sendgrid_s_fields_are_read_each_in_its_charset() {
    let headers = b"Message-ID: <m2@example.org>\nReferences: <m1@example.org>\n <o1@example.com>\nDate: Sat, 2 May 2026 10:00:00 +0200\n";
    let fields: [(&str, &[u8]); 10] = [
        ("headers", headers),
        ("from", b"Mei <mei@example.org>"),
        ("to", b"Other <other@example.com>"),
        ("subject", b"Gr\xfc\xdfe"),
        ("text", b"Sch\xf6n"),
        ("charsets", br#"{"text":"iso-8859-1","subject":"iso-8859-1"}"#),
        ("envelope", br#"{"to":["Shop+x@Example.com"],"from":"bounces@example.org"}"#),
        ("attachments", b"2"),
        ("attachment1;; filename=\"a.txt\"\r\nContent-Type: text/plain", b"one\r\ntwo"),
        ("content-ids", br#"{"c1":"attachment1"}"#),
    ];
    let body = form(&fields);
    let post = open(FORM, &body).unwrap();
    assert_eq!(post.provider, Provider::Sendgrid);
    let groups = post.recipients().unwrap();
    assert_eq!(groups, [vec!["shop+x@example.com"], vec!["other@example.com"]]);
    let message = item(&post);
    assert_eq!((text(&message.content.text), text(&message.content.subject)), ("Schön", "Grüße"));
    assert_eq!(text(&message.provider_id), "m2@example.org");
    assert_eq!(message.sent_at.unwrap().to_string(), "2026-05-02T08:00:00.000Z");
    assert_eq!(message.topic.unwrap().answers, ["o1@example.com", "m1@example.org"]);
    let [file] = &message.content.attachments[..] else { panic!("one of two is there") };
    assert_eq!((text(&file.filename), file.size, text(&file.content_id)), ("a.txt", Some(8), "c1"));
}

#[test]
fn a_mail_as_it_was_sent_is_read_and_the_posted_subject_wins() {
    let raw = b"From: Mei <mei@example.org>\r\nSubject: Raw\r\nMessage-ID: <m1@example.org>\r\n\r\nHello\r\n";
    for (name, subject) in [("email", "Raw"), ("body-mime", "Raw")] {
        let body = form(&[(name, raw), ("recipient", b"shop@example.com")]);
        let message = item(&open(FORM, &body).unwrap());
        assert_eq!(
            (text(&message.content.subject), text(&message.content.text)),
            (subject, "Hello")
        );
    }
    let body = form(&[("email", raw), ("subject", b"Posted"), ("to", b"shop@example.com")]);
    assert_eq!(text(&item(&open(FORM, &body).unwrap()).content.subject), "Posted");
    let raw = String::from_utf8_lossy(raw);
    let message =
        posted(&json!({"From": "x@example.org", "RawEmail": raw, "To": "shop@example.com"}));
    assert_eq!(text(&message.provider_id), "m1@example.org");
}

fn postmark() -> Value {
    json!({
        "From": "mei@example.org", "FromFull": {"Email": "mei@example.org", "Name": "Mei", "MailboxHash": ""},
        "To": "\"Shop\" <shop+x@example.com>", "OriginalRecipient": "shop+x@example.com",
        "Subject": "Boots", "MessageID": "0b7c", "Date": "Sat, 2 May 2026 10:00:00 +0000",
        "TextBody": "Brown.\r\n> Which?", "HtmlBody": "<p>Brown.</p>", "StrippedTextReply": "Brown.",
        "Headers": [{"Name": "Message-ID", "Value": "<m2@example.org>"}, {"Name": "In-Reply-To", "Value": "<o1@example.com>"}],
        "Attachments": [{"Name": "a.pdf", "Content": "JVBERg==", "ContentType": "application/pdf", "ContentLength": 4, "ContentID": ""}],
    })
}

#[test]
fn postmark_s_json_is_read_and_its_own_id_is_none() {
    let message = posted(&postmark());
    assert_eq!((text(&message.provider_id), text(&message.name)), ("m2@example.org", "Mei"));
    assert_eq!(
        (text(&message.content.text), text(&message.content.visible_text)),
        ("Brown.\n> Which?", "Brown.")
    );
    assert_eq!(message.topic.unwrap().answers, ["o1@example.com"]);
    let file = &message.content.attachments[0];
    assert_eq!((&*file.kind, file.size, file.content_id.as_deref()), ("document", Some(4), None));
    let mut without = postmark();
    without["Headers"] = json!([]);
    let message = posted(&without);
    assert!(message.provider_id.is_none() && message.dedup.is_some());
}

#[test]
fn mailgun_s_fields_are_read_urlencoded_and_as_a_form() {
    let headers = json!([
        ["Message-Id", "<m2@example.org>"],
        ["References", "<m1@example.org>"],
        ["Auto-Submitted", "no"],
        ["Subject", "=?utf-8?Q?Gr=C3=BC=C3=9Fe?="]
    ]);
    let fields = [
        ("recipient", "shop@example.com".to_owned()),
        ("sender", "bounces@example.org".to_owned()),
        ("From", "Mei <mei@example.org>".to_owned()),
        ("from", "Mei <mei@example.org>".to_owned()),
        ("body-plain", "Brown.\n> Which?".to_owned()),
        ("stripped-text", "Brown.".to_owned()),
        ("body-html", "<p>Brown.</p>".to_owned()),
        ("message-headers", headers.to_string()),
        ("attachments", json!([{"url": "https://files.example/1", "size": 7, "name": "a.pdf", "content-type": "application/pdf"}]).to_string()),
    ];
    let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    let parts: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    let (parts, urlencoded) = (form(&parts), "application/x-www-form-urlencoded");
    for (kind, body) in [(FORM, &parts[..]), (urlencoded, encoded.as_bytes())] {
        let post = open(kind, body).unwrap();
        assert_eq!(post.provider, Provider::Mailgun);
        let message = item(&post);
        assert_eq!(
            (text(&message.provider_id), &*message.from[0].value),
            ("m2@example.org", "mei@example.org")
        );
        assert_eq!(text(&message.content.visible_text), "Brown.");
        assert_eq!(text(&message.content.subject), "Grüße");
        assert!(!message.automatic);
        let file = &message.content.attachments[0];
        assert_eq!((text(&file.url), file.size), ("https://files.example/1", Some(7)));
    }
}

#[test]
fn what_resend_tells_of_a_mail_is_shown_without_its_body() {
    let data = json!({
        "email_id": "4ef9", "from": "Mei <mei@example.org>", "to": ["shop@example.com"], "subject": "Boots",
        "message_id": "<m2@example.org>",
        "attachments": [{"id": "a1", "filename": "a.pdf", "content_type": "application/pdf", "content_id": null}],
    });
    let body =
        json!({"type": "email.received", "created_at": "2026-05-02T10:00:00Z", "data": data})
            .to_string();
    let post = open("application/json", body.as_bytes()).unwrap();
    assert_eq!((post.provider, post.is_other_news), (Provider::Resend, false));
    let message = item(&post);
    assert_eq!((text(&message.content.subject), message.content.text), ("Boots", None));
    assert_eq!(text(&message.content.attachments[0].provider_media_id), "a1");
    let other = json!({"type": "email.delivered", "data": {"email_id": "4ef9"}}).to_string();
    assert!(open("application/json", other.as_bytes()).unwrap().is_other_news);
}

#[test]
fn a_mail_that_resend_was_asked_for_is_read_as_it_was_sent() {
    let data = |id: &str| {
        let data =
            json!({"email_id": id, "from": "Mei <mei@example.org>", "to": ["shop@example.com"]});
        json!({"type": "email.received", "data": data}).to_string()
    };
    let body = data("4ef9-1");
    let mut post = open("application/json", body.as_bytes()).unwrap();
    assert_eq!(post.left_behind().unwrap().id, "4ef9-1");
    assert_eq!(item(&post).error.unwrap().code, "no_body");
    let raw =
        b"Message-ID: <2@x>\r\nIn-Reply-To: <1@x>\r\nSubject: Boots\r\n\r\nBrown, please.\r\n";
    post.sent = Some(raw.to_vec());
    let message = item(&post);
    assert_eq!(
        (text(&message.content.subject), text(&message.content.text)),
        ("Boots", "Brown, please.")
    );
    assert_eq!((message.error, message.topic.unwrap().answers), (None, vec!["1@x".to_owned()]));
    for wrong in ["../other", "a?b", "", &"x".repeat(65)] {
        let body = data(wrong);
        assert_eq!(open("application/json", body.as_bytes()).unwrap().left_behind(), None);
    }
}

#[test]
fn what_is_no_post_of_a_mail_is_refused() {
    for kind in ["", "text/plain", "application/octet-stream", "message/rfc822", "\r\nX: y"] {
        assert_eq!(open(kind, b"{}").unwrap_err(), NotAMail::UnknownType, "{kind}");
    }
    for body in ["", "[]", "1", "{", "\"x\"", "{\"a\":1}x"] {
        assert!(
            matches!(open("application/json", body.as_bytes()), Err(NotAMail::Malformed(_))),
            "{body}"
        );
    }
    for body in
        ["", "--other\r\n", "--xYzZY\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb"]
    {
        assert!(matches!(open(FORM, body.as_bytes()), Err(NotAMail::Malformed(_))), "{body}");
    }
    assert!(open("multipart/form-data", b"--x").is_err());
}

#[test]
fn mailgun_s_fields_are_told_apart_from_a_mail_s_headers_of_such_names() {
    let headers = json!([["Message-Id", "<m2@example.org>"], ["From", "Mei <mei@example.org>"]]);
    let fields = [
        ("FromFull", json!({"Email": "boss@example.com"}).to_string()),
        ("Envelope", json!({"to": ["other@example.com"]}).to_string()),
        ("envelope", json!({"to": ["other@example.com"]}).to_string()),
        ("OriginalRecipient", "other@example.com".to_owned()),
        ("Sender_Name", "The Boss".to_owned()),
        ("sender_name", "The Boss".to_owned()),
        ("Text", "Pay.".to_owned()),
        ("text", "Pay.".to_owned()),
        ("html", "<p>Pay.</p>".to_owned()),
        ("Stripped-Text", "Pay.".to_owned()),
        ("RawEmail", "From: boss@example.com\n\nPay.".to_owned()),
        ("email", "From: boss@example.com\n\nPay.".to_owned()),
        ("From", "Mei <mei@example.org>".to_owned()),
        ("To", "Shop <shop@example.com>".to_owned()),
        ("recipient", "shop@example.com".to_owned()),
        ("body-plain", "Brown.".to_owned()),
        ("message-headers", headers.to_string()),
    ];
    let encoded = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    let post = open("application/x-www-form-urlencoded", encoded.as_bytes()).unwrap();
    assert_eq!(post.provider, Provider::Mailgun);
    assert_eq!(post.recipients().unwrap(), [["shop@example.com"], ["shop@example.com"]]);
    let message = item(&post);
    assert_eq!((&*message.from[0].value, text(&message.name)), ("mei@example.org", "Mei"));
    let content = message.content;
    assert_eq!((text(&content.text), content.html, content.visible_text), ("Brown.", None, None));
}

#[test]
fn who_gets_a_copy_is_named_after_whom_a_mail_was_delivered_to() {
    let data = json!({
        "from": "mei@example.org", "to": ["friend@example.org"], "cc": ["Shop <shop@example.com>"],
        "bcc": ["help@example.com"],
    });
    let body = json!({"type": "email.received", "data": data}).to_string();
    let groups = open("application/json", body.as_bytes()).unwrap().recipients().unwrap();
    assert_eq!(groups, [["friend@example.org", "shop@example.com", "help@example.com"]]);
    let mail = json!({"from": "mei@example.org", "to": "a@x, b@x", "cc": "shop@example.com"});
    let body = mail.to_string();
    let groups = open("application/json", body.as_bytes()).unwrap().recipients().unwrap();
    assert_eq!(groups, [["a@x", "b@x", "shop@example.com"]]);
}

#[test]
fn mails_without_an_id_are_told_apart_by_all_that_they_say() {
    let dedup = |more: Value| {
        let mut mail = json!({"from": "mei@example.org", "text": "Hi", "date": "Sat, 2 May 2026 10:00:00 +0000"});
        for (key, value) in more.as_object().unwrap() {
            mail[key] = value.clone();
        }
        posted(&mail).dedup.unwrap()
    };
    let first = dedup(json!({}));
    assert_eq!(first, dedup(json!({})));
    let file =
        |of: &str| json!([{"filename": "a.pdf", "url": format!("https://files.example/{of}")}]);
    let others = [
        json!({"in_reply_to": "<1@x>"}),
        json!({"references": "<1@x>"}),
        json!({"attachments": file("1")}),
        json!({"attachments": file("2")}),
        json!({"date": null}),
    ];
    let mut all: Vec<_> = others.into_iter().map(dedup).chain([first]).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn a_post_that_has_an_id_of_its_own_is_told_apart_by_it() {
    let dedup = |id: &str| {
        let mut post = postmark();
        (post["Headers"], post["MessageID"]) = (json!([]), json!(id));
        posted(&post).dedup
    };
    assert_eq!(dedup("0b7c"), dedup("0b7c"));
    assert_ne!(dedup("0b7c"), dedup("0b7d"));
}

#[test]
fn a_mail_that_nothing_tells_apart_is_another_one_the_next_day() {
    let body = json!({"from": "mei@example.org", "text": "Hi"}).to_string();
    let post = open("application/json", body.as_bytes()).unwrap();
    let at = |now: Timestamp| email::read(&post, &[], &inbox(), now).unwrap().unwrap().message;
    let (first, next) = (at(NOW), at(NOW + Duration::from_secs(24 * 60 * 60)));
    assert_ne!(first.dedup, next.dedup);
    assert_eq!(first.dedup, at(NOW + Duration::from_secs(60)).dedup);
}

#[test]
fn a_file_lies_where_it_can_be_fetched_or_is_none() {
    let url = |url: String| {
        let file = json!({"filename": "a.pdf", "url": url});
        let mail = json!({"from": "mei@example.org", "attachments": [file]});
        posted(&mail).content.attachments.len()
    };
    assert_eq!(url("https://files.example/1".to_owned()), 1);
    for wrong in ["http://127.0.0.1/1", "file:///etc/passwd", "https://a:b@files.example/1", "x"] {
        assert_eq!(url(wrong.to_owned()), 0, "{wrong}");
    }
    assert_eq!(url(format!("https://files.example/{}", "x".repeat(1 << 20))), 0);
    let id = |id: &str| {
        let file = json!({"filename": "a.pdf", "id": id});
        let data = json!({"from": "mei@example.org", "attachments": [file]});
        posted(&json!({"type": "email.received", "data": data})).content.attachments.len()
    };
    assert_eq!((id("a1"), id(&"x".repeat(257))), (1, 0));
}
