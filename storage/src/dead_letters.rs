//! Dead letters: what could not be understood, placed or decided, kept raw for 30 days, so many and
//! so much of a tenant; and the threads that are parked, each with the letter that it waits for.

mod shelf;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::id::{AccountId, TenantId, ThreadId};
use engine::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::shelf::LetterLimits;
use self::shelf::{Label, Shelf};
use crate::body::{decode, encode};
use crate::error::StoreError;
use crate::keys::{id, made_at, month, month_of};
use crate::port::{Batch, Change, Key, Part, Scan, Stamp, Store};
use crate::steps::in_steps;
use crate::tables::{DEAD_LETTERS, DEAD_LETTERS_KEPT, FOR_EVER, PARKED};

/// What could not be understood, placed or decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// A UUIDv7.
    pub id: Uuid,
    /// `None`: nobody knows whose it is.
    pub tenant: Option<TenantId>,
    pub account: Option<AccountId>,
    #[serde(default)]
    pub source: Source,
    /// Of [`Source::Decide`] and [`Source::Load`]: the thread that is parked until it is retried.
    #[serde(default)]
    pub thread: Option<ThreadId>,
    /// A sentence.
    pub reason: String,
    /// What it is about: as it came, or the item that was understood of it (JSON). Empty where
    /// there is nothing but a thread.
    pub raw: String,
    /// How often it was tried again.
    #[serde(default)]
    pub attempts: u32,
    pub at: Timestamp,
}

/// Where something stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// It was not understood.
    #[default]
    Decode,
    /// It was understood and has no place.
    Place,
    /// Its thread cannot decide it, and is parked.
    Decide,
    /// The thread itself cannot be loaded, and is parked.
    Load,
}

/// Why a letter is not kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotKept {
    /// Everything that is there keeps a thread parked, and stays.
    #[error("the dead letters are full; retry those of parked conversations")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of several letters; the others are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// So many are there now.
    pub new: usize,
    /// For so many there is no room.
    pub lost: usize,
}

/// All dead letters. Clones are the same.
#[derive(Clone)]
pub struct DeadLetters {
    store: Arc<dyn Store>,
    limits: LetterLimits,
    shelves: Arc<Mutex<HashMap<Option<TenantId>, Arc<Shared>>>>,
}

/// One tenant's; `None`: not loaded, or otherwise than remembered.
type Shared = tokio::sync::Mutex<Option<Shelf>>;

/// A thread that is parked, and the letter for which it is.
#[derive(Serialize, Deserialize)]
struct Parked {
    thread: ThreadId,
    tenant: Option<TenantId>,
    letter: Uuid,
}

/// So many shelves stay in memory.
const SHELVES_MAX: usize = 1_000;
/// Rows of one read: each may be as large as a webhook.
const PAGE: usize = 64;
/// So much is written at once, or one letter that is larger.
const WRITE_BYTES: usize = 1 << 20;
/// The month under which letters lie for which threads are parked: they do not leave by their age.
const PARKING: i64 = -1;

impl Source {
    /// Whether a thread is parked until it is retried.
    pub fn parks(self) -> bool {
        matches!(self, Self::Decide | Self::Load)
    }
}

impl DeadLetter {
    /// One that parks nothing, of this millisecond the `nth` (from 0 to 4,095). Behind that it is named by
    /// what it is about: delivered again, it is the same.
    pub fn of(
        (tenant, account): (Option<TenantId>, Option<AccountId>),
        source: Source,
        reason: String,
        raw: String,
        (at, nth): (Timestamp, u16),
    ) -> Self {
        let mut hash = Sha256::new();
        for whose in [tenant.map(|tenant| tenant.0), account.map(|account| account.0)] {
            hash.update(whose.unwrap_or(Uuid::nil()).as_bytes());
        }
        hash.update(&raw);
        let hash = hash.finalize();
        let mut named = [0; 10];
        named[..2].copy_from_slice(&nth.to_be_bytes());
        named[2..].copy_from_slice(&hash[..8]);
        let millis = u64::try_from(at.0).unwrap_or(0);
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &named).into_uuid();
        let (thread, attempts) = (None, 0);
        Self { id, tenant, account, source, thread, reason, raw, attempts, at }
    }
}

