//! A shop: its desk, its people and its feed over a store that fails, without sockets.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::desk::{Desk, DeskOptions};
use actors::failure::Failure;
use actors::feed::{FeedLimits, Hub, Sources};
use actors::inbox::Inboxes;
use actors::tenants::{Changing, NotChanged, Tenants};
use actors::world::Outside;
use api::socket::Frame;
use engine::account::Account;
use engine::channel::{Channel, Handle, Inbound, InboundMessage};
use engine::contact::IdentityKind;
use engine::conversation::{Command, Conversation, Effect};
use engine::id::{AccountId, AgentId, ConversationId, MessageId, RoleId, TenantId, ThreadId};
use engine::identity::agent::{Agent, Availability, Credential};
use engine::identity::role::{ADMIN, AGENT, Role};
use engine::message::{Content, MessageRow};
use engine::permission::Viewer;
use engine::tenant::{Tenant, TenantStatus};
use engine::time::Timestamp;
use storage::conversations::Conversations;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::names::Names;
use storage::seed::Chance;
use storage::settings::Settings;
use storage::tables::LOG;
use storage::{Stamp, Store};
use uuid::Uuid;

pub(crate) const TENANT: TenantId = TenantId(Uuid::from_u128(1));
pub(crate) const BOSS: AgentId = AgentId(Uuid::from_u128(0xA0));
pub(crate) const ANA: AgentId = AgentId(Uuid::from_u128(0xA1));
pub(crate) const BEN: AgentId = AgentId(Uuid::from_u128(0xA2));
/// A role of the shop's own.
const CLERK: RoleId = RoleId(Uuid::from_u128(0xC1));
/// Every write of a thousand is done, and none of them answered.
pub(crate) const UNANSWERED: u64 = 1_000;

/// Which conversations there are and whose, as the hub was told.
pub(crate) type Known = Arc<Mutex<BTreeMap<ConversationId, Option<AgentId>>>>;

/// The hub, and what it was told of.
pub(crate) struct Feeds {
    pub(crate) hub: Hub<Frame>,
    pub(crate) known: Known,
}

impl Outside for Feeds {
    fn follow(&self, committed: &Committed) {
        self.known.lock().unwrap().insert(committed.conversation(), committed.after.assignee);
        self.hub.follow(committed);
    }
    fn woke(&self, head: &Conversation, _: bool) {
        self.known.lock().unwrap().insert(head.id, head.assignee);
        self.hub.woke(head);
    }
    fn act(&self, _: &Conversation, _: Effect, _: Option<&MessageRow>) {}
    fn held(&self, _: ThreadId) -> Vec<MessageId> {
        Vec::new()
    }
}

/// What a run of the shop keeps in memory.
pub(crate) struct Shop {
    pub(crate) feeds: Arc<Feeds>,
    pub(crate) sources: Sources,
    pub(crate) inboxes: Inboxes,
    pub(crate) faulty: Arc<Faulty>,
    /// Of a thousand calls of the desk's store so many fail.
    pub(crate) failing: Arc<AtomicU64>,
    /// Rows of conversations that the desk has read.
    pub(crate) reads: Arc<AtomicU64>,
    /// What is stored, without faults.
    pub(crate) stored: Conversations,
    memory: Arc<dyn Store>,
    clock: Clock,
    stamps: Arc<Stamps>,
    limits: FeedLimits,
    seed: u64,
    /// Ben has the shop's own role, which is changed.
    is_clerk: bool,
}

pub(crate) fn limits() -> FeedLimits {
    FeedLimits {
        replay_events: 40,
        replay_bytes: 40_000,
        queue_frames: 1_000,
        queue_bytes: 10_000_000,
        hold: Duration::ZERO,
        rounds_from: 16,
        sessions_per_agent: 3,
        streams_per_session: 100,
        incarnation: "one".into(),
    }
}

pub(crate) fn person(id: AgentId, role_id: RoleId) -> Agent {
    let (name, email) = ("Someone".to_owned(), format!("{id}@example.com"));
    let (availability, created_at) = (Availability::Online, Timestamp(0));
    Agent {
        id,
        name,
        email,
        role_id,
        availability,
        is_active: true,
        rev: 1,
        created_at,
        updated_at: created_at,
    }
}

pub(crate) fn secret(agent: AgentId) -> Credential {
    Credential { agent, password_hash: String::new(), sessions_since: Timestamp(0) }
}

