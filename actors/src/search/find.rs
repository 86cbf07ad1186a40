//! A search: what the index finds, as far as whoever asks may see it now. Contacts everybody may see.

use std::collections::HashSet;

use engine::channel::Channel;
use engine::contact::Contact;
use engine::conversation::Conversation;
use engine::id::{ConversationId, TenantId};
use engine::message::MessageRow;
use engine::permission::{Permission, Viewer};
use engine::search::contact::Sought;
use engine::search::{Part, Wanted};
use engine::time::Timestamp;
use storage::StoreError;
use storage::search::{Hit, Question, SearchError, SearchIndex};

use super::{Search, aside};
use crate::failure::Failure;
use crate::turns::Turn;

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
    pub messages: Vec<FoundMessage>,
    /// How many there are, among the newest matches.
    pub total: usize,
}

/// A message as it is now, with its conversation.
#[derive(Debug)]
pub struct FoundMessage {
    pub head: Conversation,
    pub row: MessageRow,
    /// See [`Wanted::highlights`].
    pub highlights: Vec<Vec<Part>>,
}

/// Heads of conversations that are in memory at once where all that match are looked at.
const HEADS: usize = 500;

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
        let wanted = question.wanted.clone();
        let turn = self.0.turns.take(tenant, 0).await;
        let (question, turn) = self.visible(viewer, question, turn).await?;
        let (hits, turn) = self.ask(turn, move |index| index.find(&question)).await?;
        let (mut page, mut total) = (Vec::new(), 0);
        for hit in hits {
            if total >= skip && page.len() < limit {
                // What is gone by now, the index will know soon.
                let Some(found) = self.found(viewer, hit).await? else { continue };
                page.push(found);
            }
            total += 1;
        }
        let show = move |(head, row): (Conversation, MessageRow)| FoundMessage {
            highlights: wanted.highlights(&row.message),
            head,
            row,
        };
        // Texts may be long.
        let showing = aside(move || {
            let _turn = turn;
            Ok(page.into_iter().map(show).collect())
        });
        Ok(Found { messages: showing.await?, total })
    }

    /// Asks the index. The turn lasts as long as the work does, also where nobody waits for it any more.
    async fn ask<T: Send + 'static>(
        &self,
        turn: Turn,
        ask: impl FnOnce(&SearchIndex) -> Result<T, SearchError> + Send + 'static,
    ) -> Result<(T, Turn), Failure> {
        let index = self.0.index.load_full().ok_or(Failure::Unavailable)?;
        let asking = aside(move || Ok((ask(&index)?, turn)));
        Ok(asking.await.inspect_err(|_| self.doubt())?)
    }

    /// The question as far as it is about what the viewer may see now.
    async fn visible(
        &self,
        viewer: Viewer,
        question: Question,
        turn: Turn,
    ) -> Result<(Question, Turn), Failure> {
        if viewer.permissions.has(Permission::ConversationsViewAll) {
            return Ok((question, turn));
        }
        let most = self.0.options.conversations;
        let ask = move |index: &SearchIndex| Ok((index.conversations(&question, most)?, question));
        let ((with_matches, question), turn) = self.ask(turn, ask).await?;
        let mut within = HashSet::new();
        for some in with_matches.chunks(HEADS) {
            let heads = self.0.conversations.all_folded(some.to_vec()).await?;
            within.extend(heads.iter().filter(|head| sees(viewer, head)).map(|head| head.id));
        }
        Ok((Question { within: Some(within), ..question }, turn))
    }

    /// What is there of a hit now, if the viewer may see it.
    async fn found(
        &self,
        viewer: Viewer,
        hit: Hit,
    ) -> Result<Option<(Conversation, MessageRow)>, StoreError> {
        let row = self.0.conversations.row(hit.conversation, hit.place).await?;
        let row = row.filter(|row| row.message.deleted_at.is_none());
        Ok(self.head(viewer, hit.conversation).await?.zip(row))
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
        let turn = self.0.turns.take(tenant, 0).await;
        let ask = move |index: &SearchIndex| index.contacts(tenant, &sought, matches);
        let (ids, _turn) = self.ask(turn, ask).await?;
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

    /// A conversation as it is now, if the viewer may see it.
    async fn head(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
    ) -> Result<Option<Conversation>, StoreError> {
        let head = self.0.conversations.folded(conversation).await?;
        Ok(head.filter(|head| sees(viewer, head)))
    }
}

