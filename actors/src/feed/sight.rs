//! What a session decides by: whose it is, what it follows and up to where. Whoever has it decides
//! what goes out: the session, or its queue while the session rests.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use engine::permission::{Permission, Viewer};
use tokio::time::Instant;

use super::frame::{Encoding, Shared};
use super::hub::Feed;
use super::queue::{Item, Told};
use super::session::Push;
use super::topic::{About, Hint, Topic};
use super::{Outlet, Stream, Wire};
use crate::inbox::List;
use crate::tenants::{Caller, Owner};

pub(super) struct Sight<W> {
    pub(super) feed: Arc<Feed<W>>,
    /// Held, so that its changes are told.
    pub(super) owner: Arc<Owner>,
    pub(super) caller: Caller,
    pub(super) encoding: Encoding,
    /// The owner's when the caller, and all that is followed, was looked at last.
    pub(super) epoch: u64,
    pub(super) followed: HashMap<Stream, Followed<W>>,
    /// What is on its way out shows this, and when that was looked at last.
    pub(super) shows: Vec<Shows>,
    pub(super) mark: Mark,
}

pub(super) struct Followed<W> {
    pub(super) topic: Arc<Topic<W>>,
    /// Up to here everything was sent.
    pub(super) cursor: u64,
    /// Others were told of it.
    pub(super) present: bool,
    /// When it last said that its person writes, and has not taken that back.
    pub(super) typing: Option<(Instant, bool)>,
}

/// What something shows that is on its way out: see [`Session::may_show`](super::Session::may_show).
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

/// What becomes of something that waits, as far as that is plain.
pub(super) enum Plain<W> {
    /// It was meant for an earlier time that its stream was followed, or is known already.
    Nothing,
    /// It goes out as it is.
    Frame(W, Shows),
    /// Something else has to be read or said first.
    Not,
}

/// A sight, unless it is away with the queue.
pub(super) struct Own<W>(pub(super) Option<Box<Sight<W>>>);

/// A long batch leaves room for so many things that it showed.
const ROOM_KEPT: usize = 4;

impl<W: Wire> Sight<W> {
    /// Of one who follows nothing yet.
    pub(super) fn new(
        feed: Arc<Feed<W>>,
        owner: Arc<Owner>,
        caller: Caller,
        encoding: Encoding,
        epoch: u64,
    ) -> Self {
        let mark = Mark { epoch, moves: feed.moves() };
        let (followed, shows) = (HashMap::new(), Vec::new());
        Self { feed, owner, caller, encoding, epoch, followed, shows, mark }
    }

    /// What becomes of this now. A frame that goes out moves the cursor.
    pub(super) fn plain(&mut self, Item { topic, told }: &Item<W>) -> Plain<W> {
        match told {
            Told::Hint(hint) => self.plain_hint(topic, hint),
            Told::Passing(frame) => self.plain_passing(topic, frame),
        }
    }

    /// The same of a hint.
    pub(super) fn plain_hint(&mut self, topic: &Arc<Topic<W>>, hint: &Hint<W>) -> Plain<W> {
        let (stream, about) = (topic.stream, hint.about);
        let may_be_shown = !self.is_withheld(about) && may_see(self.caller.viewer(), topic);
        let Some(followed) = self.followed(topic) else { return Plain::Nothing };
        match hint {
            Hint { last, .. } if *last <= followed.cursor => Plain::Nothing,
            Hint { first, shown, last, frame: Some(frame), .. }
                if *first == followed.cursor + 1 && shown == first && may_be_shown =>
            {
                followed.cursor = *last;
                Plain::Frame(frame.of(self.encoding).clone(), Shows { stream, about })
            }
            _ => Plain::Not,
        }
    }

    fn plain_passing(&mut self, topic: &Arc<Topic<W>>, frame: &Shared<W>) -> Plain<W> {
        if self.followed(topic).is_none() || !may_see(self.caller.viewer(), topic) {
            return Plain::Nothing;
        }
        Plain::Frame(frame.of(self.encoding).clone(), Shows::all_of(topic.stream))
    }

