//! The outbox: performs what conversations have decided to send, each account at its pace. What it
//! does is journalled by the conversation before and after; here nothing is decided.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use engine::account::{Account, Trouble};
use engine::channel::whatsapp::{self, Answered};
use engine::channel::{Handle, Opaque, Outbound, Outcome};
use engine::conversation::{Command, Conversation, Target};
use engine::id::{AccountId, MessageId, ThreadId};
use engine::message::{MessageError, MessageRow, Place};
use engine::resource::Resource;
use engine::time::Timestamp;
use serde_json::Value;
use storage::contacts::Contacts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::desk::Desk;
use crate::failure::Failure;
use crate::provider::Provider;
use crate::tenants::Tenants;

/// Sends for all accounts. Clones are the same.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    provider: Provider,
    tenants: Tenants,
    contacts: Contacts,
    options: OutboxOptions,
    desk: OnceLock<Desk>,
    lines: Mutex<HashMap<AccountId, Arc<Line>>>,
    held: Mutex<HashMap<ThreadId, Vec<MessageId>>>,
    marks: Semaphore,
    tickets: AtomicU64,
    /// Nothing begins any more.
    stopping: AtomicBool,
}

/// The limits of sending.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// Messages a second of one account.
    pub rate: u32,
    /// Requests of one account that the provider is answering.
    pub requests: usize,
    /// Conversations of one account whose next message waits to be sent.
    pub queue: usize,
}

/// One account's way out.
struct Line {
    pace: Mutex<Pace>,
    waiting: Mutex<HashMap<MessageId, Waiting>>,
    requests: Arc<Semaphore>,
    /// The provider refuses everything until somebody looks after the account.
    stopped: watch::Sender<bool>,
}

/// A message that waits to be sent: one task waits with it.
struct Waiting {
    /// Which of the message's waits this is.
    ticket: u64,
    /// The right to one request, from just before the send begins.
    turn: Option<OwnedSemaphorePermit>,
}

struct Pace {
    next: Instant,
    between: Duration,
    usual: Duration,
}

/// A slowed account sends at least one message in this time.
const SLOWEST: Duration = Duration::from_secs(2);
/// Read marks under way at once; beyond it they are left out.
const MARKS: usize = 64;
/// Waits between attempts to hand something to a conversation.
const PATIENCE: Duration = Duration::from_millis(200);
const PATIENCE_MAX: Duration = Duration::from_secs(10);

impl Outbox {
    /// Through this provider.
    pub fn new(
        provider: Provider,
        tenants: Tenants,
        contacts: Contacts,
        options: OutboxOptions,
    ) -> Self {
        Self(Arc::new(Inner {
            provider,
            tenants,
            contacts,
            options,
            desk: OnceLock::new(),
            lines: Mutex::default(),
            held: Mutex::default(),
            marks: Semaphore::new(MARKS),
            tickets: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        }))
    }

    /// Names the desk whose conversations it sends for. Once, before anything is sent.
    pub fn connect(&self, desk: Desk) {
        // A second desk is not connected.
        let _ = self.0.desk.set(desk);
    }

    /// A message waits to be sent, not before `due`. One that waits already is not there twice: a
    /// conversation that wakes hands it over again.
    pub fn enqueue(&self, head: &Conversation, message: MessageId, place: Place, due: Timestamp) {
        let line = self.line(head.account);
        let ticket = self.0.tickets.fetch_add(1, Ordering::Relaxed);
        match line.waiting().entry(message) {
            Entry::Occupied(_) => return,
            Entry::Vacant(free) => drop(free.insert(Waiting { ticket, turn: None })),
        }
        let (outbox, slip) = (self.clone(), Slip::of(head));
        metrics::gauge!("omnistream_outbox_waiting").increment(1.0);
        tokio::spawn(async move {
            outbox.begin(&line, &slip, message, place, (ticket, due)).await;
            line.leave(message, ticket);
            metrics::gauge!("omnistream_outbox_waiting").decrement(1.0);
        });
    }

    /// Begins no more sends, and returns when the outcomes of those that have begun are written:
    /// what waits is taken up by the next start.
    pub async fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        while self.is_busy() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn is_busy(&self) -> bool {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let begins =
            |line: &Arc<Line>| line.waiting().values().any(|waiting| waiting.turn.is_some());
        lines.values().any(begins) || !self.held().is_empty()
    }

    /// Whether another conversation of an account may have something to be sent.
    pub fn has_room(&self, account: AccountId) -> bool {
        self.line(account).waiting().len() < self.0.options.queue
    }

