//! What the live feed showed, in figures.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Customers' messages that were not seen yet; beyond it new ones are not timed.
const UNSEEN_MAX: usize = 10_000;

/// Longer waits count as this long, in microseconds.
const WAIT_MAX: u64 = 60_000_000;

/// A customer's message, by the provider's id, and when it was written.
pub(super) type Written = (String, Instant);

/// Counts of what was seen, and how long it took.
pub(super) struct Figures {
    /// Events of any kind.
    pub(super) events: u64,
    pub(super) received: u64,
    /// Reactions, edits and deletions of customers.
    pub(super) amended: u64,
    pub(super) sent: u64,
    pub(super) delivered: u64,
    pub(super) read: u64,
    pub(super) failed: u64,
    pub(super) resolved: u64,
    written: mpsc::Receiver<Written>,
    unseen: HashMap<String, Instant>,
    /// Microseconds.
    waits: Histogram<u32>,
}

impl Figures {
    /// Nothing yet; `written` says when customers write.
    pub(super) fn new(written: mpsc::Receiver<Written>) -> Self {
        let waits = Histogram::new_with_bounds(1, WAIT_MAX, 2);
        let waits = waits.expect("the bounds are what a histogram takes");
        Self {
            events: 0,
            received: 0,
            amended: 0,
            sent: 0,
            delivered: 0,
            read: 0,
            failed: 0,
            resolved: 0,
            written,
            unseen: HashMap::new(),
            waits,
        }
    }

    /// A customer's message is seen.
    pub(super) fn received(&mut self, provider_message_id: Option<&str>) {
        self.received += 1;
        while let Ok((id, at)) = self.written.try_recv() {
            if self.unseen.len() < UNSEEN_MAX {
                self.unseen.insert(id, at);
            }
        }
        if let Some(at) = provider_message_id.and_then(|id| self.unseen.remove(id)) {
            let micros = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.waits.saturating_record(micros);
        }
    }

    /// How long this share of the messages took at most, from the webhook to the feed.
    fn wait(&self, share: f64) -> Millis {
        Millis(Duration::from_micros(self.waits.value_at_quantile(share)))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, received, amended, sent, delivered, read, failed, resolved, .. } = self;
        write!(f, "  received   {received} messages of customers")?;
        match amended {
            0 => writeln!(f)?,
            amended => writeln!(f, ", {amended} reactions, edits and deletions")?,
        }
        write!(f, "  replies    {sent} sent, {delivered} delivered, {read} read")?;
        match failed {
            0 => writeln!(f)?,
            failed => writeln!(f, ", {failed} failed")?,
        }
        writeln!(f, "  resolved   {resolved} conversations")?;
        write!(f, "  live feed  {events} events")?;
        if !self.waits.is_empty() {
            let (half, most) = (self.wait(0.5), self.wait(0.99));
            write!(f, "; from a customer's webhook to the feed: p50 {half}, p99 {most}")?;
        }
        Ok(())
    }
}

struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.0.as_secs_f64() * 1000.0)
    }
}
