//! Passwords: argon2id in its own threads, so many at once.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};

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
    in_thread(app, move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).ok()
    })
    .await?
    .ok_or_else(|| ApiError::unavailable("no password can be kept now; try again shortly"))
}

/// Whether a password is the one of this hash. Without a hash it takes as long and is not.
pub async fn fits(app: &App, hash: Option<String>, password: String) -> Result<bool, ApiError> {
    in_thread(app, move || match hash {
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

async fn in_thread<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let stopped = |_| ApiError::unavailable("the server is stopping; try again shortly");
    let _turn = app.hashing.acquire().await.map_err(stopped)?;
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a password's thread ended");
        ApiError::unavailable("passwords cannot be checked now; try again shortly")
    })
}
