//! Passwords: argon2id in its own threads, so many at once.

use std::net::IpAddr;

use actors::turns::Turns;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use engine::id::TenantId;
use uuid::Uuid;

use crate::app::App;
use crate::error::ApiError;
use crate::login_limits::network;

/// Who waits for a password: of those who do each has one in its turn, so that nobody keeps others from
/// logging in by having many hashed.
#[derive(Clone, Copy)]
pub enum Who {
    Tenant(TenantId),
    /// Somebody of whom nobody knows yet who it is.
    Address(IpAddr),
}

impl Who {
    fn whose_turn(self) -> TenantId {
        match self {
            Self::Tenant(tenant) => tenant,
            Self::Address(address) => {
                let address = match network(address) {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                TenantId(Uuid::from_u128(address.to_bits()))
            }
        }
    }
}

/// The shortest password (contract), and the longest that is hashed.
pub const CHARS_MIN: usize = 6;
const BYTES_MAX: usize = 1024;

/// The hash of a new password (a PHC string).
pub async fn hash(app: &App, who: Who, field: &str, password: String) -> Result<String, ApiError> {
    if password.chars().count() < CHARS_MIN || password.len() > BYTES_MAX {
        return Err(ApiError::invalid(field, "must have 6 to 1000 characters"));
    }
    in_thread(&app.hashing, who, move || {
        Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).ok()
    })
    .await?
    .ok_or_else(|| ApiError::unavailable("no password can be kept now; try again shortly"))
}

/// Whether a password is the one of this hash. Without a hash it takes as long and is not.
pub async fn fits(
    app: &App,
    who: Who,
    hash: Option<String>,
    password: String,
) -> Result<bool, ApiError> {
    in_thread(&app.hashing, who, move || match hash {
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
    hashing: &Turns,
    who: Who,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let turn = hashing.take(who.whose_turn(), 0).await;
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
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use actors::turns::Turns;
    use engine::id::TenantId;
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::time::timeout;
    use uuid::Uuid;

    use super::{Who, in_thread};

    const TENANT: Who = Who::Tenant(TenantId(Uuid::from_u128(1 << 100)));

    fn address(last: u8) -> Who {
        Who::Address(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[tokio::test]
    async fn a_password_that_nobody_waits_for_has_its_turn_until_its_work_is_done() {
        let hashing = Turns::new(1);
        let (begins, mut begun) = unbounded_channel();
        let (go, may_go) = channel::<()>();
        let turns = hashing.clone();
        let asking = tokio::spawn(async move {
            let work = move || {
                begins.send(()).unwrap();
                let _ = may_go.recv();
            };
            drop(in_thread(&turns, TENANT, work).await);
        });
        begun.recv().await.unwrap();
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        let next = in_thread(&hashing, address(1), || ());
        let mut next = std::pin::pin!(next);
        assert!(timeout(Duration::ZERO, &mut next).await.is_err(), "it is still at work");
        drop(go);
        next.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_has_many_passwords_hashed_keeps_nobody_from_logging_in() {
        let hashing = Turns::new(1);
        let (begins, mut begun) = unbounded_channel();
        let ask = |who, name: u32| {
            let (turns, begins) = (hashing.clone(), begins.clone());
            let work = move || begins.send(name).unwrap();
            let asking = tokio::spawn(async move { in_thread(&turns, who, work).await });
            async move { asking.await.unwrap().unwrap() }
        };
        let held = hashing.take(TENANT.whose_turn(), 0).await;
        let mut all: Vec<_> = (0..100).map(|n| ask(TENANT, n)).collect();
        tokio::task::yield_now().await;
        all.extend([ask(address(1), 1_001), ask(address(2), 1_002)]);
        tokio::task::yield_now().await;
        drop(held);
        for one in all {
            one.await;
        }
        let order: Vec<_> = std::iter::from_fn(|| begun.try_recv().ok()).collect();
        let at = |name| order.iter().position(|one| *one == name).unwrap();
        assert!(at(1_001) < 10 && at(1_002) < 10, "{order:?}");
    }
}
