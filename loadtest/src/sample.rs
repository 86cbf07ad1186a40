//! A run that never was, for tests: all kinds of phases, kills, and a generator that was late.

use hdrhistogram::Histogram;

use crate::machine::Machine;
use crate::result::{
    ACKNOWLEDGE, CONNECT, END_TO_END, FORMAT, GeneratorCost, LATENESS, Ledger, Phase, Recorded,
    RunResult, Scenario, Second, ServerCost,
};
use crate::tally::histogram;

const SECONDS: u64 = 20;
const MOST: f64 = 4_200.0;
const SUBSCRIBERS: u64 = 10;

pub(crate) fn run() -> RunResult {
    let loads = [("maximum", None), ("30 %", Some(0.3)), ("50 %", Some(0.5)), ("70 %", Some(0.7))];
    let loads = loads.into_iter().chain([("90 %", Some(0.9))]);
    let phases = (0..).zip(loads).map(|(n, (name, load))| phase(n, name, load));
    let text = "name = \"mixed\"\n[load]\nfind_maximum = true\nshares = [0.3, 0.5, 0.7, 0.9]\n";
    RunResult {
        format: FORMAT,
        scenario: Scenario {
            name: "Inbound with subscribers".to_owned(),
            text: text.to_owned(),
            hash: "9f2c5e0d41ab".to_owned(),
        },
        started: "2026-11-26T12:00:00Z".to_owned(),
        seconds: 116.0,
        machine: Machine {
            cpus: 2,
            model: "AMD EPYC".to_owned(),
            memory_bytes: Some(25_190_000_000),
            kernel: "6.18.0".to_owned(),
            idle_before: Some(0.97),
        },
        tool_version: "0.1.0".to_owned(),
        server_version: Some("0.1.0".to_owned()),
        seed: 4711,
        phases: phases.collect(),
        kills: vec![56.5, 81.0],
        ledger: Ledger {
            acknowledged: 268_000,
            unknown: 37,
            stored: 268_021,
            unknown_stored: 21,
            events: 2_680_210,
            reconnects: 20,
            kills: 2,
            ..Ledger::default()
        },
        violations: Vec::new(),
        violations_total: 0,
        notes: Vec::new(),
    }
}

fn phase(n: u64, name: &str, load: Option<f64>) -> Phase {
    let share = load.unwrap_or(1.0);
    let begin = (n * (SECONDS + 4)) as f64;
    let series = (0..SECONDS).map(|at| second(begin + at as f64 + 1.0, share)).collect::<Vec<_>>();
    let sum = |of: fn(&Second) -> u64| series.iter().map(of).sum::<u64>();
    let (offered, acknowledged) = (sum(|second| second.offered), sum(|second| second.acknowledged));
    let ack = spread(acknowledged, 400.0 / (1.05 - share));
    let latencies = [
        (ACKNOWLEDGE, ack),
        (END_TO_END, spread(acknowledged * SUBSCRIBERS, 900.0 / (1.05 - share))),
        (CONNECT, spread(if n == 0 { 1_000 } else { 0 }, 700.0)),
        (LATENESS, spread(acknowledged, 40.0)),
    ];
    let server = |user, system, rss_before| ServerCost {
        user_us: user,
        system_us: system,
        rss_before,
        rss_after: rss_before + 6_000_000,
    };
    let is_late = load == Some(0.9);
    Phase {
        name: name.to_owned(),
        begin,
        seconds: SECONDS as f64,
        target_rate: load.map(|load| load * MOST),
        load,
        valid: !is_late,
        why_invalid: vec!["the generator was late: p99 3.1 ms".to_owned(); usize::from(is_late)],
        offered,
        acknowledged,
        refused: sum(|second| second.refused),
        unknown: sum(|second| second.unknown),
        duplicates_sent: offered / 100,
        duplicates_failed: 0,
        pages_failed: 0,
        delivered: acknowledged * SUBSCRIBERS,
        latencies: latencies.map(|(name, taken)| (name.to_owned(), Recorded(taken))).into(),
        server: Some(server(
            sum(|second| second.server_user_us.unwrap_or(0)),
            sum(|second| second.server_system_us.unwrap_or(0)),
            90_000_000 + n * 6_000_000,
        )),
        generator: GeneratorCost {
            cpu_us: acknowledged * 9,
            cpu_us_per_webhook: Some(8.7),
            cpu_us_per_event: Some(5.1),
        },
        series,
    }
}

/// A wave with a little noise, so that it looks like something; nothing while the server is down.
fn second(at: f64, share: f64) -> Second {
    let noise = (at * 12.9898).sin() * (at * 78.233).cos();
    let is_down = [57.0, 82.0].contains(&at);
    let offered = MOST * share;
    let acknowledged = if is_down { offered * 0.3 } else { offered * (1.0 + 0.02 * noise) };
    let took =
        (400.0 + 250.0 * noise.abs()) / (1.05 - share) + if is_down { 900_000.0 } else { 0.0 };
    let latency = |times: f64| Some((took * times) as u64);
    Second {
        at,
        offered: offered as u64,
        acknowledged: acknowledged as u64,
        refused: if is_down { 40 } else { 0 },
        unknown: if is_down { 12 } else { 0 },
        delivered: acknowledged as u64 * SUBSCRIBERS,
        acknowledge_p50_us: latency(1.0),
        acknowledge_p99_us: latency(4.0 + noise),
        end_to_end_p50_us: latency(2.2),
        end_to_end_p99_us: latency(8.0 + 2.0 * noise),
        server_user_us: Some((acknowledged * 130.0) as u64),
        server_system_us: Some((acknowledged * 210.0) as u64),
        server_rss_bytes: Some((90e6 + at * 4e5 + noise * 2e6) as u64),
    }
}

/// So many latencies around a usual one, a few of them much longer.
fn spread(of: u64, usual: f64) -> Histogram<u64> {
    let mut taken = histogram();
    let different = of.min(2_000);
    for n in 0..different {
        let rank = (n as f64 + 0.5) / different as f64;
        let micros = usual * (0.6 + 0.4 * rank) * (1.0 - rank).powf(-0.35);
        taken.saturating_record_n(micros as u64, of / different);
    }
    taken
}
