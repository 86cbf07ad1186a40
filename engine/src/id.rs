//! Every id, one list. All are UUIDs; those minted with a virtual shard carry it in their last byte.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What every id is.
pub trait Id:
    Copy
    + Ord
    + From<Uuid>
    + Into<Uuid>
    + Serialize
    + DeserializeOwned
    + JsonSchema
    + Send
    + Sync
    + 'static
{
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The virtual shard in its last byte; meaningful for ids minted with one.
            pub fn shard(self) -> u8 {
                self.0.as_bytes()[15]
            }
        }

        impl Id for $name {}

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

ids! {
    /// A tenant: an organization.
    TenantId;
    /// A person at the desk.
    AgentId;
    /// A role.
    RoleId;
    /// A login.
    SessionId;
    /// A program's login.
    ApiKeyId;
    /// An integration account on a channel.
    AccountId;
    /// What the accounts on a channel have in common.
    IntegrationId;
    /// A customer. Carries a shard.
    ContactId;
    /// A customer on one channel account. Carries a shard.
    ThreadId;
    /// A thread's case. Carries its thread's shard.
    ConversationId;
    /// A message.
    MessageId;
    /// A file that is stored here.
    MediaId;
    /// A team.
    DivisionId;
    /// A quick reply.
    QuickReplyId;
    /// Something that somebody did to a thing of their organization.
    ActivityId;
}
