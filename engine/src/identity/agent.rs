//! An agent: a person at the desk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{AgentId, RoleId};
use crate::resource::{Invalid, Resource, SettingKind};
use crate::time::Timestamp;

/// A person at the desk, as stored. Its password is a record of its own: [`Credential`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub id: AgentId,
    pub name: String,
    /// Lower case; one person's in the whole installation.
    pub email: String,
    pub role_id: RoleId,
    pub availability: Availability,
    pub is_active: bool,
    /// Raised by every change.
    pub rev: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The secret half of an agent.
#[derive(Clone, Serialize, Deserialize)]
pub struct Credential {
    pub agent: AgentId,
    /// A PHC string (argon2id).
    pub password_hash: String,
    /// Logins from before this do not count any more.
    #[serde(default)]
    pub sessions_since: Timestamp,
}

/// Whether an agent takes work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Availability {
    Online,
    Busy,
    Away,
    #[default]
    Offline,
}

impl Resource for Agent {
    const KIND: SettingKind = SettingKind::Agent;
    const NAME: &'static str = "agent";
    type Id = AgentId;

    fn id(&self) -> AgentId {
        self.id
    }

    fn touch(&mut self, now: Timestamp) {
        self.rev += 1;
        self.updated_at = now;
    }
}

/// An email address in the form that is compared: trimmed, lower case; one `@` with something on
/// both sides and no white space.
pub fn email(text: &str) -> Result<String, Invalid> {
    let email = text.trim().to_lowercase();
    let fine = email.len() <= 254
        && !email.contains(|c: char| c.is_whitespace() || c.is_control())
        && email.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty() && !host.is_empty() && !host.contains('@')
        });
    if fine { Ok(email) } else { Err(Invalid::field("email", "must be an email address")) }
}
