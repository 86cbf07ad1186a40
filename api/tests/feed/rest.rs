//! Who rests: what comes is written without them, in few writes, and only what they may see.

use std::time::Duration;

use actors::feed::{Encoding, FeedLimits};
use engine::conversation::Command;
use engine::id::AgentId;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::shop::{ANA, BEN, BOSS, Below, Owners, Shop, limits};

const HOLD: Duration = Duration::from_millis(20);

/// A shop with a conversation, and somebody who follows it and rests.
async fn resting(agent: AgentId, limits: FeedLimits) -> (Shop, Owners, Client) {
    let (shop, owners) = (Shop::open(1, Below::Atomic, limits).await, Owners::default());
    shop.hears("1", "first", "hello").await.unwrap();
    let mut client = Client::new(agent, Encoding::Json);
    client.connect(&shop, &owners).await;
    client.drain(&shop, &owners).await;
    client.rest(100).await;
    (shop, owners, client)
}

fn held() -> FeedLimits {
    FeedLimits { hold: HOLD, ..limits() }
}

/// As many writes one behind the other as are made at once.
async fn spend(shop: &Shop, boss: &mut Client) {
    for n in 0..4 {
        hears(shop, &format!("at once {n}")).await;
        assert!(!boss.writes().is_empty(), "{n}");
        boss.read(shop).await;
    }
}

/// Something happens; whoever writes has had their turn.
async fn hears(shop: &Shop, id: &str) {
    shop.hears("1", id, "hello").await.unwrap();
    settle().await;
}

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_fast_waits_after_some_writes_and_is_written_as_one() {
    let (shop, owners, mut boss) = resting(BOSS, held()).await;
    spend(&shop, &mut boss).await;
    let begin = Instant::now();
    for n in 0..5 {
        hears(&shop, &format!("close-{n}")).await;
        assert!(boss.writes().is_empty(), "{n}");
        sleep(Duration::from_millis(2)).await;
    }
    assert!(begin.elapsed() < HOLD);
    sleep(HOLD).await;
    let writes = boss.writes();
    assert!(writes.len() == 1 && writes[0] >= 5, "{writes:?}");
    boss.read(&shop).await;
    boss.rise(&shop, &owners).await;
    boss.is_at_the_top(&shop).await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_seldom_is_written_at_once() {
    let (shop, _, mut boss) = resting(BOSS, held()).await;
    for n in 0..5 {
        hears(&shop, &format!("seldom-{n}")).await;
        assert!(!boss.writes().is_empty(), "{n}");
        boss.read(&shop).await;
        boss.is_at_the_top(&shop).await;
        sleep(HOLD).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_half_full_waits_no_longer() {
    let narrow = FeedLimits { queue_frames: 20, ..held() };
    let (shop, owners, mut boss) = resting(BOSS, narrow).await;
    spend(&shop, &mut boss).await;
    let begin = Instant::now();
    let mut n = 0;
    while boss.writes().is_empty() {
        hears(&shop, &format!("close-{n}")).await;
        n += 1;
        assert!(n < 20, "it is cut before it is written");
    }
    assert!(begin.elapsed() < HOLD && n > 1, "{n} in {:?}", begin.elapsed());
    boss.rise(&shop, &owners).await;
    boss.drain(&shop, &owners).await;
    assert!(boss.cuts.is_empty());
    boss.is_at_the_top(&shop).await;
}

#[tokio::test(start_paused = true)]
async fn when_much_is_held_it_is_written_before_its_time() {
    let (shop, _, mut boss) = resting(BOSS, held()).await;
    spend(&shop, &mut boss).await;
    let begin = Instant::now();
    let mut n = 0;
    let writes = loop {
        hears(&shop, &format!("more-{n}")).await;
        n += 1;
        let writes = boss.writes();
        if !writes.is_empty() {
            break writes;
        }
    };
    assert!(begin.elapsed() < HOLD && writes.len() == 1, "{writes:?}");
    assert!((16..32).contains(&writes[0]), "{writes:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_not_written_to_one_who_may_not_see_it_any_more() {
    let (shop, mut owners, mut ana) = resting(ANA, held()).await;
    let id = shop.known()[0];
    spend(&shop, &mut ana).await;
    hears(&shop, "held").await;
    assert!(ana.writes().is_empty());
    shop.ask(id, Command::Assign { agent: Some(BEN) }).await.unwrap();
    owners.of.insert(id, Some(BEN));
    sleep(2 * HOLD).await;
    // What is read and is another's by now is found.
    ana.rise(&shop, &owners).await;
    ana.drain(&shop, &owners).await;
    assert!(!ana.following.contains(&format!("c:{id}")));
    ana.is_at_the_top(&shop).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_left_in_its_order_to_who_rises() {
    for takes in 0..3 {
        let (shop, owners, mut boss) = resting(BOSS, limits()).await;
        boss.rise(&shop, &owners).await;
        boss.rest(takes).await;
        for n in 0..4 {
            hears(&shop, &format!("more-{n}")).await;
        }
        boss.rise(&shop, &owners).await;
        boss.drain(&shop, &owners).await;
        boss.is_at_the_top(&shop).await;
        assert!(boss.resets.is_empty() && boss.cuts.is_empty(), "{takes} at once");
    }
}
