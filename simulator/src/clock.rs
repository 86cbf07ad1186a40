//! Wall-clock time, which providers stamp on what they send.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Since 1970, UTC.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970, UTC.
pub(crate) fn now() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// A seed that no earlier run had, for runs over a store that is kept.
pub fn fresh_seed() -> u64 {
    u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX)
}
