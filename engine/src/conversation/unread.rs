//! The newest unread messages as a head's row holds them: with nearly every message all of them are
//! written again, so each is three numbers of one byte most often, how much higher they are than those
//! of the one before.

use std::fmt;

use serde::Serializer;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use super::UNREAD_KEPT;
use crate::message::Place;

pub(super) fn serialize<S: Serializer>(all: &[(u64, Place)], to: S) -> Result<S::Ok, S::Error> {
    let (mut bytes, mut last) = (Vec::with_capacity(4 * all.len()), [0; 3]);
    for (seq, place) in all {
        let next = [*seq, place.block.into(), place.ordinal];
        for (next, last) in next.into_iter().zip(last) {
            put(next.wrapping_sub(last), &mut bytes);
        }
        last = next;
    }
    to.serialize_bytes(&bytes)
}

pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<(u64, Place)>, D::Error> {
    from.deserialize_any(Unread)
}

struct Unread;

impl<'d> Visitor<'d> for Unread {
    type Value = Vec<(u64, Place)>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("unread messages")
    }

    fn visit_bytes<E: Error>(self, mut bytes: &[u8]) -> Result<Self::Value, E> {
        let cut = || E::custom("unread messages that are cut off");
        let (mut all, mut last) = (Vec::with_capacity(UNREAD_KEPT), [0_u64; 3]);
        while !bytes.is_empty() {
            for number in &mut last {
                *number = number.wrapping_add(take(&mut bytes).ok_or_else(cut)?);
            }
            let [seq, block, ordinal] = last;
            all.push((seq, Place { block: block.try_into().map_err(E::custom)?, ordinal }));
        }
        Ok(all)
    }

    /// As they were written once: pairs.
    fn visit_seq<A: SeqAccess<'d>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(pair) = pairs.next_element()? {
            all.push(pair);
        }
        Ok(all)
    }
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put(mut number: u64, to: &mut Vec<u8>) {
    while number > 0x7f {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn take(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *from.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