/// What the store below the desk is like.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Below {
    /// It writes parts of batches, and late.
    Lazy,
    /// It writes a batch as one, and at once or never.
    Atomic,
}

/// What becomes of a call.
fn fate(failing: u64, below: Below, call: &Call<'_>, chance: &mut Chance) -> Fate {
    if !chance.permille(failing) {
        return Fate::Done;
    }
    match (call, chance.below(6)) {
        (Call::Write(_), _) if failing == UNANSWERED => Fate::Applied,
        (Call::Write(_), 0 | 1) => Fate::Applied,
        _ if below == Below::Atomic => Fate::Unavailable,
        (Call::Write(_), 2) => Fate::Lost,
        (Call::Write(_), 3) if chance.permille(500) => Fate::Behind(1 + chance.index(3)),
        (Call::Write(_), 3) => Fate::Torn(chance.index(4)),
        (Call::Write(_), 4) => Fate::Late(1 + chance.index(8)),
        _ => Fate::Unavailable,
    }
}

impl Shop {
    pub(crate) async fn open(seed: u64, below: Below, limits: FeedLimits) -> Self {
        let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
        let now = clock.clone();
        let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
        let failing = Arc::new(AtomicU64::new(0));
        let (fails, mut chance) = (failing.clone(), Chance::of(seed));
        let reads = Arc::new(AtomicU64::new(0));
        let count = reads.clone();
        let faulty = Faulty::new(memory.clone(), move |call| {
            if matches!(call, Call::Get(table, _) if table.name == LOG.name) {
                count.fetch_add(1, Ordering::AcqRel);
            }
            fate(fails.load(Ordering::Acquire), below, call, &mut chance)
        });
        let stored = Faulty::new(memory.clone(), |_| Fate::Done);
        let (faulty, stored) = match below {
            Below::Lazy => (faulty, stored),
            Below::Atomic => (faulty.promising_as_below(), stored.promising_as_below()),
        };
        let (faulty, stored) = (Arc::new(faulty), Conversations::new(Arc::new(stored)));
        let stamps = Arc::new(Stamps::above(Stamp(0)));
        let known = Arc::default();
        let run = run(&faulty, &memory, &clock, &stamps, &limits, seed, known).await;
        let (feeds, sources, inboxes) = run;
        let (name, slug, created_at) = ("Shop".to_owned(), "shop".to_owned(), clock.now());
        let (status, history_since, updated_at) = (TenantStatus::Active, None, created_at);
        let tenant =
            Tenant { id: TENANT, name, slug, status, history_since, created_at, updated_at };
        sources.tenants.create(tenant, person(BOSS, ADMIN), secret(BOSS)).await.unwrap();
        let shop = Self {
            feeds,
            sources,
            inboxes,
            faulty,
            failing,
            reads,
            stored,
            memory,
            clock,
            stamps,
            limits,
            seed,
            is_clerk: false,
        };
        for agent in [ANA, BEN] {
            shop.change(|changing| {
                changing.put(person(agent, AGENT));
                changing.put_credential(secret(agent));
            })
            .await;
        }
        shop
    }

    /// Everything that is in memory is lost.
    pub(crate) async fn restart(&mut self) {
        let failing = self.failing.swap(0, Ordering::AcqRel);
        self.sources.desk.stop(Duration::from_secs(60)).await;
        self.faulty.land().await;
        self.seed += 1;
        let known = self.feeds.known.clone();
        let Self { faulty, memory, clock, stamps, limits, seed, .. } = self;
        let run = run(faulty, memory, clock, stamps, limits, *seed, known).await;
        (self.feeds, self.sources, self.inboxes) = run;
        self.sources.desk.recover().await.unwrap();
        self.failing.store(failing, Ordering::Release);
    }

    pub(crate) async fn change(&self, change: impl FnOnce(&mut Changing)) {
        let change = |changing: &mut Changing| {
            change(changing);
            Ok(())
        };
        let changed: Result<(), NotChanged<()>> = self.sources.tenants.change(TENANT, change).await;
        changed.unwrap();
    }

    /// Ben has a role of the shop's own from now on.
    pub(crate) async fn make_ben_a_clerk(&mut self) {
        self.is_clerk = true;
        self.let_ben(AGENT).await;
        self.change(|changing| changing.put(person(BEN, CLERK))).await;
    }

