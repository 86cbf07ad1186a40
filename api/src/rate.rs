//! Token buckets: so many a second, and so many at once after a pause.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// A bucket of tokens that fills by itself.
#[derive(Debug)]
pub struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        let (per_second, filled) = (f64::from(per_second), Instant::now());
        Self { per_second, burst, tokens: burst, filled }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self) -> bool {
        let since = self.filled.elapsed();
        self.filled += since;
        self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(self.burst);
        let has = self.tokens >= 1.0;
        self.tokens -= if has { 1.0 } else { 0.0 };
        has
    }
}

/// A bucket for each key, of a second's tokens.
pub struct Buckets<K> {
    per_second: u32,
    buckets: Mutex<HashMap<K, Bucket>>,
}

/// So many buckets are kept; beyond it all begin anew.
const BUCKETS_MAX: usize = 100_000;

impl<K: Hash + Eq> Buckets<K> {
    /// Of so many tokens a second; 0: of as many as are asked for.
    pub fn new(per_second: u32) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Takes a token of this key, if there is one.
    pub fn take(&self, key: K) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
            buckets.clear();
        }
        let full = || Bucket::new(self.per_second, self.per_second);
        buckets.entry(key).or_insert_with(full).take()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bucket, Buckets};

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let mut bucket = Bucket::new(2, 3);
        assert_eq!((0..5).filter(|_| bucket.take()).count(), 3);
        tokio::time::advance(Duration::from_millis(499)).await;
        assert!(!bucket.take());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(bucket.take());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((0..5).filter(|_| bucket.take()).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn each_key_has_its_own_bucket_and_without_a_rate_there_is_no_end() {
        let buckets = Buckets::new(2);
        assert_eq!((0..5).filter(|_| buckets.take("a")).count(), 2);
        assert_eq!((0..5).filter(|_| buckets.take("b")).count(), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..5).filter(|_| buckets.take("a")).count(), 2);
        let unlimited = Buckets::new(0);
        assert!((0..1_000).all(|_| unlimited.take("a")));
    }
}
