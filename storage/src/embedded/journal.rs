//! The tree's journal after a power cut: a disk writes its pages in any order, so that a whole page may
//! stand behind one that never came. fjall drops a batch that ends too early; one with a hole in it, it
//! takes for damage and does not open.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

/// Cuts the newest journal of the tree in `path` behind its last whole batch, and answers whether it was
/// longer. What is cut away the log still has, unless a sync had promised it: then the log begins behind
/// the mark that is left, and the store says that it is damaged.
pub(super) fn cut(path: &Path) -> io::Result<bool> {
    // Those before it were synced before it was made.
    let Some(newest) = newest(path)? else { return Ok(false) };
    let file = OpenOptions::new().read(true).write(true).open(newest)?;
    let whole = Batches::of(&file).whole()?;
    let longer = file.metadata()?.len() > whole;
    if longer {
        file.set_len(whole)?;
        file.sync_all()?;
    }
    Ok(longer)
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

const START: u8 = 1;
const ROW: u8 = 2;
const END: [u8; 4] = *b"FJL\x03";
const CLEAR: u8 = 4;

impl<'a> Batches<'a> {
    fn of(journal: &'a File) -> Self {
        Self { journal: BufReader::new(journal), read: 0, checksum: Xxh3::new() }
    }

    /// How many bytes at the beginning are whole batches.
    fn whole(mut self) -> io::Result<u64> {
        let mut whole = 0;
        loop {
            match self.batch() {
                Ok(true) => whole = self.read,
                Ok(false) => return Ok(whole),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(whole),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether what comes is a whole batch.
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
