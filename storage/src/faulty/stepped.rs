//! A store whose writes wait until the test says what becomes of each.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::fate::{Fate, Outcome, Write, land};
use crate::error::StoreError;
use crate::port::Store;

/// The writes of a stepped store, in the order of the calls.
pub struct Writes(pub(super) mpsc::UnboundedReceiver<Held>);

impl Writes {
    /// The next write, as soon as there is one; `None` when the store was dropped.
    pub async fn next(&mut self) -> Option<Held> {
        self.0.recv().await
    }

    /// The next write if there is one.
    pub fn try_next(&mut self) -> Option<Held> {
        self.0.try_recv().ok()
    }
}

/// A write that waits for its fate. Dropped, it is lost and unknown.
pub struct Held {
    /// What it would do.
    pub write: Write,
    pub(super) inner: Arc<dyn Store>,
    pub(super) answer: oneshot::Sender<Result<Outcome, StoreError>>,
}

impl Held {
    /// Gives it this fate and answers its caller; `None` unless it is [`Fate::Late`], which
    /// lands when the test says so.
    pub async fn meet(self, fate: Fate) -> Option<Late> {
        let outcome = self.write.meet(fate, &*self.inner).await;
        // A caller who no longer waits is none to be told.
        let _ = self.answer.send(outcome);
        let late = Late { write: self.write, inner: self.inner };
        matches!(fate, Fate::Late(_)).then_some(late)
    }
}

/// A write that was answered as unknown and is still on its way.
pub struct Late {
    write: Write,
    inner: Arc<dyn Store>,
}

impl Late {
    /// Lets it land.
    pub async fn land(self) {
        land(&[self.write], &*self.inner).await;
    }
}
