//! What goes wrong with webhooks on their way.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Act, Batch, Customer, Faults, Graph, GraphOptions, Who};

use crate::engine::{Taken, inbox, inbox_of_bytes};
use crate::stand::{get, quiet, still};

async fn stand(faults: Faults) -> (Graph, Customer, Taken) {
    let (url, taken) = inbox(0).await;
    let graph = still(&url).await;
    graph.set_faults(faults);
    let ines = graph.customer("1065", &Who::with_phone("15550100003", "Zoë")).unwrap();
    (graph, ines, taken)
}

fn hello() -> Act {
    Act::Text { text: "Hello".into(), quote: false }
}

fn ids(webhook: &Value) -> Vec<Value> {
    let changes = webhook["entry"][0]["changes"].as_array().unwrap();
    changes.iter().map(|change| change["value"]["messages"][0]["id"].clone()).collect()
}

#[tokio::test]
async fn a_webhook_comes_twice_has_everything_twice_or_comes_in_two_envelopes() {
    let (graph, ines, mut taken) = stand(Faults { repeats: 1.0, ..Faults::default() }).await;
    let id = json!(ines.does(hello()).await.unwrap());
    let (one, two) = (taken.recv().await.unwrap().1, taken.recv().await.unwrap().1);
    assert_eq!(one, two);
    assert_eq!(json!(ids(&one)), id);

    graph.set_faults(Faults { twice_in_one: 1.0, ..Faults::default() });
    let id = ines.does(hello()).await.unwrap().remove(0);
    assert_eq!(ids(&taken.recv().await.unwrap().1), [&*id, &*id]);

    graph.set_faults(Faults { in_two_posts: 1.0, ..Faults::default() });
    ines.does(hello()).await.unwrap();
    let (one, two) = (taken.recv().await.unwrap().1, taken.recv().await.unwrap().1);
    assert_eq!(ids(&one), ids(&two));
    assert_ne!(one, two);
}

#[tokio::test]
async fn what_is_late_is_overtaken() {
    let late = Faults { late: 1.0, late_by: Duration::from_secs(5), ..Faults::default() };
    let (graph, ines, mut taken) = stand(late).await;
    let first = ines.does(hello());
    let mut first = std::pin::pin!(first);
    // Polled once, it is under way and waits.
    tokio::select! {
        biased;
        _ = &mut first => panic!("it was not late"),
        () = std::future::ready(()) => {}
    }
    graph.set_faults(Faults::default());
    let second = ines.does(hello()).await.unwrap();
    assert_eq!(json!(ids(&taken.recv().await.unwrap().1)), json!(second));
    graph.advance(Duration::from_secs(5));
    let first = first.await.unwrap();
    assert_eq!(json!(ids(&taken.recv().await.unwrap().1)), json!(first));
}

#[tokio::test]
async fn updates_leave_together_when_there_are_enough_or_the_first_waited_long_enough() {
    let batch = Some(Batch { most: 5, within: Duration::from_secs(1) });
    let (graph, ines, mut taken) = stand(Faults { batch, ..Faults::default() }).await;
    ines.does(Act::Album { photos: 5 }).await.unwrap();
    assert_eq!(ids(&taken.recv().await.unwrap().1).len(), 5);

    let two = tokio::spawn(async move { ines.does(Act::Album { photos: 2 }).await.unwrap() });
    let mut forward = tokio::time::interval(Duration::from_millis(5));
    let webhook = loop {
        tokio::select! {
            webhook = taken.recv() => break webhook.unwrap().1,
            _ = forward.tick() => graph.advance(Duration::from_millis(300)),
        }
    };
    assert_eq!(json!(ids(&webhook)), json!(two.await.unwrap()));
}

#[tokio::test]
async fn what_was_held_comes_as_a_flood() {
    let (graph, ines, mut taken) = stand(Faults::default()).await;
    graph.hold();
    let all = tokio::spawn(async move { ines.does(Act::Album { photos: 30 }).await.unwrap() });
    // As many ways there and back as would have let all of them through.
    for _ in 0..30 {
        assert_eq!(get(&graph, "1065").await.0, 200);
    }
    assert!(taken.try_recv().is_err());
    graph.release();
    let mut came = Vec::new();
    for _ in 0..30 {
        came.extend(ids(&taken.recv().await.unwrap().1));
    }
    let mut sent: Vec<Value> = all.await.unwrap().into_iter().map(Value::from).collect();
    came.sort_by_key(Value::to_string);
    sent.sort_by_key(Value::to_string);
    assert_eq!(came, sent);
}

#[tokio::test]
async fn text_is_escaped_as_meta_does_it_or_left_as_it_is() {
    let (url, mut taken) = inbox_of_bytes(0).await;
    let graph = still(&url).await;
    let ines = graph.customer("1065", &Who::with_phone("15550100003", "Zoë")).unwrap();
    ines.does(hello()).await.unwrap();
    let (signed, escaped) = taken.recv().await.unwrap();
    assert!(signed && escaped.is_ascii());
    graph.set_faults(Faults { plain: 1.0, ..Faults::default() });
    ines.does(hello()).await.unwrap();
    let (signed, plain) = taken.recv().await.unwrap();
    assert!(signed && String::from_utf8_lossy(&plain).contains("Zoë"));
}

#[tokio::test]
async fn whoever_has_not_the_secret_posts_first_and_the_true_one_follows() {
    let (graph, ines, mut taken) = stand(Faults { forged: 1.0, ..Faults::default() }).await;
    ines.does(hello()).await.unwrap();
    let (forged, one) = taken.recv().await.unwrap();
    let (signed, two) = taken.recv().await.unwrap();
    assert!(!forged && signed);
    assert_eq!(one, two);
    let tally = graph.tally();
    assert_eq!((tally.forged[&200], tally.delivered), (1, 1));
}

#[tokio::test]
async fn what_is_refused_comes_again_after_growing_pauses_of_simulated_time_until_it_is_given_up() {
    let (url, mut taken) = inbox(3).await;
    let retry = simulator::Retry {
        first: Duration::from_secs(60),
        longest: Duration::from_secs(100),
        attempts: 3,
    };
    let options = GraphOptions { webhook_url: Some(url), pace: 0.0, retry, ..quiet() };
    let graph = Graph::start(options).await.unwrap();
    let ines = graph.customer("1065", &Who::with_phone("15550100003", "Ines")).unwrap();
    let working = tokio::spawn(async move {
        ines.does(hello()).await.unwrap();
        ines.does(hello()).await.unwrap()
    });
    graph.until_tally(|tally| tally.answers.get(&503) == Some(&1)).await;
    let mut forward = tokio::time::interval(Duration::from_millis(5));
    while graph.tally().given_up == 0 {
        forward.tick().await;
        graph.advance(Duration::from_secs(20));
    }
    assert_eq!(graph.tally().answers[&503], 3);
    let second = working.await.unwrap();
    assert_eq!(json!(ids(&taken.recv().await.unwrap().1)), json!(second));
}
