//! A login: what a token names and a logout ends.

use serde::{Deserialize, Serialize};

use crate::id::{AgentId, SessionId, TenantId};
use crate::time::Timestamp;

/// A stored login.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub tenant: TenantId,
    pub agent: AgentId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Ended before its time.
    pub ended: bool,
}
