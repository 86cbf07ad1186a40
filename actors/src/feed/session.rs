//! One who follows streams: a cursor for each, and what may be seen, decided as it leaves.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::conversation::{Command, Conversation, Refused};
use engine::id::ConversationId;
use storage::StoreError;
use tokio::time::Instant;

use super::frame::Encoding;
use super::hub::Hub;
use super::presence::{NAMED_MAX, Present};
use super::queue::{Cut, Item, Next, Queue, Told};
use super::sight::{Followed, Mark, Own, Plain, Shows, Sight, may_follow, may_see};
use super::topic::{Hint, Topic};
use super::{Outlet, Passing, Stream, Wire};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::permits::Class;
use crate::tenants::{Caller, Tenants};

/// Where snapshots and what was missed come from.
#[derive(Clone)]
pub struct Sources {
    pub tenants: Tenants,
    pub desk: Desk,
}

/// One who follows streams. It leaves them all when it is dropped.
pub struct Session<W: Wire> {
    pub(super) hub: Hub<W>,
    pub(super) sources: Sources,
    pub(super) queue: Arc<Queue<W>>,
    /// Away while the session rests.
    pub(super) sight: Own<W>,
}

/// Why it is not told who follows a stream.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotTold {
    /// There is no such stream, nobody is there in it, or it may not be seen.
    #[error("there is no such stream")]
    NoSuchStream,
    #[error("you do not follow this stream; follow it with `sub` first")]
    NotFollowed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Something is to be looked at.
pub enum Wake<W> {
    Item(Item<W>),
    /// Somebody may see more or less than before.
    Access,
    /// The session is ended from this side.
    Cut(Cut),
}

/// What goes out, in order.
pub enum Push<W> {
    Frame(W, Shows),
    /// Offsets up to here exist and are not shown.
    Skip {
        stream: Stream,
        offset: u64,
    },
    /// The stream may not be seen any more.
    Forbidden(Stream),
    /// The stream goes on, but not from where it was: it has to be followed anew.
    Reset(Stream),
    /// The session is over.
    Closed(Cut),
}

/// No owner has it.
const NEVER: u64 = 0;
/// That somebody writes is passed on at most so often.
const TYPING_EVERY: Duration = Duration::from_secs(3);

impl<W: Wire> Session<W> {
    /// Opens a session of a login that was checked; `None`: it does not count any more. What comes
    /// while it rests goes to the outlet.
    pub async fn open(
        hub: &Hub<W>,
        sources: Sources,
        caller: &Caller,
        encoding: Encoding,
        outlet: Arc<dyn Outlet<W>>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(owner) = sources.tenants.owner(caller.tenant).await? else { return Ok(None) };
        let epoch = owner.epoch();
        let Some(caller) = sources.tenants.caller(caller.session).await? else { return Ok(None) };
        let (hub, feed) = (hub.clone(), hub.enter(caller.tenant).await?);
        let queue = Queue::new(caller.agent, encoding, outlet, hub.writer());
        hub.opened(&feed, &queue);
        let sight = Sight::new(feed, owner, caller, encoding, epoch);
        Ok(Some(Self { hub, sources, queue, sight: Own(Some(Box::new(sight))) }))
    }

    /// Whose it is.
    pub fn caller(&self) -> &Caller {
        &self.sight.caller
    }

    /// Goes on under another login of the same person, who may follow less by it. Answers whether it is
    /// the same.
    pub fn renew(&mut self, caller: Caller) -> bool {
        let same =
            (caller.tenant, caller.agent) == (self.sight.caller.tenant, self.sight.caller.agent);
        if same {
            self.sight.caller = caller;
            // All that it follows is looked at again before anything else is told.
            self.sight.epoch = NEVER;
        }
        same
    }

    /// Stops following a stream. Answers whether it was followed.
    pub fn leave(&mut self, stream: Stream) -> bool {
        let Some(followed) = self.sight.followed.remove(&stream) else { return false };
        self.left(&followed);
        true
    }

    /// Waits until something is to be looked at. Nothing is lost when it is dropped.
    pub async fn wait(&mut self) -> Wake<W> {
        poll_fn(|context| self.poll(context, false)).await
    }

    /// The same. When there is nothing it may rest: what comes then and is plain is written to its
    /// outlet, without its task, until it rises. Before it rests all is written.
    pub fn poll(&mut self, context: &Context<'_>, may_rest: bool) -> Poll<Wake<W>> {
        if !self.sight.is_current() {
            return Poll::Ready(Wake::Access);
        }
        let rests = may_rest.then_some(&mut self.sight);
        self.queue.poll(context, rests).map(Wake::of)
    }

    /// It does not rest any more, if it did: comes before all else that its task does. What was not
    /// written whole meanwhile is left in the outlet.
    pub fn rise(&mut self) {
        if self.sight.0.is_none() {
            self.sight.0 = self.queue.rise();
        }
    }

    /// What is to be looked at already.
    pub fn waiting(&mut self) -> Option<Wake<W>> {
        self.queue.next().map(Wake::of)
    }

