//! Passwords: argon2id in its own threads, so many at once.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::app::App;
use crate::error::ApiError;

/// The shortest password (contract), and the longest that is hashed.
pub const CHARS_MIN: usize = 6;
const BYTES_MAX: usize = 1024;

/// The hash of a new password (a PHC string).
pub async fn hash(app: &App, field: &str, password: String) -> Result<String, ApiError> {
    if password.chars().count() < CHARS_MIN || password.len() > BYTES_MAX {
        return Err(ApiError::invalid(field, "must have 6 to 1000 characters"));
    }
    in_thread(&app.hashing, move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).ok()
    })
    .await?
    .ok_or_else(|| ApiError::unavailable("no password can be kept now; try again shortly"))
}

/// Whether a password is the one of this hash. Without a hash it takes as long and is not.
pub async fn fits(app: &App, hash: Option<String>, password: String) -> Result<bool, ApiError> {
    in_thread(&app.hashing, move || match hash {
        Some(hash) => PasswordHash::new(&hash).is_ok_and(|hash| {
            Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
        }),
        None => {
            let _ = Argon2::default().hash_password(password.as_bytes());
            false
        }
    })
    .await
}

/// The turn lasts as long as the work does, also where nobody waits for it any more.
async fn in_thread<T: Send + 'static>(
    hashing: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let stopped = |_| ApiError::unavailable("the server is stopping; try again shortly");
    let turn = hashing.clone().acquire_owned().await.map_err(stopped)?;
    let working = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    working.await.map_err(|error| {
        tracing::error!(%error, "a password's thread ended");
        ApiError::unavailable("passwords cannot be checked now; try again shortly")
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use tokio::sync::Semaphore;
    use tokio::sync::mpsc::unbounded_channel;

    use super::in_thread;

    #[tokio::test]
    async fn a_password_that_nobody_waits_for_has_its_turn_until_its_work_is_done() {
        let hashing = Arc::new(Semaphore::new(1));
        let (begins, mut begun) = unbounded_channel();
        let (go, may_go) = channel::<()>();
        let turns = hashing.clone();
        let asking = tokio::spawn(async move {
            let work = move || {
                begins.send(()).unwrap();
                let _ = may_go.recv();
            };
            drop(in_thread(&turns, work).await);
        });
        begun.recv().await.unwrap();
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        assert!(hashing.try_acquire().is_err(), "it is still at work");
        drop(go);
        drop(hashing.acquire().await.unwrap());
    }
}
