//! The desk: the one handle by which the edge reaches conversations and contacts.

mod contacts;
mod options;

use std::sync::Arc;
use std::time::Duration;

use engine::account::Account;
use engine::channel::Inbound;
use engine::contact::{Contact, MergeSuggestion};
use engine::conversation::{
    Answer, Command, Conversation, Effect, Envelope, IdempotencyKey, Refused, Target,
};
use engine::fact::{By, Commit, Recorded};
use engine::id::{ContactId, ConversationId, MediaId, TenantId, ThreadId};
use engine::message::{MessageRow, Place};
use engine::permission::Viewer;
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::conversations::Conversations;
use storage::dead_letters::DeadLetters;
use storage::names::Names;
use storage::waiting::WaitingRows;
use storage::{Store, StoreError};
use tokio::sync::Semaphore;
use tracing::{Instrument, debug_span};

pub use self::options::DeskOptions;
use crate::ages::Ages;
use crate::clock::{Clock, Ids, Stamps};
use crate::contact::{ContactCommand, ContactFailure};
use crate::doubts::Doubts;
use crate::failure::Failure;
use crate::identity::Identities;
use crate::ingress::Ingress;
use crate::pages::Pages;
use crate::parking::{Parking, Trials};
use crate::permits::{Amount, Permit, Permits};
use crate::shard::Shards;
use crate::sweep::Mark;
use crate::thread::{Order, envelope};
use crate::turns::Turns;
use crate::typing::Typing;
use crate::waiting::{Drain, Waiting};
use crate::world::{Outside, World};

/// Conversations and contacts. Clones are the same desk.
#[derive(Clone)]
pub struct Desk {
    world: Arc<World>,
    shards: Shards,
    permits: Arc<Permits>,
    turns: Turns,
    listings: Turns,
    ingress: Arc<Ingress>,
    typing: Arc<Typing>,
    drain: Arc<tokio::sync::Mutex<Drain>>,
}

/// A fact with what belongs to it.
#[derive(Clone, Debug)]
pub struct NumberedFact {
    pub seq: u64,
    pub at: Timestamp,
    pub recorded: Recorded,
    /// The message that it is about, as it is by now.
    pub row: Option<MessageRow>,
}

/// Commits that are read at once.
const COMMITS_READ: usize = 64;

impl Desk {
    /// Starts the shard actors over a store.
    pub async fn start(
        store: Arc<dyn Store>,
        clock: Clock,
        stamps: Arc<Stamps>,
        outside: Arc<dyn Outside>,
        options: DeskOptions,
    ) -> Self {
        let seeded = options.seed.map(|seed| Ids::seeded(clock.clone(), seed));
        let ids = seeded.unwrap_or_else(|| Ids::new(clock.clone()));
        let rows = WaitingRows::new(store.clone());
        let letters = DeadLetters::new(store.clone(), options.dead_letters);
        let limits = options.waiting;
        let waiting = Waiting::new(rows, letters.clone(), clock.clone(), stamps.clone(), limits);
        let conversations = Conversations::new(store.clone());
        let parking = Arc::new(Parking {
            letters,
            conversations: conversations.clone(),
            waiting: waiting.clone(),
            clock: clock.clone(),
            stamps: stamps.clone(),
            ids: ids.clone(),
            trials: Trials::default(),
            last: std::sync::Mutex::default(),
            parks: tokio::sync::Mutex::default(),
        });
        let world = Arc::new(World {
            conversations,
            contacts: Contacts::new(store.clone()),
            clock: clock.clone(),
            stamps,
            newest: options.newest,
            swept: Mark::default(),
            rules: Arc::new(options.rules),
            outside,
            waiting: waiting.clone(),
            idle_after: options.idle_after,
            ids: ids.clone(),
            parking: parking.clone(),
            doubts: Doubts::default(),
            poison_attempts: options.poison_attempts,
            decide: options.decide,
            commits: Ages::new(),
            pages: Arc::new(Pages::new(store.clone(), options.page_bytes)),
            merge_suggestions: options.merge_suggestions,
        });
        let shards = Shards::start(world.clone(), options.shards, options.live_actors).await;
        let (names, known) = (Names::new(store), options.known_handles);
        let identities = Identities::new(names, shards.clone(), world.clone(), known);
        let (permits, turns) = (Permits::new(options.permits), Turns::new(options.turns));
        let ingress = Ingress {
            identities,
            shards: shards.clone(),
            permits: permits.clone(),
            turns: turns.clone(),
            waiting: waiting.clone(),
            conversations: world.conversations.clone(),
            parking,
            clock,
            poison_attempts: options.poison_attempts,
            patience: options.patience,
            imports: Semaphore::new(options.imports),
        };
        let ingress = Arc::new(ingress);
        let drain = Arc::new(tokio::sync::Mutex::new(Drain::start(waiting, ingress.clone())));
        let (listings, typing) = (Turns::new(contacts::LISTINGS), Arc::default());
        Self { world, shards, permits, turns, listings, ingress, typing, drain }
    }

