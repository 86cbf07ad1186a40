//! Runs of one server compared with runs of another: only what both were asked alike.

use std::fmt;

use crate::result::{ACKNOWLEDGE, CONNECT, END_TO_END, Phase, REST, RunResult};
use crate::units::{NONE, fixed, megabytes, millis};

/// A run, and how it is called: its file.
pub struct Run {
    pub name: String,
    pub result: RunResult,
}

/// What a comparison shows: for each figure of each phase the ratio of B's median to A's.
pub struct Compared {
    scenario: String,
    /// Whose medians they are, A and B.
    sides: [String; 2],
    rows: Vec<Row>,
    /// Why it does not count, a sentence each.
    doubts: Vec<String>,
    /// What else is worth knowing.
    notes: Vec<String>,
}

/// Why runs are not compared: a sentence that says what to do.
#[derive(Debug)]
pub struct Incomparable(String);

struct Row {
    phase: String,
    figure: Figure,
    /// Medians; none where a run has not got the figure.
    medians: [Option<f64>; 2],
    /// Of B to A: the least and the most of the rounds.
    ratios: Vec<f64>,
}

/// A phase's name, and how many of that name come before it.
type Place<'a> = (&'a str, usize);

/// A figure of a phase.
#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    decimals: usize,
    is_better_when: Better,
    of: fn(&Phase) -> Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

/// With fewer rounds chance alone may put all of them on one side.
const ROUNDS_MIN: usize = 3;

const FIGURES: [Figure; 16] = [
    more("acknowledged /s", 0, |phase| Some(phase.rate(phase.acknowledged_within()))),
    more("delivered /s", 0, |phase| Some(phase.rate(phase.delivered_within()))),
    less("acknowledge p50 ms", 2, |phase| quantile(phase, ACKNOWLEDGE, 0.5)),
    less("acknowledge p99 ms", 2, |phase| quantile(phase, ACKNOWLEDGE, 0.99)),
    less("acknowledge p99.9 ms", 2, |phase| quantile(phase, ACKNOWLEDGE, 0.999)),
    less("end to end p50 ms", 2, |phase| quantile(phase, END_TO_END, 0.5)),
    less("end to end p99 ms", 2, |phase| quantile(phase, END_TO_END, 0.99)),
    less("end to end p99.9 ms", 2, |phase| quantile(phase, END_TO_END, 0.999)),
    less("page p50 ms", 2, |phase| quantile(phase, REST, 0.5)),
    less("page p99 ms", 2, |phase| quantile(phase, REST, 0.99)),
    less("connect p50 ms", 2, |phase| quantile(phase, CONNECT, 0.5)),
    less("connect p99 ms", 2, |phase| quantile(phase, CONNECT, 0.99)),
    less("CPU a webhook us", 1, |phase| phase.server?.each(phase.acknowledged_within())),
    less("CPU an event us", 1, |phase| phase.server?.each(phase.delivered_within())),
    less("memory after MB", 1, |phase| Some(megabytes(phase.server?.rss_after))),
    less("memory grown MB", 1, |phase| {
        Some(megabytes(phase.server?.rss_after.saturating_sub(phase.server?.rss_before)))
    }),
];

const fn more(name: &'static str, decimals: usize, of: fn(&Phase) -> Option<f64>) -> Figure {
    Figure { name, decimals, is_better_when: Better::More, of }
}

const fn less(name: &'static str, decimals: usize, of: fn(&Phase) -> Option<f64>) -> Figure {
    Figure { name, decimals, is_better_when: Better::Less, of }
}

fn quantile(phase: &Phase, of: &str, quantile: f64) -> Option<f64> {
    phase.latency(of).map(|taken| millis(taken.value_at_quantile(quantile)))
}

/// Compares runs of A with runs of B. Where there are equally many, those that have the same place
/// are a round: they were made one after the other.
pub fn compare(a: &[Run], b: &[Run]) -> Result<Compared, Incomparable> {
    let (Some(first), false) = (a.first(), b.is_empty()) else {
        return Err(Incomparable("name a result of each side".to_owned()));
    };
    let scenario = &first.result.scenario;
    for other in a.iter().chain(b) {
        if other.result.scenario.hash != scenario.hash {
            return Err(Incomparable(format!(
                "`{}` played another scenario ({}, {}) than `{}` ({}, {}): compare runs of the same",
                other.name,
                other.result.scenario.name,
                other.result.scenario.hash,
                first.name,
                scenario.name,
                scenario.hash
            )));
        }
    }
    let rows = places(&first.result.phases)
        .flat_map(|place| FIGURES.into_iter().filter_map(move |figure| row(place, figure, a, b)));
    Ok(Compared {
        scenario: scenario.name.clone(),
        sides: [side(a), side(b)],
        rows: rows.collect(),
        doubts: a.iter().chain(b).flat_map(doubts).collect(),
        notes: notes(a, b),
    })
}

