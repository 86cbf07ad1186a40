//! From a provider's items to threads: whose each is, and its answer once all are durable.

mod route;
mod topic;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use engine::account::Account;
use engine::channel::Inbound;
use engine::conversation::{Command, Envelope, Refused};
use engine::fact::By;
use engine::id::ThreadId;
use engine::time::Timestamp;
use storage::conversations::Conversations;
use storage::dead_letters::{DeadLetter, Source};
use storage::waiting::{Body, WaitingItem};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use self::route::{NotPlaced, customer};
use crate::clock::Clock;
use crate::failure::{Failure, Full};
use crate::identity::{Identities, Owner};
use crate::parking::{Parking, raw};
use crate::permits::{Amount, Class, Permit, Permits, Share};
use crate::reply::{Answered, Chain, Reply};
use crate::shard::Shards;
use crate::thread::{self, Order, Origin};
use crate::turns::Turns;
use crate::waiting::Waiting;

/// Takes the items of webhooks.
pub struct Ingress {
    pub identities: Arc<Identities>,
    pub shards: Shards,
    pub permits: Arc<Permits>,
    pub turns: Turns,
    pub waiting: Arc<Waiting>,
    pub conversations: Conversations,
    pub parking: Arc<Parking>,
    pub clock: Clock,
    /// An item whose place cannot be found without a panic is tried so often.
    pub poison_attempts: u8,
    /// An item that its thread has not taken after so long waits.
    pub patience: Duration,
    /// History is imported by so many at once.
    pub imports: Semaphore,
}

/// A moved thread may have moved again; so often it is followed.
pub(crate) const MOVES_MAX: usize = 4;

/// An item and the thread that it is for.
pub(crate) struct Item {
    thread: ThreadId,
    origin: Origin,
    envelope: Arc<Envelope>,
}

/// An item on its way.
pub(crate) struct Sent {
    item: Item,
    answer: oneshot::Receiver<Answered>,
}

/// How an item ended.
enum Settled {
    Done,
    /// Its thread has not taken it in time, or takes nothing now.
    Late(Item),
    /// There is no place for it, for this reason.
    Unplaced(Item, String),
}

/// Why an item is not placed that panics on the way.
const UNPLACED: &str = "the program fails when it looks for its conversation";

impl Item {
    /// One that waited.
    pub(crate) fn of(thread: ThreadId, waiting: WaitingItem) -> Option<Self> {
        let WaitingItem { tenant, account, channel, contact, item, .. } = waiting;
        let origin = Origin { tenant, account, channel, contact };
        Some(Self { thread, origin, envelope: envelope(command(item)?) })
    }

    fn class(&self) -> Class {
        match self.envelope.command {
            Command::Receipt(_) | Command::Watermark(_) => Class::Receipt,
            _ => Class::Message,
        }
    }

    /// As it waits.
    fn waiting(&self, at: Timestamp) -> Option<WaitingItem> {
        let Origin { tenant, account, channel, contact } = self.origin;
        let item = self.envelope.command.item()?;
        Some(WaitingItem { tenant, account, channel, contact, at, item })
    }
}

