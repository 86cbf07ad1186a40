//! Sockets that watch a desk, or a bare server.

use std::net::SocketAddr;
use std::time::Duration;

use loadtest::Target;
use loadtest::sockets::{Customer, Publisher, Sockets, run};

use crate::desk::{Desk, HOLD, Slip};

const NUMBER: &str = "4711";

fn target(address: SocketAddr, path: &str) -> Target {
    Target::new(&format!("http://{address}"), path).unwrap()
}

/// Ten sockets that watch a customer write 40 messages in 0.4 seconds.
fn sockets(address: SocketAddr) -> Sockets {
    let customer = Customer {
        webhooks: target(address, "/webhook"),
        secret: "any".to_owned(),
        phone_number_id: NUMBER.to_owned(),
        token: NUMBER.to_owned(),
        number: 7,
        streams: vec!["i:all".to_owned()],
    };
    Sockets {
        target: target(address, "/api/ws"),
        publisher: Publisher::Customer(customer),
        sockets: 10,
        ramp: 200.0,
        settle: Duration::from_millis(50),
        rate: 100.0,
        warm_up: Duration::from_millis(100),
        time: Duration::from_millis(300),
        patience: Duration::from_secs(30),
        server: Some(std::process::id()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_socket_gets_every_message_once_and_in_order() {
    let (address, desk) = Desk::default().start().await;
    let report = run(sockets(address)).await.unwrap();
    assert!(report.all_delivered(), "{report}");
    assert_eq!((report.sockets, report.streams, report.published), (10, 2, 40), "{report}");
    // The first made the conversation.
    assert_eq!(desk.count(NUMBER), 41);
    assert!((1..=400).contains(&report.deliveries) && report.message_bytes > 50, "{report}");
    assert!(report.latency_us.p50 > 1 && report.opening_us.max > 1, "{report}");
    // The hello had the token and the streams, and each ping was answered.
    assert_eq!(desk.greeted(), 10);
    assert_eq!(desk.pongs(), 10);
    assert!(report.server.unwrap().cpu_us >= 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drops_repeats_swaps_or_closes_is_found_out() {
    for slip in [Slip::Drops, Slip::DropsLast, Slip::Repeats, Slip::Swaps, Slip::Closes] {
        let (address, _) = Desk::that_slips(slip).start().await;
        // The last message of the one that drops it is waited for in vain.
        let patience = Duration::from_secs(if slip == Slip::DropsLast { 5 } else { 30 });
        let report = run(Sockets { patience, ..sockets(address) }).await.unwrap();
        assert!(!report.all_delivered(), "{slip:?}: {report}");
        let (missing, gaps, repeats) = (report.missing, report.gaps, report.repeats);
        match slip {
            Slip::Drops => assert_eq!((missing, gaps, repeats), (1, 1, 0), "{report}"),
            Slip::DropsLast => assert_eq!((missing, gaps, repeats), (1, 0, 0), "{report}"),
            Slip::Repeats => assert_eq!((missing, repeats), (0, 1), "{report}"),
            Slip::Swaps => assert_eq!((gaps, repeats), (1, 1), "{report}"),
            Slip::Closes => assert_eq!(report.ended.values().sum::<u64>(), 1, "{report}"),
            Slip::Holds => unreachable!("late is not wrong"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_only_after_the_end_took_as_long_as_it_did() {
    let (address, _) = Desk::that_slips(Slip::Holds).start().await;
    let report = run(sockets(address)).await.unwrap();
    assert!(report.all_delivered(), "{report}");
    assert!(Duration::from_micros(report.latency_us.max) >= HOLD, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_sockets_listen_to_a_bare_server() {
    let (address, desk) = Desk::default().start().await;
    let publisher = Publisher::Post { target: target(address, "/pub"), bytes: 5000 };
    let bare = Sockets { target: target(address, "/ws"), publisher, ..sockets(address) };
    let report = run(bare).await.unwrap();
    assert!(report.all_delivered(), "{report}");
    assert_eq!((report.published, report.message_bytes, report.streams), (40, 5000, 1), "{report}");
    assert_eq!(desk.greeted(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_rate_the_sockets_only_stay() {
    let (address, _) = Desk::default().start().await;
    let report = run(Sockets { rate: 0.0, ..sockets(address) }).await.unwrap();
    assert!(report.all_delivered(), "{report}");
    assert_eq!((report.published, report.deliveries), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_that_is_refused_is_an_error_that_says_why() {
    let (address, _) = Desk::default().start().await;
    let mut refused = sockets(address);
    if let Publisher::Customer(customer) = &mut refused.publisher {
        customer.streams = vec!["i:none".to_owned()];
    }
    let error = run(refused).await.unwrap_err().to_string();
    assert!(error.contains("unknown stream"), "{error}");

    let elsewhere = Sockets { target: target(address, "/metrics"), ..sockets(address) };
    let error = run(elsewhere).await.unwrap_err().to_string();
    assert!(error.contains("no websocket: HTTP/1.1 200"), "{error}");
}
