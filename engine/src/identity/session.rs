//! A login: what a token names and a logout ends, or where an API key's row is found.

use serde::{Deserialize, Serialize};

use super::api_key::ApiKey;
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
    /// It is a program's: the API key of the same id says whether it counts, and what it allows.
    #[serde(default)]
    pub is_key: bool,
}

impl Session {
    /// Where this API key's row is found.
    pub fn of_key(key: &ApiKey, tenant: TenantId) -> Self {
        Self {
            id: SessionId(key.id.0),
            tenant,
            agent: key.agent,
            created_at: key.created_at,
            expires_at: key.until(),
            ended: false,
            is_key: true,
        }
    }
}
