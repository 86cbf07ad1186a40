//! Who follows what, in all tenants. Fan-out happens in the turn of whoever made the commit
//! durable: a queue never waits, so a commit costs its followers and not their sockets; where many follow
//! one stream, not even all of these.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use engine::conversation::{Conversation, ConversationView};
use engine::fact::{Fact, Recorded};
use engine::id::{AgentId, ConversationId, IntegrationId, TenantId};
use engine::identity::agent::Agent;
use engine::identity::agent::Availability;
use engine::message::MessageRow;
use engine::permission::Permission;
use engine::time::Timestamp;
use storage::StoreError;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::follow::Position;
use super::presence::Leaving;
use super::queue::{Cut, Queue};
use super::topic::{About, Joined, Topic};
use super::writer::Writer;
use super::{Event, Stream, What, Wire};
use crate::committed::Committed;
use crate::inbox::{Inbox, Inboxes, List, RowChange};
use crate::tenants::{Following, TenantState};

/// The hub of a process. Clones are the same.
pub struct Hub<W>(Arc<Inner<W>>);

struct Inner<W> {
    limits: FeedLimits,
    inboxes: Inboxes,
    tenants: RwLock<HashMap<TenantId, Arc<Feed<W>>>>,
    leaving: Leaving<W>,
    /// One for two processors: each keeps another busy, that of those who read.
    writers: Vec<Arc<Writer<W>>>,
    /// Which of them the next session has.
    turn: AtomicUsize,
    open: watch::Sender<usize>,
    stopping: AtomicBool,
    rings: AtomicU64,
}

/// One tenant's followed streams, and who follows.
pub(super) struct Feed<W> {
    /// Held, so that its lists are in memory as long as somebody may follow them.
    pub(super) inbox: Arc<Inbox>,
    topics: Mutex<HashMap<Stream, Arc<Topic<W>>>>,
    /// When those were looked for last to which nobody came back.
    tidied: Mutex<Instant>,
    /// Of each person, the queues of open sessions, oldest first.
    sessions: Mutex<HashMap<AgentId, VecDeque<Arc<Queue<W>>>>>,
    /// How often conversations changed hands: what was made before the last time is looked at again
    /// before it is shown.
    moves: AtomicU64,
}

/// What bounds the feed.
#[derive(Clone, Debug)]
pub struct FeedLimits {
    /// Events that are kept, and that one who returns is sent; over it there is a snapshot.
    pub replay_events: usize,
    /// Bytes of them.
    pub replay_bytes: usize,
    /// Hints that wait for one session, and bytes of their frames.
    pub queue_frames: usize,
    pub queue_bytes: usize,
    /// So many followers of one stream are told in rounds; to fewer each event is passed on by itself.
    pub rounds_from: usize,
    /// Sessions of one person; one more ends the oldest.
    pub sessions_per_agent: usize,
    /// What comes close upon what was written to a session waits so long, and is written as one.
    pub hold: Duration,
    /// Streams of one session.
    pub streams_per_session: usize,
    /// Names this store's logs: offsets of another store's mean nothing here.
    pub incarnation: String,
}

/// Events of one frame.
pub(super) const FRAME_EVENTS: usize = 64;
/// So long a list's ring outlives its last follower.
const RING_KEPT: Duration = Duration::from_secs(600);
/// All streams of a tenant are looked through at most so often: commits wait meanwhile.
const TIDIED_EVERY: Duration = Duration::from_secs(60);

