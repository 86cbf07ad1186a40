//! What listening sockets have shown, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::report::{LATE_US, Latency};
use crate::units::millis;

/// What listening sockets have shown.
#[derive(Clone, Debug, Serialize)]
pub struct SocketsReport {
    pub scenario: &'static str,
    pub sockets: usize,
    /// That each of them follows.
    pub streams: usize,
    /// From the first connection until all followed.
    pub ramp_seconds: f64,
    /// From a connection to the answer of its hello.
    pub opening_us: Latency,
    /// Messages that were due a second.
    pub rate: f64,
    /// What counts: without the warm-up.
    pub seconds: f64,
    /// Messages that were accepted, those of the warm-up among them.
    pub published: u64,
    pub refused: u64,
    /// Receipts of messages within the time that counts.
    pub deliveries: u64,
    pub deliveries_rate: f64,
    /// Of a frame, by message in it.
    pub message_bytes: u64,
    /// From when a message was due to its receipt, of those that were due in what counts.
    pub latency_us: Latency,
    /// Messages that a socket never got, all sockets together.
    pub missing: u64,
    /// Those of them after which later ones came.
    pub gaps: u64,
    /// Messages that came again, or late.
    pub repeats: u64,
    /// Sockets that ended before the end: why, and how many.
    pub ended: BTreeMap<String, u64>,
    /// How much later messages were sent than they could have been, in 99 of 100 cases at most.
    pub late_us_p99: Option<u64>,
    pub server: Option<SocketCost>,
    /// The generator's processor time per receipt.
    pub generator_us: Option<f64>,
}

/// What the server's process took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SocketCost {
    /// Processor time per receipt: of the program itself and of the kernel for it.
    pub cpu_us: f64,
    pub user_us: f64,
    pub system_us: f64,
    /// Memory that an idle socket adds.
    pub resident_bytes_per_socket: f64,
    /// Memory with all sockets idle.
    pub resident_bytes: u64,
}

impl SocketsReport {
    /// Whether every socket stayed and got every message once and in order.
    pub fn all_delivered(&self) -> bool {
        self.missing == 0 && self.repeats == 0 && self.refused == 0 && self.ended.is_empty()
    }
}

impl fmt::Display for SocketsReport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sockets, streams, ramp_seconds, opening_us, .. } = self;
        writeln!(
            to,
            "{sockets} sockets of {streams} streams were open after {ramp_seconds:.1} s; each took \
             ms: p50 {:.2}, p99 {:.2}",
            millis(opening_us.p50),
            millis(opening_us.p99)
        )?;
        let Self { published, rate, seconds, deliveries, deliveries_rate, message_bytes, .. } =
            self;
        writeln!(
            to,
            "{published} messages, {rate:.0} a second; in {seconds:.1} s {deliveries} receipts, \
             {deliveries_rate:.0} a second, {message_bytes} bytes each"
        )?;
        let Latency { p50, p90, p99, max, .. } = self.latency_us;
        writeln!(
            to,
            "ms from when a message was due: p50 {:.2}, p90 {:.2}, p99 {:.2}, max {:.2}",
            millis(p50),
            millis(p90),
            millis(p99),
            millis(max)
        )?;
        let Self { missing, gaps, repeats, refused, .. } = self;
        writeln!(to, "missing {missing}, in gaps {gaps}, repeated {repeats}, refused {refused}")?;
        for (why, count) in &self.ended {
            writeln!(to, "ended, {why}: {count}")?;
        }
        if let Some(SocketCost { cpu_us, user_us, system_us, .. }) = self.server {
            let bytes = self.server.map_or(0.0, |server| server.resident_bytes_per_socket);
            writeln!(
                to,
                "server: {cpu_us:.2} us of processor a receipt (itself {user_us:.2}, kernel \
                 {system_us:.2}), {bytes:.0} bytes an idle socket"
            )?;
        }
        if let Some(cost) = self.generator_us {
            writeln!(to, "generator: {cost:.2} us of processor a receipt")?;
        }
        match self.late_us_p99 {
            Some(late) if late > LATE_US => write!(
                to,
                "the generator sent {:.2} ms late (p99): these latencies do not count",
                millis(late)
            ),
            Some(late) => write!(to, "sent {:.2} ms late (p99)", millis(late)),
            None => Ok(()),
        }
    }
}
