//! History: cases of its own, that nobody is told of, and that know what is there already.

use engine::channel::{Amend, Amender, Handle, Import, Imported};
use engine::contact::IdentityKind;
use engine::conversation::{Answer, Command, Conversation, Target};
use engine::fact::ConversationStatus;
use engine::message::{Content, Direction, MessageKind, MessageRow, MessageStatus};
use engine::time::Timestamp;

use crate::desk::{Desk, amended, received, system};

fn past(id: &str, at: i64, text: &str) -> Imported {
    Imported {
        provider_id: id.into(),
        sent_at: Some(Timestamp::from_secs(1_780_000_000 + at)),
        is_ours: id.starts_with('p'),
        author: None,
        status: MessageStatus::Read,
        content: Content::text(text),
        reply_to: None,
        forwarded: false,
    }
}

fn import(desk: &mut Desk, phase: Option<u8>, messages: Vec<Imported>) -> Answer {
    let customer = vec![Handle { kind: IdentityKind::Phone, value: "15550001".into() }];
    let import = Import { customer, phase, messages };
    desk.run(system(Target::Current, Command::Import(import))).unwrap()
}

fn case(desk: &Desk, phase: u8) -> &Conversation {
    let cases = &desk.thread.history.as_ref().unwrap().cases;
    &desk.heads[&cases.iter().find(|(of, _)| *of == phase).unwrap().1]
}

fn of<'a>(desk: &'a Desk, case: &Conversation) -> Vec<&'a MessageRow> {
    desk.rows.values().filter(|row| row.message.conversation_id == case.id).collect()
}

#[test]
fn each_phase_is_a_closed_case_with_its_own_times_and_the_current_one_does_not_know_of_it() {
    let mut desk = Desk::new();
    desk.receive("m1", "today");
    let before = desk.case().clone();
    import(&mut desk, Some(0), vec![past("h1", 500, "open?"), past("p1", 600, "yes")]);
    import(&mut desk, Some(1), vec![past("h0", 100, "long ago")]);
    import(&mut desk, Some(0), vec![past("h2", 700, "thanks")]);
    assert_eq!(*desk.case(), before);
    assert!(desk.effects.is_empty());
    let (newer, older) = (case(&desk, 0), case(&desk, 1));
    assert_eq!((newer.status, newer.unread, newer.messages), (ConversationStatus::Resolved, 0, 3));
    assert_eq!(newer.created_at, Timestamp::from_secs(1_780_000_500));
    assert_eq!(newer.last_message_at, Timestamp::from_secs(1_780_000_700));
    assert_eq!(newer.last_inbound_at, None, "no window is open");
    assert_eq!(newer.last_message.as_ref().unwrap().text.as_deref(), Some("thanks"));
    assert!(older.last_message_at < newer.created_at);
    let rows = of(&desk, newer);
    let shown: Vec<_> =
        rows.iter().map(|row| (row.message.direction, row.message.status)).collect();
    let theirs = (Direction::Inbound, MessageStatus::Received);
    assert_eq!(shown, [theirs, (Direction::Outbound, MessageStatus::Read), theirs]);
    assert_eq!(rows[0].message.sent_at, Some(Timestamp::from_secs(1_780_000_500)));
    let told = desk.log.iter().filter(|commit| commit.conversation != before.id);
    assert!(told.flat_map(|commit| &commit.facts).all(|recorded| recorded.fact.event().is_none()));
    for id in [newer.id, older.id] {
        let mut replayed = desk.replayed(id);
        replayed.case = 0;
        assert_eq!(replayed, desk.heads[&id]);
    }
}

#[test]
fn what_is_there_already_is_not_imported_and_what_was_imported_is_not_received() {
    let mut desk = Desk::new();
    desk.receive("m1", "today");
    let again = vec![past("m1", 400, "today"), past("h1", 500, "x"), past("h1", 500, "x")];
    assert!(import(&mut desk, Some(0), again.clone()).changed);
    assert!(!import(&mut desk, Some(0), again.clone()).changed);
    desk.crash();
    assert!(!import(&mut desk, Some(1), again).changed);
    assert_eq!(desk.rows.len(), 2);
    let Command::Receive(mut late) = received("h1", "x").command else { unreachable!() };
    late.sent_at = Some(Timestamp::from_secs(1_780_000_500));
    assert!(!desk.run(system(Target::Current, Command::Receive(late))).unwrap().changed);
    assert_eq!((desk.rows.len(), desk.heads.len()), (2, 2));
}

#[test]
fn history_comes_before_the_first_message_and_opens_no_case() {
    let mut desk = Desk::new();
    import(&mut desk, Some(0), vec![past("h1", 500, "x")]);
    assert_eq!((desk.thread.current, desk.thread.case), (None, 0));
    desk.receive("m1", "today");
    assert_eq!((desk.case().case, desk.case().messages), (1, 1));
    import(&mut desk, Some(0), vec![past("h2", 600, "y")]);
    assert_eq!(case(&desk, 0).messages, 2);
    assert_eq!(desk.thread.case, 1);
}

#[test]
fn a_file_takes_the_place_that_was_held_for_it_in_whichever_order_they_come() {
    let image = Content { kind: MessageKind::Image, ..Content::text("the garden") };
    let held = || {
        let raw = Some("{}".to_owned());
        let content = Content { kind: MessageKind::Unsupported, raw, ..Content::default() };
        Imported { content, ..past("p2", 600, "") }
    };
    let file = || Imported { content: image.clone(), ..past("p2", 600, "") };
    for file_first in [false, true] {
        let mut desk = Desk::new();
        let (one, two) = if file_first { (file(), held()) } else { (held(), file()) };
        import(&mut desk, (!file_first).then_some(0), vec![one]);
        import(&mut desk, file_first.then_some(0), vec![two]);
        assert!(!import(&mut desk, None, vec![file()]).changed, "delivered again");
        let rows = of(&desk, case(&desk, 0));
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row.content(), image);
        assert_eq!(case(&desk, 0).last_message.as_ref().unwrap().kind, MessageKind::Image);
        desk.run(amended("d1", "p2", 9, Amender::Business, Amend::Deletion)).unwrap();
        assert!(desk.contents.is_empty());
        assert!(!import(&mut desk, None, vec![file()]).changed, "it does not come back");
        assert!(
            !serde_json::to_string(&(desk.log.clone(), case(&desk, 0))).unwrap().contains("garden")
        );
    }
}
