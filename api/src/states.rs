//! The state of a login at a provider: what goes there with somebody, and has to come back with the
//! code. It is signed, ends soon, counts for whoever asked for it and for one login.

use actors::tenants::{Caller, NotChanged};
use engine::channel::signature::sign;
use engine::time::Timestamp;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::app::App;
use crate::error::ApiError;

/// Where a login comes back to. A state counts for one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Signup,
    Instagram,
    Messenger,
}

impl Flow {
    fn as_str(self) -> &'static str {
        match self {
            Self::Signup => "whatsapp signup",
            Self::Instagram => "instagram login",
            Self::Messenger => "messenger login",
        }
    }
}

/// A new one for whoever calls, and when it ends.
pub fn issue(app: &App, caller: &Caller, flow: Flow) -> (String, Timestamp) {
    let until = app.tenants.now() + app.config.limits.grant_state_ttl;
    let nonce = app.tenants.secret().0;
    let nonce: [u8; 16] = nonce[..16].try_into().expect("sixteen of thirty-two bytes");
    let mac = mac(app, caller, flow, until.0, nonce);
    (format!("{:x}.{}.{}", until.0, hex::encode(nonce), hex::encode(mac)), until)
}

/// Takes one that came back. It counts once: its login is begun, and is not begun again.
pub async fn take(app: &App, caller: &Caller, flow: Flow, state: &str) -> Result<(), ApiError> {
    let wrong =
        || ApiError::invalid("state", "is none of yours, or is over; begin the login again");
    let (until, nonce, claimed) = parts(state).ok_or_else(wrong)?;
    let fits: bool = mac(app, caller, flow, until, nonce).ct_eq(&claimed).into();
    if !fits || until <= app.tenants.now().0 {
        return Err(wrong());
    }
    let once = Uuid::new_v8(nonce);
    let digest = Sha256::digest(state);
    let digest = digest[..16].try_into().expect("sixteen of thirty-two bytes");
    let used = app.tenants.change(caller.tenant, |changing| changing.used(once, digest)).await;
    let again = || ApiError::conflict("login_used", "this login was used; begin another one");
    match used {
        Ok(false) => Ok(()),
        Ok(true) | Err(NotChanged::Refused(_)) => Err(again()),
        Err(NotChanged::NoTenant) => Err(ApiError::unauthorized()),
        Err(NotChanged::Store(error)) => Err(error.into()),
    }
}

fn parts(state: &str) -> Option<(i64, [u8; 16], [u8; 32])> {
    let mut parts = state.split('.');
    let until = i64::from_str_radix(parts.next()?, 16).ok()?;
    let (mut nonce, mut mac) = ([0; 16], [0; 32]);
    hex::decode_to_slice(parts.next()?, &mut nonce).ok()?;
    hex::decode_to_slice(parts.next()?, &mut mac).ok()?;
    parts.next().is_none().then_some((until, nonce, mac))
}

fn mac(app: &App, caller: &Caller, flow: Flow, until: i64, nonce: [u8; 16]) -> [u8; 32] {
    let signed = [
        &caller.tenant.0.as_bytes()[..],
        caller.agent.0.as_bytes(),
        &nonce,
        &until.to_be_bytes(),
        flow.as_str().as_bytes(),
    ]
    .concat();
    sign(app.state_key, &signed)
}
