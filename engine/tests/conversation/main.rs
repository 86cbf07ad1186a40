//! The conversation core: what commands do, whatever the order of what the provider says.

#[cfg(test)]
mod amendments;
#[cfg(test)]
mod authors;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod files;
#[cfg(test)]
mod history;
#[cfg(test)]
mod mails;
#[cfg(test)]
mod order;
#[cfg(test)]
mod reactions;
#[cfg(test)]
mod recent;
#[cfg(test)]
mod sends;
#[cfg(test)]
mod watermarks;

use desk::{
    AGENT, Desk, HOUR, MINUTE, by_agent, error, keyed, receipt, received, said, system, viewed,
};
use engine::channel::{Echo, Handle, Opaque, Outcome, Slow};
use engine::contact::IdentityKind;
use engine::conversation::{Command, Effect, Envelope, MovedTo, Refused, Target, UNREAD_KEPT};
use engine::fact::ConversationStatus;
use engine::id::{AgentId, ContactId, TenantId, ThreadId};
use engine::message::{Content, MessageStatus, SenderKind};
use engine::permission::{Permission, Permissions, Viewer};
use uuid::Uuid;

#[cfg(test)]
fn viewer(agent: AgentId, permissions: Permissions) -> Viewer {
    Viewer { tenant: TenantId(Uuid::from_u128(1)), agent, permissions }
}

#[test]
fn a_first_message_opens_the_first_case() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let case = desk.case();
    assert_eq!((case.case, case.unread, case.messages, case.seq), (1, 1, 1, 2));
    assert_eq!(case.contact_name.as_deref(), Some("Ines"));
    assert_eq!(case.last_message.as_ref().unwrap().text.as_deref(), Some("hello"));
    assert_eq!(case.id.shard(), desk.thread.id.shard());
    assert_eq!(desk.rows.values().map(|row| row.message.seq).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_message_delivered_again_changes_nothing() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let again = desk.receive("m1", "hello");
    assert!(!again.changed);
    desk.crash();
    assert!(!desk.receive("m1", "hello").changed, "nor after a restart, by look-up");
    assert_eq!(desk.rows.len(), 1);
}

#[test]
fn a_message_that_came_in_gets_no_further_whatever_a_receipt_says_of_it() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    desk.run(receipt("m1", MessageStatus::Failed, None)).unwrap();
    let row = desk.rows.values().next().unwrap();
    assert_eq!((row.message.status, &row.message.error), (MessageStatus::Received, &None));
}

#[test]
fn duplicates_within_one_batch_are_one_message() {
    let mut desk = Desk::new();
    let answers = desk.batch(vec![received("m1", "a"), received("m2", "b"), received("m1", "a")]);
    let changed: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().changed).collect();
    assert_eq!(changed, [true, true, false]);
    assert_eq!((desk.rows.len(), desk.log.len()), (2, 1));
}

#[test]
fn a_message_reopens_a_case_closed_shortly_before() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let close = Command::SetStatus { status: ConversationStatus::Resolved };
    desk.run(by_agent(Target::Current, close)).unwrap();
    desk.later(23 * HOUR);
    desk.receive("m2", "again");
    assert_eq!((desk.case().case, desk.case().status), (1, ConversationStatus::Open));
    assert_eq!(desk.case().closed_at, None);
}

#[test]
fn a_message_opens_the_next_case_when_the_last_was_closed_long_ago() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let first = desk.case().id;
    let close = Command::SetStatus { status: ConversationStatus::Resolved };
    desk.run(by_agent(Target::Current, close)).unwrap();
    desk.later(24 * HOUR);
    desk.receive("m2", "again");
    assert_ne!(desk.case().id, first);
    assert_eq!((desk.case().case, desk.case().messages), (2, 1));
    assert!(!desk.receive("m1", "hello").changed, "ids are the thread's, across its cases");
    let reopen = Command::SetStatus { status: ConversationStatus::Open };
    let refused = desk.run(by_agent(Target::Conversation(first), reopen)).unwrap_err();
    assert_eq!(refused, Refused::NotCurrent);
    let refused = desk.run(by_agent(Target::Conversation(first), said("x"))).unwrap_err();
    assert_eq!(refused, Refused::NotCurrent);
}

#[test]
fn a_case_with_messages_still_to_be_sent_stays_the_current_one() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    desk.send("one").unwrap();
    let close = Command::SetStatus { status: ConversationStatus::Resolved };
    desk.run(by_agent(Target::Current, close)).unwrap();
    desk.later(48 * HOUR);
    desk.receive("m2", "again");
    assert_eq!((desk.case().case, desk.case().pending.len()), (1, 1));
}

