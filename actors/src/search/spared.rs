//! What cannot be read, or fails the program, is not found, and is in nobody's way.

use storage::StoreError;

use crate::panics::{Panicked, caught_in};

/// What this reads; nothing where it is corrupt, or panics.
pub(super) async fn spared<T>(
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<Option<T>, StoreError> {
    match caught_in("search", read).await {
        Ok(Err(StoreError::Corrupt(why))) => left_out(&why.0),
        Err(Panicked) => left_out("it panicked"),
        Ok(read) => return read.map(Some),
    }
    Ok(None)
}

pub(super) fn left_out(why: &str) {
    tracing::error!(why, "something cannot be brought into the search index");
    metrics::counter!("omnistream_search_left_out_total").increment(1);
}