    /// Whether the session is ended from this side; if not, the task is woken when it is.
    pub fn poll_cut(&self, context: &Context<'_>) -> Poll<Cut> {
        self.queue.poll_cut(context)
    }

    /// Decides what goes out, as of now: it is to be sent at once.
    pub async fn take(&mut self, wake: Wake<W>, out: &mut Vec<Push<W>>) {
        // Apart, as the rare things below: only who needs it takes the room for it.
        if !self.sight.is_current()
            && let Err(cut) = Box::pin(self.check_access(out)).await
        {
            return out.push(Push::Closed(cut));
        }
        match wake {
            Wake::Cut(cut) => out.push(Push::Closed(cut)),
            Wake::Access => {}
            Wake::Item(item) => match (self.sight.plain(&item), item) {
                (Plain::Nothing, _) | (Plain::Not, Item { told: Told::Passing(_), .. }) => {}
                (Plain::Frame(frame, shows), _) => out.push(Push::Frame(frame, shows)),
                (Plain::Not, Item { topic, told: Told::Hint(hint) }) => {
                    self.pass(&topic, hint, out).await;
                }
            },
        }
    }

    /// Tells the others who follow a conversation that its person writes, or stopped writing:
    /// once in a while, and once that it stopped; the customer, too. Answers whether they were told.
    pub async fn typing(&mut self, stream: Stream, on: bool) -> bool {
        let Stream::Conversation(id) = stream else { return false };
        let (viewer, agent) = (self.sight.caller.viewer(), self.sight.caller.agent);
        let is_current = self.sight.is_current();
        let Some(followed) = self.sight.followed.get_mut(&stream) else { return false };
        let said = followed.typing;
        let is_news = match on {
            true => said.is_none_or(|(at, _)| at.elapsed() >= TYPING_EVERY),
            false => said.is_some_and(|(_, writes)| writes),
        };
        if !is_news || !is_current || !may_see(viewer, &followed.topic) {
            return false;
        }
        if on && self.sources.desk.permits().sheds(Class::Ephemeral) {
            return false;
        }
        let at = said.filter(|_| !on).map_or_else(Instant::now, |(at, _)| at);
        followed.typing = Some((at, on));
        followed.topic.pass(agent, Passing::Typing { agent, on });
        if on {
            self.sources.desk.typing(viewer, id).await;
        }
        true
    }

    /// Who follows a stream that is followed here.
    pub async fn present(&mut self, stream: Stream) -> Result<Present, NotTold> {
        if !self.renew_caller().await? || !stream.has_presence() {
            return Err(NotTold::NoSuchStream);
        }
        // The same whether it is there or not.
        let followed = self.sight.followed.get(&stream).ok_or(NotTold::NotFollowed)?;
        if !may_see(self.sight.caller.viewer(), &followed.topic) {
            return Err(NotTold::NoSuchStream);
        }
        let (agents, total) = followed.topic.present(NAMED_MAX);
        let state = self.sight.owner.state();
        let named = |id| state.agents.get(&id).map(|agent| (id, agent.availability));
        Ok(Present { users: agents.into_iter().filter_map(named).collect(), total })
    }

    /// Moves the desk's read mark of a conversation up to this fact. Answers the conversation.
    pub async fn seen(&mut self, id: ConversationId, seq: u64) -> Result<Conversation, Failure> {
        if !self.renew_caller().await? {
            return Err(Failure::Refused(Refused::NotFound));
        }
        let command = Command::MarkRead { up_to: Some(seq) };
        let answer = self.sources.desk.ask(self.sight.caller.viewer(), id, None, command).await?;
        answer.conversation.map(Arc::unwrap_or_clone).ok_or(Failure::Refused(Refused::NotFound))
    }

    /// Whether its person may still do anything, as of now.
    pub async fn still_counts(&mut self) -> bool {
        self.renew_caller().await.unwrap_or(false)
    }

    /// Now: as long as it stays what it is, nobody may see less.
    pub fn mark(&self) -> Mark {
        self.sight.mark()
    }

    /// Whether all of this may still be shown. What it may not is told with the next wake.
    pub async fn may_show(&mut self, shows: &[Shows]) -> Result<bool, Cut> {
        match self.renew_caller().await {
            Ok(true) => Ok(shows.iter().all(|shows| self.sight.shows_nothing_lost(*shows))),
            Ok(false) => Err(Cut::Unauthorized),
            Err(_) => Err(Cut::Failed),
        }
    }

    /// What shows a stream, and nothing of another.
    pub fn shows(&self, stream: Stream) -> Shows {
        Shows::all_of(stream)
    }

    /// What is said from here on is decided from now on.
    pub fn begin(&mut self) {
        self.sight.mark = self.sight.mark();
    }

    /// This is on its way out.
    pub fn show(&mut self, shows: impl IntoIterator<Item = Shows>) {
        self.sight.shows.extend(shows);
    }

