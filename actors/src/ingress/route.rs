//! Which thread an item of a webhook is for, and whose it is in a group.

use std::borrow::Cow;

use engine::account::Account;
use engine::channel::{
    Amend, Amender, Amendment, Author, Handle, IdentityChange, Inbound, Receipt,
};
use engine::conversation::Command;
use engine::id::{ConversationId, ThreadId};
use engine::message::{Direction, Place};
use engine::time::Timestamp;
use storage::StoreError;
use storage::dead_letters::{DeadLetter, Source};

use super::{Ingress, Item, UNPLACED, command, count, envelope, kind};
use crate::failure::Failure;
use crate::handles::key;
use crate::identity::{Owner, origin};
use crate::panics::caught_in;
use crate::parking::raw;
use crate::thread::Origin;

/// Why an item has no place.
pub(super) enum NotPlaced {
    /// For this reason: it is kept.
    For(&'static str),
    Failed(Failure),
}

impl From<Failure> for NotPlaced {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<StoreError> for NotPlaced {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Why an item is kept that somebody amends a message by whom nobody knows.
const UNKNOWN: &str =
    "it is not known yet who changes or deletes this message; retry it once they are known";

impl Ingress {
    /// The items that are for threads, in order, and what is to be kept of the others; what is for
    /// none is done with.
    pub(super) async fn routed(
        &self,
        account: &Account,
        items: Vec<Inbound>,
    ) -> Result<(Vec<Item>, Vec<DeadLetter>), Failure> {
        let mut routed: Vec<Item> = Vec::with_capacity(items.len());
        let (mut kept, whose) = (Vec::new(), (Some(account.tenant), Some(account.id)));
        let changes = self.identities.changes();
        for item in items {
            let command = match item {
                Inbound::Dead { reason, raw } => {
                    kept.push(self.parking.dead(whose, Source::Decode, reason, raw));
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
            if let Some((thread, origin)) = self.familiar(account, &command) {
                routed.push(Item { thread, origin, envelope: envelope(command) });
                continue;
            }
            match self.place(account, &mut command).await {
                Ok(Some((thread, origin))) => {
                    routed.push(Item { thread, origin, envelope: envelope(command) });
                }
                Ok(None) => count("unroutable"),
                Err(NotPlaced::For(reason)) => {
                    let raw = raw(&command);
                    kept.push(self.parking.dead(whose, Source::Place, reason.to_owned(), raw));
                }
                Err(NotPlaced::Failed(failure)) => return Err(failure),
            }
        }
        if self.identities.changes() != changes {
            // What is behind an item may have had its thread moved: they keep their order.
            for item in &mut routed {
                let (thread, contact) = (item.thread, item.origin.contact);
                let owner = Box::pin(self.identities.root_of(Owner { thread, contact })).await?;
                if goes_along(&item.envelope.command) {
                    (item.thread, item.origin.contact) = (owner.thread, owner.contact);
                }
            }
        }
        Ok((routed, kept))
    }

    /// Which thread a message is for whose sender's handles have just been looked up: as nearly all are.
    fn familiar(&self, account: &Account, command: &Command) -> Option<(ThreadId, Origin)> {
        let Command::Receive(message) = command else { return None };
        if message.topic.is_some() || message.author.is_some() {
            return None;
        }
        let owner = self.identities.known.look(key(account.id, &message.from)).ok()?;
        Some((owner.thread, origin(account, owner)))
    }

    /// Which thread an item is for, if that can be said without a panic.
    pub(super) async fn place(
        &self,
        account: &Account,
        command: &mut Command,
    ) -> Result<Option<(ThreadId, Origin)>, NotPlaced> {
        let mut attempts = 1;
        loop {
            match caught_in("place", Box::pin(self.route(account, command))).await {
                Err(_) | Ok(Err(NotPlaced::Failed(Failure::Panicked))) => {
                    if attempts >= self.poison_attempts {
                        return Err(NotPlaced::For(UNPLACED));
                    }
                    attempts += 1;
                }
                Ok(place) => return place,
            }
        }
    }

    /// Which thread an item is for. A receipt never makes a thread, nor does a watermark, nor does a change of who the
    /// customer is: one that names nothing of ours is of somebody who is not known here.
    async fn route(
        &self,
        account: &Account,
        command: &mut Command,
    ) -> Result<Option<(ThreadId, Origin)>, NotPlaced> {
        if let Command::Receive(message) = command
            && let Some(topic) = message.topic.clone()
        {
            if let Some(bounce) = message.bounce.clone()
                && let Some(owner) = self.of_sent(account, &bounce).await?
            {
                *command = Command::Receipt(bounce);
                return Ok(Some((owner.thread, origin(account, owner))));
            }
            let owner = self.of_topic(account, message, &topic).await?;
            return Ok(owner.map(|owner| (owner.thread, origin(account, owner))));
        }
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
            Command::Watermark(mark) => {
                self.identities.recognise(account, &mark.customer, Some(mark.up_to)).await?
            }
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

    /// Whose the message of ours is that a receipt names by its id.
    async fn of_sent(
        &self,
        account: &Account,
        receipt: &Receipt,
    ) -> Result<Option<Owner>, StoreError> {
        if let Some(opaque) = receipt.opaque
            && let Some(owner) = self.of_thread(account, opaque.thread).await?
            && self.is_ours(opaque.conversation, opaque.place).await?
        {
            return Ok(Some(owner));
        }
        // A mail that came in is none of ours, whoever says that it came back.
        let found = self.conversations.reference(account.id, &receipt.provider_id).await?;
        let Some((conversation, place)) = found else { return Ok(None) };
        if !self.is_ours(conversation, place).await? {
            return Ok(None);
        }
        self.of_conversation(account, conversation).await
    }

    async fn is_ours(
        &self,
        conversation: ConversationId,
        place: Place,
    ) -> Result<bool, StoreError> {
        let row = self.conversations.row(conversation, place).await?;
        Ok(row.is_some_and(|row| row.message.direction == Direction::Outbound))
    }

    /// Whose the message with this provider id is.
    pub(super) async fn of_message(
        &self,
        account: &Account,
        provider_id: &str,
    ) -> Result<Option<Owner>, StoreError> {
        let found = self.conversations.reference(account.id, provider_id).await?;
        let Some((conversation, _)) = found else { return Ok(None) };
        self.of_conversation(account, conversation).await
    }

    async fn of_conversation(
        &self,
        account: &Account,
        conversation: ConversationId,
    ) -> Result<Option<Owner>, StoreError> {
        match self.conversations.head(conversation).await? {
            Some(head) => self.of_thread(account, head.thread).await,
            None => Ok(None),
        }
    }

    /// Whose a thread is. One of another account names nothing.
    pub(super) async fn of_thread(
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
    ) -> Result<(), NotPlaced> {
        let Amendment { customer, by, at, what, .. } = amendment;
        let (mut author, customer) = match (&*by, owner) {
            (Amender::Business, _) | (Amender::Customer, None) => return Ok(()),
            // It was found out before it had to wait.
            (Amender::Author(Author { contact: Some(_), .. }), _) => return Ok(()),
            (Amender::Author(author), _) => (author.clone(), None),
            (Amender::Customer, Some(of)) => {
                let (name, contact) = (None, None);
                (Author { handles: customer.clone(), name, contact }, Some(of.contact))
            }
        };
        match self.identities.recognise(account, &author.handles, *at).await? {
            Some(known) if customer == Some(known.contact) => return Ok(()),
            Some(known) => author.contact = Some(self.identities.root(known.contact).await?),
            // Whoever wrote it was known, perhaps by an id that is theirs no more: who has this one
            // may turn out to be them. Nobody is known for this alone.
            None if owner.is_some() && !matches!(what, Amend::Reaction(_)) => {
                return Err(NotPlaced::For(UNKNOWN));
            }
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
}

/// Whether an item is for wherever its thread went: what a message is about may be left behind.
fn goes_along(command: &Command) -> bool {
    !matches!(command, Command::Receipt(_) | Command::Amend(_))
}

/// The handles by which an item names its customer.
pub(super) fn customer(command: &Command) -> Cow<'_, [Handle]> {
    match command {
        Command::Receive(message) => Cow::Borrowed(&message.from),
        Command::Receipt(receipt) => Cow::Borrowed(&receipt.recipient),
        Command::Echo(echo) => Cow::Borrowed(&echo.to),
        Command::Amend(amendment) => Cow::Borrowed(&amendment.customer),
        Command::Watermark(mark) => Cow::Borrowed(&mark.customer),
        Command::Identity(IdentityChange { of, previous, current, .. }) => {
            Cow::Owned([&previous[..], of, current].concat())
        }
        _ => Cow::Borrowed(&[]),
    }
}
