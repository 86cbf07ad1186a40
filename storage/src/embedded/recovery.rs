//! What a log says when it is opened. `floor` is the lsn up to which the tree is known to be
//! durable; only what lies above it counts.
//!
//! - A damaged or missing last group is the end of the log: it was never answered. (If it was, the
//!   tree may know, which is looked at elsewhere.)
//! - A damaged group with a whole one behind it, or before a later segment, was answered: damage.
//! - A segment whose successor begins at or below `floor + 1` is not looked at.

use std::io;
use std::sync::Arc;

use super::disk::Disk;
use super::frame::{self, HEADER, Header, Lsn, Write};

/// Why a log cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// In words.
    Damaged(String),
    /// The disk does not answer.
    Io(io::Error),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A log that was read.
pub(super) struct Found {
    disk: Arc<dyn Disk>,
    floor: Lsn,
    /// Those that count, in order, each with the lsn before which it ends.
    live: Vec<(Segment, Lsn)>,
    /// The last lsn that is durable, in the log or below it.
    pub(super) last: Lsn,
    /// The highest serial of a segment.
    pub(super) serial: u64,
    /// All files.
    pub(super) numbers: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Segment {
    number: u32,
    header: Header,
}

/// Reads the headers and every group above the floor, to know whether all of it is whole.
pub(super) fn read(disk: &Arc<dyn Disk>, floor: Lsn) -> Result<Found, Unreadable> {
    // A file made just before a kill may be known to the page cache only.
    disk.sync()?;
    let numbers = disk.list()?;
    let mut segments = Vec::new();
    for &number in &numbers {
        let file = disk.open(number)?;
        let mut page = [0; HEADER];
        if file.length()? >= HEADER as u64 {
            file.read(0, &mut page)?;
        }
        match Header::read(&page) {
            Some(header) => segments.push(Segment { number, header }),
            // Never written: a header lies in one sector, which is written whole or not at all.
            None if page == [0; HEADER] => {}
            None => {
                let why = format!("segment {number} of its log is unreadable");
                return Err(Unreadable::Damaged(why));
            }
        }
    }
    segments.sort_by_key(|segment| segment.header.serial);
    let serial = segments.last().map_or(0, |segment| segment.header.serial);
    let ends = segments.iter().skip(1).map(|next| next.header.first).chain([Lsn::MAX]);
    let live = segments.iter().copied().zip(ends).filter(|(_, end)| *end > floor + 1).collect();
    let mut found = Found { disk: disk.clone(), floor, live, last: floor, serial, numbers };
    found.check()?;
    Ok(found)
}

impl Found {
    fn check(&mut self) -> Result<(), Unreadable> {
        let damaged = |why: String| Err(Unreadable::Damaged(why));
        let Some((first, _)) = self.live.first() else {
            return if self.floor == 0 { Ok(()) } else { damaged("its log is missing".to_owned()) };
        };
        if first.header.first > self.floor + 1 {
            let (lost, to) = (self.floor + 1, first.header.first - 1);
            return damaged(format!("groups {lost} to {to} of its log are missing"));
        }
        for at in 0..self.live.len() {
            let (segment, end) = self.live[at];
            let bytes = self.bytes(segment)?;
            let (last, rest) = walk(&bytes, segment.header, end, |_, _| ());
            let goes_on = if end == Lsn::MAX {
                intact(&bytes[rest..], segment.header.salt, last)
            } else {
                last + 1 < end
            };
            if goes_on {
                return damaged(format!("group {} of its log is unreadable", last + 1));
            }
            self.last = self.last.max(last);
        }
        Ok(())
    }

    /// Makes durable what was read: the last group may stand in the page cache only, after a kill
    /// or a failed sync. Writing it again makes its pages dirty whatever became of them. All
    /// groups before it were synced before it was written.
    pub(super) fn secure(&self) -> io::Result<()> {
        let Some(&(segment, end)) = self.live.last() else { return Ok(()) };
        let bytes = self.bytes(segment)?;
        let (mut from, mut to) = (HEADER, HEADER);
        walk(&bytes, segment.header, end, |at, frame| (from, to) = (at, at + frame.length));
        let file = self.disk.open(segment.number)?;
        file.write(0, &bytes[..HEADER])?;
        file.write(from as u64, &bytes[from..to])?;
        file.sync()
    }

