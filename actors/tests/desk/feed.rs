//! The live feed under everything that may go wrong: whatever happens, every client ends with what
//! it may see, without a gap, and is shown nothing that was another's when it left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::desk::Desk;
use actors::failure::Failure;
use actors::feed::{
    Cut, Event, FeedLimits, Hub, NotFollowed, Position, Push, Session, Snapshot, Sources, Started,
    Stream, What, Wire,
};
use actors::inbox::{Inboxes, List};
use actors::tenants::{Changing, NotChanged, Tenants};
use actors::world::Outside;
use engine::conversation::{Command, Conversation, ConversationView, Effect};
use engine::fact::ConversationStatus;
use engine::id::{AgentId, ConversationId, MessageId, RoleId, ThreadId};
use engine::identity::agent::{Agent, Availability, Credential};
use engine::identity::role::{ADMIN, AGENT, SUPERVISOR};
use engine::message::{Message, MessageRow};
use engine::permission::Viewer;
use engine::tenant::{Tenant, TenantStatus};
use engine::time::Timestamp;
use storage::conversations::Conversations;
use storage::faulty::{Call, Fate, Faulty};
use storage::memory::Memory;
use storage::names::Names;
use storage::seed::{Chance, seeds};
use storage::settings::Settings;
use storage::{Stamp, Store};
use uuid::Uuid;

use crate::bench::{TENANT, account, desk, phone, says};

const BOSS: AgentId = AgentId(Uuid::from_u128(0xA0));
const ANA: AgentId = AgentId(Uuid::from_u128(0xA1));
const BEN: AgentId = AgentId(Uuid::from_u128(0xA2));
const STEPS: u64 = 80;
/// Seeds that found something: a role that falls and rises again between two looks.
const FOUND: [u64; 1] = [11_428_790_804_352_370_848];
/// Every write of a thousand is done, and none of them answered.
const UNANSWERED: u64 = 1_000;

/// A frame as tests read it.
struct Told {
    stream: Stream,
    events: Vec<(u64, Seen)>,
}

enum Seen {
    Nothing,
    Message(Message),
    Conversation(Conversation),
    Row(Conversation),
    Gone(ConversationId, u64),
    Agent,
}

impl Wire for Told {
    fn encode(events: &[Event<'_>]) -> Self {
        let seen = |what: &What<'_>| match what {
            What::Nothing => Seen::Nothing,
            What::Message { message, .. } => Seen::Message((*message).clone()),
            What::Conversation { head, .. } => Seen::Conversation((*head).clone()),
            What::Row { head, .. } => Seen::Row((*head).clone()),
            What::Gone { conversation, seq, .. } => Seen::Gone(*conversation, *seq),
            What::Agent { .. } | What::AgentGone { .. } => Seen::Agent,
        };
        let stream = events[0].stream;
        let events = events.iter().map(|event| (event.offset, seen(&event.what))).collect();
        Self { stream, events }
    }

    fn bytes(&self) -> usize {
        100 * self.events.len()
    }
}

/// The hub, and which conversations there are.
struct Feeds {
    hub: Hub<Told>,
    known: Mutex<BTreeSet<ConversationId>>,
}

impl Outside for Feeds {
    fn follow(&self, committed: &Committed) {
        self.known.lock().unwrap().insert(committed.conversation());
        self.hub.follow(committed);
    }
    fn woke(&self, head: &Conversation) {
        self.known.lock().unwrap().insert(head.id);
        self.hub.woke(head);
    }
    fn act(&self, _: &Conversation, _: Effect, _: Option<&MessageRow>) {}
    fn held(&self, _: ThreadId) -> Vec<MessageId> {
        Vec::new()
    }
}

struct Shop {
    feeds: Arc<Feeds>,
    sources: Sources,
    inboxes: Inboxes,
    faulty: Arc<Faulty>,
    /// Of a thousand calls of the desk's store so many fail.
    failing: Arc<AtomicU64>,
    /// What is stored, without faults.
    stored: Conversations,
}

fn limits() -> FeedLimits {
    FeedLimits {
        replay_events: 40,
        replay_bytes: 4_000,
        queue_frames: 1_000,
        queue_bytes: 1_000_000,
        sessions_per_agent: 3,
        streams_per_session: 100,
        incarnation: "one".into(),
    }
}

