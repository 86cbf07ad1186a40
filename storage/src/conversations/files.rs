//! The files of messages, derived from commits: which messages show one, and which have some that are
//! still to be fetched from the provider.

use engine::conversation::Conversation;
use engine::fact::Commit;
use engine::id::{AccountId, ConversationId, TenantId, ThreadId};
use engine::message::{MessageRow, Place};
use serde::{Deserialize, Serialize};

use super::derived::put;
use super::{Conversations, Write};
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, int};
use crate::port::{Change, Key, Part, Scan};
use crate::tables::{MEDIA_SHOWN, UNFETCHED};

/// A message with files that are still to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Unfetched {
    pub tenant: TenantId,
    pub account: AccountId,
    pub thread: ThreadId,
    pub conversation: ConversationId,
    pub place: Place,
}

impl Unfetched {
    /// The message at this place.
    pub fn of(head: &Conversation, place: Place) -> Self {
        let (tenant, account, thread) = (head.tenant, head.account, head.thread);
        Self { tenant, account, thread, conversation: head.id, place }
    }

    fn key(&self) -> Key {
        let shard = Part::Int(i64::from(self.thread.shard()));
        Key::new(vec![shard], vec![id(self.conversation), int(self.place.ordinal)])
    }
}

impl Conversations {
    /// Messages of a shard with files that are still to be fetched, behind one of them.
    pub async fn unfetched(
        &self,
        shard: u8,
        behind: Option<&Unfetched>,
        limit: usize,
    ) -> Result<Vec<Unfetched>, StoreError> {
        let partition = vec![Part::Int(i64::from(shard))];
        let after = behind.map(|behind| behind.key().clustering);
        let scan = Scan { after, ..Scan::of(&UNFETCHED, partition, limit) };
        self.store.scan(scan).await?.iter().map(|row| decode(&row.body)).collect()
    }
}

/// What a commit says of files.
pub(super) fn files<'a>(write: &'a Write<'_>) -> impl Iterator<Item = Change> + 'a {
    write.rows.iter().flat_map(|row| files_of(row, write.head, write.commit))
}

/// What a message says of files after a commit.
fn files_of<'a>(
    row: &'a MessageRow,
    head: &Conversation,
    commit: &Commit,
) -> impl Iterator<Item = Change> + 'a {
    let unfetched = Unfetched::of(head, row.place);
    let ends = commit.facts.iter().any(|recorded| {
        let place = recorded.fact.message().map(|(_, place)| place);
        place == Some(row.place) && recorded.fact.ends_fetching()
    });
    let fetching = match row.message.wanted().next() {
        Some(_) => Some(put(&UNFETCHED, unfetched.key(), encode(&unfetched))),
        None => ends.then(|| Change::Delete { table: &UNFETCHED, key: unfetched.key() }),
    };
    let (conversation, place) = (row.message.conversation_id, row.place);
    // Those of before an edit, too: where this is made up for the row may say more than its commit did.
    let shown = row.media().into_iter().map(move |medium| {
        let key = Key::new(vec![id(medium)], vec![id(conversation), int(place.ordinal)]);
        put(&MEDIA_SHOWN, key, encode(&place))
    });
    shown.chain(fetching)
}
