//! What a channel says of all messages up to a time, and for how long it may be answered.

use std::time::Duration;

use engine::channel::{Channel, Echo, Outcome, Watermark};
use engine::conversation::{Command, ConversationView, Envelope, Refused, Target, UNSEEN_KEPT};
use engine::fact::{By, ConversationStatus};
use engine::message::MessageStatus::{self, Delivered, Failed, Read, Sending, Sent};
use engine::message::{Content, SenderKind};
use engine::time::Timestamp;

use crate::desk::{Desk, HOUR, by_agent, receipt, said, system};
use crate::order::permutations;

fn mark(status: MessageStatus, up_to: Timestamp) -> Envelope {
    let customer = Vec::new();
    system(Target::Current, Command::Watermark(Watermark { customer, status, up_to }))
}

fn echo(provider_id: &str, sent_at: Timestamp) -> Envelope {
    let echo = Echo {
        to: Vec::new(),
        provider_id: provider_id.into(),
        opaque: None,
        sent_at: Some(sent_at),
        content: Content::text(provider_id),
        reply_to: None,
        forwarded: false,
    };
    system(Target::Current, Command::Echo(echo))
}

fn sent(id: &str) -> Outcome {
    Outcome::Sent { provider_id: id.into(), held: None }
}

fn desk() -> Desk {
    let mut desk = Desk::on(Channel::Messenger);
    desk.receive("m1", "hello");
    desk
}

