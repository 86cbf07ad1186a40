//! The fetcher: brings the files that messages carry from the provider, after the message is
//! durable. What is to be fetched stands in the store until it was, or cannot be had; here it is
//! only done, so much at once, the tenants in turn.

mod fetch;
mod loose;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use engine::conversation::Conversation;
use engine::message::Place;
use storage::StoreError;
use storage::conversations::{Conversations, Unfetched};
use storage::media::Media;
use tokio::sync::watch;
use tokio::time::sleep;

use self::fetch::Left;
use self::waiting::{Room, Waiting};
use crate::desk::Desk;
use crate::downloads::Downloads;
use crate::panics::caught_in;
use crate::provider::Provider;
use crate::tenants::Tenants;
use crate::turns::Turns;

/// Fetches for all accounts. Clones are the same.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

/// What a fetcher works with.
pub struct FetcherParts {
    pub provider: Provider,
    pub downloads: Downloads,
    pub tenants: Tenants,
    pub conversations: Conversations,
    pub media: Media,
    pub options: FetcherOptions,
}

/// The limits of fetching.
#[derive(Clone, Debug)]
pub struct FetcherOptions {
    /// The largest file.
    pub bytes: u64,
    /// Messages whose files are fetched at once.
    pub at_once: usize,
    /// Messages in memory whose files are to be fetched; the others wait in the store.
    pub waiting: usize,
    /// The same of one tenant: those of the others have room beside them, however long they take.
    pub waiting_tenant: usize,
    /// Waits between tries; the last one repeats.
    pub ladder: Vec<Duration>,
    /// So long a file may show nowhere.
    pub unshown: Duration,
}

struct Inner {
    parts: FetcherParts,
    desk: OnceLock<Desk>,
    turns: Turns,
    waiting: Mutex<Waiting>,
    stopping: watch::Sender<bool>,
    /// How many are in memory.
    held: watch::Sender<usize>,
}

/// How far the store was read.
enum End {
    Reached,
    Ahead,
}

/// Rows that are read at once.
const PAGE: usize = 256;

impl Fetcher {
    /// Of its parts.
    pub fn new(parts: FetcherParts) -> Self {
        let turns = Turns::new(parts.options.at_once);
        let (stopping, held) = (watch::Sender::new(false), watch::Sender::new(0));
        let (all, of_tenant) = (parts.options.waiting, parts.options.waiting_tenant);
        let (desk, waiting) = (OnceLock::new(), Mutex::new(Waiting::new(all, of_tenant)));
        Self(Arc::new(Inner { parts, desk, turns, waiting, stopping, held }))
    }

    /// Names the desk whose messages it fetches for. Once, before anything is fetched.
    pub fn connect(&self, desk: Desk) {
        // A second desk is not connected.
        let _ = self.0.desk.set(desk);
    }

    /// A message carries files that are to be fetched.
    pub fn fetch(&self, head: &Conversation, place: Place) {
        self.begin(Unfetched::of(head, place));
    }

    /// Takes up what the store knows to be unfetched. Answers how many messages that is, as far as
    /// there is room for them.
    pub async fn resume(&self) -> Result<usize, StoreError> {
        let mut taken = 0;
        let read = self.read(&mut taken).await;
        if !matches!(read, Ok(End::Reached)) {
            self.waiting().has_more();
        }
        read.map(|_| taken)
    }

    async fn read(&self, taken: &mut usize) -> Result<End, StoreError> {
        for shard in 0..=u8::MAX {
            let mut behind = None;
            loop {
                let page =
                    self.0.parts.conversations.unfetched(shard, behind.as_ref(), PAGE).await?;
                for one in &page {
                    match self.begin(*one) {
                        Room::Taken => *taken += 1,
                        Room::NoneOfTenant => {}
                        Room::None => return Ok(End::Ahead),
                    }
                }
                behind = page.last().copied().filter(|_| page.len() == PAGE);
                if behind.is_none() {
                    break;
                }
            }
        }
        Ok(End::Reached)
    }

    /// Begins nothing any more, and ends what is under way: the next start takes it up.
    pub async fn stop(&self) {
        self.0.stopping.send_replace(true);
        let mut held = self.0.held.subscribe();
        // The sender is ours: it does not go.
        let _ = held.wait_for(|held| *held == 0).await;
    }

    fn begin(&self, one: Unfetched) -> Room {
        {
            let mut waiting = self.waiting();
            if waiting.has_changed(&one) || *self.0.stopping.borrow() {
                return Room::Taken;
            }
            let room = waiting.take(&one);
            self.0.held.send_replace(waiting.len());
            if room != Room::Taken {
                return room;
            }
        }
        let fetcher = self.clone();
        let mut stopping = self.0.stopping.subscribe();
        tokio::spawn(async move {
            let is_forgotten = tokio::select! {
                biased;
                () = async { drop(stopping.wait_for(|stopping| *stopping).await) } => false,
                // After a panic it is tried again by the next start.
                ran = caught_in("fetch", Box::pin(fetcher.run(&one))) => ran.is_ok(),
            };
            fetcher.end(&one, is_forgotten);
        });
        Room::Taken
    }

    async fn run(&self, one: &Unfetched) {
        while self.exhaust(one).await {
            // One that has not changed since it was asked is not known any more.
            if !self.waiting().begins_again(one) {
                return;
            }
        }
    }

    /// Tries until nothing is left to be fetched; false: another message has its place by now.
    async fn exhaust(&self, one: &Unfetched) -> bool {
        let ladder = &self.0.parts.options.ladder;
        let (mut tries, mut missed) = (0, HashMap::new());
        loop {
            let left = {
                let _turn = self.0.turns.take(one.tenant, 0).await;
                Box::pin(self.attempt(one, &mut missed)).await
            };
            let outcome = if left == Left::Nothing { "done" } else { "again" };
            metrics::counter!("omnistream_fetches_total", "outcome" => outcome).increment(1);
            if left == Left::Nothing {
                return true;
            }
            let wait = ladder.get(tries).or(ladder.last()).copied().unwrap_or_default();
            tries += 1;
            let mut place = self.waiting().sleep(one);
            self.take_in();
            tokio::select! {
                () = sleep(wait) => {}
                _ = &mut place => {}
            }
            if !self.waiting().wake(one, &mut place) {
                return false;
            }
        }
    }

    /// One that is forgotten may have begun again by now.
    fn end(&self, one: &Unfetched, is_forgotten: bool) {
        {
            let mut waiting = self.waiting();
            if !is_forgotten {
                waiting.forget(one);
            }
            self.0.held.send_replace(waiting.len());
        }
        self.take_in();
    }

    /// Takes up what had no room, as soon as there is some.
    fn take_in(&self) {
        if *self.0.stopping.borrow() || !self.waiting().has_room_again() {
            return;
        }
        let fetcher = self.clone();
        tokio::spawn(async move {
            if let Err(error) = fetcher.resume().await {
                tracing::warn!(%error, "files wait to be fetched until others have been");
            }
        });
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
