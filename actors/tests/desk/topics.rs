//! Mails: one customer has several threads, several people write in one, and each mail is there
//! once, whichever comes first.

use engine::account::Account;
use engine::channel::{Channel, Handle, Inbound, InboundMessage, Opaque, Outcome, Receipt, Topic};
use engine::contact::{IdentityKind, THREADS_MAX};
use engine::conversation::{Command, Conversation, Effect, Target};
use engine::id::{AccountId, ThreadId};
use engine::message::{Content, MessageError, MessageRow, MessageStatus, Place, SenderKind};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::bench::{Bench, account, admin};
use crate::sends::draft;

fn inbox() -> Account {
    Account { channel: Channel::Email, ..account() }
}

fn mailbox(name: &str) -> Handle {
    Handle { kind: IdentityKind::Email, value: format!("{name}@example.org") }
}

/// A mail that answers these, the likeliest first, the first of its thread last.
pub(crate) fn mail(from: &str, id: &str, answers: &[&str]) -> InboundMessage {
    let topic = Topic {
        own: id.into(),
        answers: answers.iter().map(|id| (*id).to_owned()).collect(),
        thread: None,
        first: answers.last().unwrap_or(&id).to_string(),
    };
    InboundMessage {
        from: vec![mailbox(from)],
        name: Some(from.to_owned()),
        provider_id: Some(id.into()),
        content: Content::text(id),
        topic: Some(topic),
        ..InboundMessage::default()
    }
}

async fn comes(bench: &Bench, mail: InboundMessage) {
    bench.desk.ingest(&inbox(), vec![Inbound::Message(Box::new(mail))]).await.unwrap();
}

/// All open conversations, each with what was said, in the order of what was said first.
async fn threads(bench: &Bench) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for head in bench.open().await {
        all.push(bench.texts(head.id).await);
    }
    all.sort();
    all
}

