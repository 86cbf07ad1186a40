//! What a thread's actor does about panics: what it fails on is tried again, alone, and then set
//! aside; the thread is parked with it, so that what comes later does not overtake it.

use engine::conversation::{Answer, Command};
use engine::fact::By;
use ractor::ActorRef;
use tracing::{Instrument, Span};

use super::{Order, Phase, State, ThreadMessage, Unread};
use crate::failure::Failure;
use crate::panics::caught_in;

impl State {
    /// Whether this waits because the thread is parked.
    pub(super) fn is_parked_for(&self, order: &Order) -> bool {
        let waits = order.envelope.by != By::System && !order.again;
        waits && self.world.parking.holds(self.id)
    }

    /// Whether the first order has panicked.
    pub(super) fn has_panicked(&self) -> bool {
        self.queue.front().is_some_and(|order| order.panics > 0)
    }

    /// Whether the first order has panicked so often that it is not tried any more.
    pub(super) fn has_failed(&self) -> bool {
        let attempts = self.world.poison_attempts;
        self.queue.front().is_some_and(|order| order.panics >= attempts)
    }

    /// Something that orders need was not read; the next one wakes the actor again.
    pub(super) fn unread(&mut self, unread: Unread) {
        // The wake itself may have been among what failed.
        (self.core, self.phase) = (None, Phase::Asleep);
        match unread {
            Unread::Store(error) => self.fail(error.into()),
            // From here on it is read for alone.
            Unread::Panicked(_) => {
                if let Some(order) = self.queue.front_mut() {
                    order.panics = order.panics.saturating_add(1);
                }
            }
        }
    }

    /// Loading the thread panicked.
    pub(super) fn wake_panicked(&mut self, myself: &ActorRef<ThreadMessage>) {
        self.panics = self.panics.saturating_add(1);
        match self.panics < self.world.poison_attempts {
            true => self.wake(myself),
            false => self.park(None, myself),
        }
    }

    /// Drops what an earlier wake ordered and what panicked: this one orders it again. Answers how
    /// often it has.
    pub(super) fn forget_own(&mut self) -> u8 {
        let mut panics = 0;
        self.queue.retain(|order| {
            let command = &order.envelope.command;
            let is_own = matches!(command, Command::Wake { .. } | Command::ContactChanged { .. });
            let again = is_own && order.panics > 0;
            panics = panics.max(if again { order.panics } else { 0 });
            !again
        });
        panics
    }

    /// The first order is not tried any more. A provider's item would come again for days, so it is
    /// kept and its thread is parked; whoever else asked is told.
    pub(super) fn give_up(&mut self, myself: &ActorRef<ThreadMessage>) {
        let Some(order) = self.queue.pop_front() else { return };
        match (&order.envelope.command, order.envelope.by) {
            (Command::Wake { .. }, _) => self.park(None, myself),
            // What comes later does not wait for what was written long before.
            (Command::Import(_), _) => order.reply.send(Err(Failure::Panicked)),
            (_, By::Provider) if !order.again => self.park(Some(order), myself),
            _ => order.reply.send(Err(Failure::Panicked)),
        }
    }

    fn park(&mut self, order: Option<Box<Order>>, myself: &ActorRef<ThreadMessage>) {
        let envelope = order.as_ref().map(|order| order.envelope.clone());
        let origins = order.iter().chain(&self.queue).filter_map(|order| order.origin);
        let of = origins.map(|origin| (origin.tenant, origin.account)).next();
        let of = of.or(self.core.as_ref().map(|core| (core.thread.tenant, core.thread.account)));
        let span = order.as_ref().map_or_else(Span::none, |order| order.span.clone());
        self.phase = Phase::Parking(order);
        let (world, id, myself) = (self.world.clone(), self.id, myself.clone());
        let parking = async move {
            let command = envelope.as_ref().map(|envelope| &envelope.command);
            let parking = Box::pin(world.parking.park(id, of, command));
            let parked = caught_in("park", parking).await.unwrap_or(Err(Failure::Panicked));
            drop(myself.send_message(ThreadMessage::Parked(parked)));
        };
        tokio::spawn(parking.instrument(span));
    }

    /// It is parked, durably, with the order that it failed on; or nothing has changed.
    pub(super) fn parked(&mut self, result: Result<(), Failure>) {
        let Phase::Parking(order) = std::mem::replace(&mut self.phase, Phase::Asleep) else {
            return;
        };
        (self.core, self.panics) = (None, 0);
        match (result, order) {
            (Ok(()), order) => {
                if let Some(order) = order {
                    order.reply.send(Ok(Answer::default()));
                }
                self.fail(Failure::Parked);
            }
            // What came behind it goes on; the provider delivers it again.
            (Err(failure), Some(order)) => order.reply.send(Err(failure)),
            (Err(failure), None) => self.fail(failure),
        }
    }
}
