//! How often a customer is shown that somebody at the desk types.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::id::ConversationId;
use tokio::time::Instant;

/// When each conversation's customer was last shown it.
#[derive(Default)]
pub(crate) struct Typing(Mutex<HashMap<ConversationId, Instant>>);

/// The provider shows it for 25 s (Cloud API reference, "Typing indicators"): once in this time is
/// enough for it not to go out.
const EVERY: Duration = Duration::from_secs(20);
/// Conversations where somebody types at once; in others it is left out.
const CONVERSATIONS_MAX: usize = 10_000;

impl Typing {
    /// Whether it may be shown again.
    pub(crate) fn is_due(&self, conversation: ConversationId) -> bool {
        self.shown().get(&conversation).is_none_or(|at| at.elapsed() >= EVERY)
    }

    /// Takes the turn to show it, if there is one.
    pub(crate) fn take(&self, conversation: ConversationId) -> bool {
        let mut shown = self.shown();
        if shown.get(&conversation).is_some_and(|at| at.elapsed() < EVERY) {
            return false;
        }
        if shown.len() >= CONVERSATIONS_MAX {
            shown.retain(|_, at| at.elapsed() < EVERY);
        }
        let has_room = shown.len() < CONVERSATIONS_MAX;
        if has_room {
            shown.insert(conversation, Instant::now());
        }
        has_room
    }

    fn shown(&self) -> MutexGuard<'_, HashMap<ConversationId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use engine::id::ConversationId;
    use tokio::time::advance;
    use uuid::Uuid;

    use super::{CONVERSATIONS_MAX, EVERY, Typing};

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_forgotten() {
        let typing = Typing::default();
        let id = |n: usize| ConversationId(Uuid::from_u128(n as u128));
        assert!((0..CONVERSATIONS_MAX).all(|n| typing.take(id(n))));
        assert!(!typing.take(id(CONVERSATIONS_MAX)), "no room for one more");
        advance(EVERY).await;
        assert!(typing.take(id(CONVERSATIONS_MAX)));
        assert_eq!(typing.shown().len(), 1);
    }
}
