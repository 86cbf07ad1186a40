//! A ledger of every message of a run, and its comparison with what a server has afterwards.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::tally::{Outcome, micros};

/// Every message of a run: when it was due and sent, and what became of it.
pub(crate) struct Ledger {
    begin: Instant,
    entries: Vec<Entry>,
}

/// Times are microseconds from the begin of the ledger: 32 bytes a message, since a run may take days.
struct Entry {
    due: u64,
    sent: u64,
    fate: Fate,
}

#[derive(Clone, Copy)]
enum Fate {
    /// Nobody said: it may be there, once.
    Unknown,
    /// It was not taken, for now: as the server may have been late to say so, it may be there, once.
    Refused,
    /// It is there, once, from this time on.
    Acknowledged(u64),
}

/// What a comparison found. A server that keeps its word has none of the violations.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Messages of this run that the server has.
    pub stored: u64,
    /// Not acknowledged, and there: no violation.
    pub stored_unasked: u64,
    /// Those that have any of them.
    pub conversations: u64,
    pub violations: Violations,
    /// The first of them, in words.
    pub examples: Vec<String>,
}

/// How often a server broke its word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Violations {
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There more than once.
    pub doubled: u64,
    /// Behind a message that was sent only after it had been acknowledged.
    pub out_of_order: u64,
    /// In another conversation than the customer's others.
    pub scattered: u64,
    /// There, and never sent.
    pub invented: u64,
}

/// Whose a message is.
#[derive(Clone, Copy)]
pub(crate) struct Author {
    /// With whom it is.
    pub(crate) customer: u64,
    /// Whether it was said to them. What they write and what they are answered has one order each: a
    /// customer's messages may be acknowledged and wait, and an answer does not wait for what nobody has
    /// seen.
    pub(crate) answers: bool,
}

/// Compares conversation by conversation.
pub(crate) struct Comparing<'a> {
    ledger: &'a Ledger,
    name: Box<dyn Fn(u64) -> String + 'a>,
    seen: Vec<bool>,
    /// The conversation of each customer, by its number.
    homes: HashMap<u64, u64>,
    found: Comparison,
}

/// So many violations are told in words.
const EXAMPLES_MAX: usize = 10;

impl Ledger {
    pub(crate) fn new(begin: Instant) -> Self {
        Self { begin, entries: Vec::new() }
    }

    /// Enters a message that was due and is about to be sent; answers its number.
    pub(crate) fn sent(&mut self, due: Instant, at: Instant) -> u64 {
        let n = self.entries.len() as u64;
        let (due, sent) = (self.since_begin(due), self.since_begin(at));
        self.entries.push(Entry { due, sent, fate: Fate::Unknown });
        n
    }

    /// When a message was due; `None`: there is none of this number.
    pub(crate) fn due(&self, n: u64) -> Option<Instant> {
        let entry = self.entries.get(usize::try_from(n).ok()?)?;
        Some(self.begin + Duration::from_micros(entry.due))
    }

    /// How many were sent.
    pub(crate) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Enters what became of a message that was sent again: once it is acknowledged it stays so.
    pub(crate) fn repeated(&mut self, n: u64, at: Instant, outcome: &Outcome) {
        let entry = usize::try_from(n).ok().and_then(|n| self.entries.get(n));
        let is_there = |entry: &Entry| matches!(entry.fate, Fate::Acknowledged(_));
        if matches!(outcome, Outcome::Answered(200..300)) && !entry.is_some_and(is_there) {
            self.ended(n, at, outcome);
        }
    }

    /// Enters what became of a message.
    pub(crate) fn ended(&mut self, n: u64, at: Instant, outcome: &Outcome) {
        let fate = match outcome {
            Outcome::Answered(200..300) => Fate::Acknowledged(self.since_begin(at)),
            Outcome::Answered(_) => Fate::Refused,
            Outcome::Broken(_) | Outcome::Unanswered => Fate::Unknown,
        };
        if let Some(entry) = usize::try_from(n).ok().and_then(|n| self.entries.get_mut(n)) {
            entry.fate = fate;
        }
    }

    /// How long after a time the first of what was sent from then on was acknowledged.
    pub(crate) fn first_after(&self, time: Instant) -> Option<Duration> {
        let from = self.since_begin(time);
        let behind = self.entries.iter().skip_while(|entry| entry.sent < from);
        let times = behind.filter_map(|entry| match entry.fate {
            Fate::Acknowledged(at) => Some(at - from),
            Fate::Unknown | Fate::Refused => None,
        });
        times.min().map(Duration::from_micros)
    }

    /// Begins to compare with what is there; messages are told by these names.
    pub(crate) fn compare<'a>(&'a self, name: impl Fn(u64) -> String + 'a) -> Comparing<'a> {
        let (seen, homes) = (vec![false; self.entries.len()], HashMap::new());
        let (name, found) = (Box::new(name), Comparison::default());
        Comparing { ledger: self, name, seen, homes, found }
    }