impl<W> Clone for Hub<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<W: Wire> Hub<W> {
    /// One that nobody follows yet, over the lists that it keeps.
    pub fn new(limits: FeedLimits, inboxes: Inboxes) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Inner {
            writers: (0..processors.div_ceil(2)).map(|_| Writer::new(&limits)).collect(),
            turn: AtomicUsize::new(0),
            limits,
            inboxes,
            tenants: RwLock::default(),
            leaving: Leaving::new(),
            open: watch::Sender::new(0),
            stopping: AtomicBool::new(false),
            // Rings of an earlier run are not continued.
            rings: AtomicU64::new(rand::random()),
        }))
    }

    /// A commit is durable: tells whoever follows the conversation, or a list that it changes.
    pub fn follow(&self, committed: &Committed) {
        // The list first: a snapshot that is read after a hint has at least what it tells.
        let change = self.0.inboxes.follow(&committed.after);
        let Some(feed) = self.feed(committed.tenant()) else { return };
        let Committed { commit, rows, before, after, .. } = committed;
        let stream = Stream::Conversation(after.id);
        let topic = feed.topic(stream);
        if let Some(topic) = &topic {
            topic.assigned(after.seq, after.assignee);
        }
        let was = before.as_ref().and_then(|before| before.assignee);
        let taken = before.is_some() && was != after.assignee;
        if taken {
            feed.moves.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(topic) = topic.filter(|topic| topic.is_followed()) {
            let events: Vec<_> = commit
                .numbered()
                .map(|(seq, recorded)| {
                    let row = recorded
                        .fact
                        .message()
                        .and_then(|(_, place)| rows.iter().find(|row| row.place == place));
                    event(stream, seq, commit.at, recorded, row, after)
                })
                .collect();
            for events in events.chunks(FRAME_EVENTS) {
                let (Some(first), Some(last)) = (events.first(), events.last()) else { continue };
                topic.tell(first.offset, last.offset, |encoding| W::events(encoding, events));
            }
        }
        let is_deletion = |recorded: &Recorded| matches!(recorded.fact, Fact::Deleted { .. });
        if commit.facts.iter().any(is_deletion) {
            // Rows from before show what is gone.
            let topics = feed.topics();
            let is_ring = |topic: &&Arc<Topic<W>>| !matches!(topic.stream, Stream::Conversation(_));
            topics.values().filter(is_ring).for_each(|topic| topic.forget(after.id));
        }
        if let Some(change) = change
            && before.as_ref().is_none_or(|before| looks_different(before, after))
        {
            self.row(&feed, change, after, commit.at);
        }
        if let Some(agent) = after.assignee.filter(|_| taken) {
            let stream = Stream::Agent(agent);
            let to_them = |recorded: &&Recorded| matches!(recorded.fact, Fact::Assigned { to, .. } if to == Some(agent));
            let assigned = commit.facts.iter().rfind(to_them);
            if let (Some(topic), Some(recorded)) = (feed.topic(stream), assigned) {
                topic.add(Some(feed.about(after.id)), &self.0.limits, |encoding, offset| {
                    W::events(encoding, &[event(stream, offset, commit.at, recorded, None, after)])
                });
            }
        }
    }

    /// A conversation was loaded as it stands: what was not told of it is read now.
    pub fn woke(&self, head: &Conversation) {
        let change = self.0.inboxes.follow(head);
        let Some(feed) = self.feed(head.tenant) else { return };
        if let Some(topic) = feed.topic(Stream::Conversation(head.id)) {
            topic.assigned(head.seq, head.assignee);
            topic.stir(head.seq);
        }
        if let Some(change) = change {
            // Perhaps it changed hands, and nobody was told.
            feed.moves.fetch_add(1, Ordering::AcqRel);
            self.row(&feed, change, head, head.updated_at);
        }
    }

    /// Tells the lists that a row entered, changed in, or left.
    fn row(&self, feed: &Feed<W>, change: RowChange, head: &Conversation, at: Timestamp) {
        let RowChange { before, after } = change;
        let owners = [before.and_then(|row| row.assignee()), after.and_then(|row| row.assignee())];
        let mut lists = vec![List::All, List::Unassigned];
        lists.extend(owners.into_iter().flatten().map(List::Mine));
        lists.dedup();
        for list in lists {
            let was = before.is_some_and(|row| list.holds(row.assignee()));
            let is = after.is_some_and(|row| list.holds(row.assignee()));
            let Some(topic) = feed.topic(Stream::List(list)).filter(|_| was || is) else {
                continue;
            };
            let about = About::Conversation { id: head.id, moves: is.then(|| feed.moves()) };
            let stream = topic.stream;
            topic.add(Some(about), &self.0.limits, |encoding, offset| {
                // As of this offset, or later: another row may have been counted meanwhile.
                let counters = feed.inbox.counters(list);
                let what = match is {
                    true => What::Row { head, counters },
                    false => What::Gone { conversation: head.id, seq: head.seq, counters },
                };
                W::events(encoding, &[Event { stream, offset, at, by: None, what }])
            });
        }
    }

    /// Ends all sessions, and waits until they are gone. What is opened later ends at once.
    pub async fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.feeds().values().for_each(|feed| {
            feed.sessions().values().flatten().for_each(|queue| queue.cut(Cut::Stopping));
        });
        let mut open = self.0.open.subscribe();
        // The sender lives as long as the hub.
        let _ = open.wait_for(|open| *open == 0).await;
    }

    /// What bounds it.
    pub(super) fn limits(&self) -> &FeedLimits {
        &self.0.limits
    }

    /// Who writes for the next session while it rests.
    pub(super) fn writer(&self) -> Arc<Writer<W>> {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        self.0.writers[turn % self.0.writers.len()].clone()
    }

    /// A tenant's feed, for a session that begins.
    pub(super) async fn enter(&self, tenant: TenantId) -> Result<Arc<Feed<W>>, StoreError> {
        let inbox = self.0.inboxes.hold(tenant).await?;
        let mut tenants = self.0.tenants.write().unwrap_or_else(PoisonError::into_inner);
        tenants.retain(|id, feed| *id == tenant || Arc::strong_count(feed) > 1 || feed.is_kept());
        let feed = || {
            let (topics, sessions) = (Mutex::default(), Mutex::default());
            let (tidied, moves) = (Mutex::new(Instant::now()), AtomicU64::new(0));
            Arc::new(Feed { inbox, topics, tidied, sessions, moves })
        };
        Ok(tenants.entry(tenant).or_insert_with(feed).clone())
    }

    /// A person's session begins; where they have too many the oldest ends.
    pub(super) fn opened(&self, feed: &Feed<W>, queue: &Arc<Queue<W>>) {
        let mut sessions = feed.sessions();
        let of_agent = sessions.entry(queue.agent).or_default();
        of_agent.push_back(queue.clone());
        while of_agent.len() > self.0.limits.sessions_per_agent {
            let Some(oldest) = of_agent.pop_front() else { break };
            oldest.cut(Cut::Crowded);
        }
        if self.0.stopping.load(Ordering::Acquire) {
            queue.cut(Cut::Stopping);
        }
        self.0.open.send_modify(|open| *open += 1);
        metrics::gauge!("omnistream_sockets").increment(1.0);
    }

    /// A session has ended.
    pub(super) fn closed(&self, feed: &Feed<W>, queue: &Arc<Queue<W>>) {
        let mut sessions = feed.sessions();
        if let Some(of_agent) = sessions.get_mut(&queue.agent) {
            of_agent.retain(|other| !Arc::ptr_eq(other, queue));
            if of_agent.is_empty() {
                sessions.remove(&queue.agent);
            }
        }
        self.0.open.send_modify(|open| *open -= 1);
        metrics::gauge!("omnistream_sockets").decrement(1.0);
    }

    /// Joins a stream, whose topic is made when it is not there.
    pub(super) fn join(
        &self,
        feed: &Feed<W>,
        stream: Stream,
        queue: &Arc<Queue<W>>,
        since: Option<&Position>,
    ) -> (Arc<Topic<W>>, Joined<W>) {
        let mut topics = feed.topics();
        let fresh = || Arc::new(Topic::new(stream, self.epoch(stream)));
        let topic = topics.entry(stream).or_insert_with(fresh);
        (topic.clone(), topic.join(queue, since))
    }

    /// An agent follows a stream from one socket less.
    pub(super) fn departed(&self, topic: &Arc<Topic<W>>, agent: AgentId) {
        let Some(left) = topic.depart(agent) else { return };
        let is_first = self.0.leaving.add(left, topic.clone(), agent);
        // Without a runtime everything ends.
        if let (true, Ok(runtime)) = (is_first, Handle::try_current()) {
            let hub = self.clone();
            runtime.spawn(async move { hub.0.leaving.see_off().await });
        }
    }

    fn epoch(&self, stream: Stream) -> Arc<str> {
        match stream {
            Stream::Conversation(_) => self.0.limits.incarnation.as_str().into(),
            _ => format!("{:x}", self.0.rings.fetch_add(1, Ordering::AcqRel)).into(),
        }
    }

    fn feed(&self, tenant: TenantId) -> Option<Arc<Feed<W>>> {
        self.0.feeds().get(&tenant).cloned()
    }
}

