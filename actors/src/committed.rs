//! What everybody hears of a commit, once it is durable.

use std::sync::Arc;

use engine::conversation::Conversation;
use engine::fact::Commit;
use engine::id::{ConversationId, TenantId};
use engine::message::MessageRow;

/// A commit that is durable. Only the thread's actor makes one, after the store has answered.
#[derive(Clone, Debug)]
pub struct Committed {
    pub commit: Arc<Commit>,
    /// Message rows made or changed by it.
    pub rows: Arc<[MessageRow]>,
    /// The head before; `None`: the case began.
    pub before: Option<Arc<Conversation>>,
    pub after: Arc<Conversation>,
    /// Nobody outside this crate can claim durability.
    pub(crate) _durable: Durable,
}

/// The proof that the store has answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable;

impl Committed {
    /// Whose it is.
    pub fn tenant(&self) -> TenantId {
        self.after.tenant
    }

    /// The conversation.
    pub fn conversation(&self) -> ConversationId {
        self.after.id
    }
}
