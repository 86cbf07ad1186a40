//! Why something was not done, by what the caller can do about it.

use std::time::Duration;

use engine::conversation::Refused;
use storage::StoreError;

/// Why a command has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The rules say no; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something that is bounded is full; nothing was changed.
    #[error("{full} is full; try again in {} s", retry_after.as_secs())]
    Busy {
        /// What is full, in words.
        full: &'static str,
        retry_after: Duration,
    },
    /// The store did not answer as it should; perhaps changed: repeat with the same key.
    #[error("the store cannot take this now; try again shortly")]
    Unavailable,
    /// The process is going down.
    #[error("the server is stopping; try again shortly")]
    Stopping,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store failed");
        Self::Unavailable
    }
}
