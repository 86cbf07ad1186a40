//! Who may edit and delete a message: its author, whoever else is in the same conversation, and
//! whatever comes first.

use engine::channel::{Amend, Amender, Author};
use engine::conversation::{Answer, Command, Envelope};
use engine::id::ContactId;
use engine::message::{Content, Message, MessageRow};
use uuid::Uuid;

use crate::desk::{Desk, amended, received};

const X: u128 = 0xA;
const Y: u128 = 0xB;

fn author(contact: u128) -> Author {
    let contact = Some(ContactId(Uuid::from_u128(contact)));
    Author { handles: Vec::new(), name: None, contact }
}

/// One of a group writes.
fn writes(contact: u128, id: &str, text: &str) -> Envelope {
    let mut envelope = received(id, text);
    if let Command::Receive(message) = &mut envelope.command {
        message.author = Some(author(contact));
    }
    envelope
}

fn amends(contact: u128, id: &str, at: i64, what: Amend) -> Envelope {
    amended(id, "m1", at, Amender::Author(author(contact)), what)
}

fn edit(text: &str) -> Amend {
    Amend::Edit(Content::text(text))
}

fn message(desk: &Desk) -> &Message {
    let of_it = |row: &&MessageRow| row.message.provider_message_id.as_deref() == Some("m1");
    &desk.rows.values().find(of_it).unwrap().message
}

fn foreign(answer: &Answer) -> (bool, u32) {
    (answer.changed, answer.foreign)
}

#[test]
fn nobody_else_edits_or_deletes_a_customers_message_and_each_reaction_is_of_who_reacted() {
    let mut desk = Desk::new();
    desk.receive("m1", "hers");
    let before = desk.log.len();
    assert_eq!(foreign(&desk.run(amends(Y, "e1", 1, edit("forged"))).unwrap()), (false, 1));
    assert_eq!(foreign(&desk.run(amends(Y, "d1", 2, Amend::Deletion)).unwrap()), (false, 1));
    assert_eq!((desk.log.len(), desk.contents.len()), (before, 0), "no fact, and nothing kept");
    desk.run(amended("r1", "m1", 3, Amender::Customer, Amend::Reaction(Some("👍".into()))))
        .unwrap();
    desk.run(amends(Y, "r2", 4, Amend::Reaction(Some("🎉".into())))).unwrap();
    let reactions = &message(&desk).reactions;
    let ids: Vec<_> = reactions.iter().map(|of| (of.emoji.as_str(), of.sender.id)).collect();
    let (hers, theirs) = (desk.thread.contact.0, Uuid::from_u128(Y));
    assert_eq!(ids, [("👍", Some(hers)), ("🎉", Some(theirs))]);
    assert_eq!(message(&desk).text.as_deref(), Some("hers"));
    let nobody = Author { contact: None, ..author(Y) };
    let nobody = amended("d2", "m1", 5, Amender::Author(nobody), Amend::Deletion);
    assert_eq!(foreign(&desk.run(nobody).unwrap()), (false, 1), "a stranger");
}

#[test]
fn one_of_a_group_changes_what_they_wrote_alone_whatever_comes_first() {
    let steps = || {
        vec![
            writes(X, "m1", "one"),
            amends(X, "e1", 10, edit("two")),
            amends(Y, "e2", 20, edit("forged")),
            amends(Y, "d1", 30, Amend::Deletion),
            amended("e3", "m1", 40, Amender::Customer, edit("forged")),
        ]
    };
    for first in 0..steps().len() {
        for joined in [false, true] {
            let mut desk = Desk::new();
            desk.run(writes(Y, "m0", "hello")).unwrap();
            let mut order = steps();
            order.rotate_left(first);
            let answers = match joined {
                true => desk.batch(order),
                false => order.into_iter().map(|step| desk.run(step)).collect(),
            };
            let counted: u32 = answers.into_iter().map(|answer| answer.unwrap().foreign).sum();
            assert_eq!(counted, 3, "from {first}");
            assert_eq!(message(&desk).text.as_deref(), Some("two"), "from {first}");
            assert_eq!(message(&desk).deleted_at, None);
            assert_eq!(desk.contents.len(), 1, "what did not count is not kept");
            assert_eq!(&desk.replayed(desk.case().id), desk.case());
        }
    }
}

#[test]
fn who_was_merged_since_is_the_author_still() {
    let (old, new) = (ContactId(Uuid::from_u128(X)), ContactId(Uuid::from_u128(Y)));
    for early in [false, true] {
        let mut desk = Desk::new();
        desk.receive("m0", "hello");
        for one in [old, new] {
            desk.persons.insert(one, vec![old, new]);
        }
        let mut steps = vec![writes(X, "m1", "one"), amends(Y, "e1", 10, edit("two"))];
        if early {
            steps.reverse();
        }
        steps.into_iter().for_each(|step| drop(desk.run(step).unwrap()));
        assert_eq!(message(&desk).text.as_deref(), Some("two"), "early: {early}");
        desk.run(amends(X, "r1", 11, Amend::Reaction(Some("👍".into())))).unwrap();
        desk.run(amends(Y, "r2", 12, Amend::Reaction(Some("🎉".into())))).unwrap();
        assert_eq!(message(&desk).reactions.len(), 1, "one person has one reaction");
        desk.run(amends(Y, "d1", 20, Amend::Deletion)).unwrap();
        assert!(message(&desk).deleted_at.is_some());
    }
}
