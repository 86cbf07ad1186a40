//! API keys: logins of programs. One belongs to the agent who made it and allows no more than they
//! may do at the time.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::id::{AgentId, ApiKeyId};
use crate::permission::Permissions;
use crate::resource::{Resource, SettingKind};
use crate::time::Timestamp;

/// A program's login, as stored: of its secret only the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    pub id: ApiKeyId,
    /// Who made it.
    pub agent: AgentId,
    pub name: String,
    /// It allows what these and its maker's have in common; `None`: all that its maker may do.
    pub permissions: Option<Permissions>,
    /// SHA-256: the secret is long and random, so that a slow hash would add nothing.
    pub secret_hash: [u8; 32],
    /// `None`: it has no end.
    pub expires_at: Option<Timestamp>,
    /// To the hour.
    pub last_used_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// The secret half of a key: 32 random bytes, shown once.
pub struct Secret(pub [u8; 32]);

/// The end of what has none: the last that people write with four digits.
const NO_END: Timestamp = Timestamp(253_402_300_799_999);

/// What every key begins with, so that people and scanners of leaks know one when they see it.
const MARK: &str = "omni";

impl ApiKey {
    /// A new one with this secret.
    pub fn made(
        id: ApiKeyId,
        agent: AgentId,
        name: String,
        secret: &Secret,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            agent,
            name,
            permissions: None,
            secret_hash: secret.hash(),
            expires_at: None,
            last_used_at: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// When it is over.
    pub fn until(&self) -> Timestamp {
        self.expires_at.unwrap_or(NO_END)
    }

    /// Whether this is its secret; how long that takes says nothing of it.
    pub fn is_opened_by(&self, secret: &Secret) -> bool {
        self.secret_hash.ct_eq(&secret.hash()).into()
    }

    /// The half that is no secret, and by which it is found.
    pub fn prefix(&self) -> String {
        prefix(self.id)
    }
}

impl Secret {
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

fn prefix(id: ApiKeyId) -> String {
    format!("{MARK}_{}", id.0.simple())
}

/// A key as its holder has it: `omni_<id>_<secret>`, both in hex.
pub fn text(id: ApiKeyId, secret: &Secret) -> String {
    format!("{}_{}", prefix(id), hex::encode(secret.0))
}

/// Both halves of a key; `None`: it is none.
pub fn parse(text: &str) -> Option<(ApiKeyId, Secret)> {
    let (id, secret) = text.strip_prefix(MARK)?.strip_prefix('_')?.split_once('_')?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(secret, &mut bytes).ok()?;
    Some((ApiKeyId(Uuid::try_parse(id).ok()?), Secret(bytes)))
}

impl Resource for ApiKey {
    const KIND: SettingKind = SettingKind::ApiKey;
    const NAME: &'static str = "API key";
    type Id = ApiKeyId;

    fn id(&self) -> ApiKeyId {
        self.id
    }

    fn touch(&mut self, now: Timestamp) {
        self.updated_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_opened_by_its_own_secret_alone() {
        let (id, secret) = (ApiKeyId(Uuid::from_u128(7)), Secret([9; 32]));
        let text = text(id, &secret);
        let (found, read) = parse(&text).unwrap();
        let key =
            ApiKey::made(id, AgentId(Uuid::from_u128(1)), "ERP".into(), &secret, Timestamp(1));
        assert_eq!(found, id);
        assert!(key.is_opened_by(&read));
        assert!(!key.is_opened_by(&Secret([8; 32])));
        assert!(text.starts_with(&key.prefix()));
        for wrong in
            ["", "omni", "omni_", "omni__", "omni_7_9", &text[1..], &text[..text.len() - 1]]
        {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
        let shown = format!("{key:?} {secret:?}");
        assert!(!shown.contains(&hex::encode(secret.0)), "{shown}");
    }
}
