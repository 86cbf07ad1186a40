//! Inboxes: a tenant's open conversations in memory, newest first, and the closed ones behind them
//! from the archive. Loaded when first asked for, then kept by what is committed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::conversation::Conversation;
use engine::fact::ConversationStatus;
use engine::id::{AgentId, ConversationId, TenantId};
use engine::permission::{Permission, Viewer};
use engine::time::Timestamp;
use futures_util::{StreamExt, TryStreamExt, stream};
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
    lanes: HashMap<LaneKey, Lane>,
    /// What closed while loading, with its seq: what is loaded later does not bring it back.
    closed: HashMap<ConversationId, u64>,
    loading: bool,
}

/// Whose, and in which status.
type LaneKey = (Option<AgentId>, ConversationStatus);

/// By what lists are ordered.
type Place = (Reverse<Timestamp>, ConversationId);

/// Those of a tenant's open conversations that every list has together or not at all.
#[derive(Default)]
struct Lane {
    newest: BTreeSet<Place>,
    unread: u64,
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

/// So many heads are read by one thread, and by so many at once: where there are a million, whoever asks
/// first waits for all of them.
const LOADED: usize = 500;
const AT_ONCE: usize = 2;

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
        let mut closed = Vec::new();
        if wants_closed {
            closed = self.closed(viewer, filter, now, since).await?;
            closed.sort_unstable();
            closed.dedup();
        }
        let open = inbox.open();
        let fits = |lane: &LaneKey| wants_open && filter.fits(viewer, lane);
        if wants_open {
            // It was closed when the archive was read, or will be.
            closed.retain(|(_, id)| !open.rows.contains_key(id));
        }
        let total = open.total(fits).conversations + closed.len();
        let mut all: Vec<_> = open.newest(fits).take(skip.saturating_add(limit)).collect();
        if !closed.is_empty() {
            all.extend(closed);
            all.sort_unstable();
        }
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
        let from = (Reverse(since), ConversationId(uuid::Uuid::nil()));
        let old = open.lanes.values().flat_map(|lane| lane.newest.range(from..));
        Ok(old.map(|(_, id)| *id).collect())
    }

    async fn closed(
        &self,
        viewer: Viewer,
        filter: Filter,
        now: Timestamp,
        since: Timestamp,
    ) -> Result<Vec<Place>, StoreError> {
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
        if inbox.loaded.initialized() {
            return Ok(inbox);
        }
        // Whoever waits for it may give up before it is there.
        let (inboxes, loading) = (self.clone(), inbox.clone());
        let load = async move {
            loading.loaded.get_or_try_init(|| inboxes.load(tenant, &loading)).await.copied()
        };
        let loaded = tokio::spawn(load).await;
        loaded.unwrap_or_else(|_| Err(StoreError::Unavailable("a list was not loaded".into())))?;
        Ok(inbox)
    }

    /// What is committed meanwhile is followed already: it wins over what is loaded.
    async fn load(&self, tenant: TenantId, inbox: &Inbox) -> Result<(), StoreError> {
        let mut all = self.0.conversations.open_set(tenant).await?;
        // Neighbours in the store are read one after the other.
        all.sort_unstable();
        let read = |some: &[ConversationId]| self.0.conversations.all_folded(some.to_vec());
        let mut reads = stream::iter(all.chunks(LOADED)).map(read).buffer_unordered(AT_ONCE);
        while let Some(heads) = reads.try_next().await? {
            for head in heads {
                inbox.open().put(&head);
            }
        }
        drop(reads);
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
        let fits = |(assignee, _): &LaneKey| list.holds(*assignee);
        let ids = open.newest(fits).take(limit).map(|(_, id)| id).collect();
        (ids, open.total(fits))
    }

    /// How much a list has.
    pub fn counters(&self, list: List) -> Counters {
        self.open().total(|(assignee, _)| list.holds(*assignee))
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

    fn lane(&self) -> LaneKey {
        (self.assignee, self.status)
    }

    fn place(&self, id: ConversationId) -> Place {
        (Reverse(self.last_message_at), id)
    }
}

impl Open {
    /// How much lies in the lanes that fit.
    fn total(&self, fits: impl Fn(&LaneKey) -> bool) -> Counters {
        let all = self.lanes.iter().filter(|(key, _)| fits(key));
        all.fold(Counters::default(), |all, (_, lane)| Counters {
            conversations: all.conversations + lane.newest.len(),
            unread: all.unread + lane.unread,
        })
    }

