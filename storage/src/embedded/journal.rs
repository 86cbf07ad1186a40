//! The tree's journal after a power cut: a disk writes its pages in any order, so that a whole page may
//! stand behind one that never came. fjall drops a batch that ends too early; one with a hole in it, it
//! takes for damage and does not open.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memchr::memmem;
use xxhash_rust::xxh3::Xxh3;

/// Cuts the newest journal of the tree in `path` behind its first batches that are whole: what is cut away
/// the log still has. Answers whether it did; not where a mark lies behind it, a batch whose first key is
/// this one: it is written once everything before it is synced, so that this is damage and no power cut.
pub(super) fn cut(path: &Path, mark: &[u8]) -> io::Result<bool> {
    // Those before it were synced before it was made.
    let Some(newest) = newest(path)? else { return Ok(false) };
    let file = OpenOptions::new().read(true).write(true).open(newest)?;
    let whole = Batches::from(&file, 0)?.whole()?;
    if file.metadata()?.len() == whole || is_marked(&file, whole, mark)? {
        return Ok(false);
    }
    file.set_len(whole)?;
    file.sync_all()?;
    Ok(true)
}

/// Whether a whole batch whose first key is `mark` begins behind `from`.
fn is_marked(file: &File, from: u64, mark: &[u8]) -> io::Result<bool> {
    let (mut bytes, mut at) = (vec![0; 1 << 20], from);
    loop {
        let read = file.read_at(&mut bytes, at)?;
        for found in memmem::find_iter(&bytes[..read], mark) {
            let begins = (at + found as u64).checked_sub(BEFORE_KEY).filter(|begin| *begin >= from);
            if let Some(begin) = begins
                && Batches::from(file, begin)?.is_whole()?
            {
                return Ok(true);
            }
        }
        // One may lie across.
        let Some(next) = (read + 1).checked_sub(mark.len()).filter(|next| *next > 0) else {
            return Ok(false);
        };
        at += next as u64;
    }
}

fn newest(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in path.read_dir()? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl"));
        if let Some(number) = name.and_then(|name| name.parse::<u64>().ok()) {
            newest = newest.max(Some((number, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// The batches of a journal of fjall 3. One is a start (1, the number of its entries in four bytes, a
/// number of eight), its entries, and an end (3, the checksum of the entries in eight bytes, four that are
/// always the same). An entry is a row (2) or an order to clear (4). Numbers are little endian.
struct Batches<'a> {
    journal: BufReader<&'a File>,
    read: u64,
    checksum: Xxh3,
}

/// What of a batch lies before its first key.
const BEFORE_KEY: u64 = (1 + 4 + 8) + (1 + 1 + 1 + 8 + 2 + 4 + 4);
const START: u8 = 1;
const ROW: u8 = 2;
const END: [u8; 4] = *b"FJL\x03";
const CLEAR: u8 = 4;

impl<'a> Batches<'a> {
    fn from(mut journal: &'a File, at: u64) -> io::Result<Self> {
        journal.seek(SeekFrom::Start(at))?;
        Ok(Self { journal: BufReader::new(journal), read: 0, checksum: Xxh3::new() })
    }

    /// How many bytes at the beginning are whole batches.
    fn whole(mut self) -> io::Result<u64> {
        let mut whole = 0;
        while self.is_whole()? {
            whole = self.read;
        }
        Ok(whole)
    }

    /// Whether what comes is a whole batch.
    fn is_whole(&mut self) -> io::Result<bool> {
        match self.batch() {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            whole => whole,
        }
    }

    fn batch(&mut self) -> io::Result<bool> {
        let [start, a, b, c, d] = self.bytes()?;
        if start != START {
            return Ok(false);
        }
        self.pass(8)?;
        self.checksum.reset();
        for _ in 0..u32::from_le_bytes([a, b, c, d]) {
            match self.bytes()? {
                [ROW] => {
                    // What kind, how compressed, where to.
                    self.pass(1 + 1 + 8)?;
                    let key = u16::from_le_bytes(self.bytes()?);
                    // Before it is compressed.
                    self.pass(4)?;
                    let value = u32::from_le_bytes(self.bytes()?);
                    self.pass(u64::from(key) + u64::from(value))?;
                }
                [CLEAR] => self.pass(8)?,
                _ => return Ok(false),
            }
        }
        let checksum = self.checksum.digest();
        let [_end] = self.bytes()?;
        Ok(u64::from_le_bytes(self.bytes()?) == checksum && self.bytes()? == END)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.journal.read_exact(&mut bytes)?;
        self.read += N as u64;
        self.checksum.update(&bytes);
        Ok(bytes)
    }

    fn pass(&mut self, mut length: u64) -> io::Result<()> {
        while length > 0 {
            let held = self.journal.fill_buf()?;
            let passed = held.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            if passed == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.checksum.update(&held[..passed]);
            self.journal.consume(passed);
            self.read += passed as u64;
            length -= passed as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    use engine::time::Timestamp;
    use fjall::Slice;

    use super::super::tree::{Fjall, Tree};
    use super::{Batches, newest};
    use crate::port::Shape;
    use crate::seed::{Chance, seeds};

    #[test]
    fn a_byte_that_is_another_ends_what_is_whole_where_its_batch_begins() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = Fjall::open(directory.path(), 3 << 20, 64 << 20, Arc::new(|| Timestamp(0)));
        let tree = tree.expect("it opens");
        for seed in seeds(3, 1) {
            let mut chance = Chance::of(seed);
            for _ in 0..8 {
                let row = |n: usize| {
                    // Those above four kilobytes are compressed.
                    let body = vec![chance.number().to_le_bytes()[0]; chance.index(9_000)];
                    let shape =
                        if n.is_multiple_of(2) { Shape::Appended } else { Shape::Overwritten };
                    let body = chance.permille(900).then(|| Slice::from(body));
                    (shape, Slice::from(chance.number().to_be_bytes()), body)
                };
                tree.write((0..5).map(row).collect()).expect("written");
            }
            tree.sync().expect("synced");
            let path = newest(directory.path()).expect("looked").expect("a journal");
            let file = OpenOptions::new().read(true).write(true).open(path).expect("the journal");
            let (mut batches, mut ends) = (Batches::from(&file, 0).expect("read"), vec![0]);
            while batches.is_whole().expect("read") {
                ends.push(batches.read);
            }
            assert!(ends.len() > 8, "{ends:?}");
            let end = *ends.last().expect("one");
            let mut behind = [0; 4_096];
            file.read_exact_at(&mut behind, end).expect("it is allocated");
            assert_eq!(behind, [0; 4_096], "all of it is read");
            for _ in 0..200 {
                let at = chance.below(end);
                let begins = *ends.iter().rfind(|end| **end <= at).expect("one");
                if (begins + 5..begins + 13).contains(&at) {
                    // The number is not summed up.
                    continue;
                }
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).expect("a byte");
                file.write_all_at(&[byte[0] ^ (1 << chance.index(8))], at).expect("another");
                let whole = Batches::from(&file, 0).expect("read").whole().expect("read");
                assert_eq!(whole, begins, "{at} of {ends:?}");
                file.write_all_at(&byte, at).expect("as it was");
            }
        }
    }
}
