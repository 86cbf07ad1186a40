//! What every actor works with.

use std::sync::Arc;
use std::time::Duration;

use engine::conversation::{
    Context, Conversation, Decision, Effect, Envelope, Refused, Rules, State,
};
use engine::id::{ContactId, MessageId, ThreadId};
use engine::message::MessageRow;
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::conversations::Conversations;

use crate::ages::Ages;
use crate::clock::{Clock, Ids, Stamps};
use crate::committed::Committed;
use crate::doubts::Doubts;
use crate::pages::Pages;
use crate::parking::Parking;
use crate::sweep::Mark;
use crate::waiting::Waiting;

/// The store, the time, the rules, and who hears of what happens.
pub struct World {
    pub conversations: Conversations,
    pub contacts: Contacts,
    pub clock: Clock,
    pub stamps: Arc<Stamps>,
    /// Nothing that was there at the start was written later, unless the clock says that it is.
    pub newest: Timestamp,
    pub swept: Mark,
    pub rules: Arc<Rules>,
    pub outside: Arc<dyn Outside>,
    pub waiting: Arc<Waiting>,
    /// Actors that nobody spoke to for so long leave memory.
    pub idle_after: Duration,
    pub ids: Ids,
    pub parking: Arc<Parking>,
    pub doubts: Doubts,
    /// Something that panics so often is not tried any more.
    pub poison_attempts: u8,
    pub decide: Decide,
    /// Commits on their way.
    pub commits: Ages,
    pub pages: Arc<Pages>,
    /// How many others one contact may be suggested to be.
    pub merge_suggestions: usize,
}

/// What decides: [`engine::conversation::decide`], unless a test has another one.
pub type Decide = fn(&State, &Envelope, &mut Context<'_>) -> Result<Decision, Refused>;

/// Everything outside the actors that a commit reaches. Calls are quick and never wait.
pub trait Outside: Send + Sync + 'static {
    /// A commit is durable: sockets, inboxes, counters.
    fn follow(&self, committed: &Committed);

    /// A conversation was loaded as it stands: whoever was not told of its last commits, because
    /// something ended in between, hears of them now. Where it does not owe, who had it before has left in
    /// order, and has told all.
    fn woke(&self, head: &Conversation, owes: bool);

    /// A contact was written then, or perhaps it was.
    fn follow_contact(&self, _: ContactId, _is_new: bool, _at: Timestamp) {}

    /// Something is to be done after the commit that decided it. `row` is that of the message it
    /// is about.
    fn act(&self, head: &Conversation, effect: Effect, row: Option<&MessageRow>);

    /// The thread's messages whose request this process still holds.
    fn held(&self, thread: ThreadId) -> Vec<MessageId>;
}
