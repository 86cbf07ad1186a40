//! Mails of ours: what they answer, under which subject, and to whom they go.

use engine::channel::{Author, Channel, Handle, Outcome, Topic};
use engine::contact::IdentityKind;
use engine::conversation::{Command, Draft, Envelope, Refused, Target};
use engine::fact::ConversationStatus;
use engine::id::{ContactId, MessageId};
use engine::message::{Content, MailHead, MessageRow, MessageStatus, SenderKind};
use uuid::Uuid;

use crate::desk::{Desk, HOUR, by_agent, received, said};

fn desk() -> Desk {
    Desk::on(Channel::Email)
}

/// A mail from an address that answers these, the oldest last.
fn comes(from: &str, id: &str, answers: &[&str]) -> Envelope {
    let mut envelope = received(id, id);
    if let Command::Receive(message) = &mut envelope.command {
        message.from = vec![Handle { kind: IdentityKind::Email, value: from.into() }];
        message.content = Content { subject: Some("Boots".into()), ..Content::text(id) };
        message.topic = Some(Topic {
            own: id.into(),
            answers: answers.iter().map(|id| (*id).to_owned()).collect(),
            thread: None,
            first: id.into(),
        });
    }
    envelope
}

/// The same, of somebody who is not the thread's customer.
fn from_another(from: &str, id: &str) -> Envelope {
    let mut envelope = comes(from, id, &["m1"]);
    if let Command::Receive(message) = &mut envelope.command {
        let contact = Some(ContactId(Uuid::from_u128(0xB0)));
        message.author = Some(Author { handles: Vec::new(), name: Some("Bo".into()), contact });
    }
    envelope
}

/// A program answers for somebody.
fn away(id: &str) -> Envelope {
    let mut envelope = comes("mei@example.org", id, &["m1"]);
    if let Command::Receive(message) = &mut envelope.command {
        (message.automatic, message.auto_reply) = (true, true);
    }
    envelope
}

#[test]
fn what_a_program_answers_for_somebody_is_shown_and_is_nobody_s_work() {
    use ConversationStatus::{Expired, Open, Pending, Resolved};
    for (status, hours) in [(Open, 1), (Pending, 1), (Resolved, 1), (Resolved, 48), (Expired, 48)] {
        let mut desk = desk();
        desk.run(comes("mei@example.org", "m1", &[])).unwrap();
        desk.run(by_agent(Target::Current, Command::SetStatus { status })).unwrap();
        let before = desk.case().clone();
        desk.later(hours * HOUR);
        desk.run(away("a1")).unwrap();
        let case = desk.case().clone();
        assert_eq!((case.case, case.status, case.messages), (1, status, 2), "{status:?}");
        assert_eq!((case.unread, &case.unread_at), (before.unread, &before.unread_at));
        assert_eq!(case.closed_at, before.closed_at);
        assert_eq!(case.last_message.as_ref().unwrap().text.as_deref(), Some("a1"));
        assert_eq!(desk.replayed(case.id), case);
        desk.run(comes("mei@example.org", "m2", &["m1"])).unwrap();
        assert_eq!(desk.case().status, Open);
        assert_eq!(desk.case().unread, if desk.case().case == 1 { before.unread + 1 } else { 1 });
    }
    // Where nothing is that it is shown in, somebody has to look.
    let mut desk = desk();
    desk.run(away("a1")).unwrap();
    assert_eq!((desk.case().status, desk.case().unread), (Open, 1));
}

fn draft(more: impl FnOnce(&mut Draft)) -> Envelope {
    let Command::Send(mut draft) = said("Yes") else { unreachable!("it is said") };
    more(&mut draft);
    by_agent(Target::Current, Command::Send(draft))
}

fn answered(desk: &mut Desk, envelope: Envelope) -> MessageRow {
    let message = desk.run(envelope).unwrap().message.unwrap();
    desk.row(message.id).clone()
}

fn of(desk: &Desk, provider_id: &str) -> MessageId {
    let is_it = |row: &&MessageRow| row.message.provider_message_id.as_deref() == Some(provider_id);
    desk.rows.values().find(is_it).unwrap().message.id
}