    fn since_begin(&self, at: Instant) -> u64 {
        micros(at - self.begin)
    }
}

impl Comparing<'_> {
    /// A conversation: the numbers of its messages of this run, the oldest first, and whose each is.
    pub(crate) fn conversation(&mut self, numbers: &[u64], author: impl Fn(u64) -> Author) {
        let home = self.found.conversations;
        self.found.conversations += u64::from(!numbers.is_empty());
        // Of those further up from each side, when the one was sent that was sent last.
        let mut last_sent = [None; 2];
        for &n in numbers {
            let at = usize::try_from(n).unwrap_or(usize::MAX);
            let Some(entry) = self.ledger.entries.get(at) else {
                self.found.violations.invented += 1;
                self.tell(n, |name| format!("{name} is there and was never sent"));
                continue;
            };
            if std::mem::replace(&mut self.seen[at], true) {
                self.found.violations.doubled += 1;
                self.tell(n, |name| format!("{name} is there more than once"));
                continue;
            }
            self.found.stored += 1;
            let Author { customer, answers } = author(n);
            let last_sent = &mut last_sent[usize::from(answers)];
            if *self.homes.entry(customer).or_insert(home) != home {
                self.found.violations.scattered += 1;
                self.tell(n, |name| format!("{name} is not with customer {customer}'s others"));
            }
            match (entry.fate, *last_sent) {
                (Fate::Acknowledged(acknowledged), Some((sent, later))) if acknowledged < sent => {
                    self.found.violations.out_of_order += 1;
                    let later = (self.name)(later);
                    self.tell(n, |name| {
                        format!(
                            "{name} stands behind {later}, which was sent after its acknowledgement"
                        )
                    });
                }
                (Fate::Acknowledged(_), _) => {}
                _ => self.found.stored_unasked += 1,
            }
            *last_sent = (*last_sent).max(Some((entry.sent, n)));
        }
    }

    /// What all conversations together have shown.
    pub(crate) fn end(mut self) -> Comparison {
        for (n, entry) in self.ledger.entries.iter().enumerate() {
            self.found.sent += 1;
            match entry.fate {
                Fate::Unknown => self.found.unknown += 1,
                Fate::Refused => self.found.refused += 1,
                Fate::Acknowledged(_) => {
                    self.found.acknowledged += 1;
                    if !self.seen[n] {
                        self.found.violations.lost += 1;
                        self.tell(n as u64, |name| {
                            format!("{name} was acknowledged and is not there")
                        });
                    }
                }
            }
        }
        self.found
    }

    fn tell(&mut self, n: u64, what: impl FnOnce(String) -> String) {
        if self.found.examples.len() < EXAMPLES_MAX {
            let name = format!("message {}", (self.name)(n));
            self.found.examples.push(what(name));
        }
    }
}

