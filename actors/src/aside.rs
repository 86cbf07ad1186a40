//! What webhooks bring beside the items of conversations: history, at low priority, and what
//! concerns customers themselves.

use std::sync::Arc;

use engine::account::Account;
use engine::channel::{Import, Imported};
use engine::consent::ContactNews;
use engine::conversation::{Command, Envelope, Refused};
use engine::fact::By;
use engine::id::ThreadId;
use storage::dead_letters::Source;

use crate::contact::ContactCommand;
use crate::failure::{Failure, Full};
use crate::identity::{Owner, origin};
use crate::ingress::{Ingress, MOVES_MAX};
use crate::panics::caught_in;
use crate::parking::raw;
use crate::permits::Class;
use crate::thread::{Order, Origin, envelope};

impl Ingress {
    /// Takes parts of an account's history, one after another: whatever else comes is not behind
    /// it. When it answers `Ok`, all are durable, those that the program fails on as dead letters;
    /// otherwise some may be, and all may be delivered again.
    pub async fn import(&self, account: &Account, imports: Vec<Import>) -> Result<(), Failure> {
        if imports.is_empty() {
            return Ok(());
        }
        let one_of =
            self.imports.try_acquire().ok().filter(|_| !self.permits.sheds(Class::Receipt));
        let _one_of = one_of.ok_or_else(|| Failure::busy(Full::Imports))?;
        for import in imports {
            let (taken, envelope) = self.import_part(account, import).await;
            match taken {
                Ok(()) => {}
                Err(failure @ (Failure::Panicked | Failure::Parked)) => {
                    let whose = (Some(account.tenant), Some(account.id));
                    let reason = format!("a part of a history was not taken: {failure}");
                    let raw = raw(&envelope.command);
                    let letter = self.parking.dead(whose, Source::Place, reason, raw);
                    self.keep(&[letter]).await?;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Tries a part of a history again. Answers why it is still not taken.
    pub(crate) async fn retry_import(
        &self,
        account: &Account,
        import: Import,
    ) -> Result<Option<String>, Failure> {
        match self.import_part(account, import).await.0 {
            Ok(()) => Ok(None),
            Err(failure @ (Failure::Panicked | Failure::Parked)) => Ok(Some(failure.to_string())),
            Err(failure) => Err(failure),
        }
    }

    /// One part, and as what it was ordered.
    async fn import_part(
        &self,
        account: &Account,
        mut import: Import,
    ) -> (Result<(), Failure>, Arc<Envelope>) {
        let placing = async {
            for message in &mut import.messages {
                if let Some(author) = &mut message.author {
                    self.know(account, author, message.sent_at).await?;
                }
            }
            let newest = import.messages.iter().filter_map(|message| message.sent_at).max();
            self.identities.resolve(account, &import.customer, None, newest).await
        };
        let placed = caught_in("place", Box::pin(placing)).await;
        let bytes = import.messages.iter().map(Imported::bytes).sum();
        metrics::counter!("omnistream_imported_messages_total")
            .increment(import.messages.len() as u64);
        let envelope = Arc::new(envelope(By::Provider, Command::Import(import)));
        let owner = match placed {
            Ok(Ok(owner)) => owner,
            Ok(Err(failure)) => return (Err(failure), envelope),
            Err(panicked) => return (Err(panicked.into()), envelope),
        };
        // What comes in goes before, as it does before what waited.
        let _turn = self.turns.take_waited(account.tenant, bytes).await;
        let taken = self.import_one(owner.thread, origin(account, owner), envelope.clone()).await;
        (taken, envelope)
    }

    async fn import_one(
        &self,
        mut thread: ThreadId,
        mut origin: Origin,
        envelope: Arc<Envelope>,
    ) -> Result<(), Failure> {
        for _ in 0..MOVES_MAX {
            let permit = self.permits.take(origin.tenant, thread).map_err(Failure::busy)?;
            let order = |reply| Order {
                origin: Some(origin),
                permit,
                ..Order::new(envelope.clone(), reply)
            };
            match self.shards.ask_thread(thread, order).await {
                Ok(_) => return Ok(()),
                Err(Failure::Refused(Refused::Moved(_))) => {
                    let to = self.identities.settle(thread, &[]).await?;
                    let Owner { thread: to, contact } = to.ok_or(Failure::Unavailable)?;
                    (thread, origin) = (to, Origin { contact, ..origin });
                }
                Err(Failure::Refused(refused)) => {
                    tracing::debug!(%thread, %refused, "a part of a history changes nothing");
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Unavailable)
    }

    /// What a provider says of a customer; durable when it answers `Ok`. One who was not known is
    /// known from then on.
    pub async fn hear(&self, account: &Account, news: ContactNews) -> Result<(), Failure> {
        let ContactNews { of, at, said } = news;
        let owner = self.identities.resolve(account, &of, None, at).await?;
        let hear = ContactCommand::Hear { account: account.id, at, said };
        self.identities.tell(account.tenant, owner.contact, hear).await.map(|_| ())
    }
}
