//! What the world outside does to the engine, without the world: a stand-in for the WhatsApp part
//! of Meta's Graph API ([`Graph`]).
//! It speaks the provider's wire formats over real sockets and knows nothing of the engine.
//! [`bodies`] and [`sign`] make single webhooks for tests.
//!
#![doc = include_str!("failures.md")]

pub mod bodies;
mod clock;
mod courier;
mod failure;
mod graph;
mod signature;

pub use bodies::Account;
pub use courier::{Retry, Tally};
pub use graph::{Counts, Graph, GraphOptions, ReadMark, Sends, Sent, StatusDelays};
pub use signature::{sign, verify};
/// The table of scripted failures, as `--help` shows it.
pub const FAILURES: &str = include_str!("failures.md");
