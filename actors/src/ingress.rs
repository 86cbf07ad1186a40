//! From a provider's items to threads: whose each is, and its answer once all are durable.

use std::sync::{Arc, Mutex, PoisonError};

use engine::account::Account;
use engine::channel::{Amender, Amendment, Handle, Inbound};
use engine::conversation::{Command, Envelope, MovedTo, Refused, Target};
use engine::fact::By;
use engine::id::{AccountId, TenantId, ThreadId};
use engine::mint::Mint;
use storage::conversations::Conversations;
use storage::dead_letters::{DeadLetter, DeadLetters};
use tokio::sync::oneshot;

use crate::clock::{Clock, Ids, Stamps};
use crate::failure::Failure;
use crate::identity::{Identities, Owner, origin};
use crate::permits::Permits;
use crate::shard::Shards;
use crate::thread::{Order, Origin};

/// Takes the items of webhooks.
pub struct Ingress {
    pub identities: Arc<Identities>,
    pub shards: Shards,
    pub permits: Arc<Permits>,
    pub conversations: Conversations,
    pub dead_letters: DeadLetters,
    pub clock: Clock,
    pub stamps: Arc<Stamps>,
    pub ids: Mutex<Ids>,
}

/// A moved thread may have moved again; so often it is followed.
const MOVES_MAX: usize = 4;

/// An item on its way.
struct Sent {
    thread: ThreadId,
    origin: Option<Origin>,
    envelope: Arc<Envelope>,
    answer: oneshot::Receiver<Result<engine::conversation::Answer, Failure>>,
}

impl Ingress {
    /// Takes the items of one account, in order. When it answers `Ok`, all are durable; otherwise
    /// some may be, and all may be delivered again.
    pub async fn take(&self, account: &Account, items: Vec<Inbound>) -> Result<(), Failure> {
        let mut sent = Vec::with_capacity(items.len());
        for item in items {
            let (kind, mut command) = match item {
                Inbound::Message(message) => ("message", Command::Receive(message)),
                Inbound::Receipt(receipt) => ("receipt", Command::Receipt(receipt)),
                Inbound::Echo(echo) => ("echo", Command::Echo(echo)),
                Inbound::Amendment(amendment) => ("amendment", Command::Amend(amendment)),
                Inbound::Ignored(what) => {
                    count(what);
                    continue;
                }
                Inbound::Dead { reason, raw } => {
                    count("dead");
                    self.bury(Some(account.tenant), Some(account.id), reason, raw).await?;
                    continue;
                }
            };
            count(kind);
            self.know_author(account, &mut command).await?;
            let Some((thread, origin)) = self.route(account, &command).await? else {
                count("unroutable");
                continue;
            };
            let (target, by) = (Target::Current, By::Provider);
            let envelope = Arc::new(Envelope { target, by, viewer: None, key: None, command });
            let mut answer = self.send(account, thread, origin, envelope.clone());
            if let Err(Failure::Busy { .. }) = answer {
                // What came before it in this very webhook may be all that is in the way.
                for sent in sent.drain(..) {
                    self.answer(account, sent).await?;
                }
                answer = self.send(account, thread, origin, envelope.clone());
            }
            sent.push(Sent { thread, origin, envelope, answer: answer? });
        }
        for sent in sent {
            self.answer(account, sent).await?;
        }
        Ok(())
    }

    /// Which thread an item is for. A receipt never makes a thread: one that names nothing of ours
    /// is of a message that was not sent from here.
    async fn route(
        &self,
        account: &Account,
        command: &Command,
    ) -> Result<Option<(ThreadId, Option<Origin>)>, Failure> {
        let to = |owner: Owner| Some((owner.thread, Some(origin(account, owner))));
        let handles = customer(command);
        let receipt = match command {
            Command::Receipt(receipt) => receipt,
            _ if handles.is_empty() => return Ok(None),
            _ => {
                let name = match command {
                    Command::Receive(message) => message.name.as_deref(),
                    _ => None,
                };
                return Ok(to(self.identities.resolve(account, handles, name).await?));
            }
        };
        if let Some(owner) = self.identities.find(account, handles).await? {
            return Ok(to(owner));
        }
        let thread = match receipt.opaque {
            Some(opaque) => Some(opaque.thread),
            None => match self.conversations.reference(account.id, &receipt.provider_id).await? {
                Some((id, _)) => self.conversations.head(id).await?.map(|head| head.thread),
                None => None,
            },
        };
        let Some(thread) = thread else { return Ok(None) };
        // What names a thread of another account names nothing.
        let known = self.conversations.thread(thread).await?;
        Ok(known
            .filter(|known| (known.tenant, known.account) == (account.tenant, account.id))
            .map(|known| (thread, Some(origin(account, Owner { thread, contact: known.contact })))))
    }

