//! A thread's commit: handed to the store, gone on with by the actor itself, then told, acted upon
//! and answered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use engine::conversation::contents::Changed;
use engine::conversation::{Conversation, Effect, Loaded, State as Core, Thread};
use ractor::{ActorProcessingErr, ActorRef};
use storage::StoreError;
use storage::conversations::{RecentRow, Worked, Write};
use storage::keys::hour;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::batch::{Batch, Ready};
use super::{Phase, State, ThreadMessage};
use crate::committed::{Committed, Durable};
use crate::contact::{ContactCommand, ContactOrder};
use crate::failure::Failure;
use crate::world::World;

/// The newest provider ids are written this many facts apart, at the latest.
const RECENT_EVERY: u64 = 200;

/// A commit on its way. In a task of its own it would be handed over once more each way.
pub(super) type Writing = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// Tells the actor when its commit can go on.
struct Waiting(ActorRef<ThreadMessage>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        // An actor that is gone has nothing to go on with.
        drop(self.0.send_message(ThreadMessage::GoOn));
    }
}

impl State {
    pub(super) fn commit(&mut self, mut batch: Batch, myself: &ActorRef<ThreadMessage>) {
        let (Some(core), Some(after)) = (&self.core, batch.after.take()) else {
            return match batch.thread.is_some() || !batch.keys.is_empty() {
                true => self.put(batch, myself),
                // Nothing to be made durable: everything it depends on is.
                false => self.finish(batch),
            };
        };
        let Some(mut commit) = batch.commit.take() else { return self.finish(batch) };
        commit.keys.append(&mut batch.keys);
        // A move that is not settled stays undone, whatever is committed meanwhile.
        let undone = self.world.conversations.leaves_undone(&after, &core.thread);
        let is_current = core.thread.current == Some(after.id);
        let (hour, case) = (hour(commit.at), Some(commit.conversation));
        let worked = news_of(self.worked, Worked { hour, case, undone });
        let recent = (self.recent_at.0 != Some(after.id)
            || after.seq >= self.recent_at.1 + RECENT_EVERY)
            .then(|| recent_row(core, &after));
        let ready = Ready {
            commit: Arc::new(commit),
            rows: std::mem::take(&mut batch.rows).into(),
            before: batch.before.take(),
            after,
        };
        if recent.is_some() {
            self.recent_at = (Some(ready.after.id), ready.after.seq);
        }
        self.worked = worked.or(self.worked);
        let (world, thread, left) = (self.world.clone(), batch.thread.take(), batch.left.take());
        let contents = std::mem::take(&mut batch.contents);
        batch.ready = Some(ready.clone());
        batch.age = Some(world.commits.begin());
        let span = batch.span(self.id, &ready);
        self.phase = Phase::Committing(Box::new(batch));
        let under_way = world.pages.begin(ready.after.id);
        let writing = async move {
            let write = Write {
                commit: &ready.commit,
                rows: &ready.rows,
                contents: &contents,
                thread: thread.as_ref(),
                before: ready.before.as_deref(),
                head: &ready.after,
                worked,
                recent: recent.as_ref(),
                is_current,
                left: left.as_deref(),
            };
            let writing = async {
                if let Some(Worked { hour, undone: true, .. }) = worked {
                    world.swept.reach(hour, &world).await?;
                }
                world.conversations.commit(&write, world.stamps.next()).await
            };
            let written = writing.await;
            under_way.ended(&written);
            written
        };
        self.writing = Some(match span.is_disabled() {
            true => Box::pin(writing),
            false => Box::pin(writing.instrument(span)),
        });
    }

