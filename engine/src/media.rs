//! A medium: a file that is stored here, and whose it is.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::id::{AccountId, AgentId, ConversationId, MediaId, TenantId};
use crate::message::Place;
use crate::time::Timestamp;

/// A file that is stored here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Medium {
    pub id: MediaId,
    pub tenant: TenantId,
    /// By its content, whatever it was said to be.
    pub mime_type: String,
    /// In bytes.
    pub size: u64,
    /// Hex.
    pub sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    pub origin: Origin,
    /// The name under which its bytes lie.
    pub object: Uuid,
    pub created_at: Timestamp,
}

/// A medium as the message knows it that shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub id: MediaId,
    pub mime_type: String,
    /// In bytes.
    pub size: u64,
}

impl Medium {
    /// As messages show it.
    pub fn stored(&self) -> Stored {
        Stored { id: self.id, mime_type: self.mime_type.clone(), size: self.size }
    }
}

/// Where a medium comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Somebody at the desk brought it. Nobody else sees it until it is sent.
    Uploaded { by: AgentId },
    /// A message carried it: it was fetched from the provider.
    Fetched {
        account: AccountId,
        conversation: ConversationId,
        /// Of the message that carried it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<Place>,
        provider_media_id: String,
    },
    /// A mail carried it: it was kept before the message was there.
    Mailed {
        account: AccountId,
        /// The mail's id.
        mail: String,
    },
}

/// The id of a file that is known by what is hashed: stored twice, it is one.
pub fn id_of(hashed: Sha256) -> MediaId {
    let hash = hashed.finalize();
    MediaId(Uuid::new_v8(hash[..16].try_into().expect("sixteen of thirty-two bytes")))
}

/// Whether a SHA-256 that a provider names, as hex or in base64, is this one.
pub fn is_sha256(said: &str, hash: &[u8; 32]) -> bool {
    let said = said.trim();
    if said.len() == 2 * hash.len() {
        let mut hex = hash.iter().map(|byte| format!("{byte:02x}"));
        let bytes = (0..said.len()).step_by(2).map(|at| said.get(at..at + 2));
        return bytes.into_iter().all(|byte| match (byte, hex.next()) {
            (Some(byte), Some(hex)) => byte.eq_ignore_ascii_case(&hex),
            _ => false,
        });
    }
    let plain = |c| match c {
        '-' => '+',
        '_' => '/',
        c => c,
    };
    let said: String = said.trim_end_matches('=').chars().map(plain).collect();
    BASE64_STANDARD_NO_PAD.encode(hash) == said
}

#[cfg(test)]
mod tests {
    use super::is_sha256;

    #[test]
    fn a_hash_is_known_in_both_ways_of_writing_it() {
        // Of "abc" (FIPS 180-4).
        let hash = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae,
            0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61,
            0xf2, 0x00, 0x15, 0xad,
        ];
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let base64 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        let url_safe = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";
        for good in [hex, &hex.to_uppercase(), base64, url_safe] {
            assert!(is_sha256(good, &hash), "{good}");
        }
        let cut = &base64[1..];
        for bad in ["", cut, &hex.replace('b', "c"), &"\u{e9}".repeat(32), &"=".repeat(44)] {
            assert!(!is_sha256(bad, &hash), "{bad}");
        }
    }
}
