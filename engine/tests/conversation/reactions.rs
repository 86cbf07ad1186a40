//! Reactions of the desk: sent in their turn, shown once the provider has taken them.

use engine::channel::{Opaque, Outcome, Slow};
use engine::conversation::{Answer, Command, Effect, Refused, Target};
use engine::id::MessageId;
use engine::message::{MessageStatus, Place};
use uuid::Uuid;

use crate::desk::{Desk, HOUR, error, reacts, receipt, system};

fn react(desk: &mut Desk, message: MessageId, emoji: &str) -> Result<Answer, Refused> {
    desk.run(reacts(message, emoji))
}

/// The customer's message, and where it lies.
fn wrote() -> (Desk, MessageId, Place) {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let row = desk.rows.values().next().unwrap().clone();
    (desk, row.message.id, row.place)
}

/// The reaction that waits first.
fn waits(desk: &Desk) -> MessageId {
    let first = desk.case().pending[0];
    assert!(first.is_reaction);
    first.message
}

fn begin(desk: &mut Desk, reaction: MessageId, place: Place) -> bool {
    desk.effects.clear();
    desk.run(system(Target::Current, Command::BeginSend { message: reaction, place })).unwrap();
    desk.effects.iter().any(|effect| matches!(effect, Effect::Perform { .. }))
}

fn end(desk: &mut Desk, (message, place): (MessageId, Place), attempt: u32, outcome: Outcome) {
    desk.run(system(Target::Current, Command::EndSend { message, place, attempt, outcome }))
        .unwrap();
}

fn taken(provider_id: &str) -> Outcome {
    Outcome::Sent { provider_id: provider_id.into(), held: None }
}

/// What a message shows of reactions.
fn shown(desk: &Desk, message: MessageId) -> Vec<String> {
    let reactions = &desk.row(message).message.reactions;
    reactions.iter().map(|reaction| reaction.emoji.clone()).collect()
}

fn opaque(desk: &Desk, reaction: MessageId, place: Place) -> Option<Opaque> {
    let (thread, conversation) = (desk.thread.id, desk.case().id);
    Some(Opaque { thread, conversation, place, reaction: Some(reaction) })
}

#[test]
fn a_reaction_is_shown_once_the_provider_has_taken_it_and_is_no_message() {
    let (mut desk, message, place) = wrote();
    let answer = react(&mut desk, message, "👍").unwrap();
    assert_eq!(answer.message.unwrap().id, message);
    assert_eq!(shown(&desk, message), [""; 0]);
    let reaction = waits(&desk);
    assert!(begin(&mut desk, reaction, place));
    end(&mut desk, (reaction, place), 1, taken("r1"));
    assert_eq!(shown(&desk, message), ["👍"]);
    assert_eq!((desk.rows.len(), desk.case().messages, desk.case().pending.len()), (1, 1, 0));
    assert_eq!(desk.status(message), MessageStatus::Received);
    // What the provider says of it later is not said of the message.
    for status in [MessageStatus::Sent, MessageStatus::Delivered, MessageStatus::Read] {
        assert!(!desk.run(receipt("r1", status, None)).unwrap().changed);
        let opaque = opaque(&desk, reaction, place);
        assert!(!desk.run(receipt("r1", status, opaque)).unwrap().changed);
    }
    assert_eq!((desk.status(message), desk.case().parked.len()), (MessageStatus::Received, 0));
    // The same again is nothing new, and an empty one takes it back.
    assert!(!react(&mut desk, message, "👍").unwrap().changed);
    react(&mut desk, message, "").unwrap();
    let reaction = waits(&desk);
    assert!(begin(&mut desk, reaction, place));
    end(&mut desk, (reaction, place), 1, taken("r2"));
    assert_eq!(shown(&desk, message), [""; 0]);
    assert_eq!(desk.replayed(desk.case().id), *desk.case());
}

#[test]
fn a_reaction_waits_for_its_turn_and_only_the_newest_is_sent() {
    let (mut desk, message, place) = wrote();
    let first = desk.begin("one");
    react(&mut desk, message, "👍").unwrap();
    react(&mut desk, message, "❤️").unwrap();
    let (old, new) = (desk.case().pending[1].message, desk.case().pending[2].message);
    assert!(!begin(&mut desk, old, place), "the text is under way");
    end(&mut desk, first, 1, taken("p1"));
    assert!(!begin(&mut desk, old, place), "a newer one stands in its place");
    assert!(begin(&mut desk, new, place));
    end(&mut desk, (new, place), 1, taken("r2"));
    assert_eq!(shown(&desk, message), ["❤️"]);
}