impl Violations {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, acknowledged, refused, unknown, stored, conversations, .. } = self;
        writeln!(
            to,
            "{sent} sent: {acknowledged} acknowledged, {refused} refused, {unknown} unknown; \
             {stored} there in {conversations} conversations"
        )?;
        if self.violations.is_none() {
            return Ok(());
        }
        writeln!(to, "BROKEN WORD: {:?}", self.violations)?;
        self.examples.iter().try_for_each(|example| writeln!(to, "  {example}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Author, Comparison, Ledger, Violations};
    use crate::tally::Outcome;
    use std::io::ErrorKind;
    use std::time::Duration;
    use tokio::time::Instant;

    /// Five messages, one after the other: three are acknowledged, then one is refused and one
    /// breaks.
    fn five() -> Ledger {
        five_behind(Duration::ZERO)
    }

    /// The same so long behind the begin.
    fn five_behind(time: Duration) -> Ledger {
        let mut ledger = Ledger::new(Instant::now());
        let begin = ledger.begin + time;
        let outcomes = [
            Outcome::Answered(200),
            Outcome::Answered(200),
            Outcome::Answered(201),
            Outcome::Answered(503),
            Outcome::Broken(ErrorKind::ConnectionReset.into()),
        ];
        for (n, outcome) in (0..).zip(outcomes) {
            let at = begin + Duration::from_millis(10 * n);
            assert_eq!(ledger.sent(at, at), n);
            ledger.ended(n, at + Duration::from_millis(5), &outcome);
        }
        ledger
    }

    /// Longer than any scenario's phase.
    const LONG: Duration = Duration::from_secs(90_000);

    #[test]
    fn a_message_is_due_when_it_was_however_long_the_run() {
        let ledger = five_behind(LONG);
        assert_eq!(ledger.due(2), Some(ledger.begin + LONG + Duration::from_millis(20)));
        assert_eq!(ledger.first_after(ledger.begin + LONG), Some(Duration::from_millis(5)));
    }

    fn compared(ledger: &Ledger, conversations: &[&[u64]]) -> Comparison {
        let mut comparing = ledger.compare(|n| format!("m{n}"));
        for conversation in conversations {
            comparing.conversation(conversation, |_| Author { customer: 7, answers: false });
        }
        comparing.end()
    }

    #[test]
    fn what_was_acknowledged_is_there_once_and_what_was_not_may_be() {
        for stored in [&[0, 1, 2][..], &[0, 1, 2, 3], &[0, 1, 2, 4], &[0, 1, 2, 4, 3]] {
            let found = compared(&five(), &[stored]);
            assert!(found.violations.is_none() && found.examples.is_empty(), "{stored:?}");
            assert_eq!(
                (found.sent, found.acknowledged, found.refused, found.unknown),
                (5, 3, 1, 1)
            );
            assert_eq!(found.stored_unasked, stored.len() as u64 - 3);
        }
    }

    #[test]
    fn each_kind_of_broken_word_is_found() {
        let none = Violations::default();
        let broken: [(&[&[u64]], Violations); 6] = [
            (&[&[0, 2]], Violations { lost: 1, ..none }),
            (&[], Violations { lost: 3, ..none }),
            (&[&[0, 1, 1, 2]], Violations { doubled: 1, ..none }),
            (&[&[0, 2, 1]], Violations { out_of_order: 1, ..none }),
            (&[&[0, 1], &[2]], Violations { scattered: 1, ..none }),
            (&[&[0, 1, 2, 9]], Violations { invented: 1, ..none }),
        ];
        for after in [Duration::ZERO, LONG] {
            for (stored, violations) in broken {
                let found = compared(&five_behind(after), stored);
                assert_eq!(found.violations, violations, "{stored:?}, {after:?}");
                assert!(!found.examples.is_empty());
            }
        }
    }

    #[test]
    fn a_violation_names_the_message_in_a_sentence() {
        let found = compared(&five(), &[&[0, 2, 1]]);
        let sentence = "message m1 stands behind m2, which was sent after its acknowledgement";
        assert_eq!(found.examples, [sentence]);
        let found = compared(&five(), &[&[0, 1]]);
        assert_eq!(found.examples, ["message m2 was acknowledged and is not there"]);
    }

    #[test]
    fn what_is_acknowledged_when_it_is_sent_again_has_to_be_there() {
        let mut ledger = five();
        let at = ledger.begin + Duration::from_millis(100);
        ledger.repeated(3, at, &Outcome::Answered(200));
        // Whatever becomes of a duplicate, what was acknowledged stays so.
        ledger.repeated(0, at, &Outcome::Answered(503));
        let found = compared(&ledger, &[&[0, 1, 2]]);
        assert_eq!((found.acknowledged, found.refused, found.violations.lost), (4, 0, 1));
    }

    #[test]
    fn an_acknowledged_message_stands_before_what_was_sent_after_it_acknowledged_or_not() {
        let found = compared(&five(), &[&[0, 1, 4, 2, 3]]);
        assert_eq!(found.violations, Violations { out_of_order: 1, ..Violations::default() });
    }

    #[test]
    fn what_customers_write_and_what_they_are_answered_has_one_order_each() {
        let ledger = five();
        let compared = |numbers: &[u64], answers: &[u64]| {
            let mut comparing = ledger.compare(|n| format!("m{n}"));
            let author = |n| Author { customer: 7, answers: answers.contains(&n) };
            comparing.conversation(numbers, author);
            comparing.end().violations.out_of_order
        };
        assert_eq!(compared(&[1, 0, 2], &[1]), 0);
        assert_eq!(compared(&[2, 0, 1], &[1, 2]), 1);
        assert_eq!(compared(&[1, 2, 0], &[1]), 1);
    }

    #[test]
    fn after_an_outage_the_first_that_is_sent_and_acknowledged_tells_that_it_is_over() {
        let ledger = five();
        let at = |millis| ledger.begin + Duration::from_millis(millis);
        assert_eq!(ledger.first_after(at(12)), Some(Duration::from_millis(13)));
        assert_eq!(ledger.first_after(at(25)), None);
    }

    #[test]
    fn messages_that_were_under_way_together_may_stand_either_way() {
        let begin = Instant::now();
        let mut ledger = Ledger::new(begin);
        let later = begin + Duration::from_millis(1);
        let (one, other) = (ledger.sent(begin, begin), ledger.sent(begin, later));
        for n in [one, other] {
            ledger.ended(n, begin + Duration::from_millis(5), &Outcome::Answered(200));
        }
        assert!(compared(&ledger, &[&[1, 0]]).violations.is_none());
        assert!(compared(&ledger, &[&[0, 1]]).violations.is_none());
    }
}
