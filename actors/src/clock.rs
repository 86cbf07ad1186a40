//! Time, ids and stamps: the only places where a run is not its seed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use engine::identity::api_key::Secret;
use engine::mint::Mint;
use engine::time::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::Stamp;
use uuid::Uuid;

/// What time it is. Clones tell the same time.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Set(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// One that stands still until [`Clock::set`] moves it.
    pub fn standing_at(at: Timestamp) -> Self {
        Self(Source::Set(Arc::new(AtomicI64::new(at.0))))
    }

    /// Moves a clock that stands; the machine's is not moved.
    pub fn set(&self, at: Timestamp) {
        if let Source::Set(now) = &self.0 {
            now.store(at.0, Ordering::Release);
        }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Set(now) => Timestamp(now.load(Ordering::Acquire)),
            Source::System => Timestamp(micros() / 1000),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
fn micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Makes UUIDv7s. Clones draw from the same randomness.
#[derive(Clone)]
pub struct Ids {
    clock: Clock,
    random: Arc<Mutex<StdRng>>,
}

impl Ids {
    /// Of the machine's randomness.
    pub fn new(clock: Clock) -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the machine gives randomness");
        Self { clock, random: Arc::new(Mutex::new(StdRng::from_seed(seed))) }
    }

    /// The same ids for the same seed and times.
    pub fn seeded(clock: Clock, seed: u64) -> Self {
        Self { clock, random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))) }
    }
}

impl Ids {
    /// What nobody guesses.
    pub fn secret(&mut self) -> Secret {
        let mut random = [0; 32];
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut random);
        Secret(random)
    }
}

impl Mint for Ids {
    fn uuid(&mut self) -> Uuid {
        let mut random = [0; 10];
        self.random.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut random);
        let millis = u64::try_from(self.clock.now().0).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// Makes stamps: microseconds, strictly rising, never at or below a floor that was stored.
pub struct Stamps(AtomicI64);

impl Stamps {
    /// Above `floor`, the highest stamp in the store.
    pub fn above(floor: Stamp) -> Self {
        Self(AtomicI64::new(floor.0))
    }

    /// None at or below `floor` is made from now on.
    pub fn raise(&self, floor: Stamp) {
        self.0.fetch_max(floor.0, Ordering::AcqRel);
    }

    /// When the newest one was made, or later: nothing that has one was written after that.
    pub fn newest(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Acquire) / 1000)
    }

    /// The next.
    pub fn next(&self) -> Stamp {
        let now = micros();
        let rise = |last: i64| Some(now.max(last + 1));
        let last = match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, rise) {
            Ok(last) | Err(last) => last,
        };
        Stamp(now.max(last + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Ids, Stamps};
    use engine::mint::Mint;
    use engine::time::Timestamp;
    use storage::Stamp;

    #[test]
    fn ids_of_one_seed_and_time_are_the_same() {
        let clock = Clock::standing_at(Timestamp(1_790_000_000_000));
        let (mut one, mut two) = (Ids::seeded(clock.clone(), 7), Ids::seeded(clock, 7));
        assert_eq!(one.uuid(), two.uuid());
        assert_eq!(one.uuid().get_version_num(), 7);
        assert_eq!(one.sharded(9).as_bytes()[15], 9);
    }

    #[test]
    fn stamps_rise_above_what_was_stored_even_when_the_clock_went_back() {
        let far = Stamp(i64::MAX - 10);
        let stamps = Stamps::above(far);
        assert!(stamps.next() > far);
        let (one, two) = (stamps.next(), stamps.next());
        assert!(two > one);
    }
}
