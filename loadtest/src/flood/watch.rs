//! Looks at the server while it is flooded: its memory, what waits in it, its restart.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, interval_at, timeout};

use super::{Flood, Metrics, Restart, Sample, Times};
use crate::connection::Connection;
use crate::process;

/// Looks at a server from the calm before the flood on.
pub(super) struct Watch<'a> {
    times: Times,
    server: Option<u32>,
    metrics: Option<(&'a Metrics, Connection)>,
    restart: Option<&'a Restart>,
}

/// What was seen.
pub(super) struct Watched {
    pub(super) samples: Vec<Sample>,
    /// When nothing waited any more, at the end of the flood or later; `None`: something still did.
    pub(super) drained: Option<Instant>,
    /// When the server was to end, when it had, and the process that took its place.
    pub(super) restarted: Option<(Instant, Instant, u32)>,
}

/// It looks so often.
const EVERY: Duration = Duration::from_millis(500);
/// What waits is worked off within this time of the end, or it is not waited for any longer.
const DRAIN: Duration = Duration::from_secs(60);
/// Metrics that take longer are not there.
const METRICS_WITHIN: Duration = Duration::from_secs(2);

impl<'a> Watch<'a> {
    pub(super) fn new(flood: &'a Flood, times: Times) -> Self {
        let metrics = flood.metrics.as_ref();
        let metrics = metrics.map(|metrics| (metrics, Connection::new(metrics.target.address)));
        Self { times, server: flood.server, metrics, restart: flood.restart.as_ref() }
    }

    /// Looks until both organizations are through and nothing waits any more.
    pub(super) async fn run(mut self) -> io::Result<Watched> {
        let (mut samples, mut restarted) = (Vec::new(), None);
        let Times { calm, flood, after, end } = self.times;
        let mut drained = self.metrics.is_none().then_some(after);
        let mut look = interval_at(calm, EVERY);
        loop {
            let now = look.tick().await;
            if let Some(restart) = self.restart.take_if(|restart| now >= flood + restart.after) {
                let began = Instant::now();
                let server = self.run_restart(restart).await?;
                // Until the old process was gone it answered.
                restarted = Some((began, Instant::now(), server));
            }
            let waiting = self.waiting().await;
            if self.metrics.is_some() {
                match waiting {
                    Some(waiting) if waiting > 0.0 => drained = None,
                    Some(_) if now >= after => drained = drained.or(Some(now)),
                    _ => {}
                }
            }
            let resident_bytes = self.server.and_then(process::resident);
            let second = now.saturating_duration_since(flood).as_secs_f64()
                - flood.saturating_duration_since(now).as_secs_f64();
            samples.push(Sample { second, resident_bytes, waiting });
            if (now >= end && drained.is_some()) || now >= end + DRAIN {
                return Ok(Watched { samples, drained, restarted });
            }
        }
    }

    /// How much the server has still to work off, if it says so.
    async fn waiting(&mut self) -> Option<f64> {
        let (Metrics { target, waiting }, connection) = self.metrics.as_mut()?;
        let got = timeout(METRICS_WITHIN, connection.get(&target.host, &target.path, "")).await;
        let text = std::str::from_utf8(got.ok()?.ok()?).ok()?;
        Some(sum(text, waiting))
    }

    /// Answers the new process.
    async fn run_restart(&mut self, restart: &Restart) -> io::Result<u32> {
        let server = self.server.map(|pid| pid.to_string()).unwrap_or_default();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(&restart.command).env("SERVER", server).stdout(Stdio::piped());
        let mut shell = shell.spawn()?;
        let mut line = String::new();
        if let Some(stdout) = shell.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).await?;
        }
        let Ok(server) = line.trim().parse() else {
            return Err(io::Error::other("the restart did not name the new process on a line"));
        };
        self.server = Some(server);
        Ok(server)
    }
}

/// The sum of a metric over its labels; one that is not there is 0.
fn sum(text: &str, metric: &str) -> f64 {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| value.parse::<f64>().ok())?
    });
    values.fold(0.0, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other_is() {
        let text = "# TYPE waits gauge\nwaits{class=\"message\"} 3\nwaits{class=\"a b\"} 4\n\
            waits_total 100\nawaits 7\n";
        assert!((sum(text, "waits") - 7.0).abs() < 1e-9);
        assert!((sum(text, "waits_total") - 100.0).abs() < 1e-9);
        assert!(sum(text, "none").abs() < 1e-9);
    }
}