    /// Takes items of one account; `Ok` when all are durable, committed or waiting.
    pub async fn ingest(&self, account: &Account, items: Vec<Inbound>) -> Result<(), Failure> {
        self.ingest_body(account, items, 0).await
    }

    /// The same for a webhook's items, which were made of so many bytes.
    pub async fn ingest_body(
        &self,
        account: &Account,
        items: Vec<Inbound>,
        bytes: usize,
    ) -> Result<(), Failure> {
        let span = debug_span!("ingest", account = %account.id, items = items.len());
        self.ingress.take(account, items, bytes).instrument(span).await
    }

    /// What is counted as under way.
    pub fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    /// What a person wants of a conversation. Another tenant's, and one that may not be seen, is
    /// not found.
    pub async fn ask(
        &self,
        viewer: Viewer,
        conversation: ConversationId,
        key: Option<IdempotencyKey>,
        command: Command,
    ) -> Result<Answer, Failure> {
        let head = self.world.conversations.head(conversation).await?;
        let head = head.filter(|head| head.tenant == viewer.tenant).ok_or(Refused::NotFound)?;
        self.world.waiting.load(head.thread.shard()).await?;
        if self.world.parking.holds(head.thread) {
            // What is stored of its head may lag behind: no page that is read by it is kept.
            self.world.pages.forget(conversation);
            return parked(viewer, head, &command);
        }
        let permit = self.permits.take(viewer.tenant, head.thread).map_err(Failure::busy)?;
        let _turn = self.turns.take(viewer.tenant, 0).await;
        let envelope = Envelope {
            target: Target::Conversation(conversation),
            by: By::Agent(viewer.agent),
            viewer: Some(viewer),
            key,
            command,
        };
        self.order(head.thread, envelope, permit).await
    }

    /// Somebody types: the customer is shown it, once in a while. Where that cannot be now, it is
    /// left out, and nobody hears of it.
    pub async fn typing(&self, viewer: Viewer, conversation: ConversationId) {
        if !self.typing.is_due(conversation) {
            return;
        }
        let look = self.ask(viewer, conversation, None, Command::Look).await;
        let Some(head) = look.ok().and_then(|answer| answer.conversation) else { return };
        let now = self.world.clock.now();
        let is_open = head.free_window_closes_at().is_some_and(|closes| now < closes);
        if let Some(provider_id) = head.last_inbound_id.clone().filter(|_| is_open)
            && self.typing.take(conversation)
        {
            self.world.outside.act(&head, Effect::ShowTyping { provider_id }, None);
        }
    }

    /// What the engine itself wants of a thread: outcomes of sends, timers.
    pub async fn tell(
        &self,
        thread: ThreadId,
        target: Target,
        command: Command,
    ) -> Result<Answer, Failure> {
        let envelope = Envelope { target, ..envelope(By::System, command) };
        self.order(thread, envelope, Permit::own()).await
    }

    /// The facts of a conversation behind `after`, up to `until`, which must be durable.
    pub async fn facts(
        &self,
        conversation: ConversationId,
        after: u64,
        until: u64,
    ) -> Result<Vec<NumberedFact>, StoreError> {
        let (conversations, mut next) = (&self.world.conversations, after + 1);
        let mut facts = Vec::new();
        while next <= until {
            let most = usize::try_from(until - next + 1).unwrap_or(COMMITS_READ).min(COMMITS_READ);
            let commits = conversations.commits(conversation, next, most).await?;
            let Some(last) = commits.last().map(Commit::last) else { break };
            for commit in commits {
                for (seq, recorded) in commit.numbered() {
                    if !(next..=until).contains(&seq) {
                        continue;
                    }
                    let row = match recorded.fact.message() {
                        Some((_, place)) => conversations.row(conversation, place).await?,
                        None => None,
                    };
                    let (at, recorded) = (commit.at, recorded.clone());
                    facts.push(NumberedFact { seq, at, recorded, row });
                }
            }
            next = last + 1;
        }
        Ok(facts)
    }

    /// The heads of these conversations of a tenant, in their order; those that are gone are left
    /// out.
    pub async fn heads(
        &self,
        tenant: TenantId,
        ids: &[ConversationId],
    ) -> Result<Vec<Conversation>, StoreError> {
        let mut heads = Vec::with_capacity(ids.len());
        for id in ids {
            let head = self.world.conversations.folded(*id).await?;
            heads.extend(head.filter(|head| head.tenant == tenant));
        }
        Ok(heads)
    }

