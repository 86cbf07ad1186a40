//! Reactions, edits and deletions: in every order, early and repeated, they end the same.

use engine::channel::{Amend, Amender};
use engine::conversation::{Command, Envelope, Refused, Target};
use engine::fact::ConversationStatus;
use engine::message::{Content, Message, MessageRow, Reaction, Referral, VERSIONS_MAX};
use engine::time::Timestamp;
use proptest::prelude::*;

use crate::desk::{Desk, HOUR, MINUTE, amended, by_agent, receipt, received, system};
use crate::echo;

fn edit(id: &str, target: &str, at: i64, text: &str) -> Envelope {
    amended(id, target, at, Amender::Customer, Amend::Edit(Content::text(text)))
}

fn reaction(id: &str, target: &str, at: i64, emoji: &str) -> Envelope {
    let emoji = (!emoji.is_empty()).then(|| emoji.to_owned());
    amended(id, target, at, Amender::Customer, Amend::Reaction(emoji))
}

fn deletion(id: &str, target: &str, at: i64) -> Envelope {
    amended(id, target, at, Amender::Customer, Amend::Deletion)
}

fn only(desk: &Desk) -> &MessageRow {
    let mut rows = desk.rows.values();
    let row = rows.next().unwrap();
    assert!(rows.next().is_none(), "an amendment makes no message");
    row
}

fn emojis(message: &Message) -> Vec<&str> {
    message.reactions.iter().map(|reaction| reaction.emoji.as_str()).collect()
}

#[test]
fn a_reaction_is_one_of_its_sender_and_changes_nothing_else() {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let resolve = Command::SetStatus { status: ConversationStatus::Resolved };
    desk.run(by_agent(Target::Current, resolve)).unwrap();
    let before = desk.case().clone();
    desk.later(HOUR);
    assert!(desk.run(reaction("r1", "m1", 1, "👍")).unwrap().changed);
    desk.run(reaction("r2", "m1", 2, "❤️")).unwrap();
    let business = Amend::Reaction(Some("🎉".into()));
    desk.run(amended("r3", "m1", 3, Amender::Business, business)).unwrap();
    assert_eq!(emojis(&only(&desk).message), ["❤️", "🎉"]);
    assert!(desk.run(reaction("r4", "m1", 4, "")).unwrap().changed);
    assert!(!desk.run(reaction("r2", "m1", 2, "❤️")).unwrap().changed, "told once more");
    assert_eq!(emojis(&only(&desk).message), ["🎉"]);
    let after = desk.case();
    assert_eq!(after.status, ConversationStatus::Resolved, "no case is reopened");
    assert_eq!((after.unread, after.messages), (before.unread, before.messages));
    assert_eq!(after.last_inbound_at, before.last_inbound_at, "the window is where it was");
    assert_eq!(after.last_message_at, before.last_message_at);
}

#[test]
fn an_edit_keeps_what_was_said_before_and_a_deletion_keeps_nothing() {
    let mut desk = Desk::new();
    desk.receive("m1", "the first words");
    for n in 1..=20 {
        desk.run(edit(&format!("e{n}"), "m1", n, &format!("the {n}th words"))).unwrap();
    }
    let row = only(&desk);
    assert_eq!(row.message.text.as_deref(), Some("the 20th words"));
    assert_eq!(desk.case().last_message.as_ref().unwrap().text.as_deref(), Some("the 20th words"));
    let earlier: Vec<_> = row.earlier.iter().filter_map(|v| v.content.text.as_deref()).collect();
    assert_eq!(earlier.len(), VERSIONS_MAX);
    assert_eq!((earlier[0], earlier[VERSIONS_MAX - 1]), ("the first words", "the 19th words"));
    assert_eq!(desk.contents.len(), 1, "only the newest is kept for the log");
    desk.run(reaction("r1", "m1", 3, "👍")).unwrap();
    desk.run(deletion("d1", "m1", 30)).unwrap();
    let row = only(&desk).clone();
    assert_eq!(row.message.text, None);
    assert!(row.message.deleted_at.is_some() && row.message.edited_at.is_some());
    let left = serde_json::to_string(&(&row, desk.case(), &desk.log)).unwrap();
    assert!(!left.contains("words"), "{left}");
    assert!(desk.contents.is_empty());
    assert!(!desk.run(edit("e9", "m1", 9, "words")).unwrap().changed, "known, and too late");
    desk.run(edit("e21", "m1", 40, "words")).unwrap();
    desk.run(reaction("r2", "m1", 40, "👍")).unwrap();
    assert_eq!((&only(&desk).message.text, desk.contents.len()), (&None, 0));
    assert!(only(&desk).message.reactions.is_empty());
    assert_eq!(&desk.replayed(desk.case().id), desk.case());
}

