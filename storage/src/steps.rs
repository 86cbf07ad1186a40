//! Changes of several partitions that need each other, on a store that may do some of them alone.

use crate::error::StoreError;
use crate::port::{Batch, Change, Stamp, Store};

/// Writes these, each step once those before it are durable; as one where the store does that.
///
/// # Errors
/// Where a first step is done and a later one is not, it is unknown what there is.
pub(crate) async fn in_steps<const N: usize>(
    store: &dyn Store,
    stamp: Stamp,
    steps: [Vec<Change>; N],
) -> Result<(), StoreError> {
    if store.guarantees().atomic {
        let changes = steps.into_iter().flatten().collect();
        return store.apply(Batch { stamp, changes }).await;
    }
    let mut began = false;
    for changes in steps.into_iter().filter(|changes| !changes.is_empty()) {
        store.apply(Batch { stamp, changes }).await.map_err(|error| match error {
            StoreError::Unavailable(cause) if began => StoreError::Unknown(cause),
            other => other,
        })?;
        began = true;
    }
    Ok(())
}
