//! Token buckets: so many a second, and so many at once after a pause.

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Bucket;

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
}
