//! The log that answers: segments of one length, filled with zeros once, used again when the tree
//! has what is in them. One writer appends; the follower gives segments back.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};
use super::frame::{self, HEADER, Header, Lsn};
use crate::error::StoreError;

/// The segments that are not written: shared by the writer, who takes, and the follower, who
/// gives back and keeps one ready.
#[derive(Clone)]
pub(super) struct Segments(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    /// The length of each in bytes.
    length: usize,
    /// Free space that is left to others: the tree, which cannot refuse, lives in it.
    reserve: u64,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    free: Vec<u32>,
    /// Full ones, each with its last lsn.
    full: Vec<(u32, Lsn)>,
    /// The number of the next file.
    next: u32,
}

impl Segments {
    /// `free` are files of the right length whose content nobody needs; no file has a number of
    /// `next` or more.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        length: usize,
        reserve: u64,
        free: Vec<u32>,
        next: u32,
    ) -> Self {
        let known = Mutex::new(Known { free, full: Vec::new(), next });
        Self(Arc::new(Inner { disk, length, reserve, known }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error if there is less free space than the reserve and this.
    pub(super) fn space(&self, bytes: usize) -> io::Result<()> {
        if self.0.disk.space()? < self.0.reserve.saturating_add(bytes as u64) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Sees to it that a segment is free, before it is needed.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if self.known().free.is_empty() {
            let made = self.make()?;
            self.known().free.push(made);
        }
        Ok(())
    }

    /// Gives back what holds no lsn above this.
    pub(super) fn release(&self, upto: Lsn) {
        let Known { free, full, .. } = &mut *self.known();
        free.extend(full.extract_if(.., |(_, last)| *last <= upto).map(|(number, _)| number));
    }

    fn take(&self) -> io::Result<(u32, Box<dyn DiskFile>)> {
        let free = self.known().free.pop();
        let number = free.map_or_else(|| self.make(), Ok)?;
        Ok((number, self.0.disk.open(number)?))
    }

    /// Makes a file that is durable, whole and allocated, so that nothing written into it later
    /// can want for space.
    fn make(&self) -> io::Result<u32> {
        self.space(self.0.length)?;
        let number = {
            let mut known = self.known();
            known.next += 1;
            known.next - 1
        };
        let made = self.fill(number);
        if made.is_err() {
            // What is left of it costs space only until the next start, which takes it for free.
            let _ = self.0.disk.remove(number);
        }
        made.map(|()| number)
    }

    fn fill(&self, number: u32) -> io::Result<()> {
        const CHUNK: usize = 1 << 20;
        let file = self.0.disk.create(number)?;
        let zeros = vec![0; CHUNK.min(self.0.length)];
        for at in (0..self.0.length).step_by(CHUNK) {
            file.write(at as u64, &zeros[..CHUNK.min(self.0.length - at)])?;
        }
        file.sync()?;
        self.0.disk.sync()
    }
}

/// The end of the log.
pub(super) struct Log {
    segments: Segments,
    number: u32,
    file: Box<dyn DiskFile>,
    header: Header,
    /// Whether the header is still to be written, with the first group.
    fresh: bool,
    /// Where the next frame begins.
    at: usize,
    next: Lsn,
}

impl Log {
    /// Begins a segment for the group `next`, and makes its header durable: from then on nothing
    /// that lies before it counts.
    pub(super) fn begin(segments: Segments, serial: u64, next: Lsn) -> io::Result<Self> {
        let (number, file) = segments.take()?;
        let header = Header { serial, first: next, salt: segments.0.disk.salt()? };
        file.write(0, &header.page())?;
        file.sync()?;
        Ok(Self { segments, number, file, header, fresh: false, at: HEADER, next })
    }

    /// The largest payload.
    pub(super) fn capacity(&self) -> usize {
        self.segments.0.length - HEADER - frame::framed(0)
    }

    /// Makes sure that a group of this size can be written, or says why nothing was.
    pub(super) fn room(&mut self, payload: usize) -> Result<(), StoreError> {
        let unavailable = |error: io::Error| {
            let why = if error.kind() == io::ErrorKind::StorageFull {
                "no space left for the log".to_owned()
            } else {
                format!("no new segment of the log: {error}")
            };
            StoreError::Unavailable(why.into())
        };
        self.segments.space(0).map_err(unavailable)?;
        if self.at + frame::framed(payload) > self.segments.0.length {
            self.rotate().map_err(unavailable)?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let salt = self.segments.0.disk.salt()?;
        let (number, file) = self.segments.take()?;
        self.segments.known().full.push((self.number, self.next - 1));
        self.header = Header { serial: self.header.serial + 1, first: self.next, salt };
        (self.number, self.file, self.fresh, self.at) = (number, file, true, HEADER);
        Ok(())
    }

    /// The lsn of the group to come.
    pub(super) fn next(&self) -> Lsn {
        self.next
    }

    /// Writes a group and syncs it. After an error it may be there or not, and the log ends.
    pub(super) fn append(&mut self, frame: &mut Vec<u8>) -> io::Result<()> {
        frame::seal(frame, self.header.salt, self.next);
        if self.fresh {
            self.file.write(0, &self.header.page())?;
            self.fresh = false;
        }
        self.file.write(self.at as u64, frame)?;
        self.file.sync()?;
        self.at += frame.len();
        self.next += 1;
        Ok(())
    }
}
