//! One second of a run or several, told as one.

use crate::result::Second;

/// One second or several in a row.
pub(crate) struct Moment<'a> {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) seconds: &'a [Second],
}

/// Seconds without a figure after which one is no longer next to the other.
pub(crate) const GAP: f64 = 1.5;

impl<'a> Moment<'a> {
    /// Of seconds, the first of which began at a time. None where there are none.
    pub(crate) fn new(begin: f64, seconds: &'a [Second]) -> Option<Self> {
        let to = seconds.last().map(|second| second.at).filter(|to| to.is_finite())?;
        // What went before may have ended long before.
        let from = begin.max(to - seconds.len() as f64 - GAP).min(to);
        Some(Self { from, to, seconds })
    }

    /// So many a second; no number in no time.
    pub(crate) fn rate(&self, of: impl Fn(&Second) -> u64) -> f64 {
        let sum: u64 = self.seconds.iter().map(of).sum();
        sum as f64 / (self.to - self.from)
    }

    pub(crate) fn most(&self, of: impl Fn(&Second) -> Option<u64>) -> Option<u64> {
        self.seconds.iter().filter_map(of).max()
    }

    /// Processors that were busy; no number where nobody looked.
    pub(crate) fn cores(&self, of: impl Fn(&Second) -> Option<u64>) -> f64 {
        match self.seconds.iter().any(|second| of(second).is_some()) {
            true => self.rate(|second| of(second).unwrap_or(0)) / 1e6,
            false => f64::NAN,
        }
    }
}

impl Second {
    /// Microseconds of the server, the program's and the kernel's for it.
    pub(crate) fn server_us(&self) -> Option<u64> {
        Some(self.server_user_us? + self.server_system_us?)
    }

    pub(crate) fn failed(&self) -> u64 {
        self.refused + self.unknown
    }
}