impl DeadLetters {
    /// On this store, within these limits.
    pub fn new(store: Arc<dyn Store>, limits: LetterLimits) -> Self {
        Self { store, limits, shelves: Arc::default() }
    }

    /// Keeps one, and its thread as parked, where it is the reason for that; the oldest leave that
    /// park nothing. The stamp is asked for when it is this one's turn.
    pub async fn put(
        &self,
        letter: &DeadLetter,
        stamp: impl FnOnce() -> Stamp,
    ) -> Result<(), NotKept> {
        let shelf = self.shelf(letter.tenant);
        let mut shelf = shelf.lock().await;
        let mut kept = self.taken(&mut shelf, letter.tenant, letter.at).await?;
        let label = Label::of(letter);
        let Some(surplus) = kept.surplus(label, self.limits) else {
            *shelf = Some(kept);
            return Err(NotKept::Full);
        };
        // What has expired meanwhile is deleted once more, which changes nothing.
        let gone = |id| Change::Delete { table: &DEAD_LETTERS, key: key(letter.tenant, id, false) };
        let mut changes: Vec<_> = surplus.iter().copied().map(gone).collect();
        changes.push(written(letter, letter.at));
        let mut parks = Vec::new();
        if let Some((key, thread)) = parked_key(letter).zip(letter.thread) {
            let body = encode(&Parked { thread, tenant: letter.tenant, letter: letter.id });
            parks.push(Change::Put { table: &PARKED, key, body, ttl: None });
        }
        // What is parked has a letter that leads to it.
        in_steps(&*self.store, stamp(), [changes, parks]).await?;
        surplus.into_iter().for_each(|left| kept.remove(left));
        kept.add(label);
        *shelf = Some(kept);
        Ok(())
    }

    /// Keeps several of one tenant that park nothing, each once however often it comes; the oldest
    /// leave. Those for which there is no room are lost.
    pub async fn put_all(
        &self,
        letters: &[DeadLetter],
        stamp: impl Fn() -> Stamp,
    ) -> Result<Kept, StoreError> {
        let mut outcome = Kept::default();
        let Some(first) = letters.first() else { return Ok(outcome) };
        let (tenant, now) = (first.tenant, first.at);
        let shelf = self.shelf(tenant);
        let mut shelf = shelf.lock().await;
        let mut kept = self.taken(&mut shelf, tenant, now).await?;
        let mut known: HashSet<u128> = kept.letters().map(|label| untimed(label.id)).collect();
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for letter in letters {
            if !known.insert(untimed(letter.id)) {
                continue;
            }
            let label = Label::of(letter);
            let Some(surplus) = kept.surplus(label, self.limits) else {
                outcome.lost += 1;
                continue;
            };
            for left in surplus {
                kept.remove(left);
                let key = key(tenant, left, false);
                changes.push(Change::Delete { table: &DEAD_LETTERS, key });
            }
            kept.add(label);
            let size = label.bytes as usize;
            if bytes > 0 && bytes + size > WRITE_BYTES {
                bytes = 0;
                let changes = mem::take(&mut changes);
                self.store.apply(Batch { stamp: stamp(), changes }).await?;
            }
            changes.push(written(letter, now));
            outcome.new += 1;
            bytes += size;
        }
        if !changes.is_empty() {
            self.store.apply(Batch { stamp: stamp(), changes }).await?;
        }
        *shelf = Some(kept);
        Ok(outcome)
    }

    /// Writes one that is there again, with another reason or count.
    pub async fn change(
        &self,
        letter: &DeadLetter,
        now: Timestamp,
        stamp: impl FnOnce() -> Stamp,
    ) -> Result<(), StoreError> {
        let shelf = self.shelf(letter.tenant);
        let mut shelf = shelf.lock().await;
        let mut kept = self.taken(&mut shelf, letter.tenant, now).await?;
        if !kept.letters().any(|label| label.id == letter.id) {
            // It left meanwhile.
            *shelf = Some(kept);
            return Ok(());
        }
        let changes = vec![written(letter, now)];
        self.store.apply(Batch { stamp: stamp(), changes }).await?;
        kept.remove(letter.id);
        kept.add(Label::of(letter));
        *shelf = Some(kept);
        Ok(())
    }