    /// Tells every group above the floor, in order.
    pub(super) fn replay<E: From<Unreadable>>(
        &self,
        mut tell: impl FnMut(Lsn, Vec<Write>) -> Result<(), E>,
    ) -> Result<(), E> {
        for &(segment, end) in &self.live {
            let bytes = self.bytes(segment).map_err(Unreadable::Io)?;
            let mut told = Ok(());
            walk(&bytes, segment.header, end, |_, frame| {
                if frame.lsn > self.floor && told.is_ok() {
                    told = frame::writes(frame.payload)
                        .ok_or_else(|| {
                            let why = format!("group {} of its log is of no known form", frame.lsn);
                            Unreadable::Damaged(why).into()
                        })
                        .and_then(|writes| tell(frame.lsn, writes));
                }
            });
            told?;
        }
        Ok(())
    }

    fn bytes(&self, segment: Segment) -> io::Result<Vec<u8>> {
        let file = self.disk.open(segment.number)?;
        let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read(0, &mut bytes)?;
        Ok(bytes)
    }
}

/// Tells the whole groups from a segment's beginning, with where they lie, up to the first that
/// is not whole or begins at `end`. Answers the last lsn and where it ends.
fn walk(
    bytes: &[u8],
    header: Header,
    end: Lsn,
    mut tell: impl FnMut(usize, &frame::Frame<'_>),
) -> (Lsn, usize) {
    let (mut next, mut at) = (header.first, HEADER);
    while next < end
        && let Some(frame) = bytes.get(at..).and_then(|bytes| frame::read(bytes, header.salt))
        && frame.lsn == next
    {
        tell(at, &frame);
        at += frame.length;
        next += 1;
    }
    (next - 1, at)
}

/// Whether a whole group of a later lsn than `last` lies anywhere in these bytes.
fn intact(bytes: &[u8], salt: u64, last: Lsn) -> bool {
    candidates(bytes, last).any(|at| frame::read(&bytes[at..], salt).is_some())
}

/// Where a group of a later lsn may begin. What an earlier use left is full of what looks like a
/// length and a low lsn: only what has an lsn that it can have there, and the form of a group, is
/// to be summed up.
fn candidates(bytes: &[u8], last: Lsn) -> impl Iterator<Item = usize> {
    (0..bytes.len()).step_by(8).filter(move |at| {
        let lsns = last + 1..=last + 1 + (at / frame::SMALLEST) as u64;
        let claims = frame::lsn(&bytes[*at..]).is_some_and(|lsn| lsns.contains(&lsn));
        claims && frame::is_formed(&bytes[*at..])
    })
}

#[cfg(test)]
mod tests {
    use fjall::Slice;

    use super::super::frame::{self, Write};
    use super::super::value::Value;
    use super::{candidates, intact};
    use crate::port::{Shape, Stamp};

    /// What an earlier use of a file left: every other word reads as a low lsn behind a length that
    /// still fits.
    fn left() -> Vec<u8> {
        let words = (0..20_000_u64).flat_map(|n| [1 << 10, 2 + n % 7]);
        words.flat_map(u64::to_le_bytes).collect()
    }

    fn group(salt: u64, lsn: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        frame::begin(&mut frame);
        for key in [&b"one"[..], b"two"] {
            let value = Value::row(Stamp(1), 0, b"body");
            let write = Write { key: Slice::from(key), shape: Shape::Overwritten, value };
            frame::append(&write, &mut frame);
        }
        frame::seal(&mut frame, salt, lsn);
        frame
    }

    #[test]
    fn what_an_earlier_use_left_is_not_summed_up() {
        let left = left();
        assert_eq!(candidates(&left, 1).count(), 0);
        assert!(!intact(&left, 7, 1));
    }

    #[test]
    fn a_whole_later_group_is_found_wherever_it_lies() {
        for before in [8, 24, 4_096] {
            let mut bytes = left();
            let later = group(7, 2 + before as u64 / 24);
            bytes.splice(before..before + later.len(), later);
            assert!(intact(&bytes, 7, 1), "{before}");
            assert!(!intact(&bytes, 8, 1), "of another use");
        }
    }
}