/// How far the messages of the desk got, in order.
fn statuses(desk: &Desk) -> Vec<MessageStatus> {
    let ours = desk.rows.values().filter(|row| row.message.sender.kind != SenderKind::Contact);
    ours.map(|row| row.message.status).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn all_messages_up_to_a_time_got_so_far_and_none_after_it() {
    let mut desk = desk();
    for id in ["p1", "p2", "p3"] {
        let message = desk.begin(id);
        desk.end(message, sent(id));
        desk.later(SECOND);
    }
    let first = Timestamp(1_790_000_000_000);
    let marked = |desk: &mut Desk, status, at| desk.run(mark(status, at)).unwrap().changed;
    assert!(marked(&mut desk, Delivered, first + SECOND));
    assert_eq!(statuses(&desk), [Delivered, Delivered, Sent]);
    assert!(marked(&mut desk, Read, first));
    assert_eq!(statuses(&desk), [Read, Delivered, Sent]);
    assert!(!marked(&mut desk, Delivered, first), "nothing goes back");
    assert!(!marked(&mut desk, Read, first), "nor happens twice");
    assert!(marked(&mut desk, Read, first + 2 * SECOND));
    assert_eq!(statuses(&desk), [Read, Read, Read]);
    assert!(desk.case().unseen.is_empty());
    assert_eq!(&desk.replayed(desk.case().id), desk.case());
}

#[test]
fn what_is_said_of_the_future_is_true_up_to_now() {
    let mut desk = desk();
    let first = desk.begin("one");
    desk.end(first, sent("p1"));
    let far = desk.now + 1000 * HOUR;
    desk.run(mark(Read, far)).unwrap();
    assert_eq!(statuses(&desk), [Read]);
    desk.later(SECOND);
    let second = desk.begin("two");
    desk.end(second, sent("p2"));
    assert_eq!(statuses(&desk), [Read, Sent]);
}

#[test]
fn a_watermark_that_comes_before_its_message_waits_for_it() {
    let mut desk = desk();
    let message = desk.begin("one");
    desk.later(SECOND);
    desk.run(mark(Read, desk.now)).unwrap();
    assert_eq!(statuses(&desk), [Sending], "nobody knows yet that it was taken");
    desk.end(message, sent("p1"));
    assert_eq!(statuses(&desk), [Read]);
    // What was written elsewhere, and is shown to us late.
    let before = desk.now - SECOND;
    desk.run(echo("p2", before)).unwrap();
    desk.run(echo("p3", desk.now + SECOND)).unwrap();
    let expected = [Read, Read, Sent];
    assert_eq!(statuses(&desk), expected);
    assert_eq!(&desk.replayed(desk.case().id), desk.case());
}

#[test]
fn a_watermark_that_comes_before_its_message_waits_for_it_also_in_the_next_case() {
    let mut desk = desk();
    let close = Command::SetStatus { status: ConversationStatus::Resolved };
    desk.run(by_agent(Target::Current, close)).unwrap();
    desk.later(24 * HOUR);
    desk.run(mark(Delivered, desk.now)).unwrap();
    desk.run(echo("p1", desk.now)).unwrap();
    desk.run(echo("p2", desk.now + SECOND)).unwrap();
    assert_eq!((desk.case().case, statuses(&desk)), (2, vec![Delivered, Sent]));
    assert_eq!(&desk.replayed(desk.case().id), desk.case());
}

#[test]
fn the_provider_s_own_time_of_a_message_is_the_one_that_counts() {
    let mut desk = desk();
    let ahead = desk.now - 2 * SECOND;
    desk.begin("one");
    let ours = Echo {
        to: Vec::new(),
        provider_id: "p1".into(),
        opaque: None,
        sent_at: Some(ahead),
        content: Content::text("one"),
        reply_to: None,
        forwarded: false,
    };
    desk.run(system(Target::Current, Command::Echo(ours))).unwrap();
    desk.run(mark(Read, ahead)).unwrap();
    assert_eq!(statuses(&desk), [Read], "its clock is behind ours");
    assert_eq!(&desk.replayed(desk.case().id), desk.case());
}

#[test]
fn all_orders_of_answer_echo_and_watermark_end_in_the_same_state() {
    for order in permutations(&["answer", "echo", "delivered", "read"]) {
        let mut desk = desk();
        let taken = desk.now - 2 * SECOND;
        let message = desk.begin("p1");
        for says in &order {
            for again in [false, true] {
                let changed = match *says {
                    "answer" => desk.end(message, sent("p1")).changed,
                    "echo" => desk.run(echo("p1", taken)).unwrap().changed,
                    "delivered" => desk.run(mark(Delivered, taken)).unwrap().changed,
                    _ => desk.run(mark(Read, taken)).unwrap().changed,
                };
                assert!(!(again && changed), "{order:?}: {says} happens twice");
            }
        }
        assert_eq!(statuses(&desk), [Read], "{order:?}: the provider's clock is behind ours");
        assert!(desk.case().unseen.is_empty());
        assert_eq!(&desk.replayed(desk.case().id), desk.case());
    }
}

#[test]
fn who_has_read_a_message_has_read_those_before_it() {
    let mut desk = Desk::on(Channel::Instagram);
    desk.receive("m1", "hello");
    for id in ["p1", "p2", "p3"] {
        let message = desk.begin(id);
        desk.end(message, sent(id));
        desk.later(SECOND);
    }
    desk.run(receipt("p2", Read, None)).unwrap();
    assert_eq!(statuses(&desk), [Read, Read, Sent]);
    assert_eq!(&desk.replayed(desk.case().id), desk.case());
}

#[test]
fn a_failed_message_stays_failed() {
    let mut desk = desk();
    let message = desk.begin("one");
    desk.end(message, Outcome::Refused { error: crate::desk::error() });
    desk.run(mark(Read, desk.now)).unwrap();
    assert_eq!(statuses(&desk), [Failed]);
}

#[test]
fn of_more_messages_than_are_kept_the_newest_are_raised() {
    let mut desk = desk();
    for n in 0..=UNSEEN_KEPT {
        desk.run(echo(&format!("p{n}"), desk.now)).unwrap();
    }
    desk.run(mark(Read, desk.now)).unwrap();
    let read = statuses(&desk).iter().filter(|is| **is == Read).count();
    assert_eq!((read, statuses(&desk)[0]), (UNSEEN_KEPT, Sent));
}

#[test]
fn of_nobody_s_messages_nothing_is_said_and_where_others_tell_nothing_is_kept() {
    let mut desk = Desk::on(Channel::Messenger);
    let refused = desk.run(mark(Read, desk.now)).unwrap_err();
    assert_eq!(refused, Refused::NotFound);
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    desk.end(message, sent("p1"));
    assert!(desk.case().unseen.is_empty(), "WhatsApp says it of each message");
}

#[test]
fn a_conversation_shows_until_when_people_answer_and_until_when_anything_does() {
    let shown = |channel| {
        let mut desk = Desk::on(channel);
        desk.receive("m1", "hello");
        let wrote = desk.case().last_inbound_at.unwrap();
        let view = ConversationView::of(desk.case());
        let after = |at: Option<Timestamp>| at.map(|at| at.since(wrote).as_secs() / 60);
        (after(view.window_expires_at), after(view.automation_window_expires_at))
    };
    let (day, week) = (24 * 60 - 5, 7 * 24 * 60 - 5);
    assert_eq!(shown(Channel::Whatsapp), (Some(day), None));
    assert_eq!(shown(Channel::Messenger), (Some(week), Some(day)));
    assert_eq!(shown(Channel::Instagram), (Some(week), Some(day)));
    assert_eq!(shown(Channel::Email), (None, None));
}

#[test]
fn people_answer_for_seven_days_and_nobody_else_for_more_than_one() {
    for channel in [Channel::Messenger, Channel::Instagram] {
        let mut desk = Desk::on(channel);
        desk.receive("m1", "hello");
        desk.later(25 * HOUR);
        let automatic = Envelope { by: By::System, ..by_agent(Target::Current, said("hi")) };
        assert!(matches!(desk.run(automatic).unwrap_err(), Refused::WindowClosed { .. }));
        let (message, _) = desk.begin("late");
        assert_eq!(desk.status(message), Sending);
        desk.later(6 * 24 * HOUR);
        let at = desk.case().window_closes_at();
        let refused = Refused::WindowClosed { at, has_templates: false };
        assert_eq!(desk.send("too late").unwrap_err(), refused);
        assert!(!refused.to_string().contains("template"), "{refused}");
    }
}