    /// Takes one away. Answers whether it kept a thread parked, which is not parked any more.
    pub async fn remove(
        &self,
        letter: &DeadLetter,
        now: Timestamp,
        stamp: impl FnOnce() -> Stamp,
    ) -> Result<bool, StoreError> {
        let shelf = self.shelf(letter.tenant);
        let mut shelf = shelf.lock().await;
        let mut kept = self.taken(&mut shelf, letter.tenant, now).await?;
        let key = key(letter.tenant, letter.id, letter.source.parks());
        let mut changes = vec![Change::Delete { table: &DEAD_LETTERS, key }];
        let mark = self.mark(letter).await?;
        let parks = mark.is_some();
        changes.extend(mark.map(|key| Change::Delete { table: &PARKED, key }));
        self.store.apply(Batch { stamp: stamp(), changes }).await?;
        kept.remove(letter.id);
        *shelf = Some(kept);
        Ok(parks)
    }

    /// The mark of the thread that this letter keeps parked, and no other.
    async fn mark(&self, letter: &DeadLetter) -> Result<Option<Key>, StoreError> {
        let Some(key) = parked_key(letter) else { return Ok(None) };
        let Some(body) = self.store.get(&PARKED, &key).await? else { return Ok(None) };
        let mark: Parked = decode(&body)?;
        Ok((mark.letter == letter.id).then_some(key))
    }

    /// One of a tenant's.
    pub async fn get(
        &self,
        tenant: Option<TenantId>,
        letter: Uuid,
    ) -> Result<Option<DeadLetter>, StoreError> {
        for parks in [false, true] {
            let key = key(tenant, letter, parks);
            if let Some(body) = self.store.get(&DEAD_LETTERS, &key).await? {
                return decode(&body).map(Some);
            }
        }
        Ok(None)
    }

    /// A page of a tenant's as `shown`, newest first, of one source or of all; and how many there are. Only
    /// one at a time is in memory whole.
    pub async fn page<T>(
        &self,
        tenant: Option<TenantId>,
        source: Option<Source>,
        (skip, limit): (usize, usize),
        now: Timestamp,
        shown: impl Fn(DeadLetter) -> T,
    ) -> Result<(Vec<T>, usize), StoreError> {
        let (wanted, total) = {
            let shelf = self.shelf(tenant);
            let mut shelf = shelf.lock().await;
            let kept = self.taken(&mut shelf, tenant, now).await?;
            let fits = |label: &&Label| source.is_none_or(|source| source == label.source);
            let total = kept.letters().filter(fits).count();
            let wanted = kept.letters().rev().filter(fits).skip(skip).take(limit);
            let wanted: Vec<_> = wanted.map(|label| label.id).collect();
            *shelf = Some(kept);
            (wanted, total)
        };
        let mut letters = Vec::with_capacity(wanted.len());
        for id in wanted {
            letters.extend(self.get(tenant, id).await?.map(&shown));
        }
        Ok((letters, total))
    }

    /// The ids of a tenant's newest letters of one source, at most so many; none that takes more
    /// than so many bytes.
    pub async fn newest(
        &self,
        tenant: TenantId,
        source: Source,
        (most, bytes): (usize, usize),
        now: Timestamp,
    ) -> Result<Vec<Uuid>, StoreError> {
        let shelf = self.shelf(Some(tenant));
        let mut shelf = shelf.lock().await;
        let kept = self.taken(&mut shelf, Some(tenant), now).await?;
        let fits = |label: &&Label| label.source == source && bytes >= label.bytes as usize;
        let newest = kept.letters().rev().filter(fits).take(most);
        let newest = newest.map(|label| label.id).collect();
        *shelf = Some(kept);
        Ok(newest)
    }

