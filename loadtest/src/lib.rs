//! Load on a running server, black box over HTTP and WebSocket, and what came of it.
//!
//! In an open loop requests are due at fixed times, whatever the server does: how long one took
//! counts from when it was due, so that a server that stalls is charged for all who had to wait.

mod arrivals;
mod body;
pub mod compare;
mod connection;
mod customers;
pub mod flood;
mod ledger;
pub mod live;
mod machine;
mod marks;
mod moment;
pub mod page;
mod process;
mod readback;
pub mod reads;
mod report;
pub mod result;
#[cfg(test)]
mod sample;
pub mod scenarios;
mod sender;
pub mod sockets;
mod tally;
mod target;
mod units;
mod webhooks;

pub use ledger::{Comparison, Violations};
pub use machine::Machine;
pub use report::{Latency, Loop, Report, ServerCost};
pub use target::{Target, WrongTarget};
pub use webhooks::{Webhooks, run};
