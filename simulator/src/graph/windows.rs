//! Since when a business may write freely to whom (Meta, "Customer service windows").

use std::collections::HashMap;
use std::time::Duration;

/// How long after a customer wrote the business may write freely.
const OPEN: Duration = Duration::from_hours(24);
/// Pairs remembered at once; beyond it those whose window is closed are forgotten.
const PAIRS: usize = 100_000;

/// When each customer last wrote to each number.
#[derive(Debug, Default)]
pub(super) struct Windows(HashMap<(String, String), Duration>);

impl Windows {
    /// The customer wrote at `now`, simulated time.
    pub(super) fn open(&mut self, number: &str, customer: &str, now: Duration) {
        if self.0.len() >= PAIRS {
            self.0.retain(|_, at| *at + OPEN > now);
        }
        self.0.insert((number.to_owned(), customer.to_owned()), now);
    }

    /// When the customer last wrote; `None`: never.
    pub(super) fn since(&self, number: &str, customer: &str) -> Option<Duration> {
        self.0.get(&(number.to_owned(), customer.to_owned())).copied()
    }

    /// Whether the business may write freely; `None`: the customer never wrote.
    pub(super) fn is_open(&self, number: &str, customer: &str, now: Duration) -> Option<bool> {
        Some(self.since(number, customer)? + OPEN > now)
    }
}
