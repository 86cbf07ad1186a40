//! Inboxes: a tenant's open conversations in memory, newest first, and the closed ones behind them
//! from the archive. Loaded when first asked for, then kept by what is committed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::conversation::Conversation;
use engine::fact::ConversationStatus;
use engine::id::{AgentId, ConversationId, TenantId};
use engine::permission::{Permission, Viewer};
use engine::time::Timestamp;
use serde::Serialize;
use storage::StoreError;
use storage::conversations::{Conversations, View};
use storage::keys::month;
use tokio::sync::OnceCell;

/// All inboxes. Clones are the same.
#[derive(Clone)]
pub struct Inboxes(Arc<Inner>);

struct Inner {
    conversations: Conversations,
    tenants: Mutex<HashMap<TenantId, Arc<Inbox>>>,
    tenants_max: usize,
}

/// A tenant's inbox. Whoever holds it keeps it in memory.
pub struct Inbox {
    loaded: OnceCell<()>,
    open: Mutex<Open>,
}

/// A tenant's open conversations.
#[derive(Default)]
struct Open {
    rows: HashMap<ConversationId, Row>,
    newest: BTreeSet<(Reverse<Timestamp>, ConversationId)>,
    /// By whose they are.
    counters: HashMap<Option<AgentId>, Counters>,
    /// What closed while loading, with its seq: what is loaded later does not bring it back.
    closed: HashMap<ConversationId, u64>,
    loading: bool,
}

/// What lists need of an open conversation.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    seq: u64,
    status: ConversationStatus,
    assignee: Option<AgentId>,
    last_message_at: Timestamp,
    unread: u32,
}

/// What a commit made of a conversation's row; `None`: it is not open.
#[derive(Clone, Copy, Debug)]
pub struct RowChange {
    pub before: Option<Row>,
    pub after: Option<Row>,
}

/// The lists of open conversations that can be followed live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum List {
    /// One agent's.
    Mine(AgentId),
    /// Nobody's.
    Unassigned,
    All,
}

/// Which conversations of those that the viewer may see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    pub status: Option<ConversationStatus>,
    pub assignee: Option<AgentId>,
    /// Only those that are nobody's.
    pub unassigned: bool,
}

/// A page of a list, newest first.
#[derive(Debug)]
pub struct Found {
    pub ids: Vec<ConversationId>,
    /// How many there are; of closed ones at most [`CLOSED_MAX`] are counted and reached.
    pub total: usize,
}

/// How many conversations a list has, and their unread messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    pub conversations: usize,
    pub unread: u64,
}

/// At most so many closed conversations are looked through for one list.
pub const CLOSED_MAX: usize = 10_000;

impl Inboxes {
    /// Over these conversations; at most so many tenants stay in memory.
    pub fn new(conversations: Conversations, tenants_max: usize) -> Self {
        let tenants = Mutex::default();
        Self(Arc::new(Inner { conversations, tenants, tenants_max }))
    }

    /// Keeps the inbox, if it is in memory, and says what that changed; `None`: nothing newer than
    /// what is known. Never waits for the store.
    pub fn follow(&self, head: &Conversation) -> Option<RowChange> {
        let inbox = self.tenants().get(&head.tenant).cloned()?;
        inbox.open().put(head)
    }

    /// A tenant's inbox, loaded; kept in memory as long as it is held.
    pub async fn hold(&self, tenant: TenantId) -> Result<Arc<Inbox>, StoreError> {
        self.inbox(tenant).await
    }

    /// A page of the conversations that the viewer may see, newest first.
    pub async fn page(
        &self,
        viewer: Viewer,
        filter: Filter,
        skip: usize,
        limit: usize,
        (now, since): (Timestamp, Timestamp),
    ) -> Result<Found, StoreError> {
        let inbox = self.inbox(viewer.tenant).await?;
        let wants_open = filter.status.is_none_or(|status| !status.is_closed());
        let wants_closed = filter.status.is_none_or(ConversationStatus::is_closed);
        let mut all: Vec<(Reverse<Timestamp>, ConversationId)> = Vec::new();
        if wants_open {
            let open = inbox.open();
            let fits =
                |id: &ConversationId| open.rows.get(id).is_some_and(|row| filter.fits(viewer, row));
            all.extend(open.newest.iter().filter(|(_, id)| fits(id)).copied());
        }
        if wants_closed {
            all.extend(self.closed(viewer, filter, now, since).await?);
            all.sort_unstable();
            all.dedup();
        }
        let total = all.len();
        let ids = all.into_iter().skip(skip).take(limit).map(|(_, id)| id).collect();
        Ok(Found { ids, total })
    }

    /// The open conversations that nobody wrote in since then.
    pub async fn stale(
        &self,
        tenant: TenantId,
        since: Timestamp,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let inbox = self.inbox(tenant).await?;
        let open = inbox.open();
        let old = open.newest.range((Reverse(since), ConversationId(uuid::Uuid::nil()))..);
        Ok(old.map(|(_, id)| *id).collect())
    }

