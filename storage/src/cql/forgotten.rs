//! Statements that a server forgot after they were prepared.

use scylla::errors::ExecutionError;
use tokio::time::sleep;

use super::{AGAIN_AFTER, error};

/// How often a statement is sent again that the server had forgotten.
const FORGOTTEN: usize = 5;

/// Asks until the server knows the statement. The driver prepares it once more by itself, and a
/// server that is making tables forgets it between the two: nothing was done.
pub(super) async fn remembered<T, F>(mut ask: impl FnMut() -> F) -> Result<T, ExecutionError>
where
    F: Future<Output = Result<T, ExecutionError>>,
{
    let mut outcome = ask().await;
    for _ in 0..FORGOTTEN {
        if !outcome.as_ref().is_err_and(error::is_forgotten) {
            break;
        }
        sleep(AGAIN_AFTER).await;
        outcome = ask().await;
    }
    outcome
}
