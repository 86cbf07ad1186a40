//! A search: what the index finds, as far as whoever asks may see it now. Contacts everybody may see.

use std::collections::{HashMap, HashSet};

use engine::channel::Channel;
use engine::contact::Contact;
use engine::conversation::Conversation;
use engine::id::{ConversationId, TenantId};
use engine::message::MessageRow;
use engine::permission::{Permission, Viewer};
use engine::search::Wanted;
use engine::search::contact::Sought;
use engine::time::Timestamp;
use storage::StoreError;
use storage::search::{Question, SearchError, SearchIndex};
use tokio::sync::SemaphorePermit;

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
        let (hits, _turn) = self.ask(move |index| index.find(&question)).await?;
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

    /// A page of the contacts of a tenant that are sought, newest first, each as it is now, and how many
    /// there are among the newest matches.
    pub async fn contacts(
        &self,
        tenant: TenantId,
        sought: Sought,
        (skip, limit): (usize, usize),
    ) -> Result<(Vec<Contact>, usize), Failure> {
        let matches = self.0.options.matches;
        let (ids, _turn) = self.ask(move |index| index.contacts(tenant, &sought, matches)).await?;
        let (mut contacts, mut total) = (Vec::new(), 0);
        for id in ids {
            if total >= skip && contacts.len() < limit {
                let contact = self.0.contacts.get(id).await?;
                // As above.
                let is_there = |contact: &Contact| contact.tenant == tenant && contact.is_listed();
                let Some(contact) = contact.filter(is_there) else { continue };
                contacts.push(contact);
            }
            total += 1;
        }
        Ok((contacts, total))
    }

    /// Asks the index, when it is this one's turn; what follows of it belongs to the turn.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&SearchIndex) -> Result<T, SearchError> + Send + 'static,
    ) -> Result<(T, SemaphorePermit<'_>), Failure> {
        let index = self.0.index.load_full().ok_or(Failure::Unavailable)?;
        let turn = self.0.finds.acquire().await.map_err(|_| Failure::Stopping)?;
        let answer = aside(move || ask(&index)).await.inspect_err(|_| self.doubt())?;
        Ok((answer, turn))
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