    /// What is followed, if it was followed as long as this topic is it.
    fn followed(&mut self, topic: &Arc<Topic<W>>) -> Option<&mut Followed<W>> {
        self.followed.get_mut(&topic.stream).filter(|one| Arc::ptr_eq(&one.topic, topic))
    }

    /// From here on something is decided on and written past the task. Answers whether that may be:
    /// nothing else is on its way out, and the caller was looked at.
    pub(super) fn begin_past(&mut self) -> bool {
        // What is on its way was looked at as of its own mark.
        if !self.shows.is_empty() {
            return false;
        }
        self.mark = self.mark();
        self.is_current()
    }

    /// What is plain goes out past the task. Answers whether it was.
    pub(super) fn push_past(&mut self, outlet: &dyn Outlet<W>, plain: Plain<W>) -> bool {
        if let Plain::Frame(frame, shows) = plain {
            self.shows.push(shows);
            outlet.push(frame);
            return true;
        }
        matches!(plain, Plain::Nothing)
    }

    /// Writes what goes out past the task. Answers whether that was everything.
    pub(super) fn write_past(&mut self, outlet: &dyn Outlet<W>) -> bool {
        let is_done = self.has_looked() && outlet.write();
        if is_done {
            self.written();
        }
        is_done
    }

    /// Whether nobody's sight was changed since the caller was looked at.
    pub(super) fn is_current(&self) -> bool {
        self.owner.epoch() == self.epoch
    }

    /// Now: as long as it stays what it is, nobody may see less.
    pub(super) fn mark(&self) -> Mark {
        Mark { epoch: self.owner.epoch(), moves: self.feed.moves() }
    }

    /// Whether what is on its way out was looked at since anybody may see less.
    pub(super) fn has_looked(&self) -> bool {
        self.shows.is_empty() || self.mark() == self.mark
    }

    /// Nothing is on its way out any more.
    pub(super) fn written(&mut self) {
        self.shows.clear();
        self.shows.shrink_to(ROOM_KEPT);
    }

    pub(super) fn shows_nothing_lost(&self, Shows { stream, about }: Shows) -> bool {
        let viewer = self.caller.viewer();
        let followed = self.followed.get(&stream);
        let sees = followed.is_some_and(|followed| may_see(viewer, &followed.topic));
        sees && may_follow(viewer, stream) && !self.is_withheld(about)
    }

    /// A hint's events, or that they exist.
    pub(super) fn shown(&self, stream: Stream, hint: &Hint<W>) -> Push<W> {
        match &hint.frame {
            Some(frame) if !self.is_withheld(hint.about) => {
                let shows = Shows { stream, about: hint.about };
                Push::Frame(frame.of(self.encoding).clone(), shows)
            }
            _ => Push::Skip { stream, offset: hint.last },
        }
    }

    /// Whether a row shows a conversation that is another's by now, or something is for those only who may
    /// do what its person may not do by now.
    fn is_withheld(&self, about: Option<About>) -> bool {
        let viewer = self.caller.viewer();
        match about {
            Some(About::Conversation { id, moves: Some(moves) }) => {
                if sees_all(viewer) || moves == self.feed.moves() {
                    return false;
                }
                let assignee = self.feed.inbox.assignee(id);
                !assignee.is_some_and(|assignee| viewer.may_see(assignee))
            }
            Some(About::Needs(permission)) => !viewer.permissions.has(permission),
            Some(About::Conversation { moves: None, .. }) | None => false,
        }
    }
}

impl<W> Followed<W> {
    /// Nothing of it is sent until its beginning is.
    pub(super) fn new(topic: Arc<Topic<W>>) -> Self {
        Self { topic, cursor: u64::MAX, present: false, typing: None }
    }
}

impl Shows {
    /// What shows a stream, and no other's things.
    pub(super) fn all_of(stream: Stream) -> Self {
        Self { stream, about: None }
    }
}

impl<W> Deref for Own<W> {
    type Target = Sight<W>;

    fn deref(&self) -> &Sight<W> {
        self.0.as_deref().expect("a session rises before it does anything")
    }
}

impl<W> DerefMut for Own<W> {
    fn deref_mut(&mut self) -> &mut Sight<W> {
        self.0.as_deref_mut().expect("a session rises before it does anything")
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
