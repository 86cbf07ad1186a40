//! What passes: who writes, who is there. It reaches those who may see it, and gives way first.

use std::time::Duration;

use actors::desk::DeskOptions;
use actors::feed::{Encoding, FeedLimits, Stream};
use actors::inbox::List;
use actors::permits::{Amount, PermitLimits};
use engine::conversation::Command;
use engine::id::{AgentId, ConversationId, TenantId};
use engine::identity::agent::{Agent, Availability};
use engine::identity::role::{AGENT, SUPERVISOR};
use serde_json::{Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use crate::client::Client;
use crate::shop::{ANA, BEN, BOSS, Below, Owners, Shop, limits, person};

/// A shop with one conversation, and these clients who follow all they may.
async fn shop<const N: usize>(
    limits: FeedLimits,
    clients: [(AgentId, Encoding); N],
) -> (Shop, ConversationId, [Client; N]) {
    let shop = Shop::open(1, Below::Atomic, limits).await;
    shop.hears("1", "first", "hello").await.unwrap();
    let id = shop.known()[0];
    let mut clients = clients.map(|(agent, encoding)| Client::new(agent, encoding));
    for client in &mut clients {
        client.connect(&shop, &Owners::default()).await;
        client.drain(&shop, &Owners::default()).await;
    }
    for client in &mut clients {
        client.drain(&shop, &Owners::default()).await;
        client.passed.clear();
    }
    (shop, id, clients)
}

async fn passed(client: &mut Client, shop: &Shop) -> Vec<Value> {
    client.drain(shop, &Owners::default()).await;
    std::mem::take(&mut client.passed)
}

fn typing(id: ConversationId, agent: AgentId, on: bool) -> Value {
    json!({"t": "eph", "s": format!("c:{id}"), "k": "typing", "d": {"id": agent, "on": on}, "ttl_ms": 6000})
}

#[tokio::test(start_paused = true)]
async fn who_writes_is_shown_to_the_others_once_in_a_while() {
    let both = [Encoding::Json, Encoding::MessagePack];
    let people = [(ANA, both[0]), (ANA, both[1]), (BEN, both[1]), (BOSS, both[0])];
    let (shop, id, [mut ana, mut hers, mut ben, mut boss]) = shop(limits(), people).await;
    let stream = Stream::Conversation(id);
    for on in [true, true, true, false, false] {
        ana.session.as_mut().unwrap().typing(stream, on).await;
    }
    for other in [&mut ben, &mut boss] {
        assert_eq!(passed(other, &shop).await, [typing(id, ANA, true), typing(id, ANA, false)]);
    }
    assert!(passed(&mut ana, &shop).await.is_empty() && passed(&mut hers, &shop).await.is_empty());
    assert!(!ana.session.as_mut().unwrap().typing(stream, true).await, "it is too soon");
    sleep(Duration::from_secs(3)).await;
    assert!(ana.session.as_mut().unwrap().typing(stream, true).await);
    assert_eq!(passed(&mut ben, &shop).await, [typing(id, ANA, true)]);
    for elsewhere in ["i:all", "t:agents", "u:me"] {
        let elsewhere = Stream::named(elsewhere, ANA).unwrap();
        assert!(!ana.session.as_mut().unwrap().typing(elsewhere, true).await);
    }
}

#[tokio::test(start_paused = true)]
async fn who_writes_is_not_shown_to_one_who_lost_sight_of_the_conversation() {
    let people = [(BOSS, Encoding::Json), (BEN, Encoding::MessagePack)];
    let (shop, id, [mut boss, mut ben]) = shop(limits(), people).await;
    let stream = Stream::Conversation(id);
    assert!(boss.session.as_mut().unwrap().typing(stream, true).await);
    shop.ask(id, Command::Assign { agent: Some(ANA) }).await.unwrap();
    assert!(passed(&mut ben, &shop).await.is_empty(), "it waited while it became another's");
    assert!(!ben.following.contains(&stream.to_string()));
    assert!(ben.session.as_mut().unwrap().present(stream).await.is_err());
    assert!(!ben.session.as_mut().unwrap().typing(stream, true).await);
    assert!(passed(&mut boss, &shop).await.iter().all(|told| told["k"] != "typing"));
}

fn presence(stream: &str, k: &str, d: Value) -> Value {
    json!({"t": "eph", "s": stream, "k": k, "d": d})
}

#[tokio::test(start_paused = true)]
async fn who_comes_is_told_at_once_and_who_goes_when_they_do_not_come_back() {
    let people = [(BOSS, Encoding::Json)];
    let (shop, id, [mut boss]) = shop(limits(), people).await;
    let (mut one, mut two) =
        (Client::new(ANA, Encoding::MessagePack), Client::new(ANA, Encoding::Json));
    let owners = Owners::default();
    one.connect(&shop, &owners).await;
    two.connect(&shop, &owners).await;
    let (c, joined) = (format!("c:{id}"), json!({"id": ANA, "state": "online"}));
    let both = |k: &str, d: &Value| [&*c, "t:agents"].map(|s| presence(s, k, d.clone()));
    assert_eq!(passed(&mut boss, &shop).await, both("presence.join", &joined));
    let there = boss.session.as_mut().unwrap().present(Stream::Agents).await.unwrap();
    assert_eq!(there.total, 2);
    one.disconnect();
    sleep(Duration::from_secs(60)).await;
    assert!(passed(&mut boss, &shop).await.is_empty(), "another of her sockets is there");
    two.disconnect();
    sleep(Duration::from_secs(9)).await;
    two.connect(&shop, &owners).await;
    sleep(Duration::from_secs(60)).await;
    assert!(passed(&mut boss, &shop).await.is_empty(), "she was back in time");
    let busy = Agent { availability: Availability::Busy, rev: 2, ..person(ANA, AGENT) };
    shop.change(|changing| changing.put(busy)).await;
    let mut told = passed(&mut boss, &shop).await;
    told.sort_by_key(|told| told["s"].to_string());
    assert_eq!(told, both("presence.update", &json!({"id": ANA, "state": "busy"})));
    two.disconnect();
    sleep(Duration::from_secs(11)).await;
    let mut told = passed(&mut boss, &shop).await;
    told.sort_by_key(|told| told["s"].to_string());
    assert_eq!(told, both("presence.leave", &json!({"id": ANA})));
    let there = boss.session.as_mut().unwrap().present(Stream::Agents).await.unwrap();
    assert_eq!(there.users, [(BOSS, Availability::Online)]);
}

#[tokio::test(start_paused = true)]
async fn while_there_is_too_much_nobody_is_told_who_writes_and_who_comes() {
    let people = [(ANA, Encoding::Json), (BEN, Encoding::MessagePack)];
    let (shop, id, [mut ana, mut ben]) = shop(limits(), people).await;
    let (stream, PermitLimits { node, marks, .. }) =
        (Stream::Conversation(id), DeskOptions::default().permits);
    let most = Amount::items(node.items * marks.ephemeral / 100);
    let full = shop.sources.desk.permits().share(TenantId(Uuid::nil()), most).ok().unwrap();
    assert!(!ana.session.as_mut().unwrap().typing(stream, true).await);
    Client::new(BOSS, Encoding::Json).connect(&shop, &Owners::default()).await;
    assert!(passed(&mut ben, &shop).await.is_empty());
    drop(full);
    assert!(ana.session.as_mut().unwrap().typing(stream, true).await, "it was not said yet");
    assert_eq!(passed(&mut ben, &shop).await, [typing(id, ANA, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_counted_and_not_named() {
    let limits = FeedLimits { queue_frames: 100_000, ..limits() };
    let (shop, _, [mut boss]) = shop(limits, [(BOSS, Encoding::Json)]).await;
    let people: Vec<_> = (0..300).map(|n| AgentId(Uuid::from_u128(0x1_0000 + n))).collect();
    shop.change(|changing| {
        for id in &people {
            changing.put(person(*id, AGENT));
            changing.put_credential(crate::shop::secret(*id));
        }
    })
    .await;
    let mut crowd = Vec::new();
    for id in &people {
        let mut client = Client::new(*id, Encoding::MessagePack);
        client.connect(&shop, &Owners::default()).await;
        crowd.push(client);
    }
    let mut told = passed(&mut boss, &shop).await;
    told.retain(|told| told["s"] == "t:agents");
    let joins = told.iter().filter(|told| told["k"] == "presence.join").count();
    let counts: Vec<_> = told.iter().filter(|told| told["t"] == "pres").collect();
    assert_eq!(joins, 199, "she herself is the two hundredth");
    assert!((1..20).contains(&counts.len()), "{}", counts.len());
    assert_eq!((&counts[0]["total"], &counts[0]["users"]), (&json!(201), &json!([])));
    let there = boss.session.as_mut().unwrap().present(Stream::Agents).await.unwrap();
    assert_eq!((there.users.len(), there.total), (0, 301));
}

#[tokio::test(start_paused = true)]
async fn when_a_queue_is_half_full_what_passes_is_left_out_and_rows_make_way_for_newer_ones() {
    let limits = FeedLimits { queue_frames: 20, ..limits() };
    let people = [(BOSS, Encoding::Json), (ANA, Encoding::Json)];
    let (shop, id, [mut boss, mut ana]) = shop(limits, people).await;
    let c = Stream::Conversation(id);
    boss.session.as_mut().unwrap().leave(c);
    boss.following.remove(&c.to_string());
    // Far more rows than the queue holds, all of one conversation, in two lists.
    for n in 0..100 {
        shop.ask(id, Command::SetTags { tags: vec![n.to_string()] }).await.unwrap();
        ana.drain(&shop, &Owners::default()).await;
    }
    for n in 0..10 {
        shop.hears("2", &format!("other-{n}"), "hello").await.unwrap();
        ana.drain(&shop, &Owners::default()).await;
    }
    shop.ask(id, Command::SetTags { tags: vec!["last".into()] }).await.unwrap();
    // Her coming and going passes, and there is no room for that.
    ana.connect(&shop, &Owners::default()).await;
    sleep(Duration::from_secs(60)).await;
    boss.drain(&shop, &Owners::default()).await;
    assert!(boss.session.is_some() && boss.resets.is_empty(), "it kept up, without a gap");
    assert!(boss.following.contains("i:all") && boss.following.contains("i:unassigned"));
    let told = passed(&mut boss, &shop).await;
    assert!(told.iter().all(|told| told["t"] != "eph"), "{told:?}");
    boss.is_at_the_top(&shop).await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_left_and_followed_again_while_much_waits_goes_on_without_a_gap() {
    let limits = FeedLimits { queue_frames: 20, ..limits() };
    let (shop, id, [mut boss]) = shop(limits, [(BOSS, Encoding::Json)]).await;
    let owners = Owners::default();
    boss.drain(&shop, &owners).await;
    let tag = async |tag: &str| {
        shop.ask(id, Command::SetTags { tags: vec![tag.to_owned()] }).await.unwrap();
    };
    // One of its rows waits, and so much of another stream that half of the queue is taken.
    tag("first").await;
    for n in 0..10 {
        let name = n.to_string();
        shop.change(|changing| changing.put(Agent { name, ..person(BEN, SUPERVISOR) })).await;
    }
    let list = Stream::List(List::All);
    assert!(boss.session.as_mut().unwrap().leave(list));
    boss.following.remove(&list.to_string());
    boss.follow(&shop, &owners).await;
    // It makes way for this one.
    tag("last").await;
    boss.drain(&shop, &owners).await;
    assert!(boss.resets.is_empty(), "{:?}", boss.resets);
    boss.is_at_the_top(&shop).await;
}

#[tokio::test(start_paused = true)]
async fn what_somebody_asks_whose_role_or_login_has_ended_meanwhile_is_not_done() {
    let people = [(ANA, Encoding::Json), (BEN, Encoding::Json)];
    let (shop, id, [mut ana, mut ben]) = shop(limits(), people).await;
    let stream = Stream::Conversation(id);
    shop.change(|changing| changing.put(person(BEN, SUPERVISOR))).await;
    ben.drain(&shop, &Owners::default()).await;
    shop.ask(id, Command::Assign { agent: Some(BOSS) }).await.unwrap();
    // Nobody has looked at these sessions since.
    shop.change(|changing| changing.put(person(BEN, AGENT))).await;
    let rests = Agent { is_active: false, ..person(ANA, AGENT) };
    shop.change(|changing| changing.put(rests)).await;
    let unread = shop.head(id).await.unread;
    for client in [&mut ana, &mut ben] {
        let session = client.session.as_mut().unwrap();
        assert!(session.seen(id, 1_000).await.is_err());
        assert!(!session.typing(stream, true).await);
        assert!(session.present(stream).await.is_err());
    }
    assert!(!ana.session.as_mut().unwrap().still_counts().await);
    assert!(ben.session.as_mut().unwrap().still_counts().await);
    assert_eq!(shop.head(id).await.unread, unread);
    ana.drain(&shop, &Owners::default()).await;
    assert!(ana.session.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_decided_and_not_written_is_looked_at_again() {
    let (shop, id, [mut ana]) = shop(limits(), [(ANA, Encoding::MessagePack)]).await;
    let (mut ben, mut owners) = (Client::new(BEN, Encoding::Json), Owners::default());
    // Snapshots and an event are under way when the conversation becomes Ana's.
    ben.connect(&shop, &Owners::default()).await;
    shop.hears("1", "second", "more").await.unwrap();
    ana.hear(&shop, &owners, 5).await;
    shop.ask(id, Command::Assign { agent: Some(ANA) }).await.unwrap();
    owners.of.insert(id, Some(ANA));
    ben.write(&shop, &owners).await;
    assert!(ben.session.is_none(), "he is sent nothing of it, and comes back");
    ana.write(&shop, &owners).await;
    assert!(ana.session.is_some(), "she may see it still");
    ben.connect(&shop, &owners).await;
    ben.drain(&shop, &owners).await;
    assert!(ben.following.contains("i:unassigned") && !ben.following.contains(&format!("c:{id}")));
}
