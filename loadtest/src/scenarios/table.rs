//! What a run found, for people at a terminal.

use std::fmt;

use crate::result::{ACKNOWLEDGE, END_TO_END, LATENESS, Phase, RunResult};
use crate::units::millis;

/// A result as plain text, in columns.
pub struct Table<'a>(pub &'a RunResult);

const HEAD: [&str; 12] = [
    "phase",
    "asked/s",
    "acked/s",
    "ack p50",
    "p99 ms",
    "event p50",
    "p99 ms",
    "us/webhook",
    "us/event",
    "MB",
    "late p99",
    "counts",
];

impl fmt::Display for Table<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = self.0;
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(result.phases.iter().map(row));
        for row in &rows {
            for (column, cell) in row.iter().enumerate() {
                let width = rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
                match column {
                    0 => write!(to, "{cell:width$}")?,
                    _ => write!(to, "  {cell:>width$}")?,
                }
            }
            writeln!(to)?;
        }
        for phase in &result.phases {
            let shown = [ACKNOWLEDGE, END_TO_END, LATENESS];
            let others = phase.latencies.keys().filter(|of| !shown.contains(&of.as_str()));
            let others: Vec<_> = others.filter_map(|of| in_words(phase, of)).collect();
            if !others.is_empty() {
                writeln!(to, "{}, p50 and p99 ms: {}", phase.name, others.join("; "))?;
            }
            for (what, failed) in
                [("pages", phase.pages_failed), ("repeats", phase.duplicates_failed)]
            {
                if failed > 0 {
                    writeln!(to, "{}: {failed} {what} were refused or not answered", phase.name)?;
                }
            }
            for why in &phase.why_invalid {
                writeln!(to, "{}: its latencies do not count, since {why}", phase.name)?;
            }
        }
        let ledger = &result.ledger;
        writeln!(
            to,
            "\nledger: {} acknowledged, {} refused, {} unknown (of these two {} are there); {} there, \
             {} events, {} reconnects, {} kills",
            ledger.acknowledged,
            ledger.refused,
            ledger.unknown,
            ledger.unknown_stored,
            ledger.stored,
            ledger.events,
            ledger.reconnects,
            ledger.kills
        )?;
        writeln!(
            to,
            "        {} lost, {} doubled, {} out of order",
            ledger.lost, ledger.doubled, ledger.out_of_order
        )?;
        for note in &result.notes {
            writeln!(to, "note: {note}")?;
        }
        for violation in &result.violations {
            writeln!(to, "BROKEN WORD: {violation}")?;
        }
        let told = result.violations.len() as u64;
        match result.violations_total.saturating_sub(told) {
            0 => Ok(()),
            more => writeln!(to, "BROKEN WORD: {more} times more"),
        }
    }
}

/// How long something took that has no column.
fn in_words(phase: &Phase, of: &str) -> Option<String> {
    let took = phase.latency(of)?;
    let at = |quantile| millis(took.value_at_quantile(quantile));
    Some(format!("{} {:.1}, {:.1}", of.replace('_', " of "), at(0.5), at(0.99)))
}

fn row(phase: &Phase) -> [String; 12] {
    let at = |of: &str, quantile| {
        phase.latency(of).map_or(String::new(), |took| {
            format!("{:.1}", millis(took.value_at_quantile(quantile)))
        })
    };
    let rate = |rate: f64| format!("{rate:.0}");
    let each = |count: u64| {
        let each = phase.server.and_then(|server| server.each(count));
        each.map_or(String::new(), |each| format!("{each:.1}"))
    };
    let memory = phase.server.map(|server| format!("{:.0}", server.rss_after as f64 / 1e6));
    let counts = if phase.valid { "yes" } else { "no" };
    [
        phase.name.clone(),
        phase.target_rate.map_or(String::new(), rate),
        rate(phase.rate(phase.acknowledged_within())),
        at(ACKNOWLEDGE, 0.5),
        at(ACKNOWLEDGE, 0.99),
        at(END_TO_END, 0.5),
        at(END_TO_END, 0.99),
        each(phase.acknowledged_within()),
        each(phase.delivered_within()),
        memory.unwrap_or_default(),
        at(LATENESS, 0.99),
        counts.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::result::{Ledger, Phase, RunResult};

    #[test]
    fn columns_are_aligned_and_what_is_wrong_is_said() {
        let phase = |name: &str, rate, valid| Phase {
            name: name.to_owned(),
            target_rate: Some(rate),
            seconds: 1.0,
            valid,
            why_invalid: if valid { Vec::new() } else { vec!["it was late".to_owned()] },
            pages_failed: if valid { 4 } else { 0 },
            ..Phase::default()
        };
        let result = RunResult {
            phases: vec![phase("30 %", 7.0, true), phase("a long name", 12_345.0, false)],
            ledger: Ledger { lost: 3, ..Ledger::default() },
            violations: vec!["message m1 was acknowledged and is not there".to_owned()],
            violations_total: 3,
            ..RunResult::default()
        };
        let text = Table(&result).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[..3].iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(text.contains("30 %: 4 pages were refused or not answered"), "{text}");
        assert!(text.contains("a long name: its latencies do not count, since it was late"));
        assert!(text.contains("3 lost") && text.contains("BROKEN WORD: message m1 was"));
        assert!(text.contains("BROKEN WORD: 2 times more"), "{text}");
    }
}
