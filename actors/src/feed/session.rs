//! One who follows streams: a cursor for each, and what may be seen, decided as it leaves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use engine::conversation::{Command, Conversation, Refused};
use engine::id::ConversationId;
use engine::message::MessageRow;
use engine::permission::{Permission, Viewer};
use storage::StoreError;
use tokio::sync::{mpsc, watch};

use super::hub::{Feed, Hub, event};
use super::topic::{About, Cut, Hint, Hinted, Joined, Queue, Topic};
use super::{Stream, Wire};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::inbox::{Counters, List};
use crate::tenants::{Caller, Owner, TenantState, Tenants};

/// Where snapshots and what was missed come from.
#[derive(Clone)]
pub struct Sources {
    pub tenants: Tenants,
    pub desk: Desk,
}

/// One who follows streams. It leaves them all when it is dropped.
pub struct Session<W: Wire> {
    hub: Hub<W>,
    sources: Sources,
    feed: Arc<Feed<W>>,
    /// Held, so that its changes are told.
    owner: Arc<Owner>,
    caller: Caller,
    queue: Arc<Queue<W>>,
    hints: mpsc::Receiver<Hinted<W>>,
    cuts: watch::Receiver<Option<Cut>>,
    changes: watch::Receiver<u64>,
    followed: HashMap<Stream, Followed<W>>,
}

struct Followed<W> {
    topic: Arc<Topic<W>>,
    /// Up to here everything was sent.
    cursor: u64,
}

/// Where somebody was in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Names the run of offsets that it is one of.
    pub epoch: String,
    pub offset: u64,
}

/// How following a stream begins: what comes next continues from `offset`.
pub struct Started<W> {
    pub epoch: Arc<str>,
    pub offset: u64,
    /// What was missed since the position that was asked for, all of it.
    pub missed: Option<Vec<Push<W>>>,
    /// How many events that is.
    pub count: u64,
    /// How things stand, when what was missed is not told.
    pub snapshot: Option<Snapshot>,
}

/// How things stand in a stream.
pub enum Snapshot {
    /// The newest messages come first.
    Conversation { head: Box<Conversation>, rows: Vec<MessageRow> },
    /// The newest conversations of a list.
    List { heads: Vec<Conversation>, counters: Counters },
    /// All agents.
    Agents(Arc<TenantState>),
    /// The agent whose stream it is.
    Agent(Arc<TenantState>),
}

/// Why a stream is not followed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotFollowed {
    /// There is no such stream, or it may not be seen.
    #[error("there is no such stream")]
    NoSuchStream,
    #[error("your role does not allow this stream")]
    NotAllowed,
    #[error("this stream is followed already")]
    Already,
    #[error("too many streams are followed on this socket; leave some first")]
    TooMany,
    #[error(transparent)]
    Failed(Failure),
}

/// Something is to be looked at.
pub enum Wake<W> {
    Hint(Waiting<W>),
    /// Somebody may see more or less than before.
    Access,
    /// The session is ended from this side.
    Cut(Cut),
}

/// A hint on its way from [`Session::wait`] to [`Session::take`].
pub struct Waiting<W>(Hinted<W>);

