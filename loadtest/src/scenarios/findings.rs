//! What a server was found to have done that it must not do.

/// Violations: how many of each kind, and the first of them in words.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) out_of_order: u64,
    pub(super) examples: Vec<String>,
}

/// How a server breaks its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Acknowledged and not there, or there and not told.
    Lost,
    /// There or told more than once, or never sent.
    Doubled,
    OutOfOrder,
}

/// So many violations are told in words.
const EXAMPLES_MAX: usize = 20;

impl Findings {
    /// Adds one.
    pub(super) fn add(&mut self, kind: Kind, words: impl FnOnce() -> String) {
        self.count(kind, 1);
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(words());
        }
    }

    /// Adds so many without words.
    pub(super) fn count(&mut self, kind: Kind, more: u64) {
        *match kind {
            Kind::Lost => &mut self.lost,
            Kind::Doubled => &mut self.doubled,
            Kind::OutOfOrder => &mut self.out_of_order,
        } += more;
    }

    /// Adds those of others.
    pub(super) fn join(&mut self, others: Self) {
        self.lost += others.lost;
        self.doubled += others.doubled;
        self.out_of_order += others.out_of_order;
        self.examples.extend(others.examples);
        self.examples.truncate(EXAMPLES_MAX);
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.lost + self.doubled + self.out_of_order
    }
}

#[cfg(test)]
mod tests {
    use super::{Findings, Kind};

    #[test]
    fn all_are_counted_and_the_first_are_told() {
        let mut findings = Findings::default();
        (0..50).for_each(|n| findings.add(Kind::Lost, || format!("{n} is lost")));
        findings.count(Kind::Doubled, 2);
        let mut others = Findings::default();
        others.add(Kind::OutOfOrder, || "late".to_owned());
        findings.join(others);
        assert_eq!((findings.total(), findings.lost, findings.out_of_order), (53, 50, 1));
        assert_eq!((findings.examples.len(), findings.examples[0].as_str()), (20, "0 is lost"));
    }
}
