//! Who is allowed more.

use actors::feed::{Encoding, Stream};
use engine::conversation::Command;
use engine::identity::role::{AGENT, SUPERVISOR};

use crate::client::Client;
use crate::shop::{ANA, BEN, Below, Owners, Shop, limits};

#[tokio::test(start_paused = true)]
async fn whoever_is_allowed_more_follows_more_before_anything_else_is_heard() {
    for is_clerk in [false, true] {
        let mut shop = Shop::open(1, Below::Atomic, limits()).await;
        if is_clerk {
            shop.make_ben_a_clerk().await;
        }
        shop.let_ben(AGENT).await;
        shop.hears("1", "first", "hello").await.unwrap();
        let id = shop.known()[0];
        shop.ask(id, Command::Assign { agent: Some(ANA) }).await.unwrap();
        let mut ben = Client::new(BEN, Encoding::Json);
        ben.connect(&shop, &Owners::default()).await;
        ben.drain(&shop, &Owners::default()).await;
        let session = ben.session.as_mut().unwrap();
        let streams = [Stream::Conversation(id), Stream::named("i:all", BEN).unwrap()];
        for stream in streams {
            assert!(session.follow(stream, None, true).await.is_err(), "{stream} is not theirs");
        }
        shop.let_ben(SUPERVISOR).await;
        for stream in streams {
            assert!(session.follow(stream, None, true).await.is_ok(), "{stream}");
        }
    }
}
