//! What the server says unasked: events and all else that has a `t`. These types are the protocol,
//! whatever they are written in.

use actors::feed::{Event, Passing, Stream, What};
use actors::inbox::Counters;
use engine::account::AccountStatus;
use engine::channel::Channel;
use engine::conversation::{Conversation, ConversationView};
use engine::fact::{By, ConversationStatus, Fact};
use engine::id::{AccountId, AgentId, ConversationId, IntegrationId};
use engine::identity::agent::Availability;
use engine::message::Message;
use serde::{Serialize, Serializer};

use crate::routes::agents::AgentView;

/// Something said unasked.
#[derive(Serialize)]
#[serde(tag = "t", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "each is written at once, and none is kept")]
pub(super) enum Push<'a> {
    /// Something happened.
    Ev {
        s: Name,
        off: u64,
        k: &'a str,
        /// Milliseconds since 1970.
        ts: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<Author>,
        d: Shown<'a>,
    },
    /// Offsets up to here exist and are not shown.
    Skip { s: Name, off: u64 },
    /// Something passes.
    Eph {
        s: Name,
        k: &'static str,
        d: Passed,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
    },
    /// So many follow the stream: too many to name them.
    Pres { s: Name, users: [AgentId; 0], total: usize },
    /// The stream goes on, but not from where it was.
    Reset { s: Name, reason: &'static str },
    /// The stream is not followed any more.
    Unsub { s: Name, code: u16, reason: &'static str },
    /// The token is nearly over.
    Expiring { in_ms: i64 },
    /// To be answered.
    Ping { now: i64 },
    /// The socket ends.
    Bye { code: u16, reason: &'static str, reconnect_ms: Option<u64> },
}

/// A stream by its name.
pub(super) struct Name(pub(super) Stream);

/// What an event shows.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Shown<'a> {
    Message(&'a Message),
    Conversation(Changed),
    Row(Row),
    Gone(Gone),
    Agent(ChangedAgent),
    AgentGone(GoneAgent),
    Account(Standing<'a>),
    Integration(Switched),
}

#[derive(Serialize)]
pub(super) struct Author {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<AgentId>,
}

#[derive(Serialize)]
pub(super) struct Changed {
    #[serde(flatten)]
    conversation: ConversationView,
    rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Previous>,
}

/// What was before.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Previous {
    AssignedAgentId(Option<AgentId>),
    Status(ConversationStatus),
    Tags(Vec<String>),
}

#[derive(Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    conversation: ConversationView,
    rev: u64,
    conv_seq: u64,
    counters: Counters,
}

#[derive(Serialize)]
pub(super) struct Gone {
    id: ConversationId,
    conv_seq: u64,
    counters: Counters,
}

#[derive(Serialize)]
pub(super) struct ChangedAgent {
    #[serde(flatten)]
    agent: AgentView,
    rev: u64,
}

#[derive(Serialize)]
pub(super) struct GoneAgent {
    id: AgentId,
}

/// How a channel account stands.
#[derive(Serialize)]
pub(super) struct Standing<'a> {
    id: AccountId,
    channel: Channel,
    display_name: &'a str,
    status: AccountStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<&'a str>,
    paused: bool,
    rev: u64,
    previous: PreviousStanding,
}

#[derive(Serialize)]
pub(super) struct Switched {
    id: IntegrationId,
    channel: Channel,
    is_active: bool,
}

/// How it stood.
#[derive(Serialize)]
pub(super) struct PreviousStanding {
    status: AccountStatus,
}

/// What passes, of an agent.
#[derive(Serialize)]
pub(super) struct Passed {
    id: AgentId,
    #[serde(skip_serializing_if = "Option::is_none")]
    on: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Availability>,
}

/// After this long without another word nobody writes any more.
const TYPING_MS: u64 = 6_000;

