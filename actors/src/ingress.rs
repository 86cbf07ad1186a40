//! From a provider's items to threads: whose each is, and its answer once all are durable.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use engine::account::Account;
use engine::channel::{Amend, Amender, Amendment, Author, Handle, IdentityChange, Inbound, Receipt};
use engine::conversation::{Command, Envelope, Refused, Target};
use engine::fact::By;
use engine::id::{AccountId, TenantId, ThreadId};
use engine::time::Timestamp;
use storage::StoreError;
use storage::conversations::Conversations;
use storage::dead_letters::Source;
use storage::waiting::{Body, WaitingItem};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::clock::Clock;
use crate::failure::{Failure, Full};
use crate::identity::{Identities, Owner, origin};
use crate::panics::{Panicked, caught_in};
use crate::parking::{Parking, raw};
use crate::permits::{Amount, Class, Permit, Permits, Share};
use crate::reply::{Answered, Chain, Reply};
use crate::shard::Shards;
use crate::thread::{Order, Origin};
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
            Command::Receipt(_) => Class::Receipt,
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
        let items = self.routed(account, items).await?;
        match (share, turn) {
            (Ok(share), Some(_turn)) => self.take_now(items, &share, until).await,
            _ => self.wait(items).await,
        }
    }

    async fn take_now(
        &self,
        mut items: Vec<Item>,
        share: &Arc<Share>,
        until: Instant,
    ) -> Result<(), Failure> {
        loop {
            let (sent, rest) = self.send_all(items, share).await?;
            let (some_went, mut late) = (!sent.is_empty(), Vec::new());
            for sent in sent {
                late.extend(self.settled(sent, until).await?);
            }
            // What came before it in this very webhook may be all that was in the way.
            let again = some_went && late.is_empty();
            late.extend(rest);
            match (late.is_empty(), again) {
                (true, _) => return Ok(()),
                (false, true) => items = late,
                (false, false) => return self.wait(late).await,
            }
        }
    }

    /// The items that are for threads, in order; what is for none is done with.
    async fn routed(&self, account: &Account, items: Vec<Inbound>) -> Result<Vec<Item>, Failure> {
        let mut routed: Vec<Item> = Vec::with_capacity(items.len());
        let changes = self.identities.changes();
        for item in items {
            let command = match item {
                Inbound::Dead { reason, raw } => {
                    let whose = (Some(account.tenant), Some(account.id));
                    self.keep(whose, Source::Decode, reason, raw).await?;
                    continue;
                }
                Inbound::Ignored(what) => {
                    count(what);
                    continue;
                }
                item => command(item),
            };
            let Some(mut command) = command else { continue };
            count(kind(&command));
            let Ok(place) = self.place(account, &mut command).await else {
                let raw = raw(&command);
                let whose = (Some(account.tenant), Some(account.id));
                self.keep(whose, Source::Place, UNPLACED.to_owned(), raw).await?;
                continue;
            };
            match place? {
                Some((thread, origin)) => {
                    routed.push(Item { thread, origin, envelope: envelope(command) });
                }
                None => count("unroutable"),
            }
        }
        if self.identities.changes() != changes {
            // What is behind an item may have had its thread moved: they keep their order.
            for item in &mut routed {
                let (thread, contact) = (item.thread, item.origin.contact);
                let owner = self.identities.root_of(Owner { thread, contact }).await?;
                if goes_along(&item.envelope.command) {
                    (item.thread, item.origin.contact) = (owner.thread, owner.contact);
                }
            }
        }
        Ok(routed)
    }

    /// Which thread an item is for, if that can be said without a panic.
    async fn place(
        &self,
        account: &Account,
        command: &mut Command,
    ) -> Result<Result<Option<(ThreadId, Origin)>, Failure>, Panicked> {
        let mut attempts = 1;
        loop {
            match caught_in("place", Box::pin(self.route(account, command))).await {
                Err(_) | Ok(Err(Failure::Panicked)) if attempts < self.poison_attempts => {
                    attempts += 1;
                }
                Err(panicked) => return Err(panicked),
                Ok(Err(Failure::Panicked)) => return Err(Panicked),
                Ok(place) => return Ok(place),
            }
        }
    }

    /// Which thread an item is for. A receipt never makes a thread, nor does a change of who the
    /// customer is: one that names nothing of ours is of somebody who is not known here.
    async fn route(
        &self,
        account: &Account,
        command: &mut Command,
    ) -> Result<Option<(ThreadId, Origin)>, Failure> {
        let of_message = match command {
            Command::Amend(amendment) => {
                let owner = self.of_message(account, &amendment.target).await?;
                self.know_amender(account, amendment, owner).await?;
                owner
            }
            Command::Receive(message) => {
                if let Some(author) = message.author.as_mut() {
                    self.know(account, author, message.sent_at).await?;
                }
                None
            }
            _ => None,
        };
        let command = &*command;
        let owner = match command {
            _ if of_message.is_some() => of_message,
            Command::Receipt(receipt) => self.owner_of(account, receipt).await?,
            Command::Identity(change) => self.identities.change(account, change).await?,
            _ => {
                let handles = customer(command);
                if handles.is_empty() {
                    return Ok(None);
                }
                let (name, sent_at) = match command {
                    Command::Receive(message) => (message.name.as_deref(), message.sent_at),
                    Command::Echo(echo) => (None, echo.sent_at),
                    Command::Amend(amendment) => (None, amendment.at),
                    _ => (None, None),
                };
                Some(self.identities.resolve(account, &handles, name, sent_at).await?)
            }
        };
        Ok(owner.map(|owner| (owner.thread, origin(account, owner))))
    }

    /// Whose a receipt is: of the thread that we sent along, if it is one of this account; else of
    /// the one that has the message; else of the recipient, whom it may have other handles of.
    async fn owner_of(
        &self,
        account: &Account,
        receipt: &Receipt,
    ) -> Result<Option<Owner>, Failure> {
        let recipient = self.identities.recognise(account, &receipt.recipient, receipt.at).await?;
        if let Some(opaque) = receipt.opaque {
            if recipient.is_some_and(|owner| owner.thread == opaque.thread) {
                return Ok(recipient);
            }
            if let Some(owner) = self.of_thread(account, opaque.thread).await? {
                return Ok(Some(owner));
            }
        }
        Ok(self.of_message(account, &receipt.provider_id).await?.or(recipient))
    }

    /// Whose the message with this provider id is.
    async fn of_message(
        &self,
        account: &Account,
        provider_id: &str,
    ) -> Result<Option<Owner>, StoreError> {
        let found = self.conversations.reference(account.id, provider_id).await?;
        let Some((conversation, _)) = found else { return Ok(None) };
        match self.conversations.head(conversation).await? {
            Some(head) => self.of_thread(account, head.thread).await,
            None => Ok(None),
        }
    }

    /// Whose a thread is. One of another account names nothing.
    async fn of_thread(
        &self,
        account: &Account,
        thread: ThreadId,
    ) -> Result<Option<Owner>, StoreError> {
        let known = self.conversations.thread(thread).await?;
        Ok(known
            .filter(|known| (known.tenant, known.account) == (account.tenant, account.id))
            .map(|known| Owner { thread, contact: known.contact }))
    }

    /// Who amends a message: a contact like every other, unless it is the customer of its thread.
    async fn know_amender(
        &self,
        account: &Account,
        amendment: &mut Amendment,
        owner: Option<Owner>,
    ) -> Result<(), Failure> {
        let Amendment { customer, by, at, what, .. } = amendment;
        let (mut author, customer) = match (&*by, owner) {
            (Amender::Business, _) | (Amender::Customer, None) => return Ok(()),
            (Amender::Author(author), _) => (author.clone(), None),
            (Amender::Customer, Some(of)) => {
                let (name, contact) = (None, None);
                (Author { handles: customer.clone(), name, contact }, Some(of.contact))
            }
        };
        match self.identities.recognise(account, &author.handles, *at).await? {
            Some(known) if customer == Some(known.contact) => return Ok(()),
            Some(known) => author.contact = Some(self.identities.root(known.contact).await?),
            // Nobody who is not known has written it, nor is known for this.
            None if owner.is_some() && !matches!(what, Amend::Reaction(_)) => {}
            None => self.know(account, &mut author, *at).await?,
        }
        let is_customer = match customer {
            Some(customer) => author.contact == Some(self.identities.root(customer).await?),
            None => false,
        };
        if !is_customer {
            *by = Amender::Author(author);
        }
        Ok(())
    }

    /// Finds out who of a group somebody is who did something at that time.
    pub(crate) async fn know(
        &self,
        account: &Account,
        who: &mut Author,
        at: Option<Timestamp>,
    ) -> Result<(), Failure> {
        let (handles, name) = (&who.handles, who.name.as_deref());
        let owner = self.identities.resolve(account, handles, name, at).await?;
        who.contact = Some(self.identities.root(owner.contact).await?);
        Ok(())
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
        let Ok(place) = self.place(account, &mut command).await else {
            return Ok(Some(UNPLACED.to_owned()));
        };
        let Some((thread, origin)) = place? else { return Ok(None) };
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
            Some(answer) => self.settle(Sent { item, answer }, until).await,
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
        match self.settled(sent, until).await? {
            None => Ok(()),
            Some(late) if late.thread == thread => Err(Failure::Unavailable),
            // Its thread moved, and the other one cannot take it now.
            Some(moved) => self.wait(vec![moved]).await,
        }
    }

    /// Waits for an answer; what finds no place is kept. Answers the item when it has to wait.
    async fn settled(&self, sent: Sent, until: Instant) -> Result<Option<Item>, Failure> {
        match self.settle(sent, until).await? {
            Settled::Done => Ok(None),
            Settled::Late(item) => Ok(Some(item)),
            Settled::Unplaced(item, reason) => self.bury_item(&item, reason).await.map(|()| None),
        }
    }

    /// Waits for an answer, and follows a thread that moved.
    async fn settle(&self, sent: Sent, until: Instant) -> Result<Settled, Failure> {
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
                    let to = self.identities.settle(item.thread, &handles).await?;
                    let Owner { thread: to, contact } = to.ok_or(Failure::Unavailable)?;
                    tracing::debug!(from = %item.thread, %to, "a thread moved");
                    (item.thread, item.origin.contact) = (to, contact);
                    self.waiting.load(to.shard()).await?;
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
                    self.bury_item(&item, reason.to_owned()).await?;
                }
                Err(full) => return Err(Failure::busy(full)),
            }
        }
        self.waiting.write(entered).await
    }

    /// Keeps an item that was understood and finds no place.
    async fn bury_item(&self, item: &Item, reason: String) -> Result<(), Failure> {
        let Origin { tenant, account, .. } = item.origin;
        let raw = raw(&item.envelope.command);
        self.keep((Some(tenant), Some(account)), Source::Place, reason, raw).await
    }

    /// Keeps a row that waited and cannot be read.
    pub(crate) async fn bury_waiting(&self, body: &Body) -> Result<(), Failure> {
        let reason = "what waited cannot be read any more".to_owned();
        let raw = String::from_utf8_lossy(body.bytes()).into_owned();
        self.keep((None, None), Source::Place, reason, raw).await
    }

    /// Keeps what was delivered and is nobody's.
    pub async fn bury(&self, reason: String, raw: String) -> Result<(), Failure> {
        self.keep((None, None), Source::Decode, reason, raw).await
    }

    pub(crate) async fn keep(
        &self,
        whose: (Option<TenantId>, Option<AccountId>),
        source: Source,
        reason: String,
        raw: String,
    ) -> Result<(), Failure> {
        count("dead");
        Ok(self.parking.bury(whose, source, reason, raw).await?)
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
        _ => "other",
    }
}

/// Whether an item is for wherever its thread went: what a message is about may be left behind.
fn goes_along(command: &Command) -> bool {
    !matches!(command, Command::Receipt(_) | Command::Amend(_))
}

fn envelope(command: Command) -> Arc<Envelope> {
    let (target, by) = (Target::Current, By::Provider);
    Arc::new(Envelope { target, by, viewer: None, key: None, command })
}

/// The handles by which an item names its customer.
fn customer(command: &Command) -> Cow<'_, [Handle]> {
    match command {
        Command::Receive(message) => Cow::Borrowed(&message.from),
        Command::Receipt(receipt) => Cow::Borrowed(&receipt.recipient),
        Command::Echo(echo) => Cow::Borrowed(&echo.to),
        Command::Amend(amendment) => Cow::Borrowed(&amendment.customer),
        Command::Identity(IdentityChange { of, previous, current, .. }) => {
            Cow::Owned([&previous[..], of, current].concat())
        }
        _ => Cow::Borrowed(&[]),
    }
}

fn count(item: &'static str) {
    count_so_many(item, 1);
}

fn count_so_many(item: &'static str, n: u32) {
    if n > 0 {
        metrics::counter!("omnistream_webhook_items_total", "item" => item).increment(n.into());
    }
}
