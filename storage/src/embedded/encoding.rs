//! Keys as bytes whose order is the order of the rows.
//!
//! A key is the table's number, the partition columns, the clustering columns. An `Int` is
//! big-endian with its sign bit flipped, a `Uuid` its bytes, a `Text` its bytes with `00` written
//! as `00 FF` and `00 00` at the end: no column is the beginning of another one. The clustering
//! bytes of a descending table are complemented.

use std::borrow::Cow;

use crate::error::StoreError;
use crate::port::{Key, Kind, Order, Part, Scan, Table};

/// A partition: the beginning of the keys of all its rows, itself the key of none of them where
/// the table has clustering columns.
pub(super) fn partition(table: &Table, parts: &[Part]) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(&table.number.to_be_bytes());
    append(parts, &mut key);
    key
}

/// A row's key, and how much of it is its partition's.
pub(crate) fn row(table: &Table, key: &Key) -> (Vec<u8>, usize) {
    let mut bytes = partition(table, &key.partition);
    let length = bytes.len();
    cluster(table, &key.clustering, &mut bytes);
    (bytes, length)
}

/// The key that these bytes are.
pub(crate) fn key(table: &Table, bytes: &[u8]) -> Result<Key, StoreError> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    let parts = table.partition.iter().map(|(_, kind)| take(*kind, &mut rest));
    let partition = parts.collect::<Option<Vec<_>>>().ok_or_else(|| damaged(table))?;
    Ok(Key { partition, clustering: clustering(table, rest)? })
}

/// The keys from `low` to before `high` that a scan asks for; rising or falling.
pub(super) struct Span {
    pub(super) low: Vec<u8>,
    pub(super) high: Vec<u8>,
    pub(super) rising: bool,
    /// How much of every key is the partition's.
    pub(super) partition: usize,
}

/// Which keys a scan asks for, and in which direction.
pub(super) fn span(scan: &Scan) -> Span {
    let partition = partition(scan.table, &scan.partition);
    let begin = |parts: &[Part]| {
        let mut key = partition.clone();
        cluster(scan.table, parts, &mut key);
        key
    };
    let prefix = begin(&scan.prefix);
    // A table's rows lie in its order already, whatever that is.
    let rising = !scan.reverse;
    let (from, to) = if rising { (&scan.after, &scan.until) } else { (&scan.until, &scan.after) };
    let mut span =
        Span { low: prefix.clone(), high: end(&prefix), rising, partition: partition.len() };
    if let Some(from) = from {
        span.low = span.low.max(end(&begin(from)));
    }
    if let Some(to) = to {
        span.high = span.high.min(begin(to));
    }
    span
}

/// The first key behind all that begin with this.
pub(super) fn end(prefix: &[u8]) -> Vec<u8> {
    let mut key = prefix.to_vec();
    while key.pop_if(|last| *last == u8::MAX).is_some() {}
    let last = key.last_mut().expect("a key begins with a table's number, which is not FFFF");
    *last += 1;
    key
}

/// The clustering columns of a row's key.
pub(super) fn clustering(table: &Table, bytes: &[u8]) -> Result<Vec<Part>, StoreError> {
    let bytes: Cow<'_, [u8]> = match table.order {
        Order::Ascending => bytes.into(),
        Order::Descending => bytes.iter().map(|byte| !byte).collect(),
    };
    let mut rest = &bytes[..];
    let parts = table.clustering.iter().map(|(_, kind)| take(*kind, &mut rest));
    let parts: Option<Vec<_>> = parts.collect();
    parts.filter(|_| rest.is_empty()).ok_or_else(|| damaged(table))
}

fn damaged(table: &Table) -> StoreError {
    StoreError::Corrupt(format!("a key of {} is damaged", table.name).into())
}

fn cluster(table: &Table, parts: &[Part], to: &mut Vec<u8>) {
    let from = to.len();
    append(parts, to);
    if table.order == Order::Descending {
        to[from..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

fn append(parts: &[Part], to: &mut Vec<u8>) {
    for part in parts {
        match part {
            Part::Int(int) => to.extend_from_slice(&(int ^ i64::MIN).to_be_bytes()),
            Part::Uuid(id) => to.extend_from_slice(id),
            Part::Text(text) => {
                for byte in text.bytes() {
                    to.push(byte);
                    if byte == 0 {
                        to.push(u8::MAX);
                    }
                }
                to.extend_from_slice(&[0, 0]);
            }
        }
    }
}

fn take(kind: Kind, from: &mut &[u8]) -> Option<Part> {
    match kind {
        Kind::Int => {
            let int = i64::from_be_bytes(*from.split_off(..8)?.as_array()?);
            Some(Part::Int(int ^ i64::MIN))
        }
        Kind::Uuid => Some(Part::Uuid(*from.split_off(..16)?.as_array()?)),
        Kind::Text => {
            let mut text = Vec::new();
            loop {
                let byte = *from.split_off_first()?;
                if byte != 0 {
                    text.push(byte);
                } else if *from.split_off_first()? == u8::MAX {
                    text.push(0);
                } else {
                    return Some(Part::Text(String::from_utf8(text).ok()?.into()));
                }
            }
        }
    }
}
