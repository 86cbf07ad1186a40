//! The file of a moved store: eight bytes by which it is known, then frames. A frame is length (4
//! bytes), checksum (4), payload; a payload begins with what it is.
//!
//! - The first frame has the file's id, those behind it have rows, the last one the number of all rows,
//!   the highest stamp and a checksum of all bytes before it: a file that is cut off, or put together
//!   of two, is known.
//! - A row is length of the key (4), length of the body (4), stamp (8), the second in which it expires
//!   (4; 0: never), the key as the embedded store has it, the body.

use std::io::ErrorKind;

use crc32fast::Hasher;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use uuid::Uuid;

use super::{NotMoved, Record};
use crate::embedded::encoding;
use crate::port::Stamp;
use crate::tables::ALL;

/// The last of it is the format's version.
const MAGIC: [u8; 8] = *b"omnimov1";
const HEAD: usize = 8;
/// No frame that was written is longer: larger rows than a batch there are none.
const FRAME_MAX: usize = 64 << 20;

const BEGIN: u8 = 0;
const ROWS: u8 = 1;
const END: u8 = 2;

/// A file that is being written.
pub(super) struct Writer<W> {
    to: W,
    sum: Hasher,
    frame: Vec<u8>,
    rows: u64,
    highest: Stamp,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) async fn begin(to: W, id: Uuid) -> Result<Self, NotMoved> {
        let (sum, frame, rows, highest) = (Hasher::new(), Vec::new(), 0, Stamp(0));
        let mut file = Self { to, sum, frame, rows, highest };
        file.put(&MAGIC).await?;
        file.frame(BEGIN, |payload| payload.extend_from_slice(id.as_bytes())).await?;
        Ok(file)
    }

    pub(super) async fn rows(&mut self, records: &[Record]) -> Result<(), NotMoved> {
        self.rows += records.len() as u64;
        for record in records {
            self.highest = self.highest.max(record.stamp);
        }
        self.frame(ROWS, |payload| records.iter().for_each(|record| append(record, payload))).await
    }

    pub(super) async fn end(mut self) -> Result<(), NotMoved> {
        let (rows, highest, sum) = (self.rows, self.highest, self.sum.clone().finalize());
        self.frame(END, |payload| {
            payload.extend_from_slice(&rows.to_le_bytes());
            payload.extend_from_slice(&highest.0.to_le_bytes());
            payload.extend_from_slice(&sum.to_le_bytes());
        })
        .await?;
        self.to.flush().await.map_err(|error| unwritten(&error))
    }

    async fn frame(
        &mut self,
        kind: u8,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NotMoved> {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.resize(HEAD, 0);
        frame.push(kind);
        payload(&mut frame);
        let length = u32::try_from(frame.len() - HEAD).expect("a piece is smaller than 4 GiB");
        let sum = crc32fast::hash(&frame[HEAD..]);
        frame[..4].copy_from_slice(&length.to_le_bytes());
        frame[4..HEAD].copy_from_slice(&sum.to_le_bytes());
        self.put(&frame).await?;
        self.frame = frame;
        Ok(())
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), NotMoved> {
        self.sum.update(bytes);
        self.to.write_all(bytes).await.map_err(|error| unwritten(&error))
    }
}

