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
    let most = result.phases.iter().map(|phase| phase.rate(phase.acknowledged)).fold(0.0, f64::max);
    let Some(phase) = headline_phase(&result.phases) else { return html! {} };
    let p99 = |of| {
        let p99 = |taken: &Histogram<u64>| millis(taken.value_at_quantile(0.99));
        phase.latency(of).map(p99)
    };
    let each = |of| phase.server.and_then(|server| server.each(of));
    let seconds = result.phases.iter().flat_map(|phase| &phase.series);
    let peak = seconds.filter_map(|second| second.server_rss_bytes).max().map(megabytes);
    let figures = [
        ("most acknowledged", Some(most).filter(|most| *most > 0.0), "a second"),
        ("acknowledge p99", p99(ACKNOWLEDGE), "ms"),
        ("end to end p99", p99(END_TO_END), "ms"),
        ("page p99", p99(REST), "ms"),
        ("CPU each webhook", each(phase.acknowledged), "µs"),
        ("CPU each event", each(phase.delivered), "µs"),
        ("most memory", peak, "MB"),
    ];
    html! {
        section {
            dl.headline {
                @for (name, figure, unit) in figures {
                    @if let Some(figure) = figure {
                        div { dt { (name) } dd { (short(figure)) small { (unit) } } }
                    }
                }
            }
            p.note {
                "Latencies and CPU of the phase “" (phase.name) "”"
                @if !phase.valid { ", which is not valid" }
                "."
            }
        }
    }
}

fn headline_phase(phases: &[Phase]) -> Option<&Phase> {
    let beside = |phase: &Phase| phase.load.map_or(1.0, |load| (load - HEADLINE_LOAD).abs());
    phases.iter().filter(|phase| phase.offered + phase.delivered > 0).min_by(|one, other| {
        let validity = other.valid.cmp(&one.valid);
        let load = beside(one).total_cmp(&beside(other));
        validity.then(load).then(other.offered.cmp(&one.offered))
    })
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
    let (begin, rest) = name.split_at(name.find([' ', '/', ':']).unwrap_or(name.len()));
    let known = match begin {
        ACKNOWLEDGE => "Acknowledge",
        END_TO_END => "End to end",
        CONNECT => "Connect",
        REST => "Page by REST",
        other => other,
    };
    format!("{known}{rest}")
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
