//! Who writes: people with numbers, in turn or a few of them most.

use std::ops::Range;

/// Decides who writes each message of a run. The same number of a message is always the same
/// person's.
pub(crate) enum Customers {
    /// One after the other, each so many times in a row.
    InTurn(Range<u64>, u64),
    /// Of the first a share, of the others the less the further behind they are (Zipf): as busy as
    /// real ones, and drawn from a seed.
    Busy { seed: u64, shares: Vec<f64> },
}

impl Customers {
    /// So many people of whom a few write most: with an exponent of 1 the second half as much as the
    /// first, the third a third; with 0 all the same.
    pub(crate) fn busy(count: u64, exponent: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=count.max(1))
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self::Busy { seed, shares }
    }

    /// Who writes the message number `n`.
    pub(crate) fn of(&self, n: u64) -> u64 {
        match self {
            Self::InTurn(all, in_a_row) => {
                all.start + n / (*in_a_row).max(1) % (all.end - all.start).max(1)
            }
            Self::Busy { seed, shares } => {
                let drawn = drawn(seed ^ mixed(n));
                shares.partition_point(|share| *share <= drawn).min(shares.len() - 1) as u64
            }
        }
    }
}

/// A number from 0 to 1 that looks drawn by chance.
pub(crate) fn drawn(n: u64) -> f64 {
    (mixed(n) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number that looks drawn by chance (the finish of SplitMix64).
pub(crate) fn mixed(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::Customers;

    #[test]
    fn in_turn_everybody_writes_as_often() {
        let six = |customers: Customers| (0..6).map(|n| customers.of(n)).collect::<Vec<_>>();
        assert_eq!(six(Customers::InTurn(20..23, 1)), [20, 21, 22, 20, 21, 22]);
        assert_eq!(six(Customers::InTurn(20..22, 2)), [20, 20, 21, 21, 20, 20]);
        assert_eq!(Customers::InTurn(7..7, 1).of(1), 7);
    }

    #[test]
    fn of_the_busy_the_first_writes_twice_as_often_as_the_second_and_all_write() {
        let customers = Customers::busy(100, 1.0, 4711);
        let mut written = [0_u32; 100];
        for n in 0..100_000 {
            written[usize::try_from(customers.of(n)).unwrap()] += 1;
        }
        // Of 100 000 the first has 1 in 5.19, the tenth a tenth of that.
        assert!((18_500..20_000).contains(&written[0]), "{}", written[0]);
        assert!((1_700..2_150).contains(&written[9]), "{}", written[9]);
        assert!((9_000..10_300).contains(&written[1]), "{}", written[1]);
        assert!(written.iter().all(|count| *count > 0));
        let again = Customers::busy(100, 1.0, 4711);
        assert!((0..1000).all(|n| again.of(n) == customers.of(n)));
    }

    #[test]
    fn without_an_exponent_all_write_as_often_but_for_chance() {
        let customers = Customers::busy(10, 0.0, 4711);
        let mut written = [0_u32; 10];
        for n in 0..100_000 {
            written[usize::try_from(customers.of(n)).unwrap()] += 1;
        }
        assert!(written.iter().all(|count| (9_500..10_500).contains(count)), "{written:?}");
    }
}
