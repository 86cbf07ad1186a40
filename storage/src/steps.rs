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
        let written = store.apply(Batch { stamp, changes }).await;
        written.map_err(|error| if began { error.of_a_part() } else { error })?;
        began = true;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::time::Timestamp;
    use uuid::Uuid;

    use super::in_steps;
    use crate::error::StoreError;
    use crate::faulty::{Fate, Faulty};
    use crate::keys::{alone, id};
    use crate::memory::Memory;
    use crate::port::{Change, Stamp, Store};
    use crate::tables::{MEDIA, MEDIA_BYTES};

    #[tokio::test]
    async fn what_is_refused_behind_a_step_that_was_done_is_unknown() {
        let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| Timestamp(0))));
        let store = Faulty::new(store, |_| Fate::Done);
        let good = || Change::Delete { table: &MEDIA_BYTES, key: alone(id(Uuid::nil())) };
        // Its key has too few parts.
        let bad = || Change::Delete { table: &MEDIA, key: alone(id(Uuid::nil())) };
        let refused = in_steps(&store, Stamp(1), [vec![bad()], vec![good()]]).await;
        assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
        let torn = in_steps(&store, Stamp(2), [vec![good()], vec![bad()]]).await;
        assert!(matches!(torn, Err(StoreError::Unknown(_))), "{torn:?}");
    }
}
