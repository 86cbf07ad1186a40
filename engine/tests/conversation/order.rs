//! Order: every permutation of what the provider says of a send ends in the same state, and what
//! was decided equals what is replayed.

use engine::channel::{Opaque, Outcome};
use engine::conversation::Command;
use engine::message::{Direction, MessageStatus};
use proptest::prelude::*;

use crate::desk::{Desk, by_agent, error, keyed, reacts, receipt, received, said, system};
use engine::conversation::Target;

pub(crate) fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    (0..items.len())
        .flat_map(|at| {
            let mut rest = items.to_vec();
            let item = rest.remove(at);
            permutations(&rest).into_iter().map(move |mut tail| {
                tail.insert(0, item.clone());
                tail
            })
        })
        .collect()
}

/// What reaches the engine about one send.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Answer,
    Receipt(MessageStatus),
}

#[test]
fn what_has_no_id_of_its_providers_is_taken_once_however_much_lies_between_in_one_commit() {
    let mut desk = Desk::new();
    desk.rules.recent_ids = 1;
    for id in ["m1", "m2", "m3"] {
        desk.receive(id, "hello");
    }
    let unnamed = || {
        let mut envelope = received("", "twice");
        let Command::Receive(message) = &mut envelope.command else { unreachable!("it is one") };
        (message.provider_id, message.dedup) = (None, Some("a hash".to_owned()));
        envelope
    };
    desk.batch(vec![unnamed(), received("m4", "hello"), received("m5", "hello"), unnamed()]);
    let texts = desk.rows.values().filter_map(|row| row.message.text.as_deref());
    assert_eq!(texts.filter(|text| *text == "twice").count(), 1);
}

#[test]
fn all_orders_of_answer_and_receipts_end_in_the_same_state() {
    let all = [
        Says::Answer,
        Says::Receipt(MessageStatus::Sent),
        Says::Receipt(MessageStatus::Delivered),
        Says::Receipt(MessageStatus::Read),
        Says::Receipt(MessageStatus::Failed),
    ];
    for subset in 1_u32..32 {
        let says: Vec<_> = (0..5).filter(|n| subset & (1 << n) != 0).map(|n| all[n]).collect();
        // Without our id only the answer says which message a receipt is about.
        for with_opaque in [true, false] {
            if !with_opaque && !says.contains(&Says::Answer) {
                continue;
            }
            let mut ends = Vec::new();
            for order in permutations(&says) {
                for crash_at in 0..=order.len() + 1 {
                    ends.push((order.clone(), crash_at, ends_as(&order, with_opaque, crash_at)));
                }
            }
            let (_, _, first) = &ends[0];
            for (order, crash_at, end) in &ends {
                assert_eq!(end, first, "{order:?}, crash at {crash_at}, opaque {with_opaque}");
            }
        }
    }
}

/// The message's end, when told in this order, with a restart before step `crash_at`.
fn ends_as(
    order: &[Says],
    with_opaque: bool,
    crash_at: usize,
) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut desk = Desk::new();
    desk.receive("m1", "hello");
    let message = desk.begin("one");
    let opaque = with_opaque.then(|| desk.opaque(message));
    for (step, says) in order.iter().enumerate() {
        if step == crash_at {
            desk.crash();
        }
        match says {
            Says::Answer => {
                desk.end(message, Outcome::Sent { provider_id: "p1".into(), held: None });
            }
            Says::Receipt(status) => {
                desk.run(receipt("p1", *status, opaque)).unwrap();
                desk.run(receipt("p1", *status, opaque)).unwrap();
            }
        }
    }
    let id = desk.case().id;
    assert_eq!(&desk.replayed(id), desk.case());
    let row = &desk.row(message.0).message;
    let waiting =
        (desk.case().pending.len(), desk.case().unsettled.len(), desk.case().parked.len());
    (row.status, row.error.clone(), row.provider_message_id.clone(), waiting)
}

