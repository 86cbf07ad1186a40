//! Virtual actors of one kind: found or woken by id, left alone until idle, woken again after a
//! failure with growing patience. The same for every kind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorRef};
use tokio::time::Instant;
use uuid::Uuid;

use crate::world::World;

/// A kind of virtual actor.
pub(crate) trait Virtual: Actor<Arguments = Start> + Sized {
    /// Its name in metrics.
    const KIND: &'static str;
    /// Its handler.
    fn new() -> Self;
    /// Asks it to say that it is idle, if it is, with this number.
    fn leave(delivered: u64) -> Self::Msg;
}

/// What a virtual actor starts with.
pub(crate) struct Start {
    pub id: Uuid,
    pub world: Arc<World>,
    pub shards: crate::shard::Shards,
    /// It takes the place of one that failed: what that one left untold must be told.
    pub again: bool,
}

/// The actors of one kind in one shard.
pub(crate) struct Slots<V: Virtual> {
    slots: HashMap<Uuid, Slot<V>>,
    ids: HashMap<ActorId, Uuid>,
    /// Failed, and not tried again by itself.
    forgotten: HashSet<Uuid>,
}

enum Slot<V: Virtual> {
    Active {
        actor: ActorRef<V::Msg>,
        delivered: u64,
        last: Instant,
        failures: Failures,
    },
    /// It leaves; what comes now waits for the next one.
    Draining {
        waiting: Vec<V::Msg>,
    },
    /// It failed; what comes now waits until it is tried again.
    Backoff {
        waiting: Vec<V::Msg>,
        failures: Failures,
    },
}

/// How often one has failed in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    all: u32,
    /// Those of them that are bugs of ours.
    panics: u32,
    /// When it failed last.
    last: Option<Instant>,
}

/// How an actor has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Left,
    Failed,
    Panicked,
}

/// An actor that has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub id: Uuid,
    /// How long to wait before it is tried again.
    pub wait: Duration,
    /// How often it has panicked in a row.
    pub panics: u32,
}

/// The first wait after a second failure in a row; it doubles up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// An actor that lived so long since its last failure has recovered.
const RECOVERED: Duration = Duration::from_secs(60);

impl Failures {
    /// These, and one more now.
    fn and(self, end: End) -> Self {
        let in_a_row = self.last.is_some_and(|last| last.elapsed() < RECOVERED);
        let Self { all, panics, .. } = if in_a_row { self } else { Self::default() };
        let panics = panics + u32::from(end == End::Panicked);
        Self { all: all.saturating_add(1), panics, last: Some(Instant::now()) }
    }
}

impl<V: Virtual> Slots<V> {
    pub(crate) fn new() -> Self {
        Self { slots: HashMap::new(), ids: HashMap::new(), forgotten: HashSet::new() }
    }

    /// Gives a message to an actor, waking it if it is not there.
    pub(crate) fn deliver(
        &mut self,
        id: Uuid,
        message: V::Msg,
        start: impl FnOnce() -> (Start, ActorCell),
    ) {
        match self.slots.get_mut(&id) {
            Some(Slot::Active { actor, delivered, last, .. }) => {
                *delivered += 1;
                *last = Instant::now();
                // One that has just failed refuses: its end is reported next, and its waiters hear
                // of it by the message's own end.
                drop(actor.send_message(message));
            }
            Some(Slot::Draining { waiting } | Slot::Backoff { waiting, .. }) => {
                waiting.push(message);
            }
            None => self.start(id, vec![message], Failures::default(), start()),
        }
    }

    fn start(
        &mut self,
        id: Uuid,
        waiting: Vec<V::Msg>,
        failures: Failures,
        (arguments, supervisor): (Start, ActorCell),
    ) {
        let again = self.forgotten.remove(&id) || failures.all > 0;
        let arguments = Start { again, ..arguments };
        let spawned =
            ractor::ActorRuntime::<V>::spawn_linked_instant(None, V::new(), arguments, supervisor);
        match spawned {
            Ok((actor, _)) => {
                let delivered = waiting.len() as u64;
                for message in waiting {
                    drop(actor.send_message(message));
                }
                self.ids.insert(actor.get_id(), id);
                let last = Instant::now();
                self.slots.insert(id, Slot::Active { actor, delivered, last, failures });
                metrics::gauge!("omnistream_actors", "kind" => V::KIND).increment(1.0);
            }
            Err(error) => tracing::error!(kind = V::KIND, %id, %error, "an actor did not start"),
        }
    }