    /// Whether one of these messages is there for somebody to see and shows this file.
    pub async fn shows(
        &self,
        viewer: Viewer,
        medium: MediaId,
        messages: &[(ConversationId, Place)],
    ) -> Result<bool, StoreError> {
        for of_one in messages.chunk_by(|one, next| one.0 == next.0) {
            let [(conversation, _), ..] = of_one else { continue };
            let heads = self.heads(viewer.tenant, &[*conversation]).await?;
            if !heads.iter().any(|head| viewer.may_see(head.assignee)) {
                continue;
            }
            for (conversation, place) in of_one {
                let row = self.world.conversations.row(*conversation, *place).await?;
                let attachments = row.iter().flat_map(|row| &row.message.attachments);
                if attachments.into_iter().any(|one| one.media_id == Some(medium)) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The conversations of a contact, and of those that turned out to be it, newest first.
    pub async fn of_contact(
        &self,
        contact: &Contact,
        limit: usize,
    ) -> Result<Vec<ConversationId>, StoreError> {
        let mut all = Vec::new();
        for id in contact.absorbed.iter().chain([&contact.id]) {
            all.extend(self.world.conversations.of_contact(*id, None, limit).await?);
        }
        // Their ids rise with the time at which they were made.
        all.sort_unstable_by(|one, other| other.cmp(one));
        all.dedup();
        all.truncate(limit);
        Ok(all)
    }

    /// Who else a contact may be, as it stands: suggestions of what is one by now, or that hold no
    /// more for the other one, are left out.
    pub async fn merge_suggestions(
        &self,
        contact: &Contact,
    ) -> Result<Vec<MergeSuggestion>, StoreError> {
        let mut all: Vec<MergeSuggestion> = Vec::new();
        for suggestion in &contact.merge_suggestions {
            let other = self.world.contacts.current(suggestion.contact_id).await?;
            let Some(other) = other.filter(|other| other.tenant == contact.tenant) else {
                continue;
            };
            let names_us = |s: &MergeSuggestion| {
                s.contact_id == contact.id || contact.absorbed.contains(&s.contact_id)
            };
            let is_new = all.iter().all(|known| known.contact_id != other.id);
            if other.id != contact.id && is_new && other.merge_suggestions.iter().any(names_us) {
                all.push(MergeSuggestion { contact_id: other.id, ..suggestion.clone() });
            }
        }
        Ok(all)
    }

    /// What somebody wants of a contact of this tenant.
    pub async fn contact(
        &self,
        tenant: TenantId,
        contact: ContactId,
        command: ContactCommand,
    ) -> Result<Contact, ContactFailure> {
        let share = self.permits.share(tenant, Amount::items(1)).map_err(Failure::busy)?;
        self.shards.ask_contact(tenant, contact, command, Some(share)).await
    }

    /// Comes before anything is committed.
    pub async fn begin(&self) -> Result<(), StoreError> {
        crate::sweep::begin(&self.world).await
    }

    /// Wakes what an earlier run left undone. Answers how many threads.
    pub async fn recover(&self) -> Result<usize, StoreError> {
        self.begin().await?;
        self.world.waiting.tidy().await?;
        crate::sweep::sweep(&self.world, &self.shards, &self.ingress.identities).await
    }

    /// Where webhooks go that are not a desk's item: see [`Ingress::bury`].
    pub fn ingress(&self) -> &Ingress {
        &self.ingress
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// How old the oldest is of what is taken and not done, of commits on their way, and of what
    /// waits for a thread that is not parked.
    pub fn oldest(&self) -> [(&'static str, Duration); 3] {
        let World { waiting, commits, clock, .. } = &*self.world;
        let waits = waiting.oldest().map_or(Duration::ZERO, |since| clock.now().since(since));
        [("orders", self.permits.oldest()), ("commits", commits.oldest()), ("waiting", waits)]
    }

    /// How many actors are in memory.
    pub fn actors(&self) -> usize {
        self.shards.count()
    }

    /// Returns when no actor is in memory any more.
    pub async fn emptied(&self) {
        self.shards.emptied().await;
    }

    /// What is set aside.
    pub fn parking(&self) -> &Parking {
        &self.world.parking
    }

    /// What waits for its threads.
    pub fn waiting(&self) -> &Arc<Waiting> {
        &self.world.waiting
    }

    /// Lets all actors go, within this time. Answers whether all went.
    pub async fn stop(&self, within: Duration) -> bool {
        self.drain.lock().await.stop(within).await;
        self.shards.empty(within).await
    }

    async fn order(
        &self,
        thread: ThreadId,
        envelope: Envelope,
        permit: Permit,
    ) -> Result<Answer, Failure> {
        let order = |reply| Order { permit, ..Order::new(envelope, reply) };
        self.shards.ask_thread(thread, order).await
    }
}

/// What is asked of a parked conversation: it is read as it is stored, its actor may not stand.
fn parked(viewer: Viewer, head: Conversation, command: &Command) -> Result<Answer, Failure> {
    if !viewer.may_see(head.assignee) {
        return Err(Refused::NotFound.into());
    }
    match command {
        Command::Look => Ok(Answer { conversation: Some(Arc::new(head)), ..Answer::default() }),
        _ => Err(Failure::Parked),
    }
}
