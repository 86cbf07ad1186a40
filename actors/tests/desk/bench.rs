//! A desk over a store, with everything outside it written down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::clock::{Clock, Stamps};
use actors::committed::Committed;
use actors::desk::{Desk, DeskOptions};
use actors::permits::PermitLimits;
use actors::waiting::WaitingLimits;
use actors::world::{Decide, Outside};
use engine::account::Account;
use engine::channel::{Channel, Handle, Inbound, InboundMessage, Receipt};
use engine::contact::{Contact, IdentityKind};
use engine::conversation::{Conversation, Effect};
use engine::id::{AccountId, AgentId, ContactId, ConversationId, MessageId, TenantId, ThreadId};
use engine::message::{Content, MessageRow, MessageStatus};
use engine::permission::{Permissions, Viewer};
use engine::time::Timestamp;
use storage::contacts::Contacts;
use storage::conversations::Conversations;
use storage::dead_letters::LetterLimits;
use storage::keys::{made_at, month};
use storage::memory::Memory;
use storage::{Stamp, Store};
use tokio::sync::Notify;
use uuid::Uuid;

pub(crate) const TENANT: TenantId = TenantId(Uuid::from_u128(1));

/// What was told outside.
#[derive(Default)]
pub(crate) struct Heard {
    /// Something was.
    pub(crate) news: Notify,
    pub(crate) commits: Mutex<Vec<Committed>>,
    pub(crate) effects: Mutex<Vec<(ThreadId, ConversationId, Effect)>>,
}

impl Outside for Heard {
    fn follow(&self, committed: &Committed) {
        self.commits.lock().unwrap().push(committed.clone());
        self.news.notify_waiters();
    }

    fn woke(&self, _: &Conversation, _: bool) {}

    fn act(&self, head: &Conversation, effect: Effect, _: Option<&MessageRow>) {
        self.effects.lock().unwrap().push((head.thread, head.id, effect));
    }

    fn held(&self, _: ThreadId) -> Vec<MessageId> {
        Vec::new()
    }
}

pub(crate) struct Bench {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) heard: Arc<Heard>,
    pub(crate) desk: Desk,
    stamps: Arc<Stamps>,
    tuning: Tuning,
}

/// The limits of a desk, and what decides.
#[derive(Clone, Copy)]
pub(crate) struct Tuning {
    pub(crate) permits: PermitLimits,
    pub(crate) turns: usize,
    pub(crate) waiting: WaitingLimits,
    pub(crate) patience: Duration,
    pub(crate) dead_letters: LetterLimits,
    pub(crate) decide: Decide,
    pub(crate) seed: Option<u64>,
    /// Nothing in the store was written later, unless the clock says that it is.
    pub(crate) newest: Timestamp,
    /// Other waits between the attempts of a send.
    pub(crate) send_ladder: Option<&'static [Duration]>,
}

/// So many commands of a thread at once, and enough of everything else.
pub(crate) fn permits(thread: usize) -> PermitLimits {
    PermitLimits { thread, ..DeskOptions::default().permits }
}

impl Default for Tuning {
    fn default() -> Self {
        let options = DeskOptions::default();
        let DeskOptions { permits, turns, waiting, patience, dead_letters, decide, .. } = options;
        let DeskOptions { seed, newest, .. } = options;
        let send_ladder = None;
        Self { permits, turns, waiting, patience, dead_letters, decide, seed, newest, send_ladder }
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
        let now = clock.clone();
        Self::over(Arc::new(Memory::new(Arc::new(move || now.now()))), clock).await
    }

    pub(crate) async fn over(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self::tuned(store, clock, Tuning::default()).await
    }

    pub(crate) async fn tuned(store: Arc<dyn Store>, clock: Clock, tuning: Tuning) -> Self {
        let (heard, stamps) = (Arc::new(Heard::default()), Arc::new(Stamps::above(Stamp(0))));
        let desk = tuned(&store, &clock, &stamps, heard.clone(), tuning).await;
        Self { store, clock, heard, desk, stamps, tuning }
    }

    /// Another process over the same store: nothing in memory is kept.
    pub(crate) async fn restart(&mut self) {
        self.rise().await;
        self.desk.recover().await.unwrap();
    }

    /// The same, and nobody has looked yet at what the other left.
    pub(crate) async fn rise(&mut self) {
        self.heard = Arc::new(Heard::default());
        let heard = self.heard.clone();
        self.desk = tuned(&self.store, &self.clock, &self.stamps, heard, self.tuning).await;
    }

    pub(crate) fn conversations(&self) -> Conversations {
        Conversations::new(self.store.clone())
    }