#[test]
fn free_text_goes_out_only_within_the_window() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    desk.later(24 * HOUR - 6 * MINUTE);
    assert!(desk.send("in time").is_ok());
    desk.later(MINUTE);
    let at = desk.case().window_closes_at();
    assert_eq!(
        desk.send("too late").unwrap_err(),
        Refused::WindowClosed { at, has_templates: true }
    );
}

#[test]
fn sends_of_one_conversation_leave_one_at_a_time_in_order() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let first = desk.begin("one");
    let second = desk.send("two").unwrap().message.unwrap().id;
    let place = desk.row(second).place;
    let begin = || system(Target::Current, Command::BeginSend { message: second, place });
    assert!(!desk.run(begin()).unwrap().changed, "the first is under way");
    desk.effects.clear();
    desk.end(first, Outcome::Sent { provider_id: "p1".into(), held: None });
    assert!(matches!(desk.effects[..], [Effect::Enqueue { message, .. }] if message == second));
    assert!(desk.run(begin()).unwrap().changed);
}

#[test]
fn a_passing_error_is_tried_again_along_the_ladder_and_then_fails() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    let retry = || Outcome::Retry { error: error(), slow: Slow::Message };
    for attempt in 1..=3 {
        let answer = desk.end(message, retry());
        assert!(answer.changed);
        if attempt < 3 {
            assert_eq!(desk.status(message.0), MessageStatus::Queued);
            let begin = Command::BeginSend { message: message.0, place: message.1 };
            desk.run(system(Target::Current, begin)).unwrap();
        }
    }
    assert_eq!(desk.status(message.0), MessageStatus::Failed);
    assert!(desk.case().pending.is_empty());
}

#[test]
fn a_send_without_an_answer_is_unknown_and_settled_by_its_receipt() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    desk.end(message, Outcome::Unknown { reason: "timed out".into() });
    assert_eq!(desk.status(message.0), MessageStatus::Unknown);
    let begin = Command::BeginSend { message: message.0, place: message.1 };
    assert!(!desk.run(system(Target::Current, begin)).unwrap().changed, "never repeated by itself");
    let opaque = Some(desk.opaque(message));
    desk.run(receipt("p1", MessageStatus::Delivered, opaque)).unwrap();
    assert_eq!(desk.status(message.0), MessageStatus::Delivered);
    assert_eq!(desk.row(message.0).message.provider_message_id.as_deref(), Some("p1"));
}

#[test]
fn a_restart_makes_a_send_under_way_unknown_and_the_next_one_goes_on() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let first = desk.begin("one");
    let second = desk.send("two").unwrap().message.unwrap().id;
    desk.effects.clear();
    desk.crash();
    assert_eq!(desk.status(first.0), MessageStatus::Unknown);
    assert!(matches!(desk.effects[..], [Effect::Enqueue { message, .. }] if message == second));
    desk.end(first, Outcome::Sent { provider_id: "p1".into(), held: None });
    assert_eq!(desk.status(first.0), MessageStatus::Sent, "the answer came after all");
}

#[test]
fn a_stopped_account_keeps_the_message_queued() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    desk.effects.clear();
    desk.end(message, Outcome::AccountStopped { error: error() });
    assert_eq!(desk.status(message.0), MessageStatus::Queued);
    assert!(matches!(desk.effects[..], [Effect::StopAccount { .. }, Effect::Enqueue { .. }]));
}

#[test]
fn a_foreign_opaque_id_is_not_believed() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    desk.end(message, Outcome::Sent { provider_id: "p1".into(), held: None });
    let stolen = Some(desk.opaque(message));
    desk.run(receipt("p2", MessageStatus::Read, stolen)).unwrap();
    assert_eq!(desk.status(message.0), MessageStatus::Sent);
    assert_eq!(desk.case().parked.len(), 1);
}

#[test]
fn an_id_of_this_thread_with_a_conversation_of_another_changes_nothing_there() {
    let mut other = Desk::new();
    other.thread.id = ThreadId(Uuid::from_u128(0x8));
    other.receive("m1", "hello");
    let sent = other.begin("hers");
    other.end(sent, Outcome::Unknown { reason: "timed out".into() });
    let hers = other.opaque(sent);
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let mine = desk.case().id;
    desk.heads.extend(other.heads.clone());
    desk.rows.extend(other.rows.clone());
    let forged = Opaque { thread: desk.thread.id, ..hers };
    desk.run(receipt("p1", MessageStatus::Failed, Some(forged))).unwrap();
    assert!(desk.log.iter().all(|commit| commit.conversation == mine));
    let place = (hers.conversation, hers.place);
    assert_eq!(desk.rows[&place], other.rows[&place]);
    assert_eq!(desk.heads[&hers.conversation], *other.case());
}

