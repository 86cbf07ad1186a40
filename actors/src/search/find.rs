//! A search: what the index finds, as far as whoever asks may see it now.

use std::collections::{HashMap, HashSet};

use engine::channel::Channel;
use engine::conversation::Conversation;
use engine::id::ConversationId;
use engine::message::MessageRow;
use engine::permission::{Permission, Viewer};
use engine::search::Wanted;
use engine::time::Timestamp;
use storage::StoreError;
use storage::search::{Question, SearchError};

use super::{Search, aside};
use crate::failure::Failure;

/// What somebody looks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub wanted: Wanted,
    pub channel: Option<Channel>,
    /// Not before this.
    pub from: Option<Timestamp>,
    /// Before this.
    pub to: Option<Timestamp>,
    /// Only in these.
    pub within: Option<HashSet<ConversationId>>,
}

/// A page of what was found, newest first.
#[derive(Debug)]
pub struct Found {
    /// Each as it is now, with its conversation.
    pub messages: Vec<(Conversation, MessageRow)>,
    /// How many there are, among the newest matches.
    pub total: usize,
}

impl Search {
    /// A page of the messages that the viewer may see, newest first. Whatever else the index finds is
    /// neither shown nor counted.
    pub async fn find(
        &self,
        viewer: Viewer,
        asked: Asked,
        (skip, limit): (usize, usize),
    ) -> Result<Found, Failure> {
        let Asked { wanted, channel, from, to, within } = asked;
        let (tenant, matches) = (viewer.tenant, self.0.options.matches);
        let question = Question { tenant, wanted, channel, from, to, within, limit: matches };
        let index = self.0.index.load_full().ok_or(Failure::Unavailable)?;
        let _turn = self.0.finds.acquire().await.map_err(|_| Failure::Stopping)?;
        let hits = aside(move || index.find(&question)).await.inspect_err(|_| self.doubt())?;
        let sees_all = viewer.permissions.has(Permission::ConversationsViewAll);
        let mut seen: HashMap<ConversationId, bool> = HashMap::new();
        let (mut messages, mut total) = (Vec::new(), 0);
        for hit in hits {
            let sees = match seen.get(&hit.conversation) {
                _ if sees_all => true,
                Some(sees) => *sees,
                None => {
                    let sees = self.head(viewer, hit.conversation).await?.is_some();
                    seen.insert(hit.conversation, sees);
                    sees
                }
            };
            if !sees {
                continue;
            }
            if total >= skip && messages.len() < limit {
                let row = self.0.conversations.row(hit.conversation, hit.place).await?;
                let row = row.filter(|row| row.message.deleted_at.is_none());
                let head = self.head(viewer, hit.conversation).await?;
                // What is gone by now, the index will know soon.
                let Some(found) = head.zip(row) else { continue };
                messages.push(found);
            }
            total += 1;
        }
        Ok(Found { messages, total })
    }

    /// A conversation as it is now, if the viewer may see it.
    async fn head(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
    ) -> Result<Option<Conversation>, StoreError> {
        let head = self.0.conversations.folded(conversation).await?;
        Ok(head.filter(|head| head.tenant == viewer.tenant && viewer.may_see(head.assignee)))
    }
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Self {
        tracing::warn!(%error, "a search failed");
        Self::Unavailable
    }
}