    /// Goes on with the commit on its way, as far as it gets.
    pub(super) fn go_on(
        &mut self,
        myself: &ActorRef<ThreadMessage>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let waker = Waker::from(Arc::new(Waiting(myself.clone())));
        match writing.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => Ok(()),
            Poll::Ready(result) => {
                self.writing = None;
                self.committed(result)
            }
        }
    }

    /// Writes what is to be kept without a commit.
    fn put(&mut self, mut batch: Batch, myself: &ActorRef<ThreadMessage>) {
        let (world, myself) = (self.world.clone(), myself.clone());
        let (thread, keys) = (batch.thread.take(), std::mem::take(&mut batch.keys));
        let contents = std::mem::take(&mut batch.contents);
        self.phase = Phase::Committing(Box::new(batch));
        tokio::spawn(async move {
            let writing = async {
                if let Some(thread) = thread {
                    put_thread(&world, &thread, &contents).await?;
                }
                world.conversations.put_keys(&keys, world.stamps.next()).await
            };
            drop(myself.send_message(ThreadMessage::Committed(writing.await)));
        });
    }

    pub(super) fn committed(
        &mut self,
        result: Result<(), StoreError>,
    ) -> Result<(), ActorProcessingErr> {
        let Phase::Committing(mut batch) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return Ok(());
        };
        self.loaded = Loaded::default();
        batch.age = None;
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.unfenced) {
                    self.world.doubts.settle(self.id);
                }
                if let Some(Ready { commit, rows, before, after }) = batch.ready.take() {
                    let committed = Committed { commit, rows, before, after, _durable: Durable };
                    batch.trace(self.id, &committed.commit);
                    self.world.outside.follow(&committed);
                    self.act(&mut batch, &committed);
                }
                self.finish(*batch);
                Ok(())
            }
            Err(error @ StoreError::Unavailable(_)) if !self.unfenced => {
                // Certainly not written: what was decided is forgotten, and read again.
                batch.answer(Some(&error.into()));
                (self.core, self.worked, self.phase) = (None, None, Phase::Asleep);
                self.fail(Failure::Unavailable);
                Ok(())
            }
            Err(error) => {
                batch.answer(Some(&Failure::Unavailable));
                // Perhaps written: nothing that was decided on it may be told. Or not, and what was to come before
                // what is late has to be tried until it is there.
                let current = self.core.take().and_then(|core| core.thread.current);
                if let Some(Ready { after, .. }) =
                    batch.ready.filter(|of| current != Some(of.after.id))
                {
                    self.world.doubts.raise(self.id, after.id);
                }
                Err(error.into())
            }
        }
    }

    fn act(&self, batch: &mut Batch, committed: &Committed) {
        for (span, of, effect) in batch.effects.drain(..) {
            let _in = span.enter();
            // Of another case there is something to be done, and nothing that is committed.
            if of.id != committed.after.id {
                self.world.outside.act(&of, effect, None);
                continue;
            }
            if let Effect::LearnName { name } = effect {
                self.learn_name(&committed.after, name);
                continue;
            }
            let place = match &effect {
                Effect::Enqueue { place, .. } | Effect::Perform { place, .. } => Some(*place),
                _ => None,
            };
            let row = committed.rows.iter().find(|row| Some(row.place) == place);
            self.world.outside.act(&committed.after, effect, row);
        }
    }

    fn learn_name(&self, head: &Conversation, name: String) {
        let (identities, thread, name) = (Vec::new(), Some(self.id), Some(name));
        let command = ContactCommand::Learn { identities, thread, name };
        // Nobody waits: the next message names the customer again.
        let (reply, _) = oneshot::channel();
        let order = ContactOrder { tenant: head.tenant, command, reply, share: None };
        self.shards.tell_contact(head.contact, order);
    }

    /// Answers, and does what is to be done without a commit.
    fn finish(&mut self, mut batch: Batch) {
        for (span, of, effect) in batch.effects.drain(..) {
            span.in_scope(|| self.world.outside.act(&of, effect, None));
        }
        batch.answer(None);
    }
}

async fn put_thread(
    world: &World,
    thread: &Thread,
    contents: &[Changed],
) -> Result<(), StoreError> {
    let hour = thread.is_moving().then(|| hour(world.clock.now()));
    if let Some(hour) = hour {
        world.swept.reach(hour, world).await?;
    }
    world.conversations.put_thread(thread, contents, hour, world.stamps.next()).await
}

/// What has to be written of when a thread was at work: of an hour once, and once more when
/// something is left undone in it.
fn news_of(known: Option<Worked>, now: Worked) -> Option<Worked> {
    let same = known.filter(|known| (known.hour, known.case) == (now.hour, now.case));
    same.is_none_or(|known| now.undone && !known.undone).then_some(now)
}

fn recent_row(core: &Core, after: &Conversation) -> RecentRow {
    RecentRow { recent: core.recent.clone(), conversation: after.id, seq: after.seq }
}