#[test]
fn receipts_that_wait_are_bounded() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    for n in 0..8 {
        desk.run(receipt(&format!("p{n}"), MessageStatus::Sent, None)).unwrap();
        assert!(!desk.run(receipt(&format!("p{n}"), MessageStatus::Sent, None)).unwrap().changed);
    }
    let refused = desk.run(receipt("p9", MessageStatus::Sent, None)).unwrap_err();
    assert_eq!(refused, Refused::TooManyParked);
}

fn echo(provider_id: &str, text: &str) -> Command {
    Command::Echo(Echo {
        to: vec![Handle { kind: IdentityKind::Phone, value: "15550001".into() }],
        provider_id: provider_id.into(),
        opaque: None,
        sent_at: None,
        content: Content::text(text),
        reply_to: None,
        forwarded: false,
    })
}

#[test]
fn an_echo_of_our_own_send_is_not_a_second_message() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    desk.run(system(Target::Current, echo("p1", "one"))).unwrap();
    desk.end(message, Outcome::Sent { provider_id: "p1".into(), held: None });
    desk.run(system(Target::Current, echo("p1", "one"))).unwrap();
    assert_eq!(desk.rows.len(), 2);
    assert_eq!(desk.status(message.0), MessageStatus::Sent);
}

#[test]
fn an_echo_of_the_phone_app_is_a_message_of_the_provider_and_not_unread() {
    let mut desk = Desk::new();
    desk.run(receipt("p1", MessageStatus::Read, None)).unwrap_err();
    desk.receive("m1", "hello");
    desk.run(receipt("p1", MessageStatus::Read, None)).unwrap();
    desk.run(system(Target::Current, echo("p1", "from my phone"))).unwrap();
    let message = &desk.rows.values().find(|row| row.message.seq == 4).unwrap().message;
    assert_eq!(message.sender.kind, SenderKind::Provider);
    assert_eq!(message.status, MessageStatus::Read, "its early receipt waited for it");
    assert_eq!((desk.case().unread, desk.case().parked.len()), (1, 0));
}

#[test]
fn a_receipt_that_comes_before_its_message_waits_for_it_also_in_the_next_case() {
    for writes_between in [false, true] {
        let mut desk = Desk::new();
        desk.receive("m1", "hello");
        let close = Command::SetStatus { status: ConversationStatus::Resolved };
        desk.run(by_agent(Target::Current, close)).unwrap();
        desk.run(receipt("p0", MessageStatus::Delivered, None)).unwrap();
        desk.later(24 * HOUR);
        desk.run(receipt("p1", MessageStatus::Delivered, None)).unwrap();
        desk.later(7 * 24 * HOUR);
        if writes_between {
            desk.receive("m2", "again");
        }
        desk.run(system(Target::Current, echo("p1", "from my phone"))).unwrap();
        let ours = desk.rows.values().find(|row| row.message.sender.kind == SenderKind::Provider);
        assert_eq!(ours.unwrap().message.status, MessageStatus::Delivered);
        let case = desk.case();
        assert_eq!((case.case, case.parked.len()), (2, 0), "one has waited for too long");
        assert_eq!(&desk.replayed(case.id), case);
    }
}

#[test]
fn a_repeated_idempotency_key_answers_the_same_message() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let first = desk.run(keyed(1, 1, said("one"))).unwrap();
    let again = desk.run(keyed(1, 1, said("one"))).unwrap();
    assert_eq!(first.message.unwrap().id, again.message.unwrap().id);
    assert_eq!(desk.rows.len(), 2);
    assert_eq!(desk.run(keyed(1, 2, said("two"))).unwrap_err(), Refused::KeyReused);
    let answers = desk.batch(vec![keyed(2, 1, said("x")), keyed(2, 1, said("x"))]);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(desk.rows.len(), 3, "also within one commit");
}

#[test]
fn what_a_viewer_may_not_see_is_not_found() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let other = AgentId(Uuid::from_u128(0xB7));
    let look = |viewer| viewed(viewer, Command::Look);
    assert!(desk.run(look(viewer(other, Permissions::NONE))).is_ok(), "unassigned is everybody's");
    desk.run(by_agent(Target::Current, Command::Assign { agent: Some(AGENT) })).unwrap();
    assert_eq!(desk.run(look(viewer(other, Permissions::NONE))).unwrap_err(), Refused::NotFound);
    let all = [Permission::ConversationsViewAll].into_iter().collect();
    assert!(desk.run(look(viewer(other, all))).is_ok());
    let stranger = Viewer { tenant: TenantId(Uuid::from_u128(9)), ..viewer(AGENT, all) };
    assert_eq!(desk.run(look(stranger)).unwrap_err(), Refused::NotFound);
}