impl<'a> Push<'a> {
    /// Events in order; those in a row that show nothing are one.
    pub(super) fn events(events: &'a [Event<'a>]) -> Vec<Self> {
        let mut pushes = Vec::with_capacity(events.len());
        let mut skipped = None;
        for event in events {
            let Event { stream, offset: off, at, by, .. } = *event;
            match Shown::of(&event.what) {
                Some((k, d)) => {
                    pushes.extend(skipped.take());
                    let (s, ts, by) = (Name(stream), at.millis(), by.map(Author::of));
                    pushes.push(Self::Ev { s, off, k, ts, by, d });
                }
                None => skipped = Some(Self::Skip { s: Name(stream), off }),
            }
        }
        pushes.extend(skipped);
        pushes
    }

    /// Something that passes.
    pub(super) fn passing(stream: Stream, what: Passing) -> Self {
        let s = Name(stream);
        let (k, id, on, state, ttl_ms) = match what {
            Passing::Typing { agent, on } => ("typing", agent, Some(on), None, Some(TYPING_MS)),
            Passing::Joined { agent, state } => ("presence.join", agent, None, Some(state), None),
            Passing::Left { agent } => ("presence.leave", agent, None, None, None),
            Passing::Available { agent, state } => {
                ("presence.update", agent, None, Some(state), None)
            }
            Passing::Crowd { total } => return Self::Pres { s, users: [], total },
        };
        Self::Eph { s, k, d: Passed { id, on, state }, ttl_ms }
    }
}

impl<'a> Shown<'a> {
    /// With the event's name; `None`: it shows nothing.
    fn of(what: &'a What<'a>) -> Option<(&'a str, Self)> {
        Some(match what {
            What::Nothing => return None,
            What::Message { name, message } => (name, Self::Message(message)),
            What::Conversation { name, head, fact } => {
                let (conversation, rev) = (ConversationView::of(head), head.seq);
                let previous = previous(fact);
                (name, Self::Conversation(Changed { conversation, rev, previous }))
            }
            What::Row { head, counters } => {
                ("conversation.upsert", Self::Row(row(head, *counters)))
            }
            What::Gone { conversation, seq, counters } => {
                let gone = Gone { id: *conversation, conv_seq: *seq, counters: *counters };
                ("conversation.remove", Self::Gone(gone))
            }
            What::Agent { name, agent, state } => {
                let changed = ChangedAgent { agent: AgentView::of(agent, state), rev: agent.rev };
                (name, Self::Agent(changed))
            }
            What::Account { account, before } => {
                let previous = PreviousStanding { status: before.status };
                let standing = Standing {
                    id: account.id,
                    channel: account.channel,
                    display_name: &account.display_name,
                    status: account.status,
                    status_detail: account.status_detail.as_deref(),
                    paused: account.paused,
                    rev: account.rev,
                    previous,
                };
                ("integration.status_changed", Self::Account(standing))
            }
            What::Integration { integration, is_active } => {
                let (id, channel) = (integration.id, integration.channel);
                let switched = Switched { id, channel, is_active: *is_active };
                ("integration.status_changed", Self::Integration(switched))
            }
            What::AgentGone { agent } => {
                ("agent.deleted", Self::AgentGone(GoneAgent { id: *agent }))
            }
        })
    }
}

fn row(head: &Conversation, counters: Counters) -> Row {
    let (conversation, seq) = (ConversationView::of(head), head.seq);
    Row { conversation, rev: seq, conv_seq: seq, counters }
}

fn previous(fact: &Fact) -> Option<Previous> {
    Some(match fact {
        Fact::Assigned { from, .. } => Previous::AssignedAgentId(*from),
        Fact::StatusChanged { from, .. } | Fact::Reopened { from } | Fact::Expired { from } => {
            Previous::Status(*from)
        }
        Fact::TagsChanged { from, .. } => Previous::Tags(from.clone()),
        _ => return None,
    })
}

impl Author {
    fn of(by: By) -> Self {
        let (kind, id) = match by {
            By::Contact => ("contact", None),
            By::Agent(agent) => ("agent", Some(agent)),
            By::Provider => ("provider", None),
            By::System => ("system", None),
        };
        Self { kind, id }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}