impl<W: Wire> Following for Hub<W> {
    fn changed(&self, before: &TenantState, after: &TenantState, at: Timestamp) {
        let Some(feed) = self.feed(after.tenant.id) else { return };
        let tell = |stream: Stream, needs: Option<Permission>, what: What<'_>| {
            let Some(topic) = feed.topic(stream) else { return };
            topic.add(needs.map(About::Needs), &self.0.limits, |encoding, offset| {
                W::events(encoding, &[Event { stream, offset, at, by: None, what }])
            });
        };
        for agent in after.agents.values() {
            let name = match before.agents.get(&agent.id) {
                None => "agent.created",
                Some(known) if known != agent => "agent.updated",
                Some(_) => continue,
            };
            for stream in [Stream::Agents, Stream::Agent(agent.id)] {
                tell(stream, None, What::Agent { name, agent, state: after });
            }
        }
        for agent in before.agents.keys().filter(|id| !after.agents.contains_key(id)) {
            tell(Stream::Agents, None, What::AgentGone { agent: *agent });
        }
        for account in after.accounts.values() {
            let known = before.accounts.get(&account.id);
            let Some(known) = known.filter(|known| known.standing() != account.standing()) else {
                continue;
            };
            for agent in managers(after) {
                tell(Stream::Agent(agent), Some(MANAGES), What::Account { account, before: known });
            }
        }
        let counts = |state: &TenantState, id: &IntegrationId| {
            state.integrations.get(id).is_some_and(|integration| integration.is_active)
        };
        let gone =
            before.integrations.iter().filter(|(id, _)| !after.integrations.contains_key(id));
        for (id, integration) in after.integrations.iter().chain(gone) {
            let is_active = counts(after, id);
            if is_active == counts(before, id) {
                continue;
            }
            for agent in managers(after) {
                tell(
                    Stream::Agent(agent),
                    Some(MANAGES),
                    What::Integration { integration, is_active },
                );
            }
        }
        for agent in after.agents.values() {
            let was = before.agents.get(&agent.id).map(|known| known.availability);
            if was.is_some_and(|was| was != agent.availability) {
                feed.available(agent.id, agent.availability);
            }
        }
    }

    fn rechecked(&self, tenant: TenantId, agent: Option<AgentId>) {
        let Some(feed) = self.feed(tenant) else { return };
        let sessions = feed.sessions();
        match agent {
            Some(agent) => {
                sessions.get(&agent).into_iter().flatten().for_each(|queue| queue.poke());
            }
            None => sessions.values().flatten().for_each(|queue| queue.poke()),
        }
    }
}

