//! The live feed: durable events by stream, to whoever follows and may see them.
//!
//! The [`Hub`] knows who follows what and passes on hints: a stream, a range of offsets, and the
//! events in it, encoded once for everybody. Each [`Session`] owns a cursor per stream: what lies at
//! or below it is dropped, what follows it is sent, a gap is read from the log. So a hint that is
//! lost costs a read and never a silence. What may be seen is decided when an event leaves its
//! session's queue, not when it enters.

mod follow;
mod frame;
mod group;
mod hub;
mod pace;
mod presence;
mod queue;
mod session;
mod sight;
#[cfg(test)]
mod stand_ins;
mod topic;
mod writer;

use std::fmt;

use engine::account::Account;
use engine::conversation::Conversation;
use engine::fact::{By, Fact};
use engine::id::{AgentId, ConversationId};
use engine::identity::agent::{Agent, Availability};
use engine::integration::Integration;
use engine::message::Message;
use engine::time::Timestamp;

pub use follow::{NotFollowed, Position, Snapshot, Started};
pub use frame::Encoding;
pub use hub::{FeedLimits, Hub};
pub use presence::Present;
pub use queue::{Cut, Item};
pub use session::{NotTold, Push, Session, Sources, Wake};
pub use sight::{Mark, Shows};

use crate::inbox::{Counters, List};
use crate::tenants::TenantState;

/// A stream of events, as of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Everything that happens in a conversation; offsets are the seqs of its facts.
    Conversation(ConversationId),
    /// Rows that enter, change in and leave a list of open conversations.
    List(List),
    /// What concerns one agent.
    Agent(AgentId),
    /// Changes to the people at the desk.
    Agents,
}

/// Something to be told, at an offset of a stream.
pub struct Event<'a> {
    pub stream: Stream,
    pub offset: u64,
    pub at: Timestamp,
    pub by: Option<By>,
    pub what: What<'a>,
}

/// What an event shows. What is shown may be newer than the event: it is told apart by its `rev`.
#[derive(Clone, Copy)]
pub enum What<'a> {
    /// The offset exists and shows nothing.
    Nothing,
    /// A message was made, or changed.
    Message { name: &'static str, message: &'a Message },
    /// A conversation changed; the fact says from what.
    Conversation { name: &'static str, head: &'a Conversation, fact: &'a Fact },
    /// A row of a list is there, or changed.
    Row { head: &'a Conversation, counters: Counters },
    /// A row left a list.
    Gone { conversation: ConversationId, seq: u64, counters: Counters },
    /// An agent was made, or changed.
    Agent { name: &'static str, agent: &'a Agent, state: &'a TenantState },
    /// An agent is no more.
    AgentGone { agent: AgentId },
    /// How a channel account stands is otherwise than before.
    Account { account: &'a Account, before: &'a Account },
    /// What a channel's accounts have in common counts, or does not any more.
    Integration { integration: &'a Integration, is_active: bool },
}

/// Something that passes: it has no offset, and whoever misses it misses nothing for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// An agent writes, or stopped writing.
    Typing { agent: AgentId, on: bool },
    /// An agent began to follow the stream.
    Joined { agent: AgentId, state: Availability },
    /// An agent follows the stream no more, and did not come back shortly.
    Left { agent: AgentId },
    /// An agent who follows the stream takes work, or does not any more.
    Available { agent: AgentId, state: Availability },
    /// So many follow the stream: too many to be named one by one.
    Crowd { total: usize },
}

/// Events as they go over the wire. Clones share the bytes.
pub trait Wire: Clone + Send + Sync + 'static {
    /// Encodes events of one stream, in order.
    fn events(encoding: Encoding, events: &[Event<'_>]) -> Self;

    /// Encodes something that passes.
    fn passing(encoding: Encoding, stream: Stream, what: Passing) -> Self;

    /// The same in another encoding; this one is in the other.
    fn recoded(&self, to: Encoding) -> Self;

    /// How much memory it takes.
    fn bytes(&self) -> usize;
}

/// Where the frames of one session go. It is used by one at a time: by the session's task, or, while
/// the session rests, from elsewhere.
pub trait Outlet<W>: Send + Sync {
    /// Adds a frame to what is to be written.
    fn push(&self, frame: W);

    /// Writes as much as is taken now. Answers whether that was everything; if not, the session's
    /// task sees to the rest.
    fn write(&self) -> bool;
}

impl Stream {
    /// Whether others are told who follows it.
    pub(crate) fn has_presence(self) -> bool {
        matches!(self, Self::Conversation(_) | Self::Agents)
    }

    /// Of its name, for one who asks for it; `None`: there is no such stream.
    pub fn named(name: &str, agent: AgentId) -> Option<Self> {
        Some(match name {
            "i:mine" => Self::List(List::Mine(agent)),
            "i:unassigned" => Self::List(List::Unassigned),
            "i:all" => Self::List(List::All),
            "u:me" => Self::Agent(agent),
            "t:agents" => Self::Agents,
            _ => Self::Conversation(name.strip_prefix("c:")?.parse().ok()?),
        })
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conversation(id) => write!(f, "c:{id}"),
            Self::List(List::Mine(_)) => f.write_str("i:mine"),
            Self::List(List::Unassigned) => f.write_str("i:unassigned"),
            Self::List(List::All) => f.write_str("i:all"),
            Self::Agent(_) => f.write_str("u:me"),
            Self::Agents => f.write_str("t:agents"),
        }
    }
}