    /// Ben may do what this role of the system's allows: he gets it, or his own becomes like it.
    pub(crate) async fn let_ben(&self, like: RoleId) {
        let state = self.sources.tenants.state(TENANT).await.unwrap().unwrap();
        let clerk = Role {
            id: CLERK,
            name: "Clerk".to_owned(),
            is_system: false,
            ..Role::clone(&state.roles[&like])
        };
        self.change(|changing| match self.is_clerk {
            true => changing.put(clerk),
            false => changing.put(person(BEN, like)),
        })
        .await;
    }

    pub(crate) async fn viewer(&self, agent: AgentId) -> Option<Viewer> {
        let state = self.sources.tenants.state(TENANT).await.unwrap().unwrap();
        let known = state.agents.get(&agent).filter(|agent| agent.is_active)?;
        Some(Viewer { tenant: TENANT, agent, permissions: state.permissions(known) })
    }

    pub(crate) fn known(&self) -> Vec<ConversationId> {
        self.feeds.known.lock().unwrap().keys().copied().collect()
    }

    pub(crate) async fn head(&self, id: ConversationId) -> Conversation {
        self.stored.folded(id).await.unwrap().unwrap()
    }

    /// What the boss wants of a conversation.
    pub(crate) async fn ask(&self, id: ConversationId, command: Command) -> Result<(), Failure> {
        let boss = self.viewer(BOSS).await.unwrap();
        self.sources.desk.ask(boss, id, None, command).await.map(drop)
    }

    /// Whoever wrote before begins another conversation, if theirs is closed.
    pub(crate) fn days_pass(&self) {
        self.clock.set(self.clock.now() + Duration::from_secs(48 * 3600));
    }

    /// A customer writes; what is not taken is not acknowledged.
    pub(crate) async fn hears(&self, phone: &str, id: &str, text: &str) -> Result<(), Failure> {
        self.sources.desk.ingest(&account(), vec![says(phone, id, text)]).await
    }
}

/// What a process has in memory, over a store that stays.
async fn run(
    faulty: &Arc<Faulty>,
    memory: &Arc<dyn Store>,
    clock: &Clock,
    stamps: &Arc<Stamps>,
    limits: &FeedLimits,
    seed: u64,
    known: Known,
) -> (Arc<Feeds>, Sources, Inboxes) {
    let store: Arc<dyn Store> = faulty.clone();
    let inboxes = Inboxes::new(Conversations::new(store.clone()), 10);
    let hub = Hub::new(limits.clone(), inboxes.clone());
    let (settings, names) = (Settings::new(memory.clone()), Names::new(memory.clone()));
    let following = Arc::new(hub.clone());
    let tenants = Tenants::new(settings, names, clock.clone(), stamps.clone(), 10, 1000, following);
    let feeds = Arc::new(Feeds { hub, known });
    let options = DeskOptions { seed: Some(seed), ..DeskOptions::default() };
    let desk = Desk::start(store, clock.clone(), stamps.clone(), feeds.clone(), options).await;
    (feeds, Sources { tenants, desk }, inboxes)
}

fn account() -> Account {
    let id = AccountId(Uuid::from_u128(2));
    Account::new(id, TENANT, Channel::Whatsapp, "10001", "Shop", Timestamp(0))
}

fn says(phone: &str, provider_id: &str, text: &str) -> Inbound {
    Inbound::Message(Box::new(InboundMessage {
        from: vec![Handle { kind: IdentityKind::Phone, value: phone.into() }],
        name: Some("Ines".into()),
        provider_id: Some(provider_id.into()),
        content: Content::text(text),
        ..InboundMessage::default()
    }))
}

/// Whose conversations are, as far as that was answered.
#[derive(Clone, Default)]
pub(crate) struct Owners {
    pub(crate) of: BTreeMap<ConversationId, Option<AgentId>>,
    /// It was not answered: either may be.
    pub(crate) unknown: HashSet<ConversationId>,
}

impl Owners {
    /// Nothing is shown to one who may not see it now.
    pub(crate) fn check(&self, viewer: Option<Viewer>, id: ConversationId) {
        let viewer = viewer.expect("nobody is shown anything who is not there any more");
        let owner = self.of.get(&id).copied().flatten();
        assert!(
            self.unknown.contains(&id) || viewer.may_see(owner),
            "{} is shown what is {owner:?}'s",
            viewer.agent
        );
    }
}