/// What goes out, in order.
pub enum Push<W> {
    Frame(Arc<W>),
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

/// Rows of a snapshot.
const SNAPSHOT_ROWS: usize = 50;
/// Events of one frame of what is read again: each may show a long text.
const READ_EVENTS: usize = 16;

impl<W: Wire> Session<W> {
    /// Opens a session of a login that was checked; `None`: it does not count any more.
    pub async fn open(
        hub: &Hub<W>,
        sources: Sources,
        caller: &Caller,
    ) -> Result<Option<Self>, StoreError> {
        let Some(owner) = sources.tenants.owner(caller.tenant).await? else { return Ok(None) };
        let changes = owner.changes();
        let Some(caller) = sources.tenants.caller(caller.session).await? else { return Ok(None) };
        let (hub, feed) = (hub.clone(), hub.enter(caller.tenant).await?);
        let (queue, hints) = Queue::new(hub.limits());
        hub.opened(caller.agent, &queue);
        let (cuts, followed) = (queue.cuts(), HashMap::new());
        let session =
            Self { hub, sources, feed, owner, caller, queue, hints, cuts, changes, followed };
        Ok(Some(session))
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

    /// When the session is ended from this side, and why.
    pub fn cuts(&self) -> watch::Receiver<Option<Cut>> {
        self.cuts.clone()
    }

    /// Begins to follow a stream: from a position, where all that was missed since is at hand;
    /// otherwise from now on, with how things stand where that is asked for.
    pub async fn follow(
        &mut self,
        stream: Stream,
        since: Option<&Position>,
        snapshot: bool,
    ) -> Result<Started<W>, NotFollowed> {
        let count = self.followed.len();
        let Entry::Vacant(entry) = self.followed.entry(stream) else {
            return Err(NotFollowed::Already);
        };
        if !may_follow(self.caller.viewer(), stream) {
            return Err(NotFollowed::NotAllowed);
        }
        if count >= self.hub.limits().streams_per_session {
            return Err(NotFollowed::TooMany);
        }
        let (topic, joined) = self.hub.join(&self.feed, stream, &self.queue, since);
        // From here on it is left when the session ends, however that comes about.
        entry.insert(Followed { topic: topic.clone(), cursor: u64::MAX });
        let started = match stream {
            Stream::Conversation(id) => self.start_log(id, &topic, joined, since, snapshot).await,
            _ => self.start_ring(stream, joined, since, snapshot).await,
        };
        let begun = match started {
            Ok(begun) => self.may_still_see(&topic).await.map(|may| may.then_some(begun)),
            Err(error) => Err(error),
        };
        match begun {
            Ok(Some((started, cursor))) => {
                if let Some(followed) = self.followed.get_mut(&stream) {
                    followed.cursor = cursor;
                }
                Ok(started)
            }
            Ok(None) => {
                self.leave(stream);
                Err(NotFollowed::NoSuchStream)
            }
            Err(error) => {
                self.leave(stream);
                Err(error)
            }
        }
    }

    /// Stops following a stream. Answers whether it was followed.
    pub fn leave(&mut self, stream: Stream) -> bool {
        let Some(followed) = self.followed.remove(&stream) else { return false };
        self.feed.leave(&followed.topic, &self.queue);
        true
    }

    /// Waits until something is to be looked at. Nothing is lost when it is dropped.
    pub async fn wait(&mut self) -> Wake<W> {
        tokio::select! {
            biased;
            // The senders are in this session's queue and owner.
            Ok(cut) = self.cuts.wait_for(Option::is_some) => Wake::Cut(cut.unwrap_or(Cut::Slow)),
            Ok(()) = self.changes.changed() => { self.changes.mark_changed(); Wake::Access }
            Some(hinted) = self.hints.recv() => Wake::Hint(Waiting(hinted)),
            else => Wake::Cut(Cut::Failed),
        }
    }

    /// What is to be looked at already.
    pub fn waiting(&mut self) -> Option<Wake<W>> {
        self.hints.try_recv().ok().map(|hinted| Wake::Hint(Waiting(hinted)))
    }

    /// Decides what goes out, as of now: it is to be sent at once.
    pub async fn take(&mut self, wake: Wake<W>, out: &mut Vec<Push<W>>) {
        if let Err(cut) = self.check_access(out).await {
            return out.push(Push::Closed(cut));
        }
        match wake {
            Wake::Cut(cut) => out.push(Push::Closed(cut)),
            Wake::Access => {}
            Wake::Hint(Waiting((topic, hint))) => {
                self.queue.taken(&hint);
                self.pass(&topic, hint, out).await;
            }
        }
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
                out.push(self.shown(stream, hint.clone()));
                Ok(())
            }
            (_, Stream::Conversation(id)) => {
                let read = self.read(id, topic, cursor, hint.last).await;
                match read {
                    Ok(Some(frames)) if may_see(viewer, topic) => {
                        out.extend(frames.into_iter().map(|frame| Push::Frame(Arc::new(frame))));
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
    fn shown(&self, stream: Stream, hint: Hint<W>) -> Push<W> {
        match hint.frame {
            Some(frame) if !self.is_withheld(hint.about) => Push::Frame(frame),
            _ => Push::Skip { stream, offset: hint.last },
        }
    }

    /// Whether a row shows a conversation that is another's by now.
    fn is_withheld(&self, about: Option<About>) -> bool {
        let viewer = self.caller.viewer();
        let Some(about) = about else { return false };
        if sees_all(viewer) || about.moves == self.feed.moves() {
            return false;
        }
        let assignee = self.feed.inbox.assignee(about.conversation);
        !assignee.is_some_and(|assignee| viewer.may_see(assignee))
    }

    /// Looks at the caller again, if anything about the tenant's people has changed.
    async fn check_access(&mut self, out: &mut Vec<Push<W>>) -> Result<(), Cut> {
        while self.changes.has_changed().unwrap_or(false) {
            self.changes.mark_unchanged();
            match self.sources.tenants.caller(self.caller.session).await {
                Ok(Some(caller)) => self.caller = caller,
                Ok(None) => return Err(Cut::Unauthorized),
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

    async fn may_still_see(&mut self, topic: &Topic<W>) -> Result<bool, NotFollowed> {
        if self.changes.has_changed().unwrap_or(false) {
            // What else has changed is told with the next wake.
            let caller = self.sources.tenants.caller(self.caller.session).await;
            match caller.map_err(|error| NotFollowed::Failed(error.into()))? {
                Some(caller) => self.caller = caller,
                None => return Ok(false),
            }
        }
        let viewer = self.caller.viewer();
        Ok(may_follow(viewer, topic.stream) && may_see(viewer, topic))
    }

    async fn start_log(
        &self,
        id: ConversationId,
        topic: &Topic<W>,
        joined: Joined<W>,
        since: Option<&Position>,
        snapshot: bool,
    ) -> Result<(Started<W>, u64), NotFollowed> {
        let head = self.look(id).await?;
        topic.assigned(head.seq, head.assignee);
        let (epoch, top) = (joined.epoch, head.seq);
        let since = since.filter(|since| *since.epoch == *epoch && since.offset <= top);
        if let Some(Position { offset, .. }) = since
            && let Some(frames) = self.read(id, topic, *offset, top).await?
        {
            let missed = frames.into_iter().map(|frame| Push::Frame(Arc::new(frame))).collect();
            let (missed, snapshot, count) = (Some(missed), None, top - offset);
            return Ok((Started { epoch, offset: *offset, missed, count, snapshot }, top));
        }
        let snapshot = match snapshot {
            true => {
                let rows = self.sources.desk.newest(&head, SNAPSHOT_ROWS).await;
                let rows = rows.map_err(Failure::from)?;
                Some(Snapshot::Conversation { head: Box::new(head), rows })
            }
            false => None,
        };
        Ok((Started { epoch, offset: top, missed: None, count: 0, snapshot }, top))
    }

    async fn start_ring(
        &self,
        stream: Stream,
        joined: Joined<W>,
        since: Option<&Position>,
        snapshot: bool,
    ) -> Result<(Started<W>, u64), NotFollowed> {
        let Joined { epoch, top, missed } = joined;
        if let (Some(missed), Some(since)) = (missed, since) {
            let (offset, count) = (since.offset, top - since.offset);
            let missed = missed.into_iter().map(|hint| self.shown(stream, hint)).collect();
            return Ok((
                Started { epoch, offset, missed: Some(missed), count, snapshot: None },
                top,
            ));
        }
        let snapshot = match snapshot {
            true => Some(self.snapshot(stream).await?),
            false => None,
        };
        Ok((Started { epoch, offset: top, missed: None, count: 0, snapshot }, top))
    }

    async fn snapshot(&self, stream: Stream) -> Result<Snapshot, Failure> {
        let list = match stream {
            Stream::List(list) => list,
            Stream::Agents => return Ok(Snapshot::Agents(self.owner.state())),
            Stream::Agent(_) | Stream::Conversation(_) => {
                return Ok(Snapshot::Agent(self.owner.state()));
            }
        };
        let (ids, counters) = self.feed.inbox.first(list, SNAPSHOT_ROWS);
        let mut heads = self.sources.desk.heads(self.caller.tenant, &ids).await?;
        // What left the list meanwhile is not of it.
        heads.retain(|head| !head.status.is_closed() && list.holds(head.assignee));
        Ok(Snapshot::List { heads, counters })
    }

    /// A conversation as it stands, if it may be seen.
    async fn look(&self, id: ConversationId) -> Result<Conversation, Failure> {
        let answer = self.sources.desk.ask(self.caller.viewer(), id, None, Command::Look).await?;
        answer.conversation.ok_or(Failure::Refused(Refused::NotFound))
    }

    /// The events of a conversation behind `after`, up to `until`; `None`: too much for one who
    /// only comes back.
    async fn read(
        &self,
        id: ConversationId,
        topic: &Topic<W>,
        after: u64,
        until: u64,
    ) -> Result<Option<Vec<W>>, Failure> {
        let limits = self.hub.limits();
        if until - after > limits.replay_events as u64 {
            return Ok(None);
        }
        let head = self.look(id).await?;
        let facts = self.sources.desk.facts(id, after, until).await?;
        let (mut frames, mut bytes) = (Vec::new(), 0);
        for facts in facts.chunks(READ_EVENTS) {
            let events: Vec<_> = facts
                .iter()
                .map(|fact| {
                    let (at, row) = (fact.at, fact.row.as_ref());
                    event(topic.stream, fact.seq, at, &fact.recorded, row, &head)
                })
                .collect();
            let frame = W::encode(&events);
            bytes += frame.bytes();
            if bytes > limits.replay_bytes {
                return Ok(None);
            }
            frames.push(frame);
        }
        Ok(Some(frames))
    }
}

impl<W: Wire> Drop for Session<W> {
    fn drop(&mut self) {
        for (_, followed) in self.followed.drain() {
            self.feed.leave(&followed.topic, &self.queue);
        }
        self.hub.closed(self.caller.agent, &self.queue);
    }
}

impl From<Failure> for NotFollowed {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(_) => Self::NoSuchStream,
            failure => Self::Failed(failure),
        }
    }
}

fn may_follow(viewer: Viewer, stream: Stream) -> bool {
    stream != Stream::List(List::All) || sees_all(viewer)
}

fn may_see<W: Wire>(viewer: Viewer, topic: &Topic<W>) -> bool {
    match topic.stream {
        Stream::Conversation(_) => sees_all(viewer) || viewer.may_see(topic.assignee()),
        _ => true,
    }
}

fn sees_all(viewer: Viewer) -> bool {
    viewer.permissions.has(Permission::ConversationsViewAll)
}