    /// All contacts that lists show.
    pub(crate) async fn contacts(&self) -> Vec<Contact> {
        let contacts = Contacts::new(self.store.clone());
        let listed = contacts.list(TENANT, month(self.clock.now()), None, 1000).await.unwrap();
        let mut all = Vec::new();
        for id in listed {
            // One whose first write was torn is listed and is not there.
            all.extend(contacts.get(id).await.unwrap().filter(Contact::is_listed));
        }
        all
    }

    /// The heads of all conversations that are not closed.
    pub(crate) async fn open(&self) -> Vec<Conversation> {
        let conversations = self.conversations();
        let mut all = Vec::new();
        for id in conversations.open_set(TENANT).await.unwrap() {
            // What is stored of a head may lag behind its facts.
            let head = conversations.head(id).await.unwrap().unwrap();
            let woken = conversations.wake(head.thread).await.unwrap().unwrap();
            all.push(woken.case.filter(|case| case.id == id).unwrap_or(head));
        }
        all
    }

    /// The texts of a conversation, oldest first, and whether its seqs rise.
    pub(crate) async fn texts(&self, conversation: ConversationId) -> Vec<String> {
        let open = self.open().await;
        let head = open.into_iter().find(|head| head.id == conversation).unwrap();
        let rows = self.conversations().messages(&head, (u64::MAX, 0), 10_000).await.unwrap();
        assert!(rows.windows(2).all(|pair| pair[0].message.seq > pair[1].message.seq));
        rows.into_iter().rev().filter_map(|row| row.message.text).collect()
    }

    /// Contacts by id, for threads that were made.
    pub(crate) async fn made(&self) -> BTreeMap<ContactId, Timestamp> {
        self.contacts()
            .await
            .into_iter()
            .map(|contact| (contact.id, made_at(contact.id.0)))
            .collect()
    }
}

/// A desk with small limits.
pub(crate) async fn desk(
    store: &Arc<dyn Store>,
    clock: &Clock,
    stamps: &Arc<Stamps>,
    outside: Arc<dyn Outside>,
    seed: Option<u64>,
) -> Desk {
    tuned(store, clock, stamps, outside, Tuning { seed, ..Tuning::default() }).await
}

/// A desk with these limits.
pub(crate) async fn tuned(
    store: &Arc<dyn Store>,
    clock: &Clock,
    stamps: &Arc<Stamps>,
    outside: Arc<dyn Outside>,
    tuning: Tuning,
) -> Desk {
    let Tuning { permits, turns, waiting, patience, dead_letters, decide, seed, newest, .. } =
        tuning;
    let send_ladder = tuning.send_ladder;
    let mut rules = DeskOptions::default().rules;
    rules.send_ladder = send_ladder.map_or(rules.send_ladder, <[Duration]>::to_vec);
    let options = DeskOptions {
        rules,
        permits,
        turns,
        waiting,
        patience,
        dead_letters,
        decide,
        seed,
        newest,
        ..DeskOptions::default()
    };
    Desk::start(store.clone(), clock.clone(), stamps.clone(), outside, options).await
}

pub(crate) fn account() -> Account {
    account_of(TENANT, 2)
}

pub(crate) fn account_of(tenant: TenantId, id: u128) -> Account {
    let id = AccountId(Uuid::from_u128(id));
    Account::new(id, tenant, Channel::Whatsapp, "10001", "Shop", Timestamp(0))
}

pub(crate) fn phone(digits: &str) -> Handle {
    Handle { kind: IdentityKind::Phone, value: digits.into() }
}

pub(crate) fn bsuid(value: &str) -> Handle {
    Handle { kind: IdentityKind::Bsuid, value: value.into() }
}

pub(crate) fn says(from: Vec<Handle>, provider_id: &str, text: &str) -> Inbound {
    Inbound::Message(Box::new(InboundMessage {
        from,
        name: Some("Ines".into()),
        provider_id: Some(provider_id.into()),
        content: Content::text(text),
        ..InboundMessage::default()
    }))
}

/// Of a message of ours that is nowhere.
pub(crate) fn receipt(to: &str, n: usize) -> Inbound {
    Inbound::Receipt(Receipt {
        provider_id: format!("theirs-{n}"),
        opaque: None,
        status: MessageStatus::Delivered,
        at: None,
        recipient: vec![phone(to)],
        error: None,
    })
}

/// Runs this by itself, on a time of its own that passes where everybody waits.
pub(crate) fn block_on<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(run)
}

pub(crate) fn admin() -> Viewer {
    Viewer { tenant: TENANT, agent: AgentId(Uuid::from_u128(0xA)), permissions: Permissions::all() }
}
