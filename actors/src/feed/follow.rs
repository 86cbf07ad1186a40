//! How following a stream begins: from a position, or with how things stand.

use std::sync::Arc;

use engine::conversation::{Command, Conversation, Refused};
use engine::id::ConversationId;

use super::hub::event;
use super::session::{Push, Session};
use super::sight::{Followed, Shows, may_follow, may_see};
use super::topic::{About, Joined, Topic};
use super::{Stream, Wire};
use crate::failure::Failure;
use crate::inbox::Counters;
use crate::pages::{Asked, Page};
use crate::tenants::TenantState;

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
    /// What the snapshot shows.
    pub shows: Vec<Shows>,
}

/// How things stand in a stream.
pub enum Snapshot {
    /// The newest messages come first.
    Conversation(Box<Page>),
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

/// Messages of a snapshot.
const SNAPSHOT: Asked = Asked { before: u64::MAX, after: 0, skip: 0, limit: SNAPSHOT_ROWS };
/// Rows of a snapshot.
const SNAPSHOT_ROWS: usize = 50;
/// Events of one frame of what is read again, and in memory at once: each may show a long mail.
const READ_EVENTS: u64 = 16;

impl<W: Wire> Session<W> {
    /// Begins to follow a stream: from a position, where all that was missed since is at hand;
    /// otherwise from now on, with how things stand where that is asked for.
    pub async fn follow(
        &mut self,
        stream: Stream,
        since: Option<&Position>,
        snapshot: bool,
    ) -> Result<Started<W>, NotFollowed> {
        let count = self.sight.followed.len();
        if self.sight.followed.contains_key(&stream) {
            return Err(NotFollowed::Already);
        }
        // A change of what they may see counts, also before its wake is heard.
        if !self.renewed().await? {
            return Err(NotFollowed::NoSuchStream);
        }
        if !may_follow(self.sight.caller.viewer(), stream) {
            return Err(NotFollowed::NotAllowed);
        }
        if count >= self.hub.limits().streams_per_session {
            return Err(NotFollowed::TooMany);
        }
        let (topic, joined) = self.hub.join(&self.sight.feed, stream, &self.queue, since);
        // From here on it is left when the session ends, however that comes about.
        self.sight.followed.insert(stream, Followed::new(topic.clone()));
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
                if let Some(followed) = self.sight.followed.get_mut(&stream) {
                    followed.cursor = cursor;
                }
                self.arrive(&topic);
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

    async fn renewed(&mut self) -> Result<bool, NotFollowed> {
        self.renew_caller().await.map_err(|error| NotFollowed::Failed(error.into()))
    }

    async fn may_still_see(&mut self, topic: &Topic<W>) -> Result<bool, NotFollowed> {
        // What else has changed is told with the next wake.
        if !self.renewed().await? {
            return Ok(false);
        }
        let viewer = self.sight.caller.viewer();
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
            let shows = Shows::all_of(topic.stream);
            let missed = frames.into_iter().map(|frame| Push::Frame(frame, shows)).collect();
            let (missed, snapshot, count) = (Some(missed), None, top - offset);
            let (offset, shows) = (*offset, Vec::new());
            return Ok((Started { epoch, offset, missed, count, snapshot, shows }, top));
        }
        let snapshot = match snapshot {
            true => {
                let page = self.sources.desk.page_of(head, SNAPSHOT).await;
                Some(Snapshot::Conversation(Box::new(page.map_err(Failure::from)?)))
            }
            false => None,
        };
        let shows = vec![Shows::all_of(topic.stream)];
        Ok((Started { epoch, offset: top, missed: None, count: 0, snapshot, shows }, top))
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
            let missed = Some(missed.iter().map(|hint| self.sight.shown(stream, hint)).collect());
            let (snapshot, shows) = (None, Vec::new());
            return Ok((Started { epoch, offset, missed, count, snapshot, shows }, top));
        }
        let mut shows = vec![Shows::all_of(stream)];
        let snapshot = match snapshot {
            true => Some(self.snapshot(stream, &mut shows).await?),
            false => None,
        };
        Ok((Started { epoch, offset: top, missed: None, count: 0, snapshot, shows }, top))
    }

    async fn snapshot(&self, stream: Stream, shows: &mut Vec<Shows>) -> Result<Snapshot, Failure> {
        let list = match stream {
            Stream::List(list) => list,
            Stream::Agents => return Ok(Snapshot::Agents(self.sight.owner.state())),
            Stream::Agent(_) | Stream::Conversation(_) => {
                return Ok(Snapshot::Agent(self.sight.owner.state()));
            }
        };
        let (ids, counters) = self.sight.feed.inbox.first(list, SNAPSHOT_ROWS);
        let moves = Some(self.sight.feed.moves());
        let mut heads = self.sources.desk.heads(self.sight.caller.tenant, &ids).await?;
        // What left the list meanwhile is not of it.
        heads.retain(|head| !head.status.is_closed() && list.holds(head.assignee));
        shows.extend(heads.iter().map(|head| {
            let about = About::Conversation { id: head.id, moves };
            Shows { stream, about: Some(about) }
        }));
        Ok(Snapshot::List { heads, counters })
    }

    /// A conversation as it stands, if it may be seen.
    async fn look(&self, id: ConversationId) -> Result<Conversation, Failure> {
        let answer =
            self.sources.desk.ask(self.sight.caller.viewer(), id, None, Command::Look).await?;
        answer.conversation.map(Arc::unwrap_or_clone).ok_or(Failure::Refused(Refused::NotFound))
    }

    /// The events of a conversation behind `after`, up to `until`; `None`: too much for one who
    /// only comes back.
    pub(super) async fn read(
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
        let (mut frames, mut bytes, mut next) = (Vec::new(), 0, after);
        let _turn = self.sources.desk.reading_turn(&head, READ_EVENTS.min(until - after)).await;
        while next < until {
            let last = until.min(next + READ_EVENTS);
            let facts = self.sources.desk.facts(id, next, last).await?;
            next = last;
            let events: Vec<_> = facts
                .iter()
                .map(|fact| {
                    let (at, row) = (fact.at, fact.row.as_ref());
                    event(topic.stream, fact.seq, at, &fact.recorded, row, &head)
                })
                .collect();
            let frame = W::events(self.queue.encoding, &events);
            bytes += frame.bytes();
            if bytes > limits.replay_bytes {
                return Ok(None);
            }
            frames.push(frame);
        }
        Ok(Some(frames))
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