    /// What lies in the lanes that fit, newest first.
    fn newest(&self, fits: impl Fn(&LaneKey) -> bool) -> impl Iterator<Item = Place> {
        let fitting = self.lanes.iter().filter(|(key, _)| fits(key));
        let mut rest: Vec<_> = fitting.map(|(_, lane)| lane.newest.iter().copied()).collect();
        let firsts = rest.iter_mut().enumerate();
        let mut next: BinaryHeap<_> =
            firsts.filter_map(|(lane, rest)| Some(Reverse((rest.next()?, lane)))).collect();
        std::iter::from_fn(move || {
            let Reverse((newest, lane)) = next.pop()?;
            next.extend(rest[lane].next().map(|place| Reverse((place, lane))));
            Some(newest)
        })
    }

    fn put(&mut self, head: &Conversation) -> Option<RowChange> {
        let known = self.rows.get(&head.id).copied();
        let newest = known.map(|row| row.seq).max(self.closed.get(&head.id).copied());
        if newest.is_some_and(|seq| seq >= head.seq) {
            return None;
        }
        if let Some(row) = known
            && let Some(lane) = self.lanes.get_mut(&row.lane())
        {
            lane.newest.remove(&row.place(head.id));
            lane.unread -= u64::from(row.unread);
            if lane.newest.is_empty() {
                self.lanes.remove(&row.lane());
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
        let lane = self.lanes.entry(row.lane()).or_default();
        lane.newest.insert(row.place(head.id));
        lane.unread += u64::from(row.unread);
        Some(RowChange { before: known, after: Some(row) })
    }
}

impl Filter {
    fn fits(&self, viewer: Viewer, (assignee, status): &LaneKey) -> bool {
        viewer.may_see(*assignee)
            && self.status.is_none_or(|wanted| wanted == *status)
            && self.assignee.is_none_or(|agent| *assignee == Some(agent))
            && !(self.unassigned && assignee.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BTreeMap;

    use engine::channel::Channel;
    use engine::conversation::{Conversation, Thread};
    use engine::fact::ConversationStatus;
    use engine::id::{AccountId, AgentId, ContactId, ConversationId, TenantId, ThreadId};
    use engine::time::Timestamp;
    use storage::seed::{Chance, seeds};
    use uuid::Uuid;

    use super::{LaneKey, Open};

    fn thread() -> Thread {
        let id = Uuid::from_u128;
        let account = (AccountId(id(2)), Channel::Whatsapp);
        Thread::new(ThreadId(id(3)), TenantId(id(1)), account, ContactId(id(4)))
    }

    #[test]
    fn each_list_is_what_fits_newest_first_whatever_changed_in_what_order() {
        const STATUSES: [ConversationStatus; 3] =
            [ConversationStatus::Open, ConversationStatus::Pending, ConversationStatus::Resolved];
        for seed in seeds(20, 4) {
            println!("TEST_SEED={seed}");
            let (mut chance, mut open) = (Chance::of(seed), Open::default());
            let agent = |n: usize| (n > 0).then(|| AgentId(Uuid::from_u128(n as u128)));
            let mut model = BTreeMap::new();
            for seq in 1..400 {
                let id = ConversationId(Uuid::from_u128(1 + chance.index(40) as u128));
                let head = Conversation {
                    seq,
                    status: STATUSES[chance.index(3)],
                    assignee: agent(chance.index(4)),
                    last_message_at: Timestamp(chance.below(20).cast_signed()),
                    unread: u32::try_from(chance.below(5)).expect("small"),
                    ..Conversation::blank(id, &thread())
                };
                open.put(&head);
                model.insert(id, head);
            }
            for (assignee, status) in (0..4).flat_map(|n| STATUSES.map(|status| (agent(n), status)))
            {
                let fits = |head: &Conversation| {
                    !head.status.is_closed()
                        && head.status == status
                        && assignee.is_none_or(|agent| head.assignee == Some(agent))
                };
                let fitting: Vec<_> = model.values().filter(|head| fits(head)).collect();
                let mut wanted: Vec<_> =
                    fitting.iter().map(|head| (Reverse(head.last_message_at), head.id)).collect();
                wanted.sort_unstable();
                let in_list = |(of, is): &LaneKey| {
                    *is == status && assignee.is_none_or(|agent| *of == Some(agent))
                };
                assert_eq!(open.newest(in_list).collect::<Vec<_>>(), wanted);
                let total = open.total(in_list);
                assert_eq!(total.conversations, wanted.len());
                let unread: u64 = fitting.iter().map(|head| u64::from(head.unread)).sum();
                assert_eq!(total.unread, unread);
            }
        }
    }
}