#[test]
fn a_reaction_that_fails_says_why_and_shows_what_there_was_before() {
    let (mut desk, message, place) = wrote();
    react(&mut desk, message, "👍").unwrap();
    let reaction = waits(&desk);
    begin(&mut desk, reaction, place);
    end(&mut desk, (reaction, place), 1, Outcome::Refused { error: error() });
    assert_eq!(desk.row(message).message.reaction_error, Some(error()));
    assert_eq!(shown(&desk, message), [""; 0]);
    // Again, and it is taken.
    react(&mut desk, message, "👍").unwrap();
    assert_eq!(desk.row(message).message.reaction_error, None);
    let reaction = waits(&desk);
    begin(&mut desk, reaction, place);
    let retry = Outcome::Retry { error: error(), slow: Slow::Pair };
    end(&mut desk, (reaction, place), 1, retry);
    assert!(begin(&mut desk, reaction, place));
    end(&mut desk, (reaction, place), 2, taken("r1"));
    // The next one is taken, and fails afterwards.
    react(&mut desk, message, "❤️").unwrap();
    let reaction = waits(&desk);
    begin(&mut desk, reaction, place);
    end(&mut desk, (reaction, place), 1, taken("r2"));
    assert_eq!(shown(&desk, message), ["❤️"]);
    desk.run(receipt("r2", MessageStatus::Failed, None)).unwrap();
    assert_eq!(shown(&desk, message), ["👍"]);
    assert_eq!(desk.row(message).message.reaction_error, Some(error()));
    assert!(!desk.run(receipt("r2", MessageStatus::Failed, None)).unwrap().changed);
    assert_eq!(desk.status(message), MessageStatus::Received);
}

#[test]
fn a_restart_makes_a_reaction_under_way_unknown_and_its_receipt_settles_it() {
    let (mut desk, message, place) = wrote();
    react(&mut desk, message, "👍").unwrap();
    let reaction = waits(&desk);
    begin(&mut desk, reaction, place);
    desk.crash();
    let unknown = desk.row(message).message.reaction_error.clone().unwrap();
    assert_eq!((unknown.code.as_str(), desk.case().pending.len()), ("unknown", 0));
    assert!(desk.case().unsettled.is_empty());
    let opaque = opaque(&desk, reaction, place);
    desk.run(receipt("r1", MessageStatus::Delivered, opaque)).unwrap();
    assert_eq!(shown(&desk, message), ["👍"]);
    assert_eq!(desk.row(message).message.reaction_error, None);
    // The answer comes after all.
    end(&mut desk, (reaction, place), 1, taken("r1"));
    assert_eq!(shown(&desk, message), ["👍"]);
}

#[test]
fn a_receipt_that_comes_before_the_answer_is_not_left_waiting() {
    let (mut desk, message, place) = wrote();
    react(&mut desk, message, "👍").unwrap();
    let reaction = waits(&desk);
    begin(&mut desk, reaction, place);
    desk.run(receipt("r1", MessageStatus::Sent, None)).unwrap();
    assert_eq!(desk.case().parked.len(), 1, "nobody knows yet what it is of");
    end(&mut desk, (reaction, place), 1, taken("r1"));
    assert_eq!((shown(&desk, message), desk.case().parked.len()), (vec!["👍".to_owned()], 0));
    assert_eq!(desk.status(message), MessageStatus::Received);
}

#[test]
fn reactions_go_to_messages_that_the_customer_can_still_see() {
    let (mut desk, message, _) = wrote();
    let nobody = MessageId(Uuid::from_u128(0xF00));
    assert_eq!(react(&mut desk, nobody, "👍").unwrap_err(), Refused::NoSuchMessage);
    let queued = desk.send("one").unwrap().message.unwrap().id;
    assert_eq!(react(&mut desk, queued, "👍").unwrap_err(), Refused::NotReactable);
    desk.later(24 * HOUR);
    let closed = react(&mut desk, message, "👍").unwrap_err();
    assert!(matches!(closed, Refused::WindowClosed { .. }));
    desk.later(29 * 24 * HOUR);
    desk.receive("m2", "hello again");
    assert_eq!(react(&mut desk, message, "👍").unwrap_err(), Refused::NotReactable);
}