async fn rows(bench: &Bench, head: &Conversation) -> Vec<MessageRow> {
    bench.desk.messages(admin(), head.id, (u64::MAX, 0), 50).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_matter_of_a_customer_is_a_thread_and_all_are_one_contact() {
    let bench = Bench::new().await;
    for mail in [
        mail("mei", "m1", &[]),
        mail("mei", "n1", &[]),
        mail("mei", "m2", &["m1"]),
        mail("mei", "n2", &["gone", "n1"]),
    ] {
        comes(&bench, mail).await;
    }
    assert_eq!(threads(&bench).await, [vec!["m1", "m2"], vec!["n1", "n2"]]);
    let [contact] = &bench.contacts().await[..] else { panic!("one contact") };
    assert_eq!((contact.threads.len(), contact.identities.len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_customer_s_thread_is_one_in_whichever_order_its_mails_come() {
    let mails =
        || [mail("mei", "m1", &[]), mail("mei", "m2", &["m1"]), mail("mei", "m3", &["m2", "m1"])];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let bench = Bench::new().await;
        for at in order {
            comes(&bench, mails()[at].clone()).await;
        }
        assert_eq!(threads(&bench).await.len(), 1, "{order:?}");
        let bench = Bench::new().await;
        join_all(order.map(|at| comes(&bench, mails()[at].clone()))).await;
        assert_eq!(threads(&bench).await[0].len(), 3, "{order:?} at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_comes_again_changes_nothing_also_when_what_it_answers_came_meanwhile() {
    let mut bench = Bench::new().await;
    comes(&bench, mail("mei", "m1", &[])).await;
    join_all((0..5).map(|_| comes(&bench, mail("mei", "m2", &["m1"])))).await;
    // Nobody knows yet what it answers; then somebody else's thread does.
    comes(&bench, mail("ana", "a2", &["x1"])).await;
    comes(&bench, mail("bo", "x1", &[])).await;
    bench.restart().await;
    for again in [mail("ana", "a2", &["x1"]), mail("mei", "m2", &["m1"]), mail("bo", "x1", &[])] {
        comes(&bench, again).await;
    }
    assert_eq!(threads(&bench).await, [vec!["a2"], vec!["m1", "m2"], vec!["x1"]]);
}

#[tokio::test(start_paused = true)]
async fn others_who_answer_write_in_the_thread_and_it_stays_its_contact_s() {
    let bench = Bench::new().await;
    comes(&bench, mail("mei", "m1", &[])).await;
    let before = bench.open().await[0].clone();
    comes(&bench, mail("bo", "b1", &["m1"])).await;
    comes(&bench, mail("mei", "m2", &["b1", "m1"])).await;
    // What they began elsewhere is theirs.
    comes(&bench, mail("bo", "b2", &["newsletter"])).await;
    comes(&bench, mail("mei", "m3", &["newsletter"])).await;
    assert_eq!(threads(&bench).await, [vec!["b2"], vec!["m1", "b1", "m2"], vec!["m3"]]);
    let open = bench.open().await;
    let head = open.iter().find(|head| head.id == before.id).unwrap();
    assert_eq!((head.contact, head.contact_name.as_deref()), (before.contact, Some("mei")));
    let senders: Vec<_> =
        rows(&bench, head).await.into_iter().rev().map(|row| row.message.sender).collect();
    let names: Vec<_> = senders.iter().map(|sender| sender.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["mei", "bo", "mei"]);
    assert!(senders.iter().all(|sender| sender.kind == SenderKind::Contact));
    assert_eq!(senders[0].id, senders[2].id);
    let contacts = bench.contacts().await;
    assert!(contacts.iter().any(|contact| senders[1].id == Some(contact.id.0)));
    assert_eq!(contacts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_we_signed_finds_its_thread_and_other_accounts_none() {
    let bench = Bench::new().await;
    comes(&bench, mail("mei", "m1", &[])).await;
    let thread = bench.open().await[0].thread;
    let to = |mut mail: InboundMessage, thread: ThreadId| {
        mail.topic.as_mut().unwrap().thread = Some(thread);
        mail
    };
    comes(&bench, to(mail("mei", "m2", &[]), thread)).await;
    comes(&bench, to(mail("mei", "m3", &["unknown"]), thread)).await;
    comes(&bench, to(mail("mei", "m4", &[]), ThreadId(Uuid::from_u128(5)))).await;
    assert_eq!(threads(&bench).await, [vec!["m1", "m2", "m3"], vec!["m4"]]);
    let other = Account { id: AccountId(Uuid::from_u128(77)), ..inbox() };
    for mail in [to(mail("mei", "m5", &["m1"]), thread), mail("mei", "m1", &[])] {
        bench.desk.ingest(&other, vec![Inbound::Message(Box::new(mail))]).await.unwrap();
    }
    assert_eq!(threads(&bench).await.len(), 3, "each inbox has its own");
    assert_eq!(bench.contacts().await.len(), 1);
}

/// A message of ours in the thread of the first mail, sent; answers its opaque id and conversation.
async fn answered(bench: &Bench) -> (Opaque, Conversation) {
    comes(bench, mail("mei", "m1", &[])).await;
    let head = bench.open().await[0].clone();
    bench.desk.ask(admin(), head.id, None, draft("an answer")).await.unwrap();
    let queued = bench.heard.effects.lock().unwrap().clone();
    let (message, place) = queued
        .iter()
        .find_map(|(_, _, effect)| match effect {
            Effect::Enqueue { message, place, .. } => Some((*message, *place)),
            _ => None,
        })
        .unwrap();
    let opaque = Opaque { thread: head.thread, conversation: head.id, place, reaction: None };
    let target = Target::Conversation(head.id);
    let tell = async |command| {
        bench.desk.tell(head.thread, target, command).await.unwrap();
    };
    tell(Command::BeginSend { message, place }).await;
    let outcome = Outcome::Sent { provider_id: opaque.mail_id("example.com"), held: None };
    tell(Command::EndSend { message, place, attempt: 1, outcome }).await;
    (opaque, head)
}

fn bounce(id: &str, n: usize) -> InboundMessage {
    let error = MessageError { code: "5.1.1".into(), message: "no such user".into() };
    let receipt = Receipt {
        provider_id: id.to_owned(),
        opaque: Opaque::of_mail(id),
        status: MessageStatus::Failed,
        at: None,
        recipient: vec![mailbox("mei")],
        error: Some(error),
    };
    let automatic = InboundMessage {
        automatic: true,
        bounce: Some(receipt),
        ..mail("mailer-daemon", &format!("d{n}"), &[])
    };
    InboundMessage { content: Content::text("it did not arrive"), ..automatic }
}

#[tokio::test(start_paused = true)]
async fn a_bounce_marks_its_message_failed_and_one_of_nothing_of_ours_is_shown() {
    let bench = Bench::new().await;
    let (opaque, head) = answered(&bench).await;
    for n in 0..2 {
        comes(&bench, bounce(&opaque.mail_id("example.com"), n)).await;
    }
    let newest = rows(&bench, &head).await.remove(0).message;
    assert_eq!(
        (newest.status, newest.error.unwrap().code),
        (MessageStatus::Failed, "5.1.1".into())
    );
    assert_eq!(bench.open().await.len(), 1, "the bounce is no message");
    comes(&bench, bounce("nobody-s@example.com", 2)).await;
    let open = bench.open().await;
    let shown = open.iter().find(|other| other.id != head.id).unwrap();
    assert!(rows(&bench, shown).await[0].message.automatic);
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_says_that_a_customer_s_own_mail_came_back_is_a_mail() {
    let bench = Bench::new().await;
    let (opaque, _) = answered(&bench).await;
    let own = Opaque { place: Place { block: 0, ordinal: 0 }, ..opaque };
    comes(&bench, bounce("m1", 0)).await;
    comes(&bench, bounce(&own.mail_id("example.com"), 1)).await;
    let told = "it did not arrive";
    assert_eq!(threads(&bench).await, [vec![told], vec![told], vec!["m1", "an answer"]]);
    for head in bench.open().await {
        assert!(rows(&bench, &head).await.iter().all(|row| row.message.error.is_none()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_answers_a_message_of_ours_is_of_its_thread_by_its_id_alone() {
    let bench = Bench::new().await;
    let (opaque, _) = answered(&bench).await;
    let id = opaque.mail_id("example.com");
    comes(&bench, mail("mei", "m2", &[&id])).await;
    let forged = Opaque { thread: ThreadId(Uuid::from_u128(9)), ..opaque }.mail_id("example.com");
    comes(&bench, mail("mei", "m3", &[&forged])).await;
    assert_eq!(threads(&bench).await, [vec!["m1", "an answer", "m2"], vec!["m3"]]);
}

#[tokio::test(start_paused = true)]
async fn a_contact_knows_its_newest_threads_and_older_ones_go_on() {
    let bench = Bench::new().await;
    for n in 0..THREADS_MAX + 3 {
        comes(&bench, mail("mei", &format!("m{n}"), &[])).await;
    }
    comes(&bench, mail("mei", "more", &["m0"])).await;
    assert_eq!(bench.contacts().await[0].threads.len(), THREADS_MAX);
    let all = threads(&bench).await;
    assert_eq!(all.len(), THREADS_MAX + 3);
    assert!(all.contains(&vec!["m0".to_owned(), "more".to_owned()]));
}
