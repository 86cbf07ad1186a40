//! Whether a call fits its table: the same refusals on every backend.

use crate::error::StoreError;
use crate::port::{Batch, Change, Key, Kind, Part, Scan, Table, Writes};

/// The texts of a key are no longer than this in bytes: trees and CQL take 64 KiB, and a zero byte
/// may take two.
const KEY_BYTES: usize = 16 << 10;

/// A row's key names every column.
pub(crate) fn key(table: &Table, key: &Key) -> Result<(), StoreError> {
    partition(table, &key.partition)?;
    if key.clustering.len() != table.clustering.len() {
        return refuse(table, "the key lacks clustering columns");
    }
    let text = |part: &Part| if let Part::Text(text) = part { text.len() } else { 0 };
    if key.partition.iter().chain(&key.clustering).map(text).sum::<usize>() > KEY_BYTES {
        return refuse(table, "the key is too long");
    }
    begins(table, &key.clustering)
}

/// A partition key names every column.
fn partition(table: &Table, parts: &[Part]) -> Result<(), StoreError> {
    if parts.len() != table.partition.len() || !fits(table.partition, parts) {
        return refuse(table, "the partition key does not fit its columns");
    }
    Ok(())
}

/// A prefix or bound names the first clustering columns.
fn begins(table: &Table, parts: &[Part]) -> Result<(), StoreError> {
    if fits(table.clustering, parts) {
        return Ok(());
    }
    refuse(table, "the clustering key does not fit its columns")
}

/// The bounds of a scan fit.
pub(crate) fn scan(scan: &Scan) -> Result<(), StoreError> {
    partition(scan.table, &scan.partition)?;
    begins(scan.table, &scan.prefix)?;
    begins(scan.table, scan.after.as_deref().unwrap_or_default())?;
    begins(scan.table, scan.until.as_deref().unwrap_or_default())
}

/// A batch writes plain tables only.
pub(crate) fn batch(batch: &Batch) -> Result<(), StoreError> {
    for change in &batch.changes {
        let (Change::Put { table, .. }
        | Change::Delete { table, .. }
        | Change::Clear { table, .. }) = change;
        if table.writes != Writes::Plain {
            return refuse(table, "guarded tables take only claims and swaps");
        }
        match change {
            Change::Put { key: row, .. } | Change::Delete { key: row, .. } => key(table, row)?,
            Change::Clear { partition: parts, .. } => partition(table, parts)?,
        }
    }
    Ok(())
}

/// A claim or swap writes a guarded table.
pub(crate) fn guarded(table: &Table, row: &Key) -> Result<(), StoreError> {
    if table.writes != Writes::Guarded {
        return refuse(table, "plain tables take only batches");
    }
    key(table, row)
}

fn fits(columns: &[(&str, Kind)], parts: &[Part]) -> bool {
    parts.len() <= columns.len()
        && columns.iter().zip(parts).all(|((_, kind), part)| {
            matches!(
                (kind, part),
                (Kind::Int, Part::Int(_))
                    | (Kind::Uuid, Part::Uuid(_))
                    | (Kind::Text, Part::Text(_))
            )
        })
}

fn refuse(table: &Table, why: &str) -> Result<(), StoreError> {
    Err(StoreError::Rejected(format!("{}: {why}", table.name).into()))
}
