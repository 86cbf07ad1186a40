//! Sends that the provider puts off, and those for which it is too late.

use std::time::Duration;

use engine::channel::{Outcome, Slow};
use engine::conversation::{Command, Draft, Effect, Refused, Target};
use engine::id::MessageId;
use engine::message::{MessageError, MessageKind, MessageStatus, Place};
use engine::saying::{Saying, Template};
use engine::time::Timestamp;

use crate::desk::{Desk, HOUR, by_agent, error, said, system};

fn put_off(slow: Slow) -> Outcome {
    Outcome::Retry { error: error(), slow }
}

/// When the outbox was last told to try again.
fn due(desk: &Desk) -> Timestamp {
    match desk.effects.last() {
        Some(Effect::Enqueue { due, .. }) => *due,
        other => panic!("{other:?}"),
    }
}

fn begin_again(desk: &mut Desk, (message, place): (MessageId, Place)) -> bool {
    let begin = Command::BeginSend { message, place };
    desk.run(system(Target::Current, begin)).unwrap().changed
        && desk.status(message) == MessageStatus::Sending
}

fn template() -> Command {
    let (name, language) = ("order_ready".to_owned(), "en_US".to_owned());
    let saying = Saying::Template(Template { name, language, components: Vec::new() });
    let Command::Send(draft) = said("") else { unreachable!("it is said") };
    Command::Send(Draft { saying, ..draft })
}

#[test]
fn what_is_too_much_for_the_account_keeps_its_place_and_is_not_given_up() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    let first = desk.now;
    for _ in 0..50 {
        desk.later(Duration::from_secs(1));
        desk.end(message, put_off(Slow::Account));
        assert_eq!(due(&desk), first);
        assert!(begin_again(&mut desk, message));
    }
    // The ladder of passing errors is as long as ever.
    for wait in desk.rules.send_ladder.clone() {
        desk.end(message, put_off(Slow::Message));
        assert_eq!(due(&desk), desk.now + wait);
        assert!(begin_again(&mut desk, message));
    }
    desk.end(message, put_off(Slow::Message));
    assert_eq!(desk.status(message.0), MessageStatus::Failed);
}

#[test]
fn what_the_account_is_stopped_for_is_no_try_of_the_message() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    for _ in 0..50 {
        desk.end(message, Outcome::AccountStopped { error: error() });
        assert!(begin_again(&mut desk, message));
    }
    for _ in desk.rules.send_ladder.clone() {
        desk.end(message, put_off(Slow::Message));
        assert!(begin_again(&mut desk, message));
    }
    desk.end(message, put_off(Slow::Message));
    assert_eq!(desk.status(message.0), MessageStatus::Failed);
}

#[test]
fn an_account_is_stopped_also_when_its_message_is_settled_by_then() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    desk.end(message, Outcome::Sent { provider_id: "p1".into(), held: None });
    desk.effects.clear();
    desk.end(message, Outcome::AccountStopped { error: error() });
    assert!(matches!(desk.effects[..], [Effect::StopAccount { .. }]), "{:?}", desk.effects);
    assert_eq!(desk.status(message.0), MessageStatus::Sent);
}

#[test]
fn a_customer_who_gets_too_many_waits_longer_each_time_in_order() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let one = desk.begin("one");
    let two = desk.send("two").unwrap().message.unwrap().id;
    let two = (two, desk.row(two).place);
    // As one does that fails for a reason of ours.
    for (seconds, slow) in [(1, Slow::Pair), (4, Slow::Ours), (4, Slow::Pair), (4, Slow::Ours)] {
        desk.end(one, put_off(slow));
        assert_eq!(due(&desk), desk.now + Duration::from_secs(seconds));
        assert_eq!(desk.row(one.0).message.error, Some(error()));
        assert!(!begin_again(&mut desk, two), "the first one waits");
        desk.later(Duration::from_secs(seconds));
        assert!(begin_again(&mut desk, one));
    }
    desk.end(one, Outcome::Sent { provider_id: "p1".into(), held: None });
    assert!(begin_again(&mut desk, two));
}

#[test]
fn nothing_is_tried_again_beyond_the_window() {
    for (slow, status) in [
        (Slow::Message, MessageStatus::Failed),
        (Slow::Pair, MessageStatus::Failed),
        (Slow::Ours, MessageStatus::Failed),
        // Half a second is left.
        (Slow::Account, MessageStatus::Queued),
    ] {
        let mut desk = Desk::new();
        desk.receive("m1", "hello");
        desk.later(23 * HOUR);
        let message = desk.begin("one");
        desk.later(HOUR - Duration::from_millis(500));
        desk.end(message, put_off(slow));
        assert_eq!(desk.status(message.0), status, "{slow:?}");
        let error = desk.row(message.0).message.error.clone().unwrap();
        assert_eq!(error.code == "window_closed", status == MessageStatus::Failed);
    }
}

#[test]
fn what_waited_beyond_the_window_fails_unsent_and_templates_go_on() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let one = desk.send("one").unwrap().message.unwrap().id;
    let two = desk.run(by_agent(Target::Current, template())).unwrap().message.unwrap().id;
    desk.later(24 * HOUR);
    desk.effects.clear();
    let place = desk.row(one).place;
    assert!(!begin_again(&mut desk, (one, place)));
    assert_eq!(desk.status(one), MessageStatus::Failed);
    assert!(matches!(desk.effects[..], [Effect::Enqueue { message, .. }] if message == two));
    let place = desk.row(two).place;
    assert!(begin_again(&mut desk, (two, place)));
    desk.end((two, place), put_off(Slow::Message));
    assert_eq!(desk.status(two), MessageStatus::Queued);
}

#[test]
fn a_template_opens_what_a_text_may_not() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    desk.later(48 * HOUR);
    let at = desk.case().window_closes_at();
    assert_eq!(
        desk.send("too late").unwrap_err(),
        Refused::WindowClosed { at, has_templates: true }
    );
    let sent = desk.run(by_agent(Target::Current, template())).unwrap().message.unwrap();
    assert_eq!((sent.kind, sent.status), (MessageKind::Template, MessageStatus::Queued));
}

#[test]
fn what_the_provider_holds_back_says_so_until_it_has_gone() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    let held = MessageError { code: "paused".into(), message: "the template is paused".into() };
    desk.end(message, Outcome::Sent { provider_id: "p1".into(), held: Some(held.clone()) });
    let row = &desk.row(message.0).message;
    assert_eq!((row.status, &row.error), (MessageStatus::Sent, &Some(held)));
    desk.run(crate::desk::receipt("p1", MessageStatus::Delivered, None)).unwrap();
    assert_eq!(desk.row(message.0).message.error, None);
}
