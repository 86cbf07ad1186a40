//! One who follows streams: a cursor for each, and what may be seen, decided as it leaves.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use engine::conversation::{Command, Conversation, Refused};
use engine::id::ConversationId;
use engine::permission::{Permission, Viewer};
use storage::StoreError;
use tokio::time::Instant;

use super::frame::Encoding;
use super::hub::{Feed, Hub};
use super::presence::{NAMED_MAX, Present};
use super::queue::{Cut, Item, Next, Queue, Told};
use super::topic::{About, Hint, Topic};
use super::{Passing, Stream, Wire};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::inbox::List;
use crate::permits::Class;
use crate::tenants::{Caller, Owner, Tenants};

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
    pub(super) feed: Arc<Feed<W>>,
    /// Held, so that its changes are told.
    pub(super) owner: Arc<Owner>,
    pub(super) caller: Caller,
    pub(super) queue: Arc<Queue<W>>,
    /// The owner's when the caller, and all that is followed, was looked at last.
    epoch: u64,
    pub(super) followed: HashMap<Stream, Followed<W>>,
}

pub(super) struct Followed<W> {
    topic: Arc<Topic<W>>,
    /// Up to here everything was sent.
    pub(super) cursor: u64,
    /// Others were told of it.
    present: bool,
    /// When it last said that its person writes, and has not taken that back.
    typing: Option<(Instant, bool)>,
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

/// What something shows that is on its way out: see [`Session::may_show`].
#[derive(Clone, Copy, Debug)]
pub struct Shows {
    pub(super) stream: Stream,
    pub(super) about: Option<About>,
}

/// A moment between two changes of what anybody may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    epoch: u64,
    moves: u64,
}

/// That somebody writes is passed on at most so often.
const TYPING_EVERY: Duration = Duration::from_secs(3);

impl<W: Wire> Session<W> {
    /// Opens a session of a login that was checked; `None`: it does not count any more.
    pub async fn open(
        hub: &Hub<W>,
        sources: Sources,
        caller: &Caller,
        encoding: Encoding,
    ) -> Result<Option<Self>, StoreError> {
        let Some(owner) = sources.tenants.owner(caller.tenant).await? else { return Ok(None) };
        let epoch = owner.epoch();
        let Some(caller) = sources.tenants.caller(caller.session).await? else { return Ok(None) };
        let (hub, feed) = (hub.clone(), hub.enter(caller.tenant).await?);
        let queue = Queue::new(caller.agent, encoding, hub.limits());
        hub.opened(&feed, &queue);
        let followed = HashMap::new();
        Ok(Some(Self { hub, sources, feed, owner, caller, queue, epoch, followed }))
    }

    /// Whose it is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Goes on under another login of the same person. Answers whether it is the same.
    pub fn renew(&mut self, caller: Caller) -> bool {
        let same = (caller.tenant, caller.agent) == (self.caller.tenant, self.caller.agent);
        if same {
            self.caller = caller;
        }
        same
    }

    /// Stops following a stream. Answers whether it was followed.
    pub fn leave(&mut self, stream: Stream) -> bool {
        let Some(followed) = self.followed.remove(&stream) else { return false };
        self.left(&followed);
        true
    }

    /// Waits until something is to be looked at. Nothing is lost when it is dropped.
    pub async fn wait(&mut self) -> Wake<W> {
        poll_fn(|context| match self.owner.epoch() == self.epoch {
            true => self.queue.poll(context).map(Wake::of),
            false => Poll::Ready(Wake::Access),
        })
        .await
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
        if self.owner.epoch() != self.epoch
            && let Err(cut) = Box::pin(self.check_access(out)).await
        {
            return out.push(Push::Closed(cut));
        }
        match wake {
            Wake::Cut(cut) => out.push(Push::Closed(cut)),
            Wake::Access => {}
            Wake::Item(Item { topic, told: Told::Hint(hint) }) => {
                self.pass(&topic, hint, out).await;
            }
            Wake::Item(Item { topic, told: Told::Passing(frame) }) => {
                let followed = self.followed.get(&topic.stream);
                let is_followed = followed.is_some_and(|known| Arc::ptr_eq(&known.topic, &topic));
                if is_followed && may_see(self.caller.viewer(), &topic) {
                    let frame = frame.of(self.queue.encoding).clone();
                    out.push(Push::Frame(frame, Shows::all_of(topic.stream)));
                }
            }
        }
    }

