//! Anything, in any order: what is told, asked, lost and found again, against what is so.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::time::Duration;

use actors::failure::Failure;
use actors::feed::{Cut, Encoding, FeedLimits, Stream};
use engine::conversation::Command;
use engine::fact::ConversationStatus;
use engine::identity::agent::{Agent, Availability};
use engine::identity::role::{AGENT, SUPERVISOR};
use storage::seed::{Chance, seeds};

use crate::client::Client;
use crate::shop::{ANA, BEN, BOSS, Below, Owners, Shop, UNANSWERED, limits, person};

const STEPS: u64 = 80;
/// Seeds that found something: a role that falls and rises again between two looks; a commit that
/// lands when its thread, which had left in order before, was there again; what was on its way taken for
/// looked at because something else was to be written; what was written before the step's own commit, and
/// held against whose it was behind it.
const FOUND: [u64; 5] = [
    11_428_790_804_352_370_848,
    693_046_465_378_025_186,
    12_423_636_213_359_756_753,
    11_574_844_334_208_187_749,
    2_779_439_716_130_999_127,
];

/// What runs differ in beside their seed.
struct Run {
    limits: FeedLimits,
    /// Somebody has a role of the shop's own, of which what it allows changes.
    has_clerk: bool,
    /// Customers come back after days, to another conversation.
    has_earlier: bool,
}

/// Something happens.
async fn step(
    n: u64,
    chance: &mut Chance,
    shop: &mut Shop,
    owners: &mut Owners,
    clients: &mut [Client],
) {
    let known = shop.known();
    let any = (!known.is_empty()).then(|| known[chance.index(known.len())]);
    match (chance.below(14), any) {
        (0..=3, _) | (_, None) => {
            let phone = (1 + chance.below(3)).to_string();
            let _ = shop.hears(&phone, &format!("id-{n}"), &format!("text {n}")).await;
        }
        (4..=6, Some(id)) => {
            let agent = [None, Some(ANA), Some(BEN)][chance.index(3)];
            match shop.ask(id, Command::Assign { agent }).await {
                Ok(()) => {
                    owners.of.insert(id, agent);
                    owners.unknown.remove(&id);
                }
                Err(Failure::Refused(_)) => {}
                Err(_) => drop(owners.unknown.insert(id)),
            }
        }
        (7, Some(id)) => {
            let status = [ConversationStatus::Open, ConversationStatus::Resolved][chance.index(2)];
            let _ = shop.ask(id, Command::SetStatus { status }).await;
        }
        (8, Some(id)) => {
            let _ = shop.ask(id, Command::SetTags { tags: vec![format!("t{n}")] }).await;
        }
        (9, _) => {
            shop.let_ben([AGENT, SUPERVISOR][chance.index(2)]).await;
        }
        (10, _) => {
            let (is_active, is_busy) = (chance.permille(500), chance.permille(500));
            let availability = if is_busy { Availability::Busy } else { Availability::Online };
            let ana = Agent { is_active, availability, ..person(ANA, AGENT) };
            shop.change(|changing| changing.put(ana)).await;
        }
        (11, _) if chance.permille(200) => {
            clients.iter_mut().for_each(Client::disconnect);
            shop.restart().await;
        }
        (11, _) => tokio::time::sleep(Duration::from_secs(11)).await,
        // Long enough for every actor to leave.
        (_, Some(_)) => tokio::time::sleep(Duration::from_secs(200)).await,
    }
}

/// A client does something.
async fn act(chance: &mut Chance, client: &mut Client, shop: &Shop, owners: &Owners) {
    match chance.below(10) {
        0 => client.disconnect(),
        1 => client.connect(shop, owners).await,
        2 => client.follow(shop, owners).await,
        3..=4 => client.drain(shop, owners).await,
        5 => client.hear(shop, owners, chance.index(6)).await,
        6 => client.write(shop, owners).await,
        7 => speak(chance, client, shop, owners).await,
        _ => {}
    }
}

/// A client says that it writes, what it has read, or asks who is there.
async fn speak(chance: &mut Chance, client: &mut Client, shop: &Shop, owners: &Owners) {
    let followed: Vec<_> = client.following.iter().cloned().collect();
    let (Some(session), false) = (&mut client.session, followed.is_empty()) else { return };
    let name = &followed[chance.index(followed.len())];
    let stream = Stream::named(name, client.agent).unwrap();
    match (chance.below(3), stream) {
        (0, _) => drop(session.typing(stream, chance.permille(700)).await),
        (1, Stream::Conversation(id)) => drop(session.seen(id, chance.below(30)).await),
        _ => {
            if let Ok(present) = session.present(stream).await {
                assert!(present.total >= 1 && present.users.len() <= present.total);
                if let Stream::Conversation(id) = stream {
                    owners.check(shop.viewer(client.agent).await, id);
                }
            }
        }
    }
}