    /// Who of a group it was: a contact like every other.
    async fn know_author(&self, account: &Account, command: &mut Command) -> Result<(), Failure> {
        let author = match command {
            Command::Receive(message) => message.author.as_mut(),
            Command::Amend(Amendment { by: Amender::Author(author), .. }) => Some(author),
            _ => None,
        };
        let Some(author) = author else { return Ok(()) };
        let (handles, name) = (&author.handles, author.name.as_deref());
        author.contact = Some(self.identities.resolve(account, handles, name).await?.contact);
        Ok(())
    }

    fn send(
        &self,
        account: &Account,
        thread: ThreadId,
        origin: Option<Origin>,
        envelope: Arc<Envelope>,
    ) -> Result<oneshot::Receiver<Result<engine::conversation::Answer, Failure>>, Failure> {
        let permit = self.permits.take(account.tenant, thread)?;
        let (reply, answer) = oneshot::channel();
        self.shards.tell_thread(thread, Order { envelope, origin, reply, permit });
        Ok(answer)
    }

    async fn answer(&self, account: &Account, sent: Sent) -> Result<(), Failure> {
        let Sent { mut thread, mut origin, envelope, mut answer } = sent;
        for _ in 0..MOVES_MAX {
            match answer.await.unwrap_or(Err(Failure::Unavailable)) {
                Ok(_) => return Ok(()),
                Err(Failure::Refused(Refused::Moved(MovedTo { thread: to, contact }))) => {
                    tracing::debug!(from = %thread, %to, "a thread moved");
                    self.identities.forget(account, customer(&envelope.command));
                    (thread, origin) = (to, origin.map(|origin| Origin { contact, ..origin }));
                    answer = self.send(account, thread, origin, envelope.clone())?;
                }
                Err(Failure::Refused(Refused::TooManyParked)) => {
                    let reason = Refused::TooManyParked.to_string();
                    return self.bury_early(account, reason, &envelope.command).await;
                }
                Err(Failure::Refused(refused)) => {
                    // The provider would send it again for days, and it would be refused again.
                    tracing::debug!(%thread, %refused, "an item changes nothing");
                    count("refused");
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Unavailable)
    }

    /// Keeps a receipt or an amendment that finds no place to wait in.
    async fn bury_early(
        &self,
        account: &Account,
        reason: String,
        command: &Command,
    ) -> Result<(), Failure> {
        // They have texts, numbers and ids: nothing that JSON does not know.
        let raw = match command {
            Command::Receipt(receipt) => serde_json::to_string(receipt),
            Command::Amend(amendment) => serde_json::to_string(amendment),
            _ => return Ok(()),
        };
        count("dead");
        self.bury(Some(account.tenant), Some(account.id), reason, raw.unwrap_or_default()).await
    }

    /// Keeps what could not be understood, or placed.
    pub async fn bury(
        &self,
        tenant: Option<TenantId>,
        account: Option<AccountId>,
        reason: String,
        raw: String,
    ) -> Result<(), Failure> {
        let id = self.ids.lock().unwrap_or_else(PoisonError::into_inner).uuid();
        let letter = DeadLetter { id, tenant, account, reason, raw, at: self.clock.now() };
        tracing::info!(id = %letter.id, reason = letter.reason, "a dead letter");
        Ok(self.dead_letters.put(&letter, || self.stamps.next()).await?)
    }
}

/// The handles by which an item names its customer.
fn customer(command: &Command) -> &[Handle] {
    match command {
        Command::Receive(message) => &message.from,
        Command::Receipt(receipt) => &receipt.recipient,
        Command::Echo(echo) => &echo.to,
        Command::Amend(amendment) => &amendment.customer,
        _ => &[],
    }
}

fn count(item: &'static str) {
    metrics::counter!("omnistream_webhook_items_total", "item" => item).increment(1);
}
