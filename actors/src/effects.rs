//! What a commit reaches outside the actors: lists, live feeds, searching, the outbox.

use engine::conversation::{Conversation, Effect};
use engine::id::{ContactId, MessageId, ThreadId};
use engine::message::MessageRow;
use engine::time::Timestamp;

use crate::committed::Committed;
use crate::feed::{Hub, Wire};
use crate::fetcher::Fetcher;
use crate::outbox::Outbox;
use crate::panics::caught;
use crate::profiles::Profiles;
use crate::search::Search;
use crate::world::Outside;

/// Lists and live feed, searching, the outbox, files that are fetched, and who customers are.
pub struct Effects<W> {
    pub hub: Hub<W>,
    pub search: Search,
    pub outbox: Outbox,
    pub fetcher: Fetcher,
    pub profiles: Profiles,
}

impl<W: Wire> Outside for Effects<W> {
    fn follow(&self, committed: &Committed) {
        // Who follows reads what they were not told with the next commit, or wake.
        let _ = caught("follow", || self.hub.follow(committed));
        let _ = caught("search", || self.search.follow(committed));
        let before = committed.before.as_ref();
        let after = &committed.after;
        if before.is_none_or(|before| before.last_inbound_at != after.last_inbound_at) {
            let _ = caught("profile", || self.profiles.look_up(after));
        }
    }

    fn woke(&self, head: &Conversation, owes: bool) {
        // Lists that were loaded meanwhile have nobody else to hear it from.
        let _ = caught("follow", || self.hub.woke(head));
        if owes {
            let _ = caught("search", || self.search.woke(head));
        }
        let _ = caught("profile", || self.profiles.look_up(head));
    }

    fn follow_contact(&self, contact: ContactId, is_new: bool, at: Timestamp) {
        let _ = caught("search", || self.search.follow_contact(contact, is_new, at));
    }

    fn act(&self, head: &Conversation, effect: Effect, row: Option<&MessageRow>) {
        // A send that is not handed over here is handed over by the next wake.
        let _ = caught("act", || self.hand_over(head, effect, row));
    }

    fn held(&self, thread: ThreadId) -> Vec<MessageId> {
        self.outbox.holds(thread)
    }
}

impl<W: Wire> Effects<W> {
    fn hand_over(&self, head: &Conversation, effect: Effect, row: Option<&MessageRow>) {
        match effect {
            Effect::Enqueue { message, place, due } => {
                self.outbox.enqueue(head, message, place, due);
            }
            Effect::Perform { message, attempt, .. } => {
                if let Some(row) = row {
                    self.outbox.perform(head, message, row, attempt);
                }
            }
            Effect::Fetch { place } => self.fetcher.fetch(head, place),
            Effect::LetGo { media } => self.fetcher.let_go(head.tenant, media),
            Effect::MarkRead { provider_id } => self.outbox.mark_read(head, provider_id, false),
            Effect::ShowTyping { provider_id } => self.outbox.mark_read(head, provider_id, true),
            Effect::StopAccount { code, message } => self.outbox.stop_account(head, code, message),
            // The thread's actor tells the contact's itself.
            Effect::LearnName { .. } => {}
        }
    }
}
