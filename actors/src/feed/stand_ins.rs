//! What tests of parts of the feed stand on.

use std::time::Duration;

use super::{FeedLimits, Outlet};

/// Takes everything, and shows it nobody.
pub(super) struct Nowhere;

impl<W> Outlet<W> for Nowhere {
    fn push(&self, _: W) {}

    fn write(&self) -> bool {
        true
    }
}

/// Room for a few.
pub(super) fn narrow() -> FeedLimits {
    FeedLimits {
        replay_events: 1,
        replay_bytes: 1,
        queue_frames: 9,
        queue_bytes: 99,
        rounds_from: 16,
        sessions_per_agent: 1,
        streams_per_session: 1,
        incarnation: String::new(),
        hold: Duration::ZERO,
    }
}
