//! What the server answers, as rows and outcomes.

use scylla::response::query_result::QueryResult;
use scylla::value::{CqlValue, Row as CqlRow};

use crate::error::{Cause, StoreError};
use crate::port::{Kind, Part, Row, Table};

pub(super) fn body_of(result: QueryResult) -> Result<Option<Vec<u8>>, StoreError> {
    let rows = result.into_rows_result().map_err(corrupt)?;
    Ok(rows.maybe_first_row::<(Vec<u8>,)>().map_err(corrupt)?.map(|(body,)| body))
}

pub(super) fn rows_of(result: QueryResult, table: &Table) -> Result<Vec<Row>, StoreError> {
    let result = result.into_rows_result().map_err(corrupt)?;
    let rows = result.rows::<CqlRow>().map_err(corrupt)?;
    rows.map(|row| {
        let mut columns = row.map_err(corrupt)?.columns.into_iter();
        let clustering = table.clustering.iter().map(|(name, kind)| {
            let part = columns.next().flatten().and_then(|value| part(*kind, value));
            part.ok_or_else(|| corrupt(format!("the column `{name}` of `{}`", table.name)))
        });
        let clustering = clustering.collect::<Result<_, _>>()?;
        match columns.next() {
            Some(Some(CqlValue::Blob(body))) => Ok(Row { clustering, body }),
            _ => Err(corrupt(format!("the body of a row of `{}`", table.name))),
        }
    })
    .collect()
}

pub(super) fn part(kind: Kind, value: CqlValue) -> Option<Part> {
    match (kind, value) {
        (Kind::Int, CqlValue::BigInt(n)) => Some(Part::Int(n)),
        (Kind::Uuid, CqlValue::Blob(bytes)) => Some(Part::Uuid(bytes.try_into().ok()?)),
        (Kind::Text, CqlValue::Text(text)) => Some(Part::Text(text.into())),
        _ => None,
    }
}

/// `[applied]`, and the body that is beside it where it is: Cassandra leaves out what it need not
/// say, ScyllaDB always says what was there before.
pub(super) fn decision(result: QueryResult) -> Result<(bool, Option<Vec<u8>>), StoreError> {
    let result = result.into_rows_result().map_err(corrupt)?;
    let at = |name: &str| result.column_specs().iter().position(|spec| spec.name() == name);
    let (applied, body) = (at("[applied]"), at("body"));
    let row = result.first_row::<CqlRow>().map_err(corrupt)?;
    let value = |at: Option<usize>| row.columns.get(at?)?.as_ref();
    let Some(CqlValue::Boolean(is_applied)) = value(applied) else {
        return Err(corrupt("a decision without an outcome"));
    };
    let body = match value(body) {
        Some(CqlValue::Blob(body)) => Some(body.clone()),
        _ => None,
    };
    Ok((*is_applied, body))
}

pub(super) fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(Cause(format!("an answer of the database cannot be read: {error}")))
}
