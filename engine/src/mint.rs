//! Where ids come from: outside, so that a run replays from its seed.

use uuid::Uuid;

use crate::id::{ConversationId, MessageId};

/// Makes ids. The real one is in `actors`, tests use a counted one.
pub trait Mint {
    /// A new UUIDv7.
    fn uuid(&mut self) -> Uuid;

    /// A new UUIDv7 that carries a virtual shard in its last byte.
    fn sharded(&mut self, shard: u8) -> Uuid {
        with_shard(self.uuid(), shard)
    }

    /// A conversation of a thread with this shard.
    fn conversation(&mut self, shard: u8) -> ConversationId {
        ConversationId(self.sharded(shard))
    }

    /// A message.
    fn message(&mut self) -> MessageId {
        MessageId(self.uuid())
    }
}

/// The same id with another last byte.
pub fn with_shard(id: Uuid, shard: u8) -> Uuid {
    let mut bytes = *id.as_bytes();
    bytes[15] = shard;
    Uuid::from_bytes(bytes)
}
