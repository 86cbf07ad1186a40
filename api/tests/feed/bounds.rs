//! What following costs others is bounded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actors::feed::{Encoding, FeedLimits, Position, Session, Stream};
use api::socket::Frame;
use engine::id::ConversationId;
use tokio::time::Instant;

use crate::elsewhere::Elsewhere;
use crate::shop::{BOSS, Below, Shop, TENANT, limits};

/// A session of the boss that follows nothing.
async fn session(shop: &Shop) -> Session<Frame> {
    let (tenants, ttl) = (&shop.sources.tenants, Duration::from_secs(1_000));
    let login = tenants.open_session(TENANT, BOSS, tenants.now(), ttl).await.unwrap();
    let caller = tenants.caller(login.id).await.unwrap().unwrap();
    let outlet = Arc::new(Elsewhere::new(shop.feeds.known.clone()));
    let (hub, sources) = (&shop.feeds.hub, shop.sources.clone());
    Session::open(hub, sources, &caller, Encoding::Json, outlet).await.unwrap().unwrap()
}

async fn follow(session: &mut Session<Frame>, ids: &[ConversationId]) {
    for id in ids {
        session.follow(Stream::Conversation(*id), None, false).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_from_too_far_behind_has_no_more_read_than_would_be_told() {
    let limits = FeedLimits { replay_events: 500, replay_bytes: 20_000, ..limits() };
    let shop = Shop::open(1, Below::Atomic, limits).await;
    for n in 0..200 {
        shop.hears("1", &format!("m{n}"), &"x".repeat(1_000)).await.unwrap();
    }
    let mut session = session(&shop).await;
    let since = Position { epoch: "one".into(), offset: 0 };
    let before = shop.reads.load(Ordering::Acquire);
    let stream = Stream::Conversation(shop.known()[0]);
    let started = session.follow(stream, Some(&since), true).await.unwrap();
    assert!(started.missed.is_none() && started.snapshot.is_some());
    let read = shop.reads.load(Ordering::Acquire) - before;
    assert!((10..50).contains(&read), "{read} of 200 messages were read one by one");
}

#[tokio::test]
async fn who_leaves_does_not_pay_for_all_that_others_follow() {
    const MANY: usize = 1_500;
    let limits = FeedLimits { streams_per_session: MANY, sessions_per_agent: 100, ..limits() };
    let shop = Shop::open(1, Below::Atomic, limits).await;
    for n in 0..MANY {
        shop.hears(&n.to_string(), &format!("m{n}"), "hello").await.unwrap();
    }
    let all = shop.known();
    // As long as the quickest of some takes: what else goes on only makes them slower.
    let leaving = async || {
        let mut quickest = Duration::MAX;
        for _ in 0..5 {
            let mut session = session(&shop).await;
            follow(&mut session, &all[..100]).await;
            let begin = Instant::now();
            drop(session);
            quickest = quickest.min(begin.elapsed());
        }
        quickest
    };
    let alone = leaving().await;
    let mut other = session(&shop).await;
    follow(&mut other, &all).await;
    let beside = leaving().await;
    assert!(beside < alone * 5, "{beside:?} beside {MANY} streams, {alone:?} alone");
}
