//! Who does not keep up.

use actors::feed::{Cut, Encoding, FeedLimits};

use crate::client::Client;
use crate::shop::{BOSS, Below, Owners, Shop, limits};

#[tokio::test(start_paused = true)]
async fn whoever_lets_too_many_frames_or_bytes_wait_is_cut_and_comes_back_to_where_it_was() {
    for (queue_frames, queue_bytes, is_cut) in
        [(1_000, 1_000_000, false), (8, 1_000_000, true), (1_000, 5_000, true)]
    {
        let limits = FeedLimits { queue_frames, queue_bytes, ..limits() };
        let (shop, owners) = (Shop::open(1, Below::Atomic, limits).await, Owners::default());
        shop.hears("1", "first", "hello").await.unwrap();
        let mut boss = Client::new(BOSS, Encoding::Json);
        boss.connect(&shop, &owners).await;
        boss.drain(&shop, &owners).await;
        for n in 0..30 {
            shop.hears("1", &format!("more-{n}"), "hello").await.unwrap();
        }
        boss.drain(&shop, &owners).await;
        let what = format!("{queue_frames} frames, {queue_bytes} bytes");
        assert_eq!(boss.cuts.contains(&Cut::Slow), is_cut, "{what}");
        assert_eq!(boss.session.is_none(), is_cut, "{what}");
        if is_cut {
            boss.connect(&shop, &owners).await;
            boss.drain(&shop, &owners).await;
        }
        assert!(boss.resets.is_empty(), "{what}: without a gap");
        boss.is_at_the_top(&shop).await;
    }
}
