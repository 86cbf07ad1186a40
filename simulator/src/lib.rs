//! What the world outside does to the engine, without the world: a stand-in for the WhatsApp part
//! of Meta's Graph API ([`Graph`]), and scripted people who write to the business ([`Customers`]).
//! Both speak the provider's wire formats over real sockets and know nothing of the engine.
//! [`bodies`] and [`sign`] make single webhooks for tests.
//!
#![doc = include_str!("failures.md")]

pub mod bodies;
mod clock;
mod courier;
mod customers;
mod failure;
mod graph;
mod phrases;
mod signature;

pub use bodies::Account;
pub use clock::fresh_seed;
pub use courier::{Retry, Tally};
pub use customers::{CustomerOptions, Customers, Summary};
pub use graph::{
    Counts, Graph, GraphOptions, Limits, NumberTraffic, Passed, ReadMark, Sends, Sent,
    StatusDelays, Traffic,
};
pub use signature::{sign, verify};

/// The table of scripted failures, as `--help` shows it.
pub const FAILURES: &str = include_str!("failures.md");