    /// The send has begun durably: it is performed, and its outcome handed back.
    pub fn perform(&self, head: &Conversation, row: &MessageRow, attempt: u32) {
        let (message, place) = (row.message.id, row.place);
        self.held().entry(head.thread).or_default().push(message);
        // It waits no more: whatever hands it over from now on is another attempt.
        let line = self.line(head.account);
        let waited = line.waiting().remove(&message);
        let turn = waited.and_then(|waited| waited.turn);
        let (outbox, slip, row) = (self.clone(), Slip::of(head), row.clone());
        tokio::spawn(async move {
            // Held until the outcome is written: only then one more may be of unknown outcome.
            let _turn = match turn {
                Some(turn) => Some(turn),
                None => line.turn().await,
            };
            let outcome = outbox.send(&slip, &row, &line).await;
            count(&outcome);
            let end = Command::EndSend { message, place, attempt, outcome };
            outbox.tell(&slip, end).await;
            let mut held = outbox.held();
            if let Some(messages) = held.get_mut(&slip.thread) {
                messages.retain(|held| *held != message);
                if messages.is_empty() {
                    held.remove(&slip.thread);
                }
            }
        });
    }

    /// Tells the provider that a message was read, and perhaps that somebody types, unless the
    /// account does not want that. It is left out when too many are under way.
    pub fn mark_read(&self, head: &Conversation, provider_id: String, types: bool) {
        let (outbox, slip) = (self.clone(), Slip::of(head));
        tokio::spawn(async move {
            let Ok(_turn) = outbox.0.marks.try_acquire() else { return };
            let Some(account) = outbox.account(&slip).await else { return };
            if !account.flag("send_read_marks", true) {
                return;
            }
            let token = account.text("access_token").unwrap_or_default();
            let call = whatsapp::read_mark(&provider_id, types, &account.account_key, token);
            outbox.0.provider.perform(call).await;
        });
    }

    /// Everything of the account would fail: it stops until [`Outbox::resume`], and says why.
    pub fn stop_account(&self, head: &Conversation, code: String, message: String) {
        self.line(head.account).stopped.send_replace(true);
        let (outbox, slip) = (self.clone(), Slip::of(head));
        tokio::spawn(async move {
            let changed = outbox
                .0
                .tenants
                .change(slip.tenant, |changing| {
                    let account = changing.state.accounts.get(&slip.account);
                    if let Some(mut account) = account.map(|account| Account::clone(account)) {
                        let words = MessageError { code, message }.to_string();
                        account.stands(Err(Trouble { words, pauses: true }));
                        account.touch(changing.now);
                        changing.put(account);
                    }
                    Ok::<_, ()>(())
                })
                .await;
            if changed.is_err() {
                tracing::warn!(account = %slip.account, "an account's stop could not be noted");
            }
        });
    }

    /// The provider takes less than it is given: the account sends half as fast for a while.
    pub fn slow_account(&self, account: AccountId) {
        let line = self.line(account);
        let mut pace = line.pace();
        pace.between = (pace.between * 2).min(SLOWEST);
    }

    /// Somebody has looked after an account: what waits goes on.
    pub fn resume(&self, account: AccountId) {
        self.line(account).stopped.send_replace(false);
    }

    /// The thread's messages whose request this process still holds.
    pub fn holds(&self, thread: ThreadId) -> Vec<MessageId> {
        self.held().get(&thread).cloned().unwrap_or_default()
    }

    /// Whether an account works.
    pub async fn probe(&self, key: &str, config: &BTreeMap<String, Value>) -> Result<(), Trouble> {
        let token = config.get("access_token").and_then(Value::as_str).unwrap_or_default();
        let (words, pauses) = match self.0.provider.perform(whatsapp::account(key, token)).await {
            Answered::With { status: 200..=299, .. } => return Ok(()),
            Answered::NotSent(reason) | Answered::PerhapsSent(reason) => (reason, false),
            answered @ Answered::With { .. } => match whatsapp::outcome(answered) {
                Outcome::Sent { .. } => return Ok(()),
                Outcome::Unknown { reason } => (reason, false),
                Outcome::Retry { error, .. } => (error.to_string(), false),
                Outcome::Refused { error } | Outcome::AccountStopped { error } => {
                    (error.to_string(), true)
                }
            },
        };
        Err(Trouble { words, pauses })
    }

    /// Waits until the message may go, and has its send begun. It counts as begun, and would be of
    /// unknown outcome after a crash, only once its request can leave.
    async fn begin(
        &self,
        line: &Line,
        slip: &Slip,
        message: MessageId,
        place: Place,
        (ticket, due): (u64, Timestamp),
    ) {
        sleep(due.since(self.0.tenants.now())).await;
        let mut stopped = line.stopped.subscribe();
        let turn = loop {
            // The sender lives as long as the line.
            let _ = stopped.wait_for(|stopped| !stopped).await;
            let turn = line.turn().await;
            let at = line.pace().take();
            sleep_until(at).await;
            if !*stopped.borrow() {
                break turn;
            }
        };
        {
            let mut waiting = line.waiting();
            // Looked at under the lock: who stops sees either this turn or nothing begin.
            if self.0.stopping.load(Ordering::Acquire) {
                return;
            }
            if let Some(waiting) = waiting.get_mut(&message)
                && waiting.ticket == ticket
            {
                waiting.turn = turn;
            }
        }
        self.tell(slip, Command::BeginSend { message, place }).await;
    }

