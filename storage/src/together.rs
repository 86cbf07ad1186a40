//! Reads that follow one another: where each would be handed over to a thread that may wait for a
//! disk, all of them are, at once.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::port::{Pending, Store};

/// What is done where it may wait for a disk. The store that it gets reads at once, and takes no
/// writes.
pub type Reads = Box<dyn FnOnce(Arc<dyn Store>) + Send>;

/// The threads of a store that may wait for its disk.
pub trait Aside: Send + Sync {
    /// Does these reads on one of them.
    fn run(&self, reads: Reads) -> Pending<'_, ()>;
}

/// Does these reads, which wait for nothing but the store that they get; where that has a disk, all
/// see it as it was at one instant.
///
/// # Errors
/// Those of the reads.
pub async fn together<T: Send + 'static, F>(
    store: &Arc<dyn Store>,
    reads: impl FnOnce(Arc<dyn Store>) -> F + Send + 'static,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>> + Send,
{
    let Some(aside) = store.aside() else { return reads(store.clone()).await };
    let (tell, told) = oneshot::channel();
    let run = move |store| drop(tell.send(reads(store).now_or_never()));
    aside.run(Box::new(run)).await?;
    let done = told.await.ok().flatten();
    done.unwrap_or_else(|| Err(StoreError::Unavailable("a read was given up".into())))
}