#[test]
fn only_its_author_changes_or_deletes_a_message() {
    let mut desk = Desk::new();
    desk.receive("m1", "hers");
    desk.run(system(Target::Current, echo("p1", "ours"))).unwrap();
    assert!(!desk.run(edit("e1", "p1", 1, "forged")).unwrap().changed);
    assert!(!desk.run(deletion("d1", "p1", 1)).unwrap().changed);
    let business = |id, target, what| amended(id, target, 2, Amender::Business, what);
    assert!(!desk.run(business("d2", "m1", Amend::Deletion)).unwrap().changed);
    assert!(desk.run(business("e3", "p1", Amend::Edit(Content::text("better")))).unwrap().changed);
    assert!(desk.run(business("d3", "p1", Amend::Deletion)).unwrap().changed);
}

#[test]
fn what_comes_before_its_message_waits_for_eight_days_and_so_much_of_it() {
    let mut desk = Desk::new();
    desk.receive("m0", "hello");
    for n in 0..7 {
        desk.run(edit(&format!("e{n}"), "m1", n, "better")).unwrap();
        assert!(!desk.run(edit(&format!("e{n}"), "m1", n, "better")).unwrap().changed);
    }
    desk.run(receipt("p1", engine::message::MessageStatus::Sent, None)).unwrap();
    assert_eq!(desk.run(reaction("r1", "m1", 1, "👍")).unwrap_err(), Refused::TooManyParked);
    assert_eq!(desk.contents.len(), 7);
    desk.later(8 * 24 * HOUR);
    desk.run(reaction("r1", "m1", 1, "👍")).unwrap();
    assert_eq!((desk.case().waiting.len(), desk.contents.len()), (1, 0), "the old ones are gone");
    desk.run(received("m1", "late")).unwrap();
    let row = desk.rows.values().find(|row| row.message.seq > 1 && !row.reacted.is_empty());
    assert_eq!(row.unwrap().message.text.as_deref(), Some("late"));
    assert!(desk.case().waiting.is_empty());
}

#[test]
fn a_deletion_finds_room_where_nothing_else_does() {
    let mut desk = Desk::new();
    desk.receive("m0", "hello");
    for n in 0..8 {
        desk.run(reaction(&format!("r{n}"), "m1", n, "👍")).unwrap();
    }
    let full = desk.run(edit("e1", "m1", 9, "better")).unwrap_err();
    assert_eq!(full, Refused::TooManyParked);
    for n in 1..=8 {
        desk.run(deletion(&format!("d{n}"), &format!("m{n}"), 10)).unwrap();
    }
    let full = desk.run(deletion("d9", "m9", 10)).unwrap_err();
    assert_eq!(full, Refused::TooManyParked, "a dead letter, then");
    desk.receive("m1", "a secret");
    let is_m1 = |row: &&MessageRow| row.message.provider_message_id.as_deref() == Some("m1");
    let row = desk.rows.values().find(is_m1).unwrap();
    assert_eq!((&row.message.text, row.message.deleted_at.is_some()), (&None, true));
    assert_eq!(desk.case().waiting.len(), 7);
}

#[test]
fn nothing_that_is_said_to_be_of_after_a_deletion_changes_anything_whichever_comes_first() {
    let mut ends = Vec::new();
    for order in [[0, 1, 2, 3], [3, 0, 1, 2], [1, 3, 2, 0], [2, 3, 1, 0], [3, 2, 1, 0]] {
        let mut desk = Desk::new();
        desk.receive("m1", "hello");
        let steps = [
            edit("e1", "m1", 10, "two"),
            edit("e2", "m1", 30, "three"),
            edit("e3", "m1", 40, "words of later"),
            deletion("d1", "m1", 30),
        ];
        for step in order {
            let deleted = only(&desk).message.deleted_at.is_some();
            let (before, facts) = (only(&desk).clone(), desk.log.len());
            let changed = desk.run(steps[step].clone()).unwrap().changed;
            if deleted && step == 2 {
                assert!(!changed);
                assert_eq!((only(&desk), desk.log.len()), (&before, facts));
            }
        }
        assert!(desk.contents.is_empty());
        let Message { text, edited_at, deleted_at, .. } = only(&desk).message.clone();
        ends.push((text, edited_at, deleted_at));
    }
    let at = |second: i64| Some(Timestamp(1_790_000_000_000 + second * 1_000));
    assert_eq!(ends[0], (None, at(30), at(30)), "a second holds an edit and the deletion");
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}

#[test]
fn a_deleted_message_does_not_tell_any_more_where_its_customer_came_from() {
    let mut desk = Desk::new();
    let mut first = received("m1", "is it still there?");
    if let Command::Receive(message) = &mut first.command {
        let headline = Some("Blue chairs".to_owned());
        message.referral = Some(Referral { headline, ..Referral::default() });
    }
    desk.run(first).unwrap();
    assert!(only(&desk).message.referral.is_some());
    desk.run(deletion("d1", "m1", 30)).unwrap();
    assert_eq!(only(&desk).message.referral, None);
}

