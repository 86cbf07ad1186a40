//! Dead letters as people at the desk handle them: looked at, and tried again.

use std::collections::BTreeMap;

use engine::account::Account;
use engine::channel::messaging::{Introduction, KEPT_BYTES_MAX};
use engine::channel::{Inbound, webhook};
use engine::conversation::{Command, Target};
use engine::id::{TenantId, ThreadId};
use storage::StoreError;
use storage::dead_letters::{DeadLetter, Source};
use tokio::task::yield_now;
use uuid::Uuid;

use crate::desk::Desk;
use crate::failure::Failure;
use crate::parking::Trial;

/// So many of an organization's newest letters are looked through for those of somebody.
const MET_MAX: usize = 1000;

/// Why it is still not done.
type Still = Option<String>;

/// A dead letter that is tried again, by nobody else until this is dropped.
pub struct Retrying {
    letter: DeadLetter,
    _turn: Trial,
}

impl Retrying {
    /// What is tried again, as it was kept when its turn began.
    pub fn letter(&self) -> &DeadLetter {
        &self.letter
    }
}

/// Why a letter is not tried again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotRetried {
    /// It never was, or is done.
    #[error("there is no such dead letter")]
    Gone,
    #[error("this dead letter is being tried again already; look at what came of it")]
    UnderWay,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Desk {
    /// A page of a tenant's dead letters as `shown`, newest first, of one source or of all; and how many
    /// there are. Only one at a time is in memory whole.
    pub async fn letters<T>(
        &self,
        tenant: TenantId,
        source: Option<Source>,
        window: (usize, usize),
        shown: impl Fn(DeadLetter) -> T,
    ) -> Result<(Vec<T>, usize), StoreError> {
        let now = self.world().clock.now();
        self.world().parking.letters().page(Some(tenant), source, window, now, shown).await
    }

    /// Begins to try one of them again, unless somebody does already.
    pub async fn take_up(&self, tenant: TenantId, letter: Uuid) -> Result<Retrying, NotRetried> {
        let parking = &self.world().parking;
        let turn = parking.trial((tenant, letter)).ok_or(NotRetried::UnderWay)?;
        // Looked at in its turn: whoever had the one before may have done it.
        let letter = parking.letters().get(Some(tenant), letter).await?;
        Ok(Retrying { letter: letter.ok_or(NotRetried::Gone)?, _turn: turn })
    }

    /// Tries again what a letter is about, with today's code; `account` is the letter's, as far as
    /// it is there, and `decode` tells items of what was not understood. Answers the letter as it
    /// is then; `None`: it is done, and gone.
    pub async fn retry(
        &self,
        retrying: Retrying,
        account: Option<&Account>,
        decode: impl FnOnce(&str) -> Vec<Inbound>,
    ) -> Result<Option<DeadLetter>, Failure> {
        let Retrying { letter, _turn } = retrying;
        let still = match (letter.source, letter.thread, account) {
            (Source::Load, Some(thread), _) => self.wakes(thread).await?,
            (_, _, None) => Some("its channel account is not there any more".to_owned()),
            (Source::Decode, _, Some(account)) => self.all(account, decode(&letter.raw)).await?,
            (Source::Place | Source::Decide | Source::Load, _, Some(account)) => {
                match serde_json::from_str(&letter.raw) {
                    Ok(item) => {
                        let first = letter.source == Source::Decide;
                        self.ingress().retry(account, item, first).await?
                    }
                    Err(_) => match serde_json::from_str(&letter.raw) {
                        Ok(import) => self.ingress().retry_import(account, import).await?,
                        Err(_) => Some("what is kept of it cannot be read".to_owned()),
                    },
                }
            }
        };
        match still {
            None => {
                self.world().parking.release(&letter).await?;
                Ok(None)
            }
            // Why its thread is parked does not change by another try.
            Some(_) if letter.source.parks() => Ok(Some(self.world().parking.note(letter).await?)),
            Some(reason) => {
                Ok(Some(self.world().parking.note(DeadLetter { reason, ..letter }).await?))
            }
        }
    }

    /// Those who were known by references alone are these persons: that stays, and what was kept of
    /// them is taken.
    pub async fn introduce(
        &self,
        account: &Account,
        introductions: Vec<Introduction>,
    ) -> Result<(), Failure> {
        let mut known = BTreeMap::new();
        for introduction in introductions {
            let person = self.ingress().identities.introduce(account, &introduction).await?;
            known.insert(introduction.reference, person);
        }
        self.meet(account, &known).await
    }

    /// Something of those was kept who are known by these references alone. Whoever introduces them
    /// says so first and looks for letters then: this looks once the letter is there, so that one of
    /// both finds it.
    pub async fn remember(
        &self,
        account: &Account,
        references: impl IntoIterator<Item = String>,
    ) -> Result<(), Failure> {
        let mut known = BTreeMap::new();
        for reference in references {
            let person = self.ingress().identities.introduced(account, &reference).await?;
            known.extend(person.map(|person| (reference, person)));
        }
        self.meet(account, &known).await
    }

    /// Takes what was kept of them, now that they are known (persons by their references), the
    /// oldest first.
    async fn meet(
        &self,
        account: &Account,
        known: &BTreeMap<String, String>,
    ) -> Result<(), Failure> {
        if known.is_empty() {
            return Ok(());
        }
        let (tenant, now) = (account.tenant, self.world().clock.now());
        let letters = self.world().parking.letters();
        // However much is kept of an organization, it is looked through in a turn of its own.
        let _turn = self.ingress().turns.take(tenant, 0).await;
        let most = (MET_MAX, KEPT_BYTES_MAX);
        let kept = letters.newest(tenant, Source::Decode, most, now).await?;
        for id in kept.into_iter().rev() {
            // Each may be large: whoever else waits for this worker has it in between.
            yield_now().await;
            let letter = letters.get(Some(tenant), id).await?;
            let letter = letter.filter(|letter| letter.account == Some(account.id));
            let items = letter.and_then(|letter| webhook::met(account, &letter.raw, known, now));
            let Some(items) = items else { continue };
            match self.take_up(tenant, id).await {
                Ok(retrying) => drop(self.retry(retrying, Some(account), |_| items).await?),
                // Whoever tries it, or has done it, does not know who it is of.
                Err(NotRetried::Gone | NotRetried::UnderWay) => {}
                Err(NotRetried::Store(error)) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether a thread can be loaded.
    async fn wakes(&self, thread: ThreadId) -> Result<Still, Failure> {
        match self.tell(thread, Target::Current, Command::Look).await {
            Ok(_) | Err(Failure::Refused(_)) => Ok(None),
            Err(failure @ (Failure::Parked | Failure::Panicked)) => Ok(Some(failure.to_string())),
            Err(failure) => Err(failure),
        }
    }

    /// All that is understood is taken: what was taken before is known.
    async fn all(&self, account: &Account, items: Vec<Inbound>) -> Result<Still, Failure> {
        let mut still = None;
        for item in items {
            let not = match item {
                Inbound::Dead { reason, .. } => Some(reason),
                item => self.ingress().retry(account, item, false).await?,
            };
            still = still.or(not);
        }
        Ok(still)
    }
}