fn person(id: AgentId, role_id: RoleId) -> Agent {
    let (name, email) = ("Someone".to_owned(), format!("{id}@example.com"));
    let (availability, created_at) = (Availability::Online, Timestamp(0));
    let updated_at = created_at;
    Agent {
        id,
        name,
        email,
        role_id,
        availability,
        is_active: true,
        rev: 1,
        created_at,
        updated_at,
    }
}

fn secret(agent: AgentId) -> Credential {
    Credential { agent, password_hash: String::new(), sessions_since: Timestamp(0) }
}

/// What the store below the desk is like.
#[derive(Clone, Copy, PartialEq)]
enum Below {
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
        (Call::Write(_), 3) => Fate::Torn(chance.index(4)),
        (Call::Write(_), 4) => Fate::Late(1 + chance.index(8)),
        _ => Fate::Unavailable,
    }
}

impl Shop {
    async fn open(seed: u64, below: Below, limits: FeedLimits) -> Self {
        let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
        let now = clock.clone();
        let memory: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(move || now.now())));
        let failing = Arc::new(AtomicU64::new(0));
        let (fails, mut chance) = (failing.clone(), Chance::of(seed));
        let faulty = Faulty::new(memory.clone(), move |call| {
            fate(fails.load(Ordering::Acquire), below, call, &mut chance)
        });
        let stored = Faulty::new(memory.clone(), |_| Fate::Done);
        let (faulty, stored) = match below {
            Below::Lazy => (faulty, stored),
            Below::Atomic => (faulty.promising_as_below(), stored.promising_as_below()),
        };
        let faulty = Arc::new(faulty);
        let stamps = Arc::new(Stamps::above(Stamp(0)));
        let inboxes = Inboxes::new(Conversations::new(faulty.clone()), 10);
        let hub = Hub::new(limits, inboxes.clone());
        let (settings, names) = (Settings::new(memory.clone()), Names::new(memory));
        let following = Arc::new(hub.clone());
        let tenants =
            Tenants::new(settings, names, clock.clone(), stamps.clone(), 10, 1000, following);
        let (name, slug, created_at) = ("Shop".to_owned(), "shop".to_owned(), clock.now());
        let (status, updated_at) = (TenantStatus::Active, created_at);
        let tenant = Tenant { id: TENANT, name, slug, status, created_at, updated_at };
        tenants.create(tenant, person(BOSS, ADMIN), secret(BOSS)).await.unwrap();
        let feeds = Arc::new(Feeds { hub, known: Mutex::default() });
        let store: Arc<dyn Store> = faulty.clone();
        let desk: Desk = desk(&store, &clock, &stamps, feeds.clone(), Some(seed)).await;
        let stored = Conversations::new(Arc::new(stored));
        let shop =
            Self { feeds, sources: Sources { tenants, desk }, inboxes, faulty, failing, stored };
        for agent in [ANA, BEN] {
            shop.change(|changing| {
                changing.put(person(agent, AGENT));
                changing.put_credential(secret(agent));
            })
            .await;
        }
        shop
    }

    async fn change(&self, change: impl FnOnce(&mut Changing)) {
        let change = |changing: &mut Changing| {
            change(changing);
            Ok(())
        };
        let changed: Result<(), NotChanged<()>> = self.sources.tenants.change(TENANT, change).await;
        changed.unwrap();
    }

    async fn viewer(&self, agent: AgentId) -> Option<Viewer> {
        let state = self.sources.tenants.state(TENANT).await.unwrap().unwrap();
        let known = state.agents.get(&agent).filter(|agent| agent.is_active)?;
        Some(Viewer { tenant: TENANT, agent, permissions: state.permissions(known) })
    }

    fn known(&self) -> Vec<ConversationId> {
        self.feeds.known.lock().unwrap().iter().copied().collect()
    }

    async fn head(&self, id: ConversationId) -> Conversation {
        self.stored.folded(id).await.unwrap().unwrap()
    }

    /// What the boss wants of a conversation.
    async fn ask(&self, id: ConversationId, command: Command) -> Result<(), Failure> {
        let boss = self.viewer(BOSS).await.unwrap();
        self.sources.desk.ask(boss, id, None, command).await.map(drop)
    }
}

