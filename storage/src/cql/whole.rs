//! All rows of a table, one part of the ring after the other.

use std::ops::ControlFlow;

use futures_util::stream;
use scylla::response::query_result::QueryResult;
use scylla::response::{PagingState, PagingStateResponse};
use scylla::value::{CqlValue, Row as CqlRow};
use tokio::time::Instant;

use super::answers::{corrupt, part};
use super::statements::{Value, Verb};
use super::{Cql, error};
use crate::error::StoreError;
use crate::moving::{Pages, Record, Source};
use crate::port::{Key, Kind, Stamp, Table, Writes};

/// So many parts: a page is not looked for behind all that was deleted in a table.
const RANGES: u32 = 32;
/// Rows of a page, each of 40 KiB at most.
const PAGE: i32 = 500;

impl Source for Cql {
    fn pages(&self, table: &'static Table) -> Pages<'_> {
        let first = Some((0, PagingState::start()));
        Box::pin(stream::try_unfold(first, move |at| async move {
            let Some((range, paging)) = at else { return Ok(None) };
            let (page, behind) = self.page(table, range, paging).await?;
            let next = match behind.into_paging_control_flow() {
                ControlFlow::Continue(paging) => Some((range, paging)),
                ControlFlow::Break(()) => {
                    (range + 1 < RANGES).then(|| (range + 1, PagingState::start()))
                }
            };
            Ok(Some((page, next)))
        }))
    }
}

impl Cql {
    async fn page(
        &self,
        table: &'static Table,
        range: u32,
        paging: PagingState,
    ) -> Result<(Vec<Record>, PagingStateResponse), StoreError> {
        let mut statement = self.prepared(table, Verb::Whole).await?;
        statement.set_page_size(PAGE);
        let bounds = [range, range + 1].map(|range| Value::Int(token(range)));
        let _place = self.0.places.take(table).await?;
        let began = Instant::now();
        let page = self.0.session.execute_single_page(&statement, bounds.to_vec(), paging).await;
        self.took(Verb::Whole.word(), table, began, page.is_err());
        let (found, behind) = page.map_err(|error| error::failed(&error, true))?;
        Ok((records(found, table)?, behind))
    }
}

/// Before this part of the ring; the first one is of no key.
fn token(range: u32) -> i64 {
    let width = (1_i128 << 64) / i128::from(RANGES);
    let token = i128::from(i64::MIN) + i128::from(range) * width;
    i64::try_from(token).unwrap_or(i64::MAX)
}

fn records(found: QueryResult, table: &'static Table) -> Result<Vec<Record>, StoreError> {
    let found = found.into_rows_result().map_err(corrupt)?;
    let rows = found.rows::<CqlRow>().map_err(corrupt)?;
    rows.map(|row| {
        let columns = row.map_err(corrupt)?.columns;
        record(columns, table).ok_or_else(|| corrupt(format!("a row of `{}`", table.name)))
    })
    .collect()
}

fn record(columns: Vec<Option<CqlValue>>, table: &'static Table) -> Option<Record> {
    let mut columns = columns.into_iter();
    let mut parts = |of: &[(&str, Kind)]| {
        of.iter().map(|(_, kind)| part(*kind, columns.next()??)).collect::<Option<Vec<_>>>()
    };
    let key = Key { partition: parts(table.partition)?, clustering: parts(table.clustering)? };
    let mut next = || columns.next();
    let (Some(CqlValue::Blob(body)), Some(CqlValue::BigInt(written))) = (next()?, next()?) else {
        return None;
    };
    // Seconds from now on, by the clock of the server that counts them.
    let (left, now) = (next()?, next()??.as_bigint()?.div_euclid(1_000));
    let expires = left.map(|left| now + i64::from(left.as_int().unwrap_or(0)));
    Some(Record {
        table,
        key,
        stamp: Stamp(if table.writes == Writes::Guarded { 0 } else { written }),
        expires: expires.and_then(|at| u32::try_from(at).ok()),
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::{RANGES, token};

    #[test]
    fn the_parts_are_the_whole_ring() {
        assert_eq!((token(0), token(RANGES)), (i64::MIN, i64::MAX));
        assert!((0..RANGES).all(|range| token(range) < token(range + 1)));
    }
}
