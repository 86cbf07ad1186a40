//! A flood of a desk that keeps its word, or does not.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use loadtest::flood::{Business, Flood, FloodReport, Metrics, Restart, run};
use loadtest::{Target, Violations};

use crate::desk::{Desk, Fault};

const FLOODING: &str = "1";
const BYSTANDER: &str = "2";

fn flood(address: SocketAddr) -> Flood {
    let target = |path| Target::new(&format!("http://{address}"), path).unwrap();
    let business =
        |number: &str| Business { phone_number_id: number.to_owned(), token: number.to_owned() };
    Flood {
        target: target("/webhook"),
        secret: "any".to_owned(),
        flooding: business(FLOODING),
        bystander: business(BYSTANDER),
        rate: 2000.0,
        times: 3.0,
        bystander_rate: 200.0,
        search: Duration::from_millis(200),
        calm: Duration::from_millis(200),
        time: Duration::from_millis(600),
        after: Duration::from_millis(400),
        slow: Duration::from_secs(60),
        customers: 120,
        connections: 16,
        seed: 4711,
        server: None,
        metrics: Some(Metrics { target: target("/metrics"), waiting: "things_waiting".to_owned() }),
        restart: None,
    }
}

async fn flooded(faults: &[(&str, Fault, usize)]) -> FloodReport {
    let (address, _) = Desk::with(faults).start().await;
    run(flood(address)).await.unwrap()
}

#[tokio::test]
async fn a_desk_that_keeps_its_word_has_all_that_it_acknowledged() {
    let (address, desk) = Desk::with(&[(FLOODING, Fault::Refuses, 3)]).start().await;
    let report = run(flood(address)).await.unwrap();
    assert!(report.word_is_kept(), "{report}");
    let [flooding, bystander] = [&report.flooding, &report.bystander];
    let refused: u64 = flooding.stretches.values().map(|stretch| stretch.refused()).sum();
    assert!(refused > 0 && refused == flooding.ledger.refused, "{report}");
    assert_eq!(flooding.ledger.stored, desk.count(FLOODING) as u64);
    assert_eq!(flooding.ledger.stored, flooding.ledger.acknowledged);
    assert_eq!(bystander.ledger.stored, desk.count(BYSTANDER) as u64);
    let during = &bystander.stretches["flood"];
    assert_eq!((during.due, during.accepted, during.refused()), (120, 120, 0));
    assert_eq!(bystander.stretches.len(), 3);
    assert_eq!(flooding.stretches["flood"].due, 1200);
    assert!(report.samples.len() >= 3 && report.samples[0].second < 0.0);
}

#[tokio::test]
async fn a_desk_that_loses_doubles_reorders_or_scatters_is_found_out() {
    let faults = [Fault::Loses, Fault::Doubles, Fault::Reorders, Fault::Scatters];
    for (number, fault) in [FLOODING, BYSTANDER].iter().flat_map(|n| faults.map(|f| (*n, f))) {
        let report = flooded(&[(number, fault, 50)]).await;
        assert!(!report.word_is_kept(), "{fault:?}: {report}");
        let (broken, kept) = match number {
            FLOODING => (report.flooding.ledger, report.bystander.ledger),
            _ => (report.bystander.ledger, report.flooding.ledger),
        };
        let Violations { lost, doubled, out_of_order, scattered, .. } = broken.violations;
        let found = match fault {
            Fault::Loses => lost,
            Fault::Doubles => doubled,
            Fault::Reorders => out_of_order,
            _ => scattered,
        };
        assert!(found > 0, "{fault:?}: {broken}");
        assert!(kept.violations.is_none() && !broken.examples.is_empty());
    }
}

#[tokio::test]
async fn what_was_refused_may_be_there_all_the_same() {
    let report = flooded(&[(FLOODING, Fault::RefusesAndKeeps, 10)]).await;
    let ledger = &report.flooding.ledger;
    assert!(report.word_is_kept() && ledger.refused > 0, "{report}");
    assert_eq!(ledger.stored_unasked, ledger.refused);
}

#[tokio::test]
async fn a_desk_has_recovered_when_nobody_is_refused_and_nothing_waits_any_more() {
    let (address, desk) = Desk::default().start().await;
    desk.waits.store(5, Ordering::Relaxed);
    let report = run(flood(address)).await.unwrap();
    // The fifth look, half a second apart, was at 1.8 s after the flood began.
    assert!(report.recovery_seconds.unwrap() > 0.5, "{report}");
    assert!(report.samples.iter().any(|sample| sample.waiting == Some(1.0)));

    let report = flooded(&[(BYSTANDER, Fault::Refuses, 2)]).await;
    assert_eq!(report.recovery_seconds, None, "{report}");
}

#[tokio::test]
async fn a_closed_loop_finds_the_rate_of_which_the_flood_is_a_multiple() {
    let (address, _) = Desk::default().start().await;
    let time = Duration::from_millis(200);
    let report = run(Flood { rate: 0.0, times: 0.5, time, ..flood(address) }).await.unwrap();
    let most = report.most_rate.unwrap();
    assert!(most > 0.0 && (report.rate - most / 2.0).abs() < 1e-6, "{report}");
    assert!(report.word_is_kept(), "{report}");
}

#[tokio::test]
async fn a_restart_names_the_process_that_is_looked_at_from_then_on() {
    let (address, _) = Desk::default().start().await;
    let restart = |command: &str| {
        let after = Duration::from_millis(200);
        Some(Restart { after, command: command.to_owned() })
    };
    // The shell itself stands for the server that is started; it has ended soon.
    let server = Some(std::process::id());
    let flooded = Flood { server, restart: restart("sleep 0.2; echo $$"), ..flood(address) };
    let report = run(flooded).await.unwrap();
    let restarted = report.restarted.unwrap();
    assert!(restarted.server != std::process::id() && restarted.second >= 0.2, "{report}");
    assert!(restarted.back_seconds.is_some_and(|seconds| seconds > 0.2), "{report}");
    let [first, .., last] = &report.samples[..] else { panic!("{report}") };
    assert!(first.resident_bytes.is_some() && last.resident_bytes.is_none(), "{report}");

    let (address, _) = Desk::default().start().await;
    let silent = Flood { restart: restart("true"), ..flood(address) };
    assert!(run(silent).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(run(flood(address)).await.is_err());
}