fn side(runs: &[Run]) -> String {
    let mut versions: Vec<&str> =
        runs.iter().filter_map(|run| run.result.server_version.as_deref()).collect();
    versions.sort_unstable();
    versions.dedup();
    let of =
        if versions.is_empty() { "an unknown version".to_owned() } else { versions.join(", ") };
    match runs.len() {
        1 => format!("1 run of {of}"),
        n => format!("{n} runs of {of}"),
    }
}

/// Phases by name and, as several may have one, by how many of that name come before.
fn places(phases: &[Phase]) -> impl Iterator<Item = Place<'_>> {
    phases.iter().enumerate().map(|(at, Phase { name, .. })| {
        (name.as_str(), phases[..at].iter().filter(|phase| phase.name == *name).count())
    })
}

/// None where no run has the figure.
fn row((name, before): Place<'_>, figure: Figure, a: &[Run], b: &[Run]) -> Option<Row> {
    let of = |runs: &[Run]| -> Vec<Option<f64>> {
        let phase = |run: &Run| {
            let found = run.result.phases.iter().filter(|phase| phase.name == name).nth(before)?;
            (figure.of)(found).filter(|value| value.is_finite() && *value > 0.0)
        };
        runs.iter().map(phase).collect()
    };
    let (a, b) = (of(a), of(b));
    if a.iter().chain(&b).all(Option::is_none) {
        return None;
    }
    let all = |of: &[Option<f64>]| of.iter().copied().collect::<Option<Vec<f64>>>();
    let (a, b) = (all(&a), all(&b));
    let medians = [&a, &b].map(|values| values.as_deref().map(median));
    let ratios = a.zip(b).map_or_else(Vec::new, |(a, b)| ratios(&a, &b));
    let phase = match before {
        0 => name.to_owned(),
        _ => format!("{name} ({})", before + 1),
    };
    Some(Row { phase, figure, medians, ratios })
}

