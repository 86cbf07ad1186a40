//! What clients ask on a socket and what they are answered: `omnistream.v1`.

use actors::failure::Failure;
use actors::feed::{Cut, Encoding, NotFollowed, NotTold, Position, Present, Snapshot};
use engine::conversation::ConversationView;
use engine::id::AgentId;
use engine::identity::agent::Availability;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::routes::agents::AgentView;

/// The subprotocols: a frame is one object, or a list of at most [`BATCH`], in text frames as JSON or
/// in binary ones as MessagePack.
pub(super) const PROTOCOLS: [(&str, Encoding); 2] =
    [("omnistream.v1.json", Encoding::Json), ("omnistream.v1.msgpack", Encoding::MessagePack)];
/// Commands in one frame.
pub(super) const BATCH: usize = 64;

/// A command. Unknown fields are ignored.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Command {
    /// Says who comes: the first of a socket.
    Hello {
        token: String,
        #[serde(default)]
        subs: Vec<Sub>,
    },
    /// Follows a stream.
    Sub(Sub),
    /// Leaves a stream.
    Unsub { s: String },
    /// Goes on with a new token of the same person.
    Auth { token: String },
    /// Answers a ping.
    Pong,
    /// Its person writes in a conversation that it follows, or stopped.
    Typing { s: String, on: bool },
    /// The desk has read a conversation up to here.
    Seen { s: String, seq: u64 },
    /// Who follows a stream.
    Presence { s: String },
    /// Its person takes work, or does not.
    Away { state: Work },
}

/// What somebody who is there says of themselves.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    Online,
    Away,
    Busy,
}

/// A stream to be followed.
#[derive(Deserialize)]
pub(super) struct Sub {
    pub(super) s: String,
    /// Up to here everything is known.
    #[serde(default)]
    since: Option<Since>,
    /// How things stand is wanted, where what was missed cannot be told.
    #[serde(default)]
    pub(super) snap: bool,
}

#[derive(Deserialize)]
struct Since {
    epoch: String,
    off: u64,
}

impl Sub {
    /// The stream that every socket follows.
    pub(super) const OWN: &str = "u:me";

    /// Of the stream that every socket follows.
    pub(super) fn own() -> Self {
        Self { s: Self::OWN.to_owned(), since: None, snap: false }
    }

    /// The position that it continues from.
    pub(super) fn since(&self) -> Option<Position> {
        let since = self.since.as_ref()?;
        Some(Position { epoch: since.epoch.clone(), offset: since.off })
    }
}

/// Why a command is refused.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: u16,
    message: String,
    /// The same command may succeed after so many milliseconds.
    after_ms: Option<u64>,
}

impl Refusal {
    fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), after_ms: None }
    }

    fn retried(self, after_ms: u64) -> Self {
        Self { after_ms: Some(after_ms), ..self }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(101, "log in again, and send the token along")
    }

    pub(super) fn unknown_stream() -> Self {
        Self::new(102, NotFollowed::NoSuchStream.to_string())
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(107, message)
    }

    pub(super) fn too_fast() -> Self {
        Self::new(111, "too many commands; slow down").retried(1000)
    }

    pub(super) fn too_much() -> Self {
        Self::new(111, "too much for one `hello`; follow this stream with `sub`").retried(0)
    }

    pub(super) fn failed() -> Self {
        Self::new(113, "the store cannot answer now; try again shortly").retried(1000)
    }

    pub(super) fn unrecoverable() -> Self {
        Self::new(112, "what was missed is not at hand any more; ask with `snap`")
    }

    /// As the value of `err`.
    pub(super) fn json(&self) -> Value {
        let Self { code, message, after_ms } = self;
        let retry = after_ms.is_some();
        json!({"code": code, "msg": message, "retry": retry, "after_ms": after_ms.unwrap_or(0)})
    }
}

impl From<Work> for Availability {
    fn from(work: Work) -> Self {
        match work {
            Work::Online => Self::Online,
            Work::Away => Self::Away,
            Work::Busy => Self::Busy,
        }
    }
}

impl From<NotFollowed> for Refusal {
    fn from(reason: NotFollowed) -> Self {
        let message = reason.to_string();
        match reason {
            NotFollowed::NoSuchStream => Self::unknown_stream(),
            NotFollowed::NotAllowed => Self::new(103, message),
            NotFollowed::Already => Self::new(105, message),
            NotFollowed::TooMany => Self::new(106, message),
            NotFollowed::Failed(_) => Self::new(113, message).retried(1000),
        }
    }
}

impl From<NotTold> for Refusal {
    fn from(reason: NotTold) -> Self {
        match reason {
            NotTold::NoSuchStream => Self::unknown_stream(),
            NotTold::NotFollowed => Self::bad_request(reason.to_string()),
            NotTold::Store(_) => Self::failed(),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(_) => Self::unknown_stream(),
            Failure::Busy { .. } => Self::new(111, failure.to_string()).retried(1000),
            // Owner unavailable: the client may try again, and is told why.
            Failure::Parked => Self::new(113, failure.to_string()).retried(1000),
            Failure::Unavailable | Failure::Panicked | Failure::Stopping => Self::failed(),
        }
    }
}

