//! What a commit reaches outside the actors: lists, live feeds, the outbox.

use engine::conversation::{Conversation, Effect};
use engine::id::{MessageId, ThreadId};
use engine::message::MessageRow;

use crate::committed::Committed;
use crate::inbox::Inboxes;
use crate::outbox::Outbox;
use crate::world::Outside;

/// Lists and outbox.
pub struct Effects {
    pub inboxes: Inboxes,
    pub outbox: Outbox,
}

impl Outside for Effects {
    fn follow(&self, committed: &Committed) {
        self.inboxes.follow(committed);
    }

    fn act(&self, head: &Conversation, effect: Effect, row: Option<&MessageRow>) {
        match effect {
            Effect::Enqueue { message, place, due } => {
                self.outbox.enqueue(head, message, place, due);
            }
            Effect::Perform { attempt, .. } => {
                if let Some(row) = row {
                    self.outbox.perform(head, row, attempt);
                }
            }
            Effect::MarkRead { provider_id } => self.outbox.mark_read(head, provider_id),
            Effect::StopAccount { code, message } => self.outbox.stop_account(head, code, message),
            Effect::SlowAccount => self.outbox.slow_account(head.account),
            // The thread's actor tells the contact's itself.
            Effect::LearnName { .. } => {}
        }
    }

    fn held(&self, thread: ThreadId) -> Vec<MessageId> {
        self.outbox.holds(thread)
    }
}