    /// Whether nobody can see less than when it was looked at what is on its way out.
    pub fn has_looked(&self) -> bool {
        self.sight.has_looked()
    }

    /// Looks whether all that is on its way out may still be shown.
    pub async fn look_again(&mut self) -> Result<bool, Cut> {
        self.begin();
        let shows = std::mem::take(&mut self.sight.shows);
        let may = self.may_show(&shows).await;
        self.sight.shows = shows;
        may
    }

    /// Nothing is on its way out any more.
    pub fn written(&mut self) {
        self.sight.written();
    }

    /// What is not plain: see [`Plain`].
    async fn pass(&mut self, topic: &Arc<Topic<W>>, hint: Hint<W>, out: &mut Vec<Push<W>>) {
        let (stream, viewer) = (topic.stream, self.sight.caller.viewer());
        let Some(followed) = self.sight.followed.get(&stream) else { return };
        let cursor = followed.cursor;
        let passed = match (&hint.frame, stream) {
            _ if !may_see(viewer, topic) => Err(Push::Forbidden(stream)),
            // What made way for it may be older than the time since which its stream is followed.
            (Some(_), _) if hint.first <= cursor + 1 && hint.shown > cursor => {
                if hint.shown > cursor + 1 {
                    out.push(Push::Skip { stream, offset: hint.shown - 1 });
                }
                out.push(self.sight.shown(stream, &hint));
                Ok(())
            }
            (_, Stream::Conversation(id)) => {
                let read = Box::pin(self.read(id, topic, cursor, hint.last)).await;
                match read {
                    Ok(Some(frames)) if may_see(viewer, topic) => {
                        let shows = Shows::all_of(stream);
                        out.extend(frames.into_iter().map(|frame| Push::Frame(frame, shows)));
                        Ok(())
                    }
                    Ok(Some(_)) | Err(Failure::Refused(_)) => Err(Push::Forbidden(stream)),
                    Ok(None) | Err(_) => Err(Push::Reset(stream)),
                }
            }
            // A ring passes on every event that it gets.
            _ => Err(Push::Reset(stream)),
        };
        match passed {
            Ok(()) => {
                if let Some(followed) = self.sight.followed.get_mut(&stream) {
                    followed.cursor = hint.last;
                }
            }
            Err(push) => {
                self.leave(stream);
                out.push(push);
            }
        }
    }

    /// Looks at the caller again, and at what it follows, as long as that may have changed.
    async fn check_access(&mut self, out: &mut Vec<Push<W>>) -> Result<(), Cut> {
        while !self.sight.is_current() {
            let epoch = self.sight.owner.epoch();
            match self.renew_caller().await {
                Ok(true) => self.sight.epoch = epoch,
                Ok(false) => return Err(Cut::Unauthorized),
                Err(_) => return Err(Cut::Failed),
            }
            let viewer = self.sight.caller.viewer();
            let fits = |followed: &Followed<W>| {
                may_follow(viewer, followed.topic.stream) && may_see(viewer, &followed.topic)
            };
            let lost = self.sight.followed.values().filter(|followed| !fits(followed));
            let lost: Vec<_> = lost.map(|followed| followed.topic.stream).collect();
            for stream in lost {
                self.leave(stream);
                out.push(Push::Forbidden(stream));
            }
        }
        Ok(())
    }

    /// Looks at the caller again, if it may have changed. Answers whether its login still counts.
    pub(super) async fn renew_caller(&mut self) -> Result<bool, StoreError> {
        if self.sight.is_current() {
            return Ok(true);
        }
        let caller = self.sources.tenants.caller(self.sight.caller.session).await?;
        Ok(caller.map(|caller| self.sight.caller = caller).is_some())
    }

    /// Tells the others who follow a stream that somebody is there.
    pub(super) fn arrive(&mut self, topic: &Arc<Topic<W>>) {
        let agent = self.sight.caller.agent;
        let Some(followed) = self.sight.followed.get_mut(&topic.stream) else { return };
        if topic.stream.has_presence() {
            followed.present = true;
            let state = self.sight.owner.state();
            let availability = state.agents.get(&agent).map(|agent| agent.availability);
            let tell = !self.sources.desk.permits().sheds(Class::Ephemeral);
            topic.arrive(agent, availability.unwrap_or_default(), tell);
        }
    }

    fn left(&self, followed: &Followed<W>) {
        let Followed { topic, present, .. } = followed;
        self.sight.feed.leave(topic, &self.queue);
        if *present {
            self.hub.departed(topic, self.sight.caller.agent);
        }
    }
}

impl<W: Wire> Drop for Session<W> {
    fn drop(&mut self) {
        self.rise();
        self.sight.followed.values().for_each(|followed| self.left(followed));
        self.hub.closed(&self.sight.feed, &self.queue);
    }
}

impl<W> Wake<W> {
    fn of(next: Next<W>) -> Self {
        match next {
            Next::Cut(cut) => Self::Cut(cut),
            Next::Poke => Self::Access,
            Next::Item(item) => Self::Item(item),
        }
    }
}