/// A command with its number, as far as it can be told; `Err`: why it cannot.
pub(super) fn parse(value: Value) -> (Option<u32>, Result<Command, Refusal>) {
    let number = value.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let known = ["hello", "sub", "unsub", "auth", "pong", "typing", "seen", "presence", "away"];
    let op = value.get("op").and_then(Value::as_str);
    let command = match op {
        Some(op) if known.contains(&op) => serde_json::from_value(value)
            .map_err(|error| Refusal::bad_request(format!("the command is not valid: {error}"))),
        Some(_) => Err(Refusal::new(104, "there is no such `op`; see the documentation")),
        None => Err(Refusal::bad_request("a command has an `op`")),
    };
    (number, command)
}

/// A snapshot has so many bytes of messages: where they are long mails, fewer of them.
const SNAPSHOT_BYTES: usize = 512 * 1024;

/// About how many bytes a value takes.
pub(super) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(all) => all.iter().map(|one| weight(one) + 1).sum::<usize>() + 2,
        Value::Object(all) => {
            all.iter().map(|(key, one)| key.len() + weight(one) + 4).sum::<usize>() + 2
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

/// How things stand in a stream, for one person.
pub(super) fn snapshot(snapshot: Snapshot, me: AgentId) -> Value {
    match snapshot {
        Snapshot::Conversation(page) => {
            let (mut messages, mut bytes) = (Vec::with_capacity(page.rows.len()), 0);
            for message in page.rows.iter().map(|row| json!(row.message)) {
                bytes += weight(&message);
                if bytes > SNAPSHOT_BYTES && !messages.is_empty() {
                    break;
                }
                messages.push(message);
            }
            json!({"conversation": ConversationView::of(&page.head), "messages": messages})
        }
        Snapshot::List { heads, counters } => {
            let conversations: Vec<_> = heads.iter().map(ConversationView::of).collect();
            json!({"conversations": conversations, "counters": counters})
        }
        Snapshot::Agents(state) => {
            let all = state.agents.values();
            json!({"agents": all.map(|agent| AgentView::of(agent, &state)).collect::<Vec<_>>()})
        }
        Snapshot::Agent(state) => {
            json!({"agent": state.agents.get(&me).map(|agent| AgentView::of(agent, &state))})
        }
    }
}

/// Who follows a stream.
pub(super) fn present(s: &str, Present { users, total }: Present) -> Value {
    let users = users.into_iter().map(|(id, state)| json!({"id": id, "state": state}));
    json!({"s": s, "users": users.collect::<Vec<_>>(), "total": total})
}

/// Why a socket ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client is gone, or has closed it.
    Gone,
    /// Its frames are none.
    NotWebsocket,
    NotText,
    TooBig,
    Malformed,
    WrongFrame,
    Unauthorized,
    Crowded,
    TokenExpired,
    Slow,
    TooFast,
    Failed,
    /// What was on its way may not be seen any more.
    Lost,
    Stopping,
    Silent,
}

impl End {
    /// The close code, what it means, and in how many milliseconds to come back, where that makes
    /// sense.
    pub(super) fn words(self) -> (u16, &'static str, Option<u64>) {
        match self {
            Self::Gone => (1000, "bye", None),
            Self::NotWebsocket => (1002, "that is no frame of a websocket", None),
            Self::NotText => (1007, "a text is in UTF-8", None),
            Self::TooBig => (1009, "the frame is too large; send less at once", None),
            Self::Malformed => (4001, "say hello first, and send what the protocol has", None),
            Self::WrongFrame => {
                (4002, "send text frames for JSON, binary ones for MessagePack", None)
            }
            Self::Unauthorized => (4003, "log in again", None),
            Self::Crowded => (4004, "too many sockets of one person", None),
            Self::TokenExpired => (4103, "the token has ended; get a new one first", Some(1000)),
            Self::Slow => (4108, "too slow; resume where you were", Some(1000)),
            Self::TooFast => (4110, "too many commands", Some(10_000)),
            Self::Failed => (4111, "something failed here; resume where you were", Some(1000)),
            Self::Lost => (4111, "what you see has changed; resume where you were", Some(0)),
            Self::Stopping => (4200, "the server stops; resume where you were", Some(500)),
            Self::Silent => (4201, "nothing was heard from you", Some(0)),
        }
    }
}

impl From<Cut> for End {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Slow => Self::Slow,
            Cut::Crowded => Self::Crowded,
            Cut::Unauthorized => Self::Unauthorized,
            Cut::Stopping => Self::Stopping,
            Cut::Failed => Self::Failed,
        }
    }
}
