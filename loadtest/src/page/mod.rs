//! A run as one page that needs nothing else: no network, and no script.

mod plot;
mod plots;
mod tables;

use hdrhistogram::Histogram;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::result::{ACKNOWLEDGE, CONNECT, END_TO_END, LATENESS, Ledger, Phase, REST, RunResult};
use crate::units::{NONE, count, duration, megabytes, millis, short};

const STYLE: &str = include_str!("style.css");
/// Nothing is fetched and nothing runs, whatever a result has in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// The load whose figures stand on top, if there was one.
const HEADLINE_LOAD: f64 = 0.7;

/// The page that shows a run.
pub fn page(result: &RunResult) -> String {
    let name = &result.scenario.name;
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (name) " · OmniStream load test" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (header(result))
                    (verdict(result))
                    (invalid(result))
                    (headline(result))
                    (plots::over_time(result))
                    (plots::by_load(result))
                    (plots::by_percentile(result))
                    (tables::phases(result))
                    (tables::ledger(&result.ledger))
                    (notes(result))
                    (tables::machine(result))
                    (scenario(result))
                }
            }
        }
    };
    markup.into_string()
}

fn header(result: &RunResult) -> Markup {
    let server = result.server_version.as_deref().unwrap_or("of an unknown version");
    html! {
        header {
            p.eyebrow { "OmniStream load test" }
            h1 { (result.scenario.name) }
            p.about {
                time { (result.started.replace('T', " ").replace('Z', " UTC")) }
                span { (duration(result.seconds)) }
                span { "server " (server) }
                span { "seed " (result.seed) }
            }
        }
    }
}

/// What matters most: whether the server kept its word.
fn verdict(result: &RunResult) -> Markup {
    let Ledger { acknowledged, lost, doubled, out_of_order, events, kills, .. } = result.ledger;
    let broken = result.violations_total.max(lost + doubled + out_of_order);
    let others = result.violations_total.saturating_sub(result.violations.len() as u64);
    html! {
        @if broken > 0 {
            section.panel.bad {
                h2 {
                    (count(broken)) (if broken == 1 { " violation" } else { " violations" })
                    ": the server broke its word"
                }
                p {
                    (count(lost)) " lost, " (count(doubled)) " doubled, "
                    (count(out_of_order)) " out of order"
                }
                @if !result.violations.is_empty() {
                    ul { @for violation in &result.violations { li { (violation) } } }
                }
                @if others > 0 && !result.violations.is_empty() { p { "and " (count(others)) " more" } }
            }
        } @else if acknowledged + events == 0 {
            section.panel.warn {
                h2 { "Nothing was checked" }
                p { "No message was acknowledged, and no event came." }
            }
        } @else {
            section.panel.good {
                h2 { "Nothing lost, nothing doubled, nothing out of order" }
                p {
                    (count(acknowledged)) " acknowledged messages read back, "
                    (count(events)) " events checked"
                    @if kills > 0 { ", the server killed " (count(kills)) (if kills == 1 { " time" } else { " times" }) }
                }
            }
        }
    }
}

fn invalid(result: &RunResult) -> Markup {
    let invalid: Vec<&Phase> = result.phases.iter().filter(|phase| !phase.valid).collect();
    html! {
        @if !invalid.is_empty() {
            section.panel.warn {
                h2 {
                    (invalid.len()) " of " (result.phases.len()) " phases "
                    (if invalid.len() == 1 { "is" } else { "are" }) " not valid"
                }
                ul {
                    @for phase in invalid {
                        li { b { (phase.name) } ": " (phase.why_invalid.join("; ")) }
                    }
                }
            }
        }
    }
}