    /// Gives back the room of those who left.
    pub(crate) fn give_back(&mut self) {
        if self.slots.capacity() > 4 * self.slots.len() {
            self.slots.shrink_to(2 * self.slots.len());
            self.ids.shrink_to(2 * self.ids.len());
        }
    }

    /// Asks everybody to whom nobody spoke since then whether it may leave.
    pub(crate) fn ask_idle(&self, since: Instant) {
        for slot in self.slots.values() {
            if let Slot::Active { actor, delivered, last, .. } = slot
                && *last <= since
            {
                drop(actor.send_message(V::leave(*delivered)));
            }
        }
    }

    /// An actor says that it is idle and has handled so many messages: it goes, if that is all.
    pub(crate) fn idle(&mut self, id: Uuid, handled: u64) {
        if let Some(slot) = self.slots.get_mut(&id)
            && let Slot::Active { actor, delivered, .. } = slot
            && *delivered == handled
        {
            drop(actor.drain());
            *slot = Slot::Draining { waiting: Vec::new() };
        }
    }

    /// An actor has ended. Answers what to do when it failed.
    pub(crate) fn ended(
        &mut self,
        actor: ActorId,
        end: End,
        start: impl FnOnce(Uuid) -> (Start, ActorCell),
    ) -> Option<Failed> {
        let id = self.ids.remove(&actor)?;
        metrics::gauge!("omnistream_actors", "kind" => V::KIND).decrement(1.0);
        match self.slots.remove(&id)? {
            Slot::Draining { waiting } => {
                if !waiting.is_empty() {
                    self.start(id, waiting, Failures::default(), start(id));
                }
                None
            }
            Slot::Active { failures, .. } if end != End::Left => {
                metrics::counter!("omnistream_actor_failures_total", "kind" => V::KIND)
                    .increment(1);
                let failures = failures.and(end);
                let wait = match failures.all {
                    1 => Duration::ZERO,
                    n => (BACKOFF * 2_u32.saturating_pow(n - 2).min(1000)).min(BACKOFF_MAX),
                };
                self.slots.insert(id, Slot::Backoff { waiting: Vec::new(), failures });
                Some(Failed { id, wait, panics: failures.panics })
            }
            Slot::Active { .. } => None,
            backoff @ Slot::Backoff { .. } => {
                self.slots.insert(id, backoff);
                None
            }
        }
    }

    /// The wait after a failure is over.
    pub(crate) fn retry(&mut self, id: Uuid, start: impl FnOnce() -> (Start, ActorCell)) {
        if let Some(Slot::Backoff { .. }) = self.slots.get(&id)
            && let Some(Slot::Backoff { waiting, failures }) = self.slots.remove(&id)
        {
            metrics::counter!("omnistream_actor_restarts_total", "kind" => V::KIND).increment(1);
            self.start(id, waiting, failures, start());
        }
    }

    /// One that failed is not tried again by itself; whoever waits for it is told by the end of
    /// what it was sent.
    pub(crate) fn forget(&mut self, id: Uuid) {
        if let Some(Slot::Backoff { .. }) = self.slots.get(&id) {
            self.slots.remove(&id);
            self.forgotten.insert(id);
        }
    }

    /// How many are in memory.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Asks everybody to leave, idle or not: each goes once it has nothing under way.
    pub(crate) fn ask_all(&self) {
        self.ask_idle(Instant::now());
    }

    /// When each was last spoken to.
    pub(crate) fn last(&self) -> impl Iterator<Item = Instant> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Active { last, .. } => Some(*last),
            Slot::Draining { .. } | Slot::Backoff { .. } => None,
        })
    }
}
