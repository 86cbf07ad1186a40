//! Mails of ours: what others read of them, and what may not come in.

use engine::channel::email::{
    BadAddress, Enclosure, Letter, Paper, answering, compose, reply_address,
};
use engine::channel::{Channel, InboundMessage, Opaque};
use engine::id::{ConversationId, ThreadId};
use engine::message::{Content, Place};
use engine::resource::Invalid;
use engine::saying::{Asked, Mail, NewMessage, Saying};
use engine::time::Timestamp;
use mail_parser::{Message, MessageParser, MimeHeaders};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::read;

const AT: Timestamp = Timestamp(1_789_999_000_000);

fn text(text: &str) -> Mail {
    Mail { subject: Some("Re: Boots".into()), text: Some(text.into()), ..Mail::default() }
}

fn opaque() -> Opaque {
    Opaque {
        thread: ThreadId(Uuid::from_u128(1)),
        conversation: ConversationId(Uuid::from_u128(2)),
        place: Place { block: 0, ordinal: 3 },
        reaction: None,
    }
}

/// The mail, to one customer, that answers these.
fn mailed(mail: &Mail, references: &[&str], files: Vec<Enclosure>) -> Letter {
    let references: Vec<_> = references.iter().map(|id| (*id).to_owned()).collect();
    let to = ["mei@example.org".to_owned()];
    compose(&Paper { references: &references, ..paper(mail, &to) }, files).unwrap()
}

fn paper<'a>(mail: &'a Mail, to: &'a [String]) -> Paper<'a> {
    Paper {
        from: "shop@example.com",
        name: Some("The Shop"),
        to,
        copies: &[],
        reply_to: reply_address(b"a key", "shop@example.com", opaque().thread),
        id: opaque().mail_id("example.com"),
        references: &[],
        at: AT,
        is_automatic: false,
        mail,
    }
}

fn parsed(letter: &Letter) -> Message<'_> {
    MessageParser::new().parse(&letter.raw).unwrap()
}

/// As another desk would take it.
fn taken(letter: &Letter) -> InboundMessage {
    read(&letter.raw)
}

/// The block of headers.
fn head(letter: &Letter) -> String {
    let raw = String::from_utf8(letter.raw.clone()).unwrap();
    raw.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ")
}

#[test]
fn an_answer_names_what_it_answers_and_where_its_own_answers_go() {
    let mail = text("Yes.\nIn stock.");
    let letter = mailed(&mail, &["1@x", "2@x"], Vec::new());
    let message = parsed(&letter);
    assert_eq!(message.message_id(), Some(letter.id.as_str()));
    assert_eq!(Opaque::of_mail(&letter.id), Some(opaque()));
    assert_eq!(message.in_reply_to().as_text(), Some("2@x"));
    assert_eq!(message.references().as_text_list().unwrap(), ["1@x", "2@x"]);
    assert_eq!(message.subject(), Some("Re: Boots"));
    assert_eq!(message.from().unwrap().first().unwrap().name(), Some("The Shop"));
    let reply_to = message.reply_to().unwrap().first().unwrap().address().unwrap();
    assert!(reply_to.starts_with("shop+c."), "{reply_to}");
    assert_eq!(message.date().unwrap().to_timestamp(), AT.0 / 1000);
    assert_eq!(message.body_text(0).unwrap().trim_end(), "Yes.\r\nIn stock.");
    let message = taken(&letter);
    assert!(!head(&letter).contains("Auto-Submitted"), "a person wrote it");
    assert_eq!(message.content.text.as_deref(), Some("Yes.\nIn stock."));
    assert_eq!(message.topic.unwrap().answers, ["2@x", "1@x"]);
    assert_eq!(message.provider_id.as_deref(), Some(letter.id.as_str()));
}

#[test]
fn the_same_message_is_the_same_mail_byte_for_byte() {
    let mail = Mail { html: Some("<p>Hi</p>".into()), ..text("Hi") };
    let file = || vec![Enclosure { name: None, mime_type: "image/png".into(), bytes: vec![1; 9] }];
    assert_eq!(mailed(&mail, &["1@x"], file()), mailed(&mail, &["1@x"], file()));
}

