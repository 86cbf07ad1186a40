//! The newest provider ids of a thread, so that a duplicate needs no look-up.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fact::Fact;
use crate::id::ConversationId;
use crate::message::Place;
use crate::time::Timestamp;

/// The newest provider ids of a thread, as hashes. A row of its own holds them beside the head's.
/// Every live thread has one, and a busy one fills it: what it takes is most of what a busy
/// conversation takes, so an id is 40 bytes and its case is said once for all that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Recent {
    /// Oldest first.
    ids: VecDeque<Known>,
    /// How many of `ids`, from the oldest, lie in which case.
    cases: VecDeque<(ConversationId, usize)>,
    /// The highest provider time of what was forgotten: a new id that is younger is no duplicate.
    /// `None`: nothing was ever forgotten or left unread, so absence from `ids` means new.
    watermark: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    hash: [u8; 16],
    block: u32,
    ordinal: u64,
    /// The provider's time; [`NEVER`] where it gave none.
    sent_at: Timestamp,
}

/// An id without a time can only be told from new ones by looking it up: it is as one of the end of
/// time.
const NEVER: Timestamp = Timestamp(i64::MAX);

impl Recent {
    /// Nothing is remembered, everything has to be looked up.
    pub fn unknown() -> Self {
        Self { watermark: Some(NEVER), ..Self::default() }
    }

    /// Where the message with this id lies, if it is remembered.
    pub fn find(&self, id: &str) -> Option<(ConversationId, Place)> {
        self.position(&hash(id)).and_then(|at| self.place(at))
    }

    /// Whether an id that is not remembered may still be a known one, and has to be looked up.
    pub fn may_have_forgotten(&self, sent_at: Option<Timestamp>) -> bool {
        self.watermark.is_some_and(|mark| sent_at.is_none_or(|at| at <= mark))
    }

    /// Remembers the id that a fact brought, and forgets the oldest beyond `max`.
    pub fn learn(&mut self, conversation: ConversationId, fact: &Fact, max: usize) {
        // What was imported would take the room of what may be delivered again; its thread knows
        // how new it can be.
        let brought = fact.reference().filter(|_| !matches!(fact, Fact::Imported { .. }));
        let Some((id, Place { block, ordinal })) = brought else { return };
        let hash = hash(id);
        if self.position(&hash).is_some() {
            return;
        }
        // First, since what is full doubles when one more comes.
        while self.ids.len() >= max.max(1) {
            self.forget();
        }
        let sent_at = fact.provider_time().unwrap_or(NEVER);
        self.push(conversation, Known { hash, block, ordinal, sent_at });
    }

    fn push(&mut self, conversation: ConversationId, known: Known) {
        match self.cases.back_mut() {
            Some((case, count)) if *case == conversation => *count += 1,
            _ => self.cases.push_back((conversation, 1)),
        }
        self.ids.push_back(known);
    }

    fn forget(&mut self) {
        let Some(oldest) = self.ids.pop_front() else { return };
        self.watermark = self.watermark.max(Some(oldest.sent_at));
        if let Some((_, count)) = self.cases.front_mut() {
            *count -= 1;
            if *count == 0 {
                self.cases.pop_front();
            }
        }
    }

    fn position(&self, hash: &[u8; 16]) -> Option<usize> {
        self.ids.iter().rposition(|known| known.hash == *hash)
    }

    fn place(&self, at: usize) -> Option<(ConversationId, Place)> {
        let known = self.ids.get(at)?;
        let mut before = 0;
        let case = self.cases.iter().find(|(_, count)| {
            before += count;
            at < before
        })?;
        Some((case.0, Place { block: known.block, ordinal: known.ordinal }))
    }
}

/// As it is stored: hash, case, place and time of each, oldest first.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Recent")]
struct Stored {
    ids: VecDeque<(u128, ConversationId, Place, Option<Timestamp>)>,
    watermark: Option<Timestamp>,
}

impl From<Stored> for Recent {
    fn from(stored: Stored) -> Self {
        let mut recent = Self { watermark: stored.watermark, ..Self::default() };
        for (hash, conversation, Place { block, ordinal }, at) in stored.ids {
            let (hash, sent_at) = (hash.to_be_bytes(), at.unwrap_or(NEVER));
            recent.push(conversation, Known { hash, block, ordinal, sent_at });
        }
        recent
    }
}

impl From<Recent> for Stored {
    fn from(recent: Recent) -> Self {
        let cases =
            recent.cases.iter().flat_map(|(case, count)| std::iter::repeat_n(*case, *count));
        let ids = recent.ids.iter().zip(cases).map(|(known, case)| {
            let place = Place { block: known.block, ordinal: known.ordinal };
            let at = Some(known.sent_at).filter(|at| *at != NEVER);
            (u128::from_be_bytes(known.hash), case, place, at)
        });
        Self { ids: ids.collect(), watermark: recent.watermark }
    }
}

/// Sixteen bytes of SHA-256: nobody finds two ids that meet, not even on purpose.
fn hash(id: &str) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
    hash
}