/// Of each round; of each run to each, where there are no rounds.
fn ratios(a: &[f64], b: &[f64]) -> Vec<f64> {
    match a.len() == b.len() {
        true => a.iter().zip(b).map(|(a, b)| b / a).collect(),
        false => a.iter().flat_map(|a| b.iter().map(move |b| b / a)).collect(),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// Why a run does not count.
fn doubts(run: &Run) -> Vec<String> {
    let Run { name, result } = run;
    let invalid = result.phases.iter().filter(|phase| !phase.valid).map(|phase| {
        format!("`{name}`: phase {} is not valid: {}", phase.name, phase.why_invalid.join("; "))
    });
    let mut doubts: Vec<String> = invalid.collect();
    if result.violations_total > 0 {
        doubts
            .push(format!("`{name}`: the server broke its word {} times", result.violations_total));
    }
    doubts
}

fn notes(a: &[Run], b: &[Run]) -> Vec<String> {
    let mut notes = Vec::new();
    let first = &a[0].result.machine;
    let is_same = |run: &Run| {
        let machine = &run.result.machine;
        (machine.cpus, &machine.model, &machine.kernel) == (first.cpus, &first.model, &first.kernel)
    };
    if !a.iter().chain(b).all(is_same) {
        notes.push("the runs were made on different machines".to_owned());
    }
    let rounds = a.len().min(b.len());
    if a.len() != b.len() {
        notes.push("the sides have no rounds: the spread is of each run to each".to_owned());
    }
    if rounds < ROUNDS_MIN {
        notes.push(format!("nothing is called better or worse before {ROUNDS_MIN} runs of each"));
    }
    notes
}

impl Compared {
    /// Whether its figures count.
    pub fn is_valid(&self) -> bool {
        self.doubts.is_empty()
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let [a, b] = self.medians;
        Some(b? / a?)
    }

    fn spread(&self) -> Option<(f64, f64)> {
        let least = self.ratios.iter().copied().reduce(f64::min)?;
        Some((least, self.ratios.iter().copied().fold(least, f64::max)))
    }

    /// Better or worse, where every round says so.
    fn verdict(&self) -> &'static str {
        let is_more = self.ratios.iter().all(|ratio| *ratio > 1.0);
        let is_less = self.ratios.iter().all(|ratio| *ratio < 1.0);
        match (self.figure.is_better_when, self.ratios.len() >= ROUNDS_MIN) {
            (Better::More, true) if is_more => "better",
            (Better::Less, true) if is_less => "better",
            (_, true) if is_more || is_less => "worse",
            _ => "",
        }
    }

    fn cells(&self) -> [String; 7] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
        let median =
            |value: Option<f64>| or_none(value.map(|value| fixed(value, self.figure.decimals)));
        let spread = self.spread().filter(|_| self.ratios.len() > 1);
        [
            self.phase.clone(),
            self.figure.name.to_owned(),
            median(self.medians[0]),
            median(self.medians[1]),
            or_none(self.ratio().map(|ratio| fixed(ratio, 3))),
            or_none(spread.map(|(from, to)| format!("{} – {}", fixed(from, 3), fixed(to, 3)))),
            self.verdict().to_owned(),
        ]
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = &self.sides;
        writeln!(to, "{}\nA: {a}\nB: {b}\n", self.scenario)?;
        let heads = ["phase", "median", "A", "B", "B/A", "spread", ""].map(str::to_owned);
        let mut table = vec![heads];
        let mut last = "";
        for row in &self.rows {
            let mut cells = row.cells();
            if std::mem::replace(&mut last, &row.phase) == row.phase {
                cells[0].clear();
            }
            table.push(cells);
        }
        let widths: [usize; 7] = std::array::from_fn(|column| {
            table.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0)
        });
        for cells in table {
            let mut line = String::new();
            for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
                line += &match column {
                    0 | 1 | 6 => format!("{cell:<width$}  "),
                    _ => format!("{cell:>width$}  "),
                };
            }
            writeln!(to, "{}", line.trim_end())?;
        }
        if !self.doubts.is_empty() {
            writeln!(to, "\nTHESE FIGURES DO NOT COUNT")?;
        }
        let lines = self.doubts.iter().chain(&self.notes);
        lines.enumerate().try_for_each(|(n, line)| {
            let space = if n == 0 && self.doubts.is_empty() { "\n" } else { "" };
            writeln!(to, "{space}{line}")
        })
    }
}

impl fmt::Display for Incomparable {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.0)
    }
}

impl std::error::Error for Incomparable {}

#[cfg(test)]
mod tests {
    use super::{Compared, Row, Run, compare, median};
    use crate::sample;

    /// Runs whose server took so many times the CPU of the sample's, and was that much slower.
    fn runs(side: &str, times: &[f64]) -> Vec<Run> {
        let run = |(n, times): (usize, &f64)| {
            let mut result = sample::run();
            for phase in &mut result.phases {
                phase.valid = true;
                phase.seconds *= times;
                let server = phase.server.as_mut().unwrap();
                server.user_us = (server.user_us as f64 * times) as u64;
                server.system_us = (server.system_us as f64 * times) as u64;
            }
            Run { name: format!("{side}{n}.json"), result }
        };
        times.iter().enumerate().map(run).collect()
    }

