//! The outbox: performs what conversations have decided to send, each account at its pace. What it
//! does is journalled by the conversation before and after; here nothing is decided.

mod enlist;
mod files;
mod line;
mod mail;
mod pace;
mod send;
mod standing;
mod stops;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use engine::account::{Account, Throughput};
use engine::channel::Outcome;
use engine::conversation::{Command, Conversation, Target};
use engine::id::{AccountId, ContactId, ConversationId, MessageId, TenantId, ThreadId};
use engine::message::{MessageError, MessageRow, Place, SenderKind};
use engine::time::Timestamp;
use storage::StoreError;
use storage::contacts::Contacts;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, debug_span};

pub use self::files::Files;
use self::line::{Line, Next};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::mailer::Mailer;
use crate::panics::caught_in;
use crate::provider::Provider;
use crate::tenants::Tenants;

/// Sends for all accounts. Clones are the same.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    provider: Provider,
    mailer: Mailer,
    tenants: Tenants,
    contacts: Contacts,
    files: Files,
    options: OutboxOptions,
    may_act: Arc<dyn Fn() -> bool + Send + Sync>,
    reply_key: Vec<u8>,
    desk: OnceLock<Desk>,
    lines: Mutex<HashMap<AccountId, Arc<Line>>>,
    held: Mutex<HashMap<ThreadId, Vec<MessageId>>>,
    marks: Semaphore,
    /// Nothing begins any more.
    stopping: watch::Sender<bool>,
}

/// What sends go through.
pub struct OutboxParts {
    pub provider: Provider,
    pub mailer: Mailer,
    pub tenants: Tenants,
    pub contacts: Contacts,
    pub files: Files,
    pub options: OutboxOptions,
    /// Whether this process may still act: asked as each request leaves.
    pub may_act: Arc<dyn Fn() -> bool + Send + Sync>,
    /// By which the addresses are signed to which mails are answered.
    pub reply_key: Vec<u8>,
}

/// How an account sends now.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Messages a second, as the provider lets them through.
    pub per_second: f64,
    /// Conversations whose next message waits.
    pub waiting: usize,
    /// How long the first of them is due.
    pub oldest: Duration,
    /// Requests that the provider is answering.
    pub under_way: usize,
    /// For how long the provider wants to be left alone.
    pub rests: Duration,
    /// The provider's last no, and when that was.
    pub last_error: Option<(MessageError, Timestamp)>,
}

impl Sending {
    /// Of an account through which nothing was sent since the start.
    fn idle(rate: u32) -> Self {
        Self {
            per_second: f64::from(rate),
            waiting: 0,
            oldest: Duration::ZERO,
            under_way: 0,
            rests: Duration::ZERO,
            last_error: None,
        }
    }
}

/// The limits of sending.
#[derive(Clone, Debug)]
pub struct OutboxOptions {
    /// Messages a second of one account.
    pub rate: u32,
    /// The same of one that the provider has raised to its high level.
    pub rate_high: u32,
    /// Messages that one customer may get at once after a pause.
    pub pair_burst: u32,
    /// One more in this time.
    pub pair_every: Duration,
    /// The longest wait that the provider may ask for of an account, or of one of its customers.
    pub throttle_wait: Duration,
    /// Requests of one account that the provider is answering.
    pub requests: usize,
    /// Conversations of one account whose next message waits to be sent.
    pub queue: usize,
    /// An access token that ends within this time is renewed, where that is possible.
    pub renew_within: Duration,
}

/// Read marks under way at once; beyond it they are left out.
const MARKS: usize = 64;
/// Waits between attempts to hand something to a conversation.
const PATIENCE: Duration = Duration::from_millis(200);
const PATIENCE_MAX: Duration = Duration::from_secs(10);

