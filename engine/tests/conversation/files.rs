//! Files that messages carry: named to be fetched, and what became of them, whatever happens to
//! their messages meanwhile.

use std::borrow::Cow;

use engine::channel::{Amend, Amender};
use engine::conversation::{Command, Effect, Envelope, Fetched, Target};
use engine::id::MediaId;
use engine::media::Stored;
use engine::message::{Attachment, Content, MessageKind, MessageRow, Place};
use uuid::Uuid;

use crate::desk::{Desk, amended, error, received, system};

fn file(id: &str) -> Attachment {
    Attachment {
        kind: "image".to_owned(),
        mime_type: Some("image/jpeg".to_owned()),
        provider_media_id: Some(id.to_owned()),
        ..Attachment::default()
    }
}

fn carrying(ids: &[&str]) -> Content {
    let attachments = ids.iter().map(|id| file(id)).collect();
    Content { kind: MessageKind::Image, attachments, ..Content::default() }
}

fn receive(desk: &mut Desk, provider_id: &str, ids: &[&str]) -> Place {
    let Envelope { command: Command::Receive(mut message), .. } = received(provider_id, "") else {
        unreachable!()
    };
    message.content = carrying(ids);
    desk.run(system(Target::Current, Command::Receive(message))).unwrap();
    desk.rows.values().last().unwrap().place
}

fn stored(n: u128) -> Stored {
    let (id, mime_type) = (MediaId(Uuid::from_u128(n)), "image/png".to_owned());
    Stored { id, mime_type, size: 42 }
}

fn came(desk: &mut Desk, place: Place, id: &str, n: Option<u128>) -> bool {
    let outcome = n.map(stored).ok_or_else(error);
    let fetched = Fetched { place, provider_media_id: id.to_owned(), outcome };
    let target = Target::Conversation(desk.case().id);
    desk.run(system(target, Command::Fetched(fetched))).unwrap().changed
}

fn row(desk: &Desk, place: Place) -> &MessageRow {
    &desk.rows[&(desk.case().id, place)]
}

fn awaited(desk: &Desk, place: Place) -> Vec<Cow<'_, str>> {
    row(desk, place).message.wanted().collect()
}

#[test]
fn a_message_with_files_asks_for_them_and_shows_each_as_it_comes_once() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    assert_eq!(desk.effects, []);
    let place = receive(&mut desk, "m2", &["one", "two", "three"]);
    assert_eq!(desk.effects, [Effect::Fetch { place }]);
    assert!(came(&mut desk, place, "two", Some(2)));
    assert!(!came(&mut desk, place, "two", Some(9)), "it is there");
    assert!(came(&mut desk, place, "three", None));
    assert!(!came(&mut desk, place, "three", Some(9)), "it was given up");
    assert!(!came(&mut desk, place, "four", Some(9)), "the message has no such file");
    assert_eq!(awaited(&desk, place), ["one"]);
    let shown = &row(&desk, place).message;
    let two = &shown.attachments[1];
    assert_eq!((two.media_id, two.size), (Some(MediaId(Uuid::from_u128(2))), Some(42)));
    assert_eq!(two.mime_type.as_deref(), Some("image/png"), "as its content says");
    assert_eq!(shown.attachments[2].error, Some(error()));
    assert_eq!(shown.rev, desk.case().seq);
    let case = desk.case().clone();
    assert_eq!((case.unread, case.messages, case.touched), (2, 2, false));
    assert_eq!(desk.replayed(case.id), case);
}

#[test]
fn a_file_that_comes_after_its_message_was_changed_or_deleted_changes_nothing() {
    let mut desk = Desk::new();
    let place = receive(&mut desk, "m1", &["one"]);
    desk.effects.clear();
    let edit = Amend::Edit(carrying(&["other"]));
    desk.run(amended("e1", "m1", 1, Amender::Customer, edit)).unwrap();
    assert_eq!(desk.effects, [Effect::Fetch { place }]);
    assert!(!came(&mut desk, place, "one", Some(1)));
    assert!(came(&mut desk, place, "other", Some(2)));
    desk.effects.clear();
    desk.run(amended("d1", "m1", 2, Amender::Customer, Amend::Deletion)).unwrap();
    assert_eq!(desk.effects, [Effect::LetGo { media: vec![MediaId(Uuid::from_u128(2))] }]);
    assert!(!came(&mut desk, place, "other", Some(3)));
    assert!(row(&desk, place).message.attachments.is_empty());
}

#[test]
fn files_are_awaited_over_a_crash_and_in_an_earlier_case_too() {
    let mut desk = Desk::new();
    let place = receive(&mut desk, "m1", &["one"]);
    desk.crash();
    assert_eq!(awaited(&desk, place), ["one"]);
    let case = desk.case().id;
    let close = Command::SetStatus { status: engine::fact::ConversationStatus::Resolved };
    desk.run(system(Target::Current, close)).unwrap();
    desk.later(48 * crate::desk::HOUR);
    desk.receive("m2", "again");
    assert_ne!(desk.case().id, case);
    let fetched = Fetched { place, provider_media_id: "one".to_owned(), outcome: Ok(stored(1)) };
    let command = system(Target::Conversation(case), Command::Fetched(fetched));
    assert!(desk.run(command).unwrap().changed);
    assert!(desk.rows[&(case, place)].message.attachments[0].media_id.is_some());
}
