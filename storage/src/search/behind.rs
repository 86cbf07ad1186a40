//! Work that may take as long as it likes: behind everything else that the machine has to do.

use std::thread::{Builder, scope};

use super::SearchError;

/// Does this on a thread that runs when nobody else wants to, like those that it starts. It may not
/// hold what others wait for: under load it stands still.
pub fn behind_all<T: Send>(
    work: impl FnOnce() -> Result<T, SearchError> + Send,
) -> Result<T, SearchError> {
    scope(|scope| {
        let thread = Builder::new().name("search".to_owned()).spawn_scoped(scope, || {
            give_way();
            work()
        });
        let thread = thread.map_err(|error| SearchError::Failed(error.to_string()))?;
        thread.join().unwrap_or(Err(SearchError::Panicked))
    })
}

/// On Linux each thread has a priority of its own, and hands it on to those that it starts.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "the search index is written as if it were urgent");
    }
}