/// Whose conversations are, as far as that was answered.
#[derive(Default)]
struct Owners {
    of: HashMap<ConversationId, Option<AgentId>>,
    /// It was not answered: either may be.
    unknown: HashSet<ConversationId>,
}

impl Owners {
    /// Nothing is shown to one who may not see it now.
    fn check(&self, viewer: Option<Viewer>, seen: &Seen) {
        let id = match seen {
            Seen::Message(message) => message.conversation_id,
            Seen::Conversation(head) | Seen::Row(head) => head.id,
            Seen::Nothing | Seen::Gone(..) | Seen::Agent => return,
        };
        let viewer = viewer.expect("nobody is shown anything who is not there any more");
        let owner = self.of.get(&id).copied().flatten();
        assert!(
            self.unknown.contains(&id) || viewer.may_see(owner),
            "{} is shown what is {owner:?}'s",
            viewer.agent
        );
    }
}

/// Somebody at a console, who keeps what they were told and where they were.
struct Client {
    agent: AgentId,
    session: Option<Session<Told>>,
    wanted: BTreeSet<String>,
    following: BTreeSet<String>,
    folds: HashMap<String, Fold>,
}

/// What a client makes of one stream.
#[derive(Default)]
struct Fold {
    position: Option<Position>,
    messages: BTreeMap<MessageId, Message>,
    heads: BTreeMap<ConversationId, Conversation>,
}

impl Fold {
    fn begin(&mut self, snapshot: Snapshot) {
        (self.messages, self.heads) = Default::default();
        match snapshot {
            Snapshot::Conversation { head, rows } => {
                self.heads.insert(head.id, *head);
                let messages = rows.into_iter().map(|row| (row.message.id, row.message));
                self.messages.extend(messages);
            }
            Snapshot::List { heads, counters } => {
                self.heads.extend(heads.into_iter().map(|head| (head.id, head)));
                assert!(counters.conversations >= self.heads.len() || counters.conversations == 0);
            }
            Snapshot::Agents(_) | Snapshot::Agent(_) => {}
        }
    }

    fn step(&mut self, first: u64, last: u64) {
        let position = self.position.as_mut().expect("events follow a beginning");
        assert!(position.offset < last && first <= position.offset + 1, "no gap, nothing twice");
        position.offset = last;
    }

    fn take(&mut self, seen: &Seen) {
        match seen {
            Seen::Nothing | Seen::Agent => {}
            Seen::Message(message) => {
                let known = self.messages.get(&message.id).map_or(0, |known| known.rev);
                if known <= message.rev {
                    self.messages.insert(message.id, message.clone());
                }
            }
            Seen::Conversation(head) | Seen::Row(head) => {
                let known = self.heads.get(&head.id).map_or(0, |known| known.seq);
                if known <= head.seq {
                    self.heads.insert(head.id, head.clone());
                }
            }
            Seen::Gone(id, seq) => {
                if self.heads.get(id).is_some_and(|known| known.seq <= *seq) {
                    self.heads.remove(id);
                }
            }
        }
    }
}

impl Client {
    fn new(agent: AgentId) -> Self {
        let wanted = ["i:mine", "i:unassigned", "i:all", "t:agents", "u:me"];
        let wanted = wanted.map(str::to_owned).into();
        let (following, folds) = Default::default();
        Self { agent, session: None, wanted, following, folds }
    }

    /// Logs in and follows what it wants, from where it was.
    async fn connect(&mut self, shop: &Shop, owners: &Owners) {
        self.disconnect();
        let ttl = Duration::from_secs(1_000_000);
        let login = shop.sources.tenants.open_session(TENANT, self.agent, ttl).await.unwrap();
        let caller = shop.sources.tenants.caller(login.id).await.unwrap();
        let Some(caller) = caller else { return };
        let opened = Session::open(&shop.feeds.hub, shop.sources.clone(), &caller).await;
        self.session = opened.ok().flatten();
        self.follow(shop, owners).await;
    }

    fn disconnect(&mut self) {
        self.session = None;
        self.following.clear();
    }

