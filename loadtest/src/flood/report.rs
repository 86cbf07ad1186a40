//! What a flood has shown, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::ledger::Comparison;
use crate::report::{LATE_US, Latency};
use crate::sender::Sent;
use crate::units::millis;

/// What a flood has shown.
#[derive(Clone, Debug, Serialize)]
pub struct FloodReport {
    pub scenario: &'static str,
    pub seed: u64,
    /// What a closed loop had accepted a second, if it was asked.
    pub most_rate: Option<f64>,
    /// Webhooks of the flood that were due a second.
    pub rate: f64,
    /// How long the flood took.
    pub seconds: f64,
    pub connections: usize,
    pub customers: u64,
    pub flooding: Organization,
    pub bystander: Organization,
    /// From the flood's end to the last refusal, slow answer or waiting thing; `None`: it was not
    /// over at the end.
    pub recovery_seconds: Option<f64>,
    pub restarted: Option<Restarted>,
    /// Processors that were busy with it during the flood.
    pub server_cores: Option<f64>,
    pub generator_cores: Option<f64>,
    pub samples: Vec<Sample>,
}

/// What became of an organization's webhooks.
#[derive(Clone, Debug, Serialize)]
pub struct Organization {
    /// By name: `calm`, `flood`, `after`.
    pub stretches: BTreeMap<&'static str, Stretch>,
    pub ledger: Comparison,
}

/// What became of the webhooks of some time.
#[derive(Clone, Debug, Serialize)]
pub struct Stretch {
    pub due: u64,
    /// Due, and never sent: no connection was free.
    pub unsent: u64,
    pub accepted: u64,
    /// Accepted a second.
    pub accepted_rate: f64,
    pub statuses: BTreeMap<u16, u64>,
    /// Connections that could not be made or broke.
    pub errors: BTreeMap<String, u64>,
    pub unanswered: u64,
    pub latency_us: Latency,
    /// How much later they were sent than they could have been, in 99 of 100 cases at most.
    pub late_us_p99: u64,
}

/// The server at a time, counted from when the flood began.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    pub second: f64,
    pub resident_bytes: Option<u64>,
    pub waiting: Option<f64>,
}

/// The server was started again.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Restarted {
    /// When, counted from when the flood began.
    pub second: f64,
    /// How long it took until a webhook was accepted again.
    pub back_seconds: Option<f64>,
    /// The new process.
    pub server: u32,
}

impl Stretch {
    pub(super) fn of(sent: &Sent, time: Duration) -> Self {
        let Sent { tally, late, unsent, .. } = sent;
        Self {
            due: tally.total() + unsent,
            unsent: *unsent,
            accepted: tally.accepted(),
            accepted_rate: tally.accepted() as f64 / time.as_secs_f64(),
            statuses: tally.statuses.clone(),
            errors: tally.errors.clone(),
            unanswered: tally.unanswered,
            latency_us: Latency::of(&tally.latency),
            late_us_p99: late.value_at_quantile(0.99),
        }
    }

    /// Answered otherwise than 2xx.
    pub fn refused(&self) -> u64 {
        self.statuses.values().sum::<u64>() - self.accepted
    }
}

impl FloodReport {
    /// Whether everything that was acknowledged is there, once and in order.
    pub fn word_is_kept(&self) -> bool {
        let both = [&self.flooding, &self.bystander];
        both.iter().all(|organization| organization.ledger.violations.is_none())
    }

    /// Whether the generator sent the bystander's webhooks when they were due: else their latencies
    /// are its own.
    pub fn was_in_time(&self) -> bool {
        self.bystander.stretches.values().all(|stretch| stretch.late_us_p99 <= LATE_US)
    }
}

impl fmt::Display for FloodReport {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(most) = self.most_rate {
            writeln!(to, "at most {most:.0} webhooks a second were accepted in a closed loop")?;
        }
        let Self { rate, seconds, connections, customers, seed, .. } = self;
        writeln!(
            to,
            "flood: {rate:.0} a second due for {seconds:.0} s, {connections} connections, \
             {customers} customers, seed {seed}"
        )?;
        for (name, organization) in [("flooding", &self.flooding), ("bystander", &self.bystander)] {
            for when in ["calm", "flood", "after"] {
                if let Some(stretch) = organization.stretches.get(when) {
                    write!(to, "{name}, {when}: {stretch}")?;
                }
            }
            write!(to, "{name}, ledger: {}", organization.ledger)?;
        }
        if let Some(Restarted { second, back_seconds: Some(back), .. }) = self.restarted {
            writeln!(to, "restarted after {second:.1} s, and was back {back:.1} s later")?;
        }
        let resident = self.samples.iter().filter_map(|sample| sample.resident_bytes);
        if let Some(most) = resident.clone().max() {
            let (least, most) = (resident.min().unwrap_or(most) as f64 / 1e6, most as f64 / 1e6);
            writeln!(to, "server: {least:.0} to {most:.0} MB")?;
        }
        if let (Some(server), Some(generator)) = (self.server_cores, self.generator_cores) {
            writeln!(to, "busy during the flood: server {server:.2}, generator {generator:.2}")?;
        }
        match self.recovery_seconds {
            Some(seconds) => write!(to, "recovered {seconds:.1} s after the flood")?,
            None => write!(to, "not recovered when the run ended")?,
        }
        match self.was_in_time() {
            true => Ok(()),
            false => write!(
                to,
                "\nthe generator had too little processor; the bystander's latencies do not count"
            ),
        }
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { due, unsent, accepted, accepted_rate, unanswered, .. } = self;
        let (refused, broken) = (self.refused(), self.errors.values().sum::<u64>());
        let Latency { p50, p99, max, .. } = self.latency_us;
        writeln!(
            to,
            "{due} due, {unsent} of them never sent; {accepted} accepted ({accepted_rate:.0} a \
             second), {refused} refused, {broken} broken, {unanswered} unanswered; ms: p50 {:.2}, \
             p99 {:.2}, max {:.2}; sent {:.2} late",
            millis(p50),
            millis(p99),
            millis(max),
            millis(self.late_us_p99)
        )
    }
}