    async fn closed(
        &self,
        viewer: Viewer,
        filter: Filter,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<Vec<(Reverse<Timestamp>, ConversationId)>, StoreError> {
        let sees_all = viewer.permissions.has(Permission::ConversationsViewAll);
        let views = match (filter.unassigned, filter.assignee) {
            (true, Some(_)) => Vec::new(),
            (true, None) => vec![View::Unassigned],
            (false, Some(agent)) if sees_all || agent == viewer.agent => vec![View::Of(agent)],
            (false, Some(_)) => Vec::new(),
            (false, None) if sees_all => vec![View::All],
            (false, None) => vec![View::Of(viewer.agent), View::Unassigned],
        };
        let mut all = Vec::new();
        for view in views {
            let mut left = CLOSED_MAX;
            for month in (month(since)..=month(now)).rev() {
                let mut behind = None;
                while left > 0 {
                    let limit = left.min(500);
                    let page = self
                        .0
                        .conversations
                        .archive(viewer.tenant, view, month, behind, limit)
                        .await?;
                    left -= page.len();
                    let full = page.len() == limit;
                    behind = page.last().map(|(at, id, _)| (*at, *id));
                    let fits = |status| filter.status.is_none_or(|wanted| wanted == status);
                    all.extend(
                        page.into_iter()
                            .filter(|(.., status)| fits(*status))
                            .map(|(at, id, _)| (Reverse(at), id)),
                    );
                    if !full {
                        break;
                    }
                }
            }
        }
        Ok(all)
    }

    async fn inbox(&self, tenant: TenantId) -> Result<Arc<Inbox>, StoreError> {
        let inbox = {
            let mut tenants = self.tenants();
            if tenants.len() >= self.0.tenants_max && !tenants.contains_key(&tenant) {
                // Whoever nobody asks about at the moment is loaded again when asked for.
                tenants.retain(|_, inbox| Arc::strong_count(inbox) > 1);
            }
            tenants.entry(tenant).or_insert_with(|| Arc::new(Inbox::new())).clone()
        };
        inbox.loaded.get_or_try_init(|| self.load(tenant, &inbox)).await?;
        Ok(inbox)
    }

    /// What is committed meanwhile is followed already: it wins over what is loaded.
    async fn load(&self, tenant: TenantId, inbox: &Inbox) -> Result<(), StoreError> {
        for id in self.0.conversations.open_set(tenant).await? {
            let head = self.0.conversations.folded(id).await?;
            if let Some(head) = head {
                inbox.open().put(&head);
            }
        }
        let mut open = inbox.open();
        open.loading = false;
        open.closed.clear();
        Ok(())
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Arc<Inbox>>> {
        self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    fn new() -> Self {
        let open = Open { loading: true, ..Open::default() };
        Self { loaded: OnceCell::new(), open: Mutex::new(open) }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose an open conversation is; `None`: it is not open.
    pub fn assignee(&self, conversation: ConversationId) -> Option<Option<AgentId>> {
        self.open().rows.get(&conversation).map(|row| row.assignee)
    }

    /// The newest of a list, at most so many, and how much it has.
    pub fn first(&self, list: List, limit: usize) -> (Vec<ConversationId>, Counters) {
        let open = self.open();
        let fits =
            |id: &ConversationId| open.rows.get(id).is_some_and(|row| list.holds(row.assignee));
        let ids = open.newest.iter().map(|(_, id)| *id).filter(fits).take(limit).collect();
        (ids, open.count(list))
    }

    /// How much a list has.
    pub fn counters(&self, list: List) -> Counters {
        self.open().count(list)
    }
}

impl List {
    /// Whether an open conversation of this agent, or of nobody, is in it.
    pub fn holds(self, assignee: Option<AgentId>) -> bool {
        match self {
            Self::Mine(agent) => assignee == Some(agent),
            Self::Unassigned => assignee.is_none(),
            Self::All => true,
        }
    }
}

impl Row {
    /// Whose it is.
    pub fn assignee(&self) -> Option<AgentId> {
        self.assignee
    }
}

impl Open {
    fn count(&self, list: List) -> Counters {
        let of = |assignee| self.counters.get(&assignee).copied().unwrap_or_default();
        match list {
            List::Mine(agent) => of(Some(agent)),
            List::Unassigned => of(None),
            List::All => self.counters.values().fold(Counters::default(), |all, some| Counters {
                conversations: all.conversations + some.conversations,
                unread: all.unread + some.unread,
            }),
        }
    }

    fn put(&mut self, head: &Conversation) -> Option<RowChange> {
        let known = self.rows.get(&head.id).copied();
        let newest = known.map(|row| row.seq).max(self.closed.get(&head.id).copied());
        if newest.is_some_and(|seq| seq >= head.seq) {
            return None;
        }
        if let Some(row) = known {
            self.newest.remove(&(Reverse(row.last_message_at), head.id));
            if let Some(counters) = self.counters.get_mut(&row.assignee) {
                counters.conversations -= 1;
                counters.unread -= u64::from(row.unread);
                if counters.conversations == 0 {
                    self.counters.remove(&row.assignee);
                }
            }
        }
        if head.status.is_closed() {
            self.rows.remove(&head.id);
            if self.loading {
                self.closed.insert(head.id, head.seq);
            }
            return Some(RowChange { before: known, after: None });
        }
        let row = Row {
            seq: head.seq,
            status: head.status,
            assignee: head.assignee,
            last_message_at: head.last_message_at,
            unread: head.unread,
        };
        self.closed.remove(&head.id);
        self.rows.insert(head.id, row);
        self.newest.insert((Reverse(row.last_message_at), head.id));
        let counters = self.counters.entry(row.assignee).or_default();
        counters.conversations += 1;
        counters.unread += u64::from(row.unread);
        Some(RowChange { before: known, after: Some(row) })
    }
}

impl Filter {
    fn fits(&self, viewer: Viewer, row: &Row) -> bool {
        viewer.may_see(row.assignee)
            && self.status.is_none_or(|status| status == row.status)
            && self.assignee.is_none_or(|agent| row.assignee == Some(agent))
            && !(self.unassigned && row.assignee.is_some())
    }
}