/// Whoever writes for sessions that rest has had their turn.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

async fn run(seed: u64, steps: u64, below: Below, run: &Run) {
    let is_wide = run.limits.queue_frames > 100;
    let rounds_from = [1, 16][usize::from(seed % 4 < 2)];
    let mut shop = Shop::open(seed, below, FeedLimits { rounds_from, ..run.limits.clone() }).await;
    if run.has_clerk {
        shop.make_ben_a_clerk().await;
    }
    let (mut chance, mut owners) = (Chance::of(!seed), Owners::default());
    // Apart, so that seeds mean what they meant.
    let mut rests = Chance::of(seed.rotate_left(32));
    let mut days = Chance::of(seed.rotate_left(16));
    let encodings = [Encoding::Json, Encoding::MessagePack];
    let mut clients =
        [BOSS, ANA, BEN, BEN].map(|agent| Client::new(agent, encodings[chance.index(2)]));
    for n in 0..steps {
        shop.failing.store(if chance.permille(400) { 120 } else { 0 }, Ordering::Release);
        if run.has_earlier && days.permille(60) {
            shop.days_pass();
        }
        step(n, &mut chance, &mut shop, &mut owners, &mut clients).await;
        settle().await;
        for client in &mut clients {
            // A role that changes with the next step changes what may be seen.
            client.read(&shop).await;
        }
        for client in &mut clients {
            client.rise(&shop, &owners).await;
            act(&mut chance, client, &shop, &owners).await;
            if rests.permille(500) {
                client.rest([0, 1, 100][rests.index(3)]).await;
            }
        }
        settle().await;
        for client in &mut clients {
            client.read(&shop).await;
        }
    }
    for client in &mut clients {
        client.rise(&shop, &owners).await;
    }
    // The last that happens is written, and nobody is told so.
    for id in shop.known() {
        shop.failing.store(UNANSWERED, Ordering::Release);
        let _ = shop.ask(id, Command::SetTags { tags: vec!["last".into()] }).await;
        shop.failing.store(0, Ordering::Release);
    }
    // What failed is tried again.
    tokio::time::sleep(Duration::from_secs(60)).await;
    shop.faulty.land().await;
    for client in &mut clients {
        client.drain(&shop, &owners).await;
        client.is_at_the_top(&shop).await;
    }
    shop.change(|changing| changing.put(person(ANA, AGENT))).await;
    for client in &mut clients {
        // What waits for a round is told. Who was cut, or lost sight of something under way, comes back.
        settle().await;
        client.drain(&shop, &owners).await;
        while client.session.is_none() || client.following.is_empty() {
            client.connect(&shop, &owners).await;
            settle().await;
            client.drain(&shop, &owners).await;
        }
        client.follow(&shop, &owners).await;
        client.drain(&shop, &owners).await;
        client.is_at_the_top(&shop).await;
        client.has_all(&shop).await;
        assert!(!is_wide || !client.cuts.contains(&Cut::Slow), "its queue has room");
    }
}

/// Every other run is over a store of the one kind, every other over one of the other. Of one that
/// fails it is told how little of it does.
fn with_seed(seed: u64, of: &Run) {
    let below = if seed.is_multiple_of(2) { Below::Lazy } else { Below::Atomic };
    let fails = |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let run = AssertUnwindSafe(|| runtime.block_on(run(seed, steps, below, of)));
        catch_unwind(run).err()
    };
    if let Some(panic) = fails(STEPS) {
        let shortest = (1..STEPS).find(|steps| fails(*steps).is_some()).unwrap_or(STEPS);
        eprintln!("TEST_SEED={seed}: {shortest} of {STEPS} steps are enough");
        resume_unwind(panic);
    }
}

#[test]
fn whatever_fails_every_client_ends_with_what_it_may_see() {
    let of = Run { limits: limits(), has_clerk: false, has_earlier: false };
    for seed in seeds(100, 50).chain(FOUND) {
        with_seed(seed, &of);
    }
}

#[test]
fn whoever_is_slow_is_cut_and_ends_with_what_it_may_see_all_the_same() {
    let narrow = FeedLimits { queue_frames: 6, replay_events: 10, ..limits() };
    let of = Run { limits: narrow, has_clerk: false, has_earlier: false };
    for seed in seeds(100, 50) {
        with_seed(seed, &of);
    }
}

#[test]
fn whoever_has_a_role_that_is_changed_ends_with_what_it_lets_them_see() {
    let of = Run { limits: limits(), has_clerk: true, has_earlier: false };
    for seed in seeds(60, 30) {
        with_seed(seed, &of);
    }
}

#[test]
fn whoever_follows_earlier_conversations_of_a_customer_ends_with_what_became_of_them() {
    let of = Run { limits: limits(), has_clerk: false, has_earlier: true };
    for seed in seeds(40, 20) {
        with_seed(seed, &of);
    }
}