    fn row<'a>(compared: &'a Compared, phase: &str, figure: &str) -> &'a Row {
        let mut rows = compared.rows.iter();
        rows.find(|row| row.phase == phase && row.figure.name == figure).unwrap()
    }

    #[test]
    fn a_ratio_is_of_medians_and_its_spread_of_rounds() {
        let compared =
            compare(&runs("a", &[1.0, 2.0, 1.1]), &runs("b", &[0.9, 1.6, 0.88])).unwrap();
        let cpu = row(&compared, "70 %", "CPU a webhook us");
        let near = |found: f64, wanted: f64| (found - wanted).abs() < 1e-3;
        assert!(near(cpu.ratio().unwrap(), 0.9 / 1.1));
        let (least, most) = cpu.spread().unwrap();
        assert!(near(least, 0.8) && near(most, 0.9));
        assert_eq!(cpu.verdict(), "better");
        let rate = row(&compared, "70 %", "acknowledged /s");
        assert_eq!(rate.verdict(), "better");
        assert!(near(rate.ratio().unwrap(), 1.1 / 0.9));
        let latency = row(&compared, "70 %", "acknowledge p99 ms");
        assert_eq!((latency.ratio(), latency.verdict()), (Some(1.0), ""));
        assert!(compared.is_valid());
    }

    #[test]
    fn nothing_is_better_by_two_rounds_or_where_they_disagree() {
        for (a, b) in [(&[1.0, 1.0][..], &[0.5, 0.5][..]), (&[1.0; 3], &[0.5, 0.5, 1.1])] {
            let compared = compare(&runs("a", a), &runs("b", b)).unwrap();
            assert_eq!(row(&compared, "30 %", "CPU a webhook us").verdict(), "");
        }
        let worse = compare(&runs("a", &[1.0; 3]), &runs("b", &[1.3; 3])).unwrap();
        assert_eq!(row(&worse, "30 %", "CPU an event us").verdict(), "worse");
    }

    #[test]
    fn other_scenarios_are_refused_by_name() {
        let mut other = runs("b", &[1.0]);
        other[0].result.scenario.name = "chat".to_owned();
        other[0].result.scenario.hash = "0".to_owned();
        let refused = compare(&runs("a", &[1.0, 1.0]), &other).err().unwrap().to_string();
        for part in ["`b0.json`", "(chat, 0)", "`a0.json`", "(Inbound with subscribers, 9f"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert!(compare(&[], &runs("b", &[1.0])).is_err());
        assert!(compare(&runs("a", &[1.0]), &[]).is_err());
    }

    #[test]
    fn what_is_not_valid_does_not_count() {
        let mut late = runs("b", &[1.0]);
        late[0].result.phases[4].valid = false;
        let mut broken = runs("b", &[1.0]);
        broken[0].result.violations_total = 2;
        for (b, why) in [(late, "phase 90 % is not valid: the generator"), (broken, "2 times")] {
            let compared = compare(&runs("a", &[1.0]), &b).unwrap();
            let text = compared.to_string();
            assert!(!compared.is_valid() && text.contains("DO NOT COUNT"), "{text}");
            assert!(text.contains(why) && text.contains("`b0.json`"), "{text}");
        }
    }

    #[test]
    fn what_a_run_has_not_got_is_a_dash_and_what_none_has_no_line() {
        let mut without = runs("b", &[1.0]);
        without[0].result.phases[1].server = None;
        without[0].result.phases.remove(2);
        let compared = compare(&runs("a", &[1.0]), &without).unwrap();
        for (phase, figure) in [("30 %", "CPU a webhook us"), ("50 %", "acknowledged /s")] {
            let row = row(&compared, phase, figure);
            assert!(row.ratio().is_none() && row.medians[0].is_some());
            assert_eq!(row.cells()[3..], ["–", "–", "–", ""]);
        }
        assert!(!compared.rows.iter().any(|row| row.figure.name == "page p50 ms"));
        let nothing = Run { name: String::new(), result: Default::default() };
        let nothing = [nothing];
        assert!(compare(&nothing, &nothing).unwrap().rows.is_empty());
    }

    #[test]
    fn phases_of_one_name_are_compared_each_with_that_of_its_place() {
        let twice = |side: &str, seconds: f64| {
            let mut runs = runs(side, &[1.0]);
            let mut again = runs[0].result.phases[1].clone();
            again.seconds *= seconds;
            runs[0].result.phases.push(again);
            runs
        };
        let compared = compare(&twice("a", 1.0), &twice("b", 0.5)).unwrap();
        let ratio = |phase| row(&compared, phase, "acknowledged /s").ratio().unwrap();
        assert!((ratio("30 %") - 1.0).abs() < 1e-9 && (ratio("30 % (2)") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn columns_line_up() {
        let text = compare(&runs("a", &[1.0; 3]), &runs("b", &[1.3; 3])).unwrap().to_string();
        let ends =
            text.lines().filter(|line| line.ends_with(" better") || line.ends_with(" worse"));
        let mut starts: Vec<_> = ends
            .map(|line| {
                line.chars().rev().position(|one| one == ' ').map(|at| line.chars().count() - at)
            })
            .collect();
        starts.dedup();
        assert_eq!(starts.len(), 1, "{text}");
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(
            [median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0]), median(&[7.0])],
            [2.0, 2.5, 7.0]
        );
    }
}