impl Outbox {
    /// Of its parts.
    pub fn new(parts: OutboxParts) -> Self {
        let OutboxParts { provider, mailer, tenants, contacts, files, options, may_act, reply_key } =
            parts;
        Self(Arc::new(Inner {
            provider,
            mailer,
            tenants,
            contacts,
            files,
            options,
            may_act,
            reply_key,
            desk: OnceLock::new(),
            lines: Mutex::default(),
            held: Mutex::default(),
            marks: Semaphore::new(MARKS),
            stopping: watch::Sender::new(false),
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
        let (line, now) = (self.line(head), self.0.tenants.now());
        let (ahead, behind) = (due.since(now), now.since(due));
        let at = Instant::now() + ahead;
        // What is due for longer goes first.
        let at = at.checked_sub(behind).unwrap_or(at);
        if line.add(Slip::of(head), message, place, at) {
            let outbox = self.clone();
            tokio::spawn(async move {
                // After a panic it is driven on, or nothing of the account would go any more.
                while caught_in("send", Box::pin(outbox.drive(&line))).await.is_err() {
                    sleep(PATIENCE).await;
                }
            });
        }
    }

    /// Begins what is due, one after another, until nothing waits any more.
    async fn drive(&self, line: &Arc<Line>) {
        while line.is_due().await {
            let Some(turn) = line.turn().await else { return };
            if *self.0.stopping.borrow() {
                return;
            }
            let as_of = line.as_of();
            if let Ok(Some(account)) = self.account(line.tenant, line.account).await {
                line.set_rate(self.rate(&account));
                self.stop_if_paused(line, &account, as_of);
            }
            let Some(next) = line.next(turn, &self.0.stopping) else { continue };
            let (outbox, line) = (self.clone(), line.clone());
            let Next { slip, message, place, ticket, span } = next;
            let begins = async move {
                let begin = Command::BeginSend { message, place };
                // After a panic it is handed over again by the next wake.
                let _ = caught_in("send", Box::pin(outbox.tell(&slip, begin))).await;
                line.leave(message, ticket);
            };
            tokio::spawn(begins.instrument(span));
        }
    }

    fn rate(&self, account: &Account) -> u32 {
        match account.throughput {
            Some(Throughput::High) => self.0.options.rate_high,
            Some(Throughput::Standard) | None => self.0.options.rate,
        }
    }

    /// Begins no more sends, and returns when the outcomes of those that have begun are written:
    /// what waits is taken up by the next start.
    pub async fn stop(&self) {
        self.0.stopping.send_replace(true);
        while self.is_busy() {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns when nothing begins any more.
    async fn stops(&self) {
        // It stays as long as its receivers.
        let _ = self.0.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    fn is_busy(&self) -> bool {
        self.lines().values().any(|line| line.begins()) || !self.held().is_empty()
    }

    /// How long the oldest is due that waits to be sent.
    pub fn oldest(&self) -> Duration {
        let due = self.lines().values().filter_map(|line| line.oldest()).min();
        due.map_or(Duration::ZERO, |due| due.elapsed())
    }

    /// Whether another conversation of an account may have something to be sent.
    pub fn has_room(&self, account: AccountId) -> bool {
        let lines = self.lines();
        lines.get(&account).is_none_or(|line| line.len() < self.0.options.queue)
    }

    /// The send of a message, or of a reaction to the row's, has begun durably: it is performed, and
    /// its outcome handed back.
    pub fn perform(&self, head: &Conversation, message: MessageId, row: &MessageRow, attempt: u32) {
        let place = row.place;
        self.held().entry(head.thread).or_default().push(message);
        // It waits no more: whatever hands it over from now on is another attempt.
        let line = self.line(head);
        let turn = line.begun(message);
        let (outbox, slip, row) = (self.clone(), Slip::of(head), row.clone());
        let span = debug_span!("perform", %message, attempt);
        let performing = async move {
            // Held until the outcome is written: only then one more may be of unknown outcome.
            let _turn = match turn {
                Some(turn) => Some(turn),
                None => line.turn().await,
            };
            let sending = Box::pin(outbox.send(&slip, message, &row, &line));
            let outcome = caught_in("send", sending).await.unwrap_or_else(|_| Outcome::Unknown {
                reason: "something went wrong here; perhaps it was sent".to_owned(),
            });
            let end = Command::EndSend { message, place, attempt, outcome };
            outbox.tell(&slip, end).await;
            let mut held = outbox.held();
            if let Some(messages) = held.get_mut(&slip.thread) {
                // Another attempt may hold it by now, too.
                let at = messages.iter().position(|held| *held == message);
                at.map(|at| messages.swap_remove(at));
                if messages.is_empty() {
                    held.remove(&slip.thread);
                }
            }
        };
        tokio::spawn(performing.instrument(span));
    }

    /// Tells the provider that a message was read, and perhaps that somebody types, unless the
    /// account does not want that. It is left out when too many are under way, and while no message
    /// would go: the provider is not to be asked then.
    pub fn mark_read(&self, head: &Conversation, provider_id: String, types: bool) {
        let (outbox, slip) = (self.clone(), Slip::of(head));
        tokio::spawn(async move {
            let Ok(_turn) = outbox.0.marks.try_acquire() else { return };
            let account = outbox.account(slip.tenant, slip.account).await;
            let Ok(Some(account)) = account else { return };
            let is_wanted = account.is_active && account.flag("send_read_marks", true);
            let is_paused = account.is_paused(outbox.0.tenants.now());
            if !is_wanted || is_paused || outbox.rests(account.id) {
                return;
            }
            let token = account.text("access_token").unwrap_or_default();
            let Ok(Some(contact)) = outbox.0.contacts.current(slip.contact).await else { return };
            let (to, key) = (contact.handles(account.id), &account.account_key);
            let marks = account.channel.read_marks((&to, &provider_id), types, key, token);
            for call in marks {
                outbox.0.provider.perform(call).await;
            }
        });
    }

    /// The thread's messages whose request this process still holds.
    pub fn holds(&self, thread: ThreadId) -> Vec<MessageId> {
        self.held().get(&thread).cloned().unwrap_or_default()
    }

    /// Whether nothing of an account goes, whatever waits.
    fn rests(&self, account: AccountId) -> bool {
        self.lines().get(&account).is_some_and(|line| line.rests())
    }

    /// How an account sends now.
    pub fn sending(&self, account: &Account) -> Sending {
        let usual = self.rate(account);
        let line = self.lines().get(&account.id).cloned();
        line.map_or_else(|| Sending::idle(usual), |line| line.sending(usual))
    }

    /// Hands a command to its conversation, again and again until it is taken or refused.
    async fn tell(&self, slip: &Slip, command: Command) {
        let Some(desk) = self.0.desk.get() else { return };
        let target = Target::Conversation(slip.conversation);
        let mut wait = PATIENCE;
        loop {
            match desk.tell(slip.thread, target, command.clone()).await {
                Ok(_) | Err(Failure::Refused(_) | Failure::Stopping) => return,
                // It would panic again; the next wake makes of it what can be made.
                Err(Failure::Panicked) => return,
                Err(Failure::Busy { .. } | Failure::Unavailable | Failure::Parked) => {
                    sleep(wait).await;
                    wait = (wait * 2).min(PATIENCE_MAX);
                }
            }
        }
    }

    async fn account(
        &self,
        tenant: TenantId,
        account: AccountId,
    ) -> Result<Option<Arc<Account>>, StoreError> {
        let state = self.0.tenants.state(tenant).await?;
        Ok(state.and_then(|state| state.account(account)))
    }

    fn line(&self, head: &Conversation) -> Arc<Line> {
        self.line_of(head.tenant, head.account)
    }

    fn line_of(&self, tenant: TenantId, account: AccountId) -> Arc<Line> {
        let made = || Arc::new(Line::new(tenant, account, &self.0.options));
        self.lines().entry(account).or_insert_with(made).clone()
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<AccountId, Arc<Line>>> {
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<ThreadId, Vec<MessageId>>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a conversation goes along with a send.
#[derive(Clone, Copy)]
struct Slip {
    tenant: TenantId,
    account: AccountId,
    thread: ThreadId,
    conversation: ConversationId,
    contact: ContactId,
    /// From when on only people may answer the customer.
    by_people_from: Option<Timestamp>,
}

impl Slip {
    fn of(head: &Conversation) -> Self {
        Self {
            tenant: head.tenant,
            account: head.account,
            thread: head.thread,
            conversation: head.id,
            contact: head.contact,
            by_people_from: head.free_window_closes_at(),
        }
    }

    /// Whether what somebody says is a person's late answer. A program's goes out as long as the
    /// provider takes it.
    fn is_late(&self, by: SenderKind, now: Timestamp) -> bool {
        by == SenderKind::Agent && self.by_people_from.is_some_and(|from| now >= from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use engine::channel::Channel;
    use engine::conversation::{Conversation, Thread};
    use engine::id::{AccountId, ContactId, ConversationId, TenantId, ThreadId};
    use engine::message::SenderKind;
    use engine::time::Timestamp;
    use uuid::Uuid;

    use super::Slip;

    #[test]
    fn only_what_a_person_says_is_a_late_answer() {
        let of = (AccountId(Uuid::nil()), Channel::Messenger);
        let (id, contact) = (ThreadId(Uuid::nil()), ContactId(Uuid::nil()));
        let thread = Thread::new(id, TenantId(Uuid::nil()), of, contact);
        let mut head = Conversation::blank(ConversationId(Uuid::nil()), &thread);
        head.last_inbound_at = Some(Timestamp(0));
        let slip = Slip::of(&head);
        // The last minutes of the day, which are left to clocks that differ.
        let late = Timestamp(0) + Duration::from_secs(24 * 3600 - 60);
        assert!(slip.is_late(SenderKind::Agent, late));
        assert!(!slip.is_late(SenderKind::Agent, Timestamp(0) + Duration::from_secs(3600)));
        for program in [SenderKind::AiAgent, SenderKind::Automation] {
            assert!(!slip.is_late(program, late), "{program:?}");
        }
    }
}
