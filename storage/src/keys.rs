//! Parts of keys from the engine's types, and ids from keys, in one place.

use engine::time::Timestamp;
use uuid::Uuid;

use crate::error::StoreError;
use crate::port::{Key, Part, Row, Scan, Store, Table};

/// An id.
pub(crate) fn id(id: impl Into<Uuid>) -> Part {
    Part::Uuid(*id.into().as_bytes())
}

/// A number; what does not fit sorts last.
pub(crate) fn int(n: u64) -> Part {
    Part::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// A text.
pub(crate) fn text(text: &str) -> Part {
    Part::Text(text.to_owned().into())
}

/// The key of a table whose rows are partitions of their own.
pub(crate) fn alone(part: Part) -> Key {
    Key::new(vec![part], Vec::new())
}

/// The id in a clustering column.
pub(crate) fn uuid(part: Option<&Part>) -> Option<Uuid> {
    match part {
        Some(Part::Uuid(bytes)) => Some(Uuid::from_bytes(*bytes)),
        _ => None,
    }
}

/// The ids by which rows are named.
pub(crate) fn ids(rows: &[Row]) -> impl Iterator<Item = Uuid> {
    rows.iter().filter_map(|row| uuid(row.clustering.first()))
}

/// All ids of a partition whose rows are named by one.
pub(crate) async fn all_ids(
    store: &dyn Store,
    table: &'static Table,
    partition: Vec<Part>,
) -> Result<Vec<Uuid>, StoreError> {
    let mut all: Vec<Uuid> = Vec::new();
    let mut next = Some(Scan::of(table, partition, 1000));
    while let Some(scan) = next {
        let page = store.scan(scan.clone()).await?;
        next = scan.behind(&page);
        all.extend(ids(&page));
    }
    Ok(all)
}

/// Months since 1970 began, UTC: buckets of lists by time.
pub fn month(at: Timestamp) -> i64 {
    use chrono::Datelike;
    let date = chrono::DateTime::from_timestamp_millis(at.0).unwrap_or_default();
    i64::from(date.year() - 1970) * 12 + i64::from(date.month0())
}

/// The month in which an id (UUIDv7) was made.
pub(crate) fn month_of(id: Uuid) -> i64 {
    month(made_at(id))
}

/// When an id (UUIDv7, RFC 9562 section 5.7) was made.
pub fn made_at(id: Uuid) -> Timestamp {
    let millis = id.as_u128() >> 80;
    Timestamp(i64::try_from(millis).unwrap_or(0))
}

/// Hours since 1970.
pub fn hour(at: Timestamp) -> i64 {
    at.0.div_euclid(3_600_000)
}