fn head(address: Option<&str>, references: &[&str]) -> Option<MailHead> {
    let references = references.iter().map(|id| (*id).to_owned()).collect();
    Some(MailHead { address: address.map(str::to_owned), references })
}

#[test]
fn an_answer_is_to_the_newest_mail_and_goes_on_with_its_chain() {
    let mut desk = desk();
    desk.run(comes("mei@example.org", "m1", &[])).unwrap();
    desk.run(comes("mei@work.example.org", "m2", &["m1", "m0"])).unwrap();
    let row = answered(&mut desk, draft(|_| {}));
    assert_eq!(row.message.subject.as_deref(), Some("Re: Boots"));
    assert_eq!(row.message.reply_to.as_deref(), Some("m2"));
    assert_eq!(row.mail, head(Some("mei@work.example.org"), &["m0", "m1", "m2"]));
    assert!(!row.message.automatic);
    // Another answer to the same goes on from there, too.
    let row = answered(&mut desk, draft(|_| {}));
    assert_eq!(row.mail, head(Some("mei@work.example.org"), &["m0", "m1", "m2"]));
}

#[test]
fn an_answer_to_a_certain_mail_is_to_that_one_and_has_a_subject_of_its_own_if_it_says_so() {
    let mut desk = desk();
    desk.run(comes("mei@example.org", "m1", &[])).unwrap();
    desk.run(comes("mei@work.example.org", "m2", &["m1"])).unwrap();
    let first = of(&desk, "m1");
    let row = answered(&mut desk, draft(|draft| draft.reply_to = Some(first)));
    assert_eq!(row.message.reply_to_message_id, Some(first));
    assert_eq!(row.mail, head(Some("mei@example.org"), &["m1"]));
    let mail = engine::saying::Mail {
        subject: Some("Shoes".into()),
        text: Some("Yes".into()),
        ..engine::saying::Mail::default()
    };
    let saying = engine::saying::Saying::Mail(mail);
    let row = answered(&mut desk, draft(|draft| draft.saying = saying));
    assert_eq!(row.message.subject.as_deref(), Some("Shoes"));
}

#[test]
fn somebody_else_who_writes_in_a_thread_is_answered_only_where_they_are_meant() {
    let mut desk = desk();
    desk.run(comes("mei@example.org", "m1", &[])).unwrap();
    desk.run(from_another("bo@example.org", "b1")).unwrap();
    let row = answered(&mut desk, draft(|_| {}));
    assert_eq!(row.mail, head(None, &["m1", "b1"]));
    let theirs = of(&desk, "b1");
    let row = answered(&mut desk, draft(|draft| draft.reply_to = Some(theirs)));
    assert_eq!(row.mail, head(Some("bo@example.org"), &["m1", "b1"]));
}

#[test]
fn a_program_never_answers_a_program_and_says_what_it_is() {
    let mut desk = desk();
    desk.run(comes("mei@example.org", "m1", &[])).unwrap();
    let by_program = || draft(|draft| draft.sender.kind = SenderKind::Automation);
    assert!(answered(&mut desk, by_program()).message.automatic);
    let mut away = comes("mei@example.org", "m2", &["m1"]);
    if let Command::Receive(message) = &mut away.command {
        message.automatic = true;
    }
    desk.run(away).unwrap();
    assert_eq!(desk.run(by_program()).unwrap_err(), Refused::Automatic);
    assert!(desk.run(draft(|_| {})).is_ok(), "people answer whom they like");
}

#[test]
fn an_answer_to_ours_goes_on_with_the_chain_and_bounces_find_ours() {
    let mut desk = desk();
    desk.run(comes("mei@example.org", "m1", &[])).unwrap();
    let sent = desk.begin("Yes");
    let ours = desk.opaque(sent).mail_id("example.com");
    desk.end(sent, Outcome::Sent { provider_id: ours.clone(), held: None });
    desk.run(comes("mei@example.org", "m2", &[&ours, "m1"])).unwrap();
    let row = desk.row(of(&desk, "m2")).clone();
    assert_eq!(row.mail, head(Some("mei@example.org"), &["m1", &ours]));
    assert_eq!(desk.status(sent.0), MessageStatus::Sent);
}
