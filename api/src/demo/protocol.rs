//! What the demo knows of `omnistream.v1`, the live feed's protocol.

use engine::conversation::ConversationView;
use engine::message::Message;
use serde::Deserialize;
use serde_json::Value;

/// What the server is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Everything of this stream.
    Follow(String),
    /// No more of it.
    Leave(String),
    /// The answer to a ping.
    Pong,
    /// Another token: this one is nearly over.
    Renew,
}

/// An event, or what stands for one (`omnistream.v1`).
#[derive(Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub(super) enum Push {
    Ev {
        s: String,
        off: u64,
        k: String,
        ts: i64,
        d: Value,
    },
    Reset {
        s: String,
    },
    Unsub {
        s: String,
    },
    Ping,
    Expiring,
    #[serde(other)]
    Other,
}

/// The state of a conversation, with all its newest messages.
#[derive(Deserialize)]
pub(super) struct Snapshot {
    pub(super) conversation: ConversationView,
    pub(super) messages: Vec<Message>,
}
