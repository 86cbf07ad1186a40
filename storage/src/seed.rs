//! Seeds of tests: where they come from, and what is drawn from them.

/// The seeds that a test runs: `fixed` ones that are always the same and `fresh` ones that never
/// are; with `TEST_SEED` in the environment only that one. Each is printed when it is taken, so
/// that a test that fails names it however it does.
#[expect(clippy::disallowed_methods, reason = "tests are told by it; they have no settings")]
#[expect(clippy::print_stdout, reason = "it is a test's output")]
pub fn seeds(fixed: u64, fresh: u64) -> impl Iterator<Item = u64> {
    use std::hash::{BuildHasher, RandomState};
    let seeds: Vec<_> = match std::env::var("TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("TEST_SEED is a number")],
        Err(_) => (0..fixed).chain((0..fresh).map(|n| RandomState::new().hash_one(n))).collect(),
    };
    seeds.into_iter().inspect(|seed| println!("TEST_SEED={seed}"))
}

/// Numbers drawn from a seed: the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From this seed.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or(0)
    }

    /// An index below `end`; 0 when that is 0.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }

    /// True so many times of a thousand.
    pub fn permille(&mut self, odds: u64) -> bool {
        self.below(1_000) < odds
    }
}