#[test]
fn texts_pages_and_files_of_any_script_arrive_whole() {
    let words = "Gr\u{fc}\u{df}e, \u{4f60}\u{597d} \u{1f97e}\n.\n..\nFrom me\n--=_not a boundary\n";
    let long = "x".repeat(3_000);
    let mail = Mail {
        subject: Some("Re: \u{4f60}\u{597d}, \u{fc}ber Stiefel".into()),
        html: Some(format!("<p>Gr\u{fc}\u{df}e {long}</p>")),
        ..text(words)
    };
    let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let files = vec![
        Enclosure {
            name: Some("M\u{fc}ll \"1\".pdf".into()),
            mime_type: "application/pdf".into(),
            bytes: bytes.clone(),
        },
        Enclosure { name: None, mime_type: "no type".into(), bytes: Vec::new() },
    ];
    let letter = mailed(&mail, &[], files);
    assert!(letter.raw.is_ascii());
    assert!(letter.raw.split(|b| *b == b'\n').all(|line| line.len() <= 998), "a line is too long");
    let message = parsed(&letter);
    assert_eq!(message.subject(), mail.subject.as_deref());
    assert_eq!(message.body_text(0).unwrap().replace("\r\n", "\n").trim_end(), words.trim_end());
    assert!(message.body_html(0).unwrap().contains(&long));
    let [pdf, other] = &message.attachments().collect::<Vec<_>>()[..] else { panic!("two") };
    assert_eq!(pdf.attachment_name(), Some("M\u{fc}ll \"1\".pdf"));
    assert_eq!(pdf.contents(), bytes);
    assert_eq!(other.attachment_name(), Some("file"));
    let Content { text, attachments, html, .. } = taken(&letter).content;
    assert_eq!(text.as_deref(), Some(words.trim_end()));
    assert!(html.unwrap().contains("Gr\u{fc}\u{df}e"));
    assert_eq!(attachments[0].size, Some(10_000));
    assert_eq!(attachments[0].filename.as_deref(), Some("M\u{fc}ll \"1\".pdf"));
}

#[test]
fn nothing_that_is_written_becomes_a_header() {
    let evil = "x\r\nBcc: evil@example.net\r\n\r\nbody";
    let mail = Mail { subject: Some(evil.into()), ..text("Hi") };
    let to = ["mei@example.org".to_owned()];
    let references = ["1@x>\r\nBcc: evil@example.net".to_owned(), "2@x".to_owned()];
    let paper = Paper { name: Some(evil), references: &references, ..paper(&mail, &to) };
    let file = Enclosure { name: Some(evil.into()), mime_type: evil.into(), bytes: vec![1] };
    let letter = compose(&paper, vec![file]).unwrap();
    for line in String::from_utf8(letter.raw.clone()).unwrap().split("\r\n") {
        assert!(!line.to_ascii_lowercase().starts_with("bcc:"), "{line}");
    }
    let message = parsed(&letter);
    assert!(message.bcc().is_none());
    assert_eq!(message.references().as_text(), Some("2@x"));
    assert_eq!(letter.to, ["mei@example.org"]);
}

#[test]
fn what_is_no_address_is_not_written_to() {
    let mail = text("Hi");
    for wrong in ["mei", "mei@example.org\r\nBcc: a@b", "mei@exa mple.org", "a@b@c", ""] {
        let to = [wrong.to_owned()];
        let refused = compose(&paper(&mail, &to), Vec::new()).unwrap_err();
        assert!(matches!(&refused, BadAddress(said) if !said.contains('\n')), "{refused}");
    }
}

#[test]
fn an_inbox_with_a_long_name_writes_mails_whose_answers_go_to_itself() {
    let (mail, to) = (text("Hi"), ["mei@example.org".to_owned()]);
    for bytes in [22, 23, 64] {
        let from = format!("{}@example.com", "s".repeat(bytes));
        let reply_to = reply_address(b"a key", &from, opaque().thread);
        assert_eq!(reply_to.is_some(), bytes == 22, "no name is longer than 64 bytes");
        let letter = compose(&Paper { from: &from, reply_to, ..paper(&mail, &to) }, Vec::new());
        assert_eq!(head(&letter.unwrap()).contains("Reply-To:"), bytes == 22);
    }
}

#[test]
fn an_inbox_is_not_connected_by_a_name_that_no_mail_can_have() {
    let of = |bytes| {
        let address = format!("{}@example.com", "s".repeat(bytes));
        let config = [("address".to_owned(), Value::from(address))].into();
        Channel::Email.setup().unwrap().account_key(&config)
    };
    assert!(of(64).is_ok());
    assert!(of(65).is_err());
}

#[test]
fn what_a_program_writes_says_so_and_is_read_so() {
    let (mail, to) = (text("Hi"), ["mei@example.org".to_owned()]);
    let answered = ["1@x".to_owned()];
    let of = |references| Paper { is_automatic: true, references, ..paper(&mail, &to) };
    let letter = compose(&of(&answered), Vec::new()).unwrap();
    assert!(head(&letter).contains("Auto-Submitted: auto-replied"), "{}", head(&letter));
    assert!(taken(&letter).automatic);
    let letter = compose(&of(&[]), Vec::new()).unwrap();
    assert!(head(&letter).contains("Auto-Submitted: auto-generated"));
}