    /// The threads of a shard that are parked.
    pub async fn parked(&self, shard: u8) -> Result<Vec<ThreadId>, StoreError> {
        let mut threads = Vec::new();
        let mut next = Some(Scan::of(&PARKED, vec![Part::Int(i64::from(shard))], PAGE));
        while let Some(scan) = next {
            let page = self.store.scan(scan.clone()).await?;
            for row in &page {
                let Parked { thread, tenant, letter } = decode(&row.body)?;
                // Where they are not written as one, the mark may be there without its letter: then
                // nobody was told that anything is kept.
                if self.get(tenant, letter).await?.is_some() {
                    threads.push(thread);
                }
            }
            next = scan.behind(&page);
        }
        Ok(threads)
    }

    fn shelf(&self, tenant: Option<TenantId>) -> Arc<Shared> {
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if shelves.len() >= SHELVES_MAX && !shelves.contains_key(&tenant) {
            // Whoever puts nothing at the moment is read again.
            shelves.retain(|_, shelf| Arc::strong_count(shelf) > 1);
        }
        shelves.entry(tenant).or_default().clone()
    }

    /// The shelf's content, without what has expired. Until it is put back, it is not known what
    /// was written, and it is read again.
    async fn taken(
        &self,
        shelf: &mut Option<Shelf>,
        tenant: Option<TenantId>,
        now: Timestamp,
    ) -> Result<Shelf, StoreError> {
        let mut kept = match shelf.take() {
            Some(kept) => kept,
            None => self.load(tenant, now).await?,
        };
        let oldest = now - DEAD_LETTERS_KEPT;
        let is_gone = |label: &Label| !label.source.parks() && made_at(label.id) < oldest;
        kept.drop_those(is_gone);
        Ok(kept)
    }

    async fn load(&self, tenant: Option<TenantId>, now: Timestamp) -> Result<Shelf, StoreError> {
        let mut found: Vec<Label> = Vec::new();
        let oldest = now - DEAD_LETTERS_KEPT;
        for month in (month(oldest)..=month(now)).chain([PARKING]) {
            let mut next = Some(Scan::of(&DEAD_LETTERS, partition(tenant, month), PAGE));
            while let Some(scan) = next {
                let page = self.store.scan(scan.clone()).await?;
                for row in &page {
                    found.push(Label::of(&decode(&row.body)?));
                }
                next = scan.behind(&page);
            }
        }
        found.sort_unstable_by_key(|label| label.id);
        let mut shelf = Shelf::default();
        found.into_iter().for_each(|label| shelf.add(label));
        Ok(shelf)
    }
}

/// An id without its time and its place in that: by it a letter is known that is delivered again.
fn untimed(id: Uuid) -> u128 {
    id.as_u128() & u128::from(u64::MAX)
}

/// The row of a letter, which leaves 30 days after it came, unless it parks a thread.
fn written(letter: &DeadLetter, now: Timestamp) -> Change {
    let parks = letter.source.parks();
    let left = DEAD_LETTERS_KEPT.saturating_sub(now.since(letter.at));
    Change::Put {
        table: &DEAD_LETTERS,
        key: key(letter.tenant, letter.id, parks),
        body: encode(letter),
        ttl: Some(if parks { FOR_EVER } else { left.max(Duration::from_secs(1)) }),
    }
}

fn parked_key(letter: &DeadLetter) -> Option<Key> {
    let thread = letter.thread.filter(|_| letter.source.parks())?;
    Some(Key::new(vec![Part::Int(i64::from(thread.shard()))], vec![id(thread.0)]))
}

fn key(tenant: Option<TenantId>, letter: Uuid, parks: bool) -> Key {
    let month = if parks { PARKING } else { month_of(letter) };
    Key::new(partition(tenant, month), vec![id(letter)])
}

fn partition(tenant: Option<TenantId>, month: i64) -> Vec<Part> {
    vec![id(tenant.map_or(Uuid::nil(), |tenant| tenant.0)), Part::Int(month)]
}