#[test]
fn reading_clears_the_count_and_tells_the_provider_once() {
    let mut desk = Desk::new();
    desk.batch(vec![received("m1", "a"), received("m2", "b")]);
    desk.effects.clear();
    assert!(desk.run(reads(None)).unwrap().changed);
    assert!(!desk.run(reads(None)).unwrap().changed);
    assert_eq!(desk.effects, [Effect::MarkRead { provider_id: "m2".into() }]);
    assert_eq!(desk.case().unread, 0);
}

fn reads(up_to: Option<u64>) -> Envelope {
    by_agent(Target::Current, Command::MarkRead { up_to })
}

#[test]
fn the_read_mark_moves_up_to_a_message_and_never_back() {
    let mut desk = Desk::new();
    // The first fact opens the case.
    for n in 1..=4 {
        desk.receive(&format!("m{n}"), "hello");
    }
    desk.effects.clear();
    for (seq, unread, told) in [
        (3, 2, Some("m2")),
        (2, 2, None),
        (3, 2, None),
        (4, 1, Some("m3")),
        (1_000, 0, Some("m4")),
        (1, 0, None),
    ] {
        let answer = desk.run(reads(Some(seq))).unwrap();
        let told = told.map(|id| Effect::MarkRead { provider_id: id.into() });
        assert_eq!(answer.changed, told.is_some(), "up to {seq}");
        assert_eq!((desk.case().unread, desk.effects.pop()), (unread, told), "up to {seq}");
    }
    desk.receive("m5", "and more");
    assert_eq!(desk.case().unread, 1);
}

#[test]
fn a_read_mark_among_more_messages_than_are_known_waits_for_those_that_are() {
    let mut desk = Desk::new();
    let more = UNREAD_KEPT as u64 + 10;
    for n in 0..more {
        desk.receive(&format!("m{n}"), "hello");
    }
    assert!(!desk.run(reads(Some(5))).unwrap().changed, "nobody knows how many that would leave");
    assert!(desk.run(reads(Some(12))).unwrap().changed);
    assert_eq!(u64::from(desk.case().unread), more - 11);
    assert!(desk.run(reads(Some(more))).unwrap().changed);
    assert_eq!(desk.case().unread, 1);
}

#[test]
fn a_case_expires_only_when_nobody_wrote_for_long() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let expire = || system(Target::Current, Command::Expire { older_than: HOUR });
    desk.later(HOUR - MINUTE);
    assert!(!desk.run(expire()).unwrap().changed);
    desk.later(MINUTE);
    assert!(desk.run(expire()).unwrap().changed);
    assert_eq!(desk.case().status, ConversationStatus::Expired);
}

#[test]
fn who_sends_too_many_tags_is_told_so_before_they_are_all_compared() {
    let many = (0..51).map(|n| n.to_string()).chain([String::new()]).collect();
    let refused = engine::conversation::tags(many).unwrap_err();
    assert_eq!(refused.details[0].message, "at most 50 tags");
    let repeated = (0..200).map(|n| (n % 50).to_string()).collect();
    assert_eq!(engine::conversation::tags(repeated).unwrap().len(), 50);
}

#[test]
fn tags_are_bounded() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let tags = |range: std::ops::Range<u32>| range.map(|n| n.to_string()).collect::<Vec<_>>();
    let edit = |add, remove| by_agent(Target::Current, Command::EditTags { add, remove });
    desk.run(edit(tags(0..50), vec![])).unwrap();
    assert_eq!(desk.run(edit(tags(50..51), vec![])).unwrap_err(), Refused::TooManyTags);
    desk.run(edit(tags(50..51), tags(0..1))).unwrap();
    assert_eq!(desk.case().tags, tags(1..51));
}

#[test]
fn a_thread_that_moved_forwards_everything_and_never_reopens() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let id = desk.case().id;
    let to =
        MovedTo { thread: ThreadId(Uuid::from_u128(5)), contact: ContactId(Uuid::from_u128(6)) };
    desk.run(system(Target::Current, Command::MoveTo(to))).unwrap();
    assert_eq!(desk.run(received("m2", "x")).unwrap_err(), Refused::Moved(to));
    let reopen = Command::SetStatus { status: ConversationStatus::Open };
    assert_eq!(
        desk.run(by_agent(Target::Conversation(id), reopen)).unwrap_err(),
        Refused::NotCurrent
    );
    assert!(desk.run(by_agent(Target::Conversation(id), Command::Look)).is_ok(), "still readable");
}

#[test]
fn a_thread_where_people_worked_is_not_moved() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    desk.run(reads(None)).unwrap();
    let to =
        MovedTo { thread: ThreadId(Uuid::from_u128(5)), contact: ContactId(Uuid::from_u128(6)) };
    let refused = desk.run(system(Target::Current, Command::MoveTo(to))).unwrap_err();
    assert_eq!(refused, Refused::Touched);
}
