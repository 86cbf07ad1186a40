//! All rows of a table, as a store has them that was just opened: in its tree, all of them.

use engine::time::Timestamp;
use futures_util::stream;

use super::overlay::View;
use super::value::Expiry;
use super::{Embedded, encoding};
use crate::error::StoreError;
use crate::moving::{Pages, Record, Source};
use crate::port::Table;

/// A page has so many bytes, dead rows too, or one row.
const PAGE: usize = 1 << 20;

/// Rows, and the first key behind them unless they are the last.
type Page = (Vec<Record>, Option<Vec<u8>>);

impl Source for Embedded {
    /// Of what was written since the store was opened nothing is found: that is refused.
    fn pages(&self, table: &'static Table) -> Pages<'_> {
        let first = table.number.to_be_bytes().to_vec();
        Box::pin(stream::try_unfold(Some(first), move |from| async move {
            let Some(from) = from else { return Ok(None) };
            self.rows_from(table, from).await.map(Some)
        }))
    }
}

impl Embedded {
    async fn rows_from(&self, table: &'static Table, from: Vec<u8>) -> Result<Page, StoreError> {
        let now = (self.now)();
        let view = self.shared.view.load_full();
        if view.bytes() > 0 {
            return Err(StoreError::Rejected("a store is read whole before it is written".into()));
        }
        self.blocking(move || read(&view, table, &from, now)).await
    }
}

fn read(
    view: &View,
    table: &'static Table,
    from: &[u8],
    now: Timestamp,
) -> Result<Page, StoreError> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    let high = encoding::end(&table.number.to_be_bytes());
    for row in view.tree.rows(table.shape, from, &high, true) {
        let (key, value) = row?;
        bytes += key.len() + value.bytes().len();
        if value.lives(now) {
            page.push(Record {
                table,
                key: encoding::key(table, &key)?,
                stamp: value.stamp(),
                // What lives longer than can be said does not expire.
                expires: Some(value.expires()).filter(|at| !matches!(*at, 0 | Expiry::MAX)),
                body: value.body().to_vec(),
            });
        }
        if bytes >= PAGE {
            return Ok((page, Some([&key[..], &[0]].concat())));
        }
    }
    Ok((page, None))
}
