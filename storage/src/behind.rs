//! Work that others need not wait for: its threads run when those of the others leave them time.

use std::io;
use std::thread::{self, Builder, scope};

/// How much a thread gives way, from 0 (none) to 19.
#[derive(Clone, Copy)]
pub(crate) struct Niceness(pub(crate) i32);

/// Does this on a thread that gives way so much, like those that it starts. Answers what came of it, or
/// of its panic.
pub(crate) fn behind<T: Send>(
    name: &str,
    niceness: Niceness,
    work: impl FnOnce() -> T + Send,
) -> io::Result<thread::Result<T>> {
    scope(|scope| {
        let thread = Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
            give_way(niceness);
            work()
        })?;
        Ok(thread.join())
    })
}

/// On Linux each thread has a priority of its own, and hands it on to those that it starts.
fn give_way(Niceness(niceness): Niceness) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, niceness) {
        tracing::debug!(%error, "what can wait is done as if it were urgent");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = niceness;
}
