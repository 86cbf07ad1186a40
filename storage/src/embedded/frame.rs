//! The bytes of the log: a segment's header, a group's frame, a write within it.
//!
//! A segment is a header page and frames behind one another, each at a multiple of 8. A frame is
//! length (4 bytes), checksum (4), lsn (8), payload. Every checksum covers the segment's salt, so
//! that what an earlier use of the file left behind means nothing.

use fjall::Slice;

use super::value::Value;
use crate::port::Shape;

/// Where a segment's frames begin: on a page of their own. The header before them lies in one
/// sector, which is written whole or not at all.
pub(super) const HEADER: usize = 4096;
/// What a frame is longer than its payload.
const FRAME: usize = 16;
/// No frame takes less: its payload has one write.
pub(super) const SMALLEST: usize = FRAME + 8;
const MAGIC: [u8; 8] = *b"omnilog1";

/// A group's number: gapless, from 1.
pub(super) type Lsn = u64;

/// A write as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) key: Slice,
    pub(super) shape: Shape,
    pub(super) value: Value,
}

/// The beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// One more than the segment before.
    pub(super) serial: u64,
    /// The lsn of its first group.
    pub(super) first: Lsn,
    pub(super) salt: u64,
}

impl Header {
    pub(super) fn page(&self) -> Vec<u8> {
        let mut page = MAGIC.to_vec();
        for number in [self.serial, self.first, self.salt] {
            page.extend_from_slice(&number.to_le_bytes());
        }
        page.extend_from_slice(&crc32fast::hash(&page).to_le_bytes());
        page.resize(HEADER, 0);
        page
    }

    /// `None` where no whole header is.
    pub(super) fn read(page: &[u8]) -> Option<Self> {
        let mut rest = page;
        let fields = rest.split_off(..32)?;
        let sum = u32::from_le_bytes(*rest.split_off(..4)?.as_array()?);
        let number = |at: usize| Some(u64::from_le_bytes(*fields[at..at + 8].as_array()?));
        let whole = fields.starts_with(&MAGIC) && crc32fast::hash(fields) == sum;
        whole.then_some(Self { serial: number(8)?, first: number(16)?, salt: number(24)? })
    }
}

/// Appends a write to a payload.
pub(super) fn append(write: &Write, payload: &mut Vec<u8>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a batch is smaller than 4 GiB");
    let value = write.value.bytes();
    // The keyspace travels in the lowest bit, so that a replay needs no table.
    let head = (length(&write.key) << 1) | u32::from(write.shape == Shape::Appended);
    payload.extend_from_slice(&head.to_le_bytes());
    payload.extend_from_slice(&length(value).to_le_bytes());
    payload.extend_from_slice(&write.key);
    payload.extend_from_slice(value);
}

/// How much a write takes in a payload.
pub(super) fn size(write: &Write) -> usize {
    8 + write.key.len() + write.value.bytes().len()
}

/// The writes of a payload, in order; `None` where it is not what [`append`] wrote.
pub(super) fn writes(mut payload: &[u8]) -> Option<Vec<Write>> {
    let mut writes = Vec::new();
    while !payload.is_empty() {
        let (shape, key, value) = split(&mut payload)?;
        writes.push(Write { key: key.into(), shape, value: Value::read(value.into()).ok()? });
    }
    Some(writes)
}

/// Takes the first write off a payload: its keyspace, its key, its value.
fn split<'a>(payload: &mut &'a [u8]) -> Option<(Shape, &'a [u8], &'a [u8])> {
    let mut number = || Some(u32::from_le_bytes(*payload.split_off(..4)?.as_array()?));
    let (head, length) = (number()?, number()?);
    let shape = if head & 1 == 1 { Shape::Appended } else { Shape::Overwritten };
    let key = payload.split_off(..(head >> 1) as usize)?;
    Some((shape, key, payload.split_off(..length as usize)?))
}

/// How much a payload takes in a segment.
pub(super) fn framed(payload: usize) -> usize {
    (FRAME + payload).next_multiple_of(8)
}

/// Makes a frame of a buffer that [`begin`] began.
pub(super) fn seal(frame: &mut Vec<u8>, salt: u64, lsn: Lsn) {
    let length = u32::try_from(frame.len() - FRAME).expect("a group is smaller than 4 GiB");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[8..FRAME].copy_from_slice(&lsn.to_le_bytes());
    let sum = checksum(salt, frame);
    frame[4..8].copy_from_slice(&sum.to_le_bytes());
    frame.resize(frame.len().next_multiple_of(8), 0);
}

/// Empties a buffer but for the place of a frame's head; the payload is to be appended.
pub(super) fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(FRAME, 0);
}

/// A frame that is whole.
pub(super) struct Frame<'a> {
    pub(super) lsn: Lsn,
    pub(super) payload: &'a [u8],
    /// How much of the segment it takes.
    pub(super) length: usize,
}

/// The frame at the beginning of these bytes; `None` unless it is whole and of this salt.
pub(super) fn read(bytes: &[u8], salt: u64) -> Option<Frame<'_>> {
    let length = u32::from_le_bytes(*bytes.get(..4)?.as_array()?) as usize;
    let sum = u32::from_le_bytes(*bytes.get(4..8)?.as_array()?);
    let lsn = Lsn::from_le_bytes(*bytes.get(8..FRAME)?.as_array()?);
    let frame = bytes.get(..length.checked_add(FRAME)?)?;
    let whole = length > 0 && checksum(salt, frame) == sum;
    whole.then(|| Frame { lsn, payload: &frame[FRAME..], length: framed(length) })
}

/// The lsn that the bytes would have as a frame, whole or not.
pub(super) fn lsn(bytes: &[u8]) -> Option<Lsn> {
    Some(Lsn::from_le_bytes(*bytes.get(8..FRAME)?.as_array()?))
}

/// Whether the bytes begin with a frame as long as the writes in it, whole or not.
pub(super) fn is_formed(bytes: &[u8]) -> bool {
    let formed = || {
        let length = u32::from_le_bytes(*bytes.get(..4)?.as_array()?) as usize;
        let mut payload = bytes.get(FRAME..length.checked_add(FRAME)?)?;
        while !payload.is_empty() {
            split(&mut payload)?;
        }
        Some(())
    };
    formed().is_some()
}

fn checksum(salt: u64, frame: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&salt.to_le_bytes());
    sum.update(&frame[..4]);
    sum.update(&frame[8..]);
    sum.finalize()
}