    /// Tells the others who follow a conversation that its person writes, or stopped writing:
    /// once in a while, and once that it stopped; the customer, too. Answers whether they were told.
    pub async fn typing(&mut self, stream: Stream, on: bool) -> bool {
        let Stream::Conversation(id) = stream else { return false };
        let (viewer, agent) = (self.caller.viewer(), self.caller.agent);
        let Some(followed) = self.followed.get_mut(&stream) else { return false };
        let said = followed.typing;
        let is_news = match on {
            true => said.is_none_or(|(at, _)| at.elapsed() >= TYPING_EVERY),
            false => said.is_some_and(|(_, writes)| writes),
        };
        if !is_news || self.owner.epoch() != self.epoch || !may_see(viewer, &followed.topic) {
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
        let followed = self.followed.get(&stream).ok_or(NotTold::NotFollowed)?;
        if !may_see(self.caller.viewer(), &followed.topic) {
            return Err(NotTold::NoSuchStream);
        }
        let (agents, total) = followed.topic.present(NAMED_MAX);
        let state = self.owner.state();
        let named = |id| state.agents.get(&id).map(|agent| (id, agent.availability));
        Ok(Present { users: agents.into_iter().filter_map(named).collect(), total })
    }

    /// Moves the desk's read mark of a conversation up to this fact. Answers the conversation.
    pub async fn seen(&mut self, id: ConversationId, seq: u64) -> Result<Conversation, Failure> {
        if !self.renew_caller().await? {
            return Err(Failure::Refused(Refused::NotFound));
        }
        let command = Command::MarkRead { up_to: Some(seq) };
        let answer = self.sources.desk.ask(self.caller.viewer(), id, None, command).await?;
        answer.conversation.ok_or(Failure::Refused(Refused::NotFound))
    }

    /// Whether its person may still do anything, as of now.
    pub async fn still_counts(&mut self) -> bool {
        self.renew_caller().await.unwrap_or(false)
    }

    /// Now: as long as it stays what it is, nobody may see less.
    pub fn mark(&self) -> Mark {
        Mark { epoch: self.owner.epoch(), moves: self.feed.moves() }
    }

    /// Whether all of this may still be shown. What it may not is told with the next wake.
    pub async fn may_show(&mut self, shows: &[Shows]) -> Result<bool, Cut> {
        match self.renew_caller().await {
            Ok(true) => Ok(shows.iter().all(|shows| self.shows_nothing_lost(*shows))),
            Ok(false) => Err(Cut::Unauthorized),
            Err(_) => Err(Cut::Failed),
        }
    }

    /// What shows a stream, and nothing of another.
    pub fn shows(&self, stream: Stream) -> Shows {
        Shows::all_of(stream)
    }

    fn shows_nothing_lost(&self, Shows { stream, about }: Shows) -> bool {
        let viewer = self.caller.viewer();
        let followed = self.followed.get(&stream);
        let sees = followed.is_some_and(|followed| may_see(viewer, &followed.topic));
        sees && may_follow(viewer, stream) && !self.is_withheld(about)
    }

    async fn pass(&mut self, topic: &Arc<Topic<W>>, hint: Hint<W>, out: &mut Vec<Push<W>>) {
        let (stream, viewer) = (topic.stream, self.caller.viewer());
        let Some(followed) = self.followed.get(&stream) else { return };
        // What was meant for an earlier time that it was followed, or is known already.
        if !Arc::ptr_eq(&followed.topic, topic) || hint.last <= followed.cursor {
            return;
        }
        let cursor = followed.cursor;
        let passed = match (&hint.frame, stream) {
            _ if !may_see(viewer, topic) => Err(Push::Forbidden(stream)),
            (Some(_), _) if hint.first == cursor + 1 => {
                if hint.shown > hint.first {
                    out.push(Push::Skip { stream, offset: hint.shown - 1 });
                }
                out.push(self.shown(stream, &hint));
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
                if let Some(followed) = self.followed.get_mut(&stream) {
                    followed.cursor = hint.last;
                }
            }
            Err(push) => {
                self.leave(stream);
                out.push(push);
            }
        }
    }

    /// A hint's events, or that they exist.
    pub(super) fn shown(&self, stream: Stream, hint: &Hint<W>) -> Push<W> {
        match &hint.frame {
            Some(frame) if !self.is_withheld(hint.about) => {
                let shows = Shows { stream, about: hint.about };
                Push::Frame(frame.of(self.queue.encoding).clone(), shows)
            }
            _ => Push::Skip { stream, offset: hint.last },
        }
    }

    /// Whether a row shows a conversation that is another's by now.
    fn is_withheld(&self, about: Option<About>) -> bool {
        let viewer = self.caller.viewer();
        let Some(About { conversation, moves: Some(moves) }) = about else { return false };
        if sees_all(viewer) || moves == self.feed.moves() {
            return false;
        }
        let assignee = self.feed.inbox.assignee(conversation);
        !assignee.is_some_and(|assignee| viewer.may_see(assignee))
    }

    /// Looks at the caller again, and at what it follows, as long as that may have changed.
    async fn check_access(&mut self, out: &mut Vec<Push<W>>) -> Result<(), Cut> {
        while self.owner.epoch() != self.epoch {
            let epoch = self.owner.epoch();
            match self.renew_caller().await {
                Ok(true) => self.epoch = epoch,
                Ok(false) => return Err(Cut::Unauthorized),
                Err(_) => return Err(Cut::Failed),
            }
            let viewer = self.caller.viewer();
            let fits = |followed: &Followed<W>| {
                may_follow(viewer, followed.topic.stream) && may_see(viewer, &followed.topic)
            };
            let lost = self.followed.values().filter(|followed| !fits(followed));
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
        if self.owner.epoch() == self.epoch {
            return Ok(true);
        }
        let caller = self.sources.tenants.caller(self.caller.session).await?;
        Ok(caller.map(|caller| self.caller = caller).is_some())
    }

    /// Tells the others who follow a stream that somebody is there.
    pub(super) fn arrive(&mut self, topic: &Arc<Topic<W>>) {
        let agent = self.caller.agent;
        let Some(followed) = self.followed.get_mut(&topic.stream) else { return };
        if topic.stream.has_presence() {
            followed.present = true;
            let state = self.owner.state();
            let availability = state.agents.get(&agent).map(|agent| agent.availability);
            let tell = !self.sources.desk.permits().sheds(Class::Ephemeral);
            topic.arrive(agent, availability.unwrap_or_default(), tell);
        }
    }

    fn left(&self, followed: &Followed<W>) {
        let Followed { topic, present, .. } = followed;
        self.feed.leave(topic, &self.queue);
        if *present {
            self.hub.departed(topic, self.caller.agent);
        }
    }
}

impl<W: Wire> Drop for Session<W> {
    fn drop(&mut self) {
        self.followed.values().for_each(|followed| self.left(followed));
        self.hub.closed(&self.feed, &self.queue);
    }
}

impl<W> Followed<W> {
    /// Nothing of it is sent until its beginning is.
    pub(super) fn new(topic: Arc<Topic<W>>) -> Self {
        Self { topic, cursor: u64::MAX, present: false, typing: None }
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

impl Shows {
    /// What shows a stream, and no other's things.
    pub(super) fn all_of(stream: Stream) -> Self {
        Self { stream, about: None }
    }
}

pub(super) fn may_follow(viewer: Viewer, stream: Stream) -> bool {
    stream != Stream::List(List::All) || sees_all(viewer)
}

pub(super) fn may_see<W: Wire>(viewer: Viewer, topic: &Topic<W>) -> bool {
    match topic.stream {
        Stream::Conversation(_) => sees_all(viewer) || viewer.may_see(topic.assignee()),
        _ => true,
    }
}

fn sees_all(viewer: Viewer) -> bool {
    viewer.permissions.has(Permission::ConversationsViewAll)
}