#[derive(Clone, Debug)]
enum Step {
    Receive(u8),
    Send(u8),
    React(u8),
    Begin,
    End(u8, u8),
    Receipt(u8, u8),
    Close,
    Read(Option<u8>),
    Hours(u8),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        4 => (0_u8..12).prop_map(Step::Receive),
        3 => (0_u8..6).prop_map(Step::Send),
        2 => (0_u8..3).prop_map(Step::React),
        3 => Just(Step::Begin),
        3 => (0_u8..4, 0_u8..4).prop_map(|(n, how)| Step::End(n, how)),
        3 => (0_u8..4, 0_u8..4).prop_map(|(n, how)| Step::Receipt(n, how)),
        1 => Just(Step::Close),
        2 => proptest::option::of(1_u8..30).prop_map(Step::Read),
        1 => (1_u8..30).prop_map(Step::Hours),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..5), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happens_the_replay_equals_what_was_decided(batches in steps()) {
        let mut desk = Desk::new();
        for batch in batches {
            let mut commands = Vec::new();
            for step in batch {
                let pending = desk.thread.current.and_then(|id| desk.heads[&id].pending.first().copied());
                match step {
                    Step::Receive(n) => commands.push(received(&format!("m{n}"), "text")),
                    Step::Send(key) => commands.push(keyed(key, 0, said("text"))),
                    Step::React(n) => {
                        let known = |row: &&engine::message::MessageRow| row.message.provider_message_id.is_some();
                        if let Some(row) = desk.rows.values().filter(known).nth(usize::from(n)) {
                            let emoji = ["", "👍", "❤️"][usize::from(n)];
                            commands.push(reacts(row.message.id, emoji));
                        }
                    }
                    Step::Begin => if let Some(first) = pending {
                        let (message, place) = (first.message, first.place);
                        commands.push(system(Target::Current, Command::BeginSend { message, place }));
                    },
                    Step::End(n, how) => if let Some(first) = pending {
                        let outcome = match how {
                            0 => Outcome::Sent {
                                provider_id: format!("p{}-{n}", first.message),
                                held: None,
                            },
                            1 => Outcome::Refused { error: error() },
                            2 => Outcome::Unknown { reason: "hung".into() },
                            _ => Outcome::Retry { error: error(), slow: engine::channel::Slow::Pair },
                        };
                        let (message, place, attempt) = (first.message, first.place, first.attempts);
                        commands.push(system(Target::Current, Command::EndSend { message, place, attempt, outcome }));
                    },
                    Step::Receipt(n, how) => {
                        let status = [MessageStatus::Sent, MessageStatus::Delivered, MessageStatus::Read, MessageStatus::Failed][usize::from(how)];
                        let opaque = pending.map(|first| Opaque {
                            thread: desk.thread.id,
                            conversation: desk.case().id,
                            place: first.place,
                            reaction: first.is_reaction.then_some(first.message),
                        });
                        let id = pending.map_or(format!("q{n}"), |first| format!("p{}-{n}", first.message));
                        commands.push(receipt(&id, status, opaque.filter(|_| n % 2 == 0)));
                    }
                    Step::Close => commands.push(by_agent(Target::Current, Command::SetStatus {
                        status: engine::fact::ConversationStatus::Resolved,
                    })),
                    Step::Read(up_to) => {
                        let up_to = up_to.map(u64::from);
                        commands.push(by_agent(Target::Current, Command::MarkRead { up_to }));
                    }
                    Step::Hours(n) => desk.later(crate::desk::HOUR * u32::from(n)),
                    Step::Crash => desk.crash(),
                }
            }
            desk.batch(commands);
        }
        for (id, head) in &desk.heads {
            let mut replayed = desk.replayed(*id);
            // The thread knows the newest case only; a replay starts from the thread.
            replayed.case = head.case;
            prop_assert_eq!(&replayed, head);
            prop_assert!(head.pending.iter().filter(|pending| pending.sending > 0).count() <= 1);
        }
        let customers = desk.rows.values().filter(|row| row.message.direction == Direction::Inbound);
        for row in customers {
            prop_assert_eq!(row.message.status, MessageStatus::Received);
        }
        let mut ids: Vec<_> = desk.rows.values().filter_map(|row| row.message.provider_message_id.clone()).collect();
        let before = ids.len();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), before, "no provider id is on two messages");
    }
}
