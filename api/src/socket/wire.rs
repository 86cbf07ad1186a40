//! Events as JSON frames of `omnistream.v1`, encoded once for all sockets.

use actors::feed::{Event, Stream, What, Wire};
use actors::inbox::Counters;
use axum::extract::ws::Utf8Bytes;
use engine::conversation::{Conversation, ConversationView};
use engine::fact::{By, ConversationStatus, Fact};
use engine::id::{AgentId, ConversationId};
use serde::{Serialize, Serializer};

use crate::routes::agents::AgentView;

/// A frame: one event, or a list of them.
pub struct Frame(pub Utf8Bytes);

impl Wire for Frame {
    fn encode(events: &[Event<'_>]) -> Self {
        let mut parts: Vec<String> = Vec::with_capacity(events.len());
        let mut skipped = None;
        for event in events {
            match encode(event) {
                Some(part) => {
                    parts.extend(skipped.take());
                    parts.push(part);
                }
                None => skipped = Some(skip(event.stream, event.offset)),
            }
        }
        parts.extend(skipped);
        let frame = match &mut parts[..] {
            [one] => std::mem::take(one),
            many => format!("[{}]", many.join(",")),
        };
        Self(frame.into())
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Offsets up to here exist and are not shown.
pub(super) fn skip(stream: Stream, offset: u64) -> String {
    format!(r#"{{"t":"skip","s":"{stream}","off":{offset}}}"#)
}

#[derive(Serialize)]
struct Envelope<'a, D> {
    t: &'static str,
    #[serde(serialize_with = "as_text")]
    s: Stream,
    off: u64,
    k: &'a str,
    /// Milliseconds since 1970.
    ts: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Author>,
    d: D,
}

#[derive(Serialize)]
struct Author {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<AgentId>,
}

#[derive(Serialize)]
struct Changed {
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
struct Row {
    #[serde(flatten)]
    conversation: ConversationView,
    rev: u64,
    conv_seq: u64,
    counters: Counters,
}

#[derive(Serialize)]
struct Gone {
    id: ConversationId,
    conv_seq: u64,
    counters: Counters,
}

#[derive(Serialize)]
struct ChangedAgent {
    #[serde(flatten)]
    agent: AgentView,
    rev: u64,
}

#[derive(Serialize)]
struct GoneAgent {
    id: AgentId,
}

/// `None`: it shows nothing.
fn encode(event: &Event<'_>) -> Option<String> {
    match &event.what {
        What::Nothing => None,
        What::Message { name, message } => text(event, name, message),
        What::Conversation { name, head, fact } => {
            let (conversation, rev) = (ConversationView::of(head), head.seq);
            text(event, name, Changed { conversation, rev, previous: previous(fact) })
        }
        What::Row { head, counters } => text(event, "conversation.upsert", row(head, *counters)),
        What::Gone { conversation, seq, counters } => {
            let gone = Gone { id: *conversation, conv_seq: *seq, counters: *counters };
            text(event, "conversation.remove", gone)
        }
        What::Agent { name, agent, state } => {
            let changed = ChangedAgent { agent: AgentView::of(agent, state), rev: agent.rev };
            text(event, name, changed)
        }
        What::AgentGone { agent } => text(event, "agent.deleted", GoneAgent { id: *agent }),
    }
}

fn text<D: Serialize>(event: &Event<'_>, name: &str, d: D) -> Option<String> {
    let Event { stream, offset, at, by, .. } = event;
    let (by, ts) = (by.map(Author::of), at.millis());
    let envelope = Envelope { t: "ev", s: *stream, off: *offset, k: name, ts, by, d };
    // A string has room for everything, and every key is a text: nothing here fails.
    serde_json::to_string(&envelope).ok()
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

fn as_text<S: Serializer>(stream: &Stream, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(stream)
}
