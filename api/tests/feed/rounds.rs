//! Many who follow the same: each is told all of it, in order, in few writes.

use std::time::Duration;

use actors::feed::{Encoding, FeedLimits};
use tokio::time::sleep;

use crate::client::Client;
use crate::shop::{BOSS, Below, Owners, Shop, limits};

const HOLD: Duration = Duration::from_millis(20);
const MANY: usize = 20;

/// A shop with a conversation, and many who follow it and rest.
async fn crowd(limits: FeedLimits) -> (Shop, Owners, Vec<Client>) {
    let limits = FeedLimits { hold: HOLD, sessions_per_agent: MANY, ..limits };
    let (shop, owners) = (Shop::open(1, Below::Atomic, limits).await, Owners::default());
    shop.hears("1", "first", "hello").await.unwrap();
    let mut crowd = Vec::new();
    for n in 0..MANY {
        let encoding = [Encoding::Json, Encoding::MessagePack][n % 2];
        let mut client = Client::new(BOSS, encoding);
        client.connect(&shop, &owners).await;
        client.drain(&shop, &owners).await;
        client.rest(100).await;
        crowd.push(client);
    }
    // What was written so far is not counted.
    sleep(HOLD * 10).await;
    for client in &crowd {
        client.writes();
    }
    (shop, owners, crowd)
}

async fn all_is_told(shop: &Shop, owners: &Owners, crowd: &mut [Client]) {
    sleep(HOLD * 2).await;
    for client in crowd {
        client.rise(shop, owners).await;
        client.drain(shop, owners).await;
        assert!(client.resets.is_empty() && client.cuts.is_empty());
        client.is_at_the_top(shop).await;
        client.has_all(shop).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_fast_is_told_to_many_in_few_writes() {
    let (shop, owners, mut crowd) = crowd(limits()).await;
    for n in 0..40 {
        shop.hears("1", &format!("fast-{n}"), "hello").await.unwrap();
        sleep(Duration::from_millis(2)).await;
    }
    sleep(HOLD * 2).await;
    for client in &mut crowd {
        let writes = client.writes();
        let frames: usize = writes.iter().sum();
        assert!(frames >= 40 && writes.len() * 4 < frames, "{writes:?}");
    }
    all_is_told(&shop, &owners, &mut crowd).await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_seldom_is_told_to_many_at_once() {
    let (shop, owners, mut crowd) = crowd(limits()).await;
    for n in 0..3 {
        shop.hears("1", &format!("seldom-{n}"), "hello").await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(crowd.iter().all(|client| !client.writes().is_empty()), "{n}");
        sleep(HOLD * 4).await;
    }
    all_is_told(&shop, &owners, &mut crowd).await;
}

#[tokio::test(start_paused = true)]
async fn one_who_takes_little_holds_up_nobody_and_misses_nothing() {
    for takes in 0..3 {
        let (shop, owners, mut crowd) = crowd(limits()).await;
        crowd[3].rise(&shop, &owners).await;
        crowd[3].rest(takes).await;
        for n in 0..10 {
            shop.hears("1", &format!("more-{n}"), "hello").await.unwrap();
        }
        sleep(HOLD * 2).await;
        for (_, client) in crowd.iter().enumerate().filter(|(at, _)| *at != 3) {
            assert!(client.writes().iter().sum::<usize>() >= 10);
        }
        all_is_told(&shop, &owners, &mut crowd).await;
    }
}

#[tokio::test(start_paused = true)]
async fn when_half_of_what_a_queue_holds_waits_for_a_round_it_begins() {
    let narrow = FeedLimits { queue_frames: 10, rounds_from: 1, ..limits() };
    let (shop, owners, mut crowd) = crowd(narrow).await;
    for n in 0..40 {
        shop.hears("1", &format!("much-{n}"), "hello").await.unwrap();
    }
    all_is_told(&shop, &owners, &mut crowd).await;
}