    /// Follows what it wants and does not follow yet.
    async fn follow(&mut self, shop: &Shop, owners: &Owners) {
        self.wanted.extend(shop.known().iter().map(|id| format!("c:{id}")));
        for name in self.wanted.clone() {
            let Some(session) = &mut self.session else { return };
            let stream = Stream::named(&name, self.agent).unwrap();
            let fold = self.folds.entry(name.clone()).or_default();
            let since = fold.position.clone();
            match session.follow(stream, since.as_ref(), true).await {
                Ok(Started { epoch, offset, missed, snapshot, .. }) => {
                    fold.position = Some(Position { epoch: epoch.to_string(), offset });
                    snapshot.into_iter().for_each(|snapshot| fold.begin(snapshot));
                    self.following.insert(name);
                    for push in missed.into_iter().flatten() {
                        self.take(push, shop, owners).await;
                    }
                }
                Err(NotFollowed::Already | NotFollowed::Failed(_)) => {}
                Err(NotFollowed::NoSuchStream | NotFollowed::NotAllowed) => *fold = Fold::default(),
                Err(NotFollowed::TooMany) => panic!("so many are allowed"),
            }
        }
    }

    /// Takes in all that waits.
    async fn drain(&mut self, shop: &Shop, owners: &Owners) {
        let mut out = Vec::new();
        while let Some(session) = &mut self.session {
            let waiting = tokio::time::timeout(Duration::ZERO, session.wait()).await;
            let Ok(wake) = waiting else { return };
            session.take(wake, &mut out).await;
            for push in out.drain(..) {
                self.take(push, shop, owners).await;
            }
        }
    }

    async fn take(&mut self, push: Push<Told>, shop: &Shop, owners: &Owners) {
        match push {
            Push::Frame(told) => {
                let viewer = shop.viewer(self.agent).await;
                let fold = self.folds.get_mut(&told.stream.to_string()).unwrap();
                for (offset, seen) in &told.events {
                    owners.check(viewer, seen);
                    fold.step(*offset, *offset);
                    fold.take(seen);
                }
            }
            Push::Skip { stream, offset } => {
                self.folds.get_mut(&stream.to_string()).unwrap().step(0, offset);
            }
            Push::Forbidden(stream) | Push::Reset(stream) => {
                self.following.remove(&stream.to_string());
                self.folds.insert(stream.to_string(), Fold::default());
            }
            Push::Closed(cut) => {
                assert_ne!(cut, Cut::Slow, "its queue has room");
                self.disconnect();
            }
        }
    }

    /// Every stream that is followed is at its top.
    async fn is_at_the_top(&self, shop: &Shop) {
        for name in &self.following {
            let fold = &self.folds[name];
            let offset = fold.position.as_ref().map(|position| position.offset);
            match Stream::named(name, self.agent).unwrap() {
                Stream::Conversation(id) => {
                    assert_eq!(offset, Some(shop.head(id).await.seq), "{} of {}", name, self.agent);
                }
                Stream::List(list) => self.has_list(shop, list, fold).await,
                Stream::Agent(_) | Stream::Agents => {}
            }
        }
    }

    async fn has_list(&self, shop: &Shop, list: List, fold: &Fold) {
        let shown = |head: &Conversation| ConversationView {
            seq: 0,
            updated_at: Timestamp(0),
            ..ConversationView::of(head)
        };
        let inbox = shop.inboxes.hold(TENANT).await.unwrap();
        let mut wanted = BTreeMap::new();
        for id in inbox.first(list, 100).0 {
            wanted.insert(id, shown(&shop.head(id).await));
        }
        let found: BTreeMap<_, _> =
            fold.heads.iter().map(|(id, head)| (*id, shown(head))).collect();
        assert_eq!(found, wanted, "{list:?} of {}", self.agent);
    }

    /// What it made of each conversation is how that stands, if it may see it.
    async fn has_all(&self, shop: &Shop) {
        let viewer = shop.viewer(self.agent).await.unwrap();
        for id in shop.known() {
            let head = shop.head(id).await;
            let name = format!("c:{id}");
            assert_eq!(self.following.contains(&name), viewer.may_see(head.assignee), "{name}");
            if !viewer.may_see(head.assignee) {
                continue;
            }
            let rows = shop.stored.messages(&head, (u64::MAX, 0), 50).await.unwrap();
            for row in rows {
                assert_eq!(self.folds[&name].messages.get(&row.message.id), Some(&row.message));
            }
            let found = &self.folds[&name].heads[&id];
            let stands = |head: &Conversation| (head.status, head.assignee, head.tags.clone());
            assert_eq!(stands(found), stands(&head), "{name} of {}", self.agent);
        }
    }
}

