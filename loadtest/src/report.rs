//! What a run found, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::units::millis;

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub scenario: &'static str,
    #[serde(rename = "loop")]
    pub kind: Loop,
    /// Requests a second that were due; 0 in a closed loop.
    pub rate: f64,
    pub connections: usize,
    pub customers: u64,
    /// Messages in a request.
    pub messages_per_webhook: u64,
    /// From the end of the warm-up to the last answer.
    pub seconds: f64,
    /// Requests that counted.
    pub requests: u64,
    /// Answered 2xx, a second.
    pub achieved_rate: f64,
    pub statuses: BTreeMap<u16, u64>,
    /// Connections that could not be made or broke.
    pub errors: BTreeMap<String, u64>,
    /// Requests without an answer when the run's patience ended.
    pub unanswered: u64,
    pub latency_us: Latency,
    /// How late the generator itself was, in 99 of 100 cases at most; none in a closed loop.
    pub late_us_p99: Option<u64>,
    /// The generator's processor time per request.
    pub generator_us: Option<f64>,
    pub server: Option<ServerCost>,
}

/// How requests followed each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Loop {
    Open,
    Closed,
}

/// Microseconds from when a request was due to the end of its answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// What the server's process took for it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ServerCost {
    /// Processor time per request.
    pub cpu_us: f64,
    /// Memory at the end.
    pub resident_bytes: u64,
}

/// A generator that is later than this measures itself.
pub(crate) const LATE_US: u64 = 1_000;

impl Latency {
    pub(crate) fn of(taken: &Histogram<u64>) -> Self {
        let at = |quantile| taken.value_at_quantile(quantile);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: taken.max() }
    }
}

impl Report {
    /// Whether every request was answered 2xx.
    pub fn all_accepted(&self) -> bool {
        self.requests > 0
            && self.statuses.range(200..300).map(|(_, n)| n).sum::<u64>() == self.requests
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, seconds, achieved_rate, connections, customers, .. } = self;
        let what = self.scenario;
        match self.kind {
            Loop::Open => writeln!(
                to,
                "{requests} {what} in {seconds:.1} s: {achieved_rate:.0} of {:.0} a second accepted",
                self.rate
            )?,
            Loop::Closed => writeln!(
                to,
                "{requests} {what} in {seconds:.1} s: at most {achieved_rate:.0} a second accepted"
            )?,
        }
        match customers {
            0 => writeln!(to, "connections {connections}")?,
            _ => writeln!(to, "connections {connections}, customers {customers}")?,
        }
        if self.messages_per_webhook > 1 {
            writeln!(to, "messages in a webhook: {}", self.messages_per_webhook)?;
        }
        for (status, count) in &self.statuses {
            writeln!(to, "answered {status}: {count}")?;
        }
        for (error, count) in &self.errors {
            writeln!(to, "broken, {error}: {count}")?;
        }
        if self.unanswered > 0 {
            writeln!(to, "without an answer: {}", self.unanswered)?;
        }
        let Latency { p50, p90, p99, p999, max } = self.latency_us;
        write!(
            to,
            "latency ms: p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
            millis(p50),
            millis(p90),
            millis(p99),
            millis(p999),
            millis(max)
        )?;
        if let Some(server) = self.server {
            let memory = server.resident_bytes as f64 / 1e6;
            write!(to, "\nserver: {:.1} us of processor each, {memory:.1} MB", server.cpu_us)?;
        }
        if let Some(cost) = self.generator_us {
            write!(to, "\ngenerator: {cost:.1} us of processor each")?;
        }
        if let Some(late) = self.late_us_p99 {
            write!(to, "\ngenerator: p99 {:.2} ms late", millis(late))?;
            if late > LATE_US {
                write!(to, "; it had too little processor, these latencies do not count")?;
            }
        }
        Ok(())
    }
}
