//! The tables of a run.

use maud::{Markup, html};

use super::{cell, latencies, latency_name};
use crate::report::Latency;
use crate::result::{LATENESS, Ledger, Phase, RunResult};
use crate::units::{count, fixed, megabytes, millis};

/// Columns that are about one thing, and what that is.
type Heads<'a> = (&'a str, &'a [&'a str]);

pub(super) fn phases(result: &RunResult) -> Markup {
    let phases = &result.phases;
    html! {
        @if !phases.is_empty() {
            section { h2 { "Load" } (load(phases)) }
            section { h2 { "Latency" } (latency(phases)) }
            section {
                h2 { "Cost" }
                (cost(phases))
                @if phases.iter().any(|phase| phase.memory_growth().is_some()) {
                    p.note {
                        "Grown: the last quarter of a phase by its second, where it takes a minute \
                         or more."
                    }
                }
            }
        }
    }
}

fn load(phases: &[Phase]) -> Markup {
    let heads: [Heads<'_>; 5] = [
        ("", &["seconds"]),
        ("a second", &["due", "acknowledged", "delivered"]),
        ("in all", &["offered", "acknowledged", "refused", "unknown", "delivered"]),
        ("said again", &["sent", "failed"]),
        ("pages", &["failed"]),
    ];
    table(
        &heads,
        html! {
            @for phase in phases {
                tr {
                    (head(phase))
                    (cell(Some(fixed(phase.seconds, 1))))
                    (cell(phase.target_rate.map(|rate| fixed(rate, 0))))
                    (cell(Some(fixed(phase.rate(phase.acknowledged_within()), 0))))
                    (cell(Some(fixed(phase.rate(phase.delivered_within()), 0))))
                    @for n in [phase.offered, phase.acknowledged, phase.refused, phase.unknown,
                        phase.delivered, phase.duplicates_sent, phase.duplicates_failed,
                        phase.pages_failed] {
                        (cell(Some(count(n))))
                    }
                }
            }
        },
    )
}

fn latency(phases: &[Phase]) -> Markup {
    let heads: [Heads<'_>; 3] =
        [("", &[""]), ("ms", &["p50", "p90", "p99", "p99.9", "max"]), ("", &["of"])];
    table(
        &heads,
        html! {
            @for phase in phases {
                @for (n, (name, taken)) in latencies(phase).enumerate() {
                    @let Latency { p50, p90, p99, p999, max } = Latency::of(taken);
                    tr.more[n > 0] {
                        @if n == 0 { (head(phase)) } @else { th scope="row" {} }
                        td.word { (latency_name(name)) }
                        @for micros in [p50, p90, p99, p999, max] {
                            (cell(Some(fixed(millis(micros), 2))))
                        }
                        (cell(Some(count(taken.len()))))
                    }
                }
            }
        },
    )
}

fn cost(phases: &[Phase]) -> Markup {
    let heads: [Heads<'_>; 4] = [
        ("cores", &["program", "kernel"]),
        ("µs of CPU each", &["webhook", "event"]),
        ("memory, MB", &["before", "after", "grown"]),
        ("generator", &["cores", "µs a webhook", "µs an event", "p99 late, ms"]),
    ];
    table(
        &heads,
        html! {
            @for phase in phases {
                @let server = phase.server;
                @let cores = |micros: u64| fixed(phase.rate(micros) / 1e6, 2);
                @let each = |n| server.and_then(|server| server.each(n)).map(|each| fixed(each, 1));
                @let memory = |bytes: u64| fixed(megabytes(bytes), 1);
                @let own = phase.generator;
                tr {
                    (head(phase))
                    (cell(server.map(|server| cores(server.user_us))))
                    (cell(server.map(|server| cores(server.system_us))))
                    (cell(each(phase.acknowledged_within())))
                    (cell(each(phase.delivered_within())))
                    (cell(server.map(|server| memory(server.rss_before))))
                    (cell(server.map(|server| memory(server.rss_after))))
                    (cell(phase.memory_growth().map(percent)))
                    (cell(Some(cores(own.cpu_us))))
                    (cell(own.cpu_us_per_webhook.map(|each| fixed(each, 1))))
                    (cell(own.cpu_us_per_event.map(|each| fixed(each, 1))))
                    (cell(phase.latency(LATENESS)
                        .map(|late| fixed(millis(late.value_at_quantile(0.99)), 2))))
                }
            }
        },
    )
}

fn percent(share: f64) -> String {
    format!("{} %", fixed(share * 100.0, 1))
}

/// Figures below each other, which scroll by themselves where they have no room.
fn table(heads: &[Heads<'_>], rows: Markup) -> Markup {
    html! {
        div.scroll {
            table {
                thead {
                    tr.groups {
                        th {}
                        @for (name, heads) in heads {
                            th colspan=(heads.len()) {
                                @if !name.is_empty() { span { (name) } }
                            }
                        }
                    }
                    tr {
                        th { "phase" }
                        @for head in heads.iter().flat_map(|(_, heads)| heads.iter()) {
                            th { (head) }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}

fn head(phase: &Phase) -> Markup {
    html! {
        th scope="row" { (phase.name) @if !phase.valid { " " em.tag { "not valid" } } }
    }
}

pub(super) fn ledger(ledger: &Ledger) -> Markup {
    let figures = [
        ("acknowledged", ledger.acknowledged, false),
        ("refused", ledger.refused, false),
        ("unknown", ledger.unknown, false),
        ("stored", ledger.stored, false),
        ("stored, not acknowledged", ledger.unknown_stored, false),
        ("events", ledger.events, false),
        ("reconnects", ledger.reconnects, false),
        ("kills", ledger.kills, false),
        ("lost", ledger.lost, true),
        ("doubled", ledger.doubled, true),
        ("out of order", ledger.out_of_order, true),
    ];
    html! {
        section {
            h2 { "Ledger" }
            dl.facts {
                @for (name, n, is_fault) in figures {
                    div.bad[is_fault && n > 0] { dt { (name) } dd { (count(n)) } }
                }
            }
        }
    }
}

pub(super) fn machine(result: &RunResult) -> Markup {
    let machine = &result.machine;
    let memory = machine.memory_bytes.map(|bytes| format!("{} GB", fixed(bytes as f64 / 1e9, 1)));
    let idle = machine.idle_before.map(|idle| format!("{} %", fixed(idle * 100.0, 0)));
    let facts = [
        ("processors", Some(machine.cpus.to_string())),
        ("model", Some(machine.model.clone())),
        ("memory", memory),
        ("kernel", Some(machine.kernel.clone())),
        ("idle before", idle),
        ("server", result.server_version.clone()),
        ("loadtest", Some(result.tool_version.clone())),
    ];
    html! {
        section {
            h2 { "Machine" }
            dl.facts.words {
                @for (name, fact) in facts {
                    @if let Some(fact) = fact.filter(|fact| !fact.is_empty()) {
                        div { dt { (name) } dd { (fact) } }
                    }
                }
            }
        }
    }
}
