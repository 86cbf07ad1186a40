//! Commits to earlier cases of which nobody knows whether they happened. A wake looks at its thread's
//! current case alone; of these it has to be told.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::id::{ConversationId, ThreadId};

/// One for each thread at most: nothing else of it is committed before that is settled.
#[derive(Default)]
pub struct Doubts(Mutex<HashMap<ThreadId, ConversationId>>);

impl Doubts {
    pub(crate) fn raise(&self, thread: ThreadId, case: ConversationId) {
        self.lock().insert(thread, case);
    }

    pub(crate) fn of(&self, thread: ThreadId) -> Option<ConversationId> {
        self.lock().get(&thread).copied()
    }

    pub(crate) fn settle(&self, thread: ThreadId) {
        self.lock().remove(&thread);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ThreadId, ConversationId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
