//! How much a number may send, and how much of it to one customer (Meta, "Throughput" and "Pair
//! rate limits").

use std::collections::HashMap;
use std::time::Duration;

use crate::error::{GraphError, PAIR, THROUGHPUT};

/// Pairs remembered at once; beyond it those that owe nothing are forgotten.
const PAIRS: usize = 100_000;

/// What a number may send. What it was refused counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages a second of one number, a second's worth of them at once; beyond it 130429. Meta
    /// has numbers of 20, 80 and 1000. [`Graph::set_throughput`](crate::Graph::set_throughput)
    /// changes a single one's.
    pub per_second: u32,
    /// Messages of one number to one customer that may come at once; beyond it 131056.
    pub pair_burst: u32,
    /// After each of these, one more.
    pub pair_every: Duration,
    /// Management requests of one business account an hour; beyond it 80007.
    pub management_per_hour: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_second: 80,
            pair_burst: 45,
            pair_every: Duration::from_secs(6),
            management_per_hour: 200,
        }
    }
}

/// A token bucket, by the time at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// When it will be full after one more, if there is room for one: `size` tokens, one added
    /// after `every`.
    fn after_one(self, now: Duration, size: u32, every: Duration) -> Option<Self> {
        let full_at = self.full_at.max(now) + every;
        (full_at <= now + every * size).then_some(Self { full_at })
    }
}

/// Who has sent how much.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    throughput: HashMap<String, u32>,
    numbers: HashMap<String, Bucket>,
    pairs: HashMap<(String, String), Bucket>,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        let (throughput, numbers, pairs) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { limits, throughput, numbers, pairs }
    }

    pub(super) fn set_throughput(&mut self, number: &str, per_second: u32) {
        self.throughput.insert(number.to_owned(), per_second);
    }

    /// The name of a number's throughput, as its node shows it.
    pub(super) fn level(&self, number: &str) -> &'static str {
        match self.throughput(number) {
            1000.. => "HIGH",
            _ => "STANDARD",
        }
    }

    /// Messages a second of this number.
    fn throughput(&self, number: &str) -> u32 {
        self.throughput.get(number).copied().unwrap_or(self.limits.per_second)
    }

    /// Lets one message through at `now`, simulated time, or says which limit it is over.
    pub(super) fn admit(
        &mut self,
        number: &str,
        to: &str,
        now: Duration,
    ) -> Result<(), GraphError> {
        let Limits { pair_burst, pair_every, .. } = self.limits;
        let per_second = self.throughput(number);
        let every = Duration::from_secs(1) / per_second.max(1);
        let of_number = self.numbers.get(number).copied().unwrap_or_default();
        let of_number = of_number.after_one(now, per_second, every).ok_or(THROUGHPUT)?;
        let pair = (number.to_owned(), to.to_owned());
        let of_pair = self.pairs.get(&pair).copied().unwrap_or_default();
        let of_pair = of_pair.after_one(now, pair_burst, pair_every).ok_or(PAIR)?;
        self.numbers.insert(pair.0.clone(), of_number);
        if self.pairs.len() >= PAIRS {
            self.pairs.retain(|_, bucket| bucket.full_at > now);
        }
        self.pairs.insert(pair, of_pair);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_second: u32, pair_burst: u32) -> Limiter {
        Limiter::new(Limits { per_second, pair_burst, ..Limits::default() })
    }

    #[test]
    fn a_number_sends_a_second_s_worth_at_once_and_then_at_its_pace() {
        let mut limiter = limiter(20, 45);
        let mut sent = |ms| {
            let at = Duration::from_millis(ms);
            (0..100).filter(|to| limiter.admit("1", &to.to_string(), at).is_ok()).count()
        };
        assert_eq!([sent(0), sent(49), sent(50), sent(1050), sent(9000)], [20, 0, 1, 20, 20]);
    }

    #[test]
    fn a_customer_gets_a_burst_and_then_one_after_each_pause_while_others_are_free() {
        let mut limiter = limiter(1000, 45);
        let mut sent = |to: &str, seconds| {
            let at = Duration::from_secs(seconds);
            (0..100).take_while(|_| limiter.admit("1", to, at).is_ok()).count()
        };
        assert_eq!([sent("7", 1), sent("7", 6), sent("7", 7), sent("8", 7)], [45, 0, 1, 45]);
        assert_eq!(sent("7", 7 + 6 * 10), 10);
    }

    #[test]
    fn what_the_pair_refuses_costs_the_number_nothing() {
        let mut limiter = limiter(3, 1);
        let now = Duration::ZERO;
        let mut to = |to| limiter.admit("1", to, now).map_err(|error| error.code);
        assert_eq!(
            ["7", "7", "7", "8", "9", "10"].map(&mut to),
            [Ok(()), Err(131_056), Err(131_056), Ok(()), Ok(()), Err(130_429),]
        );
    }
}
