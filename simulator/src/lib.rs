//! What the world outside does to the engine, without the world: a stand-in for the messaging part
//! of Meta's Graph API ([`Graph`]), scripted people who write to the business ([`Customers`]), a
//! mail server with people who answer mails ([`MailServer`], [`Letter`], [`Postman`]), and a bucket for
//! files ([`Bucket`]). All speak the provider's wire formats over real sockets and know nothing of the
//! engine. A [`Cassandra`] is a real one, and a [`Wire`] is what lies between it and its client.
//! [`bodies`] and [`sign`] make single webhooks for tests.
//!
#![doc = include_str!("failures.md")]
//!
#![doc = include_str!("control.md")]

pub mod bodies;
mod bucket;
mod cassandra;
mod clock;
mod courier;
mod customers;
mod error;
mod failure;
mod graph;
mod letter;
mod mail_server;
mod media;
mod missing;
mod people;
mod phrases;
mod signature;
mod wire;

pub use bodies::{Account, Object, Page};
pub use bucket::{Begun, Bucket, BucketOptions, Held, Mood};
pub use cassandra::{Cassandra, CassandraOptions, CommitLog, Missing};
pub use clock::fresh_seed;
pub use courier::{Batch, Faults, Retry, Tally};
pub use customers::{CustomerOptions, Customers, Summary};
pub use graph::{
    AccountEvent, Counts, Customer, Graph, GraphOptions, Injection, Limits, Login, NumberTraffic,
    Passed, Past, PhoneAppAct, Plan, Quality, ReadMark, Request, Script, Sends, Sent, StatusDelays,
    Traffic, Trouble,
};
pub use letter::{Letter, Postman};
pub use mail_server::{Encryption, MailServer, MailServerOptions};
pub use media::MediaKind;
pub use missing::skipped;
pub use people::{Act, Business, Who};
pub use signature::{sign, verify};
pub use wire::{Wire, WireFaults};

/// What a running stand-in can be told and asked, as `--help` shows it.
pub const CONTROL: &str = include_str!("control.md");
/// The table of scripted failures, as `--help` shows it.
pub const FAILURES: &str = include_str!("failures.md");
