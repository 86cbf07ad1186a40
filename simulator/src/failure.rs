//! What happens to a send, by its recipient's last digits or its template's last letters: the
//! tables in `failures.md`.

use std::collections::HashMap;

use crate::error::{self, GraphError};

/// Recipients whose tries are counted at once; beyond it counting starts anew.
const COUNTED: usize = 10_000;
const ALWAYS: u32 = u32::MAX;

/// What happens to a send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Accept,
    /// Accepted, and the answer never comes.
    Hang,
    /// Accepted, and a status says later that it failed.
    FailLater,
    Refuse(GraphError),
    /// A gateway's page instead of an answer.
    Html,
}

static TABLE: [(&str, Fate, u32); 10] = [
    ("000190", Fate::Refuse(error::TOKEN), ALWAYS),
    ("000429", Fate::Refuse(error::THROUGHPUT), 2),
    ("130429", Fate::Refuse(error::THROUGHPUT), ALWAYS),
    ("131056", Fate::Refuse(error::PAIR), 1),
    ("131026", Fate::Refuse(error::UNDELIVERABLE), ALWAYS),
    ("131047", Fate::Refuse(error::WINDOW), ALWAYS),
    ("000500", Fate::Refuse(error::SERVER), 2),
    ("000502", Fate::Html, ALWAYS),
    ("000408", Fate::Hang, ALWAYS),
    ("000131", Fate::FailLater, ALWAYS),
];

/// Names of templates that end so are refused.
static TEMPLATES: [(&str, GraphError); 4] = [
    ("_132000", error::TEMPLATE_PARAMETERS),
    ("_132001", error::UNKNOWN_TEMPLATE),
    ("_132015", error::TEMPLATE_PAUSED),
    ("_132016", error::TEMPLATE_DISABLED),
];

/// How the review of a template ends whose name ends so, and what follows after as long again.
static REVIEWS: [(&str, &str, Option<&str>); 3] = [
    ("_rejected", "REJECTED", None),
    ("_paused", "APPROVED", Some("PAUSED")),
    ("_disabled", "APPROVED", Some("DISABLED")),
];

/// With what a send of this template is refused, by its name.
pub(crate) fn of_template(name: &str) -> Option<GraphError> {
    TEMPLATES.iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, error)| error.clone())
}

/// How the review of this template ends, by its name, and what follows.
pub(crate) fn of_review(name: &str) -> (&'static str, Option<&'static str>) {
    let row = REVIEWS.iter().find(|(suffix, ..)| name.ends_with(suffix));
    row.map_or(("APPROVED", None), |(_, verdict, then)| (*verdict, *then))
}

/// Counts tries by recipient.
#[derive(Debug, Default)]
pub(crate) struct Tries(HashMap<String, u32>);

impl Tries {
    /// What happens to the next send to this recipient.
    pub(crate) fn next(&mut self, to: &str) -> Fate {
        let Some((_, fate, limit)) = TABLE.iter().find(|(suffix, ..)| to.ends_with(suffix)) else {
            return Fate::Accept;
        };
        if *limit == ALWAYS {
            return fate.clone();
        }
        if self.0.len() >= COUNTED {
            self.0.clear();
        }
        let tries = self.0.entry(to.to_owned()).or_default();
        *tries += 1;
        if *tries <= *limit {
            return fate.clone();
        }
        self.0.remove(to);
        Fate::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(last: &str) -> &'static str {
        let mut lines = crate::FAILURES.lines();
        lines.find(|line| line.starts_with(&format!("| {last}"))).unwrap_or_default()
    }

    #[test]
    fn every_row_is_in_the_documented_table() {
        for (suffix, _, limit) in &TABLE {
            let tries = if *limit == ALWAYS { "always".to_owned() } else { limit.to_string() };
            assert!(row(suffix).contains(&format!("| {tries:<6} |")), "{suffix}");
        }
        for (suffix, error) in &TEMPLATES {
            assert!(row(suffix).contains(&error.code.to_string()), "{suffix}");
        }
        for (suffix, verdict, then) in &REVIEWS {
            let row = row(suffix);
            assert!(row.contains(*verdict) && row.contains(then.unwrap_or_default()), "{suffix}");
        }
    }

    #[test]
    fn a_throttled_recipient_is_let_through_on_the_third_try_and_counted_anew() {
        let mut tries = Tries::default();
        let fates: Vec<_> = (0..4).map(|_| tries.next("4915550000429")).collect();
        let refused = || Fate::Refuse(error::THROUGHPUT);
        assert_eq!(fates, [refused(), refused(), Fate::Accept, refused()]);
        assert_eq!(tries.next("4915551234567"), Fate::Accept);
    }
}
