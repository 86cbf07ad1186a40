//! The newest provider ids of a thread: what is remembered of them, and as what they are stored.

use std::collections::VecDeque;

use engine::conversation::Recent;
use engine::fact::Fact;
use engine::id::{ConversationId, MessageId};
use engine::message::Place;
use engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

type Known = (String, ConversationId, Place, Option<Timestamp>);

/// As rows of this kind have always been written.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    ids: VecDeque<(u128, ConversationId, Place, Option<Timestamp>)>,
    watermark: Option<Timestamp>,
}

fn case(number: u128) -> ConversationId {
    ConversationId(Uuid::from_u128(number))
}

fn learn(recent: &mut Recent, (id, conversation, place, sent_at): &Known, max: usize) {
    let (message, provider_id) = (MessageId(Uuid::from_u128(1)), Some(id.clone()));
    let (place, sent_at) = (*place, *sent_at);
    let fact =
        Fact::Received { message, place, provider_id, dedup: None, sent_at, auto_reply: false };
    recent.learn(*conversation, &fact, max);
}

/// The `n`th id: its case changes now and then, also back, and some have no time.
fn known(n: u64) -> Known {
    let place = Place { block: (n / 7) as u32, ordinal: n };
    let sent_at = (n % 5 != 4).then(|| Timestamp(1_000 + n as i64));
    (format!("wamid.{n}"), case(u128::from(n / 3 % 4)), place, sent_at)
}

#[test]
fn the_newest_are_found_where_they_lie_and_what_was_forgotten_has_to_be_looked_up() {
    for max in 1..9 {
        let (mut recent, mut model) = (Recent::default(), VecDeque::new());
        assert!(!recent.may_have_forgotten(None));
        for n in 0..40 {
            learn(&mut recent, &known(n), max);
            learn(&mut recent, &known(n), max);
            model.push_back(known(n));
            let forgotten = (model.len() > max).then(|| model.pop_front().unwrap());
            for (id, conversation, place, _) in &model {
                assert_eq!(recent.find(id), Some((*conversation, *place)), "{id} of {max}");
            }
            if let Some((id, _, _, sent_at)) = forgotten {
                assert_eq!(recent.find(&id), None, "{id} of {max}");
                assert!(recent.may_have_forgotten(sent_at), "{id} of {max}");
                let ever = n >= max as u64 + 4;
                assert_eq!(recent.may_have_forgotten(Some(Timestamp(9_000))), ever);
            }
        }
    }
}

#[test]
fn its_row_is_read_and_written_as_it_always_was() {
    let mut recent = Recent::default();
    (0..12).for_each(|n| learn(&mut recent, &known(n), 10));
    let row: Row = serde_json::from_str(&serde_json::to_string(&recent).unwrap()).unwrap();
    let told: Vec<_> = row.ids.iter().map(|(_, case, place, at)| (*case, *place, *at)).collect();
    let of = |n| known(n);
    let meant: Vec<_> = (2..12).map(of).map(|(_, case, place, at)| (case, place, at)).collect();
    assert_eq!((told, row.watermark), (meant, Some(Timestamp(1_001))));
    let again: Recent = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
    assert_eq!(again, recent);
    assert_eq!(again.find("wamid.7"), Some((known(7).1, known(7).2)));
}
