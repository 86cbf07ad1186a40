//! Access tokens: JWTs (RFC 7519, HS256) that name a stored login and are checked against it.

use std::sync::LazyLock;
use std::time::Duration;

use actors::tenants::{Caller, Tenants};
use engine::id::SessionId;
use engine::identity::api_key;
use engine::time::Timestamp;
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::app::JwtKeys;
use crate::error::ApiError;

#[derive(Serialize, Deserialize)]
struct Claims {
    /// The login.
    sid: SessionId,
    /// Seconds since 1970.
    iat: i64,
    exp: i64,
}

/// Made once: it is of sets.
static VALIDATION: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::HS256);
    // Compared with the tenants' clock.
    validation.validate_exp = false;
    validation
});

/// A token of a login, good for `ttl` from `now`.
pub fn issue(
    keys: &JwtKeys,
    session: SessionId,
    now: Timestamp,
    ttl: Duration,
) -> Result<String, ApiError> {
    let claims = Claims { sid: session, iat: now.0 / 1000, exp: (now + ttl).0 / 1000 };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &keys.sign).map_err(|error| {
        tracing::error!(%error, "a token cannot be signed");
        ApiError::unavailable("no token can be issued now; try again shortly")
    })
}

/// A token that counts.
pub struct Checked {
    pub caller: Caller,
    /// When it is over, in seconds since 1970.
    pub expires_at: i64,
}

/// Who a token or an API key is of; 401 when it is not ours, over, or its login does not count any
/// more.
pub async fn check(keys: &JwtKeys, tenants: &Tenants, token: &str) -> Result<Checked, ApiError> {
    if let Some((id, secret)) = api_key::parse(token) {
        let caller = tenants.key_caller(id, &secret).await?.ok_or_else(ApiError::unauthorized)?;
        return Ok(Checked { expires_at: caller.until.0 / 1000, caller });
    }
    let claims = jsonwebtoken::decode::<Claims>(token, &keys.check, &VALIDATION)
        .map_err(|_| ApiError::unauthorized())?
        .claims;
    if tenants.now().0 / 1000 >= claims.exp {
        return Err(ApiError::unauthorized());
    }
    let caller = tenants.caller(claims.sid).await?.ok_or_else(ApiError::unauthorized)?;
    let expires_at = claims.exp.min(caller.until.0 / 1000);
    Ok(Checked { caller, expires_at })
}
