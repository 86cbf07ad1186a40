//! A view that is read where it is asked, on a thread that may wait for the disk.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use engine::time::Timestamp;

use super::overlay::{Place, View};
use super::prepare;
use super::value::Value;
use super::walk::Walk;
use crate::check;
use crate::error::StoreError;
use crate::port::{Batch, Claim, Guarantees, Key, Pending, Row, Scan, Store, Swap, Table};

/// The store as it was at one instant.
pub(super) struct Reader {
    view: Arc<View>,
    now: Timestamp,
}

impl Reader {
    pub(super) fn new(view: Arc<View>, now: Timestamp) -> Self {
        Self { view, now }
    }

    fn find(&self, table: &'static Table, key: &Key) -> Result<Option<Vec<u8>>, StoreError> {
        check::key(table, key)?;
        let place = prepare::place(table, key);
        let body = |value: &Value| value.lives(self.now).then(|| value.body().to_vec());
        match self.view.overlaid(&place, self.view.seen) {
            Ok(value) => Ok(body(&value)),
            Err(cleared) => Ok(self.view.treed(&place, cleared)?.as_ref().and_then(body)),
        }
    }

    fn find_all(
        &self,
        table: &'static Table,
        keys: &[Key],
    ) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        keys.iter().try_for_each(|key| check::key(table, key))?;
        let places: Vec<_> = keys.iter().map(|key| prepare::place(table, key)).collect();
        let mut walk = Walk::over(&*self.view.tree, &places);
        let body = |value: &Value| value.lives(self.now).then(|| value.body().to_vec());
        let find = |place: &Place| match self.view.overlaid(place, self.view.seen) {
            Ok(value) => Ok(body(&value)),
            Err(cleared) => {
                let found = walk.find(place)?;
                let counts = |value: &Value| cleared.is_none_or(|at| value.stamp() > at);
                Ok(found.filter(counts).as_ref().and_then(body))
            }
        };
        places.iter().map(find).collect()
    }

    fn page(&self, scan: &Scan) -> Result<Vec<Row>, StoreError> {
        check::scan(scan)?;
        self.view.page(scan, self.now)
    }
}

fn refused<'a, T: Send + 'a>() -> Pending<'a, T> {
    Box::pin(ready(Err(StoreError::Rejected("what only reads takes no writes".into()))))
}

impl Store for Reader {
    fn get<'a>(&'a self, table: &'static Table, key: &'a Key) -> Pending<'a, Option<Vec<u8>>> {
        Box::pin(ready(self.find(table, key)))
    }

    fn get_all<'a>(
        &'a self,
        table: &'static Table,
        keys: &'a [Key],
    ) -> Pending<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(ready(self.find_all(table, keys)))
    }

    fn scan(&self, scan: Scan) -> Pending<'_, Vec<Row>> {
        Box::pin(ready(self.page(&scan)))
    }

    fn apply(&self, _: Batch) -> Pending<'_, ()> {
        refused()
    }

    fn claim<'a>(
        &'a self,
        _: &'static Table,
        _: Key,
        _: Vec<u8>,
        _: Option<Duration>,
    ) -> Pending<'a, Claim> {
        refused()
    }

    fn swap<'a>(
        &'a self,
        _: &'static Table,
        _: Key,
        _: Option<Vec<u8>>,
        _: Option<Vec<u8>>,
    ) -> Pending<'a, Swap> {
        refused()
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees { atomic: true, settled: true }
    }
}
