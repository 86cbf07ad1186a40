//! The index is written behind everything else that the machine has to do.

use super::SearchError;
use crate::behind::{Niceness, behind};

/// Does this on a thread that runs when nobody else wants to, like those that it starts. It may not
/// hold what others wait for: under load it stands still.
pub fn behind_all<T: Send>(
    work: impl FnOnce() -> Result<T, SearchError> + Send,
) -> Result<T, SearchError> {
    let done = behind("search", Niceness(19), work);
    let done = done.map_err(|error| SearchError::Failed(error.to_string()))?;
    done.unwrap_or(Err(SearchError::Panicked))
}