impl Ingress {
    /// Takes the items of one account, made of so many bytes, in order. When it answers `Ok`, all
    /// are durable: committed by their threads, or waiting for them. Otherwise some may be, and all
    /// may be delivered again.
    pub async fn take(
        &self,
        account: &Account,
        items: Vec<Inbound>,
        bytes: usize,
    ) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let until = Instant::now() + self.patience;
        let amount = Amount { items: items.len(), bytes };
        let share = self.permits.share(account.tenant, amount);
        let turn = match &share {
            Ok(_) => timeout_at(until, self.turns.take(account.tenant, bytes)).await.ok(),
            Err(_) => None,
        };
        if turn.is_none() {
            self.waiting.room(account.tenant).map_err(Failure::busy)?;
        }
        let (items, dead) = self.routed(account, items).await?;
        let taken = match (&share, &turn) {
            (Ok(share), Some(_)) => self.take_now(items, share, until).await,
            _ => Box::pin(self.wait(items)).await,
        };
        // Nobody who is understood waits for what is not.
        let kept = if dead.is_empty() { Ok(()) } else { Box::pin(self.keep(&dead)).await };
        taken.and(kept)
    }

    async fn take_now(
        &self,
        mut items: Vec<Item>,
        share: &Arc<Share>,
        until: Instant,
    ) -> Result<(), Failure> {
        let mut dead = Vec::new();
        loop {
            let (sent, rest) = self.send_all(items, share).await?;
            let (some_went, mut late) = (!sent.is_empty(), Vec::new());
            for sent in sent {
                match self.settle(sent, until, &late).await? {
                    Settled::Done => {}
                    Settled::Late(item) => late.push(item),
                    Settled::Unplaced(item, reason) => dead.push(self.unplaced(&item, reason)),
                }
            }
            // What came before it in this very webhook may be all that was in the way.
            let again = some_went && late.is_empty();
            late.extend(rest);
            match (late.is_empty(), again) {
                (true, _) => break,
                (false, true) => items = late,
                (false, false) => {
                    Box::pin(self.wait(late)).await?;
                    break;
                }
            }
        }
        if dead.is_empty() { Ok(()) } else { Box::pin(self.keep(&dead)).await }
    }

    /// Sends what can be sent now, each thread's in order; the rest cannot go yet.
    async fn send_all(
        &self,
        items: Vec<Item>,
        share: &Arc<Share>,
    ) -> Result<(Vec<Sent>, Vec<Item>), Failure> {
        let (mut sent, mut rest) = (Vec::with_capacity(items.len()), Vec::<Item>::new());
        let (chain, mut behind) = (Chain::default(), HashSet::new());
        for item in items {
            self.waiting.load(item.thread.shard()).await?;
            let waits = behind.contains(&item.thread) || self.permits.sheds(item.class());
            let permit = || share.place(item.thread);
            let answer = if waits { None } else { self.send(&item, &chain, permit) };
            match answer {
                Some(answer) => sent.push(Sent { item, answer }),
                None => {
                    behind.insert(item.thread);
                    rest.push(item);
                }
            }
        }
        Ok((sent, rest))
    }

    /// Sends an item to its thread; `None`: the thread waits, or something is full.
    fn send(
        &self,
        item: &Item,
        chain: &Chain,
        permit: impl FnOnce() -> Result<Permit, Full>,
    ) -> Option<oneshot::Receiver<Answered>> {
        let send = || Some(self.tell(item, chain, permit().ok()?));
        self.waiting.pass(item.thread, send).flatten()
    }

    /// Sends an item that waited; its thread's turn has begun.
    pub(crate) fn again(&self, item: Item, chain: &Chain) -> Sent {
        // How many are under way is bounded by the turns.
        let answer = self.tell(&item, chain, Permit::own());
        Sent { item, answer }
    }

    /// Tries an item of a dead letter again; `first`: before all that waits for its thread, which
    /// is parked for it. Answers why it is still not taken.
    pub(crate) async fn retry(
        &self,
        account: &Account,
        item: Inbound,
        first: bool,
    ) -> Result<Option<String>, Failure> {
        let Some(mut command) = command(item) else { return Ok(None) };
        let (thread, origin) = match self.place(account, &mut command).await {
            Ok(Some(place)) => place,
            Ok(None) => return Ok(None),
            Err(NotPlaced::For(reason)) => return Ok(Some(reason.to_owned())),
            Err(NotPlaced::Failed(failure)) => return Err(failure),
        };
        let item = Item { thread, origin, envelope: envelope(command) };
        self.waiting.load(thread.shard()).await?;
        let until = Instant::now() + self.patience;
        let answer = match first {
            true => {
                let (reply, answer) = Reply::new();
                let order = Order::new(item.envelope.clone(), reply);
                let order = Order { origin: Some(origin), again: true, ..order };
                self.shards.tell_thread(thread, order);
                Some(answer)
            }
            false => {
                let permit = || self.permits.take(origin.tenant, thread);
                self.send(&item, &Chain::default(), permit)
            }
        };
        let settled = match answer {
            Some(answer) => self.settle(Sent { item, answer }, until, &[]).await,
            None => Ok(Settled::Late(item)),
        };
        match settled {
            Ok(Settled::Done) => Ok(None),
            Ok(Settled::Unplaced(_, reason)) => Ok(Some(reason)),
            Ok(Settled::Late(_)) if first => Ok(Some(Failure::Panicked.to_string())),
            Ok(Settled::Late(item)) => self.wait(vec![item]).await.map(|()| None),
            Err(failure @ Failure::Panicked) => Ok(Some(failure.to_string())),
            Err(failure) => Err(failure),
        }
    }

    fn tell(&self, item: &Item, chain: &Chain, permit: Permit) -> oneshot::Receiver<Answered> {
        let (reply, answer) = Reply::of(chain);
        let (envelope, origin) = (item.envelope.clone(), Some(item.origin));
        let order = Order { origin, permit, ..Order::new(envelope, reply) };
        self.shards.tell_thread(item.thread, order);
        answer
    }

    /// Waits for the answer of an item that waited.
    pub(crate) async fn end(&self, sent: Sent, until: Instant) -> Result<(), Failure> {
        let thread = sent.item.thread;
        match self.settle(sent, until, &[]).await? {
            Settled::Done => Ok(()),
            Settled::Late(late) if late.thread == thread => Err(Failure::Unavailable),
            // Its thread moved, and the other one cannot take it now.
            Settled::Late(moved) => self.wait(vec![moved]).await,
            Settled::Unplaced(item, reason) => {
                let letter = self.unplaced(&item, reason);
                Box::pin(self.keep(&[letter])).await
            }
        }
    }

    /// Waits for an answer, and follows a thread that moved, past none of those that have to wait.
    async fn settle(&self, sent: Sent, until: Instant, late: &[Item]) -> Result<Settled, Failure> {
        let Sent { mut item, mut answer } = sent;
        for _ in 0..MOVES_MAX {
            let Ok(answered) = timeout_at(until, answer).await else {
                return Ok(Settled::Late(item));
            };
            match answered.unwrap_or(Err(Failure::Unavailable)) {
                Ok(answer) => {
                    count_so_many("foreign", answer.foreign);
                    return Ok(Settled::Done);
                }
                Err(Failure::Parked) => return Ok(Settled::Late(item)),
                Err(Failure::Refused(Refused::Moved(_))) => {
                    let handles = customer(&item.envelope.command);
                    let to = Box::pin(self.identities.settle(item.thread, &handles)).await?;
                    let Owner { thread: to, contact } = to.ok_or(Failure::Unavailable)?;
                    tracing::debug!(from = %item.thread, %to, "a thread moved");
                    (item.thread, item.origin.contact) = (to, contact);
                    self.waiting.load(to.shard()).await?;
                    if late.iter().any(|late| late.thread == to) {
                        return Ok(Settled::Late(item));
                    }
                    let permit = || self.permits.take(item.origin.tenant, to);
                    match self.send(&item, &Chain::default(), permit) {
                        Some(again) => answer = again,
                        None => return Ok(Settled::Late(item)),
                    }
                }
                Err(Failure::Refused(refused @ Refused::TooManyParked)) => {
                    return Ok(Settled::Unplaced(item, refused.to_string()));
                }
                Err(Failure::Refused(refused)) => {
                    // The provider would send it again for days, and it would be refused again.
                    tracing::debug!(thread = %item.thread, %refused, "an item changes nothing");
                    count("refused");
                    return Ok(Settled::Done);
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Unavailable)
    }

    /// Lets items wait, durably. What a thread that is held has no room for is kept as dead letters.
    async fn wait(&self, items: Vec<Item>) -> Result<(), Failure> {
        let (at, mut entered) = (self.clock.now(), Vec::with_capacity(items.len()));
        let mut dead = Vec::new();
        for item in items {
            self.waiting.load(item.thread.shard()).await?;
            let Some(waiting) = item.waiting(at) else { return Err(Failure::Unavailable) };
            match self.waiting.enter(item.thread, &waiting) {
                Ok(row) => {
                    let class = item.class().as_str();
                    metrics::counter!("omnistream_waited_total", "class" => class).increment(1);
                    entered.push(row);
                }
                Err(_) if self.waiting.is_held(item.thread) => {
                    let reason = "its conversation is parked, and too much waits for it";
                    dead.push(self.unplaced(&item, reason.to_owned()));
                }
                Err(full) => return Err(Failure::busy(full)),
            }
        }
        self.waiting.write(entered).await?;
        self.keep(&dead).await
    }

    /// An item that was understood and finds no place, as it is kept.
    fn unplaced(&self, item: &Item, reason: String) -> DeadLetter {
        let Origin { tenant, account, .. } = item.origin;
        let raw = raw(&item.envelope.command);
        self.parking.dead((Some(tenant), Some(account)), Source::Place, reason, raw)
    }

    /// Keeps a row that waited and cannot be read.
    pub(crate) async fn bury_waiting(&self, body: &Body) -> Result<(), Failure> {
        let reason = "what waited cannot be read any more".to_owned();
        let raw = String::from_utf8_lossy(body.bytes()).into_owned();
        let letter = self.parking.dead((None, None), Source::Place, reason, raw);
        self.keep(&[letter]).await
    }

    /// Keeps what was delivered and is nobody's.
    pub async fn bury(&self, reason: &str, raw: Vec<String>) -> Result<(), Failure> {
        let dead = |raw| self.parking.dead((None, None), Source::Decode, reason.to_owned(), raw);
        let letters: Vec<_> = raw.into_iter().map(dead).collect();
        self.keep(&letters).await
    }

    /// Keeps letters, all of one organization or of the installation.
    pub(crate) async fn keep(&self, letters: &[DeadLetter]) -> Result<(), Failure> {
        letters.iter().for_each(|_| count("dead"));
        Ok(self.parking.bury(letters).await?)
    }
}

/// What is wanted of its thread by an item, unless it is for none.
fn command(item: Inbound) -> Option<Command> {
    Some(match item {
        Inbound::Message(message) => Command::Receive(message),
        Inbound::Receipt(receipt) => Command::Receipt(receipt),
        Inbound::Echo(echo) => Command::Echo(echo),
        Inbound::Amendment(amendment) => Command::Amend(amendment),
        Inbound::Identity(change) => Command::Identity(change),
        Inbound::Watermark(mark) => Command::Watermark(mark),
        Inbound::Ignored(_) | Inbound::Dead { .. } => return None,
    })
}

/// An item's name in metrics.
fn kind(command: &Command) -> &'static str {
    match command {
        Command::Receive(_) => "message",
        Command::Receipt(_) => "receipt",
        Command::Echo(_) => "echo",
        Command::Amend(_) => "amendment",
        Command::Identity(_) => "identity",
        Command::Watermark(_) => "watermark",
        _ => "other",
    }
}

fn envelope(command: Command) -> Arc<Envelope> {
    Arc::new(thread::envelope(By::Provider, command))
}

fn count(item: &'static str) {
    count_so_many(item, 1);
}

fn count_so_many(item: &'static str, n: u32) {
    if n > 0 {
        metrics::counter!("omnistream_webhook_items_total", "item" => item).increment(n.into());
    }
}