    async fn send(&self, slip: &Slip, row: &MessageRow, line: &Line) -> Outcome {
        let refused = |code: &str, message: &str| Outcome::Refused {
            error: MessageError { code: code.to_owned(), message: message.to_owned() },
        };
        let Some(account) = self.account(slip).await.filter(|account| account.is_active) else {
            return refused("account_inactive", "the channel account is gone or not active");
        };
        let contact = match self.0.contacts.get(slip.contact).await {
            Ok(Some(contact)) => contact,
            Ok(None) => return refused("no_recipient", "the contact is gone"),
            Err(_) => {
                let error = MessageError {
                    code: "unavailable".to_owned(),
                    message: "the contact could not be read".to_owned(),
                };
                return Outcome::Retry { error, slow: engine::channel::Slow::Message };
            }
        };
        let ours = |of: &Option<AccountId>| of.is_none_or(|of| of == account.id);
        let mut to: Vec<Handle> = contact
            .identities
            .iter()
            .filter(|identity| ours(&identity.account_id))
            .map(|identity| Handle { kind: identity.kind, value: identity.value.clone() })
            .collect();
        to.sort();
        let outbound = Outbound {
            to,
            kind: row.message.kind,
            text: row.message.text.clone(),
            reply_to: row.message.reply_to.clone(),
            opaque: Opaque {
                thread: slip.thread,
                conversation: slip.conversation,
                place: row.place,
            },
        };
        let token = account.text("access_token").unwrap_or_default();
        let call = whatsapp::text(&outbound, &account.account_key, token);
        let outcome = whatsapp::outcome(self.0.provider.perform(call).await);
        if matches!(outcome, Outcome::Sent { .. }) {
            line.pace().recover();
        }
        outcome
    }

    /// Hands a command to its conversation, again and again until it is taken or refused.
    async fn tell(&self, slip: &Slip, command: Command) {
        let Some(desk) = self.0.desk.get() else { return };
        let target = Target::Conversation(slip.conversation);
        let mut wait = PATIENCE;
        loop {
            match desk.tell(slip.thread, target, command.clone()).await {
                Ok(_) | Err(Failure::Refused(_) | Failure::Stopping) => return,
                Err(Failure::Busy { .. } | Failure::Unavailable) => {
                    sleep(wait).await;
                    wait = (wait * 2).min(PATIENCE_MAX);
                }
            }
        }
    }

    async fn account(&self, slip: &Slip) -> Option<Arc<Account>> {
        let state = self.0.tenants.state(slip.tenant).await.ok().flatten()?;
        state.accounts.get(&slip.account).cloned()
    }

    fn line(&self, account: AccountId) -> Arc<Line> {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let options = &self.0.options;
        lines.entry(account).or_insert_with(|| Arc::new(Line::new(options))).clone()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<ThreadId, Vec<MessageId>>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a conversation goes along with a send.
struct Slip {
    tenant: engine::id::TenantId,
    account: AccountId,
    thread: ThreadId,
    conversation: engine::id::ConversationId,
    contact: engine::id::ContactId,
}

impl Slip {
    fn of(head: &Conversation) -> Self {
        Self {
            tenant: head.tenant,
            account: head.account,
            thread: head.thread,
            conversation: head.id,
            contact: head.contact,
        }
    }
}

impl Line {
    fn new(options: &OutboxOptions) -> Self {
        let usual = Duration::from_secs(1) / options.rate.max(1);
        let pace = Pace { next: Instant::now(), between: usual, usual };
        Self {
            pace: Mutex::new(pace),
            waiting: Mutex::default(),
            requests: Arc::new(Semaphore::new(options.requests)),
            stopped: watch::channel(false).0,
        }
    }

    /// The right to one request, which is given back when it is dropped.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        self.requests.clone().acquire_owned().await.ok()
    }

    /// A wait is over, unless another one of the message has begun.
    fn leave(&self, message: MessageId, ticket: u64) {
        let mut waiting = self.waiting();
        if waiting.get(&message).is_some_and(|waiting| waiting.ticket == ticket) {
            waiting.remove(&message);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<MessageId, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    /// When the next message may go.
    fn take(&mut self) -> Instant {
        let at = self.next.max(Instant::now());
        self.next = at + self.between;
        at
    }

    /// A little faster again, up to the usual pace.
    fn recover(&mut self) {
        self.between = (self.between * 19 / 20).max(self.usual);
    }
}

fn count(outcome: &Outcome) {
    let outcome = match outcome {
        Outcome::Sent { .. } => "sent",
        Outcome::Retry { .. } => "retry",
        Outcome::Refused { .. } => "refused",
        Outcome::AccountStopped { .. } => "account_stopped",
        Outcome::Unknown { .. } => "unknown",
    };
    metrics::counter!("omnistream_sends_total", "outcome" => outcome).increment(1);
}