#[test]
fn an_answer_has_the_subject_of_what_it_answers_once() {
    assert_eq!(answering(Some("Boots")), "Re: Boots");
    assert_eq!(answering(Some("RE: Boots")), "RE: Boots");
    assert_eq!(answering(Some("a\r\nBcc: b")), "Re: a  Bcc: b");
    assert_eq!(answering(None), "Re: your message");
    assert_eq!(answering(Some("x".repeat(2_000).as_str())).chars().count(), 500);
}

/// What is asked for, as it would be sent by mail.
fn asked(body: Value) -> Result<Mail, Invalid> {
    let body: NewMessage = serde_json::from_value(body).unwrap();
    let Asked::Message { mut saying, .. } = body.asked(Channel::Email, &[])? else { panic!() };
    Channel::Email.check(&mut saying)?;
    let shown = Content { subject: Some("Re: x".into()), ..saying.shown() };
    let (Saying::Mail(mail), Some(Saying::Mail(again))) = (saying, Saying::of(&shown)) else {
        panic!("a mail")
    };
    assert_eq!((&mail.text, &mail.html, &mail.files), (&again.text, &again.html, &again.files));
    Ok(mail)
}

#[test]
fn a_mail_is_one_message_of_words_pages_and_files() {
    let mail = asked(json!({
        "text": "Hi", "html": "<p onclick=\"x()\">Hi</p><script>x()</script>", "subject": "Boots",
        "attachments": [
            {"kind": "document", "url": "https://files.example.com/a.pdf", "filename": "/tmp/a.pdf"},
            {"kind": "image", "url": "https://files.example.com/b.png"},
        ],
    }));
    let mail = mail.unwrap();
    assert_eq!(mail.html.as_deref(), Some("<p>Hi</p>"));
    assert_eq!(mail.files.len(), 2);
    assert_eq!(mail.files[0].filename.as_deref(), Some("a.pdf"));
    let page = asked(json!({"html": "<p>One</p><p>Two</p>"})).unwrap();
    assert!(page.text.unwrap().contains("One"), "a page is sent with its words beside it");
}

#[test]
fn what_is_no_mail_is_refused_by_its_field() {
    let file = |more: Value| {
        let mut file = json!({"kind": "document", "url": "https://files.example.com/a.pdf"});
        for (key, value) in more.as_object().unwrap() {
            file[key] = value.clone();
        }
        file
    };
    let many: Vec<_> = (0..21).map(|_| file(json!({}))).collect();
    for (body, field) in [
        (json!({}), "text"),
        (json!({"subject": "Boots"}), "text"),
        (json!({"text": " "}), "text"),
        (json!({"text": "x".repeat(65_537)}), "text"),
        (json!({"text": "Hi", "subject": "a\r\nBcc: b@example.org"}), "subject"),
        (json!({"text": "Hi", "subject": "a\nb"}), "subject"),
        (json!({"text": "Hi", "subject": "x".repeat(256)}), "subject"),
        (json!({"html": "<script>x()</script>"}), "html"),
        (json!({"html": format!("<p>{}</p>", "x".repeat(262_144))}), "html"),
        (json!({"attachments": many}), "attachments"),
        (json!({"attachments": [file(json!({"caption": "a"}))]}), "attachments[0].caption"),
        (json!({"attachments": [file(json!({"filename": ".."}))]}), "attachments[0].filename"),
        (
            json!({"attachments": [{"kind": "image", "url": "http://10.0.0.1/a"}]}),
            "attachments[0].url",
        ),
        (
            json!({"attachments": [{"kind": "image", "media_id": Uuid::from_u128(1)}]}),
            "attachments[0].media_id",
        ),
        (json!({"attachments": [{"kind": "image"}]}), "attachments[0].url"),
        (json!({"text": "Hi", "kind": "location"}), "kind"),
        (json!({"text": "Hi", "kind": "image"}), "kind"),
        (json!({"location": {"latitude": 1.0, "longitude": 1.0}}), "location"),
        (json!({"template": {"name": "a", "language": "en"}}), "template"),
        (json!({"reaction": {"message_id": Uuid::from_u128(1), "emoji": "x"}}), "reaction"),
    ] {
        let wrong = asked(body.clone()).unwrap_err();
        assert_eq!(wrong.details[0].field, field, "{body}");
    }
}