/// Something happens.
async fn step(n: u64, chance: &mut Chance, shop: &Shop, owners: &mut Owners) {
    let known = shop.known();
    let any = (!known.is_empty()).then(|| known[chance.index(known.len())]);
    match (chance.below(12), any) {
        (0..=3, _) | (_, None) => {
            let from = phone(&(1 + chance.below(3)).to_string());
            let item = says(vec![from], &format!("id-{n}"), &format!("text {n}"));
            // What is not taken is not acknowledged.
            let _ = shop.sources.desk.ingest(&account(), vec![item]).await;
        }
        (4..=6, Some(id)) => {
            let agent = [None, Some(ANA), Some(BEN)][chance.index(3)];
            match shop.ask(id, Command::Assign { agent }).await {
                Ok(()) => {
                    owners.of.insert(id, agent);
                    owners.unknown.remove(&id);
                }
                Err(Failure::Refused(_)) => {}
                Err(_) => drop(owners.unknown.insert(id)),
            }
        }
        (7, Some(id)) => {
            let status = [ConversationStatus::Open, ConversationStatus::Resolved][chance.index(2)];
            let _ = shop.ask(id, Command::SetStatus { status }).await;
        }
        (8, Some(id)) => {
            let _ = shop.ask(id, Command::SetTags { tags: vec![format!("t{n}")] }).await;
        }
        (9, _) => {
            let role = [AGENT, SUPERVISOR][chance.index(2)];
            shop.change(|changing| changing.put(person(BEN, role))).await;
        }
        (10, _) => {
            let is_active = chance.permille(500);
            let ana = Agent { is_active, ..person(ANA, AGENT) };
            shop.change(|changing| changing.put(ana)).await;
        }
        // Long enough for every actor to leave.
        (_, Some(_)) => tokio::time::sleep(Duration::from_secs(200)).await,
    }
}

async fn run(seed: u64, below: Below) {
    let shop = Shop::open(seed, below, limits()).await;
    let (mut chance, mut owners) = (Chance::of(!seed), Owners::default());
    let mut clients = [BOSS, ANA, BEN, BEN].map(Client::new);
    for n in 0..STEPS {
        shop.failing.store(if chance.permille(400) { 120 } else { 0 }, Ordering::Release);
        step(n, &mut chance, &shop, &mut owners).await;
        for client in &mut clients {
            match chance.below(8) {
                0 => client.disconnect(),
                1 => client.connect(&shop, &owners).await,
                2 => client.follow(&shop, &owners).await,
                3..=5 => client.drain(&shop, &owners).await,
                _ => {}
            }
        }
    }
    // The last that happens is written, and nobody is told so.
    for id in shop.known() {
        shop.failing.store(UNANSWERED, Ordering::Release);
        let _ = shop.ask(id, Command::SetTags { tags: vec!["last".into()] }).await;
        shop.failing.store(0, Ordering::Release);
    }
    // What failed is tried again.
    tokio::time::sleep(Duration::from_secs(60)).await;
    shop.faulty.land().await;
    for client in &mut clients {
        client.drain(&shop, &owners).await;
        client.is_at_the_top(&shop).await;
    }
    shop.change(|changing| changing.put(person(ANA, AGENT))).await;
    for client in &mut clients {
        if client.session.is_none() {
            client.connect(&shop, &owners).await;
        }
        client.drain(&shop, &owners).await;
        client.follow(&shop, &owners).await;
        client.drain(&shop, &owners).await;
        client.is_at_the_top(&shop).await;
        client.has_all(&shop).await;
    }
}

#[test]
fn whatever_fails_every_client_ends_with_what_it_may_see() {
    for seed in seeds(40, 20).into_iter().chain(FOUND) {
        for below in [Below::Lazy, Below::Atomic] {
            eprintln!("TEST_SEED={seed}");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(run(seed, below));
        }
    }
}