fn sees(viewer: Viewer, head: &Conversation) -> bool {
    head.tenant == viewer.tenant && viewer.may_see(head.assignee)
}

impl From<SearchError> for Failure {
    fn from(error: SearchError) -> Self {
        tracing::warn!(%error, "a search failed");
        Self::Unavailable
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use engine::id::TenantId;
    use engine::time::Timestamp;
    use futures_util::FutureExt;
    use storage::contacts::Contacts;
    use storage::conversations::Conversations;
    use storage::memory::Memory;
    use storage::{Stamp, Store};
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
    use tokio::task::JoinHandle;
    use uuid::Uuid;

    use super::super::{FINDS, Search, SearchOptions};
    use crate::clock::{Clock, Stamps};

    const ONE: TenantId = TenantId(Uuid::from_u128(1));
    const OTHER: TenantId = TenantId(Uuid::from_u128(2));
    const THIRD: TenantId = TenantId(Uuid::from_u128(3));

    /// A search that is asked for what takes long.
    struct Slow {
        search: Search,
        begins: UnboundedSender<TenantId>,
        /// Whose question the index begins with.
        begun: UnboundedReceiver<TenantId>,
        /// Each lets one go; without it all go.
        go: Sender<()>,
        may_go: Arc<Mutex<Receiver<()>>>,
    }

    impl Slow {
        async fn new() -> Self {
            let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(|| Timestamp(0))));
            let clock = (Clock::standing_at(Timestamp(0)), Arc::new(Stamps::above(Stamp(0))));
            let options = SearchOptions {
                directory: None,
                every: Duration::from_secs(1),
                told_within: Duration::from_secs(120),
                marks: 1,
                matches: 1,
                conversations: 1,
            };
            let (conversations, contacts) =
                (Conversations::new(store.clone()), Contacts::new(store));
            let (search, _) = Search::start(conversations, contacts, clock, options).await;
            let (begins, begun) = unbounded_channel();
            let (go, may_go) = channel();
            Self { search, begins, begun, go, may_go: Arc::new(Mutex::new(may_go)) }
        }

        fn ask(&self, of: TenantId) -> JoinHandle<()> {
            let (search, begins, may_go) =
                (self.search.clone(), self.begins.clone(), self.may_go.clone());
            tokio::spawn(async move {
                let turn = search.0.turns.take(of, 0).await;
                let work = move |_: &_| {
                    begins.send(of).unwrap();
                    let _ = may_go.lock().unwrap().recv();
                    Ok(())
                };
                drop(search.ask(turn, work).await);
            })
        }
    }

    #[tokio::test]
    async fn a_search_that_nobody_waits_for_has_its_turn_until_its_work_is_done() {
        let mut slow = Slow::new().await;
        let asked: Vec<_> = [ONE, OTHER].repeat(10).into_iter().map(|of| slow.ask(of)).collect();
        for _ in 0..FINDS {
            slow.begun.recv().await.unwrap();
        }
        for search in asked {
            search.abort();
            assert!(search.await.unwrap_err().is_cancelled());
        }
        let turns = slow.search.0.turns.clone();
        assert!(turns.take(THIRD, 0).now_or_never().is_none(), "both are still at work");
        drop(slow.go);
        turns.take(THIRD, 0).await;
    }

    #[tokio::test]
    async fn an_organization_s_search_is_not_behind_all_those_of_another() {
        let mut slow = Slow::new().await;
        let _many: Vec<_> = (0..50).map(|_| slow.ask(ONE)).collect();
        assert_eq!(slow.begun.recv().await, Some(ONE));
        let _one = slow.ask(OTHER);
        assert_eq!(slow.begun.recv().await, Some(OTHER), "though none of the others has ended");
        drop(slow.go);
    }
}