#[test]
fn a_deletion_that_waits_takes_the_words_of_waiting_edits_along() {
    let mut desk = Desk::new();
    desk.run(edit("e1", "m1", 1, "words")).unwrap();
    assert_eq!(desk.contents.len(), 1);
    desk.run(deletion("d1", "m1", 2)).unwrap();
    desk.receive("m0", "hello");
    desk.run(edit("e2", "m1", 3, "words")).unwrap();
    assert!(desk.contents.is_empty(), "{:?}", desk.contents);
}

/// What reaches the engine about one message.
fn story() -> Vec<Envelope> {
    vec![
        received("m1", "one"),
        edit("e1", "m1", 10, "two"),
        edit("e2", "m1", 20, "three"),
        edit("e3", "m1", 30, "four"),
        reaction("r1", "m1", 11, "👍"),
        reaction("r2", "m1", 12, ""),
        reaction("r3", "m1", 13, "❤️"),
        amended("r4", "m1", 14, Amender::Business, Amend::Reaction(Some("🎉".into()))),
        deletion("d1", "m1", 40),
    ]
}

#[derive(Clone, Debug)]
struct Order {
    /// Which of the story happens, in which order, how often.
    steps: Vec<usize>,
    /// Whether a customer wrote before, and how long ago.
    before: Option<u8>,
    /// Before these steps the process is lost.
    crashes: Vec<bool>,
    /// These steps share a commit with the one before.
    joined: Vec<bool>,
}

fn orders() -> impl Strategy<Value = Order> {
    let picked = prop::collection::vec(1_usize..9, 0..8);
    let picked = picked.prop_flat_map(|mut steps| {
        steps.push(0);
        let again = prop::collection::vec(0..steps.len(), 0..4);
        (Just(steps), again).prop_flat_map(|(steps, again)| {
            let again: Vec<_> = again.into_iter().map(|at| steps[at]).collect();
            Just([steps, again].concat()).prop_shuffle()
        })
    });
    let flags = || prop::collection::vec(any::<bool>(), 16);
    (picked, prop::option::of(0_u8..40), flags(), flags())
        .prop_map(|(steps, before, crashes, joined)| Order { steps, before, crashes, joined })
}

/// The message's end when its story is told in this order.
fn end(order: &Order) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut desk = Desk::new();
    if let Some(hours) = order.before {
        desk.receive("m0", "hello");
        let resolve = Command::SetStatus { status: ConversationStatus::Resolved };
        desk.run(by_agent(Target::Current, resolve)).unwrap();
        desk.later(HOUR * u32::from(hours));
    }
    let mut batch = Vec::new();
    for (n, step) in order.steps.iter().enumerate() {
        if !order.joined[n % order.joined.len()] {
            desk.batch(std::mem::take(&mut batch)).into_iter().for_each(|done| drop(done.unwrap()));
            if order.crashes[n % order.crashes.len()] && desk.thread.current.is_some() {
                desk.crash();
            }
            desk.later(MINUTE);
        }
        batch.push(story()[*step].clone());
    }
    desk.batch(batch).into_iter().for_each(|done| drop(done.unwrap()));
    for (id, head) in &desk.heads {
        let mut replayed = desk.replayed(*id);
        replayed.case = head.case;
        assert_eq!(&replayed, head);
        assert!(head.waiting.is_empty() || desk.thread.current != Some(*id), "nothing waits");
    }
    let of_it = |row: &&MessageRow| row.message.provider_message_id.as_deref() == Some("m1");
    let found: Vec<_> = desk.rows.values().filter(of_it).collect();
    let [row] = found[..] else { panic!("{found:?}") };
    assert!(desk.contents.len() <= 1, "nothing is kept that nothing needs: {:?}", desk.contents);
    assert_eq!(desk.contents.len(), usize::from(row.content.is_some()));
    let Message { text, reactions, edited_at, deleted_at, .. } = row.message.clone();
    let of_sender = |reaction: Reaction| (reaction.sender.kind, reaction.emoji);
    let reactions: Vec<_> = reactions.into_iter().map(of_sender).collect();
    (text, reactions, edited_at, deleted_at, row.earlier.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn all_orders_of_a_message_and_its_amendments_end_in_the_same_state(order in orders()) {
        let mut told = order.steps.clone();
        told.sort_unstable();
        told.dedup();
        let quiet = vec![false; 1];
        let (crashes, joined) = (quiet.clone(), quiet);
        let in_order = Order { steps: told, before: None, crashes, joined };
        prop_assert_eq!(end(&order), end(&in_order));
    }
}
