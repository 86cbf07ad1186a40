//! Scripted customers over real sockets.

use std::time::Duration;

use simulator::{Account, CustomerOptions, Customers, Retry};
use tokio::sync::mpsc;

use crate::engine::inbox;

#[tokio::test]
async fn customers_in_order_do_not_overtake_themselves_and_tell_what_they_write() {
    // Two refusals: what is refused comes later than what was written after it, unless that waits.
    let (url, mut taken) = inbox(2).await;
    let (tell, mut written) = mpsc::channel(8);
    let customers = Customers::start(CustomerOptions {
        people: 1,
        rate: 1000.0,
        messages: Some(3),
        duplicates: 0.0,
        in_order: true,
        retry: Retry { first: Duration::from_millis(1), ..Retry::default() },
        tell: Some(tell),
        ..CustomerOptions::new(url, "secret", Account::new("1065"))
    });
    let mut came = Vec::new();
    while came.len() < 3 {
        let (_, webhook) = taken.recv().await.unwrap();
        let changes = webhook["entry"][0]["changes"].as_array().unwrap();
        let messages = changes.iter().map(|change| &change["value"]["messages"][0]);
        came.extend(messages.map(|message| message["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(customers.finished().await.messages, 3);
    let mut told = Vec::new();
    while let Some((id, _)) = written.recv().await {
        told.push(id);
    }
    assert_eq!(came, told);
}
