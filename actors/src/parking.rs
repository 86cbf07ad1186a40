//! Parking: a thread that cannot go on is set aside with what it fails on. New items wait in order
//! until somebody has its dead letter tried again, and it works.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use engine::conversation::Command;
use engine::id::{AccountId, TenantId, ThreadId};
use engine::mint::Mint;
use engine::time::Timestamp;
use storage::StoreError;
use storage::conversations::Conversations;
use storage::dead_letters::{DeadLetter, DeadLetters, Kept, NotKept, Source};
use uuid::Uuid;

use crate::clock::{Clock, Ids, Stamps};
use crate::failure::{Failure, Full};
use crate::waiting::Waiting;

/// Parks threads, and keeps all dead letters. A thread that is parked is held by what waits for it.
pub struct Parking {
    pub(crate) letters: DeadLetters,
    pub(crate) conversations: Conversations,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) clock: Clock,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) ids: Ids,
    /// Letters that are tried again right now.
    pub(crate) trials: Trials,
    /// When the last letter was made that parks nothing, and which of its millisecond it was.
    pub(crate) last: Mutex<(Timestamp, u16)>,
    /// Held while a thread is parked: whoever finds it held finds its letter, too.
    pub(crate) parks: tokio::sync::Mutex<()>,
}

/// So many letters of one millisecond are in the order in which they came.
const NTH_MAX: u16 = 4_095;

pub(crate) type Trials = Arc<Mutex<HashSet<(TenantId, Uuid)>>>;

/// The right to try one letter again, until it is dropped.
pub(crate) struct Trial {
    trials: Trials,
    letter: (TenantId, Uuid),
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.letter);
    }
}

impl Parking {
    /// Whether a thread is parked; its shard is loaded.
    pub fn holds(&self, thread: ThreadId) -> bool {
        self.waiting.is_held(thread)
    }

    /// All dead letters.
    pub fn letters(&self) -> &DeadLetters {
        &self.letters
    }

    /// The right to try a tenant's letter again, unless somebody has it.
    pub(crate) fn trial(&self, letter: (TenantId, Uuid)) -> Option<Trial> {
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        trials.insert(letter).then(|| Trial { trials: self.trials.clone(), letter })
    }

    /// Parks a thread with the item that it fails on, or that fails by itself. When this answers
    /// `Ok`, both are durable.
    pub(crate) async fn park(
        &self,
        thread: ThreadId,
        of: Option<(TenantId, AccountId)>,
        command: Option<&Command>,
    ) -> Result<(), Failure> {
        let of = match of {
            Some(of) => of,
            None => match self.conversations.thread(thread).await? {
                Some(row) => (row.tenant, row.account),
                // There is nothing that could be parked.
                None => return Err(Failure::Panicked),
            },
        };
        self.waiting.load(thread.shard()).await?;
        let _turn = self.parks.lock().await;
        let (letter, was_held) = (self.letter(thread, of, command), self.holds(thread));
        // An item that was there before its thread was parked is kept all the same.
        if was_held && letter.raw.is_empty() {
            return Ok(());
        }
        // From here on new items wait: none of them overtakes this one.
        self.waiting.hold(thread);
        if let Err(error) = self.letters.put(&letter, || self.stamps.next()).await {
            // Perhaps it is there: then its thread is parked by the next start, and not before.
            if !was_held {
                self.waiting.release(thread);
            }
            return Err(error.into());
        }
        tracing::error!(
            %thread, tenant = %of.0, letter = %letter.id, source = ?letter.source,
            "a conversation is parked: the program fails on it; retry the dead letter once it is mended",
        );
        metrics::counter!("omnistream_parked_total").increment(1);
        Ok(())
    }

    /// What a thread was parked for is done: it goes on.
    pub(crate) async fn release(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let now = self.clock.now();
        let is_free = self.letters.remove(letter, now, || self.stamps.next()).await?;
        if let Some(thread) = letter.thread.filter(|_| is_free) {
            self.waiting.release(thread);
            tracing::info!(%thread, letter = %letter.id, "a conversation is not parked any more");
        }
        Ok(())
    }

    /// Notes that what a letter is about was tried again, and why it was not done.
    pub(crate) async fn note(&self, letter: DeadLetter) -> Result<DeadLetter, StoreError> {
        let letter = DeadLetter { attempts: letter.attempts.saturating_add(1), ..letter };
        self.letters.change(&letter, self.clock.now(), || self.stamps.next()).await?;
        Ok(letter)
    }

    /// What could not be understood, or placed, as it is kept.
    pub(crate) fn dead(
        &self,
        whose: (Option<TenantId>, Option<AccountId>),
        source: Source,
        reason: String,
        raw: String,
    ) -> DeadLetter {
        let at = self.clock.now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = if last.0 == at { (last.1 + 1).min(NTH_MAX) } else { 0 };
        *last = (at, nth);
        DeadLetter::of(whose, source, reason, raw, (at, nth))
    }

    /// Keeps such letters, all of one organization or of the installation; those for which there is
    /// no room are gone.
    pub(crate) async fn bury(&self, letters: &[DeadLetter]) -> Result<(), StoreError> {
        let Some(DeadLetter { id, tenant, reason, .. }) = letters.first() else { return Ok(()) };
        let Kept { new, lost } = self.letters.put_all(letters, || self.stamps.next()).await?;
        tracing::info!(new, first = %id, reason, "dead letters");
        if lost > 0 {
            tracing::warn!(lost, reason, "no room for dead letters");
            metrics::counter!("omnistream_dead_letters_lost_total").increment(lost as u64);
        }
        let whose = if tenant.is_some() { "organization" } else { "installation" };
        metrics::counter!("omnistream_dead_letters_total", "whose" => whose).increment(new as u64);
        Ok(())
    }

    fn letter(
        &self,
        thread: ThreadId,
        (tenant, account): (TenantId, AccountId),
        command: Option<&Command>,
    ) -> DeadLetter {
        let raw = command.map(raw).unwrap_or_default();
        let (source, reason) = match raw.is_empty() {
            false => (Source::Decide, "the program fails on it; its conversation is parked"),
            true => (Source::Load, "the program fails on this conversation, which is parked"),
        };
        DeadLetter {
            id: self.ids.clone().uuid(),
            tenant: Some(tenant),
            account: Some(account),
            source,
            thread: Some(thread),
            reason: reason.to_owned(),
            raw,
            attempts: 0,
            at: self.clock.now(),
        }
    }
}

/// What a command comes from, as a dead letter keeps it; empty where it comes from none.
pub(crate) fn raw(command: &Command) -> String {
    // It has texts, numbers and ids: nothing that JSON does not know.
    let raw = match command {
        Command::Import(import) => serde_json::to_string(import).ok(),
        command => command.item().and_then(|item| serde_json::to_string(&item).ok()),
    };
    raw.unwrap_or_default()
}

impl From<NotKept> for Failure {
    fn from(error: NotKept) -> Self {
        match error {
            NotKept::Full => Self::busy(Full::DeadLetters),
            NotKept::Store(error) => error.into(),
        }
    }
}