/// Who looks after the channels may do this.
const MANAGES: Permission = Permission::IntegrationsManage;

/// Those who look after the channels.
fn managers(state: &TenantState) -> impl Iterator<Item = AgentId> {
    let manages = |agent: &&Arc<Agent>| state.permissions(agent).has(MANAGES);
    state.agents.values().filter(manages).map(|agent| agent.id)
}

impl<W> Inner<W> {
    fn feeds(&self) -> RwLockReadGuard<'_, HashMap<TenantId, Arc<Feed<W>>>> {
        self.tenants.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Wire> Feed<W> {
    /// A follower leaves. What is a log of its own is forgotten with its last follower.
    pub(super) fn leave(&self, topic: &Arc<Topic<W>>, queue: &Arc<Queue<W>>) {
        let mut topics = self.topics();
        let is_log = matches!(topic.stream, Stream::Conversation(_));
        if !topic.leave(queue) && is_log {
            topics.remove(&topic.stream);
        }
        let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        if tidied.elapsed() >= TIDIED_EVERY {
            *tidied = Instant::now();
            topics.retain(|_, topic| !topic.is_left_for(RING_KEPT));
        }
    }

    /// How often conversations changed hands.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// That something shows a conversation, as of now.
    pub(super) fn about(&self, conversation: ConversationId) -> About {
        About::Conversation { id: conversation, moves: Some(self.moves()) }
    }

    /// Tells wherever an agent is present that it takes work, or does not any more.
    fn available(&self, agent: AgentId, state: Availability) {
        let present: Vec<_> =
            self.topics().values().filter(|topic| topic.stream.has_presence()).cloned().collect();
        present.iter().for_each(|topic| topic.available(agent, state));
    }

    fn topic(&self, stream: Stream) -> Option<Arc<Topic<W>>> {
        self.topics().get(&stream).cloned()
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<AgentId, VecDeque<Arc<Queue<W>>>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody may come back to one of its streams.
    fn is_kept(&self) -> bool {
        self.topics().values().any(|topic| !topic.is_left_for(RING_KEPT))
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<Stream, Arc<Topic<W>>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fact as an event of its conversation's stream.
pub(super) fn event<'a>(
    stream: Stream,
    offset: u64,
    at: Timestamp,
    recorded: &'a Recorded,
    row: Option<&'a MessageRow>,
    head: &'a Conversation,
) -> Event<'a> {
    let by = Some(recorded.by);
    let what = match (recorded.fact.event(), recorded.fact.message(), row) {
        (None, ..) | (_, Some(_), None) => What::Nothing,
        (Some(name), Some(_), Some(row)) => What::Message { name, message: &row.message },
        (Some(name), None, _) => What::Conversation { name, head, fact: &recorded.fact },
    };
    Event { stream, offset, at, by, what }
}

/// Whether a list shows anything new: not every receipt is worth a row.
fn looks_different(before: &Conversation, after: &Conversation) -> bool {
    let shown = |head: &Conversation| ConversationView {
        seq: 0,
        updated_at: Timestamp::default(),
        ..ConversationView::of(head)
    };
    shown(before) != shown(after)
}