/// The few figures that most people look for, of one phase.
fn headline(result: &RunResult) -> Markup {
    let Some(phase) = headline_phase(&result.phases) else { return html! {} };
    let p99 = |of| {
        let p99 = |taken: &Histogram<u64>| millis(taken.value_at_quantile(0.99));
        phase.latency(of).map(p99)
    };
    let each = |of| phase.server.and_then(|server| server.each(of));
    let loads = result.phases.iter().filter(|phase| !phase.series.is_empty());
    let most = loads.clone().map(|phase| phase.rate(phase.acknowledged_within())).reduce(f64::max);
    let seconds = loads.flat_map(|phase| &phase.series);
    let peak = seconds.filter_map(|second| second.server_rss_bytes).max().map(megabytes);
    // Only latencies hang on the generator.
    let figures = [
        ("peak rate", most.filter(|most| *most > 0.0), "/s", false),
        ("acknowledge p99", p99(ACKNOWLEDGE), "ms", !phase.valid),
        ("end to end p99", p99(END_TO_END), "ms", !phase.valid),
        ("page p99", p99(REST), "ms", !phase.valid),
        ("CPU each webhook", each(phase.acknowledged_within()), "µs", false),
        ("CPU each event", each(phase.delivered_within()), "µs", false),
        ("most memory", peak, "MB", false),
    ];
    html! {
        section {
            dl.headline {
                @for (name, figure, unit, is_doubtful) in figures {
                    @if let Some(figure) = figure {
                        div.doubtful[is_doubtful] {
                            dt { (name) }
                            dd { (short(figure)) small { (unit) } }
                        }
                    }
                }
            }
            p.note {
                "Latencies and CPU of the phase “" (phase.name) "”"
                @if !phase.valid { ", which is not valid: its latencies do not count" }
                "."
            }
        }
    }
}

/// An open loop rather than a search, one that is valid, and at the load that is usual.
fn headline_phase(phases: &[Phase]) -> Option<&Phase> {
    let beside = |phase: &Phase| phase.load.map_or(1.0, |load| (load - HEADLINE_LOAD).abs());
    phases.iter().filter(|phase| !phase.series.is_empty()).min_by(|one, other| {
        let kind = other.target_rate.is_some().cmp(&one.target_rate.is_some());
        let validity = other.valid.cmp(&one.valid);
        let load = beside(one).total_cmp(&beside(other));
        kind.then(validity).then(load).then(other.offered.cmp(&one.offered))
    })
}

fn notes(result: &RunResult) -> Markup {
    html! {
        @if !result.notes.is_empty() {
            section {
                h2 { "Notes" }
                ul.notes { @for note in &result.notes { li { (note) } } }
            }
        }
    }
}

fn scenario(result: &RunResult) -> Markup {
    html! {
        section {
            h2 { "Scenario" }
            pre { (result.scenario.text) }
            p.note { "hash " code { (result.scenario.hash) } }
        }
    }
}

/// What a histogram is about, as it is headed.
fn latency_name(name: &str) -> String {
    let known = [
        (ACKNOWLEDGE, "Acknowledge"),
        (END_TO_END, "End to end"),
        (CONNECT, "Connect"),
        (REST, "Page by REST"),
    ];
    let known = known.iter().find_map(|(known, head)| Some((*head, name.strip_prefix(known)?)));
    let (head, rest) = known.unwrap_or_else(|| name.split_at(name.ceil_char_boundary(1)));
    let head = if known.is_some() { head.to_owned() } else { head.to_uppercase() };
    format!("{head}{}", rest.replace('_', " "))
}

/// What took how long in a phase, the most asked for first.
fn latencies(phase: &Phase) -> impl Iterator<Item = (&str, &Histogram<u64>)> {
    let names = phase.latencies.keys().map(String::as_str).filter(|name| *name != LATENESS);
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| (rank(name), *name));
    names.into_iter().filter_map(|name| Some((name, phase.latency(name)?)))
}

fn rank(name: &str) -> usize {
    let known = [ACKNOWLEDGE, END_TO_END, REST, CONNECT];
    known.iter().position(|known| name.starts_with(known)).unwrap_or(known.len())
}

/// A cell with a figure, or none.
fn cell(figure: Option<String>) -> Markup {
    html! { td { (figure.as_deref().unwrap_or(NONE)) } }
}

#[cfg(test)]
mod tests;