/// A file that is being read.
pub(super) struct Reader<R> {
    from: BufReader<R>,
    sum: Hasher,
    pub(super) id: Uuid,
    /// So far.
    pub(super) rows: u64,
    pub(super) highest: Stamp,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) async fn begin(from: R) -> Result<Self, NotMoved> {
        let (from, sum) = (BufReader::with_capacity(256 << 10, from), Hasher::new());
        let mut file = Self { from, sum, id: Uuid::nil(), rows: 0, highest: Stamp(0) };
        let mut magic = [0; MAGIC.len()];
        let begins = file.take(&mut magic).await;
        if begins.is_err() || magic[..7] != MAGIC[..7] {
            return Err(NotMoved(
                "this is no file that `omnistream export` wrote: name another".into(),
            ));
        }
        if magic != MAGIC {
            return Err(newer());
        }
        let (kind, payload) = file.frame().await?;
        file.id = Uuid::from_slice(&payload).map_err(|_| damaged())?;
        if kind != BEGIN {
            return Err(damaged());
        }
        Ok(file)
    }

    /// The next rows; `None`: those were all, and the file is whole.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Record>>, NotMoved> {
        let sum = self.sum.clone().finalize();
        let (kind, payload) = self.frame().await?;
        match kind {
            ROWS => {
                let records = records(&payload)?;
                self.rows += records.len() as u64;
                for record in &records {
                    self.highest = self.highest.max(record.stamp);
                }
                Ok(Some(records))
            }
            END => {
                let mut expected = self.rows.to_le_bytes().to_vec();
                expected.extend_from_slice(&self.highest.0.to_le_bytes());
                expected.extend_from_slice(&sum.to_le_bytes());
                let more = self.from.read(&mut [0]).await.map_err(|error| unread(&error))?;
                if payload == expected && more == 0 { Ok(None) } else { Err(damaged()) }
            }
            _ => Err(newer()),
        }
    }

    async fn frame(&mut self) -> Result<(u8, Vec<u8>), NotMoved> {
        let mut head = [0; HEAD];
        self.take(&mut head).await?;
        let number =
            |at: usize| head[at..at + 4].as_array().map(|bytes| u32::from_le_bytes(*bytes));
        let (length, sum) = (number(0).unwrap_or(0) as usize, number(4).unwrap_or(0));
        if length == 0 || length > FRAME_MAX {
            return Err(damaged());
        }
        let mut payload = vec![0; length];
        self.take(&mut payload).await?;
        if crc32fast::hash(&payload) != sum {
            return Err(damaged());
        }
        let kind = payload.remove(0);
        Ok((kind, payload))
    }

    async fn take(&mut self, bytes: &mut [u8]) -> Result<(), NotMoved> {
        self.from.read_exact(bytes).await.map_err(|error| unread(&error))?;
        self.sum.update(bytes);
        Ok(())
    }
}

fn append(record: &Record, payload: &mut Vec<u8>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a row is smaller than 4 GiB");
    let (key, _) = encoding::row(record.table, &record.key);
    payload.extend_from_slice(&length(&key).to_le_bytes());
    payload.extend_from_slice(&length(&record.body).to_le_bytes());
    payload.extend_from_slice(&record.stamp.0.to_le_bytes());
    payload.extend_from_slice(&record.expires.unwrap_or(0).to_le_bytes());
    payload.extend_from_slice(&key);
    payload.extend_from_slice(&record.body);
}

fn records(mut payload: &[u8]) -> Result<Vec<Record>, NotMoved> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        records.push(record(&mut payload)?);
    }
    Ok(records)
}

fn record(from: &mut &[u8]) -> Result<Record, NotMoved> {
    let mut take = |length: usize| from.split_off(..length).ok_or_else(damaged);
    let number = |bytes: &[u8]| bytes.as_array().map(|bytes| u32::from_le_bytes(*bytes));
    let key = number(take(4)?).ok_or_else(damaged)? as usize;
    let body = number(take(4)?).ok_or_else(damaged)? as usize;
    let stamp =
        Stamp(take(8)?.as_array().map(|bytes| i64::from_le_bytes(*bytes)).ok_or_else(damaged)?);
    let expires = number(take(4)?).filter(|expires| *expires != 0);
    let (key, body) = (take(key)?, take(body)?.to_vec());
    let number = key.first_chunk().map(|bytes| u16::from_be_bytes(*bytes)).ok_or_else(damaged)?;
    let table = ALL.into_iter().find(|table| table.number == number).ok_or_else(newer)?;
    let key = encoding::key(table, key).map_err(|_| damaged())?;
    Ok(Record { table, key, stamp, expires, body })
}

fn damaged() -> NotMoved {
    NotMoved("the file is damaged: copy it again, or export again".into())
}

fn newer() -> NotMoved {
    NotMoved("the file was written by another version of OmniStream: use that one, or export with this one".into())
}

fn unread(error: &std::io::Error) -> NotMoved {
    match error.kind() {
        ErrorKind::UnexpectedEof => {
            NotMoved("the file ends in the middle: copy it again, or export again".into())
        }
        _ => NotMoved(format!("the file cannot be read: {error}")),
    }
}

fn unwritten(error: &std::io::Error) -> NotMoved {
    NotMoved(format!("the file cannot be written ({error}): name another place"))
}
