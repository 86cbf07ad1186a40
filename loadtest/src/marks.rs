//! What the messages of a run are known by, in ids and texts alike.

use memchr::memmem::Finder;

/// Marks the messages of one run: the run's own digits, then those of the message's number.
pub(crate) struct Mark {
    run: String,
    finder: Finder<'static>,
}

/// Digits of a message's number.
const DIGITS: usize = 16;

impl Mark {
    /// Of a run that began at this time: others have other digits.
    pub(crate) fn new(micros_since_1970: u128) -> Self {
        let run = format!("{micros_since_1970:016X}");
        let finder = Finder::new(&run).into_owned();
        Self { run, finder }
    }

    /// What every mark of this run begins with.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// The mark of the message number `n`.
    pub(crate) fn of(&self, n: u64) -> String {
        format!("{}{n:0DIGITS$X}", self.run)
    }

    /// The number of the first marked message that is named here, if any is.
    pub(crate) fn number(&self, text: &[u8]) -> Option<u64> {
        let at = self.finder.find(text)? + self.run.len();
        let digits = std::str::from_utf8(text.get(at..at + DIGITS)?).ok()?;
        u64::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Mark;

    #[test]
    fn a_message_is_known_by_its_mark_wherever_that_stands() {
        let mark = Mark::new(1_790_000_000_000_000);
        for n in [0, 7, 0xFF, u64::MAX] {
            let named = format!("<{}@customers.example>", mark.of(n));
            assert_eq!(mark.number(named.as_bytes()), Some(n));
        }
    }

    #[test]
    fn what_another_run_has_sent_or_is_cut_short_is_no_message_of_this_run() {
        let mark = Mark::new(1_790_000_000_000_000);
        let other = Mark::new(1_790_000_000_000_001);
        assert_eq!(mark.number(other.of(7).as_bytes()), None);
        assert_eq!(mark.number(&mark.of(7).as_bytes()[..31]), None);
        assert_eq!(mark.number(b"hello"), None);
    }
}
